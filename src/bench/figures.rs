//! The figures, as a table and as JSON.

use serde_json::{Map, Value, json};
use std::time::Duration;

#[derive(Default)]
pub(super) struct Report(Vec<Section>);

/// Figures that were taken together.
pub(super) struct Section {
    /// In JSON.
    pub key: &'static str,
    pub title: String,
    figures: Vec<Figure>,
}

struct Figure {
    key: String,
    words: String,
    /// None: it cannot be measured here.
    value: Option<f64>,
    unit: &'static str,
}

impl Report {
    pub fn add(&mut self, section: Section) {
        self.0.push(section);
    }

    pub fn extend(&mut self, sections: impl IntoIterator<Item = Section>) {
        self.0.extend(sections);
    }

    pub fn as_json(&self) -> Value {
        let sections = self.0.iter().map(|section| (section.key.to_owned(), section.as_json()));
        Value::Object(sections.collect())
    }

    pub fn print(&self) {
        for section in &self.0 {
            println!("{}", section.title);
            for Figure { words, value, unit, .. } in &section.figures {
                match value {
                    Some(value) => println!("  {words:<44} {:>12} {unit}", rounded(*value)),
                    None => println!("  {words:<44} {:>12}", "not measured"),
                }
            }
        }
    }
}

impl Section {
    pub fn new(key: &'static str, title: impl Into<String>) -> Section {
        Section { key, title: title.into(), figures: Vec::new() }
    }

    /// A figure with its unit.
    pub fn add(&mut self, key: impl Into<String>, words: impl Into<String>, value: f64, unit: &'static str) {
        self.add_if_measured(key, words, Some(value), unit);
    }

    /// The same where it may be that nothing can tell: on somebody else's server, or another system.
    pub fn add_if_measured(
        &mut self,
        key: impl Into<String>,
        words: impl Into<String>,
        value: Option<f64>,
        unit: &'static str,
    ) {
        self.figures.push(Figure { key: key.into(), words: words.into(), value, unit });
    }

    /// A time, in milliseconds.
    pub fn add_time(&mut self, key: impl Into<String>, words: impl Into<String>, time: Duration) {
        self.add(key, words, time.as_secs_f64() * 1_000.0, "ms");
    }

    /// The median and the 99th percentile, in milliseconds.
    pub fn add_times(&mut self, key: &str, words: &str, times: &mut Times) {
        self.add_time(format!("{key}_p50_ms"), format!("{words}, p50"), times.percentile(50));
        self.add_time(format!("{key}_p99_ms"), format!("{words}, p99"), times.percentile(99));
    }

    /// One of two rates as a share of the other.
    pub fn add_share(&mut self, key: impl Into<String>, words: impl Into<String>, share: Option<f64>) {
        self.add_if_measured(key, words, share.map(|share| share * 100.0), "%");
    }

    fn as_json(&self) -> Value {
        let figures = self.figures.iter().map(|figure| (figure.key.clone(), json!(figure.value)));
        Value::Object(figures.collect::<Map<String, Value>>())
    }
}

/// How long something took, many times over.
#[derive(Default)]
pub(super) struct Times(Vec<Duration>);

impl Times {
    pub fn add(&mut self, time: Duration) {
        self.0.push(time);
    }

    /// Zero of nothing.
    pub fn percentile(&mut self, percent: usize) -> Duration {
        self.0.sort_unstable();
        let last = self.0.len().saturating_sub(1);
        self.0.get((self.0.len() * percent / 100).min(last)).copied().unwrap_or_default()
    }

    pub fn longest(&self) -> Duration {
        self.0.iter().max().copied().unwrap_or_default()
    }
}

impl FromIterator<Duration> for Times {
    fn from_iter<I: IntoIterator<Item = Duration>>(times: I) -> Times {
        Times(times.into_iter().collect())
    }
}

/// Three digits that mean something, and no more.
fn rounded(value: f64) -> String {
    match value.abs() {
        size if size >= 100.0 => format!("{value:.0}"),
        size if size >= 10.0 => format!("{value:.1}"),
        _ => format!("{value:.2}"),
    }
}
