//! What happened to a run. Each event becomes one entry of the activity log, and a run is the fold of its events.

use super::ids::{ApprovalId, InstanceId, OverrideId, RunId, StepPath};
use super::protocol::{Approvers, Join};
use super::redact::Mark;
use super::seating::Filled;
use super::state::{
    Choice, OverrideAction, OverrideChoice, Parent, Payload, ProtocolRef, RunStatus, Slot, StepStatus,
};
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// An event and the step that it concerns.
#[derive(Debug, Clone, PartialEq)]
pub struct Event {
    /// None: the run as a whole.
    pub step: Option<StepPath>,
    pub attempt: Option<u32>,
    pub kind: EventKind,
}

/// An event as it stands in the log: with when, and by whom.
#[derive(Debug, Clone, PartialEq)]
pub struct Recorded {
    pub at: DateTime<Utc>,
    pub actor: String,
    pub event: Event,
}

/// How a person's command came in. None of it is needed to fold a run; an auditor needs all of it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, Default)]
pub struct Via {
    /// `session`, `token` or `command line`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub auth: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub address: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub request_id: Option<String>,
}

/// The type of an entry and its detail. The names are part of the log's format: they are added to, never changed.
///
/// What is added is met by versions that do not know it, while instances are replaced one by one. They must not fold
/// such a run as if it were not there, so nothing that is unknown is passed over; but for [`Via`], which no fold reads.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", content = "detail", deny_unknown_fields)]
pub enum EventKind {
    #[serde(rename = "run.queued")]
    RunQueued {
        protocol: ProtocolRef,
        payload: Map<String, Value>,
        lineage: RunId,
        /// Where it is not the actor: whose name the run bears.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        started_by: Option<String>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        parent: Option<Parent>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        rerun_of: Option<RunId>,
        /// Of a rerun.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        reason: Option<String>,
        /// What is sealed beside what the protocol marks: it came sealed from the run above.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        redact: Vec<Mark>,
        /// It waits for room under this limit.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        slot: Option<Slot>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        via: Option<Via>,
    },
    /// There was room under the concurrency limit.
    #[serde(rename = "run.admitted")]
    RunAdmitted {},
    #[serde(rename = "step.started")]
    StepStarted {
        /// `script`, `agent` or `undo`.
        kind: String,
        uses: String,
        action_version: i32,
        /// In the entry's own `checksum` field; not repeated in the detail.
        #[serde(skip)]
        checksum: String,
        idempotency_key: String,
        /// None for a step that is computed in place, and for one that a worker will claim.
        instance: Option<InstanceId>,
        /// A worker must claim it.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        worker: bool,
    },
    /// The result of a step of an earlier run of the lineage was taken over.
    #[serde(rename = "step.carried")]
    StepCarried {
        run: RunId,
        from_step: StepPath,
        action_version: i32,
        #[serde(skip)]
        checksum: String,
        result: Value,
    },
    #[serde(rename = "step.claimed")]
    StepClaimed { worker: String },
    /// The service answered 202.
    #[serde(rename = "step.accepted")]
    StepAccepted {},
    #[serde(rename = "step.done")]
    StepDone { result: Value },
    /// An attempt failed, and the next one has its time.
    #[serde(rename = "step.retrying")]
    StepRetrying { error: String, retry_at: DateTime<Utc> },
    /// The last attempt failed.
    #[serde(rename = "step.failed")]
    StepFailed { error: String, retryable: bool },
    /// A person has it done once more.
    #[serde(rename = "step.retried")]
    StepRetried {
        reason: String,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        via: Option<Via>,
    },
    #[serde(rename = "step.skipped")]
    StepSkipped {
        reason: String,
        /// The approver's role or name, where the step was an approval that a person skipped.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        as_role: Option<String>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        via: Option<Via>,
    },
    #[serde(rename = "step.cancelled")]
    StepCancelled { reason: String },
    #[serde(rename = "step.rescued")]
    StepRescued { instance: Option<InstanceId>, reason: String },
    #[serde(rename = "step.stalled")]
    StepStalled { deadline: DateTime<Utc> },
    #[serde(rename = "group.started")]
    GroupStarted {
        branches: u32,
        join: Join,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        items: Option<Vec<Value>>,
    },
    /// Enough branches succeeded. The result is the list of what they saved.
    #[serde(rename = "group.done")]
    GroupDone {
        succeeded: u32,
        failed: u32,
        /// Branches that ended without a success, where successes are counted.
        #[serde(default, skip_serializing_if = "is_zero")]
        fruitless: u32,
    },
    #[serde(rename = "wait.started")]
    WaitStarted {
        #[serde(default, skip_serializing_if = "Option::is_none")]
        until: Option<DateTime<Utc>>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        event: Option<String>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        key: Option<String>,
    },
    /// The outside event came. Its payload is the result.
    #[serde(rename = "event.received")]
    EventReceived { event: i64, payload: Value },
    #[serde(rename = "subrun.started")]
    SubrunStarted {
        run: RunId,
        protocol: ProtocolRef,
        input: Payload,
        #[serde(skip)]
        checksum: String,
    },
    #[serde(rename = "approval.opened")]
    ApprovalOpened {
        approval: ApprovalId,
        title: String,
        approvers: Approvers,
        #[serde(default = "one", skip_serializing_if = "is_one")]
        quorum: u32,
        four_eyes: bool,
        due_at: Option<DateTime<Utc>>,
        /// Asked again because a value was changed.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        again: bool,
    },
    #[serde(rename = "approval.reminded")]
    ApprovalReminded { approval: ApprovalId, next_at: DateTime<Utc> },
    /// These may decide now too.
    #[serde(rename = "approval.escalated")]
    ApprovalEscalated { approval: ApprovalId, approvers: Approvers },
    /// One of several approvals that are needed.
    #[serde(rename = "approval.voted")]
    ApprovalVoted {
        approval: ApprovalId,
        reason: Option<String>,
        form: Option<Value>,
        as_role: String,
        /// The slots that the voter may fill, where there are slots.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        fits: Vec<String>,
        /// Who fills which slot now: whoever approved before may have moved to another that they fit, too.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        filled: Vec<Filled>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        via: Option<Via>,
    },
    #[serde(rename = "approval.decided")]
    ApprovalDecided {
        approval: ApprovalId,
        decision: Choice,
        reason: Option<String>,
        form: Option<Value>,
        /// The role, the group or the name that let the decider decide.
        as_role: String,
        /// Who filled which slot, of what was approved.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        filled: Vec<Filled>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        via: Option<Via>,
    },
    #[serde(rename = "run.paused")]
    RunPaused {
        reason: String,
        /// The step that paused it. None: a person did.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        step: Option<StepPath>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        via: Option<Via>,
    },
    #[serde(rename = "run.resumed")]
    RunResumed {
        reason: String,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        via: Option<Via>,
    },
    #[serde(rename = "run.cancel_requested")]
    CancelRequested {
        reason: String,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        via: Option<Via>,
    },
    /// The run will be this when what it did is taken back.
    #[serde(rename = "run.ending")]
    RunEnding { outcome: RunStatus, reason: Option<String>, grace_until: DateTime<Utc> },
    #[serde(rename = "run.value_set")]
    ValueSet {
        path: Vec<String>,
        value: Value,
        reason: String,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        via: Option<Via>,
    },
    #[serde(rename = "run.migrated")]
    RunMigrated {
        to: ProtocolRef,
        reason: String,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        via: Option<Via>,
    },
    /// What a run that this one started brings back is sealed there, and so it is here.
    #[serde(rename = "run.marked")]
    RunMarked { from: RunId, redact: Vec<Mark> },
    #[serde(rename = "override.filed")]
    OverrideFiled {
        #[serde(rename = "override")]
        id: OverrideId,
        action: OverrideAction,
        reason: String,
        new_value: Option<Payload>,
        review_until: DateTime<Utc>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        via: Option<Via>,
    },
    #[serde(rename = "override.decided")]
    OverrideDecided {
        #[serde(rename = "override")]
        id: OverrideId,
        choice: OverrideChoice,
        reason: Option<String>,
        /// What was merged into the payload.
        new_value: Option<Payload>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        via: Option<Via>,
    },
    /// The run's last entry. `count` includes it.
    #[serde(rename = "run.closed")]
    RunClosed { outcome: RunStatus, reason: Option<String>, count: u64 },
}

