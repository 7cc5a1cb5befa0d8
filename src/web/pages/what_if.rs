//! `/runs/{id}/what-if`: what another version would have made of a run. Nothing is executed.

use super::chrome::Chrome;
use super::forms::{Choice, Problem};
use super::status::Status;
use askama::Template;

/// The form sends `version`, or `definition` for a draft, and `csrf` to `POST /runs/{id}/what-if`.
#[derive(Template)]
#[template(path = "what_if.html")]
pub struct WhatIf {
    pub chrome: Chrome,
    pub number: String,
    pub protocol: String,
    /// The version that the run has now.
    pub from: String,
    /// Every version, the latest first.
    pub versions: Vec<Choice>,
    /// Whoever looks may try a draft: what they sent. None: they may not.
    pub draft: Option<String>,
    pub problems: Vec<Problem>,
    /// None: nothing was asked yet.
    pub answer: Option<Answer>,
}

pub struct Answer {
    /// `version 3`, `the draft`.
    pub called: String,
    /// Nothing differs.
    pub same: bool,
    /// What it comes to, in a sentence or two.
    pub sentences: Vec<String>,
    pub then: Status,
    /// None: the record does not say.
    pub now: Option<Status>,
    pub rows: Vec<Row>,
    /// How many steps more there are. None: these are all.
    pub more: Option<String>,
    /// What concerns the run as a whole.
    pub of_run: Vec<String>,
}

/// A step in both.
pub struct Row {
    pub step: String,
    /// None: it did not begin.
    pub then: Option<Status>,
    pub now: Option<Status>,
    /// The record has no answer for it.
    pub unknown: bool,
    pub differences: Vec<String>,
}
