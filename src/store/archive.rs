//! Runs whose entries left the log for the archive: which may leave, which have left, and the removing itself.
//!
//! Only [`leave`], [`remove`] and [`drop_parts`] change anything; they need the owner's connection ([`connect`]), for
//! the app may remove nothing from the log. What a run leaves behind (its row, its place in the tree, what was sealed
//! in it) is what the proofs and the lists need.

use super::Connection;
use super::error::StoreError;
use super::log::{COLUMNS, Row};
use super::pool;
use super::schema::{log_archives, runs};
use super::tree::checking::Range;
use crate::audit::chain::Stored;
use crate::engine::ids::RunId;
use chrono::{DateTime, Utc};
use diesel::connection::SimpleConnection;
use diesel::prelude::*;
use diesel::sql_types::{Array, BigInt, Bool, Nullable, Text, Timestamptz};
use std::collections::HashMap;
use std::ops::Range as Span;

/// The type of the entry that says which runs left.
pub const TOLD: &str = "log.archived";

/// Runs whose entries are removed in one transaction.
const CHUNK: i64 = 5_000;
/// How long a part of the log may be waited for: whoever writes waits behind that.
const PATIENCE: &str = "SET LOCAL lock_timeout = '2s'";

/// A connection that may remove entries, as the owner of the log.
///
/// # Errors
/// [`StoreError::Connection`]; [`StoreError::Database`] when the login is no member of the owner.
pub fn connect(owner_url: &str) -> Result<Connection, StoreError> {
    let mut connection = pool::connect_as_owner(owner_url)?;
    connection.batch_execute("SET ROLE hms_act_owner")?;
    Ok(connection)
}

/// A run that ended before a certain day, with all runs of its lineage.
#[derive(Debug, Clone, PartialEq, Eq, QueryableByName)]
pub struct Candidate {
    #[diesel(sql_type = BigInt)]
    pub run_id: i64,
    #[diesel(sql_type = BigInt)]
    pub lineage: i64,
    /// The number of its last entry.
    #[diesel(sql_type = BigInt)]
    pub version: i64,
    /// The run that it is a part of, unless that one is in an archive already.
    #[diesel(sql_type = Nullable<BigInt>)]
    pub parent: Option<i64>,
    /// How many of its entries have a place in the tree.
    #[diesel(sql_type = BigInt)]
    pub placed: i64,
    /// The index behind the last of them.
    #[diesel(sql_type = BigInt)]
    pub end: i64,
}

/// The runs that ended before `before`, by number. A lineage in which erasing is asked for stays.
pub fn candidates(connection: &mut Connection, before: DateTime<Utc>) -> Result<Vec<Candidate>, StoreError> {
    Ok(diesel::sql_query(
        "SELECT r.run_id, r.lineage, r.version, p.run_id AS parent,
            coalesce(g.placed, 0)::bigint AS placed, coalesce(g.past, 0) AS \"end\"
         FROM runs r
         LEFT JOIN runs p ON p.run_id = r.parent_run_id AND p.archive_id IS NULL
         LEFT JOIN (SELECT run_id, sum(entries) AS placed, max(first_index + entries) AS past
                    FROM log_ranges WHERE stream = 0 GROUP BY run_id) g ON g.run_id = r.run_id
         WHERE r.archive_id IS NULL AND r.closed_at < $1
           AND NOT EXISTS (SELECT FROM runs o WHERE o.lineage = r.lineage
                AND (o.closed_at IS NULL OR o.closed_at >= $1))
           AND NOT EXISTS (SELECT FROM redactions d JOIN runs o ON o.run_id = d.run_id
                WHERE o.lineage = r.lineage AND d.status = 'pending')
         ORDER BY r.run_id",
    )
    .bind::<Timestamptz, _>(before)
    .load(connection)?)
}

/// Where the entries of these runs stand in the tree, in its order.
pub fn places(connection: &mut Connection, run_ids: &[i64]) -> Result<Vec<Range>, StoreError> {
    use super::schema::log_ranges::dsl;
    let mut found = Vec::new();
    for ids in run_ids.chunks(10_000) {
        let rows = dsl::log_ranges.filter(dsl::run_id.eq_any(ids).and(dsl::stream.eq(0)));
        found.extend(rows.load::<Range>(connection)?);
    }
    found.sort_unstable_by_key(|range| range.first_index);
    Ok(found)
}

/// An archive: a backup that has what the log no longer has.
#[derive(Debug, Clone, PartialEq, Eq, Queryable)]
pub struct Archive {
    pub id: i64,
    pub place: String,
    /// Every run in it ended before then.
    pub before: DateTime<Utc>,
    pub runs: i64,
    pub entries: i64,
    pub archived_at: DateTime<Utc>,
    /// None: its entries are not all removed yet.
    pub removed_at: Option<DateTime<Utc>>,
}

impl Archive {
    /// What whoever asks for this run is told.
    pub fn away(&self, run: RunId) -> StoreError {
        StoreError::Archived { run: run.0, on: self.archived_at.format("%-d %B %Y").to_string() }
    }
}

