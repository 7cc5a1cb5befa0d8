//! The keys under which runs were started. Written by [`super::batch`], with the run.

use super::error::StoreError;
use super::schema::start_keys;
use diesel::prelude::*;

/// The run that somebody started under a key, and the hash of the body that they sent.
pub fn find(
    connection: &mut PgConnection,
    actor: &str,
    key: &str,
) -> Result<Option<(i64, Vec<u8>)>, StoreError> {
    Ok(start_keys::table
        .find((actor, key))
        .select((start_keys::run_id, start_keys::body_hash))
        .first(connection)
        .optional()?)
}
