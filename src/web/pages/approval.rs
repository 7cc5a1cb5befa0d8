//! `/approvals/{id}`: the evidence, the decision form, and afterwards the answered form.

use super::assessment::Assessment;
use super::chrome::Chrome;
use super::facts::Fact;
use super::forms::Problem;
use super::moment::Moment;
use super::status::Status;
use askama::Template;

/// The form sends `decision` (`approve` or `reject`), `reason` and `csrf` to `POST /approvals/{id}`.
/// Problems name the fields `approve` (no decision was chosen) and `reason`.
#[derive(Template)]
#[template(path = "approval.html")]
pub struct Approval {
    pub chrome: Chrome,
    pub id: String,
    pub title: String,
    pub status: Status,
    pub run_number: String,
    pub run_href: String,
    pub protocol: String,
    pub started_by: String,
    pub opened: Moment,
    pub due: Option<Moment>,
    pub overdue: bool,
    pub problems: Vec<Problem>,
    pub assessment: Option<Assessment>,
    /// The application, or whatever the run was about when it asked.
    pub application: Vec<Fact>,
    pub letter: Option<String>,
    /// Everything else that earlier steps found: title and rows.
    pub evidence: Vec<Evidence>,
    pub answer: Answer,
}

pub struct Evidence {
    pub title: String,
    pub facts: Vec<Fact>,
}

/// Where the decision stands, for the person who looks.
pub enum Answer {
    /// The viewer may decide. Holds what was typed before: decision and reason.
    Open {
        decision: String,
        reason: String,
    },
    /// It is open, but not for the viewer: why, and who may.
    Barred(String),
    Decided(Decided),
    /// The run ended before anybody decided: what happened.
    Withdrawn(String),
}

pub struct Decided {
    /// `Approved`, `Rejected`.
    pub status: Status,
    pub by: String,
    pub at: Moment,
    pub reason: String,
}
