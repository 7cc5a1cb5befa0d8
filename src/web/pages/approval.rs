//! `/approvals/{id}`: the evidence, the decision form, and afterwards the answered form.

use super::assessment::Assessment;
use super::chrome::Chrome;
use super::facts::Fact;
use super::forms::{Field, FieldKind, Problem};
use super::moment::Moment;
use super::status::Status;
use askama::Template;

/// The form sends `decision` (`approve`, `reject` or `return`), `reason`, `csrf` and the fields of the task's form to
/// `POST /approvals/{id}`. Problems name the fields `approve` (no decision was chosen), `reason`, and those of the form.
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
    /// Where what is sealed in the run is read. None: nothing is, or the viewer may not.
    pub sealed_href: Option<String>,
    pub evidence: Vec<Evidence>,
    /// What there is to know about the question itself: asked again, how many approved so far, escalated.
    pub notes: Vec<String>,
    /// Who approved so far, while more are needed.
    pub votes: Vec<Vote>,
    pub answer: Answer,
}

/// One of several approvals.
pub struct Vote {
    pub by: String,
    /// The slot that it fills.
    pub slot: Option<String>,
    pub at: Moment,
    pub reason: String,
    /// What was filled in.
    pub form: Vec<Fact>,
}

pub struct Evidence {
    pub title: String,
    pub facts: Vec<Fact>,
}

/// Where the decision stands, for the person who looks.
pub enum Answer {
    /// The viewer may decide. Holds what was typed before: decision and reason.
    Open(Form),
    /// It is open, but not for the viewer: why, and who may.
    Barred(String),
    Decided(Decided),
    /// The run ended before anybody decided: what happened.
    Withdrawn(String),
}

/// The decision form.
pub struct Form {
    pub decision: String,
    pub reason: String,
    /// The step that the work may be sent back to. None: it cannot be sent back.
    pub returns_to: Option<String>,
    /// What approving does: `the run goes on`, or that others must approve too. None: it is not needed any more.
    pub approve: Option<String>,
    pub reject: String,
    /// Drawn from the task's schema.
    pub fields: Vec<Field>,
}

pub struct Decided {
    /// `Approved`, `Rejected`.
    pub status: Status,
    pub by: String,
    pub at: Moment,
    pub reason: String,
    /// What was filled in.
    pub form: Vec<Fact>,
}
