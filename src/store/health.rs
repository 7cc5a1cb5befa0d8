//! What `hms-act doctor` and `hms-act bench` ask the database about itself. Never writes.

use super::error::StoreError;
use chrono::{DateTime, Utc};
use diesel::prelude::*;
use diesel::sql_types::{BigInt, Double, Nullable, Text, Timestamptz};

/// How the server is set and where it stands.
#[derive(Debug, Clone, QueryableByName)]
pub struct Health {
    /// For example `15.8`.
    #[diesel(sql_type = Text)]
    pub version: String,
    #[diesel(sql_type = Text)]
    pub fsync: String,
    #[diesel(sql_type = Text)]
    pub full_page_writes: String,
    #[diesel(sql_type = Text)]
    pub synchronous_commit: String,
    #[diesel(sql_type = Text)]
    pub autovacuum: String,
    /// The server's clock.
    #[diesel(sql_type = Timestamptz)]
    pub now: DateTime<Utc>,
    /// Transactions since the oldest row that was not frozen; at two thousand million the server stops.
    #[diesel(sql_type = BigInt)]
    pub transaction_age: i64,
    /// Seconds of the longest transaction under way: it holds up vacuuming, and the signing of the log.
    #[diesel(sql_type = Nullable<Double>)]
    pub longest_transaction: Option<f64>,
    /// Instances that have been silent for more than a minute and were not taken off.
    #[diesel(sql_type = BigInt)]
    pub silent_instances: i64,
    /// Runs with a step that is past its time.
    #[diesel(sql_type = BigInt)]
    pub stalled_runs: i64,
    /// Seconds since the oldest entry was written that has no place in the tree.
    #[diesel(sql_type = Nullable<Double>)]
    pub unsealed_for: Option<f64>,
    /// Entries with a place in the tree that no signed head covers.
    #[diesel(sql_type = BigInt)]
    pub unsigned: i64,
}

pub fn read(connection: &mut PgConnection) -> Result<Health, StoreError> {
    Ok(diesel::sql_query(
        "SELECT current_setting('server_version') AS version, current_setting('fsync') AS fsync,
            current_setting('full_page_writes') AS full_page_writes,
            current_setting('synchronous_commit') AS synchronous_commit,
            current_setting('autovacuum') AS autovacuum, clock_timestamp() AS now,
            (SELECT age(datfrozenxid)::bigint FROM pg_database WHERE datname = current_database()) AS transaction_age,
            (SELECT extract(epoch FROM clock_timestamp() - min(xact_start))::float8 FROM pg_stat_activity
                WHERE xact_start IS NOT NULL AND pid <> pg_backend_pid()) AS longest_transaction,
            (SELECT count(*) FROM instances WHERE heartbeat_at < clock_timestamp() - interval '1 minute')
                AS silent_instances,
            (SELECT count(*) FROM runs WHERE stalled AND closed_at IS NULL) AS stalled_runs,
            (SELECT extract(epoch FROM clock_timestamp() - min(t))::float8 FROM activity_log
                WHERE txid >= (SELECT next_txid FROM log_head)) AS unsealed_for,
            (SELECT size FROM log_head) - coalesce((SELECT max(size) FROM log_checkpoints), 0) AS unsigned",
    )
    .get_result(connection)?)
}

/// A table of which much is dead: rows that vacuuming has not come to.
#[derive(Debug, Clone, QueryableByName)]
pub struct Bloated {
    #[diesel(sql_type = Text)]
    pub name: String,
    #[diesel(sql_type = BigInt)]
    pub dead: i64,
    #[diesel(sql_type = BigInt)]
    pub living: i64,
}

/// Tables with more than so many dead rows, and more dead than living ones.
pub fn bloated(connection: &mut PgConnection, dead: i64) -> Result<Vec<Bloated>, StoreError> {
    Ok(diesel::sql_query(
        "SELECT relname::text AS name, n_dead_tup AS dead, n_live_tup AS living FROM pg_stat_user_tables
         WHERE n_dead_tup > $1 AND n_dead_tup > n_live_tup ORDER BY n_dead_tup DESC",
    )
    .bind::<BigInt, _>(dead)
    .load(connection)?)
}

/// What a table takes, with its indexes; the parts of one are counted together.
#[derive(Debug, Clone, QueryableByName)]
pub struct Size {
    #[diesel(sql_type = Text)]
    pub name: String,
    #[diesel(sql_type = BigInt)]
    pub bytes: i64,
    #[diesel(sql_type = BigInt)]
    pub living: i64,
    #[diesel(sql_type = BigInt)]
    pub dead: i64,
}

/// The tables that take more than so many bytes, the largest first.
pub fn sizes(connection: &mut PgConnection, bytes: i64) -> Result<Vec<Size>, StoreError> {
    Ok(diesel::sql_query(
        "SELECT name, sum(bytes)::bigint AS bytes, sum(living)::bigint AS living, sum(dead)::bigint AS dead FROM (
            SELECT regexp_replace(relname, '^activity_log_.*', 'activity_log') AS name,
                pg_total_relation_size(relid) AS bytes, n_live_tup AS living, n_dead_tup AS dead
            FROM pg_stat_user_tables WHERE schemaname = 'public') t
         GROUP BY name HAVING sum(bytes) > $1 ORDER BY 2 DESC",
    )
    .bind::<BigInt, _>(bytes)
    .load(connection)?)
}

/// Bytes that the server has written into its write-ahead log.
pub fn written_ahead(connection: &mut PgConnection) -> Result<i64, StoreError> {
    #[derive(QueryableByName)]
    struct Written {
        #[diesel(sql_type = BigInt)]
        bytes: i64,
    }
    let query = "SELECT pg_wal_lsn_diff(pg_current_wal_insert_lsn(), '0/0')::bigint AS bytes";
    Ok(diesel::sql_query(query).get_result::<Written>(connection)?.bytes)
}
