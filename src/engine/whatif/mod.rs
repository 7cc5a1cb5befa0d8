//! What if: what a run was told, told again to another version of its protocol. PURE: nothing is executed, and nothing
//! of it is kept.
//!
//! `reading` finds in a run's log the commands that it came of (results, decisions, events, acts), by deciding each
//! again and looking whether the very same entries follow. `simulation` begins a run of the other version with the same
//! payload and gives it those commands, each to the step of the same path, or of the same task, and round, at the
//! recorded times. Where the other version asks for something that the record has no answer to, that branch stands
//! still. `comparison` says where the two went differently.
//!
//! Told to its own version, a run goes as it went: that is a property that generated runs are tried against.

mod answers;
mod candidates;
mod comparison;
mod reading;
mod record;
mod simulation;

use super::command::{Actor, Catalog, Rejection};
use super::event::Recorded;
use super::ids::{RunId, StepPath};
use super::protocol::{Protocol, Wait, Work};
use super::state::{ProtocolRef, Run, RunStatus, StepStatus, Waits};
use std::collections::HashMap;
use std::sync::Arc;

/// What is recorded of a run.
pub struct Tape<'a> {
    pub run: RunId,
    /// The salt of its step checksums: by them inputs are compared.
    pub salt: [u8; 32],
    /// All of its entries so far, in order.
    pub events: &'a [Recorded],
    /// Every version that it followed.
    pub versions: &'a HashMap<(i64, i32), Arc<Protocol>>,
}

/// What it is told to.
pub struct Other {
    pub version: ProtocolRef,
    pub protocol: Arc<Protocol>,
    /// As sentences call it: `version 3`, `the draft`.
    pub called: String,
}

/// What the record does not say: which actions there are besides those that the run called, and which roles people hold
/// besides those that they acted in.
pub struct Today<'a> {
    pub catalog: &'a dyn Catalog,
    pub person: &'a dyn Fn(&str) -> Actor,
}

/// Where another version would have gone differently.
#[derive(Debug, Clone, PartialEq)]
pub struct Report {
    pub then: RunStatus,
    /// None: the record does not say enough to know.
    pub now: Option<RunStatus>,
    /// The last step before the first difference.
    pub same_until: Option<StepPath>,
    /// In the order of the run.
    pub differences: Vec<Difference>,
    /// Every step that began in either.
    pub sides: Vec<Side>,
}

impl Report {
    pub fn same(&self) -> bool {
        self.differences.is_empty()
    }
}

#[derive(Debug, Clone, PartialEq)]
pub struct Difference {
    /// None: the run as a whole.
    pub step: Option<StepPath>,
    pub kind: Kind,
    /// A sentence.
    pub message: String,
}

/// A step in the recorded run and in the other version. None: it did not begin there.
#[derive(Debug, Clone, PartialEq)]
pub struct Side {
    pub step: StepPath,
    pub then: Option<StepStatus>,
    pub now: Option<StepStatus>,
    /// The record has no answer for it.
    pub unknown: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// The step began in the recorded run alone.
    OnlyThen,
    /// The step begins in the other version alone.
    OnlyNow,
    /// It came to something else: done instead of skipped.
    Status,
    /// It is asked for something else.
    Input,
    /// It calls or waits for something else.
    Calls,
    /// A group has another number of branches.
    Branches,
    /// Others must decide, or more, or fewer.
    Approvers,
    /// The record does not say what it would have answered.
    NotRecorded,
    /// Something that a person did made no sense.
    Act,
    /// The run ends otherwise.
    End,
}

impl Kind {
    pub const ALL: [Kind; 10] = [
        Kind::OnlyThen,
        Kind::OnlyNow,
        Kind::Status,
        Kind::Input,
        Kind::Calls,
        Kind::Branches,
        Kind::Approvers,
        Kind::NotRecorded,
        Kind::Act,
        Kind::End,
    ];

