//! `(&Run, Command, Context) → events | Rejection`: the one place that says what may happen.
//!
//! A rejection emits nothing. Every event is applied before the next is decided, so that what is returned is
//! exactly what the log folds to.

mod approvals;
mod begin;
mod calls;
mod cancel;
mod ending;
mod flow;
mod groups;
pub mod migrate;
mod outside;
mod overrides;
mod pause;
mod results;
mod resume;
mod retry;
mod skip;
mod timers;
mod undo;
mod values;

use super::apply::{apply, begin as begin_run};
use super::command::{Actor, Command, Context, Rejection, StartRun};
use super::event::{Event, EventKind, Recorded};
use super::ids::StepPath;
use super::state::{Run, RunStatus, Slot};
use chrono::{DateTime, SubsecRound, Utc};
use outside::Brought;
use serde_json::Value;

pub use ending::GRACE;

/// Rescues in a row after which a person must look.
pub const MAX_RESCUES: u32 = 3;
/// How many runs may stand above a sub-run.
pub const MAX_SUBRUN_DEPTH: u32 = 8;
/// Branches of a group that are open at once, where the protocol does not say.
pub const MAX_OPEN_BRANCHES: u32 = 1_000;
/// The most that a run's payload may grow to, in bytes of JSON.
pub const MAX_PAYLOAD_BYTES: usize = 16 << 20;
/// How deep a result may nest: with what the log puts around it, it must stay readable (serde_json reads 128).
pub const MAX_RESULT_DEPTH: usize = 100;
/// What one decision may compute in place, in bytes of input. What is left then goes on as an attempt of its own,
/// so that no run holds up the others.
const FUEL: usize = 4 << 20;

/// A run after a command, with the events that led there.
#[derive(Debug, Clone, PartialEq)]
pub struct Decided {
    pub run: Run,
    pub events: Vec<Recorded>,
}

/// Begins a run: it is queued, and its first step started, unless it waits for room under a concurrency limit.
///
/// # Errors
/// The key of the concurrency limit cannot be evaluated.
pub fn start(command: StartRun, context: &mut Context<'_>) -> Result<Decided, Rejection> {
    let now = context.now.trunc_subsecs(6);
    let slot = slot(&command)?;
    let rerun = command.rerun;
    let kind = EventKind::RunQueued {
        protocol: command.protocol_ref,
        payload: command.payload,
        lineage: rerun.as_ref().map_or(command.run_id, |rerun| rerun.lineage),
        started_by: command.started_by,
        parent: command.parent,
        rerun_of: rerun.as_ref().map(|rerun| rerun.of),
        reason: rerun.as_ref().map(|rerun| rerun.reason.clone()),
        redact: command.redact,
        slot,
        via: context.actor.via.clone(),
    };
    let event = Event { step: None, attempt: None, kind };
    let first = Recorded { at: now, actor: context.actor.name.clone(), event };
    let before = rerun.map(|rerun| rerun.before);
    let run = begin_run(command.run_id, &first, command.protocol, Some(command.salt), before)
        .expect("the first event is RunQueued, which begins a run");
    let mut decision =
        Decision { run, events: vec![first], now, fuel: FUEL, by: Actor::system(), held_up: false };
    decision.advance_all(context);
    Ok(decision.finish())
}

/// The concurrency limit that the run comes under.
fn slot(command: &StartRun) -> Result<Option<Slot>, Rejection> {
    let Some(concurrency) = &command.protocol.concurrency else { return Ok(None) };
    let scope = vec![std::sync::Arc::new(command.payload.clone())];
    let key = super::scope::resolve(&concurrency.key, &scope, &[]).map_err(|error| Rejection::Unfit {
        field: "payload",
        message: format!("The concurrency key: {error}"),
    })?;
    let key = match key {
        Value::String(text) => text,
        other => other.to_string(),
    };
    begin::check_key(&key).map_err(|why| Rejection::Unfit {
        field: "payload",
        message: format!("The concurrency limit cannot be kept: {why}."),
    })?;
    Ok(Some(Slot { key, limit: concurrency.limit, when_full: concurrency.when_full }))
}

/// What a command does to a run, or why it is refused.
pub fn decide(run: &Run, command: Command, context: &mut Context<'_>) -> Result<Decided, Rejection> {
    if run.status.is_final() {
        return Err(final_rejection(run, &command));
    }
    // The log's time never goes back within a run, whatever the machine's clock does.
    let now = context.now.trunc_subsecs(6).max(run.updated_at);
    let held_up = run.reopened > 0;
    let mut decision =
        Decision { run: run.clone(), events: Vec::new(), now, fuel: FUEL, by: Actor::system(), held_up };
    decision.carry_out(command, context)?;
    Ok(decision.finish())
}

