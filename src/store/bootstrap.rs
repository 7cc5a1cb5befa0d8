//! What must be there before the migrations: the roles (they belong to the whole server, not to one database), the
//! app's login, and who may do what with the database itself.
//!
//! Everything tolerates its own presence. Never gives the app's login anything of the owner.

use super::conninfo::{Conninfo, InvalidConninfo};
use super::error::StoreError;
use super::pool::{LOGIN_SETTINGS, OWNER_VARIABLE, connect_as_owner};
use diesel::connection::SimpleConnection;
use diesel::result::Error;
use diesel::sql_types::{Bool, Text};
use diesel::{Connection, OptionalExtension, PgConnection, QueryableByName, RunQueryDsl, sql_query};

/// Owns every table; cannot log in.
pub const OWNER: &str = "hms_act_owner";
/// What the app may do: INSERT and SELECT on the log, the verbs that it needs on the rest.
pub const APP: &str = "hms_act_app";
const SEQUENCER: &str = "hms_act_sequencer";
const AUDITOR: &str = "hms_act_auditor";

/// Two databases of one server share the roles, and the lock below holds in one database only.
const TRIES: u32 = 10;

/// The login that `DATABASE_URL` names.
#[derive(Clone, PartialEq, Eq)]
pub struct AppLogin {
    pub name: String,
    pub password: Option<String>,
}

impl AppLogin {
    /// None: the connection string names no user.
    pub fn from_url(database_url: &str) -> Result<Option<AppLogin>, InvalidConninfo> {
        let conninfo = Conninfo::parse(database_url)?;
        let password = conninfo.get("password").map(str::to_owned);
        Ok(conninfo.get("user").map(|name| AppLogin { name: name.to_owned(), password }))
    }
}

impl std::fmt::Debug for AppLogin {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "AppLogin({})", self.name)
    }
}

/// Makes what is missing. The login of `owner_url` needs CREATEROLE, unless the roles are there and it is a member
/// of `hms_act_owner`; and the database must be its own, or it must be a superuser.
///
/// Errors: [`StoreError::Connection`], [`StoreError::Privilege`], [`StoreError::Database`]; [`StoreError::Conflict`] when the app's login is the
/// owner's own.
pub fn prepare(owner_url: &str, app_login: Option<&AppLogin>) -> Result<(), StoreError> {
    let mut connection = connect_as_owner(owner_url)?;
    let mut tries = 1;
    loop {
        let result = connection.transaction(|connection| prepare_once(connection, app_login));
        match result {
            Err(StoreError::Database(error)) if made_meanwhile(&error) && tries < TRIES => tries += 1,
            Err(StoreError::Database(error)) if is_refused(&error) => {
                return Err(StoreError::Privilege(format!(
                    "{OWNER_VARIABLE}: this login may not prepare the database ({error}): give it CREATEROLE and \
                     the ownership of the database, or use a superuser"
                )));
            }
            result => return result,
        }
    }
}

fn prepare_once(connection: &mut PgConnection, app_login: Option<&AppLogin>) -> Result<(), StoreError> {
    connection.batch_execute("SELECT pg_advisory_xact_lock(hashtext('hms_act.bootstrap'))")?;
    for role in [OWNER, APP, SEQUENCER, AUDITOR] {
        if !role_exists(connection, role)? {
            connection.batch_execute(&format!("CREATE ROLE {role} NOLOGIN"))?;
        }
    }
    if !can_become_owner(connection)? {
        connection.batch_execute(&format!("GRANT {OWNER} TO CURRENT_USER"))?;
    }
    if let Some(login) = app_login {
        make_login(connection, login)?;
    }
    grant_database(connection)
}

/// Another database's bootstrap made the same role at the same moment.
fn made_meanwhile(error: &Error) -> bool {
    let Error::DatabaseError(kind, information) = error else { return false };
    let message = information.message();
    matches!(kind, diesel::result::DatabaseErrorKind::UniqueViolation)
        || message.contains("already exists")
        || message.contains("tuple concurrently updated")
}

fn is_refused(error: &Error) -> bool {
    let Error::DatabaseError(_, information) = error else { return false };
    ["permission denied", "must have", "must be"].iter().any(|word| information.message().contains(word))
}

#[derive(QueryableByName)]
struct Answer {
    #[diesel(sql_type = Bool)]
    yes: bool,
}

fn role_exists(connection: &mut PgConnection, role: &str) -> Result<bool, StoreError> {
    let query = sql_query("SELECT EXISTS (SELECT FROM pg_roles WHERE rolname = $1) AS yes");
    Ok(query.bind::<Text, _>(role).get_result::<Answer>(connection)?.yes)
}

