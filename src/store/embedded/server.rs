//! The server process: is it there, start it, wait for its answer, stop it.

use super::binaries::Binaries;
use super::create::OWNER_LOGIN;
use super::error::StartError;
use super::os_user::{self, worst_line};
use super::place::Place;
use crate::store::conninfo::Conninfo;
use crate::store::error::one_line;
use diesel::{Connection, PgConnection};
use std::fs;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

/// After a crash the server first replays its log (at most 4 GB): that may take minutes on a slow disk.
const START_LIMIT: Duration = Duration::from_secs(600);
const STOP_LIMIT: Duration = Duration::from_secs(60);
/// Within this the other processes of a killed server end by themselves.
const NOTICE_LIMIT: Duration = Duration::from_secs(10);

/// What the server writes about itself into `postmaster.pid`.
#[derive(Debug, Clone)]
pub(super) struct Postmaster {
    pub pid: i32,
    pub port: u16,
    pub socket_dir: PathBuf,
}

impl Postmaster {
    /// None: no server has left its file here.
    fn read(pgdata: &Path) -> Option<Postmaster> {
        let text = fs::read_to_string(pid_file(pgdata)).ok()?;
        let lines: Vec<&str> = text.lines().collect();
        let socket_dir = lines.get(4).map(PathBuf::from).filter(|path| path.is_absolute());
        Some(Postmaster {
            pid: lines.first()?.trim().parse().ok()?,
            port: lines.get(3).and_then(|port| port.trim().parse().ok()).unwrap_or(super::place::PORT),
            socket_dir: socket_dir.unwrap_or_else(|| pgdata.to_owned()),
        })
    }

    fn answers(&self) -> Result<(), String> {
        let socket_dir = self.socket_dir.to_string_lossy();
        let url = Conninfo::over_socket(&socket_dir, self.port, OWNER_LOGIN, "postgres");
        match PgConnection::establish(&format!("{url}&connect_timeout=5")) {
            Ok(_) => Ok(()),
            Err(error) => Err(one_line(&error.to_string())),
        }
    }
}

fn pid_file(pgdata: &Path) -> PathBuf {
    pgdata.join("postmaster.pid")
}

/// The server that already runs on this directory, once it answers: its app was killed, or another instance is up.
pub(super) fn adopt(place: &Place) -> Result<Option<Postmaster>, StartError> {
    let deadline = Instant::now() + START_LIMIT;
    loop {
        let Some(postmaster) = Postmaster::read(&place.pgdata) else { return Ok(None) };
        if !works_in(postmaster.pid, &place.pgdata) {
            forget_dead_server(&postmaster, &place.pgdata);
            return Ok(None);
        }
        match postmaster.answers() {
            Ok(()) => return Ok(Some(postmaster)),
            Err(reason) if Instant::now() > deadline => {
                let line = format!("process {} does not answer: {reason}", postmaster.pid);
                return Err(StartError::startup(&place.pgdata, line));
            }
            // It is starting, or stopping: soon it answers or is gone.
            Err(_) => std::thread::sleep(Duration::from_millis(100)),
        }
    }
}

/// After a crash another program may have the number that the server left in its lock files, or the dead server is
/// still listed because nobody has asked how it ended. PostgreSQL would then refuse to start. The files may go only
/// when nothing at all works in the directory any more (the processes of a killed server take a moment to notice).
fn forget_dead_server(postmaster: &Postmaster, pgdata: &Path) {
    let deadline = Instant::now() + NOTICE_LIMIT;
    while anything_works_in(pgdata) {
        if Instant::now() > deadline {
            // PostgreSQL says it best itself.
            return;
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    let socket_lock = postmaster.socket_dir.join(format!(".s.PGSQL.{}.lock", postmaster.port));
    for file in [pid_file(pgdata), socket_lock] {
        let _ = fs::remove_file(file);
    }
}

/// Where processes cannot be listed like this (macOS): true, nothing is known.
fn anything_works_in(pgdata: &Path) -> bool {
    let Ok(processes) = fs::read_dir("/proc") else { return true };
    let mut pids = processes.flatten().filter_map(|entry| entry.file_name().to_string_lossy().parse().ok());
    pids.any(|pid| works_in(pid, pgdata))
}

/// Whether the process is alive and has the database's directory as its own, as every process of a server has.
fn works_in(pid: i32, pgdata: &Path) -> bool {
    if Path::new("/proc/self/cwd").exists() {
        return fs::read_link(format!("/proc/{pid}/cwd")).is_ok_and(|directory| directory == pgdata);
    }
    // macOS has no /proc.
    let output = Command::new("lsof").args(["-a", "-d", "cwd", "-Fn", "-p", &pid.to_string()]).output();
    output.is_ok_and(|it| {
        String::from_utf8_lossy(&it.stdout).lines().any(|line| line.strip_prefix('n') == pgdata.to_str())
    })
}

/// Starts the server and returns when it answers.
pub(super) fn start(place: &Place, binaries: &Binaries) -> Result<Postmaster, StartError> {
    let log = place.pgdata.join("start.log");
    place.runs_as.write(&log, "")?;
    let mut command = place.runs_as.command(&binaries.pg_ctl());
    command.args(["start", "--wait", "--silent", "--timeout"]).arg(START_LIMIT.as_secs().to_string());
    command.arg("-D").arg(&place.pgdata).arg("-l").arg(&log);
    // A group of its own: Ctrl-C in the app's terminal is for the app, which then stops the database in order.
    command.process_group(0);
    let output = os_user::run(&mut command, "")?;
    if !output.status.success() {
        let line = last_log_line(&place.pgdata).unwrap_or_else(|| os_user::last_words(&output));
        return Err(StartError::startup(&place.pgdata, line));
    }
    let postmaster = Postmaster::read(&place.pgdata)
        .ok_or_else(|| StartError::startup(&place.pgdata, "it ended right after its start".to_owned()))?;
    postmaster.answers().map_err(|reason| StartError::startup(&place.pgdata, reason))?;
    Ok(postmaster)
}

/// A fast shutdown: open transactions are rolled back, everything committed is on disk when this returns.
pub(super) fn stop(place: &Place, binaries: &Binaries) -> Result<(), StartError> {
    let mut command = place.runs_as.command(&binaries.pg_ctl());
    command.args(["stop", "--wait", "--silent", "--mode", "fast", "--timeout"]);
    command.arg(STOP_LIMIT.as_secs().to_string()).arg("-D").arg(&place.pgdata);
    let output = os_user::run(&mut command, "")?;
    if output.status.success() || Postmaster::read(&place.pgdata).is_none() {
        return Ok(());
    }
    Err(StartError::Stop { pgdata: place.pgdata.clone(), line: os_user::last_words(&output) })
}

/// Why the server gave up, from the log of its start or from the newest daily log.
fn last_log_line(pgdata: &Path) -> Option<String> {
    let read = |path: &Path| fs::read(path).ok().map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
    let daily = fs::read_dir(pgdata.join("log")).into_iter().flatten().flatten();
    let newest = daily.max_by_key(|entry| entry.metadata().and_then(|data| data.modified()).ok());
    let newest = newest.and_then(|entry| read(&entry.path()));
    // A day's log also holds what happened before this start.
    let newest = newest.and_then(|text| worst_line(text.rsplit("starting PostgreSQL").next()?));
    let start = read(&pgdata.join("start.log")).and_then(|text| worst_line(&text));
    match start {
        Some(line) if line.contains("FATAL:") || line.contains("PANIC:") => Some(line),
        start => newest.or(start),
    }
}
