//! What of a run is sealed: the values at the paths that its protocol marks (`redact`), and their copies.
//!
//! Says where in an entry such values stand, and what a run looks like to somebody who may not see them. Never seals
//! anything itself: `audit` does, at the places that are named here.
//!
//! A copy is a value elsewhere that equals a marked one, or a text that holds it as whole words. Short values are no
//! evidence (a risk that is "high" is no copy of a priority that is), so copies of fewer than [`LEAST`] characters are
//! not looked for.

mod copies;
mod shown;

pub use copies::Secrets;
use copies::Source;
pub use shown::{learn_run, restored, secrets, shown};

use super::event::EventKind;
use super::ids::StepPath;
use super::json::push_escaped;
use super::protocol::{OnFailure, Work};
use super::state::Run;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// What stands in the place of a sealed value, for whoever may not see it.
pub const SEALED: &str = "sealed";
/// What an erased value folds to.
pub const ERASED: &str = "erased";
/// The fewest characters, or digits, of a marked value whose copies are sealed too.
pub const LEAST: usize = 4;
/// The same for what is only part of a marked value, and for what is found inside a longer text.
pub const LEAST_INSIDE: usize = 6;

/// A path whose values are sealed, from the payload on; `*` is any key and any item.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Mark {
    pub path: Vec<String>,
    /// Under which exemption it is withheld, for example `b(6)`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exemption: Option<String>,
}

impl Mark {
    /// What the mark says of a value at `root`, given as keys from the payload on. None: nothing; some keys: what lies
    /// there in it; no keys: it is sealed as a whole.
    fn below<'m>(&'m self, root: &[String]) -> Option<&'m [String]> {
        let fits = |(key, at): (&String, &String)| key == "*" || key == at;
        let common = self.path.len().min(root.len());
        self.path.iter().zip(root).all(fits).then(|| &self.path[common..])
    }

    /// Whether one of two marks lies in what the other seals as a whole.
    pub fn overlaps(&self, other: &Mark) -> bool {
        self.path.iter().zip(&other.path).all(|(a, b)| a == b || a == "*" || b == "*")
    }
}

/// `payload.applicant.ssn`.
pub fn path_text(path: &[String]) -> String {
    path.iter().fold("payload".to_owned(), |text, key| format!("{text}.{key}"))
}

/// The marks of a run: its protocol's, and those that it was given or kept from an earlier version.
pub fn marks(run: &Run) -> Vec<&Mark> {
    run.protocol.redact.iter().chain(run.marks.iter()).collect()
}

/// Remembers the marked values of a value that stood under a key of the payload and was replaced.
pub fn remember(run: &mut Run, key: &str, before: &Value) {
    if !is_marked(run) {
        return;
    }
    let mut found = Vec::new();
    let root = vec![key.to_owned()];
    each_marked(before, &leads(&marks(run), &root), &mut root.clone(), &mut |lead, path, value| {
        let exemption = lead.mark.exemption.clone();
        found.push((Mark { path: path.to_vec(), exemption }, value.clone()));
    });
    found.retain(|pair| !run.replaced.contains(pair));
    if !found.is_empty() {
        std::sync::Arc::make_mut(&mut run.replaced).extend(found);
    }
}

/// Visits every value that a mark leads to.
fn each_marked<'m>(
    value: &Value,
    leads: &[Lead<'m>],
    path: &mut Vec<String>,
    visit: &mut impl FnMut(&Lead<'m>, &[String], &Value),
) {
    if leads.is_empty() {
        return;
    }
    if let Some(whole) = leads.iter().find(|lead| lead.rest.is_empty()) {
        return visit(whole, path, value);
    }
    for (key, member) in members(value) {
        let inner: Vec<Lead<'m>> = leads.iter().filter_map(|lead| lead.into(&key)).collect();
        path.push(key);
        each_marked(member, &inner, path, visit);
        path.pop();
    }
}

/// Whether anything of the run may be sealed. Most runs have nothing.
pub fn is_marked(run: &Run) -> bool {
    !run.protocol.redact.is_empty() || !run.marks.is_empty()
}

/// A value in an entry that must not stand in its leaf.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// JSON pointer into the entry's detail.
    pub pointer: String,
    /// Which marked value it is, or is a copy of: `payload.applicant.ssn`.
    pub path: String,
    pub exemption: Option<String>,
}

/// The places in an entry's detail that are to be sealed. `run`: the run as the entry finds or leaves it.
pub fn places(
    run: &Run,
    step: Option<&StepPath>,
    kind: &EventKind,
    detail: &Value,
    secrets: &Secrets,
) -> Vec<Place> {
    let marks = marks(run);
    let mut places = Vec::new();
    for (pointer, root) in values(run, step, kind, detail) {
        let Some(value) = detail.pointer(&pointer) else { continue };
        let mut found = Found { marks: &marks, secrets, places: &mut places };
        if stays_object(kind) && value.is_object() {
            found.look_into(value, pointer, root);
        } else {
            found.look(value, pointer, root);
        }
    }
    places
}

