//! Protocols and their versions. A version, once written, never changes.

use super::error::StoreError;
use super::schema::{protocol_versions, protocols};
use crate::engine::protocol::Protocol;
use crate::engine::state::ProtocolRef;
use chrono::{DateTime, Utc};
use diesel::prelude::*;
use serde_json::Value;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

#[derive(Debug, Clone, PartialEq, Queryable, Selectable)]
#[diesel(table_name = protocols)]
pub struct ProtocolRow {
    pub id: i64,
    pub name: String,
    pub latest_version: i32,
    pub created_by: String,
    pub created_at: DateTime<Utc>,
    pub updated_at: DateTime<Utc>,
}

#[derive(Debug, Clone, PartialEq, Queryable, Selectable)]
#[diesel(table_name = protocol_versions)]
pub struct VersionRow {
    pub protocol_id: i64,
    pub version: i32,
    pub definition: Value,
    pub created_by: String,
    pub created_at: DateTime<Utc>,
}

/// A version in a list, without what it says.
#[derive(Debug, Clone, PartialEq, Queryable, Selectable)]
#[diesel(table_name = protocol_versions)]
pub struct VersionEntry {
    pub version: i32,
    pub created_by: String,
    pub created_at: DateTime<Utc>,
}

/// Parsed versions. They never change, so nothing here is ever stale.
#[derive(Debug, Default)]
pub struct ProtocolCache {
    parsed: Mutex<HashMap<(i64, i32), Arc<Protocol>>>,
}

impl ProtocolCache {
    pub fn get(
        &self,
        connection: &mut PgConnection,
        id: i64,
        version: i32,
    ) -> Result<Arc<Protocol>, StoreError> {
        let lock = || self.parsed.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(parsed) = lock().get(&(id, version)) {
            return Ok(Arc::clone(parsed));
        }
        let row = super::protocols::version(connection, id, version)?
            .ok_or_else(|| StoreError::Corrupt(format!("protocol {id} has no version {version}")))?;
        // Whoever published it found nothing wrong with it.
        let parsed = Protocol::parse(&row.definition).map_err(|problems| {
            let place = problems.first().map_or("$", |problem| problem.path.as_str());
            StoreError::Newer(format!("Version {version} of protocol {id} (see {place})"))
        })?;
        let parsed = Arc::new(parsed);
        lock().insert((id, version), Arc::clone(&parsed));
        Ok(parsed)
    }

    /// The same for a list, which goes on without it. None: a newer version of this program published it.
    pub fn get_known(
        &self,
        connection: &mut PgConnection,
        id: i64,
        version: i32,
    ) -> Result<Option<Arc<Protocol>>, StoreError> {
        match self.get(connection, id, version) {
            Ok(protocol) => Ok(Some(protocol)),
            Err(StoreError::Newer(_)) => Ok(None),
            Err(error) => Err(error),
        }
    }
}

/// The latest version of every protocol.
pub fn latest(connection: &mut PgConnection) -> Result<Vec<ProtocolRef>, StoreError> {
    let rows: Vec<(i64, i32, String)> = protocols::table
        .select((protocols::id, protocols::latest_version, protocols::name))
        .load(connection)?;
    Ok(rows.into_iter().map(|(id, version, name)| ProtocolRef { id, version, name }).collect())
}

pub fn get(connection: &mut PgConnection, id: i64) -> Result<Option<ProtocolRow>, StoreError> {
    Ok(protocols::table.find(id).select(ProtocolRow::as_select()).first(connection).optional()?)
}

pub fn version(
    connection: &mut PgConnection,
    id: i64,
    version: i32,
) -> Result<Option<VersionRow>, StoreError> {
    Ok(protocol_versions::table
        .find((id, version))
        .select(VersionRow::as_select())
        .first(connection)
        .optional()?)
}

