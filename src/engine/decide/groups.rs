//! Groups: beginning branches, and what their ends come to.

use super::flow::List;
use super::{Decision, MAX_OPEN_BRANCHES};
use crate::engine::command::{Actor, Context};
use crate::engine::event::EventKind;
use crate::engine::ids::StepPath;
use crate::engine::protocol::{MAX_ITEMS, Parallel, Work};
use crate::engine::scope;
use crate::engine::state::{Group, StepStatus};
use serde_json::Value;
use std::sync::Arc;

/// Why the losers of a group are cancelled.
const ENOUGH: &str = "enough other branches succeeded";

impl Decision {
    /// The items of a `for_each`, or why there are none.
    fn items(&self, path: &StepPath, parallel: &Parallel) -> Result<Option<Vec<Value>>, String> {
        let Some(each) = &parallel.for_each else { return Ok(None) };
        let names = self.run.protocol.place(path.task_id()).map_or(&[][..], |place| &place.items);
        let seen = self.scope_of(path);
        let items = scope::evaluate(&each.items, &seen, names).map_err(|error| error.to_string())?;
        match items {
            Value::Array(items) if items.len() > MAX_ITEMS => Err(format!(
                "`{}` gave {} items; at most {MAX_ITEMS} are gone over. Split the list over several runs",
                each.items.source(),
                items.len()
            )),
            Value::Array(items) => Ok(Some(items)),
            other => Err(format!(
                "`{}` gave {}, where a list is needed",
                each.items.source(),
                crate::engine::expression::kind_of(&other)
            )),
        }
    }

    pub(super) fn begin_group(&mut self, path: &StepPath, parallel: &Parallel, context: &mut Context<'_>) {
        let items = match self.items(path, parallel) {
            Ok(items) => items,
            Err(error) => return self.fail_to_begin(path, error),
        };
        if let Some(error) = items.as_ref().and_then(|items| self.too_large(&Value::Array(items.clone()))) {
            return self.fail_to_begin(path, error);
        }
        let branches = items.as_ref().map_or(parallel.branches.len(), Vec::len) as u32;
        let started = EventKind::GroupStarted { branches, join: parallel.join, items };
        self.emit_step(path, 1, started, &Actor::system());
        self.advance_group(path, context);
    }

    fn open_group(&self, path: &StepPath) -> Option<&Group> {
        let step = self.run.steps.get(path)?;
        step.group.as_ref().filter(|_| step.status == StepStatus::Running)
    }

    /// Ends a group that has what it needs, or no longer can; else begins as many branches as may be open.
    pub(super) fn advance_group(&mut self, path: &StepPath, context: &mut Context<'_>) {
        let Some(task) = self.run.protocol.task(path).map(Arc::clone) else { return };
        let Work::Parallel(parallel) = &task.work else { return };
        let most = parallel.max_concurrency.unwrap_or(MAX_OPEN_BRANCHES);
        while self.may_start() {
            let Some(group) = self.open_group(path) else { return };
            let (begun, branches, needed) = (group.begun, group.branches, group.needed);
            let (succeeded, failed, fruitless) = (group.succeeded, group.failed, group.fruitless);
            let (open, can_succeed) = (group.open(), group.can_succeed());
            if succeeded >= needed {
                self.cancel_inside(path, ENOUGH);
                self.cancel_coming(path, begun..branches);
                let done = EventKind::GroupDone { succeeded, failed, fruitless };
                self.emit_step(path, 1, done, &Actor::system());
                return;
            }
            if !can_succeed {
                let error = self.why_group_failed(path, needed);
                self.cancel_inside(path, "its group can no longer succeed");
                self.record_failure(path, 1, error, false, None);
                return;
            }
            if begun == branches || open >= most {
                return;
            }
            let list = List::branch(&self.run, path, begun);
            self.advance_list(&list, 0, context);
            if self.open_group(path).is_some_and(|group| group.begun == begun) {
                return;
            }
        }
    }

    fn why_group_failed(&self, path: &StepPath, needed: u32) -> String {
        let failed = self.run.steps.iter().rev().find(|(inside, step)| {
            inside.is_inside(path) && step.status == StepStatus::Failed && step.group.is_none()
        });
        let group = self.open_group(path);
        let (branches, lost, fruitless) =
            group.map_or((0, 0, 0), |group| (group.branches, group.failed, group.fruitless));
        let count = match (lost, fruitless) {
            (0, 0) => format!("it has {branches} branches, and {needed} must succeed"),
            (lost, 0) => format!("{lost} of {branches} branches failed, and {needed} must succeed"),
            (0, 1) => format!("1 of {branches} branches did nothing, and {needed} must succeed"),
            (0, none) => format!("{none} of {branches} branches did nothing, and {needed} must succeed"),
            (lost, none) => {
                format!("{lost} of {branches} branches failed, {none} did nothing, and {needed} must succeed")
            }
        };
        match failed {
            Some((inside, step)) => {
                format!("{count} ({inside}: {})", step.note.as_deref().unwrap_or("failed"))
            }
            None => count,
        }
    }

    /// The branches of a group that are not wanted any more and had not begun: their first steps say so.
    fn cancel_coming(&mut self, path: &StepPath, branches: std::ops::Range<u32>) {
        for branch in branches {
            let list = List::branch(&self.run, path, branch);
            let first = list.tasks(&self.run.protocol).first().map(|task| task.id.clone());
            if let Some(first) = first {
                let step = list.path(&self.run, &first);
                let cancelled = EventKind::StepCancelled { reason: ENOUGH.to_owned() };
                self.emit_step(&step, 1, cancelled, &Actor::system());
            }
        }
    }

    /// Cancels everything that is open inside a group, innermost last to begin first.
    pub(super) fn cancel_inside(&mut self, group: &StepPath, reason: &str) {
        let inside = self.run.open_steps().filter(|(path, _)| path.is_inside(group));
        let mut open: Vec<(StepPath, u32)> =
            inside.map(|(path, step)| (path.clone(), step.attempt)).collect();
        open.reverse();
        for (path, attempt) in open {
            let cancelled = EventKind::StepCancelled { reason: reason.to_owned() };
            self.emit_step(&path, attempt, cancelled, &Actor::system());
        }
    }
}
