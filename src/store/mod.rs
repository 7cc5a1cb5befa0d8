//! The only user of the database: reads by noun, writes for the committer, and how the database itself comes up.
//!
//! Order at start: [`embedded`] (when no `DATABASE_URL` is given) → [`bootstrap`] → [`migrate`] → [`pool`].
//! Never decides what may happen to a run: that is the engine's.

pub mod agency;
pub mod approvals;
pub mod archive;
pub mod backup;
pub mod batch;
pub mod bootstrap;
pub mod conninfo;
pub mod disclosures;
pub mod embedded;
pub mod error;
pub mod events;
pub mod health;
pub mod instances;
pub mod lineage;
pub mod log;
pub mod log_search;
pub mod migrate;
pub mod notices;
pub mod overrides;
pub mod pool;
pub mod pooler;
pub mod protocols;
pub mod raw_log;
pub mod redactions;
pub mod registry;
pub mod replica;
pub mod restore;
pub mod runs;
pub mod schedules;
pub mod schema;
mod sequences;
pub mod sessions;
pub mod settings;
pub mod slots;
pub mod start_keys;
pub mod subruns;
pub mod tape;
pub mod timers;
pub mod token_keys;
pub mod tree;
pub mod users;
pub mod work;

pub use pool::Pool;

/// One connection to the database.
pub type Connection = diesel::PgConnection;

/// Reads several things as they were at one moment, and changes nothing.
pub fn snapshot<T, E: From<diesel::result::Error>>(
    connection: &mut Connection,
    work: impl FnOnce(&mut Connection) -> Result<T, E>,
) -> Result<T, E> {
    connection.build_transaction().repeatable_read().read_only().run(work)
}

/// Does all of it or nothing: an error rolls back.
pub fn transaction<T>(
    connection: &mut Connection,
    work: impl FnOnce(&mut Connection) -> Result<T, error::StoreError>,
) -> Result<T, error::StoreError> {
    diesel::Connection::transaction(connection, work)
}
