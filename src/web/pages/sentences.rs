//! Every kind of entry of the activity log as a sentence: on the run page, in the replay and on the log page.
//!
//! Owns the words. A run's events are one exhaustive match; what the agency itself writes is told by its type.

use super::facts;
use super::log::Entry;
use super::moment::Moment;
use super::status::Status;
use crate::audit::chain::Stored;
use crate::audit::entry::open;
use crate::engine::event::{EventKind, Recorded};
use crate::engine::ids::StepPath;
use crate::engine::protocol::{Protocol, Work};
use crate::engine::state::{Choice, RunStatus};
use crate::store::runs::recorded;
use serde_json::Value;

/// Which entries there are, for the filter of the log page: type and words.
pub const KINDS: [(&str, &str); 30] = [
    ("run.queued", "A run was started"),
    ("step.started", "A step began"),
    ("step.done", "A step was done"),
    ("step.failed", "A step failed"),
    ("step.skipped", "A step was skipped"),
    ("step.cancelled", "A step was cancelled"),
    ("step.rescued", "A step was taken over"),
    ("step.stalled", "A step took too long"),
    ("approval.opened", "A decision was asked for"),
    ("approval.decided", "A decision was taken"),
    ("run.paused", "A run was paused"),
    ("run.resumed", "A run went on"),
    ("run.cancel_requested", "A run was cancelled"),
    ("run.closed", "A run ended"),
    ("user.signed_in", "Somebody signed in"),
    ("user.sign_in_failed", "A sign-in failed"),
    ("user.signed_out", "Somebody signed out"),
    ("access.refused", "Something was not permitted"),
    ("command.refused", "An act was refused"),
    ("log.exported", "The log was exported"),
    ("protocol.created", "A protocol was written"),
    ("protocol.version_saved", "A protocol was changed"),
    ("action.saved", "An action was saved"),
    ("agent.saved", "An agent was saved"),
    ("user.created", "A user was added"),
    ("user.role_changed", "A role was changed"),
    ("user.password_set", "A password was set"),
    ("user.disabled", "A user was switched off"),
    ("user.enabled", "A user was switched on"),
    ("token.issued", "A token was made"),
];

/// How much of an entry is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Depth {
    /// The sentence.
    Brief,
    /// What else the entry holds, too.
    Full,
}

/// An entry as it is shown. `protocol` is that of the entry's run; without it steps go by their ids.
pub fn entry(stored: &Stored, protocol: Option<&Protocol>, depth: Depth) -> Entry {
    let run_event = if stored.run_id == 0 { None } else { recorded(stored).ok() };
    let (sentence, status) = match &run_event {
        Some(recorded) => (of_event(recorded, stored.run_id, protocol), status_of(&recorded.event.kind)),
        None => (of_agency(stored), stored.status.as_deref().map(agency_status)),
    };
    let step = stored.step.as_deref().map(|step| label(protocol, &StepPath::from_log(step)));
    Entry {
        seq: u64::try_from(stored.seq).unwrap_or_default(),
        t: Moment::new(stored.at),
        sentence,
        who: stored.actor.clone(),
        step,
        status,
        facts: if depth == Depth::Full { facts::short(&detail(stored)) } else { Vec::new() },
    }
}

/// What people call a step.
pub fn label(protocol: Option<&Protocol>, step: &StepPath) -> String {
    let label = match protocol.and_then(|protocol| protocol.task(step)) {
        Some(task) => task.label(),
        None => facts::words(step.task_id()),
    };
    match step.round() {
        1 => label,
        round => format!("{label} (round {round})"),
    }
}

/// A run's event.
fn of_event(recorded: &Recorded, run: i64, protocol: Option<&Protocol>) -> String {
    let step = recorded.event.step.as_ref().map_or_else(String::new, |step| label(protocol, step));
    let again = recorded.event.attempt.filter(|attempt| *attempt > 1);
    match &recorded.event.kind {
        EventKind::RunQueued { protocol, .. } => {
            format!("Run {run} was started with {}, version {}.", protocol.name, protocol.version)
        }
        EventKind::StepStarted { .. } => match again {
            Some(attempt) => format!("{step} began again: attempt {attempt}."),
            None => format!("{step} began."),
        },
        EventKind::StepDone { result } => match stated_risk(recorded, protocol, result) {
            Some(risk) => format!("{step} is done: {} risk.", clip(risk)),
            None => format!("{step} is done."),
        },
        EventKind::StepFailed { error, .. } => format!("{step} failed: {}", sentence(error)),
        EventKind::StepSkipped { reason, .. } => format!("{step} was skipped: {}", sentence(reason)),
        EventKind::StepCancelled { reason } => format!("{step} was cancelled: {}", sentence(reason)),
        EventKind::StepRescued { reason, .. } => format!("{step} was taken over: {}", sentence(reason)),
        EventKind::StepStalled { .. } => format!("{step} takes longer than its time limit."),
        EventKind::ApprovalOpened { approvers, .. } => format!("{step} waits for {}.", approvers.in_words()),
        EventKind::ApprovalDecided { decision, reason, .. } => {
            let verb = match decision {
                Choice::Approve => "approved",
                Choice::Reject => "rejected",
                Choice::Return => "sent back",
            };
            let why = reason.as_deref().map_or(".".to_owned(), |reason| format!(": {}", sentence(reason)));
            format!("{} {verb} {step}{why}", recorded.actor)
        }
        EventKind::RunPaused { reason, .. } => format!("The run was paused: {}", sentence(reason)),
        EventKind::RunResumed { reason, .. } => {
            format!("{} let the run go on: {}", recorded.actor, sentence(reason))
        }
        EventKind::CancelRequested { reason, .. } => {
            format!("{} cancelled the run: {}", recorded.actor, sentence(reason))
        }
        EventKind::RunClosed { outcome, .. } => closing(*outcome).to_owned(),
        other => format!("{step} {}", facts::words(other.type_name())),
    }
}

