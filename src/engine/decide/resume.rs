//! A person lets a paused run go on.

use super::Decision;
use crate::engine::command::{Context, Rejection};
use crate::engine::event::EventKind;
use crate::engine::ids::StepPath;
use crate::engine::state::RunStatus;

impl Decision {
    pub(super) fn resume(&mut self, reason: String, context: &mut Context<'_>) -> Result<(), Rejection> {
        if self.run.status != RunStatus::Paused {
            return Err(Rejection::NotPaused { run: self.run.id, status: self.run.status });
        }
        self.not_under_review()?;
        let cause = self.run.paused_for.as_ref();
        let holding = cause.and_then(|path| self.run.steps.get_key_value(path));
        if let Some((path, _)) = holding.filter(|(path, step)| self.run.holds(path, step)) {
            let sentence =
                format!("{path} failed, and the run waits for a decision about it: retry it, or skip it.");
            return Err(Rejection::NotNow(sentence));
        }
        self.go_on(reason, context);
        Ok(())
    }

    /// The run goes on: attempts that were lost begin again, and so does whatever can.
    pub(super) fn go_on(&mut self, reason: String, context: &mut Context<'_>) {
        let via = context.actor.via.clone();
        self.emit_run(EventKind::RunResumed { reason, via }, context.actor);
        self.begin_lost(context);
        if self.run.ending.is_some() {
            self.go_on_ending(context);
        } else {
            self.advance_all(context);
        }
    }
    /// The next attempts at what was lost while the run was paused, or while an approval was asked again.
    pub(super) fn begin_lost(&mut self, context: &mut Context<'_>) {
        let lost = self.run.open_steps().filter(|(_, step)| step.is_lost());
        let lost: Vec<StepPath> = lost.map(|(path, _)| path.clone()).collect();
        for path in lost {
            // One that cannot begin may have paused the run again.
            if self.run.status != RunStatus::Paused && self.run.reopened == 0 {
                self.attempt_again(&path, context);
            }
        }
    }
}
