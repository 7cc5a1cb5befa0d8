//! The run page in several states, and its replay.

use super::approvals::{LETTER, application, assessment};
use super::{HOSTILE, Page, at, chrome, draw, with_notice};
use crate::web::pages::acts::{ActForm, ActPage, Acts, one_of, text};
use crate::web::pages::assessment::RiskLevel;
use crate::web::pages::drawn::Drawn;
use crate::web::pages::facts;
use crate::web::pages::forms::Choice;
use crate::web::pages::log::Entry;
use crate::web::pages::replay::{Entries, Mark, Replay, Scene};
use crate::web::pages::run::{DecisionLink, Origin, Run};
use crate::web::pages::status::Status;
use crate::web::pages::steps::{Link, Step, StepList};
use crate::web::pages::what_if::{Answer, Row, WhatIf};
use serde_json::json;

pub fn pages() -> Vec<Page> {
    vec![
        ("run_waiting", draw(&run_waiting())),
        ("run_queued", draw(&run_queued())),
        ("run_failed", draw(&run_failed())),
        ("replay", draw(&replay())),
        ("replay_entries", draw(&replay_entries())),
        ("what_if", draw(&what_if())),
    ]
}

fn waiting_plan() -> StepList {
    let mut steps = plan();
    let fetched = steps.remove(0);
    steps.insert(0, Step { result: facts::of(&application()), ..finished(fetched, 1) });
    let screened = steps.remove(1);
    steps.insert(
        1,
        Step {
            assessment: Some(assessment(RiskLevel::High)),
            attempt: Some("attempt 2 of 3".to_owned()),
            ..finished(screened, 3)
        },
    );
    let drafted = steps.remove(2);
    steps.insert(2, Step { letter: Some(LETTER.to_owned()), ..finished(drafted, 6) });
    steps[3].status = Status::waiting_for("a supervisor");
    steps[3].sentences =
        vec!["Anybody with the role supervisor may decide, but not staff, who started this run.".to_owned()];
    steps[3].started = Some(at(8));
    list(steps)
}

pub(super) fn run_waiting() -> Run {
    Run {
        chrome: chrome("Run 9001", "Supervisor", "/runs"),
        log_href: Some("/log?run_id=9001".to_owned()),
        bundle_href: Some("/acts/runs/9001/bundle".to_owned()),
        status: Status::waiting_for("a supervisor"),
        sentence: "Supervisor sign-off waits for a supervisor to approve or reject.".to_owned(),
        stalled: Some("Supervisor sign-off has taken longer than its 2,880 minutes. Remind a supervisor, or cancel the run.".to_owned()),
        duration: "3 days".to_owned(),
        decision: Some(DecisionLink { href: "/approvals/5".to_owned(), may_decide: true }),
        review: Some(DecisionLink { href: "/overrides/3".to_owned(), may_decide: false }),
        steps: Drawn::steps(&waiting_plan()),
        earlier: Some(4_321),
        entries: Drawn::entries(&entries()),
        payload: Drawn::facts(&facts::of(&application())),
        redactions: vec![Origin {
            sentence: "payload.applicant.ssn was erased.".to_owned(),
            link: Some(Link { href: "/redactions/4".to_owned(), text: "See the request".to_owned() }),
        }],
        acts: acts(),
        ..run_queued()
    }
}

pub(super) fn run_queued() -> Run {
    Run {
        chrome: with_notice(
            chrome("Run 9001", "Staff", "/runs"),
            "The run is started. You can watch it here.",
        ),
        number: "9001".to_owned(),
        protocol: "Export licence renewal".to_owned(),
        protocol_href: Some("/protocols/7?version=1".to_owned()),
        version: "1".to_owned(),
        live_href: Some("/runs/9001/live?after=1".to_owned()),
        replay_href: "/runs/9001/replay".to_owned(),
        what_if_href: Some("/runs/9001/what-if".to_owned()),
        log_href: None,
        bundle_href: None,
        status: Status::starting(),
        sentence: "The first step is about to begin.".to_owned(),
        stalled: None,
        started_by: "staff".to_owned(),
        started: at(0),
        ended: None,
        duration: "1 s".to_owned(),
        decision: None,
        origins: vec![Origin {
            sentence: "It is a rerun of an earlier run:".to_owned(),
            link: Some(Link { href: "/runs/8999".to_owned(), text: "Run 8999".to_owned() }),
        }],
        not_undone: Vec::new(),
        review: None,
        steps: Drawn::steps(&list(plan())),
        whole_href: None,
        undone: Drawn::default(),
        entries: Drawn::entries(&entries()[..1]),
        payload: Drawn::facts(&facts::of(&json!({"license_id": 123}))),
        redactions: Vec::new(),
        earlier: None,
        acts: Acts { forms: vec![cancel()], pages: Vec::new() },
    }
}

