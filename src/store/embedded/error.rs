//! Why the private Postgres did not come up. Each message is one line and says what to do.

use std::io;
use std::path::{Path, PathBuf};

#[derive(Debug, thiserror::Error)]
pub enum StartError {
    #[error(
        "no PostgreSQL server is installed (looked in PATH, /usr/lib/postgresql and Homebrew): install version \
         {needed} or newer (Debian and Ubuntu: apt-get install postgresql; macOS: brew install postgresql), or \
         set DATABASE_URL"
    )]
    NoServer { needed: u32 },
    #[error(
        "the newest PostgreSQL server here is version {found}, and {needed} or newer is needed: install one, or \
         set DATABASE_URL"
    )]
    ServerTooOld { found: u32, needed: u32 },
    #[error(
        "the database in {} was made by PostgreSQL {data}, which is not installed here (found: {found}): install \
         postgresql-{data}, or choose another HMS_ACT_DATA_DIR",
        .pgdata.display()
    )]
    OtherMajorVersion { pgdata: PathBuf, data: u32, found: String },
    #[error("cannot use the data directory {}: {source} (see HMS_ACT_DATA_DIR)", .path.display())]
    DataDir { path: PathBuf, source: io::Error },
    #[error(
        "{} exists but holds no PostgreSQL database: move it away, or choose another HMS_ACT_DATA_DIR",
        .0.display()
    )]
    NotACluster(PathBuf),
    #[error(
        "{} belongs to another user (uid {owner}): run as that user, or choose another HMS_ACT_DATA_DIR",
        .pgdata.display()
    )]
    ForeignOwner { pgdata: PathBuf, owner: u32 },
    #[error(
        "the database of this data directory was kept in {} and is no longer there: put it back, or remove {} to \
         begin with an empty one",
        .pgdata.display(), .note.display()
    )]
    Lost { pgdata: PathBuf, note: PathBuf },
    #[error(
        "running as root, and there is no user \"postgres\" to run the database as (PostgreSQL refuses to run as \
         root): install the PostgreSQL server package, or run as an ordinary user"
    )]
    NoClusterUser,
    #[error("the user {user} that runs the database may not enter {}: allow it (chmod a+x on the way), or \
             choose another HMS_ACT_DATA_DIR", .path.display())]
    CannotEnter { user: String, path: PathBuf },
    #[error("no space left on the disk that holds {}: free some, then start again ({line})", .pgdata.display())]
    DiskFull { pgdata: PathBuf, line: String },
    #[error("the database in {} did not start: {line}", .pgdata.display())]
    Startup { pgdata: PathBuf, line: String },
    #[error("the database in {} did not stop: {line}", .pgdata.display())]
    Stop { pgdata: PathBuf, line: String },
    #[error("cannot run {program}: {source}")]
    Program { program: String, source: io::Error },
}

impl StartError {
    pub(super) fn data_dir(path: &Path) -> impl FnOnce(io::Error) -> StartError + use<> {
        let path = path.to_owned();
        move |source| match source.kind() {
            io::ErrorKind::StorageFull => StartError::DiskFull { pgdata: path, line: source.to_string() },
            _ => StartError::DataDir { path, source },
        }
    }

    /// A server or tool that failed, with what it said.
    pub(super) fn startup(pgdata: &Path, line: String) -> StartError {
        let pgdata = pgdata.to_owned();
        if line.contains("No space left on device") {
            StartError::DiskFull { pgdata, line }
        } else {
            StartError::Startup { pgdata, line }
        }
    }
}
