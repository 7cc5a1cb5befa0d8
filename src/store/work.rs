//! Work that workers claim, and their leases. The database's clock is the only one that counts for a lease.
//!
//! Which work there is, is the committer's to write (`batch`): here it is only lent and given back.

use super::error::StoreError;
use super::schema::work;
use chrono::{DateTime, Utc};
use diesel::prelude::*;
use diesel::sql_types::{Array, BigInt, Bytea, Integer, Text, Timestamptz};

/// Work that could not be lent after all is not offered again for this long, so that it does not stand in the way.
const ASIDE_SECONDS: i32 = 1;

/// What a worker asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wanted {
    pub actions: Vec<String>,
    pub worker: String,
    pub lease_seconds: i32,
    /// SHA-256 of a token for each piece of work: as many as are wanted at most.
    pub token_hashes: Vec<[u8; 32]>,
}

/// A piece of work that was lent.
#[derive(Debug, Clone, PartialEq, Eq, QueryableByName)]
pub struct Lent {
    #[diesel(sql_type = BigInt)]
    pub id: i64,
    #[diesel(sql_type = BigInt)]
    pub run_id: i64,
    #[diesel(sql_type = Text)]
    pub step: String,
    #[diesel(sql_type = Integer)]
    pub attempt: i32,
    #[diesel(sql_type = Bytea)]
    pub lease_token_hash: Vec<u8>,
    #[diesel(sql_type = Timestamptz)]
    pub lease_until: DateTime<Utc>,
}

/// Lends what has been offered longest, at most one piece for each token. Others who ask at the same time get other
/// pieces. That a worker has it is true only once the engine says so, too.
pub fn claim(connection: &mut PgConnection, wanted: &Wanted) -> Result<Vec<Lent>, StoreError> {
    #[derive(QueryableByName)]
    struct Free {
        #[diesel(sql_type = BigInt)]
        id: i64,
    }
    connection.transaction(|connection| {
        // Nothing starts in a paused run.
        let free: Vec<Free> = diesel::sql_query(
            "SELECT w.id FROM work w JOIN runs r ON r.run_id = w.run_id
             WHERE w.action = ANY($1) AND w.lease_until IS NULL AND w.available_at <= clock_timestamp()
                AND r.status <> 'paused'
             ORDER BY w.available_at, w.id LIMIT $2 FOR UPDATE OF w SKIP LOCKED",
        )
        .bind::<Array<Text>, _>(&wanted.actions)
        .bind::<BigInt, _>(wanted.token_hashes.len() as i64)
        .load(connection)?;
        if free.is_empty() {
            return Ok(Vec::new());
        }
        let hashes: Vec<&[u8]> =
            wanted.token_hashes.iter().take(free.len()).map(<[u8; 32]>::as_slice).collect();
        Ok(diesel::sql_query(
            "UPDATE work SET worker = $3, lease_seconds = $4, lease_token_hash = n.h,
                lease_until = clock_timestamp() + make_interval(secs => $4)
             FROM unnest($1, $2) AS n (i, h) WHERE work.id = n.i
             RETURNING id, run_id, step, attempt, lease_token_hash, lease_until",
        )
        .bind::<Array<BigInt>, _>(free.iter().map(|free| free.id).collect::<Vec<_>>())
        .bind::<Array<Bytea>, _>(hashes)
        .bind::<Text, _>(&wanted.worker)
        .bind::<Integer, _>(wanted.lease_seconds)
        .load(connection)?)
    })
}

/// Takes back what was lent in vain: the engine refused, or did not hear of it. Nothing happens to work that was
/// lent anew since, or is over.
pub fn give_back(connection: &mut PgConnection, lent: &[(i64, Vec<u8>)]) -> Result<(), StoreError> {
    diesel::sql_query(
        "UPDATE work SET worker = NULL, lease_token_hash = NULL, lease_seconds = NULL, lease_until = NULL,
            available_at = clock_timestamp() + make_interval(secs => $3)
         FROM unnest($1, $2) AS n (i, h) WHERE work.id = n.i AND work.lease_token_hash = n.h",
    )
    .bind::<Array<BigInt>, _>(lent.iter().map(|(id, _)| *id).collect::<Vec<_>>())
    .bind::<Array<Bytea>, _>(lent.iter().map(|(_, hash)| hash.as_slice()).collect::<Vec<_>>())
    .bind::<Integer, _>(ASIDE_SECONDS)
    .execute(connection)?;
    Ok(())
}