/// Of a run that is over: who decided, to the second of two deciders; else that it is over.
fn final_rejection(run: &Run, command: &Command) -> Rejection {
    if let Command::Decide { approval, .. } = command
        && let Some((_, _, found)) = run.approval(*approval)
        && let Some(decision) = &found.decision
    {
        return Rejection::AlreadyDecided {
            by: decision.by.clone(),
            choice: decision.choice,
            at: decision.at,
        };
    }
    Rejection::RunIsOver { run: run.id, status: run.status }
}

/// A decision in the making: the run as it will be, and the events so far.
struct Decision {
    run: Run,
    events: Vec<Recorded>,
    now: DateTime<Utc>,
    /// What may still be computed in place.
    fuel: usize,
    /// Who says that an attempt failed: a worker's user, or HMS-ACT itself.
    by: Actor,
    /// Approvals that were asked again held everything up when the command came.
    held_up: bool,
}

impl Decision {
    fn carry_out(&mut self, command: Command, context: &mut Context<'_>) -> Result<(), Rejection> {
        match command {
            Command::CompleteStep { step, attempt, result } => self.complete(&step, attempt, result, context),
            Command::FailStep { step, attempt, error, retryable, retry_after } => {
                self.attempt_failed(&step, attempt, error, retryable, retry_after, context)
            }
            Command::AcceptStep { step, attempt } => self.accept(&step, attempt),
            Command::CallBack { step, outcome } => self.call_back(&step, outcome, context),
            Command::ClaimStep { step, attempt, worker } => self.claim(&step, attempt, worker, context),
            Command::RescueStep { step, attempt, reason } => self.rescue(&step, attempt, reason, context),
            Command::FireTimer { step, attempt, kind } => self.fire(step.as_ref(), attempt, kind, context),
            Command::ReceiveEvent { step, event, payload } => self.receive(&step, event, payload, context),
            Command::SubrunEnded { step, run, outcome, payload, redact, note } => {
                self.subrun_ended(&step, run, outcome, Brought { payload, redact, note }, context)
            }
            Command::AdmitRun => self.admit(context),
            Command::Decide { approval, choice, reason, form } => {
                self.decide_approval(approval, choice, reason, form, context)
            }
            Command::PauseRun { reason } => self.pause(reason, context),
            Command::ResumeRun { reason } => self.resume(reason, context),
            Command::CancelRun { reason } => self.cancel(reason, context),
            Command::RetryStep { step, reason } => self.retry(&step, reason, context),
            Command::SkipStep { step, reason } => self.skip(&step, reason, context),
            Command::SetValue { path, value, reason } => self.set_value(path, value, reason, context),
            Command::MigrateRun { to, protocol, reason } => self.migrate(to, protocol, reason, context),
            Command::FileOverride { id, action, reason, new_value, review } => {
                self.file_override(id, action, reason, new_value, review, context)
            }
            Command::DecideOverride { id, choice, reason, new_value } => {
                self.decide_override(id, choice, reason, new_value, context)
            }
        }
    }

    fn finish(self) -> Decided {
        Decided { run: self.run, events: self.events }
    }

    fn emit(&mut self, event: Event, actor: &Actor) {
        let recorded = Recorded { at: self.now, actor: actor.name.clone(), event };
        apply(&mut self.run, &recorded);
        self.events.push(recorded);
    }

    fn emit_run(&mut self, kind: EventKind, actor: &Actor) {
        self.emit(Event { step: None, attempt: None, kind }, actor);
    }

    fn emit_step(&mut self, step: &StepPath, attempt: u32, kind: EventKind, actor: &Actor) {
        self.emit(Event { step: Some(step.clone()), attempt: Some(attempt), kind }, actor);
    }

    /// The attempt that a step is at; 1 for one that has not begun.
    fn attempt_of(&self, step: &StepPath) -> u32 {
        self.run.steps.get(step).map_or(1, |step| step.attempt)
    }

    /// Refuses what a run that is on its way out no longer does.
    fn not_ending(&self) -> Result<(), Rejection> {
        match self.run.ending.as_ref().map(|ending| ending.outcome) {
            None => Ok(()),
            Some(outcome) => {
                let word = if outcome == RunStatus::Cancelled { "being cancelled" } else { "ending as" };
                let outcome = if outcome == RunStatus::Cancelled { "" } else { outcome.as_str() };
                let sentence = format!("Run {} is {word} {outcome}", self.run.id);
                Err(Rejection::NotNow(format!(
                    "{}: only what it did is still taken back.",
                    sentence.trim_end()
                )))
            }
        }
    }
}
