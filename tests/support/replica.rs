//! A streaming replica of a server of the tests: a hot standby, made by `pg_basebackup`.

use super::client::GUARD;
use super::postgres::{TestCluster, not_as_root};
use rustix::process::{Pid, Signal, kill_process};
use std::fs::{DirBuilder, File};
use std::io::Write;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, chown};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::Instant;

pub struct TestReplica {
    programs: PathBuf,
    directory: PathBuf,
}

impl TestReplica {
    /// Returns once it answers. The watchdog of the cluster's directory clears up after it.
    pub fn of(cluster: &TestCluster) -> TestReplica {
        let primary = cluster.directory().join("postgres");
        let replica =
            TestReplica { programs: cluster.programs(), directory: cluster.directory().join("replica") };
        // Its own rules of who may enter say nothing of replication.
        let mut rules = File::options().append(true).open(primary.join("pg_hba.conf")).expect("there");
        rules.write_all(b"local replication all peer map=hms_act\n").expect("written");
        kill_process(Pid::from_raw(cluster.pid()).expect("a process"), Signal::HUP).expect("it runs");
        DirBuilder::new().mode(0o700).create(&replica.directory).expect("ours");
        let status = std::fs::metadata(&primary).expect("there");
        chown(&replica.directory, Some(status.uid()), Some(status.gid())).expect("ours");
        // Until the server has read its rules again, it refuses.
        let deadline = Instant::now() + GUARD;
        let copy = ["-U", "postgres", "-X", "stream", "-c", "fast", "-R", "-D"];
        loop {
            let mut command = replica.program("pg_basebackup");
            let done =
                command.arg("-h").arg(&primary).args(copy).arg(&replica.directory).output().expect("it runs");
            if done.status.success() {
                break;
            }
            assert!(Instant::now() < deadline, "{}", said(&done));
        }
        // The primary's socket lies in its directory, and its lock was copied with it.
        std::fs::remove_file(replica.directory.join(".s.PGSQL.5432.lock")).expect("copied");
        let own = replica.directory.display();
        let settings = format!(
            "unix_socket_directories = '{own}'\nlogging_collector = off\nhot_standby_feedback = off\n"
        );
        let mut file =
            File::options().append(true).open(replica.directory.join("postgresql.auto.conf")).expect("there");
        file.write_all(settings.as_bytes()).expect("written");
        replica.start();
        replica
    }

    /// As the app's login.
    pub fn url(&self) -> String {
        format!("postgres:///hms_act?host={}&port=5432&user=hms_act", self.directory.display())
    }

    pub fn start(&self) {
        let log = self.directory.join("start.log");
        let mut command = self.program("pg_ctl");
        command.args(["start", "--wait", "--silent", "-D"]).arg(&self.directory).arg("-l").arg(&log);
        // The server inherits what it is given, and outlives this call.
        let status = command.stdout(Stdio::null()).stderr(Stdio::null()).status().expect("it runs");
        let log = std::fs::read_to_string(&log).unwrap_or_default();
        assert!(status.success(), "the replica does not start: {log}");
    }

    /// At once, whatever is being read.
    pub fn stop(&self) {
        let mut command = self.program("pg_ctl");
        command.args(["stop", "--wait", "--silent", "--mode", "immediate", "-D"]).arg(&self.directory);
        let done = command.output().expect("it runs");
        assert!(done.status.success(), "{}", said(&done));
    }

    /// From now on it falls behind.
    pub fn pause(&self) {
        self.ask("SELECT pg_wal_replay_pause()");
        let deadline = Instant::now() + GUARD;
        while self.ask("SELECT pg_get_wal_replay_pause_state()") != "paused" {
            assert!(Instant::now() < deadline, "it does not pause");
        }
    }

    pub fn resume(&self) {
        self.ask("SELECT pg_wal_replay_resume()");
    }

    /// As a superuser.
    fn ask(&self, query: &str) -> String {
        let mut command = self.program("psql");
        command.args(["-X", "-A", "-t", "-q", "-U", "postgres", "-d", "hms_act", "-h"]).arg(&self.directory);
        let done = command.args(["-c", query]).output().expect("it runs");
        assert!(done.status.success(), "{}", said(&done));
        String::from_utf8_lossy(&done.stdout).trim().to_owned()
    }

    fn program(&self, name: &str) -> Command {
        let mut command = Command::new(self.programs.join(Path::new(name)));
        command.current_dir("/").stdin(Stdio::null());
        not_as_root(&mut command);
        command
    }
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}
