//! The sequencer: gives committed entries their place in the log's tree, and signs its head.
//!
//! Off the hot path: a thread and a connection of its own, one of all instances at a time. Indexes are committed
//! before they are signed. It signs nothing that is not an extension of what it signed last, by its own memory
//! outside the database (`log-checkpoint` in the data directory) and by the database's: after a restore that went
//! back, or a change behind its back, it stops and says so.

use super::figures;
use crate::audit::Hash;
use crate::audit::checkpoint::Checkpoint;
use crate::audit::note::VerifierKey;
use crate::auth::key_file::KeyFileError;
use crate::auth::log_keys::LogKeys;
use crate::store::agency::{AgencyEntry, AgencyLog};
use crate::store::error::StoreError;
use crate::store::tree::{self, checkpoints, growing, keys};
use crate::store::{Connection, pool};
use chrono::{DateTime, TimeDelta, Utc};
use serde_json::json;
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::watch;

/// How often it looks for new entries: well under the second within which a change is signed.
const EVERY: Duration = Duration::from_millis(250);
/// After a failure.
const RETRY: Duration = Duration::from_secs(2);
/// A problem that stays is told again after so long.
const REMIND: Duration = Duration::from_secs(60);
/// How long an instance that does not hold the log's key leaves the signing to the one that does.
const PATIENCE: TimeDelta = TimeDelta::seconds(30);
/// How long a retired key signs along.
const OVERLAP: TimeDelta = TimeDelta::days(30);
/// How often old heads are thinned.
const THIN: Duration = Duration::from_secs(3600);
/// The last head that was signed here, outside the database.
pub const MEMORY: &str = "log-checkpoint";

/// Why the log is not being signed just now, for whoever asks. None: it is.
#[derive(Debug, Clone, Default)]
pub struct Sealing(Arc<Mutex<Option<String>>>);

impl Sealing {
    pub fn problem(&self) -> Option<String> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn set(&self, problem: Option<String>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = problem;
    }
}

pub struct Sequencer {
    pub database_url: String,
    pub data_dir: PathBuf,
    /// Name of the log: of its checkpoints and its keys too.
    pub origin: String,
    pub agency: Arc<AgencyLog>,
    pub sealing: Sealing,
    pub stopping: watch::Receiver<bool>,
}

/// Why nothing is signed.
#[derive(Debug, thiserror::Error)]
pub enum SealError {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Key(#[from] KeyFileError),
    #[error("{0}: {1}")]
    Memory(PathBuf, io::Error),
    /// Told to people: what is wrong and what to do.
    #[error("{0}")]
    Refused(String),
}

impl Sequencer {
    /// Runs until the app stops, and gives itself back, so that what is logged at the very end is signed too.
    pub fn run(self) -> Sequencer {
        let mut connection: Option<Connection> = None;
        let (mut healthy, mut told) = (Instant::now(), None::<Instant>);
        let mut thinned = None::<Instant>;
        while !*self.stopping.borrow() {
            let worked = self.work(&mut connection).and_then(|()| self.thin(&mut connection, &mut thinned));
            let pause = match worked {
                Ok(()) => {
                    self.sealing.set(None);
                    (healthy, told) = (Instant::now(), None);
                    EVERY
                }
                Err(error) => {
                    connection = connection.filter(|_| matches!(error, SealError::Refused(_)));
                    self.sealing.set(Some(error.to_string()));
                    if told.is_none_or(|at| at.elapsed() >= REMIND) {
                        told = Some(Instant::now());
                        tracing::error!(error = %error, "the activity log is not being signed");
                    }
                    RETRY
                }
            };
            figures::unsealed_for(healthy.elapsed());
            let began = Instant::now();
            while began.elapsed() < pause && !*self.stopping.borrow() {
                std::thread::sleep(EVERY.min(pause));
            }
        }
        self
    }

    /// Once more, for the last entries. The database is still there.
    pub fn finish(self) {
        let (began, mut connection) = (Instant::now(), None);
        // A transaction of anybody else on the server, in any database, can hold the last entries up.
        let why = loop {
            match self.work(&mut connection).and_then(|()| Ok(Self::is_left(&mut connection)?)) {
                Ok(false) => return,
                Ok(true) if began.elapsed() < RETRY => std::thread::sleep(EVERY / 10),
                Ok(true) => break "another transaction is under way".to_owned(),
                Err(error) => break error.to_string(),
            }
        };
        tracing::warn!(%why, "the last entries of the log are not signed yet; the next start does it");
    }

    /// Whether entries are not under the signed head yet.
    fn is_left(connection: &mut Option<Connection>) -> Result<bool, StoreError> {
        let Some(connection) = connection else { return Ok(false) };
        let sealed = checkpoints::latest(connection)?.map_or(0, |head| head.size);
        Ok(growing::is_behind(connection)? || tree::waits_since(connection, sealed)?.is_some())
    }

    /// Everything that is committed gets its place, then the head is signed.
    fn work(&self, connection: &mut Option<Connection>) -> Result<(), SealError> {
        let connection = match connection {
            Some(connection) => connection,
            None => connection.insert(pool::connect(&self.database_url)?),
        };
        loop {
            // Somebody else's turn: they do it.
            let Some(passed) = tree::turn(connection, growing::pass)? else { return Ok(()) };
            if passed.added > 0 && passed.more {
                // Under load the head is signed on the way too.
                self.seal(connection)?;
            } else if !passed.more {
                return self.seal(connection);
            }
        }
    }

