//! The state of a run. A run is the fold of its events: nothing here is written but by `apply`.

use super::ids::{ApprovalId, InstanceId, OverrideId, RunId, StepPath};
use super::protocol::{Approvers, Protocol, WhenFull};
use super::redact::Mark;
use super::seating::{Filled, Seating};
use super::steps::Steps;
use chrono::{DateTime, Utc};
use rpds::HashTrieMapSync;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use std::collections::HashMap;
use std::sync::Arc;

pub type Payload = Map<String, Value>;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RunStatus {
    /// Stamped and logged; no step has begun. `StartRun` puts a run here; its first step takes it out: at once, or
    /// when `AdmitRun` finds room for it under its protocol's concurrency limit. After a crash it is admitted later.
    Queued,
    /// Some step is being executed, or is about to be; or the run is ending, and what it did is taken back. After a
    /// crash its attempts are rescued.
    Running,
    /// Every open step waits: for a person, an event, a time, a worker or a callback. What it waits for moves it, or
    /// an act of a person; a crash does nothing.
    Waiting,
    /// A person must look: nothing starts. `PauseRun`, an override, `on_failure: pause` and the third lost attempt in
    /// a row put a run here; `ResumeRun`, `RetryStep`, `SkipStep`, a decision on the override and `CancelRun` take it
    /// out. A crash does nothing.
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
    /// A person, an event, a time, a worker or a callback must come. That takes it out; a crash does nothing.
    Waiting,
    /// Finished, with its result in the payload.
    Done,
    /// Its last attempt failed, or it could not begin.
    Failed,
    /// Its `when` was false, or a person skipped it.
    Skipped,
    /// The run, or its group, ended before it was finished.
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

/// The payload that a step sees: maps laid over each other. The last is its branch's own.
pub type Scope = Vec<Arc<Payload>>;

/// A step that has begun.
#[derive(Debug, Clone, PartialEq)]
pub struct Step {
    pub status: StepStatus,
    /// Number of the latest attempt, from 1, always rising: a result of an older one is ignored.
    pub attempt: u32,
    /// Attempts that failed: those that `retry` counts.
    pub failures: u32,
    /// Rescues in a row. The third pauses the run.
    pub rescues: u32,
    /// Where the attempt runs. None when none does.
    pub instance: Option<InstanceId>,
    /// The worker that claimed the attempt.
    pub worker: Option<String>,
    /// What it waits for, while it waits.
    pub waits: Option<Waits>,
    pub started_at: DateTime<Utc>,
    /// When the step reached its status.
    pub changed_at: DateTime<Utc>,
    /// The run's version when the step reached its status: what ended later is undone earlier.
    pub changed_in: u64,
    /// Past it `on_timeout` says what happens.
    pub deadline: Option<DateTime<Utc>>,
    /// Flagged: past its `max_minutes`.
    pub stalled: bool,
    /// HMAC-SHA-256 over what the step was asked to do, hex.
    pub checksum: Option<String>,
    /// Version of the action or agent that the latest attempt was decided with.
    pub action_version: i32,
    /// What is sent as `Idempotency-Key` with every attempt.
    pub idempotency_key: Option<String>,
    /// The payload as it was when the step began, while it is open or may be undone: attempts resolve `with` against
    /// it, so that each of them asks for the same.
    pub seen: Option<Scope>,
    /// Its result, where it may be undone: the undo may need it.
    pub result: Option<Arc<Value>>,
    pub approval: Option<Approval>,
    /// What a group's branches have come to.
    pub group: Option<Group>,
    /// The run of a `protocol` step.
    pub subrun: Option<RunId>,
    /// Its result was taken over from another run of the lineage: it did nothing here.
    pub carried: bool,
    /// An approval that is asked again because a value was changed; its list went on before.
    pub reopened: bool,
    /// What it did was taken back.
    pub undone: bool,
    /// Why it failed, was skipped or was cancelled.
    pub note: Option<String>,
}

impl Step {
    /// Its attempt was lost and no other has begun: a person must resume the run first.
    pub fn is_lost(&self) -> bool {
        self.status == StepStatus::Running
            && self.instance.is_none()
            && self.worker.is_none()
            && self.group.is_none()
            && self.subrun.is_none()
    }
}

/// What a waiting step waits for.
#[derive(Debug, Clone, PartialEq)]
pub enum Waits {
    Approval,
    /// The next attempt, after one that failed.
    Retry {
        at: DateTime<Utc>,
    },
    Time {
        at: DateTime<Utc>,
    },
    Event {
        name: String,
        key: Option<String>,
    },
    /// The service answered 202 and will call back.
    Callback,
    /// A worker must claim it.
    Worker,
}

/// A group while it is open: what its branches have come to.
#[derive(Debug, Clone, PartialEq)]
pub struct Group {
    pub branches: u32,
    /// How many must succeed.
    pub needed: u32,
    /// Successes are counted (`any`, a number): a branch that ends without one is not enough.
    pub counts: bool,
    /// The items of a `for_each`.
    pub items: Option<Arc<Vec<Value>>>,
    /// Branches are begun in order: the first so many have.
    pub begun: u32,
    pub succeeded: u32,
    pub failed: u32,
    /// Branches that ended without a success, where successes are counted: skipped, or failed where the list goes on.
    pub fruitless: u32,
    /// What the branches saved: the payload that the next task of each sees beside the group's. Kept until the group
    /// is over.
    pub own: HashTrieMapSync<u32, Arc<Payload>>,
}

impl Group {
    /// Branches that are on their way.
    pub fn open(&self) -> u32 {
        self.begun - self.succeeded - self.failed - self.fruitless
    }

    /// Whether so many can still succeed.
    pub fn can_succeed(&self) -> bool {
        self.branches - self.failed - self.fruitless >= self.needed
    }
}

/// What a `hitl` step opens.
#[derive(Debug, Clone, PartialEq)]
pub struct Approval {
    pub id: ApprovalId,
    pub approvers: Approvers,
    /// How many different people must approve.
    pub quorum: u32,
    pub four_eyes: bool,
    pub due_at: Option<DateTime<Utc>>,
    pub remind_at: Option<DateTime<Utc>>,
    pub escalated: bool,
    /// Approvals so far, while more are needed.
    pub votes: Vec<Decision>,
    /// Who fills which slot, where there are slots.
    pub filled: Vec<Filled>,
    pub decision: Option<Decision>,
}

impl Approval {
    /// Everybody who approved so far, in the slots.
    pub fn seating(&self) -> Seating<'_> {
        let mut seating = Seating::new(&self.approvers.slots);
        for vote in &self.votes {
            seating.seat(&vote.by, &vote.fits);
        }
        seating
    }

    /// Whose approval is still needed: the slots that are not filled, with how many they lack.
    pub fn missing(&self) -> Approvers {
        self.approvers.missing(&self.filled)
    }

    /// Whose approval could still count, for the people in other slots may move: roles, users and groups.
    pub fn open_to(&self) -> Approvers {
        let mut seating = self.seating();
        let open = self.approvers.slots.iter().filter(|slot| seating.is_open(&slot.name)).cloned();
        Approvers { slots: open.collect(), ..self.approvers.clone() }.together()
    }
}

