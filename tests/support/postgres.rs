//! A real Postgres for the tests: one private server a test run, a database of its own for every test.
//!
//! Nothing is left behind, also when the run is killed: a watchdog process outside waits for the run's end on a
//! pipe that only the run holds open, then stops whatever server lives in the directory and removes it.

use super::client::GUARD;
use diesel::connection::SimpleConnection;
use diesel::{Connection, PgConnection};
use hms_act::store::bootstrap::{self, AppLogin};
use hms_act::store::embedded::Cluster;
use hms_act::store::migrate;
use rustix::process::{Pid, Signal, geteuid, kill_process};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::LazyLock;
use std::sync::atomic::{AtomicU32, Ordering};

/// Waits until its input ends. Then every server below the directory gets SIGQUIT (its data is thrown away) and the
/// directories go, those outside that `postgres.location` notes name included. A killed run may leave an `initdb`
/// or a starting server behind, which still write: hence the rounds.
const WATCHDOG: &str = r#"
    cat > /dev/null
    locations=$(find "$1" -name postgres.location -exec head -n 1 {} \;)
    rounds=0
    while [ -e "$1" ] && [ $rounds -lt 100 ]; do
        for file in $(find "$1" $locations -maxdepth 5 -name postmaster.pid); do
            read -r pid < "$file" && kill -QUIT "$pid"
            tries=0
            while [ -e "$file" ] && kill -0 "$pid" && [ $tries -lt 100 ]; do sleep 0.05; tries=$((tries + 1)); done
        done
        rm -rf "$1" || sleep 0.1
        rounds=$((rounds + 1))
    done
    for place in $locations; do rm -rf "${place%/postgres}"; done
"#;

/// A temporary directory in which servers may be started.
pub struct ScratchDir {
    path: PathBuf,
    watchdog: Child,
}

impl ScratchDir {
    pub fn new() -> ScratchDir {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("hms-act-test-{}-{number}", std::process::id()));
        std::fs::create_dir(&path).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o711)).unwrap();
        let path = path.canonicalize().unwrap();
        let mut command = Command::new("/bin/sh");
        command.args(["-c", WATCHDOG, "sh"]).arg(&path).current_dir("/").process_group(0);
        command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null());
        let watchdog = command.spawn().unwrap();
        ScratchDir { path, watchdog }
    }

    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for ScratchDir {
    fn drop(&mut self) {
        drop(self.watchdog.stdin.take());
        let _ = self.watchdog.wait();
    }
}

/// A server whose `hms_act` database is migrated and empty.
pub struct TestCluster {
    cluster: Cluster,
    scratch: ScratchDir,
}

impl TestCluster {
    pub fn start() -> TestCluster {
        let scratch = ScratchDir::new();
        let cluster = Cluster::start(scratch.path()).unwrap();
        prepare(&cluster.owner_url(), &cluster.app_url());
        migrate::run(&cluster.owner_url()).unwrap();
        TestCluster { cluster, scratch }
    }

    /// As the app's login.
    pub fn url(&self) -> String {
        self.cluster.app_url()
    }

    /// As the login that makes the roles and migrates.
    pub fn owner_url(&self) -> String {
        self.cluster.owner_url()
    }

    pub fn connect(&self) -> PgConnection {
        PgConnection::establish(&self.url()).unwrap()
    }

    /// As the app's login, where entries need not be new or in order.
    pub fn connect_for_any_entry(&self) -> PgConnection {
        in_any_order(&self.owner_url());
        self.connect()
    }

    /// Where its directory and its replicas' are.
    pub fn directory(&self) -> &Path {
        self.scratch.path()
    }

    pub fn pid(&self) -> i32 {
        self.cluster.pid()
    }

    /// Postgres's own programs.
    pub fn programs(&self) -> PathBuf {
        let psql = self.cluster.psql().expect("it lies beside the server's programs");
        psql.parent().expect("a directory").to_owned()
    }

    /// As a power cut: what is not on the disk is lost. Returns once nothing of it runs any more.
    pub fn kill(&self) {
        let pid = self.cluster.pid();
        kill_process(Pid::from_raw(pid).unwrap(), Signal::QUIT).unwrap();
        wait_until_gone(pid.unsigned_abs());
    }