/// A member, and by trying: since PostgreSQL 16 a membership may come without the right to use it.
fn can_become_owner(connection: &mut PgConnection) -> Result<bool, StoreError> {
    let query = sql_query("SELECT pg_has_role($1, 'MEMBER') AS yes");
    if !query.bind::<Text, _>(OWNER).get_result::<Answer>(connection)?.yes {
        return Ok(false);
    }
    let tried = connection.transaction(|connection| {
        connection.batch_execute(&format!("SET LOCAL ROLE {OWNER}"))?;
        connection.batch_execute("RESET ROLE")
    });
    match tried {
        Ok(()) => Ok(true),
        Err(Error::DatabaseError(..)) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

fn make_login(connection: &mut PgConnection, login: &AppLogin) -> Result<(), StoreError> {
    let query = sql_query("SELECT $1 IN (current_user::text, session_user::text) AS yes");
    if query.bind::<Text, _>(&login.name).get_result::<Answer>(connection)?.yes {
        return Err(StoreError::Conflict(format!(
            "{OWNER_VARIABLE} and DATABASE_URL name the same login ({}): the app must not be the owner of its log; \
             give DATABASE_URL another user (it is made if it is missing)",
            login.name
        )));
    }
    let name = identifier(&login.name);
    if !role_exists(connection, &login.name)? {
        let password = login.password.as_ref().map(|password| format!(" PASSWORD {}", literal(password)));
        connection.batch_execute(&format!("CREATE ROLE {name} LOGIN{}", password.unwrap_or_default()))?;
    }
    // The sequencer is a part of the app, with rights of its own for as long as its transaction takes.
    for role in [APP, SEQUENCER] {
        let query = sql_query("SELECT pg_has_role($1, $2, 'USAGE') AS yes");
        if !query.bind::<Text, _>(&login.name).bind::<Text, _>(role).get_result::<Answer>(connection)?.yes {
            connection.batch_execute(&format!("GRANT {role} TO {name}"))?;
        }
    }
    // A login that somebody else made may be out of reach; the doctor says what it lacks.
    let set = connection.transaction(|connection| set_for_login(connection, &login.name));
    match set {
        Err(StoreError::Database(error)) if is_refused(&error) => Ok(()),
        set => set,
    }
}

/// What every session of the app's login has in this database, also where no session can be told anything because a
/// pooler lends it out. What somebody set otherwise stays.
fn set_for_login(connection: &mut PgConnection, login: &str) -> Result<(), StoreError> {
    #[derive(QueryableByName)]
    struct Missing {
        #[diesel(sql_type = Text)]
        statement: String,
    }
    for (name, value) in LOGIN_SETTINGS {
        let query = sql_query(
            "SELECT format('ALTER ROLE %I IN DATABASE %I SET %I = %L', $1, current_database(), $2, $3) AS statement
             WHERE NOT EXISTS (
                SELECT FROM pg_db_role_setting s JOIN pg_roles r ON r.oid = s.setrole
                    JOIN pg_database d ON d.oid = s.setdatabase, unnest(s.setconfig) AS c
                WHERE r.rolname = $1 AND d.datname = current_database()
                    AND lower(split_part(c, '=', 1)) = lower($2))",
        );
        let missing: Option<Missing> = query
            .bind::<Text, _>(login)
            .bind::<Text, _>(name)
            .bind::<Text, _>(value)
            .get_result(connection)
            .optional()?;
        if let Some(missing) = missing {
            connection.batch_execute(&missing.statement)?;
        }
    }
    Ok(())
}

/// Only the owner makes tables; only our roles connect. (A superuser and the database's owner always can.)
fn grant_database(connection: &mut PgConnection) -> Result<(), StoreError> {
    #[derive(QueryableByName)]
    struct Name {
        #[diesel(sql_type = Text)]
        name: String,
    }
    let query = sql_query("SELECT quote_ident(current_database()) AS name");
    let database = query.get_result::<Name>(connection)?.name;
    connection.batch_execute(&format!(
        "REVOKE ALL ON DATABASE {database} FROM PUBLIC;
         GRANT CONNECT ON DATABASE {database} TO {OWNER}, {APP}, {SEQUENCER}, {AUDITOR};
         REVOKE ALL ON SCHEMA public FROM PUBLIC;
         GRANT USAGE, CREATE ON SCHEMA public TO {OWNER};
         GRANT USAGE ON SCHEMA public TO {APP}, {SEQUENCER}, {AUDITOR};"
    ))?;
    Ok(())
}

fn identifier(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// Written so that it means the same whether or not backslashes escape.
fn literal(text: &str) -> String {
    format!(" E'{}'", text.replace('\\', "\\\\").replace('\'', "\\'"))
}
