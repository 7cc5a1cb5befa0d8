//! What the state of a run asks of the world: which attempts to start, which timers to set.
//!
//! Read from committed state only; a crash loses no effect, because it follows from the state again.

use super::expression::ExpressionError;
use super::ids::{InstanceId, StepPath};
use super::protocol::{Invocation, UsedAs, Work};
use super::state::{Payload, Run, Step, StepStatus};
use chrono::{DateTime, Utc};
use serde_json::Value;
use std::sync::Arc;

/// An attempt that runs, or should run.
#[derive(Debug, Clone, PartialEq)]
pub struct Attempt {
    pub step: StepPath,
    pub number: u32,
    pub instance: Option<InstanceId>,
    pub uses: String,
    pub used_as: UsedAs,
    pub input: Value,
    /// The payload when the step began.
    pub payload: Arc<Payload>,
    pub idempotency_key: String,
    pub deadline: Option<DateTime<Utc>>,
}

/// The attempts in flight, one for each running step.
pub fn attempts(run: &Run) -> Vec<Attempt> {
    run.open_steps().filter_map(|(path, step)| attempt(run, path, step)).collect()
}

/// The attempt that a running step is at.
pub fn attempt(run: &Run, path: &StepPath, step: &Step) -> Option<Attempt> {
    if step.status != StepStatus::Running || run.status.is_final() {
        return None;
    }
    let (invocation, used_as) = match &run.protocol.task(path)?.work {
        Work::Script(invocation) => (invocation, UsedAs::Action),
        Work::Agent(invocation) => (invocation, UsedAs::Agent),
        Work::Hitl(_) => return None,
    };
    let payload = Arc::clone(step.seen.as_ref()?);
    Some(Attempt {
        step: path.clone(),
        number: step.attempt,
        instance: step.instance,
        uses: invocation.uses.clone(),
        used_as,
        input: input(invocation, &payload).ok()?,
        payload,
        idempotency_key: step.idempotency_key.clone()?,
        deadline: step.deadline,
    })
}

/// A step's input: its `with`, resolved; without one, the whole payload.
pub fn input(invocation: &Invocation, payload: &Payload) -> Result<Value, ExpressionError> {
    let payload = Value::Object(payload.clone());
    match &invocation.with {
        None => Ok(payload),
        Some(template) => template.resolve(&[("payload", &payload)]),
    }
}

/// The deadlines of open steps that are not flagged yet.
pub fn deadlines(run: &Run) -> Vec<(StepPath, u32, DateTime<Utc>)> {
    if run.status.is_final() {
        return Vec::new();
    }
    let open = run.open_steps().filter(|(_, step)| !step.stalled);
    open.filter_map(|(path, step)| Some((path.clone(), step.attempt, step.deadline?))).collect()
}
