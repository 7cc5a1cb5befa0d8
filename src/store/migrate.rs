//! Bringing the tables up to date, as the owner, and checking at start that the app can and cannot do what it should.
//!
//! The migrations are part of the program. (A new directory under `migrations/` is seen when this file is compiled.)
//!
//! **A migration only adds.** The instances of the version before run on while it is made, and after it until they are
//! replaced one by one: what they insert must still fit, so a new column is nullable or has a default; what they read
//! must still be there, so what nothing uses any more is dropped by the migration of the next version. A large table is
//! locked for a moment at most: an index on one is made `CONCURRENTLY`, by a migration of its own whose `metadata.toml`
//! says `run_in_transaction = false`. `tests/schema.rs` looks at every new one.

use super::bootstrap::OWNER;
use super::error::StoreError;
use super::pool::{connect, connect_as_owner};
use diesel::connection::SimpleConnection;
use diesel::migration::{Migration, MigrationSource};
use diesel::pg::Pg;
use diesel::sql_types::{Bool, Text};
use diesel::{PgConnection, QueryableByName, RunQueryDsl, sql_query};
use diesel_migrations::{EmbeddedMigrations, MigrationHarness, embed_migrations};
use std::collections::{BTreeMap, BTreeSet};

const MIGRATIONS: EmbeddedMigrations = embed_migrations!("migrations");

#[derive(Debug, thiserror::Error)]
pub enum MigrateError {
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A migration failed; it was rolled back, those before it stay.
    #[error("a migration failed: {0}")]
    Migration(String),
}

impl From<diesel::result::Error> for MigrateError {
    fn from(error: diesel::result::Error) -> Self {
        MigrateError::Store(error.into())
    }
}

/// Runs what is pending, and returns how many migrations that was. Needs [`super::bootstrap::prepare`] before it.
/// Of two instances that start at once, the second waits and then finds nothing to do.
pub fn run(owner_url: &str) -> Result<usize, MigrateError> {
    let mut connection = connect_as_owner(owner_url)?;
    // The locks end with the connection. Every table belongs to the owner, which cannot log in. A migration that waits
    // for a table behind a long question makes everybody else wait behind it: it gives up, and is run again later.
    connection.batch_execute(&format!(
        "SELECT pg_advisory_lock(hashtext('hms_act.migrate'));
         SET ROLE {OWNER};
         SET search_path = public;
         SET lock_timeout = '5s';"
    ))?;
    let ran = connection.run_pending_migrations(MIGRATIONS);
    let count = ran.map_err(|error| failed(&error.to_string()))?.len();
    // The app refuses to start on old tables, so it must see which migrations ran.
    connection.batch_execute(
        "GRANT SELECT ON __diesel_schema_migrations TO hms_act_app, hms_act_sequencer, hms_act_auditor",
    )?;
    Ok(count)
}

fn failed(told: &str) -> MigrateError {
    let mut told = super::error::one_line(told);
    if told.contains("lock timeout") {
        told.push_str(". A table was in use for too long; run `hms-act migrate` again");
    }
    MigrateError::Migration(told)
}

/// The names of the migrations that this program has and the database has not. Changes nothing.
pub fn pending(app_url: &str) -> Result<Vec<String>, StoreError> {
    let (applied, all) = (applied(app_url)?, known()?);
    let missing = all.into_iter().filter(|(version, _)| !applied.contains(version));
    Ok(missing.map(|(_, name)| name).collect())
}

/// How many migrations the database has that this program has not: a newer version made them. They only add.
pub fn newer(app_url: &str) -> Result<usize, StoreError> {
    let known = known()?;
    Ok(applied(app_url)?.iter().filter(|version| !known.contains_key(*version)).count())
}

/// The migrations of this program: name by version.
fn known() -> Result<BTreeMap<String, String>, StoreError> {
    let all: Vec<Box<dyn Migration<Pg>>> =
        MIGRATIONS.migrations().map_err(|error| StoreError::Corrupt(error.to_string()))?;
    let named = all.iter().map(|migration| {
        let name = migration.name();
        (name.version().to_string(), name.to_string())
    });
    Ok(named.collect())
}

/// The versions of the migrations that the database has.
fn applied(app_url: &str) -> Result<BTreeSet<String>, StoreError> {
    #[derive(QueryableByName)]
    struct Version {
        #[diesel(sql_type = Text)]
        version: String,
    }
    let mut connection = connect(app_url)?;
    if !table_exists(&mut connection)? {
        return Ok(BTreeSet::new());
    }
    let query = sql_query("SELECT version FROM public.__diesel_schema_migrations");
    Ok(query.load::<Version>(&mut connection)?.into_iter().map(|row| row.version).collect())
}

fn table_exists(connection: &mut PgConnection) -> Result<bool, StoreError> {
    #[derive(QueryableByName)]
    struct Exists {
        #[diesel(sql_type = Bool)]
        it: bool,
    }
    let query = sql_query("SELECT to_regclass('public.__diesel_schema_migrations') IS NOT NULL AS it");
    Ok(query.get_result::<Exists>(connection)?.it)
}

/// What a login that serves must not be able to do; each row that comes back is one reason to refuse it.
const TOO_MUCH: &str = "
    WITH me AS (SELECT * FROM pg_roles WHERE rolname = current_user),
    log AS (SELECT inhrelid AS id FROM pg_inherits WHERE inhparent = 'public.activity_log'::regclass
            UNION SELECT 'public.activity_log'::regclass)
    SELECT 'is a superuser' AS reason FROM me WHERE rolsuper
    UNION ALL SELECT 'may make roles, and so give itself any' FROM me WHERE rolcreaterole
    UNION ALL SELECT format('is a member of %s, which owns the log', owner)
        FROM (SELECT DISTINCT c.relowner::regrole AS owner FROM log JOIN pg_class c ON c.oid = log.id) owners
        WHERE owner::text <> 'hms_act_owner' AND pg_has_role(current_user, owner::oid, 'MEMBER')
    UNION ALL SELECT 'is a member of hms_act_owner' FROM pg_roles r
        WHERE r.rolname = 'hms_act_owner' AND pg_has_role(current_user, r.oid, 'MEMBER')
    UNION ALL SELECT 'owns the database' FROM pg_database d
        WHERE d.datname = current_database() AND pg_has_role(current_user, d.datdba, 'MEMBER')
    UNION ALL SELECT 'owns the schema public' FROM pg_namespace n
        WHERE n.nspname = 'public' AND pg_has_role(current_user, n.nspowner, 'MEMBER')
    UNION ALL SELECT format('may change or empty %s', id::regclass) FROM log
        WHERE has_table_privilege(id, 'UPDATE, DELETE, TRUNCATE, TRIGGER') OR has_any_column_privilege(id, 'UPDATE')";

/// Whether the login of the connection, which the setting `variable` names, can only add to the log. The error names
/// everything that it could do beyond, in one line. Asked at every start.
pub fn app_role_cannot_alter_log(connection: &mut PgConnection, variable: &str) -> Result<(), String> {
    #[derive(QueryableByName)]
    struct TooMuch {
        #[diesel(sql_type = Text)]
        reason: String,
    }
    let found = sql_query(TOO_MUCH).load::<TooMuch>(connection);
    let found = found.map_err(|error| format!("cannot check the rights on the activity log: {error}"))?;
    if found.is_empty() {
        return Ok(());
    }
    let reasons: Vec<String> = found.into_iter().map(|row| row.reason).collect();
    Err(format!(
        "the login of {variable} could alter the activity log, because it {}: use a login that is only a member \
         of hms_act_app (hms-act migrate makes one)",
        reasons.join(", ")
    ))
}
