//! `/runs/{id}/migrate`: what moving a run to another version would come to, and the form that does it.

use super::chrome::Chrome;
use super::forms::{Choice, Field, FieldKind, Problem};
use super::status::Status;
use askama::Template;

/// The first form asks with `?version=3`; the second sends `version`, `reason` and `csrf` to `POST /runs/{id}/migrate`.
#[derive(Template)]
#[template(path = "migration.html")]
pub struct Migration {
    pub chrome: Chrome,
    pub number: String,
    pub protocol: String,
    /// The version that the run has now.
    pub from: String,
    /// The other versions. Empty: there is no other.
    pub versions: Vec<Choice>,
    pub problems: Vec<Problem>,
    /// None: no version was chosen yet.
    pub preview: Option<Preview>,
}

pub struct Preview {
    pub version: String,
    /// One sentence: whether it can be done.
    pub sentence: String,
    pub possible: bool,
    pub rows: Vec<Mapped>,
    pub reason: Field,
}

/// What becomes of one step.
pub struct Mapped {
    pub step: String,
    pub status: Status,
    pub becomes: String,
}
