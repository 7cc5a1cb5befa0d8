//! The registered actions and agents: what a step may call.

use super::error::StoreError;
use crate::engine::command::{Catalog, CatalogEntry, DoneBy};
use crate::engine::state::ProtocolRef;
use chrono::{DateTime, Utc};
use diesel::prelude::*;
use diesel::sql_types::BigInt;
use serde_json::{Value, json};
use std::collections::HashMap;

/// Name of the action that is built in: its result is its resolved `with`.
pub const COMPUTE: &str = "compute";
/// The kind of an action that workers claim.
pub const WORKER: &str = "worker";

#[derive(Debug, Clone, PartialEq)]
pub struct Registered {
    pub name: String,
    pub kind: String,
    pub config: Value,
    pub version: i32,
    pub updated_by: String,
    pub updated_at: DateTime<Utc>,
}

type Row = (String, String, Value, i32, String, DateTime<Utc>);

impl From<Row> for Registered {
    fn from((name, kind, config, version, updated_by, updated_at): Row) -> Registered {
        Registered { name, kind, config, version, updated_by, updated_at }
    }
}

/// The two registries have the same shape; this writes their verbs once.
macro_rules! registry {
    ($table:ident, $noun:literal) => {
        pub mod $table {
            use super::*;

            /// By name.
            pub fn list(connection: &mut PgConnection) -> Result<Vec<Registered>, StoreError> {
                let rows: Vec<Row> = crate::store::schema::$table::table
                    .order(crate::store::schema::$table::name.asc())
                    .load(connection)?;
                Ok(rows.into_iter().map(Registered::from).collect())
            }

            pub fn get(connection: &mut PgConnection, name: &str) -> Result<Option<Registered>, StoreError> {
                let row: Option<Row> =
                    crate::store::schema::$table::table.find(name).first(connection).optional()?;
                Ok(row.map(Registered::from))
            }

            /// `Conflict` when the name is taken.
            pub fn create(
                connection: &mut PgConnection,
                name: &str,
                kind: &str,
                config: &Value,
                by: &str,
            ) -> Result<Registered, StoreError> {
                let row: Option<Row> = diesel::insert_into(crate::store::schema::$table::table)
                    .values((
                        crate::store::schema::$table::name.eq(name),
                        crate::store::schema::$table::kind.eq(kind),
                        crate::store::schema::$table::config.eq(config),
                        crate::store::schema::$table::updated_by.eq(by),
                    ))
                    .on_conflict_do_nothing()
                    .get_result(connection)
                    .optional()?;
                row.map(Registered::from).ok_or_else(|| {
                    StoreError::Conflict(format!(
                        "There is already an {} named {name:?}. Change that one.",
                        $noun
                    ))
                })
            }

            /// A new version in place of the old; None when there is no such name. `Overtaken` when `expected`
            /// is not the version that is replaced.
            pub fn update(
                connection: &mut PgConnection,
                name: &str,
                expected: Option<i32>,
                kind: &str,
                config: &Value,
                by: &str,
            ) -> Result<Option<Registered>, StoreError> {
                connection.transaction(|connection| {
                    let found: Option<Row> = crate::store::schema::$table::table
                        .find(name)
                        .for_update()
                        .first(connection)
                        .optional()?;
                    let Some(found) = found.map(Registered::from) else { return Ok(None) };
                    if expected.is_some_and(|expected| expected != found.version) {
                        return Err(StoreError::Overtaken { latest: found.version });
                    }
                    let row: Row = diesel::update(crate::store::schema::$table::table.find(name))
                        .set((
                            crate::store::schema::$table::kind.eq(kind),
                            crate::store::schema::$table::config.eq(config),
                            crate::store::schema::$table::version.eq(found.version + 1),
                            crate::store::schema::$table::updated_by.eq(by),
                            crate::store::schema::$table::updated_at.eq(diesel::dsl::now),
                        ))
                        .get_result(connection)?;
                    Ok(Some(row.into()))
                })
            }
        }
    };
}

registry!(actions, "action");
registry!(agents, "agent");

/// Rises with every change of what a [`Snapshot`] holds: versions only rise, and nothing is ever removed.
pub fn revision(connection: &mut PgConnection) -> Result<i64, StoreError> {
    #[derive(QueryableByName)]
    struct Revision {
        #[diesel(sql_type = BigInt)]
        revision: i64,
    }
    let read: Revision = diesel::sql_query(
        "SELECT (SELECT coalesce(sum(version), 0) FROM actions)
              + (SELECT coalesce(sum(version), 0) FROM agents)
              + (SELECT coalesce(sum(latest_version), 0) FROM protocols) AS revision",
    )
    .get_result(connection)?;
    Ok(read.revision)
}

/// Everything registered, as it was at one moment.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Snapshot {
    /// Of before it was read: what was changed meanwhile makes it be read again.
    revision: i64,
    actions: HashMap<String, Registered>,
    agents: HashMap<String, Registered>,
    /// The latest version of each protocol, by its name.
    protocols: HashMap<String, ProtocolRef>,
    protocol_names: HashMap<i64, String>,
}

impl Snapshot {
    pub fn read(connection: &mut PgConnection) -> Result<Snapshot, StoreError> {
        let revision = revision(connection)?;
        let by_name = |rows: Vec<Registered>| rows.into_iter().map(|row| (row.name.clone(), row)).collect();
        let mut actions: HashMap<String, Registered> = by_name(actions::list(connection)?);
        actions.entry(COMPUTE.to_owned()).or_insert_with(built_in_compute);
        let agents = by_name(agents::list(connection)?);
        let latest = super::protocols::latest(connection)?;
        let protocol_names = latest.iter().map(|protocol| (protocol.id, protocol.name.clone())).collect();
        let protocols = latest.into_iter().map(|protocol| (protocol.name.clone(), protocol)).collect();
        Ok(Snapshot { revision, actions, agents, protocols, protocol_names })
    }

    /// See [`revision`].
    pub fn revision(&self) -> i64 {
        self.revision
    }

    pub fn action(&self, name: &str) -> Option<&Registered> {
        self.actions.get(name)
    }

    pub fn agent(&self, name: &str) -> Option<&Registered> {
        self.agents.get(name)
    }
}

fn built_in_compute() -> Registered {
    Registered {
        name: COMPUTE.to_owned(),
        kind: COMPUTE.to_owned(),
        config: json!({}),
        version: 1,
        updated_by: "HMS-ACT".to_owned(),
        updated_at: DateTime::UNIX_EPOCH,
    }
}

impl Catalog for Snapshot {
    fn action(&self, name: &str) -> Option<CatalogEntry> {
        let found = self.actions.get(name)?;
        let done_by = match found.kind.as_str() {
            COMPUTE => DoneBy::Engine,
            WORKER => DoneBy::Worker,
            _ => DoneBy::Instance,
        };
        Some(CatalogEntry { version: found.version, done_by })
    }

    fn agent(&self, name: &str) -> Option<CatalogEntry> {
        self.agents.get(name).map(|found| CatalogEntry { version: found.version, done_by: DoneBy::Instance })
    }

    fn protocol(&self, name: &str) -> Option<ProtocolRef> {
        let by_id = || self.protocol_names.get(&name.parse().ok()?);
        self.protocols.get(name).or_else(|| self.protocols.get(by_id()?)).cloned()
    }
}
