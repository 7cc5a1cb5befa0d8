//! The approvals: lists, and one in each state.

use super::{HOSTILE, Page, at, chrome, draw};
use crate::web::pages::acts::text;
use crate::web::pages::approval::{Answer, Approval, Decided, Evidence, Form, Vote};
use crate::web::pages::approvals::{ApprovalRow, Approvals};
use crate::web::pages::assessment::{Assessment, Match, RiskLevel};
use crate::web::pages::facts;
use crate::web::pages::forms::Problem;
use crate::web::pages::status::Status;
use serde_json::{Value, json};

pub fn pages() -> Vec<Page> {
    let mut amount = text("amount", "Amount in euro");
    amount.error = Some("Write a whole number, for example 123.".to_owned());
    let open = Answer::Open(Form {
        decision: "return".to_owned(),
        reason: String::new(),
        returns_to: Some(HOSTILE.to_owned()),
        approve: Some("one more person must approve too".to_owned()),
        reject: "the run stops here".to_owned(),
        fields: vec![amount],
    });
    let barred = Answer::Barred("You started this run, so somebody else must decide.".to_owned());
    vec![
        ("approvals", draw(&approvals(true))),
        ("approvals_history", draw(&approvals(false))),
        ("approval_open", draw(&approval(open, RiskLevel::High))),
        ("approval_barred", draw(&approval(barred, RiskLevel::Low))),
        ("approval_decided", draw(&approval(decided(), RiskLevel::Medium))),
    ]
}

pub(super) fn approvals(awaiting: bool) -> Approvals {
    Approvals {
        chrome: chrome("Approvals", "Supervisor", "/approvals"),
        awaiting,
        approvals: approval_rows(),
        first: None,
        next: Some("/approvals?cursor=abc".to_owned()),
        live_href: awaiting.then(|| "/approvals/live?after=77".to_owned()),
    }
}

fn approval(answer: Answer, risk: RiskLevel) -> Approval {
    let open = matches!(answer, Answer::Open(_));
    let waits = !matches!(answer, Answer::Decided(_));
    Approval {
        chrome: chrome("Supervisor sign-off", "Supervisor", "/approvals"),
        id: "5".to_owned(),
        title: "Supervisor sign-off".to_owned(),
        status: if waits { Status::waiting_for("a supervisor") } else { Status::rejected() },
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
        sealed_href: Some("/runs/9001/sealed".to_owned()),
        evidence: vec![Evidence {
            title: "What the fee check found".to_owned(),
            facts: facts::of(&json!({"fee": "paid", "amount": 120})),
        }],
        notes: vec!["Second time, sent back by sam at Sign: “The address is wrong.”".to_owned()],
        votes: if open { vec![vote()] } else { Vec::new() },
        answer,
    }
}

fn vote() -> Vote {
    let form = facts::of(&json!({"amount": 120}));
    Vote {
        by: "sam".to_owned(),
        slot: Some("legal".to_owned()),
        at: at(30),
        reason: HOSTILE.to_owned(),
        form,
    }
}

pub(super) fn approval_rows() -> Vec<ApprovalRow> {
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
        slots: (index == 2).then(|| "Approved for legal by sam; waits for security.".to_owned()),
        decided: Some(("supervisor".to_owned(), at(900))),
    };
    [RiskLevel::High, RiskLevel::Low, RiskLevel::Medium].into_iter().enumerate().map(row).collect()
}

fn decided() -> Answer {
    Answer::Decided(Decided {
        status: Status::rejected(),
        by: "supervisor".to_owned(),
        at: at(900),
        reason: format!("The consignee is on the Entity List.\n{HOSTILE}"),
        form: facts::of(&json!({"amount": 120})),
    })
}

pub(super) fn application() -> Value {
    json!({
        "license_id": 123,
        "applicant": {"name": "Nordwind Optik GmbH", "country": "Germany", "contact": HOSTILE},
        "goods": [{"item": "Infrared lens assembly, 50 mm, f/1.2, with mounting ring and calibration record", "quantity": 40}],
        "parties": [{"role": "consignee", "name": "Vostok Aero Trading"}, {"role": "end user", "name": "Helios University"}],
        "destination": "Exampleland",
    })
}

pub(super) fn assessment(risk: RiskLevel) -> Assessment {
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

pub(super) const LETTER: &str = "Bureau of Industry and Security
22 November 2026

Nordwind Optik GmbH

Your export licence 123 is renewed for two years.
It covers forty infrared lens assemblies for Helios University.

Sincerely,
Licensing Officer";
