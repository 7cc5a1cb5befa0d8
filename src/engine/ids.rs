//! What runs, approvals, instances and steps are called.

use serde::{Deserialize, Serialize};
use std::fmt;
use std::sync::Arc;

/// Number of a run; 0 is the agency's own stream in the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct RunId(pub i64);

impl fmt::Display for RunId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Number of an approval, unique over all runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ApprovalId(pub i64);

/// An instance of the app. Attempts carry it, so that those of a dead one can be rescued.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct InstanceId(pub i64);

/// Where a step stands in its run: task ids from the outermost group to the step, with the item of a `for_each`
/// in brackets and the round, when it is not the first, after `#`. `checks/legal`, `checks[3]/fees`,
/// `draft_letter#2`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct StepPath(Arc<str>);

impl StepPath {
    /// A step of the outermost list.
    pub fn top(task_id: &str, round: u32) -> StepPath {
        if round <= 1 { StepPath(task_id.into()) } else { StepPath(format!("{task_id}#{round}").into()) }
    }

    /// A path as it was written into the log.
    pub fn from_log(text: &str) -> StepPath {
        StepPath(text.into())
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The id of the step's task: the last part, without item and round.
    pub fn task_id(&self) -> &str {
        let last = self.0.rsplit('/').next().unwrap_or(&self.0);
        let end = last.find(['[', '#']).unwrap_or(last.len());
        &last[..end]
    }

    /// 1 for the first time that the step is done in a run.
    pub fn round(&self) -> u32 {
        self.0.rsplit_once('#').and_then(|(_, round)| round.parse().ok()).unwrap_or(1)
    }

    /// The path without its round: what an `Idempotency-Key` is derived from, beside the round itself.
    pub fn without_round(&self) -> &str {
        self.0.rsplit_once('#').map_or(&self.0, |(path, _)| path)
    }
}

impl fmt::Display for StepPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
