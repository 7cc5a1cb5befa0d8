//! A person has a step done once more: one that paused its run, or one that waits for its next attempt.

use super::Decision;
use crate::engine::command::{Context, Rejection};
use crate::engine::event::EventKind;
use crate::engine::ids::StepPath;
use crate::engine::state::{RunStatus, Waits};

impl Decision {
    pub(super) fn retry(
        &mut self,
        path: &StepPath,
        reason: String,
        context: &mut Context<'_>,
    ) -> Result<(), Rejection> {
        let unknown = || Rejection::UnknownStep { run: self.run.id, step: path.clone() };
        let step = self.run.steps.get(path).ok_or_else(unknown)?;
        if path.undone().is_none() {
            self.not_ending()?;
        }
        let waits = matches!(step.waits, Some(Waits::Retry { .. }));
        if !waits && !step.is_lost() && !self.run.holds(path, step) {
            let sentence = format!(
                "{path} is {}, so there is nothing to retry. A run that is over can be rerun.",
                step.status.as_str()
            );
            return Err(Rejection::NotNow(sentence));
        }
        // One that failed to begin has no branches, and is a group all the same.
        if self.run.protocol.task(path).is_some_and(|task| task.is_group()) {
            let sentence = format!("{path} is a group: skip it, or cancel the run and rerun it.");
            return Err(Rejection::NotNow(sentence));
        }
        self.not_under_review()?;
        self.not_paused_by_a_person()?;
        self.nothing_asked_again()?;
        let attempt = step.attempt;
        let via = context.actor.via.clone();
        let retried = EventKind::StepRetried { reason: reason.clone(), via: via.clone() };
        self.emit_step(path, attempt, retried, context.actor);
        if self.run.status == RunStatus::Paused {
            self.emit_run(EventKind::RunResumed { reason, via }, context.actor);
        }
        self.attempt_again(path, context);
        self.begin_lost(context);
        if self.run.ending.is_none() {
            self.advance_all(context);
        } else {
            self.go_on_ending(context);
        }
        Ok(())
    }

    /// While an override is under review, only its decision lets the run go on.
    pub(super) fn not_under_review(&self) -> Result<(), Rejection> {
        let Some(filed) = &self.run.overridden else { return Ok(()) };
        let sentence =
            format!("Override {} is under review. Whoever decides it lets the run go on.", filed.id.0);
        Err(Rejection::NotNow(sentence))
    }

    /// While an approval is asked again, nothing begins on the decision that is void.
    pub(super) fn nothing_asked_again(&self) -> Result<(), Rejection> {
        if self.run.reopened == 0 {
            return Ok(());
        }
        let sentence = "A value was changed, and an approval is asked again. It must be decided first.";
        Err(Rejection::NotNow(sentence.to_owned()))
    }

    /// What a person paused, a person lets go on first.
    pub(super) fn not_paused_by_a_person(&self) -> Result<(), Rejection> {
        if self.run.status == RunStatus::Paused && self.run.paused_for.is_none() {
            return Err(Rejection::NotNow(format!("Run {} is paused. Resume it first.", self.run.id)));
        }
        Ok(())
    }
}
