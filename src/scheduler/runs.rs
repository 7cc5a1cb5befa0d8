//! Runs in memory, each at a known version.

use crate::engine::ids::RunId;
use crate::engine::state::Run;
use crate::store::Connection;
use crate::store::error::StoreError;
use crate::store::protocols::ProtocolCache;
use crate::store::runs::{self, Loaded};
use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Runs kept in memory. A run that is not here is folded from its log.
const CAPACITY: usize = 20_000;

/// Moments of a recording that are kept lie so many entries apart.
const MOMENTS_APART: u64 = 500;
/// What the payloads of a recording's moments may take together: those that differ are copies of each other.
const TAPE_BYTES: usize = 32 << 20;
/// Recordings that are being played.
const TAPES: usize = 4;
/// A recording that nobody looks at is forgotten after this time.
const TAPE_KEPT: Duration = Duration::from_secs(60);

#[derive(Default)]
pub struct RunCache {
    runs: Mutex<HashMap<RunId, Loaded>>,
    tapes: Mutex<HashMap<RunId, Tape>>,
    /// Runs that a newer version of this program wrote, with what it wrote. Entries never change: they are not read
    /// again.
    newer: Mutex<HashMap<RunId, String>>,
    protocols: ProtocolCache,
}

impl RunCache {
    pub fn protocols(&self) -> &ProtocolCache {
        &self.protocols
    }

    /// The run as it is committed now: from memory when that is the stored version.
    pub fn load(&self, connection: &mut Connection, id: RunId) -> Result<Option<Loaded>, StoreError> {
        if let Some(known) = self.get(id)
            && runs::state(connection, id)? == Some(known.state())
        {
            return Ok(Some(known));
        }
        self.reload(connection, id)
    }

    /// The run, folded from its log.
    pub fn reload(&self, connection: &mut Connection, id: RunId) -> Result<Option<Loaded>, StoreError> {
        let newer = || self.newer.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(what) = newer().get(&id) {
            return Err(StoreError::Newer(what.clone()));
        }
        let loaded = runs::load(connection, id, &self.protocols);
        match &loaded {
            Ok(Some(loaded)) => self.put(loaded.clone()),
            Err(error @ StoreError::Newer(what)) => {
                tracing::warn!(run.id = id.0, "{error}");
                let mut newer = newer();
                if newer.len() >= CAPACITY {
                    newer.clear();
                }
                newer.insert(id, what.clone());
            }
            Ok(None) | Err(_) => {}
        }
        loaded
    }

    /// What is in memory, which another instance may have overtaken.
    pub fn get(&self, id: RunId) -> Option<Loaded> {
        self.lock().get(&id).cloned()
    }

    /// Keeps the newer of two versions of a run.
    pub fn put(&self, loaded: Loaded) {
        let mut runs = self.lock();
        if runs.len() >= CAPACITY {
            runs.retain(|_, known| !known.run.status.is_final());
            if runs.len() >= CAPACITY {
                runs.clear();
            }
        }
        let known = runs.get(&loaded.run.id).map_or((0, 0), Loaded::state);
        if loaded.state() >= known {
            runs.insert(loaded.run.id, loaded);
        }
    }

    /// The run as it was after this entry, folded from its log: on from a moment that is kept, where there is one.
    pub fn at(
        &self,
        connection: &mut Connection,
        id: RunId,
        seq: u64,
    ) -> Result<Option<Arc<Run>>, StoreError> {
        if let Some(now) = self.load(connection, id)?
            && now.run.version <= seq
        {
            return Ok(Some(now.run));
        }
        let from = self.tapes().get(&id).and_then(|tape| tape.before(seq));
        let mut kept = Vec::new();
        let mut keep = |run: &Run| {
            if run.version.is_multiple_of(MOMENTS_APART) {
                kept.push(Arc::new(run.clone()));
            }
        };
        let run = runs::at(connection, id, &self.protocols, from, seq, &mut keep)?;
        if let Some(run) = &run {
            self.keep(id, kept, run);
        }
        Ok(run)
    }

    fn keep(&self, id: RunId, moments: Vec<Arc<Run>>, last: &Arc<Run>) {
        let mut tapes = self.tapes();
        tapes.retain(|_, tape| tape.seen.elapsed() < TAPE_KEPT);
        if tapes.len() >= TAPES && !tapes.contains_key(&id) {
            tapes.clear();
        }
        let tape = tapes.entry(id).or_insert_with(|| Tape {
            moments: BTreeMap::new(),
            bytes: 0,
            last: Arc::clone(last),
            seen: Instant::now(),
        });
        moments.into_iter().for_each(|run| tape.keep(run));
        (tape.last, tape.seen) = (Arc::clone(last), Instant::now());
    }

    pub fn forget(&self, id: RunId) {
        self.lock().remove(&id);
        self.tapes().remove(&id);
    }

    fn tapes(&self) -> MutexGuard<'_, HashMap<RunId, Tape>> {
        self.tapes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<RunId, Loaded>> {
        self.runs.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Moments of a run's recording, so that playing it does not fold it from its beginning each time. Entries never change,
/// so no moment is ever stale.
struct Tape {
    /// By the entry before it.
    moments: BTreeMap<u64, Arc<Run>>,
    /// What their payloads take.
    bytes: usize,
    /// The one that was shown last.
    last: Arc<Run>,
    seen: Instant,
}

impl Tape {
    fn keep(&mut self, run: Arc<Run>) {
        let before = self.moments.range(..run.version).next_back().map(|(_, before)| &before.payload);
        let shared = before.is_some_and(|before| Arc::ptr_eq(before, &run.payload));
        let more = if shared { 0 } else { run.payload_bytes };
        if self.bytes + more <= TAPE_BYTES && self.moments.insert(run.version, run).is_none() {
            self.bytes += more;
        }
    }

    /// The latest moment that is not after this entry.
    fn before(&self, seq: u64) -> Option<Arc<Run>> {
        let kept = self.moments.range(..=seq).next_back().map(|(_, run)| run);
        let last = Some(&self.last).filter(|last| last.version <= seq);
        kept.into_iter().chain(last).max_by_key(|run| run.version).cloned()
    }
}
