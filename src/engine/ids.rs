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

/// Number of an override, unique over all runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct OverrideId(pub i64);

/// An instance of the app. Attempts carry it, so that those of a dead one can be rescued.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct InstanceId(pub i64);

/// Where a step stands in its run: task ids from the outermost group to the step, each with its round, when it is
/// not the first, after `#`, and the item of a `for_each` in brackets. `checks/legal`, `checks[3]/fees`,
/// `draft_letter#2`, `checks#2[3]/fees`. What takes a step back is called after it: `deploy~undo`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct StepPath(Arc<str>);

const UNDO: &str = "~undo";

impl StepPath {
    /// A step of the outermost list.
    pub fn top(task_id: &str, round: u32) -> StepPath {
        if round <= 1 { StepPath(task_id.into()) } else { StepPath(format!("{task_id}#{round}").into()) }
    }

    /// A step inside a group; `item` for a branch of a `for_each`.
    pub fn inside(group: &StepPath, item: Option<usize>, task_id: &str, round: u32) -> StepPath {
        let mut path = group.0.to_string();
        if let Some(item) = item {
            path.push_str(&format!("[{item}]"));
        }
        path.push('/');
        path.push_str(task_id);
        if round > 1 {
            path.push_str(&format!("#{round}"));
        }
        StepPath(path.into())
    }

    /// What takes this step back.
    pub fn undo(&self) -> StepPath {
        StepPath(format!("{}{UNDO}", self.0).into())
    }

    /// The step that this one takes back. None: it is no undo.
    pub fn undone(&self) -> Option<StepPath> {
        self.0.strip_suffix(UNDO).map(|step| StepPath(step.into()))
    }

    /// The group around the step, and the item of its `for_each`.
    pub fn group(&self) -> Option<(StepPath, Option<usize>)> {
        let (around, _) = self.0.rsplit_once('/')?;
        let item = around
            .strip_suffix(']')
            .and_then(|open| open.rsplit_once('['))
            .and_then(|(group, item)| Some((group, item.parse().ok()?)));
        match item {
            Some((group, item)) => Some((StepPath(group.into()), Some(item))),
            None => Some((StepPath(around.into()), None)),
        }
    }

    /// Whether the step is inside this group, at any depth.
    pub fn is_inside(&self, group: &StepPath) -> bool {
        self.0.strip_prefix(group.as_str()).is_some_and(|rest| rest.starts_with(['/', '[']))
    }

    /// A path as it was written into the log.
    pub fn from_log(text: &str) -> StepPath {
        StepPath(text.into())
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }

    fn last(&self) -> &str {
        let last = self.0.rsplit('/').next().unwrap_or(&self.0);
        last.strip_suffix(UNDO).unwrap_or(last)
    }

    /// The id of the step's task: the last part, without item and round. Of an undo: the task that it takes back.
    pub fn task_id(&self) -> &str {
        let last = self.last();
        let end = last.find(['[', '#']).unwrap_or(last.len());
        &last[..end]
    }

    /// 1 for the first time that the step is done in its list.
    pub fn round(&self) -> u32 {
        self.last().rsplit_once('#').and_then(|(_, round)| round.parse().ok()).unwrap_or(1)
    }

    /// Neither the step nor a group around it is done again.
    pub fn is_in_first_round(&self) -> bool {
        !self.0.contains('#')
    }

    /// The path without its own round: what an `Idempotency-Key` is derived from, beside the round itself.
    pub fn without_round(&self) -> &str {
        let last = self.0.rfind('/').map_or(0, |slash| slash + 1);
        self.0[last..].find('#').map_or(&self.0, |hash| &self.0[..last + hash])
    }

    /// The first round of another task of the same list.
    pub fn beside(&self, task_id: &str) -> StepPath {
        match self.0.rsplit_once('/') {
            Some((around, _)) => StepPath(format!("{around}/{task_id}").into()),
            None => StepPath::top(task_id, 1),
        }
    }

    /// The same task in another round.
    pub fn in_round(&self, round: u32) -> StepPath {
        let base = self.without_round();
        if round <= 1 { StepPath(base.into()) } else { StepPath(format!("{base}#{round}").into()) }
    }
}

impl fmt::Display for StepPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_says_group_item_task_and_round() {
        let group = StepPath::top("checks", 2);
        let step = StepPath::inside(&group, Some(3), "fees", 4);
        assert_eq!(step.as_str(), "checks#2[3]/fees#4");
        assert_eq!((step.task_id(), step.round(), step.without_round()), ("fees", 4, "checks#2[3]/fees"));
        assert_eq!(step.group(), Some((group.clone(), Some(3))));
        assert_eq!(step.in_round(1).as_str(), "checks#2[3]/fees");
        assert!(!step.is_in_first_round() && !step.in_round(1).is_in_first_round());
        assert!(step.is_inside(&group) && !step.is_inside(&StepPath::top("checks", 1)));
        assert_eq!((group.task_id(), group.round(), group.group()), ("checks", 2, None));
        let plain = StepPath::inside(&StepPath::top("checks", 1), None, "legal", 1);
        assert_eq!(
            (plain.as_str(), plain.round(), plain.without_round()),
            ("checks/legal", 1, "checks/legal")
        );
        assert_eq!(plain.group(), Some((StepPath::top("checks", 1), None)));
    }

    #[test]
    fn an_undo_is_called_after_what_it_takes_back() {
        let step = StepPath::inside(&StepPath::top("checks", 1), Some(3), "fees", 2);
        assert_eq!(step.undo().as_str(), "checks[3]/fees#2~undo");
        assert_eq!(step.undo().undone(), Some(step.clone()));
        assert_eq!((step.undo().task_id(), step.undo().round(), step.undone()), ("fees", 2, None));
    }
}
