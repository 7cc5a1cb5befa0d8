//! `redact`: the paths whose values are sealed.

use super::super::reader::Reader;
use super::super::{MAX_MARK_DEPTH, MAX_MARKS, Task, Work};
use super::numbered;
use crate::engine::expression::kind_of;
use crate::engine::redact::{Mark, path_text};
use serde_json::{Map, Value};
use std::sync::Arc;

/// The longest key in a path, in characters.
const MAX_KEY: usize = 100;
/// The longest exemption code, in characters.
const MAX_EXEMPTION: usize = 50;

pub(super) fn marks(reader: &mut Reader<'_>) -> Vec<Mark> {
    let items = match reader.value("redact") {
        None => return Vec::new(),
        Some(Value::Array(items)) => items,
        Some(other) => {
            let message = format!(
                "must be a list of paths, such as [\"payload.applicant.ssn\"], not {}.",
                kind_of(other)
            );
            reader.problem("redact", message);
            return Vec::new();
        }
    };
    if items.len() > MAX_MARKS {
        let message =
            format!("has {} paths; at most {MAX_MARKS} are allowed. Mark what is around them.", items.len());
        reader.problem("redact", message);
        return Vec::new();
    }
    let mut marks: Vec<Mark> = Vec::new();
    for (place, item) in numbered("redact", items) {
        let Some(mark) = mark(reader, &place, item) else { continue };
        match marks.iter().find(|other| other.overlaps(&mark)) {
            Some(other) => {
                let message = format!(
                    "`{}` and `{}` mark the same value, or one lies in the other, which is sealed as a whole. \
                     Remove one of them.",
                    path_text(&mark.path),
                    path_text(&other.path)
                );
                reader.beyond_schema(&place, message);
            }
            None => marks.push(mark),
        }
    }
    marks
}

/// A path alone, or with the exemption that it is withheld under.
fn mark(reader: &mut Reader<'_>, place: &str, item: &Value) -> Option<Mark> {
    match item {
        Value::String(text) => Some(Mark { path: path(reader, place, text)?, exemption: None }),
        Value::Object(map) => with_exemption(reader, place, map),
        other => {
            let message = format!(
                "must be a path such as `payload.applicant.ssn`, or an object with `path` and `exemption`, not {}.",
                kind_of(other)
            );
            reader.problem(place, message);
            None
        }
    }
}

fn with_exemption(reader: &mut Reader<'_>, place: &str, map: &Map<String, Value>) -> Option<Mark> {
    let mut inner = Reader::new(map, format!("{}.{place}", reader.path()));
    if !inner.has("path") {
        inner.problem("path", "is missing. Name the value to seal, for example `payload.applicant.ssn`.");
    }
    let exemption = inner.text("exemption", MAX_EXEMPTION);
    let text = match inner.value("path") {
        Some(Value::String(text)) => Some(text.as_str()),
        Some(other) => {
            inner.problem("path", format!("must be a text, not {}.", kind_of(other)));
            None
        }
        None => None,
    };
    let path = text.and_then(|text| self::path(&mut inner, "path", text));
    reader.problems.extend(inner.finish(|_| None));
    Some(Mark { path: path?, exemption })
}

fn path(reader: &mut Reader<'_>, place: &str, text: &str) -> Option<Vec<String>> {
    let mut keys = text.split('.').map(str::to_owned);
    let plain = |key: &String| {
        !key.is_empty() && key.chars().count() <= MAX_KEY && !key.chars().any(|letter| letter < ' ')
    };
    let root = keys.next();
    let keys: Vec<String> = keys.collect();
    if root.as_deref() == Some("payload")
        && (1..=MAX_MARK_DEPTH).contains(&keys.len())
        && keys.iter().all(plain)
    {
        return Some(keys);
    }
    let shown: String = text.chars().take(100).collect();
    let message = format!(
        "`{shown}` is not a path. Write `payload.` and the keys that lead to the value, with dots between them; `*` is \
         any key and any item, for example `payload.applicants.*.ssn`."
    );
    reader.problem(place, message);
    None
}

/// The marks, and where the marked results go when the groups that they are saved in are done: into the lists under
/// the groups' own keys.
pub(super) fn with_groups(marks: Vec<Mark>, tasks: &[Arc<Task>]) -> Vec<Mark> {
    let mut all = marks;
    if !all.is_empty() {
        follow(&mut all, tasks);
    }
    all
}

fn follow(marks: &mut Vec<Mark>, tasks: &[Arc<Task>]) {
    for task in tasks {
        let Work::Parallel(group) = &task.work else { continue };
        for (number, list) in group.branches.iter().enumerate() {
            follow(marks, list);
            let item = if group.for_each.is_some() { "*".to_owned() } else { number.to_string() };
            let mut new = Vec::new();
            for mark in marks.iter() {
                let Some((first, rest)) = mark.path.split_first() else { continue };
                let is_saved =
                    |inner: &Arc<Task>| inner.saves == *first || (first == "*" && !rest.is_empty());
                if list.iter().any(is_saved) {
                    let path =
                        [task.saves.clone(), item.clone()].into_iter().chain(rest.iter().cloned()).collect();
                    new.push(Mark { path, exemption: mark.exemption.clone() });
                }
            }
            new.retain(|mark| !marks.iter().any(|known| known.path == mark.path));
            marks.extend(new);
        }
    }
}
