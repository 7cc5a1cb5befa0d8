//! The start form of a protocol, drawn from its input schema, and the payload that comes back.
//!
//! Owns the way between the two. The schema itself is checked where the run is started; here is only what a form
//! cannot say otherwise: which text is a number, and which field was left empty.

use super::forms::{Choice, Field, FieldKind};
use crate::engine::state::Payload;
use crate::web::json;
use serde_json::{Map, Number, Value};

/// Names that the form needs for itself; a field of such a name is sent under another.
const TAKEN: [&str; 3] = ["csrf", "protocol_id", "key"];

/// How many rows of names and values a form without a schema has.
pub const PAIRS: usize = 5;

/// A field of the payload, and how it is drawn.
#[derive(Debug, Clone)]
pub struct Question {
    /// The key in the payload.
    pub key: String,
    pub field: Field,
    /// The values that may be chosen, when it is a choice.
    options: Vec<Value>,
    /// The value of an empty field is an empty text, not nothing.
    json: bool,
}

/// The questions of a schema. None: it names no fields, so the form has rows of names and values.
pub fn questions(schema: Option<&Value>) -> Option<Vec<Question>> {
    let properties = schema?.get("properties")?.as_object().filter(|map| !map.is_empty())?;
    let required: Vec<&str> = match schema?.get("required") {
        Some(Value::Array(names)) => names.iter().filter_map(Value::as_str).collect(),
        _ => Vec::new(),
    };
    Some(
        properties
            .iter()
            .map(|(key, about)| question(key, about, required.contains(&key.as_str())))
            .collect(),
    )
}

fn question(key: &str, about: &Value, required: bool) -> Question {
    let text = |name: &str| about.get(name).and_then(Value::as_str).map(str::to_owned);
    let options = match (about.get("enum"), about.get("const")) {
        (Some(Value::Array(options)), _) => options.clone(),
        (_, Some(only)) => vec![only.clone()],
        _ => Vec::new(),
    };
    let kind = if options.is_empty() { kind(about) } else { FieldKind::Select };
    let json = kind == FieldKind::Textarea && about.get("type").and_then(Value::as_str) != Some("string");
    let default = about.get("default").map(typed).unwrap_or_default();
    let choices = options.iter().map(|option| {
        let option = typed(option);
        Choice::new(option.clone(), option.clone(), option == default)
    });
    let name = if TAKEN.contains(&key) { format!("input-{key}") } else { key.to_owned() };
    let hint = text("description").or_else(|| json.then(|| "As JSON.".to_owned()));
    let field = Field {
        name,
        scope: String::new(),
        label: text("title").unwrap_or_else(|| super::facts::words(key)),
        hint,
        kind,
        // A box that is not ticked says no: it is never missing.
        required: required && kind != FieldKind::Checkbox,
        choices: choices.collect(),
        value: default,
        error: None,
    };
    Question { key: key.to_owned(), field, options, json }
}

fn kind(about: &Value) -> FieldKind {
    let long = about.get("maxLength").and_then(Value::as_u64).is_some_and(|most| most > 200);
    match about.get("type").and_then(Value::as_str) {
        Some("integer") => FieldKind::Integer,
        Some("number") => FieldKind::Number,
        Some("boolean") => FieldKind::Checkbox,
        Some("string") if long => FieldKind::Textarea,
        Some("string") => FieldKind::Text,
        _ => FieldKind::Textarea,
    }
}

/// A value as one would type it.
pub fn typed(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

/// Reads what was sent into a payload; errors are put at their fields. None: there are some.
pub fn read<'a>(questions: &mut [Question], sent: impl Fn(&str) -> &'a str) -> Option<Payload> {
    let mut payload = Map::new();
    let mut complete = true;
    for question in questions {
        let text = sent(&question.field.name);
        question.field.value = text.to_owned();
        for choice in &mut question.field.choices {
            choice.selected = choice.value == text;
        }
        match question.answer(text) {
            Ok(Some(value)) => {
                payload.insert(question.key.clone(), value);
            }
            Ok(None) => {}
            Err(message) => {
                question.field.error = Some(message);
                complete = false;
            }
        }
    }
    complete.then_some(payload)
}

