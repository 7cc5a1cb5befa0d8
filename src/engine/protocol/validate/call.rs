//! `script`, `agent` and `protocol` tasks: what they call, with what, how often.

use super::super::reader::Reader;
use super::super::{Invocation, Retry};
use super::{Scope, template};
use crate::engine::expression::{Template, kind_of};
use crate::engine::json;
use chrono::TimeDelta;
use serde_json::Value;

/// The most attempts at a step.
const MAX_ATTEMPTS: u32 = 100;
/// A day.
const MAX_BACKOFF_SECONDS: f64 = 86_400.0;
/// A protocol's longest name.
const MAX_PROTOCOL_NAME: usize = 200;

pub(super) fn script(reader: &mut Reader<'_>, id: &str, scope: &Scope) -> Invocation {
    let undo = reader.name("undo");
    Invocation { undo, ..agent(reader, id, scope) }
}

pub(super) fn agent(reader: &mut Reader<'_>, id: &str, scope: &Scope) -> Invocation {
    let uses = reader.name("uses").unwrap_or_else(|| id.to_owned());
    Invocation { uses, with: with(reader, scope), retry: retry(reader), undo: None }
}

pub(super) fn protocol(reader: &mut Reader<'_>, id: &str, scope: &Scope) -> Invocation {
    let uses = protocol_uses(reader).unwrap_or_else(|| id.to_owned());
    if let Some(with) = reader.value("with")
        && !could_be_an_object(with)
    {
        let message = format!(
            "becomes the payload of the other run, which is an object, and this is {}. Write an object, or one \
             whole `${{ … }}` that gives one.",
            kind_of(with)
        );
        reader.problem("with", message);
    }
    Invocation { uses, with: with(reader, scope), retry: None, undo: None }
}

/// The id of a protocol, as a number or as text, or its name.
fn protocol_uses(reader: &mut Reader<'_>) -> Option<String> {
    let Some(Value::Number(number)) = reader.value("uses") else {
        return reader.text("uses", MAX_PROTOCOL_NAME);
    };
    let whole = json::normalise(Value::Number(number.clone())).as_i64();
    let id = whole.filter(|id| (1..=json::MAX_SAFE_INTEGER).contains(id)).map(|id| id.to_string());
    if id.is_none() {
        reader.problem(
            "uses",
            format!("{number} is not the id of a protocol. Use a whole number from 1, or a name."),
        );
    }
    id
}

fn could_be_an_object(with: &Value) -> bool {
    match with {
        Value::Object(_) => true,
        Value::String(text) => text.starts_with("${") && text.ends_with('}'),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::Array(_) => false,
    }
}

fn with(reader: &mut Reader<'_>, scope: &Scope) -> Option<Template> {
    let with = json::normalise(reader.value("with")?.clone());
    template(reader, "with", &with, scope)
}

fn retry(reader: &mut Reader<'_>) -> Option<Retry> {
    reader.object("retry", "the rules of a retry", |reader| {
        let default = Retry::default();
        let seconds = |number: f64| TimeDelta::milliseconds((number * 1_000.0).round() as i64);
        let attempts = reader.whole("attempts", 1..=MAX_ATTEMPTS);
        let backoff = reader.number("backoff_seconds", 0.0..=MAX_BACKOFF_SECONDS).map(seconds);
        let factor = reader.number("backoff_factor", 1.0..=10.0);
        let most = reader.number("max_backoff_seconds", 0.0..=MAX_BACKOFF_SECONDS).map(seconds);
        let backoff = backoff.unwrap_or(default.backoff);
        if most.is_some_and(|most| most < backoff) {
            let message = format!(
                "is less than the first pause ({} s). Raise it, or lower `backoff_seconds`.",
                backoff.as_seconds_f64()
            );
            reader.beyond_schema("max_backoff_seconds", message);
        }
        Some(Retry {
            attempts: attempts.unwrap_or(default.attempts),
            backoff,
            factor: factor.unwrap_or(default.factor),
            max_backoff: most.unwrap_or_else(|| default.max_backoff.max(backoff)),
        })
    })
}
