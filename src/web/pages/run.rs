//! `/runs/{id}`. The part that changes is the block `live`: `run.as_live()` renders it alone, for the
//! stream.
//!
//! The stream (`live_href`) sends each new state as an *unnamed* event, whose `data` is that block and
//! whose `id` is the run's last position in the log: htmx morphs it into the page and repeats the id as
//! `Last-Event-ID` when it connects again. An event named `end` closes the stream for good. The stream must
//! answer 401 or 403 and never redirect: the sign-in page would be drawn into the run.

use super::acts::Acts;
use super::chrome::Chrome;
use super::drawn::Drawn;
use super::forms::FieldKind;
use super::moment::Moment;
use super::status::Status;
use super::steps::Link;
use askama::Template;

/// What its forms send is said where they are: [`super::acts`].
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
    /// What if another version had been used. None: this user may not see protocols.
    pub what_if_href: Option<String>,
    /// The log page of this run. None: this user may not see it.
    pub log_href: Option<String>,
    /// `/acts/runs/9001/bundle`. None: this user may not have it.
    pub bundle_href: Option<String>,
    pub status: Status,
    /// One sentence: what happens now, or how it ended.
    pub sentence: String,
    /// Where it comes from: the run that started it, the one that it repeats, the version that it was moved from.
    pub origins: Vec<Origin>,
    /// Set when it takes too long: which step, and what to do.
    pub stalled: Option<String>,
    /// What could not be taken back. Somebody must decide about each.
    pub not_undone: Vec<String>,
    pub started_by: String,
    pub started: Moment,
    pub ended: Option<Moment>,
    /// How long it has taken, in words.
    pub duration: String,
    /// What a person has to decide now, and where.
    pub decision: Option<DecisionLink>,
    /// The override under review, and where it is decided.
    pub review: Option<DecisionLink>,
    /// Every step of the plan, those to come too; or one group alone.
    pub steps: Drawn,
    /// One group is shown alone: this is the way back to the whole plan.
    pub whole_href: Option<String>,
    /// What takes back the steps that were done.
    pub undone: Drawn,
    /// How many entries came before those that are shown. None: they are all here.
    pub earlier: Option<u64>,
    pub entries: Drawn,
    pub payload: Drawn,
    /// What was erased, or is asked to be, in a sentence each.
    pub redactions: Vec<Origin>,
    pub acts: Acts,
}

/// A sentence, and where it leads.
pub struct Origin {
    pub sentence: String,
    pub link: Option<Link>,
}

pub struct DecisionLink {
    pub href: String,
    /// Whoever looks may decide: then this is the page's main button.
    pub may_decide: bool,
}
