//! `/runs/{id}/sealed`, `/runs/{id}/redaction`, `/redactions` and `/redactions/{id}`: what is sealed in a run, and having
//! it erased.

use super::chrome::Chrome;
use super::facts::Fact;
use super::forms::{Field, FieldKind, Problem};
use super::moment::Moment;
use super::status::Status;
use askama::Template;

/// The form sends `reason` and `csrf` to `POST /runs/{id}/sealed`; what it answers has the values. With `as=bundle` it
/// is the run's evidence with them.
#[derive(Template)]
#[template(path = "sealed.html")]
pub struct Sealed {
    pub chrome: Chrome,
    pub number: String,
    pub protocol: String,
    pub problems: Vec<Problem>,
    pub reason: Field,
    /// None: they are not shown yet.
    pub values: Option<Vec<Value>>,
    /// Whether this user may take out the run's evidence.
    pub may_bundle: bool,
    /// The form that asks for an erasure. None: this user may not, or the run is not over.
    pub redaction_href: Option<String>,
}

/// One sealed value.
pub struct Value {
    /// `payload.applicant.ssn`.
    pub path: String,
    /// Under which exemption it is withheld.
    pub exemption: Option<String>,
    /// None: it is erased.
    pub value: Option<Vec<Fact>>,
    pub erased: Option<Moment>,
    /// The entries of the log that it stands in, as numbers.
    pub entries: String,
}

/// The form sends `path`, `reason` and `csrf` to `POST /runs/{id}/redaction`.
#[derive(Template)]
#[template(path = "redaction_new.html")]
pub struct RedactionNew {
    pub chrome: Chrome,
    pub number: String,
    pub protocol: String,
    pub problems: Vec<Problem>,
    pub path: Field,
    pub reason: Field,
}

#[derive(Template)]
#[template(path = "redactions.html")]
pub struct Redactions {
    pub chrome: Chrome,
    /// True: what waits for a decision (`/redactions`). False: what is decided (`/redactions?tab=history`).
    pub pending: bool,
    pub redactions: Vec<RedactionRow>,
    pub first: Option<String>,
    pub next: Option<String>,
}

/// One request.
pub struct RedactionRow {
    pub href: String,
    pub path: String,
    pub status: Status,
    pub reason: String,
    pub run_number: String,
    pub run_href: String,
    pub protocol: String,
    pub filed_by: String,
    pub filed: Moment,
    /// Why the viewer cannot decide this one.
    pub barred: Option<String>,
    pub decided: Option<(String, Moment)>,
}

/// The form sends `decision` (`approve` or `reject`), `reason` and `csrf` to `POST /redactions/{id}`. Problems name the
/// fields `approve` (nothing was chosen) and `reason`.
#[derive(Template)]
#[template(path = "redaction.html")]
pub struct Redaction {
    pub chrome: Chrome,
    pub id: String,
    pub row: RedactionRow,
    /// What happened to the value, in a sentence.
    pub sentence: String,
    pub problems: Vec<Problem>,
    pub answer: Answer,
}

/// Where the decision stands, for the person who looks.
pub enum Answer {
    /// The viewer may decide. Holds what was typed before.
    Open {
        decision: String,
        reason: String,
    },
    /// It is open, but not for the viewer: why.
    Barred(String),
    Decided {
        by: String,
        at: Moment,
        reason: String,
    },
}
