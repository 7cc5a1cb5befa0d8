//! Telling attempts of this instance that another one committed their end.
//!
//! The instance that commits an end tells its own dispatch. Here the others hear that something was committed, compare
//! what they have in hand with the committed state, and stop what nobody waits for any more. Never writes a run.

use super::dispatch::{InHand, Work};
use super::{Scheduler, stopped};
use crate::engine::ids::{RunId, StepPath};
use crate::engine::state::{Run, StepStatus, Waits};
use crate::store::error::StoreError;
use crate::store::{Connection, Pool, runs};
use std::collections::{BTreeMap, HashMap};
use std::time::Instant;
use tokio::sync::{mpsc, watch};

pub struct Signals {
    pub scheduler: Scheduler,
    pub pool: Pool,
    pub in_hand: InHand,
    pub work: mpsc::UnboundedSender<Work>,
}

impl Signals {
    /// Compares whenever another instance committed something, until `stop`.
    pub async fn run(self, mut stop: watch::Receiver<bool>) {
        tokio::select! {
            () = self.watch() => {}
            () = stopped(&mut stop) => {}
        }
    }

    async fn watch(&self) {
        let mut listener = self.scheduler.changes.listen();
        while listener.elsewhere().await {
            let began = Instant::now();
            self.compare().await;
            // However much the others write, looking takes half of the time at most.
            tokio::time::sleep(began.elapsed()).await;
        }
    }

    async fn compare(&self) {
        let mut held: BTreeMap<RunId, Vec<(StepPath, u32)>> = BTreeMap::new();
        for (run, step, attempt) in self.in_hand.all() {
            held.entry(run).or_default().push((step, attempt));
        }
        if held.is_empty() {
            return;
        }
        let (pool, scheduler) = (self.pool.clone(), self.scheduler.clone());
        let read = tokio::task::spawn_blocking(move || {
            let mut connection = pool.get()?;
            unwanted(&mut connection, &scheduler, held)
        });
        match read.await {
            Ok(Ok(unwanted)) => {
                for stop in unwanted {
                    // Nobody takes it once the app stops.
                    let _ = self.work.send(stop);
                }
            }
            Ok(Err(error)) => tracing::warn!(error = %error, "attempts in hand could not be compared"),
            Err(_) => {}
        }
    }
}

/// The attempts that the committed state does not know as running any more. Only runs that moved are read.
fn unwanted(
    connection: &mut Connection,
    scheduler: &Scheduler,
    held: BTreeMap<RunId, Vec<(StepPath, u32)>>,
) -> Result<Vec<Work>, StoreError> {
    let ids: Vec<RunId> = held.keys().copied().collect();
    let versions: HashMap<RunId, u64> = runs::versions(connection, &ids)?;
    let cache = scheduler.run_cache();
    let mut stops = Vec::new();
    for (run, attempts) in held {
        let known = cache.get(run).filter(|known| versions.get(&run) == Some(&known.run.version));
        let loaded = match known {
            Some(known) => Some(known),
            None => match cache.reload(connection, run) {
                // Whether it still waits for them, only an instance of that version can tell.
                Err(StoreError::Newer(_)) => continue,
                loaded => loaded?,
            },
        };
        let Some(loaded) = loaded else { continue };
        let unwanted = attempts.into_iter().filter(|(step, attempt)| !is_wanted(&loaded.run, step, *attempt));
        stops.extend(unwanted.map(|(step, attempt)| Work::StopAttempt { run, step, attempt }));
    }
    Ok(stops)
}

/// Whether this attempt still is what its step waits for. One that was answered with 202 ends by itself.
fn is_wanted(run: &Run, step: &StepPath, attempt: u32) -> bool {
    run.steps.get(step).is_some_and(|found| {
        let runs = found.status == StepStatus::Running && found.instance.is_some();
        found.attempt == attempt && (runs || found.waits == Some(Waits::Callback))
    })
}
