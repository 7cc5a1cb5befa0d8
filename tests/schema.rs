//! The tables, held against what the code takes them for.

use crate::support::postgres::TestDatabase;
use diesel::connection::SimpleConnection;
use diesel::sql_types::{BigInt, Text};
use diesel::{PgConnection, QueryableByName, RunQueryDsl, sql_query};
use hms_act::auth::policy::Role;
use hms_act::engine::command::TimerKind;
use hms_act::engine::state::{OverrideAction, RunStatus};
use hms_act::store::migrate;
use hms_act::store::overrides::OverrideStatus;
use hms_act::store::redactions::RedactionStatus;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

const SCHEMA: &str = include_str!("../src/store/schema.rs");

/// The migrations' `up.sql` or `down.sql`, oldest first.
fn migrations(file: &str) -> Vec<String> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("migrations");
    let mut found: Vec<PathBuf> =
        std::fs::read_dir(root).expect("a directory").map(|entry| entry.expect("an entry").path()).collect();
    found.sort();
    found.iter().map(|path| std::fs::read_to_string(path.join(file)).expect("UTF-8")).collect()
}

/// The last migration of the first version: nothing older ever ran beside newer instances.
const FIRST_VERSION: &str = "2026-11-26-600000_backup";

/// What of a migration the instances of the version before could stumble over: see `src/store/migrate.rs`.
fn not_only_added(sql: &str) -> Vec<String> {
    let code = sql.lines().map(|line| line.split("--").next().unwrap_or_default());
    let code = code.collect::<Vec<_>>().join(" ").to_uppercase();
    // What a function does is done when it is called.
    let code: String = code.split("$$").step_by(2).collect();
    let words = code.split_whitespace().collect::<Vec<_>>().join(" ");
    let statements: Vec<&str> = words.split(';').map(str::trim).collect();
    let takes_away = |statement: &str| {
        let gone = [
            "DROP TABLE",
            "DROP COLUMN",
            "DROP VIEW",
            "DROP FUNCTION",
            "DROP SCHEMA",
            "TRUNCATE",
            "DELETE FROM",
        ];
        let changed = [" RENAME ", " SET NOT NULL", " TYPE ", "REVOKE "];
        // Of a function that is new: everybody may call it until then.
        let is_closed = statement.starts_with("REVOKE ALL ON FUNCTION") && statement.ends_with("FROM PUBLIC");
        !is_closed && gone.iter().chain(&changed).any(|words| statement.contains(words))
    };
    // What is inserted without it must still fit.
    let demands = |statement: &str| {
        let mut columns = statement.split("ADD COLUMN").skip(1);
        columns.any(|column| column.contains("NOT NULL") && !column.contains("DEFAULT"))
    };
    // A check may be made wider, which takes two statements.
    let loses_a_check = |statement: &str| {
        let dropped =
            statement.split("DROP CONSTRAINT ").nth(1).and_then(|rest| rest.split([' ', ',']).next());
        dropped.is_some_and(|name| !words.contains(&format!("ADD CONSTRAINT {name} ")))
    };
    let wrong = statements.into_iter().filter(|it| takes_away(it) || demands(it) || loses_a_check(it));
    wrong.map(str::to_owned).collect()
}

#[test]
fn a_new_migration_only_adds() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("migrations");
    let names =
        std::fs::read_dir(&root).expect("a directory").map(|entry| entry.expect("an entry").file_name());
    for name in
        names.map(|name| name.into_string().expect("UTF-8")).filter(|name| name.as_str() > FIRST_VERSION)
    {
        let sql = std::fs::read_to_string(root.join(&name).join("up.sql")).expect("UTF-8");
        // What nothing has used since the version before may go: the migration says so, and since when.
        if !sql.contains("-- unused since ") {
            assert_eq!(
                not_only_added(&sql),
                Vec::<String>::new(),
                "{name} would break instances of the version before"
            );
        }
    }
}

