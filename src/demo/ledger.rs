//! The portal's ledger: what was published under which key, in an append-only file.
//!
//! Owns `demo-portal-ledger.ndjson`, one JSON object a line. A line is on disk (fsync) before anybody hears of
//! it; a line that a kill cut off was never answered and is removed. Every write holds the file's lock and
//! first reads what others appended, so two agencies on one directory publish once between them.

use serde_json::{Map, Value};
use sha2::{Digest, Sha256};
use std::collections::{BTreeMap, HashMap};
use std::fs::{File, OpenOptions};
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard};

/// Why the ledger cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum LedgerError {
    #[error("{}: {source}", path.display())]
    File { path: PathBuf, source: std::io::Error },
    #[error("{}: line {line} is damaged; repair or remove the file", path.display())]
    Damaged { path: PathBuf, line: usize },
}

/// What became of a request to record something.
#[derive(Debug, Clone, PartialEq)]
pub enum Recorded {
    /// It is new, and on disk now.
    New(Value),
    /// This key and body were recorded before; the entry is the first one's.
    Before(Value),
    /// The key was used for another body.
    Conflict,
}

/// The file, and what it holds.
#[derive(Debug)]
pub struct Ledger {
    path: PathBuf,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    file: File,
    /// Bytes of the file that are in `entries`.
    read: u64,
    entries: Vec<Value>,
    /// Where the entry of a kind and key is.
    places: HashMap<(String, String), usize>,
    /// Requests by key since the start; the file holds no repeats.
    calls: BTreeMap<String, u64>,
}

impl Ledger {
    /// Opens or makes the ledger in a directory, and removes a last line that was cut off.
    pub fn open(data_dir: &Path) -> Result<Ledger, LedgerError> {
        let path = data_dir.join("demo-portal-ledger.ndjson");
        let file_error = |source| LedgerError::File { path: path.clone(), source };
        std::fs::create_dir_all(data_dir).map_err(file_error)?;
        let file = OpenOptions::new().read(true).append(true).create(true).open(&path).map_err(file_error)?;
        // The new file's name must survive a power cut as its lines do.
        File::open(data_dir).and_then(|directory| directory.sync_all()).map_err(file_error)?;
        let state =
            State { file, read: 0, entries: Vec::new(), places: HashMap::new(), calls: BTreeMap::new() };
        let ledger = Ledger { path, state: Mutex::new(state) };
        ledger.locked(|_| Ok(()))?;
        Ok(ledger)
    }

    /// Records what `entry` makes of the number of earlier entries of this licence, unless the key is known.
    /// Blocks on the disk.
    pub fn record(
        &self,
        kind: &str,
        key: &str,
        body: &Value,
        entry: impl FnOnce(&[Value]) -> Map<String, Value>,
    ) -> Result<Recorded, LedgerError> {
        self.locked(|state| {
            *state.calls.entry(key.to_owned()).or_default() += 1;
            let hash = body_hash(body);
            if let Some(place) = state.places.get(&(kind.to_owned(), key.to_owned())) {
                let known = &state.entries[*place];
                let same = known["body_sha256"] == hash.as_str();
                return Ok(if same { Recorded::Before(known.clone()) } else { Recorded::Conflict });
            }
            let mut line = Map::new();
            line.insert("kind".to_owned(), kind.into());
            line.insert("key".to_owned(), key.into());
            line.insert("body_sha256".to_owned(), hash.into());
            line.extend(entry(&state.entries));
            let line = Value::Object(line);
            state.append(&line)?;
            Ok(Recorded::New(line))
        })
    }

    /// All entries of a kind, oldest first, and how often each key was asked for since the start.
    pub fn read(&self, kind: &str) -> Result<(Vec<Value>, BTreeMap<String, u64>), LedgerError> {
        self.locked(|state| {
            let entries = state.entries.iter().filter(|entry| entry["kind"] == kind).cloned().collect();
            Ok((entries, state.calls.clone()))
        })
    }

    fn locked<T>(&self, act: impl FnOnce(&mut State) -> std::io::Result<T>) -> Result<T, LedgerError> {
        let file_error = |source| LedgerError::File { path: self.path.clone(), source };
        let mut state = self.state();
        state.file.lock().map_err(file_error)?;
        let outcome = match state.catch_up() {
            Ok(None) => act(&mut state).map_err(file_error),
            Ok(Some(line)) => Err(LedgerError::Damaged { path: self.path.clone(), line }),
            Err(source) => Err(file_error(source)),
        };
        state.file.unlock().map_err(file_error)?;
        outcome
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // A panic elsewhere leaves the state as the last catch_up or append made it, which is whole.
        self.state.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

impl State {
    /// Reads what was appended since. Returns the number of a line that cannot be read.
    fn catch_up(&mut self) -> std::io::Result<Option<usize>> {
        self.file.seek(SeekFrom::Start(self.read))?;
        let mut appended = Vec::new();
        self.file.read_to_end(&mut appended)?;
        let whole = appended.iter().rposition(|b| *b == b'\n').map_or(0, |at| at + 1);
        for line in appended[..whole].split_inclusive(|b| *b == b'\n') {
            let Ok(entry) = serde_json::from_slice::<Value>(line) else {
                return Ok(Some(self.entries.len() + 1));
            };
            self.remember(entry, line.len());
        }
        if whole < appended.len() {
            self.cut()?;
        }
        Ok(None)
    }

    fn append(&mut self, entry: &Value) -> std::io::Result<()> {
        let line = format!("{entry}\n");
        let written = self.file.write_all(line.as_bytes()).and_then(|()| self.file.sync_data());
        if let Err(error) = written {
            // Half a line must not stand before the next one. If this fails too, the next catch_up cuts it.
            self.cut().ok();
            return Err(error);
        }
        self.remember(entry.clone(), line.len());
        Ok(())
    }

    fn cut(&mut self) -> std::io::Result<()> {
        self.file.set_len(self.read)?;
        self.file.sync_data()
    }

    fn remember(&mut self, entry: Value, length: usize) {
        let text = |field: &str| entry[field].as_str().unwrap_or_default().to_owned();
        self.places.insert((text("kind"), text("key")), self.entries.len());
        self.entries.push(entry);
        self.read += length as u64;
    }
}

/// SHA-256, hex, of the body with its fields in order: the order of fields is not part of a request.
pub fn body_hash(body: &Value) -> String {
    hex::encode(Sha256::digest(in_order(body).to_string()))
}

fn in_order(value: &Value) -> Value {
    match value {
        Value::Object(fields) => {
            let sorted: BTreeMap<&String, Value> =
                fields.iter().map(|(key, field)| (key, in_order(field))).collect();
            Value::Object(sorted.into_iter().map(|(key, field)| (key.clone(), field)).collect())
        }
        Value::Array(items) => Value::Array(items.iter().map(in_order).collect()),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => value.clone(),
    }
}
