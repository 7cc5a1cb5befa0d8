//! A streaming replica of the database, for what reads much: the log, its exports, replays, evidence.
//!
//! What is read there is never older than the question. Before each reading the primary says how far its log has been
//! written (a [`Mark`]), and the replica is asked only once it has replayed that much; a moment later than a moment, the
//! primary is read instead. The heartbeat of this instance belongs to the mark: a server that followed another history
//! (after a failover, or from an old backup) lacks it, however far its position is.
//!
//! A replica that is away or behind rests, for a second at first and longer each time: until then nobody waits for it.
//! Never writes, and never makes anything fail that the primary can answer.

use super::error::StoreError;
use super::pool::{self, APP_VARIABLE, READ_VARIABLE};
use super::{Connection, Pool};
use chrono::{DateTime, Utc};
use diesel::PgConnection;
use diesel::prelude::*;
use diesel::r2d2::{ConnectionManager, PooledConnection};
use diesel::sql_types::{BigInt, Bool, Double, Nullable, Text, Timestamptz};
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Connections for pages and calls; exports have their own.
const SIZE: u32 = 8;
/// How long a reader waits for the replica to catch up.
const PATIENCE: Duration = Duration::from_millis(500);
/// Between two looks.
const LOOK: Duration = Duration::from_millis(4);
/// For how long a replica that failed is not asked; twice as long each time it fails again, up to a limit.
const REST: Duration = Duration::from_secs(1);
const LONGEST_REST: Duration = Duration::from_secs(15);

/// A connection of a pool.
pub type Lent = PooledConnection<ConnectionManager<PgConnection>>;

/// How far the primary's log was written at a moment, and this instance's heartbeat in it.
#[derive(Debug, Clone, QueryableByName)]
pub struct Mark {
    #[diesel(sql_type = Text)]
    position: String,
    #[diesel(sql_type = BigInt)]
    instance: i64,
    #[diesel(sql_type = Timestamptz)]
    beat: DateTime<Utc>,
}

impl Mark {
    /// Where the primary stands now. None: this instance has no heartbeat at the moment.
    pub fn of(primary: &mut Connection, instance: i64) -> Result<Option<Mark>, StoreError> {
        let query = diesel::sql_query(
            "SELECT pg_current_wal_flush_lsn()::text AS position, id AS instance, heartbeat_at AS beat
             FROM instances WHERE id = $1",
        );
        Ok(query.bind::<BigInt, _>(instance).get_result(primary).optional()?)
    }

    /// Whether a replica shows everything that was committed then.
    fn is_reached(&self, replica: &mut Connection) -> Result<bool, StoreError> {
        #[derive(QueryableByName)]
        struct Reached {
            #[diesel(sql_type = Bool)]
            it: bool,
        }
        let query = diesel::sql_query(
            "SELECT coalesce(pg_last_wal_replay_lsn() >= $1::pg_lsn, false)
                AND EXISTS (SELECT FROM instances WHERE id = $2 AND heartbeat_at >= $3) AS it",
        );
        let query = query
            .bind::<Text, _>(&self.position)
            .bind::<BigInt, _>(self.instance)
            .bind::<Timestamptz, _>(self.beat);
        Ok(query.get_result::<Reached>(replica)?.it)
    }
}

/// What a replica has in common with its primary, and no other database has.
#[derive(Debug, Clone, PartialEq, Eq, QueryableByName)]
pub struct Identity {
    #[diesel(sql_type = BigInt)]
    server: i64,
    #[diesel(sql_type = Text)]
    database: String,
}

impl Identity {
    pub fn of(connection: &mut Connection) -> Result<Identity, StoreError> {
        let query = "SELECT system_identifier AS server, current_database()::text AS database FROM pg_control_system()";
        Ok(diesel::sql_query(query).get_result(connection)?)
    }

    /// Whether a connection leads to a standby of this database.
    ///
    /// Errors: [`StoreError::Conflict`] when it does not.
    pub fn check(&self, replica: &mut Connection) -> Result<(), StoreError> {
        #[derive(QueryableByName)]
        struct Standby {
            #[diesel(sql_type = Bool)]
            it: bool,
        }
        if Identity::of(replica)? != *self {
            return Err(StoreError::Conflict(format!(
                "{READ_VARIABLE}: leads to another database than {APP_VARIABLE}: name a streaming replica of the same \
                 server, and the same database"
            )));
        }
        let query = diesel::sql_query("SELECT pg_is_in_recovery() AS it");
        if !query.get_result::<Standby>(replica)?.it {
            return Err(StoreError::Conflict(format!(
                "{READ_VARIABLE}: leads to a server that takes writes, no standby: name a streaming replica, or leave it \
                 unset"
            )));
        }
        Ok(())
    }
}

pub struct Replica {
    url: String,
    pool: Pool,
    /// The number of this instance, whose heartbeat is looked for.
    instance: Arc<AtomicI64>,
    /// None: it is well.
    rest: Mutex<Option<Rest>>,
    served: AtomicU64,
    fallen_back: AtomicU64,
}

/// A time in which nobody asks it.
#[derive(Debug, Clone, Copy)]
struct Rest {
    until: Instant,
    length: Duration,
}

impl Rest {
    fn of(length: Duration) -> Rest {
        Rest { until: Instant::now() + length, length }
    }
}

