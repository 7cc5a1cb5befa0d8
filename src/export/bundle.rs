//! A run's evidence in one file (zip): its entries, the proof that each stands in the signed log, a report for people,
//! and how to check all of it without this program.
//!
//! The same run under the same checkpoint gives the same bytes, until something in it is erased. Owns the names and forms of the files; reads and
//! writes no database. [`check`] reads a bundle back and believes nothing in it.

pub mod check;
pub mod disclosures;

use super::csv;
use crate::audit::chain::Stored;
use crate::audit::{Hash, leaf_hash};
use crate::engine::ids::RunId;
use crate::store::error::StoreError;
use crate::store::tree::checkpoints::{self, SignedHead};
use crate::store::tree::{self, keys};
use crate::store::{Connection, archive, disclosures as sealed_values, log, redactions};
use disclosures::{Line, Sealed};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use std::io::{Cursor, Write};
use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, DateTime, ZipWriter};

/// Version of the bundle's form.
const FORMAT: u32 = 1;

pub const README: &str = "README.txt";
pub const REPORT: &str = "report.html";
pub const ENTRIES: &str = "entries.ndjson";
pub const CSV: &str = "entries.csv";
pub const BESIDE: &str = "beside.ndjson";
pub const DISCLOSURES: &str = "disclosures.ndjson";
pub const PROOFS: &str = "proofs.json";
pub const CHECKPOINT: &str = "checkpoint";
pub const KEY: &str = "vkey";
pub const CHECKER: &str = "check.py";
pub const MANIFEST: &str = "manifest.json";

/// What a bundle proves: a run's entries up to the last one that was signed, under one checkpoint.
pub struct Evidence {
    pub run_id: i64,
    pub entries: Vec<Stored>,
    pub proofs: Vec<EntryProof>,
    /// What is sealed in the entries.
    pub sealed: Vec<Line>,
    pub head: SignedHead,
    /// The log's verifier keys, one a line.
    pub keys: String,
}

/// Where an entry stands in the tree, and the hashes that lead from it to the root.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct EntryProof {
    pub seq: u64,
    pub index: u64,
    /// Lowercase hex, from the leaf upwards (RFC 6962, section 2.1.1).
    pub proof: Vec<String>,
}

/// Reads what a bundle of this run holds: the entries that are signed by now, under the first checkpoint that covers
/// all of them. None: none is signed yet, or the run is over and its last entry is not.
pub fn evidence(
    connection: &mut Connection,
    run_id: i64,
    is_over: bool,
    sealed: Sealed,
) -> Result<Option<Evidence>, StoreError> {
    let mut entries = Vec::new();
    loop {
        let after = entries.last().map_or(0, |entry: &Stored| entry.seq);
        let page = log::of_run(connection, run_id, after, 5_000)?;
        if page.is_empty() {
            break;
        }
        entries.extend(page);
    }
    // It may have left while it was read: what is here is then perhaps not all of it.
    if let Some(archive) = archive::of_run(connection, RunId(run_id))? {
        return Err(archive.away(RunId(run_id)));
    }
    let indexes = tree::indexes_of_run(connection, run_id)?;
    let signed = checkpoints::latest(connection)?.map_or(0, |head| head.size);
    let count = indexes.iter().take_while(|index| **index < signed).count().min(entries.len());
    let complete = count == entries.len();
    let (Some(last), true) = (indexes.get(count.wrapping_sub(1)), complete || !is_over) else {
        return Ok(None);
    };
    let Some(head) = checkpoints::covering(connection, *last)? else { return Ok(None) };
    entries.truncate(count);
    let mut nodes = tree::nodes(connection);
    let mut proofs = Vec::with_capacity(count);
    for (entry, index) in entries.iter().zip(&indexes) {
        let path = crate::audit::tree::inclusion_proof(&mut nodes, *index, head.size)?;
        let proof = path.iter().map(hex::encode).collect();
        proofs.push(EntryProof { seq: entry.seq.unsigned_abs(), index: *index, proof });
    }
    drop(nodes);
    let sealed = sealed_in(connection, run_id, count, sealed)?;
    let keys = keys::all(connection)?.into_iter().map(|key| key.vkey + "\n").collect();
    Ok(Some(Evidence { run_id, entries, proofs, sealed, head, keys }))
}

