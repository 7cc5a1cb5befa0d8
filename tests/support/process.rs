//! The product as a process of its own: the real binary, to be killed and started again.

use super::client::{Caller, GUARD};
use super::server::{ALL_SCOPES, DEMO_PASSWORD, token};
use reqwest::Method;
use rustix::process::{Pid, Signal, kill_process};
use std::fs::File;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::mpsc;
use std::time::Instant;

/// Waits until its input ends, and kills the process unless it was told before that nobody is left to kill.
const WATCHDOG: &str = r#"read -r line || kill -KILL "$1""#;

/// How a process is started, each time alike.
#[derive(Clone)]
pub struct Setup {
    pub data_dir: PathBuf,
    pub demo: bool,
    /// The app's login and the owner's. None: a private Postgres in the data directory.
    pub database: Option<(String, String)>,
    pub allow_hosts: String,
}

impl Setup {
    fn command(&self) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_hms-act"));
        // A directory without an hms-act.toml, and no settings but these.
        command.current_dir(&self.data_dir).env_clear();
        command.env("PATH", std::env::var_os("PATH").unwrap_or_default());
        command.env("HMS_ACT_DATA_DIR", &self.data_dir).env("HMS_ACT_DEMO_PASSWORD", DEMO_PASSWORD);
        command.env("HMS_ACT_ALLOW_HOSTS", &self.allow_hosts);
        if let Some((url, owner_url)) = &self.database {
            command.env("DATABASE_URL", url).env("HMS_ACT_OWNER_DATABASE_URL", owner_url);
        }
        command
    }

    fn log_file(&self) -> PathBuf {
        self.data_dir.join("test-server.log")
    }

    /// What the servers that were started so have told of themselves.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.log_file()).unwrap_or_default()
    }

    /// Runs another command of the program to its end.
    pub fn run(&self, arguments: &[&str]) -> Output {
        self.run_with(&[], arguments)
    }

    /// The same with further settings.
    pub fn run_with(&self, settings: &[(&str, &str)], arguments: &[&str]) -> Output {
        let mut command = self.command();
        command.envs(settings.iter().copied()).args(arguments);
        command.stdin(Stdio::null()).output().expect("it runs")
    }

    /// Begins another command of the program, which is killed once something is so.
    pub fn run_and_kill9(&self, arguments: &[&str], once: impl Fn() -> bool) {
        let mut command = self.command();
        command.args(arguments).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let mut child = command.spawn().expect("it starts");
        while !once() && child.try_wait().expect("it is ours").is_none() {
            std::thread::yield_now();
        }
        // It may be over already.
        let _ = child.kill();
        child.wait().expect("it ended");
    }

    /// `hms-act verify`: whether it passed, and what it printed.
    pub fn verify(&self) -> (bool, String) {
        let output = self.run(&["verify"]);
        let said = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
        assert!(matches!(output.status.code(), Some(0 | 1)), "{said}");
        (output.status.success(), said.into_owned())
    }
}

/// A server that runs.
pub struct TestProcess {
    setup: Setup,
    child: Child,
    watchdog: Child,
    caller: Caller,
}

impl TestProcess {
    /// Returns once it says that it is open.
    pub fn start(setup: &Setup) -> TestProcess {
        TestProcess::start_with(setup, &[])
    }

    /// The same with further settings.
    pub fn start_with(setup: &Setup, settings: &[(&str, &str)]) -> TestProcess {
        let mut command = setup.command();
        command.envs(settings.iter().copied());
        command.args(["serve", "--bind", "127.0.0.1:0"]);
        if setup.demo {
            command.arg("--demo");
        }
        let log = setup.log_file();
        command.stdin(Stdio::null()).stdout(Stdio::piped());
        command.stderr(File::options().create(true).append(true).open(&log).expect("a log"));
        let mut child = command.process_group(0).spawn().expect("it starts");
        let watchdog = watch(&child);
        let base_url = wait_until_open(&mut child);
        let base_url = base_url.unwrap_or_else(|| {
            let _ = child.kill();
            panic!("it did not open: {}", setup.log())
        });
        TestProcess { setup: setup.clone(), child, watchdog, caller: Caller::new(&base_url, None) }
    }

