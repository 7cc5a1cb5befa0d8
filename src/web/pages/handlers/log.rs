//! `GET /log`: the activity log, searched.

use super::rows::{self, PAGE};
use super::sent::{Sent, address};
use super::visit::{Visit, page_with};
use crate::audit::chain::Stored;
use crate::auth::policy::Permission;
use crate::engine::protocol::Protocol;
use crate::engine::state::{RunStatus, StepStatus};
use crate::scheduler::Scheduler;
use crate::store::Connection;
use crate::store::error::StoreError;
use crate::store::log_search::{self as store, COUNTED, Count, LogFilter, LogPage, LogPosition};
use crate::store::runs::protocol_versions;
use crate::store::tree::checkpoints;
use crate::web::log_search;
use crate::web::pages::forms::Choice;
use crate::web::pages::log::{
    DayField, Hint, Log, LogFilter as Typed, LogRow, Qualifier, RunLink, SearchedBack, SignedHead, Verified,
};
use crate::web::pages::moment::Moment;
use crate::web::pages::sentences::{self, Depth, KINDS};
use crate::web::problem::AppError;
use actix_web::http::StatusCode;
use actix_web::{HttpRequest, HttpResponse};
use asked::Asked;
use chrono::DateTime;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

mod asked;

/// How long a page may look for entries that no index leads to.
const BUDGET: Duration = Duration::from_millis(1_500);

/// `GET /log`. Reading it is not itself recorded; exporting it is.
///
/// # Errors
/// 400 for parameters that are not known; 403.
pub async fn index(visit: Visit, req: HttpRequest) -> Result<HttpResponse, AppError> {
    visit.permit(Permission::ReadLog).await?;
    let query = Sent::query(req.query_string(), &asked::KNOWN)?;
    let asked = Asked::read(&query);
    let cursor = query.filled("cursor").map(|text| position(&text)).transpose()?;
    let found =
        if asked.is_wrong() { Found::default() } else { find(&visit, asked.filter.clone(), cursor).await? };
    let search = asked.search();
    let further = |place: LogPosition| list_address(&search, Some(&written(place)));
    let status = if asked.is_wrong() { StatusCode::BAD_REQUEST } else { StatusCode::OK };
    let verified = verified(&visit).await?;
    let view = Log {
        verified,
        hints: if found.rows.is_empty() { hints(&asked.filter) } else { Vec::new() },
        count: counted(found.count, found.rows.len(), found.searched_to.is_some()),
        exact_count: match found.count {
            Count::Exactly(count) => Some(count.to_string()),
            Count::AtLeast(_) => None,
        },
        csv_href: export_address("/acts/log.csv", &search, false),
        bom_href: export_address("/acts/log.csv", &search, true),
        ndjson_href: export_address("/acts/log.ndjson", &search, false),
        filtered: asked.is_wrong() || !asked.filter.is_empty(),
        first: cursor.map(|_| list_address(&search, None)),
        next: found.next.map(&further),
        searched_back: found
            .searched_to
            .map(|place| SearchedBack { to: Moment::new(place.at), further_href: further(place) }),
        rows: found.rows,
        qualifiers: qualifiers(),
        filter: typed(&asked, &query),
        search_errors: asked.search_errors,
        problems: asked.problems,
        search,
        chrome: visit.chrome("Activity log", "/log").await?,
    };
    page_with(status, &view)
}

struct Found {
    rows: Vec<LogRow>,
    count: Count,
    next: Option<LogPosition>,
    searched_to: Option<LogPosition>,
}

impl Default for Found {
    fn default() -> Found {
        Found { rows: Vec::new(), count: Count::Exactly(0), next: None, searched_to: None }
    }
}

async fn find(visit: &Visit, filter: LogFilter, cursor: Option<LogPosition>) -> Result<Found, AppError> {
    let turn = visit.site.log_readers.pages.acquire().await.map_err(AppError::internal)?;
    let read = rows::read_behind(visit, move |connection, scheduler| {
        let LogPage { mut entries, searched_to } =
            store::page(connection, &filter, cursor, PAGE + 1, BUDGET)?;
        let has_next = entries.len() as i64 > PAGE;
        entries.truncate(PAGE as usize);
        Ok(Found {
            count: store::count(connection, &filter)?,
            next: entries.last().filter(|_| has_next).map(LogPosition::of),
            rows: log_rows(connection, scheduler, &entries)?,
            searched_to: searched_to.filter(|_| !has_next),
        })
    });
    let found = read.await?;
    drop(turn);
    Ok(found)
}

/// How far the log is signed, and what keeps it from being signed further.
pub async fn verified(visit: &Visit) -> Result<Verified, AppError> {
    let head = visit.site.read_behind(checkpoints::latest).await?;
    Ok(Verified {
        head: head.map(|head| SignedHead {
            size: grouped(head.size as i64),
            signed_at: Moment::new(head.signed_at),
            href: "/acts/log/checkpoint".to_owned(),
        }),
        problem: visit.site.sealing.problem(),
    })
}

