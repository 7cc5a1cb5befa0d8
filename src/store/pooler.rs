//! A pooler between the app and its database (PgBouncer and its like), which lends a server connection for one
//! transaction only.
//!
//! Owns the questions whether it leads to the right place, and whether what cannot be set in a session behind it is set
//! for the login. Whatever needs a session of its own (listening, the committer, the sequencer, the heartbeat, exports,
//! migrations) does not go through it.

use super::error::StoreError;
use super::pool::{APP_VARIABLE, LOGIN_SETTINGS, POOLED_VARIABLE};
use diesel::prelude::*;
use diesel::sql_types::{BigInt, Bool, Text};

/// Whether the pooler leads to the very database of the direct connection: a lock that is held there cannot be had here.
/// No copy of the database, however alike, can say that.
///
/// Errors: [`StoreError::Conflict`] when it is another one.
pub fn leads_to_same(direct: &mut PgConnection, pooled: &mut PgConnection) -> Result<(), StoreError> {
    #[derive(QueryableByName)]
    struct Lock {
        #[diesel(sql_type = Bool)]
        had: bool,
    }
    // Drawn, so that nobody else holds it.
    let key: i64 = rand::random();
    let try_it = diesel::sql_query("SELECT pg_try_advisory_xact_lock($1) AS had").bind::<BigInt, _>(key);
    let is_other = direct.transaction::<_, StoreError, _>(|direct| {
        diesel::sql_query("SELECT pg_advisory_xact_lock($1)").bind::<BigInt, _>(key).execute(direct)?;
        Ok(try_it.get_result::<Lock>(pooled)?.had)
    })?;
    if is_other {
        return Err(StoreError::Conflict(format!(
            "{POOLED_VARIABLE}: leads to another database than {APP_VARIABLE}: let the pooler go to the same server (the \
             primary) and the same database"
        )));
    }
    Ok(())
}

/// The settings that a session behind the pooler should have and does not have.
pub fn lacking(pooled: &mut PgConnection) -> Result<Vec<&'static str>, StoreError> {
    #[derive(QueryableByName)]
    struct Setting {
        #[diesel(sql_type = Text)]
        value: String,
    }
    let mut lacking = Vec::new();
    for (name, wanted) in LOGIN_SETTINGS {
        let asked = diesel::sql_query("SELECT current_setting($1) AS value").bind::<Text, _>(name);
        let value = asked.get_result::<Setting>(pooled)?.value;
        // A limit of another length is somebody's choice.
        if value == "0" || (name == "TimeZone" && value != wanted) {
            lacking.push(name);
        }
    }
    Ok(lacking)
}

/// What to do about settings that are lacking, for the login behind the pooler.
pub fn advice(lacking: &[&str]) -> String {
    let settings = LOGIN_SETTINGS.iter().filter(|(name, _)| lacking.contains(name));
    let statements: Vec<String> =
        settings.map(|(name, value)| format!("ALTER ROLE … IN DATABASE … SET {name} = '{value}'")).collect();
    format!(
        "sessions behind {POOLED_VARIABLE} lack {}: an instance that freezes would keep its locks. Run `hms-act migrate`, \
         or as the owner of that login: {}; then let the pooler connect anew",
        lacking.join(", "),
        statements.join("; ")
    )
}
