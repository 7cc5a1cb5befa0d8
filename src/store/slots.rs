//! Who is on their way under a concurrency limit, and who waits for a place. Rows come and go with their runs, in
//! [`super::batch`]; here places are given out.

use super::error::StoreError;
use diesel::prelude::*;
use diesel::sql_types::{BigInt, Text};

/// The runs that share one limit.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, QueryableByName)]
pub struct Lane {
    #[diesel(sql_type = BigInt)]
    pub protocol_id: i64,
    #[diesel(sql_type = Text)]
    pub key: String,
}

#[derive(QueryableByName)]
struct Row {
    #[diesel(sql_type = BigInt)]
    run_id: i64,
}

/// Gives the free places of a lane to those that have waited longest: the lowest numbers.
pub fn give_places(connection: &mut PgConnection, lane: &Lane) -> Result<(), StoreError> {
    connection.transaction(|connection| {
        // One at a time, or two would give the same place.
        diesel::sql_query("SELECT pg_advisory_xact_lock(hashtext('hms_act.slots'), hashtext($1 || ':' || $2))")
            .bind::<Text, _>(lane.protocol_id.to_string())
            .bind::<Text, _>(&lane.key)
            .execute(connection)?;
        diesel::sql_query(
            "WITH under_way AS (
                SELECT count(*) AS n FROM slots WHERE protocol_id = $1 AND key = $2 AND taken),
             first AS (
                SELECT run_id, capacity FROM slots WHERE protocol_id = $1 AND key = $2 AND NOT taken
                ORDER BY run_id LIMIT 500 FOR UPDATE SKIP LOCKED),
             placed AS (
                SELECT run_id, capacity - n - row_number() OVER (ORDER BY run_id) AS room FROM first, under_way),
             fitting AS (SELECT run_id, min(room) OVER (ORDER BY run_id) AS room FROM placed)
             UPDATE slots SET taken = true FROM fitting
             WHERE slots.run_id = fitting.run_id AND fitting.room >= 0",
        )
        .bind::<BigInt, _>(lane.protocol_id)
        .bind::<Text, _>(&lane.key)
        .execute(connection)?;
        Ok(())
    })
}

/// Lanes in which somebody waits although there may be room.
pub fn lanes_with_room(connection: &mut PgConnection, limit: i64) -> Result<Vec<Lane>, StoreError> {
    Ok(diesel::sql_query(
        "SELECT protocol_id, key FROM slots GROUP BY protocol_id, key
         HAVING bool_or(NOT taken) AND count(*) FILTER (WHERE taken) < max(capacity) FILTER (WHERE NOT taken)
         ORDER BY protocol_id, key LIMIT $1",
    )
    .bind::<BigInt, _>(limit)
    .load(connection)?)
}

/// Runs of a lane that have a place and do not know it yet.
pub fn untold(connection: &mut PgConnection, lane: &Lane) -> Result<Vec<i64>, StoreError> {
    let rows: Vec<Row> = diesel::sql_query(
        "SELECT s.run_id FROM slots s JOIN runs r USING (run_id)
         WHERE s.protocol_id = $1 AND s.key = $2 AND s.taken AND r.status = 'queued' ORDER BY s.run_id",
    )
    .bind::<BigInt, _>(lane.protocol_id)
    .bind::<Text, _>(&lane.key)
    .load(connection)?;
    Ok(rows.into_iter().map(|row| row.run_id).collect())
}

/// The same of all lanes, from after `after`.
pub fn to_admit(connection: &mut PgConnection, after: i64, limit: i64) -> Result<Vec<i64>, StoreError> {
    let rows: Vec<Row> = diesel::sql_query(
        "SELECT s.run_id FROM slots s JOIN runs r USING (run_id)
         WHERE s.taken AND r.status = 'queued' AND s.run_id > $1 ORDER BY s.run_id LIMIT $2",
    )
    .bind::<BigInt, _>(after)
    .bind::<BigInt, _>(limit)
    .load(connection)?;
    Ok(rows.into_iter().map(|row| row.run_id).collect())
}
