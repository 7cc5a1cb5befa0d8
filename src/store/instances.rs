//! Instances of the app: who is alive. The database's clock is the only one that counts.

use super::error::StoreError;
use super::schema::instances;
use diesel::prelude::*;
use diesel::sql_types::{Array, BigInt, Double};

/// Registers this instance. `label` says where it runs.
pub fn register(connection: &mut PgConnection, label: &str) -> Result<i64, StoreError> {
    Ok(diesel::insert_into(instances::table)
        .values(instances::label.eq(label))
        .returning(instances::id)
        .get_result(connection)?)
}

/// False: others took this instance for dead, and rescued its attempts. It must register anew.
pub fn beat(connection: &mut PgConnection, id: i64) -> Result<bool, StoreError> {
    let updated = diesel::sql_query("UPDATE instances SET heartbeat_at = clock_timestamp() WHERE id = $1")
        .bind::<BigInt, _>(id)
        .execute(connection)?;
    Ok(updated == 1)
}

/// The instances whose last heartbeat is older than the lease.
pub fn stale(connection: &mut PgConnection, lease_seconds: f64) -> Result<Vec<i64>, StoreError> {
    #[derive(QueryableByName)]
    struct Stale {
        #[diesel(sql_type = BigInt)]
        id: i64,
    }
    let rows: Vec<Stale> = diesel::sql_query(
        "SELECT id FROM instances WHERE heartbeat_at < clock_timestamp() - make_interval(secs => $1)",
    )
    .bind::<Double, _>(lease_seconds)
    .load(connection)?;
    Ok(rows.into_iter().map(|row| row.id).collect())
}

/// Removes those of these instances whose lease has still run out; their attempts are then lost.
pub fn remove_stale(
    connection: &mut PgConnection,
    ids: &[i64],
    lease_seconds: f64,
) -> Result<(), StoreError> {
    if !ids.is_empty() {
        diesel::sql_query(
            "DELETE FROM instances
             WHERE id = ANY($1) AND heartbeat_at < clock_timestamp() - make_interval(secs => $2)",
        )
        .bind::<Array<BigInt>, _>(ids)
        .bind::<Double, _>(lease_seconds)
        .execute(connection)?;
    }
    Ok(())
}

/// Removes one instance: at its own end, or when it is known to be gone.
pub fn remove(connection: &mut PgConnection, id: i64) -> Result<(), StoreError> {
    diesel::delete(instances::table.find(id)).execute(connection)?;
    Ok(())
}

/// The instances that are alive, with their labels.
pub fn live(connection: &mut PgConnection) -> Result<Vec<(i64, String)>, StoreError> {
    Ok(instances::table
        .order(instances::id.asc())
        .select((instances::id, instances::label))
        .load(connection)?)
}
