//! Moving the baton: which step begins next.

use super::Decision;
use crate::engine::command::{Actor, Context};
use crate::engine::event::EventKind;
use crate::engine::ids::StepPath;
use crate::engine::protocol::{OnFailure, Protocol, Task, Work};
use crate::engine::state::{Run, RunStatus, StepStatus};
use std::sync::Arc;

/// A list of tasks that are done in order: the outermost, or a branch of a group.
pub(super) struct List {
    /// The group and which of its branches.
    pub group: Option<(StepPath, u32)>,
    /// The group goes over items: the branch is one of them.
    for_each: bool,
}

/// How far a list has come.
pub(super) enum Standing {
    /// Something in it is open, or nothing may start now.
    Open,
    Done,
    Failed(StepPath),
}

impl List {
    pub fn outermost() -> List {
        List { group: None, for_each: false }
    }

    pub fn branch(run: &Run, group: &StepPath, branch: u32) -> List {
        let for_each = match run.protocol.task(group).map(|task| &task.work) {
            Some(Work::Parallel(parallel)) => parallel.for_each.is_some(),
            _ => false,
        };
        List { group: Some((group.clone(), branch)), for_each }
    }

    /// The list that a step is in.
    pub fn around(run: &Run, path: &StepPath) -> List {
        let Some((group, item)) = path.group() else { return List::outermost() };
        let branch = item.or_else(|| Some(run.protocol.place(path.task_id())?.branch)).unwrap_or(0);
        List { group: Some((group, branch as u32)), for_each: item.is_some() }
    }

    pub fn tasks<'p>(&self, protocol: &'p Protocol) -> &'p [Arc<Task>] {
        let group = self.group.as_ref().map(|(path, _)| path.task_id());
        protocol.list(group, self.group.as_ref().map_or(0, |(_, branch)| *branch as usize))
    }

    /// The step of a task of this list, in the round that it is in.
    pub fn path(&self, run: &Run, task_id: &str) -> StepPath {
        let base = match &self.group {
            None => StepPath::top(task_id, 1),
            Some((group, branch)) => {
                StepPath::inside(group, self.for_each.then_some(*branch as usize), task_id, 1)
            }
        };
        match run.round(&base) {
            1 => base,
            round => base.in_round(round),
        }
    }
}

impl Decision {
    /// Whether anything may begin.
    pub(super) fn may_start(&self) -> bool {
        matches!(self.run.status, RunStatus::Queued | RunStatus::Running | RunStatus::Waiting)
            && !self.run.held
            && self.run.ending.is_none()
            && self.run.reopened == 0
    }

    /// A step ended: what comes after it begins.
    pub(super) fn after(&mut self, path: &StepPath, context: &mut Context<'_>) {
        let reopened = self.run.steps.get(path).is_some_and(|step| step.reopened);
        if self.run.ending.is_none() && (reopened || (self.held_up && self.run.reopened == 0)) {
            return self.after_reopened(path, reopened, context);
        }
        let position = self.run.protocol.place(path.task_id()).map_or(0, |place| place.position);
        self.after_from(path, position, context);
    }

    /// An approval that was asked again stands before what has already begun: only when all of those are decided,
    /// everything goes on. One that fails has no list that could fail with it, so the run does.
    fn after_reopened(&mut self, path: &StepPath, reopened: bool, context: &mut Context<'_>) {
        let fails =
            reopened && self.run.protocol.task(path).is_some_and(|task| task.on_failure == OnFailure::Fail);
        let failed = self.run.steps.get(path).filter(|step| fails && step.status == StepStatus::Failed);
        match failed.map(|step| step.note.clone().unwrap_or_default()) {
            Some(note) => self.end_run(RunStatus::Failed, Some(format!("{path}: {note}")), context),
            None => self.advance_all(context),
        }
    }

