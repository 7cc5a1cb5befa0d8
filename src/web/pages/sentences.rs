//! Every kind of entry of the activity log as a sentence: on the run page, in the replay and on the log page.
//!
//! Owns the words. A run's events are one exhaustive match; what the agency itself writes is told by its type.

use super::facts;
use super::log::Entry;
use super::moment::Moment;
use crate::audit::chain::Stored;
use crate::audit::entry::open;
use crate::engine::ids::StepPath;
use crate::engine::protocol::Protocol;
use crate::store::runs::veiled;
use serde_json::Value;

mod agency;
pub mod events;

/// Which entries there are, for the filter of the log page: type and words. Those of runs first.
pub const KINDS: &[(&str, &str)] = &[
    ("run.queued", "A run was started"),
    ("run.admitted", "There was room for a run"),
    ("step.started", "A step began"),
    ("step.carried", "A result was taken over"),
    ("step.claimed", "A worker took a step"),
    ("step.accepted", "A service will call back"),
    ("step.done", "A step was done"),
    ("step.retrying", "A step will be tried again"),
    ("step.failed", "A step failed"),
    ("step.retried", "A person had a step tried again"),
    ("step.skipped", "A step was skipped"),
    ("step.cancelled", "A step was cancelled"),
    ("step.rescued", "A step was taken over"),
    ("step.stalled", "A step took too long"),
    ("group.started", "Parallel steps began"),
    ("group.done", "Parallel steps were done"),
    ("wait.started", "A wait began"),
    ("event.received", "An outside event came"),
    ("subrun.started", "A run started another"),
    ("approval.opened", "A decision was asked for"),
    ("approval.reminded", "Approvers were reminded"),
    ("approval.escalated", "More people may decide"),
    ("approval.voted", "One of several approvals"),
    ("approval.decided", "A decision was taken"),
    ("run.paused", "A run was paused"),
    ("run.resumed", "A run went on"),
    ("run.cancel_requested", "A run was cancelled"),
    ("run.ending", "A run began to end"),
    ("run.value_set", "A value was changed"),
    ("run.migrated", "A run was moved to another version"),
    ("run.marked", "What another run brought back is sealed"),
    ("override.filed", "An override was filed"),
    ("override.decided", "An override was decided"),
    ("run.closed", "A run ended"),
    ("user.signed_in", "Somebody signed in"),
    ("user.sign_in_failed", "A sign-in failed"),
    ("user.signed_out", "Somebody signed out"),
    ("access.refused", "Something was not permitted"),
    ("command.refused", "An act was refused"),
    ("log.exported", "The log was exported"),
    ("bundle.made", "A run's evidence was taken out"),
    ("key.added", "A key was added"),
    ("key.rotated", "The log's key was changed"),
    ("instance.started", "HMS-ACT was started"),
    ("instance.stopped", "HMS-ACT was stopped"),
    ("sealed.read", "Sealed values were read"),
    ("redaction.filed", "An erasure was asked for"),
    ("redaction.approved", "Values were erased"),
    ("redaction.rejected", "An erasure was refused"),
    ("log.export_ended", "An export of the log ended"),
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
    ("event.expired", "Outside events were removed"),
    ("schedule.missed", "Scheduled times were missed"),
    ("schedule.skipped", "A scheduled run was left out"),
    ("schedule.refused", "A scheduled run could not start"),
    ("run.what_if", "Another version was asked about a run"),
    ("work.refused", "A worker's answer was refused"),
    ("callback.refused", "A callback was refused"),
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
    let run_event = if stored.run_id == 0 { None } else { veiled(stored).ok() };
    let (sentence, status) = match &run_event {
        Some(recorded) => {
            (events::of_event(recorded, stored.run_id, protocol), events::status_of(&recorded.event.kind))
        }
        None => (agency::of_agency(stored), stored.status.as_deref().map(agency::status)),
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

/// What people call a step: its task, and which item, round or undo of it. `checks[3]/fees#2` is "Fees (item 4,
/// round 2)".
pub fn label(protocol: Option<&Protocol>, step: &StepPath) -> String {
    let label = match protocol.and_then(|protocol| protocol.task(step)) {
        Some(task) => task.label(),
        None => facts::words(step.task_id()),
    };
    let mut which = Vec::new();
    let mut around = step.group();
    let mut round = step.round();
    while let Some((group, item)) = around {
        which.extend(item.map(|item| format!("item {}", item + 1)));
        round = if round == 1 { group.round() } else { round };
        around = group.group();
    }
    which.reverse();
    which.extend((round > 1).then(|| format!("round {round}")));
    let label = if which.is_empty() { label } else { format!("{label} ({})", which.join(", ")) };
    if step.undone().is_some() { format!("Taking back: {label}") } else { label }
}

/// The detail of an entry, without how the request came in: that is for the export.
fn detail(stored: &Stored) -> Value {
    let Ok(mut opened) = open(&stored.leaf, stored.beside.as_ref()) else { return Value::Null };
    if opened.veil(stored.disclosures.as_deref().unwrap_or_default()).is_err() {
        return Value::Null;
    }
    let mut detail = opened.detail;
    if let Value::Object(map) = &mut detail {
        map.shift_remove("via");
    }
    detail
}

/// Somebody's words as the end of a sentence.
pub fn ended(words: &str) -> String {
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
