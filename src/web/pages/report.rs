//! The report in a run's bundle: the run for people, on paper too. It stands alone, without this program's pages.

use super::log::Entry;
use super::moment::{Moment, duration};
use super::sentences::{self, Depth};
use super::status::Status;
use crate::engine::protocol::Protocol;
use crate::engine::state::RunStatus;
use crate::export::bundle::{Evidence, leaf_hashes};
use askama::Template;

#[derive(Template)]
#[template(path = "report.html")]
pub struct Report {
    pub number: i64,
    pub protocol: String,
    /// How it stands at the last entry.
    pub status: String,
    pub began: Option<Moment>,
    pub ended: Option<Moment>,
    pub took: String,
    pub started_by: String,
    pub rows: Vec<Row>,
    pub signed_at: Moment,
    pub size: u64,
    pub root: String,
    pub keys: Vec<String>,
}

/// An entry, and the hash by which it is proven.
pub struct Row {
    pub entry: Entry,
    pub index: u64,
    pub hash: String,
}

impl Report {
    pub fn of(evidence: &Evidence, protocol: &Protocol, name: &str) -> Report {
        let (first, last) = (evidence.entries.first(), evidence.entries.last());
        let over = last.filter(|entry| entry.type_name == "run.closed");
        let outcome = over.and_then(|entry| RunStatus::parse(entry.status.as_deref()?));
        let places = evidence.proofs.iter().map(|proof| proof.index);
        let rows = evidence.entries.iter().zip(places).zip(leaf_hashes(&evidence.entries));
        Report {
            number: evidence.run_id,
            protocol: name.to_owned(),
            status: outcome
                .map_or("Not over yet".to_owned(), |outcome| Status::of_run(outcome, None).word.to_string()),
            began: first.map(|entry| Moment::new(entry.at)),
            ended: over.map(|entry| Moment::new(entry.at)),
            took: first.zip(last).map_or(String::new(), |(first, last)| duration(last.at - first.at)),
            started_by: first.map_or(String::new(), |entry| entry.actor.clone()),
            rows: rows
                .map(|((entry, index), hash)| Row {
                    entry: sentences::entry(entry, Some(protocol), Depth::Full),
                    index,
                    hash: hex::encode(hash),
                })
                .collect(),
            signed_at: Moment::new(evidence.head.signed_at),
            size: evidence.head.size,
            root: hex::encode(evidence.head.root),
            keys: evidence.keys.lines().map(str::to_owned).collect(),
        }
    }
}
