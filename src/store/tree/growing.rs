//! The tree grows: committed entries get their index, in order of run and `seq` within a pass.
//!
//! A pass takes the entries of the transactions below the oldest one under way: of those, all that will ever be there
//! are there. What it does is committed before anybody signs it. Entries that have an index already are passed over,
//! so that a database that was moved to another server (where transactions are counted anew) goes on where it was.

use super::super::error::StoreError;
use super::super::schema::{log_head, log_tiles};
use super::{Connection, to_hashes};
use crate::audit::Hash;
use crate::audit::tile::{Growth, TileId, edge};
use diesel::prelude::*;
use diesel::sql_types::{Array, BigInt, Binary, Nullable, SmallInt};
use std::collections::HashMap;

/// A pass ends with the transaction that holds the entry after so many.
const WINDOW: i64 = 20_000;
/// Entries fetched at a time: what bounds the memory of a pass, however large one transaction was.
const PAGE: usize = 10_000;

/// What a pass came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Passed {
    pub added: u64,
    /// More is committed than this pass took.
    pub more: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::store) struct Place {
    pub run_id: i64,
    pub stream: i64,
}

/// Entries that follow each other in one stream and in the tree.
pub(in crate::store) struct Range {
    pub first_index: i64,
    pub place: Place,
    pub first_seq: i64,
    pub entries: i64,
}

impl Range {
    /// Adds an entry at the end: to the last range, if it goes on there.
    pub fn add(ranges: &mut Vec<Range>, index: i64, place: Place, seq: i64) {
        match ranges.last_mut() {
            Some(range) if range.place == place && range.first_seq + range.entries == seq => {
                range.entries += 1
            }
            _ => ranges.push(Range { first_index: index, place, first_seq: seq, entries: 1 }),
        }
    }
}

#[derive(QueryableByName)]
struct Entry {
    #[diesel(sql_type = BigInt)]
    run_id: i64,
    #[diesel(sql_type = BigInt)]
    stream: i64,
    #[diesel(sql_type = BigInt)]
    seq: i64,
    #[diesel(sql_type = Binary)]
    leaf_hash: Vec<u8>,
}

/// The tree as it stands, ready to grow.
pub fn growth(connection: &mut Connection) -> Result<Growth, StoreError> {
    let size = super::size(connection)?;
    let ids: Vec<TileId> = edge(size).into_iter().map(|(id, _)| id).collect();
    let rows: Vec<(i16, i64, Vec<u8>)> = match ids.is_empty() {
        true => Vec::new(),
        false => {
            let mut query = log_tiles::table.into_boxed();
            for id in &ids {
                let here = log_tiles::level.eq(i16::from(id.level)).and(log_tiles::index.eq(id.index as i64));
                query = query.or_filter(here);
            }
            query.load(connection)?
        }
    };
    let tiles: HashMap<TileId, Vec<Hash>> = rows
        .into_iter()
        .map(|(level, index, hashes)| {
            (TileId { level: level as u8, index: index as u64 }, to_hashes(&hashes))
        })
        .collect();
    Growth::from_edge(size, &tiles).ok_or_else(|| {
        StoreError::Corrupt(format!("tiles at the edge of the log's {size} entries are missing"))
    })
}

/// Gives the next entries their index. Within a [`super::turn`].
pub fn pass(connection: &mut Connection) -> Result<Passed, StoreError> {
    let window = Window::next(connection)?;
    let mut growth = growth(connection)?;
    let before = growth.size();
    if !window.is_empty {
        open_cursor(connection, &window)?;
        let mut last: HashMap<(i64, i64), i64> = HashMap::new();
        loop {
            let page: Vec<Entry> =
                diesel::sql_query(format!("FETCH {PAGE} FROM unindexed")).load(connection)?;
            let is_last = page.len() < PAGE;
            add_page(connection, &mut growth, &mut last, &page)?;
            if is_last {
                break;
            }
        }
        diesel::sql_query("CLOSE unindexed").execute(connection)?;
        write_tiles(connection, growth.partial())?;
    }
    let added = growth.size() - before;
    if added > 0 || window.moved {
        diesel::update(log_head::table)
            .set((
                log_head::size.eq(growth.size() as i64),
                log_head::next_txid.eq(window.end),
                log_head::changed_at
                    .eq(diesel::dsl::sql::<diesel::sql_types::Timestamptz>("clock_timestamp()")),
            ))
            .execute(connection)?;
    }
    Ok(Passed { added, more: window.more })
}

