//! How a run ends: what runs is given a moment, what was done is taken back, and the closing entry is the last.

use super::Decision;
use crate::engine::command::{Actor, Context};
use crate::engine::event::EventKind;
use crate::engine::ids::StepPath;
use crate::engine::state::{RunStatus, Step, StepStatus, Waits};
use chrono::TimeDelta;

/// How long attempts in flight may still take when their run ends.
pub const GRACE: TimeDelta = TimeDelta::seconds(5);

impl Decision {
    /// The run is to end in any way but completion. At once, if nothing runs and nothing is to be taken back.
    pub(super) fn end_run(&mut self, outcome: RunStatus, reason: Option<String>, context: &mut Context<'_>) {
        let in_flight = self.run.open_steps().any(|(path, step)| is_in_flight(path, step));
        if in_flight || self.next_to_undo().is_some() {
            let ending =
                EventKind::RunEnding { outcome, reason: reason.clone(), grace_until: self.now + GRACE };
            self.emit_run(ending, &Actor::system());
            self.cancel_open("the run is ending", |path, step| !is_in_flight(path, step));
            self.go_on_ending(context);
        } else {
            self.close(outcome, reason);
        }
    }

    /// The next thing that a run which ends does.
    pub(super) fn go_on_ending(&mut self, context: &mut Context<'_>) {
        while let Some(ending) = self.run.ending.clone() {
            let busy = self.run.steps.running() + self.run.steps.waiting() > 0;
            if busy || self.run.status == RunStatus::Paused {
                return;
            }
            match self.next_to_undo() {
                Some(step) => self.begin_undo(&step, 1, context),
                None => self.close(ending.outcome, ending.reason),
            }
        }
    }

    /// The grace of the attempts in flight is over.
    pub(super) fn end_grace(&mut self, context: &mut Context<'_>) {
        // A sub-run was told when the end began. It takes back what it did before this one does.
        let is_no_run = |_: &StepPath, step: &Step| step.subrun.is_none();
        self.cancel_open("it did not end in the time that was left to it", is_no_run);
        self.go_on_ending(context);
    }

    /// Cancels these open steps, but for groups and for what is taken back.
    fn cancel_open(&mut self, reason: &str, which: impl Fn(&StepPath, &Step) -> bool) {
        let open = self
            .run
            .open_steps()
            .filter(|(path, step)| which(path, step) && step.group.is_none() && path.undone().is_none());
        let open: Vec<(StepPath, u32)> = open.map(|(path, step)| (path.clone(), step.attempt)).collect();
        for (path, attempt) in open {
            let cancelled = EventKind::StepCancelled { reason: reason.to_owned() };
            self.emit_step(&path, attempt, cancelled, &Actor::system());
        }
    }

    /// Ends the run: open steps are cancelled, those inside a group before it, and the closing entry is its last.
    pub(super) fn close(&mut self, outcome: RunStatus, reason: Option<String>) {
        let mut open: Vec<(StepPath, u32)> =
            self.run.open_steps().map(|(path, step)| (path.clone(), step.attempt)).collect();
        open.reverse();
        for (path, attempt) in open {
            let reason = format!("the run ended as {}", outcome.as_str());
            self.emit_step(&path, attempt, EventKind::StepCancelled { reason }, &Actor::system());
        }
        let count = self.run.version + 1;
        self.emit_run(EventKind::RunClosed { outcome, reason, count }, &Actor::system());
    }
}

/// Whether something outside may still do it: a call, a worker, a service that will call back, a sub-run.
fn is_in_flight(path: &StepPath, step: &Step) -> bool {
    let called = step.status == StepStatus::Running && step.group.is_none();
    path.undone().is_none() && (called || step.waits == Some(Waits::Callback))
}
