//! Rows of names and values, as forms without a schema have them, between what was sent and a payload.

use super::sent::Sent;
use crate::engine::state::Payload;
use crate::web::pages::forms::Problem;
use crate::web::pages::input_form::{PAIRS, read_pairs};
use crate::web::pages::run_new::Pair;
use serde_json::{Map, Value};

/// Rows that are read, however many were drawn.
const MOST_PAIRS: usize = 100;

/// Empty rows.
pub fn blank() -> Vec<Pair> {
    (1..=PAIRS).map(|number| Pair { number, name: String::new(), value: String::new() }).collect()
}

/// The rows as they were sent.
pub fn sent(sent: &Sent) -> Vec<Pair> {
    let last = (1..=MOST_PAIRS).rev().find(|number| sent.filled(&format!("name_{number}")).is_some());
    let row = |number| Pair {
        number,
        name: sent.raw(&format!("name_{number}")).to_owned(),
        value: sent.raw(&format!("value_{number}")).to_owned(),
    };
    (1..=last.unwrap_or(0).max(PAIRS)).map(row).collect()
}

/// The payload that the rows say, or what is wrong with one of them.
///
/// # Errors
/// The problem, at its row.
pub fn read(pairs: &[Pair]) -> Result<Payload, Vec<Problem>> {
    let rows = pairs.iter().map(|pair| (pair.name.as_str(), pair.value.as_str()));
    read_pairs(rows).map_err(|(number, message)| vec![Problem::at_field(format!("name_{number}"), message)])
}

/// The rows of values inside values: `applicant.name` for `{"applicant": {"name": …}}`.
///
/// # Errors
/// As [`read`].
pub fn read_nested(pairs: &[Pair]) -> Result<Payload, Vec<Problem>> {
    let mut nested = Map::new();
    read(pairs)?.into_iter().for_each(|(name, value)| put(&mut nested, &name, value));
    Ok(nested)
}

fn put(map: &mut Payload, name: &str, value: Value) {
    let Some((key, rest)) = name.split_once('.') else {
        map.insert(name.to_owned(), value);
        return;
    };
    let inner = map.entry(key.to_owned()).or_insert(Value::Null);
    if !inner.is_object() {
        *inner = Value::Object(Map::new());
    }
    if let Value::Object(inner) = inner {
        put(inner, rest, value);
    }
}

/// The rows of a payload, with one empty row more. None: something in it is no plain value, or it has too many.
pub fn of(payload: &Payload) -> Option<Vec<Pair>> {
    let plain = |value: &Value| match value {
        Value::String(text) => (!text.contains('\n') && text.trim() == text).then(|| text.clone()),
        Value::Bool(_) => Some(value.to_string()),
        Value::Number(number) if number.is_i64() || number.is_u64() => Some(number.to_string()),
        Value::Number(_) | Value::Null | Value::Array(_) | Value::Object(_) => None,
    };
    if payload.len() >= MOST_PAIRS {
        return None;
    }
    let rows: Option<Vec<(String, String)>> =
        payload.iter().map(|(name, value)| Some((name.clone(), plain(value)?))).collect();
    let empty = (String::new(), String::new());
    let rows = rows?.into_iter().chain([empty]).enumerate();
    let rows: Vec<Pair> =
        rows.map(|(index, (name, value))| Pair { number: index + 1, name, value }).collect();
    // What would be read back as something else stays as it is.
    (read(&rows).ok()? == *payload).then_some(rows)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn pairs(rows: &[(&str, &str)]) -> Vec<Pair> {
        let pair = |(index, (name, value)): (usize, &(&str, &str))| Pair {
            number: index + 1,
            name: (*name).to_owned(),
            value: (*value).to_owned(),
        };
        rows.iter().enumerate().map(pair).collect()
    }

    #[test]
    fn dotted_names_are_values_inside_values() {
        let read =
            read_nested(&pairs(&[("applicant.name", "Acme"), ("applicant.id", "5"), ("urgent", "true")]));
        let expected = json!({"applicant": {"name": "Acme", "id": 5}, "urgent": true});
        assert_eq!(Value::Object(read.expect("all is well")), expected);
        assert!(read_nested(&pairs(&[("", "1")])).is_err());
    }

    #[test]
    fn rows_hold_plain_values_only() {
        let rows = |payload: Value| of(payload.as_object().expect("an object"));
        assert_eq!(rows(json!({"license_id": 123, "note": "x"})).expect("rows").len(), 3);
        assert!(rows(json!({"parties": []})).is_none());
        assert!(rows(json!({"number_as_text": "5"})).is_none(), "it would come back as a number");
    }
}