#[derive(Debug, Clone, PartialEq)]
pub struct Decision {
    pub choice: Choice,
    pub by: String,
    pub at: DateTime<Utc>,
    pub reason: Option<String>,
    pub form: Option<Value>,
    /// The slots that whoever decided may fill, where there are slots.
    pub fits: Vec<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Choice {
    Approve,
    Reject,
    /// Back to an earlier step.
    Return,
}

impl Choice {
    pub fn as_str(self) -> &'static str {
        match self {
            Choice::Approve => "approve",
            Choice::Reject => "reject",
            Choice::Return => "return",
        }
    }
}

/// Which version of which protocol a run pins.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ProtocolRef {
    pub id: i64,
    pub version: i32,
    pub name: String,
}

/// The step that a sub-run was started by.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Parent {
    pub run: RunId,
    pub step: StepPath,
    /// How many runs stand above this one.
    pub depth: u32,
}

/// The limit that a run was queued under.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Slot {
    pub key: String,
    pub limit: u32,
    pub when_full: WhenFull,
}

/// A run that is on its way to an end that is not completion: what runs is stopped, what was done is taken back.
#[derive(Debug, Clone, PartialEq)]
pub struct Ending {
    pub outcome: RunStatus,
    pub reason: Option<String>,
    /// Until then running attempts may still end by themselves.
    pub grace_until: DateTime<Utc>,
}

