//! A real PgBouncer in transaction mode before a database of the tests. Installed by `.ci/setup test`.

use super::client::GUARD;
use super::link::Link;
use super::postgres::{ScratchDir, not_as_root};
use super::process::watch;
use diesel::{Connection, PgConnection};
use std::fs::{File, Permissions, set_permissions};
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Instant;

pub struct Pooler {
    settings: PathBuf,
    url: String,
    child: Child,
    watchdog: Child,
    /// PgBouncer runs as another user than the tests, whom the server would not let in: it goes this way.
    _link: Link,
}

impl Pooler {
    /// With so many connections to the server. Returns once it lets somebody through.
    pub async fn before(database_url: &str, size: u32, scratch: &ScratchDir) -> Pooler {
        let link = Link::to(database_url).await;
        let port = TcpListener::bind("127.0.0.1:0").expect("a port").local_addr().expect("bound").port();
        let server = link.address();
        // Whose connections these are can be seen on the server by their name.
        let text = format!(
            "[databases]\n\
             pooled = host={} port={} user={} dbname={}\n\
             [pgbouncer]\n\
             listen_addr = 127.0.0.1\n\
             listen_port = {port}\n\
             unix_socket_dir =\n\
             auth_type = any\n\
             pool_mode = transaction\n\
             default_pool_size = {size}\n\
             server_login_retry = 1\n\
             application_name_add_host = 1\n",
            server.ip(),
            server.port(),
            link.user(),
            link.database(),
        );
        let settings = scratch.path().join("pgbouncer.ini");
        std::fs::write(&settings, text).expect("written");
        set_permissions(&settings, Permissions::from_mode(0o644)).expect("ours");
        let (child, watchdog) = start(&settings);
        let url = format!("postgres://hms_act@127.0.0.1:{port}/pooled");
        let pooler = Pooler { settings, url, child, watchdog, _link: link };
        pooler.wait_until_open();
        pooler
    }

    pub fn url(&self) -> &str {
        &self.url
    }

    /// As when its machine is gone: whatever was under way breaks.
    pub fn kill(&mut self) {
        self.child.kill().expect("it runs");
        self.child.wait().expect("it ended");
        // Nobody is left to kill.
        drop(self.watchdog.stdin.take());
        self.watchdog.wait().expect("it ended");
    }

    /// Starts it again, where it was.
    pub fn start_again(&mut self) {
        (self.child, self.watchdog) = start(&self.settings);
        self.wait_until_open();
    }

    fn wait_until_open(&self) {
        let deadline = Instant::now() + GUARD;
        while let Err(error) = PgConnection::establish(&self.url) {
            assert!(Instant::now() < deadline, "the pooler lets nobody through: {error}");
            std::thread::yield_now();
        }
    }
}

impl Drop for Pooler {
    fn drop(&mut self) {
        // It may be gone already.
        let _ = self.child.kill();
        let _ = self.child.wait();
        drop(self.watchdog.stdin.take());
        let _ = self.watchdog.wait();
    }
}

fn start(settings: &PathBuf) -> (Child, Child) {
    let program = ["/usr/sbin/pgbouncer", "/opt/homebrew/bin/pgbouncer", "/usr/local/bin/pgbouncer"];
    let program = program.iter().find(|path| std::path::Path::new(path).exists());
    let mut command = Command::new(program.expect("PgBouncer is installed by `.ci/setup test`"));
    let log = File::options().create(true).append(true).open(settings.with_extension("log")).expect("a log");
    command.arg(settings).current_dir("/").process_group(0);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
    // It refuses to run as root.
    not_as_root(&mut command);
    let child = command.spawn().expect("it starts");
    let watchdog = watch(&child);
    (child, watchdog)
}
