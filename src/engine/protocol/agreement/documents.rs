//! Documents that both accept.

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;
use serde_json::{Value, json};

/// A document that both accept. Ids are numbered afterwards, so that none is there twice.
pub fn valid() -> impl Strategy<Value = Value> {
    let head = proptest::option::of(select(heads()));
    (vec(task(2), 1..4), vec(head, 0..3)).prop_map(|(tasks, heads)| {
        let mut document = json!({"tasks": tasks});
        for head in heads.into_iter().flatten() {
            merge(&mut document, head);
        }
        number_list(&mut document["tasks"], &mut 0);
        document
    })
}

pub fn heads() -> Vec<Value> {
    vec![
        json!({"name": "Renewal", "description": "Renews."}),
        json!({"input": {"type": "object", "properties": {"n": {"type": "integer"}}}}),
        json!({"schedule": {"cron": "0 7 * * MON-FRI"}}),
        json!({"schedule": {"cron": "*/5 0 7 1 * *", "time_zone": "Europe/Berlin", "payload": {"n": 1},
            "missed": "run_once", "overlap": "wait"}}),
        json!({"concurrency": {"key": "${payload.office}", "limit": 3}}),
        json!({"concurrency": {"key": "all", "limit": 1.0, "when_full": "refuse"}}),
        json!({"redact": []}),
        json!({"redact": ["payload.applicant.ssn", {"path": "payload.parties.*.born", "exemption": "b(6)"}]}),
    ]
}

fn task(depth: u32) -> BoxedStrategy<Value> {
    let parts = vec(proptest::option::of(select(common_parts())), 0..3);
    let mut kinds = vec![
        own("script", script_parts()),
        own("agent", agent_parts()),
        own("hitl", hitl_parts()),
        own("protocol", protocol_parts()),
        select(waits()).boxed(),
    ];
    if depth > 0 {
        kinds.push(group(depth));
        kinds.push(for_each(depth));
    }
    (proptest::strategy::Union::new(kinds), parts)
        .prop_map(|(mut task, parts)| {
            for part in parts.into_iter().flatten() {
                add(&mut task, part);
            }
            task
        })
        .boxed()
}

fn own(kind: &'static str, parts: Vec<Value>) -> BoxedStrategy<Value> {
    vec(select(parts), 0..4)
        .prop_map(move |parts| {
            let mut task = json!({"id": "", "type": kind});
            parts.into_iter().for_each(|part| merge(&mut task, part));
            // Beside slots there is no quorum.
            if task["approvers"].is_object() {
                task.as_object_mut().expect("a task").remove("quorum");
            }
            task
        })
        .boxed()
}

fn group(depth: u32) -> BoxedStrategy<Value> {
    let list = vec(task(depth - 1), 1..3).prop_map(Value::Array);
    let branch = prop_oneof![task(depth - 1), list];
    let rest = select(vec![
        json!({}),
        json!({"join": "any"}),
        json!({"join": 1, "max_concurrency": 2}),
        json!({"join": "all", "on_timeout": "fail", "max_minutes": 5}),
    ]);
    (vec(branch, 1..4), rest)
        .prop_map(|(tasks, rest)| {
            let mut task = json!({"id": "", "type": "parallel", "tasks": tasks});
            merge(&mut task, rest);
            task
        })
        .boxed()
}

fn for_each(depth: u32) -> BoxedStrategy<Value> {
    vec(task(depth - 1), 1..3)
        .prop_map(move |tasks| {
            json!({"id": "", "type": "parallel", "for_each": "payload.parties", "as": format!("party_{depth}"),
                "join": 7, "tasks": tasks})
        })
        .boxed()
}

pub fn common_parts() -> Vec<Value> {
    vec![
        json!({"title": "Look"}),
        json!({"when": "payload.risk != 'high'"}),
        json!({"max_minutes": 0.5}),
        json!({"max_minutes": 5_259_600, "on_timeout": "fail"}),
        json!({"on_timeout": "flag"}),
        json!({"on_failure": "pause"}),
        json!({"on_failure": "continue"}),
    ]
}

