//! Changes that may break a document: wrong types, unknown fields, missing ones, numbers and words out of range.

use super::documents::{common_parts, heads, hitl_parts, protocol_parts, script_parts, waits};
use proptest::prelude::*;
use proptest::sample::{Index, select};
use serde_json::{Map, Value, json};

/// One change that may break a document, at a place that is chosen among all.
#[derive(Debug, Clone)]
pub enum Change {
    Remove,
    Replace(Value),
    /// A field of this name and value is put into the object.
    Add(&'static str, Value),
}

pub fn change() -> impl Strategy<Value = Change> {
    prop_oneof![
        1 => Just(Change::Remove),
        3 => select(odd_values()).prop_map(Change::Replace),
        3 => (select(field_names()), select(odd_values())).prop_map(|(name, value)| Change::Add(name, value)),
        2 => select(plausible_fields()).prop_map(|(name, value)| Change::Add(name, value)),
    ]
}

pub fn odd_values() -> Vec<Value> {
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
        "group:legal",
        "group:",
        "Group:legal",
        "group:group:legal",
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
        json!({"slots": []}),
        json!({"slots": {"name": "a"}}),
        json!({"slots": [{"name": "a"}]}),
        json!({"slots": [{"approvers": "ada"}]}),
        json!({"slots": [{"name": "a", "approvers": "ada"}]}),
        json!({"slots": [{"name": "a", "approvers": "ada", "count": 0}]}),
        json!({"slots": [{"name": "a", "approvers": ["ada"], "count": 2}]}),
        json!({"slots": [{"name": "a", "approvers": "ada"}, {"name": "a", "approvers": "admin"}]}),
        json!({"slots": [{"name": "a", "approvers": "ada"}, {"name": "b", "approvers": "ada"}]}),
        json!({"slots": [{"name": "a", "approvers": {"slots": []}}]}),
        json!({"slots": [{"name": "a", "approvers": "admin", "count": 100}, {"name": "b", "approvers": "admin"}]}),
        json!({"backoff_seconds": 90, "max_backoff_seconds": 60}),
        json!({"id": "new", "type": "script"}),
        json!([{"id": "new", "type": "script"}]),
        json!(["payload.a", {"path": "payload.b.*"}]),
        json!(["payload.a", "payload.a.b"]),
        json!(["payload", 1]),
        json!([{"path": "payload.a", "exemption": ""}]),
        json!([[{"id": "new", "type": "wait", "minutes": 3}], {"id": "newer", "type": "hitl"}]),
    ]);
    values
}

pub fn field_names() -> Vec<&'static str> {
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
        "slots",
        "count",
        "path",
        "exemption",
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
pub fn plausible_fields() -> Vec<(&'static str, Value)> {
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
pub fn apply(document: &mut Value, place: Index, change: &Change) {
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
