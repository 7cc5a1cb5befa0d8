//! The activity log is append-only: tried as the app's own login, and as the owner of the table.

use crate::support::postgres::TestDatabase;
use diesel::connection::SimpleConnection;
use diesel::sql_types::{BigInt, Text};
use diesel::{PgConnection, QueryableByName, RunQueryDsl, sql_query};
use hms_act::store::migrate;

const TABLES: [&str; 3] = ["activity_log", "activity_log_agency", "activity_log_0"];

const ENTRY: &str = "INSERT INTO activity_log (run_id, seq, t, actor, type, leaf, leaf_hash)
    VALUES (9001, 1, now(), 'staff', 'run.started', '\\x7b7d', sha256('\\x007b7d'))";

fn count(connection: &mut PgConnection) -> i64 {
    #[derive(QueryableByName)]
    struct Count {
        #[diesel(sql_type = BigInt)]
        it: i64,
    }
    sql_query("SELECT count(*) AS it FROM activity_log").get_result::<Count>(connection).unwrap().it
}

/// The refusal, or a panic if the statement went through.
fn refusal(connection: &mut PgConnection, statement: &str) -> String {
    connection.batch_execute(statement).expect_err(statement).to_string()
}

fn changes(table: &str) -> [String; 4] {
    [
        format!("UPDATE {table} SET actor = 'nobody'"),
        format!("UPDATE {table} SET actor = 'nobody' WHERE false"),
        format!("DELETE FROM {table}"),
        format!("TRUNCATE {table}"),
    ]
}

fn trigger(table: &str) -> &'static str {
    if table == "activity_log" { "append_only" } else { "append_only_partition" }
}

#[test]
fn app_adds_and_reads_entries() {
    let database = TestDatabase::new();
    let mut app = database.connect();
    app.batch_execute(ENTRY).unwrap();
    assert_eq!(count(&mut app), 1);
}

#[test]
fn app_cannot_change_or_remove_entries() {
    let database = TestDatabase::new();
    let mut app = database.connect();
    app.batch_execute(ENTRY).unwrap();
    for table in TABLES {
        for statement in changes(table) {
            assert!(refusal(&mut app, &statement).contains("permission denied"), "{statement}");
        }
    }
    assert_eq!(count(&mut app), 1);
}

#[test]
fn app_cannot_take_the_guards_away() {
    let database = TestDatabase::new();
    let mut app = database.connect();
    for table in TABLES {
        for (statement, reason) in [
            (format!("ALTER TABLE {table} DISABLE TRIGGER ALL"), "must be owner"),
            (format!("ALTER TABLE {table} OWNER TO hms_act"), "must be owner"),
            (format!("DROP TABLE {table}"), "must be owner"),
            (format!("DROP TRIGGER {} ON {table}", trigger(table)), "must be owner"),
            (format!("CREATE RULE hide AS ON INSERT TO {table} DO INSTEAD NOTHING"), "must be owner"),
            (
                format!("CREATE TRIGGER t BEFORE INSERT ON {table} EXECUTE FUNCTION refuse_log_change()"),
                "permission denied",
            ),
        ] {
            assert!(refusal(&mut app, &statement).contains(reason), "{statement}");
        }
    }
    for (statement, reason) in [
        ("SET session_replication_role = replica", "permission denied"),
        ("SET ROLE hms_act_owner", "permission denied"),
        ("SET ROLE hms_act_migrate", "permission denied"),
        ("GRANT hms_act_owner TO hms_act", "must have admin option"),
        ("ALTER TABLE activity_log DETACH PARTITION activity_log_0", "must be owner"),
        ("CREATE TABLE mine (id int)", "permission denied"),
        (
            "CREATE OR REPLACE FUNCTION refuse_log_change() RETURNS trigger LANGUAGE sql AS ''",
            "permission denied",
        ),
        ("DROP SCHEMA public CASCADE", "must be owner"),
    ] {
        let said = refusal(&mut app, statement);
        assert!(said.contains(reason) || said.contains("permission denied"), "{statement}: {said}");
    }
    // Of what it cannot grant Postgres only warns.
    let _ = app.batch_execute("GRANT ALL ON activity_log TO hms_act");
    assert_eq!(migrate::app_role_cannot_alter_log(&mut app), Ok(()));
}

#[test]
fn owner_too_is_refused_by_the_triggers() {
    let database = TestDatabase::new();
    let mut owner = database.connect_as_owner();
    owner.batch_execute("SET ROLE hms_act_owner").unwrap();
    owner.batch_execute(ENTRY).unwrap();
    for table in TABLES {
        for statement in changes(table) {
            assert!(refusal(&mut owner, &statement).contains("append-only"), "{statement}");
        }
    }
    assert_eq!(count(&mut owner), 1);
}

#[test]
fn partitions_made_later_are_guarded_alike() {
    let database = TestDatabase::new();
    let mut app = database.connect();
    app.batch_execute("SELECT ensure_log_partition(5000000); SELECT ensure_log_partition(5999999)").unwrap();
    app.batch_execute(&ENTRY.replace("9001", "5000001")).unwrap();
    for statement in changes("activity_log_5") {
        assert!(refusal(&mut app, &statement).contains("permission denied"), "{statement}");
    }
    let mut owner = database.connect_as_owner();
    owner.batch_execute("SET ROLE hms_act_owner").unwrap();
    for statement in changes("activity_log_5") {
        assert!(refusal(&mut owner, &statement).contains("append-only"), "{statement}");
    }
}

#[test]
fn every_table_belongs_to_the_owner_that_cannot_log_in() {
    #[derive(QueryableByName)]
    struct Name {
        #[diesel(sql_type = Text)]
        name: String,
    }
    let database = TestDatabase::new();
    let foreign = sql_query(
        "SELECT c.relname::text AS name FROM pg_class c JOIN pg_roles r ON r.oid = c.relowner
         WHERE c.relnamespace = 'public'::regnamespace AND (r.rolname <> 'hms_act_owner' OR r.rolcanlogin)",
    );
    let foreign: Vec<Name> = foreign.load(&mut database.connect()).unwrap();
    assert!(foreign.is_empty(), "{:?}", foreign.iter().map(|row| &row.name).collect::<Vec<_>>());
}

#[test]
fn check_at_start_accepts_the_app_and_refuses_the_owner() {
    let database = TestDatabase::new();
    assert_eq!(migrate::app_role_cannot_alter_log(&mut database.connect()), Ok(()));
    let refused = migrate::app_role_cannot_alter_log(&mut database.connect_as_owner()).unwrap_err();
    assert!(refused.contains("is a member of hms_act_owner"), "{refused}");
    assert!(refused.contains("owns the database"), "{refused}");
}

#[test]
fn check_at_start_sees_a_right_on_a_single_partition() {
    let database = TestDatabase::new();
    let mut owner = database.connect_as_owner();
    owner
        .batch_execute("SET ROLE hms_act_owner; GRANT UPDATE (actor) ON activity_log_0 TO hms_act_app")
        .unwrap();
    let refused = migrate::app_role_cannot_alter_log(&mut database.connect()).unwrap_err();
    assert!(refused.contains("may change or empty activity_log_0"), "{refused}");
}