pub fn script_parts() -> Vec<Value> {
    let mut parts = agent_parts();
    parts.push(json!({"undo": "withdraw"}));
    parts
}

fn agent_parts() -> Vec<Value> {
    vec![
        json!({"uses": "look-up_2"}),
        json!({"with": {"a": ["${payload.a}", 9_007_199_254_740_993_i64]}}),
        json!({"with": null}),
        json!({"retry": {}}),
        json!({"retry": {"attempts": 100.0, "backoff_seconds": 0, "backoff_factor": 1, "max_backoff_seconds": 86400}}),
        json!({"max_minutes": 1, "on_timeout": "retry"}),
    ]
}

pub fn hitl_parts() -> Vec<Value> {
    vec![
        json!({"approvers": "admin", "quorum": 2}),
        json!({"approvers": ["ada", "b.c@d", "supervisor"], "four_eyes": false}),
        json!({"approvers": "group:legal", "quorum": 3}),
        json!({"approvers": ["ada", "group:a.b_c", "admin"], "due_minutes": 5, "escalate_to": ["group:heads"]}),
        json!({"approvers": {"slots": [{"name": "legal", "approvers": "group:legal"},
            {"name": "security", "approvers": ["group:security", "ada"], "count": 2.0}]}}),
        json!({"approvers": {"slots": [{"name": "x", "approvers": ["ada", "bob"], "count": 2}]}}),
        json!({"form": {"type": "object", "properties": {"amount": {"type": "number"}}}}),
        json!({"due_minutes": 60, "remind_minutes": 10, "escalate_to": "admin"}),
        json!({"max_minutes": 60, "on_timeout": "escalate", "escalate_to": ["admin"]}),
        json!({"returns_to": "t0", "max_returns": 2}),
        json!({"on_reject": "continue"}),
    ]
}

pub fn protocol_parts() -> Vec<Value> {
    vec![
        json!({"uses": 8}),
        json!({"uses": "Export licence renewal"}),
        json!({"with": "${payload.case}"}),
        json!({"with": {"n": "${payload.n}"}}),
    ]
}

pub fn waits() -> Vec<Value> {
    let wait = |rest: Value| {
        let mut task = json!({"id": "", "type": "wait"});
        merge(&mut task, rest);
        task
    };
    vec![
        wait(json!({"minutes": 1})),
        wait(json!({"until": "2026-11-22T14:00:00+01:00"})),
        wait(json!({"until": "2026-11-22t23:59:60.25Z"})),
        wait(json!({"until": "${payload.day}T00:00:00Z"})),
        wait(json!({"event": "payment_received", "key": "${payload.case}"})),
        wait(json!({"event": "payment_received"})),
    ]
}

fn merge(into: &mut Value, part: Value) {
    if let (Some(into), Value::Object(part)) = (into.as_object_mut(), part) {
        into.extend(part);
    }
}

/// The same, but what is there stays.
fn add(into: &mut Value, part: Value) {
    let mut whole = part;
    merge(&mut whole, into.take());
    *into = whole;
}

/// Tasks that are done in order: work is sent back to the first.
fn number_list(list: &mut Value, next: &mut u32) {
    let first = format!("t{next}");
    for (position, task) in list.as_array_mut().into_iter().flatten().enumerate() {
        number(task, next);
        let Some(task) = task.as_object_mut().filter(|task| task.contains_key("returns_to")) else {
            continue;
        };
        if position == 0 {
            task.retain(|field, _| field != "returns_to" && field != "max_returns");
        } else {
            task.insert("returns_to".to_owned(), json!(first));
        }
    }
}

fn number(task: &mut Value, next: &mut u32) {
    task["id"] = json!(format!("t{next}"));
    *next += 1;
    if task.get("for_each").is_some() {
        return number_list(&mut task["tasks"], next);
    }
    for branch in task.get_mut("tasks").and_then(Value::as_array_mut).into_iter().flatten() {
        match branch {
            Value::Array(_) => number_list(branch, next),
            _ => number_list_of_one(branch, next),
        }
    }
}

fn number_list_of_one(task: &mut Value, next: &mut u32) {
    let mut list = json!([task.take()]);
    number_list(&mut list, next);
    *task = list[0].take();
}
