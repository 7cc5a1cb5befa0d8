//! Browser sessions. Only the SHA-256 of a session's key is stored, so that a copy of the table opens nothing.
//!
//! Owns the expiry rules, on the database's clock. Never knows what is inside `state`.

use super::Connection;
use super::schema::sessions;
use diesel::prelude::*;
use diesel::sql_types::{Bytea, Jsonb, Nullable, Text};
use serde_json::Value;

/// The state of a session that has not expired, and keeps it alive: a signed-in session ends 8 hours after its last
/// request and 12 hours after sign-in, whichever is first.
pub fn load(conn: &mut Connection, key_hash: &[u8]) -> QueryResult<Option<Value>> {
    #[derive(QueryableByName)]
    struct Row {
        #[diesel(sql_type = Jsonb)]
        state: Value,
        #[diesel(sql_type = diesel::sql_types::Bool)]
        touch: bool,
    }
    // At most one write a minute, however many requests a page makes.
    let row: Option<Row> = diesel::sql_query(
        "SELECT state, user_name IS NOT NULL AND last_seen_at < now() - interval '1 minute' AS touch
           FROM sessions WHERE key_hash = $1 AND expires_at > now()",
    )
    .bind::<Bytea, _>(key_hash)
    .get_result(conn)
    .optional()?;
    let Some(row) = row else { return Ok(None) };
    if row.touch {
        diesel::sql_query(
            "UPDATE sessions SET last_seen_at = now(),
                    expires_at = least(now() + interval '8 hours', created_at + interval '12 hours')
              WHERE key_hash = $1 AND expires_at > now()",
        )
        .bind::<Bytea, _>(key_hash)
        .execute(conn)?;
    }
    Ok(Some(row.state))
}

/// Those of these sessions that still live. Unlike [`load`] it keeps nothing alive: an open page is not a person at
/// work.
pub fn living(conn: &mut Connection, key_hashes: &[Vec<u8>]) -> QueryResult<Vec<Vec<u8>>> {
    let asked = sessions::key_hash.eq_any(key_hashes);
    let living = sessions::table.filter(asked).filter(sessions::expires_at.gt(diesel::dsl::now));
    living.select(sessions::key_hash).load(conn)
}

/// A new session. Without a user (somebody looking at the sign-in page) it lives one hour.
pub fn insert(
    conn: &mut Connection,
    key_hash: &[u8],
    user_name: Option<&str>,
    state: &Value,
) -> QueryResult<()> {
    diesel::sql_query(
        "INSERT INTO sessions (key_hash, user_name, state, expires_at)
         VALUES ($1, $2, $3, now() + CASE WHEN $2 IS NULL THEN interval '1 hour' ELSE interval '8 hours' END)",
    )
    .bind::<Bytea, _>(key_hash)
    .bind::<Nullable<Text>, _>(user_name)
    .bind::<Jsonb, _>(state)
    .execute(conn)
    .map(|_| ())
}

/// Replaces the state of a session that still exists: one that was ended meanwhile stays ended. The user of a
/// session never changes (signing in makes a new one).
pub fn update(conn: &mut Connection, key_hash: &[u8], state: &Value) -> QueryResult<()> {
    diesel::update(sessions::table.find(key_hash)).set(sessions::state.eq(state)).execute(conn).map(|_| ())
}

/// Ends one session.
pub fn delete(conn: &mut Connection, key_hash: &[u8]) -> QueryResult<()> {
    diesel::delete(sessions::table.find(key_hash)).execute(conn).map(|_| ())
}

/// Ends all sessions of a user; how many there were.
pub fn delete_of_user(conn: &mut Connection, user_name: &str) -> QueryResult<usize> {
    diesel::delete(sessions::table.filter(sessions::user_name.eq(user_name))).execute(conn)
}

/// Removes what has expired; how many there were.
pub fn purge_expired(conn: &mut Connection) -> QueryResult<usize> {
    diesel::delete(sessions::table.filter(sessions::expires_at.le(diesel::dsl::now))).execute(conn)
}
