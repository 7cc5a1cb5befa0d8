//! What says which objects belong together: a signed note over one line of JSON.

use super::target::{Target, TargetError};
use crate::audit::checkpoint::Checkpoint;
use crate::audit::note::{self, VerifierKey};
use chrono::{DateTime, NaiveDate, Utc};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

const VERSION: u32 = 1;
pub const LATEST: &str = "manifest/latest.json";

pub fn of_day(day: NaiveDate) -> String {
    format!("manifest/{day}.json")
}

/// One backup: a signed head, and what was there at that moment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    pub v: u32,
    /// The log's name.
    pub origin: String,
    pub made_at: DateTime<Utc>,
    /// The signed note. It proves every tile and every entry below its size.
    pub checkpoint: String,
    /// The last migration of the database.
    pub schema: String,
    pub tables: Vec<TableObject>,
    /// By sequence, the last number that it gave.
    pub sequences: BTreeMap<String, i64>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TableObject {
    pub table: String,
    pub object: String,
    pub sha256: String,
    pub rows: u64,
}

/// A manifest whose signature holds.
#[derive(Debug, Clone)]
pub struct Opened {
    pub manifest: Manifest,
    pub checkpoint: Checkpoint,
    /// The key that vouches for it.
    pub by: VerifierKey,
}

/// Why a manifest is not believed.
#[derive(Debug, thiserror::Error)]
pub enum ManifestError {
    #[error(transparent)]
    Target(#[from] TargetError),
    #[error("{0}: {1}")]
    Refused(String, String),
}

impl Manifest {
    pub fn new(
        origin: &str,
        made_at: DateTime<Utc>,
        checkpoint: &str,
        schema: String,
        tables: Vec<TableObject>,
        sequences: BTreeMap<String, i64>,
    ) -> Manifest {
        let (origin, checkpoint) = (origin.to_owned(), checkpoint.to_owned());
        Manifest { v: VERSION, origin, made_at, checkpoint, schema, tables, sequences }
    }

    /// The text to be signed.
    pub fn text(&self) -> String {
        format!("{}\n", serde_json::json!(self))
    }

    /// Reads a signed manifest.
    ///
    /// # Errors
    /// What is wrong with it, as the end of a sentence.
    pub fn open(signed: &str, trusted: &[VerifierKey]) -> Result<Opened, String> {
        let (text, by) = note::open(signed, trusted).map_err(|error| error.to_string())?;
        let manifest: Manifest =
            serde_json::from_str(text).map_err(|error| format!("this is no manifest: {error}"))?;
        if manifest.v != VERSION {
            return Err(format!("it is of the version {}, which this program does not know", manifest.v));
        }
        let (checkpoint, _) = Checkpoint::open(&manifest.checkpoint, trusted)
            .map_err(|error| format!("the checkpoint in it: {error}"))?;
        if checkpoint.origin != manifest.origin {
            return Err("the checkpoint in it is of another log".to_owned());
        }
        Ok(Opened { manifest, checkpoint, by: by.clone() })
    }
}

/// The log's name that a manifest gives, before anybody believes it.
pub fn claimed_origin(signed: &str) -> Option<String> {
    let value: serde_json::Value = serde_json::from_str(signed.lines().next()?).ok()?;
    Some(value.get("origin")?.as_str()?.to_owned())
}

/// A manifest as it lies there. None: there is none.
///
/// # Errors
/// When the target cannot be read, or holds something else there.
pub async fn fetch(main: &Target, name: &str) -> Result<Option<String>, ManifestError> {
    let Some(bytes) = main.get(name).await? else { return Ok(None) };
    let text = String::from_utf8(bytes);
    let refused = |_| ManifestError::Refused(name.to_owned(), "this is no text: it was changed".to_owned());
    text.map(Some).map_err(refused)
}
