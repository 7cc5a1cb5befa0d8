//! Reading JSON that somebody else wrote.
//!
//! Owns the limits on an answer's shape. Must never change a value silently: what cannot be kept exactly, or
//! cannot be stored, is refused with a sentence.

use crate::engine::json::normalise;
use serde_json::Value;

/// Levels of arrays and objects. Below serde_json's own limit, so that the sentence is ours.
const MAX_DEPTH: usize = 100;

/// Reads one JSON document. Refuses nesting beyond [`MAX_DEPTH`], integers that do not fit 64 bits (they would
/// silently become floating-point numbers) and NUL characters (Postgres cannot store them). Whole numbers come back
/// as integers, as the engine keeps them.
pub(super) fn parse(bytes: &[u8]) -> Result<Value, String> {
    inspect(bytes)?;
    serde_json::from_slice(bytes).map(normalise).map_err(|cause| format!("is not valid JSON ({cause})"))
}

/// A pass over the tokens. It trusts nothing about the grammar, which is checked afterwards.
fn inspect(bytes: &[u8]) -> Result<(), String> {
    let mut at = 0;
    let mut depth = 0usize;
    while let Some(byte) = bytes.get(at) {
        at = match byte {
            b'"' => end_of_string(bytes, at)?,
            b'-' | b'0'..=b'9' => end_of_number(bytes, at)?,
            b'{' | b'[' => {
                depth += 1;
                if depth > MAX_DEPTH {
                    return Err(format!("is nested more than {MAX_DEPTH} levels deep"));
                }
                at + 1
            }
            b'}' | b']' => {
                depth = depth.saturating_sub(1);
                at + 1
            }
            _ => at + 1,
        };
    }
    Ok(())
}

fn end_of_string(bytes: &[u8], start: usize) -> Result<usize, String> {
    let mut at = start + 1;
    while let Some(byte) = bytes.get(at) {
        match byte {
            b'"' => return Ok(at + 1),
            b'\\' if bytes[at + 1..].starts_with(b"u0000") => {
                return Err("holds a NUL character (\\u0000), which cannot be stored".to_owned());
            }
            b'\\' => at += 2,
            _ => at += 1,
        }
    }
    Ok(at)
}

fn end_of_number(bytes: &[u8], start: usize) -> Result<usize, String> {
    let length = bytes[start..]
        .iter()
        .take_while(|byte| matches!(byte, b'0'..=b'9' | b'-' | b'+' | b'.' | b'e' | b'E'))
        .count();
    let text = String::from_utf8_lossy(&bytes[start..start + length]);
    let integer = text.trim_start_matches('-').bytes().all(|byte| byte.is_ascii_digit());
    if integer && length > 1 && text.parse::<i64>().is_err() && text.parse::<u64>().is_err() {
        let shown: String = text.chars().take(40).collect();
        return Err(format!("holds the integer {shown}, which does not fit 64 bits; send it as a string"));
    }
    Ok(start + length)
}

#[cfg(test)]
mod tests {
    use super::parse;
    use serde_json::json;

    #[test]
    fn integers_survive_exactly_or_are_refused() {
        let kept =
            parse(br#"[9007199254740993, 18446744073709551615, -9223372036854775808, 1.5, 2e3]"#).unwrap();
        assert_eq!(kept, json!([9007199254740993u64, u64::MAX, i64::MIN, 1.5, 2000]));
        for text in
            ["18446744073709551616", "[-9223372036854775809]", r#"{"a":123456789012345678901234567890}"#]
        {
            let refused = parse(text.as_bytes()).unwrap_err();
            assert!(refused.contains("does not fit 64 bits"), "{text}: {refused}");
        }
        assert_eq!(parse(br#""18446744073709551616""#).unwrap(), json!("18446744073709551616"));
    }

    #[test]
    fn what_cannot_be_stored_is_refused() {
        for text in [r#""a\u0000b""#, r#"{"\u0000":1}"#] {
            assert!(parse(text.as_bytes()).unwrap_err().contains("NUL"), "{text}");
        }
        assert_eq!(parse(br#""\\u0000""#).unwrap(), json!("\\u0000"));
    }

    #[test]
    fn nesting_is_bounded() {
        let nested = |levels: usize| format!("{}{}", "[".repeat(levels), "]".repeat(levels));
        assert!(parse(nested(100).as_bytes()).is_ok());
        assert!(parse(nested(101).as_bytes()).unwrap_err().contains("levels deep"));
        assert!(parse(nested(500_000).as_bytes()).unwrap_err().contains("levels deep"));
    }

    #[test]
    fn garbage_is_refused() {
        for bytes in [
            &b""[..],
            b" ",
            b"{",
            b"\"",
            b"\"\\",
            b"\"\\u00",
            b"-",
            b"01",
            b"1-2",
            b"NaN",
            b"{} {}",
            b"<html>",
            b"\xff\xfe",
            b"\"\xff\"",
            b"\x00",
            b"1e999",
        ] {
            assert!(parse(bytes).unwrap_err().contains("not valid JSON"), "{bytes:?}");
        }
    }
}
