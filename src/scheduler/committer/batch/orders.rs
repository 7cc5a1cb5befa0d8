//! What a group that is committed asks of this instance's dispatch.

use super::super::super::Request;
use super::super::super::dispatch::Work;
use super::Group;
use crate::engine::command::Command;
use crate::engine::effects;
use crate::engine::event::{EventKind, Recorded};
use crate::engine::ids::StepPath;
use crate::engine::state::Run;
use std::collections::HashSet;
use std::sync::Arc;

impl Group {
    /// What the committed state asks of the world: attempts that began, and runs whose attempts must stop.
    pub fn work(&self) -> Vec<Work> {
        let run: &Run = &self.member.run;
        if run.status.is_final() {
            let stops = self
                .member
                .events
                .iter()
                .any(|recorded| matches!(recorded.event.kind, EventKind::StepCancelled { .. }));
            return if stops { vec![Work::Stop(run.id)] } else { self.stops() };
        }
        let began = |recorded: &&Recorded| {
            matches!(recorded.event.kind, EventKind::StepStarted { instance: Some(_), .. })
        };
        let began = self.member.events.iter().filter(began);
        let attempts = began.filter_map(|recorded| {
            let path = recorded.event.step.as_ref()?;
            let step = run.steps.get(path).filter(|step| Some(step.attempt) == recorded.event.attempt)?;
            effects::attempt(run, path, step)
        });
        let starts = attempts
            .map(|attempt| Work::Start { run: Arc::clone(&self.member.run), attempt: Box::new(attempt) });
        self.stops().into_iter().chain(starts).collect()
    }

    /// The attempts that ended otherwise than by their own report: nobody waits for them any more.
    fn stops(&self) -> Vec<Work> {
        let reported =
            self.callers.iter().filter_map(|caller| match &caller.request {
                Request::Act {
                    command:
                        Command::CompleteStep { step, attempt, .. } | Command::FailStep { step, attempt, .. },
                    ..
                } => Some((step, *attempt)),
                Request::Act { .. } | Request::Start { .. } => None,
            });
        let mut known: HashSet<(&StepPath, u32)> = reported.collect();
        let mut stops = Vec::new();
        for event in self.member.events.iter().map(|recorded| &recorded.event) {
            let (Some(step), Some(attempt)) = (&event.step, event.attempt) else { continue };
            match &event.kind {
                // What begins and ends in one batch never runs.
                EventKind::StepStarted { .. } => drop(known.insert((step, attempt))),
                EventKind::StepDone { .. }
                | EventKind::StepRetrying { .. }
                | EventKind::StepFailed { .. }
                | EventKind::StepSkipped { .. }
                | EventKind::StepCancelled { .. }
                | EventKind::StepRescued { .. }
                    if !known.contains(&(step, attempt)) =>
                {
                    stops.push(Work::StopAttempt { run: self.member.run.id, step: step.clone(), attempt });
                }
                _ => {}
            }
        }
        stops
    }
}
