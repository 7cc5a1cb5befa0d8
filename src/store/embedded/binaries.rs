//! Finding the machine's own PostgreSQL server: `PATH`, then the places where the packages put it.

use super::error::StartError;
use super::os_user::OsUser;
use std::path::{Path, PathBuf};

/// The oldest version that the SQL here is written for.
pub(super) const OLDEST: u32 = 15;

/// The programs of one PostgreSQL server.
#[derive(Debug, Clone)]
pub(super) struct Binaries {
    directory: PathBuf,
    pub major: u32,
}

impl Binaries {
    pub fn initdb(&self) -> PathBuf {
        self.directory.join("initdb")
    }

    pub fn postgres(&self) -> PathBuf {
        self.directory.join("postgres")
    }

    pub fn psql(&self) -> PathBuf {
        self.directory.join("psql")
    }

    pub fn pg_ctl(&self) -> PathBuf {
        self.directory.join("pg_ctl")
    }
}

/// The server to make a new database with.
pub(super) fn newest(runs_as: &OsUser) -> Result<Binaries, StartError> {
    let found = installed(runs_as);
    let newest = found.iter().map(|binaries| binaries.major).max();
    match (found.into_iter().find(|binaries| binaries.major >= OLDEST), newest) {
        (Some(binaries), _) => Ok(binaries),
        (None, Some(found)) => Err(StartError::ServerTooOld { found, needed: OLDEST }),
        (None, None) => Err(StartError::NoServer { needed: OLDEST }),
    }
}

/// The server that can open the database in `pgdata`: its major version must be the one that made it.
pub(super) fn matching(pgdata: &Path, runs_as: &OsUser) -> Result<Binaries, StartError> {
    let marker = pgdata.join("PG_VERSION");
    let text = std::fs::read_to_string(&marker).map_err(StartError::data_dir(&marker))?;
    let data = text.trim().parse().map_err(|_| StartError::NotACluster(pgdata.to_owned()))?;
    let found = installed(runs_as);
    let versions = found.iter().map(|binaries| binaries.major.to_string()).collect::<Vec<_>>();
    if let Some(binaries) = found.into_iter().find(|binaries| binaries.major == data) {
        return Ok(binaries);
    }
    if versions.is_empty() {
        return Err(StartError::NoServer { needed: OLDEST });
    }
    Err(StartError::OtherMajorVersion { pgdata: pgdata.to_owned(), data, found: versions.join(", ") })
}

/// Every server that `runs_as` can execute, in the order of preference, each major version once.
fn installed(runs_as: &OsUser) -> Vec<Binaries> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let mut found: Vec<Binaries> = Vec::new();
    for directory in std::env::split_paths(&path).chain(package_directories()) {
        let Ok(postgres) = directory.join("postgres").canonicalize() else { continue };
        let Some(directory) = postgres.parent().map(Path::to_owned) else { continue };
        let complete = directory.join("initdb").exists() && directory.join("pg_ctl").exists();
        let known = found.iter().any(|binaries| binaries.directory == directory);
        if let Some(major) = (complete && !known).then(|| version(&postgres, runs_as)).flatten() {
            found.push(Binaries { directory, major });
        }
    }
    found
}

/// Debian, Red Hat, Homebrew on both kinds of Mac; newest first within each.
fn package_directories() -> Vec<PathBuf> {
    let roots = ["/usr/lib/postgresql", "/usr", "/opt/homebrew/opt", "/usr/local/opt"];
    let mut directories = Vec::new();
    for root in roots {
        let names = std::fs::read_dir(root).into_iter().flatten().flatten();
        let mut versions: Vec<(u32, PathBuf)> = names
            .filter_map(|entry| {
                Some((package_version(root, &entry.file_name().to_string_lossy())?, entry.path()))
            })
            .collect();
        versions.sort_by_key(|(version, _)| std::cmp::Reverse(*version));
        directories.extend(versions.into_iter().map(|(_, path)| path.join("bin")));
    }
    directories
}

fn package_version(root: &str, name: &str) -> Option<u32> {
    match root {
        "/usr/lib/postgresql" => name.parse().ok(),
        "/usr" => name.strip_prefix("pgsql-")?.parse().ok(),
        _ if name == "postgresql" => Some(0),
        _ => name.strip_prefix("postgresql@")?.parse().ok(),
    }
}

/// `postgres (PostgreSQL) 15.20 (Debian 15.20-0+deb12u1)` is 15; so is `15beta1`.
fn version(postgres: &Path, runs_as: &OsUser) -> Option<u32> {
    let output = runs_as.command(postgres).arg("--version").output().ok()?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let number = text.split_whitespace().nth(2)?;
    number.split(|c: char| !c.is_ascii_digit()).next()?.parse().ok()
}
