//! Signed heads of the log.

use super::super::error::StoreError;
use super::super::schema::log_checkpoints;
use crate::audit::Hash;
use chrono::{DateTime, Utc};
use diesel::prelude::*;

/// A head that was signed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SignedHead {
    pub size: u64,
    pub root: Hash,
    /// The signed note, as it is served.
    pub note: String,
    pub signed_at: DateTime<Utc>,
}

type Row = (i64, Vec<u8>, String, DateTime<Utc>);

fn head((size, root, note, signed_at): Row) -> Result<SignedHead, StoreError> {
    let damaged = |_| StoreError::Corrupt(format!("the checkpoint over {size} entries has no root"));
    Ok(SignedHead { size: size as u64, root: root.try_into().map_err(damaged)?, note, signed_at })
}

/// The newest one. None: nothing was signed yet.
pub fn latest(connection: &mut PgConnection) -> Result<Option<SignedHead>, StoreError> {
    let row: Option<Row> =
        log_checkpoints::table.order(log_checkpoints::size.desc()).first(connection).optional()?;
    row.map(head).transpose()
}

/// The first one that covers the entry with this index. It is the same ever after, once it is old enough to be among
/// those that [`thin`] leaves.
pub fn covering(connection: &mut PgConnection, index: u64) -> Result<Option<SignedHead>, StoreError> {
    Ok(after(connection, Some(index), 1)?.into_iter().next())
}

/// Those over more than `after` entries, smallest first.
pub fn after(
    connection: &mut PgConnection,
    after: Option<u64>,
    limit: i64,
) -> Result<Vec<SignedHead>, StoreError> {
    let mut query = log_checkpoints::table.order(log_checkpoints::size.asc()).limit(limit).into_boxed();
    if let Some(size) = after {
        query = query.filter(log_checkpoints::size.gt(size as i64));
    }
    query.load::<Row>(connection)?.into_iter().map(head).collect()
}

/// Of the heads that were signed more than a day ago, the last one of each hour stays: it covers what those before it
/// covered, and whoever has one of them proves it against the tree as ever. Within a [`super::turn`].
pub fn thin(connection: &mut PgConnection) -> Result<(), StoreError> {
    diesel::sql_query("SELECT thin_log_checkpoints()").execute(connection)?;
    Ok(())
}

/// Keeps a head. Within a [`super::turn`]. One of the same size is kept already: it has the same root, or the signer
/// would have refused.
pub fn keep(connection: &mut PgConnection, size: u64, root: &Hash, note: &str) -> Result<(), StoreError> {
    diesel::insert_into(log_checkpoints::table)
        .values((
            log_checkpoints::size.eq(size as i64),
            log_checkpoints::root.eq(root.as_slice()),
            log_checkpoints::note.eq(note),
        ))
        .on_conflict_do_nothing()
        .execute(connection)?;
    Ok(())
}
