//! Filling in `${ … }` where the place matters: in a URL and in a header.
//!
//! Owns the promise that a value cannot change where a call goes: every value is percent-encoded by itself, and the
//! filled URL must be the template's own with nothing but the values in it. Must never fill in a host or a scheme.

pub(super) use crate::engine::expression::Names;
use crate::engine::expression::{self, ExpressionError, Template};
use serde_json::Value;
use url::Url;

/// A template's text, cut at its expressions.
enum Piece<'a> {
    Text(&'a str),
    /// With its `${` and `}`.
    Expression(&'a str),
}

/// Fills in any JSON template.
pub(super) fn fill(template: &Value, names: &Names<'_>) -> Result<Value, String> {
    expression::resolve(template, names).map_err(|cause| sentence(&cause))
}

/// Fills in a URL. Errors are sentences without the values.
pub(super) fn fill_url(template: &str, names: &Names<'_>) -> Result<Url, String> {
    let plain = skeleton(template)?;
    let mut filled = String::new();
    let mut expected = plain.to_string();
    let mut count = 0;
    for piece in pieces(template)? {
        match piece {
            Piece::Text(text) => filled.push_str(text),
            Piece::Expression(text) => {
                let value = scalar(text, names)?;
                if value.is_empty() && !filled.contains('?') {
                    return Err(format!("{text} is empty, which would call another address"));
                }
                let encoded = percent_encode(&value);
                expected = expected.replace(&marker(count), &encoded);
                filled.push_str(&encoded);
                count += 1;
            }
        }
    }
    let url = Url::parse(&filled).map_err(|cause| format!("the filled address is not a URL ({cause})"))?;
    if url.as_str() == expected {
        Ok(url)
    } else {
        Err("a value would change the path of the address; values like `..` are refused".to_owned())
    }
}

/// The URL with a harmless word in the place of every value. It is what an admin's template is checked by.
pub(super) fn skeleton(template: &str) -> Result<Url, String> {
    let mut count = 0;
    let mut text = String::new();
    for piece in pieces(template)? {
        match piece {
            Piece::Text(plain) => text.push_str(plain),
            Piece::Expression(_) => {
                text.push_str(&marker(count));
                count += 1;
            }
        }
    }
    let outside = "write the scheme, host and port out; only the path and the query may hold ${…}";
    let url = Url::parse(&text).map_err(|cause| match count {
        0 => format!("is not a URL ({cause})"),
        _ => format!("is not a URL ({cause}); {outside}"),
    })?;
    let fixed = [url.scheme(), url.username(), url.password().unwrap_or(""), url.host_str().unwrap_or("")];
    if (0..count).any(|index| fixed.iter().any(|part| part.contains(&marker(index)))) {
        return Err(format!("holds ${{…}} before its path; {outside}"));
    }
    Ok(url)
}

/// Fills in a text that nothing takes apart again: an argument of a program.
pub(super) fn fill_text(template: &str, names: &Names<'_>) -> Result<String, String> {
    let mut filled = String::new();
    for piece in pieces(template)? {
        match piece {
            Piece::Text(text) => filled.push_str(text),
            Piece::Expression(text) => filled.push_str(&scalar(text, names)?),
        }
    }
    Ok(filled)
}

/// Fills in a header's value.
pub(super) fn fill_header(template: &str, names: &Names<'_>) -> Result<String, String> {
    let filled = fill_text(template, names)?;
    if filled.chars().any(char::is_control) {
        return Err("a header's value holds a line break or another control character".to_owned());
    }
    Ok(filled)
}

/// What is wrong with the expressions of a template: where (`.a[0]` below the template) and what.
pub(super) fn check(template: &Value, names: &[&str]) -> Result<(), (String, String)> {
    Template::compile(template, names).map(|_| ()).map_err(|(path, cause)| (path, sentence(&cause)))
}

/// Without a full stop, so that it fits into a longer sentence.
fn sentence(cause: &ExpressionError) -> String {
    cause.to_string().trim_end_matches('.').to_owned()
}

/// Letters and digits only, so that parsing a URL leaves it alone.
fn marker(index: usize) -> String {
    format!("value{index}goeshere")
}

fn pieces(template: &str) -> Result<Vec<Piece<'_>>, String> {
    let mut pieces = Vec::new();
    let mut rest = template;
    while let Some(start) = rest.find("${") {
        if rest[..start].ends_with('$') {
            // `$${` is a plain `${`, as everywhere in a protocol.
            pieces.push(Piece::Text(&rest[..start - 1]));
            pieces.push(Piece::Text(&rest[start..start + 2]));
            rest = &rest[start + 2..];
            continue;
        }
        let length = expression_length(&rest[start..]).ok_or_else(|| {
            format!("`{}` has no closing brace", rest[start..].chars().take(40).collect::<String>())
        })?;
        pieces.push(Piece::Text(&rest[..start]));
        pieces.push(Piece::Expression(&rest[start..start + length]));
        rest = &rest[start + length..];
    }
    pieces.push(Piece::Text(rest));
    Ok(pieces)
}

