//! Taking back what was done, latest first, one after the other.

use super::Decision;
use crate::engine::checksum::undo_key;
use crate::engine::command::{Actor, Context, DoneBy};
use crate::engine::effects;
use crate::engine::event::EventKind;
use crate::engine::ids::StepPath;
use crate::engine::protocol::Work;
use crate::engine::state::StepStatus;
use std::sync::Arc;

impl Decision {
    /// The step that was done last and is to be taken back. What was carried over from an earlier run was not done
    /// here; what a person skipped stays.
    pub(super) fn next_to_undo(&self) -> Option<StepPath> {
        let undoable = self.run.protocol.all().iter().any(|place| place.task.undo().is_some());
        if !undoable {
            return None;
        }
        let done = self.run.steps.iter().filter(|(path, step)| {
            step.status == StepStatus::Done
                && !step.undone
                && !step.carried
                && step.seen.is_some()
                && path.undone().is_none()
                && self.run.protocol.task(path).is_some_and(|task| task.undo().is_some())
                && !self.run.steps.contains_key(&path.undo())
        });
        done.max_by_key(|(_, step)| step.changed_in).map(|(path, _)| path.clone())
    }

    pub(super) fn begin_undo(&mut self, step: &StepPath, attempt: u32, context: &mut Context<'_>) {
        let undo = step.undo();
        let started = match self.undo_call(step, context) {
            Ok(started) => started,
            Err(error) => {
                let attempt = self.attempt_of(&undo);
                return self.record_failure(&undo, attempt, error, false, None);
            }
        };
        let computed = matches!(&started, EventKind::StepStarted { instance: None, worker: false, .. });
        self.emit_step(&undo, attempt, started, &Actor::system());
        if computed {
            let done = EventKind::StepDone { result: serde_json::Value::Null };
            self.emit_step(&undo, attempt, done, &Actor::system());
        }
    }

    fn undo_call(&self, step: &StepPath, context: &Context<'_>) -> Result<EventKind, String> {
        let place = self.run.protocol.place(step.task_id()).ok_or("its task is gone")?;
        let task = Arc::clone(&place.task);
        let (Work::Script(invocation), Some(uses)) = (&task.work, task.undo()) else {
            return Err("its task has no `undo`".to_owned());
        };
        let entry = context.catalog.action(uses);
        let entry = entry.ok_or_else(|| format!("there is no action `{uses}`. Register it, then retry"))?;
        let found = self.run.steps.get(step).ok_or("it was not done")?;
        let input = effects::input(invocation, found.seen.as_ref().ok_or("its input is gone")?, &place.items);
        let input = input.map_err(|error| error.to_string())?;
        let checksum = self.checksum(step, uses, entry.version, &input)?;
        let undone = found.checksum.clone().unwrap_or_default();
        let begun = self.run.steps.get(&step.undo()).and_then(|undo| undo.idempotency_key.clone());
        let key =
            begun.unwrap_or_else(|| undo_key(self.run.lineage, step, &undone, self.undos_before(&undone)));
        Ok(EventKind::StepStarted {
            kind: "undo".to_owned(),
            uses: uses.to_owned(),
            action_version: entry.version,
            checksum,
            idempotency_key: key,
            instance: (entry.done_by == DoneBy::Instance).then_some(context.instance),
            worker: entry.done_by == DoneBy::Worker,
        })
    }
}