/// Work that is not over.
#[derive(Debug, Clone, PartialEq, Eq, Queryable)]
pub struct WorkRow {
    pub run_id: i64,
    pub step: String,
    pub attempt: i32,
    pub id: i64,
    pub worker: Option<String>,
    /// None: nobody has it, or the lease ran out.
    pub lease_token_hash: Option<Vec<u8>>,
}

/// What became of a piece of work.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Found {
    Open(WorkRow),
    /// It was completed, lost or withdrawn.
    Over,
    /// There never was any of this number.
    Never,
}

pub fn find(connection: &mut PgConnection, id: i64) -> Result<Found, StoreError> {
    let row: Option<WorkRow> = work::table
        .filter(work::id.eq(id))
        .select((work::run_id, work::step, work::attempt, work::id, work::worker, work::lease_token_hash))
        .first(connection)
        .optional()?;
    match row {
        Some(row) => Ok(Found::Open(row)),
        None if id <= last_id(connection)? => Ok(Found::Over),
        None => Ok(Found::Never),
    }
}

/// The highest number that work ever had.
fn last_id(connection: &mut PgConnection) -> Result<i64, StoreError> {
    #[derive(QueryableByName)]
    struct Last {
        #[diesel(sql_type = BigInt)]
        id: i64,
    }
    let last: Last =
        diesel::sql_query("SELECT CASE WHEN is_called THEN last_value ELSE 0 END AS id FROM work_id_seq")
            .get_result(connection)?;
    Ok(last.id)
}

/// Extends a lease by its own length from now. None: it ran out and was taken away, or the work is over.
pub fn extend(
    connection: &mut PgConnection,
    id: i64,
    token_hash: &[u8; 32],
) -> Result<Option<DateTime<Utc>>, StoreError> {
    #[derive(QueryableByName)]
    struct Extended {
        #[diesel(sql_type = Timestamptz)]
        lease_until: DateTime<Utc>,
    }
    let extended: Option<Extended> = diesel::sql_query(
        "UPDATE work SET lease_until = clock_timestamp() + make_interval(secs => lease_seconds)
         WHERE id = $1 AND lease_token_hash = $2 RETURNING lease_until",
    )
    .bind::<BigInt, _>(id)
    .bind::<Bytea, _>(token_hash.as_slice())
    .get_result(connection)
    .optional()?;
    Ok(extended.map(|row| row.lease_until))
}

/// A piece of work whose lease ran out.
#[derive(Debug, Clone, PartialEq, Eq, QueryableByName)]
pub struct Lost {
    #[diesel(sql_type = BigInt)]
    pub id: i64,
    #[diesel(sql_type = BigInt)]
    pub run_id: i64,
    #[diesel(sql_type = Text)]
    pub step: String,
    #[diesel(sql_type = Integer)]
    pub attempt: i32,
}

/// Takes away the leases that ran out: their tokens are worth nothing from here on. The same come again at the next
/// call, until the committer has ended their attempts.
pub fn take_expired(connection: &mut PgConnection, limit: i64) -> Result<Vec<Lost>, StoreError> {
    Ok(diesel::sql_query(
        "UPDATE work SET lease_token_hash = NULL WHERE id IN (
            SELECT id FROM work WHERE lease_until <= clock_timestamp()
            ORDER BY lease_until LIMIT $1 FOR UPDATE SKIP LOCKED)
         RETURNING id, run_id, step, attempt",
    )
    .bind::<BigInt, _>(limit)
    .load(connection)?)
}

/// Offers work again whose lease was taken away before the engine ever heard of it.
pub fn offer_again(connection: &mut PgConnection, id: i64) -> Result<(), StoreError> {
    diesel::update(work::table.filter(work::id.eq(id).and(work::lease_token_hash.is_null())))
        .set((
            work::worker.eq(None::<String>),
            work::lease_seconds.eq(None::<i32>),
            work::lease_until.eq(None::<DateTime<Utc>>),
        ))
        .execute(connection)?;
    Ok(())
}
