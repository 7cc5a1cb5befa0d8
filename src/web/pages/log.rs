//! `/log`: the activity log, searched, and its export.

use super::chrome::Chrome;
use super::facts::Fact;
use super::forms::{Choice, Problem};
use super::moment::Moment;
use super::status::Status;
use askama::Template;

/// The box sends `search` by GET; the fields beside it send `run_id`, `actor`, `step`, `type`, `status`, `from`,
/// `to`, `q`. Either says the whole filter, and both are filled in with it.
#[derive(Template)]
#[template(path = "log.html")]
pub struct Log {
    pub chrome: Chrome,
    pub verified: Verified,
    pub search: String,
    /// What is wrong with what stands in the box.
    pub search_errors: Vec<String>,
    pub qualifiers: Vec<Qualifier>,
    pub filter: LogFilter,
    pub problems: Vec<Problem>,
    /// What was perhaps meant.
    pub hints: Vec<Hint>,
    pub rows: Vec<LogRow>,
    /// How many entries match in all: `1,204 entries`, `more than 10,000 entries`.
    pub count: String,
    /// The same as a number, if it was counted to the end.
    pub exact_count: Option<String>,
    /// `/acts/log.csv` and `/acts/log.ndjson` with this very filter.
    pub csv_href: String,
    pub bom_href: String,
    pub ndjson_href: String,
    pub filtered: bool,
    pub first: Option<String>,
    pub next: Option<String>,
    /// Some: looking took too long, and what is older was not looked at.
    pub searched_back: Option<SearchedBack>,
}

/// How far the log is signed.
#[derive(Default)]
pub struct Verified {
    /// None: nothing was signed yet.
    pub head: Option<SignedHead>,
    /// Why nothing is being signed just now, and what to do.
    pub problem: Option<String>,
}

/// The head that was signed last.
pub struct SignedHead {
    /// Entries, for example `1,204`.
    pub size: String,
    pub signed_at: Moment,
    /// The checkpoint.
    pub href: String,
}

/// A word for the box.
pub struct Qualifier {
    /// With its colon.
    pub word: String,
    pub about: String,
}

/// A search that was perhaps meant.
pub struct Hint {
    /// What there is none of.
    pub missing: String,
    /// The term that was perhaps meant.
    pub term: String,
    pub href: String,
}

pub struct SearchedBack {
    pub to: Moment,
    pub further_href: String,
}

/// As it was sent, or as the box says it.
#[derive(Default)]
pub struct LogFilter {
    pub run_id: String,
    pub actor: String,
    pub step: String,
    pub types: Vec<Choice>,
    pub statuses: Vec<Choice>,
    pub from: DayField,
    pub to: DayField,
    pub q: String,
}

/// A day, or a time that a field for days cannot show.
#[derive(Default)]
pub struct DayField {
    pub value: String,
    pub is_time: bool,
}

pub struct LogRow {
    /// The entry's own page.
    pub href: String,
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
