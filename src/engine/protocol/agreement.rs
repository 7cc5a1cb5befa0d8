//! The published JSON Schema against the reader: the same verdict on the same document, but for what no schema can say
//! ([`Problem::beyond_schema`]).

use super::{JSON_SCHEMA, Problem, Protocol};
use jsonschema::Validator;
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::{Index, select};
use serde_json::{Map, Value, json};
use std::sync::LazyLock;

fn schema() -> &'static Validator {
    static SCHEMA: LazyLock<Validator> = LazyLock::new(|| {
        let schema: Value = serde_json::from_str(JSON_SCHEMA).expect("JSON");
        assert!(jsonschema::draft202012::meta::is_valid(&schema));
        jsonschema::draft202012::new(&schema).expect("a schema")
    });
    &SCHEMA
}

/// What the schema should say: only the problems that it can see count.
fn seen_by_schema(document: &Value) -> Vec<Problem> {
    let problems = Protocol::parse(document).err().unwrap_or_default();
    problems.into_iter().filter(|problem| !problem.beyond_schema).collect()
}

fn hold_to_each_other(document: &Value) {
    let (reader, schema) = (seen_by_schema(document), schema().validate(document).err());
    assert_eq!(reader.is_empty(), schema.is_none(), "{document:#}\nreader: {reader:#?}\nschema: {schema:?}");
}