#[test]
fn what_a_migration_takes_away_is_found() {
    for adds in [
        "ALTER TABLE runs ADD COLUMN priority integer; CREATE INDEX runs_by_priority ON runs (priority);",
        "ALTER TABLE runs ADD COLUMN priority integer NOT NULL DEFAULT 0; -- DROP TABLE runs",
        "ALTER TABLE timers DROP CONSTRAINT timers_kind_check;
         ALTER TABLE timers ADD CONSTRAINT timers_kind_check CHECK (kind IN ('due', 'late'));",
        "DROP INDEX runs_by_priority;",
        "CREATE FUNCTION tidy() RETURNS void LANGUAGE sql AS $$ DELETE FROM work $$;
         REVOKE ALL ON FUNCTION tidy() FROM PUBLIC;",
    ] {
        assert_eq!(not_only_added(adds), Vec::<String>::new());
    }
    for takes in [
        "ALTER TABLE runs ADD COLUMN priority integer NOT NULL;",
        "ALTER TABLE runs\n  DROP COLUMN stalled;",
        "ALTER TABLE runs RENAME COLUMN stalled TO late;",
        "ALTER TABLE runs ALTER COLUMN subject TYPE varchar(80);",
        "ALTER TABLE timers DROP CONSTRAINT timers_kind_check;",
        "drop table work;",
    ] {
        assert_eq!(not_only_added(takes).len(), 1, "{takes}");
    }
}

#[derive(QueryableByName)]
struct Line {
    #[diesel(sql_type = Text)]
    name: String,
    #[diesel(sql_type = Text)]
    value: String,
}

fn lines(connection: &mut PgConnection, query: &str) -> Vec<(String, String)> {
    let rows: Vec<Line> = sql_query(query).load(connection).expect("a query");
    rows.into_iter().map(|row| (row.name, row.value)).collect()
}

/// `table.column` → the words that its CHECK allows, as the database has it.
fn allowed_words() -> BTreeMap<String, BTreeSet<String>> {
    let database = TestDatabase::new();
    let checks = lines(
        &mut database.connect(),
        "SELECT conrelid::regclass || '.' || attname AS name, pg_get_constraintdef(c.oid) AS value
         FROM pg_constraint c JOIN pg_attribute a ON a.attrelid = c.conrelid AND a.attnum = c.conkey[1]
         WHERE contype = 'c' AND connamespace = 'public'::regnamespace
           AND pg_get_constraintdef(c.oid) ~ '(= ANY|= ''.*''::text)'",
    );
    let words = |check: &str| check.split('\'').skip(1).step_by(2).map(str::to_owned).collect();
    checks.into_iter().map(|(column, check)| (column, words(&check))).collect()
}

fn set<'a>(words: impl IntoIterator<Item = &'a str>) -> BTreeSet<String> {
    words.into_iter().map(str::to_owned).collect()
}

#[test]
fn every_check_of_words_is_held_against_its_enum() {
    let expected: BTreeMap<String, BTreeSet<String>> = [
        ("users.role", set(Role::ALL.map(Role::as_str))),
        ("runs.status", set(RunStatus::ALL.map(RunStatus::as_str))),
        ("approvals.status", set(["pending", "approved", "rejected", "returned", "closed"])),
        ("actions.kind", set(["http", "worker", "command", "compute"])),
        ("agents.kind", set(["openai"])),
        ("timers.kind", set(TimerKind::ALL.map(TimerKind::as_str))),
        ("subruns.state", set(["open", "withdrawn"])),
        (
            "overrides.action",
            set([OverrideAction::Pause, OverrideAction::Cancel, OverrideAction::Modify]
                .map(OverrideAction::as_str)),
        ),
        ("redactions.status", set(RedactionStatus::ALL.map(RedactionStatus::as_str))),
        ("overrides.status", set(OverrideStatus::ALL.map(OverrideStatus::as_str))),
    ]
    .map(|(column, words)| (column.to_owned(), words))
    .into();
    assert_eq!(allowed_words(), expected);
}

#[test]
fn every_index_names_its_query() {
    let all = migrations("up.sql").join("\n");
    let lines: Vec<&str> = all.lines().collect();
    let indexes: Vec<usize> = (0..lines.len())
        .filter(|at| lines[*at].starts_with("CREATE INDEX") || lines[*at].starts_with("CREATE UNIQUE INDEX"))
        .collect();
    assert!(indexes.len() >= 8, "the file is read wrongly");
    for at in indexes {
        assert!(lines[at - 1].starts_with("-- "), "no comment above: {}", lines[at]);
    }
}

