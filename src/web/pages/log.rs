//! `/log`: the activity log, filtered, and its export.

use super::chrome::Chrome;
use super::facts::Fact;
use super::forms::{Choice, Problem};
use super::moment::Moment;
use super::status::Status;
use askama::Template;

/// The filter form sends `run_id`, `actor`, `step`, `type`, `status`, `from`, `to`, `q` by GET.
#[derive(Template)]
#[template(path = "log.html")]
pub struct Log {
    pub chrome: Chrome,
    pub filter: LogFilter,
    pub problems: Vec<Problem>,
    pub rows: Vec<LogRow>,
    /// How many entries match in all: `1,204 entries`, `more than 10,000 entries`.
    pub count: String,
    /// `/acts/log.csv` with this very filter.
    pub csv_href: String,
    pub filtered: bool,
    pub first: Option<String>,
    pub next: Option<String>,
}

/// As it was sent.
#[derive(Default)]
pub struct LogFilter {
    pub run_id: String,
    pub actor: String,
    pub step: String,
    pub types: Vec<Choice>,
    pub statuses: Vec<Choice>,
    pub from: String,
    pub to: String,
    pub q: String,
}

pub struct LogRow {
    /// None: an entry of the agency itself (a sign-in, an export).
    pub run: Option<RunLink>,
    pub entry: Entry,
}

pub struct RunLink {
    pub href: String,
    pub number: String,
}

/// One entry of the log, as a sentence.
pub struct Entry {
    pub seq: u64,
    pub t: Moment,
    /// For example `The AI analysis is done: high risk.`
    pub sentence: String,
    /// A user, or which part of the system.
    pub who: String,
    pub step: Option<String>,
    pub status: Option<Status>,
    /// What else the entry holds.
    pub facts: Vec<Fact>,
}
