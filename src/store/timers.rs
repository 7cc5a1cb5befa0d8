//! The timers that are due. Set by [`super::batch`], with what they belong to.

use super::error::StoreError;
use chrono::{DateTime, Utc};
use diesel::prelude::*;
use diesel::sql_types::{BigInt, Integer, Nullable, Text, Timestamptz};

/// A timer whose time has come.
#[derive(Debug, Clone, PartialEq, QueryableByName)]
pub struct DueTimer {
    #[diesel(sql_type = BigInt)]
    pub run_id: i64,
    /// Empty: the run as a whole.
    #[diesel(sql_type = Text)]
    pub step: String,
    #[diesel(sql_type = Text)]
    pub kind: String,
    #[diesel(sql_type = Integer)]
    pub attempt: i32,
    #[diesel(sql_type = Timestamptz)]
    pub due_at: DateTime<Utc>,
}

/// What is due by the database's clock, the oldest first, from after `after`. A timer is removed by the transaction
/// that acts on it.
pub fn due(
    connection: &mut PgConnection,
    after: Option<&DueTimer>,
    limit: i64,
) -> Result<Vec<DueTimer>, StoreError> {
    Ok(diesel::sql_query(
        "SELECT run_id, step, kind, attempt, due_at FROM timers
         WHERE due_at <= clock_timestamp()
           AND (due_at, run_id, step, kind) > (coalesce($1, '-infinity'), coalesce($2, 0), coalesce($3, ''), coalesce($4, ''))
         ORDER BY due_at, run_id, step, kind LIMIT $5",
    )
    .bind::<Nullable<Timestamptz>, _>(after.map(|timer| timer.due_at))
    .bind::<Nullable<BigInt>, _>(after.map(|timer| timer.run_id))
    .bind::<Nullable<Text>, _>(after.map(|timer| timer.step.as_str()))
    .bind::<Nullable<Text>, _>(after.map(|timer| timer.kind.as_str()))
    .bind::<BigInt, _>(limit)
    .load(connection)?)
}

/// Removes a timer that the run, at this version, does not have. One that was set since stays.
pub fn drop_stale(connection: &mut PgConnection, timer: &DueTimer, version: u64) -> Result<bool, StoreError> {
    let dropped = diesel::sql_query(
        "DELETE FROM timers t USING runs r
         WHERE t.run_id = $1 AND t.step = $2 AND t.kind = $3 AND t.attempt = $4 AND t.due_at = $5
           AND r.run_id = t.run_id AND r.version = $6",
    )
    .bind::<BigInt, _>(timer.run_id)
    .bind::<Text, _>(&timer.step)
    .bind::<Text, _>(&timer.kind)
    .bind::<Integer, _>(timer.attempt)
    .bind::<Timestamptz, _>(timer.due_at)
    .bind::<BigInt, _>(version as i64)
    .execute(connection)?;
    Ok(dropped == 1)
}
