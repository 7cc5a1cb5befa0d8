//! The Merkle tree over the log, as it is kept: which entry has which index, the tiles, the signed heads.
//!
//! Reads for whoever proves or serves; [`growing`] is the sequencer's. Only [`turn`] gives the right to write here.

pub mod checking;
pub mod checkpoints;
pub mod growing;
pub mod keys;

use super::Connection;
use super::error::StoreError;
use super::schema::{activity_log, log_head, log_ranges, log_tiles};
use crate::audit::Hash;
use crate::audit::tile::{TILE_WIDTH, TileError, TileId, TileReader};
use crate::audit::tree::{self, Nodes};
use checking::{EntryKey, Range};
use chrono::{DateTime, Utc};
use diesel::prelude::*;
use diesel::sql_types::{BigInt, Binary, Bool, Timestamptz};

/// Takes the sequencer's turn for one transaction. None: another instance has it.
pub fn turn<T>(
    connection: &mut Connection,
    work: impl FnOnce(&mut Connection) -> Result<T, StoreError>,
) -> Result<Option<T>, StoreError> {
    #[derive(QueryableByName)]
    struct Turn {
        #[diesel(sql_type = Bool)]
        mine: bool,
    }
    super::transaction(connection, |connection| {
        let asked = "SELECT pg_try_advisory_xact_lock(hashtext('hms_act.sequencer')) AS mine";
        if !diesel::sql_query(asked).get_result::<Turn>(connection)?.mine {
            return Ok(None);
        }
        diesel::sql_query("SET LOCAL ROLE hms_act_sequencer").execute(connection)?;
        work(connection).map(Some)
    })
}

/// How many entries have an index.
pub fn size(connection: &mut PgConnection) -> Result<u64, StoreError> {
    let size: i64 = log_head::table.select(log_head::size).first(connection)?;
    Ok(size as u64)
}

/// The hashes of a tile, as many as it has by now. Empty: there is no such tile.
pub fn tile(connection: &mut PgConnection, id: TileId) -> Result<Vec<Hash>, StoreError> {
    let place = (i16::from(id.level), id.index as i64);
    let hashes: Option<Vec<u8>> =
        log_tiles::table.find(place).select(log_tiles::hashes).first(connection).optional()?;
    Ok(to_hashes(&hashes.unwrap_or_default()))
}

pub(super) fn to_hashes(bytes: &[u8]) -> Vec<Hash> {
    let (hashes, _) = bytes.as_chunks::<32>();
    hashes.to_vec()
}

/// The rest of a query over the entries (`a`) with the indexes from $1 up to $2, in their order.
pub(super) const BY_INDEX: &str = "FROM log_ranges r
     JOIN activity_log a ON a.run_id = r.run_id AND a.stream = r.stream
        AND a.seq >= r.first_seq + greatest($1 - r.first_index, 0)
        AND a.seq < r.first_seq + least(r.entries, $2 - r.first_index)
     WHERE r.first_index >= coalesce((SELECT max(first_index) FROM log_ranges WHERE first_index <= $1), 0)
        AND r.first_index < $2
     ORDER BY r.first_index, a.seq";

/// The leaves of the entries with the indexes from `first` on, in their order.
pub fn leaves(connection: &mut PgConnection, first: u64, count: u64) -> Result<Vec<Vec<u8>>, StoreError> {
    #[derive(QueryableByName)]
    struct Leaf {
        #[diesel(sql_type = Binary)]
        leaf: Vec<u8>,
    }
    let rows: Vec<Leaf> = diesel::sql_query(format!("SELECT a.leaf {BY_INDEX}"))
        .bind::<BigInt, _>(first as i64)
        .bind::<BigInt, _>((first + count) as i64)
        .load(connection)?;
    Ok(rows.into_iter().map(|row| row.leaf).collect())
}

