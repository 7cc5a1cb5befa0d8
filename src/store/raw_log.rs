//! The log's rows without anything around them: what `hms-act bench` measures as the ceiling.

use super::error::StoreError;
use crate::audit::chain::Stored;
use diesel::connection::SimpleConnection;
use diesel::prelude::*;
use diesel::sql_types::{Array, BigInt, Bytea, Integer, Json, Nullable, Text, Timestamptz};

/// Makes a database like another one, to which nobody may be connected, with a login that may.
pub fn make_database(admin_url: &str, name: &str, template: &str) -> Result<(), StoreError> {
    let mut connection = super::pool::connect_as_owner(admin_url)?;
    Ok(connection.batch_execute(&format!("CREATE DATABASE {name} TEMPLATE {template}"))?)
}

/// Writes copies of these rows under run numbers from `first` on, in one transaction.
pub fn copy(connection: &mut PgConnection, rows: &[Stored], first: i64) -> Result<(), StoreError> {
    let base = rows.first().map_or(0, |row| row.run_id);
    diesel::sql_query(
        "INSERT INTO activity_log
            (run_id, seq, t, actor, type, step, attempt, status, leaf, leaf_hash, beside)
         SELECT * FROM unnest($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)",
    )
    .bind::<Array<BigInt>, _>(rows.iter().map(|row| row.run_id - base + first).collect::<Vec<_>>())
    .bind::<Array<BigInt>, _>(rows.iter().map(|row| row.seq).collect::<Vec<_>>())
    .bind::<Array<Timestamptz>, _>(rows.iter().map(|row| row.at).collect::<Vec<_>>())
    .bind::<Array<Text>, _>(rows.iter().map(|row| row.actor.as_str()).collect::<Vec<_>>())
    .bind::<Array<Text>, _>(rows.iter().map(|row| row.type_name.as_str()).collect::<Vec<_>>())
    .bind::<Array<Nullable<Text>>, _>(rows.iter().map(|row| row.step.as_deref()).collect::<Vec<_>>())
    .bind::<Array<Nullable<Integer>>, _>(rows.iter().map(|row| row.attempt).collect::<Vec<_>>())
    .bind::<Array<Nullable<Text>>, _>(rows.iter().map(|row| row.status.as_deref()).collect::<Vec<_>>())
    .bind::<Array<Bytea>, _>(rows.iter().map(|row| row.leaf.as_slice()).collect::<Vec<_>>())
    .bind::<Array<Bytea>, _>(rows.iter().map(|row| row.leaf_hash.as_slice()).collect::<Vec<_>>())
    .bind::<Array<Nullable<Json>>, _>(rows.iter().map(|row| row.beside.as_ref()).collect::<Vec<_>>())
    .execute(connection)?;
    Ok(())
}
