//! A part of a page that its template has drawn already: drawn once, and shown to all who look at the same.

use super::facts::Fact;
use super::log::Entry;
use super::steps::StepList;
use askama::Template;
use askama::filters::HtmlSafe;
use std::fmt;
use std::sync::Arc;

#[derive(Debug, Clone, Default)]
pub struct Drawn(Arc<str>);

/// Only templates make one, and they escape what they show.
impl HtmlSafe for Drawn {}

impl Drawn {
    fn of(template: &impl Template) -> Drawn {
        Drawn(template.render().expect("plain data is drawn into a string").into())
    }

    /// Steps; nothing where there are none.
    pub fn steps(steps: &StepList) -> Drawn {
        if steps.is_empty() { Drawn::default() } else { Drawn::of(steps) }
    }

    /// Entries of the log, as sentences.
    pub fn entries(entries: &[Entry]) -> Drawn {
        Drawn::of(&Entries { entries })
    }

    /// Names and values.
    pub fn facts(facts: &[Fact]) -> Drawn {
        Drawn::of(&Facts { facts })
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl fmt::Display for Drawn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[derive(Template)]
#[template(path = "partials/log_entries.html")]
struct Entries<'a> {
    entries: &'a [Entry],
}

#[derive(Template)]
#[template(path = "partials/facts.html")]
struct Facts<'a> {
    facts: &'a [Fact],
}
