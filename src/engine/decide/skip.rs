//! A person passes over a step.

use super::Decision;
use super::approvals::may_pass;
use crate::engine::command::{Context, Rejection};
use crate::engine::event::EventKind;
use crate::engine::ids::StepPath;
use crate::engine::protocol::Work;
use crate::engine::state::RunStatus;

impl Decision {
    pub(super) fn skip(
        &mut self,
        path: &StepPath,
        reason: String,
        context: &mut Context<'_>,
    ) -> Result<(), Rejection> {
        self.may_skip(path)?;
        self.not_under_review()?;
        let as_role = self.allowed_past(path, context)?;
        let attempt = self.attempt_of(path);
        let was_its_fault =
            self.run.paused_for.as_ref().is_some_and(|cause| cause == path || cause.is_inside(path));
        self.cancel_inside(path, "its group was skipped");
        let via = context.actor.via.clone();
        let skipped = EventKind::StepSkipped { reason: reason.clone(), as_role, via: via.clone() };
        self.emit_step(path, attempt, skipped, context.actor);
        if self.run.status == RunStatus::Paused && was_its_fault {
            self.emit_run(EventKind::RunResumed { reason, via }, context.actor);
        }
        self.begin_lost(context);
        if self.run.ending.is_some() {
            self.go_on_ending(context);
        } else {
            self.advance_all(context);
        }
        Ok(())
    }

    /// A step can be passed over while it is open, while it holds up its run, and when its turn has come.
    fn may_skip(&self, path: &StepPath) -> Result<(), Rejection> {
        let Some((path, step)) = self.run.steps.get_key_value(path) else {
            if self.run.current_steps().contains(path) && self.run.protocol.task(path).is_some() {
                return self.not_ending();
            }
            if self.run.protocol.task(path).is_some() {
                return Err(Rejection::NotNow(format!(
                    "{path} has not begun: skip it when its turn has come."
                )));
            }
            return Err(Rejection::UnknownStep { run: self.run.id, step: path.clone() });
        };
        if path.undone().is_none() {
            self.not_ending()?;
        }
        if step.status.is_open() || self.run.holds(path, step) {
            return Ok(());
        }
        Err(Rejection::NotNow(format!("{path} is {}: it is too late to skip it.", step.status.as_str())))
    }

    /// Passing over an approval is a decision: whoever may not decide it may not skip it. With an approval inside a
    /// group, the group neither.
    fn allowed_past(&self, path: &StepPath, context: &Context<'_>) -> Result<Option<String>, Rejection> {
        let Some(task) = self.run.protocol.task(path) else { return Ok(None) };
        let mut role = None;
        for place in self.run.protocol.all() {
            let inside = place.task.id == task.id || self.run.protocol.is_around(&task.id, &place.task.id);
            // What approvals the other protocol has is its own to say: whoever started the run may not pass them.
            if matches!((inside, &place.task.work), (true, Work::Protocol(_)))
                && context.actor.name == self.run.started_by
            {
                return Err(Rejection::FourEyes);
            }
            if let (true, Work::Hitl(hitl)) = (inside, &place.task.work) {
                role = Some(may_pass(&self.run, hitl, context.actor)?);
            }
        }
        Ok(role)
    }
}