/// Whether entries are committed that have no index yet.
pub fn is_behind(connection: &mut Connection) -> Result<bool, StoreError> {
    let unindexed = diesel::dsl::sql::<diesel::sql_types::Bool>(
        "EXISTS (SELECT FROM activity_log WHERE txid >= (SELECT next_txid FROM log_head))",
    );
    Ok(diesel::select(unindexed).get_result(connection)?)
}

/// Transactions whose entries a pass takes: from `first` up to `end`.
struct Window {
    first: i64,
    end: i64,
    /// Of another life of this database: above all transactions that this server has begun.
    foreign_above: Option<i64>,
    is_empty: bool,
    more: bool,
    /// Worth remembering, even if there was no entry in it.
    moved: bool,
}

/// Without entries, the head is written again after so many transactions only: an idle log writes nothing.
const QUIET_TRANSACTIONS: i64 = 10_000;

impl Window {
    fn next(connection: &mut Connection) -> Result<Window, StoreError> {
        #[derive(QueryableByName)]
        struct Snapshot {
            #[diesel(sql_type = BigInt)]
            next_txid: i64,
            #[diesel(sql_type = BigInt)]
            oldest: i64,
            #[diesel(sql_type = BigInt)]
            newest: i64,
        }
        let now: Snapshot = diesel::sql_query(
            "SELECT next_txid, pg_snapshot_xmin(s)::text::bigint AS oldest, pg_snapshot_xmax(s)::text::bigint AS newest
             FROM log_head, pg_current_snapshot() s",
        )
        .get_result(connection)?;
        // Transactions are counted anew: the database was moved to another server by a dump.
        let is_moved = now.next_txid > now.newest;
        let first = if is_moved { 0 } else { now.next_txid };
        let foreign_above = is_moved.then_some(now.newest);
        let next = |connection: &mut Connection, from: i64, skip: i64| -> Result<Option<i64>, StoreError> {
            #[derive(QueryableByName)]
            struct Txid {
                #[diesel(sql_type = BigInt)]
                txid: i64,
            }
            let row: Option<Txid> = diesel::sql_query(
                "SELECT txid FROM activity_log WHERE txid >= $1 AND txid < $2 ORDER BY txid OFFSET $3 LIMIT 1",
            )
            .bind::<BigInt, _>(from)
            .bind::<BigInt, _>(now.oldest)
            .bind::<BigInt, _>(skip)
            .get_result(connection)
            .optional()?;
            Ok(row.map(|row| row.txid))
        };
        let begins = next(connection, first, 0)?;
        let end = match begins {
            None => now.oldest,
            // At least one whole transaction, however large.
            Some(begins) => next(connection, first, WINDOW)?.unwrap_or(now.oldest).max(begins + 1),
        };
        Ok(Window {
            first,
            end,
            foreign_above,
            is_empty: begins.is_none() && !is_moved,
            more: end < now.oldest,
            moved: is_moved || end - now.next_txid >= QUIET_TRANSACTIONS,
        })
    }
}

/// Utility statements take no parameters; these are numbers.
fn open_cursor(connection: &mut Connection, window: &Window) -> Result<(), StoreError> {
    let foreign = window.foreign_above.map_or(String::new(), |newest| format!(" OR txid > {newest}"));
    let statement = format!(
        "DECLARE unindexed NO SCROLL CURSOR FOR
         SELECT run_id, stream, seq, leaf_hash FROM activity_log
         WHERE (txid >= {} AND txid < {}){foreign} ORDER BY run_id, stream, seq",
        window.first, window.end
    );
    diesel::sql_query(statement).execute(connection)?;
    Ok(())
}

