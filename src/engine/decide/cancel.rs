//! A person stops the run.

use super::Decision;
use crate::engine::command::{Context, Rejection};
use crate::engine::event::EventKind;
use crate::engine::state::RunStatus;

impl Decision {
    pub(super) fn cancel(&mut self, reason: String, context: &mut Context<'_>) -> Result<(), Rejection> {
        self.not_ending()?;
        let via = context.actor.via.clone();
        self.emit_run(EventKind::CancelRequested { reason: reason.clone(), via }, context.actor);
        self.end_run(RunStatus::Cancelled, Some(reason), context);
        Ok(())
    }
}