    /// The same, from this place of the step's list on.
    pub(super) fn after_from(&mut self, path: &StepPath, position: usize, context: &mut Context<'_>) {
        if self.run.ending.is_some() {
            return self.go_on_ending(context);
        }
        let (mut path, mut position) = (path.clone(), position);
        while self.may_start() {
            let list = List::around(&self.run, &path);
            let standing = self.advance_list(&list, position, context);
            let Some((group, _)) = list.group else {
                self.settle(standing, context);
                break;
            };
            self.advance_group(&group, context);
            if self.run.steps.get(&group).is_none_or(|step| step.status == StepStatus::Running) {
                break;
            }
            position = self.run.protocol.place(group.task_id()).map_or(0, |place| place.position);
            path = group;
        }
        self.rest();
    }

    /// Looks at every list that is open: after a pause, or when an approval was asked again, any may go on.
    pub(super) fn advance_all(&mut self, context: &mut Context<'_>) {
        if self.may_start() {
            self.begin_lost(context);
        }
        let open = self.run.open_steps().filter(|(_, step)| step.group.is_some());
        let mut groups: Vec<(StepPath, u32)> =
            open.filter_map(|(path, step)| Some((path.clone(), step.group.as_ref()?.begun))).collect();
        // Those inside began after those around them.
        groups.reverse();
        for (group, begun) in groups {
            for branch in 0..begun {
                if !self.may_start() {
                    break;
                }
                let list = List::branch(&self.run, &group, branch);
                self.advance_list(&list, 0, context);
            }
            self.advance_group(&group, context);
        }
        if self.may_start() {
            let standing = self.advance_list(&List::outermost(), 0, context);
            self.settle(standing, context);
        }
        self.rest();
    }

    /// Begins what can begin in a list, from this place on, until something in it is open.
    pub(super) fn advance_list(&mut self, list: &List, from: usize, context: &mut Context<'_>) -> Standing {
        let protocol = Arc::clone(&self.run.protocol);
        for task in list.tasks(&protocol).iter().skip(from) {
            if !self.may_start() {
                return Standing::Open;
            }
            let path = list.path(&self.run, &task.id);
            if !self.run.steps.contains_key(&path) {
                self.begin_step(&path, task, context);
            }
            match (self.run.steps.get(&path).map(|step| step.status), task.on_failure) {
                (Some(StepStatus::Done | StepStatus::Skipped), _)
                | (Some(StepStatus::Failed), OnFailure::Continue) => {}
                (Some(StepStatus::Failed | StepStatus::Cancelled), OnFailure::Fail) => {
                    return Standing::Failed(path);
                }
                _ => return Standing::Open,
            }
        }
        Standing::Done
    }

    /// What the outermost list has come to ends the run.
    fn settle(&mut self, standing: Standing, context: &mut Context<'_>) {
        if self.run.status.is_final() || self.run.ending.is_some() {
            return;
        }
        match standing {
            Standing::Open => {}
            Standing::Done => self.close(RunStatus::Completed, None),
            Standing::Failed(path) => {
                let note = self.run.steps.get(&path).and_then(|step| step.note.clone()).unwrap_or_default();
                self.end_run(RunStatus::Failed, Some(format!("{path}: {note}")), context);
            }
        }
    }

    /// Where nothing is left but a step that a person must decide about, the run is paused for it.
    pub(super) fn rest(&mut self) {
        let busy = self.run.steps.running() + self.run.steps.waiting() > 0;
        if busy || !self.may_start() {
            return;
        }
        let held = self.run.steps.iter().rev().find(|(path, step)| self.run.holds(path, step));
        if let Some((path, step)) = held {
            let (path, note) = (path.clone(), step.note.clone().unwrap_or_default());
            self.pause_for(&path, &note);
        }
    }

    pub(super) fn pause_for(&mut self, path: &StepPath, error: &str) {
        let error = error.trim_end().trim_end_matches('.');
        let reason = match path.undone() {
            Some(undone) => format!("{undone} could not be undone: {error}. Retry it, or skip it."),
            None => format!("{path} failed: {error}. Retry it, skip it, or cancel the run."),
        };
        let paused = EventKind::RunPaused { reason, step: Some(path.clone()), via: None };
        self.emit_run(paused, &Actor::system());
    }
}
