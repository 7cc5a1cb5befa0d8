//! Encoding an entry into its leaf, and reading it back.

use super::disclosure::{self, Cover, Disclosure};
use super::{ENTRY_VERSION, Hash, MAX_LEAF_BYTES, leaf_hash};
use crate::engine::json::{canonical, for_each_unsafe_integer, with_safe_integers};
use chrono::{DateTime, SecondsFormat, Utc};
use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};
use std::borrow::Cow;

/// A value of the detail that is longer than this, in canonical bytes, stays beside the log when the leaf would
/// grow too large.
const LARGE_VALUE_BYTES: usize = 8 * 1024;

/// What an entry says, before it is encoded.
#[derive(Debug, Clone, PartialEq)]
pub struct Draft<'a> {
    /// Name of the log: the same in every entry of a deployment.
    pub origin: &'a str,
    pub run_id: i64,
    /// 0, but for the agency's own streams (run 0): there, the instance that writes.
    pub stream: i64,
    pub seq: u64,
    /// Leaf hash of the entry before; None for the first.
    pub prev: Option<Hash>,
    pub at: DateTime<Utc>,
    pub actor: &'a str,
    pub type_name: &'a str,
    pub step: Option<&'a str>,
    pub attempt: Option<u32>,
    pub status: Option<&'a str>,
    pub checksum: Option<&'a str>,
    pub detail: Value,
}

/// An encoded entry.
#[derive(Debug, Clone, PartialEq)]
pub struct Sealed {
    pub leaf: Vec<u8>,
    pub hash: Hash,
    /// JSON pointer into the detail → the typed value that the leaf holds by hash or as a string.
    pub beside: Option<Value>,
    /// The values that the leaf does not hold at all, each named there by its digest.
    pub disclosures: Vec<Disclosure>,
}

/// Encodes an entry. Integers beyond ±(2^53−1) become strings, and values too large for a leaf become
/// `{"sha256","length"}` of their canonical bytes; both lie beside it as they were.
pub fn seal(draft: &Draft<'_>) -> Sealed {
    seal_covered(draft, Vec::new())
}

/// The same, with what `covers` name taken out before anything else: nothing of it is in the leaf, nor beside it with
/// the rest.
pub fn seal_covered(draft: &Draft<'_>, covers: Vec<Cover>) -> Sealed {
    let mut covered = draft.detail.clone();
    let disclosures = disclosure::take_out(&mut covered, covers);
    let digests = disclosure::digests(&disclosures);
    let mut beside = Map::new();
    let mut detail = covered.clone();
    let mut leaf = encode(draft, &mut detail, &mut beside, &digests, usize::MAX);
    for limit in [LARGE_VALUE_BYTES, 512, 0] {
        if leaf.len() <= MAX_LEAF_BYTES {
            break;
        }
        beside.clear();
        detail = covered.clone();
        leaf = encode(draft, &mut detail, &mut beside, &digests, limit);
    }
    let hash = leaf_hash(&leaf);
    Sealed { leaf, hash, beside: (!beside.is_empty()).then_some(Value::Object(beside)), disclosures }
}

fn encode(
    draft: &Draft<'_>,
    detail: &mut Value,
    beside: &mut Map<String, Value>,
    digests: &[&str],
    limit: usize,
) -> Vec<u8> {
    if let (Value::Object(map), true) = (&mut *detail, limit < usize::MAX) {
        for (key, value) in map.iter_mut() {
            let bytes = canonical(&with_safe_integers(value));
            if bytes.len() > limit && !value.is_null() && !value.is_boolean() && !value.is_number() {
                let mut pointer = String::from("/");
                crate::engine::json::push_escaped(&mut pointer, key);
                beside.insert(pointer, value.take());
                *value = stand_in(&bytes);
            }
        }
    }
    let mut unsafe_integers = Vec::new();
    for_each_unsafe_integer(detail, &mut |pointer, number| {
        unsafe_integers.push((pointer.to_owned(), Value::Number(number.clone())));
    });
    if !unsafe_integers.is_empty() {
        *detail = with_safe_integers(detail);
        beside.extend(unsafe_integers);
    }
    let mut leaf = json!({
        "v": ENTRY_VERSION,
        "log": draft.origin,
        "run": draft.run_id,
        "seq": draft.seq,
        "prev": draft.prev.map(hex::encode),
        "t": draft.at.to_rfc3339_opts(SecondsFormat::Micros, true),
        "actor": draft.actor,
        "type": draft.type_name,
        "step": draft.step,
        "attempt": draft.attempt,
        "status": draft.status,
        "checksum": draft.checksum,
        "detail": detail,
    });
    if let Value::Object(map) = &mut leaf {
        if draft.stream != 0 {
            map.insert("stream".to_owned(), draft.stream.into());
        }
        // Named in the leaf, so that nobody can take away what lies beside it unseen.
        if !beside.is_empty() {
            map.insert("beside".to_owned(), pointers(beside));
        }
        if !digests.is_empty() {
            map.insert(disclosure::DIGESTS.to_owned(), json!(digests));
        }
    }
    canonical(&leaf)
}