/// The entries whose free value is an object, and cannot be sealed but field by field.
fn stays_object(kind: &EventKind) -> bool {
    matches!(
        kind,
        EventKind::RunQueued { .. }
            | EventKind::SubrunStarted { .. }
            | EventKind::OverrideFiled { .. }
            | EventKind::OverrideDecided { .. }
    )
}

/// The marked values of an entry, for the copies of them that the next ones hold.
pub fn learn(run: &Run, step: Option<&StepPath>, kind: &EventKind, detail: &Value, secrets: &mut Secrets) {
    for (pointer, root) in values(run, step, kind, detail) {
        if let (Some(value), Some(root)) = (detail.pointer(&pointer), root) {
            secrets.learn(&marks(run), value, &root);
        }
    }
}

/// What is sealed in what a step hands on to the run that it starts: what stands there of its own run's sealed values.
pub fn handed_on(run: &Run, step: &StepPath, input: &Value) -> Vec<Mark> {
    if !is_marked(run) {
        return Vec::new();
    }
    let (marks, secrets) = (marks(run), secrets(run));
    let whole_payload = match run.protocol.task(step).map(|task| &task.work) {
        Some(Work::Protocol(call)) => call.with.is_none(),
        _ => false,
    };
    let mut places = Vec::new();
    let mut found = Found { marks: &marks, secrets: &secrets, places: &mut places };
    found.look_into(input, String::new(), whole_payload.then(Vec::new));
    let mark = |place: Place| {
        let keys = place.pointer.split('/').skip(1).map(|key| key.replace("~1", "/").replace("~0", "~"));
        Mark { path: keys.collect(), exemption: place.exemption }
    };
    places.into_iter().map(mark).collect()
}

/// What is sealed in what a step's sub-run brings back, as marks of the run that the step is in: where the step saves
/// it, and in the lists of the groups around it.
pub fn brought_back(run: &Run, step: &StepPath, marks: Vec<Mark>) -> Vec<Mark> {
    let Some(task) = run.protocol.task(step) else { return Vec::new() };
    let mut prefixes = vec![vec![task.saves.clone()]];
    let (mut around, mut inside) = (step.group(), Vec::new());
    let mut inner = step.task_id().to_owned();
    while let Some((group, item)) = around {
        let branch = || run.protocol.place(&inner).map_or(0, |place| place.branch);
        inside.insert(0, item.unwrap_or_else(branch).to_string());
        if let Some(group) = run.protocol.task(&group) {
            prefixes.push([group.saves.clone()].into_iter().chain(inside.iter().cloned()).collect());
        }
        group.task_id().clone_into(&mut inner);
        around = group.group();
    }
    let under = |prefix: &Vec<String>| {
        let marks = marks.iter().map(|mark| Mark {
            path: prefix.iter().chain(&mark.path).cloned().collect(),
            exemption: mark.exemption.clone(),
        });
        marks.collect::<Vec<_>>()
    };
    prefixes.iter().flat_map(under).collect()
}

/// What of an entry may hold a sealed value: its place in the detail and, where it is known, in the payload.
fn values(
    run: &Run,
    step: Option<&StepPath>,
    kind: &EventKind,
    detail: &Value,
) -> Vec<(String, Option<Vec<String>>)> {
    let task = step.filter(|step| step.undone().is_none()).and_then(|step| run.protocol.task(step));
    let saved = |rest: &[&str]| {
        let key = task.map(|task| task.saves.clone())?;
        Some([key].into_iter().chain(rest.iter().map(|key| (*key).to_owned())).collect::<Vec<_>>())
    };
    let whole = || Some(Vec::new());
    let at = |places: &[(&str, Option<Vec<String>>)]| {
        places.iter().map(|(pointer, root)| ((*pointer).to_owned(), root.clone())).collect()
    };
    match kind {
        EventKind::RunQueued { .. } => at(&[("/payload", whole()), ("/reason", None), ("/slot/key", None)]),
        EventKind::StepDone { .. } | EventKind::StepCarried { .. } => at(&[("/result", saved(&[]))]),
        EventKind::EventReceived { .. } => at(&[("/payload", saved(&[]))]),
        EventKind::StepFailed { .. } => {
            let goes_on = task.is_some_and(|task| task.on_failure == OnFailure::Continue);
            at(&[("/error", saved(&["error"]).filter(|_| goes_on))])
        }
        EventKind::StepRetrying { .. } => at(&[("/error", None)]),
        EventKind::WaitStarted { .. } => at(&[("/key", None)]),
        EventKind::SubrunStarted { .. } => {
            let all =
                matches!(task.map(|task| &task.work), Some(Work::Protocol(call)) if call.with.is_none());
            at(&[("/input", whole().filter(|_| all))])
        }
        EventKind::GroupStarted { .. } => {
            let name = match task.map(|task| &task.work) {
                Some(Work::Parallel(group)) => group.for_each.as_ref().map(|each| each.name.clone()),
                _ => None,
            };
            let items = detail.pointer("/items").and_then(Value::as_array).map_or(0, Vec::len);
            (0..items).map(|item| (format!("/items/{item}"), name.clone().map(|name| vec![name]))).collect()
        }
        EventKind::ApprovalVoted { .. } | EventKind::ApprovalDecided { .. } => {
            at(&[("/form", saved(&["form"])), ("/reason", saved(&["reason"]))])
        }
        EventKind::ValueSet { path, .. } => at(&[("/value", Some(path.clone())), ("/reason", None)]),
        EventKind::OverrideFiled { .. } | EventKind::OverrideDecided { .. } => {
            at(&[("/new_value", whole()), ("/reason", None)])
        }
        EventKind::StepRetried { .. }
        | EventKind::StepSkipped { .. }
        | EventKind::StepCancelled { .. }
        | EventKind::StepRescued { .. }
        | EventKind::RunPaused { .. }
        | EventKind::RunResumed { .. }
        | EventKind::CancelRequested { .. }
        | EventKind::RunEnding { .. }
        | EventKind::RunMigrated { .. }
        | EventKind::RunClosed { .. } => at(&[("/reason", None)]),
        EventKind::RunAdmitted {}
        | EventKind::RunMarked { .. }
        | EventKind::StepStarted { .. }
        | EventKind::StepClaimed { .. }
        | EventKind::StepAccepted {}
        | EventKind::StepStalled { .. }
        | EventKind::GroupDone { .. }
        | EventKind::ApprovalOpened { .. }
        | EventKind::ApprovalReminded { .. }
        | EventKind::ApprovalEscalated { .. } => Vec::new(),
    }
}