impl Question {
    /// None: it was left empty, and may be.
    fn answer(&self, text: &str) -> Result<Option<Value>, String> {
        let trimmed = text.trim();
        if self.field.kind == FieldKind::Checkbox {
            return Ok(Some(Value::Bool(trimmed == "true")));
        }
        if trimmed.is_empty() {
            let missing = format!("Fill in: {}.", self.field.label);
            return if self.field.required { Err(missing) } else { Ok(None) };
        }
        let value = match self.field.kind {
            FieldKind::Integer => {
                whole(trimmed).map(Value::Number).ok_or("Write a whole number, for example 123.")?
            }
            FieldKind::Number => {
                number(trimmed).map(Value::Number).ok_or("Write a number, for example 12.5.")?
            }
            FieldKind::Select => {
                let chosen = self.options.iter().find(|option| typed(option) == trimmed);
                chosen.cloned().ok_or("Choose one of the list.")?
            }
            FieldKind::Textarea if self.json => json::parse_value(trimmed.as_bytes())
                .map_err(|error| error.to_string().replace("The body", "This"))?,
            FieldKind::Text => Value::String(trimmed.to_owned()),
            FieldKind::Textarea | FieldKind::Checkbox => Value::String(text.replace("\r\n", "\n")),
        };
        Ok(Some(value))
    }
}

/// An integer of up to 64 bits, every digit kept. `007` and `+7` are none: they are texts that somebody meant.
fn whole(text: &str) -> Option<Number> {
    let digits = text.strip_prefix('-').unwrap_or(text);
    let plain =
        digits.bytes().all(|digit| digit.is_ascii_digit()) && (digits == "0" || !digits.starts_with('0'));
    if !plain || text == "-0" {
        return None;
    }
    text.parse::<i64>().map(Number::from).or_else(|_| text.parse::<u64>().map(Number::from)).ok()
}

fn number(text: &str) -> Option<Number> {
    let plain = text.bytes().all(|letter| letter.is_ascii_digit() || b"+-.eE".contains(&letter));
    whole(text).or_else(|| Number::from_f64(text.parse::<f64>().ok().filter(|_| plain)?))
}

/// A payload from rows of names and values: whole numbers, true and false are recognised, the rest is text.
/// The error is the number of the row and what is wrong.
pub fn read_pairs<'a>(rows: impl Iterator<Item = (&'a str, &'a str)>) -> Result<Payload, (usize, String)> {
    let mut payload = Map::new();
    for (index, (name, value)) in rows.enumerate() {
        let (number, name, value) = (index + 1, name.trim(), value.trim());
        if name.is_empty() && value.is_empty() {
            continue;
        }
        if name.is_empty() {
            return Err((
                number,
                format!("Row {number} has a value and no name. Name it, or empty the row."),
            ));
        }
        let value = plain(value);
        if payload.insert(name.to_owned(), value).is_some() {
            return Err((number, format!("The name {name} is there twice. Keep one of them.")));
        }
    }
    Ok(payload)
}

fn plain(text: &str) -> Value {
    match text {
        "true" => Value::Bool(true),
        "false" => Value::Bool(false),
        text => whole(text).map_or_else(|| Value::String(text.to_owned()), Value::Number),
    }
}