fn run_failed() -> Run {
    let mut steps = plan();
    steps[0].status = Status::failed();
    steps[0].error = Some(
        "The data repository answered 503 three times. Ask its operators, then start the run again."
            .to_owned(),
    );
    steps[1].status = Status::cancelled();
    steps[2].status = Status::skipped();
    steps[2].sentences =
        vec!["Skipped: the condition payload.ai_analysis.risk != 'high' was not met.".to_owned()];
    Run {
        chrome: chrome("Run 9001", "Auditor", "/runs"),
        live_href: None,
        status: Status::stopped_failed(),
        sentence: "It stopped because the step Fetch the application failed.".to_owned(),
        ended: Some(at(95)),
        duration: "1 min 35 s".to_owned(),
        steps: Drawn::steps(&list(steps)),
        acts: Acts::default(),
        ..run_queued()
    }
}

fn replay() -> Replay {
    let run = run_waiting();
    let mut entries = entries();
    let href = |at: u64| format!("/runs/9001/replay?at={at}");
    let mark = |seq: u64, status: Status, place: &str| Mark {
        href: href(seq),
        seq,
        t: at(seq as i64 * 3),
        status,
        sentence: format!("Supervisor decided: {HOSTILE}."),
        place: place.to_owned(),
    };
    Replay {
        chrome: chrome("Replay of run 9001", "Auditor", "/runs"),
        run_number: "9001".to_owned(),
        run_href: "/runs/9001".to_owned(),
        protocol: "Export licence renewal".to_owned(),
        summary: "5 entries over 12 s".to_owned(),
        entries_href: "/runs/9001/replay/entries".to_owned(),
        what_if_href: Some("/runs/9001/what-if".to_owned()),
        fragment_href: "/runs/9001/replay/moment?group=checks".to_owned(),
        kept: vec![("group".to_owned(), HOSTILE.to_owned())],
        marks: vec![mark(2, Status::sent_back(), "25.0"), mark(4, Status::failed(), "80.0")],
        more_marks: Some("There are more: the list of every entry has them all.".to_owned()),
        scene: Scene {
            seq: 3,
            count: 5,
            entry: entries.remove(2),
            idle: Some("3 h 0 min nothing happened.".to_owned()),
            status: run.status,
            sentence: run.sentence,
            steps: waiting_plan(),
            whole_href: None,
            undone: StepList::default(),
            first: Some(href(1)),
            previous: Some(href(2)),
            next: Some(href(4)),
            last: None,
            present: true,
            place: "50.0".to_owned(),
            ahead: "3000 6000".to_owned(),
        },
    }
}

fn replay_entries() -> Entries {
    Entries {
        chrome: chrome("Entries of run 9001", "Auditor", "/runs"),
        run_number: "9001".to_owned(),
        replay_href: "/runs/9001/replay".to_owned(),
        protocol: "Export licence renewal".to_owned(),
        status: Status::waiting_for("a supervisor"),
        summary: "5 entries over 12 s".to_owned(),
        complete: false,
        entries: entries(),
        first: None,
        next: Some("/runs/9001/replay/entries?cursor=500".to_owned()),
    }
}

