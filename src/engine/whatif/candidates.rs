//! The commands that may have led to an entry. Which did, `reading` tries.

use super::Tape;
use super::reading::at_once;
use super::record::version;
use crate::engine::command::{Command, Fault, TimerKind};
use crate::engine::event::{Event, EventKind, Recorded};
use crate::engine::ids::{RunId, StepPath};
use crate::engine::redact::Mark;
use crate::engine::state::{Choice, Payload, Run, RunStatus, Step, Waits};

/// The commands that may have led to the entries ahead, with the entry that tells by whom.
pub fn candidates<'e>(run: &Run, ahead: &'e [Recorded], tape: &Tape<'_>) -> Vec<(Command, &'e Recorded)> {
    let first = &ahead[0];
    let commands = match &first.event.step {
        Some(step) => {
            let found = run.steps.get(step).map(AsRef::as_ref);
            of_step(step, found, ahead)
        }
        None => match &first.event.kind {
            EventKind::RunMarked { from, redact } => of_sealed_subrun(run, *from, redact, ahead),
            _ => of_run(first, tape),
        },
    };
    let mut said: Vec<(Command, &Recorded)> = commands.into_iter().map(|command| (command, first)).collect();
    if matches!(first.event.kind, EventKind::StepCancelled { .. }) {
        said.extend(around(run, ahead));
    }
    said
}

/// What ends a whole group cancels what is inside it first.
fn around<'e>(run: &Run, ahead: &'e [Recorded]) -> Vec<(Command, &'e Recorded)> {
    let mut said = Vec::new();
    let grace = Command::FireTimer { step: None, attempt: 0, kind: TimerKind::Grace };
    said.push((grace, &ahead[0]));
    let Some(inside) = &ahead[0].event.step else { return said };
    let group = at_once(ahead).find(|recorded| {
        let around = recorded.event.step.as_ref().is_some_and(|step| inside.is_inside(step));
        let over = matches!(
            recorded.event.kind,
            EventKind::StepSkipped { .. } | EventKind::StepFailed { .. } | EventKind::StepRetrying { .. }
        );
        around && over
    });
    if let Some((recorded, step)) = group.and_then(|found| Some((found, found.event.step.clone()?))) {
        match &recorded.event.kind {
            EventKind::StepSkipped { reason, .. } => {
                said.push((Command::SkipStep { step, reason: reason.clone() }, recorded));
            }
            _ => {
                let attempt = run.steps.get(&step).map_or(1, |found| found.attempt);
                let timer = Command::FireTimer { step: Some(step), attempt, kind: TimerKind::MaxMinutes };
                said.push((timer, &ahead[0]));
            }
        }
    }
    said
}

/// A sub-run brought back what is sealed: its marks come first, then its result.
fn of_sealed_subrun(run: &Run, from: RunId, marks: &[Mark], ahead: &[Recorded]) -> Vec<Command> {
    let Some(Recorded {
        event: Event { step: Some(step), kind: EventKind::StepDone { result }, .. }, ..
    }) = ahead.get(1)
    else {
        return Vec::new();
    };
    let Some(task) = run.protocol.task(step) else { return Vec::new() };
    // As they stood in the sub-run: without the key under which the step saves.
    let inside = marks.iter().filter(|mark| mark.path.first() == Some(&task.saves));
    let redact = inside.map(|mark| Mark { path: mark.path[1..].to_vec(), exemption: mark.exemption.clone() });
    let payload = result.as_object().cloned().unwrap_or_default();
    let (step, outcome) = (step.clone(), RunStatus::Completed);
    vec![Command::SubrunEnded { step, run: from, outcome, payload, redact: redact.collect(), note: None }]
}

fn of_run(first: &Recorded, tape: &Tape<'_>) -> Vec<Command> {
    let command = match first.event.kind.clone() {
        EventKind::RunAdmitted {} => Command::AdmitRun,
        EventKind::RunPaused { reason, step: None, .. } => Command::PauseRun { reason },
        EventKind::RunResumed { reason, .. } => Command::ResumeRun { reason },
        EventKind::CancelRequested { reason, .. } => Command::CancelRun { reason },
        EventKind::ValueSet { path, value, reason, .. } => Command::SetValue { path, value, reason },
        EventKind::RunMigrated { to, reason, .. } => match version(tape.versions, &to) {
            Some(protocol) => Command::MigrateRun { to, protocol, reason },
            None => return Vec::new(),
        },
        EventKind::OverrideFiled { id, action, reason, new_value, review_until, .. } => {
            Command::FileOverride { id, action, reason, new_value, review: review_until - first.at }
        }
        EventKind::OverrideDecided { id, choice, reason, new_value, .. } => {
            Command::DecideOverride { id, choice, reason, new_value }
        }
        _ => return Vec::new(),
    };
    vec![command]
}