/// The JSON pointers of what lies beside a leaf, in order.
fn pointers(beside: &Map<String, Value>) -> Value {
    let mut pointers: Vec<&String> = beside.keys().collect();
    pointers.sort();
    json!(pointers)
}

/// What a leaf says of a value that lies beside it.
fn stand_in(bytes: &[u8]) -> Value {
    json!({"sha256": hex::encode(Sha256::digest(bytes)), "length": bytes.len()})
}

/// A leaf, read back, with the typed values from beside it in their places.
#[derive(Debug, Clone, PartialEq)]
pub struct Opened {
    pub origin: String,
    pub run_id: i64,
    pub stream: i64,
    pub seq: u64,
    pub prev: Option<String>,
    pub at: DateTime<Utc>,
    pub actor: String,
    pub type_name: String,
    pub step: Option<String>,
    pub attempt: Option<u32>,
    pub status: Option<String>,
    pub checksum: Option<String>,
    /// Null in the place of what is sealed, until it is disclosed.
    pub detail: Value,
    /// The digests of what is sealed.
    pub digests: Vec<String>,
}

/// What a leaf says about itself, read without building its detail: for whoever checks millions.
#[derive(Debug, Deserialize)]
pub struct Header<'a> {
    v: u32,
    #[serde(borrow)]
    pub log: Cow<'a, str>,
    #[serde(rename = "run")]
    pub run_id: i64,
    #[serde(default)]
    pub stream: i64,
    pub seq: u64,
    #[serde(borrow)]
    pub prev: Option<Cow<'a, str>>,
    #[serde(rename = "t")]
    pub at: DateTime<Utc>,
    #[serde(borrow)]
    pub actor: Cow<'a, str>,
    #[serde(rename = "type", borrow)]
    pub type_name: Cow<'a, str>,
    #[serde(borrow)]
    pub step: Option<Cow<'a, str>>,
    pub attempt: Option<u32>,
    #[serde(borrow)]
    pub status: Option<Cow<'a, str>>,
    /// Something lies beside it: only [`open`] can say whether it is what was sealed.
    #[serde(default, rename = "beside")]
    pub names_beside: Option<IgnoredAny>,
    /// Something is sealed in it.
    #[serde(default, rename = "_sd")]
    pub seals: Option<IgnoredAny>,
}

/// Reads a leaf's header. The message says what does not fit.
pub fn header(leaf: &[u8]) -> Result<Header<'_>, String> {
    let header: Header<'_> =
        serde_json::from_slice(leaf).map_err(|error| format!("the leaf is not an entry: {error}"))?;
    if header.v != ENTRY_VERSION {
        return Err("the leaf is of a version that this program does not know".to_owned());
    }
    Ok(header)
}

/// Reads a leaf. The message says what does not fit.
pub fn open(leaf: &[u8], beside: Option<&Value>) -> Result<Opened, String> {
    let value: Value =
        serde_json::from_slice(leaf).map_err(|error| format!("the leaf is not JSON: {error}"))?;
    let Value::Object(mut map) = value else { return Err("the leaf is not a JSON object".to_owned()) };
    if map.get("v").and_then(Value::as_u64) != Some(u64::from(ENTRY_VERSION)) {
        return Err("the leaf is of a version that this program does not know".to_owned());
    }
    let mut detail = map.remove("detail").unwrap_or(Value::Null);
    let named = map.remove("beside").unwrap_or_else(|| json!([]));
    let nothing = Map::new();
    let beside = beside.and_then(Value::as_object).unwrap_or(&nothing);
    if pointers(beside) != named {
        return Err(format!("what lies beside it is not what the leaf names: {named}"));
    }
    for (pointer, typed) in beside {
        put_back(&mut detail, pointer, typed)?;
    }
    let digests = disclosure::digests_of(&map)?;
    let text = |key: &str| map.get(key).and_then(Value::as_str).map(str::to_owned);
    let needed = |key: &str| text(key).ok_or_else(|| format!("the leaf has no `{key}`"));
    let at =
        DateTime::parse_from_rfc3339(&needed("t")?).map_err(|error| format!("the leaf's `t`: {error}"))?;
    Ok(Opened {
        origin: needed("log")?,
        run_id: map.get("run").and_then(Value::as_i64).ok_or("the leaf has no `run`")?,
        stream: map.get("stream").and_then(Value::as_i64).unwrap_or(0),
        seq: map.get("seq").and_then(Value::as_u64).ok_or("the leaf has no `seq`")?,
        prev: text("prev"),
        at: at.with_timezone(&Utc),
        actor: needed("actor")?,
        type_name: needed("type")?,
        step: text("step"),
        attempt: map.get("attempt").and_then(Value::as_u64).and_then(|attempt| u32::try_from(attempt).ok()),
        status: text("status"),
        checksum: text("checksum"),
        detail,
        digests,
    })
}