fn what_if() -> WhatIf {
    let row = |step: &str, now: Option<Status>, differences: &[&str]| Row {
        step: step.to_owned(),
        then: Some(Status::done()),
        unknown: now.is_none(),
        now,
        differences: differences.iter().map(|words| (*words).to_owned()).collect(),
    };
    WhatIf {
        chrome: chrome("What if: run 9001", "Admin", "/runs"),
        number: "9001".to_owned(),
        protocol: "Export licence renewal".to_owned(),
        from: "1".to_owned(),
        versions: vec![
            Choice::new("2", "Version 2", true),
            Choice::new("1", "Version 1 (the run's own)", false),
        ],
        draft: Some(HOSTILE.to_owned()),
        problems: Vec::new(),
        answer: Some(Answer {
            called: "version 2".to_owned(),
            same: false,
            sentences: vec!["The same until Draft the letter; then 2 differences.".to_owned()],
            then: Status::completed(),
            now: None,
            rows: vec![
                row("Draft the letter", Some(Status::done()), &[]),
                row("Audit sync", None, &[HOSTILE]),
            ],
            more: Some("9,800 more steps do the same.".to_owned()),
            of_run: Vec::new(),
        }),
    }
}

fn plan() -> Vec<Step> {
    vec![
        step(1, "Fetch the application", "Automatic", Status::not_started()),
        step(2, "AI analysis", "AI agent", Status::not_started()),
        step(3, "Draft the letter", "Automatic", Status::not_started()),
        step(4, "Supervisor sign-off", "A person decides", Status::not_started()),
        step(5, "Publish the licence", "Automatic", Status::not_started()),
    ]
}

fn step(number: u32, title: &str, by: &str, status: Status) -> Step {
    Step {
        id: format!("step-{number}"),
        number: number.to_string(),
        title: title.to_owned(),
        by: by.to_owned(),
        status,
        ..Step::default()
    }
}

fn list(steps: Vec<Step>) -> StepList {
    StepList { label: "Steps of the run".to_owned(), inner: false, steps }
}

fn cancel() -> ActForm {
    let hint = "A cancelled run cannot be continued.";
    let form = ActForm::new("cancel", "Cancel this run", hint, "Cancel run 9001".to_owned());
    ActForm { danger: true, ..form.with_reason("Why is it cancelled?") }
}

/// Every act; two of them came back with what is wrong.
pub(super) fn acts() -> Acts {
    let choices = vec![Choice::new("a", HOSTILE, false), Choice::new("b", "Legal (item 4)", true)];
    let skip =
        ActForm::new("skip", "Skip a step", "The run goes on without the step.", "Skip this step".to_owned());
    let skip = skip.with(one_of("step", "Which step?", choices)).with_reason("Why is it skipped?");
    let missing = [("reason".to_owned(), "Say why the step is skipped.".to_owned())];
    let skip = skip.back(&|name| if name == "step" { "b".to_owned() } else { HOSTILE.to_owned() }, &missing);
    let value = ActForm::new(
        "value",
        "Change a value",
        "Whatever was decided is asked again.",
        "Change it".to_owned(),
    );
    let value = value.with(text("path", "Which value?")).with(text("value", "New value"));
    let refused = [(String::new(), "Run 9001 is paused. Resume it first.".to_owned())];
    let value = value.with_reason("Why is it changed?").back(&|_| String::new(), &refused);
    let pages = ["override", "migrate"].map(|name| ActPage {
        link: Link { href: format!("/runs/9001/{name}"), text: format!("The way to {name}") },
        hint: "You see what would happen before anything does.".to_owned(),
    });
    Acts { forms: vec![skip, value, cancel()], pages: pages.into() }
}

fn finished(step: Step, second: i64) -> Step {
    Step { status: Status::done(), started: Some(at(second)), duration: Some("2 s".to_owned()), ..step }
}

fn entries() -> Vec<Entry> {
    let lines = [
        ("Run 9001 was started with Export licence renewal, version 1.", "staff"),
        ("Fetch the application began.", "HMS-ACT"),
        ("Fetch the application is done.", "HMS-ACT"),
        ("AI analysis is done: high risk.", "name-screening"),
        ("Supervisor sign-off waits for a supervisor.", HOSTILE),
    ];
    let entry = |(index, (sentence, who)): (usize, (&str, &str))| Entry {
        seq: index as u64 + 1,
        t: at(index as i64 * 3),
        sentence: sentence.to_owned(),
        who: who.to_owned(),
        step: (index > 0).then(|| "Fetch the application".to_owned()),
        status: (index > 0).then(Status::done),
        facts: if index == 2 { facts::of(&application()) } else { Vec::new() },
    };
    lines.into_iter().enumerate().map(entry).collect()
}
