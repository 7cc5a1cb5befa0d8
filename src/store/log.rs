//! The activity log, read: one entry, one run's entries, all of it in order. Searching it is [`super::log_search`]'s.

use super::disclosures;
use super::error::StoreError;
use super::schema::activity_log;
use crate::audit::chain::Stored;
use chrono::{DateTime, Utc};
use diesel::prelude::*;
use diesel::sql_types::Bool;
use serde_json::Value;

#[derive(Queryable)]
pub(super) struct Row {
    run_id: i64,
    stream: i64,
    seq: i64,
    at: DateTime<Utc>,
    actor: String,
    type_name: String,
    step: Option<String>,
    attempt: Option<i32>,
    status: Option<String>,
    leaf: Vec<u8>,
    leaf_hash: Vec<u8>,
    beside: Option<Value>,
}

/// The columns of a [`Row`]; which transaction wrote it is the sequencer's business alone.
pub(super) const COLUMNS: (
    activity_log::run_id,
    activity_log::stream,
    activity_log::seq,
    activity_log::t,
    activity_log::actor,
    activity_log::type_,
    activity_log::step,
    activity_log::attempt,
    activity_log::status,
    activity_log::leaf,
    activity_log::leaf_hash,
    activity_log::beside,
) = (
    activity_log::run_id,
    activity_log::stream,
    activity_log::seq,
    activity_log::t,
    activity_log::actor,
    activity_log::type_,
    activity_log::step,
    activity_log::attempt,
    activity_log::status,
    activity_log::leaf,
    activity_log::leaf_hash,
    activity_log::beside,
);

impl From<Row> for Stored {
    fn from(row: Row) -> Stored {
        Stored {
            run_id: row.run_id,
            stream: row.stream,
            seq: row.seq,
            at: row.at,
            actor: row.actor,
            type_name: row.type_name,
            step: row.step,
            attempt: row.attempt,
            status: row.status,
            leaf: row.leaf,
            leaf_hash: row.leaf_hash,
            beside: row.beside,
            disclosures: Some(Vec::new()),
        }
    }
}

/// The entries of these rows, with what is sealed in them. Without sealed values nothing more is read.
pub(super) fn with_disclosures(
    connection: &mut PgConnection,
    rows: Vec<Row>,
) -> Result<Vec<Stored>, StoreError> {
    let mut entries: Vec<Stored> = rows.into_iter().map(Stored::from).collect();
    disclosures::attach(connection, &mut entries)?;
    Ok(entries)
}

/// The entries of a run after `seq`, in order, at most `limit`.
pub fn of_run(
    connection: &mut PgConnection,
    run_id: i64,
    after: i64,
    limit: i64,
) -> Result<Vec<Stored>, StoreError> {
    use activity_log::dsl;
    let rows: Vec<Row> = activity_log::table
        .filter(dsl::run_id.eq(run_id).and(dsl::stream.eq(0)).and(dsl::seq.gt(after)))
        .order(dsl::seq.asc())
        .limit(limit)
        .select(COLUMNS)
        .load(connection)?;
    with_disclosures(connection, rows)
}

/// One entry. None: there is none at this place.
pub fn entry(
    connection: &mut PgConnection,
    run_id: i64,
    stream: i64,
    seq: i64,
) -> Result<Option<Stored>, StoreError> {
    let row: Option<Row> =
        activity_log::table.find((run_id, stream, seq)).select(COLUMNS).first(connection).optional()?;
    Ok(with_disclosures(connection, row.into_iter().collect())?.pop())
}

/// Whether there is an entry at this place.
pub fn exists(connection: &mut PgConnection, run_id: i64, stream: i64, seq: i64) -> Result<bool, StoreError> {
    let at = activity_log::table.find((run_id, stream, seq));
    Ok(diesel::select(diesel::dsl::exists(at)).get_result(connection)?)
}

/// All entries of a run, or of everything, in the order of their chains.
pub fn in_chain_order(
    connection: &mut PgConnection,
    run_id: Option<i64>,
    after: Option<(i64, i64, i64)>,
    limit: i64,
) -> Result<Vec<Stored>, StoreError> {
    use activity_log::dsl;
    let mut query = activity_log::table
        .order((dsl::run_id.asc(), dsl::stream.asc(), dsl::seq.asc()))
        .limit(limit)
        .into_boxed();
    if let Some(run_id) = run_id {
        query = query.filter(dsl::run_id.eq(run_id));
    }
    if let Some((run_id, stream, seq)) = after {
        let past = diesel::dsl::sql::<Bool>("(run_id, stream, seq) > (")
            .bind::<diesel::sql_types::BigInt, _>(run_id)
            .sql(",")
            .bind::<diesel::sql_types::BigInt, _>(stream)
            .sql(",")
            .bind::<diesel::sql_types::BigInt, _>(seq)
            .sql(")");
        query = query.filter(past);
    }
    let rows: Vec<Row> = query.select(COLUMNS).load(connection)?;
    with_disclosures(connection, rows)
}

/// The text with LIKE's own signs taken literally.
pub(super) fn like_literal(text: &str) -> String {
    text.replace('\\', "\\\\").replace('%', "\\%").replace('_', "\\_")
}

/// How many entries the log has.
pub fn count(connection: &mut PgConnection) -> Result<i64, StoreError> {
    Ok(activity_log::table.count().get_result(connection)?)
}
