//! `parallel` tasks: branches that are done at the same time.

use super::super::reader::{Reader, whole};
use super::super::{ForEach, Join, MAX_GROUP_DEPTH, MAX_ITEMS, MAX_TASKS, Parallel, Problem, Task};
use super::{Scope, constant, entries, expression, list_of_tasks, numbered};
use crate::engine::expression::{Expression, kind_of};
use serde_json::Value;
use std::sync::Arc;

/// What an item is called unless `as` says otherwise.
pub(super) const ITEM: &str = "item";
/// Words that mean something in CEL (its specification, "Syntax"), and what is there already.
const TAKEN_WORDS: [&str; 22] = [
    "payload",
    "true",
    "false",
    "null",
    "in",
    "as",
    "break",
    "const",
    "continue",
    "else",
    "for",
    "function",
    "if",
    "import",
    "let",
    "loop",
    "package",
    "namespace",
    "return",
    "var",
    "void",
    "while",
];

pub(super) fn group(reader: &mut Reader<'_>, scope: &Scope) -> Option<Parallel> {
    let for_each = for_each(reader, scope);
    let goes_over_items = reader.has("for_each");
    let max_concurrency = reader.whole("max_concurrency", 1..=MAX_ITEMS as u32);
    let items = entries(reader);
    let join = join(reader, items.map(<[Value]>::len).filter(|_| !goes_over_items));
    if scope.depth == MAX_GROUP_DEPTH {
        let message = format!(
            "is a group inside {MAX_GROUP_DEPTH} others, and no more may be. Move the inner ones into a protocol of \
             their own."
        );
        reader.beyond_schema("tasks", message);
        return None;
    }
    let mut names = scope.names.clone();
    names.extend(for_each.as_ref().map(|each| each.name.clone()));
    let inner = Scope { names, depth: scope.depth + 1 };
    let path = format!("{}.tasks", reader.path());
    let branches = if goes_over_items {
        let list: Vec<(String, &Value)> = numbered(&path, items?).collect();
        vec![list_of_tasks(&list, &inner, reader)]
    } else {
        numbered(&path, items?).map(|entry| branch(entry, &inner, reader)).collect()
    };
    Some(Parallel { branches, join, max_concurrency, for_each })
}

/// A task, or a list of tasks that are done in order.
fn branch((path, entry): (String, &Value), scope: &Scope, reader: &mut Reader<'_>) -> Vec<Arc<Task>> {
    let wrong = match entry {
        Value::Object(_) => return list_of_tasks(&[(path, entry)], scope, reader),
        Value::Array(items) if !items.is_empty() && items.len() <= MAX_TASKS => {
            let list: Vec<(String, &Value)> = numbered(&path, items).collect();
            return list_of_tasks(&list, scope, reader);
        }
        Value::Array(items) if items.is_empty() => {
            "is an empty branch. Give it a task, or remove it.".to_owned()
        }
        Value::Array(items) => format!("has {} tasks; at most {MAX_TASKS} are allowed.", items.len()),
        other => {
            format!(
                "A branch is a task (an object) or a list of tasks that are done in order, not {}.",
                kind_of(other)
            )
        }
    };
    reader.problems.push(Problem { path, message: wrong, beyond_schema: false });
    Vec::new()
}

/// `branches`: how many there are, where that is known.
fn join(reader: &mut Reader<'_>, branches: Option<usize>) -> Join {
    let number = match reader.value("join") {
        None => return Join::All,
        Some(Value::String(word)) if word == "all" => return Join::All,
        Some(Value::String(word)) if word == "any" => return Join::Any,
        Some(other) => whole(other).filter(|number| (1..=MAX_ITEMS as u32).contains(number)),
    };
    match (number, branches) {
        (None, _) => {
            let message = "must be `all`, `any`, or how many branches must succeed (a whole number from 1).";
            reader.problem("join", message);
        }
        (Some(number), Some(branches)) if number as usize > branches => {
            let message = format!(
                "waits for {number} branches, and there are only {branches}, so what comes after this group could never \
                 be reached. Lower it."
            );
            reader.beyond_schema("join", message);
        }
        (Some(_), _) => {}
    }
    number.map_or(Join::All, Join::Number)
}

fn for_each(reader: &mut Reader<'_>, scope: &Scope) -> Option<ForEach> {
    let items = expression(reader, "for_each", scope);
    if let Some(items) = &items {
        refuse_constant(items, reader);
    }
    let name = name_of_items(reader);
    if reader.has("as") && !reader.has("for_each") {
        reader.problem("as", "names the items of `for_each`, which is missing. Add it, or remove this.");
    }
    Some(ForEach { items: items?, name })
}

/// A list that does not come from the payload is no list to go over.
fn refuse_constant(items: &Expression, reader: &mut Reader<'_>) {
    match constant(items) {
        Some(Value::Array(items)) if items.is_empty() => {
            let message = "is always empty, so these tasks could never be reached. Name a list of `payload`.";
            reader.beyond_schema("for_each", message);
        }
        Some(Value::Array(_)) | None => {}
        Some(other) => {
            let message =
                format!("is {}, where a list is needed. Name a list of `payload`.", kind_of(&other));
            reader.beyond_schema("for_each", message);
        }
    }
}

fn name_of_items(reader: &mut Reader<'_>) -> String {
    let Some(name) = reader.name("as") else { return ITEM.to_owned() };
    if name.contains('-') || name.starts_with(|first: char| first.is_ascii_digit()) {
        let message =
            format!("`{name}` cannot be used in expressions: begin with a letter, and write `_` for `-`.");
        reader.problem("as", message);
    } else if TAKEN_WORDS.contains(&name.as_str()) {
        reader.problem("as", format!("`{name}` means something else in expressions. Choose another name."));
    }
    name
}