/// A document that both accept. Ids are numbered afterwards, so that none is there twice.
fn valid() -> impl Strategy<Value = Value> {
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

fn heads() -> Vec<Value> {
    vec![
        json!({"name": "Renewal", "description": "Renews."}),
        json!({"input": {"type": "object", "properties": {"n": {"type": "integer"}}}}),
        json!({"schedule": {"cron": "0 7 * * MON-FRI"}}),
        json!({"schedule": {"cron": "*/5 0 7 1 * *", "time_zone": "Europe/Berlin", "payload": {"n": 1},
            "missed": "run_once", "overlap": "wait"}}),
        json!({"concurrency": {"key": "${payload.office}", "limit": 3}}),
        json!({"concurrency": {"key": "all", "limit": 1.0, "when_full": "refuse"}}),
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

fn common_parts() -> Vec<Value> {
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

fn script_parts() -> Vec<Value> {
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

fn hitl_parts() -> Vec<Value> {
    vec![
        json!({"approvers": "admin", "quorum": 2}),
        json!({"approvers": ["ada", "b.c@d", "supervisor"], "four_eyes": false}),
        json!({"form": {"type": "object", "properties": {"amount": {"type": "number"}}}}),
        json!({"due_minutes": 60, "remind_minutes": 10, "escalate_to": "admin"}),
        json!({"max_minutes": 60, "on_timeout": "escalate", "escalate_to": ["admin"]}),
        json!({"returns_to": "t0", "max_returns": 2}),
        json!({"on_reject": "continue"}),
    ]
}

fn protocol_parts() -> Vec<Value> {
    vec![
        json!({"uses": 8}),
        json!({"uses": "Export licence renewal"}),
        json!({"with": "${payload.case}"}),
        json!({"with": {"n": "${payload.n}"}}),
    ]
}

fn waits() -> Vec<Value> {
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

/// One change that may break a document, at a place that is chosen among all.
#[derive(Debug, Clone)]
enum Change {
    Remove,
    Replace(Value),
    /// A field of this name and value is put into the object.
    Add(&'static str, Value),
}

fn change() -> impl Strategy<Value = Change> {
    prop_oneof![
        1 => Just(Change::Remove),
        3 => select(odd_values()).prop_map(Change::Replace),
        3 => (select(field_names()), select(odd_values())).prop_map(|(name, value)| Change::Add(name, value)),
        2 => select(plausible_fields()).prop_map(|(name, value)| Change::Add(name, value)),
    ]
}

fn odd_values() -> Vec<Value> {
    let numbers = [
        "0",
        "-1",
        "1",
        "2",
        "1.0",
        "1.5",
        "100",
        "101",
        "10000",
        "10001",
        "86400.5",
        "5259600",
        "5259600.5",
        "1e300",
        "9007199254740991",
        "9007199254740993",
        "18446744073709551615",
        "-0.0",
        "0.0000001",
    ];
    let texts = [
        "",
        " ",
        "\u{85}",
        "\u{feff}",
        "a",
        " a ",
        "a b",
        "ä",
        "a~b",
        "item",
        "payload",
        "in",
        "2nd",
        "x-y",
        "staff",
        "Ada",
        ".ada",
        "all",
        "any",
        "fail",
        "flag",
        "retry",
        "escalate",
        "skip",
        "script",
        "parallel",
        "robot",
        "${payload.a}",
        "${payload.a",
        "$${a}",
        "x ${payload.a}",
        "${",
        "payload.a ==",
        "false",
        "1",
        "* * * *",
        "* * * * *",
        "* * * * * *",
        "@daily",
        "61 * * * *",
        "0 0 30 2 *",
        "Europe/Nowhere",
        "2026-13-01T00:00:00Z",
        "2026-02-30T00:00:00Z",
        "2026-11-22",
        "2026-11-22 14:00:00Z",
        "2026-11-22T24:00:00Z",
        "2026-11-22T14:00:00",
        "2026-11-22T14:00:00.Z",
        "2026-11-22T14:00:00+24:00",
        "2026-11-22T14:00:00-0100",
        " 2026-11-22T14:00:00Z ",
    ];
    let mut values: Vec<Value> =
        numbers.iter().map(|number| serde_json::from_str(number).expect("a number")).collect();
    values.extend(texts.iter().map(|text| json!(text)));
    values.extend([100, 101, 200, 201, 2_000, 2_001, 10_001].map(|length| json!("x".repeat(length))));
    values.extend([
        json!(null),
        json!(true),
        json!([]),
        json!({}),
        json!([[]]),
        json!([1]),
        json!(["ada"]),
        json!(["ada", "ada"]),
        json!(["ada", 1]),
        json!({"type": "object"}),
        json!({"type": "thing"}),
        json!({"type": "object", "pattern": "("}),
        json!({"type": "object", "$schema": "http://json-schema.org/draft-07/schema#"}),
        json!({"cron": "* * * * *", "colour": "red"}),
        json!({"attempts": 0}),
        json!({"backoff_seconds": 90, "max_backoff_seconds": 60}),
        json!({"id": "new", "type": "script"}),
        json!([{"id": "new", "type": "script"}]),
        json!([[{"id": "new", "type": "wait", "minutes": 3}], {"id": "newer", "type": "hitl"}]),
    ]);
    values
}

fn field_names() -> Vec<&'static str> {
    vec![
        "id",
        "type",
        "title",
        "saves",
        "when",
        "max_minutes",
        "on_timeout",
        "on_failure",
        "uses",
        "with",
        "retry",
        "undo",
        "approvers",
        "quorum",
        "four_eyes",
        "form",
        "due_minutes",
        "remind_minutes",
        "escalate_to",
        "returns_to",
        "max_returns",
        "on_reject",
        "tasks",
        "join",
        "max_concurrency",
        "for_each",
        "as",
        "minutes",
        "until",
        "event",
        "key",
        "name",
        "description",
        "input",
        "schedule",
        "concurrency",
        "redact",
        "cron",
        "time_zone",
        "payload",
        "missed",
        "overlap",
        "limit",
        "when_full",
        "attempts",
        "backoff_factor",
        "colour",
        "two words",
        "ID",
    ]
}

/// Fields that are right in themselves: where they may stand is the question.
fn plausible_fields() -> Vec<(&'static str, Value)> {
    let lists = [common_parts(), script_parts(), hitl_parts(), protocol_parts(), waits(), heads()];
    let groups = vec![json!({"join": "any", "max_concurrency": 2, "for_each": "payload.l", "as": "entry"})];
    let names = field_names();
    let parts = lists.into_iter().flatten().chain(groups);
    let fields = parts.flat_map(|part| match part {
        Value::Object(map) => map,
        _ => Map::new(),
    });
    fields.filter_map(|(name, value)| Some((*names.iter().find(|known| **known == name)?, value))).collect()
}

/// Changes the value that `place` picks among all values inside, the document itself left out.
fn apply(document: &mut Value, place: Index, change: &Change) {
    let places = count(document) - 1;
    if places > 0 {
        apply_at(document, &mut place.index(places), change);
    }
}

fn count(value: &Value) -> usize {
    1 + match value {
        Value::Array(items) => items.iter().map(count).sum(),
        Value::Object(map) => map.values().map(count).sum::<usize>(),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => 0,
    }
}

/// True when it was done. `left`: how many values are passed over before.
fn apply_at(value: &mut Value, left: &mut usize, change: &Change) -> bool {
    if let (Change::Add(name, added), Value::Object(map)) = (change, &mut *value)
        && *left == 0
    {
        map.insert((*name).to_owned(), added.clone());
        return true;
    }
    match value {
        Value::Array(items) => {
            for index in 0..items.len() {
                if *left == 0 && !matches!(change, Change::Add(..)) {
                    match change {
                        Change::Replace(new) => items[index] = new.clone(),
                        Change::Remove | Change::Add(..) => drop(items.remove(index)),
                    }
                    return true;
                }
                *left = left.saturating_sub(1);
                if apply_at(&mut items[index], left, change) {
                    return true;
                }
            }
        }
        Value::Object(map) => {
            let keys: Vec<String> = map.keys().cloned().collect();
            for key in keys {
                if *left == 0 && !matches!(change, Change::Add(..)) {
                    match change {
                        Change::Replace(new) => drop(map.insert(key, new.clone())),
                        Change::Remove | Change::Add(..) => drop(map.shift_remove(&key)),
                    }
                    return true;
                }
                *left = left.saturating_sub(1);
                if apply_at(&mut map[&key], left, change) {
                    return true;
                }
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
    false
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 3_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn schema_and_reader_accept_the_same_documents(document in valid()) {
        prop_assert_eq!(Protocol::parse(&document).err(), None);
        hold_to_each_other(&document);
    }

    #[test]
    fn schema_and_reader_refuse_the_same_documents(
        document in valid(),
        changes in vec((any::<Index>(), change()), 1..4),
    ) {
        let mut document = document;
        for (place, change) in &changes {
            apply(&mut document, *place, change);
        }
        hold_to_each_other(&document);
    }
}

/// Each value in each field of each type: what a few thousand random documents may miss.
#[test]
fn schema_and_reader_agree_on_every_field_of_every_type() {
    let tasks = [
        json!({"id": "t", "type": "script"}),
        json!({"id": "t", "type": "agent", "max_minutes": 1}),
        json!({"id": "t", "type": "hitl", "due_minutes": 1}),
        json!({"id": "t", "type": "hitl", "max_minutes": 1, "escalate_to": "admin"}),
        json!({"id": "t", "type": "parallel", "tasks": [{"id": "u", "type": "script"}]}),
        json!({"id": "t", "type": "parallel", "for_each": "payload.l", "tasks": [{"id": "u", "type": "script"}]}),
        json!({"id": "t", "type": "wait", "minutes": 1}),
        json!({"id": "t", "type": "wait", "event": "e"}),
        json!({"id": "t", "type": "wait"}),
        json!({"id": "t", "type": "protocol"}),
        json!({"id": "t"}),
    ];
    let values: Vec<Value> =
        odd_values().into_iter().chain(plausible_fields().into_iter().map(|(_, value)| value)).collect();
    for name in field_names() {
        for value in &values {
            for task in &tasks {
                let mut task = task.clone();
                task[name] = value.clone();
                hold_to_each_other(&json!({"tasks": [task]}));
            }
            let mut document = json!({"tasks": [{"id": "t", "type": "script"}]});
            document[name] = value.clone();
            hold_to_each_other(&document);
        }
    }
    for value in values {
        hold_to_each_other(&value);
    }
}
