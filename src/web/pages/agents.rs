//! `/agents` and `/agents/{name}`: a named AI model with its prompt and the shape of its answer.

use super::actions::{TargetForm, TargetRow};
use super::chrome::Chrome;
use super::forms::Problem;
use askama::Template;

/// The form sends `name`, `kind`, `config` and `csrf` to `POST /agents`; for one that exists `config`,
/// `kind`, `base_version` and `csrf` to `POST /agents/{name}`.
#[derive(Template)]
#[template(path = "agents.html")]
pub struct Agents {
    pub chrome: Chrome,
    pub rows: Vec<TargetRow>,
    pub form: TargetForm,
    pub problems: Vec<Problem>,
}
