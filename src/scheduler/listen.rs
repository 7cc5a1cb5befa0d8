//! Hearing of what other instances committed: LISTEN/NOTIFY without a payload, coalesced, after COMMIT.

use super::changes::{Change, Changes};
use crate::store::error::StoreError;
use crate::store::{notices, pool};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::sync::watch;

/// How often the connection is looked at. Between looks nothing is lost: notifications wait in it.
const EVERY: Duration = Duration::from_millis(50);
/// Without a connection, live pages look for themselves this often.
const RETRY: Duration = Duration::from_secs(1);

/// Listens while other instances are alive, until `stop`. A thread of its own: the connection blocks.
pub fn run(database_url: &str, changes: &Changes, others: &Arc<AtomicBool>, stop: &watch::Receiver<bool>) {
    while !*stop.borrow() {
        if !others.load(Ordering::Relaxed) {
            std::thread::sleep(RETRY);
            continue;
        }
        if let Err(error) = listen(database_url, changes, others, stop) {
            tracing::warn!(error = %error, "not listening to other instances; trying again");
            changes.publish(Change::Elsewhere);
            std::thread::sleep(RETRY);
        }
    }
}

fn listen(
    database_url: &str,
    changes: &Changes,
    others: &Arc<AtomicBool>,
    stop: &watch::Receiver<bool>,
) -> Result<(), StoreError> {
    let mut connection = pool::connect(database_url)?;
    notices::listen(&mut connection)?;
    changes.publish(Change::Elsewhere);
    while !*stop.borrow() && others.load(Ordering::Relaxed) {
        if notices::heard(&mut connection)? {
            changes.publish(Change::Elsewhere);
        }
        std::thread::sleep(EVERY);
    }
    Ok(())
}
