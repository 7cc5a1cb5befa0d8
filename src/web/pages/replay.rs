//! `/runs/{id}/replay`: the recording of a run, moment by moment; and `/runs/{id}/replay/entries`, all of it as a list.
//! Nothing is executed.
//!
//! The part that changes is the block `moment`: `replay.as_moment()` renders it alone, for the player. A page that is
//! asked for with `?at=17` and one that was played up to there show the same.

use super::chrome::Chrome;
use super::log::Entry;
use super::moment::Moment;
use super::status::Status;
use super::steps::StepList;
use askama::Template;

#[derive(Template)]
#[template(path = "replay.html", blocks = ["moment"])]
pub struct Replay {
    pub chrome: Chrome,
    pub run_number: String,
    pub run_href: String,
    pub protocol: String,
    /// How much there is, and over what time: `24 entries over 3 min 5 s`.
    pub summary: String,
    /// The list of all entries.
    pub entries_href: String,
    /// None: this user may not see protocols.
    pub what_if_href: Option<String>,
    /// Where the player gets its moments: `/runs/9001/replay/moment`, with the group that is shown alone.
    pub fragment_href: String,
    /// Other parameters that the form for a moment must keep: name and value.
    pub kept: Vec<(String, String)>,
    pub marks: Vec<Mark>,
    /// How many more there are. None: these are all.
    pub more_marks: Option<String>,
    pub scene: Scene,
}

/// Something worth seeing, on the time line.
pub struct Mark {
    pub href: String,
    pub seq: u64,
    pub t: Moment,
    pub status: Status,
    pub sentence: String,
    /// Where on the line, in per cent of it: `37.5`.
    pub place: String,
}

/// The run as it was after one entry.
pub struct Scene {
    pub seq: u64,
    pub count: u64,
    pub entry: Entry,
    /// What happened before it: nothing, for a long time.
    pub idle: Option<String>,
    pub status: Status,
    /// Where the run stood.
    pub sentence: String,
    pub steps: StepList,
    /// One group is shown alone: this is the way back to the whole plan.
    pub whole_href: Option<String>,
    pub undone: StepList,
    /// None: there is none in this direction.
    pub first: Option<String>,
    pub previous: Option<String>,
    pub next: Option<String>,
    pub last: Option<String>,
    /// The run is under way, and this is the present.
    pub present: bool,
    /// Where on the line, in per cent of it.
    pub place: String,
    /// When the next entries come, in milliseconds from this one, long times in which nothing happened cut short.
    pub ahead: String,
}

/// `/runs/{id}/replay/entries`.
#[derive(Template)]
#[template(path = "replay_entries.html")]
pub struct Entries {
    pub chrome: Chrome,
    pub run_number: String,
    pub protocol: String,
    pub replay_href: String,
    pub status: Status,
    pub summary: String,
    /// False: the run is under way, and the recording ends at the present.
    pub complete: bool,
    pub entries: Vec<Entry>,
    pub first: Option<String>,
    pub next: Option<String>,
}
