//! What happened to a run. Each event becomes one entry of the activity log, and a run is the fold of its events.

use super::ids::{ApprovalId, InstanceId, RunId, StepPath};
use super::protocol::Approvers;
use super::state::{Choice, ProtocolRef, RunStatus, StepStatus};
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
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", content = "detail")]
pub enum EventKind {
    #[serde(rename = "run.queued")]
    RunQueued {
        protocol: ProtocolRef,
        payload: Map<String, Value>,
        lineage: RunId,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        via: Option<Via>,
    },
    #[serde(rename = "step.started")]
    StepStarted {
        /// `script` or `agent`.
        kind: String,
        uses: String,
        action_version: i32,
        /// In the entry's own `checksum` field; not repeated in the detail.
        #[serde(skip)]
        checksum: String,
        idempotency_key: String,
        /// None for a step that is computed in place.
        instance: Option<InstanceId>,
    },
    #[serde(rename = "step.done")]
    StepDone { result: Value },
    #[serde(rename = "step.failed")]
    StepFailed { error: String, retryable: bool },
    #[serde(rename = "step.skipped")]
    StepSkipped { reason: String },
    #[serde(rename = "step.cancelled")]
    StepCancelled { reason: String },
    #[serde(rename = "step.rescued")]
    StepRescued { instance: Option<InstanceId>, reason: String },
    #[serde(rename = "step.stalled")]
    StepStalled { deadline: DateTime<Utc> },
    #[serde(rename = "approval.opened")]
    ApprovalOpened {
        approval: ApprovalId,
        title: String,
        approvers: Approvers,
        four_eyes: bool,
        due_at: Option<DateTime<Utc>>,
    },
    #[serde(rename = "approval.decided")]
    ApprovalDecided {
        approval: ApprovalId,
        decision: Choice,
        reason: Option<String>,
        form: Option<Value>,
        /// The role that let the decider decide.
        as_role: String,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        via: Option<Via>,
    },
    #[serde(rename = "run.paused")]
    RunPaused { reason: String },
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
    /// The run's last entry. `count` includes it.
    #[serde(rename = "run.closed")]
    RunClosed { outcome: RunStatus, reason: Option<String>, count: u64 },
}

impl EventKind {
    /// The entry's `type`.
    pub fn type_name(&self) -> &'static str {
        match self {
            EventKind::RunQueued { .. } => "run.queued",
            EventKind::StepStarted { .. } => "step.started",
            EventKind::StepDone { .. } => "step.done",
            EventKind::StepFailed { .. } => "step.failed",
            EventKind::StepSkipped { .. } => "step.skipped",
            EventKind::StepCancelled { .. } => "step.cancelled",
            EventKind::StepRescued { .. } => "step.rescued",
            EventKind::StepStalled { .. } => "step.stalled",
            EventKind::ApprovalOpened { .. } => "approval.opened",
            EventKind::ApprovalDecided { .. } => "approval.decided",
            EventKind::RunPaused { .. } => "run.paused",
            EventKind::RunResumed { .. } => "run.resumed",
            EventKind::CancelRequested { .. } => "run.cancel_requested",
            EventKind::RunClosed { .. } => "run.closed",
        }
    }

    /// The entry's `status`: the state that the step, or else the run, is in after it. None: unchanged.
    pub fn status(&self) -> Option<&'static str> {
        match self {
            EventKind::RunQueued { .. } => Some(RunStatus::Queued.as_str()),
            EventKind::StepStarted { .. } => Some(StepStatus::Running.as_str()),
            EventKind::StepDone { .. } | EventKind::ApprovalDecided { .. } => Some(StepStatus::Done.as_str()),
            EventKind::StepFailed { .. } => Some(StepStatus::Failed.as_str()),
            EventKind::StepSkipped { .. } => Some(StepStatus::Skipped.as_str()),
            EventKind::StepCancelled { .. } => Some(StepStatus::Cancelled.as_str()),
            EventKind::ApprovalOpened { .. } => Some(StepStatus::Waiting.as_str()),
            EventKind::RunPaused { .. } => Some(RunStatus::Paused.as_str()),
            EventKind::RunResumed { .. } => Some(RunStatus::Running.as_str()),
            EventKind::RunClosed { outcome, .. } => Some(outcome.as_str()),
            EventKind::StepRescued { .. }
            | EventKind::StepStalled { .. }
            | EventKind::CancelRequested { .. } => None,
        }
    }

    pub fn checksum(&self) -> Option<&str> {
        match self {
            EventKind::StepStarted { checksum, .. } => Some(checksum),
            _ => None,
        }
    }

    /// The entry's `detail`.
    pub fn detail(&self) -> Value {
        let mut tagged =
            serde_json::to_value(self).expect("an event is made of JSON values and plain fields");
        tagged.get_mut("detail").map_or(Value::Null, Value::take)
    }

    /// The event of an entry; the message says what does not fit.
    pub fn from_entry(type_name: &str, checksum: Option<&str>, detail: Value) -> Result<EventKind, String> {
        let tagged = serde_json::json!({"type": type_name, "detail": detail});
        let mut kind: EventKind = serde_json::from_value(tagged).map_err(|error| error.to_string())?;
        if let EventKind::StepStarted { checksum: place, .. } = &mut kind {
            *place = checksum.unwrap_or_default().to_owned();
        }
        Ok(kind)
    }
}