/// Why there is no event in an entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Unreadable {
    /// It has a type, a field or a word that this version does not know: a newer one wrote it.
    Newer(String),
    /// What it holds is not what such an entry holds.
    Damaged(String),
}

impl From<serde_json::Error> for Unreadable {
    fn from(error: serde_json::Error) -> Unreadable {
        let told = error.to_string();
        // serde says it in words alone; a test holds it to them.
        match ["unknown variant", "unknown field"].iter().any(|unknown| told.starts_with(unknown)) {
            true => Unreadable::Newer(told),
            false => Unreadable::Damaged(told),
        }
    }
}

fn one() -> u32 {
    1
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes references")]
fn is_one(number: &u32) -> bool {
    *number == 1
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes references")]
fn is_zero(number: &u32) -> bool {
    *number == 0
}

impl EventKind {
    /// The entry's `type`.
    pub fn type_name(&self) -> &'static str {
        match self {
            EventKind::RunQueued { .. } => "run.queued",
            EventKind::RunAdmitted {} => "run.admitted",
            EventKind::StepStarted { .. } => "step.started",
            EventKind::StepCarried { .. } => "step.carried",
            EventKind::StepClaimed { .. } => "step.claimed",
            EventKind::StepAccepted {} => "step.accepted",
            EventKind::StepDone { .. } => "step.done",
            EventKind::StepRetrying { .. } => "step.retrying",
            EventKind::StepFailed { .. } => "step.failed",
            EventKind::StepRetried { .. } => "step.retried",
            EventKind::StepSkipped { .. } => "step.skipped",
            EventKind::StepCancelled { .. } => "step.cancelled",
            EventKind::StepRescued { .. } => "step.rescued",
            EventKind::StepStalled { .. } => "step.stalled",
            EventKind::GroupStarted { .. } => "group.started",
            EventKind::GroupDone { .. } => "group.done",
            EventKind::WaitStarted { .. } => "wait.started",
            EventKind::EventReceived { .. } => "event.received",
            EventKind::SubrunStarted { .. } => "subrun.started",
            EventKind::ApprovalOpened { .. } => "approval.opened",
            EventKind::ApprovalReminded { .. } => "approval.reminded",
            EventKind::ApprovalEscalated { .. } => "approval.escalated",
            EventKind::ApprovalVoted { .. } => "approval.voted",
            EventKind::ApprovalDecided { .. } => "approval.decided",
            EventKind::RunPaused { .. } => "run.paused",
            EventKind::RunResumed { .. } => "run.resumed",
            EventKind::CancelRequested { .. } => "run.cancel_requested",
            EventKind::RunEnding { .. } => "run.ending",
            EventKind::ValueSet { .. } => "run.value_set",
            EventKind::RunMigrated { .. } => "run.migrated",
            EventKind::RunMarked { .. } => "run.marked",
            EventKind::OverrideFiled { .. } => "override.filed",
            EventKind::OverrideDecided { .. } => "override.decided",
            EventKind::RunClosed { .. } => "run.closed",
        }
    }

    /// The entry's `status`: the state that the step, or else the run, is in after it. None: unchanged.
    pub fn status(&self) -> Option<&'static str> {
        match self {
            EventKind::RunQueued { .. } => Some(RunStatus::Queued.as_str()),
            EventKind::StepStarted { worker: true, .. }
            | EventKind::StepAccepted {}
            | EventKind::StepRetrying { .. }
            | EventKind::WaitStarted { .. }
            | EventKind::ApprovalOpened { .. } => Some(StepStatus::Waiting.as_str()),
            EventKind::StepStarted { .. }
            | EventKind::StepClaimed { .. }
            | EventKind::GroupStarted { .. }
            | EventKind::SubrunStarted { .. } => Some(StepStatus::Running.as_str()),
            EventKind::StepDone { .. }
            | EventKind::StepCarried { .. }
            | EventKind::GroupDone { .. }
            | EventKind::EventReceived { .. }
            | EventKind::ApprovalDecided { .. } => Some(StepStatus::Done.as_str()),
            EventKind::StepFailed { .. } => Some(StepStatus::Failed.as_str()),
            EventKind::StepSkipped { .. } => Some(StepStatus::Skipped.as_str()),
            EventKind::StepCancelled { .. } => Some(StepStatus::Cancelled.as_str()),
            EventKind::RunPaused { .. } | EventKind::OverrideFiled { .. } => Some(RunStatus::Paused.as_str()),
            EventKind::RunResumed { .. } | EventKind::RunEnding { .. } => Some(RunStatus::Running.as_str()),
            EventKind::RunClosed { outcome, .. } => Some(outcome.as_str()),
            EventKind::RunAdmitted {}
            | EventKind::StepRescued { .. }
            | EventKind::StepRetried { .. }
            | EventKind::StepStalled { .. }
            | EventKind::ApprovalReminded { .. }
            | EventKind::ApprovalEscalated { .. }
            | EventKind::ApprovalVoted { .. }
            | EventKind::CancelRequested { .. }
            | EventKind::ValueSet { .. }
            | EventKind::RunMigrated { .. }
            | EventKind::RunMarked { .. }
            | EventKind::OverrideDecided { .. } => None,
        }
    }

    pub fn checksum(&self) -> Option<&str> {
        match self {
            EventKind::StepStarted { checksum, .. }
            | EventKind::StepCarried { checksum, .. }
            | EventKind::SubrunStarted { checksum, .. } => Some(checksum),
            _ => None,
        }
    }

    /// The entry's `detail`.
    pub fn detail(&self) -> Value {
        let mut tagged =
            serde_json::to_value(self).expect("an event is made of JSON values and plain fields");
        tagged.get_mut("detail").map_or(Value::Null, Value::take)
    }

    /// The event of an entry, or what does not fit.
    pub fn from_entry(
        type_name: &str,
        checksum: Option<&str>,
        detail: Value,
    ) -> Result<EventKind, Unreadable> {
        let tagged = serde_json::json!({"type": type_name, "detail": detail});
        let mut kind: EventKind = serde_json::from_value(tagged)?;
        if let EventKind::StepStarted { checksum: place, .. }
        | EventKind::StepCarried { checksum: place, .. }
        | EventKind::SubrunStarted { checksum: place, .. } = &mut kind
        {
            *place = checksum.unwrap_or_default().to_owned();
        }
        Ok(kind)
    }
}

