//! What the handlers work with: the scheduler, the log of the agency, the facts about this deployment.

use super::live::Readings;
use super::problem::AppError;
use crate::actions::command::AllowedPrograms;
use crate::actions::guard::Guard;
use crate::auth::policy::{Permission, Principal, Resource, allow};
use crate::engine::command::Actor;
use crate::engine::event::Via;
use crate::scheduler::Scheduler;
use crate::scheduler::callbacks::Callbacks;
use crate::scheduler::sequencer::Sealing;
use crate::store::agency::{AgencyEntry, AgencyLog};
use crate::store::error::StoreError;
use crate::store::registry::Snapshot;
use crate::store::replica::{Mark, Replica};
use crate::store::{Connection, Pool, notices, redactions};
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{Semaphore, watch};

/// A replica that is there and has caught up says so within this time.
const REPLICA_ANSWERS: Duration = Duration::from_secs(2);
/// Longer than any page looks for something: a replica that is silent for so long hangs.
const REPLICA_READS: Duration = Duration::from_secs(10);

/// How many read the log at once, and where exports connect to.
pub struct LogReaders {
    pub database_url: String,
    pub pages: Semaphore,
    pub exports: Arc<Semaphore>,
}

impl LogReaders {
    pub fn new(database_url: String) -> LogReaders {
        const AT_ONCE: usize = 3;
        let exports = Arc::new(Semaphore::new(AT_ONCE));
        LogReaders { database_url, pages: Semaphore::new(AT_ONCE), exports }
    }
}

/// One per process: `App::app_data(web::Data::new(site))`.
#[derive(Clone)]
pub struct Site {
    pub scheduler: Scheduler,
    pub pool: Pool,
    /// For what reads much. None: there is only the primary.
    pub replica: Option<Arc<Replica>>,
    pub agency: Arc<AgencyLog>,
    pub guard: Guard,
    /// Local programs that `command` actions may run.
    pub programs: AllowedPrograms,
    pub callbacks: Arc<Callbacks>,
    /// Reading the whole log is slow: whoever does it waits for a turn, and takes nothing from the others.
    pub log_readers: Arc<LogReaders>,
    /// What open pages read, for all of them together.
    pub readings: Arc<Readings>,
    /// Whether the log is being signed.
    pub sealing: Sealing,
    /// Users, a protocol and an agency that are made up.
    pub demo: bool,
    /// How long an override is under review.
    pub override_review: chrono::TimeDelta,
    /// True once the app stops: streams end, long polls answer.
    pub stopping: watch::Receiver<bool>,
}

impl Site {
    /// The one question before anything is done or shown. A refusal is an entry in the log.
    ///
    /// # Errors
    /// 403 naming what is missing.
    pub async fn permit(
        &self,
        who: &Principal,
        permission: Permission,
        resource: Resource<'_>,
    ) -> Result<(), AppError> {
        let Err(refusal) = allow(who, permission, resource) else { return Ok(()) };
        let detail = json!({"asked_for": format!("{permission:?}"), "missing": refusal.missing.as_str()});
        self.record_refusal(who, "access.refused", detail).await?;
        Err(refusal.into())
    }

    /// Writes an entry into the agency's own stream, committed when this returns.
    ///
    /// # Errors
    /// 500 or 503 when it cannot be written: what is not recorded does not happen.
    pub async fn record(
        &self,
        who: &Principal,
        type_name: &'static str,
        detail: Value,
    ) -> Result<(), AppError> {
        self.record_entry(entry(who, type_name, detail)).await
    }

