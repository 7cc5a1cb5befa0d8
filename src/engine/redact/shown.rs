//! A run as it is shown to somebody who may not see what is sealed in it.

use super::super::protocol::{MAX_MARK_DEPTH, Task, Work};
use super::super::state::{Approval, Decision, Payload, Run, Step, Waits};
use super::{ERASED, Lead, Mark, SEALED, Secrets, is_marked, leads, marks, members};
use serde_json::Value;
use std::sync::Arc;

/// The run with [`SEALED`] in the place of every sealed value and its copies. What was erased stays [`ERASED`].
pub fn shown(run: &Arc<Run>) -> Arc<Run> {
    if !is_marked(run) {
        return Arc::clone(run);
    }
    let marks = marks(run);
    let secrets = secrets(run);
    let veil = Veil { marks: &marks, secrets: &secrets };
    let mut shown = Run::clone(run);
    shown.payload = veil.payload(&run.payload);
    shown.replaced = Arc::default();
    veil.text(&mut shown.note);
    if let Some(ending) = &mut shown.ending {
        veil.text(&mut ending.reason);
    }
    if let Some(filed) = &mut shown.overridden {
        let filed = Arc::make_mut(filed);
        filed.new_value = filed.new_value.as_ref().map(|values| Payload::clone(&veil.payload(values)));
        veil.word(&mut filed.reason);
    }
    if let Some(slot) = &mut shown.slot {
        veil.word(&mut slot.key);
    }
    for (path, step) in run.steps.iter() {
        let task = run.protocol.task(path).map(Arc::as_ref);
        if let Some(changed) = veil.step(step, task) {
            shown.steps.change(path, |place| *place = changed);
        }
    }
    Arc::new(shown)
}

/// Every marked value that the run holds.
pub fn secrets(run: &Run) -> Secrets {
    let mut secrets = Secrets::default();
    learn_run(run, &mut secrets);
    secrets
}

/// The same, added to what is known.
pub fn learn_run(run: &Run, secrets: &mut Secrets) {
    let marks = marks(run);
    run.replaced.iter().for_each(|(mark, value)| secrets.learn_replaced(mark, value));
    let mut learn = |payload: &Payload| {
        for (key, value) in payload {
            secrets.learn(&marks, value, std::slice::from_ref(key));
        }
    };
    learn(&run.payload);
    for (_, step) in run.open_steps() {
        if let Some(group) = &step.group {
            group.own.values().for_each(|own| learn(own));
        }
    }
}

struct Veil<'a, 'm> {
    marks: &'a [&'m Mark],
    secrets: &'a Secrets,
}

impl Veil<'_, '_> {
    fn payload(&self, payload: &Payload) -> Arc<Payload> {
        let members = payload.iter();
        Arc::new(members.map(|(key, value)| (key.clone(), self.at(value, vec![key.clone()]))).collect())
    }

    /// A value that stands at `root` in the payload.
    fn at(&self, value: &Value, root: Vec<String>) -> Value {
        self.value(value, &leads(self.marks, &root))
    }