/// A mark on its way down into a value.
struct Lead<'m> {
    mark: &'m Mark,
    /// What is left of its path.
    rest: &'m [String],
}

/// The marks that say something of a value at `root`.
fn leads<'m>(marks: &[&'m Mark], root: &[String]) -> Vec<Lead<'m>> {
    marks.iter().filter_map(|mark| Some(Lead { mark, rest: mark.below(root)? })).collect()
}

impl<'m> Lead<'m> {
    fn into(&self, key: &str) -> Option<Lead<'m>> {
        let (first, rest) = self.rest.split_first()?;
        (first == "*" || first == key).then_some(Lead { mark: self.mark, rest })
    }
}

/// The keys and items of a value.
fn members(value: &Value) -> Vec<(String, &Value)> {
    match value {
        Value::Object(map) => map.iter().map(|(key, member)| (key.clone(), member)).collect(),
        Value::Array(items) => {
            items.iter().enumerate().map(|(index, item)| (index.to_string(), item)).collect()
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => Vec::new(),
    }
}

struct Found<'a, 'm> {
    marks: &'a [&'m Mark],
    secrets: &'a Secrets,
    places: &'a mut Vec<Place>,
}

impl Found<'_, '_> {
    fn look(&mut self, value: &Value, pointer: String, root: Option<Vec<String>>) {
        let leads = root.as_ref().map(|root| leads(self.marks, root)).unwrap_or_default();
        let mut pointer = pointer;
        self.descend(value, &mut pointer, &leads, &mut root.unwrap_or_default());
    }

    /// The same for an object that must stay one.
    fn look_into(&mut self, object: &Value, pointer: String, root: Option<Vec<String>>) {
        let whole = self.secrets.copied(object);
        for (key, member) in members(object) {
            let mut pointer = format!("{pointer}/");
            push_escaped(&mut pointer, &key);
            match whole {
                Some(Source { path, exemption }) => {
                    let (path, exemption) = (path.clone(), exemption.clone());
                    self.places.push(Place { pointer, path, exemption });
                }
                None => {
                    let root = root.clone().map(|root| root.into_iter().chain([key]).collect());
                    self.look(member, pointer, root);
                }
            }
        }
    }

    fn descend(&mut self, value: &Value, pointer: &mut String, leads: &[Lead<'_>], path: &mut Vec<String>) {
        if let Some(whole) = leads.iter().find(|lead| lead.rest.is_empty()) {
            let (pointer, exemption) = (pointer.clone(), whole.mark.exemption.clone());
            return self.places.push(Place { pointer, path: path_text(path), exemption });
        }
        if let Some(copied) = self.secrets.copied(value) {
            let (path, exemption) = (copied.path.clone(), copied.exemption.clone());
            return self.places.push(Place { pointer: pointer.clone(), path, exemption });
        }
        for (key, member) in members(value) {
            let length = pointer.len();
            pointer.push('/');
            push_escaped(pointer, &key);
            let inner: Vec<Lead<'_>> = leads.iter().filter_map(|lead| lead.into(&key)).collect();
            path.push(key);
            self.descend(member, pointer, &inner, path);
            path.pop();
            pointer.truncate(length);
        }
    }
}

#[cfg(test)]
mod tests;
