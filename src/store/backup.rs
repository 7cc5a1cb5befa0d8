//! What a backup reads: the log in the order of its tree, what lies beside it, and the tables that no entry could
//! give back. Rows are read as JSON, whatever columns a table has. Never writes.

use super::Connection;
use super::error::StoreError;
use super::tree::BY_INDEX;
use super::tree::checkpoints::{self, SignedHead};
use chrono::{DateTime, Utc};
use diesel::prelude::*;
use diesel::sql_types::{Array, BigInt, Binary, Nullable, Text, Timestamptz};
use std::collections::BTreeMap;

/// A table that is backed up as it stands at the moment of a checkpoint, all of it: small ones.
pub struct Table {
    pub name: &'static str,
    condition: &'static str,
    order: &'static str,
}

const fn table(name: &'static str, condition: &'static str, order: &'static str) -> Table {
    Table { name, condition, order }
}

/// In an order in which they can be written again.
pub const TABLES: [Table; 9] = [
    table("settings", "true", "key"),
    table("users", "true", "name"),
    table("protocols", "true", "id"),
    table("protocol_versions", "true", "protocol_id, version"),
    table("actions", "true", "name"),
    table("agents", "true", "name"),
    table("schedules", "true", "protocol_id"),
    table("log_keys", "true", "added_at, vkey"),
    table("token_keys", "true", "kid"),
];

/// The same, but kept aside: what may have to be erased there. Of the events, those that no run had at the moment of
/// the checkpoint, which is a little before this is read; the log says of the others who took them.
pub const TABLES_ASIDE: [Table; 1] =
    [table("events", "taken_at IS NULL OR taken_at > clock_timestamp() - interval '1 hour'", "id")];

/// What is backed up aside, along with the entries that it belongs to.
pub struct AsideTable {
    pub name: &'static str,
    /// A row belongs to one entry (`run_id`, `stream`, `seq`); otherwise to a run, and lies with its first entry.
    pub of_entries: bool,
    /// It refers to `runs`.
    pub after_runs: bool,
}

/// Rows that belong to runs or entries, and that an erasure must reach in the backup too.
pub const ASIDE: [AsideTable; 3] = [
    AsideTable { name: "disclosures", of_entries: true, after_runs: false },
    AsideTable { name: "start_keys", of_entries: false, after_runs: true },
    AsideTable { name: "redactions", of_entries: false, after_runs: true },
];

/// The salt of a run's checksums is a column of `runs`, not a row: it goes by this name.
pub const SALTS: &str = "salts";

/// An entry with its place in the tree.
#[derive(Debug, Clone, QueryableByName)]
pub struct Placed {
    #[diesel(sql_type = BigInt)]
    pub run_id: i64,
    #[diesel(sql_type = BigInt)]
    pub stream: i64,
    #[diesel(sql_type = BigInt)]
    pub seq: i64,
    /// None: it is in an archive.
    #[diesel(sql_type = Nullable<Binary>)]
    pub leaf: Option<Vec<u8>>,
    /// JSON, as it was written.
    #[diesel(sql_type = Nullable<Text>)]
    pub beside: Option<String>,
}

/// The entries with the indexes from `first` on, `count` of them, in their order.
///
/// # Errors
/// [`StoreError::Corrupt`] when one is missing that is in no archive.
pub fn entries(connection: &mut Connection, first: u64, count: u64) -> Result<Vec<Placed>, StoreError> {
    let columns = "a.run_id, a.stream, a.seq, a.leaf, a.beside::text AS beside";
    let mut found: Vec<Placed> = by_index(connection, &format!("SELECT {columns} {BY_INDEX}"), first, count)?;
    if found.len() as u64 != count {
        found = by_index(connection, WITH_ARCHIVED, first, count)?;
    }
    if found.len() as u64 != count {
        let end = first + count;
        return Err(StoreError::Corrupt(format!("entries {first} to {end} of the log are not all there")));
    }
    Ok(found)
}

