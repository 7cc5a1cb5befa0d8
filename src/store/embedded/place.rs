//! Where the database's directory and its socket are.
//!
//! The directory is `<data_dir>/postgres`, unless the database's user may not go there (a clone under root's home):
//! then it is under /var/lib, and a note in the data directory says where. Once made, it never moves by itself.

use super::error::StartError;
use super::os_user::OsUser;
use sha2::{Digest, Sha256};
use std::fs;
use std::io::ErrorKind;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

/// The longest socket path that every system takes: Linux has 107 bytes, macOS 103.
const LONGEST_SOCKET: usize = 103;
pub(super) const PORT: u16 = 5432;

#[derive(Debug, Clone)]
pub(super) struct Place {
    pub pgdata: PathBuf,
    pub runs_as: OsUser,
    /// False: the database is still to be made here.
    pub exists: bool,
}

/// Makes the data directory if it is missing, and returns its absolute path.
pub(super) fn data_dir(data_dir: &Path) -> Result<PathBuf, StartError> {
    if !data_dir.exists() {
        fs::create_dir_all(data_dir).map_err(StartError::data_dir(data_dir))?;
        // Others may pass through it to the database, and see nothing on the way.
        let through = fs::Permissions::from_mode(0o711);
        fs::set_permissions(data_dir, through).map_err(StartError::data_dir(data_dir))?;
    }
    data_dir.canonicalize().map_err(StartError::data_dir(data_dir))
}

/// Finds the database of `data_dir`, or the place for a new one. `app` is who asks.
pub(super) fn find(data_dir: &Path, app: &OsUser) -> Result<Place, StartError> {
    let note = data_dir.join("postgres.location");
    if let Some(pgdata) = noted(&note)? {
        return match (pgdata.exists(), pgdata.parent().is_some_and(Path::exists)) {
            (true, _) => existing(pgdata, app),
            // The first start was interrupted after it wrote the note.
            (false, true) => new(pgdata, app),
            (false, false) => Err(StartError::Lost { pgdata, note }),
        };
    }
    let pgdata = data_dir.join("postgres");
    if pgdata.exists() {
        return existing(pgdata, app);
    }
    let place = new(pgdata, app)?;
    match place.runs_as.can_enter(data_dir) {
        true => Ok(place),
        false => Ok(Place { pgdata: elsewhere(&note, &place.runs_as)?, ..place }),
    }
}

fn new(pgdata: PathBuf, app: &OsUser) -> Result<Place, StartError> {
    let runs_as = if app.is_root() { OsUser::postgres()? } else { app.clone() };
    Ok(Place { pgdata, runs_as, exists: false })
}

/// A place under /var/lib for the database that cannot be beside the note, and the note that says so.
fn elsewhere(note: &Path, runs_as: &OsUser) -> Result<PathBuf, StartError> {
    // A random name: a later clone at the same path must not find the data of one that was deleted.
    let parent = PathBuf::from(format!("/var/lib/hms-act-{:016x}", rand::random::<u64>()));
    let pgdata = parent.join("postgres");
    let text = format!(
        "{}\n\nThe database of this data directory is in the directory above, because the user {} may not enter \
         this one.\nTo delete the database, stop the server and remove {} and this note.\n",
        pgdata.display(),
        runs_as.name,
        parent.display(),
    );
    fs::create_dir(&parent).map_err(StartError::data_dir(&parent))?;
    let passable = fs::Permissions::from_mode(0o755);
    fs::set_permissions(&parent, passable).map_err(StartError::data_dir(&parent))?;
    let draft = note.with_extension("location.new");
    fs::write(&draft, text).and_then(|()| fs::rename(&draft, note)).map_err(StartError::data_dir(note))?;
    tracing::warn!(
        "the user {} may not enter the data directory: the database is in {} (noted in {})",
        runs_as.name,
        pgdata.display(),
        note.display()
    );
    Ok(pgdata)
}

impl Place {
    /// The directory for the server's socket: the database's own, or a private short one.
    pub fn socket_dir(&self) -> Result<PathBuf, StartError> {
        if fits(&self.pgdata) {
            return Ok(self.pgdata.clone());
        }
        let digest = Sha256::digest(self.pgdata.as_os_str().as_encoded_bytes());
        let name = format!("hms-act-{}", hex::encode(&digest[..8]));
        let runtime = match std::env::var_os("XDG_RUNTIME_DIR") {
            Some(directory) if !rustix::process::geteuid().is_root() => PathBuf::from(directory),
            Some(_) | None => PathBuf::from("/run"),
        };
        // In /tmp anybody may have taken the name: then the next one is tried.
        let candidates = std::iter::once(runtime.join(&name))
            .chain((0..100).map(|n| PathBuf::from(format!("/tmp/{name}-{n}"))))
            .filter(|directory| fits(directory));
        for directory in candidates {
            if self.private(&directory) {
                tracing::info!("the database's socket is in {}", directory.display());
                return Ok(directory);
            }
        }
        Err(StartError::startup(&self.pgdata, "no private directory for its socket in /tmp".to_owned()))
    }

    /// Makes `directory` for the database's user alone, or finds it made so.
    fn private(&self, directory: &Path) -> bool {
        match fs::DirBuilder::new().mode(0o700).create(directory) {
            Ok(()) => self.runs_as.own(directory).is_ok(),
            Err(error) if error.kind() == ErrorKind::AlreadyExists => fs::symlink_metadata(directory)
                .is_ok_and(|it| it.is_dir() && it.uid() == self.runs_as.uid && it.mode() & 0o777 == 0o700),
            Err(_) => false,
        }
    }
}

fn fits(directory: &Path) -> bool {
    directory.join(format!(".s.PGSQL.{PORT}")).as_os_str().len() <= LONGEST_SOCKET
}

/// The first line of the note, if there is one.
fn noted(note: &Path) -> Result<Option<PathBuf>, StartError> {
    match fs::read_to_string(note) {
        Ok(text) => Ok(text.lines().next().map(PathBuf::from)),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(StartError::data_dir(note)(error)),
    }
}

/// A database that is there runs as whoever owns it; only root can become somebody else.
fn existing(pgdata: PathBuf, app: &OsUser) -> Result<Place, StartError> {
    let owner = fs::metadata(&pgdata).map_err(StartError::data_dir(&pgdata))?.uid();
    if owner != app.uid && !app.is_root() {
        return Err(StartError::ForeignOwner { pgdata, owner });
    }
    let is_empty = || fs::read_dir(&pgdata).is_ok_and(|mut entries| entries.next().is_none());
    if !pgdata.join("PG_VERSION").exists() {
        if !is_empty() {
            return Err(StartError::NotACluster(pgdata));
        }
        return new(pgdata, app);
    }
    let runs_as = OsUser::lookup(&owner.to_string()).filter(|user| !user.is_root());
    let runs_as = runs_as.ok_or_else(|| StartError::ForeignOwner { pgdata: pgdata.clone(), owner })?;
    if !runs_as.can_enter(&pgdata) {
        return Err(StartError::CannotEnter { user: runs_as.name, path: pgdata });
    }
    Ok(Place { pgdata, runs_as, exists: true })
}
