//! `/actions` and `/actions/{name}`: what a script step calls.

use super::chrome::Chrome;
use super::forms::{Choice, Problem};
use super::moment::Moment;
use askama::Template;

/// The form sends `name`, `kind`, `config` and `csrf` to `POST /actions`; for one that exists `config`,
/// `kind`, `base_version` and `csrf` to `POST /actions/{name}`.
#[derive(Template)]
#[template(path = "actions.html")]
pub struct Actions {
    pub chrome: Chrome,
    pub rows: Vec<TargetRow>,
    pub form: TargetForm,
    pub problems: Vec<Problem>,
}

/// One action or agent of a list.
pub struct TargetRow {
    pub href: String,
    pub name: String,
    pub kind: String,
    pub version: String,
    pub updated: Moment,
    pub updated_by: String,
}

/// Adds one, or changes the one that is named.
#[derive(Default)]
pub struct TargetForm {
    /// The version that a change is based on. None: a new one is added.
    pub base_version: Option<String>,
    pub name: String,
    pub kinds: Vec<Choice>,
    /// The JSON as it was typed.
    pub config: String,
}
