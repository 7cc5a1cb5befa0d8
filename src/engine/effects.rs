//! What the state of a run asks of the world: which attempts to start, which timers to set.
//!
//! Read from committed state only; a crash loses no effect, because it follows from the state again.

use super::command::TimerKind;
use super::expression::ExpressionError;
use super::ids::{InstanceId, StepPath};
use super::protocol::{Invocation, OnTimeout, UsedAs, Work};
use super::state::{Payload, Run, RunStatus, Scope, Step, StepStatus, Waits};
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
    /// The version that the log states: another must not be called in its name.
    pub action_version: i32,
    pub input: Value,
    /// The payload when the step began: maps laid over each other.
    pub payload: Scope,
    pub idempotency_key: String,
    pub deadline: Option<DateTime<Utc>>,
}

/// The attempts in flight, one for each running step.
pub fn attempts(run: &Run) -> Vec<Attempt> {
    run.open_steps().filter_map(|(path, step)| attempt(run, path, step)).collect()
}

/// The attempt that a step is at, or that a worker is to claim.
pub fn attempt(run: &Run, path: &StepPath, step: &Step) -> Option<Attempt> {
    let at_work = step.status == StepStatus::Running || step.waits == Some(Waits::Worker);
    if !at_work || run.status.is_final() {
        return None;
    }
    let place = run.protocol.place(path.task_id())?;
    let task = &place.task;
    let (invocation, used_as) = match &task.work {
        Work::Script(invocation) => (invocation, UsedAs::Action),
        Work::Agent(invocation) => (invocation, UsedAs::Agent),
        Work::Hitl(_) | Work::Parallel(_) | Work::Wait(_) | Work::Protocol(_) => return None,
    };
    let mut payload = step.seen.clone()?;
    let input = input(invocation, &payload, &place.items).ok()?;
    let uses = match path.undone() {
        None => &invocation.uses,
        Some(undone) => {
            let result = run.steps.get(&undone).and_then(|step| step.result.clone());
            let result = result.map_or(Value::Null, |result| Value::clone(&result));
            payload.push(Arc::new(Payload::from_iter([(task.saves.clone(), result)])));
            invocation.undo.as_ref()?
        }
    };
    Some(Attempt {
        step: path.clone(),
        number: step.attempt,
        instance: step.instance,
        uses: uses.clone(),
        used_as,
        action_version: step.action_version,
        input,
        payload,
        idempotency_key: step.idempotency_key.clone()?,
        deadline: step.deadline,
    })
}

/// A step's input: its `with`, resolved; without one, the whole payload. `items` are the names of the items around it.
pub fn input(invocation: &Invocation, scope: &Scope, items: &[String]) -> Result<Value, ExpressionError> {
    match &invocation.with {
        None => Ok(Value::Object(super::expression::flat(scope))),
        Some(template) => super::scope::resolve(template, scope, items),
    }
}

/// A time at which something is to happen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Timer {
    /// None: it concerns the run as a whole.
    pub step: Option<StepPath>,
    pub kind: TimerKind,
    pub attempt: u32,
    pub at: DateTime<Utc>,
}

/// All timers of a run. One that is over, paused or held has none: what is due then happens when it goes on.
pub fn timers(run: &Run) -> Vec<Timer> {
    let mut timers: Vec<Timer> = run_timer(run).into_iter().collect();
    timers.extend(run.open_steps().flat_map(|(path, step)| step_timers(run, path, step)));
    timers
}

/// The timers of one step.
pub fn timers_of(run: &Run, path: &StepPath) -> Vec<Timer> {
    run.steps.get(path).map(|step| step_timers(run, path, step)).unwrap_or_default()
}

/// The timer of the run as a whole: the grace of the attempts of a run that ends.
pub fn run_timer(run: &Run) -> Option<Timer> {
    let ending = run.ending.as_ref().filter(|_| run.status == RunStatus::Running)?;
    let in_grace = run
        .open_steps()
        .any(|(path, step)| step.group.is_none() && step.subrun.is_none() && path.undone().is_none());
    in_grace.then_some(Timer { step: None, kind: TimerKind::Grace, attempt: 0, at: ending.grace_until })
}

fn step_timers(run: &Run, path: &StepPath, step: &Step) -> Vec<Timer> {
    let moves =
        matches!(run.status, RunStatus::Queued | RunStatus::Running | RunStatus::Waiting) && !run.held;
    // While a run ends, only what is taken back still has its times.
    let withdrawn = run.ending.is_some() && path.undone().is_none();
    if !moves || withdrawn || !step.status.is_open() {
        return Vec::new();
    }
    let mut timers = Vec::new();
    let mut add = |kind, at| timers.push(Timer { step: Some(path.clone()), kind, attempt: step.attempt, at });
    match &step.waits {
        // On a decision that is void, nothing is tried again.
        Some(Waits::Retry { at }) if run.reopened == 0 => add(TimerKind::Retry, *at),
        Some(Waits::Time { at }) => add(TimerKind::Wait, *at),
        Some(
            Waits::Retry { .. } | Waits::Approval | Waits::Event { .. } | Waits::Callback | Waits::Worker,
        )
        | None => {}
    }
    let task = run.protocol.task(path);
    let on_timeout = task.map_or(OnTimeout::Flag, |task| task.on_timeout);
    let escalated = step.approval.as_ref().is_some_and(|approval| approval.escalated);
    let deadline = step.deadline.filter(|_| match on_timeout {
        OnTimeout::Flag => !step.stalled,
        OnTimeout::Fail => true,
        // Between two attempts nothing runs that could take too long.
        OnTimeout::Retry => !matches!(step.waits, Some(Waits::Retry { .. })) && !step.is_lost(),
        OnTimeout::Escalate => !escalated,
    });
    if let Some(at) = deadline {
        add(TimerKind::MaxMinutes, at);
    }
    if let (Some(approval), Some(Work::Hitl(hitl))) = (&step.approval, task.map(|task| &task.work)) {
        if let Some(at) = approval.due_at.filter(|_| hitl.escalate_to.is_some() && !escalated) {
            add(TimerKind::Due, at);
        }
        if let Some(at) = approval.remind_at {
            add(TimerKind::Remind, at);
        }
    }
    timers
}