fn qualifiers() -> Vec<Qualifier> {
    let word =
        |(name, about): &(&str, &str)| Qualifier { word: format!("{name}:"), about: (*about).to_owned() };
    log_search::QUALIFIERS.iter().map(word).collect()
}

/// Searches that were perhaps meant, for kinds and statuses that no entry of ours has.
fn hints(filter: &LogFilter) -> Vec<Hint> {
    let kinds = || KINDS.iter().map(|(name, _)| *name);
    let names = || statuses().into_iter().map(|(name, _)| name);
    let hint = |missing: String, meant: LogFilter, term: String| Hint {
        missing,
        term,
        href: list_address(&log_search::write(&meant), None),
    };
    let mut hints = Vec::new();
    if let Some(asked) = filter.type_name.as_ref().filter(|asked| kinds().all(|known| known != *asked)) {
        hints.extend(log_search::closest(asked, kinds()).map(|meant| {
            let filter = LogFilter { type_name: Some(meant.to_owned()), ..filter.clone() };
            hint(format!("kind of entry {asked}"), filter, format!("type:{meant}"))
        }));
    }
    if let Some(asked) = filter.status.as_ref().filter(|asked| names().all(|known| known != *asked)) {
        hints.extend(log_search::closest(asked, names()).map(|meant| {
            let filter = LogFilter { status: Some(meant.to_owned()), ..filter.clone() };
            hint(format!("status {asked}"), filter, format!("status:{meant}"))
        }));
    }
    hints
}

/// The fields: as they were sent if something is wrong with them, else as the filter is.
fn typed(asked: &Asked, query: &Sent) -> Typed {
    let filter = &asked.filter;
    let text = |name: &str, value: Option<String>| {
        if asked.problems.is_empty() { value.unwrap_or_default() } else { query.text(name) }
    };
    let (type_name, status) = (text("type", filter.type_name.clone()), text("status", filter.status.clone()));
    let day = |name: &str, value: Option<String>| {
        let value = text(name, value);
        DayField { is_time: !value.is_empty() && super::sent::day(&value).is_none(), value }
    };
    Typed {
        run_id: text("run_id", filter.run_id.map(|run| run.to_string())),
        actor: text("actor", filter.actor.clone()),
        step: text("step", filter.step.clone()),
        types: choices(KINDS.to_vec(), &type_name),
        statuses: choices(statuses(), &status),
        from: day("from", filter.from.map(log_search::written_start)),
        to: day("to", filter.to.map(log_search::written_end)),
        q: text("q", Some(log_search::write_texts(filter))),
    }
}

/// What can be chosen, and what was asked for even if it cannot.
fn choices(known: Vec<(&str, &str)>, asked: &str) -> Vec<Choice> {
    let is_known = asked.is_empty() || known.iter().any(|(name, _)| *name == asked);
    let known = known.into_iter().map(|(name, words)| Choice::new(name, words, name == asked));
    known.chain((!is_known).then(|| Choice::new(asked, asked, true))).collect()
}

/// Every status that an entry may have: those of runs, of steps, and of what was refused.
fn statuses() -> Vec<(&'static str, &'static str)> {
    let runs = RunStatus::ALL.into_iter().map(RunStatus::as_str);
    let steps =
        StepStatus::ALL.into_iter().filter(|status| *status != StepStatus::Pending).map(StepStatus::as_str);
    let mut names: Vec<&'static str> = Vec::new();
    for name in runs.chain(steps).chain(["refused"]) {
        if !names.contains(&name) {
            names.push(name);
        }
    }
    names.into_iter().map(|name| (name, word(name))).collect()
}

