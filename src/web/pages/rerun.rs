//! `/runs/{id}/rerun`: a run that is over, once more; with what it was given, or with something else.

use super::chrome::Chrome;
use super::forms::{Field, FieldKind, Problem};
use super::run_new::Pair;
use askama::Template;

/// The form sends `reason`, `csrf`, and the payload's fields as the start form does, to `POST /runs/{id}/rerun`.
#[derive(Template)]
#[template(path = "rerun.html")]
pub struct Rerun {
    pub chrome: Chrome,
    pub number: String,
    pub protocol: String,
    /// Says which version is used, where it is another than the old run's.
    pub version_note: Option<String>,
    pub problems: Vec<Problem>,
    pub reason: Field,
    /// Drawn from the protocol's input schema.
    pub fields: Vec<Field>,
    /// Without a schema: rows of names and values.
    pub pairs: Vec<Pair>,
    /// The payload is more than rows can hold: it stays as it was.
    pub kept: bool,
}
