//! An exported log (NDJSON): each line is an entry's own bytes, so that its links can be checked without a database.

use super::Findings;
use crate::audit::chain::Finding;
use crate::audit::{Hash, entry, leaf_hash};
use crate::engine::json::canonical;
use anyhow::Context;
use serde_json::Value;
use std::collections::HashMap;
use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::Path;

/// What is known of a stream whose entries come one by one.
struct Last {
    seq: u64,
    hash: Hash,
}

/// How many findings there were.
pub fn check(path: &Path) -> anyhow::Result<u64> {
    let place = || path.display().to_string();
    let file = BufReader::new(File::open(path).with_context(place)?);
    let mut findings = Findings::default();
    let mut streams: HashMap<(i64, i64), Last> = HashMap::new();
    let (mut entries, mut gaps) = (0_u64, 0_u64);
    for (number, line) in file.split(b'\n').enumerate() {
        let line = line.with_context(place)?;
        entries += 1;
        let header = match entry::header(&line) {
            Ok(header) => header,
            Err(message) => {
                let hint = "an export as NDJSON has an entry on each line";
                anyhow::ensure!(entries > 1, "{}: line {}: {message}; {hint}", place(), number + 1);
                findings.add_words(&format!("line {}: {message}", number + 1));
                continue;
            }
        };
        let (run_id, stream, seq) = (header.run_id, header.stream, header.seq);
        let finding = |seq: u64, message: &str| Finding {
            run_id,
            stream,
            seq: seq as i64,
            message: message.to_owned(),
        };
        if serde_json::from_slice::<Value>(&line).is_ok_and(|value| canonical(&value) != line) {
            findings.add(&finding(seq, "its bytes are not in the form in which entries are written"));
        }
        let hash = leaf_hash(&line);
        let prev = header.prev.as_deref();
        match streams.insert((run_id, stream), Last { seq, hash }) {
            Some(last) if last.seq + 1 == seq && prev != Some(hex::encode(last.hash).as_str()) => {
                findings.add(&finding(last.seq, "it is not the entry that the next one links to"));
            }
            Some(last) if last.seq >= seq => {
                findings.add(&finding(seq, "it stands after a later entry, or twice"));
            }
            Some(last) if last.seq + 1 == seq => {}
            None if seq == 1 && prev.is_some() => {
                findings.add(&finding(seq, "it is the first, and links to one before it"));
            }
            None if seq == 1 => {}
            Some(_) | None => gaps += 1,
        }
    }
    println!(
        "{entries} entries in {} streams checked, {} broken. {gaps} gaps, as a filtered export has them.",
        streams.len(),
        findings.count
    );
    println!(
        "A file alone has no signature: links prove that what is there belongs together. A run's bundle has one."
    );
    Ok(findings.count)
}
