//! A person sets a value in the payload. What was decided on the old one is asked again.

use super::{Decision, MAX_PAYLOAD_BYTES};
use crate::engine::apply::with_value;
use crate::engine::command::{Context, Rejection};
use crate::engine::event::EventKind;
use crate::engine::ids::StepPath;
use crate::engine::json;
use crate::engine::protocol::Work;
use crate::engine::state::{Choice, Payload, StepStatus};
use serde_json::Value;
use std::sync::Arc;

impl Decision {
    pub(super) fn set_value(
        &mut self,
        path: Vec<String>,
        value: Value,
        reason: String,
        context: &mut Context<'_>,
    ) -> Result<(), Rejection> {
        self.not_ending()?;
        let changed = with_value(&self.run.payload, &path, &value)
            .map_err(|message| Rejection::Unfit { field: "path", message })?;
        if changed == *self.run.payload {
            let sentence = format!("payload.{} has this value already.", path.join("."));
            return Err(Rejection::NotNow(sentence));
        }
        self.fits(&changed, "value")?;
        let via = context.actor.via.clone();
        self.emit_run(EventKind::ValueSet { path, value, reason, via }, context.actor);
        self.ask_again(context);
        Ok(())
    }

    pub(super) fn fits(&self, payload: &Payload, field: &'static str) -> Result<(), Rejection> {
        let (bytes, depth) = json::measure(&Value::Object(payload.clone()));
        let message = if bytes > MAX_PAYLOAD_BYTES {
            format!("With this the payload would be larger than {} MiB.", MAX_PAYLOAD_BYTES >> 20)
        } else if depth > super::MAX_RESULT_DEPTH {
            format!("With this the payload would nest deeper than {} levels.", super::MAX_RESULT_DEPTH)
        } else {
            return Ok(());
        };
        Err(Rejection::Unfit { field, message })
    }

    /// Every approval that is open or was decided is void now, and opens again: an open one under a new number, a
    /// decided one as its next round. Until the latter are decided, nothing begins.
    pub(super) fn ask_again(&mut self, context: &mut Context<'_>) {
        let void = self.run.steps.iter().filter(|(path, step)| {
            let latest = self.run.round(&path.in_round(1)) == path.round();
            let sent_back = step.approval.as_ref().is_some_and(|approval| {
                approval.decision.as_ref().is_some_and(|decision| decision.choice == Choice::Return)
            });
            let asked = matches!(step.status, StepStatus::Waiting | StepStatus::Done);
            step.approval.is_some() && asked && latest && !sent_back
        });
        let void: Vec<(StepPath, StepStatus)> =
            void.map(|(path, step)| (path.clone(), step.status)).collect();
        for (path, status) in void {
            let Some(task) = self.run.protocol.task(&path).map(Arc::clone) else { continue };
            let Work::Hitl(hitl) = &task.work else { continue };
            if status == StepStatus::Waiting {
                let attempt = self.attempt_of(&path) + 1;
                self.open_approval(&path, &task, hitl, attempt, true, context);
            } else {
                let next = path.in_round(path.round() + 1);
                self.open_approval(&next, &task, hitl, 1, true, context);
            }
        }
    }
}
