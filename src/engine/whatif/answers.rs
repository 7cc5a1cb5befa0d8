//! What a step was told, told to the step that stands in for it.

use super::Asks;
use super::reading::Input;
use super::simulation::Simulation;
use crate::engine::command::{Actor, Command, TimerKind};
use crate::engine::effects;
use crate::engine::event::Recorded;
use crate::engine::ids::StepPath;
use crate::engine::protocol::{OnTimeout, Task};
use crate::engine::state::Waits;
use chrono::{DateTime, Utc};

/// What came of an attempt to tell something.
pub enum Heard {
    /// It led to these events.
    Done(Vec<Recorded>),
    /// The step cannot take it now.
    NotNow,
    /// It means nothing here.
    Dropped,
}

impl<'r> Simulation<'r> {
    /// Tells a step the next thing that it was told.
    pub(super) fn answer(&mut self, input: &'r Input) -> Heard {
        let Some(recorded) = &input.step else { return Heard::Dropped };
        let found = self.counterparts.of(&self.run, recorded);
        // What has not begun can be passed over when its turn has come.
        let passed_over = || matches!(input.command, Command::SkipStep { .. }).then(|| recorded.clone());
        let Some(here) = found.or_else(passed_over) else { return Heard::NotNow };
        let asks = Asks::of(&self.run, &here);
        if let (Some(then), Some(now)) = (&input.asks, &asks)
            && then != now
        {
            self.refused.insert(here, format!("It asks {} instead of {}.", now.in_words(), then.in_words()));
            return Heard::NotNow;
        }
        if let Some(events) = self.overdue(&here, recorded, input) {
            return Heard::Done(events);
        }
        let (command, at) = self.translated(input, &here, recorded);
        let told = self.decided(command, &input.actor, at, input.position);
        match told {
            Ok(events) => {
                self.refused.remove(&here);
                self.heard(recorded);
                Heard::Done(events)
            }
            Err(_) if self.means_nothing(input, &here) => {
                self.heard(recorded);
                Heard::Dropped
            }
            Err(refusal) => {
                self.refused.insert(here, refusal.to_string());
                Heard::NotNow
            }
        }
    }

    fn heard(&mut self, recorded: &StepPath) {
        if let Some(unheard) = self.unheard.get_mut(recorded) {
            unheard.pop_front();
            if unheard.is_empty() {
                self.unheard.remove(recorded);
            }
        }
    }

    /// A step that would have run out of its time before it was answered, where the other version gives it less.
    fn overdue(&mut self, here: &StepPath, recorded: &StepPath, input: &Input) -> Option<Vec<Recorded>> {
        if self.same_time_limit(here, recorded) {
            return None;
        }
        let ends = self.run.protocol.task(here).map(|task| task.on_timeout);
        if !matches!(ends, Some(OnTimeout::Fail | OnTimeout::Retry)) {
            return None;
        }
        let timers = effects::timers_of(&self.run, here);
        let timer = timers.into_iter().find(|timer| timer.kind == TimerKind::MaxMinutes)?;
        if timer.at >= input.at {
            return None;
        }
        let command = Command::FireTimer { step: timer.step, attempt: timer.attempt, kind: timer.kind };
        self.decided(command, &Actor::system(), timer.at, input.position).ok()
    }

    fn same_time_limit(&self, here: &StepPath, recorded: &StepPath) -> bool {
        let limit = |task: &std::sync::Arc<Task>| (task.max_time, task.on_timeout);
        self.run.protocol.task(here).map(limit) == self.read.run.protocol.task(recorded).map(limit)
    }

    /// A command as it is said here: to this step's own attempt, approval and sub-run; a time that has come, at its
    /// time.
    fn translated(&self, input: &Input, here: &StepPath, recorded: &StepPath) -> (Command, DateTime<Utc>) {
        let mut command = input.command.clone();
        let mut at = input.at;
        let step = self.run.steps.get(here);
        let now = step.map_or(1, |step| step.attempt);
        match &mut command {
            Command::CompleteStep { step, attempt, .. }
            | Command::FailStep { step, attempt, .. }
            | Command::AcceptStep { step, attempt }
            | Command::ClaimStep { step, attempt, .. }
            | Command::RescueStep { step, attempt, .. } => {
                (*step, *attempt) = (here.clone(), now);
            }
            Command::CallBack { step, .. }
            | Command::ReceiveEvent { step, .. }
            | Command::RetryStep { step, .. }
            | Command::SkipStep { step, .. } => *step = here.clone(),
            Command::SubrunEnded { step: path, run, .. } => {
                *path = here.clone();
                *run = step.and_then(|step| step.subrun).unwrap_or(*run);
            }
            Command::Decide { approval, .. } => {
                let open = step.and_then(|step| step.approval.as_ref());
                *approval = open.map_or(*approval, |open| open.id);
            }
            Command::FireTimer { step, attempt, kind } => {
                (*step, *attempt) = (Some(here.clone()), now);
                let waits_for_it = match kind {
                    TimerKind::Retry | TimerKind::Wait => true,
                    TimerKind::MaxMinutes => self.same_time_limit(here, recorded),
                    TimerKind::Due | TimerKind::Remind | TimerKind::Grace => false,
                };
                let timers = effects::timers_of(&self.run, here);
                let due = timers.into_iter().find(|timer| timer.kind == *kind && waits_for_it);
                at = due.map_or(at, |timer| at.max(timer.at));
            }
            Command::AdmitRun
            | Command::PauseRun { .. }
            | Command::ResumeRun { .. }
            | Command::CancelRun { .. }
            | Command::SetValue { .. }
            | Command::MigrateRun { .. }
            | Command::FileOverride { .. }
            | Command::DecideOverride { .. } => {}
        }
        (command, at)
    }

    /// A reminder, a flag, a claim: nothing that moves the step on hangs on it.
    fn means_nothing(&self, input: &Input, here: &StepPath) -> bool {
        let Some(step) = self.run.steps.get(here).filter(|step| step.status.is_open()) else {
            return false;
        };
        match &input.command {
            Command::AcceptStep { .. } | Command::RescueStep { .. } => true,
            Command::ClaimStep { .. } => step.waits != Some(Waits::Worker),
            Command::FireTimer { kind: TimerKind::Due | TimerKind::Remind, .. } => true,
            Command::FireTimer { kind: TimerKind::MaxMinutes, .. } => {
                let recorded = input.step.as_ref().and_then(|step| self.read.run.protocol.task(step));
                recorded.is_none_or(|task| matches!(task.on_timeout, OnTimeout::Flag | OnTimeout::Escalate))
            }
            _ => false,
        }
    }
}
