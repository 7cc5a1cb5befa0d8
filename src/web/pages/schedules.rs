//! `/schedules`: the runs that are started without a person.

use super::chrome::Chrome;
use super::moment::Moment;
use askama::Template;

#[derive(Template)]
#[template(path = "schedules.html")]
pub struct Schedules {
    pub chrome: Chrome,
    pub rows: Vec<ScheduleRow>,
    pub first: Option<String>,
    pub next: Option<String>,
    /// May write protocols, and so schedules.
    pub can_write: bool,
}

pub struct ScheduleRow {
    pub protocol: String,
    pub protocol_href: String,
    pub version: String,
    /// The times as they are written, and in which time zone: `0 6 * * *, Europe/Berlin`.
    pub cron: String,
    pub zone: String,
    /// When the next run starts. None: never again.
    pub next: Option<Moment>,
    /// The last time that it was due, and the run that came of it.
    pub last: Option<Moment>,
    pub last_run: Option<(String, String)>,
    /// What happens to missed times, and while the last run is not over: one sentence each.
    pub notes: Vec<String>,
}