/// All archives, oldest first.
pub fn all(connection: &mut PgConnection) -> Result<Vec<Archive>, StoreError> {
    Ok(log_archives::table.order(log_archives::id).load(connection)?)
}

/// The archive that has this run's entries. None: they are in the log, or there is no such run.
pub fn of_run(connection: &mut PgConnection, run: RunId) -> Result<Option<Archive>, StoreError> {
    Ok(log_archives::table
        .inner_join(runs::table)
        .filter(runs::run_id.eq(run.0))
        .select(log_archives::all_columns)
        .first(connection)
        .optional()?)
}

/// A run in an archive.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Queryable)]
pub struct Archived {
    pub run_id: i64,
    pub archive: i64,
    /// The number of its last entry.
    pub version: i64,
}

/// The runs that are in archives, one of them or all, by number.
pub fn runs_of(connection: &mut PgConnection, archive: Option<i64>) -> Result<Vec<Archived>, StoreError> {
    let mut query = runs::table
        .filter(runs::archive_id.is_not_null())
        .order(runs::run_id)
        .select((runs::run_id, runs::archive_id.assume_not_null(), runs::version))
        .into_boxed();
    if let Some(archive) = archive {
        query = query.filter(runs::archive_id.eq(archive));
    }
    Ok(query.load(connection)?)
}

/// Those of these runs that are in archives, with the number of their last entry.
pub fn among(connection: &mut PgConnection, run_ids: &[i64]) -> Result<HashMap<i64, i64>, StoreError> {
    let mut found = HashMap::new();
    for ids in run_ids.chunks(10_000) {
        let rows = runs::table.filter(runs::run_id.eq_any(ids).and(runs::archive_id.is_not_null()));
        found.extend(rows.select((runs::run_id, runs::version)).load::<(i64, i64)>(connection)?);
    }
    Ok(found)
}

/// The entries of the log that say which runs left.
pub fn told(connection: &mut PgConnection) -> Result<Vec<Stored>, StoreError> {
    use super::schema::activity_log::dsl;
    let rows: Vec<Row> = dsl::activity_log
        .filter(dsl::run_id.eq(0).and(dsl::type_.eq(TOLD)))
        .order((dsl::t, dsl::stream, dsl::seq))
        .select(COLUMNS)
        .load(connection)?;
    Ok(rows.into_iter().map(Stored::from).collect())
}

/// Says of these runs that their entries are in the backup at `place`, and gives the archive's number. Within a
/// transaction.
///
/// # Errors
/// [`StoreError::Conflict`] when one of them is no longer as it was.
pub fn leave(
    connection: &mut Connection,
    place: &str,
    before: DateTime<Utc>,
    leaving: &[Candidate],
) -> Result<i64, StoreError> {
    #[derive(QueryableByName)]
    struct Id {
        #[diesel(sql_type = BigInt)]
        id: i64,
    }
    #[derive(QueryableByName)]
    struct Torn {
        #[diesel(sql_type = Bool)]
        it: bool,
    }
    let entries: i64 = leaving.iter().map(|run| run.version).sum();
    let id = diesel::sql_query(
        "INSERT INTO log_archives (place, before, runs, entries) VALUES ($1, $2, $3, $4) RETURNING id",
    )
    .bind::<Text, _>(place)
    .bind::<Timestamptz, _>(before)
    .bind::<BigInt, _>(leaving.len() as i64)
    .bind::<BigInt, _>(entries)
    .get_result::<Id>(connection)?
    .id;
    // One more: what an instance has in memory of the run is then out of date.
    let left = diesel::sql_query(
        "UPDATE runs SET archive_id = $1, erasures = runs.erasures + 1
         FROM unnest($2, $3) AS l (run_id, version)
         WHERE runs.run_id = l.run_id AND runs.version = l.version AND runs.archive_id IS NULL
           AND runs.closed_at IS NOT NULL",
    )
    .bind::<BigInt, _>(id)
    .bind::<Array<BigInt>, _>(leaving.iter().map(|run| run.run_id).collect::<Vec<_>>())
    .bind::<Array<BigInt>, _>(leaving.iter().map(|run| run.version).collect::<Vec<_>>())
    .execute(connection)?;
    // The rows are held now: a rerun that came before is seen here, and one that comes later sees where they are.
    let is_torn: Torn = diesel::sql_query(
        "SELECT EXISTS (SELECT FROM runs r JOIN runs o ON o.lineage = r.lineage
                WHERE r.archive_id = $1 AND o.archive_id IS NULL)
            OR EXISTS (SELECT FROM runs r JOIN runs o ON o.lineage = r.lineage
                JOIN redactions d ON d.run_id = o.run_id WHERE r.archive_id = $1 AND d.status = 'pending') AS it",
    )
    .bind::<BigInt, _>(id)
    .get_result(connection)?;
    if left != leaving.len() || is_torn.it {
        return Err(StoreError::Conflict(
            "some of these runs changed meanwhile. Nothing was removed; try again".to_owned(),
        ));
    }
    Ok(id)
}

