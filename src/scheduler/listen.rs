//! Hearing of what other instances committed, and telling them: LISTEN/NOTIFY without a payload, coalesced, after COMMIT.
//!
//! Not in the committer's transactions: Postgres lets only one transaction at a time commit a NOTIFY, in all of the
//! server, and it would hold up everybody's while it waits for the disk.

use super::changes::{Change, Changes};
use super::runs::RunCache;
use crate::engine::ids::RunId;
use crate::store::error::StoreError;
use crate::store::notices::Ear;
use crate::store::{pool, redactions};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use tokio::sync::watch;

/// How often the connection is looked at, and what was committed is told. Between looks nothing is lost: notifications
/// wait in it.
const EVERY: Duration = Duration::from_millis(20);
/// Live pages look for themselves this often, whatever is heard.
const POLL: Duration = Duration::from_secs(2);
/// What was erased within so long is forgotten at every such look.
const LATELY: Duration = Duration::from_secs(60);
/// Without a connection, live pages look for themselves this often.
const RETRY: Duration = Duration::from_secs(1);

/// That something was committed here which the others have not been told of. Cloning shares it.
#[derive(Debug, Clone, Default)]
pub struct Untold(Arc<AtomicBool>);

impl Untold {
    /// Something was committed.
    pub fn set(&self) {
        self.0.store(true, Ordering::Release);
    }

    fn take(&self) -> bool {
        self.0.swap(false, Ordering::AcqRel)
    }
}

/// Listens and tells, on a thread of its own: the connection blocks.
pub struct Listener {
    pub database_url: String,
    pub changes: Changes,
    pub runs: Arc<RunCache>,
    /// Other instances are alive.
    pub others: Arc<AtomicBool>,
    pub untold: Untold,
    pub stopping: watch::Receiver<bool>,
}

impl Listener {
    /// While other instances are alive, until the app stops.
    pub fn run(self) {
        while !*self.stopping.borrow() {
            if !self.others.load(Ordering::Relaxed) {
                std::thread::sleep(RETRY);
                continue;
            }
            if let Err(error) = self.listen() {
                tracing::warn!(error = %error, "not listening to other instances; trying again");
                self.changes.publish(Change::Elsewhere);
                std::thread::sleep(RETRY);
            }
        }
    }

    fn listen(&self) -> Result<(), StoreError> {
        let mut ear = Ear::listen(pool::connect(&self.database_url)?)?;
        self.changes.publish(Change::Elsewhere);
        let mut looked = Instant::now();
        while !*self.stopping.borrow() && self.others.load(Ordering::Relaxed) {
            // A notice can be missed: the sender did not know of this instance yet, or could not notify.
            if looked.elapsed() >= POLL {
                looked = Instant::now();
                self.changes.publish(Change::Elsewhere);
                // Nobody is shown it from memory anyway; this takes it out of there.
                let erased = redactions::erased_lately(ear.connection(), LATELY)?;
                erased.into_iter().for_each(|run| self.runs.forget(RunId(run)));
            }
            if self.untold.take()
                && let Err(error) = ear.tell()
            {
                self.untold.set();
                return Err(error);
            }
            if ear.heard()? {
                self.changes.publish(Change::Elsewhere);
            }
            std::thread::sleep(EVERY);
        }
        Ok(())
    }
}
