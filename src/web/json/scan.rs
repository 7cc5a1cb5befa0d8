//! What serde_json does not tell: depth before parsing, duplicate keys, integers that lost digits, U+0000.
//!
//! Iterative throughout, so that no input can exhaust the stack.

use super::super::problem::FieldError;
use super::child_path;
use std::collections::HashSet;

/// The most brackets that are open at once, strings aside. Works on any bytes, valid JSON or not.
pub fn depth(bytes: &[u8]) -> usize {
    let (mut open, mut deepest) = (0_usize, 0_usize);
    let (mut in_string, mut escaped) = (false, false);
    for byte in bytes {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if in_string => escaped = true,
            b'"' => in_string = !in_string,
            b'[' | b'{' if !in_string => {
                open += 1;
                deepest = deepest.max(open);
            }
            b']' | b'}' if !in_string => open = open.saturating_sub(1),
            _ => {}
        }
    }
    deepest
}

/// What was found in a valid document.
#[derive(Debug, Default)]
pub struct Found {
    /// Paths of keys that stand twice in their object.
    pub duplicates: Vec<String>,
    pub errors: Vec<FieldError>,
}

/// Reads a document that serde_json has accepted.
pub fn scan(text: &str) -> Found {
    let mut scanner = Scanner { text, at: 0, open: Vec::new(), found: Found::default() };
    while let Some(byte) = text.as_bytes().get(scanner.at) {
        scanner.step(*byte);
    }
    scanner.found
}

/// An array or object that is open, and where in it we are.
enum Level {
    Array { index: usize },
    Object { keys: HashSet<String>, key: Option<String> },
}

struct Scanner<'a> {
    text: &'a str,
    at: usize,
    open: Vec<Level>,
    found: Found,
}

impl Scanner<'_> {
    fn step(&mut self, byte: u8) {
        match byte {
            b'{' => self.open.push(Level::Object { keys: HashSet::new(), key: None }),
            b'[' => self.open.push(Level::Array { index: 0 }),
            b'}' | b']' => drop(self.open.pop()),
            b',' => self.next_member(),
            b'"' => return self.string(),
            b'-' | b'0'..=b'9' => return self.number(),
            _ => {}
        }
        self.at += 1;
    }

    fn next_member(&mut self) {
        match self.open.last_mut() {
            Some(Level::Array { index }) => *index += 1,
            Some(Level::Object { key, .. }) => *key = None,
            None => {}
        }
    }

    fn string(&mut self) {
        let rest = &self.text[self.at..];
        let end = end_of_string(rest.as_bytes());
        self.at += end;
        let value: String = serde_json::from_str(&rest[..end]).expect("serde_json accepted the document");
        let has_nul = value.contains('\0');
        if let Some(Level::Object { keys, key: key @ None }) = self.open.last_mut() {
            let duplicate = !keys.insert(value.clone());
            *key = Some(value);
            if duplicate {
                let path = self.path();
                self.found.duplicates.push(path);
            }
        }
        if has_nul {
            self.error("holds the character U+0000, which cannot be stored; leave it out");
        }
    }

    fn number(&mut self) {
        let rest = &self.text[self.at..];
        let end =
            rest.find(|c: char| !matches!(c, '0'..='9' | '-' | '+' | '.' | 'e' | 'E')).unwrap_or(rest.len());
        let literal = &rest[..end];
        self.at += end;
        let whole = !literal.contains(['.', 'e', 'E']);
        if whole && literal.parse::<i64>().is_err() && literal.parse::<u64>().is_err() {
            self.error("is a whole number beyond 64 bits, which would lose digits; send it as text");
        }
    }

    fn error(&mut self, message: &str) {
        let path = self.path();
        self.found.errors.push(FieldError { path, message: message.to_owned() });
    }

    fn path(&self) -> String {
        self.open.iter().fold("$".to_owned(), |path, level| match level {
            Level::Array { index } => format!("{path}[{index}]"),
            Level::Object { key: Some(key), .. } => child_path(&path, key),
            Level::Object { key: None, .. } => path,
        })
    }
}

/// The length of the string literal that `bytes` begins with, quotes included.
fn end_of_string(bytes: &[u8]) -> usize {
    let mut escaped = false;
    for (at, byte) in bytes.iter().enumerate().skip(1) {
        match byte {
            _ if escaped => escaped = false,
            b'\\' => escaped = true,
            b'"' => return at + 1,
            _ => {}
        }
    }
    bytes.len()
}