fn add_page(
    connection: &mut Connection,
    growth: &mut Growth,
    last: &mut HashMap<(i64, i64), i64>,
    page: &[Entry],
) -> Result<(), StoreError> {
    read_last(connection, last, page)?;
    let mut ranges: Vec<Range> = Vec::new();
    for entry in page {
        let place = Place { run_id: entry.run_id, stream: entry.stream };
        let end = last.entry((entry.run_id, entry.stream)).or_insert(0);
        if entry.seq <= *end {
            continue;
        }
        *end = entry.seq;
        let hash = Hash::try_from(entry.leaf_hash.as_slice()).map_err(|_| {
            StoreError::Corrupt(format!("run {} seq {} has no leaf hash", entry.run_id, entry.seq))
        })?;
        let index = growth.size() as i64;
        growth.push(hash);
        Range::add(&mut ranges, index, place, entry.seq);
    }
    write_ranges(connection, &ranges)?;
    write_tiles(connection, growth.take_full())
}

/// Where the streams of a page end in the tree so far.
fn read_last(
    connection: &mut Connection,
    last: &mut HashMap<(i64, i64), i64>,
    page: &[Entry],
) -> Result<(), StoreError> {
    #[derive(QueryableByName)]
    struct End {
        #[diesel(sql_type = BigInt)]
        run_id: i64,
        #[diesel(sql_type = BigInt)]
        stream: i64,
        #[diesel(sql_type = Nullable<BigInt>)]
        seq: Option<i64>,
    }
    let mut places: Vec<(i64, i64)> = page.iter().map(|entry| (entry.run_id, entry.stream)).collect();
    places.dedup();
    places.retain(|place| !last.contains_key(place));
    if places.is_empty() {
        return Ok(());
    }
    let (runs, streams): (Vec<i64>, Vec<i64>) = places.into_iter().unzip();
    let ends: Vec<End> = diesel::sql_query(
        "SELECT p.run_id, p.stream, (SELECT r.first_seq + r.entries - 1 FROM log_ranges r
            WHERE r.run_id = p.run_id AND r.stream = p.stream ORDER BY r.first_seq DESC LIMIT 1) AS seq
         FROM unnest($1, $2) AS p (run_id, stream)",
    )
    .bind::<Array<BigInt>, _>(runs)
    .bind::<Array<BigInt>, _>(streams)
    .load(connection)?;
    last.extend(ends.into_iter().map(|end| ((end.run_id, end.stream), end.seq.unwrap_or(0))));
    Ok(())
}

pub(in crate::store) fn write_ranges(
    connection: &mut Connection,
    ranges: &[Range],
) -> Result<(), StoreError> {
    if ranges.is_empty() {
        return Ok(());
    }
    let column = |pick: fn(&Range) -> i64| ranges.iter().map(pick).collect::<Vec<_>>();
    diesel::sql_query(
        "INSERT INTO log_ranges (first_index, run_id, stream, first_seq, entries)
         SELECT * FROM unnest($1, $2, $3, $4, $5)",
    )
    .bind::<Array<BigInt>, _>(column(|range| range.first_index))
    .bind::<Array<BigInt>, _>(column(|range| range.place.run_id))
    .bind::<Array<BigInt>, _>(column(|range| range.place.stream))
    .bind::<Array<BigInt>, _>(column(|range| range.first_seq))
    .bind::<Array<BigInt>, _>(column(|range| range.entries))
    .execute(connection)?;
    Ok(())
}

/// A tile only ever grows: one that says something else already is damage, and nothing is written over it.
pub(in crate::store) fn write_tiles(
    connection: &mut Connection,
    tiles: Vec<(TileId, Vec<Hash>)>,
) -> Result<(), StoreError> {
    if tiles.is_empty() {
        return Ok(());
    }
    let hashes: Vec<Vec<u8>> = tiles.iter().map(|(_, hashes)| hashes.concat()).collect();
    let written = diesel::sql_query(
        "INSERT INTO log_tiles (level, index, hashes) SELECT * FROM unnest($1, $2, $3)
         ON CONFLICT (level, index) DO UPDATE SET hashes = excluded.hashes
         WHERE substr(excluded.hashes, 1, length(log_tiles.hashes)) = log_tiles.hashes",
    )
    .bind::<Array<SmallInt>, _>(tiles.iter().map(|(id, _)| i16::from(id.level)).collect::<Vec<_>>())
    .bind::<Array<BigInt>, _>(tiles.iter().map(|(id, _)| id.index as i64).collect::<Vec<_>>())
    .bind::<Array<Binary>, _>(hashes)
    .execute(connection)?;
    if written == tiles.len() {
        return Ok(());
    }
    Err(StoreError::Corrupt("a tile of the log's tree holds other hashes than its entries have".to_owned()))
}