/// What an agent says of the risk; what others say only repeats it.
fn stated_risk<'a>(recorded: &Recorded, protocol: Option<&Protocol>, result: &'a Value) -> Option<&'a str> {
    let task = protocol?.task(recorded.event.step.as_ref()?)?;
    let risk = result.get("risk").and_then(Value::as_str);
    risk.filter(|_| matches!(task.work, Work::Agent(_)))
}

fn closing(outcome: RunStatus) -> &'static str {
    match outcome {
        RunStatus::Completed => "The run is completed.",
        RunStatus::Rejected => "The run stopped: it was rejected.",
        RunStatus::Failed => "The run stopped: a step failed.",
        RunStatus::Cancelled => "The run stopped: it was cancelled.",
        RunStatus::Queued | RunStatus::Running | RunStatus::Waiting | RunStatus::Paused => "The run ended.",
    }
}

/// The state that an event leads to.
fn status_of(kind: &EventKind) -> Option<Status> {
    match kind {
        EventKind::RunQueued { .. } => Some(Status::starting()),
        EventKind::StepStarted { .. } | EventKind::RunResumed { .. } => Some(Status::running()),
        EventKind::StepDone { .. } => Some(Status::done()),
        EventKind::StepFailed { .. } => Some(Status::failed()),
        EventKind::StepSkipped { .. } => Some(Status::skipped()),
        EventKind::StepCancelled { .. } => Some(Status::cancelled()),
        EventKind::StepStalled { .. } => Some(Status::stalled()),
        EventKind::ApprovalOpened { approvers, .. } => Some(Status::waiting_for(&approvers.in_words())),
        EventKind::ApprovalDecided { decision: Choice::Approve, .. } => Some(Status::approved()),
        EventKind::ApprovalDecided { .. } => Some(Status::rejected()),
        EventKind::RunPaused { .. } => Some(Status::paused()),
        EventKind::RunClosed { outcome, .. } => Some(Status::of_run(*outcome, None)),
        _ => None,
    }
}

fn agency_status(status: &str) -> Status {
    match status {
        "refused" => Status::refused(),
        other => Status::new(super::status::StatusKind::Todo, facts::words(other)),
    }
}

/// What the agency itself wrote: sign-ins, refusals, exports, changes of protocols and users.
fn of_agency(stored: &Stored) -> String {
    let who = &stored.actor;
    let detail = detail(stored);
    let value = |key: &str| match detail.get(key) {
        Some(Value::String(text)) => clip(text),
        Some(Value::Number(number)) => number.to_string(),
        _ => "unknown".to_owned(),
    };
    if let Some(repeated) = detail.get("repeated").and_then(Value::as_u64) {
        let kind = KINDS.iter().find(|(name, _)| *name == stored.type_name);
        let words = kind.map_or_else(|| facts::words(&stored.type_name), |(_, words)| (*words).to_owned());
        return format!("{words}, by {who}: {repeated} times more.");
    }
    match stored.type_name.as_str() {
        "user.signed_in" => format!("{who} signed in."),
        "user.signed_out" => format!("{who} signed out."),
        "user.sign_in_failed" => format!("A sign-in as {who} failed."),
        "access.refused" => {
            format!("{who} was refused: the permission {} was missing.", value("missing"))
        }
        "command.refused" => format!("What {who} asked for was refused: {}", sentence(&value("command"))),
        "log.exported" => format!("{who} exported the log."),
        "protocol.created" => format!("{who} wrote the protocol {}.", value("name")),
        "protocol.version_saved" => {
            format!("{who} saved version {} of the protocol {}.", value("version"), value("name"))
        }
        "action.saved" => format!("{who} saved the action {}, version {}.", value("name"), value("version")),
        "agent.saved" => format!("{who} saved the agent {}, version {}.", value("name"), value("version")),
        "user.created" => format!("{who} added the user {} as {}.", value("user"), value("role")),
        "user.role_changed" => {
            format!(
                "{who} changed the role of {} from {} to {}.",
                value("user"),
                value("from"),
                value("role")
            )
        }
        "user.password_set" => format!("{who} set a new password for {}.", value("user")),
        "user.disabled" => format!("{who} switched off the user {}.", value("user")),
        "token.issued" => format!("{who} made a token for {}.", value("user")),
        "user.enabled" => format!("{who} switched the user {} on again.", value("user")),
        other => format!("{}, by {who}.", facts::words(&other.replace('.', " "))),
    }
}

/// The detail of an entry, without how the request came in: that is for the export.
fn detail(stored: &Stored) -> Value {
    let Ok(opened) = open(&stored.leaf, stored.beside.as_ref()) else { return Value::Null };
    let mut detail = opened.detail;
    if let Value::Object(map) = &mut detail {
        map.shift_remove("via");
    }
    detail
}

/// Somebody's words as the end of a sentence.
fn sentence(words: &str) -> String {
    let words = clip(words.trim());
    if words.ends_with(['.', '!', '?', '…']) { words } else { format!("{words}.") }
}

fn clip(words: &str) -> String {
    const MOST: usize = 400;
    if words.chars().count() <= MOST {
        return words.to_owned();
    }
    words.chars().take(MOST).chain(['…']).collect()
}

#[cfg(test)]
mod tests;
