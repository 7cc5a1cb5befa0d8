//! `/`: what needs my decision, my runs, what takes too long.

use super::approvals::ApprovalRow;
use super::chrome::Chrome;
use super::overrides::OverrideRow;
use super::runs::RunRow;
use askama::Template;

#[derive(Template)]
#[template(path = "home.html")]
pub struct Home {
    pub chrome: Chrome,
    /// None: this user decides nothing.
    pub decisions: Option<Digest<ApprovalRow>>,
    /// None: this user decides no overrides.
    pub overrides: Option<Digest<OverrideRow>>,
    /// None: this user starts nothing.
    pub mine: Option<Digest<RunRow>>,
    pub stalled: Digest<RunRow>,
    /// May start runs: gives the page its main button.
    pub can_start: bool,
}

/// A number, the list that it counts, and that list's first few rows.
pub struct Digest<Row> {
    pub count: u64,
    /// The list itself: the same query, so that the number is the list's own.
    pub href: String,
    pub rows: Vec<Row>,
}
