//! Sub-runs that are not settled. Written by [`super::batch`], with the step that asks for one.

use super::error::StoreError;
use diesel::prelude::*;
use diesel::sql_types::{Array, BigInt, Bool, Integer, Json, Nullable, Text};
use serde_json::Value;

/// A sub-run, and what is to be done about it.
#[derive(Debug, Clone, PartialEq, QueryableByName)]
pub struct SubrunRow {
    /// The run whose step asks for it.
    #[diesel(sql_type = BigInt)]
    pub run_id: i64,
    #[diesel(sql_type = BigInt)]
    pub child_run_id: i64,
    #[diesel(sql_type = Text)]
    pub step: String,
    #[diesel(sql_type = BigInt)]
    pub protocol_id: i64,
    #[diesel(sql_type = Integer)]
    pub protocol_version: i32,
    #[diesel(sql_type = Text)]
    pub protocol_name: String,
    #[diesel(sql_type = Json)]
    pub input: Value,
    /// The step is over, and does not wait for it any more.
    #[diesel(sql_type = Bool)]
    pub withdrawn: bool,
    /// It was started.
    #[diesel(sql_type = Bool)]
    pub started: bool,
    #[diesel(sql_type = Bool)]
    pub closed: bool,
}

/// Sub-runs about which there is something to do: to be started, to be told of, to be stopped, to be forgotten. Those
/// that these runs are the parents of, or the children; or all. By child, from after `after`.
pub fn unsettled(
    connection: &mut PgConnection,
    runs: Option<&[i64]>,
    after: i64,
    limit: i64,
) -> Result<Vec<SubrunRow>, StoreError> {
    Ok(diesel::sql_query(
        "SELECT s.run_id, s.child_run_id, s.step, s.protocol_id, s.protocol_version, s.protocol_name, s.input,
            s.state = 'withdrawn' AS withdrawn, c.run_id IS NOT NULL AS started,
            c.closed_at IS NOT NULL AS closed
         FROM subruns s LEFT JOIN runs c ON c.run_id = s.child_run_id
         WHERE s.child_run_id > $2 AND (s.state = 'withdrawn' OR c.run_id IS NULL OR c.closed_at IS NOT NULL)
           AND ($1 IS NULL OR s.child_run_id = ANY($1) OR s.run_id = ANY($1))
         ORDER BY s.child_run_id LIMIT $3",
    )
    .bind::<Nullable<Array<BigInt>>, _>(runs)
    .bind::<BigInt, _>(after)
    .bind::<BigInt, _>(limit)
    .load(connection)?)
}

/// Forgets a withdrawn sub-run: it is over, or it never began. It cannot begin any more, for its start is refused
/// once it is withdrawn.
pub fn forget(connection: &mut PgConnection, row: &SubrunRow) -> Result<(), StoreError> {
    diesel::sql_query("DELETE FROM subruns WHERE run_id = $1 AND child_run_id = $2 AND state = 'withdrawn'")
        .bind::<BigInt, _>(row.run_id)
        .bind::<BigInt, _>(row.child_run_id)
        .execute(connection)?;
    Ok(())
}

/// Withdraws a sub-run that its parent, at this version, does not ask for.
pub fn withdraw_stale(
    connection: &mut PgConnection,
    row: &SubrunRow,
    version: u64,
) -> Result<(), StoreError> {
    diesel::sql_query(
        "UPDATE subruns s SET state = 'withdrawn' FROM runs r
         WHERE s.run_id = $1 AND s.child_run_id = $2 AND r.run_id = s.run_id AND r.version = $3",
    )
    .bind::<BigInt, _>(row.run_id)
    .bind::<BigInt, _>(row.child_run_id)
    .bind::<BigInt, _>(version as i64)
    .execute(connection)?;
    Ok(())
}