    /// The same on a thread that may block.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn record_blocking(
        &self,
        who: &Principal,
        type_name: &'static str,
        detail: Value,
    ) -> Result<(), StoreError> {
        self.agency.record(entry(who, type_name, detail))
    }

    /// The same for what was refused to somebody: a flood of it is counted.
    ///
    /// # Errors
    /// As [`Site::record`].
    pub async fn record_refusal(
        &self,
        who: &Principal,
        type_name: &'static str,
        detail: Value,
    ) -> Result<(), AppError> {
        let flood = Some(who.user.clone());
        let refused = AgencyEntry { status: Some("refused"), flood, ..entry(who, type_name, detail) };
        self.record_entry(refused).await
    }

    /// The same for somebody who is not signed in.
    ///
    /// # Errors
    /// As [`Site::record`].
    pub async fn record_entry(&self, entry: AgencyEntry) -> Result<(), AppError> {
        let agency = Arc::clone(&self.agency);
        let written = actix_web::web::block(move || agency.record(entry)).await;
        written.map_err(AppError::internal)?.map_err(AppError::from)
    }

    /// Changes something and writes the entry that says so, in one transaction. `work` gives no entry when it
    /// changed nothing.
    ///
    /// # Errors
    /// 500, or what `work` says; then nothing is changed.
    pub async fn change<T: Send + 'static>(
        &self,
        who: &Principal,
        work: impl FnOnce(&mut Connection) -> Result<(T, Option<Told>), StoreError> + Send + 'static,
    ) -> Result<T, AppError> {
        let (agency, who) = (Arc::clone(&self.agency), who.clone());
        let tell = move |connection: &mut Connection| {
            let (done, told) = work(connection)?;
            Ok((done, told.map(|(type_name, detail)| entry(&who, type_name, detail))))
        };
        self.read(move |connection| agency.record_in(connection, tell)).await
    }

    /// Something of a run was erased: nothing of its lineage stays in memory, here or in the other instances.
    ///
    /// # Errors
    /// 503
    pub async fn forget(&self, run: i64) -> Result<(), AppError> {
        let scheduler = self.scheduler.clone();
        self.read(move |connection| {
            scheduler.forget(&redactions::lineage_of(connection, run)?);
            notices::notify(connection)
        })
        .await
    }

    /// What is registered now, through whichever instance.
    ///
    /// # Errors
    /// 503
    pub async fn catalog(&self) -> Result<Arc<Snapshot>, AppError> {
        let catalog = self.scheduler.catalog.clone();
        self.read(move |connection| catalog.catch_up(connection)).await
    }

    /// Reads much, on the replica where there is one: what was committed when this was called is there. Where the replica
    /// is away, behind or breaks the reading off, `work` is done on the primary; it may be begun twice.
    ///
    /// # Errors
    /// As [`Site::read`].
    pub async fn read_behind<T: Send + 'static>(
        &self,
        work: impl Fn(&mut Connection) -> Result<T, StoreError> + Send + Sync + 'static,
    ) -> Result<T, AppError> {
        let work = Arc::new(work);
        if let Some(replica) = &self.replica {
            let marking = Arc::clone(replica);
            if let Some(mark) = self.read(move |connection| marking.mark(connection)).await? {
                match read_on(replica, mark, Arc::clone(&work)).await {
                    Ok(done) => {
                        replica.served();
                        return Ok(done);
                    }
                    // The primary would say the same, or take as long.
                    Err(
                        error @ (StoreError::TooSlow | StoreError::Archived { .. } | StoreError::Newer(_)),
                    ) => return Err(error.into()),
                    Err(error) => replica.failed(&error),
                }
            }
        }
        self.read(move |connection| work(connection)).await
    }

    /// Does something with a connection, off the async threads.
    ///
    /// # Errors
    /// 500, or what `work` says.
    pub async fn read<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Connection) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, AppError> {
        let pool = self.pool.clone();
        let done = actix_web::web::block(move || {
            let mut connection = pool.get()?;
            work(&mut connection)
        });
        done.await.map_err(AppError::internal)?.map_err(AppError::from)
    }
}

/// Does something on the replica. One that hangs is left alone, with the thread that waits for it.
async fn read_on<T: Send + 'static>(
    replica: &Arc<Replica>,
    mark: Mark,
    work: Arc<impl Fn(&mut Connection) -> Result<T, StoreError> + Send + Sync + 'static>,
) -> Result<T, StoreError> {
    let lender = Arc::clone(replica);
    let mut lent = off_the_loop(REPLICA_ANSWERS, move || lender.connection(&mark)).await?;
    off_the_loop(REPLICA_READS, move || work(&mut lent)).await
}

async fn off_the_loop<T: Send + 'static>(
    limit: Duration,
    work: impl FnOnce() -> Result<T, StoreError> + Send + 'static,
) -> Result<T, StoreError> {
    let hangs = |_| StoreError::Connection("the replica does not answer".to_owned());
    let done = tokio::time::timeout(limit, actix_web::web::block(work)).await.map_err(hangs)?;
    done.map_err(|error| StoreError::Connection(error.to_string()))?
}

/// What an entry tells of a change: its type and its detail.
pub type Told = (&'static str, Value);

fn entry(who: &Principal, type_name: &'static str, mut detail: Value) -> AgencyEntry {
    if let (Value::Object(map), Ok(via)) = (&mut detail, serde_json::to_value(via(who))) {
        map.insert("via".to_owned(), via);
    }
    AgencyEntry { actor: who.user.clone(), type_name, status: None, detail, flood: None }
}

/// Who asks, as the engine wants to know it.
pub fn actor(who: &Principal) -> Actor {
    Actor {
        name: who.user.clone(),
        roles: who.role.holds().iter().map(|role| role.as_str().to_owned()).collect(),
        groups: who.groups.clone(),
        via: Some(via(who)),
    }
}

fn via(who: &Principal) -> Via {
    Via {
        auth: Some(who.method.as_str().to_owned()),
        address: who.address.clone(),
        request_id: who.request_id.clone(),
    }
}
