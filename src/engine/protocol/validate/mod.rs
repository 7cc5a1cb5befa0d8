//! From a JSON document to a [`Protocol`], naming everything that is wrong with it at once.
//!
//! One file a part of the language. What is wrong with one field says the part that reads it; what holds between
//! tasks (names that are taken) is `names`.

mod approvers;
mod call;
mod group;
mod hitl;
mod names;
mod redact;
mod schedule;
mod task;
#[cfg(test)]
mod tests;
mod wait;

use super::reader::{Reader, json_path_of};
use super::{MAX_TASKS, Problem, Protocol, Task, place};
use crate::engine::expression::{Expression, Template, kind_of};
use names::Names;
use serde_json::Value;
use std::collections::HashMap;
use std::sync::Arc;

/// The longest text that may hold expressions where no list or object may.
const MAX_TEMPLATE: usize = 2_000;
/// The only JSON Schema that is read.
const DRAFT: &str = "https://json-schema.org/draft/2020-12/schema";

pub(super) fn protocol(document: &Value) -> Result<Protocol, Vec<Problem>> {
    let Value::Object(map) = document else {
        let message = format!("A protocol is an object with `tasks`, not {}.", kind_of(document));
        return Err(vec![Problem { path: "$".to_owned(), message, beyond_schema: false }]);
    };
    let mut reader = Reader::new(map, "$".to_owned());
    let name = reader.text("name", 200);
    let description = reader.text("description", 10_000);
    let input = json_schema(&mut reader, "input");
    let schedule = schedule::schedule(&mut reader, input.as_ref());
    let concurrency = schedule::concurrency(&mut reader);
    let marked = redact::marks(&mut reader);
    let (tasks, names) = tasks(&mut reader);
    names.refuse_taken_inputs(input.as_ref(), schedule.as_ref(), &mut reader);
    let problems = reader.finish(|_| None);
    if !problems.is_empty() {
        return Err(problems);
    }
    let redact = redact::with_groups(marked, &tasks);
    let places = place::places(&tasks, names.paths());
    Ok(Protocol { name, description, input, schedule, concurrency, redact, tasks, places })
}

/// What the expressions of a list of tasks see, and how deep the list is.
struct Scope {
    /// `payload`, and the items of the `for_each`es around.
    names: Vec<String>,
    /// Groups around it.
    depth: usize,
}

impl Scope {
    fn names(&self) -> Vec<&str> {
        self.names.iter().map(String::as_str).collect()
    }
}

fn tasks<'a>(reader: &mut Reader<'a>) -> (Vec<Arc<Task>>, Names<'a>) {
    let Some(items) = entries(reader) else { return (Vec::new(), Names::default()) };
    let count = count(items);
    if count > MAX_TASKS {
        let message = format!(
            "has {count} tasks, those inside groups counted; at most {MAX_TASKS} are allowed. Move some into \
             another protocol, or go over a list with `for_each`."
        );
        reader.beyond_schema("tasks", message);
        return (Vec::new(), Names::default());
    }
    let list: Vec<(String, &Value)> = numbered("$.tasks", items).collect();
    let names = Names::of(&list);
    let scope = Scope { names: vec!["payload".to_owned()], depth: 0 };
    let tasks = list_of_tasks(&list, &scope, reader);
    reader.problems.extend(names.problems());
    (tasks, names)
}

/// The entries of `tasks`, here or in a group.
fn entries<'a>(reader: &mut Reader<'a>) -> Option<&'a [Value]> {
    let wrong = match reader.value("tasks") {
        Some(Value::Array(items)) if items.is_empty() => "is empty. Give at least one task.".to_owned(),
        Some(Value::Array(items)) if items.len() > MAX_TASKS => {
            format!("has {} entries; at most {MAX_TASKS} are allowed.", items.len())
        }
        Some(Value::Array(items)) => return Some(items),
        Some(other) => format!("must be a list of tasks, not {}.", kind_of(other)),
        None => "is missing. Give a list with at least one task.".to_owned(),
    };
    reader.problem("tasks", wrong);
    None
}

/// Tasks, at any depth.
fn count(items: &[Value]) -> usize {
    let inside = |item: &Value| match item {
        Value::Object(task) => {
            1 + task.get("tasks").and_then(Value::as_array).map_or(0, |inner| count(inner))
        }
        Value::Array(branch) => count(branch),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => 0,
    };
    items.iter().map(inside).sum()
}

fn numbered<'a>(path: &str, items: &'a [Value]) -> impl Iterator<Item = (String, &'a Value)> {
    items.iter().enumerate().map(move |(index, item)| (format!("{path}[{index}]"), item))
}

