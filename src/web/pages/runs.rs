//! `/runs`: the list, with its filters in the address.

use super::chrome::Chrome;
use super::forms::{Choice, Problem};
use super::moment::Moment;
use super::status::Status;
use askama::Template;

/// The filter form sends `status`, `protocol_id`, `q`, `from`, `to` (dates), `mine=1` and `stalled=1` by
/// GET.
#[derive(Template)]
#[template(path = "runs.html")]
pub struct Runs {
    pub chrome: Chrome,
    pub filter: RunsFilter,
    pub problems: Vec<Problem>,
    pub runs: Vec<RunRow>,
    /// Some filter is set: an empty list then means something else.
    pub filtered: bool,
    pub first: Option<String>,
    pub next: Option<String>,
    pub can_start: bool,
}

/// As it was sent.
#[derive(Default)]
pub struct RunsFilter {
    pub statuses: Vec<Choice>,
    pub protocols: Vec<Choice>,
    pub q: String,
    pub from: String,
    pub to: String,
    /// Only what the viewer started.
    pub mine: bool,
    /// Only what takes too long.
    pub stalled: bool,
}

/// One run of a list.
pub struct RunRow {
    pub href: String,
    pub number: String,
    pub protocol: String,
    /// A few words of the payload.
    pub subject: String,
    pub status: Status,
    /// Past a time limit: shown beside the status.
    pub stalled: bool,
    /// The title of the step that it is at. None: it is over.
    pub step: Option<String>,
    pub started_by: String,
    pub started: Moment,
}

impl RunRow {
    pub fn stalled_status(&self) -> Option<Status> {
        self.stalled.then(Status::stalled)
    }
}
