//! Runs in memory, each at a known version.

use crate::engine::ids::RunId;
use crate::store::Connection;
use crate::store::error::StoreError;
use crate::store::protocols::ProtocolCache;
use crate::store::runs::{self, Loaded};
use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Runs kept in memory. A run that is not here is folded from its log.
const CAPACITY: usize = 20_000;

#[derive(Default)]
pub struct RunCache {
    runs: Mutex<HashMap<RunId, Loaded>>,
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
        let loaded = runs::load(connection, id, &self.protocols)?;
        if let Some(loaded) = &loaded {
            self.put(loaded.clone());
        }
        Ok(loaded)
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

    pub fn forget(&self, id: RunId) {
        self.lock().remove(&id);
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<RunId, Loaded>> {
        self.runs.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