fn word(status: &'static str) -> &'static str {
    match status {
        "queued" => "About to start",
        "running" => "Running",
        "waiting" => "Waiting for a person",
        "paused" => "Paused",
        "completed" => "Completed",
        "rejected" => "Stopped: rejected",
        "failed" => "Failed",
        "cancelled" => "Cancelled",
        "done" => "Done",
        "skipped" => "Skipped",
        "refused" => "Refused",
        other => other,
    }
}

fn log_rows(
    connection: &mut Connection,
    scheduler: &Scheduler,
    entries: &[Stored],
) -> Result<Vec<LogRow>, StoreError> {
    let runs: Vec<i64> = entries.iter().map(|stored| stored.run_id).filter(|run| *run > 0).collect();
    let protocols = protocols_of(connection, scheduler, &runs)?;
    let row = |stored: &Stored| LogRow {
        href: entry_address(stored.run_id, stored.stream, stored.seq),
        run: run_link(stored.run_id),
        entry: sentences::entry(stored, protocols.get(&stored.run_id).map(Arc::as_ref), Depth::Brief),
    };
    Ok(entries.iter().map(row).collect())
}

/// The protocols of runs, in whose words their entries are told. The runs themselves are not needed, and would be
/// folded one by one. Without one that a newer version published.
pub fn protocols_of(
    connection: &mut Connection,
    scheduler: &Scheduler,
    runs: &[i64],
) -> Result<HashMap<i64, Arc<Protocol>>, StoreError> {
    let mut protocols = HashMap::new();
    for (run, id, version) in protocol_versions(connection, runs)? {
        let protocol = scheduler.protocols().get_known(connection, id, version)?;
        protocols.extend(protocol.map(|protocol| (run, protocol)));
    }
    Ok(protocols)
}

pub fn run_link(run_id: i64) -> Option<RunLink> {
    (run_id > 0).then(|| RunLink { href: format!("/runs/{run_id}"), number: run_id.to_string() })
}

/// The page of an entry: `/log/9001/5`, and for those of run 0 `/log/0/3/17`.
pub fn entry_address(run_id: i64, stream: i64, seq: i64) -> String {
    if stream == 0 { format!("/log/{run_id}/{seq}") } else { format!("/log/{run_id}/{stream}/{seq}") }
}

/// The log, searched for this.
pub fn list_address(search: &str, cursor: Option<&str>) -> String {
    let search = Some(search).filter(|search| !search.is_empty()).map(|search| ("search", search));
    address("/log", search.into_iter().chain(cursor.map(|cursor| ("cursor", cursor))))
}

/// The export of exactly what is shown: the same search, and no page.
fn export_address(path: &str, search: &str, with_bom: bool) -> String {
    let search = Some(search).filter(|search| !search.is_empty()).map(|search| ("search", search));
    address(path, search.into_iter().chain(with_bom.then_some(("bom", "1"))))
}

fn written(place: LogPosition) -> String {
    let LogPosition { at, run_id, stream, seq } = place;
    format!("{}.{run_id}.{stream}.{seq}", at.timestamp_micros())
}

fn position(text: &str) -> Result<LogPosition, AppError> {
    let read = || {
        let numbers: Vec<i64> = text.split('.').map(str::parse).collect::<Result<_, _>>().ok()?;
        let [micros, run_id, stream, seq] = numbers[..] else { return None };
        Some(LogPosition { at: DateTime::from_timestamp_micros(micros)?, run_id, stream, seq })
    };
    let wrong = || AppError::BadRequest("The cursor is not one of ours. Begin at the first page.".to_owned());
    read().ok_or_else(wrong)
}

/// `rows`: how many were found for this page. `gave_up`: looking for more of them took too long.
fn counted(count: Count, rows: usize, gave_up: bool) -> String {
    match count {
        Count::Exactly(1) => "1 entry".to_owned(),
        Count::Exactly(count) => format!("{} entries", grouped(count)),
        Count::AtLeast(count) if count > COUNTED => format!("more than {} entries", grouped(COUNTED)),
        Count::AtLeast(_) if gave_up => format!("{rows} so far"),
        Count::AtLeast(count) => format!("at least {} entries", grouped(count.max(rows as i64))),
    }
}

/// `1204` → `1,204`.
pub fn grouped(number: i64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cursor_leads_back_to_its_place() {
        let place = position("1700000000000001.9001.0.5").expect("ours");
        assert_eq!((place.run_id, place.stream, place.seq), (9001, 0, 5));
        assert_eq!(place.at.timestamp_micros(), 1_700_000_000_000_001);
        assert_eq!(written(place), "1700000000000001.9001.0.5");
        for text in ["", "1.2.3", "a.b.c.d", "1.2.3.4.5", "9223372036854775807.1.1.1"] {
            assert!(position(text).is_err(), "{text}");
        }
    }

    #[test]
    fn counts_say_what_is_known() {
        assert_eq!(counted(Count::Exactly(1), 1, false), "1 entry");
        assert_eq!(counted(Count::Exactly(COUNTED), 50, false), "10,000 entries");
        assert_eq!(counted(Count::AtLeast(COUNTED + 1), 50, false), "more than 10,000 entries");
        assert_eq!(counted(Count::AtLeast(1_300), 50, false), "at least 1,300 entries");
        assert_eq!(counted(Count::AtLeast(0), 3, true), "3 so far");
        assert_eq!(grouped(1_204_000), "1,204,000");
    }

    #[test]
    fn what_is_nearly_a_kind_or_a_status_is_offered() {
        let filter = log_search::read("type:step.faild status:faild actor:ada").expect("it reads");
        let hints = hints(&filter);
        let terms: Vec<&str> = hints.iter().map(|hint| hint.term.as_str()).collect();
        assert_eq!(terms, ["type:step.failed", "status:failed"]);
        assert_eq!(hints[0].href, "/log?search=actor%3Aada+type%3Astep.failed+status%3Afaild");
        assert!(super::hints(&log_search::read("type:step.failed").expect("it reads")).is_empty());
    }

    #[test]
    fn every_status_has_a_word_of_its_own() {
        for (name, word) in statuses() {
            assert_ne!(name, word, "{name} has no word");
        }
    }

    #[test]
    fn exports_have_the_search_and_not_the_page() {
        let search = "run:9001 \"a b\"";
        assert_eq!(
            export_address("/acts/log.csv", search, true),
            "/acts/log.csv?search=run%3A9001+%22a+b%22&bom=1"
        );
        assert_eq!(export_address("/acts/log.csv", "", false), "/acts/log.csv");
        assert_eq!(list_address("", Some("1.2.3.4")), "/log?cursor=1.2.3.4");
    }
}