    pub fn user(&self, name: &str) -> Caller {
        self.caller.with_token(Some(token(&self.setup.data_dir, name, ALL_SCOPES)))
    }

    /// Calls with a token of another instance.
    pub fn bearer(&self, token: String) -> Caller {
        self.caller.with_token(Some(token))
    }

    /// As when its machine stands still: it holds what it holds, and does nothing.
    pub fn freeze(&self) {
        kill_process(Pid::from_child(&self.child), Signal::STOP).expect("it runs");
    }

    /// It goes on where it stood. Connections that were kept alive may have outlived their time: they are not used
    /// again.
    pub fn thaw(&mut self) {
        kill_process(Pid::from_child(&self.child), Signal::CONT).expect("it runs");
        self.caller = Caller::new(self.caller.base_url(), None);
    }

    pub fn base_url(&self) -> &str {
        self.caller.base_url()
    }

    /// Returns once it has its database. One that was thawed may still close what comes, by a clock that stood still.
    pub async fn ready(&self) {
        let is_ready = async || {
            let answer = self.caller.request(Method::GET, "/readyz").send().await;
            answer.is_ok_and(|answer| answer.status() == 200)
        };
        let ready = async {
            while !is_ready().await {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(GUARD, ready).await.expect("it gets ready");
    }

    /// As a power cut: it gets no chance to say or write anything more.
    pub fn kill9(mut self) {
        self.child.kill().expect("it runs");
        self.child.wait().expect("it ended");
    }

    pub fn kill9_and_restart(self) -> TestProcess {
        let setup = self.setup.clone();
        self.kill9();
        TestProcess::start(&setup)
    }

    /// Asks it to end, and waits until it has.
    pub fn terminate(mut self) -> ExitStatus {
        let pid = Pid::from_child(&self.child);
        kill_process(pid, Signal::TERM).expect("it runs");
        let (ended, end) = mpsc::channel();
        std::thread::scope(|scope| {
            let child = &mut self.child;
            scope.spawn(move || ended.send(child.wait().expect("it ended")));
            end.recv_timeout(GUARD).unwrap_or_else(|_| {
                let _ = kill_process(pid, Signal::KILL);
                panic!("it does not end on SIGTERM")
            })
        })
    }
}

impl Drop for TestProcess {
    fn drop(&mut self) {
        // Whoever killed it already gets an error here, and no other process.
        let _ = self.child.kill();
        let _ = self.child.wait();
        if let Some(mut said) = self.watchdog.stdin.take() {
            let _ = said.write_all(b"gone\n");
        }
        let _ = self.watchdog.wait();
    }
}

/// Kills the server also when this test run is itself killed.
pub(super) fn watch(child: &Child) -> Child {
    let mut command = Command::new("/bin/sh");
    command.args(["-c", WATCHDOG, "sh"]).arg(child.id().to_string()).current_dir("/").process_group(0);
    command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null());
    command.spawn().expect("a shell")
}

/// Its address. None: it ended, or says nothing.
fn wait_until_open(child: &mut Child) -> Option<String> {
    let output = child.stdout.take().expect("piped");
    let (sender, receiver) = mpsc::channel();
    // Goes on reading, so that the server never blocks on a full pipe; ends with the server.
    std::thread::spawn(move || {
        for line in BufReader::new(output).lines().map_while(Result::ok) {
            if let Some((_, address)) = line.split_once("open at ") {
                let _ = sender.send(address.trim().to_owned());
            }
        }
    });
    let deadline = Instant::now() + GUARD;
    receiver.recv_timeout(deadline.saturating_duration_since(Instant::now())).ok()
}

/// Licences in the ledger of the demo's portal, as (key, licence), in the order of publishing.
pub fn published(data_dir: &Path) -> Vec<(String, i64)> {
    let ledger = std::fs::read_to_string(data_dir.join("demo-portal-ledger.ndjson")).expect("a ledger");
    let lines = ledger.lines().map(|line| serde_json::from_str(line).expect("a line is JSON"));
    let licences = lines.filter(|line: &serde_json::Value| line["kind"] == "licence");
    licences
        .map(|line| {
            let key = line["key"].as_str().expect("a key").to_owned();
            (key, line["license_id"].as_i64().expect("a number"))
        })
        .collect()
}
