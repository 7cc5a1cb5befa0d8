//! Reading JSON bodies strictly: nothing is guessed, rounded or dropped, and every refusal says where.
//!
//! Owns the rules that hold for every body (media type, size, depth, duplicate keys, integers, U+0000) and the
//! [`Fields`] reader for one body's own fields. Never knows what a body means.

mod fields;
mod scan;

pub use fields::Fields;

use super::problem::AppError;
use serde_json::{Map, Value};

/// How deep arrays and objects may nest. Far below serde_json's own limit (128), which protects the stack.
pub const MAX_DEPTH: usize = 64;

/// Reads a body that must be one JSON object.
///
/// # Errors
/// 415 for another media type; 413 above `limit` bytes; 400 for what is not JSON, nests too deep or names a key
/// twice; 422 for what is not an object, integers beyond 64 bits and U+0000.
pub fn parse_object(
    bytes: &[u8],
    content_type: Option<&str>,
    limit: usize,
) -> Result<Map<String, Value>, AppError> {
    check_content_type(content_type)?;
    if bytes.len() > limit {
        return Err(AppError::PayloadTooLarge { limit });
    }
    match parse_value(bytes)? {
        Value::Object(map) => Ok(map),
        other => Err(AppError::field("$", format!("must be an object, and is {}", describe(&other)))),
    }
}

/// Reads JSON of any kind by the same rules; for documents that are stored as they are, and for text from forms.
///
/// # Errors
/// As [`parse_object`], without those on media type, size and kind.
pub fn parse_value(bytes: &[u8]) -> Result<Value, AppError> {
    if bytes.iter().all(u8::is_ascii_whitespace) {
        return Err(AppError::BadRequest("The body is empty. Send a JSON object.".to_owned()));
    }
    if scan::depth(bytes) > MAX_DEPTH {
        return Err(AppError::BadRequest(format!("The JSON nests deeper than {MAX_DEPTH} levels.")));
    }
    let value: Value = serde_json::from_slice(bytes)
        .map_err(|error| AppError::BadRequest(format!("The body is not valid JSON: {error}.")))?;
    let text = std::str::from_utf8(bytes).expect("serde_json accepts only UTF-8");
    let found = scan::scan(text);
    if let Some(path) = found.duplicates.first() {
        return Err(AppError::BadRequest(format!("The JSON has the key {path} twice.")));
    }
    if !found.errors.is_empty() {
        return Err(AppError::Unprocessable { errors: found.errors });
    }
    Ok(value)
}

fn check_content_type(content_type: Option<&str>) -> Result<(), AppError> {
    let essence = content_type.unwrap_or("").split(';').next().unwrap_or("").trim().to_ascii_lowercase();
    if essence == "application/json" || (essence.starts_with("application/") && essence.ends_with("+json")) {
        return Ok(());
    }
    let sent = if essence.is_empty() { "none" } else { &essence };
    Err(AppError::UnsupportedMediaType(format!(
        "Send JSON with the header Content-Type: application/json (sent: {sent})."
    )))
}

/// A JSON value's kind, as a person says it.
fn describe(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "true or false",
        Value::Number(number) if number.is_f64() => "a number with a fraction or exponent",
        Value::Number(_) => "a whole number",
        Value::String(_) => "text",
        Value::Array(_) => "an array",
        Value::Object(_) => "an object",
    }
}

/// `$.tasks`, or `$["two words"]` where a plain name cannot stand.
fn child_path(parent: &str, key: &str) -> String {
    let plain = !key.is_empty()
        && key.chars().all(|c| c.is_ascii_alphanumeric() || c == '_' || c == '-')
        && !key.starts_with(|c: char| c.is_ascii_digit());
    if plain { format!("{parent}.{key}") } else { format!("{parent}[{}]", Value::from(key)) }
}

#[cfg(test)]
mod tests;
