//! What steps save, and what people change of it.

use super::groups;
use crate::engine::ids::StepPath;
use crate::engine::json;
use crate::engine::redact;
use crate::engine::state::{Payload, Run, StepStatus};
use serde_json::Value;
use std::sync::Arc;

/// About how large a payload is, as JSON.
pub(super) fn bytes(payload: &Payload) -> usize {
    payload.iter().map(|(key, value)| field_bytes(key, value)).sum()
}

fn field_bytes(key: &str, value: &Value) -> usize {
    key.len() + 4 + json::measure(value).0
}

/// Keeps a step's result under its key: inside a group for its branch, else for all.
pub(super) fn save(run: &mut Run, path: &StepPath, result: Value) {
    let Some(saves) = run.protocol.task(path).map(|task| task.saves.clone()) else { return };
    save_under(run, path, &saves, result);
}

pub(super) fn save_under(run: &mut Run, path: &StepPath, key: &str, result: Value) {
    let more = field_bytes(key, &result);
    let mut less = 0;
    let group = groups::branch(run, path);
    let open = |group: &StepPath| run.steps.get(group).is_some_and(|step| step.status == StepStatus::Running);
    let asked_again = run.steps.get(path).is_some_and(|step| step.reopened);
    match group {
        // A branch of a group that is over: nobody looks there any more.
        Some((group, _)) if !open(&group) && !asked_again => return,
        Some((group, branch)) if open(&group) => {
            run.steps.change(&group, |step| {
                let Some(group) = &mut step.group else { return };
                let mut own = group.own.get(&branch).map(|own| Payload::clone(own)).unwrap_or_default();
                less = own.insert(key.to_owned(), result).map_or(0, |before| field_bytes(key, &before));
                group.own.insert_mut(branch, Arc::new(own));
            });
        }
        Some(_) | None => {
            let before = Arc::make_mut(&mut run.payload).insert(key.to_owned(), result);
            if let Some(before) = before {
                less = field_bytes(key, &before);
                redact::remember(run, key, &before);
            }
        }
    }
    run.payload_bytes = (run.payload_bytes + more).saturating_sub(less);
}

pub(super) fn set(run: &mut Run, path: &[String], value: &Value) {
    if let Ok(payload) = with_value(&run.payload, path, value) {
        replace(run, payload);
    }
}

pub(super) fn merge(run: &mut Run, values: &Payload) {
    let payload = merged(&run.payload, values);
    replace(run, payload);
}

fn replace(run: &mut Run, payload: Payload) {
    run.payload_bytes = (run.payload_bytes + bytes(&payload)).saturating_sub(bytes(&run.payload));
    let before = std::mem::replace(&mut run.payload, Arc::new(payload));
    for (key, value) in
        before.iter().filter(|(key, value)| run.payload.get(*key) != Some(value)).collect::<Vec<_>>()
    {
        redact::remember(run, key, value);
    }
}

/// The payload with one value set. The message says what does not lead there.
pub fn with_value(payload: &Payload, path: &[String], value: &Value) -> Result<Payload, String> {
    let Some((last, around)) = path.split_last() else {
        return Err("The path is empty. Name the field to set, for example payload.amount.".to_owned());
    };
    let mut payload = Value::Object(payload.clone());
    let mut place = &mut payload;
    for (depth, key) in around.iter().enumerate() {
        let kind = crate::engine::expression::kind_of(place);
        let here = path[..depth].join(".");
        place = match place {
            Value::Object(map) => map.get_mut(key),
            Value::Array(items) => key.parse().ok().and_then(|index: usize| items.get_mut(index)),
            _ => return Err(format!("`{here}` is {kind}, so it has no `{key}`.")),
        }
        .ok_or_else(|| {
            format!("There is no `{key}` in `payload{}{here}`.", if here.is_empty() { "" } else { "." })
        })?;
    }
    match place {
        Value::Object(map) => {
            map.insert(last.clone(), value.clone());
        }
        Value::Array(items) => {
            let item = last.parse().ok().and_then(|index: usize| items.get_mut(index));
            *item.ok_or_else(|| format!("`{}` has no item {last}.", around.join(".")))? = value.clone();
        }
        other => {
            let kind = crate::engine::expression::kind_of(other);
            return Err(format!("`{}` is {kind}, so it has no `{last}`.", around.join(".")));
        }
    }
    match payload {
        Value::Object(map) => Ok(map),
        _ => Err("The payload must stay an object.".to_owned()),
    }
}

/// The payload with these values laid over it: objects field by field, everything else replaced (as RFC 7396 does,
/// but null is a value here).
pub fn merged(payload: &Payload, values: &Payload) -> Payload {
    let mut merged = payload.clone();
    for (key, value) in values {
        match (merged.get(key), value) {
            (Some(Value::Object(before)), Value::Object(after)) => {
                let both = self::merged(before, after);
                merged.insert(key.clone(), Value::Object(both));
            }
            _ => {
                merged.insert(key.clone(), value.clone());
            }
        }
    }
    merged
}
