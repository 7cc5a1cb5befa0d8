//! The private Postgres, started for real.

use crate::support::postgres::{ScratchDir, TestDatabase, prepare};
use diesel::connection::SimpleConnection;
use diesel::sql_types::Text;
use diesel::{Connection, PgConnection, QueryableByName, RunQueryDsl, sql_query};
use hms_act::store::conninfo::Conninfo;
use hms_act::store::embedded::{Cluster, StartError};
use hms_act::store::error::StoreError;
use hms_act::store::{migrate, pool};
use std::fs;
use std::path::PathBuf;

fn value(url: &str, query: &str) -> String {
    #[derive(QueryableByName)]
    struct Value {
        #[diesel(sql_type = Text)]
        it: String,
    }
    let mut connection = PgConnection::establish(url).unwrap();
    sql_query(format!("SELECT ({query})::text AS it")).get_result::<Value>(&mut connection).unwrap().it
}

fn remember(cluster: &Cluster) {
    let mut owner = PgConnection::establish(&cluster.owner_url()).unwrap();
    owner.batch_execute("CREATE TABLE kept AS SELECT 'kept' AS word").unwrap();
}

fn remembered(cluster: &Cluster) -> String {
    value(&cluster.owner_url(), "SELECT word FROM kept")
}

/// The server holds this file while it lives.
fn alive(scratch: &ScratchDir) -> bool {
    scratch.path().join("postgres/postmaster.pid").exists()
}

#[test]
fn data_outlives_a_stop() {
    let scratch = ScratchDir::new();
    let cluster = Cluster::start(scratch.path()).unwrap();
    remember(&cluster);
    cluster.stop().unwrap();
    assert!(!alive(&scratch));

    let cluster = Cluster::start(scratch.path()).unwrap();
    assert_eq!(remembered(&cluster), "kept");
}

#[test]
fn running_server_is_adopted_and_the_last_user_stops_it() {
    let scratch = ScratchDir::new();
    let first = Cluster::start(scratch.path()).unwrap();
    let second = Cluster::start(scratch.path()).unwrap();
    assert_eq!(first.pid(), second.pid());
    let pid = first.pid();
    first.stop().unwrap();
    assert!(alive(&scratch), "the second still uses it");

    // As a kill -9 leaves it: no stop, but its locks are gone.
    drop(second);
    let third = Cluster::start(scratch.path()).unwrap();
    assert_eq!(third.pid(), pid);
    third.stop().unwrap();
    assert!(!alive(&scratch));
}

#[test]
fn two_starts_at_once_share_one_server() {
    let scratch = ScratchDir::new();
    let start = || Cluster::start(scratch.path()).unwrap();
    let pids = std::thread::scope(|scope| {
        let starts = [scope.spawn(start), scope.spawn(start)];
        starts.map(|start| start.join().unwrap().pid())
    });
    assert_eq!(pids[0], pids[1]);
}

#[test]
fn server_is_durable_private_and_without_trust() {
    let scratch = ScratchDir::new();
    let cluster = Cluster::start(scratch.path()).unwrap();
    let setting = |name: &str| value(&cluster.owner_url(), &format!("SELECT current_setting('{name}')"));
    for (name, expected) in [
        ("listen_addresses", ""),
        ("fsync", "on"),
        ("synchronous_commit", "on"),
        ("full_page_writes", "on"),
        ("data_checksums", "on"),
    ] {
        assert_eq!(setting(name), expected, "{name}");
    }
    let rules = fs::read_to_string(scratch.path().join("postgres/pg_hba.conf")).unwrap();
    let rules: Vec<&str> = rules.lines().filter(|line| !line.starts_with('#')).collect();
    assert_eq!(rules, ["local all all peer map=hms_act"]);
    assert_eq!(
        value(&cluster.owner_url(), "SELECT bool_or(rolsuper) FROM pg_roles WHERE rolname = current_user"),
        "false"
    );
}

