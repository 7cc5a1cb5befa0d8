//! Making a database directory, and the files that say how it runs and who may enter.

use super::binaries::Binaries;
use super::error::StartError;
use super::os_user::{self, OsUser};
use super::place::{PORT, Place};
use std::ffi::OsString;
use std::fs;
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;

/// The app's login, its owner's (which migrates), and the database: the names inside the private server.
pub(super) const APP_LOGIN: &str = "hms_act";
pub(super) const OWNER_LOGIN: &str = "hms_act_migrate";
/// The app's database.
pub const DATABASE: &str = "hms_act";
const SUPERUSER: &str = "postgres";

/// Makes the database directory beside its place and renames it: an interrupted attempt leaves nothing half-made.
pub(super) fn cluster(place: &Place, binaries: &Binaries) -> Result<(), StartError> {
    let pgdata = &place.pgdata;
    let parent = pgdata.parent().unwrap_or(Path::new("/"));
    clear_drafts(parent);
    // A name of its own: an initdb that outlived its killed app must not write into this one.
    let draft = parent.join(format!("{DRAFT_PREFIX}{:016x}", rand::random::<u64>()));
    let attempt = draft_cluster(place, binaries, &draft)
        .and_then(|()| fs::rename(&draft, pgdata).map_err(StartError::data_dir(pgdata)));
    if attempt.is_err() {
        let _ = fs::remove_dir_all(&draft);
    }
    attempt
}

const DRAFT_PREFIX: &str = "postgres.new-";

fn clear_drafts(parent: &Path) {
    for entry in fs::read_dir(parent).into_iter().flatten().flatten() {
        if entry.file_name().to_string_lossy().starts_with(DRAFT_PREFIX) {
            let _ = fs::remove_dir_all(entry.path());
        }
    }
}

fn draft_cluster(place: &Place, binaries: &Binaries, draft: &Path) -> Result<(), StartError> {
    let user = &place.runs_as;
    fs::DirBuilder::new().mode(0o700).create(draft).map_err(StartError::data_dir(draft))?;
    user.own(draft).map_err(StartError::data_dir(draft))?;

    // C orders text the same way on every machine and after every upgrade of the system's libraries.
    let ctype = if cfg!(target_os = "linux") { "C.UTF-8" } else { "C" };
    let mut initdb = user.command(&binaries.initdb());
    initdb.arg("-D").arg(draft).args(["--encoding=UTF8", "--locale=C", "--data-checksums"]);
    initdb.arg(format!("--lc-ctype={ctype}")).arg(format!("--username={SUPERUSER}"));
    initdb.args(["--auth-local=peer", "--auth-host=reject"]);
    succeed(&place.pgdata, &mut initdb, "")?;

    let base = draft.join("postgresql.conf");
    let shipped = fs::read_to_string(&base).map_err(StartError::data_dir(&base))?;
    user.write(&base, &format!("{shipped}\ninclude_if_exists = '{SETTINGS_FILE}'\n"))?;

    // Without a server: nothing listens before the rules of who may enter are in place.
    let mut single = user.command(&binaries.postgres());
    single.args(["--single", "-c", "exit_on_error=on", "-c", "log_min_messages=error", "-D"]).arg(draft);
    single.arg("postgres");
    let statements = format!(
        "CREATE ROLE {OWNER_LOGIN} LOGIN CREATEROLE CREATEDB\n\
         GRANT pg_signal_backend TO {OWNER_LOGIN}\n\
         CREATE DATABASE {DATABASE} OWNER {OWNER_LOGIN}\n\
         REVOKE CONNECT ON DATABASE postgres FROM PUBLIC\n\
         GRANT CONNECT ON DATABASE postgres TO {OWNER_LOGIN}\n"
    );
    succeed(&place.pgdata, &mut single, &statements)
}

fn succeed(pgdata: &Path, command: &mut std::process::Command, input: &str) -> Result<(), StartError> {
    let output = os_user::run(command, input)?;
    match output.status.success() {
        true => Ok(()),
        false => Err(StartError::startup(pgdata, os_user::last_words(&output))),
    }
}

const SETTINGS_FILE: &str = "hms_act.conf";

/// Writes the settings and the rules of entry. Done at every start, so that a new version's settings take effect.
pub(super) fn settings(place: &Place, app: &OsUser) -> Result<(), StartError> {
    let socket_dir = place.socket_dir()?;
    let write = |name: &str, text: &str| place.runs_as.write(&place.pgdata.join(name), text);
    write(SETTINGS_FILE, &server_settings(&socket_dir))?;
    write("pg_hba.conf", &format!("{WRITTEN_BY}\nlocal all all peer map=hms_act\n"))?;
    write("pg_ident.conf", &identities(app, &place.runs_as))
}

const WRITTEN_BY: &str = "# Written by hms-act at every start: changes here are lost.";

/// For a small machine, and safe against power loss: nothing here trades durability for speed.
fn server_settings(socket_dir: &Path) -> String {
    let socket_dir = OsString::from(socket_dir).to_string_lossy().replace('\'', "''");
    format!(
        "{WRITTEN_BY} Your own: ALTER SYSTEM SET …\n\
         listen_addresses = ''\n\
         port = {PORT}\n\
         unix_socket_directories = '\"{socket_dir}\"'\n\
         unix_socket_permissions = 0700\n\
         cluster_name = 'hms-act'\n\
         \n\
         fsync = on\n\
         synchronous_commit = on\n\
         full_page_writes = on\n\
         wal_compression = on\n\
         checkpoint_timeout = 15min\n\
         max_wal_size = 4GB\n\
         \n\
         max_connections = 60\n\
         shared_buffers = 256MB\n\
         random_page_cost = 1.1\n\
         jit = off\n\
         autovacuum_naptime = 15s\n\
         timezone = 'UTC'\n\
         \n\
         # One file a weekday, begun anew each week. No statements and no values in it: they hold people's data.\n\
         logging_collector = on\n\
         log_directory = 'log'\n\
         log_filename = 'postgres-%a.log'\n\
         log_rotation_age = 1d\n\
         log_rotation_size = 0\n\
         log_truncate_on_rotation = on\n\
         log_timezone = 'UTC'\n\
         log_min_error_statement = panic\n\
         log_error_verbosity = terse\n"
    )
}

/// Which user of the operating system may come in as which login. Never `trust`.
fn identities(app: &OsUser, runs_as: &OsUser) -> String {
    let line = |user: &OsUser, login: &str| format!("hms_act \"{}\" {login}\n", user.name);
    [format!("{WRITTEN_BY}\n"), line(app, APP_LOGIN), line(app, OWNER_LOGIN), line(runs_as, SUPERUSER)]
        .concat()
}
