//! This instance among the others: its number, its heartbeat, and who is alive.
//!
//! An instance is gone when its lease ran out by the database's clock, or when it ran on this machine in this data
//! directory and holds its lock file no more: then nobody waits for the lease. The heartbeat has a thread and a
//! connection of its own, so that no load elsewhere makes a live instance look dead.

use crate::store::error::StoreError;
use crate::store::{Connection, instances, pool};
use rustix::fs::{FlockOperation, flock};
use std::collections::BTreeSet;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::time::{Duration, Instant};
use tokio::sync::watch;

/// How often an instance says that it is alive.
const BEAT: Duration = Duration::from_secs(1);
/// After this long without a heartbeat, seen at two beats in a row, an instance is taken for dead.
const LEASE_SECONDS: f64 = 5.0;
/// How soon the thread notices that the app stops.
const NOTICE: Duration = Duration::from_millis(50);

/// The instances that are alive. Empty: not yet looked.
pub type Live = Arc<BTreeSet<i64>>;

pub struct Membership {
    /// Its number; it changes when others took it for dead.
    pub id: Arc<AtomicI64>,
    /// Other instances are alive.
    pub others: Arc<AtomicBool>,
    live: watch::Sender<Live>,
    label: String,
    lock_dir: PathBuf,
    lock: File,
    /// Instances whose lease had run out at the last beat.
    suspects: BTreeSet<i64>,
    last_beat: Option<Instant>,
}

impl Membership {
    /// Registers this instance, after removing those of this data directory that are gone.
    pub fn join(connection: &mut Connection, data_dir: &Path) -> Result<Membership, StoreError> {
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
            live: watch::Sender::new(Live::default()),
            label,
            lock_dir,
            lock,
            suspects: BTreeSet::new(),
            last_beat: None,
        })
    }

    /// The number that this instance joined with.
    pub fn number(&self) -> i64 {
        self.id.load(Ordering::Relaxed)
    }

    /// Who is alive, and every change of it.
    pub fn live(&self) -> watch::Receiver<Live> {
        self.live.subscribe()
    }

    /// Beats until `stop`, on the calling thread. Gives itself back, so that it can be left.
    pub fn run(mut self, database_url: &str, stop: &watch::Receiver<bool>) -> Membership {
        let mut connection = None;
        while !*stop.borrow() {
            let beaten = match &mut connection {
                Some(connection) => self.beat(connection),
                None => pool::connect(database_url).and_then(|mut fresh| {
                    self.beat(&mut fresh)?;
                    connection = Some(fresh);
                    Ok(())
                }),
            };
            if let Err(error) = beaten {
                tracing::warn!(error = %error, "the heartbeat could not be written");
                connection = None;
            }
            let until = Instant::now() + BEAT;
            while Instant::now() < until && !*stop.borrow() {
                std::thread::sleep(NOTICE);
            }
        }
        self
    }

    /// Says that it is alive, and removes the dead.
    fn beat(&mut self, connection: &mut Connection) -> Result<(), StoreError> {
        if !instances::beat(connection, self.number())? {
            tracing::warn!(
                "this instance was taken for dead and its attempts rescued; it goes on under a new number"
            );
            let new = instances::register(connection, &self.label)?;
            let path = lock_path(&self.lock_dir, new);
            self.lock = hold_lock(&path).map_err(|error| lock_failed(&path, &error))?;
            self.id.store(new, Ordering::Relaxed);
        }
        // After a pause of its own, or of the database, others may only have had no time to beat yet.
        let was_away = self.last_beat.is_none_or(|last| last.elapsed().as_secs_f64() > LEASE_SECONDS);
        self.last_beat = Some(Instant::now());
        let stale: BTreeSet<i64> = instances::stale(connection, LEASE_SECONDS)?.into_iter().collect();
        let dead: Vec<i64> =
            if was_away { Vec::new() } else { stale.intersection(&self.suspects).copied().collect() };
        self.suspects = stale;
        instances::remove_stale(connection, &dead, LEASE_SECONDS)?;
        let live: BTreeSet<i64> = instances::live(connection)?.into_iter().map(|(id, _)| id).collect();
        self.others.store(live.len() > 1, Ordering::Relaxed);
        self.live.send_if_modified(|known| {
            let changed = **known != live;
            *known = Arc::new(live);
            changed
        });
        Ok(())
    }

    /// At the end: its attempts are free to be rescued at once.
    pub fn leave(self, connection: &mut Connection) -> Result<(), StoreError> {
        let id = self.number();
        drop(self.lock);
        let _ = std::fs::remove_file(lock_path(&self.lock_dir, id));
        instances::remove(connection, id)
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

pub fn host_name() -> String {
    rustix::system::uname().nodename().to_string_lossy().into_owned()
}