fn of_step(path: &StepPath, found: Option<&Step>, ahead: &[Recorded]) -> Vec<Command> {
    let attempt = found.map_or(1, |step| step.attempt);
    let step = || path.clone();
    let timer = |kind| Command::FireTimer { step: Some(step()), attempt, kind };
    match ahead[0].event.kind.clone() {
        // The first entry of an attempt is what its time has come to.
        EventKind::StepStarted { .. } => vec![timer(TimerKind::Retry)],
        EventKind::StepClaimed { worker } => vec![Command::ClaimStep { step: step(), attempt, worker }],
        EventKind::StepAccepted {} => vec![Command::AcceptStep { step: step(), attempt }],
        EventKind::StepDone { result } => match found {
            Some(Step { subrun: Some(run), .. }) => {
                let payload = result.as_object().cloned().unwrap_or_default();
                let (run, outcome) = (*run, RunStatus::Completed);
                let redact = Vec::new();
                vec![Command::SubrunEnded { step: step(), run, outcome, payload, redact, note: None }]
            }
            Some(Step { waits: Some(Waits::Time { .. }), .. }) => vec![timer(TimerKind::Wait)],
            _ => vec![
                Command::CompleteStep { step: step(), attempt, result: result.clone() },
                Command::CallBack { step: step(), outcome: Ok(result) },
            ],
        },
        EventKind::StepRetrying { error, retry_at } => {
            let fail = |retry_after| {
                let (step, error) = (step(), error.clone());
                Command::FailStep { step, attempt, error, retryable: true, retry_after }
            };
            let after = Some(retry_at - ahead[0].at);
            let fault = Fault { error: error.clone(), retryable: true };
            let called_back = Command::CallBack { step: step(), outcome: Err(fault) };
            vec![timer(TimerKind::MaxMinutes), fail(None), fail(after), timer(TimerKind::Retry), called_back]
        }
        EventKind::StepFailed { error, retryable } => {
            let mut said = ends_of_subrun(path, found, &error);
            said.push(timer(TimerKind::MaxMinutes));
            said.push(timer(TimerKind::Retry));
            let fail = error.clone();
            said.push(Command::FailStep { step: step(), attempt, error: fail, retryable, retry_after: None });
            for retryable in [false, true] {
                let fault = Fault { error: error.clone(), retryable };
                said.push(Command::CallBack { step: step(), outcome: Err(fault) });
            }
            said
        }
        EventKind::StepRetried { reason, .. } => vec![Command::RetryStep { step: step(), reason }],
        EventKind::StepSkipped { reason, .. } => vec![Command::SkipStep { step: step(), reason }],
        EventKind::StepRescued { reason, .. } => {
            vec![Command::RescueStep { step: step(), attempt, reason }]
        }
        // What is lost while the run ends is not begun again.
        EventKind::StepCancelled { reason } => vec![Command::RescueStep { step: step(), attempt, reason }],
        EventKind::StepStalled { .. } => vec![timer(TimerKind::MaxMinutes)],
        EventKind::EventReceived { event, payload } => {
            vec![Command::ReceiveEvent { step: step(), event, payload }]
        }
        EventKind::ApprovalReminded { .. } => vec![timer(TimerKind::Remind)],
        EventKind::ApprovalEscalated { .. } => vec![timer(TimerKind::Due), timer(TimerKind::MaxMinutes)],
        EventKind::ApprovalVoted { approval, reason, form, .. } => {
            vec![Command::Decide { approval, choice: Choice::Approve, reason, form }]
        }
        EventKind::ApprovalDecided { approval, decision: choice, reason, form, .. } => {
            vec![Command::Decide { approval, choice, reason, form }]
        }
        _ => Vec::new(),
    }
}

/// How a sub-run may have ended for its step to fail with these words.
fn ends_of_subrun(path: &StepPath, found: Option<&Step>, error: &str) -> Vec<Command> {
    let Some(run) = found.and_then(|step| step.subrun) else { return Vec::new() };
    let words = error.strip_prefix(&format!("run {run}, which it started, was ")).unwrap_or_default();
    let note = words.split_once(": ").map(|(_, note)| note.to_owned());
    let ended = |outcome: RunStatus, run: RunId| Command::SubrunEnded {
        step: path.clone(),
        run,
        outcome,
        payload: Payload::new(),
        redact: Vec::new(),
        note: note.clone(),
    };
    [RunStatus::Failed, RunStatus::Rejected, RunStatus::Cancelled]
        .into_iter()
        .map(|outcome| ended(outcome, run))
        .collect()
}
