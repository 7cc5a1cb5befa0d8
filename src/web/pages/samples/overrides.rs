//! Overrides, migrations, reruns, schedules: lists, forms and answers.

use super::{HOSTILE, Page, at, chrome, draw};
use crate::web::pages::acts::reason;
use crate::web::pages::facts;
use crate::web::pages::forms::{Choice, Problem};
use crate::web::pages::migration::{Mapped, Migration, Preview};
use crate::web::pages::overrides::{Answer, Decided, Override, OverrideNew, OverrideRow, Overrides};
use crate::web::pages::rerun::Rerun;
use crate::web::pages::run_new::Pair;
use crate::web::pages::schedules::{ScheduleRow, Schedules};
use crate::web::pages::status::Status;
use serde_json::json;

pub fn pages() -> Vec<Page> {
    let open = Answer::Open { choice: "modify".to_owned(), reason: HOSTILE.to_owned(), pairs: pairs() };
    let barred = Answer::Barred("You filed this override, so somebody else must decide it.".to_owned());
    vec![
        ("overrides", draw(&overrides(true, override_rows(true)))),
        ("overrides_empty", draw(&overrides(true, Vec::new()))),
        ("overrides_history", draw(&overrides(false, override_rows(false)))),
        ("override_open", draw(&one(open))),
        ("override_barred", draw(&one(barred))),
        ("override_decided", draw(&one(decided()))),
        ("override_new", draw(&new())),
        ("migration", draw(&migration(true))),
        ("migration_refused", draw(&migration(false))),
        ("rerun", draw(&rerun())),
        ("schedules", draw(&schedules(true))),
        ("schedules_empty", draw(&schedules(false))),
    ]
}

fn pairs() -> Vec<Pair> {
    let pair =
        |number, name: &str, value: &str| Pair { number, name: name.to_owned(), value: value.to_owned() };
    vec![pair(1, "license_id", "124"), pair(2, "applicant.name", HOSTILE), pair(3, "", "")]
}

pub(super) fn override_rows(pending: bool) -> Vec<OverrideRow> {
    let row = |(index, title): (i64, &str)| OverrideRow {
        href: format!("/overrides/{index}"),
        title: title.to_owned(),
        status: if pending { Status::under_review() } else { Status::modified() },
        reason: if index == 2 {
            HOSTILE.to_owned()
        } else {
            "The consignee is under investigation.".to_owned()
        },
        run_number: "9001".to_owned(),
        run_href: "/runs/9001".to_owned(),
        protocol: "Export licence renewal".to_owned(),
        filed_by: "sam".to_owned(),
        filed: at(60),
        review_until: at(259_200),
        overdue: pending && index == 1,
        barred: (pending && index == 2)
            .then(|| "You filed this override, so somebody else must decide it.".to_owned()),
        decided: (!pending).then(|| ("supervisor".to_owned(), at(900))),
    };
    [(1, "Cancel the run"), (2, "Change values of the run")].into_iter().map(row).collect()
}

fn overrides(pending: bool, overrides: Vec<OverrideRow>) -> Overrides {
    let next = (!overrides.is_empty()).then(|| "/overrides?cursor=1".to_owned());
    Overrides {
        chrome: chrome("Overrides", "Supervisor", "/overrides"),
        pending,
        overrides,
        first: None,
        next,
    }
}

fn one(answer: Answer) -> Override {
    let open = matches!(answer, Answer::Open { .. });
    Override {
        chrome: chrome("Override 2", "Supervisor", "/overrides"),
        id: "2".to_owned(),
        row: override_rows(open).remove(1),
        sentence: "sam stopped run 9001. It stays paused until somebody else decides.".to_owned(),
        problems: if open {
            vec![Problem::at_field("reason", "Write down why you decide so.")]
        } else {
            Vec::new()
        },
        new_value: facts::of(&json!({"license_id": 124})),
        payload: facts::of(&json!({"license_id": 123, "applicant": {"name": HOSTILE}})),
        answer,
    }
}

fn decided() -> Answer {
    Answer::Decided(Decided {
        status: Status::modified(),
        by: "supervisor".to_owned(),
        at: at(900),
        reason: HOSTILE.to_owned(),
        merged: facts::of(&json!({"license_id": 124})),
    })
}

fn new() -> OverrideNew {
    let mut field = reason("Why do you stop it?");
    field.error = Some("Say why you stop the run.".to_owned());
    OverrideNew {
        chrome: chrome("Override of run 9001", "Supervisor", "/runs"),
        number: "9001".to_owned(),
        protocol: "Export licence renewal".to_owned(),
        problems: vec![
            Problem::at_field("action", "Choose what you ask for."),
            Problem::at_field("field-reason", "Say why you stop the run."),
        ],
        actions: vec![Choice::new("cancel", "Cancel the run", false)],
        action_error: Some("Choose what you ask for.".to_owned()),
        reason: field,
        pairs: pairs(),
        review: "3 days".to_owned(),
    }
}

fn migration(possible: bool) -> Migration {
    let mapped = |step: &str, becomes: &str| Mapped {
        step: step.to_owned(),
        status: Status::done(),
        becomes: becomes.to_owned(),
    };
    Migration {
        chrome: chrome("Move run 9001", "Admin", "/runs"),
        number: "9001".to_owned(),
        protocol: "Export licence renewal".to_owned(),
        from: "1".to_owned(),
        versions: vec![Choice::new("3", "Version 3", false), Choice::new("2", "Version 2", true)],
        problems: Vec::new(),
        preview: Some(Preview {
            version: "2".to_owned(),
            sentence: if possible { "The run can be moved." } else { "The run cannot be moved." }.to_owned(),
            possible,
            rows: vec![
                mapped("Fetch the application", "Stays as it is."),
                mapped(HOSTILE, "It has no counterpart."),
            ],
            reason: reason("Why is it moved?"),
        }),
    }
}

fn rerun() -> Rerun {
    Rerun {
        chrome: chrome("Run 9001 once more", "Staff", "/runs"),
        number: "9001".to_owned(),
        protocol: "Export licence renewal".to_owned(),
        version_note: Some("It follows version 2; run 9001 followed version 1.".to_owned()),
        problems: Vec::new(),
        reason: reason("Why is it run once more?"),
        fields: Vec::new(),
        pairs: pairs(),
        kept: false,
    }
}

fn schedules(some: bool) -> Schedules {
    let row = |name: &str, next| ScheduleRow {
        protocol: name.to_owned(),
        protocol_href: "/protocols/7".to_owned(),
        version: "2".to_owned(),
        cron: "0 6 * * *".to_owned(),
        zone: "Europe/Berlin".to_owned(),
        next,
        last: Some(at(0)),
        last_run: Some(("/runs/9001".to_owned(), "Run 9001".to_owned())),
        notes: vec!["Times that are missed are left out.".to_owned()],
    };
    Schedules {
        chrome: chrome("Schedules", "Admin", "/schedules"),
        rows: if some {
            vec![row("Export licence renewal", Some(at(3600))), row(HOSTILE, None)]
        } else {
            Vec::new()
        },
        first: None,
        next: None,
        can_write: true,
    }
}
