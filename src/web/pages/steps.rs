//! The steps of a run as they are drawn, one inside another.
//!
//! A list draws itself: groups hold lists, so that a drawing is as deep as its protocol. Colour is never needed to read
//! it: every state is icon, word and colour, and every bar has its legend.

use super::assessment::Assessment;
use super::facts::Fact;
use super::moment::Moment;
use super::status::Status;
use askama::Template;
use askama::filters::HtmlSafe;

/// Steps in their order.
#[derive(Template, Default)]
#[template(path = "partials/steps.html")]
pub struct StepList {
    /// What the list is, for who does not see where it stands.
    pub label: String,
    /// Inside a step: a group, a branch, earlier rounds.
    pub inner: bool,
    pub steps: Vec<Step>,
}

/// Drawn by its own template, which escapes what it shows.
impl HtmlSafe for StepList {}

impl StepList {
    pub fn is_empty(&self) -> bool {
        self.steps.is_empty()
    }
}

/// One step; or a branch of a group, which is several.
#[derive(Default)]
pub struct Step {
    /// Unlike that of any other: a state that comes later is drawn at the same place.
    pub id: String,
    /// 1, 2, 3 …; empty for the steps inside a group.
    pub number: String,
    pub title: String,
    /// Who does it: `Automatic`, `AI agent`, `A person decides`.
    pub by: String,
    pub status: Status,
    /// Flagged, beside its status.
    pub stalled: bool,
    /// What goes on, or why it was skipped. Empty: the status says it all.
    pub sentences: Vec<String>,
    /// Where else to look: a sub-run, the approval, the run that a result was taken over from.
    pub links: Vec<Link>,
    pub started: Option<Moment>,
    /// How long it took, in words.
    pub duration: Option<String>,
    /// `attempt 2 of 3`. None: the first and only one.
    pub attempt: Option<String>,
    pub error: Option<String>,
    pub assessment: Option<Assessment>,
    /// A drafted letter, as text.
    pub letter: Option<String>,
    /// The rest of its result.
    pub result: Vec<Fact>,
    /// How its branches stand. None: it is no group.
    pub group: Option<Group>,
    /// What is inside: the branches of a group, the steps of a branch.
    pub inside: StepList,
    /// The same step in the rounds before, latest first.
    pub earlier: StepList,
}

pub struct Link {
    pub href: String,
    pub text: String,
}

/// How the branches of a group stand.
#[derive(Default)]
pub struct Group {
    /// How many there are and how many must succeed.
    pub sentence: String,
    /// Empty: they have not begun.
    pub shares: Vec<Share>,
    /// Which of the branches are shown, when not all are.
    pub shown: Option<String>,
    /// The page that shows this group alone, with every branch. None: they are all here.
    pub all: Option<Link>,
    pub previous: Option<String>,
    pub next: Option<String>,
}

/// The branches in one state: a piece of the bar, and its line in the legend.
pub struct Share {
    pub status: Status,
    /// `9,950`.
    pub count: String,
    /// Where the piece begins and how long it is, in thousandths of the bar.
    pub from: usize,
    pub width: usize,
    /// The branches in this state alone. None: they are all shown already.
    pub href: Option<String>,
    /// These alone are shown.
    pub current: bool,
}
