//! Roles and logins that the bootstrap makes.

use crate::support::postgres::{TestDatabase, prepare};
use diesel::sql_types::{Bool, Text};
use diesel::{PgConnection, QueryableByName, RunQueryDsl, sql_query};
use hms_act::store::bootstrap::{self, AppLogin};
use hms_act::store::error::StoreError;

fn holds(connection: &mut PgConnection, question: &str, role: &str) -> bool {
    #[derive(QueryableByName)]
    struct Answer {
        #[diesel(sql_type = Bool)]
        it: bool,
    }
    let query = sql_query(format!("SELECT coalesce(({question}), false) AS it"));
    query.bind::<Text, _>(role).get_result::<Answer>(connection).unwrap().it
}

#[test]
fn missing_login_is_made_as_a_member_of_the_app_only() {
    let database = TestDatabase::new();
    let name = r#"clerk "o'neil""#;
    let login = AppLogin { name: name.to_owned(), password: Some(r"it's \ secret".to_owned()) };
    bootstrap::prepare(&database.owner_url(), Some(&login)).unwrap();
    bootstrap::prepare(&database.owner_url(), Some(&login)).unwrap();
    let mut owner = database.connect_as_owner();
    assert!(holds(&mut owner, "SELECT rolcanlogin FROM pg_roles WHERE rolname = $1", name));
    assert!(holds(&mut owner, "SELECT pg_has_role($1, 'hms_act_app', 'USAGE')", name));
    assert!(!holds(&mut owner, "SELECT pg_has_role($1, 'hms_act_owner', 'MEMBER')", name));
}

#[test]
fn group_roles_cannot_log_in() {
    let database = TestDatabase::new();
    let mut owner = database.connect_as_owner();
    for role in ["hms_act_owner", "hms_act_app", "hms_act_sequencer", "hms_act_auditor"] {
        assert!(holds(&mut owner, "SELECT NOT rolcanlogin FROM pg_roles WHERE rolname = $1", role), "{role}");
    }
}

#[test]
fn owner_login_is_refused_as_the_apps() {
    let database = TestDatabase::new();
    let login = AppLogin::from_url(&database.owner_url()).unwrap();
    let refused = bootstrap::prepare(&database.owner_url(), login.as_ref());
    assert!(matches!(refused, Err(StoreError::Conflict(_))), "{refused:?}");
}

#[test]
fn databases_of_one_server_may_be_prepared_at_once() {
    let databases: Vec<TestDatabase> = (0..4).map(|_| TestDatabase::empty()).collect();
    std::thread::scope(|scope| {
        for database in &databases {
            scope.spawn(|| prepare(&database.owner_url(), &database.url()));
        }
    });
    for database in &databases {
        let mut owner = database.connect_as_owner();
        let question = "SELECT NOT has_schema_privilege($1, 'public', 'CREATE')";
        assert!(holds(&mut owner, question, "hms_act_app"));
        assert!(holds(&mut owner, "SELECT has_schema_privilege($1, 'public', 'CREATE')", "hms_act_owner"));
    }
}
