//! The tree as `hms-act verify` reads it: beside the log in the log's own order, and tile by tile.

use super::super::error::StoreError;
use super::super::schema::{log_ranges, log_tiles};
use super::to_hashes;
use crate::audit::Hash;
use crate::audit::tile::TileId;
use diesel::prelude::*;
use diesel::sql_types::{Array, BigInt, Bool, Nullable};

/// Entries of one stream that follow each other in the tree.
#[derive(Debug, Clone, PartialEq, Eq, Queryable)]
pub struct Range {
    pub first_index: i64,
    pub run_id: i64,
    pub stream: i64,
    pub first_seq: i64,
    pub entries: i64,
}

/// Where an entry stands in the log: run, stream, seq.
pub type EntryKey = (i64, i64, i64);

/// The ranges that begin after one entry and not after another, in the log's order. `until` none: all that follow.
pub fn ranges(
    connection: &mut PgConnection,
    run_id: Option<i64>,
    after: EntryKey,
    until: Option<EntryKey>,
    limit: i64,
) -> Result<Vec<Range>, StoreError> {
    let key = |operator: &str, (run, stream, seq): EntryKey| {
        diesel::dsl::sql::<Bool>(&format!("(run_id, stream, first_seq) {operator} ("))
            .bind::<BigInt, _>(run)
            .sql(",")
            .bind::<BigInt, _>(stream)
            .sql(",")
            .bind::<BigInt, _>(seq)
            .sql(")")
    };
    let order = (log_ranges::run_id, log_ranges::stream, log_ranges::first_seq);
    let mut query = log_ranges::table.filter(key(">", after)).order(order).limit(limit).into_boxed();
    if let Some(until) = until {
        query = query.filter(key("<=", until));
    }
    if let Some(run_id) = run_id {
        query = query.filter(log_ranges::run_id.eq(run_id));
    }
    Ok(query.load(connection)?)
}

/// The ranges in the order of the tree, from this index on.
pub fn ranges_by_index(
    connection: &mut PgConnection,
    from: i64,
    limit: i64,
) -> Result<Vec<Range>, StoreError> {
    Ok(log_ranges::table
        .filter(log_ranges::first_index.ge(from))
        .order(log_ranges::first_index)
        .limit(limit)
        .load(connection)?)
}

/// Tiles of the lowest level, by their indexes.
pub fn tiles(connection: &mut PgConnection, indexes: &[i64]) -> Result<Vec<(i64, Vec<Hash>)>, StoreError> {
    let rows: Vec<(i64, Vec<u8>)> = log_tiles::table
        .filter(log_tiles::level.eq(0).and(log_tiles::index.eq_any(indexes)))
        .select((log_tiles::index, log_tiles::hashes))
        .load(connection)?;
    Ok(rows.into_iter().map(|(index, hashes)| (index, to_hashes(&hashes))).collect())
}

/// Tiles of one level in order.
pub fn level(
    connection: &mut PgConnection,
    level: u8,
    from: u64,
    limit: i64,
) -> Result<Vec<(TileId, Vec<Hash>)>, StoreError> {
    let rows: Vec<(i64, Vec<u8>)> = log_tiles::table
        .filter(log_tiles::level.eq(i16::from(level)).and(log_tiles::index.ge(from as i64)))
        .order(log_tiles::index)
        .limit(limit)
        .select((log_tiles::index, log_tiles::hashes))
        .load(connection)?;
    let tile = |(index, hashes): (i64, Vec<u8>)| (TileId { level, index: index as u64 }, to_hashes(&hashes));
    Ok(rows.into_iter().map(tile).collect())
}

/// What became of an entry that had no place in the tree when it was read.
#[derive(Debug, Clone, PartialEq, Eq, QueryableByName)]
pub struct Loose {
    #[diesel(sql_type = BigInt)]
    pub run_id: i64,
    #[diesel(sql_type = BigInt)]
    pub stream: i64,
    #[diesel(sql_type = BigInt)]
    pub seq: i64,
    /// Its index by now.
    #[diesel(sql_type = Nullable<BigInt>)]
    pub index: Option<i64>,
    /// The sequencer has not come to its transaction yet.
    #[diesel(sql_type = Bool)]
    pub is_new: bool,
}

/// Looks once more for entries without a place: they may be new, or have got one meanwhile.
pub fn loose(connection: &mut PgConnection, entries: &[EntryKey]) -> Result<Vec<Loose>, StoreError> {
    let column = |pick: fn(&EntryKey) -> i64| entries.iter().map(pick).collect::<Vec<_>>();
    let query = "SELECT e.run_id, e.stream, e.seq,
            (SELECT r.first_index + e.seq - r.first_seq FROM log_ranges r
             WHERE r.run_id = e.run_id AND r.stream = e.stream AND r.first_seq <= e.seq
               AND e.seq < r.first_seq + r.entries) AS index,
            coalesce(a.txid >= h.next_txid, false) AS is_new
         FROM unnest($1, $2, $3) AS e (run_id, stream, seq) CROSS JOIN log_head h
         LEFT JOIN activity_log a ON a.run_id = e.run_id AND a.stream = e.stream AND a.seq = e.seq
         ORDER BY 1, 2, 3";
    Ok(diesel::sql_query(query)
        .bind::<Array<BigInt>, _>(column(|key| key.0))
        .bind::<Array<BigInt>, _>(column(|key| key.1))
        .bind::<Array<BigInt>, _>(column(|key| key.2))
        .load(connection)?)
}
