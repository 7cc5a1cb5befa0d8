//! JSON values as the engine keeps them, so that what is logged folds back to what was run.
//!
//! RFC 8785 writes 1.0 as 1, so a number that is whole is an integer here from the start; integers beyond
//! ±(2^53−1) stay exact in the state and are written as strings where RFC 8785 is used.

use serde_json::{Map, Number, Value};

/// The largest integer that every JSON reader holds exactly: 2^53 − 1 (RFC 8785, section 3.2.2.3; RFC 7493).
pub const MAX_SAFE_INTEGER: i64 = (1 << 53) - 1;

/// The same value with whole floats as integers. Do this once, where a value comes in.
pub fn normalise(value: Value) -> Value {
    match value {
        Value::Number(number) => Value::Number(normalise_number(number)),
        Value::Array(items) => Value::Array(items.into_iter().map(normalise).collect()),
        Value::Object(map) => Value::Object(normalise_map(map)),
        Value::Null | Value::Bool(_) | Value::String(_) => value,
    }
}

pub fn normalise_map(map: Map<String, Value>) -> Map<String, Value> {
    map.into_iter().map(|(key, item)| (key, normalise(item))).collect()
}

/// A float as JSON keeps it here; None when it is infinite or not a number.
pub fn number_from_f64(float: f64) -> Option<Number> {
    Number::from_f64(float).map(normalise_number)
}

fn normalise_number(number: Number) -> Number {
    if !number.is_f64() {
        return number;
    }
    // Both bounds are exact as doubles; beyond them no 64-bit integer has the value.
    let (two_63, two_64) = ((1_u64 << 63) as f64, 2.0 * (1_u64 << 63) as f64);
    match number.as_f64().filter(|float| float.fract() == 0.0) {
        Some(float) if (-two_63..two_63).contains(&float) => Number::from(float as i64),
        Some(float) if (0.0..two_64).contains(&float) => Number::from(float as u64),
        Some(_) | None => number,
    }
}

/// True for an integer that RFC 8785 cannot write as a number.
pub fn is_unsafe_integer(number: &Number) -> bool {
    match (number.as_i64(), number.as_u64()) {
        (Some(integer), _) => integer.unsigned_abs() > MAX_SAFE_INTEGER as u64,
        (None, Some(_)) => true,
        (None, None) => false,
    }
}

/// Visits every unsafe integer with its JSON pointer (RFC 6901).
pub fn for_each_unsafe_integer(value: &Value, visit: &mut impl FnMut(&str, &Number)) {
    let mut pointer = String::new();
    walk(value, &mut pointer, visit);
}

fn walk(value: &Value, pointer: &mut String, visit: &mut impl FnMut(&str, &Number)) {
    let length = pointer.len();
    match value {
        Value::Number(number) if is_unsafe_integer(number) => visit(pointer, number),
        Value::Array(items) => {
            for (index, item) in items.iter().enumerate() {
                pointer.push('/');
                pointer.push_str(&index.to_string());
                walk(item, pointer, visit);
                pointer.truncate(length);
            }
        }
        Value::Object(map) => {
            for (key, item) in map {
                pointer.push('/');
                push_escaped(pointer, key);
                walk(item, pointer, visit);
                pointer.truncate(length);
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

/// Appends a key as RFC 6901 writes it: `~` as `~0`, `/` as `~1`.
pub fn push_escaped(pointer: &mut String, key: &str) {
    for letter in key.chars() {
        match letter {
            '~' => pointer.push_str("~0"),
            '/' => pointer.push_str("~1"),
            other => pointer.push(other),
        }
    }
}

/// The value with unsafe integers as strings, as RFC 8785 wants them.
pub fn with_safe_integers(value: &Value) -> Value {
    match value {
        Value::Number(number) if is_unsafe_integer(number) => Value::String(number.to_string()),
        Value::Array(items) => Value::Array(items.iter().map(with_safe_integers).collect()),
        Value::Object(map) => {
            Value::Object(map.iter().map(|(key, item)| (key.clone(), with_safe_integers(item))).collect())
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => value.clone(),
    }
}

/// About how many bytes a value has as JSON, and how deep it nests.
pub fn measure(value: &Value) -> (usize, usize) {
    let of_all = |parts: &mut dyn Iterator<Item = (usize, usize)>| {
        parts.fold((2, 1), |(bytes, depth), (more, deep)| (bytes + more + 1, depth.max(deep + 1)))
    };
    match value {
        Value::Null | Value::Bool(_) | Value::Number(_) => (8, 0),
        Value::String(text) => (text.len() + 2, 0),
        Value::Array(items) => of_all(&mut items.iter().map(measure)),
        Value::Object(map) => of_all(&mut map.iter().map(|(key, item)| {
            let (bytes, depth) = measure(item);
            (bytes + key.len() + 3, depth)
        })),
    }
}

/// The value with the keys of its objects in order: the same bytes for the same value, whoever wrote it first.
pub fn sorted(value: Value) -> Value {
    match value {
        Value::Array(items) => Value::Array(items.into_iter().map(sorted).collect()),
        Value::Object(map) => {
            let mut entries: Vec<(String, Value)> = map.into_iter().collect();
            entries.sort_by(|a, b| a.0.cmp(&b.0));
            Value::Object(entries.into_iter().map(|(key, item)| (key, sorted(item))).collect())
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => value,
    }
}

/// The canonical bytes of a value (RFC 8785).
pub fn canonical(value: &Value) -> Vec<u8> {
    serde_json_canonicalizer::to_vec(value)
        .expect("a JSON value without unsafe numbers always has a canonical form")
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    #[test]
    fn whole_floats_are_integers() {
        assert_eq!(normalise(json!({"a": [1.0, -0.0, 1.5, 1e300]})).to_string(), r#"{"a":[1,0,1.5,1e+300]}"#);
        assert_eq!(normalise(json!(9.007199254740994e15)), json!(9_007_199_254_740_994_i64));
    }

    #[test]
    fn unsafe_integers_are_found_by_pointer() {
        let value = json!({"a/b": [1, 9_007_199_254_740_992_i64], "c": u64::MAX, "d": MAX_SAFE_INTEGER});
        let mut found = Vec::new();
        for_each_unsafe_integer(&value, &mut |pointer, number| found.push(format!("{pointer}={number}")));
        assert_eq!(found, ["/a~1b/1=9007199254740992", "/c=18446744073709551615"]);
    }

    proptest! {
        #[test]
        fn canonical_bytes_read_back_as_the_same_value(float in proptest::num::f64::NORMAL, integer in -MAX_SAFE_INTEGER..MAX_SAFE_INTEGER) {
            let value = normalise(json!({"f": float, "i": integer}));
            let safe = with_safe_integers(&value);
            let back: Value = serde_json::from_slice(&canonical(&safe)).unwrap();
            prop_assert_eq!(normalise(back), safe);
        }
    }
}