#[cfg(test)]
mod tests {
    use super::{EventKind, Unreadable};
    use serde_json::{Value, json};

    fn read(type_name: &str, detail: Value) -> Result<EventKind, Unreadable> {
        EventKind::from_entry(type_name, None, detail)
    }

    #[test]
    fn what_is_not_known_is_newer_and_never_passed_over() {
        let protocol = json!({"id": 7, "version": 1, "name": "Renewal"});
        let queued = |more: Value| {
            let mut detail = json!({"protocol": protocol, "payload": {"any": {"thing": 1}}, "lineage": 1});
            detail.as_object_mut().expect("an object").extend(more.as_object().expect("an object").clone());
            read("run.queued", detail)
        };
        assert!(queued(json!({})).is_ok());
        let slots = json!([{"name": "legal", "count": 1, "roles": [], "users": ["ada"], "unless": "away"}]);
        let opened = json!({"approval": 1, "title": "", "four_eyes": true, "due_at": null,
            "approvers": {"roles": [], "users": [], "slots": slots}});
        for newer in [
            read("run.delegated", json!({"to": "ada"})),
            read("run.closed", json!({"outcome": "archived", "reason": null, "count": 3})),
            read("step.done", json!({"result": 1, "confidence": 0.5})),
            queued(json!({"priority": 3})),
            queued(json!({"protocol": {"id": 7, "version": 1, "name": "Renewal", "tenant": "bis"}})),
            queued(json!({"slot": {"key": "a", "limit": 1, "when_full": "wait", "weight": 2}})),
            queued(json!({"redact": [{"path": ["a"], "until": "2030"}]})),
            read("approval.opened", opened),
        ] {
            assert!(matches!(newer, Err(Unreadable::Newer(_))), "{newer:?}");
        }
    }

    #[test]
    fn what_does_not_fit_is_damaged() {
        for damaged in [
            read("step.done", json!({})),
            read("run.closed", json!({"outcome": "completed", "reason": null, "count": "three"})),
            read("step.done", Value::Null),
        ] {
            assert!(matches!(damaged, Err(Unreadable::Damaged(_))), "{damaged:?}");
        }
    }

    #[test]
    fn how_a_command_came_in_may_be_told_in_new_ways() {
        let via = json!({"auth": "passkey", "device": "a phone"});
        assert!(read("run.resumed", json!({"reason": "Go on.", "via": via})).is_ok());
    }
}
