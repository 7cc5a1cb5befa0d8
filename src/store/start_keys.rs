//! The keys under which runs were started. Written by [`super::batch`], with the run.

use super::batch::StartKey;
use super::error::StoreError;
use super::schema::{runs, start_keys};
use diesel::prelude::*;

/// The run that somebody started under a key, and whether it was with the same body.
pub fn find(connection: &mut PgConnection, key: &StartKey) -> Result<Option<(i64, bool)>, StoreError> {
    let found: Option<(i64, Vec<u8>, Option<Vec<u8>>)> = start_keys::table
        .left_join(runs::table)
        .filter(start_keys::actor.eq(&key.actor).and(start_keys::key.eq(&key.key)))
        .select((start_keys::run_id, start_keys::body_hash, runs::salt.nullable()))
        .first(connection)
        .optional()?;
    Ok(found.map(|(run, hash, salt)| (run, key.is_of(&hash, salt.as_deref()))))
}
