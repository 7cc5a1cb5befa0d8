//! The activity log, read: one run's entries, the filtered log page by page, all of it in order.

use super::disclosures;
use super::error::StoreError;
use super::schema::activity_log;
use crate::audit::chain::Stored;
use chrono::{DateTime, Utc};
use diesel::pg::Pg;
use diesel::prelude::*;
use diesel::sql_types::{Bool, Text};
use serde_json::Value;

/// Up to here entries are counted.
pub const COUNTED: i64 = 10_000;

#[derive(Queryable)]
struct Row {
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
const COLUMNS: (
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
fn with_disclosures(connection: &mut PgConnection, rows: Vec<Row>) -> Result<Vec<Stored>, StoreError> {
    let mut entries: Vec<Stored> = rows.into_iter().map(Stored::from).collect();
    disclosures::attach(connection, &mut entries)?;
    Ok(entries)
}

/// What a reader asked for. Empty: everything.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct LogFilter {
    pub run_id: Option<i64>,
    pub actor: Option<String>,
    /// A step's path, or its task's id: `draft_letter` finds `draft_letter#2` too.
    pub step: Option<String>,
    pub type_name: Option<String>,
    pub status: Option<String>,
    pub from: Option<DateTime<Utc>>,
    pub to: Option<DateTime<Utc>>,
    /// Anywhere in the entry.
    pub text: Option<String>,
}

/// The place of an entry in the order of the log page: time, then run, stream and seq.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LogPosition {
    pub at: DateTime<Utc>,
    pub run_id: i64,
    pub stream: i64,
    pub seq: i64,
}

impl LogPosition {
    pub fn of(entry: &Stored) -> LogPosition {
        LogPosition { at: entry.at, run_id: entry.run_id, stream: entry.stream, seq: entry.seq }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogOrder {
    OldestFirst,
    NewestFirst,
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

/// One page of the filtered log, from after `cursor`.
pub fn page(
    connection: &mut PgConnection,
    filter: &LogFilter,
    order: LogOrder,
    cursor: Option<LogPosition>,
    limit: i64,
) -> Result<Vec<Stored>, StoreError> {
    use activity_log::dsl;
    let mut query = filtered(filter).limit(limit);
    if let Some(place) = cursor {
        let place = (place.at, place.run_id, place.stream, place.seq);
        query = query.filter(beyond(order, place));
    }
    query = match order {
        LogOrder::OldestFirst => {
            query.order((dsl::t.asc(), dsl::run_id.asc(), dsl::stream.asc(), dsl::seq.asc()))
        }
        LogOrder::NewestFirst => {
            query.order((dsl::t.desc(), dsl::run_id.desc(), dsl::stream.desc(), dsl::seq.desc()))
        }
    };
    let rows: Vec<Row> = query.select(COLUMNS).load(connection)?;
    with_disclosures(connection, rows)
}

/// How many entries the filter finds, at most [`COUNTED`] and one: the log has no end.
pub fn count(connection: &mut PgConnection, filter: &LogFilter) -> Result<i64, StoreError> {
    let found: Vec<i64> = filtered(filter).limit(COUNTED + 1).select(activity_log::seq).load(connection)?;
    Ok(found.len() as i64)
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

type Condition = Box<dyn BoxableExpression<activity_log::table, Pg, SqlType = Bool>>;

/// A row comparison, so that the index on (t, run_id, stream, seq) answers it.
fn beyond(order: LogOrder, (at, run_id, stream, seq): (DateTime<Utc>, i64, i64, i64)) -> Condition {
    let operator = match order {
        LogOrder::OldestFirst => "(t, run_id, stream, seq) > (",
        LogOrder::NewestFirst => "(t, run_id, stream, seq) < (",
    };
    Box::new(
        diesel::dsl::sql::<Bool>(operator)
            .bind::<diesel::sql_types::Timestamptz, _>(at)
            .sql(",")
            .bind::<diesel::sql_types::BigInt, _>(run_id)
            .sql(",")
            .bind::<diesel::sql_types::BigInt, _>(stream)
            .sql(",")
            .bind::<diesel::sql_types::BigInt, _>(seq)
            .sql(")"),
    )
}

fn filtered(filter: &LogFilter) -> activity_log::BoxedQuery<'static, Pg> {
    use activity_log::dsl;
    let mut query = activity_log::table.into_boxed();
    if let Some(run_id) = filter.run_id {
        query = query.filter(dsl::run_id.eq(run_id));
    }
    if let Some(actor) = &filter.actor {
        query = query.filter(dsl::actor.eq(actor.clone()));
    }
    if let Some(step) = &filter.step {
        let rounds = format!("{}#%", like_literal(step));
        query = query.filter(dsl::step.eq(step.clone()).or(dsl::step.like(rounds)));
    }
    if let Some(type_name) = &filter.type_name {
        query = query.filter(dsl::type_.eq(type_name.clone()));
    }
    if let Some(status) = &filter.status {
        query = query.filter(dsl::status.eq(status.clone()));
    }
    if let Some(from) = filter.from {
        query = query.filter(dsl::t.ge(from));
    }
    if let Some(to) = filter.to {
        query = query.filter(dsl::t.lt(to));
    }
    if let Some(text) = &filter.text {
        let anywhere = format!("%{}%", like_literal(text));
        let found = diesel::dsl::sql::<Bool>("convert_from(leaf, 'UTF8') ILIKE ").bind::<Text, _>(anywhere);
        query = query.filter(found);
    }
    query
}

/// The text with LIKE's own signs taken literally.
pub(super) fn like_literal(text: &str) -> String {
    text.replace('\\', "\\\\").replace('%', "\\%").replace('_', "\\_")
}
