//! The state of a run. A run is the fold of its events: nothing here is written but by `apply`.

use super::ids::{ApprovalId, InstanceId, RunId, StepPath};
use super::protocol::{Approvers, Protocol};
use chrono::{DateTime, Utc};
use indexmap::IndexMap;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use std::sync::Arc;

pub type Payload = Map<String, Value>;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RunStatus {
    /// Stamped and logged; no step has begun. `StartRun` puts a run here; its first step takes it out. After a
    /// crash it is found by its status and begun.
    Queued,
    /// Some step is being executed, or is about to be. After a crash its attempts are rescued.
    Running,
    /// Every open step waits for a person. Only a decision, an override or a deadline moves it; a crash does nothing.
    Waiting,
    /// A person must look: nothing starts. `ResumeRun` and `CancelRun` take it out; a crash does nothing.
    Paused,
    /// All steps are done or skipped. Final.
    Completed,
    /// An approver said no. Final.
    Rejected,
    /// A step failed. Final.
    Failed,
    /// Somebody stopped it. Final.
    Cancelled,
}

impl RunStatus {
    pub const ALL: [RunStatus; 8] = [
        RunStatus::Queued,
        RunStatus::Running,
        RunStatus::Waiting,
        RunStatus::Paused,
        RunStatus::Completed,
        RunStatus::Rejected,
        RunStatus::Failed,
        RunStatus::Cancelled,
    ];

    pub fn as_str(self) -> &'static str {
        match self {
            RunStatus::Queued => "queued",
            RunStatus::Running => "running",
            RunStatus::Waiting => "waiting",
            RunStatus::Paused => "paused",
            RunStatus::Completed => "completed",
            RunStatus::Rejected => "rejected",
            RunStatus::Failed => "failed",
            RunStatus::Cancelled => "cancelled",
        }
    }

    pub fn parse(text: &str) -> Option<RunStatus> {
        RunStatus::ALL.into_iter().find(|status| status.as_str() == text)
    }

    /// Final states absorb: no command changes a run that is in one.
    pub fn is_final(self) -> bool {
        match self {
            RunStatus::Queued | RunStatus::Running | RunStatus::Waiting | RunStatus::Paused => false,
            RunStatus::Completed | RunStatus::Rejected | RunStatus::Failed | RunStatus::Cancelled => true,
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StepStatus {
    /// Not begun. Such a step has no entry in [`Run::steps`]; its turn comes when those before it are done.
    Pending,
    /// An attempt is with an executor. Its result, its fault or a rescue takes it out; after a crash of its
    /// instance it is rescued as a new attempt.
    Running,
    /// A person must act. Their decision takes it out; a crash does nothing.
    Waiting,
    /// Finished, with its result in the payload.
    Done,
    /// Its last attempt failed, or it could not begin.
    Failed,
    /// Its `when` was false.
    Skipped,
    /// The run ended before it was finished.
    Cancelled,
}

impl StepStatus {
    pub const ALL: [StepStatus; 7] = [
        StepStatus::Pending,
        StepStatus::Running,
        StepStatus::Waiting,
        StepStatus::Done,
        StepStatus::Failed,
        StepStatus::Skipped,
        StepStatus::Cancelled,
    ];

    pub fn as_str(self) -> &'static str {
        match self {
            StepStatus::Pending => "pending",
            StepStatus::Running => "running",
            StepStatus::Waiting => "waiting",
            StepStatus::Done => "done",
            StepStatus::Failed => "failed",
            StepStatus::Skipped => "skipped",
            StepStatus::Cancelled => "cancelled",
        }
    }

    pub fn is_open(self) -> bool {
        match self {
            StepStatus::Running | StepStatus::Waiting => true,
            StepStatus::Pending
            | StepStatus::Done
            | StepStatus::Failed
            | StepStatus::Skipped
            | StepStatus::Cancelled => false,
        }
    }
}

/// A step that has begun.
#[derive(Debug, Clone, PartialEq)]
pub struct Step {
    pub status: StepStatus,
    /// Number of the latest attempt, from 1, always rising: a result of an older one is ignored.
    pub attempt: u32,
    /// Rescues in a row. The third pauses the run.
    pub rescues: u32,
    /// Where the attempt runs. None when none does.
    pub instance: Option<InstanceId>,
    pub started_at: DateTime<Utc>,
    /// When the step reached its status.
    pub changed_at: DateTime<Utc>,
    /// Past it the step is flagged.
    pub deadline: Option<DateTime<Utc>>,
    /// Flagged: past its `max_minutes`.
    pub stalled: bool,
    /// HMAC-SHA-256 over what the step was asked to do, hex.
    pub checksum: Option<String>,
    /// What is sent as `Idempotency-Key` with every attempt.
    pub idempotency_key: Option<String>,
    /// The payload as it was when the step began, while it is open: attempts resolve `with` against it, so that
    /// each of them asks for the same.
    pub seen: Option<Arc<Payload>>,
    pub approval: Option<Approval>,
    /// Why it failed, was skipped or was cancelled.
    pub note: Option<String>,
}

/// What a `hitl` step opens.
#[derive(Debug, Clone, PartialEq)]
pub struct Approval {
    pub id: ApprovalId,
    pub approvers: Approvers,
    pub four_eyes: bool,
    pub due_at: Option<DateTime<Utc>>,
    pub decision: Option<Decision>,
}

#[derive(Debug, Clone, PartialEq)]
pub struct Decision {
    pub choice: Choice,
    pub by: String,
    pub at: DateTime<Utc>,
    pub reason: Option<String>,
    pub form: Option<Value>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Choice {
    Approve,
    Reject,
}

impl Choice {
    pub fn as_str(self) -> &'static str {
        match self {
            Choice::Approve => "approve",
            Choice::Reject => "reject",
        }
    }
}

/// Which version of which protocol a run pins.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProtocolRef {
    pub id: i64,
    pub version: i32,
    pub name: String,
}