/// Newest version first, from before `cursor`.
pub fn versions(
    connection: &mut PgConnection,
    id: i64,
    cursor: Option<i32>,
    limit: i64,
) -> Result<Vec<VersionEntry>, StoreError> {
    Ok(protocol_versions::table
        .filter(protocol_versions::protocol_id.eq(id))
        .filter(protocol_versions::version.lt(cursor.unwrap_or(i32::MAX)))
        .order(protocol_versions::version.desc())
        .select(VersionEntry::as_select())
        .limit(limit)
        .load(connection)?)
}

/// By id, from after `cursor`.
pub fn list(
    connection: &mut PgConnection,
    cursor: Option<i64>,
    limit: i64,
) -> Result<Vec<ProtocolRow>, StoreError> {
    Ok(protocols::table
        .filter(protocols::id.gt(cursor.unwrap_or(0)))
        .order(protocols::id.asc())
        .select(ProtocolRow::as_select())
        .limit(limit)
        .load(connection)?)
}

/// A new protocol with its first version. `id`: None draws one. `Conflict` when the name is taken.
pub fn create(
    connection: &mut PgConnection,
    id: Option<i64>,
    name: &str,
    definition: &Value,
    by: &str,
) -> Result<ProtocolRow, StoreError> {
    connection.transaction(|connection| {
        let values =
            (protocols::name.eq(name), protocols::latest_version.eq(1), protocols::created_by.eq(by));
        let insert = diesel::insert_into(protocols::table);
        let inserted: Result<ProtocolRow, _> = match id {
            Some(id) => insert
                .values((protocols::id.eq(id), values))
                .returning(ProtocolRow::as_returning())
                .get_result(connection),
            None => insert.values(values).returning(ProtocolRow::as_returning()).get_result(connection),
        };
        let row = inserted.map_err(|error| name_taken(error, name))?;
        insert_version(connection, row.id, 1, definition, by)?;
        Ok(row)
    })
}

/// The next version. `expected`: the version that the author saw; another latest version is `Overtaken`.
pub fn add_version(
    connection: &mut PgConnection,
    id: i64,
    expected: Option<i32>,
    name: Option<&str>,
    definition: &Value,
    by: &str,
) -> Result<Option<ProtocolRow>, StoreError> {
    connection.transaction(|connection| {
        let found: Option<ProtocolRow> = protocols::table
            .find(id)
            .select(ProtocolRow::as_select())
            .for_update()
            .first(connection)
            .optional()?;
        let Some(found) = found else { return Ok(None) };
        if expected.is_some_and(|expected| expected != found.latest_version) {
            return Err(StoreError::Overtaken { latest: found.latest_version });
        }
        let next = found.latest_version + 1;
        insert_version(connection, id, next, definition, by)?;
        let name = name.unwrap_or(&found.name);
        let row = diesel::update(protocols::table.find(id))
            .set((
                protocols::latest_version.eq(next),
                protocols::name.eq(name),
                protocols::updated_at.eq(diesel::dsl::now),
            ))
            .returning(ProtocolRow::as_returning())
            .get_result(connection)
            .map_err(|error| name_taken(error, name))?;
        Ok(Some(row))
    })
}

fn name_taken(error: diesel::result::Error, name: &str) -> StoreError {
    use diesel::result::{DatabaseErrorKind, Error};
    match error {
        Error::DatabaseError(DatabaseErrorKind::UniqueViolation, _) => {
            StoreError::Conflict(format!("There is already a protocol named {name:?}. Choose another name."))
        }
        other => StoreError::Database(other),
    }
}

fn insert_version(
    connection: &mut PgConnection,
    id: i64,
    version: i32,
    definition: &Value,
    by: &str,
) -> Result<(), StoreError> {
    diesel::insert_into(protocol_versions::table)
        .values((
            protocol_versions::protocol_id.eq(id),
            protocol_versions::version.eq(version),
            protocol_versions::definition.eq(definition),
            protocol_versions::created_by.eq(by),
        ))
        .execute(connection)?;
    Ok(())
}

/// The next protocol gets at least this number.
pub fn begin_ids_at(connection: &mut PgConnection, first: i64) -> Result<(), StoreError> {
    super::sequences::begin_at(connection, "protocols_id_seq", first)
}