/// What an official filed against a run.
#[derive(Debug, Clone, PartialEq)]
pub struct Override {
    pub id: OverrideId,
    pub action: OverrideAction,
    pub filed_by: String,
    pub reason: String,
    pub new_value: Option<Payload>,
    pub review_until: DateTime<Utc>,
    /// The run was paused before: a rejected override leaves it so.
    pub was_paused: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OverrideAction {
    Pause,
    Cancel,
    Modify,
}

impl OverrideAction {
    pub fn as_str(self) -> &'static str {
        match self {
            OverrideAction::Pause => "pause",
            OverrideAction::Cancel => "cancel",
            OverrideAction::Modify => "modify",
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OverrideChoice {
    /// The override stands: the run is cancelled.
    Approve,
    /// The run goes on with the new values.
    Modify,
    /// The run goes on as it was.
    Reject,
}

impl OverrideChoice {
    pub fn as_str(self) -> &'static str {
        match self {
            OverrideChoice::Approve => "approve",
            OverrideChoice::Modify => "modify",
            OverrideChoice::Reject => "reject",
        }
    }
}

/// What the earlier runs of a lineage did: a rerun takes it over instead of doing it again.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Lineage {
    /// By checksum: the steps that were done and not undone, the latest last. Several may have asked for the same, as
    /// the branches of a `for_each` whose tasks do not look at their item.
    pub done: HashMap<String, Vec<DoneBefore>>,
    /// By checksum: how often it was taken back.
    pub undos: HashMap<String, u32>,
}

impl Lineage {
    /// What a step need not do again: what was done at the same place, else elsewhere.
    pub fn done_before(&self, checksum: &str, step: &StepPath) -> Option<&DoneBefore> {
        let done = self.done.get(checksum)?;
        done.iter().rev().find(|done| done.step == *step).or(done.last())
    }
}

#[derive(Debug, Clone, PartialEq)]
pub struct DoneBefore {
    pub run: RunId,
    pub step: StepPath,
    pub action_version: i32,
    pub result: Value,
}

#[derive(Debug, Clone, PartialEq)]
pub struct Run {
    pub id: RunId,
    pub protocol_ref: ProtocolRef,
    pub protocol: Arc<Protocol>,
    pub status: RunStatus,
    pub payload: Arc<Payload>,
    /// About how large the payload is, as JSON, with what open branches saved.
    pub payload_bytes: usize,
    pub started_by: String,
    /// Some: a sub-run.
    pub parent: Option<Parent>,
    /// Some: a rerun of that run.
    pub rerun_of: Option<RunId>,
    /// The first run of a chain of reruns: itself, unless it is a rerun.
    pub lineage: RunId,
    /// What the earlier runs of the lineage did. Of reruns only.
    pub before: Option<Arc<Lineage>>,
    /// Salt of the step checksums. None: erased.
    pub salt: Option<[u8; 32]>,
    /// What is sealed beside what its protocol marks: what came sealed from a run above, and what an earlier version
    /// of its protocol marked.
    pub marks: Arc<Vec<Mark>>,
    /// Marked values that were replaced since, each with its exact path: copies of them are sealed all the same.
    pub replaced: Arc<Vec<(Mark, Value)>>,
    /// The concurrency limit that it was queued under.
    pub slot: Option<Slot>,
    /// It waits for room under that limit.
    pub held: bool,
    pub steps: Steps,
    /// The round that each task is in, by its path without the round, where it is not the first.
    pub rounds: HashTrieMapSync<StepPath, u32>,
    /// How often each approval has sent the work back, by its path without the round.
    pub returns: HashTrieMapSync<StepPath, u32>,
    /// Approvals that are asked again because a value was changed: until they are decided nothing starts.
    pub reopened: u32,
    pub ending: Option<Ending>,
    /// The step that paused the run, while it is paused. None: a person did, or it is not.
    pub paused_for: Option<StepPath>,
    /// The override that is under review.
    pub overridden: Option<Arc<Override>>,
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

