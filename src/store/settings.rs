//! Facts about this deployment that never change once they are written.

use super::error::StoreError;
use super::schema::settings;
use diesel::prelude::*;

/// The stored value of a setting; `proposed` becomes it when there is none yet.
pub fn settle(connection: &mut PgConnection, key: &str, proposed: &str) -> Result<String, StoreError> {
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
