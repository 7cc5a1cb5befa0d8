//! A run as people see it: where it stands in a sentence, and every step of its plan, those to come too.
//!
//! Pure: it reads a folded run, and what the log knows beside it, and puts both into words.

mod buckets;
mod evidence;
mod group;
mod steps;
#[cfg(test)]
mod tests;
mod words;

pub use buckets::Bucket;
pub use evidence::{Evidence, evidence, risk};
pub use group::Focus;
pub use steps::{steps, undone};
pub use words::{asked_again, decided, so_far};

use super::moment::{Moment, duration};
use super::sentences::events::{being, outside_event, wanted};
use super::status::Status;
use crate::engine::ids::StepPath;
use crate::engine::state::{Run, RunStatus, Step, StepStatus, Waits};
use chrono::{DateTime, Utc};
use std::collections::HashMap;

/// What the log tells of a run that its state does not.
#[derive(Debug, Default)]
pub struct Known {
    /// Who paused it. None: it paused by itself, or it is not paused.
    pub paused_by: Option<String>,
    /// Who skipped a step, by its path.
    pub skipped_by: HashMap<String, String>,
    /// The version of the protocol that it began with, where it is another now.
    pub began_with: Option<i32>,
    /// The moment of its recording that is drawn, by the entry before it. None: the present.
    pub moment: Option<u64>,
}

/// How many steps a sentence names before it counts the others.
const NAMED: usize = 3;

/// Where the run stands.
pub fn status(run: &Run) -> Status {
    match &run.ending {
        Some(ending) if run.status == RunStatus::Running => Status::ending(ending.outcome),
        _ if run.held && run.status == RunStatus::Queued => Status::its_turn(),
        _ => Status::of_run(run.status, waiting_status(run)),
    }
}

/// What a run waits for: a person before anything else, for a person can do something about it.
fn waiting_status(run: &Run) -> Option<Status> {
    if let Some(whom) = waits_for(run) {
        return Some(Status::waiting_for(&whom));
    }
    let mut waits = run.open_steps().filter_map(|(_, step)| step.waits.as_ref());
    let first = waits.next()?;
    let same = waits.take(NAMED).all(|other| std::mem::discriminant(other) == std::mem::discriminant(first));
    Some(if same { words::waiting(first) } else { Status::waiting_on("several things") })
}

/// What happens now, or how it ended.
pub fn sentence(run: &Run, known: &Known) -> String {
    if let Some(ending) = ending(run) {
        return ending;
    }
    let note = || run.note.as_deref().map(|note| format!(": {}", stop(note))).unwrap_or(".".to_owned());
    let ended_by = |status| run.steps.iter().rev().find(|(_, step)| step.status == status);
    match run.status {
        RunStatus::Queued if run.held => held(run),
        RunStatus::Queued => "The first step is about to begin.".to_owned(),
        RunStatus::Running => under_way(run),
        RunStatus::Waiting => waiting(run),
        RunStatus::Paused => paused(run, known),
        RunStatus::Completed => "Every step is done.".to_owned(),
        RunStatus::Rejected => format!("It stopped because it was rejected{}", note()),
        RunStatus::Failed => match ended_by(StepStatus::Failed) {
            Some((path, _)) => format!("It stopped because the step {} failed.", label(run, path)),
            None => format!("It stopped because a step failed{}", note()),
        },
        RunStatus::Cancelled => format!("It was cancelled{}", note()),
    }
}

/// A run that is on its way to an end, unless it is held up there.
fn ending(run: &Run) -> Option<String> {
    let ending = run.ending.as_ref().filter(|_| run.status == RunStatus::Running)?;
    let why = ending.reason.as_deref().map_or(".".to_owned(), |why| format!(": {}", stop(why)));
    let undoing: Vec<String> =
        run.open_steps().filter_map(|(path, _)| path.undone()).map(|done| label(run, &done)).collect();
    let now = if undoing.is_empty() {
        format!("What is running has until {} to end.", Moment::new(ending.grace_until).text)
    } else {
        format!("Taking back what was done: {}.", undoing.join(", "))
    };
    Some(format!("{}{why} {now}", super::approvers::capital(being(ending.outcome))))
}

fn held(run: &Run) -> String {
    match &run.slot {
        Some(slot) => format!(
            "At most {} of {} may be under way at once. It begins by itself as soon as there is room.",
            counted(slot.limit as usize, "run", "runs"),
            slot.key
        ),
        None => "It begins by itself as soon as there is room.".to_owned(),
    }
}

fn under_way(run: &Run) -> String {
    let running =
        run.open_steps().filter(|(_, step)| step.status == StepStatus::Running && step.group.is_none());
    match several(run, running.map(|(path, _)| path)) {
        Some((names, false)) => format!("{names} is under way."),
        Some((names, true)) => format!("{names} are under way."),
        None => "The run is under way.".to_owned(),
    }
}

/// The first few names, with how many more there are; and whether there is more than one.
fn several<'a>(run: &Run, mut paths: impl Iterator<Item = &'a StepPath>) -> Option<(String, bool)> {
    let named: Vec<String> = paths.by_ref().take(NAMED).map(|path| label(run, path)).collect();
    let more = paths.count();
    let last = if more > 0 { Some(format!("{} more", thousands(more))) } else { None };
    let all: Vec<String> = named.into_iter().chain(last).collect();
    match all.as_slice() {
        [] => None,
        [one] => Some((one.clone(), false)),
        [first @ .., last] => Some((format!("{} and {last}", first.join(", ")), true)),
    }
}

