//! Runs whose entries are in archives: what the log says of them, and whether just those are missing.

use super::Findings;
use crate::audit::chain::Stored;
use crate::audit::entry::open;
use crate::export::backup::archiving::Listing;
use crate::store::Connection;
use crate::store::archive::{self, Archived};
use crate::store::error::StoreError;
use std::collections::{BTreeMap, HashMap};

/// The type of the entry that says which runs left.
pub const TYPE: &str = "log.archived";

/// What the database says of its archives, and what the log says.
#[derive(Default)]
pub struct Archives {
    /// By number.
    runs: Vec<Archived>,
    /// By archive, the SHA-256 that the log gives of its runs.
    told: HashMap<i64, String>,
    /// Entries that are not in the log any more.
    pub removed: u64,
}

impl Archives {
    pub fn read(connection: &mut Connection) -> Result<Archives, StoreError> {
        Ok(Archives { runs: archive::runs_of(connection, None)?, ..Archives::default() })
    }

    fn find(&self, run: i64) -> Option<&Archived> {
        let at = self.runs.binary_search_by_key(&run, |archived| archived.run_id).ok()?;
        self.runs.get(at)
    }

    /// Whether the entries of this run may be elsewhere.
    pub fn has(&self, run: i64) -> bool {
        self.find(run).is_some()
    }

    /// Whether they are, as was to be expected.
    pub fn remove(&mut self, run: i64) -> bool {
        let Some(archived) = self.find(run) else { return false };
        self.removed += archived.version as u64;
        true
    }

    /// Hears what the log says.
    pub fn pass(&mut self, entry: &Stored) {
        if entry.run_id != 0 || entry.type_name != TYPE {
            return;
        }
        let Ok(opened) = open(&entry.leaf, entry.beside.as_ref()) else { return };
        let (id, listing) = (opened.detail.get("archive"), opened.detail.get("sha256"));
        if let (Some(id), Some(listing)) = (id.and_then(|id| id.as_i64()), listing.and_then(|of| of.as_str()))
        {
            self.told.insert(id, listing.to_owned());
        }
    }

    /// A run may only be missing whose leaving was written down: the runs of each archive are those that the log names.
    pub fn compare(&self, findings: &mut Findings) {
        let mut listings: BTreeMap<i64, Listing> = BTreeMap::new();
        for Archived { run_id, archive, version } in &self.runs {
            listings.entry(*archive).or_default().add(*run_id, *version);
        }
        for (id, listing) in listings {
            let runs = listing.runs;
            match self.told.get(&id) {
                None => findings.add_words(&format!(
                    "{runs} runs are said to be in archive {id}, and the log knows of no such archive"
                )),
                Some(told) if *told != listing.sha256() => findings.add_words(&format!(
                    "{runs} runs are said to be in archive {id}, and they are not those that the log says went there"
                )),
                Some(_) => {}
            }
        }
    }
}
