//! What every task has, and which fields belong to which type.

use super::super::reader::Reader;
use super::super::{OnFailure, OnTimeout, Problem, Task, Work};
use super::{Scope, call, constant, expression, group, hitl, wait};
use crate::engine::expression::{Expression, kind_of};
use serde_json::Value;
use std::collections::HashMap;

/// A type, and its own fields.
const TYPES: [(&str, &[&str]); 6] = [
    ("script", &["uses", "with", "retry", "undo"]),
    ("agent", &["uses", "with", "retry"]),
    (
        "hitl",
        &[
            "approvers",
            "quorum",
            "four_eyes",
            "form",
            "due_minutes",
            "remind_minutes",
            "escalate_to",
            "returns_to",
            "max_returns",
            "on_reject",
        ],
    ),
    ("parallel", &["tasks", "join", "max_concurrency", "for_each", "as"]),
    ("wait", &["minutes", "until", "event", "key"]),
    ("protocol", &["uses", "with"]),
];

/// The list that a task stands in.
pub(super) struct Siblings<'a> {
    /// Where the id of each stands.
    pub positions: &'a HashMap<&'a str, usize>,
    /// Where this one stands.
    pub position: usize,
}

pub(super) fn task(reader: &mut Reader<'_>, scope: &Scope, siblings: &Siblings<'_>) -> Option<Task> {
    let id = reader.name("id");
    if !reader.has("id") {
        reader.problem("id", "is missing. Give the task an id (letters, digits, `_` and `-`).");
    }
    let kind = kind(reader);
    let title = reader.text("title", 200);
    let saves = reader.name("saves");
    let when = condition(reader, scope);
    let max_time = reader.minutes("max_minutes");
    let on_timeout = kind.and_then(|kind| on_timeout(reader, kind));
    let on_failure = reader.choice(
        "on_failure",
        &[("fail", OnFailure::Fail), ("continue", OnFailure::Continue), ("pause", OnFailure::Pause)],
    );
    let mut work = work(reader, kind?, id.as_deref().unwrap_or_default(), scope, siblings)?;
    if on_timeout == Some(OnTimeout::Retry) {
        retry_by_default(&mut work);
    }
    let id = id?;
    Some(Task {
        saves: saves.unwrap_or_else(|| id.clone()),
        id,
        title,
        when,
        max_time,
        on_timeout: on_timeout.unwrap_or(OnTimeout::Flag),
        on_failure: on_failure.unwrap_or(OnFailure::Fail),
        work,
    })
}

/// What is wrong with the task. A field of another type is said to be one.
pub(super) fn finish(mut reader: Reader<'_>) -> Vec<Problem> {
    let kind = reader.value("type").and_then(Value::as_str).unwrap_or_default().to_owned();
    let is_type = TYPES.iter().any(|(name, _)| *name == kind);
    if !is_type {
        // Which of these fields belong here cannot be told before the type is known.
        for field in TYPES.iter().flat_map(|(_, fields)| *fields).chain(&["on_timeout"]) {
            reader.value(field);
        }
    }
    reader.finish(|field| {
        let homes = TYPES.iter().filter(|(_, fields)| fields.contains(&field));
        let homes: Vec<String> = homes.map(|(name, _)| format!("`{name}`")).collect();
        (!homes.is_empty()).then(|| {
            format!(
                "`{field}` is a field of {} tasks, and this one is `{kind}`. Remove it.",
                homes.join(" and ")
            )
        })
    })
}

fn kind(reader: &mut Reader<'_>) -> Option<&'static str> {
    let known = || TYPES.map(|(name, _)| format!("`{name}`")).join(", ");
    let wrong = match reader.value("type") {
        None => format!("is missing. Use one of {}.", known()),
        Some(Value::String(text)) => match TYPES.iter().find(|(name, _)| name == text) {
            Some((name, _)) => return Some(name),
            None => format!("`{text}` is not a type. Use one of {}.", known()),
        },
        Some(other) => format!("must be a text, not {}. Use one of {}.", kind_of(other), known()),
    };
    reader.problem("type", wrong);
    None
}

fn condition(reader: &mut Reader<'_>, scope: &Scope) -> Option<Expression> {
    let condition = expression(reader, "when", scope)?;
    match constant(&condition) {
        Some(Value::Bool(false)) => {
            let message = "is always false, so this task could never be reached. Remove the task, or name something \
                           of `payload` in the condition.";
            reader.beyond_schema("when", message);
        }
        Some(Value::Bool(true)) | None => {}
        Some(other) => {
            let message = format!("is always {}, where true or false is needed.", kind_of(&other));
            reader.beyond_schema("when", message);
        }
    }
    Some(condition)
}

fn on_timeout(reader: &mut Reader<'_>, kind: &str) -> Option<OnTimeout> {
    let (flag, fail) = (("flag", OnTimeout::Flag), ("fail", OnTimeout::Fail));
    let chosen = match kind {
        "script" | "agent" => reader.choice("on_timeout", &[flag, fail, ("retry", OnTimeout::Retry)]),
        "hitl" => reader.choice("on_timeout", &[flag, fail, ("escalate", OnTimeout::Escalate)]),
        _ => reader.choice("on_timeout", &[flag, fail]),
    }?;
    if chosen != OnTimeout::Flag && !reader.has("max_minutes") {
        reader.problem("on_timeout", "says what happens after `max_minutes`, which is missing. Add it.");
    }
    if chosen == OnTimeout::Escalate && !reader.has("escalate_to") {
        reader.problem(
            "on_timeout",
            "escalates to `escalate_to`, which is missing. Name there who is asked next.",
        );
    }
    Some(chosen)
}

fn work(
    reader: &mut Reader<'_>,
    kind: &str,
    id: &str,
    scope: &Scope,
    siblings: &Siblings<'_>,
) -> Option<Work> {
    match kind {
        "script" => Some(Work::Script(call::script(reader, id, scope))),
        "agent" => Some(Work::Agent(call::agent(reader, id, scope))),
        "hitl" => Some(Work::Hitl(Box::new(hitl::hitl(reader, siblings)))),
        "parallel" => group::group(reader, scope).map(Work::Parallel),
        "wait" => wait::wait(reader, scope).map(Work::Wait),
        _ => Some(Work::Protocol(call::protocol(reader, id, scope))),
    }
}

/// An attempt that is given up for being late can only be followed by another where there may be more than one.
fn retry_by_default(work: &mut Work) {
    match work {
        Work::Script(call) | Work::Agent(call) => {
            call.retry.get_or_insert_default();
        }
        Work::Hitl(_) | Work::Parallel(_) | Work::Wait(_) | Work::Protocol(_) => {}
    }
}