/// What is sealed in a run's first `count` entries.
fn sealed_in(
    connection: &mut Connection,
    run_id: i64,
    count: usize,
    sealed: Sealed,
) -> Result<Vec<Line>, StoreError> {
    let values = sealed_values::of_run(connection, run_id)?;
    let redactions = redactions::of_run(connection, run_id)?;
    let lines = values.into_iter().map(|value| Line::of(value, sealed, &redactions));
    Ok(lines.take_while(|line| line.seq <= count as u64).collect())
}

/// Puts the bundle together; `report` is for people.
pub fn write(evidence: &Evidence, report: &str) -> Vec<u8> {
    let mut files = vec![
        (
            README,
            include_str!("bundle/README.txt").replace("{run}", &evidence.run_id.to_string()).into_bytes(),
        ),
        (REPORT, report.as_bytes().to_vec()),
        (ENTRIES, lines(evidence.entries.iter().map(|entry| entry.leaf.clone()))),
        (CSV, [csv::header(), evidence.entries.iter().flat_map(csv::row).collect()].concat()),
        (PROOFS, proofs(evidence)),
        (CHECKPOINT, evidence.head.note.clone().into_bytes()),
        (KEY, evidence.keys.clone().into_bytes()),
        (CHECKER, include_bytes!("bundle/check.py").to_vec()),
    ];
    let beside = evidence.entries.iter().filter_map(|entry| Some((entry.seq, entry.beside.as_ref()?)));
    let beside: Vec<Vec<u8>> =
        beside.map(|(seq, beside)| json!({"seq": seq, "beside": beside}).to_string().into_bytes()).collect();
    if !beside.is_empty() {
        files.push((BESIDE, lines(beside)));
    }
    if !evidence.sealed.is_empty() {
        files.push((DISCLOSURES, disclosures::write(&evidence.sealed)));
    }
    files.push((MANIFEST, manifest(evidence, &files)));
    zip(&files)
}

fn lines(lines: impl IntoIterator<Item = Vec<u8>>) -> Vec<u8> {
    lines.into_iter().flat_map(|line| [line, b"\n".to_vec()].concat()).collect()
}

fn proofs(evidence: &Evidence) -> Vec<u8> {
    let root = hex::encode(evidence.head.root);
    let proofs = json!({"size": evidence.head.size, "root": root, "entries": evidence.proofs});
    pretty(&proofs)
}

fn manifest(evidence: &Evidence, files: &[(&str, Vec<u8>)]) -> Vec<u8> {
    let describe = |(name, content): &(&str, Vec<u8>)| {
        let sha256 = hex::encode(Sha256::digest(content));
        ((*name).to_owned(), json!({"sha256": sha256, "bytes": content.len()}))
    };
    let files: serde_json::Map<String, Value> = files.iter().map(describe).collect();
    let closed = evidence.entries.last().is_some_and(|entry| entry.type_name == "run.closed");
    pretty(&json!({
        "format": FORMAT,
        "run": evidence.run_id,
        "entries": evidence.entries.len(),
        "complete": closed,
        "signed_at": evidence.head.signed_at.to_rfc3339_opts(chrono::SecondsFormat::Micros, true),
        "files": files,
    }))
}

fn pretty(value: &Value) -> Vec<u8> {
    let text = serde_json::to_string_pretty(value).expect("JSON values are written");
    (text + "\n").into_bytes()
}

/// No times and no owners of files: nothing that differs from one making to the next.
fn zip(files: &[(&str, Vec<u8>)]) -> Vec<u8> {
    let options = SimpleFileOptions::default()
        .compression_method(CompressionMethod::Deflated)
        .last_modified_time(DateTime::DEFAULT)
        .unix_permissions(0o644);
    let mut writer = ZipWriter::new(Cursor::new(Vec::new()));
    for (name, content) in files {
        writer.start_file(*name, options).expect("a plain name in memory");
        writer.write_all(content).expect("writing to memory does not fail");
    }
    writer.finish().expect("writing to memory does not fail").into_inner()
}

/// The leaf hash of each entry, as the proofs begin with it.
pub fn leaf_hashes(entries: &[Stored]) -> impl Iterator<Item = Hash> {
    entries.iter().map(|entry| leaf_hash(&entry.leaf))
}
