//! Hearing of what other instances committed: LISTEN/NOTIFY without a payload, coalesced, after COMMIT.

use super::changes::{Change, Changes};
use super::runs::RunCache;
use crate::engine::ids::RunId;
use crate::store::error::StoreError;
use crate::store::{notices, pool, redactions};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use tokio::sync::watch;

/// How often the connection is looked at. Between looks nothing is lost: notifications wait in it.
const EVERY: Duration = Duration::from_millis(50);
/// Live pages look for themselves this often, whatever is heard.
const POLL: Duration = Duration::from_secs(2);
/// What was erased within so long is forgotten at every such look.
const LATELY: Duration = Duration::from_secs(60);
/// Without a connection, live pages look for themselves this often.
const RETRY: Duration = Duration::from_secs(1);

/// Listens while other instances are alive, until `stop`. A thread of its own: the connection blocks.
pub fn run(
    database_url: &str,
    changes: &Changes,
    runs: &RunCache,
    others: &Arc<AtomicBool>,
    stop: &watch::Receiver<bool>,
) {
    while !*stop.borrow() {
        if !others.load(Ordering::Relaxed) {
            std::thread::sleep(RETRY);
            continue;
        }
        if let Err(error) = listen(database_url, changes, runs, others, stop) {
            tracing::warn!(error = %error, "not listening to other instances; trying again");
            changes.publish(Change::Elsewhere);
            std::thread::sleep(RETRY);
        }
    }
}

fn listen(
    database_url: &str,
    changes: &Changes,
    runs: &RunCache,
    others: &Arc<AtomicBool>,
    stop: &watch::Receiver<bool>,
) -> Result<(), StoreError> {
    let mut connection = pool::connect(database_url)?;
    notices::listen(&mut connection)?;
    changes.publish(Change::Elsewhere);
    let mut looked = Instant::now();
    while !*stop.borrow() && others.load(Ordering::Relaxed) {
        // A notice can be missed: the sender did not know of this instance yet, or could not notify.
        if looked.elapsed() >= POLL {
            looked = Instant::now();
            changes.publish(Change::Elsewhere);
            // Nobody is shown it from memory anyway; this takes it out of there.
            let erased = redactions::erased_lately(&mut connection, LATELY)?;
            erased.into_iter().for_each(|run| runs.forget(RunId(run)));
        }
        if notices::heard(&mut connection)? {
            changes.publish(Change::Elsewhere);
        }
        std::thread::sleep(EVERY);
    }
    Ok(())
}
