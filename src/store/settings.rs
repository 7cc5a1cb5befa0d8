//! Facts about this deployment that never change once they are written.

use super::error::StoreError;
use super::schema::settings;
use diesel::prelude::*;

/// The stored value of a setting; `proposed` becomes it when there is none yet. Writes nothing when there is one: it is
/// asked on standbys too.
pub fn settle(connection: &mut PgConnection, key: &str, proposed: &str) -> Result<String, StoreError> {
    let stored = settings::table.find(key).select(settings::value);
    if let Some(stored) = stored.first(connection).optional()? {
        return Ok(stored);
    }
    diesel::insert_into(settings::table)
        .values((settings::key.eq(key), settings::value.eq(proposed)))
        .on_conflict_do_nothing()
        .execute(connection)?;
    Ok(settings::table.find(key).select(settings::value).first(connection)?)
}

/// Whether the database answers at all.
pub fn answers(connection: &mut PgConnection) -> Result<(), StoreError> {
    diesel::sql_query("SELECT 1").execute(connection)?;
    Ok(())
}

/// Whether the database takes writes: one that changes nothing (it is rolled back), but would meet a full disk, a
/// read-only standby or a lost privilege.
pub fn can_write(connection: &mut PgConnection, writer: i64) -> Result<(), StoreError> {
    let tried: Result<(), diesel::result::Error> = connection.transaction(|connection| {
        let row = (settings::key.eq(format!("probe.{writer}")), settings::value.eq("x".repeat(8_192)));
        diesel::insert_into(settings::table).values(row).execute(connection)?;
        Err(diesel::result::Error::RollbackTransaction)
    });
    match tried {
        Ok(()) | Err(diesel::result::Error::RollbackTransaction) => Ok(()),
        Err(error) => Err(error.into()),
    }
}
