//! Reads one JSON object field by field and remembers everything that is wrong with it.

use super::Problem;
use crate::engine::expression::kind_of;
use crate::engine::json;
use chrono::TimeDelta;
use serde_json::{Map, Value};
use std::ops::RangeInclusive;

/// The longest `max_minutes`, `due_minutes` and their like: ten years.
const MAX_MINUTES: f64 = 10.0 * 365.25 * 24.0 * 60.0;
/// The longest id, name of an action or of an event, and key under `payload`.
const MAX_NAME: usize = 100;

pub(super) struct Reader<'a> {
    map: &'a Map<String, Value>,
    path: String,
    read: Vec<&'static str>,
    pub problems: Vec<Problem>,
}

impl<'a> Reader<'a> {
    pub fn new(map: &'a Map<String, Value>, path: String) -> Self {
        Reader { map, path, read: Vec::new(), problems: Vec::new() }
    }

    /// Where the object stands in the document.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// Something wrong that the JSON Schema of protocols says, too. `field` is empty for the object itself.
    pub fn problem(&mut self, field: &str, message: impl Into<String>) {
        self.add(field, message.into(), false);
    }

    /// Something wrong that no JSON Schema can say: what `schema.json` lists in its description.
    pub fn beyond_schema(&mut self, field: &str, message: impl Into<String>) {
        self.add(field, message.into(), true);
    }

    fn add(&mut self, field: &str, message: String, beyond_schema: bool) {
        let path = if field.is_empty() { self.path.clone() } else { format!("{}.{field}", self.path) };
        self.problems.push(Problem { path, message, beyond_schema });
    }

    /// Whether the field is there, whatever it holds. Does not count as reading it.
    pub fn has(&self, field: &str) -> bool {
        self.map.contains_key(field)
    }

