//! Reads one JSON object field by field and remembers everything that is wrong with it.

use super::Problem;
use crate::engine::expression::kind_of;
use chrono::TimeDelta;
use serde_json::{Map, Value};

/// The longest `max_minutes`, `due_minutes` and their like: ten years.
const MAX_MINUTES: f64 = 10.0 * 365.25 * 24.0 * 60.0;

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

    pub fn problem(&mut self, field: &str, message: impl Into<String>) {
        let path = if field.is_empty() { self.path.clone() } else { format!("{}.{field}", self.path) };
        self.problems.push(Problem { path, message: message.into() });
    }

    /// The raw value. Null counts as absent nowhere: a field is there or it is not.
    pub fn value(&mut self, field: &'static str) -> Option<&'a Value> {
        self.read.push(field);
        self.map.get(field)
    }

    pub fn text(&mut self, field: &'static str, most: usize) -> Option<String> {
        match self.value(field)? {
            Value::String(text) if text.trim().is_empty() => {
                self.problem(field, "is blank. Write a text, or leave the field out.");
                None
            }
            Value::String(text) if text.chars().count() > most => {
                self.problem(field, format!("is longer than {most} characters."));
                None
            }
            Value::String(text) => Some(text.trim().to_owned()),
            other => {
                self.problem(field, format!("must be a text, not {}.", kind_of(other)));
                None
            }
        }
    }

    /// An id or a name: letters, digits, `_` and `-`.
    pub fn name(&mut self, field: &'static str) -> Option<String> {
        let text = self.text(field, 100)?;
        if text.chars().all(|letter| letter.is_ascii_alphanumeric() || letter == '_' || letter == '-') {
            return Some(text);
        }
        self.problem(field, format!("`{text}` may only have letters, digits, `_` and `-`."));
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
        let value = self.value(field)?;
        match value.as_f64() {
            Some(minutes) if minutes > 0.0 && minutes <= MAX_MINUTES => {
                Some(TimeDelta::milliseconds((minutes * 60_000.0).round().max(1.0) as i64))
            }
            _ => {
                self.problem(
                    field,
                    "must be a number of minutes above 0 (0.5 is half a minute), at most ten years.",
                );
                None
            }
        }
    }

    /// One of a few words.
    pub fn choice<T: Copy>(&mut self, field: &'static str, words: &[(&str, T)]) -> Option<T> {
        let text = self.text(field, 100)?;
        let found = words.iter().find(|(word, _)| *word == text).map(|(_, value)| *value);
        if found.is_none() {
            let known = words.iter().map(|(word, _)| format!("`{word}`")).collect::<Vec<_>>().join(", ");
            self.problem(field, format!("`{text}` is not known. Use one of {known}."));
        }
        found
    }

    /// Refuses every field that nobody read, so that nothing is dropped silently.
    pub fn finish(mut self, later: &[&str]) -> Vec<Problem> {
        let unread: Vec<&String> = self.map.keys().filter(|key| !self.read.contains(&key.as_str())).collect();
        for key in unread {
            let message = if later.contains(&key.as_str()) {
                format!("`{key}` is not part of this version of HMS-ACT. Remove it.")
            } else {
                format!("`{key}` is not a field of this. Remove it, or use one of {}.", self.read.join(", "))
            };
            self.problem(key, message);
        }
        self.problems
    }
}
