//! What may be asked of a run, and how it is refused.

use super::event::Via;
use super::ids::{ApprovalId, InstanceId, RunId, StepPath};
use super::state::{Choice, Payload, ProtocolRef, RunStatus};
use chrono::{DateTime, Utc};
use serde_json::Value;
use std::sync::Arc;

/// Who asks. The permission was checked at the door; the roles are here because only the engine sees the state
/// that four eyes and quorum depend on.
#[derive(Debug, Clone, PartialEq)]
pub struct Actor {
    pub name: String,
    /// Every role that the actor holds. Empty for the system itself.
    pub roles: Vec<String>,
    pub via: Option<Via>,
}

impl Actor {
    /// HMS-ACT itself: results, deadlines, rescues. No user can have this name (a space is not allowed in one).
    pub fn system() -> Actor {
        Actor { name: "HMS-ACT".to_owned(), roles: Vec::new(), via: None }
    }
}

/// Everything that a new run begins with.
#[derive(Debug, Clone)]
pub struct StartRun {
    pub run_id: RunId,
    pub protocol_ref: ProtocolRef,
    pub protocol: Arc<super::protocol::Protocol>,
    pub payload: Payload,
    pub salt: [u8; 32],
}

#[derive(Debug, Clone, PartialEq)]
pub enum Command {
    /// An attempt succeeded.
    CompleteStep { step: StepPath, attempt: u32, result: Value },
    /// An attempt failed.
    FailStep { step: StepPath, attempt: u32, error: String, retryable: bool },
    /// The instance of an attempt is gone.
    RescueStep { step: StepPath, attempt: u32 },
    /// A step passed its deadline.
    FlagStalled { step: StepPath, attempt: u32 },
    /// A person decided an approval.
    Decide { approval: ApprovalId, choice: Choice, reason: Option<String>, form: Option<Value> },
    /// A person lets a paused run go on.
    ResumeRun { reason: String },
    /// A person stops the run.
    CancelRun { reason: String },
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
    #[error("You started this run, so somebody else must decide.")]
    FourEyes,
    #[error("This is for {who} to decide.")]
    NotAnApprover { who: String },
    #[error("Run {run} is not paused: it is {}.", status.as_str())]
    NotPaused { run: RunId, status: RunStatus },
}

/// What `decide` needs besides the run: all of it comes in, so that the engine has no clock and no randomness.
pub struct Context<'a> {
    pub now: DateTime<Utc>,
    pub actor: &'a Actor,
    pub catalog: &'a dyn Catalog,
    /// Where attempts that start now will run.
    pub instance: InstanceId,
    /// Draws the number of a new approval.
    pub draw_approval: &'a mut dyn FnMut() -> ApprovalId,
}

/// The registered actions and agents.
pub trait Catalog {
    fn action(&self, name: &str) -> Option<CatalogEntry>;
    fn agent(&self, name: &str) -> Option<CatalogEntry>;
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CatalogEntry {
    pub version: i32,
    /// Its result is its resolved `with`: no executor is needed.
    pub computes: bool,
}
