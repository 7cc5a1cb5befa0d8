//! `/runs/new` and `/runs/new?protocol_id=7`: choose a protocol, then fill in its form.

use super::chrome::Chrome;
use super::forms::{Field, FieldKind, Problem};
use askama::Template;

/// The form sends `protocol_id`, `key`, `csrf`, and the fields by name; without an input schema the rows `name_1`,
/// `value_1`, `name_2` … to `POST /runs/new`.
#[derive(Template)]
#[template(path = "run_new.html")]
pub struct RunNew {
    pub chrome: Chrome,
    /// To choose from, while `form` is none.
    pub protocols: Vec<ProtocolChoice>,
    pub form: Option<StartForm>,
    pub problems: Vec<Problem>,
}

pub struct ProtocolChoice {
    /// `/runs/new?protocol_id=7`.
    pub href: String,
    pub name: String,
    pub description: String,
}

pub struct StartForm {
    pub protocol_id: String,
    /// Drawn anew with every form: the same form sent twice starts one run.
    pub key: String,
    pub name: String,
    pub description: String,
    /// The titles of the steps, in order: what will happen.
    pub steps: Vec<String>,
    /// Drawn from the protocol's input schema.
    pub fields: Vec<Field>,
    /// Without a schema: rows of names and values.
    pub pairs: Vec<Pair>,
}

#[derive(Clone)]
pub struct Pair {
    /// 1, 2, 3 …
    pub number: usize,
    pub name: String,
    pub value: String,
}
