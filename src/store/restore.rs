//! What a restore writes: the log with the very bytes that it had, its tree, the tables beside it, and every projection
//! by folding the log. As the owner, into an empty database, in one transaction: an error leaves it empty.
//!
//! Checks nothing of the evidence: that is whoever reads the backup's business.

use super::backup::{ASIDE, AsideTable, SALTS};
use super::batch::replayed::{self, Replayed};
use super::error::StoreError;
use super::protocols::ProtocolCache;
use super::runs::{Beginning, ensure_log_room, recorded, veiled};
use super::schema::{activity_log, log_head, runs};
use super::tree::checkpoints::{self, SignedHead};
use super::tree::growing::{self, Place, Range};
use super::{Connection, log, pool};
use crate::audit::Hash;
use crate::audit::chain::Stored;
use crate::audit::entry::{Header, header};
use crate::audit::tile::TileId;
use crate::engine::apply::{apply, pinned};
use crate::engine::event::EventKind;
use crate::engine::ids::RunId;
use crate::engine::state::Run;
use diesel::Connection as _;
use diesel::connection::SimpleConnection;
use diesel::prelude::*;
use diesel::sql_types::{Array, BigInt, Binary, Integer, Json, Nullable, Text, Timestamptz};
use std::collections::{BTreeMap, HashMap};

/// Entries folded in one page, more or less: what bounds the memory, but for the longest run.
const PAGE: i64 = 10_000;
/// Numbers that may have been given after the backup are not given again.
const GAP: i64 = 1_000;
/// Entries of one run are in one part of the log with others of its million.
const PART: i64 = 1_000_000;

/// An entry as it comes out of a backup.
pub struct Entry {
    pub leaf: Vec<u8>,
    pub hash: Hash,
    /// JSON, as it was written.
    pub beside: Option<String>,
}

/// What was restored.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Restored {
    pub runs: u64,
    pub open_runs: u64,
}

/// The database while it is being filled.
pub struct Restoring<'c> {
    connection: &'c mut Connection,
    parts: i64,
    streams: i64,
}

enum Ended<E> {
    Database(diesel::result::Error),
    Work(E),
}

impl<E> From<diesel::result::Error> for Ended<E> {
    fn from(error: diesel::result::Error) -> Ended<E> {
        Ended::Database(error)
    }
}

