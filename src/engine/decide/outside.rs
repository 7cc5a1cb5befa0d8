//! What comes from outside the run: events, sub-runs, and room under its concurrency limit.

use super::Decision;
use crate::engine::command::{Actor, Context, Rejection};
use crate::engine::event::EventKind;
use crate::engine::ids::{RunId, StepPath};
use crate::engine::redact::{self, Mark};
use crate::engine::state::{Payload, RunStatus, Waits};
use serde_json::Value;

/// What a sub-run brings back.
pub(super) struct Brought {
    pub payload: Payload,
    /// What is sealed in it.
    pub redact: Vec<Mark>,
    pub note: Option<String>,
}

impl Decision {
    pub(super) fn receive(
        &mut self,
        step: &StepPath,
        event: i64,
        payload: Value,
        context: &mut Context<'_>,
    ) -> Result<(), Rejection> {
        let stale = || Rejection::StaleAttempt { step: step.clone() };
        let found = self.run.steps.get(step).ok_or_else(stale)?;
        if !matches!(found.waits, Some(Waits::Event { .. })) {
            return Err(stale());
        }
        let attempt = found.attempt;
        if let Some(error) = self.too_large(&payload) {
            self.record_failure(step, attempt, error, false, None);
        } else {
            self.emit_step(step, attempt, EventKind::EventReceived { event, payload }, &Actor::system());
        }
        self.after(step, context);
        Ok(())
    }

    pub(super) fn subrun_ended(
        &mut self,
        step: &StepPath,
        run: RunId,
        outcome: RunStatus,
        brought: Brought,
        context: &mut Context<'_>,
    ) -> Result<(), Rejection> {
        let stale = || Rejection::StaleAttempt { step: step.clone() };
        let found = self.run.steps.get(step).ok_or_else(stale)?;
        if !found.status.is_open() || found.subrun != Some(run) {
            return Err(stale());
        }
        let attempt = found.attempt;
        let Brought { payload, redact, note } = brought;
        let result = Value::Object(payload);
        let error = match outcome {
            RunStatus::Completed => self.too_large(&result),
            other => {
                let why = note.map_or_else(String::new, |note| format!(": {note}"));
                Some(format!("run {run}, which it started, was {}{why}", in_words(other)))
            }
        };
        let redact = redact::brought_back(&self.run, step, redact);
        match error {
            None if !redact.is_empty() => {
                self.emit_run(EventKind::RunMarked { from: run, redact }, &Actor::system());
                self.emit_step(step, attempt, EventKind::StepDone { result }, &Actor::system());
            }
            None => self.emit_step(step, attempt, EventKind::StepDone { result }, &Actor::system()),
            Some(error) => self.record_failure(step, attempt, error, false, None),
        }
        self.after(step, context);
        Ok(())
    }

    pub(super) fn admit(&mut self, context: &mut Context<'_>) -> Result<(), Rejection> {
        if !self.run.held {
            return Err(Rejection::NotNow(format!("Run {} is not waiting for room.", self.run.id)));
        }
        self.emit_run(EventKind::RunAdmitted {}, &Actor::system());
        self.advance_all(context);
        Ok(())
    }
}

fn in_words(outcome: RunStatus) -> &'static str {
    match outcome {
        RunStatus::Failed => "not successful",
        other => other.as_str(),
    }
}
