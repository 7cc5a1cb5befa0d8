//! People decide: approve, reject, or send the work back.

use super::Decision;
use crate::engine::command::{Actor, Context, Rejection};
use crate::engine::event::EventKind;
use crate::engine::ids::{ApprovalId, StepPath};
use crate::engine::protocol::{Approvers, Hitl, OnReject, Work, and};
use crate::engine::seating::Filled;
use crate::engine::state::{Approval, Choice, Run, RunStatus};
use serde_json::Value;
use std::sync::Arc;

impl Decision {
    pub(super) fn decide_approval(
        &mut self,
        id: ApprovalId,
        choice: Choice,
        reason: Option<String>,
        form: Option<Value>,
        context: &mut Context<'_>,
    ) -> Result<(), Rejection> {
        let unknown = Rejection::UnknownApproval { run: self.run.id, approval: id };
        let (path, step, approval) = self.run.approval(id).ok_or(unknown)?;
        if let Some(decision) = &approval.decision {
            let (by, choice, at) = (decision.by.clone(), decision.choice, decision.at);
            return Err(Rejection::AlreadyDecided { by, choice, at });
        }
        let status = step.status;
        if !status.is_open() {
            let sentence = format!("Nobody needs to decide this any more: {path} is {}.", status.as_str());
            return Err(Rejection::NotNow(sentence));
        }
        let as_role = may_decide(&self.run, &approval.approvers, approval.four_eyes, context.actor)?;
        if self.run.status == RunStatus::Paused {
            let sentence = format!(
                "Run {} is paused, so nothing is decided in it now. It must be resumed first.",
                self.run.id
            );
            return Err(Rejection::NotNow(sentence));
        }
        let (path, attempt, approval) = (path.clone(), step.attempt, approval.clone());
        let Some(task) = self.run.protocol.task(&path).map(Arc::clone) else { return Ok(()) };
        let Work::Hitl(hitl) = &task.work else { return Ok(()) };
        if choice == Choice::Return {
            self.may_send_back(&path, hitl, reason.as_deref())?;
        }
        let via = context.actor.via.clone();
        let why = reason.clone();
        let mut filled = Vec::new();
        if choice == Choice::Approve {
            let fits = approval.approvers.fits(context.actor);
            filled = seat(&approval, context.actor, &fits)?;
            if approval.votes.len() as u32 + 1 < approval.quorum {
                let voted =
                    EventKind::ApprovalVoted { approval: id, reason, form, as_role, fits, filled, via };
                self.emit_step(&path, attempt, voted, context.actor);
                return Ok(());
            }
        }
        let decision = choice;
        let kind = EventKind::ApprovalDecided { approval: id, decision, reason, form, as_role, filled, via };
        self.emit_step(&path, attempt, kind, context.actor);
        match choice {
            Choice::Reject if hitl.on_reject == OnReject::End => {
                let reason = why.unwrap_or_else(|| format!("{path} was rejected"));
                self.end_run(RunStatus::Rejected, Some(reason), context);
            }
            Choice::Return => self.go_back(&path, hitl, context),
            Choice::Approve | Choice::Reject => self.after(&path, context),
        }
        Ok(())
    }

    fn go_back(&mut self, path: &StepPath, hitl: &Hitl, context: &mut Context<'_>) {
        if self.run.steps.get(path).is_some_and(|step| step.reopened) {
            return self.advance_all(context);
        }
        let place = hitl.returns_to.as_ref().and_then(|id| self.run.protocol.place(id));
        let position = place.map_or(0, |place| place.position);
        self.after_from(path, position, context);
    }

    fn may_send_back(&self, path: &StepPath, hitl: &Hitl, reason: Option<&str>) -> Result<(), Rejection> {
        // What came after an approval that is asked again has begun: there is no way back before it.
        let again = self.run.steps.get(path).is_some_and(|step| step.reopened);
        if hitl.returns_to.is_none() || again {
            let message = "This step cannot send the work back. Approve it or reject it.".to_owned();
            return Err(Rejection::Unfit { field: "decision", message });
        }
        if reason.is_none_or(|reason| reason.trim().is_empty()) {
            let message = "Say what should be changed: whoever does the work again reads it.".to_owned();
            return Err(Rejection::Unfit { field: "reason", message });
        }
        let reopened = self.run.steps.get(path).is_some_and(|step| step.reopened);
        if reopened && path.group().is_some() {
            let sentence = "This was asked again, and its group went on since: the work cannot be sent back any \
                            more. Approve it or reject it.";
            return Err(Rejection::NotNow(sentence.to_owned()));
        }
        let returns = self.run.returns.get(&path.in_round(1)).copied().unwrap_or(0);
        if returns >= hitl.max_returns {
            let sentence = format!(
                "The work was sent back {returns} times, and no more is allowed. Approve it or reject it."
            );
            return Err(Rejection::NotNow(sentence));
        }
        Ok(())
    }
}

/// Who fills which slot with this approval among the others; nobody, where there are no slots.
fn seat(approval: &Approval, actor: &Actor, fits: &[String]) -> Result<Vec<Filled>, Rejection> {
    if approval.votes.iter().any(|vote| vote.by == actor.name) {
        return Err(Rejection::VotedBefore);
    }
    if approval.approvers.slots.is_empty() {
        return Ok(Vec::new());
    }
    let mut seating = approval.seating();
    if seating.seat(&actor.name, fits) {
        return Ok(seating.filled());
    }
    Err(Rejection::SlotTaken { taken: and(fits), missing: approval.missing().in_words() })
}

/// The role, the group or the name that lets the actor decide.
pub(super) fn may_decide(
    run: &Run,
    approvers: &Approvers,
    four_eyes: bool,
    actor: &Actor,
) -> Result<String, Rejection> {
    if four_eyes && actor.name == run.started_by {
        return Err(Rejection::FourEyes);
    }
    approvers.lets(actor).ok_or_else(|| Rejection::NotAnApprover { who: approvers.in_words() })
}

/// The same, for passing over an approval: what several slots are needed for is not one's alone to pass over, unless
/// one fits them all.
pub(super) fn may_pass(run: &Run, hitl: &Hitl, actor: &Actor) -> Result<String, Rejection> {
    may_decide(run, &hitl.approvers, hitl.four_eyes, actor)?;
    let passes = hitl.approvers.lets_pass(actor);
    passes.ok_or_else(|| Rejection::NotAnApprover { who: hitl.approvers.in_words() })
}