    /// The steps that are not over, groups included.
    pub fn open_steps(&self) -> impl Iterator<Item = (&StepPath, &Step)> {
        self.steps.open().map(|(path, step)| (path, step.as_ref()))
    }

    pub fn is_stalled(&self) -> bool {
        self.steps.any_stalled()
    }

    /// The round that a task is in, by its path without the round.
    pub fn round(&self, base: &StepPath) -> u32 {
        self.rounds.get(base).copied().unwrap_or(1)
    }

    /// The payload that the steps of a list see: with what their own branch saved.
    pub fn scope(&self, group: Option<(&StepPath, u32)>) -> Scope {
        let Some((path, branch)) = group else { return vec![Arc::clone(&self.payload)] };
        let Some(step) = self.steps.get(path) else { return vec![Arc::clone(&self.payload)] };
        let mut scope = step.seen.clone().unwrap_or_default();
        scope.extend(step.group.as_ref().and_then(|group| group.own.get(&branch)).cloned());
        scope
    }

    /// The steps that are open now, those inside a group in its place; when none is, the next one; none when the run
    /// is over.
    pub fn current_steps(&self) -> Vec<StepPath> {
        if self.status.is_final() {
            return Vec::new();
        }
        let at_work = self.open_steps().filter(|(_, step)| step.group.is_none());
        let open: Vec<StepPath> = at_work.map(|(path, _)| path.clone()).collect();
        if !open.is_empty() {
            return open;
        }
        let held = self.steps.iter().rev().find(|(path, step)| self.holds(path, step));
        held.map(|(path, _)| path.clone()).or_else(|| self.next_step()).into_iter().collect()
    }

    /// Whether this failed step is what a person must decide about.
    pub fn holds(&self, path: &StepPath, step: &Step) -> bool {
        use super::protocol::OnFailure;
        let pauses = || self.protocol.task(path).is_some_and(|task| task.on_failure == OnFailure::Pause);
        let latest = || self.round(&path.in_round(1)) == path.round();
        // What failed in a group that is over is nobody's concern any more.
        let is_over = |group: &StepPath| self.steps.get(group).is_none_or(|step| !step.status.is_open());
        let in_open_list = || path.group().is_none_or(|(group, _)| !is_over(&group));
        step.status == StepStatus::Failed
            && ((path.undone().is_some() && !step.undone)
                || (self.ending.is_none() && pauses() && latest() && in_open_list()))
    }

    /// The first task of the outermost list that has not begun.
    fn next_step(&self) -> Option<StepPath> {
        let paths = self.protocol.tasks.iter().map(|task| {
            let base = StepPath::top(&task.id, 1);
            base.in_round(self.round(&base))
        });
        paths.into_iter().find(|path| !self.steps.contains_key(path))
    }

    /// The approval of a step, open or decided.
    pub fn approval(&self, id: ApprovalId) -> Option<(&StepPath, &Step, &Approval)> {
        let found = |(path, step): (&StepPath, &Arc<Step>)| {
            step.approval.as_ref().is_some_and(|approval| approval.id == id).then(|| path.clone())
        };
        // Most are asked about while they are open.
        let path = self.steps.open().find_map(found).or_else(|| self.steps.iter().find_map(found))?;
        let place = self.steps.get_key_value(&path)?;
        Some((place.0, place.1.as_ref(), place.1.approval.as_ref()?))
    }
}
