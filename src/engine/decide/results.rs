//! What comes of attempts: results, failures, acceptances, callbacks, claims and losses.

use super::{Decision, MAX_PAYLOAD_BYTES, MAX_RESCUES, MAX_RESULT_DEPTH};
use crate::engine::command::{Actor, Context, Fault, Rejection};
use crate::engine::event::EventKind;
use crate::engine::ids::StepPath;
use crate::engine::json;
use crate::engine::protocol::{OnFailure, OnTimeout, Retry, Work};
use crate::engine::retry;
use crate::engine::state::{RunStatus, Step, StepStatus, Waits};
use chrono::TimeDelta;
use serde_json::Value;

impl Decision {
    /// The step, if this attempt at it is the one that runs. A late result of an old attempt changes nothing.
    fn running(&self, step: &StepPath, attempt: u32) -> Result<&Step, Rejection> {
        // A lost attempt was given up, also while the next one waits for the run to be resumed.
        let is_call = |found: &&Step| found.group.is_none() && found.subrun.is_none() && !found.is_lost();
        self.run
            .steps
            .get(step)
            .map(AsRef::as_ref)
            .filter(|found| found.status == StepStatus::Running && found.attempt == attempt)
            .filter(is_call)
            .ok_or_else(|| Rejection::StaleAttempt { step: step.clone() })
    }

    pub(super) fn complete(
        &mut self,
        step: &StepPath,
        attempt: u32,
        result: Value,
        context: &mut Context<'_>,
    ) -> Result<(), Rejection> {
        self.running(step, attempt)?;
        self.done(step, attempt, result, context);
        Ok(())
    }

    fn done(&mut self, step: &StepPath, attempt: u32, result: Value, context: &mut Context<'_>) {
        match self.too_large(&result) {
            Some(error) => self.record_failure(step, attempt, error, false, None),
            None => self.emit_step(step, attempt, EventKind::StepDone { result }, context.actor),
        }
        self.after(step, context);
    }

    /// Why a result cannot be kept. None: it can.
    pub(super) fn too_large(&self, result: &Value) -> Option<String> {
        let (bytes, depth) = json::measure(result);
        if depth > MAX_RESULT_DEPTH {
            return Some(format!(
                "the result nests {depth} levels deep; at most {MAX_RESULT_DEPTH} are kept"
            ));
        }
        let limit = MAX_PAYLOAD_BYTES >> 20;
        (self.run.payload_bytes + bytes > MAX_PAYLOAD_BYTES)
            .then(|| format!("with this result the payload would be larger than {limit} MiB"))
    }

    pub(super) fn attempt_failed(
        &mut self,
        step: &StepPath,
        attempt: u32,
        error: String,
        retryable: bool,
        retry_after: Option<TimeDelta>,
        context: &mut Context<'_>,
    ) -> Result<(), Rejection> {
        self.running(step, attempt)?;
        self.by = context.actor.clone();
        self.record_failure(step, attempt, error, retryable, retry_after);
        self.by = Actor::system();
        self.after(step, context);
        Ok(())
    }

    /// An attempt failed: there is another, or the step has failed. What comes after it is the caller's to begin.
    pub(super) fn record_failure(
        &mut self,
        step: &StepPath,
        attempt: u32,
        error: String,
        retryable: bool,
        retry_after: Option<TimeDelta>,
    ) {
        let failures = self.run.steps.get(step).map_or(0, |found| found.failures) + 1;
        let policy = self.retry_policy(step).filter(|policy| retryable && failures < policy.attempts);
        if let Some(policy) = policy {
            let key = self.run.steps.get(step).and_then(|found| found.idempotency_key.clone());
            let pause = retry::pause(&policy, failures, key.as_deref().unwrap_or(step.as_str()), retry_after);
            let retrying = EventKind::StepRetrying { error, retry_at: self.now + pause };
            self.emit_step(step, attempt, retrying, &self.by.clone());
            return;
        }
        let failed = EventKind::StepFailed { error: error.clone(), retryable };
        self.emit_step(step, attempt, failed, &self.by.clone());
        let pauses = self.run.protocol.task(step).is_some_and(|task| task.on_failure == OnFailure::Pause);
        let waits_for_a_person = if self.run.ending.is_some() {
            step.undone().is_some()
        } else {
            pauses && step.undone().is_none()
        };
        if waits_for_a_person && self.run.status != RunStatus::Paused && !self.run.held {
            self.pause_for(step, &error);
        }
    }

