//! `hms-act verify`: whether the log is what was written and signed, and if not, which entry is wrong.
//!
//! Exit code 0: all holds; 1: something does not, and it is named as `run R seq S`; 2: it could not be checked.

mod archive;
mod archives;
mod bundle;
mod database;
mod export;
mod tree;

use crate::audit::chain::Finding;
use crate::audit::note::VerifierKey;
use crate::auth::key_file::KeyFileError;
use crate::auth::log_keys::LogKeys;
use crate::config::Config;
use crate::scheduler::sequencer::MEMORY;
use anyhow::Context;
use std::io::{IsTerminal, Write};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};

/// What is to be checked.
#[derive(Debug, Clone, Default)]
pub struct What {
    /// Only this run.
    pub run: Option<i64>,
    /// A run's bundle, instead of the database.
    pub bundle: Option<PathBuf>,
    /// An exported log (NDJSON), instead of the database.
    pub file: Option<PathBuf>,
    /// The backup that has what was archived, beside the database.
    pub archive: Option<String>,
    /// The key that is trusted, as `/acts/log/key` gives it.
    pub key: Option<String>,
}

/// # Errors
/// When nothing could be checked.
pub fn verify(config: &Config, what: &What) -> anyhow::Result<ExitCode> {
    let key =
        what.key.as_deref().map(|vkey| VerifierKey::parse(vkey).context("--key: this is no verifier key"));
    let key = key.transpose()?;
    let findings = match (&what.bundle, &what.file, &what.archive) {
        (Some(path), ..) => bundle::check(config, path, key)?,
        (None, Some(path), _) => export::check(path)?,
        (None, None, Some(place)) => database::check(config, None, key)? + archive::check(config, place)?,
        (None, None, None) => database::check(config, what.run, key)?,
    };
    Ok(if findings == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Where a key that is trusted comes from: the further from what it vouches for, the more it proves.
enum Trust {
    /// Given on the command line.
    Given(VerifierKey),
    /// The key that this data directory signs with, and the one before it.
    Own(Vec<VerifierKey>),
    /// There is none here: what the database says of itself.
    OfTheDatabase(Vec<VerifierKey>),
    /// There is none here: what the bundle says of itself.
    OfTheBundle(Vec<VerifierKey>),
}

impl Trust {
    fn keys(&self) -> Vec<VerifierKey> {
        match self {
            Trust::Given(key) => vec![key.clone()],
            Trust::Own(keys) | Trust::OfTheDatabase(keys) | Trust::OfTheBundle(keys) => keys.clone(),
        }
    }

    fn words(&self) -> &'static str {
        match self {
            Trust::Given(_) => "given with --key",
            Trust::Own(_) => "of this data directory",
            Trust::OfTheDatabase(_) => {
                "that the database itself names, which proves little: give one with --key that you kept"
            }
            Trust::OfTheBundle(_) => {
                "that came along in the bundle, which proves nothing: give yours with --key"
            }
        }
    }
}

/// The keys that this data directory has signed with, if it has signed.
fn own_keys(config: &Config, origin: &str) -> Result<Vec<VerifierKey>, KeyFileError> {
    if !config.data_dir.join(MEMORY).exists() {
        return Ok(Vec::new());
    }
    own_keys_of(config, origin)
}

/// The keys that lie in this data directory, if there are any.
pub(super) fn own_keys_of(config: &Config, origin: &str) -> Result<Vec<VerifierKey>, KeyFileError> {
    let Some(keys) = LogKeys::load(&config.data_dir)? else { return Ok(Vec::new()) };
    let vkeys = [Some(keys.vkey(origin)), keys.retiring_vkey(origin)];
    Ok(vkeys.into_iter().flatten().filter_map(|vkey| VerifierKey::parse(&vkey)).collect())
}

/// What was found so far: told at once, and counted.
#[derive(Default)]
struct Findings {
    count: u64,
}

impl Findings {
    fn add(&mut self, finding: &Finding) {
        self.count += 1;
        println!("BROKEN {finding}");
    }

    /// Something that is wrong with the whole.
    fn add_words(&mut self, words: &str) {
        self.count += 1;
        println!("BROKEN {words}");
    }
}

/// A line on the terminal that says how far it is.
pub(super) struct Progress {
    what: &'static str,
    total: u64,
    shown: Option<Instant>,
    is_shown: bool,
}

impl Progress {
    pub(super) fn new(what: &'static str, total: u64) -> Progress {
        Progress { what, total, shown: None, is_shown: std::io::stderr().is_terminal() }
    }

    pub(super) fn at(&mut self, done: u64) {
        const EVERY: Duration = Duration::from_millis(200);
        if !self.is_shown || self.shown.is_some_and(|at| at.elapsed() < EVERY) {
            return;
        }
        self.shown = Some(Instant::now());
        let share = done.saturating_mul(100).checked_div(self.total).unwrap_or(100).min(100);
        let bar = "#".repeat(share as usize / 4);
        eprint!("\r[{bar:<25}] {share:3} % of {} {}", self.total, self.what);
        let _ = std::io::stderr().flush();
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if self.shown.is_some() {
            eprint!("\r{:80}\r", "");
        }
    }
}
