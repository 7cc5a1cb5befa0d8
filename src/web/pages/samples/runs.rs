//! Sign-in, home, runs, approvals, replay.

use super::{HOSTILE, Page, at, chrome, with_notice};
use crate::web::pages::approval::{Answer, Approval, Decided, Evidence};
use crate::web::pages::approvals::{ApprovalRow, Approvals};
use crate::web::pages::assessment::{Assessment, Match, RiskLevel};
use crate::web::pages::facts;
use crate::web::pages::forms::{Choice, Field, FieldKind, Problem};
use crate::web::pages::home::{Digest, Home};
use crate::web::pages::log::Entry;
use crate::web::pages::replay::Replay;
use crate::web::pages::run::{CancelForm, DecisionLink, Run, Step};
use crate::web::pages::run_new::{Pair, ProtocolChoice, RunNew, StartForm};
use crate::web::pages::runs::{RunRow, Runs, RunsFilter};
use crate::web::pages::sign_in::{DemoUser, SignIn};
use crate::web::pages::status::Status;
use askama::Template;
use serde_json::{Value, json};

pub fn pages() -> Vec<Page> {
    let draw = |template: &dyn askama::DynTemplate| template.dyn_render().unwrap();
    vec![
        ("sign_in", draw(&sign_in())),
        ("home", draw(&home(2))),
        ("home_empty", draw(&home(0))),
        ("runs", draw(&runs(4))),
        ("runs_empty", draw(&runs(0))),
        ("run_new_choose", draw(&choose())),
        ("run_new_form", draw(&start_form())),
        ("run_new_pairs", draw(&start_pairs())),
        ("run_waiting", draw(&run_waiting())),
        ("run_queued", draw(&run_queued())),
        ("run_failed", draw(&run_failed())),
        ("approvals", draw(&approvals(true))),
        ("approvals_history", draw(&approvals(false))),
        (
            "approval_open",
            draw(&approval(Answer::Open { decision: String::new(), reason: String::new() }, RiskLevel::High)),
        ),
        (
            "approval_barred",
            draw(&approval(
                Answer::Barred("You started this run, so somebody else must decide.".to_owned()),
                RiskLevel::Low,
            )),
        ),
        ("approval_decided", draw(&approval(decided(), RiskLevel::Medium))),
        ("replay", draw(&replay())),
    ]
}

/// Name, page, and the fragment that the stream sends.
pub fn fragments() -> Vec<(&'static str, String, String)> {
    let run = run_waiting();
    let list = approvals(true);
    vec![
        ("run", run.render().unwrap(), run.as_live().render().unwrap()),
        ("approvals", list.render().unwrap(), list.as_live().render().unwrap()),
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

fn approval_rows() -> Vec<ApprovalRow> {
    let row = |(index, risk): (usize, RiskLevel)| ApprovalRow {
        href: format!("/approvals/{}", index + 5),
        title: "Supervisor sign-off".to_owned(),
        run_number: (9001 + index).to_string(),
        run_href: format!("/runs/{}", 9001 + index),
        protocol: "Export licence renewal".to_owned(),
        subject: if index == 1 { HOSTILE.to_owned() } else { "licence 123, Nordwind Optik GmbH".to_owned() },
        status: if index == 1 { Status::rejected() } else { Status::approved() },
        risk: Some(risk),
        started_by: "staff".to_owned(),
        opened: at(60),
        due: Some(at(172_800)),
        overdue: index == 2,
        barred: (index == 1).then(|| "You started this run, so somebody else must decide.".to_owned()),
        decided: Some(("supervisor".to_owned(), at(900))),
    };
    [RiskLevel::High, RiskLevel::Low, RiskLevel::Medium].into_iter().enumerate().map(row).collect()
}

fn home(count: usize) -> Home {
    let digest =
        |href: &str, rows: Vec<RunRow>| Digest { count: rows.len() as u64, href: href.to_owned(), rows };
    let decisions: Vec<_> = approval_rows().into_iter().take(count).collect();
    Home {
        chrome: with_notice(chrome("Home", "Supervisor", "/"), "You are signed in."),
        decisions: Some(Digest { count: count as u64, href: "/approvals".to_owned(), rows: decisions }),
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
            name: "Export licence renewal".to_owned(),
            description: "Screens the applicant, drafts the letter, and asks a supervisor.".to_owned(),
            steps: steps.map(str::to_owned).to_vec(),
            fields,
            pairs,
        }),
        problems,
    }
}

