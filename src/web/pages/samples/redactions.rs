//! Sealed values, and having them erased.

use super::{HOSTILE, Page, at, chrome, draw};
use crate::web::pages::acts::{one_of, reason};
use crate::web::pages::facts;
use crate::web::pages::forms::{Choice, Problem};
use crate::web::pages::redactions::{
    Answer, Redaction, RedactionNew, RedactionRow, Redactions, Sealed, Value,
};
use crate::web::pages::status::Status;
use serde_json::json;

pub fn pages() -> Vec<Page> {
    let open = Answer::Open { decision: "approve".to_owned(), reason: HOSTILE.to_owned() };
    let decided = Answer::Decided { by: "admin".to_owned(), at: at(900), reason: HOSTILE.to_owned() };
    let barred = Answer::Barred("You asked for this, so somebody else must decide it.".to_owned());
    vec![
        ("sealed", draw(&sealed(false))),
        ("sealed_shown", draw(&sealed(true))),
        ("redaction_new", draw(&new())),
        ("redactions", draw(&redactions(true))),
        ("redactions_empty", draw(&redactions(false))),
        ("redaction_open", draw(&one(open))),
        ("redaction_barred", draw(&one(barred))),
        ("redaction_decided", draw(&one(decided))),
    ]
}

fn sealed(shown: bool) -> Sealed {
    let value = |value: Option<serde_json::Value>| Value {
        path: "payload.applicant.ssn".to_owned(),
        exemption: Some("b(6)".to_owned()),
        value: value.as_ref().map(facts::of),
        erased: value.is_none().then(|| at(900)),
        entries: "1, 5".to_owned(),
    };
    let values = [Some(json!("123-45-6789")), Some(json!({"name": HOSTILE})), None];
    Sealed {
        chrome: chrome("Sealed values of run 9001", "Supervisor", "/runs"),
        number: "9001".to_owned(),
        protocol: "Export licence renewal".to_owned(),
        problems: Vec::new(),
        reason: reason("Why do you need to see them?"),
        may_bundle: true,
        values: shown.then(|| values.into_iter().map(value).collect()),
        redaction_href: Some("/runs/9001/redaction".to_owned()),
    }
}

fn new() -> RedactionNew {
    let mut why = reason("Why is it to be erased?");
    why.error = Some("Say why it is to be erased.".to_owned());
    RedactionNew {
        chrome: chrome("Erase values of run 9001", "Supervisor", "/runs"),
        number: "9001".to_owned(),
        protocol: "Export licence renewal".to_owned(),
        problems: vec![Problem::at_field("field-reason", "Say why it is to be erased.")],
        path: one_of("path", "What is to be erased?", vec![Choice::new("payload.ssn", "payload.ssn", true)]),
        reason: why,
    }
}

fn row(decided: bool) -> RedactionRow {
    RedactionRow {
        href: "/redactions/4".to_owned(),
        path: "payload.applicant.ssn".to_owned(),
        status: if decided { Status::erased() } else { Status::under_review() },
        reason: HOSTILE.to_owned(),
        run_number: "9001".to_owned(),
        run_href: "/runs/9001".to_owned(),
        protocol: "Export licence renewal".to_owned(),
        filed_by: "supervisor".to_owned(),
        filed: at(60),
        barred: (!decided).then(|| "You asked for this, so somebody else must decide it.".to_owned()),
        decided: decided.then(|| ("admin".to_owned(), at(900))),
    }
}

fn redactions(some: bool) -> Redactions {
    Redactions {
        chrome: chrome("Erasures", "Supervisor", "/redactions"),
        pending: true,
        redactions: if some { vec![row(false), row(true)] } else { Vec::new() },
        first: None,
        next: some.then(|| "/redactions?cursor=1".to_owned()),
    }
}

fn one(answer: Answer) -> Redaction {
    let open = matches!(answer, Answer::Open { .. });
    Redaction {
        chrome: chrome("Erasure 4", "Supervisor", "/redactions"),
        id: "4".to_owned(),
        row: row(matches!(answer, Answer::Decided { .. })),
        sentence: "supervisor asks that payload.applicant.ssn is erased.".to_owned(),
        problems: if open {
            vec![Problem::at_field("reason", "Write down why you decide so.")]
        } else {
            Vec::new()
        },
        answer,
    }
}
