//! A protocol: the versioned list of tasks that a run walks.
//!
//! Owns the language (DESIGN: "Protocol language"). [`Protocol::parse`] is the only way to get one, so that
//! whatever holds a `Protocol` holds a valid one. Everything wrong with a document is named at once.

#[cfg(test)]
mod agreement;
mod approvers;
mod cron;
mod place;
mod reader;
mod schema;
mod validate;

pub use approvers::{ApproverSlot, Approvers, GROUP, and, is_user_name};
pub use place::Place;
pub use schema::JSON_SCHEMA;

use super::expression::{Expression, Template};
use super::redact::Mark;
use chrono::TimeDelta;
use serde::Serialize;
use serde_json::Value;
use std::collections::HashMap;
use std::sync::Arc;

/// The most tasks that a protocol may have, those inside groups counted.
pub const MAX_TASKS: usize = 10_000;
/// Groups inside groups.
pub const MAX_GROUP_DEPTH: usize = 8;
/// The longest key of an event or of a concurrency limit, in characters.
pub const MAX_KEY: usize = 500;
/// The most paths that a protocol may mark as sealed.
pub const MAX_MARKS: usize = 100;
/// The most keys in such a path.
pub const MAX_MARK_DEPTH: usize = 20;
/// The most items that a `for_each` goes over.
pub const MAX_ITEMS: usize = 10_000;

/// Something wrong with a protocol's document.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Problem {
    /// JSON path into the document, for example `$.tasks[2].type`.
    pub path: String,
    /// What is wrong and what to do.
    pub message: String,
    /// The JSON Schema of protocols cannot say it, so that only this reader refuses it.
    #[serde(skip)]
    beyond_schema: bool,
}

#[derive(Debug, Clone, PartialEq)]
pub struct Protocol {
    pub name: Option<String>,
    pub description: Option<String>,
    /// JSON Schema of the payload. Checked at the door; it draws the start form.
    pub input: Option<Value>,
    pub schedule: Option<Schedule>,
    pub concurrency: Option<Concurrency>,
    /// What is sealed: the marked paths, and where their values go when a group is done.
    pub redact: Vec<Mark>,
    pub tasks: Vec<Arc<Task>>,
    /// Every task by its id, those inside groups too.
    places: HashMap<String, Place>,
}

/// When runs are started without a person.
#[derive(Debug, Clone, PartialEq)]
pub struct Schedule {
    /// Five fields; a sixth in front is seconds.
    pub cron: String,
    /// IANA name.
    pub time_zone: chrono_tz::Tz,
    pub payload: super::state::Payload,
    pub missed: Missed,
    pub overlap: Overlap,
}

/// What becomes of the times that passed while nothing ran.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Missed {
    Skip,
    /// One run for all of them.
    RunOnce,
}

/// What happens when the run of the last time is not over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Overlap {
    Allow,
    Skip,
    Wait,
}

