//! A protocol: the versioned list of tasks that a run walks.
//!
//! Owns the language (DESIGN: "Protocol language"). [`Protocol::parse`] is the only way to get one, so that
//! whatever holds a `Protocol` holds a valid one. Everything wrong with a document is named at once.

mod reader;
mod validate;

use super::expression::{Expression, Template};
use chrono::TimeDelta;
use serde::Serialize;
use serde_json::Value;

/// The most tasks that a protocol may have.
pub const MAX_TASKS: usize = 10_000;

/// Something wrong with a protocol's document.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Problem {
    /// JSON path into the document, for example `$.tasks[2].type`.
    pub path: String,
    /// What is wrong and what to do.
    pub message: String,
}

#[derive(Debug, Clone, PartialEq)]
pub struct Protocol {
    pub name: Option<String>,
    pub description: Option<String>,
    /// JSON Schema of the payload. Checked at the door; it draws the start form.
    pub input: Option<Value>,
    pub tasks: Vec<Task>,
}

#[derive(Debug, Clone, PartialEq)]
pub struct Task {
    pub id: String,
    pub title: Option<String>,
    /// The key under `payload` that gets the result.
    pub saves: String,
    pub when: Option<Expression>,
    /// Past it the step is flagged as stalled.
    pub max_time: Option<TimeDelta>,
    pub work: Work,
}

/// What kind of step a task is.
#[derive(Debug, Clone, PartialEq)]
pub enum Work {
    /// Calls the action `uses`.
    Script(Invocation),
    /// Asks the agent `uses`.
    Agent(Invocation),
    /// Waits for a person.
    Hitl(Hitl),
}

#[derive(Debug, Clone, PartialEq)]
pub struct Invocation {
    pub uses: String,
    /// None: the whole payload.
    pub with: Option<Template>,
}

#[derive(Debug, Clone, PartialEq)]
pub struct Hitl {
    pub approvers: Approvers,
    /// Whoever started the run may not decide.
    pub four_eyes: bool,
    pub on_reject: OnReject,
    pub due: Option<TimeDelta>,
}

/// Who may decide: whoever holds one of the roles, and the users by name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, serde::Deserialize)]
pub struct Approvers {
    pub roles: Vec<String>,
    pub users: Vec<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnReject {
    /// The run ends as rejected.
    End,
    /// The run goes on; later `when`s see the decision.
    Continue,
}

impl Approvers {
    /// For sentences: "a supervisor", "ada or a supervisor".
    pub fn in_words(&self) -> String {
        let role = |role: &String| match role.as_str() {
            "staff" => "a member of staff".to_owned(),
            "auditor" | "admin" => format!("an {role}"),
            other => format!("a {other}"),
        };
        let names: Vec<String> = self.users.iter().cloned().chain(self.roles.iter().map(role)).collect();
        names.join(" or ")
    }
}

impl Protocol {
    /// Reads a document, or names everything that is wrong with it.
    pub fn parse(document: &Value) -> Result<Protocol, Vec<Problem>> {
        validate::protocol(document)
    }

    /// The tasks with the index that leads to each, in order. The state model addresses a task by such a path,
    /// so that branches of groups find their place here.
    pub fn task(&self, path: &super::ids::StepPath) -> Option<&Task> {
        let id = path.task_id();
        self.tasks.iter().find(|task| task.id == id)
    }

    /// The names of all actions and agents that the document uses, with the JSON path of each.
    pub fn uses(&self) -> impl Iterator<Item = (String, UsedAs, &str)> {
        self.tasks.iter().enumerate().filter_map(|(index, task)| {
            let path = format!("$.tasks[{index}]");
            match &task.work {
                Work::Script(call) => Some((path, UsedAs::Action, call.uses.as_str())),
                Work::Agent(call) => Some((path, UsedAs::Agent, call.uses.as_str())),
                Work::Hitl(_) => None,
            }
        })
    }

    /// Whoever the document names to decide, with the JSON path of each task.
    pub fn approvers(&self) -> impl Iterator<Item = (String, &Approvers)> {
        self.tasks.iter().enumerate().filter_map(|(index, task)| match &task.work {
            Work::Hitl(hitl) => Some((format!("$.tasks[{index}]"), &hitl.approvers)),
            Work::Script(_) | Work::Agent(_) => None,
        })
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UsedAs {
    Action,
    Agent,
}

impl Task {
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