    /// Starts it again, where it was, on what is on the disk.
    pub fn restart(&mut self) {
        self.cluster = Cluster::start(self.scratch.path()).unwrap();
    }
}

/// From root, as the user that the server's package made for running servers: they refuse to run as root.
pub fn not_as_root(command: &mut Command) {
    if geteuid().is_root() {
        let number = |which: &str| {
            let output = Command::new("id").args([which, "postgres"]).output().expect("id runs");
            String::from_utf8_lossy(&output.stdout).trim().parse().expect("there is a user postgres")
        };
        command.uid(number("-u")).gid(number("-g"));
    }
}

/// The process works nowhere any more. (It may still be listed, until somebody asks how it ended.)
pub fn wait_until_gone(pid: u32) {
    let deadline = std::time::Instant::now() + GUARD;
    while std::fs::read_link(format!("/proc/{pid}/cwd")).is_ok() {
        assert!(std::time::Instant::now() < deadline, "postgres {pid} is still there");
        std::thread::yield_now();
    }
}

/// The server of this test run, the template of whose databases is its own. Never dropped: the watchdog clears up when
/// the process ends.
static SERVER: LazyLock<TestCluster> = LazyLock::new(TestCluster::start);

/// Roles, the app's login and the rights on one database.
pub fn prepare(owner_url: &str, app_url: &str) {
    let login: Option<AppLogin> = AppLogin::from_url(app_url).unwrap();
    bootstrap::prepare(owner_url, login.as_ref()).unwrap();
}

/// A migrated database of the test's own, dropped with this value.
pub struct TestDatabase {
    name: String,
}

impl TestDatabase {
    pub fn new() -> TestDatabase {
        let database = TestDatabase::make("TEMPLATE hms_act");
        prepare(&database.owner_url(), &database.url());
        database
    }

    /// Neither prepared nor migrated.
    pub fn empty() -> TestDatabase {
        TestDatabase::make("")
    }

    /// The same at this moment, under another name. Nobody may be connected.
    pub fn copy(&self) -> TestDatabase {
        let copy = TestDatabase::make(&format!("TEMPLATE {}", self.name));
        prepare(&copy.owner_url(), &copy.url());
        copy
    }

    fn make(template: &str) -> TestDatabase {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let name = format!("test_{}", COUNT.fetch_add(1, Ordering::Relaxed));
        admin(&format!("CREATE DATABASE {name} {template}"));
        TestDatabase { name }
    }

    /// As the app's login.
    pub fn url(&self) -> String {
        self.in_database(&SERVER.url())
    }

    /// As the login that makes the roles and migrates.
    pub fn owner_url(&self) -> String {
        self.in_database(&SERVER.owner_url())
    }

    pub fn connect(&self) -> PgConnection {
        PgConnection::establish(&self.url()).unwrap()
    }

    /// As the app's login, where entries need not be new or in order: made-up logs for those who only read them.
    pub fn connect_for_any_entry(&self) -> PgConnection {
        in_any_order(&self.owner_url());
        self.connect()
    }

    pub fn connect_as_owner(&self) -> PgConnection {
        PgConnection::establish(&self.owner_url()).unwrap()
    }

    /// As if the server were gone: every connection breaks, and no new one is let in.
    pub fn lock_everybody_out(&self) {
        admin(&format!("ALTER DATABASE {} WITH ALLOW_CONNECTIONS false", self.name));
        admin(&format!(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{}'",
            self.name
        ));
    }

    pub fn let_everybody_in(&self) {
        admin(&format!("ALTER DATABASE {} WITH ALLOW_CONNECTIONS true", self.name));
    }

    fn in_database(&self, url: &str) -> String {
        url.replacen("postgres:///hms_act?", &format!("postgres:///{}?", self.name), 1)
    }
}

impl Drop for TestDatabase {
    fn drop(&mut self) {
        admin(&format!("DROP DATABASE {} WITH (FORCE)", self.name));
    }
}

fn in_any_order(owner_url: &str) {
    let disorder = "SET ROLE hms_act_owner; ALTER TABLE activity_log DISABLE TRIGGER in_order";
    PgConnection::establish(owner_url).unwrap().batch_execute(disorder).unwrap();
}

fn admin(statement: &str) {
    let mut connection = PgConnection::establish(&SERVER.cluster.admin_url()).unwrap();
    connection.batch_execute(statement).unwrap();
}
