//! Connections to the database, each with the settings that keep a frozen instance from harming the others.
//!
//! `Pool::get` blocks: take connections inside `web::block` or on a thread of your own.

use super::conninfo::Conninfo;
use super::error::StoreError;
use diesel::connection::{CacheSize, SimpleConnection};
use diesel::r2d2::{self, ConnectionManager, CustomizeConnection, HandleError};
use diesel::{Connection, PgConnection};
use std::time::Duration;

pub type Pool = r2d2::Pool<ConnectionManager<PgConnection>>;

/// The setting that holds the app's connection string.
pub const APP_VARIABLE: &str = "DATABASE_URL";
/// The setting that holds the connection string of the login that migrates.
pub(super) const OWNER_VARIABLE: &str = "HMS_ACT_OWNER_DATABASE_URL";
/// The setting that holds the connection string of a pooler.
pub const POOLED_VARIABLE: &str = "HMS_ACT_POOLED_DATABASE_URL";

/// The setting that holds the connection string of a replica.
pub const READ_VARIABLE: &str = "HMS_ACT_READ_DATABASE_URL";

/// How long a caller waits for a free connection before it is told that the database is busy.
const WAIT: Duration = Duration::from_secs(5);

/// The same for a replica: then the primary is asked.
const REPLICA_WAIT: Duration = Duration::from_secs(1);

/// libpq's side: notice a dead server, and do not wait forever for one.
const CLIENT_SETTINGS: [(&str, &str); 6] = [
    ("application_name", "hms-act"),
    ("connect_timeout", "10"),
    ("keepalives_idle", "10"),
    ("keepalives_interval", "5"),
    ("keepalives_count", "3"),
    ("tcp_user_timeout", "30000"),
];

/// For a replica, beside which there is always the primary: it is given up soon.
const REPLICA_SETTINGS: [(&str, &str); 6] = [
    ("application_name", "hms-act"),
    ("connect_timeout", "2"),
    ("keepalives_idle", "5"),
    ("keepalives_interval", "1"),
    ("keepalives_count", "2"),
    ("tcp_user_timeout", "3000"),
];

/// The server's side: an instance that freezes or vanishes in a transaction loses its locks within seconds.
const SESSION_SETTINGS: &str = "SET idle_in_transaction_session_timeout = '3s'; \
     SET tcp_keepalives_idle = 10; SET tcp_keepalives_interval = 5; SET tcp_keepalives_count = 3; \
     SET timezone = 'UTC'";

/// A statement for a page or a call takes milliseconds; half a minute means that something is wrong.
const STATEMENT_LIMIT: &str = "SET statement_timeout = '30s'";

/// Of the login itself ([`LOGIN_SETTINGS`]).
const NO_STATEMENT_LIMIT: &str = "SET statement_timeout = 0";

/// The same for the app's login as such: behind a pooler a session is nobody's, and none of it may be set there. A
/// connection of our own that needs another value sets it.
pub(super) const LOGIN_SETTINGS: [(&str, &str); 3] =
    [("idle_in_transaction_session_timeout", "3s"), ("statement_timeout", "30s"), ("TimeZone", "UTC")];

/// A pool of `size` connections as the app's login, all open when it returns: a wrong address is told at start, and
/// no connection is being made in the background when a short command ends (the TLS library does not survive that).
pub fn pool(app_url: &str, size: u32) -> Result<Pool, StoreError> {
    build(APP_VARIABLE, app_url, size, Box::new(Settings))
}

/// The same through a pooler that lends a server connection for one transaction only: nothing is prepared and nothing is
/// set there, for the next statement may run in another session.
pub fn pooled(pooled_url: &str, size: u32) -> Result<Pool, StoreError> {
    build(POOLED_VARIABLE, pooled_url, size, Box::new(NothingPrepared))
}

fn build(
    variable: &str,
    url: &str,
    size: u32,
    customizer: Box<dyn CustomizeConnection<PgConnection, r2d2::Error>>,
) -> Result<Pool, StoreError> {
    let conninfo = parse(variable, url)?;
    open(variable, &conninfo)?;
    let manager = ConnectionManager::new(conninfo.with_defaults(&CLIENT_SETTINGS));
    let pool = r2d2::Pool::builder()
        .max_size(size)
        .connection_timeout(WAIT)
        .connection_customizer(customizer)
        .error_handler(Box::new(OneLine))
        .build(manager)?;
    Ok(pool)
}

/// One connection with the settings of the pool's, but for the limit on a statement: for the committer, listeners
/// and long exports.
pub fn connect(app_url: &str) -> Result<PgConnection, StoreError> {
    let mut connection = open(APP_VARIABLE, &parse(APP_VARIABLE, app_url)?)?;
    connection.batch_execute(&format!("{SESSION_SETTINGS}; {NO_STATEMENT_LIMIT}"))?;
    Ok(connection)
}

