//! `/runs/{id}/replay`: the recording, entry by entry. Nothing is executed.

use super::chrome::Chrome;
use super::log::Entry;
use super::status::Status;
use askama::Template;

#[derive(Template)]
#[template(path = "replay.html")]
pub struct Replay {
    pub chrome: Chrome,
    pub run_number: String,
    pub run_href: String,
    pub protocol: String,
    pub status: Status,
    /// How much there is, and over what time: `24 entries over 3 min 5 s`.
    pub summary: String,
    /// False: the run is under way, and the recording ends at the present.
    pub complete: bool,
    pub entries: Vec<Entry>,
    pub first: Option<String>,
    pub next: Option<String>,
}
