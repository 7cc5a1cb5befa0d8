//! What happens when a time has come.

use super::Decision;
use crate::engine::command::{Actor, Context, Rejection, TimerKind};
use crate::engine::effects;
use crate::engine::event::EventKind;
use crate::engine::ids::StepPath;
use crate::engine::protocol::{OnTimeout, Work};
use chrono::{DateTime, Utc};
use serde_json::json;

impl Decision {
    pub(super) fn fire(
        &mut self,
        step: Option<&StepPath>,
        attempt: u32,
        kind: TimerKind,
        context: &mut Context<'_>,
    ) -> Result<(), Rejection> {
        let set = match step {
            None => effects::run_timer(&self.run).into_iter().collect(),
            Some(step) => effects::timers_of(&self.run, step),
        };
        let due = set.into_iter().find(|timer| {
            timer.kind == kind && (step.is_none() || timer.attempt == attempt) && timer.at <= self.now
        });
        let Some(due) = due else {
            let step = step.cloned().unwrap_or_else(|| StepPath::from_log(""));
            return Err(Rejection::StaleAttempt { step });
        };
        match (kind, step) {
            (TimerKind::Grace, _) | (_, None) => self.end_grace(context),
            (TimerKind::Retry, Some(step)) => {
                self.attempt_again(step, context);
                self.after(step, context);
            }
            (TimerKind::Wait, Some(step)) => {
                let result = json!({"until": due.at.to_rfc3339_opts(chrono::SecondsFormat::Micros, true)});
                self.emit_step(step, attempt, EventKind::StepDone { result }, &Actor::system());
                self.after(step, context);
            }
            (TimerKind::MaxMinutes, Some(step)) => self.past_its_time(step, attempt, due.at, context),
            (TimerKind::Due, Some(step)) => self.escalate(step, attempt),
            (TimerKind::Remind, Some(step)) => self.remind(step, attempt, due.at),
        }
        Ok(())
    }

    fn past_its_time(
        &mut self,
        step: &StepPath,
        attempt: u32,
        deadline: DateTime<Utc>,
        context: &mut Context<'_>,
    ) {
        let task = self.run.protocol.task(step);
        let on_timeout = task.map_or(OnTimeout::Flag, |task| task.on_timeout);
        let minutes = task.and_then(|task| task.max_time).map_or(0.0, |time| time.as_seconds_f64() / 60.0);
        let error = || format!("it took longer than {minutes} minutes");
        match on_timeout {
            OnTimeout::Flag => {
                self.emit_step(step, attempt, EventKind::StepStalled { deadline }, &Actor::system());
            }
            OnTimeout::Escalate => self.escalate(step, attempt),
            OnTimeout::Fail | OnTimeout::Retry => {
                if self.run.steps.get(step).is_some_and(|found| found.group.is_some()) {
                    self.cancel_inside(step, "its group took too long");
                }
                self.record_failure(step, attempt, error(), on_timeout == OnTimeout::Retry, None);
                self.after(step, context);
            }
        }
    }

    fn escalate(&mut self, step: &StepPath, attempt: u32) {
        let Some(Work::Hitl(hitl)) = self.run.protocol.task(step).map(|task| &task.work) else { return };
        let approval = self.run.steps.get(step).and_then(|step| step.approval.as_ref());
        if let (Some(approvers), Some(approval)) = (hitl.escalate_to.clone(), approval) {
            let escalated = EventKind::ApprovalEscalated { approval: approval.id, approvers };
            self.emit_step(step, attempt, escalated, &Actor::system());
        }
    }

    fn remind(&mut self, step: &StepPath, attempt: u32, at: DateTime<Utc>) {
        let Some(Work::Hitl(hitl)) = self.run.protocol.task(step).map(|task| &task.work) else { return };
        let approval = self.run.steps.get(step).and_then(|step| step.approval.as_ref());
        if let (Some(every), Some(approval)) = (hitl.remind, approval) {
            // However long nothing ran, it is one reminder.
            let next_at = (at + every).max(self.now + every);
            let reminded = EventKind::ApprovalReminded { approval: approval.id, next_at };
            self.emit_step(step, attempt, reminded, &Actor::system());
        }
    }
}