#[test]
fn stale_pid_file_does_not_stop_the_start() {
    let scratch = ScratchDir::new();
    let cluster = Cluster::start(scratch.path()).unwrap();
    remember(&cluster);
    let pid_file = scratch.path().join("postgres/postmaster.pid");
    let socket_lock = scratch.path().join("postgres/.s.PGSQL.5432.lock");
    let text = fs::read_to_string(&pid_file).unwrap();
    cluster.stop().unwrap();

    // The number now is that of another living program of the database's own user: another server.
    let other = ScratchDir::new();
    let other = Cluster::start(other.path()).map(|cluster| (cluster, other)).unwrap();
    let reused = text.replacen(text.lines().next().unwrap(), &other.0.pid().to_string(), 1);
    for stale in [text, reused] {
        fs::write(&pid_file, &stale).unwrap();
        fs::write(&socket_lock, &stale).unwrap();
        let cluster = Cluster::start(scratch.path()).unwrap();
        assert_ne!(cluster.pid(), other.0.pid());
        assert_eq!(remembered(&cluster), "kept");
        cluster.stop().unwrap();
    }
    assert!(alive(&other.1));
}

#[test]
fn killed_server_recovers_what_was_committed() {
    let scratch = ScratchDir::new();
    let cluster = Cluster::start(scratch.path()).unwrap();
    remember(&cluster);
    let pid = rustix::process::Pid::from_raw(cluster.pid()).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
    drop(cluster);
    let cluster = Cluster::start(scratch.path()).unwrap();
    assert_ne!(cluster.pid(), pid.as_raw_nonzero().get());
    assert_eq!(remembered(&cluster), "kept");
}

#[test]
fn interrupted_first_start_is_begun_anew() {
    let scratch = ScratchDir::new();
    let left = scratch.path().join("postgres.new-0123456789abcdef");
    fs::create_dir(&left).unwrap();
    fs::write(left.join("PG_VERSION"), "15\n").unwrap();
    fs::create_dir(scratch.path().join("postgres")).unwrap();
    Cluster::start(scratch.path()).unwrap();
    assert!(!left.exists());
}

#[test]
fn long_path_gets_a_short_private_socket_directory() {
    let scratch = ScratchDir::new();
    let long = scratch.path().join("a".repeat(60)).join("b".repeat(60));
    let cluster = Cluster::start(&long).unwrap();
    remember(&cluster);
    let conninfo = Conninfo::parse(&cluster.owner_url()).unwrap();
    let socket_dir = PathBuf::from(conninfo.get("host").unwrap());
    let mode = std::os::unix::fs::PermissionsExt::mode(&fs::metadata(&socket_dir).unwrap().permissions());
    assert_eq!(mode & 0o777, 0o700);

    let adopted = Cluster::start(&long).unwrap();
    assert_eq!(remembered(&adopted), "kept");
    drop(cluster);
    adopted.stop().unwrap();
    assert!(!socket_dir.exists());
}

#[test]
fn directory_that_the_database_user_may_not_enter_gets_a_note() {
    use std::os::unix::fs::PermissionsExt;
    let scratch = ScratchDir::new();
    let closed = scratch.path().join("home");
    fs::create_dir(&closed).unwrap();
    fs::set_permissions(&closed, fs::Permissions::from_mode(0o700)).unwrap();
    let data_dir = closed.join("data");
    let cluster = Cluster::start(&data_dir).unwrap();
    remember(&cluster);
    cluster.stop().unwrap();
    // Only root runs the database as somebody else, who is kept out here.
    let note = data_dir.join("postgres.location");
    assert_eq!(note.exists(), rustix::process::geteuid().is_root());
    let cluster = Cluster::start(&data_dir).unwrap();
    assert_eq!(remembered(&cluster), "kept");
    cluster.stop().unwrap();

    if note.exists() {
        let text = fs::read_to_string(&note).unwrap();
        fs::remove_dir_all(PathBuf::from(text.lines().next().unwrap()).parent().unwrap()).unwrap();
        assert!(matches!(Cluster::start(&data_dir), Err(StartError::Lost { .. })));
    }
}

