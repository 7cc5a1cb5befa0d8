//! JSON to CEL and back, exactly: 64-bit integers stay integers.

use super::kind_of;
use super::variable::Reached;
use cel::objects::{Key, Map};
use serde_json::{Number, Value};
use std::collections::HashMap;
use std::sync::Arc;

pub(super) fn from_reached(value: &Reached<'_>) -> cel::Value {
    match value {
        Reached::Whole(value) => from_json(value),
        Reached::Fields(fields) => map_of(fields.iter().copied()),
    }
}

fn from_json(value: &Value) -> cel::Value {
    match value {
        Value::Null => cel::Value::Null,
        Value::Bool(flag) => cel::Value::Bool(*flag),
        Value::Number(number) => number_from_json(number),
        Value::String(text) => cel::Value::String(Arc::new(text.clone())),
        Value::Array(items) => cel::Value::List(Arc::new(items.iter().map(from_json).collect())),
        Value::Object(map) => map_of(map.iter().map(|(key, item)| (key.as_str(), item))),
    }
}

fn map_of<'v>(fields: impl Iterator<Item = (&'v str, &'v Value)>) -> cel::Value {
    let entries: HashMap<Key, cel::Value> =
        fields.map(|(key, item)| (Key::from(key), from_json(item))).collect();
    cel::Value::Map(Map { map: Arc::new(entries) })
}

fn number_from_json(number: &Number) -> cel::Value {
    if let Some(integer) = number.as_i64() {
        cel::Value::Int(integer)
    } else if let Some(integer) = number.as_u64() {
        cel::Value::UInt(integer)
    } else {
        cel::Value::Float(number.as_f64().unwrap_or(f64::NAN))
    }
}

/// A sentence about what JSON cannot hold. CEL shares what it repeats, JSON does not: `room` bounds what it may
/// grow to, in bytes.
pub(super) fn to_json(value: &cel::Value, room: &mut usize) -> Result<Value, String> {
    let size = match value {
        cel::Value::String(text) => text.len() + 2,
        _ => 8,
    };
    *room = room.checked_sub(size).ok_or("gave too much: results are limited to 16 MiB.")?;
    Ok(match value {
        cel::Value::Null => Value::Null,
        cel::Value::Bool(flag) => Value::Bool(*flag),
        cel::Value::Int(integer) => Value::from(*integer),
        cel::Value::UInt(integer) => Value::from(*integer),
        cel::Value::Float(float) => super::super::json::number_from_f64(*float)
            .map(Value::Number)
            .ok_or("gave a number that JSON cannot hold (infinite or not a number).")?,
        cel::Value::String(text) => Value::String(text.to_string()),
        cel::Value::List(items) => {
            Value::Array(items.iter().map(|item| to_json(item, room)).collect::<Result<_, _>>()?)
        }
        cel::Value::Map(map) => {
            let mut entries: Vec<(String, &cel::Value)> =
                map.map.iter().map(|(key, item)| (key.to_string(), item)).collect();
            entries.sort_by(|a, b| a.0.cmp(&b.0));
            let pairs = entries.into_iter().map(|(key, item)| Ok((key, to_json(item, room)?)));
            Value::Object(pairs.collect::<Result<_, String>>()?)
        }
        cel::Value::Timestamp(time) => Value::String(time.to_rfc3339()),
        cel::Value::Duration(duration) => Value::from(duration.num_seconds()),
        cel::Value::Bytes(_) | cel::Value::Function(..) | cel::Value::Opaque(_) | cel::Value::Struct(_) => {
            return Err(format!(
                "gave a {}, which JSON cannot hold. Make it a text or {}.",
                value.type_of(),
                kind_of(&Value::from(0))
            ));
        }
    })
}