/// One value as somebody types it: a number, true, false, a list or an object as JSON, or else text.
pub fn value(typed: &str) -> Value {
    let text = typed.trim();
    let document = text.starts_with(['{', '[']).then(|| json::parse_value(text.as_bytes()).ok()).flatten();
    let fraction =
        || text.split_once('.').filter(|(before, _)| whole(before).is_some()).and_then(|_| number(text));
    match plain(text) {
        Value::String(text) => document
            .or_else(|| fraction().map(Value::Number))
            .unwrap_or(Value::String(text.replace("\r\n", "\n"))),
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn one_value_is_what_it_looks_like() {
        assert_eq!(value(" 12 "), json!(12));
        assert_eq!(value("1.5"), json!(1.5));
        assert_eq!(value("[1, {\"a\": true}]"), json!([1, {"a": true}]));
        for text in ["007", "[1,", "Acme, Inc.", "", "1e", "."] {
            assert_eq!(value(text), json!(text), "{text}");
        }
    }

    fn schema() -> Value {
        json!({"type": "object", "required": ["license_id", "kind"], "properties": {
            "license_id": {"type": "integer", "title": "Licence number", "description": "The one to renew."},
            "weight": {"type": "number"},
            "kind": {"enum": ["new", "renewal", 3], "default": "renewal"},
            "urgent": {"type": "boolean"},
            "note": {"type": "string", "maxLength": 2000},
            "parties": {"type": "array"},
            "key": {"type": "string"}}})
    }

    fn answers<'a>(sent: &'a [(&'a str, &'a str)]) -> impl Fn(&str) -> &'a str {
        move |name| sent.iter().find(|(known, _)| *known == name).map_or("", |(_, value)| value)
    }

    #[test]
    fn schema_draws_the_form() {
        let questions = questions(Some(&schema())).expect("fields");
        let field = |index: usize| &questions[index].field;
        assert_eq!((field(0).label.as_str(), field(0).kind), ("Licence number", FieldKind::Integer));
        assert_eq!(field(0).hint.as_deref(), Some("The one to renew."));
        assert!(field(0).required && !field(1).required);
        assert_eq!(field(2).kind, FieldKind::Select);
        assert!(field(2).choices[1].selected, "the default");
        assert_eq!((field(3).kind, field(4).kind), (FieldKind::Checkbox, FieldKind::Textarea));
        assert_eq!(field(6).name, "input-key", "the form has a field of that name itself");
    }

    #[test]
    fn without_fields_there_are_rows() {
        for schema in [json!({}), json!(true), json!({"properties": {}}), json!({"type": "object"})] {
            assert!(questions(Some(&schema)).is_none(), "{schema}");
        }
        assert!(questions(None).is_none());
    }

    #[test]
    fn answers_become_typed_values() {
        let mut questions = questions(Some(&schema())).expect("fields");
        let sent = [
            ("license_id", " 9007199254740993 "),
            ("weight", "1.5"),
            ("kind", "3"),
            ("urgent", "true"),
            ("note", "a\r\nb"),
            ("parties", "[1, \"x\"]"),
            ("input-key", "k"),
        ];
        let payload = read(&mut questions, answers(&sent)).expect("all is well");
        let expected = json!({"license_id": 9_007_199_254_740_993_i64, "weight": 1.5, "kind": 3, "urgent": true,
            "note": "a\nb", "parties": [1, "x"], "key": "k"});
        assert_eq!(Value::Object(payload), expected);
    }

    #[test]
    fn empty_fields_are_left_out_and_wrong_ones_say_so() {
        let mut questions = questions(Some(&schema())).expect("fields");
        let payload =
            read(&mut questions, answers(&[("license_id", "1"), ("kind", "new")])).expect("all is well");
        assert_eq!(Value::Object(payload), json!({"license_id": 1, "kind": "new", "urgent": false}));
        let wrong = [("license_id", "12x"), ("weight", "inf"), ("kind", "other"), ("parties", "[1,")];
        assert!(read(&mut questions, answers(&wrong)).is_none());
        let errors = questions.iter().filter(|question| question.field.error.is_some()).count();
        assert_eq!(errors, 4);
        assert_eq!(questions[0].field.value, "12x", "what was typed stays");
    }

    #[test]
    fn only_plain_digits_are_whole_numbers() {
        for text in ["0", "123", "-5", "18446744073709551615"] {
            assert_eq!(whole(text).expect("a number").to_string(), text);
        }
        for text in ["", "-", "007", "+7", "1.0", "1e3", "-0", "18446744073709551616", "٣"] {
            assert!(whole(text).is_none(), "{text}");
        }
    }

    #[test]
    fn rows_become_a_payload() {
        let rows = [("license_id", "123"), ("", ""), ("urgent", "true"), ("code", "007")];
        let payload = read_pairs(rows.into_iter()).expect("all is well");
        assert_eq!(Value::Object(payload), json!({"license_id": 123, "urgent": true, "code": "007"}));
        assert_eq!(read_pairs([("", "1")].into_iter()).expect_err("no name").0, 1);
        assert_eq!(read_pairs([("a", "1"), ("a", "2")].into_iter()).expect_err("twice").0, 2);
    }
}
