//! Who runs the app, and who runs the database: PostgreSQL refuses to run as root, and there may be no sudo.
//!
//! Everything inside the database's directory is written by a process of its own user, never by root: a link
//! planted there must not lead root anywhere.

use super::error::StartError;
use std::io::Write;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Output, Stdio};

/// A user of the operating system.
#[derive(Debug, Clone)]
pub(super) struct OsUser {
    pub name: String,
    pub uid: u32,
    gid: u32,
}

impl OsUser {
    /// Whoever runs this process.
    pub fn of_this_process() -> Result<OsUser, StartError> {
        let uid = rustix::process::geteuid().as_raw();
        OsUser::lookup(&uid.to_string()).ok_or_else(|| StartError::Program {
            program: "id".to_owned(),
            source: std::io::Error::other(format!("no user has the id {uid}")),
        })
    }

    /// The user that the server package made for running servers.
    pub fn postgres() -> Result<OsUser, StartError> {
        ["postgres", "_postgres"]
            .iter()
            .find_map(|name| OsUser::lookup(name))
            .ok_or(StartError::NoClusterUser)
    }

    /// By name or number, through `id`, which knows every directory service of the machine.
    pub fn lookup(name_or_uid: &str) -> Option<OsUser> {
        let ask = |what: &str| {
            let output = Command::new("id").args([what, name_or_uid]).stderr(Stdio::null()).output().ok()?;
            output.status.success().then(|| String::from_utf8_lossy(&output.stdout).trim().to_owned())
        };
        Some(OsUser { name: ask("-un")?, uid: ask("-u")?.parse().ok()?, gid: ask("-g")?.parse().ok()? })
    }

    pub fn is_root(&self) -> bool {
        self.uid == 0
    }

    /// A command that runs as this user: nothing of the caller's `PG*` variables, messages in English.
    ///
    /// From root, `uid` also drops root's supplementary groups (the standard library calls `setgroups`).
    pub fn command(&self, program: &Path) -> Command {
        let mut command = Command::new(program);
        for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("PG")) {
            command.env_remove(name);
        }
        // The caller's directory may be one that this user cannot enter.
        command.env("LC_ALL", "C").current_dir("/").stdin(Stdio::null());
        if rustix::process::geteuid().is_root() && !self.is_root() {
            command.uid(self.uid).gid(self.gid);
        }
        command
    }

    /// Whether this user can get into `directory`, by asking the kernel: modes alone do not tell (access lists).
    pub fn can_enter(&self, directory: &Path) -> bool {
        let mut command = self.command(Path::new("/bin/sh"));
        command.args(["-c", "cd \"$1\"", "sh"]).arg(directory).stderr(Stdio::null());
        command.status().is_ok_and(|status| status.success())
    }

    /// Replaces the file as this user, readable by it alone.
    pub fn write(&self, path: &Path, content: &str) -> Result<(), StartError> {
        let mut command = self.command(Path::new("/bin/sh"));
        command.args(["-c", "umask 077; cat > \"$1\"", "sh"]).arg(path);
        let output = run(&mut command, content)?;
        if output.status.success() {
            return Ok(());
        }
        Err(StartError::startup(path.parent().unwrap_or(path), last_words(&output)))
    }

    /// Gives a new directory of root's to this user; without root it is this user's already.
    pub fn own(&self, directory: &Path) -> std::io::Result<()> {
        if rustix::process::geteuid().is_root() {
            std::os::unix::fs::chown(directory, Some(self.uid), Some(self.gid))?;
        }
        Ok(())
    }
}

/// Runs to the end with `input` on standard input.
pub(super) fn run(command: &mut Command, input: &str) -> Result<Output, StartError> {
    let failed = |program: &Command, source| StartError::Program {
        program: program.get_program().to_string_lossy().into_owned(),
        source,
    };
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().map_err(|source| failed(command, source))?;
    if let Some(mut stdin) = child.stdin.take() {
        // A program that ends before it has read everything reports why by itself.
        let _ = stdin.write_all(input.as_bytes());
    }
    child.wait_with_output().map_err(|source| failed(command, source))
}

/// The last line that says something bad, of a program that failed.
pub(super) fn last_words(output: &Output) -> String {
    let said = [&output.stdout, &output.stderr].map(|bytes| String::from_utf8_lossy(bytes).into_owned());
    worst_line(&said.concat()).unwrap_or_else(|| format!("it ended with {}", output.status))
}

/// The line that tells most: of a full disk, else the last with a serious level, else the last at all.
pub(super) fn worst_line(text: &str) -> Option<String> {
    let lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
    let full_disk = |line: &&str| line.contains("No space left on device");
    let serious = |line: &&str| ["FATAL:", "PANIC:", "error:"].iter().any(|word| line.contains(word));
    let worst = lines.clone().rfind(full_disk).or_else(|| lines.clone().rfind(serious));
    worst.or_else(|| lines.clone().next_back()).map(str::to_owned)
}
