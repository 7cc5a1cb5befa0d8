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
    assert_eq!(migrate::app_role_cannot_alter_log(&mut app, "DATABASE_URL"), Ok(()));
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
    assert_eq!(migrate::app_role_cannot_alter_log(&mut database.connect(), "DATABASE_URL"), Ok(()));
    let refused =
        migrate::app_role_cannot_alter_log(&mut database.connect_as_owner(), "DATABASE_URL").unwrap_err();
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
    let refused = migrate::app_role_cannot_alter_log(&mut database.connect(), "DATABASE_URL").unwrap_err();
    assert!(refused.contains("may change or empty activity_log_0"), "{refused}");
}

/// An entry as the app adds it.
fn entry(run: i64, seq: i64, t: &str) -> String {
    ENTRY.replace("9001, 1, now()", &format!("{run}, {seq}, {t}"))
}

#[test]
fn what_is_added_goes_on_where_its_stream_ends_and_at_no_earlier_time() {
    let database = TestDatabase::new();
    let mut app = database.connect();
    for (statement, reason) in [
        (entry(9001, 2, "now()"), "no gaps"),
        (entry(9001, 1, "now() - interval '2 days'"), "set the clock"),
        (
            format!(
                "{}, (9001, 3, now(), 'staff', 'step.done', '\\x7b7d', sha256('\\x007b7d'))",
                entry(9001, 1, "now()")
            ),
            "no gaps",
        ),
    ] {
        assert!(refusal(&mut app, &statement).contains(reason), "{statement}");
    }
    app.batch_execute(&entry(9001, 1, "now()")).unwrap();
    for (statement, reason) in [
        (entry(9001, 3, "now()"), "no gaps"),
        (entry(9001, 1, "now()"), "duplicate key"),
        (entry(9001, 2, "now() - interval '1 hour'"), "dated before the one it follows"),
    ] {
        assert!(refusal(&mut app, &statement).contains(reason), "{statement}");
    }
    app.batch_execute(&entry(9001, 2, "now()")).unwrap();
    assert_eq!(count(&mut app), 2);
    // A restore brings old entries: the owner may, and in order too.
    let mut owner = database.connect_as_owner();
    owner.batch_execute("SET ROLE hms_act_owner").unwrap();
    owner.batch_execute(&entry(9002, 1, "now() - interval '2 years'")).unwrap();
    assert!(refusal(&mut owner, &entry(9002, 3, "now()")).contains("no gaps"));
}

#[test]
fn app_cannot_say_which_transaction_an_entry_is_of() {
    let database = TestDatabase::new();
    let statement = "INSERT INTO activity_log (run_id, seq, t, actor, type, leaf, leaf_hash, txid)
        VALUES (9001, 1, now(), 'staff', 'run.started', '\\x7b7d', sha256('\\x007b7d'), 1)";
    assert!(refusal(&mut database.connect(), statement).contains("permission denied"));
}

#[test]
fn each_role_may_do_its_own_and_nothing_more() {
    let database = TestDatabase::new();
    let mut app = database.connect();
    app.batch_execute(ENTRY).unwrap();
    // The sequencer adds to the tree and lets it grow; it takes nothing out, and does not write the log.
    app.batch_execute("SET ROLE hms_act_sequencer").unwrap();
    for (statement, reason) in [
        ("UPDATE log_ranges SET entries = 2", "permission denied"),
        ("DELETE FROM log_ranges", "permission denied"),
        ("UPDATE log_checkpoints SET size = 2", "permission denied"),
        ("DELETE FROM log_checkpoints", "permission denied"),
        ("DELETE FROM log_tiles", "permission denied"),
        ("TRUNCATE log_head", "permission denied"),
        ("DELETE FROM log_keys", "permission denied"),
        ("UPDATE activity_log SET actor = 'x'", "permission denied"),
        ("UPDATE runs SET status = 'completed'", "permission denied"),
        ("SET session_replication_role = replica", "permission denied"),
        (ENTRY, "permission denied"),
    ] {
        assert!(refusal(&mut app, statement).contains(reason), "{statement}");
    }
    assert_eq!(count(&mut app), 1);
    // The auditor reads.
    let mut owner = database.connect_as_owner();
    owner.batch_execute("GRANT hms_act_auditor TO CURRENT_USER").ok();
    owner.batch_execute("SET ROLE hms_act_auditor").unwrap();
    assert_eq!(count(&mut owner), 1);
    for table in ["activity_log", "log_ranges", "log_tiles", "log_checkpoints", "log_head", "log_keys"] {
        owner.batch_execute(&format!("SELECT count(*) FROM {table}")).unwrap();
        for statement in [format!("DELETE FROM {table}"), format!("TRUNCATE {table}")] {
            assert!(refusal(&mut owner, &statement).contains("permission denied"), "{statement}");
        }
    }
    assert!(refusal(&mut owner, ENTRY).contains("permission denied"));
}
