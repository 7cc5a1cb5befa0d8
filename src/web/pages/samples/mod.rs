//! Every page, drawn with sample data: hostile names, long values, empty lists. For tests and screenshots
//! only.
//!
//! `HMS_ACT_SAMPLE_PAGES=DIR cargo test --lib samples` writes the pages into DIR, to be looked at in a
//! browser.

mod admin;
mod approvals;
mod lists;
mod markup;
mod overrides;
mod redactions;
mod run;
mod situations;
pub mod story;

use super::chrome::{Chrome, NavItem, Notice};
use super::moment::Moment;
use crate::web::static_files;
use askama::Template;
use chrono::{TimeZone, Utc};
use markup::Markup;
use std::collections::BTreeSet;

pub const HOSTILE: &str = "<script>alert(1)</script>\"'&";

/// A page's name and its markup.
type Page = (&'static str, String);

fn pages() -> Vec<Page> {
    [
        lists::pages(),
        run::pages(),
        situations::pages(),
        approvals::pages(),
        overrides::pages(),
        redactions::pages(),
        admin::pages(),
    ]
    .concat()
}

fn draw(page: &dyn askama::DynTemplate) -> String {
    page.dyn_render().unwrap()
}

/// Seconds after 22 November 2026, 14:00 UTC.
fn at(seconds: i64) -> Moment {
    let start = Utc.with_ymd_and_hms(2026, 11, 22, 14, 0, 0).single().expect("the date exists");
    Moment::new(start + chrono::Duration::seconds(seconds))
}

/// The frame as `role` sees it, with `current` as the page it is on.
fn chrome(title: &str, role: &str, current: &str) -> Chrome {
    let links = [
        ("/", "Home", "all"),
        ("/runs", "Runs", "all"),
        ("/approvals", "Approvals", "Supervisor Admin"),
        ("/overrides", "Overrides", "Supervisor Admin"),
        ("/log", "Activity log", "Auditor Admin"),
        ("/redactions", "Erasures", "Supervisor Auditor Admin"),
        ("/protocols", "Protocols", "all"),
        ("/schedules", "Schedules", "all"),
        ("/actions", "Actions", "Admin"),
        ("/agents", "Agents", "Admin"),
        ("/users", "Users", "Admin"),
    ];
    let nav = links.iter().filter(|(_, _, roles)| *roles == "all" || roles.contains(role)).map(
        |&(href, text, _)| NavItem {
            href: href.to_owned(),
            text: text.to_owned(),
            current: href == current,
            count: (href == "/approvals").then_some(3),
        },
    );
    Chrome {
        title: title.to_owned(),
        user: Some(role.to_lowercase()),
        role_word: role.to_owned(),
        nav: nav.collect(),
        csrf: "token-of-the-session".to_owned(),
        demo: true,
        notice: None,
        version: "0.1.0".to_owned(),
    }
}

fn with_notice(chrome: Chrome, text: &str) -> Chrome {
    Chrome { notice: Some(Notice { success: true, text: text.to_owned() }), ..chrome }
}

fn each_page(check: impl Fn(&str, &Markup<'_>)) {
    for (name, html) in pages() {
        check(name, &Markup::of(&html));
    }
}

#[test]
fn every_page_has_one_heading_a_title_and_a_main_landmark() {
    each_page(|name, page| {
        assert_eq!(page.count("h1"), 1, "{name}");
        assert_eq!(page.count("main"), 1, "{name}");
        assert_eq!(page.count("title"), 1, "{name}");
    });
}

#[test]
fn nothing_is_inline() {
    each_page(|name, page| {
        for tag in &page.tags {
            assert_ne!(tag.name, "style", "{name}");
            assert!(tag.name != "script" || tag.get("src").is_some(), "{name}: {tag:?}");
            for (attribute, _) in &tag.attributes {
                let inline =
                    attribute == "style" || attribute.starts_with("on") || attribute.contains("hx-on");
                assert!(!inline, "{name}: {tag:?}");
            }
        }
    });
}

#[test]
fn names_are_escaped() {
    for (name, html) in pages() {
        assert!(!html.contains("<script>"), "{name}");
        assert!(!html.contains("alert(1)") || html.contains("&#60;script&#62;"), "{name}");
    }
}

#[test]
fn every_input_has_its_label() {
    each_page(|name, page| {
        let labels: BTreeSet<_> = page.all("label").filter_map(|tag| tag.get("for")).collect();
        for tag in page.tags.iter().filter(|tag| ["input", "select", "textarea"].contains(&tag.name.as_str()))
        {
            if tag.get("type") != Some("hidden") && tag.get("hidden").is_none() {
                let id = tag.get("id").unwrap_or_else(|| panic!("{name}: no id: {tag:?}"));
                assert!(labels.contains(id), "{name}: no label: {tag:?}");
            }
        }
    });
}

#[test]
fn ids_are_unique_and_what_names_them_finds_them() {
    each_page(|name, page| {
        let mut ids = BTreeSet::new();
        for id in page.tags.iter().filter_map(|tag| tag.get("id")) {
            assert!(ids.insert(id), "{name}: twice: {id}");
        }
        for tag in &page.tags {
            for attribute in ["for", "aria-describedby", "aria-labelledby"] {
                let named = tag.get(attribute).into_iter().flat_map(str::split_whitespace);
                named.for_each(|id| assert!(ids.contains(id), "{name}: no such id: {tag:?}"));
            }
            if let Some(id) = tag.get("href").and_then(|href| href.strip_prefix('#')) {
                assert!(ids.contains(id), "{name}: no such id: {tag:?}");
            }
        }
    });
}

#[test]
fn every_form_that_changes_something_carries_the_token() {
    for (name, html) in pages() {
        for form in html.split("<form").skip(1).filter(|form| form.contains("method=\"post\"")) {
            let form = form.split("</form>").next().unwrap();
            assert!(form.contains("name=\"csrf\" value=\"token-of-the-session\""), "{name}: {form}");
        }
    }
}

#[test]
fn every_file_that_a_page_names_is_embedded() {
    each_page(|name, page| {
        for tag in &page.tags {
            for path in ["href", "src"].iter().filter_map(|attribute| tag.get(attribute)) {
                if let Some(file) = path.strip_prefix(&static_files::url("")) {
                    let (file, symbol) = file.split_once('#').unwrap_or((file, ""));
                    let text = static_files::text(file).unwrap_or_else(|| panic!("{name}: {file}"));
                    assert!(symbol.is_empty() || text.contains(&format!("id=\"{symbol}\"")), "{symbol}");
                }
            }
        }
    });
}

#[test]
fn fragment_is_the_very_block_of_its_page() {
    let run = run::run_waiting();
    let list = approvals::approvals(true);
    let pairs = [
        (run.render().unwrap(), run.as_live().render().unwrap()),
        (list.render().unwrap(), list.as_live().render().unwrap()),
    ];
    for (whole, fragment) in pairs {
        assert!(whole.contains(&fragment));
        assert!(!fragment.contains("<h1") && !fragment.contains("<html"));
    }
}

#[test]
fn pages_can_be_written_out_to_be_looked_at() {
    let Some(folder) = std::env::var_os("HMS_ACT_SAMPLE_PAGES") else { return };
    let folder = std::path::PathBuf::from(folder);
    std::fs::create_dir_all(&folder).unwrap();
    for (name, html) in pages() {
        // As plain files there is no hash in the way, so that any file server will do.
        let html = html.replace(&static_files::url(""), "/static/");
        std::fs::write(folder.join(format!("{name}.html")), html).unwrap();
    }
}
