//! The registered actions and agents, in memory.

use crate::store::Connection;
use crate::store::error::StoreError;
use crate::store::registry::{self, Snapshot};
use std::sync::{Arc, PoisonError, RwLock};

/// Cloning shares it.
#[derive(Debug, Clone, Default)]
pub struct CatalogCache {
    current: Arc<RwLock<Arc<Snapshot>>>,
}

impl CatalogCache {
    pub fn current(&self) -> Arc<Snapshot> {
        Arc::clone(&self.current.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Reads the registries again. Call it after a change; others call it every second.
    pub fn refresh(&self, connection: &mut Connection) -> Result<(), StoreError> {
        let read = Snapshot::read(connection)?;
        let mut current = self.current.write().unwrap_or_else(PoisonError::into_inner);
        // Of two that read at the same time the one that saw more has the last word.
        if **current != read && current.revision() <= read.revision() {
            *current = Arc::new(read);
        }
        Ok(())
    }

    /// What is registered now: read again only if somebody, perhaps through another instance, changed it since.
    pub fn catch_up(&self, connection: &mut Connection) -> Result<Arc<Snapshot>, StoreError> {
        if registry::revision(connection)? != self.current().revision() {
            self.refresh(connection)?;
        }
        Ok(self.current())
    }
}
