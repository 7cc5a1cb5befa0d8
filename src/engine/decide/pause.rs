//! A person stops the run for a while: what runs may end, nothing new begins.

use super::Decision;
use crate::engine::command::{Context, Rejection};
use crate::engine::event::EventKind;
use crate::engine::state::RunStatus;

impl Decision {
    pub(super) fn pause(&mut self, reason: String, context: &mut Context<'_>) -> Result<(), Rejection> {
        self.not_ending()?;
        if self.run.status == RunStatus::Paused && self.run.paused_for.is_none() {
            return Err(Rejection::NotNow(format!("Run {} is paused already.", self.run.id)));
        }
        let via = context.actor.via.clone();
        self.emit_run(EventKind::RunPaused { reason, step: None, via }, context.actor);
        Ok(())
    }
}