    /// How attempts at a step are repeated. None: they are not.
    fn retry_policy(&self, step: &StepPath) -> Option<Retry> {
        if step.undone().is_some() {
            return Some(retry::UNDO);
        }
        if self.run.ending.is_some() {
            return None;
        }
        let task = self.run.protocol.task(step)?;
        match &task.work {
            Work::Script(call) | Work::Agent(call) => {
                call.retry.or_else(|| (task.on_timeout == OnTimeout::Retry).then(Retry::default))
            }
            Work::Hitl(_) | Work::Parallel(_) | Work::Wait(_) | Work::Protocol(_) => None,
        }
    }

    pub(super) fn accept(&mut self, step: &StepPath, attempt: u32) -> Result<(), Rejection> {
        self.running(step, attempt)?;
        self.emit_step(step, attempt, EventKind::StepAccepted {}, &Actor::system());
        Ok(())
    }

    /// A service calls back: before its 202, after it, or for an attempt that was given up since.
    pub(super) fn call_back(
        &mut self,
        step: &StepPath,
        outcome: Result<Value, Fault>,
        context: &mut Context<'_>,
    ) -> Result<(), Rejection> {
        let unknown = || Rejection::UnknownStep { run: self.run.id, step: step.clone() };
        let found = self.run.steps.get(step).ok_or_else(unknown)?;
        let waits = match &found.waits {
            None => found.status == StepStatus::Running && found.group.is_none() && found.subrun.is_none(),
            Some(Waits::Callback | Waits::Retry { .. }) => true,
            Some(Waits::Approval | Waits::Time { .. } | Waits::Event { .. } | Waits::Worker) => false,
        };
        // What was lost begins again when the run goes on, as what waits for its next attempt does.
        let comes_again = matches!(found.waits, Some(Waits::Retry { .. })) || found.is_lost();
        let attempt = found.attempt;
        if !waits || found.idempotency_key.is_none() {
            return Err(Rejection::NotNow(format!("{step} no longer waits for this: nothing was changed.")));
        }
        match outcome {
            Ok(result) => self.done(step, attempt, result, context),
            // An earlier attempt's: the next one has its time already.
            Err(fault) if fault.retryable && comes_again => {
                return Err(Rejection::NotNow(format!("{step} is tried again anyway: nothing was changed.")));
            }
            Err(fault) => {
                self.record_failure(step, attempt, fault.error, fault.retryable, None);
                self.after(step, context);
            }
        }
        Ok(())
    }

    pub(super) fn claim(
        &mut self,
        step: &StepPath,
        attempt: u32,
        worker: String,
        context: &Context<'_>,
    ) -> Result<(), Rejection> {
        let found = self.run.steps.get(step);
        let waits = found.is_some_and(|found| found.waits == Some(Waits::Worker) && found.attempt == attempt);
        if !waits || self.run.status == RunStatus::Paused || self.run.reopened > 0 {
            return Err(Rejection::StaleAttempt { step: step.clone() });
        }
        self.emit_step(step, attempt, EventKind::StepClaimed { worker }, context.actor);
        Ok(())
    }

    pub(super) fn rescue(
        &mut self,
        step: &StepPath,
        attempt: u32,
        reason: String,
        context: &mut Context<'_>,
    ) -> Result<(), Rejection> {
        let found = self.running(step, attempt)?;
        let (instance, rescues) = (found.instance, found.rescues + 1);
        if self.run.ending.is_some() && step.undone().is_none() {
            self.emit_step(step, attempt, EventKind::StepCancelled { reason }, &Actor::system());
            self.after(step, context);
            return Ok(());
        }
        self.emit_step(step, attempt, EventKind::StepRescued { instance, reason }, &Actor::system());
        // When the run goes on, or what is asked again is decided, it begins again.
        if self.run.status == RunStatus::Paused || self.run.reopened > 0 {
            return Ok(());
        }
        if rescues >= MAX_RESCUES {
            let reason = format!(
                "{step} was lost {rescues} times in a row. Look at what it calls, then resume the run."
            );
            let paused = EventKind::RunPaused { reason, step: Some(step.clone()), via: None };
            self.emit_run(paused, &Actor::system());
        } else {
            self.attempt_again(step, context);
            // What was called may be computed by now: then it is done already.
            self.after(step, context);
        }
        Ok(())
    }
}
