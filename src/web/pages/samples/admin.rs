//! The log, protocols, actions, agents, users, errors.

use super::{HOSTILE, Page, at, chrome, draw, with_notice};
use crate::web::pages::actions::{Actions, TargetForm, TargetRow};
use crate::web::pages::agents::Agents;
use crate::web::pages::error::ErrorPage;
use crate::web::pages::forms::{Choice, Problem};
use crate::web::pages::log::{
    DayField, Entry, Hint, Log, LogFilter, LogRow, Qualifier, RunLink, SearchedBack, SignedHead, Verified,
};
use crate::web::pages::log_entry::{Column, LogEntry, Others, Proof};
use crate::web::pages::protocol::{Editor, Protocol, Task, TaskKind, TaskList, Version};
use crate::web::pages::protocols::{ProtocolNew, ProtocolRow, Protocols};
use crate::web::pages::status::Status;
use crate::web::pages::users::{NewUser, UserRow, Users};

pub fn pages() -> Vec<Page> {
    let anybody = || chrome("Error", "Staff", "");
    let refused = ErrorPage::forbidden(
        anybody(),
        "Your role (staff) does not hold the permission approvals:decide.",
        "approvals:decide",
    );
    vec![
        ("log", draw(&log())),
        ("log_entry", draw(&log_entry(true))),
        ("log_entry_unsigned", draw(&log_entry(false))),
        ("protocols", draw(&protocols())),
        ("protocol_editor", draw(&protocol(true))),
        ("protocol_read", draw(&protocol(false))),
        ("protocol_new", draw(&protocol_new())),
        ("actions", draw(&actions())),
        ("agent", draw(&agent())),
        ("users", draw(&users())),
        ("error_403", draw(&refused)),
        ("error_404", draw(&ErrorPage::not_found(anybody()))),
        ("error_409", draw(&ErrorPage::conflict(anybody(), "supervisor2 already rejected this at 14:15."))),
        ("error_500", draw(&ErrorPage::internal(anybody(), "0193-7f"))),
    ]
}

fn log() -> Log {
    let row = |seq: u64, run: bool, sentence: &str, who: &str, status: Option<Status>| LogRow {
        href: format!("/log/9001/{seq}"),
        run: run.then(|| RunLink { href: "/runs/9001".to_owned(), number: "9001".to_owned() }),
        entry: Entry {
            seq,
            t: at(seq as i64 * 7),
            sentence: sentence.to_owned(),
            who: who.to_owned(),
            step: status.as_ref().map(|_| "Supervisor sign-off".to_owned()),
            status,
            facts: Vec::new(),
        },
    };
    Log {
        chrome: chrome("Activity log", "Auditor", "/log"),
        filter: LogFilter {
            run_id: "9001".to_owned(),
            q: HOSTILE.to_owned(),
            to: DayField { value: "2026-11-22T14:00:00Z".to_owned(), is_time: true },
            types: vec![Choice::new("run.started", "A run was started", false)],
            statuses: vec![Choice::new("done", "Done", true)],
            ..LogFilter::default()
        },
        problems: vec![Problem::at_field("run_id", "A run is a number, for example 9001.")],
        rows: vec![
            row(1, true, "Run 9001 was started with Export licence renewal, version 1.", "staff", None),
            row(
                2,
                true,
                "Supervisor sign-off waits for a supervisor.",
                "HMS-ACT",
                Some(Status::waiting_for("a supervisor")),
            ),
            row(3, false, "supervisor signed in.", HOSTILE, None),
        ],
        verified: Verified {
            head: Some(SignedHead {
                size: "1,204".to_owned(),
                signed_at: at(3),
                href: "/acts/log/checkpoint".to_owned(),
            }),
            problem: Some(format!("{HOSTILE} was changed")),
        },
        search: format!("run:9001 {HOSTILE}"),
        search_errors: vec!["There is no actr: to look by. Did you mean actor:?".to_owned()],
        qualifiers: vec![Qualifier { word: "actor:".to_owned(), about: "who did it".to_owned() }],
        hints: vec![Hint {
            missing: "status faild".to_owned(),
            term: "status:failed".to_owned(),
            href: "/log?search=status%3Afailed".to_owned(),
        }],
        count: "1,204 entries".to_owned(),
        exact_count: Some("1204".to_owned()),
        csv_href: "/acts/log.csv?search=run%3A9001".to_owned(),
        bom_href: "/acts/log.csv?search=run%3A9001&bom=1".to_owned(),
        ndjson_href: "/acts/log.ndjson?search=run%3A9001".to_owned(),
        searched_back: Some(SearchedBack { to: at(1), further_href: "/log?cursor=1.2.3.4".to_owned() }),
        filtered: true,
        first: None,
        next: Some("/log?cursor=abc".to_owned()),
    }
}

