//! Work with a connection, for the loops: off the event loop, and told of in the process's own log when it fails.

use crate::store::error::StoreError;
use crate::store::{Connection, Pool};

/// What `work` gives. None: it failed, or no connection was to be had; the next look tries again. `what` says in the
/// log what could not be done.
pub async fn with_connection<T: Send + 'static>(
    pool: &Pool,
    what: &'static str,
    work: impl FnOnce(&mut Connection) -> Result<T, StoreError> + Send + 'static,
) -> Option<T> {
    let pool = pool.clone();
    let done = tokio::task::spawn_blocking(move || {
        let mut connection = pool.get()?;
        work(&mut connection)
    });
    match done.await {
        Ok(Ok(done)) => Some(done),
        // An instance of that version does it.
        Ok(Err(error @ StoreError::Newer(_))) => {
            tracing::debug!(error = %error, "{what} is left to others");
            None
        }
        Ok(Err(error)) => {
            tracing::warn!(error = %error, "{what} failed; it is tried again");
            None
        }
        Err(_) => None,
    }
}