/// The length of the expression that `text` begins with. Braces inside CEL's maps and strings do not end it.
fn expression_length(text: &str) -> Option<usize> {
    let mut depth = 0usize;
    let mut quote = None;
    let mut escaped = false;
    for (at, character) in text.char_indices() {
        match (quote, character) {
            (Some(_), _) if escaped => escaped = false,
            (Some(_), '\\') => escaped = true,
            (Some(open), _) if open == character => quote = None,
            (Some(_), _) => {}
            (None, '"' | '\'') => quote = Some(character),
            (None, '{') => depth += 1,
            (None, '}') if depth == 1 => return Some(at + 1),
            (None, '}') => depth -= 1,
            (None, _) => {}
        }
    }
    None
}

fn scalar(expression: &str, names: &Names<'_>) -> Result<String, String> {
    match fill(&Value::String(expression.to_owned()), names)? {
        Value::String(text) => Ok(text),
        Value::Number(number) => Ok(number.to_string()),
        Value::Bool(flag) => Ok(flag.to_string()),
        Value::Null => Err(format!("{expression} is null; it must be a text, a number, true or false")),
        Value::Array(_) => Err(format!("{expression} is a list; it must be a text, a number, true or false")),
        Value::Object(_) => {
            Err(format!("{expression} is an object; it must be a text, a number, true or false"))
        }
    }
}

/// RFC 3986: everything but the unreserved characters.
fn percent_encode(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
                encoded.push(char::from(byte))
            }
            _ => encoded.push_str(&format!("%{byte:02X}")),
        }
    }
    encoded
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn filled(template: &str, id: Value) -> Result<String, String> {
        let payload = json!({"id": id});
        fill_url(template, &[("input", (&json!({})).into()), ("payload", (&payload).into())])
            .map(String::from)
    }

    #[test]
    fn a_value_cannot_leave_its_place_in_a_url() {
        let template = "http://data.gov/licences/${payload.id}/parties?of=${payload.id}#top";
        for (value, encoded) in [
            (json!(123), "123"),
            (json!("a b"), "a%20b"),
            (json!("../admin"), "..%2Fadmin"),
            (json!("1?x=y&z"), "1%3Fx%3Dy%26z"),
            (json!("1#frag"), "1%23frag"),
            (json!("@evil.example/"), "%40evil.example%2F"),
            (json!("%2e%2e"), "%252e%252e"),
            (json!("\r\nHost: evil"), "%0D%0AHost%3A%20evil"),
            (json!("..\\.."), "..%5C.."),
            (json!("é${payload.id}"), "%C3%A9%24%7Bpayload.id%7D"),
            (json!("value1goeshere"), "value1goeshere"),
        ] {
            let expected = format!("http://data.gov/licences/{encoded}/parties?of={encoded}#top");
            assert_eq!(filled(template, value), Ok(expected));
        }
    }

    #[test]
    fn a_value_that_would_move_the_path_is_refused() {
        for id in ["..", ".", ""] {
            assert!(filled("http://data.gov/licences/${payload.id}/parties", json!(id)).is_err(), "{id:?}");
            assert!(filled("http://data.gov/licences/${payload.id}", json!(id)).is_err(), "{id:?}");
        }
        assert!(filled("http://data.gov/${payload.id}${payload.id}/x", json!(".")).is_err());
        assert!(filled("http://data.gov/x?of=${payload.id}", json!("")).is_ok());
        for id in [json!(null), json!([1]), json!({"a": 1})] {
            assert!(filled("http://data.gov/x?of=${payload.id}", id).unwrap_err().contains("must be a text"));
        }
    }

    #[test]
    fn scheme_host_and_port_are_written_out() {
        for template in [
            "${payload.id}",
            "${payload.id}://data.gov/",
            "http://${payload.id}/x",
            "http://${payload.id}.gov/x",
            "http://data.gov:${payload.id}/x",
            "http://${payload.id}@data.gov/x",
            "http://data.gov${payload.id}",
            "/relative/${payload.id}",
        ] {
            let why = skeleton(template).expect_err(template);
            assert!(why.contains("only the path and the query"), "{template}: {why}");
            assert!(filled(template, json!("x")).is_err(), "{template}");
        }
    }

    #[test]
    fn braces_inside_an_expression_do_not_end_it() {
        for text in ["${{'a': 1}.a}", "${payload.x + '}'}", r#"${"\"}" + input.y}"#] {
            assert_eq!(expression_length(text), Some(text.len()), "{text}");
        }
        assert!(skeleton("http://data.gov/${payload.id").unwrap_err().contains("closing brace"));
        assert_eq!(
            filled("http://data.gov/a?b=$${payload.id}", json!(1)),
            Ok("http://data.gov/a?b=${payload.id}".to_owned())
        );
    }

    #[test]
    fn a_header_stays_one_line() {
        let names = json!({"id": "7\r\nX-Admin: yes", "ok": "7"});
        let names = [("payload", (&names).into())];
        assert!(fill_header("case ${payload.id}", &names).unwrap_err().contains("line break"));
        assert_eq!(fill_header("case ${payload.ok}", &names), Ok("case 7".to_owned()));
    }
}