/// Tasks that are done in order, each with its JSON path.
fn list_of_tasks(list: &[(String, &Value)], scope: &Scope, reader: &mut Reader<'_>) -> Vec<Arc<Task>> {
    let mut positions = HashMap::new();
    for (position, (_, item)) in list.iter().enumerate() {
        if let Some(id) = item.get("id").and_then(Value::as_str) {
            positions.entry(id).or_insert(position);
        }
    }
    let mut tasks = Vec::with_capacity(list.len());
    for (position, (path, item)) in list.iter().enumerate() {
        match item {
            Value::Object(map) => {
                let mut inner = Reader::new(map, path.clone());
                let task = task::task(&mut inner, scope, &task::Siblings { positions: &positions, position });
                reader.problems.extend(task::finish(inner));
                tasks.extend(task.map(Arc::new));
            }
            other => {
                let message = format!("A task is an object with `id` and `type`, not {}.", kind_of(other));
                reader.problems.push(Problem { path: path.clone(), message, beyond_schema: false });
            }
        }
    }
    tasks
}

/// A JSON Schema that the author wrote.
fn json_schema(reader: &mut Reader<'_>, field: &'static str) -> Option<Value> {
    let schema = reader.value(field)?;
    let Value::Object(map) = schema else {
        reader.problem(field, format!("must be a JSON Schema (an object), not {}.", kind_of(schema)));
        return None;
    };
    if map.get("$schema").is_some_and(|draft| draft != DRAFT) {
        reader
            .problem(field, format!("may only be JSON Schema 2020-12. Leave `$schema` out, or say {DRAFT}."));
        return None;
    }
    // The first problem as the meta-schema finds it; what it cannot say (a pattern, a `$ref`) is found in building.
    if let Err(error) = jsonschema::draft202012::meta::validate(schema) {
        let message = format!("is not a valid JSON Schema: {}", readable(&error));
        reader.problem(field, message);
        return None;
    }
    if let Err(error) = jsonschema::draft202012::new(schema) {
        let message = format!("is not a valid JSON Schema: {}", readable(&error));
        reader.beyond_schema(field, message);
        return None;
    }
    Some(schema.clone())
}

/// What is wrong by a JSON Schema, in at most 300 characters: it may quote the whole value.
fn readable(error: &jsonschema::ValidationError<'_>) -> String {
    let (place, text) = (error.instance_path().to_string(), error.to_string());
    let at = if place.is_empty() { String::new() } else { format!(" (at {place})") };
    match text.char_indices().nth(300) {
        Some((end, _)) => format!("{}…{at}", &text[..end]),
        None => format!("{text}{at}."),
    }
}

/// A bare expression.
fn expression(reader: &mut Reader<'_>, field: &'static str, scope: &Scope) -> Option<Expression> {
    let source = reader.text(field, MAX_TEMPLATE)?;
    match Expression::compile(&source, &scope.names()) {
        Ok(expression) => Some(expression),
        Err(error) => {
            reader.beyond_schema(field, error.to_string());
            None
        }
    }
}

/// The value of an expression that sees nothing, and is therefore always the same.
fn constant(expression: &Expression) -> Option<Value> {
    Expression::compile(expression.source(), &[]).ok()?.evaluate(&[]).ok()
}

/// A text that may hold `${ … }`.
fn template_text(reader: &mut Reader<'_>, field: &'static str, scope: &Scope) -> Option<Template> {
    let text = reader.text(field, MAX_TEMPLATE)?;
    template(reader, field, &Value::String(text), scope)
}

/// JSON whose strings may hold `${ … }`. Every string that cannot be read is named.
fn template(reader: &mut Reader<'_>, field: &'static str, value: &Value, scope: &Scope) -> Option<Template> {
    let names = scope.names();
    match Template::compile(value, &names) {
        Ok(template) => Some(template),
        Err(_) => {
            each_bad_string(reader, field, value, &names);
            None
        }
    }
}

fn each_bad_string(reader: &mut Reader<'_>, path: &str, value: &Value, names: &[&str]) {
    match value {
        Value::String(_) => {
            if let Err((_, error)) = Template::compile(value, names) {
                reader.beyond_schema(path, error.to_string());
            }
        }
        Value::Array(items) => {
            numbered(path, items).for_each(|(path, item)| each_bad_string(reader, &path, item, names));
        }
        Value::Object(map) => {
            for (key, item) in map {
                each_bad_string(reader, &format!("{path}{}", json_path_of(key)), item, names);
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}
