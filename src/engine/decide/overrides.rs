//! Overrides: an official stops the run for review, another decides.

use super::Decision;
use crate::engine::apply::merged;
use crate::engine::command::{Context, Rejection};
use crate::engine::event::EventKind;
use crate::engine::ids::OverrideId;
use crate::engine::state::{OverrideAction, OverrideChoice, Payload, RunStatus};
use chrono::TimeDelta;

impl Decision {
    pub(super) fn file_override(
        &mut self,
        id: OverrideId,
        action: OverrideAction,
        reason: String,
        new_value: Option<Payload>,
        review: TimeDelta,
        context: &mut Context<'_>,
    ) -> Result<(), Rejection> {
        self.not_ending()?;
        if let Some(filed) = &self.run.overridden {
            let sentence = format!(
                "Override {} by {} is under review already. Decide that one first.",
                filed.id.0, filed.filed_by
            );
            return Err(Rejection::NotNow(sentence));
        }
        if let Some(values) = &new_value {
            self.fits(&merged(&self.run.payload, values), "new_value")?;
        }
        let via = context.actor.via.clone();
        let review_until = self.now + review;
        let filed = EventKind::OverrideFiled { id, action, reason, new_value, review_until, via };
        self.emit_run(filed, context.actor);
        Ok(())
    }

    pub(super) fn decide_override(
        &mut self,
        id: OverrideId,
        choice: OverrideChoice,
        reason: Option<String>,
        new_value: Option<Payload>,
        context: &mut Context<'_>,
    ) -> Result<(), Rejection> {
        let unknown = || Rejection::UnknownOverride { run: self.run.id, id };
        let filed = self.run.overridden.clone().filter(|filed| filed.id == id).ok_or_else(unknown)?;
        if filed.filed_by == context.actor.name {
            return Err(Rejection::OwnOverride);
        }
        let new_value = match choice {
            OverrideChoice::Approve | OverrideChoice::Reject => None,
            OverrideChoice::Modify => {
                Some(new_value.or_else(|| filed.new_value.clone()).ok_or_else(|| {
                    let message =
                        "Modifying needs the new values: an object that is merged into the payload.";
                    Rejection::Unfit { field: "new_value", message: message.to_owned() }
                })?)
            }
        };
        if let Some(values) = &new_value {
            self.fits(&merged(&self.run.payload, values), "new_value")?;
        }
        let via = context.actor.via.clone();
        let changes =
            new_value.as_ref().is_some_and(|values| merged(&self.run.payload, values) != *self.run.payload);
        let decided =
            EventKind::OverrideDecided { id, choice, reason: reason.clone(), new_value, via: via.clone() };
        self.emit_run(decided, context.actor);
        let why = reason.unwrap_or_else(|| filed.reason.clone());
        match choice {
            OverrideChoice::Approve => {
                self.emit_run(EventKind::CancelRequested { reason: why.clone(), via }, context.actor);
                self.end_run(RunStatus::Cancelled, Some(why), context);
            }
            OverrideChoice::Modify | OverrideChoice::Reject => {
                if changes {
                    self.ask_again(context);
                }
                // What was paused before the override was filed stays so, unless it gets new values.
                if !filed.was_paused || choice == OverrideChoice::Modify {
                    self.go_on(why, context);
                }
            }
        }
        Ok(())
    }
}
