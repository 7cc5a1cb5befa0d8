//! `/approvals`: awaiting, or history. The list is the block `live`, rendered alone by
//! `approvals.as_live()`; its stream follows the rules of the run page's.

use super::assessment::RiskLevel;
use super::chrome::Chrome;
use super::moment::Moment;
use super::status::Status;
use askama::Template;

#[derive(Template)]
#[template(path = "approvals.html", blocks = ["live"])]
pub struct Approvals {
    pub chrome: Chrome,
    /// True: what waits (`/approvals`). False: what is decided (`/approvals?tab=history`).
    pub awaiting: bool,
    pub approvals: Vec<ApprovalRow>,
    pub first: Option<String>,
    pub next: Option<String>,
    /// `/approvals/live?after=<position>`. None: nothing to follow (history).
    pub live_href: Option<String>,
}

/// One approval of a list.
pub struct ApprovalRow {
    pub href: String,
    pub title: String,
    pub run_number: String,
    pub run_href: String,
    pub protocol: String,
    /// A few words of the run's payload.
    pub subject: String,
    pub status: Status,
    /// None: no AI analysis in this run.
    pub risk: Option<RiskLevel>,
    pub started_by: String,
    pub opened: Moment,
    pub due: Option<Moment>,
    pub overdue: bool,
    /// Why the viewer cannot decide this one. None: the viewer can, or it is decided.
    pub barred: Option<String>,
    /// `Approved for legal by ada; waits for security.`
    pub slots: Option<String>,
    /// Who decided, and when.
    pub decided: Option<(String, Moment)>,
}

impl ApprovalRow {
    /// The risk as icon, word and colour.
    pub fn risk_status(&self) -> Option<Status> {
        self.risk.map(RiskLevel::status)
    }

    pub fn overdue_status(&self) -> Option<Status> {
        self.overdue.then(Status::overdue)
    }
}