/// `table.column` → its type, as `src/store/schema.rs` has it.
fn described() -> BTreeMap<String, String> {
    let (mut table, mut name) = (String::new(), None);
    let mut columns = BTreeMap::new();
    for line in SCHEMA.lines().map(str::trim).filter(|line| !line.starts_with("diesel::")) {
        if let Some((head, _)) =
            line.split_once(") {").and_then(|(head, rest)| head.split_once(" (").map(|it| (it.0, rest)))
        {
            table = head.to_owned();
        } else if let Some(sql_name) = line.strip_prefix("#[sql_name = \"") {
            name = sql_name.strip_suffix("\"]").map(str::to_owned);
        } else if let Some((column, kind)) = line.trim_end_matches(',').split_once(" -> ") {
            let column = name.take().unwrap_or_else(|| column.to_owned());
            columns.insert(format!("{table}.{column}"), kind.to_owned());
        }
    }
    columns
}

#[test]
fn every_column_has_the_type_that_diesel_takes_it_for() {
    let database = TestDatabase::new();
    let stored = lines(
        &mut database.connect(),
        "SELECT c.relname || '.' || a.attname AS name,
                format_type(a.atttypid, NULL) || CASE WHEN a.attnotnull THEN '' ELSE '?' END AS value
         FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid
         WHERE c.relnamespace = 'public'::regnamespace AND c.relkind IN ('r', 'p') AND NOT c.relispartition
           AND a.attnum > 0 AND NOT a.attisdropped AND c.relname <> '__diesel_schema_migrations'",
    );
    let as_diesel = |sql: &str| {
        let kind = match sql.trim_end_matches('?') {
            "text" => "Text",
            "bytea" => "Bytea",
            "bigint" => "Int8",
            "integer" => "Int4",
            "smallint" => "Int2",
            "boolean" => "Bool",
            "timestamp with time zone" => "Timestamptz",
            "json" => "Json",
            "jsonb" => "Jsonb",
            "bigint[]" => "Array<Int8>",
            "text[]" => "Array<Text>",
            other => panic!("no diesel type is known here for {other}"),
        };
        if sql.ends_with('?') { format!("Nullable<{kind}>") } else { kind.to_owned() }
    };
    let stored: BTreeMap<String, String> =
        stored.into_iter().map(|(column, sql)| (column, as_diesel(&sql))).collect();
    assert_eq!(described(), stored);
}

#[test]
fn migrations_go_down_and_up_again() {
    let database = TestDatabase::new();
    let tables = "SELECT relname::text AS name, relkind::text AS value FROM pg_class
                  WHERE relnamespace = 'public'::regnamespace AND relname NOT LIKE '\\_\\_diesel%' ORDER BY 1";
    let mut owner = database.connect_as_owner();
    let before = lines(&mut owner, tables);
    assert!(before.len() > 20);
    owner.batch_execute("SET ROLE hms_act_owner").expect("the owner");
    let down = migrations("down.sql");
    for down in down.iter().rev() {
        owner.batch_execute(down).expect("down");
    }
    assert_eq!(lines(&mut owner, tables), []);
    owner.batch_execute("DELETE FROM __diesel_schema_migrations").expect("ours");
    assert_eq!(migrate::run(&database.owner_url()).expect("up"), down.len());
    assert_eq!(migrate::run(&database.owner_url()).expect("nothing to do"), 0);
    assert_eq!(lines(&mut owner, tables), before);
    assert_eq!(migrate::app_role_cannot_alter_log(&mut database.connect(), "DATABASE_URL"), Ok(()));
}

#[test]
fn every_foreign_key_cascades() {
    #[derive(QueryableByName)]
    struct Count {
        #[diesel(sql_type = BigInt)]
        it: i64,
    }
    let database = TestDatabase::new();
    let query = "SELECT count(*) AS it FROM pg_constraint WHERE contype = 'f' AND confdeltype <> 'c'";
    assert_eq!(sql_query(query).get_result::<Count>(&mut database.connect()).expect("a count").it, 0);
}
