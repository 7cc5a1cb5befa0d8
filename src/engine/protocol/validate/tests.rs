use crate::engine::expression::Template;
use crate::engine::protocol::{
    Approvers, Join, MAX_GROUP_DEPTH, MAX_TASKS, Missed, OnReject, OnTimeout, Overlap, Protocol, Retry, Wait,
    WhenFull, Work,
};
use chrono::TimeDelta;
use serde_json::{Value, json};

#[test]
fn the_minimal_form_of_the_seed_is_a_protocol() {
    let protocol = Protocol::parse(&json!({"tasks": [
        {"id": "fetch_data", "type": "script"}, {"id": "ai_analysis", "type": "agent"},
        {"id": "human_approval", "type": "hitl"}, {"id": "deploy", "type": "script"}]}))
    .unwrap();
    assert_eq!(protocol.tasks.len(), 4);
    assert_eq!(protocol.tasks[2].label(), "Human approval");
    assert_eq!(
        protocol.uses().into_iter().map(|(_, _, name)| name).collect::<Vec<_>>(),
        ["fetch_data", "ai_analysis", "deploy"]
    );
}

#[test]
fn everything_wrong_is_named_at_once_and_by_place() {
    let problems = Protocol::parse(&json!({"tusks": 1, "tasks": [
        {"id": "a b", "type": "script", "colour": "red"}, {"type": "robot"}, 7,
        {"id": "x", "type": "hitl", "approvers": 3, "max_minutes": -1},
        {"id": "x", "type": "script", "with": {"a": ["${nope.x}"]}},
        {"id": "p", "type": "parallel", "tasks": []}]}))
    .unwrap_err();
    let paths: Vec<&str> = problems.iter().map(|problem| problem.path.as_str()).collect();
    for path in [
        "$.tusks",
        "$.tasks[0].id",
        "$.tasks[0].colour",
        "$.tasks[1].id",
        "$.tasks[1].type",
        "$.tasks[2]",
        "$.tasks[3].approvers",
        "$.tasks[3].max_minutes",
        "$.tasks[4].id",
        "$.tasks[4].with.a[0]",
        "$.tasks[5].tasks",
    ] {
        assert!(paths.contains(&path), "{path} is not among {paths:?}");
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
fn a_protocol_that_is_not_an_object_is_refused() {
    for document in [json!([]), json!(1), json!({}), json!({"tasks": []}), json!({"tasks": {}})] {
        assert!(Protocol::parse(&document).is_err(), "{document}");
    }
}

fn tasks(tasks: Value) -> Value {
    json!({ "tasks": tasks })
}

fn problems(document: &Value) -> Vec<(String, String)> {
    let problems = Protocol::parse(document).err().unwrap_or_default();
    problems.into_iter().map(|problem| (problem.path, problem.message)).collect()
}

/// The one thing that is wrong: where, and words of the sentence.
fn refused(document: Value, path: &str, words: &str) {
    let found = problems(&document);
    assert!(
        found.len() == 1 && found[0].0 == path && found[0].1.contains(words),
        "wanted {path}: …{words}…, got {found:#?} for {document}"
    );
}

fn parsed(document: Value) -> Protocol {
    Protocol::parse(&document).unwrap_or_else(|problems| panic!("{problems:#?} in {document}"))
}

fn work(task: Value) -> Work {
    parsed(tasks(json!([task]))).tasks[0].work.clone()
}

#[test]
fn an_unknown_field_a_field_of_another_type_and_a_later_one_are_told_apart() {
    let document = json!({"redact": [], "tasks": [
        {"id": "a", "type": "script", "quorum": 2, "two words": 1, "ID": 1},
        {"id": "b", "type": "wait", "minutes": 1, "tasks": [], "with": {}}]});
    let found = problems(&document);
    for (path, words) in [
        ("$.redact", "not part of this version"),
        ("$.tasks[0].quorum", "is a field of `hitl` tasks, and this one is `script`"),
        ("$.tasks[0]['two words']", "is not a field of this"),
        ("$.tasks[0].ID", "use one of id, type"),
        ("$.tasks[1].tasks", "is a field of `parallel` tasks"),
        ("$.tasks[1].with", "`script` and `agent` and `protocol`"),
    ] {
        assert!(
            found.iter().any(|(at, said)| at == path && said.contains(words)),
            "{path} {words}: {found:#?}"
        );
    }
    assert_eq!(found.len(), 6);
}

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
        Approvers { roles: vec!["supervisor".to_owned()], users: vec!["ada".to_owned()] }
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
fn work_is_sent_back_to_an_earlier_task_of_the_same_list() {
    let list = |to: &str| {
        tasks(json!([
            {"id": "before", "type": "script"},
            {"id": "group", "type": "parallel", "tasks": [
                [{"id": "draft", "type": "script"}, {"id": "ask", "type": "hitl", "returns_to": to, "max_returns": 1},
                 {"id": "after", "type": "script"}],
                {"id": "other", "type": "script"}]}]))
    };
    let protocol = parsed(list("draft"));
    let Some(Work::Hitl(ask)) = protocol.place("ask").map(|place| &place.task.work) else {
        panic!("an approval")
    };
    assert_eq!((ask.returns_to.as_deref(), ask.max_returns), (Some("draft"), 1));
    for (to, words) in [
        ("ask", "is this task itself"),
        ("after", "comes later"),
        ("before", "no task `before` earlier in the same list"),
        ("other", "no task `other` earlier in the same list"),
        ("nowhere", "no task `nowhere`"),
    ] {
        refused(list(to), "$.tasks[1].tasks[0][1].returns_to", words);
    }
}

#[test]
fn a_group_has_branches_of_one_or_more_tasks() {
    let protocol = parsed(tasks(
        json!([{"id": "g", "type": "parallel", "join": 2, "max_concurrency": 1, "tasks": [
        {"id": "a", "type": "script", "uses": "x"},
        [{"id": "b", "type": "script", "uses": "y"}],
        [{"id": "c", "type": "script", "undo": "z"}, {"id": "d", "type": "parallel", "tasks": [{"id": "e", "type": "agent"}]}]]}]),
    ));
    let Work::Parallel(group) = &protocol.tasks[0].work else { panic!("a group") };
    assert_eq!(group.branches.iter().map(Vec::len).collect::<Vec<_>>(), [1, 1, 2]);
    assert_eq!((group.join, group.max_concurrency, &group.for_each), (Join::Number(2), Some(1), &None));
    // Where each is written, brackets around a single one included.
    let paths: Vec<String> =
        protocol.uses().into_iter().map(|(path, _, name)| format!("{path} {name}")).collect();
    assert_eq!(
        paths,
        [
            "$.tasks[0].tasks[0].uses x",
            "$.tasks[0].tasks[1][0].uses y",
            "$.tasks[0].tasks[2][0].uses c",
            "$.tasks[0].tasks[2][0].undo z",
            "$.tasks[0].tasks[2][1].tasks[0].uses e",
        ]
    );
    let place = protocol.place("d").expect("a place");
    assert_eq!((place.group.as_deref(), place.branch, place.position, place.last), (Some("g"), 2, 1, true));
}

#[test]
fn a_group_that_cannot_be_is_refused() {
    let group = |rest: Value| {
        let mut task = json!({"id": "g", "type": "parallel", "tasks": [{"id": "a", "type": "script"}]});
        task.as_object_mut().unwrap().extend(rest.as_object().unwrap().clone());
        tasks(json!([task]))
    };
    for (rest, path, words) in [
        (json!({"tasks": []}), ".tasks", "is empty"),
        (json!({"tasks": {}}), ".tasks", "must be a list"),
        (json!({"tasks": [[]]}), ".tasks[0]", "an empty branch"),
        (json!({"tasks": ["a"]}), ".tasks[0]", "A branch is a task"),
        (json!({"tasks": [[["a"]]]}), ".tasks[0][0]", "A task is an object"),
        (json!({"join": 2}), ".join", "there are only 1"),
        (json!({"join": 0}), ".join", "must be `all`"),
        (json!({"join": "some"}), ".join", "must be `all`"),
        (json!({"max_concurrency": 0}), ".max_concurrency", "from 1"),
        (json!({"as": "x"}), ".as", "`for_each`, which is missing"),
        (
            json!({"for_each": "payload.l", "tasks": [[{"id": "a", "type": "script"}]]}),
            ".tasks[0]",
            "A task is an object",
        ),
        (json!({"for_each": "payload.l", "as": "in"}), ".as", "means something else"),
        (json!({"for_each": "payload.l", "as": "x-y"}), ".as", "cannot be used in expressions"),
        (json!({"for_each": "payload.l", "as": "2nd"}), ".as", "cannot be used in expressions"),
        (json!({"for_each": "3"}), ".for_each", "is a number, where a list is needed"),
        (json!({"for_each": "[]"}), ".for_each", "always empty"),
        (json!({"for_each": ["a"]}), ".for_each", "must be a text"),
        (json!({"for_each": "item.l"}), ".for_each", "names `item`"),
    ] {
        refused(group(rest), &format!("$.tasks[0]{path}"), words);
    }
}

#[test]
fn an_item_is_seen_inside_its_branch_only() {
    let nested = |inner: &str| {
        tasks(json!([
            {"id": "outer", "type": "parallel", "for_each": "payload.parties", "as": "party", "join": "any", "tasks": [
                {"id": "inner", "type": "parallel", "for_each": "party.names", "tasks": [
                    {"id": "screen", "type": "script", "when": inner, "with": "${item + payload.party.id}"}]}]},
            {"id": "after", "type": "script"}]))
    };
    let protocol = parsed(nested("party.id == item"));
    assert_eq!(
        protocol.place("screen").map(|place| place.items.clone()),
        Some(vec!["party".to_owned(), "item".to_owned()])
    );
    refused(nested("other"), "$.tasks[0].tasks[0].tasks[0].when", "names `other`");
    let after = tasks(json!([
        {"id": "g", "type": "parallel", "for_each": "payload.l", "tasks": [{"id": "a", "type": "script"}]},
        {"id": "after", "type": "script", "when": "item == 1"}]));
    refused(after, "$.tasks[1].when", "names `item`");
}

#[test]
fn names_are_unique_where_they_meet() {
    let script = |id: &str, saves: &str| json!({"id": id, "type": "script", "saves": saves});
    let each = |id: &str, name: &str, inner: Value| json!({"id": id, "type": "parallel", "for_each": "payload.l", "as": name, "tasks": inner});
    let group = |id: &str, inner: Value| json!({"id": id, "type": "parallel", "tasks": inner});
    // Ids over the whole document.
    refused(
        tasks(json!([script("a", "x"), group("g", json!([script("b", "y"), [script("a", "z")]]))])),
        "$.tasks[1].tasks[1][0].id",
        "`a` is already the id of $.tasks[0]",
    );
    // Keys: the branches of a group are merged upwards.
    refused(
        tasks(json!([group("g", json!([script("a", "x"), [script("b", "x")]]))])),
        "$.tasks[0].tasks[1][0].saves",
        "`x` is already written by $.tasks[0].tasks[0]",
    );
    // Those of a `for_each` are not, so two may use the same; but not one that is around them, before or after.
    parsed(tasks(json!([
        each("e", "i", json!([script("a", "x")])),
        each("f", "i", json!([script("b", "x")]))
    ])));
    refused(
        tasks(json!([each("e", "i", json!([script("a", "x")])), script("b", "x")])),
        "$.tasks[0].tasks[0].saves",
        "`x` is already written by $.tasks[1]",
    );
    // Items.
    refused(
        tasks(json!([each("e", "b", json!([script("a", "x")])), script("b", "b")])),
        "$.tasks[0].as",
        "already taken by $.tasks[1]",
    );
    refused(
        tasks(json!([each("e", "i", json!([script("a", "i")]))])),
        "$.tasks[0].tasks[0].saves",
        "already written by $.tasks[0].as",
    );
    let twice = each("e", "i", json!([each("f", "i", json!([script("a", "x")]))]));
    refused(tasks(json!([twice])), "$.tasks[0].tasks[0].as", "already taken by $.tasks[0].as");
    let default = json!({"id": "e", "type": "parallel", "for_each": "payload.l", "tasks": [
        {"id": "f", "type": "parallel", "for_each": "item.l", "tasks": [script("a", "x")]}]});
    refused(tasks(json!([default])), "$.tasks[0].tasks[0].as", "Call the items something else");
}

#[test]
fn tasks_and_groups_have_limits() {
    let many = |number: usize| {
        (0..number).map(|index| json!({"id": format!("t{index}"), "type": "script"})).collect::<Vec<_>>()
    };
    let mut list = many(MAX_TASKS);
    assert_eq!(parsed(tasks(json!(list))).tasks.len(), MAX_TASKS);
    list.push(json!({"id": "more", "type": "script"}));
    refused(tasks(json!(list)), "$.tasks", "at most 10000");
    let group = json!({"id": "g", "type": "parallel", "tasks": [many(MAX_TASKS)]});
    refused(tasks(json!([group])), "$.tasks", "has 10001 tasks, those inside groups counted");

    let nested = |depth: usize| {
        (0..depth).fold(
            json!({"id": "t", "type": "script"}),
            |inner, index| json!({"id": format!("g{index}"), "type": "parallel", "tasks": [inner]}),
        )
    };
    parsed(tasks(json!([nested(MAX_GROUP_DEPTH)])));
    let path = format!("$.tasks[0]{}", ".tasks[0]".repeat(MAX_GROUP_DEPTH));
    refused(tasks(json!([nested(MAX_GROUP_DEPTH + 1)])), &format!("{path}.tasks"), "a group inside 8 others");
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

#[test]
fn a_schedule_has_a_pattern_a_zone_and_a_payload_that_fits() {
    let with = |schedule: Value| {
        json!({"schedule": schedule, "tasks": [{"id": "a", "type": "script"}],
            "input": {"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"]}})
    };
    let schedule = parsed(with(
        json!({"cron": " 30 7 * * MON-FRI ", "time_zone": "Europe/Berlin", "payload": {"n": 1.0},
        "missed": "run_once", "overlap": "wait"}),
    ))
    .schedule
    .expect("a schedule");
    assert_eq!((schedule.cron.as_str(), schedule.time_zone), ("30 7 * * MON-FRI", chrono_tz::Europe::Berlin));
    assert_eq!(Value::Object(schedule.payload), json!({"n": 1}));
    assert_eq!((schedule.missed, schedule.overlap), (Missed::RunOnce, Overlap::Wait));
    let plain =
        parsed(with(json!({"cron": "*/10 * * * * *", "payload": {"n": 1}}))).schedule.expect("a schedule");
    assert_eq!(
        (plain.time_zone, plain.missed, plain.overlap),
        (chrono_tz::UTC, Missed::Skip, Overlap::Allow)
    );
    for (rest, field, words) in [
        (json!({"cron": null}), "cron", "must be a text"),
        (json!({"cron": "* * * *"}), "cron", "has 4 fields"),
        (json!({"cron": "0 0 0 1 1 * 2027"}), "cron", "has 7 fields"),
        (json!({"cron": "@daily"}), "cron", "has 1 fields"),
        (json!({"cron": "61 * * * *"}), "cron", "is not a schedule"),
        (json!({"cron": "0 0 30 2 *"}), "cron", "never comes"),
        (json!({"time_zone": "Europe/Nowhere"}), "time_zone", "IANA"),
        (json!({"payload": []}), "payload", "must be an object"),
        (json!({"payload": {"n": "x"}}), "payload", "does not fit `input`"),
        (json!({"payload": {}}), "payload", "does not fit `input`"),
        (json!({"payload": {"n": 1, "a": 2}}), "payload", "where the result of $.tasks[0] goes"),
        (json!({"missed": "all"}), "missed", "`skip`, `run_once`"),
        (json!({"every": "day"}), "every", "is not a field of this"),
    ] {
        let mut schedule = json!({"cron": "* * * * *", "payload": {"n": 1}});
        schedule.as_object_mut().unwrap().extend(rest.as_object().unwrap().clone());
        refused(with(schedule), &format!("$.schedule.{field}"), words);
    }
    refused(with(json!({"payload": {"n": 1}})), "$.schedule.cron", "is missing");
    refused(with(json!("* * * * *")), "$.schedule", "must be a schedule (an object)");
}

#[test]
fn concurrency_has_a_key_and_a_limit() {
    let with =
        |concurrency: Value| json!({"concurrency": concurrency, "tasks": [{"id": "a", "type": "script"}]});
    let limited = parsed(with(json!({"key": "${payload.office}", "limit": 2}))).concurrency.expect("a limit");
    assert_eq!((limited.limit, limited.when_full), (2, WhenFull::Wait));
    refused(with(json!({"limit": 2})), "$.concurrency.key", "is missing");
    refused(with(json!({"key": "k"})), "$.concurrency.limit", "is missing");
    refused(with(json!({"key": "k", "limit": 0})), "$.concurrency.limit", "from 1");
    refused(with(json!({"key": "${office}", "limit": 1})), "$.concurrency.key", "names `office`");
    refused(
        with(json!({"key": "k", "limit": 1, "when_full": "drop"})),
        "$.concurrency.when_full",
        "`wait`, `refuse`",
    );
}

#[test]
fn input_that_no_run_could_have_is_refused() {
    let with =
        |input: Value| json!({"input": input, "tasks": [{"id": "a", "type": "script", "saves": "licence"}]});
    refused(
        with(json!({"required": ["licence"]})),
        "$.input.required",
        "where the result of $.tasks[0] goes",
    );
    refused(with(json!({"type": "thing"})), "$.input", "not a valid JSON Schema");
    refused(with(json!(true)), "$.input", "must be a JSON Schema (an object)");
    parsed(with(json!({"required": ["license_id"]})));
}

#[test]
fn hostile_documents_are_refused_and_never_crash() {
    for cron in [
        "L L L L L",
        "# # # # #",
        "*/0 * * * *",
        "0/99999999999 * * * *",
        "1-0 * * * *",
        "ä ä ä ä ä",
        "+ + + + +",
        "W W W W W",
        "* * 32 13 8",
        "* * * * 1#6",
        "* * L-99 * *",
        "* * 1W,,1 * *",
        "? ? ? ? ?",
        "JANJAN * * FEBMON SUNSUN",
        "- - - - -",
        "* * * * +",
    ] {
        drop(Protocol::parse(&json!({"schedule": {"cron": cron}, "tasks": [{"id": "a", "type": "script"}]})));
    }
    let deep = (0..120).fold(json!("x"), |inner, _| json!({"id": "g", "type": "parallel", "tasks": [inner]}));
    assert!(!problems(&tasks(json!([deep]))).is_empty());
    let same = vec![json!({"id": "a", "type": "script"}); MAX_TASKS];
    assert_eq!(problems(&tasks(json!(same))).len(), MAX_TASKS - 1);
    let back: Vec<Value> = (0..MAX_TASKS)
        .map(|index| json!({"id": format!("h{index}"), "type": "hitl", "returns_to": "h9999"}))
        .collect();
    assert_eq!(problems(&tasks(json!(back))).len(), MAX_TASKS);
}