/// As [`BY_INDEX`], with those that are in archives.
const WITH_ARCHIVED: &str =
    "SELECT r.run_id, r.stream, s.seq, a.leaf, a.beside::text AS beside FROM log_ranges r
     CROSS JOIN LATERAL generate_series(
        r.first_seq + greatest($1 - r.first_index, 0),
        r.first_seq + least(r.entries, $2 - r.first_index) - 1) AS s (seq)
     LEFT JOIN activity_log a ON a.run_id = r.run_id AND a.stream = r.stream AND a.seq = s.seq
     WHERE r.first_index >= coalesce((SELECT max(first_index) FROM log_ranges WHERE first_index <= $1), 0)
        AND r.first_index < $2
        AND (a.seq IS NOT NULL
             OR EXISTS (SELECT FROM runs o WHERE o.run_id = r.run_id AND o.archive_id IS NOT NULL))
     ORDER BY r.first_index, s.seq";

fn by_index(
    connection: &mut Connection,
    query: &str,
    first: u64,
    count: u64,
) -> Result<Vec<Placed>, StoreError> {
    Ok(diesel::sql_query(query)
        .bind::<BigInt, _>(first as i64)
        .bind::<BigInt, _>((first + count) as i64)
        .load(connection)?)
}

#[derive(QueryableByName)]
struct Line {
    #[diesel(sql_type = BigInt)]
    of: i64,
    #[diesel(sql_type = Text)]
    line: String,
}

/// What belongs aside of these entries, as lines of JSON, by the place of the entry in the slice.
pub fn aside(
    connection: &mut Connection,
    entries: &[Placed],
) -> Result<BTreeMap<usize, Vec<String>>, StoreError> {
    let column = |pick: fn(&Placed) -> i64| entries.iter().map(pick).collect::<Vec<_>>();
    let mut found: BTreeMap<usize, Vec<String>> = BTreeMap::new();
    let salts = format!(
        "SELECT n.of - 1 AS of, json_build_object('table', '{SALTS}', 'run_id', t.run_id,
            'row', json_build_object('salt', encode(t.salt, 'hex')))::text AS line
         FROM unnest($1, $2, $3) WITH ORDINALITY AS n (r, m, s, of) JOIN runs t ON t.run_id = n.r AND n.s = 1
         WHERE t.salt IS NOT NULL ORDER BY n.of"
    );
    let rows = ASIDE.iter().map(|table| {
        let on = match table.of_entries {
            true => "t.run_id = n.r AND t.stream = n.m AND t.seq = n.s",
            false => "t.run_id = n.r AND n.s = 1",
        };
        format!(
            "SELECT n.of - 1 AS of, json_build_object('table', '{0}', 'run_id', t.run_id, 'row', row_to_json(t))::text
                AS line
             FROM unnest($1, $2, $3) WITH ORDINALITY AS n (r, m, s, of) JOIN {0} t ON {on} ORDER BY n.of, line",
            table.name
        )
    });
    for query in std::iter::once(salts).chain(rows) {
        let lines: Vec<Line> = diesel::sql_query(query)
            .bind::<Array<BigInt>, _>(column(|entry| entry.run_id))
            .bind::<Array<BigInt>, _>(column(|entry| entry.stream))
            .bind::<Array<BigInt>, _>(column(|entry| entry.seq))
            .load(connection)?;
        for Line { of, line } in lines {
            found.entry(of as usize).or_default().push(line);
        }
    }
    Ok(found)
}

