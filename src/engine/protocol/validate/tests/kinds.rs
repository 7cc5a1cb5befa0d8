//! The types of tasks, one by one.

use super::{parsed, problems, refused, tasks, work};
use crate::engine::expression::Template;
use crate::engine::protocol::{Approvers, OnReject, OnTimeout, Protocol, Retry, Wait, Work};
use chrono::TimeDelta;
use serde_json::{Value, json};

#[test]
fn numbers_in_with_stay_exact() {
    let Work::Script(call) =
        work(json!({"id": "a", "type": "script", "with": {"n": 9_007_199_254_740_993_i64, "f": 2.0}}))
    else {
        panic!("a script")
    };
    assert_eq!(call.with, Some(Template::Constant(json!({"n": 9_007_199_254_740_993_i64, "f": 2}))));
}

#[test]
fn every_string_of_with_that_cannot_be_read_is_named() {
    let with = json!({"a": ["${nope}", "${payload.a"], "b c": {"d": "${1 +}"}, "e": "${payload.e}"});
    let found = problems(&tasks(json!([{"id": "a", "type": "script", "with": with}])));
    let paths: Vec<&str> = found.iter().map(|(path, _)| path.as_str()).collect();
    assert_eq!(paths, ["$.tasks[0].with.a[0]", "$.tasks[0].with.a[1]", "$.tasks[0].with['b c'].d"]);
    assert!(found[2].1.contains("at character"), "{found:?}");
}

#[test]
fn retry_has_defaults_and_bounds() {
    let retry = |retry: Value| match work(json!({"id": "a", "type": "agent", "retry": retry})) {
        Work::Agent(call) => call.retry.expect("a retry"),
        other => panic!("{other:?}"),
    };
    assert_eq!(retry(json!({})), Retry::default());
    let all = retry(
        json!({"attempts": 5, "backoff_seconds": 0.5, "backoff_factor": 1.5, "max_backoff_seconds": 9}),
    );
    assert_eq!((all.attempts, all.backoff, all.factor), (5, TimeDelta::milliseconds(500), 1.5));
    // A first pause above the default of the longest one lifts that.
    assert_eq!(retry(json!({"backoff_seconds": 90})).max_backoff, TimeDelta::seconds(90));
    for (wrong, field) in [
        (json!({"attempts": 0}), "attempts"),
        (json!({"attempts": 1.5}), "attempts"),
        (json!({"backoff_seconds": -1}), "backoff_seconds"),
        (json!({"backoff_factor": 0.5}), "backoff_factor"),
        (json!({"backoff_seconds": 90, "max_backoff_seconds": 60}), "max_backoff_seconds"),
        (json!({"jitter": true}), "jitter"),
    ] {
        let path = format!("$.tasks[0].retry.{field}");
        refused(tasks(json!([{"id": "a", "type": "script", "retry": wrong}])), &path, "");
    }
}

#[test]
fn on_timeout_says_what_happens_after_max_minutes_only() {
    let timeout = |kind: &str, on_timeout: &str| {
        tasks(json!([{"id": "a", "type": kind, "max_minutes": 1, "on_timeout": on_timeout}]))
    };
    let retried = parsed(timeout("script", "retry"));
    let Work::Script(call) = &retried.tasks[0].work else { panic!("a script") };
    assert_eq!((retried.tasks[0].on_timeout, call.retry), (OnTimeout::Retry, Some(Retry::default())));
    refused(timeout("hitl", "retry"), "$.tasks[0].on_timeout", "Use one of `flag`, `fail`, `escalate`");
    refused(timeout("script", "escalate"), "$.tasks[0].on_timeout", "Use one of `flag`, `fail`, `retry`");
    refused(timeout("hitl", "escalate"), "$.tasks[0].on_timeout", "`escalate_to`, which is missing");
    refused(
        tasks(json!([{"id": "a", "type": "script", "on_timeout": "fail"}])),
        "$.tasks[0].on_timeout",
        "`max_minutes`",
    );
    parsed(tasks(json!([{"id": "a", "type": "script", "on_timeout": "flag"}])));
}

