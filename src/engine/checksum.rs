//! A step's checksum and idempotency key: what makes it the same thing asked twice.

use super::ids::{RunId, StepPath};
use super::json;
use hmac::{Hmac, KeyInit, Mac};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

/// What a step is asked to do.
pub struct Asked<'a> {
    pub protocol_id: i64,
    pub task_id: &'a str,
    pub uses: &'a str,
    pub action_version: i32,
    pub input: &'a Value,
}

/// HMAC-SHA-256 under the lineage's salt over the RFC 8785 form of what is asked, hex. RFC 8785 numbers are
/// doubles, so larger integers are written as strings, and the sorted JSON pointers of those integers are hashed
/// too: two different inputs never share a checksum. None: the salt was erased.
pub fn checksum(salt: Option<&[u8; 32]>, asked: &Asked<'_>) -> Option<String> {
    let mut pointers = Vec::new();
    json::for_each_unsafe_integer(asked.input, &mut |pointer, _| pointers.push(pointer.to_owned()));
    pointers.sort();
    let document = json!({
        "protocol": asked.protocol_id,
        "task": asked.task_id,
        "uses": asked.uses,
        "action_version": asked.action_version,
        "input": json::with_safe_integers(asked.input),
        "integers": pointers,
    });
    let mut mac = Hmac::<Sha256>::new_from_slice(salt?).expect("HMAC takes a key of any length");
    mac.update(&json::canonical(&document));
    Some(hex::encode(mac.finalize().into_bytes()))
}

/// What every attempt of a step sends as `Idempotency-Key`: SHA-256 over lineage, path, round, checksum and the
/// number of undos, hex. Rounds and undo calls differ in it; attempts do not.
pub fn idempotency_key(lineage: RunId, step: &StepPath, checksum: &str, undos: u32) -> String {
    let document = json!([lineage.0, step.without_round(), step.round(), checksum, undos]);
    hex::encode(Sha256::digest(json::canonical(&document)))
}

/// The same for the call that takes a step back.
pub fn undo_key(lineage: RunId, step: &StepPath, checksum: &str, undos: u32) -> String {
    let document = json!([lineage.0, step.without_round(), step.round(), checksum, undos, "undo"]);
    hex::encode(Sha256::digest(json::canonical(&document)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(input: Value) -> String {
        let asked = Asked { protocol_id: 7, task_id: "a", uses: "a", action_version: 1, input: &input };
        checksum(Some(&[7; 32]), &asked).expect("a salt is given")
    }

    #[test]
    fn a_large_integer_and_its_text_differ() {
        assert_ne!(of(json!({"n": 9_007_199_254_740_993_i64})), of(json!({"n": "9007199254740993"})));
        assert_ne!(of(json!({"n": 9_007_199_254_740_993_i64})), of(json!({"n": 9_007_199_254_740_992_i64})));
    }

    #[test]
    fn key_order_does_not_matter() {
        assert_eq!(of(json!({"a": 1, "b": 2})), of(json!({"b": 2, "a": 1})));
    }

    #[test]
    fn rounds_have_keys_of_their_own() {
        let key = |round| idempotency_key(RunId(1), &StepPath::top("a", round), "c", 0);
        assert_ne!(key(1), key(2));
        assert_ne!(key(1), idempotency_key(RunId(1), &StepPath::top("a", 1), "c", 1));
    }
}