fn log_entry(signed: bool) -> LogEntry {
    let hash = || "5f".repeat(32);
    let column = |name: &str, value: &str, others: Option<&str>| Column {
        name: name.to_owned(),
        value: value.to_owned(),
        href: others.map(|text| Others { href: "/log?search=actor%3Aada".to_owned(), text: text.to_owned() }),
    };
    LogEntry {
        chrome: chrome("Entry 5 of run 9001", "Auditor", "/log"),
        verified: Verified::default(),
        title: "Entry 5 of run 9001".to_owned(),
        log_href: signed.then(|| "/log".to_owned()),
        run: Some(RunLink { href: "/runs/9001".to_owned(), number: "9001".to_owned() }),
        entry: Entry {
            seq: 5,
            t: at(5),
            sentence: "Supervisor sign-off waits for a supervisor.".to_owned(),
            who: HOSTILE.to_owned(),
            step: Some("Supervisor sign-off".to_owned()),
            status: Some(Status::waiting_for("a supervisor")),
            facts: Vec::new(),
        },
        columns: vec![column("actor", HOSTILE, Some("What else they did")), column("step", "none", None)],
        pretty: format!("{{\n  \"actor\": \"{HOSTILE}\"\n}}"),
        raw: HOSTILE.to_owned(),
        raw_href: "/log/9001/0/5/leaf.json".to_owned(),
        bytes: "612".to_owned(),
        leaf_hash: hash(),
        hash_holds: signed,
        prev_hash: Some(hash()),
        link_holds: Some(signed),
        prev_href: Some("/log/9001/4".to_owned()),
        next_href: signed.then(|| "/log/9001/6".to_owned()),
        checksum: Some(hash()),
        has_beside: true,
        proof: signed.then(|| Proof {
            index: "4".to_owned(),
            tree_size: "1,204".to_owned(),
            path: vec![hash(), hash()],
            root: hash(),
            holds: true,
        }),
    }
}

fn protocols() -> Protocols {
    let row = |id: u32, name: &str, description: &str| ProtocolRow {
        href: format!("/protocols/{id}"),
        id: id.to_string(),
        name: name.to_owned(),
        description: description.to_owned(),
        version: "2".to_owned(),
        updated: at(0),
        updated_by: "admin".to_owned(),
        start_href: Some(format!("/runs/new?protocol_id={id}")),
    };
    Protocols {
        chrome: chrome("Protocols", "Admin", "/protocols"),
        rows: vec![
            row(7, "Export licence renewal", "Screens, drafts, asks a supervisor."),
            row(8, HOSTILE, ""),
        ],
        can_write: true,
        first: None,
        next: None,
    }
}

const DEFINITION: &str = r#"{
  "tasks": [
    {"id": "fetch_data",     "type": "script"},
    {"id": "ai_analysis",    "type": "agent"},
    {"id": "human_approval", "type": "hitl"},
    {"id": "deploy",         "type": "script", "uses": "deplyo"}
  ]
}"#;