/// Fills an empty database, or changes nothing.
///
/// # Errors
/// [`StoreError::Conflict`] when it is not empty, and whatever `work` says.
pub fn restore<T, E: From<StoreError>>(
    owner_url: &str,
    work: impl FnOnce(&mut Restoring<'_>) -> Result<T, E>,
) -> Result<T, E> {
    let mut connection = pool::connect_as_owner(owner_url)?;
    let done = connection.transaction(|connection| {
        prepare(connection).map_err(|error| Ended::Work(error.into()))?;
        let mut restoring = Restoring { connection, parts: 0, streams: 0 };
        work(&mut restoring).map_err(Ended::Work)
    });
    done.map_err(|ended| match ended {
        Ended::Database(error) => StoreError::from(error).into(),
        Ended::Work(error) => error,
    })
}

fn prepare(connection: &mut Connection) -> Result<(), StoreError> {
    // By the login: the owner of the tables may make none that is temporary.
    connection.batch_execute(
        "CREATE TEMPORARY TABLE restored_aside (part text NOT NULL, run_id bigint NOT NULL, content json NOT NULL)
            ON COMMIT DROP;
         CREATE INDEX ON restored_aside (part, run_id);
         GRANT ALL ON restored_aside TO hms_act_owner;
         SET LOCAL ROLE hms_act_owner;
         LOCK TABLE activity_log, runs IN SHARE ROW EXCLUSIVE MODE",
    )?;
    let entries = diesel::dsl::exists(activity_log::table.select(activity_log::seq));
    let has_entries: bool = diesel::select(entries).get_result(connection)?;
    let has_runs: bool =
        diesel::select(diesel::dsl::exists(runs::table.select(runs::run_id))).get_result(connection)?;
    if has_entries || has_runs {
        let what = if has_runs { "runs" } else { "entries in its log" };
        return Err(StoreError::Conflict(format!(
            "the database has {what}: a backup is restored into an empty one only. Name another database, or another \
             data directory"
        )));
    }
    Ok(())
}

impl Restoring<'_> {
    /// Writes rows of a table: lines of JSON.
    pub fn rows(&mut self, table: &str, lines: &[u8]) -> Result<(), StoreError> {
        let lines = String::from_utf8_lossy(lines);
        let lines: Vec<&str> = lines.lines().collect();
        let Some(first) = lines.first() else { return Ok(()) };
        let columns = self.columns(table, first)?;
        for page in lines.chunks(1_000) {
            diesel::sql_query(format!(
                "INSERT INTO {table} ({columns}) OVERRIDING SYSTEM VALUE
                 SELECT {columns} FROM unnest($1) AS l (line), json_populate_record(NULL::{table}, l.line::json)"
            ))
            .bind::<Array<Text>, _>(page)
            .execute(self.connection)?;
        }
        Ok(())
    }

    /// The columns that these rows have: those that the table got since keep their defaults.
    fn columns(&mut self, table: &str, row: &str) -> Result<String, StoreError> {
        #[derive(QueryableByName)]
        struct Columns {
            #[diesel(sql_type = Nullable<Text>)]
            known: Option<String>,
            #[diesel(sql_type = Nullable<Text>)]
            unknown: Option<String>,
        }
        let found: Columns = diesel::sql_query(
            "SELECT string_agg(quote_ident(k), ', ') FILTER (WHERE a.attname IS NOT NULL) AS known,
                string_agg(k, ', ') FILTER (WHERE a.attname IS NULL) AS unknown
             FROM json_object_keys($1) AS k
             LEFT JOIN pg_attribute a ON a.attrelid = to_regclass('public.' || $2) AND a.attname = k
                AND a.attnum > 0 AND NOT a.attisdropped",
        )
        .bind::<Json, _>(serde_json::from_str::<serde_json::Value>(row).map_err(|error| {
            StoreError::Corrupt(format!("a row of {table} in the backup is not JSON: {error}"))
        })?)
        .bind::<Text, _>(table)
        .get_result(self.connection)?;
        match (found.known, found.unknown) {
            (Some(known), None) => Ok(known),
            (_, unknown) => Err(StoreError::Corrupt(format!(
                "{table} has in the backup what it does not have here ({}): the backup is of a newer version of this \
                 program",
                unknown.unwrap_or_default()
            ))),
        }
    }

    /// Writes the events that no run had: whoever waits for one is matched with it anew.
    pub fn events(&mut self, lines: &[u8]) -> Result<(), StoreError> {
        self.rows("events", lines)?;
        diesel::sql_query("UPDATE events SET taken_at = NULL, delivered_to = '{}'")
            .execute(self.connection)?;
        Ok(())
    }

    /// Keeps what lay aside of some entries, lines of JSON, until [`Restoring::fold`] needs it.
    pub fn aside(&mut self, lines: &[&str]) -> Result<(), StoreError> {
        if lines.is_empty() {
            return Ok(());
        }
        diesel::sql_query(
            "INSERT INTO restored_aside (part, run_id, content)
             SELECT j->>'table', (j->>'run_id')::bigint, j->'row' FROM unnest($1) AS l (line),
                LATERAL (SELECT l.line::json AS j) AS parsed",
        )
        .bind::<Array<Text>, _>(lines)
        .execute(self.connection)?;
        Ok(())
    }

    /// Adds entries behind those that are there: `first` is the index of the first of them.
    pub fn entries(&mut self, first: u64, entries: &[Entry]) -> Result<(), StoreError> {
        let damaged =
            |message| StoreError::Corrupt(format!("entry {first} of the log or one after it: {message}"));
        let headers: Vec<Header<'_>> =
            entries.iter().map(|entry| header(&entry.leaf)).collect::<Result<_, _>>().map_err(damaged)?;
        let mut ranges: Vec<Range> = Vec::new();
        for (offset, header) in headers.iter().enumerate() {
            let place = Place { run_id: header.run_id, stream: header.stream };
            Range::add(&mut ranges, first as i64 + offset as i64, place, header.seq as i64);
            self.streams = self.streams.max(header.stream);
            while header.run_id / PART >= self.parts {
                ensure_log_room(self.connection, (self.parts * PART).max(1))?;
                self.parts += 1;
            }
        }
        self.insert(&headers, entries)?;
        growing::write_ranges(self.connection, &ranges)
    }

    fn insert(&mut self, headers: &[Header<'_>], entries: &[Entry]) -> Result<(), StoreError> {
        let ids = |pick: fn(&Header<'_>) -> i64| headers.iter().map(pick).collect::<Vec<_>>();
        diesel::sql_query(
            "INSERT INTO activity_log (run_id, stream, seq, t, actor, type, step, attempt, status, leaf, leaf_hash, beside)
             SELECT r, m, s, t, a, ty, st, at, su, l, h, b::json
             FROM unnest($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)
                AS n (r, m, s, t, a, ty, st, at, su, l, h, b)",
        )
        .bind::<Array<BigInt>, _>(ids(|header| header.run_id))
        .bind::<Array<BigInt>, _>(ids(|header| header.stream))
        .bind::<Array<BigInt>, _>(ids(|header| header.seq as i64))
        .bind::<Array<Timestamptz>, _>(headers.iter().map(|header| header.at).collect::<Vec<_>>())
        .bind::<Array<Text>, _>(headers.iter().map(|header| header.actor.as_ref()).collect::<Vec<_>>())
        .bind::<Array<Text>, _>(headers.iter().map(|header| header.type_name.as_ref()).collect::<Vec<_>>())
        .bind::<Array<Nullable<Text>>, _>(headers.iter().map(|header| header.step.as_deref()).collect::<Vec<_>>())
        .bind::<Array<Nullable<Integer>>, _>(
            headers.iter().map(|header| header.attempt.map(|attempt| attempt as i32)).collect::<Vec<_>>(),
        )
        .bind::<Array<Nullable<Text>>, _>(
            headers.iter().map(|header| header.status.as_deref()).collect::<Vec<_>>(),
        )
        .bind::<Array<Binary>, _>(entries.iter().map(|entry| entry.leaf.as_slice()).collect::<Vec<_>>())
        .bind::<Array<Binary>, _>(entries.iter().map(|entry| entry.hash.as_slice()).collect::<Vec<_>>())
        .bind::<Array<Nullable<Text>>, _>(
            entries.iter().map(|entry| entry.beside.as_deref()).collect::<Vec<_>>(),
        )
        .execute(self.connection)?;
        Ok(())
    }

    pub fn tiles(&mut self, tiles: Vec<(TileId, Vec<Hash>)>) -> Result<(), StoreError> {
        growing::write_tiles(self.connection, tiles)
    }

    /// The head that was signed. Entries from here on, of later transactions, are those that have no index yet.
    pub fn head(&mut self, head: &SignedHead) -> Result<(), StoreError> {
        checkpoints::keep(self.connection, head.size, &head.root, &head.note)?;
        diesel::sql_query(
            "UPDATE log_head SET size = $1, next_txid = pg_current_xact_id()::text::bigint + 1,
                changed_at = clock_timestamp()",
        )
        .bind::<BigInt, _>(head.size as i64)
        .execute(self.connection)?;
        Ok(())
    }

    /// Makes every projection from the log. `told` hears how many entries were folded.
    pub fn fold(&mut self, told: &mut dyn FnMut(u64)) -> Result<Restored, StoreError> {
        for table in ASIDE.iter().filter(|table| !table.after_runs) {
            self.write_aside(table)?;
        }
        let mut folding = Folding::default();
        let mut after = (0, i64::MAX, i64::MAX);
        let mut entries: Vec<Stored> = Vec::new();
        loop {
            let page = log::in_chain_order(self.connection, None, Some(after), PAGE)?;
            let is_last = page.len() < PAGE as usize;
            after = page.last().map_or(after, |last| (last.run_id, last.stream, last.seq));
            folding.read_salts(self.connection, &page)?;
            for stored in page {
                if entries.last().is_some_and(|last| last.run_id != stored.run_id) {
                    folding.run(self.connection, &std::mem::take(&mut entries))?;
                }
                entries.push(stored);
            }
            told(folding.entries);
            if is_last {
                break;
            }
        }
        if !entries.is_empty() {
            folding.run(self.connection, &entries)?;
        }
        folding.flush(self.connection)?;
        for table in ASIDE.iter().filter(|table| table.after_runs) {
            self.write_aside(table)?;
        }
        // What was asked for and is over: nobody has to be told any more.
        diesel::sql_query(
            "DELETE FROM subruns s USING runs c WHERE s.child_run_id = c.run_id AND s.state = 'withdrawn'
             AND c.closed_at IS NOT NULL",
        )
        .execute(self.connection)?;
        Ok(folding.restored)
    }

    /// Rows of what was written after the backup's head are left out: it is lost.
    fn write_aside(&mut self, table: &AsideTable) -> Result<(), StoreError> {
        #[derive(QueryableByName)]
        struct Content {
            #[diesel(sql_type = Text)]
            content: String,
        }
        let (table, seq) = match table.of_entries {
            true => (table.name, "(a.content->>'seq')::bigint AND l.stream = (a.content->>'stream')::bigint"),
            false => (table.name, "1 AND l.stream = 0"),
        };
        let any = "SELECT content::text AS content FROM restored_aside WHERE part = $1 LIMIT 1";
        let first: Option<Content> =
            diesel::sql_query(any).bind::<Text, _>(table).get_result(self.connection).optional()?;
        let Some(Content { content }) = first else { return Ok(()) };
        let columns = self.columns(table, &content)?;
        diesel::sql_query(format!(
            "INSERT INTO {table} ({columns}) OVERRIDING SYSTEM VALUE
             SELECT {columns} FROM (SELECT content FROM restored_aside a WHERE part = $1 AND EXISTS (
                SELECT FROM activity_log l WHERE l.run_id = a.run_id AND l.seq = {seq})) AS kept,
                json_populate_record(NULL::{table}, kept.content)"
        ))
        .bind::<Text, _>(table)
        .execute(self.connection)?;
        Ok(())
    }

    /// Every sequence goes on behind the last number that it gave, and behind those that may have been given since.
    pub fn sequences(&mut self, last: &BTreeMap<String, i64>) -> Result<(), StoreError> {
        #[derive(QueryableByName)]
        struct Number {
            #[diesel(sql_type = BigInt)]
            number: i64,
        }
        for (name, last) in last {
            let exists = "SELECT count(*) AS number FROM pg_sequences WHERE schemaname = 'public' AND sequencename = $1";
            let known: Number =
                diesel::sql_query(exists).bind::<Text, _>(name).get_result(self.connection)?;
            // Protocols are backed up by a moment that is later than the head.
            let (seen, gap) = match name.as_str() {
                "instances_id_seq" => (self.streams, GAP),
                "run_ids" => (self.highest("activity_log", "run_id")?, GAP),
                "protocols_id_seq" => (self.highest("protocols", "id")?, 0),
                "events_id_seq" => (self.highest("events", "id")?, GAP),
                _ => (0, GAP),
            };
            let next = (*last).max(seen) + gap;
            if known.number == 1 && next > 0 {
                diesel::sql_query("SELECT setval($1::regclass, $2)")
                    .bind::<Text, _>(name)
                    .bind::<BigInt, _>(next)
                    .execute(self.connection)?;
            }
        }
        Ok(())
    }

    fn highest(&mut self, table: &str, column: &str) -> Result<i64, StoreError> {
        #[derive(QueryableByName)]
        struct Number {
            #[diesel(sql_type = BigInt)]
            number: i64,
        }
        let query = format!("SELECT coalesce(max({column}), 0) AS number FROM {table}");
        Ok(diesel::sql_query(query).get_result::<Number>(self.connection)?.number)
    }

    /// The root over what was written, read back from the tables.
    pub fn root(&mut self, size: u64) -> Result<Hash, StoreError> {
        super::tree::root_at(self.connection, size)
    }

    /// How many entries were written.
    pub fn count(&mut self) -> Result<u64, StoreError> {
        let count: i64 = activity_log::table.count().get_result(self.connection)?;
        let size: i64 = log_head::table.select(log_head::size).first(self.connection)?;
        if count != size {
            return Err(StoreError::Corrupt(format!(
                "{count} entries were written, and the tree has {size}"
            )));
        }
        Ok(count as u64)
    }
}

/// Runs on their way from the log into the projections.
#[derive(Default)]
struct Folding {
    protocols: ProtocolCache,
    salts: HashMap<i64, [u8; 32]>,
    waiting: Vec<Replayed>,
    events: usize,
    entries: u64,
    restored: Restored,
}

impl Folding {
    fn read_salts(&mut self, connection: &mut Connection, page: &[Stored]) -> Result<(), StoreError> {
        #[derive(QueryableByName)]
        struct Salt {
            #[diesel(sql_type = BigInt)]
            run_id: i64,
            #[diesel(sql_type = Binary)]
            salt: Vec<u8>,
        }
        let begun: Vec<i64> = page.iter().filter(|entry| entry.seq == 1).map(|entry| entry.run_id).collect();
        let query = "SELECT run_id, decode(content->>'salt', 'hex') AS salt FROM restored_aside
            WHERE part = $1 AND run_id = ANY($2)";
        let found: Vec<Salt> = diesel::sql_query(query)
            .bind::<Text, _>(SALTS)
            .bind::<Array<BigInt>, _>(begun)
            .load(connection)?;
        self.salts.extend(found.into_iter().filter_map(|row| Some((row.run_id, row.salt.try_into().ok()?))));
        Ok(())
    }

    fn run(&mut self, connection: &mut Connection, entries: &[Stored]) -> Result<(), StoreError> {
        let Some((first, rest)) = entries.split_first() else { return Ok(()) };
        let id = RunId(first.run_id);
        let is_open = entries.last().is_some_and(|last| last.type_name != "run.closed");
        let event = recorded(first)?;
        if is_open && matches!(event.event.kind, EventKind::RunQueued { rerun_of: Some(_), .. }) {
            // It takes over what earlier runs of its lineage did, which must be there to be read.
            self.flush(connection)?;
        }
        let beginning = Beginning { id, salt: self.salts.remove(&id.0), is_open };
        let mut run: Run = beginning.first(connection, &event, &self.protocols)?;
        let seals =
            entries.iter().any(|entry| entry.disclosures.as_ref().is_some_and(|sealed| !sealed.is_empty()));
        let told = |stored: &Stored| seals.then(|| veiled(stored)).transpose();
        let mut replayed = Replayed::begin(&run, event, told(first)?);
        for stored in rest {
            let event = recorded(stored)?;
            apply(&mut run, &event);
            if let Some(pin) = pinned(&event.event.kind) {
                run.protocol = self.protocols.get(connection, pin.id, pin.version)?;
            }
            replayed.add(&run, event, told(stored)?);
        }
        replayed.end(run);
        self.entries += entries.len() as u64;
        self.events += replayed.events();
        self.restored.runs += 1;
        self.restored.open_runs += u64::from(replayed.is_open());
        self.waiting.push(replayed);
        if self.events >= PAGE as usize { self.flush(connection) } else { Ok(()) }
    }

    fn flush(&mut self, connection: &mut Connection) -> Result<(), StoreError> {
        self.events = 0;
        let waiting = std::mem::take(&mut self.waiting);
        if waiting.is_empty() { Ok(()) } else { replayed::write(connection, &waiting) }
    }
}
