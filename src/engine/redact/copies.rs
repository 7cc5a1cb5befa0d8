//! The marked values that are known of a run, and what is a copy of one.

use super::{ERASED, LEAST, LEAST_INSIDE, Mark, SEALED, each_marked, leads, members, path_text};
use serde_json::Value;
use std::collections::HashMap;

/// Whole objects and lists that copies are compared with, at most: beyond that only the values in them are.
const MOST_WHOLES: usize = 64;

/// Which marked value something is a copy of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Source {
    pub path: String,
    pub exemption: Option<String>,
}

/// The marked values that are known.
#[derive(Debug, Clone, Default)]
pub struct Secrets {
    sources: Vec<Source>,
    /// Texts and numbers, as text, with their source.
    plain: HashMap<String, usize>,
    /// Objects and lists.
    wholes: Vec<(Value, usize)>,
    /// For what is looked for inside texts: the first word of each, with what comes before it.
    words: HashMap<String, Vec<Needle>>,
}

#[derive(Debug, Clone)]
struct Needle {
    text: String,
    /// Where its first word begins.
    word_at: usize,
    source: usize,
}

impl Secrets {
    /// Takes in the marked values of a value that stands at `root`.
    pub fn learn(&mut self, marks: &[&Mark], value: &Value, root: &[String]) {
        each_marked(value, &leads(marks, root), &mut root.to_vec(), &mut |lead, path, value| {
            self.take(value, Source { path: path_text(path), exemption: lead.mark.exemption.clone() });
        });
    }

    /// Takes in a value that was marked at its exact path.
    pub fn learn_replaced(&mut self, mark: &Mark, value: &Value) {
        self.take(value, Source { path: path_text(&mark.path), exemption: mark.exemption.clone() });
    }

    fn take(&mut self, value: &Value, source: Source) {
        let number = self.sources.len();
        self.sources.push(source);
        self.take_inside(value, number, LEAST);
    }

    fn take_inside(&mut self, value: &Value, source: usize, least: usize) {
        match value {
            Value::Null | Value::Bool(_) => {}
            Value::String(text) => self.take_text(text, source, least),
            Value::Number(number) => self.take_text(&number.to_string(), source, least),
            Value::Array(_) | Value::Object(_) => {
                let members = members(value);
                if !members.is_empty() && self.wholes.len() < MOST_WHOLES {
                    self.wholes.push((value.clone(), source));
                }
                members.into_iter().for_each(|(_, member)| self.take_inside(member, source, LEAST_INSIDE));
            }
        }
    }

    fn take_text(&mut self, text: &str, source: usize, least: usize) {
        let length = text.trim().chars().count();
        if length < least || text == SEALED || text == ERASED || self.plain.contains_key(text) {
            return;
        }
        self.plain.insert(text.to_owned(), source);
        let needle = text.trim();
        if let Some((word_at, word)) = words(needle).next().filter(|_| length >= LEAST_INSIDE) {
            let needle = Needle { text: needle.to_owned(), word_at, source };
            self.words.entry(word.to_owned()).or_default().push(needle);
        }
    }

    pub fn is_empty(&self) -> bool {
        self.sources.is_empty()
    }

    /// What a value is a copy of.
    pub fn copied(&self, value: &Value) -> Option<&Source> {
        if self.is_empty() {
            return None;
        }
        let source = match value {
            Value::Null | Value::Bool(_) => None,
            Value::Number(number) => self.plain.get(&number.to_string()).copied(),
            Value::String(text) => self.plain.get(text.as_str()).copied().or_else(|| self.inside(text)),
            Value::Array(_) | Value::Object(_) => {
                self.wholes.iter().find(|(whole, _)| whole == value).map(|(_, source)| *source)
            }
        };
        self.sources.get(source?)
    }

    /// The same for a text that is no JSON value.
    pub fn copied_in(&self, text: &str) -> bool {
        self.plain.contains_key(text) || self.inside(text).is_some()
    }

    fn inside(&self, text: &str) -> Option<usize> {
        if self.words.is_empty() {
            return None;
        }
        words(text).find_map(|(at, word)| {
            let begins_here = |needle: &&Needle| {
                let Some(start) = at.checked_sub(needle.word_at) else { return false };
                let rest = text.get(start..).and_then(|rest| rest.strip_prefix(needle.text.as_str()));
                let ends_in_word = needle.text.ends_with(char::is_alphanumeric);
                rest.is_some_and(|rest| !(ends_in_word && rest.starts_with(char::is_alphanumeric)))
            };
            self.words.get(word)?.iter().find(begins_here).map(|needle| needle.source)
        })
    }
}

/// The words of a text, each with where it begins.
fn words(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let parts = text.split(|letter: char| !letter.is_alphanumeric()).filter(|word| !word.is_empty());
    // Each word is a part of the text, so that their addresses tell where it stands.
    parts.map(|word| (word.as_ptr() as usize - text.as_ptr() as usize, word))
}