/// Drops the parts of the log that hold nothing but runs of archives, which takes no time and gives their space back
/// at once. How many there were; parts that are in use just now stay for another time.
pub fn drop_parts(connection: &mut Connection) -> Result<u64, StoreError> {
    let mut dropped = 0;
    for part in spent_parts(connection, None)? {
        let name = format!("public.activity_log_{part}");
        let done = super::transaction(connection, |connection| {
            connection.batch_execute(PATIENCE)?;
            // Whoever reads the log holds it for as long as that takes; taken first, so that both come in one order.
            connection.batch_execute("LOCK TABLE activity_log IN ACCESS EXCLUSIVE MODE")?;
            // Until now, a run could still begin in it.
            let is_spent = !spent_parts(connection, Some(part))?.is_empty();
            if is_spent {
                connection.batch_execute(&format!("DROP TABLE {name}"))?;
            }
            Ok(is_spent)
        });
        match done {
            Ok(is_spent) => dropped += u64::from(is_spent),
            Err(StoreError::Database(error)) if error.to_string().contains("lock timeout") => {
                tracing::warn!("{name} is in use: it is emptied, and dropped the next time");
            }
            Err(error) => return Err(error),
        }
    }
    Ok(dropped)
}

/// The parts, by their numbers, or this one, whose runs are all in archives, and that no new run comes into: numbers went
/// on past it, and every instance began after that, so that none holds a number of it that it drew before.
fn spent_parts(connection: &mut Connection, part: Option<i64>) -> Result<Vec<i64>, StoreError> {
    #[derive(QueryableByName)]
    struct Part {
        #[diesel(sql_type = BigInt)]
        part: i64,
    }
    let rows: Vec<Part> = diesel::sql_query(
        "SELECT part FROM (
            SELECT substring(c.relname FROM '^activity_log_([0-9]+)$')::bigint AS part
            FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid
            WHERE i.inhparent = 'public.activity_log'::regclass) parts
         WHERE part IS NOT NULL AND part = coalesce($1, part)
           AND (part + 1) * 1000000 <= (SELECT last_value FROM run_ids)
           AND NOT EXISTS (SELECT FROM instances WHERE started_at <= coalesce(
                (SELECT created_at FROM runs WHERE run_id >= (part + 1) * 1000000 ORDER BY run_id LIMIT 1),
                'infinity'))
           AND NOT EXISTS (SELECT FROM runs
                WHERE run_id >= part * 1000000 AND run_id < (part + 1) * 1000000 AND archive_id IS NULL)
         ORDER BY part",
    )
    .bind::<Nullable<BigInt>, _>(part)
    .load(connection)?;
    Ok(rows.into_iter().map(|row| row.part).collect())
}

/// Removes what this archive has from the log, some thousand runs at a time. `told` hears how many runs are done.
pub fn remove(
    connection: &mut Connection,
    archive: i64,
    told: &mut dyn FnMut(u64),
) -> Result<(), StoreError> {
    #[derive(QueryableByName)]
    struct Next {
        #[diesel(sql_type = BigInt)]
        last: i64,
        #[diesel(sql_type = BigInt)]
        runs: i64,
        #[diesel(sql_type = Bool)]
        more: bool,
    }
    let (mut after, mut done) = (0, 0);
    loop {
        let next: Next = diesel::sql_query(
            "SELECT coalesce(max(run_id), 0) AS last, count(*) AS runs, count(*) = $3 AS more
             FROM (SELECT run_id FROM runs WHERE archive_id = $1 AND run_id > $2 ORDER BY run_id LIMIT $3) n",
        )
        .bind::<BigInt, _>(archive)
        .bind::<BigInt, _>(after)
        .bind::<BigInt, _>(CHUNK)
        .get_result(connection)?;
        if next.runs > 0 {
            remove_chunk(connection, archive, after + 1..next.last + 1)?;
            (after, done) = (next.last, done + next.runs as u64);
            told(done);
        }
        if !next.more {
            break;
        }
    }
    diesel::sql_query("UPDATE log_archives SET removed_at = clock_timestamp() WHERE id = $1")
        .bind::<BigInt, _>(archive)
        .execute(connection)?;
    Ok(())
}

fn remove_chunk(connection: &mut Connection, archive: i64, span: Span<i64>) -> Result<(), StoreError> {
    super::transaction(connection, |connection| {
        connection.batch_execute("SET LOCAL hms_act.archiving = 'on'")?;
        diesel::sql_query(
            "DELETE FROM activity_log l USING runs r
             WHERE l.run_id = r.run_id AND r.archive_id = $1 AND l.stream = 0
               AND r.run_id >= $2 AND r.run_id < $3 AND l.run_id >= $2 AND l.run_id < $3",
        )
        .bind::<BigInt, _>(archive)
        .bind::<BigInt, _>(span.start)
        .bind::<BigInt, _>(span.end)
        .execute(connection)?;
        Ok(())
    })
}