fn waiting(run: &Run) -> String {
    let mut waits = run.open_steps().filter(|(_, step)| step.status == StepStatus::Waiting);
    let said: Vec<String> =
        waits.by_ref().take(NAMED).map(|(path, step)| wait_sentence(&label(run, path), step)).collect();
    let more = waits.count();
    let others = (more > 0).then(|| format!("{} wait too.", counted(more, "more step", "more steps")));
    let all: Vec<String> = said.into_iter().chain(others).collect();
    if all.is_empty() { "The run waits.".to_owned() } else { all.join(" ") }
}

/// What a waiting step waits for, beginning with its name.
fn wait_sentence(label: &str, step: &Step) -> String {
    match (&step.waits, &step.approval) {
        (Some(Waits::Approval) | None, Some(approval)) => {
            format!("{label} waits for {} to decide.", approval.missing().in_words())
        }
        (Some(Waits::Retry { at }), _) => {
            format!("{label} failed and is tried again at {}.", Moment::new(*at).text)
        }
        (Some(Waits::Time { at }), _) => format!("{label} waits until {}.", Moment::new(*at).text),
        (Some(Waits::Event { name, key }), _) => {
            format!("{label} waits for {}.", outside_event(Some(name), key.as_deref()))
        }
        (Some(Waits::Callback), _) => format!("{label} waits for the service to call back."),
        (Some(Waits::Worker), _) => format!("{label} waits for a worker to take it."),
        (Some(Waits::Approval) | None, None) => format!("{label} waits."),
    }
}

/// Why it is paused, who paused it, and what may be done.
fn paused(run: &Run, known: &Known) -> String {
    let why = run.note.as_deref().map_or(".".to_owned(), |note| format!(": {}", stop(note)));
    if let Some(filed) = &run.overridden {
        let what = wanted(filed.action);
        return format!(
            "{} asked that {what}: {} The run is paused until somebody else decides.",
            filed.filed_by,
            stop(&filed.reason)
        );
    }
    let by = known.paused_by.as_ref().map(|who| format!(" by {who}")).unwrap_or_default();
    let what = match holding(run).next() {
        Some(path) if path.undone().is_some() => {
            "Have it tried again, or skip it: until then nothing more is taken back."
        }
        Some(_) => "Have the step tried again, skip it, or cancel the run.",
        None => "Let it go on, or cancel it.",
    };
    let paused = match &run.ending {
        Some(ending) => format!("{}, and it is paused", super::approvers::capital(being(ending.outcome))),
        None => "The run is paused".to_owned(),
    };
    format!("{paused}{by}{why} {what}")
}

/// The failed steps that a person must decide about.
pub fn holding(run: &Run) -> impl Iterator<Item = &StepPath> {
    let found = run.steps.iter().rev().filter(|(path, step)| run.holds(path, step));
    found.map(|(path, _)| path)
}

/// What could not be taken back, each with why and what to do.
pub fn not_undone(run: &Run) -> Vec<String> {
    let failed = run.steps.iter().filter(|(_, step)| step.status == StepStatus::Failed);
    let undos = failed.filter_map(|(path, step)| Some((path.undone()?, step)));
    let told = undos.map(|(done, step)| {
        let why = step.note.as_deref().map_or(".".to_owned(), |note| format!(": {}", stop(note)));
        let then = "See that it is put right by other means, have it tried again, or skip it.";
        format!("{} could not be taken back{why} {then}", label(run, &done))
    });
    told.collect()
}

/// Which step takes too long, and what to do.
pub fn stalled(run: &Run) -> Option<String> {
    let (path, step) = run.open_steps().find(|(_, step)| step.stalled)?;
    let limit = run.protocol.task(path).and_then(|task| task.max_time);
    let than = limit.map_or("its time limit".to_owned(), |limit| format!("its {}", duration(limit)));
    let then = match (&step.approval, &step.waits) {
        (Some(approval), _) => format!("Remind {}, or cancel the run.", approval.missing().in_words()),
        (None, Some(Waits::Worker)) => "See whether the workers are running, or cancel the run.".to_owned(),
        (None, Some(Waits::Event { .. })) => "Ask whoever reports that event, or cancel the run.".to_owned(),
        _ => "Ask the operators of the service that it calls, or cancel the run.".to_owned(),
    };
    Some(format!("{} has taken longer than {than}. {then}", label(run, path)))
}

/// Whom the run waits for, as in "a supervisor".
pub fn waits_for(run: &Run) -> Option<String> {
    let waiting = run.open_steps().filter_map(|(_, step)| step.approval.as_ref());
    let mut names: Vec<String> = Vec::new();
    for approval in waiting {
        let name = approval.missing().in_words();
        if !names.contains(&name) {
            names.push(name);
        }
        if names.len() > NAMED {
            return Some("several people".to_owned());
        }
    }
    (!names.is_empty()).then(|| names.join(" and "))
}

/// What people call a step of this run.
pub fn label(run: &Run, path: &StepPath) -> String {
    super::sentences::label(Some(&run.protocol), path)
}

/// How long it has taken, or took.
pub fn took(run: &Run, now: DateTime<Utc>) -> String {
    duration(run.closed_at.unwrap_or(now) - run.created_at)
}

fn stop(words: &str) -> String {
    super::sentences::ended(words)
}

/// `1 run`, `9,950 runs`.
pub fn counted(number: usize, one: &str, more: &str) -> String {
    if number == 1 { format!("1 {one}") } else { format!("{} {more}", thousands(number)) }
}

/// `9950` as `9,950`.
pub fn thousands(number: usize) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}