    /// Now and then, old heads that later ones cover go.
    fn thin(
        &self,
        connection: &mut Option<Connection>,
        thinned: &mut Option<Instant>,
    ) -> Result<(), SealError> {
        let is_due = thinned.is_none_or(|at| at.elapsed() >= THIN);
        if let Some(connection) = connection.as_mut().filter(|_| is_due)
            && tree::turn(connection, checkpoints::thin)?.is_some()
        {
            *thinned = Some(Instant::now());
        }
        Ok(())
    }

    fn seal(&self, connection: &mut Connection) -> Result<(), SealError> {
        let keys = LogKeys::load_or_create(&self.data_dir)?;
        let sealed = tree::turn(connection, |connection| match self.sign(connection, &keys) {
            Ok(sealed) => Ok(Ok(sealed)),
            Err(SealError::Store(error)) => Err(error),
            Err(error) => Ok(Err(error)),
        })?;
        let Some(sealed) = sealed else { return Ok(()) };
        let Sealed { size, claimed } = sealed?;
        figures::sealed(size);
        if claimed {
            let detail = json!({"use": "log", "vkey": keys.vkey(&self.origin)});
            self.agency.record(AgencyEntry::of_system("key.added", detail))?;
        }
        Ok(())
    }

    /// Signs the head, if it is a new one.
    fn sign(&self, connection: &mut Connection, keys: &LogKeys) -> Result<Sealed, SealError> {
        let vkey = keys.vkey(&self.origin);
        let claimed = keys::all(connection)?.is_empty() && keys::claim(connection, &vkey)?;
        let known = keys::all(connection)?;
        let growth = growing::growth(connection)?;
        let (size, root) = (growth.size(), growth.root());
        let latest = checkpoints::latest(connection)?;
        if known.iter().any(|key| key.retired_at.is_none() && key.vkey != vkey) {
            let sealed = latest.map_or(0, |head| head.size);
            return match tree::waits_since(connection, sealed)? {
                Some(since) if since < Utc::now() - PATIENCE => Err(SealError::Refused(
                    "the instance that holds the key which signs the log is away, and this one does not hold it: \
                     start that one, copy its log-key.pem into this data directory, or, if the key is lost, run \
                     `hms-act rotate-log-key`"
                        .to_owned(),
                )),
                Some(_) | None => Ok(Sealed { size: sealed, claimed }),
            };
        }
        let trusted: Vec<VerifierKey> =
            known.iter().filter_map(|key| VerifierKey::parse(&key.vkey)).collect();
        let remembered = last_signed(&self.data_dir, &trusted)?;
        let memory = self.data_dir.join(MEMORY).display().to_string();
        // Looked at even when there is nothing to sign: a database that was set back stands where it once was.
        if let Some(head) = remembered.as_ref().filter(|head| head.size > size) {
            extends(connection, size, (head.size, head.root), &memory)?;
        }
        if latest.as_ref().is_some_and(|head| head.size == size && head.root == root) {
            return Ok(Sealed { size, claimed });
        }
        if let Some(head) = &latest {
            extends(connection, size, (head.size, head.root), "the database's last checkpoint")?;
        }
        if let Some(head) = &remembered {
            extends(connection, size, (head.size, head.root), &memory)?;
        }
        let retiring = keys.retiring_vkey(&self.origin);
        let still = |at: DateTime<Utc>| Utc::now() < at + OVERLAP;
        let retiring_still =
            known.iter().any(|key| Some(&key.vkey) == retiring.as_ref() && key.retired_at.is_some_and(still));
        let checkpoint = Checkpoint { origin: self.origin.clone(), size, root };
        let note = keys.sign(&checkpoint, retiring_still);
        self.remember(&note)?;
        checkpoints::keep(connection, size, &root, &note)?;
        Ok(Sealed { size, claimed })
    }

    /// Before the database hears of it: what was signed is never forgotten.
    fn remember(&self, note: &str) -> Result<(), SealError> {
        let path = self.data_dir.join(MEMORY);
        let beside = self.data_dir.join(format!(".{MEMORY}.{}", std::process::id()));
        let write = || {
            let mut file = File::create(&beside)?;
            file.write_all(note.as_bytes())?;
            file.sync_all()?;
            fs::rename(&beside, &path)?;
            File::open(&self.data_dir)?.sync_all()
        };
        write().map_err(|error| SealError::Memory(path.clone(), error))
    }
}

/// Whether the tree of `size` entries still begins with a head that was signed, of so many entries and that root.
///
/// # Errors
/// `Refused` says what is wrong and what to do.
pub fn extends(
    connection: &mut Connection,
    size: u64,
    (signed, root): (u64, Hash),
    by: &str,
) -> Result<(), SealError> {
    if signed > size {
        return Err(SealError::Refused(format!(
            "{signed} entries were signed ({by}) and the database has {size}: it was set back. Restore a newer copy; \
             nothing is signed until the log has again what was signed"
        )));
    }
    if tree::root_at(connection, signed)? != root {
        return Err(SealError::Refused(format!(
            "the first {signed} entries are not those that were signed ({by}): run `hms-act verify`, which says what \
             was changed"
        )));
    }
    Ok(())
}

/// The last head that was signed with this data directory. None: nothing was yet.
///
/// # Errors
/// When it cannot be read, or is signed by nobody who is trusted.
pub fn last_signed(data_dir: &Path, trusted: &[VerifierKey]) -> Result<Option<Checkpoint>, SealError> {
    let path = data_dir.join(MEMORY);
    let note = match fs::read_to_string(&path) {
        Ok(note) => note,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(SealError::Memory(path, error)),
    };
    let opened = Checkpoint::open(&note, trusted).map_err(|error| {
        let path = path.display();
        SealError::Refused(format!("{path}: {error}. It should say what was signed last here"))
    });
    Ok(Some(opened?.0))
}

struct Sealed {
    size: u64,
    /// This instance's key has just become the log's.
    claimed: bool,
}
