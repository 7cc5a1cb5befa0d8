//! Reading a bundle back. Nothing in it is believed: hostile files are bounded, and every claim is computed again.

use super::disclosures::{self, Line};
use super::{BESIDE, CHECKPOINT, DISCLOSURES, ENTRIES, EntryProof, KEY, MANIFEST, PROOFS};
use crate::audit::chain::Finding;
use crate::audit::checkpoint::Checkpoint;
use crate::audit::disclosure::Disclosure;
use crate::audit::note::VerifierKey;
use crate::audit::{Hash, entry, leaf_hash, tree};
use crate::engine::json::canonical;
use serde::Deserialize;
use serde_json::Value;
use sha2::{Digest, Sha256};
use std::collections::{BTreeMap, HashMap};
use std::io::{Read, Seek};
use zip::ZipArchive;

/// The most that one file of a bundle may unpack to.
const MAX_FILE_BYTES: u64 = 1 << 30;

/// A bundle, unpacked.
pub struct Bundle {
    files: BTreeMap<String, Vec<u8>>,
    manifest: Manifest,
    proofs: Proofs,
}

#[derive(Deserialize)]
struct Manifest {
    run: i64,
    entries: u64,
    complete: bool,
    files: BTreeMap<String, Described>,
}

#[derive(Deserialize)]
struct Described {
    sha256: String,
}

#[derive(Deserialize)]
struct Proofs {
    size: u64,
    root: String,
    entries: Vec<EntryProof>,
}

/// What came of checking one.
pub struct Checked {
    pub run: i64,
    pub entries: u64,
    pub size: u64,
    pub findings: Vec<Finding>,
    /// What is wrong with the bundle as a whole.
    pub words: Vec<String>,
    /// The key that vouches for its checkpoint.
    pub signed_by: Option<String>,
}

impl Bundle {
    /// # Errors
    /// A sentence: this is no bundle.
    pub fn open(file: impl Read + Seek) -> Result<Bundle, String> {
        let mut archive = ZipArchive::new(file).map_err(|error| format!("this is no zip file: {error}"))?;
        let mut files = BTreeMap::new();
        for index in 0..archive.len().min(100) {
            let file =
                archive.by_index(index).map_err(|error| format!("the zip file is damaged: {error}"))?;
            let name = file.name().map_err(|error| format!("the zip file is damaged: {error}"))?.into_owned();
            let mut content = Vec::new();
            let read = file.take(MAX_FILE_BYTES + 1).read_to_end(&mut content);
            read.map_err(|error| format!("{name} is damaged: {error}"))?;
            if content.len() as u64 > MAX_FILE_BYTES {
                return Err(format!("{name} is larger than a file of a bundle may be"));
            }
            files.insert(name, content);
        }
        let manifest = parse(&files, MANIFEST)?;
        let proofs = parse(&files, PROOFS)?;
        Ok(Bundle { files, manifest, proofs })
    }

    /// The keys that came along, which prove nothing.
    pub fn own_keys(&self) -> Vec<VerifierKey> {
        self.text(KEY).lines().filter_map(VerifierKey::parse).collect()
    }

    /// The name of the log that it claims to be from.
    pub fn origin(&self) -> String {
        self.text(CHECKPOINT).lines().next().unwrap_or_default().to_owned()
    }

    /// Checks everything, the signature with the keys that are trusted.
    pub fn check(&self, trusted: &[VerifierKey]) -> Checked {
        let mut checked = Checked {
            run: self.manifest.run,
            entries: 0,
            size: self.proofs.size,
            findings: Vec::new(),
            words: Vec::new(),
            signed_by: None,
        };
        self.check_files(&mut checked);
        self.check_head(trusted, &mut checked);
        self.check_entries(&mut checked);
        checked
    }

    fn text(&self, name: &str) -> String {
        String::from_utf8_lossy(self.files.get(name).map(Vec::as_slice).unwrap_or_default()).into_owned()
    }

    fn check_files(&self, checked: &mut Checked) {
        for (name, described) in &self.manifest.files {
            match self.files.get(name) {
                None => checked.words.push(format!("{name} is missing")),
                Some(content) if hex::encode(Sha256::digest(content)) != described.sha256 => {
                    checked.words.push(format!("{name} was changed"));
                }
                Some(_) => {}
            }
        }
        let extra =
            self.files.keys().filter(|name| *name != MANIFEST && !self.manifest.files.contains_key(*name));
        checked.words.extend(extra.map(|name| format!("{name} was added")));
    }

    fn check_head(&self, trusted: &[VerifierKey], checked: &mut Checked) {
        match Checkpoint::open(&self.text(CHECKPOINT), trusted) {
            Err(error) => checked.words.push(format!("the checkpoint: {error}")),
            Ok((head, _)) if head.size != self.proofs.size || hex::encode(head.root) != self.proofs.root => {
                checked.words.push("the checkpoint is not the one that the proofs lead to".to_owned());
            }
            Ok((_, key)) => checked.signed_by = Some(key.vkey()),
        }
    }

