//! Terms: how a search is cut into pieces, and how a piece is written so that it is read the same again.

/// The most of somebody's input that a message repeats.
const CLIPPED: usize = 60;

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Term {
    Qualifier { name: String, value: String },
    Text(String),
}

/// The terms in their order, each read or a sentence about what is wrong with it.
pub fn split(text: &str) -> Vec<Result<Term, String>> {
    let mut terms = Vec::new();
    let mut rest = text.trim_start();
    while !rest.is_empty() {
        let (term, after) = next(rest);
        terms.push(term);
        rest = after.trim_start();
    }
    terms
}

fn next(text: &str) -> (Result<Term, String>, &str) {
    if let Some((name, value)) = named(text) {
        let (value, after) = value_of(value);
        return (value.map(|value| Term::Qualifier { name: name.to_ascii_lowercase(), value }), after);
    }
    let (value, after) = value_of(text);
    (value.map(Term::Text), after)
}

/// `name:` at the beginning, and what follows it.
fn named(text: &str) -> Option<(&str, &str)> {
    let (name, rest) = text.split_once(':')?;
    let is_name = !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphabetic() || byte == b'_');
    is_name.then_some((name, rest))
}

/// A value up to the next space, or in quotes; and what follows it.
fn value_of(text: &str) -> (Result<String, String>, &str) {
    let Some(quoted) = text.strip_prefix('"') else {
        let end = text.find(char::is_whitespace).unwrap_or(text.len());
        return (Ok(text[..end].to_owned()), &text[end..]);
    };
    let mut value = String::new();
    let mut letters = quoted.char_indices();
    while let Some((at, letter)) = letters.next() {
        match letter {
            '"' => return (Ok(value), &quoted[at + 1..]),
            '\\' => match letters.next() {
                Some((_, escaped @ ('"' | '\\'))) => value.push(escaped),
                Some((_, other)) => value.extend(['\\', other]),
                None => value.push('\\'),
            },
            other => value.push(other),
        }
    }
    (Err(format!("A quote is opened and not closed: \"{}.", clip(quoted))), "")
}

pub fn qualifier(name: &str, value: &str) -> String {
    format!("{name}:{}", written(value, false))
}

pub fn text(text: &str) -> String {
    written(text, named(text).is_some())
}

fn written(value: &str, must_quote: bool) -> String {
    let plain =
        !must_quote && !value.is_empty() && !value.starts_with('"') && !value.contains(char::is_whitespace);
    if plain { value.to_owned() } else { format!("\"{}\"", value.replace('\\', "\\\\").replace('"', "\\\"")) }
}

/// Somebody's input, short enough for a message.
pub fn clip(text: &str) -> String {
    if text.chars().count() <= CLIPPED {
        return text.to_owned();
    }
    text.chars().take(CLIPPED).chain(['…']).collect()
}