impl Replica {
    /// One that cannot be reached is warned of: it may come.
    ///
    /// Errors: [`StoreError::Conflict`] when it is none of this database.
    pub fn open(
        read_url: &str,
        primary: &mut Connection,
        instance: Arc<AtomicI64>,
    ) -> Result<Replica, StoreError> {
        let identity = Identity::of(primary)?;
        match pool::connect_to_replica(read_url) {
            Ok(mut connection) => identity.check(&mut connection)?,
            Err(error @ StoreError::Connection(_)) => {
                tracing::warn!(error = %error, "the replica is away; the primary is read until it comes");
            }
            Err(error) => return Err(error),
        }
        Ok(Replica {
            url: read_url.to_owned(),
            pool: pool::replicated(read_url, SIZE, move |connection| identity.check(connection))?,
            instance,
            rest: Mutex::default(),
            served: AtomicU64::new(0),
            fallen_back: AtomicU64::new(0),
        })
    }

    /// Where the primary stands now, for a reading that is to be no older. None: the replica rests, or nothing can be
    /// said.
    pub fn mark(&self, primary: &mut Connection) -> Result<Option<Mark>, StoreError> {
        let mark = match self.rests() {
            true => None,
            false => Mark::of(primary, self.instance.load(Ordering::Relaxed))?,
        };
        if mark.is_none() {
            self.fell_back();
        }
        Ok(mark)
    }

    /// A connection that shows everything up to the mark.
    pub fn connection(&self, mark: &Mark) -> Result<Lent, StoreError> {
        let mut connection = self.pool.get()?;
        catch_up(&mut connection, mark)?;
        self.is_well();
        Ok(connection)
    }

    /// The same for an export, which keeps it.
    pub fn connection_of_its_own(&self, mark: &Mark) -> Result<Connection, StoreError> {
        let mut connection = pool::connect_to_replica(&self.url)?;
        catch_up(&mut connection, mark)?;
        self.is_well();
        Ok(connection)
    }

    /// Something was read there.
    pub fn served(&self) {
        self.served.fetch_add(1, Ordering::Relaxed);
    }

    /// Something could not be read there, and is read on the primary. Unless it was its own matter (a reading that is in
    /// the way of replaying is broken off by a standby), the replica rests.
    pub fn failed(&self, error: &StoreError) {
        self.fell_back();
        if !matches!(error, StoreError::Connection(_)) {
            tracing::info!(error = %error, "a reading failed on the replica; the primary is asked");
            return;
        }
        let mut rest = self.rest.lock().unwrap_or_else(PoisonError::into_inner);
        // Several may find out at once.
        if rest.is_none() {
            *rest = Some(Rest::of(REST));
            tracing::warn!(error = %error, "the replica is away or behind; the primary is read until it is back");
        }
    }

    /// How many readings it served, and how many fell back to the primary.
    pub fn counts(&self) -> (u64, u64) {
        (self.served.load(Ordering::Relaxed), self.fallen_back.load(Ordering::Relaxed))
    }

    fn fell_back(&self) {
        self.fallen_back.fetch_add(1, Ordering::Relaxed);
    }

    /// Whether it is not to be asked. When its rest is over, one asks, and the others still do not.
    fn rests(&self) -> bool {
        let mut rest = self.rest.lock().unwrap_or_else(PoisonError::into_inner);
        match *rest {
            Some(Rest { until, .. }) if Instant::now() < until => true,
            Some(Rest { length, .. }) => {
                *rest = Some(Rest::of((length * 2).min(LONGEST_REST)));
                false
            }
            None => false,
        }
    }

    fn is_well(&self) {
        if self.rest.lock().unwrap_or_else(PoisonError::into_inner).take().is_some() {
            tracing::info!("the replica is read again");
        }
    }
}

/// Waits until everything up to the mark can be seen.
///
/// Errors: [`StoreError::Connection`] when that takes too long.
fn catch_up(replica: &mut Connection, mark: &Mark) -> Result<(), StoreError> {
    let until = Instant::now() + PATIENCE;
    while !mark.is_reached(replica)? {
        if Instant::now() > until {
            return Err(StoreError::Connection(format!("{READ_VARIABLE}: the replica is behind")));
        }
        std::thread::sleep(LOOK);
    }
    Ok(())
}

/// How a replica stands, for the doctor.
#[derive(Debug, Clone, QueryableByName)]
pub struct Standing {
    /// Bytes of the primary's log that it has not replayed.
    #[diesel(sql_type = BigInt)]
    pub behind: i64,
    /// Seconds since the last change that it replayed was made, if there are later ones.
    #[diesel(sql_type = Nullable<Double>)]
    pub seconds: Option<f64>,
    /// Whether the primary keeps what is being read there.
    #[diesel(sql_type = Bool)]
    pub has_feedback: bool,
}

/// Where it stands, beside the primary a moment before.
pub fn standing(primary: &mut Connection, replica: &mut Connection) -> Result<Standing, StoreError> {
    #[derive(QueryableByName)]
    struct Position {
        #[diesel(sql_type = Text)]
        position: String,
    }
    let query = "SELECT pg_current_wal_flush_lsn()::text AS position";
    let now: Position = diesel::sql_query(query).get_result(primary)?;
    let query = diesel::sql_query(
        "SELECT behind, current_setting('hot_standby_feedback') = 'on' AS has_feedback,
            CASE WHEN behind > 0 THEN
                extract(epoch FROM clock_timestamp() - pg_last_xact_replay_timestamp())::float8 END AS seconds
         FROM (SELECT greatest(pg_wal_lsn_diff($1::pg_lsn, coalesce(pg_last_wal_replay_lsn(), '0/0')), 0)::bigint)
            AS diff (behind)",
    );
    Ok(query.bind::<Text, _>(now.position).get_result(replica)?)
}
