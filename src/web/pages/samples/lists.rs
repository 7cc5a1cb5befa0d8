//! Sign-in, home, the list of runs, the start forms.

use super::approvals::approval_rows;
use super::overrides::override_rows;
use super::{HOSTILE, Page, at, chrome, draw, with_notice};
use crate::web::pages::forms::{Choice, Field, FieldKind, Problem};
use crate::web::pages::home::{Digest, Home};
use crate::web::pages::run_new::{Pair, ProtocolChoice, RunNew, StartForm};
use crate::web::pages::runs::{RunRow, Runs, RunsFilter};
use crate::web::pages::sign_in::{DemoUser, SignIn};
use crate::web::pages::status::Status;

pub fn pages() -> Vec<Page> {
    vec![
        ("sign_in", draw(&sign_in())),
        ("home", draw(&home(2))),
        ("home_empty", draw(&home(0))),
        ("runs", draw(&runs(4))),
        ("runs_empty", draw(&runs(0))),
        ("run_new_choose", draw(&choose())),
        ("run_new_form", draw(&start_form())),
        ("run_new_pairs", draw(&start_pairs())),
    ]
}

fn sign_in() -> SignIn {
    let user = |name: &str, can: &str| DemoUser { name: name.to_owned(), can: can.to_owned() };
    let mut chrome = chrome("Sign in", "Staff", "");
    chrome.user = None;
    chrome.nav.clear();
    SignIn {
        chrome,
        user_name: "supervisor".to_owned(),
        error: Some("The user name or the password is wrong. Try again.".to_owned()),
        next: "/approvals".to_owned(),
        demo_users: vec![
            user("staff", "starts runs and watches them"),
            user("supervisor", "does that too, and approves or rejects"),
            user("auditor", "sees everything, exports the log, changes nothing"),
            user("admin", "also writes protocols and manages users"),
        ],
    }
}

fn home(count: usize) -> Home {
    let digest =
        |href: &str, rows: Vec<RunRow>| Digest { count: rows.len() as u64, href: href.to_owned(), rows };
    let decisions: Vec<_> = approval_rows().into_iter().take(count).collect();
    Home {
        chrome: with_notice(chrome("Home", "Supervisor", "/"), "You are signed in."),
        decisions: Some(Digest { count: count as u64, href: "/approvals".to_owned(), rows: decisions }),
        overrides: Some(Digest {
            count: count as u64,
            href: "/overrides".to_owned(),
            rows: override_rows(true).into_iter().take(count).collect(),
        }),
        mine: Some(digest("/runs?mine=1", run_rows(count))),
        stalled: digest("/runs?stalled=1", run_rows(count).into_iter().skip(1).collect()),
        can_start: true,
    }
}

fn runs(count: usize) -> Runs {
    let filter = RunsFilter {
        statuses: vec![Choice::new("waiting", "Waiting", true), Choice::new("completed", "Completed", false)],
        protocols: vec![Choice::new("7", "Export licence renewal", true)],
        q: HOSTILE.to_owned(),
        from: "2026-11-01".to_owned(),
        to: String::new(),
        mine: true,
        stalled: false,
    };
    Runs {
        chrome: chrome("Runs", "Staff", "/runs"),
        filter,
        problems: Vec::new(),
        runs: run_rows(count),
        filtered: true,
        first: Some("/runs".to_owned()),
        next: Some("/runs?cursor=abc".to_owned()),
        can_start: true,
    }
}

fn run_rows(count: usize) -> Vec<RunRow> {
    let statuses = [
        Status::waiting_for("a supervisor"),
        Status::running(),
        Status::completed(),
        Status::stopped_rejected(),
    ];
    let row = |(index, status): (usize, Status)| RunRow {
        href: format!("/runs/{}", 9001 + index),
        number: (9001 + index).to_string(),
        protocol: "Export licence renewal".to_owned(),
        subject: if index == 1 { HOSTILE.to_owned() } else { "licence 123, Nordwind Optik GmbH".to_owned() },
        status,
        stalled: index == 1,
        step: (index < 2).then(|| "Supervisor sign-off".to_owned()),
        started_by: "staff".to_owned(),
        started: at(index as i64 * 431),
    };
    statuses.into_iter().enumerate().take(count).map(row).collect()
}

fn choose() -> RunNew {
    let choice = |id: u32, name: &str, description: &str| ProtocolChoice {
        href: format!("/runs/new?protocol_id={id}"),
        name: name.to_owned(),
        description: description.to_owned(),
    };
    RunNew {
        chrome: chrome("Start a run", "Staff", "/runs"),
        protocols: vec![
            choice(
                7,
                "Export licence renewal",
                "Screens the applicant, drafts the letter, and asks a supervisor.",
            ),
            choice(8, HOSTILE, ""),
        ],
        form: None,
        problems: Vec::new(),
    }
}

fn start_form() -> RunNew {
    let field = |name: &str, label: &str, kind, value: &str| Field {
        name: name.to_owned(),
        scope: String::new(),
        label: label.to_owned(),
        hint: None,
        kind,
        required: true,
        value: value.to_owned(),
        error: None,
        choices: Vec::new(),
    };
    let licence = Field {
        hint: Some("The number on the licence, for example 123".to_owned()),
        error: Some("Enter the licence number as a whole number.".to_owned()),
        ..field("license_id", "Licence number", FieldKind::Integer, "12x")
    };
    let urgency = Field {
        choices: vec![Choice::new("normal", "Normal", true), Choice::new("urgent", "Urgent", false)],
        ..field("urgency", "How urgent is it?", FieldKind::Select, "normal")
    };
    let note =
        Field { required: false, ..field("note", "Note for the supervisor", FieldKind::Textarea, HOSTILE) };
    let amount =
        Field { required: false, ..field("amount", "Value of the goods in euro", FieldKind::Number, "") };
    let told = field("told", "The applicant was told", FieldKind::Checkbox, "true");
    let problem = Problem::at_field("field-license_id", "Enter the licence number as a whole number.");
    start(vec![licence, urgency, amount, note, told], Vec::new(), vec![problem])
}

fn start_pairs() -> RunNew {
    let pair =
        |number, name: &str, value: &str| Pair { number, name: name.to_owned(), value: value.to_owned() };
    start(Vec::new(), vec![pair(1, "license_id", "123"), pair(2, "", ""), pair(3, "", "")], Vec::new())
}

fn start(fields: Vec<Field>, pairs: Vec<Pair>, problems: Vec<Problem>) -> RunNew {
    let steps = [
        "Fetch the application",
        "AI analysis",
        "Draft the letter",
        "Supervisor sign-off",
        "Publish the licence",
    ];
    RunNew {
        chrome: chrome("Export licence renewal", "Staff", "/runs"),
        protocols: Vec::new(),
        form: Some(StartForm {
            protocol_id: "7".to_owned(),
            key: "k".to_owned(),
            name: "Export licence renewal".to_owned(),
            description: "Screens the applicant, drafts the letter, and asks a supervisor.".to_owned(),
            steps: steps.map(str::to_owned).to_vec(),
            fields,
            pairs,
        }),
        problems,
    }
}