    pub fn as_str(self) -> &'static str {
        match self {
            Kind::OnlyThen => "only_then",
            Kind::OnlyNow => "only_now",
            Kind::Status => "status",
            Kind::Input => "input",
            Kind::Calls => "calls",
            Kind::Branches => "branches",
            Kind::Approvers => "approvers",
            Kind::NotRecorded => "not_recorded",
            Kind::Act => "act",
            Kind::End => "end",
        }
    }
}

/// Tells the other version what the run was told.
///
/// # Errors
/// The other version refuses to begin with this payload; or the entries are not those of a run.
pub fn what_if(tape: &Tape<'_>, other: &Other, today: &Today<'_>) -> Result<Report, Rejection> {
    let read = reading::read(tape, today).ok_or_else(|| {
        let message = "The entries do not begin with the queueing of a run.".to_owned();
        Rejection::Unfit { field: "run", message }
    })?;
    let told = simulation::tell(tape, &read, other)?;
    Ok(comparison::compare(&read, &told, other))
}

/// What an open step needs an answer from.
#[derive(Debug, Clone, PartialEq)]
enum Asks {
    Action(String),
    Agent(String),
    Protocol(String),
    Person,
    Time,
    Event { name: String, key: Option<String> },
    Branches,
}

impl Asks {
    fn of(run: &Run, path: &StepPath) -> Option<Asks> {
        let task = run.protocol.task(path)?;
        if path.undone().is_some() {
            return task.undo().map(|undo| Asks::Action(undo.to_owned()));
        }
        let waits = run.steps.get(path).and_then(|step| step.waits.as_ref());
        Some(match (&task.work, waits) {
            (_, Some(Waits::Event { name, key })) => Asks::Event { name: name.clone(), key: key.clone() },
            (Work::Script(call), _) => Asks::Action(call.uses.clone()),
            (Work::Agent(call), _) => Asks::Agent(call.uses.clone()),
            (Work::Protocol(call), _) => Asks::Protocol(call.uses.clone()),
            (Work::Hitl(_), _) => Asks::Person,
            (Work::Wait(Wait::Event { name, .. }), _) => Asks::Event { name: name.clone(), key: None },
            (Work::Wait(_), _) => Asks::Time,
            (Work::Parallel(_), _) => Asks::Branches,
        })
    }

    fn in_words(&self) -> String {
        match self {
            Asks::Action(name) => format!("the action `{name}`"),
            Asks::Agent(name) => format!("the agent `{name}`"),
            Asks::Protocol(name) => format!("the protocol `{name}`"),
            Asks::Person => "a person".to_owned(),
            Asks::Time => "a time".to_owned(),
            Asks::Event { name, key: Some(key) } => format!("the event `{name}` with the key `{key}`"),
            Asks::Event { name, key: None } => format!("the event `{name}`"),
            Asks::Branches => "its branches".to_owned(),
        }
    }
}

/// The steps of one run that stand in for those of another: the same path; or, where the protocol has the task at
/// another place, the step of the same task and round, if it is done for no item.
#[derive(Default)]
struct Counterparts {
    by_task: HashMap<(String, u32), StepPath>,
}

impl Counterparts {
    fn add(&mut self, path: &StepPath) {
        if !path.as_str().contains('[') && path.undone().is_none() {
            self.by_task.insert((path.task_id().to_owned(), path.round()), path.clone());
        }
    }

    /// The step of `run` that stands in for `path`, which is another run's. It may not have begun.
    fn of(&self, run: &Run, path: &StepPath) -> Option<StepPath> {
        if run.steps.contains_key(path) {
            return Some(path.clone());
        }
        let place = run.protocol.place(path.task_id())?;
        let around = path.group();
        let stands_there = place.group.as_deref() == around.as_ref().map(|(group, _)| group.task_id());
        if stands_there || path.as_str().contains('[') || path.undone().is_some() {
            return None;
        }
        self.by_task.get(&(path.task_id().to_owned(), path.round())).cloned()
    }
}
