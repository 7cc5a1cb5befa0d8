//! One body's fields, read strictly: every missing, wrong or unknown field is reported, all at once.

use super::super::problem::{AppError, FieldError};
use super::{child_path, describe};
use serde_json::{Map, Value};

/// Takes fields out of an object and collects what is wrong.
///
/// A required field that is missing or wrong reads as an empty value; [`Fields::read`] then refuses the whole, so
/// that value is never seen. An optional field may be left out or null.
#[derive(Debug)]
pub struct Fields {
    path: String,
    map: Map<String, Value>,
    known: Vec<&'static str>,
    errors: Vec<FieldError>,
}

impl Fields {
    /// Reads a body: `Fields::read(map, |fields| Start { protocol_id: fields.required_i64("protocol_id"), … })`.
    ///
    /// # Errors
    /// 422 with everything that is wrong, fields that `read` did not ask for included.
    pub fn read<T>(map: Map<String, Value>, read: impl FnOnce(&mut Fields) -> T) -> Result<T, AppError> {
        let mut fields = Fields { path: "$".to_owned(), map, known: Vec::new(), errors: Vec::new() };
        let value = read(&mut fields);
        fields.refuse_unknown();
        if fields.errors.is_empty() {
            Ok(value)
        } else {
            Err(AppError::Unprocessable { errors: fields.errors })
        }
    }

    pub fn required_i64(&mut self, key: &'static str) -> i64 {
        self.required(key, "a whole number", |value| value.as_i64()).unwrap_or_default()
    }

    pub fn optional_i64(&mut self, key: &'static str) -> Option<i64> {
        self.optional(key, "a whole number", |value| value.as_i64())
    }

    pub fn optional_bool(&mut self, key: &'static str) -> Option<bool> {
        self.optional(key, "true or false", |value| value.as_bool())
    }

    /// Text of 1 to `max_chars` characters, without the space around it; never blank.
    pub fn required_text(&mut self, key: &'static str, max_chars: usize) -> String {
        let text = self.required(key, "text", |value| value.as_str().map(str::to_owned));
        text.map(|text| self.check_text(key, &text, max_chars)).unwrap_or_default()
    }

    /// The same if it is there.
    pub fn optional_text(&mut self, key: &'static str, max_chars: usize) -> Option<String> {
        let text = self.optional(key, "text", |value| value.as_str().map(str::to_owned))?;
        Some(self.check_text(key, &text, max_chars))
    }

    /// One of a few words.
    pub fn required_choice(&mut self, key: &'static str, choices: &[&'static str]) -> &'static str {
        let expected = format!("one of {}", choices.join(", "));
        let chosen = self.required(key, &expected, |value| {
            choices.iter().copied().find(|choice| value.as_str() == Some(choice))
        });
        chosen.unwrap_or_default()
    }

    pub fn required_object(&mut self, key: &'static str) -> Map<String, Value> {
        self.required(key, "an object", |value| value.as_object().cloned()).unwrap_or_default()
    }

    pub fn optional_object(&mut self, key: &'static str) -> Option<Map<String, Value>> {
        self.optional(key, "an object", |value| value.as_object().cloned())
    }

    pub fn required_array(&mut self, key: &'static str) -> Vec<Value> {
        let array = self.required(key, "an array of at least one", |value| {
            value.as_array().filter(|items| !items.is_empty()).cloned()
        });
        array.unwrap_or_default()
    }

    pub fn optional_array(&mut self, key: &'static str) -> Option<Vec<Value>> {
        self.optional(key, "an array", |value| value.as_array().cloned())
    }

    /// Any JSON value; null counts as one.
    pub fn required_value(&mut self, key: &'static str) -> Value {
        match self.take(key) {
            Some(value) => value,
            None => {
                self.error(key, "is required");
                Value::Null
            }
        }
    }

    /// The same if it is there; null counts as not there.
    pub fn optional_value(&mut self, key: &'static str) -> Option<Value> {
        self.take(key).filter(|value| !value.is_null())
    }

    /// Reports something that only the caller can know, such as an id that must be positive.
    pub fn error(&mut self, key: &str, message: impl Into<String>) {
        self.errors.push(FieldError { path: child_path(&self.path, key), message: message.into() });
    }

    fn take(&mut self, key: &'static str) -> Option<Value> {
        self.known.push(key);
        self.map.shift_remove(key)
    }

    fn required<T>(
        &mut self,
        key: &'static str,
        expected: &str,
        read: impl Fn(&Value) -> Option<T>,
    ) -> Option<T> {
        let Some(value) = self.take(key) else {
            self.error(key, format!("is required: {expected}"));
            return None;
        };
        self.read_as(key, &value, expected, read)
    }

    fn optional<T>(
        &mut self,
        key: &'static str,
        expected: &str,
        read: impl Fn(&Value) -> Option<T>,
    ) -> Option<T> {
        let value = self.take(key).filter(|value| !value.is_null())?;
        self.read_as(key, &value, expected, read)
    }

    fn read_as<T>(
        &mut self,
        key: &str,
        value: &Value,
        expected: &str,
        read: impl Fn(&Value) -> Option<T>,
    ) -> Option<T> {
        let read = read(value);
        if read.is_none() {
            let sent = match value {
                // The word itself helps where one of a few was expected, and a number beyond i64 is still whole.
                Value::String(text) if text.chars().count() <= 40 => format!("{text:?}"),
                Value::Number(number) => number.to_string(),
                other => describe(other).to_owned(),
            };
            self.error(key, format!("must be {expected}, and is {sent}"));
        }
        read
    }

    fn check_text(&mut self, key: &str, text: &str, max_chars: usize) -> String {
        let text = text.trim();
        if text.is_empty() {
            self.error(key, "must not be blank");
        } else if text.chars().count() > max_chars {
            self.error(key, format!("must have at most {max_chars} characters"));
        }
        text.to_owned()
    }

    fn refuse_unknown(&mut self) {
        let known = self.known.join(", ");
        for key in std::mem::take(&mut self.map).keys() {
            let message = match known.as_str() {
                "" => "is not known here; nothing is".to_owned(),
                known => format!("is not known here; known are: {known}"),
            };
            self.error(key, message);
        }
    }
}
