//! What may be asked of a run, and how it is refused.

use super::event::Via;
use super::ids::{ApprovalId, InstanceId, OverrideId, RunId, StepPath};
use super::protocol::Protocol;
use super::redact::Mark;
use super::state::{
    Choice, Lineage, OverrideAction, OverrideChoice, Parent, Payload, ProtocolRef, RunStatus,
};
use chrono::{DateTime, TimeDelta, Utc};
use serde_json::Value;
use std::sync::Arc;

/// Who asks. The permission was checked at the door; roles and groups are here because only the engine sees
/// the state that four eyes, quorum and slots depend on.
#[derive(Debug, Clone, PartialEq)]
pub struct Actor {
    pub name: String,
    /// Every role that the actor holds. Empty for the system itself.
    pub roles: Vec<String>,
    /// Every group that the actor belongs to.
    pub groups: Vec<String>,
    pub via: Option<Via>,
}

impl Actor {
    /// HMS-ACT itself: results, deadlines, rescues. No user can have this name (a space is not allowed in one).
    pub fn system() -> Actor {
        Actor { name: "HMS-ACT".to_owned(), roles: Vec::new(), groups: Vec::new(), via: None }
    }
}

/// Everything that a new run begins with.
#[derive(Debug, Clone)]
pub struct StartRun {
    pub run_id: RunId,
    pub protocol_ref: ProtocolRef,
    pub protocol: Arc<Protocol>,
    pub payload: Payload,
    pub salt: [u8; 32],
    /// Whose name the run bears. None: the actor's. A sub-run is its parent's starter's, so that four eyes hold.
    pub started_by: Option<String>,
    pub parent: Option<Parent>,
    pub rerun: Option<Rerun>,
    /// What is sealed beside what the protocol marks.
    pub redact: Vec<Mark>,
}

/// What a rerun begins with beside the rest.
#[derive(Debug, Clone)]
pub struct Rerun {
    pub of: RunId,
    pub lineage: RunId,
    pub reason: String,
    pub before: Arc<Lineage>,
}

#[derive(Debug, Clone, PartialEq)]
pub enum Command {
    /// An attempt succeeded.
    CompleteStep { step: StepPath, attempt: u32, result: Value },
    /// An attempt failed.
    FailStep { step: StepPath, attempt: u32, error: String, retryable: bool, retry_after: Option<TimeDelta> },
    /// The service answered 202: the step waits for its callback.
    AcceptStep { step: StepPath, attempt: u32 },
    /// A service calls back, whichever attempt it answers.
    CallBack { step: StepPath, outcome: Result<Value, Fault> },
    /// A worker took the attempt.
    ClaimStep { step: StepPath, attempt: u32, worker: String },
    /// The instance of an attempt, or its worker, is gone.
    RescueStep { step: StepPath, attempt: u32, reason: String },
    /// A time has come. `step` is none for what concerns the whole run.
    FireTimer { step: Option<StepPath>, attempt: u32, kind: TimerKind },
    /// An outside event for a step that waits for it.
    ReceiveEvent { step: StepPath, event: i64, payload: Value },
    /// A sub-run is over.
    SubrunEnded {
        step: StepPath,
        run: RunId,
        outcome: RunStatus,
        payload: Payload,
        /// What is sealed in that payload.
        redact: Vec<Mark>,
        note: Option<String>,
    },
    /// There is room under the concurrency limit.
    AdmitRun,
    /// A person decided an approval.
    Decide { approval: ApprovalId, choice: Choice, reason: Option<String>, form: Option<Value> },
    /// A person stops the run for a while.
    PauseRun { reason: String },
    /// A person lets a paused run go on.
    ResumeRun { reason: String },
    /// A person stops the run.
    CancelRun { reason: String },
    /// A person has a step that paused its run done once more.
    RetryStep { step: StepPath, reason: String },
    /// A person passes over a step.
    SkipStep { step: StepPath, reason: String },
    /// A person sets a value in the payload. `path` are the keys that lead to it.
    SetValue { path: Vec<String>, value: Value, reason: String },
    /// A person moves a parked run to another version of its protocol.
    MigrateRun { to: ProtocolRef, protocol: Arc<Protocol>, reason: String },
    /// An official stops the run for review.
    FileOverride {
        id: OverrideId,
        action: OverrideAction,
        reason: String,
        new_value: Option<Payload>,
        review: TimeDelta,
    },
    /// Another official decides an override.
    DecideOverride {
        id: OverrideId,
        choice: OverrideChoice,
        reason: Option<String>,
        new_value: Option<Payload>,
    },
}

