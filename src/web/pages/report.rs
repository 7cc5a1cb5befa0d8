//! The report in a run's bundle: the run for people, on paper too. It stands alone, without this program's pages.

use super::facts::{self, Fact};
use super::log::Entry;
use super::moment::{Moment, duration};
use super::sentences::{self, Depth, ended};
use super::status::Status;
use crate::engine::protocol::Protocol;
use crate::engine::state::RunStatus;
use crate::export::bundle::disclosures::{Fate, Line};
use crate::export::bundle::{Evidence, leaf_hashes};
use askama::Template;
use indexmap::IndexMap;
use serde_json::Value;

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
    /// What is sealed, each value once.
    pub sealed: Vec<SealedRow>,
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

/// A sealed value, in however many places of the entries it stands.
pub struct SealedRow {
    /// `payload.applicant.ssn`.
    pub path: String,
    /// Numbers of entries.
    pub entries: Vec<String>,
    /// Of all its places together, as JSON.
    pub bytes: usize,
    /// `Withheld under exemption b(6)`.
    pub fate: String,
    /// If it is disclosed.
    pub value: Option<Vec<Fact>>,
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
            sealed: sealed(&evidence.sealed),
            signed_at: Moment::new(evidence.head.signed_at),
            size: evidence.head.size,
            root: hex::encode(evidence.head.root),
            keys: evidence.keys.lines().map(str::to_owned).collect(),
        }
    }
}

/// Copies of a value under one path are one row; what differs in value or fate is another.
fn sealed(lines: &[Line]) -> Vec<SealedRow> {
    let mut rows: IndexMap<(&str, String, String), SealedRow> = IndexMap::new();
    for line in lines {
        let value = line.disclosure().value().unwrap_or_default();
        let (fate, entry) = (fate(line), line.seq.to_string());
        let key =
            (line.path.as_str(), fate.clone(), value.as_ref().map_or_else(String::new, Value::to_string));
        let row = rows.entry(key).or_insert_with(|| SealedRow {
            path: line.path.clone(),
            entries: Vec::new(),
            bytes: 0,
            fate,
            value: value.as_ref().map(facts::short),
        });
        row.bytes += line.bytes;
        if row.entries.last() != Some(&entry) {
            row.entries.push(entry);
        }
    }
    rows.into_values().collect()
}

/// What became of a value and why, in a sentence.
fn fate(line: &Line) -> String {
    let exemption = line.exemption.as_ref().map(|code| format!(" under exemption {code}"));
    let exemption = exemption.unwrap_or_default();
    match (line.state, &line.erasure) {
        (Fate::Withheld, _) => format!("Withheld{exemption}."),
        (Fate::Disclosed, _) => format!("Given here; elsewhere withheld{exemption}."),
        (Fate::Erased, None) => "Erased.".to_owned(),
        (Fate::Erased, Some(erasure)) => {
            let day = erasure.at.split('T').next().unwrap_or_default();
            let said = |text: &Option<String>| text.clone().unwrap_or_else(|| "not known".to_owned());
            format!(
                "Erased for good on {day}. Asked for by {}: {} Agreed to by {}: {}",
                said(&erasure.asked_by),
                ended(&said(&erasure.reason)),
                said(&erasure.agreed_by),
                ended(&said(&erasure.decision)),
            )
        }
    }
}
