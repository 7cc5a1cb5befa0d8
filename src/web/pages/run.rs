//! `/runs/{id}`. The part that changes is the block `live`: `run.as_live()` renders it alone, for the
//! stream.
//!
//! The stream (`live_href`) sends each new state as an *unnamed* event, whose `data` is that block and
//! whose `id` is the run's last position in the log: htmx morphs it into the page and repeats the id as
//! `Last-Event-ID` when it connects again. An event named `end` closes the stream for good. The stream must
//! answer 401 or 403 and never redirect: the sign-in page would be drawn into the run.

use super::assessment::Assessment;
use super::chrome::Chrome;
use super::facts::Fact;
use super::log::Entry;
use super::moment::Moment;
use super::status::Status;
use askama::Template;

/// The forms send `reason` and `csrf` to `POST /runs/{id}/cancel` and `POST /runs/{id}/resume`.
#[derive(Template)]
#[template(path = "run.html", blocks = ["live"])]
pub struct Run {
    pub chrome: Chrome,
    pub number: String,
    pub protocol: String,
    /// `/protocols/7?version=2`. None: this user may not see it.
    pub protocol_href: Option<String>,
    pub version: String,
    /// `/runs/9001/live?after=<seq>`. None: the run is over, and nothing will change.
    pub live_href: Option<String>,
    pub replay_href: String,
    /// The log page of this run. None: this user may not see it.
    pub log_href: Option<String>,
    pub status: Status,
    /// One sentence: what happens now, or how it ended.
    pub sentence: String,
    /// Set when it takes too long: which step, and what to do.
    pub stalled: Option<String>,
    pub started_by: String,
    pub started: Moment,
    pub ended: Option<Moment>,
    /// How long it has taken, in words.
    pub duration: String,
    /// What a person has to decide now, and where.
    pub decision: Option<DecisionLink>,
    /// Every step of the plan, those to come too.
    pub steps: Vec<Step>,
    /// How many entries came before those that are shown. None: they are all here.
    pub earlier: Option<u64>,
    pub entries: Vec<Entry>,
    pub payload: Vec<Fact>,
    /// None: it is not paused, or this user may not.
    pub resume: Option<ResumeForm>,
    /// None: over already, or this user may not.
    pub cancel: Option<CancelForm>,
}

pub struct ResumeForm {
    /// What was typed before.
    pub reason: String,
    pub error: Option<String>,
}

pub struct DecisionLink {
    pub href: String,
    /// Whoever looks may decide: then this is the page's main button.
    pub may_decide: bool,
}

pub struct CancelForm {
    /// What was typed before.
    pub reason: String,
    pub error: Option<String>,
}

/// One step as the plan shows it.
pub struct Step {
    /// 1, 2, 3 …; empty for the steps inside a group.
    pub number: String,
    pub title: String,
    /// Who does it: `Automatic`, `AI agent`, `A person decides`.
    pub by: String,
    pub status: Status,
    /// Inside a group.
    pub inner: bool,
    /// What goes on, or why it was skipped. None: the status says it all.
    pub sentence: Option<String>,
    pub started: Option<Moment>,
    /// How long it took, in words.
    pub duration: Option<String>,
    /// `Attempt 2 of 3`. None: the first and only one.
    pub attempt: Option<String>,
    pub error: Option<String>,
    pub assessment: Option<Assessment>,
    /// A drafted letter, as text.
    pub letter: Option<String>,
    /// The rest of its result.
    pub result: Vec<Fact>,
}
