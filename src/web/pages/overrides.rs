//! `/overrides`, `/overrides/{id}` and `/runs/{id}/override`: what officials filed against runs, what is decided about it,
//! and the form that files one.

use super::chrome::Chrome;
use super::facts::Fact;
use super::forms::{Choice, Field, FieldKind, Problem};
use super::moment::Moment;
use super::run_new::Pair;
use super::status::Status;
use askama::Template;

#[derive(Template)]
#[template(path = "overrides.html")]
pub struct Overrides {
    pub chrome: Chrome,
    /// True: what is under review (`/overrides`). False: what is decided (`/overrides?tab=history`).
    pub pending: bool,
    pub overrides: Vec<OverrideRow>,
    pub first: Option<String>,
    pub next: Option<String>,
}

/// One override of a list.
pub struct OverrideRow {
    pub href: String,
    /// `Cancel the run`.
    pub title: String,
    pub status: Status,
    pub reason: String,
    pub run_number: String,
    pub run_href: String,
    pub protocol: String,
    pub filed_by: String,
    pub filed: Moment,
    pub review_until: Moment,
    /// The review window is over, and nobody decided.
    pub overdue: bool,
    /// Why the viewer cannot decide this one.
    pub barred: Option<String>,
    pub decided: Option<(String, Moment)>,
}

impl OverrideRow {
    pub fn overdue_status(&self) -> Option<Status> {
        self.overdue.then(Status::overdue)
    }
}

/// The form sends `choice` (`approve`, `modify` or `reject`), `reason`, the rows `name_1`, `value_1`, `name_2` … and `csrf` to
/// `POST /overrides/{id}`. Problems name the fields `approve` (nothing was chosen), `reason` and the rows.
#[derive(Template)]
#[template(path = "override.html")]
pub struct Override {
    pub chrome: Chrome,
    pub id: String,
    pub row: OverrideRow,
    /// What happens to the run by each decision, in a sentence.
    pub sentence: String,
    pub problems: Vec<Problem>,
    /// The values that were filed with it.
    pub new_value: Vec<Fact>,
    /// What the run knows now.
    pub payload: Vec<Fact>,
    pub answer: Answer,
}

/// Where the decision stands, for the person who looks.
pub enum Answer {
    /// The viewer may decide. Holds what was typed before.
    Open {
        choice: String,
        reason: String,
        pairs: Vec<Pair>,
    },
    /// It is open, but not for the viewer: why.
    Barred(String),
    Decided(Decided),
    /// The run ended before anybody decided.
    Withdrawn(String),
}

pub struct Decided {
    pub status: Status,
    pub by: String,
    pub at: Moment,
    pub reason: String,
    /// What the run got.
    pub merged: Vec<Fact>,
}

/// The form sends `action`, `reason`, the rows `name_1`, `value_1`, `name_2` … and `csrf` to `POST /runs/{id}/override`.
#[derive(Template)]
#[template(path = "override_new.html")]
pub struct OverrideNew {
    pub chrome: Chrome,
    pub number: String,
    pub protocol: String,
    pub problems: Vec<Problem>,
    pub actions: Vec<Choice>,
    pub action_error: Option<String>,
    pub reason: Field,
    pub pairs: Vec<Pair>,
    /// How long the review window is, in words.
    pub review: String,
}
