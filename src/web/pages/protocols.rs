//! `/protocols`: the list, and `/protocols/new`: the first version of one.

use super::chrome::Chrome;
use super::forms::Problem;
use super::moment::Moment;
use askama::Template;

#[derive(Template)]
#[template(path = "protocols.html")]
pub struct Protocols {
    pub chrome: Chrome,
    pub rows: Vec<ProtocolRow>,
    pub can_write: bool,
    pub first: Option<String>,
    pub next: Option<String>,
}

pub struct ProtocolRow {
    pub href: String,
    pub id: String,
    pub name: String,
    pub description: String,
    pub version: String,
    pub updated: Moment,
    pub updated_by: String,
    /// `/runs/new?protocol_id=7`. None: this user starts nothing.
    pub start_href: Option<String>,
}

/// The form sends `name`, `definition` and `csrf` to `POST /protocols/new`.
#[derive(Template)]
#[template(path = "protocol_new.html")]
pub struct ProtocolNew {
    pub chrome: Chrome,
    pub name: String,
    /// The document as it was typed.
    pub definition: String,
    pub problems: Vec<Problem>,
}