/// The index of an entry. None: it has none yet.
pub fn index_of(
    connection: &mut PgConnection,
    run_id: i64,
    stream: i64,
    seq: i64,
) -> Result<Option<u64>, StoreError> {
    #[derive(QueryableByName)]
    struct Index {
        #[diesel(sql_type = BigInt)]
        index: i64,
    }
    let found: Option<Index> = diesel::sql_query(
        "SELECT first_index + $3 - first_seq AS index FROM log_ranges
         WHERE run_id = $1 AND stream = $2 AND first_seq <= $3 AND $3 < first_seq + entries
         ORDER BY first_seq DESC LIMIT 1",
    )
    .bind::<BigInt, _>(run_id)
    .bind::<BigInt, _>(stream)
    .bind::<BigInt, _>(seq)
    .get_result(connection)
    .optional()?;
    Ok(found.map(|found| found.index as u64))
}

/// The indexes of a run's entries, in the order of `seq`, as far as they have one.
pub fn indexes_of_run(connection: &mut PgConnection, run_id: i64) -> Result<Vec<u64>, StoreError> {
    let ranges: Vec<Range> = log_ranges::table
        .filter(log_ranges::run_id.eq(run_id).and(log_ranges::stream.eq(0)))
        .order(log_ranges::first_seq)
        .load(connection)?;
    let all = ranges.iter().flat_map(|range| range.first_index..range.first_index + range.entries);
    Ok(all.map(|index| index as u64).collect())
}

/// Whether the log has this entry.
pub fn is_there(connection: &mut PgConnection, (run, stream, seq): EntryKey) -> Result<bool, StoreError> {
    let entry = activity_log::table.find((run, stream, seq));
    Ok(diesel::select(diesel::dsl::exists(entry)).get_result(connection)?)
}

/// The entry that has this index. None: there is no such entry.
pub fn entry_at(connection: &mut PgConnection, index: u64) -> Result<Option<EntryKey>, StoreError> {
    let range: Option<Range> = log_ranges::table
        .filter(log_ranges::first_index.le(index as i64))
        .order(log_ranges::first_index.desc())
        .first(connection)
        .optional()?;
    let passed = |range: &Range| index as i64 - range.first_index;
    let range = range.filter(|range| passed(range) < range.entries);
    Ok(range.map(|range| (range.run_id, range.stream, range.first_seq + passed(&range))))
}

/// When the entry with this index was written. None: there is no such entry.
pub fn waits_since(connection: &mut PgConnection, index: u64) -> Result<Option<DateTime<Utc>>, StoreError> {
    #[derive(QueryableByName)]
    struct Written {
        #[diesel(sql_type = Timestamptz)]
        t: DateTime<Utc>,
    }
    let found: Option<Written> = diesel::sql_query(
        "SELECT a.t FROM (SELECT * FROM log_ranges WHERE first_index <= $1 ORDER BY first_index DESC LIMIT 1) r
         JOIN activity_log a ON a.run_id = r.run_id AND a.stream = r.stream AND a.seq = r.first_seq + $1 - r.first_index
         WHERE $1 < r.first_index + r.entries",
    )
    .bind::<BigInt, _>(index as i64)
    .get_result(connection)
    .optional()?;
    Ok(found.map(|found| found.t))
}

/// Reads nodes of the tree, each tile once.
pub fn nodes(connection: &mut PgConnection) -> impl Nodes<Error = TileError<StoreError>> {
    TileReader::new(move |id| tile(connection, id))
}

/// The root over the first `size` entries.
pub fn root_at(connection: &mut PgConnection, size: u64) -> Result<Hash, StoreError> {
    Ok(tree::root(&mut nodes(connection), size)?)
}

impl From<TileError<StoreError>> for StoreError {
    fn from(error: TileError<StoreError>) -> StoreError {
        match error {
            TileError::Read(error) => error,
            TileError::TooNarrow(_) => StoreError::Corrupt(error.to_string()),
        }
    }
}

/// How many entries the bundle with this index has in a tree of `size` entries.
pub fn entries_in_bundle(index: u64, size: u64) -> u64 {
    size.saturating_sub(index.saturating_mul(TILE_WIDTH)).min(TILE_WIDTH)
}