/// Puts a typed value in the place of its string or stand-in, after checking that it is the one.
fn put_back(detail: &mut Value, pointer: &str, typed: &Value) -> Result<(), String> {
    let place = detail
        .pointer_mut(pointer)
        .ok_or_else(|| format!("what lies beside it has no place at {pointer}"))?;
    let expected = match typed {
        Value::Number(number) => Value::String(number.to_string()),
        other => stand_in(&canonical(&with_safe_integers(other))),
    };
    if *place != expected {
        return Err(format!("the value beside it at {pointer} is not the one that was sealed"));
    }
    *place = typed.clone();
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn draft(detail: Value) -> Draft<'static> {
        Draft {
            origin: "example.gov/acts",
            run_id: 9001,
            stream: 0,
            seq: 2,
            prev: Some([7; 32]),
            at: DateTime::from_timestamp_micros(1_700_000_000_000_001).unwrap(),
            actor: "staff",
            type_name: "step.done",
            step: Some("fetch_data"),
            attempt: Some(1),
            status: Some("done"),
            checksum: None,
            detail,
        }
    }

    #[test]
    fn a_leaf_is_canonical_json_with_six_fractional_digits() {
        let sealed = seal(&draft(json!({"result": 1})));
        let text = String::from_utf8(sealed.leaf.clone()).unwrap();
        assert!(
            text.starts_with(r#"{"actor":"staff","attempt":1,"checksum":null,"detail":{"result":1},"log":"#),
            "{text}"
        );
        assert!(text.contains(r#""t":"2023-11-14T22:13:20.000001Z""#), "{text}");
        assert_eq!(sealed.beside, None);
        assert_eq!(sealed.hash, leaf_hash(&sealed.leaf));
    }

    #[test]
    fn large_integers_are_strings_in_the_leaf_and_come_back_typed() {
        let detail = json!({"result": {"a/b": [9_007_199_254_740_993_i64, u64::MAX]}});
        let sealed = seal(&draft(detail.clone()));
        assert!(
            String::from_utf8_lossy(&sealed.leaf).contains(r#"["9007199254740993","18446744073709551615"]"#)
        );
        assert_eq!(open(&sealed.leaf, sealed.beside.as_ref()).unwrap().detail, detail);
    }

    #[test]
    fn a_value_too_large_for_a_leaf_stays_beside_it() {
        let detail = json!({"result": {"text": "x".repeat(200_000), "n": u64::MAX}, "note": "short"});
        let sealed = seal(&draft(detail.clone()));
        assert!(sealed.leaf.len() < 2_000);
        assert_eq!(open(&sealed.leaf, sealed.beside.as_ref()).unwrap().detail, detail);
    }

    #[test]
    fn many_middling_values_fit_too() {
        let many: Map<String, Value> = (0..40).map(|n| (format!("k{n}"), json!("y".repeat(4_000)))).collect();
        let sealed = seal(&draft(Value::Object(many.clone())));
        assert!(sealed.leaf.len() <= MAX_LEAF_BYTES);
        assert_eq!(open(&sealed.leaf, sealed.beside.as_ref()).unwrap().detail, Value::Object(many));
    }

    #[test]
    fn a_value_taken_away_from_beside_the_leaf_is_found() {
        let sealed = seal(&draft(json!({"result": "x".repeat(200_000)})));
        let error = open(&sealed.leaf, None).unwrap_err();
        assert!(error.contains("not what the leaf names"), "{error}");
        let plain = seal(&draft(json!({"result": 1})));
        assert!(open(&plain.leaf, Some(&json!({"/result": 2}))).is_err());
    }

    #[test]
    fn a_changed_value_beside_the_leaf_is_found() {
        let sealed = seal(&draft(json!({"result": u64::MAX})));
        let error = open(&sealed.leaf, Some(&json!({"/result": 5}))).unwrap_err();
        assert!(error.contains("not the one that was sealed"), "{error}");
    }
}
