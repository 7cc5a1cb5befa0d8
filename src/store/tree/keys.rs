//! The public keys that sign the log's heads: one is active, those before it are retired.

use super::super::error::StoreError;
use super::super::schema::log_keys;
use chrono::{DateTime, Utc};
use diesel::prelude::*;

/// A key's public half.
#[derive(Debug, Clone, PartialEq, Eq, Queryable)]
pub struct LogKey {
    /// `<name>+<id>+<key>` (C2SP signed-note).
    pub vkey: String,
    pub added_at: DateTime<Utc>,
    pub retired_at: Option<DateTime<Utc>>,
}

/// All of them, the active one first, then the latest retired.
pub fn all(connection: &mut PgConnection) -> Result<Vec<LogKey>, StoreError> {
    Ok(log_keys::table.order((log_keys::retired_at.desc(), log_keys::added_at.desc())).load(connection)?)
}

/// Makes this the log's key if it has none. Within a [`super::turn`]. True: it was made so just now.
pub fn claim(connection: &mut PgConnection, vkey: &str) -> Result<bool, StoreError> {
    let added = diesel::insert_into(log_keys::table)
        .values(log_keys::vkey.eq(vkey))
        .on_conflict_do_nothing()
        .execute(connection)?;
    Ok(added > 0)
}

/// Retires the active key and makes another the active one. Within a [`super::turn`].
pub fn rotate(connection: &mut PgConnection, vkey: &str) -> Result<(), StoreError> {
    let now =
        diesel::dsl::sql::<diesel::sql_types::Nullable<diesel::sql_types::Timestamptz>>("clock_timestamp()");
    diesel::update(log_keys::table.filter(log_keys::retired_at.is_null()))
        .set(log_keys::retired_at.eq(now))
        .execute(connection)?;
    diesel::insert_into(log_keys::table).values(log_keys::vkey.eq(vkey)).execute(connection)?;
    Ok(())
}