#[test]
fn an_approval_says_who_how_many_and_what_else() {
    let Work::Hitl(hitl) = work(
        json!({"id": "a", "type": "hitl", "approvers": ["ada", "supervisor"], "quorum": 2,
        "four_eyes": false, "on_reject": "continue", "due_minutes": 60, "remind_minutes": 5, "escalate_to": "admin",
        "form": {"type": "object", "properties": {"amount": {"type": "number"}}}}),
    ) else {
        panic!("an approval")
    };
    assert_eq!(
        hitl.approvers,
        Approvers {
            roles: vec!["supervisor".to_owned()],
            users: vec!["ada".to_owned()],
            ..Approvers::default()
        }
    );
    assert_eq!((hitl.quorum, hitl.four_eyes, hitl.on_reject), (2, false, OnReject::Continue));
    assert_eq!((hitl.remind, hitl.returns_to, hitl.max_returns), (Some(TimeDelta::minutes(5)), None, 3));
    assert_eq!(hitl.escalate_to.map(|more| more.roles), Some(vec!["admin".to_owned()]));

    let hitl = |mut task: Value| {
        task["id"] = json!("a");
        task["type"] = json!("hitl");
        tasks(json!([task]))
    };
    for (task, field, words) in [
        (json!({"quorum": 0}), "quorum", "from 1"),
        (json!({"quorum": 2, "approvers": "ada"}), "quorum", "names only 1"),
        (json!({"approvers": ["ada", "ada"]}), "approvers", "named twice"),
        (json!({"approvers": []}), "approvers", "must be"),
        (json!({"approvers": "Ada Lovelace"}), "approvers", "neither a role"),
        (json!({"escalate_to": "admin"}), "escalate_to", "never be asked"),
        (json!({"escalate_to": "staff", "due_minutes": 1}), "escalate_to", "may not decide"),
        (json!({"form": {"type": "array"}}), "form", "must describe an object"),
        (json!({"form": {}}), "form", "must describe an object"),
        (json!({"form": {"type": "thing"}}), "form", "not a valid JSON Schema"),
        (
            json!({"form": {"type": "object", "properties": {"a": {"pattern": "("}}}}),
            "form",
            "not a valid JSON Schema",
        ),
        (
            json!({"form": {"type": "object", "$ref": "https://example.org/x"}}),
            "form",
            "not a valid JSON Schema",
        ),
        (
            json!({"form": {"type": "object", "$schema": "http://json-schema.org/draft-07/schema#"}}),
            "form",
            "2020-12",
        ),
        (json!({"max_returns": 2}), "max_returns", "needs `returns_to`"),
        (json!({"on_reject": "retry"}), "on_reject", "`end`, `continue`"),
    ] {
        refused(hitl(task), &format!("$.tasks[0].{field}"), words);
    }
}

#[test]
fn roles_that_may_not_decide_are_no_approvers() {
    for (approvers, accepted) in [
        (json!("supervisor"), true),
        (json!(["ada", "admin"]), true),
        (json!("auditor"), false),
        (json!(["supervisor", "staff"]), false),
    ] {
        let document = json!({"tasks": [{"id": "ask", "type": "hitl", "approvers": approvers}]});
        let problems = Protocol::parse(&document).err().unwrap_or_default();
        let places: Vec<&str> = problems.iter().map(|problem| problem.path.as_str()).collect();
        let expected: &[&str] = if accepted { &[] } else { &["$.tasks[0].approvers"] };
        assert_eq!(places, expected, "{document}");
    }
}

#[test]
fn groups_and_slots_say_who_decides() {
    let hitl = |approvers: Value| json!({"id": "a", "type": "hitl", "approvers": approvers});
    let Work::Hitl(group) = work(hitl(json!(["group:legal", "ada", "admin"]))) else { panic!("an approval") };
    assert_eq!((group.approvers.groups, group.approvers.users), (vec!["legal".into()], vec!["ada".into()]));
    let slots = json!({"slots": [{"name": "legal", "approvers": "group:legal"},
        {"name": "security", "approvers": ["group:security", "ada"], "count": 2}]});
    let Work::Hitl(slots) = work(hitl(slots)) else { panic!("an approval") };
    assert_eq!(slots.quorum, 3, "as many as the slots need together");
    assert_eq!(slots.approvers.in_words(), "legal and 2 of security");

    let slot = |name: &str, who: Value| json!({"name": name, "approvers": who});
    let both = |first: Value, second: Value| json!({"slots": [first, second]});
    for (approvers, place, words) in [
        (json!("group:"), "approvers", "neither a role"),
        (json!("group:Legal"), "approvers", "nor a group"),
        (json!({"slots": []}), "approvers.slots", "1 to 20"),
        (json!({}), "approvers.slots", "is missing"),
        (json!({"slots": [{"name": "x"}]}), "approvers.slots[0].approvers", "is missing"),
        (json!({"slots": [slot("x y", json!("ada"))]}), "approvers.slots[0].name", "letters, digits"),
        (json!({"slots": [slot("x", json!("staff"))]}), "approvers.slots[0].approvers", "may not decide"),
        (json!({"slots": ["group:legal"]}), "approvers.slots[0]", "must be a slot"),
        (json!({"slots": [slot("x", json!("ada"))], "roles": []}), "approvers.roles", "not a field"),
        (both(slot("x", json!("ada")), slot("x", json!("bob"))), "approvers.slots[1]", "named twice"),
        (both(slot("x", json!("ada")), slot("y", json!(["ada"]))), "approvers", "nobody fills two"),
    ] {
        refused(tasks(json!([hitl(approvers)])), &format!("$.tasks[0].{place}"), words);
    }
    let beside =
        json!({"id": "a", "type": "hitl", "quorum": 2, "approvers": {"slots": [slot("x", json!("admin"))]}});
    refused(tasks(json!([beside])), "$.tasks[0].quorum", "Remove it");
    let escalates = json!({"id": "a", "type": "hitl", "due_minutes": 1, "escalate_to": {"slots": []}});
    refused(tasks(json!([escalates])), "$.tasks[0].escalate_to", "must be a role");
}

