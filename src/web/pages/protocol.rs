//! `/protocols/{id}` and `/protocols/{id}?version=2`: the drawing, the versions, and for admins the editor.

use super::chrome::Chrome;
use super::forms::Problem;
use super::moment::Moment;
use askama::Template;

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
    pub tasks: Vec<Task>,
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

/// One task of the drawing.
pub struct Task {
    pub title: String,
    pub id: String,
    pub kind: TaskKind,
    /// `Automatic: calls fetch_data`.
    pub what: String,
    /// Conditions, limits, retries: one sentence each.
    pub notes: Vec<String>,
    /// Inside a group.
    pub inner: bool,
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