/// How many runs with the same key may be on their way at once.
#[derive(Debug, Clone, PartialEq)]
pub struct Concurrency {
    pub key: Template,
    pub limit: u32,
    pub when_full: WhenFull,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum WhenFull {
    /// In the order of their numbers.
    Wait,
    Refuse,
}

#[derive(Debug, Clone, PartialEq)]
pub struct Task {
    pub id: String,
    pub title: Option<String>,
    /// The key under `payload` that gets the result.
    pub saves: String,
    pub when: Option<Expression>,
    /// Past it `on_timeout` says what happens.
    pub max_time: Option<TimeDelta>,
    pub on_timeout: OnTimeout,
    pub on_failure: OnFailure,
    pub work: Work,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnTimeout {
    /// The step is flagged as stalled, and goes on.
    Flag,
    /// The step fails.
    Fail,
    /// The attempt is given up and counts as a failed one; the next begins.
    Retry,
    /// The approval goes to `escalate_to` as well.
    Escalate,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnFailure {
    /// The branch fails; outside a group, the run.
    Fail,
    /// The step stays failed, its error is saved as its result (`{"error": …}`), and what comes next begins.
    Continue,
    /// The run is paused, and a person decides.
    Pause,
}

/// What kind of step a task is.
#[derive(Debug, Clone, PartialEq)]
pub enum Work {
    /// Calls the action `uses`.
    Script(Invocation),
    /// Asks the agent `uses`.
    Agent(Invocation),
    /// Waits for a person.
    Hitl(Box<Hitl>),
    /// Does its branches at the same time.
    Parallel(Parallel),
    /// Waits for a time or an outside event.
    Wait(Wait),
    /// Runs another protocol, by its id or name, as a run of its own.
    Protocol(Invocation),
}

#[derive(Debug, Clone, PartialEq)]
pub struct Invocation {
    pub uses: String,
    /// None: the whole payload.
    pub with: Option<Template>,
    /// Of scripts and agents.
    pub retry: Option<Retry>,
    /// Of scripts: the action that takes back what this one did.
    pub undo: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Retry {
    /// All attempts, the first included.
    pub attempts: u32,
    pub backoff: TimeDelta,
    pub factor: f64,
    pub max_backoff: TimeDelta,
}

impl Default for Retry {
    fn default() -> Retry {
        Retry {
            attempts: 3,
            backoff: TimeDelta::seconds(1),
            factor: 2.0,
            max_backoff: TimeDelta::seconds(60),
        }
    }
}

#[derive(Debug, Clone, PartialEq)]
pub struct Parallel {
    /// Each a list of tasks that are done in order. With `for_each` there is exactly one, done for each item.
    pub branches: Vec<Vec<Arc<Task>>>,
    pub join: Join,
    /// The most branches that are open at once.
    pub max_concurrency: Option<u32>,
    pub for_each: Option<ForEach>,
}

/// How many branches must succeed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Join {
    All,
    Any,
    Number(u32),
}

impl Join {
    pub fn needed(self, branches: u32) -> u32 {
        match self {
            Join::All => branches,
            Join::Any => 1,
            Join::Number(number) => number,
        }
    }
}

#[derive(Debug, Clone, PartialEq)]
pub struct ForEach {
    /// A list.
    pub items: Expression,
    /// What an item is called in the expressions of its branch, and in the `payload` that they see.
    pub name: String,
}

#[derive(Debug, Clone, PartialEq)]
pub enum Wait {
    For(TimeDelta),
    /// An RFC 3339 time, or an expression that gives one.
    Until(Template),
    /// An outside event of this name, and with this key where one is given.
    Event {
        name: String,
        key: Option<Template>,
    },
}

#[derive(Debug, Clone, PartialEq)]
pub struct Hitl {
    pub approvers: Approvers,
    /// How many different people must approve. With slots: as many as they need together.
    pub quorum: u32,
    /// Whoever started the run may not decide.
    pub four_eyes: bool,
    pub on_reject: OnReject,
    /// JSON Schema of what a decider fills in.
    pub form: Option<Value>,
    pub due: Option<TimeDelta>,
    /// How often the approvers are reminded.
    pub remind: Option<TimeDelta>,
    /// Who may decide too once `due_minutes` or `max_minutes` (with `on_timeout: escalate`) have passed.
    pub escalate_to: Option<Approvers>,
    /// An earlier task of the same list, to which an approver may send the work back.
    pub returns_to: Option<String>,
    pub max_returns: u32,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnReject {
    /// The run ends as rejected.
    End,
    /// The run goes on; later `when`s see the decision.
    Continue,
}

impl Protocol {
    /// Reads a document, or names everything that is wrong with it.
    pub fn parse(document: &Value) -> Result<Protocol, Vec<Problem>> {
        validate::protocol(document)
    }

    /// The task of a step, also of one inside a group.
    pub fn task(&self, path: &super::ids::StepPath) -> Option<&Arc<Task>> {
        self.place(path.task_id()).map(|place| &place.task)
    }

    /// Where a task stands.
    pub fn place(&self, id: &str) -> Option<&Place> {
        self.places.get(id)
    }

    /// Whether the task `inner` is in the group `outer`, at any depth.
    pub fn is_around(&self, outer: &str, inner: &str) -> bool {
        let mut group = self.place(inner).and_then(|place| place.group.as_deref());
        while let Some(id) = group {
            if id == outer {
                return true;
            }
            group = self.place(id).and_then(|place| place.group.as_deref());
        }
        false
    }

    /// All tasks with where they stand, groups before what is in them.
    pub fn all(&self) -> Vec<&Place> {
        let mut all: Vec<&Place> = self.places.values().collect();
        all.sort_by_key(|place| place.order);
        all
    }

    /// The list that a branch of a group does in order; without a group, the outermost.
    pub fn list(&self, group: Option<&str>, branch: usize) -> &[Arc<Task>] {
        let Some(group) = group else { return &self.tasks };
        match self.place(group).map(|place| &place.task.work) {
            Some(Work::Parallel(parallel)) => {
                let branch = if parallel.for_each.is_some() { 0 } else { branch };
                parallel.branches.get(branch).map_or(&[], Vec::as_slice)
            }
            _ => &[],
        }
    }

    /// The names of all actions, agents and protocols that the document uses, with the JSON path of each.
    pub fn uses(&self) -> Vec<(String, UsedAs, &str)> {
        let mut uses = Vec::new();
        for place in self.all() {
            let at = |field: &str| format!("{}.{field}", place.path);
            match &place.task.work {
                Work::Script(call) => {
                    uses.push((at("uses"), UsedAs::Action, call.uses.as_str()));
                    uses.extend(call.undo.as_deref().map(|undo| (at("undo"), UsedAs::Action, undo)));
                }
                Work::Agent(call) => uses.push((at("uses"), UsedAs::Agent, call.uses.as_str())),
                Work::Protocol(call) => uses.push((at("uses"), UsedAs::Protocol, call.uses.as_str())),
                Work::Hitl(_) | Work::Parallel(_) | Work::Wait(_) => {}
            }
        }
        uses
    }

    /// Whoever the document names to decide, slot by slot, with the JSON path of each.
    pub fn approvers(&self) -> Vec<(String, &Approvers)> {
        let mut named = Vec::new();
        for place in self.all() {
            if let Work::Hitl(hitl) = &place.task.work {
                let at = |field: &str| format!("{}.{field}", place.path);
                if hitl.approvers.slots.is_empty() {
                    named.push((at("approvers"), &hitl.approvers));
                }
                let slots = hitl.approvers.slots.iter().enumerate();
                named
                    .extend(slots.map(|(index, slot)| {
                        (at(&format!("approvers.slots[{index}].approvers")), &slot.who)
                    }));
                named.extend(hitl.escalate_to.as_ref().map(|more| (at("escalate_to"), more)));
            }
        }
        named
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UsedAs {
    Action,
    Agent,
    Protocol,
}

impl Task {
    pub fn is_group(&self) -> bool {
        matches!(self.work, Work::Parallel(_))
    }

    /// The action that takes back what this task did.
    pub fn undo(&self) -> Option<&str> {
        match &self.work {
            Work::Script(call) => call.undo.as_deref(),
            Work::Agent(_) | Work::Hitl(_) | Work::Parallel(_) | Work::Wait(_) | Work::Protocol(_) => None,
        }
    }

    /// What a person reads: the title, or the id with spaces.
    pub fn label(&self) -> String {
        match &self.title {
            Some(title) => title.clone(),
            None => {
                let words = self.id.replace(['_', '-'], " ");
                let mut letters = words.chars();
                letters.next().map_or_else(String::new, |first| first.to_uppercase().chain(letters).collect())
            }
        }
    }
}
