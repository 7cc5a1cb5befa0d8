//! Names that are taken: ids, keys under `payload`, names of items. Looked at in the raw document, so that a task with
//! something else wrong counts, too.

use super::super::reader::Reader;
use super::super::{MAX_GROUP_DEPTH, Problem, Schedule};
use super::group::ITEM;
use super::numbered;
use serde_json::{Map, Value};
use std::collections::HashMap;

/// Who has each name: the JSON path of the field that gives it.
type Owners<'a> = HashMap<&'a str, String>;

#[derive(Default)]
pub(super) struct Names<'a> {
    /// The JSON path of each task by its id.
    ids: Owners<'a>,
    /// The keys under `payload`, but for those that only the branches of a `for_each` see.
    keys: Owners<'a>,
    problems: Vec<Problem>,
}

/// A `for_each`, whose branches have keys of their own.
struct Inner<'a> {
    path: String,
    task: &'a Map<String, Value>,
}

impl<'a> Names<'a> {
    pub fn of(list: &[(String, &'a Value)]) -> Names<'a> {
        let mut names = Names::default();
        names.keys = names.level(list, Owners::new(), &[], 0);
        names
    }

    pub fn problems(&self) -> Vec<Problem> {
        self.problems.clone()
    }

    pub fn paths(self) -> HashMap<String, String> {
        self.ids.into_iter().map(|(id, path)| (id.to_owned(), path)).collect()
    }

    /// A key of the first payload that a task would overwrite is refused when a run is started: a protocol that needs
    /// one could never run.
    pub fn refuse_taken_inputs(
        &self,
        input: Option<&Value>,
        schedule: Option<&Schedule>,
        reader: &mut Reader<'_>,
    ) {
        let required = input.and_then(|input| input.get("required")).and_then(Value::as_array);
        for key in required.into_iter().flatten().filter_map(Value::as_str) {
            if let Some(owner) = self.keys.get(key) {
                let message =
                    format!("requires `{key}`, where the result of {owner} goes. Rename one of them.");
                reader.beyond_schema("input.required", message);
            }
        }
        for key in schedule.into_iter().flat_map(|schedule| schedule.payload.keys()) {
            if let Some(owner) = self.keys.get(key.as_str()) {
                let message = format!("has `{key}`, where the result of {owner} goes. Rename one of them.");
                reader.beyond_schema("schedule.payload", message);
            }
        }
    }

    /// The names of tasks that write into the same payload. `around`: those that their expressions see besides.
    fn level(
        &mut self,
        list: &[(String, &'a Value)],
        mut own: Owners<'a>,
        around: &[&Owners<'a>],
        depth: usize,
    ) -> Owners<'a> {
        let mut inner = Vec::new();
        self.collect(list, &mut own, around, &mut inner, depth);
        let levels: Vec<&Owners<'a>> = around.iter().copied().chain([&own]).collect();
        for Inner { path, task } in inner {
            let name = task.get("as").and_then(Value::as_str).unwrap_or(ITEM);
            let named_at = format!("{path}.as");
            if let Some(owner) = owner(name, &levels) {
                let message = format!("`{name}` is already taken by {owner}. Call the items something else.");
                self.refuse(named_at.clone(), message);
            }
            let list = inside(&path, task);
            self.level(&list, Owners::from([(name, named_at)]), &levels, depth + 1);
        }
        own
    }

    fn collect(
        &mut self,
        list: &[(String, &'a Value)],
        own: &mut Owners<'a>,
        around: &[&Owners<'a>],
        inner: &mut Vec<Inner<'a>>,
        depth: usize,
    ) {
        for (path, item) in list {
            let Value::Object(task) = item else { continue };
            let id = task.get("id").and_then(Value::as_str);
            let is_new = id.is_none_or(|id| self.claim_id(id, path));
            let (field, key) = match task.get("saves").and_then(Value::as_str) {
                Some(key) => ("saves", Some(key)),
                None => ("id", id),
            };
            // Where the id is taken, so is its key; one sentence is enough.
            if let Some(key) = key.filter(|_| is_new || field == "saves") {
                self.claim_key(key, path, own, around);
            }
            if task.get("type").and_then(Value::as_str) != Some("parallel") || depth > MAX_GROUP_DEPTH {
                continue;
            }
            if task.contains_key("for_each") {
                inner.push(Inner { path: path.clone(), task });
            } else {
                self.collect(&inside(path, task), own, around, inner, depth + 1);
            }
        }
    }

    fn claim_id(&mut self, id: &'a str, path: &str) -> bool {
        if let Some(first) = self.ids.get(id) {
            let message = format!("`{id}` is already the id of {first}. Give each task an id of its own.");
            self.refuse(format!("{path}.id"), message);
            return false;
        }
        self.ids.insert(id, path.to_owned());
        true
    }

    fn claim_key(&mut self, key: &'a str, path: &str, own: &mut Owners<'a>, around: &[&Owners<'a>]) {
        let levels: Vec<&Owners<'a>> = around.iter().copied().chain([&*own]).collect();
        if let Some(owner) = owner(key, &levels) {
            let message = format!("`{key}` is already written by {owner}. Save under another key.");
            self.refuse(format!("{path}.saves"), message);
        } else {
            own.insert(key, path.to_owned());
        }
    }

    fn refuse(&mut self, path: String, message: String) {
        self.problems.push(Problem { path, message, beyond_schema: true });
    }
}

fn owner<'l>(name: &str, levels: &[&'l Owners<'_>]) -> Option<&'l String> {
    levels.iter().find_map(|level| level.get(name))
}

/// The tasks of a group, those of all branches, with their JSON paths.
fn inside<'a>(path: &str, group: &'a Map<String, Value>) -> Vec<(String, &'a Value)> {
    let path = format!("{path}.tasks");
    let entries = group.get("tasks").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    let mut tasks = Vec::new();
    for (path, entry) in numbered(&path, entries) {
        match entry {
            Value::Array(branch) => tasks.extend(numbered(&path, branch)),
            _ => tasks.push((path, entry)),
        }
    }
    tasks
}
