//! The private PostgreSQL that the app starts itself when no `DATABASE_URL` is given.
//!
//! It uses the machine's own server programs, listens on a Unix socket only, and is durable like any other: a
//! kill -9 of the app leaves it running, and the next start adopts it. Whoever may be what inside it is decided by
//! peer authentication. (The operating-system user that it runs as is its superuser over the socket.)
//!
//! Never listens on a network, never touches another server of the machine, never removes a database.

mod binaries;
mod create;
mod error;
mod os_user;
mod place;
mod server;

pub use error::StartError;

use super::conninfo::Conninfo;
use binaries::Binaries;
pub use create::DATABASE;
use os_user::OsUser;
use place::Place;
use server::Postmaster;
use std::fs::File;
use std::path::{Path, PathBuf};

/// A running private server.
///
/// Dropping it leaves the server running, on purpose: only [`Cluster::stop`] ends it, and whoever starts next on the
/// same data directory adopts it.
#[derive(Debug)]
pub struct Cluster {
    place: Place,
    binaries: Binaries,
    postmaster: Postmaster,
    /// Held for as long as a start or a stop takes: two at once wait for each other.
    turn: Turn,
    /// Shared among the instances that use the server. The kernel lets go of it when an instance is killed.
    in_use: File,
}

impl Cluster {
    /// Starts the private server of this data directory (making the database first if there is none), or adopts the
    /// one that runs. Returns when it answers.
    pub fn start(data_dir: &Path) -> Result<Cluster, StartError> {
        let data_dir = place::data_dir(data_dir)?;
        let turn = Turn { file: lock_file(&data_dir.join("postgres.lock"))? };
        let in_use = lock_file(&data_dir.join("postgres.in-use"))?;
        let (place, binaries, postmaster) = turn.take(|| bring_up(&data_dir, &in_use))?;
        Ok(Cluster { place, binaries, postmaster, turn, in_use })
    }

    /// The connection string of the app's own login.
    pub fn app_url(&self) -> String {
        self.url(create::APP_LOGIN, create::DATABASE)
    }

    /// The connection string of the login that makes the roles and migrates.
    pub fn owner_url(&self) -> String {
        self.url(create::OWNER_LOGIN, create::DATABASE)
    }

    /// The owner's login, which may make and drop databases, in a database that is nobody's.
    pub fn admin_url(&self) -> String {
        self.url(create::OWNER_LOGIN, "postgres")
    }

    /// The connection string of the app's own login, to another database of this server.
    pub fn app_url_of(&self, database: &str) -> String {
        self.url(create::APP_LOGIN, database)
    }

    /// Postgres's own client, if it lies beside the server's programs.
    pub fn psql(&self) -> Option<PathBuf> {
        Some(self.binaries.psql()).filter(|psql| psql.exists())
    }

    /// The process id of the server.
    pub fn pid(&self) -> i32 {
        self.postmaster.pid
    }

    /// Stops the server (open transactions are rolled back) and waits for its end. While another instance still
    /// uses it, it is left to that one.
    pub fn stop(self) -> Result<(), StartError> {
        self.turn.take(|| {
            // Explicitly: a process that is just being spawned holds a copy of the handle for a moment.
            let _ = self.in_use.unlock();
            if self.in_use.try_lock().is_err() {
                tracing::info!("another instance uses the database: it stays up");
                return Ok(());
            }
            let stopped = server::stop(&self.place, &self.binaries);
            if self.postmaster.socket_dir != self.place.pgdata {
                let _ = std::fs::remove_dir(&self.postmaster.socket_dir);
            }
            let _ = self.in_use.unlock();
            stopped
        })
    }

    fn url(&self, login: &str, database: &str) -> String {
        let socket_dir = self.postmaster.socket_dir.to_string_lossy();
        Conninfo::over_socket(&socket_dir, self.postmaster.port, login, database)
    }
}

impl Drop for Cluster {
    /// Lets go of the shared lock at once: closing the handle does not, while a process that is just being spawned
    /// holds a copy of it.
    fn drop(&mut self) {
        let _ = self.in_use.unlock();
    }
}

fn bring_up(data_dir: &Path, in_use: &File) -> Result<(Place, Binaries, Postmaster), StartError> {
    let app = OsUser::of_this_process()?;
    let place = place::find(data_dir, &app)?;
    if !place.exists {
        let binaries = binaries::newest(&place.runs_as)?;
        tracing::info!("making a database in {}", place.pgdata.display());
        create::cluster(&place, &binaries)?;
    }
    let binaries = binaries::matching(&place.pgdata, &place.runs_as)?;
    let postmaster = match server::adopt(&place)? {
        Some(postmaster) => {
            tracing::info!("the database is running already (process {})", postmaster.pid);
            postmaster
        }
        None => {
            create::settings(&place, &app)?;
            server::start(&place, &binaries)?
        }
    };
    in_use.lock_shared().map_err(StartError::data_dir(data_dir))?;
    Ok((place, binaries, postmaster))
}

/// One start or stop at a time, among all processes.
#[derive(Debug)]
struct Turn {
    file: File,
}

impl Turn {
    fn take<T>(&self, work: impl FnOnce() -> Result<T, StartError>) -> Result<T, StartError> {
        self.file.lock().map_err(|source| StartError::Program { program: "flock".to_owned(), source })?;
        let result = work();
        let _ = self.file.unlock();
        result
    }
}

/// Opens a file to lock. It may be root's: reading is enough to lock it.
fn lock_file(path: &Path) -> Result<File, StartError> {
    match File::open(path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            File::options().create(true).append(true).open(path).map_err(StartError::data_dir(path))
        }
        opened => opened.map_err(StartError::data_dir(path)),
    }
}
