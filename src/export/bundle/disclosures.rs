//! `disclosures.ndjson` of a bundle: what of the run is sealed, and what became of it, one value a line.
//!
//! Withheld from most: then a line says which value it is, how long, under which exemption. Given, a line has the
//! disclosure's text (RFC 9901, section 4.2), whose digest the entry names.

use super::lines;
use crate::audit::disclosure::Disclosure;
use crate::store::disclosures::{SealedValue, State};
use crate::store::redactions::RedactionRow;
use chrono::{DateTime, SecondsFormat, Utc};
use serde::{Deserialize, Serialize};

/// Whether a bundle gives the values that the run seals.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sealed {
    Withheld,
    /// To somebody who may read them, and said why.
    Disclosed,
}

/// One sealed value.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Line {
    /// Of the entry that names it.
    pub seq: u64,
    /// JSON pointer into the entry, where null stands.
    pub place: String,
    /// Which value of the payload it is, or is a copy of.
    pub path: String,
    pub state: Fate,
    /// How long the value is, as JSON.
    pub bytes: usize,
    /// Under which exemption it is withheld.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub exemption: Option<String>,
    /// As the entry's `_sd` lists it.
    pub digest: String,
    /// Its text, if it is disclosed: the digest is the base64url form of its SHA-256.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub disclosure: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub erasure: Option<Erasure>,
}

/// What became of a sealed value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Fate {
    Withheld,
    Disclosed,
    Erased,
}

/// Why a value is gone: one person asked, another agreed.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Erasure {
    pub at: String,
    pub redaction: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub asked_by: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub agreed_by: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub decision: Option<String>,
}

impl Line {
    pub(super) fn of(value: SealedValue, sealed: Sealed, redactions: &[RedactionRow]) -> Line {
        let state = match (value.state(), sealed) {
            (State::Erased, _) => Fate::Erased,
            (State::Withheld, Sealed::Withheld) => Fate::Withheld,
            (State::Withheld, Sealed::Disclosed) => Fate::Disclosed,
        };
        let request = redactions.iter().find(|request| Some(request.id) == value.redaction_id);
        let Disclosure { place, path, digest, text, bytes, exemption } = value.disclosure;
        Line {
            seq: value.seq.unsigned_abs(),
            place,
            path,
            state,
            bytes,
            exemption,
            digest,
            disclosure: text.filter(|_| sealed == Sealed::Disclosed),
            erasure: value.erased_at.map(|at| Erasure::of(at, value.redaction_id, request)),
        }
    }

    /// As it is checked against its entry.
    pub fn disclosure(&self) -> Disclosure {
        Disclosure {
            place: self.place.clone(),
            path: self.path.clone(),
            digest: self.digest.clone(),
            text: self.disclosure.clone(),
            bytes: self.bytes,
            exemption: self.exemption.clone(),
        }
    }
}

impl Erasure {
    fn of(at: DateTime<Utc>, id: Option<i64>, request: Option<&RedactionRow>) -> Erasure {
        Erasure {
            at: at.to_rfc3339_opts(SecondsFormat::Micros, true),
            redaction: id,
            asked_by: request.map(|request| request.filed_by.clone()),
            reason: request.map(|request| request.reason.clone()),
            agreed_by: request.and_then(|request| request.decided_by.clone()),
            decision: request.and_then(|request| request.decision.clone()),
        }
    }
}

pub(super) fn write(values: &[Line]) -> Vec<u8> {
    lines(values.iter().map(|line| serde_json::to_vec(line).expect("a line is written")))
}

/// # Errors
/// A sentence that names the line.
pub(super) fn read(text: &str) -> Result<Vec<Line>, String> {
    let parsed = |(number, line): (usize, &str)| {
        serde_json::from_str(line).map_err(|error| format!("line {}: {error}", number + 1))
    };
    text.lines().enumerate().map(parsed).collect()
}
