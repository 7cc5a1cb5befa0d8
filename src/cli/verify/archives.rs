//! Runs whose entries are in archives: what the log says of them, and whether just those are missing.
//!
//! Asked when something is missing, and at the end, not before: runs may leave while the log is checked.

use super::Findings;
use crate::audit::chain::Finding;
use crate::audit::entry::open;
use crate::export::backup::archiving::Listing;
use crate::store::Connection;
use crate::store::archive::{self, Archived};
use crate::store::error::StoreError;
use std::collections::{BTreeMap, HashMap};

/// Of what was signed and is not in the log, that which should be.
pub fn unexplained(
    connection: &mut Connection,
    mut missing: Vec<Finding>,
) -> Result<Vec<Finding>, StoreError> {
    let runs: Vec<i64> =
        missing.iter().filter(|finding| finding.stream == 0).map(|finding| finding.run_id).collect();
    let away = archive::among(connection, &runs)?;
    missing.retain(|finding| finding.stream != 0 || !away.contains_key(&finding.run_id));
    Ok(missing)
}

/// A run may only be missing whose leaving was written down: the runs of each archive are those that the log names.
pub fn compare(connection: &mut Connection, findings: &mut Findings) -> Result<(), StoreError> {
    let mut listings: BTreeMap<i64, Listing> = BTreeMap::new();
    for Archived { run_id, archive, version } in archive::runs_of(connection, None)? {
        listings.entry(archive).or_default().add(run_id, version);
    }
    // Read after the runs, so that an archive that is made just now is in both.
    let told = told(connection)?;
    for (id, listing) in listings {
        let runs = listing.runs;
        match told.get(&id) {
            None => findings.add_words(&format!(
                "{runs} runs are said to be in archive {id}, and the log knows of no such archive"
            )),
            Some(told) if *told != listing.sha256() => findings.add_words(&format!(
                "{runs} runs are said to be in archive {id}, and they are not those that the log says went there"
            )),
            Some(_) => {}
        }
    }
    Ok(())
}

/// By archive, the SHA-256 that the log gives of its runs.
fn told(connection: &mut Connection) -> Result<HashMap<i64, String>, StoreError> {
    let mut told = HashMap::new();
    for entry in archive::told(connection)? {
        let Ok(opened) = open(&entry.leaf, entry.beside.as_ref()) else { continue };
        let (id, listing) = (opened.detail.get("archive"), opened.detail.get("sha256"));
        if let (Some(id), Some(listing)) = (id.and_then(|id| id.as_i64()), listing.and_then(|of| of.as_str()))
        {
            told.insert(id, listing.to_owned());
        }
    }
    Ok(told)
}
