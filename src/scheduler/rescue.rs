//! Instances: this one's heartbeat, and the attempts of those that are gone.
//!
//! An instance is gone when its lease ran out by the database's clock, or when it ran on this machine in this data
//! directory and holds its lock file no more: then nobody waits for the lease.

use super::{Scheduler, stopped};
use crate::engine::command::{Actor, Command};
use crate::engine::ids::RunId;
use crate::engine::state::StepStatus;
use crate::store::error::StoreError;
use crate::store::pool::Pool;
use crate::store::{instances, runs};
use rustix::fs::{FlockOperation, flock};
use std::collections::BTreeSet;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::time::Duration;
use tokio::sync::watch;

/// How often an instance says that it is alive.
const BEAT: Duration = Duration::from_secs(2);
/// After this long without a heartbeat an instance is taken for dead.
const LEASE_SECONDS: f64 = 8.0;
/// Lost runs read at a time.
const AT_A_TIME: i64 = 500;

/// This instance among the others.
pub struct Membership {
    /// Its number; it changes when others took it for dead.
    pub id: Arc<AtomicI64>,
    /// Other instances are alive.
    pub others: Arc<AtomicBool>,
    label: String,
    lock_dir: PathBuf,
    lock: File,
    /// The instances that were alive when lost runs were last looked for.
    seen: BTreeSet<i64>,
}

impl Membership {
    /// Registers this instance, after removing those of this data directory that are gone.
    pub fn join(
        connection: &mut crate::store::Connection,
        data_dir: &Path,
    ) -> Result<Membership, StoreError> {
        let lock_dir = data_dir.join("instances");
        std::fs::create_dir_all(&lock_dir).map_err(|error| lock_failed(&lock_dir, &error))?;
        let lock_dir = lock_dir.canonicalize().map_err(|error| lock_failed(&lock_dir, &error))?;
        let label = format!("{}:{}", host_name(), lock_dir.display());
        for (id, other) in instances::live(connection)? {
            if other == label && is_unlocked(&lock_path(&lock_dir, id)) {
                instances::remove(connection, id)?;
                let _ = std::fs::remove_file(lock_path(&lock_dir, id));
            }
        }
        let id = instances::register(connection, &label)?;
        let lock = hold_lock(&lock_path(&lock_dir, id)).map_err(|error| lock_failed(&lock_dir, &error))?;
        Ok(Membership {
            id: Arc::new(AtomicI64::new(id)),
            others: Arc::new(AtomicBool::new(false)),
            label,
            lock_dir,
            lock,
            seen: BTreeSet::new(),
        })
    }

    /// The number that this instance joined with.
    pub fn number(&self) -> i64 {
        self.id.load(Ordering::Relaxed)
    }

    /// Says that it is alive, and removes the dead. True: look for lost runs.
    fn beat(&mut self, connection: &mut crate::store::Connection) -> Result<bool, StoreError> {
        let id = self.id.load(Ordering::Relaxed);
        if !instances::beat(connection, id)? {
            tracing::warn!(
                "this instance was taken for dead and its attempts rescued; it goes on under a new number"
            );
            let new = instances::register(connection, &self.label)?;
            let path = lock_path(&self.lock_dir, new);
            self.lock = hold_lock(&path).map_err(|error| lock_failed(&path, &error))?;
            self.id.store(new, Ordering::Relaxed);
        }
        instances::remove_dead(connection, LEASE_SECONDS)?;
        let live: BTreeSet<i64> = instances::live(connection)?.into_iter().map(|(id, _)| id).collect();
        self.others.store(live.len() > 1, Ordering::Relaxed);
        // Somebody went, or this is the first look.
        let gone = self.seen.is_empty() || self.seen.difference(&live).next().is_some();
        self.seen = live;
        Ok(gone)
    }

    /// At the end: its attempts are free to be rescued at once.
    pub fn leave(self, connection: &mut crate::store::Connection) -> Result<(), StoreError> {
        let id = self.id.load(Ordering::Relaxed);
        drop(self.lock);
        let _ = std::fs::remove_file(lock_path(&self.lock_dir, id));
        instances::remove(connection, id)
    }
}

/// Beats and rescues until `stop`; gives the membership back, so that it can be left.
pub async fn run(
    scheduler: Scheduler,
    pool: Pool,
    mut membership: Membership,
    mut stop: watch::Receiver<bool>,
) -> Option<Membership> {
    let mut tick = tokio::time::interval(BEAT);
    tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            _ = tick.tick() => {}
            () = stopped(&mut stop) => return Some(membership),
        }
        let beat_pool = pool.clone();
        let beat = tokio::task::spawn_blocking(move || {
            let looked = beat_pool
                .get()
                .map_err(StoreError::from)
                .and_then(|mut connection| membership.beat(&mut connection));
            (membership, looked)
        });
        let (kept, looked) = beat.await.ok()?;
        membership = kept;
        match looked {
            Ok(true) => rescue_lost(&scheduler, &pool, &membership).await,
            Ok(false) => {}
            Err(error) => tracing::warn!(error = %error, "the heartbeat could not be written"),
        }
    }
}

async fn rescue_lost(scheduler: &Scheduler, pool: &Pool, membership: &Membership) {
    let live: Vec<i64> = membership.seen.iter().copied().collect();
    let mut after = 0;
    loop {
        let (pool, live_now) = (pool.clone(), live.clone());
        let read = tokio::task::spawn_blocking(move || {
            let mut connection = pool.get()?;
            runs::lost(&mut connection, &live_now, after, AT_A_TIME)
        });
        let lost = match read.await {
            Ok(Ok(lost)) => lost,
            Ok(Err(error)) => return tracing::warn!(error = %error, "lost runs could not be read"),
            Err(_) => return,
        };
        let Some(last) = lost.last().copied() else { return };
        let rescues = lost.iter().map(|id| rescue(scheduler, &membership.seen, RunId(*id)));
        futures_util::future::join_all(rescues).await;
        tracing::info!(runs = lost.len(), "runs of instances that are gone were looked at");
        after = last;
    }
}

/// Rescues the attempts of one run that are on no live instance.
async fn rescue(scheduler: &Scheduler, live: &BTreeSet<i64>, id: RunId) {
    let Ok(run) = scheduler.look(id).await else { return };
    let lost: Vec<_> = run
        .open_steps()
        .filter(|(_, step)| step.status == StepStatus::Running)
        .filter(|(_, step)| step.instance.is_some_and(|instance| !live.contains(&instance.0)))
        .map(|(path, step)| (path.clone(), step.attempt))
        .collect();
    for (step, attempt) in lost {
        // Refused: another instance was faster.
        let _ = scheduler.insist(id, Command::RescueStep { step, attempt }, Actor::system()).await;
    }
}

fn lock_path(lock_dir: &Path, id: i64) -> PathBuf {
    lock_dir.join(format!("{id}.lock"))
}

fn hold_lock(path: &Path) -> std::io::Result<File> {
    let file = File::create(path)?;
    flock(&file, FlockOperation::NonBlockingLockExclusive)?;
    Ok(file)
}

/// True when nobody holds the lock: the process is gone, however it ended.
fn is_unlocked(path: &Path) -> bool {
    match File::open(path) {
        Ok(file) => flock(&file, FlockOperation::NonBlockingLockExclusive).is_ok(),
        Err(error) => error.kind() == std::io::ErrorKind::NotFound,
    }
}

fn lock_failed(path: &Path, error: &std::io::Error) -> StoreError {
    StoreError::Connection(format!("{}: {error}", path.display()))
}

fn host_name() -> String {
    rustix::system::uname().nodename().to_string_lossy().into_owned()
}