    /// The raw value. Null counts as absent nowhere: a field is there or it is not.
    pub fn value(&mut self, field: &'static str) -> Option<&'a Value> {
        if !self.read.contains(&field) {
            self.read.push(field);
        }
        self.map.get(field)
    }

    /// A text for people or an expression, without the blanks around it.
    pub fn text(&mut self, field: &'static str, most: usize) -> Option<String> {
        let text = self.string(field)?;
        if text.trim().is_empty() {
            self.problem(field, "is blank. Write a text, or leave the field out.");
            None
        } else if text.chars().count() > most {
            self.problem(field, format!("is longer than {most} characters. Shorten it."));
            None
        } else {
            Some(text.trim().to_owned())
        }
    }

    fn string(&mut self, field: &'static str) -> Option<&'a str> {
        match self.value(field)? {
            Value::String(text) => Some(text),
            other => {
                self.problem(field, format!("must be a text, not {}.", kind_of(other)));
                None
            }
        }
    }

    /// An id or a name: letters, digits, `_` and `-`.
    pub fn name(&mut self, field: &'static str) -> Option<String> {
        let text = self.string(field)?;
        if is_name(text) {
            return Some(text.to_owned());
        }
        let message = if text.is_empty() {
            "is empty. Give it letters, digits, `_` and `-`, or leave the field out.".to_owned()
        } else if text.chars().count() > MAX_NAME {
            format!("is longer than {MAX_NAME} characters. Shorten it.")
        } else {
            format!("`{text}` may only have letters, digits, `_` and `-`.")
        };
        self.problem(field, message);
        None
    }

    pub fn flag(&mut self, field: &'static str) -> Option<bool> {
        match self.value(field)? {
            Value::Bool(flag) => Some(*flag),
            other => {
                self.problem(field, format!("must be true or false, not {}.", kind_of(other)));
                None
            }
        }
    }

    /// A number of minutes, fractions allowed.
    pub fn minutes(&mut self, field: &'static str) -> Option<TimeDelta> {
        let minutes = self.value(field)?.as_f64().filter(|minutes| *minutes > 0.0 && *minutes <= MAX_MINUTES);
        if minutes.is_none() {
            self.problem(
                field,
                "must be a number of minutes above 0 (0.5 is half a minute), at most ten years.",
            );
        }
        minutes.map(|minutes| TimeDelta::milliseconds((minutes * 60_000.0).round().max(1.0) as i64))
    }

    /// A number, fractions allowed.
    pub fn number(&mut self, field: &'static str, range: RangeInclusive<f64>) -> Option<f64> {
        let number = self.value(field)?.as_f64().filter(|number| range.contains(number));
        if number.is_none() {
            self.problem(field, format!("must be a number from {} to {}.", range.start(), range.end()));
        }
        number
    }

    /// A whole number; 3.0 is one.
    pub fn whole(&mut self, field: &'static str, range: RangeInclusive<u32>) -> Option<u32> {
        let number = whole(self.value(field)?).filter(|number| range.contains(number));
        if number.is_none() {
            self.problem(field, format!("must be a whole number from {} to {}.", range.start(), range.end()));
        }
        number
    }

    /// One of a few words.
    pub fn choice<T: Copy>(&mut self, field: &'static str, words: &[(&str, T)]) -> Option<T> {
        let text = self.string(field)?;
        let found = words.iter().find(|(word, _)| *word == text).map(|(_, value)| *value);
        if found.is_none() {
            let known = words.iter().map(|(word, _)| format!("`{word}`")).collect::<Vec<_>>().join(", ");
            self.problem(field, format!("`{text}` is not known. Use one of {known}."));
        }
        found
    }

    /// An object inside this one, read by `inner`, which must read every field that there may be.
    pub fn object<T>(
        &mut self,
        field: &'static str,
        what: &str,
        inner: impl FnOnce(&mut Reader<'a>) -> Option<T>,
    ) -> Option<T> {
        match self.value(field)? {
            Value::Object(map) => {
                let mut reader = Reader::new(map, format!("{}.{field}", self.path));
                let read = inner(&mut reader);
                self.problems.extend(reader.finish(|_| None));
                read
            }
            other => {
                self.problem(field, format!("must be {what} (an object), not {}.", kind_of(other)));
                None
            }
        }
    }

    /// Refuses every field that nobody read, so that nothing is dropped silently. `known` may say why a field that
    /// exists elsewhere is wrong here.
    pub fn finish(mut self, known: impl Fn(&str) -> Option<String>) -> Vec<Problem> {
        let unread: Vec<&String> = self.map.keys().filter(|key| !self.read.contains(&key.as_str())).collect();
        for key in unread {
            let path = format!("{}{}", self.path, json_path_of(key));
            let message = known(key).unwrap_or_else(|| {
                format!("`{key}` is not a field of this. Remove it, or use one of {}.", self.read.join(", "))
            });
            self.problems.push(Problem { path, message, beyond_schema: false });
        }
        self.problems
    }
}

/// What an id or a name may be made of, everywhere.
pub(super) fn is_name(text: &str) -> bool {
    let plain = |letter: char| letter.is_ascii_alphanumeric() || letter == '_' || letter == '-';
    !text.is_empty() && text.len() <= MAX_NAME && text.chars().all(plain)
}

/// A whole number of 32 bits, however it is written: 3 or 3.0.
pub(super) fn whole(value: &Value) -> Option<u32> {
    json::normalise(value.clone()).as_u64().and_then(|number| u32::try_from(number).ok())
}

/// A member's name as JSON paths write it (RFC 9535): `.name`, or `['two words']`.
pub(super) fn json_path_of(key: &str) -> String {
    let plain = |letter: char| letter.is_alphanumeric() || matches!(letter, '_' | '-' | '$');
    if !key.is_empty() && key.chars().all(plain) {
        return format!(".{key}");
    }
    format!("['{}']", key.replace('\\', "\\\\").replace('\'', "\\'"))
}
