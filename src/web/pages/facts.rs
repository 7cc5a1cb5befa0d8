//! A JSON value as rows of names and values, for people.

use serde_json::{Map, Value};

/// One row. Nested values follow their group, one level deeper.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fact {
    /// 0 to 3; what is nested deeper stays at 3.
    pub depth: usize,
    pub name: String,
    pub value: String,
    /// The rows below belong to this one; its value says how many there are.
    pub group: bool,
}

const DEEPEST: usize = 3;

/// More rows than this nobody reads on a page; the export has them all.
const MOST_ROWS: usize = 400;
/// The most characters of one value.
const MOST_CHARS: usize = 4_000;

/// The rows of a value, cut to what a page can hold; what is left out is said.
pub fn short(value: &Value) -> Vec<Fact> {
    cut(of(value))
}

/// The same of an object's entries.
pub fn short_map(entries: &Map<String, Value>) -> Vec<Fact> {
    let mut rows = Vec::new();
    entries.iter().for_each(|(name, value)| add(&mut rows, 0, words(name), value));
    cut(rows)
}

fn cut(mut rows: Vec<Fact>) -> Vec<Fact> {
    let more = rows.len().saturating_sub(MOST_ROWS);
    rows.truncate(MOST_ROWS);
    for row in &mut rows {
        let length = row.value.chars().count();
        if length > MOST_CHARS {
            let kept: String = row.value.chars().take(MOST_CHARS).collect();
            row.value = format!("{kept}… ({length} characters in all)");
        }
    }
    if more > 0 {
        let value = format!("{more} rows are not shown here");
        rows.push(Fact { depth: 0, name: "And more".to_owned(), value, group: false });
    }
    rows
}

/// The rows of a value, in its own order. A value that is no object is one row named "Value".
pub fn of(value: &Value) -> Vec<Fact> {
    let mut rows = Vec::new();
    match value {
        Value::Object(entries) => {
            entries.iter().for_each(|(name, value)| add(&mut rows, 0, words(name), value));
        }
        Value::Array(items) => add_items(&mut rows, 0, "Item", items),
        Value::Null => {}
        Value::Bool(_) | Value::Number(_) | Value::String(_) => add(&mut rows, 0, "Value".to_owned(), value),
    }
    rows
}

fn add(rows: &mut Vec<Fact>, depth: usize, name: String, value: &Value) {
    let depth = depth.min(DEEPEST);
    let group = |value| Fact { depth, name: name.clone(), value, group: true };
    match value {
        Value::Object(entries) if !entries.is_empty() => {
            rows.push(group(String::new()));
            entries.iter().for_each(|(name, value)| add(rows, depth + 1, words(name), value));
        }
        Value::Array(items) if items.iter().any(|item| item.is_object() || item.is_array()) => {
            rows.push(group(format!("{} in all", items.len())));
            add_items(rows, depth + 1, &name, items);
        }
        Value::Array(_)
        | Value::Object(_)
        | Value::Null
        | Value::Bool(_)
        | Value::Number(_)
        | Value::String(_) => {
            rows.push(Fact { depth, name, value: text(value), group: false });
        }
    }
}

fn add_items(rows: &mut Vec<Fact>, depth: usize, noun: &str, items: &[Value]) {
    for (index, item) in items.iter().enumerate() {
        add(rows, depth, format!("{noun} {}", index + 1), item);
    }
}

/// A plain value, or a list of plain values, in one line. Integers keep every digit.
fn text(value: &Value) -> String {
    match value {
        Value::Null => "None".to_owned(),
        Value::Bool(true) => "Yes".to_owned(),
        Value::Bool(false) => "No".to_owned(),
        Value::Number(number) => number.to_string(),
        Value::String(text) if text.is_empty() => "Empty".to_owned(),
        Value::String(text) => text.clone(),
        Value::Array(items) if items.is_empty() => "None".to_owned(),
        Value::Array(items) => items.iter().map(text).collect::<Vec<_>>().join("; "),
        Value::Object(_) => "None".to_owned(),
    }
}

/// `license_id` → `License id`: a key as its author would say it.
pub fn words(key: &str) -> String {
    let spaced = key.replace(['_', '-'], " ");
    let mut letters = spaced.chars();
    match letters.next() {
        Some(first) => first.to_uppercase().chain(letters).collect(),
        None => "Unnamed".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn nested_values_follow_their_group() {
        let rows =
            of(&json!({"license_id": 9007199254740993_i64, "parties": [{"name": "A"}, {"name": "B"}]}));
        let shape: Vec<_> =
            rows.iter().map(|row| (row.depth, row.name.as_str(), row.value.as_str())).collect();
        assert_eq!(
            shape,
            [
                (0, "License id", "9007199254740993"),
                (0, "Parties", "2 in all"),
                (1, "Parties 1", ""),
                (2, "Name", "A"),
                (1, "Parties 2", ""),
                (2, "Name", "B"),
            ]
        );
    }

    #[test]
    fn long_values_are_cut_and_say_so() {
        let rows = short(&json!({"many": (0..1000).map(|n| json!({"n": n})).collect::<Vec<_>>()}));
        assert_eq!(rows.len(), MOST_ROWS + 1);
        assert_eq!(rows.last().unwrap().value, "1601 rows are not shown here");
        let rows = short(&json!({"text": "x".repeat(5000)}));
        assert!(rows[0].value.ends_with("… (5000 characters in all)"));
    }

    #[test]
    fn deep_values_stay_readable() {
        let rows = of(&json!({"a": {"b": {"c": {"d": {"e": [true, null]}}}}}));
        assert_eq!(rows.last().unwrap().depth, DEEPEST);
        assert_eq!(rows.last().unwrap().value, "Yes; None");
    }
}