fn protocol(editable: bool) -> Protocol {
    let task = |id: &str, title: &str, kind, what: &str, notes: &[&str], inside: Vec<Task>| Task {
        title: title.to_owned(),
        id: id.to_owned(),
        kind,
        what: what.to_owned(),
        notes: notes.iter().map(|&note| note.to_owned()).collect(),
        inside: TaskList { inner: true, tasks: inside },
    };
    let legal = task("legal", "Legal", TaskKind::Agent, "An AI agent: legal", &[], Vec::new());
    let fees = task("fees", HOSTILE, TaskKind::Automatic, "Automatic: calls fees", &[], Vec::new());
    let version = |number: u32| Version {
        href: format!("/protocols/7?version={number}"),
        number: number.to_string(),
        created: at(number as i64 * 100),
        created_by: "admin".to_owned(),
        current: number == 2,
    };
    Protocol {
        chrome: chrome("Export licence renewal", if editable { "Admin" } else { "Staff" }, "/protocols"),
        id: "7".to_owned(),
        name: "Export licence renewal".to_owned(),
        description: "Screens the applicant, drafts the letter, and asks a supervisor.".to_owned(),
        version: "2".to_owned(),
        versions: vec![version(2), version(1)],
        first: None,
        next: None,
        rules: vec!["Runs start by themselves: 0 6 * * * (Europe/Berlin).".to_owned()],
        tasks: outermost(vec![
            task(
                "fetch_data",
                "Fetch the application",
                TaskKind::Automatic,
                "Automatic: calls fetch_data",
                &[],
                Vec::new(),
            ),
            task(
                "ai_analysis",
                "AI analysis",
                TaskKind::Agent,
                "An AI agent: ai_analysis",
                &["At most 5 minutes.", "Up to 3 attempts."],
                Vec::new(),
            ),
            task("checks", "Checks", TaskKind::Other, "2 branches at the same time", &[], vec![legal, fees]),
            task(
                "human_approval",
                "Supervisor sign-off",
                TaskKind::Person,
                "A supervisor decides",
                &["Not whoever started the run."],
                Vec::new(),
            ),
            task("deploy", HOSTILE, TaskKind::Automatic, "Automatic: calls deploy", &[], Vec::new()),
        ]),
        definition: DEFINITION.to_owned(),
        editor: editable.then(|| Editor { base_version: "2".to_owned(), next_version: "3".to_owned() }),
        problems: if editable { document_problems() } else { Vec::new() },
        start_href: Some("/runs/new?protocol_id=7".to_owned()),
    }
}

fn outermost(tasks: Vec<Task>) -> TaskList {
    TaskList { inner: false, tasks }
}

fn document_problems() -> Vec<Problem> {
    vec![
        Problem::at_place(
            "definition",
            "$.tasks[3].uses",
            "There is no action named “deplyo”. Add it under Actions, or name one that exists.",
        ),
        Problem::at_place(
            "definition",
            "$.tasks[1].max_minuts",
            "This field is not known. Did you mean max_minutes?",
        ),
    ]
}

fn protocol_new() -> ProtocolNew {
    ProtocolNew {
        chrome: chrome("Write a new protocol", "Admin", "/protocols"),
        name: HOSTILE.to_owned(),
        definition: DEFINITION.to_owned(),
        problems: document_problems(),
    }
}

fn targets() -> Vec<TargetRow> {
    let row = |name: &str, kind: &str| TargetRow {
        href: format!("/actions/{name}"),
        name: name.to_owned(),
        kind: kind.to_owned(),
        version: "1".to_owned(),
        updated: at(0),
        updated_by: "admin".to_owned(),
    };
    vec![row("fetch_data", "Web service"), row("draft_letter", "Calculation"), row(HOSTILE, "Web service")]
}

fn actions() -> Actions {
    let form = TargetForm {
        kinds: vec![Choice::new("http", "Web service", true), Choice::new("compute", "Calculation", false)],
        config: "{\"method\": \"GET\", \"url\": \"http://data.example/licences/${input.license_id}\"}"
            .to_owned(),
        ..TargetForm::default()
    };
    Actions { chrome: chrome("Actions", "Admin", "/actions"), rows: targets(), form, problems: Vec::new() }
}

fn agent() -> Agents {
    let form = TargetForm {
        base_version: Some("1".to_owned()),
        name: "ai_analysis".to_owned(),
        kinds: vec![Choice::new("openai", "OpenAI-compatible", true)],
        config: "{\n  \"model\": \"name-screening\"\n}".to_owned(),
    };
    let problem = Problem::at_place("config", "$.url", "Say where the model is: add \"url\".");
    Agents { chrome: chrome("Agent", "Admin", "/agents"), rows: targets(), form, problems: vec![problem] }
}

fn users() -> Users {
    let roles = |chosen: &str| {
        ["Staff", "Supervisor", "Auditor", "Admin"]
            .map(|role| Choice::new(role.to_lowercase(), role, role == chosen))
            .to_vec()
    };
    let row = |name: &str, role: &str, enabled| UserRow {
        name: name.to_owned(),
        role_word: role.to_owned(),
        roles: roles(role),
        groups: if name == "staff" { "legal, security".to_owned() } else { String::new() },
        enabled,
        since: at(0),
        me: name == "admin",
    };
    Users {
        chrome: with_notice(chrome("Users", "Admin", "/users"), "The role of staff is changed."),
        rows: vec![
            row("admin", "Admin", true),
            row("staff", "Staff", true),
            row("j.long-name.of-a-department@agency.example", "Auditor", false),
        ],
        form: NewUser { name: HOSTILE.to_owned(), roles: roles("Staff"), groups: HOSTILE.to_owned() },
        problems: Vec::new(),
    }
}