/// The bundles of 256 entries that have something of a lineage in which erasing was asked for or decided since then:
/// what lies aside of them is no longer what it was.
pub fn touched_by_erasures(
    connection: &mut Connection,
    since: DateTime<Utc>,
) -> Result<Vec<u64>, StoreError> {
    #[derive(QueryableByName)]
    struct Bundle {
        #[diesel(sql_type = BigInt)]
        bundle: i64,
    }
    let rows: Vec<Bundle> = diesel::sql_query(
        "WITH touched AS (
            SELECT run_id FROM redactions WHERE status = 'pending' AND filed_at > $1
            UNION SELECT run_id FROM redactions WHERE status <> 'pending' AND decided_at > $1)
         SELECT DISTINCT b AS bundle FROM touched
         JOIN runs r ON r.run_id = touched.run_id JOIN runs o ON o.lineage = r.lineage
         JOIN log_ranges g ON g.run_id = o.run_id
         CROSS JOIN generate_series(g.first_index / 256, (g.first_index + g.entries - 1) / 256) AS b ORDER BY b",
    )
    .bind::<Timestamptz, _>(since)
    .load(connection)?;
    Ok(rows.into_iter().map(|row| row.bundle as u64).collect())
}

/// The rows of a table, a line of JSON each.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rows {
    pub table: &'static str,
    pub lines: Vec<u8>,
    pub count: u64,
}

/// The signed head, and the tables as they stand a moment later: whatever an entry below the head names is in them.
#[derive(Debug, Clone)]
pub struct Snapshot {
    pub head: SignedHead,
    pub tables: Vec<Rows>,
    pub aside: Vec<Rows>,
    /// By sequence, the last number that it gave.
    pub sequences: BTreeMap<String, i64>,
    /// The last migration.
    pub schema: String,
}

/// None: nothing was signed yet.
pub fn snapshot(connection: &mut Connection) -> Result<Option<Snapshot>, StoreError> {
    super::snapshot(connection, |connection| {
        let Some(head) = checkpoints::latest(connection)? else { return Ok(None) };
        Ok(Some(Snapshot {
            head,
            tables: TABLES.iter().map(|table| rows(connection, table)).collect::<Result<_, _>>()?,
            aside: TABLES_ASIDE.iter().map(|table| rows(connection, table)).collect::<Result<_, _>>()?,
            sequences: sequences(connection)?,
            schema: schema(connection)?,
        }))
    })
}

/// The newest signed head. None: nothing was signed yet.
pub fn head(connection: &mut Connection) -> Result<Option<SignedHead>, StoreError> {
    checkpoints::latest(connection)
}

fn rows(connection: &mut Connection, table: &Table) -> Result<Rows, StoreError> {
    let Table { name, condition, order } = table;
    let query = format!(
        "SELECT 0::bigint AS of, row_to_json(t)::text AS line
         FROM (SELECT * FROM {name} WHERE {condition} ORDER BY {order}) t"
    );
    let found: Vec<Line> = diesel::sql_query(query).load(connection)?;
    let mut lines = Vec::new();
    for Line { line, .. } in &found {
        // Line feeds between tokens, which a document may have as its author wrote it, mean nothing.
        lines.extend(line.bytes().map(|byte| if byte == b'\n' || byte == b'\r' { b' ' } else { byte }));
        lines.push(b'\n');
    }
    Ok(Rows { table: name, lines, count: found.len() as u64 })
}

fn sequences(connection: &mut Connection) -> Result<BTreeMap<String, i64>, StoreError> {
    #[derive(QueryableByName)]
    struct Sequence {
        #[diesel(sql_type = Text)]
        name: String,
        #[diesel(sql_type = BigInt)]
        last: i64,
    }
    let rows: Vec<Sequence> = diesel::sql_query(
        "SELECT sequencename::text AS name, coalesce(last_value, 0) AS last FROM pg_sequences
         WHERE schemaname = 'public' ORDER BY 1",
    )
    .load(connection)?;
    Ok(rows.into_iter().map(|row| (row.name, row.last)).collect())
}

/// The last migration of this database.
pub fn schema(connection: &mut Connection) -> Result<String, StoreError> {
    #[derive(QueryableByName)]
    struct Version {
        #[diesel(sql_type = Text)]
        version: String,
    }
    let query = "SELECT coalesce(max(version), '') AS version FROM public.__diesel_schema_migrations";
    Ok(diesel::sql_query(query).get_result::<Version>(connection)?.version)
}