/// Why a service could not do what it took on.
#[derive(Debug, Clone, PartialEq)]
pub struct Fault {
    pub error: String,
    /// Another attempt may succeed: the step's `retry` says whether there is one.
    pub retryable: bool,
}

/// What a timer is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum TimerKind {
    /// The step is past its `max_minutes`.
    MaxMinutes,
    /// The next attempt is due.
    Retry,
    /// A `wait` is over.
    Wait,
    /// Nobody decided in `due_minutes`.
    Due,
    /// The approvers are reminded.
    Remind,
    /// The attempts of a run that ends had their time.
    Grace,
}

impl TimerKind {
    pub const ALL: [TimerKind; 6] = [
        TimerKind::MaxMinutes,
        TimerKind::Retry,
        TimerKind::Wait,
        TimerKind::Due,
        TimerKind::Remind,
        TimerKind::Grace,
    ];

    pub fn as_str(self) -> &'static str {
        match self {
            TimerKind::MaxMinutes => "max_minutes",
            TimerKind::Retry => "retry",
            TimerKind::Wait => "wait",
            TimerKind::Due => "due",
            TimerKind::Remind => "remind",
            TimerKind::Grace => "grace",
        }
    }

    pub fn parse(text: &str) -> Option<TimerKind> {
        TimerKind::ALL.into_iter().find(|kind| kind.as_str() == text)
    }
}

/// A command was refused: nothing happened.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum Rejection {
    #[error("Run {run} is already over: it is {}.", status.as_str())]
    RunIsOver { run: RunId, status: RunStatus },
    #[error("This result belongs to an earlier attempt at {step}; it changes nothing.")]
    StaleAttempt { step: StepPath },
    #[error("Approval {} does not belong to run {run}.", approval.0)]
    UnknownApproval { run: RunId, approval: ApprovalId },
    #[error("{by} already decided this ({}) at {}.", choice.as_str(), at.format("%Y-%m-%d %H:%M:%S UTC"))]
    AlreadyDecided { by: String, choice: Choice, at: DateTime<Utc> },
    #[error("This was asked again, because the run changed. Look at the new question.")]
    AskedAgain,
    #[error("You started this run, so somebody else must decide.")]
    FourEyes,
    #[error("This is for {who} to decide.")]
    NotAnApprover { who: String },
    #[error("You approved this already. It needs another person.")]
    VotedBefore,
    /// Every slot that the actor fits has its people.
    #[error("Enough people approved for {taken} already. What is needed now is {missing}.")]
    SlotTaken { taken: String, missing: String },
    #[error("You filed this override, so somebody else must decide it.")]
    OwnOverride,
    #[error("Run {run} is not paused: it is {}.", status.as_str())]
    NotPaused { run: RunId, status: RunStatus },
    #[error("There is no step {step} in run {run}.")]
    UnknownStep { run: RunId, step: StepPath },
    #[error("There is no override {} under review in run {run}.", id.0)]
    UnknownOverride { run: RunId, id: OverrideId },
    /// It makes no sense in the state that the run is in. The sentence says why, and what would.
    #[error("{0}")]
    NotNow(String),
    /// What was sent does not fit: which field, and a sentence.
    #[error("{message}")]
    Unfit { field: &'static str, message: String },
}

impl Rejection {
    /// To a rerun, while another run of its lineage is on its way.
    pub fn lineage_open(run: RunId) -> Rejection {
        let sentence = format!("Run {run} of the same lineage is not over. Wait for its end, or cancel it.");
        Rejection::NotNow(sentence)
    }
}

/// What `decide` needs besides the run: all of it comes in, so that the engine has no clock and no randomness.
pub struct Context<'a> {
    pub now: DateTime<Utc>,
    pub actor: &'a Actor,
    pub catalog: &'a dyn Catalog,
    /// Where attempts that start now will run.
    pub instance: InstanceId,
    pub numbers: &'a mut dyn Numbers,
}

/// Draws numbers that nobody else has.
pub trait Numbers {
    fn approval(&mut self) -> ApprovalId;
    /// For a sub-run.
    fn run(&mut self) -> RunId;
}

/// The registered actions, agents and protocols.
pub trait Catalog {
    fn action(&self, name: &str) -> Option<CatalogEntry>;
    fn agent(&self, name: &str) -> Option<CatalogEntry>;
    /// The latest version of a protocol, by its id or name.
    fn protocol(&self, name: &str) -> Option<ProtocolRef>;
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CatalogEntry {
    pub version: i32,
    pub done_by: DoneBy,
}

/// Who does what an action says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DoneBy {
    /// Nobody: its result is its resolved `with`.
    Engine,
    /// An executor of the instance that decided the attempt.
    Instance,
    /// Whichever worker claims it.
    Worker,
}
