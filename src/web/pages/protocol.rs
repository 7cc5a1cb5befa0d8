//! `/protocols/{id}` and `/protocols/{id}?version=2`: the drawing, the versions, and for admins the editor.

use super::chrome::Chrome;
use super::forms::Problem;
use super::moment::Moment;
use askama::Template;
use askama::filters::HtmlSafe;

/// The form sends `definition`, `base_version` and `csrf` to `POST /protocols/{id}`.
#[derive(Template)]
#[template(path = "protocol.html")]
pub struct Protocol {
    pub chrome: Chrome,
    pub id: String,
    pub name: String,
    pub description: String,
    pub version: String,
    /// A page of them, newest first.
    pub versions: Vec<Version>,
    /// Addresses of the first and the next page of versions, where they are others.
    pub first: Option<String>,
    pub next: Option<String>,
    /// When runs start by themselves, how many may be under way: one sentence each.
    pub rules: Vec<String>,
    pub tasks: TaskList,
    /// The document of the version shown, as its author wrote it; after a refused change, as it was typed.
    pub definition: String,
    /// None: whoever looks may only read.
    pub editor: Option<Editor>,
    pub problems: Vec<Problem>,
    /// `/runs/new?protocol_id=7`. None: this user starts nothing.
    pub start_href: Option<String>,
}

pub struct Editor {
    /// The version that the change is based on: refused when it is no longer the latest.
    pub base_version: String,
    /// What the change will be called: the latest version and one.
    pub next_version: String,
}

pub struct Version {
    pub href: String,
    pub number: String,
    pub created: Moment,
    pub created_by: String,
    /// The one that is shown.
    pub current: bool,
}

/// Tasks in their order. A list draws itself, so that a drawing is as deep as its protocol.
#[derive(Template)]
#[template(path = "partials/tasks.html")]
pub struct TaskList {
    /// Inside a group.
    pub inner: bool,
    pub tasks: Vec<Task>,
}

/// Drawn by its own template, which escapes what it shows.
impl HtmlSafe for TaskList {}

/// One task of the drawing; or a branch of several.
pub struct Task {
    pub title: String,
    /// Empty: a branch, which has none.
    pub id: String,
    pub kind: TaskKind,
    /// `Automatic: calls fetch_data`.
    pub what: String,
    /// Conditions, limits, retries: one sentence each.
    pub notes: Vec<String>,
    /// What a group does at once.
    pub inside: TaskList,
}

/// Who does a task.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TaskKind {
    Automatic,
    Agent,
    Person,
    /// A group, a wait, another protocol.
    Other,
}

impl TaskKind {
    /// The ending of the component's class: `task--person`.
    pub fn class(self) -> &'static str {
        match self {
            TaskKind::Automatic => "automatic",
            TaskKind::Agent => "agent",
            TaskKind::Person => "person",
            TaskKind::Other => "other",
        }
    }
}