#[derive(Debug, Clone, PartialEq)]
pub struct Run {
    pub id: RunId,
    pub protocol_ref: ProtocolRef,
    pub protocol: Arc<Protocol>,
    pub status: RunStatus,
    pub payload: Arc<Payload>,
    pub started_by: String,
    /// The first run of a chain of reruns: itself, unless it is a rerun.
    pub lineage: RunId,
    /// Salt of the step checksums. None: erased.
    pub salt: Option<[u8; 32]>,
    /// Steps that have begun, in that order.
    pub steps: IndexMap<StepPath, Arc<Step>>,
    /// Number of events so far: the `seq` of the last entry.
    pub version: u64,
    pub created_at: DateTime<Utc>,
    pub updated_at: DateTime<Utc>,
    pub closed_at: Option<DateTime<Utc>>,
    /// Why it was paused, cancelled, rejected or failed.
    pub note: Option<String>,
}

impl Run {
    pub fn step(&self, path: &str) -> Option<&Step> {
        self.steps.get(&StepPath::from_log(path)).map(Arc::as_ref)
    }

    pub fn open_steps(&self) -> impl Iterator<Item = (&StepPath, &Step)> {
        self.steps.iter().filter(|(_, step)| step.status.is_open()).map(|(path, step)| (path, step.as_ref()))
    }

    pub fn is_stalled(&self) -> bool {
        self.open_steps().any(|(_, step)| step.stalled)
    }

    /// The steps that are open now; when none is, the next one; none when the run is over.
    pub fn current_steps(&self) -> Vec<StepPath> {
        if self.status.is_final() {
            return Vec::new();
        }
        let open: Vec<StepPath> = self.open_steps().map(|(path, _)| path.clone()).collect();
        if !open.is_empty() {
            return open;
        }
        let begun = |id: &str| self.steps.contains_key(&StepPath::top(id, 1));
        self.protocol
            .tasks
            .iter()
            .find(|task| !begun(&task.id))
            .map(|task| StepPath::top(&task.id, 1))
            .into_iter()
            .collect()
    }

    /// The approval of a step, open or decided.
    pub fn approval(&self, id: ApprovalId) -> Option<(&StepPath, &Step, &Approval)> {
        self.steps.iter().find_map(|(path, step)| {
            let approval = step.approval.as_ref().filter(|approval| approval.id == id)?;
            Some((path, step.as_ref(), approval))
        })
    }
}