    fn check_entries(&self, checked: &mut Checked) {
        let run = self.manifest.run;
        let beside = self.beside();
        let disclosures = self.disclosures(checked);
        let root: Option<Hash> = hex::decode(&self.proofs.root).ok().and_then(|root| root.try_into().ok());
        let content = self.files.get(ENTRIES).map(Vec::as_slice).unwrap_or_default();
        let mut prev: Option<Hash> = None;
        let mut closed = false;
        for (number, line) in (1..).zip(content.split_inclusive(|byte| *byte == b'\n')) {
            checked.entries = number;
            let line = line.strip_suffix(b"\n").unwrap_or(line);
            let hash = leaf_hash(line);
            let sealed = disclosures.get(&number).map_or(&[][..], Vec::as_slice);
            let entry = Entry { run, number, line, hash, prev, beside: beside.get(&number), sealed };
            let proven =
                entry.check(self.proofs.entries.get(number as usize - 1), self.proofs.size, root.as_ref());
            match proven {
                Ok(closes) => closed = closes,
                Err(message) => checked.findings.push(entry.finding(message)),
            }
            prev = Some(hash);
        }
        let short =
            checked.entries != self.manifest.entries || checked.entries != self.proofs.entries.len() as u64;
        if short || closed != self.manifest.complete {
            let seq = checked.entries as i64 + 1;
            let message = "entries are missing from here on".to_owned();
            checked.findings.push(Finding { run_id: run, stream: 0, seq, message });
        }
    }

    fn beside(&self) -> HashMap<u64, Value> {
        #[derive(Deserialize)]
        struct Line {
            seq: u64,
            beside: Value,
        }
        let text = self.text(BESIDE);
        let lines = text.lines().filter_map(|line| serde_json::from_str::<Line>(line).ok());
        lines.map(|line| (line.seq, line.beside)).collect()
    }

    /// What the bundle says is sealed in each entry.
    fn disclosures(&self, checked: &mut Checked) -> HashMap<u64, Vec<Disclosure>> {
        let lines: Vec<Line> = disclosures::read(&self.text(DISCLOSURES)).unwrap_or_else(|error| {
            checked.words.push(format!("{DISCLOSURES} is damaged: {error}"));
            Vec::new()
        });
        let mut found: HashMap<u64, Vec<Disclosure>> = HashMap::new();
        for line in lines {
            found.entry(line.seq).or_default().push(line.disclosure());
        }
        if let Some(seq) = found.keys().find(|seq| **seq == 0 || **seq > self.manifest.entries) {
            checked.words.push(format!("{DISCLOSURES} tells of an entry {seq}, which is not there"));
        }
        found
    }
}

fn parse<T: for<'de> Deserialize<'de>>(files: &BTreeMap<String, Vec<u8>>, name: &str) -> Result<T, String> {
    let content = files.get(name).ok_or_else(|| format!("this is no bundle: it has no {name}"))?;
    serde_json::from_slice(content).map_err(|error| format!("{name} is damaged: {error}"))
}

/// One line of the entries, on its way through the checks.
struct Entry<'a> {
    run: i64,
    number: u64,
    line: &'a [u8],
    hash: Hash,
    prev: Option<Hash>,
    beside: Option<&'a Value>,
    sealed: &'a [Disclosure],
}

impl Entry<'_> {
    fn finding(&self, message: String) -> Finding {
        Finding { run_id: self.run, stream: 0, seq: self.number as i64, message }
    }

    /// Whether it is the run's last. The message says what is wrong.
    fn check(&self, proof: Option<&EntryProof>, size: u64, root: Option<&Hash>) -> Result<bool, String> {
        let header = entry::header(self.line)?;
        if (header.run_id, header.seq) != (self.run, self.number) {
            return Err(format!("entry {} of run {} stands here", header.seq, header.run_id));
        }
        if header.prev.as_deref() != self.prev.map(hex::encode).as_deref() {
            return Err("it does not link to the entry before it".to_owned());
        }
        let opened = entry::open(self.line, self.beside)?;
        opened.check_disclosures(self.sealed)?;
        if serde_json::from_slice::<Value>(self.line).is_ok_and(|value| canonical(&value) != self.line) {
            return Err("its bytes are not in the form in which entries are written".to_owned());
        }
        let proof = proof.filter(|proof| proof.seq == self.number).ok_or("it has no proof")?;
        let path: Result<Vec<Hash>, _> = proof.proof.iter().map(|step| hash(step)).collect();
        let path = path.map_err(|()| "its proof is not one".to_owned())?;
        let root = root.ok_or("the proofs have no root")?;
        if !tree::is_included(&self.hash, proof.index, size, &path, root) {
            return Err("it is not the entry that was signed here".to_owned());
        }
        let closes = opened.type_name == "run.closed";
        if closes && opened.detail.get("count").and_then(Value::as_u64) != Some(self.number) {
            return Err("it states another count than there are entries".to_owned());
        }
        Ok(closes)
    }
}

fn hash(text: &str) -> Result<Hash, ()> {
    hex::decode(text).map_err(drop)?.try_into().map_err(drop)
}
