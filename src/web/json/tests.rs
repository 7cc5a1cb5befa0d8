use super::{Fields, parse_object, parse_value};
use crate::web::problem::{AppError, FieldError};
use actix_web::ResponseError;
use serde_json::{Map, Value, json};

const LIMIT: usize = 1024 * 1024;

fn parse(text: &str) -> Result<Map<String, Value>, AppError> {
    parse_object(text.as_bytes(), Some("application/json"), LIMIT)
}

/// Status and sentence of a refusal.
fn refusal(text: &str) -> (u16, String) {
    let error = parse(text).expect_err("refused");
    (error.status_code().as_u16(), error.to_string())
}

fn errors<T: std::fmt::Debug>(result: Result<T, AppError>) -> Vec<(String, String)> {
    match result.expect_err("refused") {
        AppError::Unprocessable { errors } => {
            errors.into_iter().map(|FieldError { path, message }| (path, message)).collect()
        }
        other => panic!("not a 422: {other}"),
    }
}

#[test]
fn object_is_read_with_exact_integers() {
    let map = parse(r#"{"a": 9007199254740993, "b": 18446744073709551615, "c": -9223372036854775808}"#);
    let expected = json!({ "a": 9_007_199_254_740_993_i64, "b": u64::MAX, "c": i64::MIN });
    assert_eq!(Value::Object(map.expect("valid")), expected);
}

#[test]
fn media_type_must_be_json() {
    let status = |content_type| {
        parse_object(b"{}", content_type, LIMIT).map_or_else(|error| error.status_code().as_u16(), |_| 200)
    };
    for json in ["application/json", "Application/JSON; charset=utf-8", "application/vnd.act+json"] {
        assert_eq!(status(Some(json)), 200, "{json}");
    }
    for other in ["application/x-www-form-urlencoded", "text/plain", "application/jsonp", "", "text/x+json"] {
        assert_eq!(status(Some(other)), 415, "{other}");
    }
    assert_eq!(status(None), 415);
}

#[test]
fn body_above_the_limit_is_refused_by_its_number() {
    let error = parse_object(&[b' '; 11], Some("application/json"), 10).expect_err("refused");
    assert_eq!(error.status_code().as_u16(), 413);
    assert_eq!(error.to_string(), "The body is larger than the limit of 10 bytes.");
}

#[test]
fn malformed_json_is_placed() {
    let (status, sentence) = refusal("{\n  \"a\": yes\n}");
    assert_eq!(status, 400);
    assert!(sentence.contains("at line 2 column"), "{sentence}");
    for text in ["{", "{\"a\":1,}", "{'a':1}", "{\"a\":1} x", "{\"a\":01}", "{\"a\":1e999}", "\u{feff}{}"] {
        assert_eq!(refusal(text).0, 400, "{text}");
    }
    assert_eq!(refusal(" \n"), (400, "The body is empty. Send a JSON object.".to_owned()));
    let not_utf8 = parse_object(b"{\"a\":\"\xff\"}", Some("application/json"), LIMIT).expect_err("refused");
    assert_eq!(not_utf8.status_code().as_u16(), 400);
}

#[test]
fn nesting_has_a_limit_that_no_depth_breaks() {
    let nested = |depth: usize| format!("{{\"a\":{}{}}}", "[".repeat(depth - 1), "]".repeat(depth - 1));
    assert!(parse(&nested(64)).is_ok());
    let too_deep = (400, "The JSON nests deeper than 64 levels.".to_owned());
    assert_eq!(refusal(&nested(65)), too_deep);
    assert_eq!(refusal(&nested(10_000)), too_deep);
    assert_eq!(refusal(&"[".repeat(500_000)), too_deep);
    assert_eq!(refusal(&"{\"a\":".repeat(10_000)), too_deep);
    assert!(parse(r#"{"a": "[[[[\"[[[[\\"}"#).is_ok(), "brackets in text do not nest");
}

#[test]
fn key_given_twice_is_named_however_it_is_spelled() {
    let (status, sentence) = refusal(r#"{"a": [{"b": 1, "\u0062": 2}]}"#);
    assert_eq!((status, sentence.as_str()), (400, "The JSON has the key $.a[0].b twice."));
    assert!(parse(r#"{"a": {"b": 1}, "c": {"b": 1, "a": "b"}}"#).is_ok());
}

#[test]
fn only_an_object_is_an_object() {
    assert_eq!(refusal("[1]"), (422, "$: must be an object, and is an array".to_owned()));
    assert_eq!(refusal("null"), (422, "$: must be an object, and is null".to_owned()));
}

#[test]
fn integers_beyond_64_bits_are_never_rounded() {
    let found = errors(parse(r#"{"a": {"b c": [0, 18446744073709551616]}, "d": -9223372036854775809}"#));
    let paths: Vec<&str> = found.iter().map(|(path, _)| path.as_str()).collect();
    assert_eq!(paths, [r#"$.a["b c"][1]"#, "$.d"]);
    assert!(parse(r#"{"a": 1e30, "b": 0.5, "c": -0}"#).is_ok(), "numbers that are not integers are doubles");
}

#[test]
fn nul_is_refused_where_it_stands() {
    let found = errors(parse(r#"{"a": {"b": "x\u0000y"}, "k\u0000": 1}"#));
    let paths: Vec<&str> = found.iter().map(|(path, _)| path.as_str()).collect();
    assert_eq!(paths, ["$.a.b", "$[\"k\\u0000\"]"]);
    assert!(parse(r#"{"a": "\\u0000"}"#).is_ok(), "a backslash and a word");
}

#[test]
fn any_json_value_can_be_read_by_the_same_rules() {
    assert_eq!(parse_value(b"[1, null]").expect("valid"), json!([1, null]));
    assert_eq!(parse_value(b"18446744073709551616").expect_err("refused").status_code().as_u16(), 422);
}

fn object(value: Value) -> Map<String, Value> {
    value.as_object().expect("an object").clone()
}

type Start = (i64, Option<Map<String, Value>>, String);

fn start(body: Value) -> Result<Start, AppError> {
    Fields::read(object(body), |fields| {
        (
            fields.required_i64("protocol_id"),
            fields.optional_object("payload"),
            fields.required_text("reason", 10),
        )
    })
}

#[test]
fn fields_are_read() {
    let read = start(json!({ "protocol_id": 7, "payload": { "license_id": 123 }, "reason": "  because " }));
    let payload = object(json!({ "license_id": 123 }));
    assert_eq!(read.expect("right"), (7, Some(payload), "because".to_owned()));
    assert!(start(json!({ "protocol_id": 7, "payload": null, "reason": "x" })).expect("right").1.is_none());
}

#[test]
fn everything_wrong_is_told_at_once() {
    let found = errors(start(json!({ "protocol_id": "7", "payload": [1], "two words": 1, "reason": " \n" })));
    let expected = [
        ("$.protocol_id", "must be a whole number, and is \"7\""),
        ("$.payload", "must be an object, and is an array"),
        ("$.reason", "must not be blank"),
        ("$[\"two words\"]", "is not known here; known are: protocol_id, payload, reason"),
    ]
    .map(|(path, message)| (path.to_owned(), message.to_owned()));
    assert_eq!(found, expected);
}

#[test]
fn missing_fields_are_told_with_their_kind() {
    let found = errors(start(json!({})));
    assert_eq!(found[0], ("$.protocol_id".to_owned(), "is required: a whole number".to_owned()));
    assert_eq!(found[1], ("$.reason".to_owned(), "is required: text".to_owned()));
}

#[test]
fn whole_numbers_are_whole_and_fit() {
    let refused = |value: Value| errors(start(json!({ "protocol_id": value, "reason": "x" })))[0].1.clone();
    assert_eq!(refused(json!(7.0)), "must be a whole number, and is 7.0");
    assert_eq!(refused(json!(u64::MAX)), "must be a whole number, and is 18446744073709551615");
    assert_eq!(refused(Value::Null), "must be a whole number, and is null");
}

#[test]
fn text_has_a_greatest_length_in_characters() {
    assert!(start(json!({ "protocol_id": 7, "reason": "ééééééééé!" })).is_ok());
    let found = errors(start(json!({ "protocol_id": 7, "reason": "elevenchars" })));
    assert_eq!(found[0].1, "must have at most 10 characters");
}

#[test]
fn choice_is_one_of_its_words() {
    let read = |value: Value| {
        Fields::read(object(json!({ "decision": value })), |fields| {
            fields.required_choice("decision", &["approve", "reject"])
        })
    };
    assert_eq!(read(json!("reject")).expect("right"), "reject");
    assert_eq!(errors(read(json!("Reject")))[0].1, "must be one of approve, reject, and is \"Reject\"");
}