    fn value(&self, value: &Value, leads: &[Lead<'_>]) -> Value {
        if value == ERASED {
            return value.clone();
        }
        if leads.iter().any(|lead| lead.rest.is_empty()) || self.secrets.copied(value).is_some() {
            return SEALED.into();
        }
        let member = |key: &str, member: &Value| {
            let inner: Vec<Lead<'_>> = leads.iter().filter_map(|lead| lead.into(key)).collect();
            self.value(member, &inner)
        };
        match value {
            Value::Object(map) => map.iter().map(|(key, value)| (key.clone(), member(key, value))).collect(),
            Value::Array(_) => members(value).into_iter().map(|(key, value)| member(&key, value)).collect(),
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => value.clone(),
        }
    }

    fn text(&self, text: &mut Option<String>) {
        if let Some(text) = text {
            self.word(text);
        }
    }

    fn word(&self, text: &mut String) {
        if self.secrets.copied_in(text) {
            SEALED.clone_into(text);
        }
    }

    /// The step with its sealed values veiled. None: it has none.
    fn step(&self, step: &Arc<Step>, task: Option<&Task>) -> Option<Step> {
        let plain = step.note.is_none()
            && step.seen.is_none()
            && step.result.is_none()
            && step.approval.is_none()
            && step.group.is_none()
            && !matches!(step.waits, Some(Waits::Event { .. }));
        if plain {
            return None;
        }
        let mut shown = Step::clone(step);
        self.text(&mut shown.note);
        // What an attempt saw is for executors alone.
        shown.seen = None;
        let saves = task.map(|task| task.saves.as_str());
        shown.result = shown.result.map(|result| Arc::new(self.at(&result, root(saves, &[]))));
        if let Some(Waits::Event { key, .. }) = &mut shown.waits {
            self.text(key);
        }
        if let Some(approval) = &mut shown.approval {
            self.approval(approval, saves);
        }
        if let Some(group) = &mut shown.group {
            let name = match task.map(|task| &task.work) {
                Some(Work::Parallel(parallel)) => parallel.for_each.as_ref().map(|each| each.name.as_str()),
                _ => None,
            };
            let veiled =
                |items: &Arc<Vec<Value>>| items.iter().map(|item| self.at(item, root(name, &[]))).collect();
            group.items = group.items.as_ref().map(|items| Arc::new(veiled(items)));
            for (branch, own) in step.group.iter().flat_map(|group| group.own.iter()) {
                group.own.insert_mut(*branch, self.payload(own));
            }
        }
        Some(shown)
    }

    fn approval(&self, approval: &mut Approval, saves: Option<&str>) {
        for Decision { reason, form, .. } in approval.votes.iter_mut().chain(&mut approval.decision) {
            self.text(reason);
            *form = form.take().map(|form| self.at(&form, root(saves, &["form"])));
        }
    }
}

/// Where something stands in the payload. Without a key nothing but copies is looked for: no mark is that long.
fn root(key: Option<&str>, rest: &[&str]) -> Vec<String> {
    let nowhere = [""].repeat(MAX_MARK_DEPTH + 1);
    let keys = key.map_or(nowhere, |key| [&[key], rest].concat());
    keys.into_iter().map(str::to_owned).collect()
}

/// Values that came back from a form, with what is sealed put back: where somebody was shown [`SEALED`] and left it,
/// it stays what it was in `before`.
pub fn restored(run: &Run, sent: Payload, before: &Payload) -> Payload {
    let marks = marks(run);
    if marks.is_empty() {
        return sent;
    }
    let secrets = secrets(run);
    let veil = Veil { marks: &marks, secrets: &secrets };
    let veiled = veil.payload(before);
    let back = |(key, value): (String, Value)| {
        let value = match (before.get(&key), veiled.get(&key)) {
            (Some(before), Some(veiled)) => put_back(value, before, veiled),
            _ => value,
        };
        (key, value)
    };
    sent.into_iter().map(back).collect()
}

fn put_back(sent: Value, before: &Value, veiled: &Value) -> Value {
    match (sent, before, veiled) {
        (sent, before, veiled) if sent == SEALED && veiled == SEALED => before.clone(),
        (Value::Object(sent), Value::Object(before), Value::Object(veiled)) => {
            let back = |(key, value): (String, Value)| match (before.get(&key), veiled.get(&key)) {
                (Some(before), Some(veiled)) => (key, put_back(value, before, veiled)),
                _ => (key, value),
            };
            sent.into_iter().map(back).collect()
        }
        (Value::Array(sent), Value::Array(before), Value::Array(veiled)) if sent.len() == before.len() => {
            let pairs = sent.into_iter().zip(before.iter().zip(veiled));
            pairs.map(|(value, (before, veiled))| put_back(value, before, veiled)).collect()
        }
        (sent, _, _) => sent,
    }
}