fn start_form() -> RunNew {
    let field = |name: &str, label: &str, kind, value: &str| Field {
        name: name.to_owned(),
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

fn application() -> Value {
    json!({
        "license_id": 123,
        "applicant": {"name": "Nordwind Optik GmbH", "country": "Germany", "contact": HOSTILE},
        "goods": [{"item": "Infrared lens assembly, 50 mm, f/1.2, with mounting ring and calibration record", "quantity": 40}],
        "parties": [{"role": "consignee", "name": "Vostok Aero Trading"}, {"role": "end user", "name": "Helios University"}],
        "destination": "Exampleland",
    })
}

fn assessment(risk: RiskLevel) -> Assessment {
    let (headline, matches) = match risk {
        RiskLevel::High | RiskLevel::Medium => (
            "One party is very likely an entry of the screening list.",
            vec![Match {
                party: "Consignee: Vostok Aero Trading".to_owned(),
                entry: "VOSTOK AEROTRADING LLC".to_owned(),
                list: "Entity List (BIS), entry 18231".to_owned(),
                score: 94,
                why: "The same words in the same order; the list joins two of them and adds a legal form."
                    .to_owned(),
            }],
        ),
        RiskLevel::Low | RiskLevel::Unknown => {
            ("No party resembles an entry of the screening list.", Vec::new())
        }
    };
    Assessment {
        risk,
        headline: headline.to_owned(),
        reasons: vec![
            "All three parties of the application were compared with 412 entries.".to_owned(),
            HOSTILE.to_owned(),
        ],
        matches,
        source: "Said by the agent “name-screening”, version 1.".to_owned(),
    }
}

const LETTER: &str = "Bureau of Industry and Security\n22 November 2026\n\nNordwind Optik GmbH\n\nYour export licence 123 is renewed for two years.\nIt covers forty infrared lens assemblies for Helios University.\n\nSincerely,\nLicensing Officer";

fn step(number: u32, title: &str, by: &str, status: Status) -> Step {
    Step {
        number: number.to_string(),
        title: title.to_owned(),
        by: by.to_owned(),
        status,
        inner: false,
        sentence: None,
        started: None,
        duration: None,
        attempt: None,
        error: None,
        assessment: None,
        letter: None,
        result: Vec::new(),
    }
}

fn finished(step: Step, second: i64) -> Step {
    Step { status: Status::done(), started: Some(at(second)), duration: Some("2 s".to_owned()), ..step }
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

fn run_queued() -> Run {
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
        log_href: None,
        status: Status::starting(),
        sentence: "The first step is about to begin.".to_owned(),
        stalled: None,
        started_by: "staff".to_owned(),
        started: at(0),
        ended: None,
        duration: "1 s".to_owned(),
        decision: None,
        steps: plan(),
        entries: entries().into_iter().take(1).collect(),
        payload: facts::of(&json!({"license_id": 123})),
        cancel: Some(CancelForm { reason: String::new(), error: None }),
    }
}

fn run_waiting() -> Run {
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
    steps[3].sentence =
        Some("Anybody with the role supervisor may decide, but not staff, who started this run.".to_owned());
    steps[3].started = Some(at(8));
    Run {
        chrome: chrome("Run 9001", "Supervisor", "/runs"),
        log_href: Some("/log?run_id=9001".to_owned()),
        status: Status::waiting_for("a supervisor"),
        sentence: "Supervisor sign-off waits for a supervisor to approve or reject.".to_owned(),
        stalled: Some("Supervisor sign-off has taken longer than its 2,880 minutes. Remind a supervisor, or cancel the run.".to_owned()),
        duration: "3 days".to_owned(),
        decision: Some(DecisionLink { href: "/approvals/5".to_owned(), may_decide: true }),
        steps,
        entries: entries(),
        payload: facts::of(&application()),
        cancel: Some(CancelForm { reason: String::new(), error: Some("Say why the run is cancelled.".to_owned()) }),
        ..run_queued()
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
    steps[2].sentence =
        Some("Skipped: the condition payload.ai_analysis.risk != 'high' was not met.".to_owned());
    Run {
        chrome: chrome("Run 9001", "Auditor", "/runs"),
        live_href: None,
        status: Status::stopped_failed(),
        sentence: "It stopped because the step Fetch the application failed.".to_owned(),
        ended: Some(at(95)),
        duration: "1 min 35 s".to_owned(),
        steps,
        cancel: None,
        ..run_queued()
    }
}

fn approvals(awaiting: bool) -> Approvals {
    Approvals {
        chrome: chrome("Approvals", "Supervisor", "/approvals"),
        awaiting,
        approvals: approval_rows(),
        first: None,
        next: Some("/approvals?cursor=abc".to_owned()),
        live_href: awaiting.then(|| "/approvals/live?after=77".to_owned()),
    }
}

fn decided() -> Answer {
    Answer::Decided(Decided {
        status: Status::rejected(),
        by: "supervisor".to_owned(),
        at: at(900),
        reason: format!("The consignee is on the Entity List.\n{HOSTILE}"),
    })
}

fn approval(answer: Answer, risk: RiskLevel) -> Approval {
    let open = matches!(answer, Answer::Open { .. });
    Approval {
        chrome: chrome("Supervisor sign-off", "Supervisor", "/approvals"),
        id: "5".to_owned(),
        title: "Supervisor sign-off".to_owned(),
        status: if open { Status::waiting_for("a supervisor") } else { Status::rejected() },
        run_number: "9001".to_owned(),
        run_href: "/runs/9001".to_owned(),
        protocol: "Export licence renewal".to_owned(),
        started_by: "staff".to_owned(),
        opened: at(8),
        due: Some(at(172_800)),
        overdue: open,
        problems: if open {
            vec![Problem::at_field("reason", "Write down why you decide so.")]
        } else {
            Vec::new()
        },
        assessment: Some(assessment(risk)),
        application: facts::of(&application()),
        letter: Some(LETTER.to_owned()),
        evidence: vec![Evidence {
            title: "What the fee check found".to_owned(),
            facts: facts::of(&json!({"fee": "paid", "amount": 120})),
        }],
        answer,
    }
}

fn replay() -> Replay {
    Replay {
        chrome: chrome("Replay of run 9001", "Auditor", "/runs"),
        run_number: "9001".to_owned(),
        run_href: "/runs/9001".to_owned(),
        protocol: "Export licence renewal".to_owned(),
        status: Status::waiting_for("a supervisor"),
        summary: "5 entries over 12 s".to_owned(),
        complete: false,
        entries: entries(),
    }
}