/// One connection through the pooler.
pub fn connect_pooled(pooled_url: &str) -> Result<PgConnection, StoreError> {
    let mut connection = open(POOLED_VARIABLE, &parse(POOLED_VARIABLE, pooled_url)?)?;
    connection.set_prepared_statement_cache_size(CacheSize::Disabled);
    Ok(connection)
}

/// A pool of at most `size` connections to a replica, none of which is open when it returns: it may be away. `check` is
/// asked of each.
pub(super) fn replicated(
    read_url: &str,
    size: u32,
    check: impl Fn(&mut PgConnection) -> Result<(), StoreError> + Send + Sync + 'static,
) -> Result<Pool, StoreError> {
    let manager = ConnectionManager::new(parse(READ_VARIABLE, read_url)?.with_defaults(&REPLICA_SETTINGS));
    Ok(r2d2::Pool::builder()
        .max_size(size)
        .min_idle(Some(0))
        .connection_timeout(REPLICA_WAIT)
        .connection_customizer(Box::new(Checked(Box::new(check))))
        // Whoever asked says so, once.
        .error_handler(Box::new(r2d2::NopErrorHandler))
        .build_unchecked(manager))
}

/// One connection to a replica, with the settings of [`connect`].
pub fn connect_to_replica(read_url: &str) -> Result<PgConnection, StoreError> {
    let conninfo = parse(READ_VARIABLE, read_url)?;
    let mut connection = PgConnection::establish(&conninfo.with_defaults(&REPLICA_SETTINGS))
        .map_err(|error| StoreError::unreachable(READ_VARIABLE, &conninfo, &error))?;
    connection.batch_execute(&format!("{SESSION_SETTINGS}; {NO_STATEMENT_LIMIT}"))?;
    Ok(connection)
}

/// One connection as the owner's login, for the bootstrap and the migrations.
pub(super) fn connect_as_owner(owner_url: &str) -> Result<PgConnection, StoreError> {
    let mut connection = open(OWNER_VARIABLE, &parse(OWNER_VARIABLE, owner_url)?)?;
    connection.batch_execute("SET timezone = 'UTC'; SET client_min_messages = 'warning'")?;
    Ok(connection)
}

fn parse(variable: &str, url: &str) -> Result<Conninfo, StoreError> {
    Conninfo::parse(url).map_err(|error| StoreError::unreadable(variable, &error))
}

fn open(variable: &str, conninfo: &Conninfo) -> Result<PgConnection, StoreError> {
    PgConnection::establish(&conninfo.with_defaults(&CLIENT_SETTINGS))
        .map_err(|error| StoreError::unreachable(variable, conninfo, &error))
}

/// Tells of a failed connection in one line, whatever number of hosts was tried.
#[derive(Debug)]
struct OneLine;

impl HandleError<r2d2::Error> for OneLine {
    fn handle_error(&self, error: r2d2::Error) {
        let lines = error.to_string();
        let line = lines.lines().map(str::trim).collect::<Vec<_>>().join("; ");
        tracing::warn!(error = %line, "a connection to the database could not be made");
    }
}

#[derive(Debug)]
struct Settings;

impl CustomizeConnection<PgConnection, r2d2::Error> for Settings {
    fn on_acquire(&self, connection: &mut PgConnection) -> Result<(), r2d2::Error> {
        let settings = format!("{SESSION_SETTINGS}; {STATEMENT_LIMIT}");
        connection.batch_execute(&settings).map_err(r2d2::Error::QueryError)
    }
}

type Check = Box<dyn Fn(&mut PgConnection) -> Result<(), StoreError> + Send + Sync>;

struct Checked(Check);

impl std::fmt::Debug for Checked {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Checked")
    }
}

impl CustomizeConnection<PgConnection, r2d2::Error> for Checked {
    fn on_acquire(&self, connection: &mut PgConnection) -> Result<(), r2d2::Error> {
        let refused = |error: StoreError| {
            r2d2::Error::ConnectionError(diesel::ConnectionError::BadConnection(error.to_string()))
        };
        (self.0)(connection).map_err(refused)?;
        Settings.on_acquire(connection)
    }
}

#[derive(Debug)]
struct NothingPrepared;

impl CustomizeConnection<PgConnection, r2d2::Error> for NothingPrepared {
    fn on_acquire(&self, connection: &mut PgConnection) -> Result<(), r2d2::Error> {
        connection.set_prepared_statement_cache_size(CacheSize::Disabled);
        Ok(())
    }
}