#[test]
fn database_of_a_newer_version_is_refused() {
    let scratch = ScratchDir::new();
    Cluster::start(scratch.path()).unwrap().stop().unwrap();
    fs::write(scratch.path().join("postgres/PG_VERSION"), "99\n").unwrap();
    let error = Cluster::start(scratch.path()).unwrap_err();
    assert!(matches!(error, StartError::OtherMajorVersion { data: 99, .. }), "{error}");
    assert_eq!(error.to_string().lines().count(), 1);
}

#[test]
fn failed_start_tells_the_last_line_of_the_server_log() {
    let scratch = ScratchDir::new();
    Cluster::start(scratch.path()).unwrap().stop().unwrap();
    fs::write(scratch.path().join("postgres/postgresql.auto.conf"), "max_connections = 'many'\n").unwrap();
    let error = Cluster::start(scratch.path()).unwrap_err().to_string();
    assert!(error.contains("did not start") && error.contains("contains errors"), "{error}");
}

#[test]
fn data_directory_that_is_a_file_is_told_in_one_line() {
    let scratch = ScratchDir::new();
    let file = scratch.path().join("data");
    fs::write(&file, "").unwrap();
    let error = Cluster::start(&file).unwrap_err();
    assert!(matches!(error, StartError::DataDir { .. }), "{error}");
    assert_eq!(error.to_string().lines().count(), 1);
}

#[test]
fn foreign_files_in_the_database_directory_are_left_alone() {
    let scratch = ScratchDir::new();
    let foreign = scratch.path().join("postgres/thesis.txt");
    fs::create_dir(scratch.path().join("postgres")).unwrap();
    fs::write(&foreign, "").unwrap();
    let refused = Cluster::start(scratch.path());
    assert!(matches!(refused, Err(StartError::NotACluster(_) | StartError::ForeignOwner { .. })));
    assert!(foreign.exists());
}

#[test]
fn two_migrations_at_once_run_each_migration_once() {
    let database = TestDatabase::empty();
    let (owner_url, app_url) = (database.owner_url(), database.url());
    let migrated = || {
        prepare(&owner_url, &app_url);
        migrate::run(&owner_url).unwrap()
    };
    let counts = std::thread::scope(|scope| {
        [scope.spawn(migrated), scope.spawn(migrated)].map(|thread| thread.join().unwrap())
    });
    assert!(counts.contains(&0) && counts.iter().sum::<usize>() > 0, "{counts:?}");
    assert_eq!(migrate::pending(&app_url).unwrap(), Vec::<String>::new());
}

#[test]
fn pending_migrations_are_named_and_not_run() {
    let database = TestDatabase::empty();
    prepare(&database.owner_url(), &database.url());
    let pending = migrate::pending(&database.url()).unwrap();
    assert!(pending.iter().any(|name| name.contains("foundation")), "{pending:?}");
    assert_eq!(migrate::pending(&database.url()).unwrap(), pending);
}

#[test]
fn pooled_connections_carry_their_settings() {
    let database = TestDatabase::new();
    let pool = pool::pool(&database.url(), 2).unwrap();
    let mut connection = pool.get().unwrap();
    #[derive(QueryableByName)]
    struct Setting {
        #[diesel(sql_type = Text)]
        it: String,
    }
    for (name, expected) in [
        ("idle_in_transaction_session_timeout", "3s"),
        ("statement_timeout", "30s"),
        ("application_name", "hms-act"),
        ("timezone", "UTC"),
    ] {
        let query = sql_query(format!("SELECT current_setting('{name}') AS it"));
        assert_eq!(query.get_result::<Setting>(&mut connection).unwrap().it, expected, "{name}");
    }
}

#[test]
fn wrong_database_url_is_told_in_one_line_without_the_password() {
    for url in [
        "postgres://act:sesame@127.0.0.1:1/hms",
        "psotgres://act:sesame@db/hms",
        "host=127.0.0.1 port=x password=sesame",
    ] {
        let Err(StoreError::Connection(message)) = pool::pool(url, 1) else { panic!("{url}") };
        assert!(message.starts_with("DATABASE_URL: "), "{message}");
        assert!(!message.contains("sesame"), "{message}");
        assert_eq!(message.lines().count(), 1, "{message}");
    }
}