#[test]
fn a_wait_is_for_exactly_one_thing() {
    let wait = |mut task: Value| {
        task["id"] = json!("w");
        task["type"] = json!("wait");
        task
    };
    assert_eq!(work(wait(json!({"minutes": 1.5}))), Work::Wait(Wait::For(TimeDelta::seconds(90))));
    let event = wait(json!({"event": "payment_received", "key": "${payload.case}"}));
    let Work::Wait(Wait::Event { name, key: Some(Template::Whole(_)) }) = work(event) else {
        panic!("an event")
    };
    assert_eq!(name, "payment_received");
    assert!(matches!(
        work(wait(json!({"until": "${payload.day}"}))),
        Work::Wait(Wait::Until(Template::Whole(_)))
    ));
    assert!(matches!(
        work(wait(json!({"until": "2026-11-22T14:00:00.5+01:00"}))),
        Work::Wait(Wait::Until(_))
    ));
    for (task, path, words) in [
        (json!({}), "", "waits for nothing"),
        (json!({"minutes": 1, "event": "e"}), "", "waits for minutes and event"),
        (json!({"minutes": 1, "key": "k"}), ".key", "belongs to an `event`"),
        (json!({"minutes": 0}), ".minutes", "above 0"),
        (json!({"minutes": "1"}), ".minutes", "a number of minutes"),
        (json!({"until": "tomorrow"}), ".until", "is not a time"),
        (json!({"until": "2026-11-22T14:00:00"}), ".until", "with its offset"),
        (json!({"until": "2026-02-30T14:00:00Z"}), ".until", "not in the calendar"),
        (json!({"until": "${day}"}), ".until", "names `day`"),
        (json!({"event": "a b"}), ".event", "letters, digits"),
        (json!({"event": "e", "key": "${payload."}), ".key", "never closes"),
    ] {
        refused(tasks(json!([wait(task)])), &format!("$.tasks[0]{path}"), words);
    }
}

#[test]
fn a_sub_protocol_is_named_by_number_or_name() {
    let uses = |uses: Value| json!({"id": "sub", "type": "protocol", "uses": uses});
    let named = |task: Value| match work(task) {
        Work::Protocol(call) => call.uses,
        other => panic!("{other:?}"),
    };
    assert_eq!(named(uses(json!(8))), "8");
    assert_eq!(named(uses(json!(8.0))), "8");
    assert_eq!(named(uses(json!("Export licence renewal"))), "Export licence renewal");
    assert_eq!(named(json!({"id": "sub", "type": "protocol"})), "sub");
    for wrong in [
        json!(0),
        json!(-1),
        json!(1.5),
        json!(9_007_199_254_740_992_i64),
        json!(null),
        json!(" "),
        json!("x".repeat(201)),
    ] {
        refused(tasks(json!([uses(wrong)])), "$.tasks[0].uses", "");
    }
    for wrong in [json!(1), json!([]), json!("a ${payload.x}")] {
        refused(
            tasks(json!([{"id": "sub", "type": "protocol", "with": wrong}])),
            "$.tasks[0].with",
            "the payload of the other run",
        );
    }
    refused(
        tasks(json!([{"id": "sub", "type": "protocol", "retry": {}}])),
        "$.tasks[0].retry",
        "`script` and `agent`",
    );
}

#[test]
fn a_condition_that_never_holds_is_refused() {
    let when = |when: &str| tasks(json!([{"id": "a", "type": "script", "when": when}]));
    for never in ["false", "1 > 2", "!true"] {
        refused(when(never), "$.tasks[0].when", "never be reached");
    }
    refused(when("'high'"), "$.tasks[0].when", "true or false is needed");
    refused(when("payload.a ="), "$.tasks[0].when", "not valid CEL at character");
    parsed(when("true"));
    parsed(when("payload.a == false"));
}
