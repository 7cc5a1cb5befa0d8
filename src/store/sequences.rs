//! Numbers from the database's sequences.

use super::error::StoreError;
use diesel::prelude::*;
use diesel::sql_types::{BigInt, Text};

/// Draws numbers that nobody else gets.
pub(super) fn draw(
    connection: &mut PgConnection,
    sequence: &str,
    count: i64,
) -> Result<Vec<i64>, StoreError> {
    #[derive(QueryableByName)]
    struct Drawn {
        #[diesel(sql_type = BigInt)]
        id: i64,
    }
    let rows: Vec<Drawn> =
        diesel::sql_query("SELECT nextval($1::regclass) AS id FROM generate_series(1, $2)")
            .bind::<Text, _>(sequence)
            .bind::<BigInt, _>(count)
            .load(connection)?;
    Ok(rows.into_iter().map(|row| row.id).collect())
}

/// Moves a sequence forward, never back.
pub(super) fn begin_at(connection: &mut PgConnection, sequence: &str, first: i64) -> Result<(), StoreError> {
    diesel::sql_query(
        "SELECT setval($1::regclass, $2 - 1) FROM pg_sequences
         WHERE sequencename = $1 AND coalesce(last_value, 0) < $2 - 1",
    )
    .bind::<Text, _>(sequence)
    .bind::<BigInt, _>(first)
    .execute(connection)?;
    Ok(())
}
