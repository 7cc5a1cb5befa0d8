//! The commands that need little more than a call.

use crate::app::database::Database;
use crate::app::{self, log_origin};
use crate::auth::log_keys::LogKeys;
use crate::auth::password;
use crate::auth::policy::{AuthMethod, Role, Scope};
use crate::auth::token_keys::TokenKey;
use crate::auth::tokens;
use crate::config::Config;
use crate::engine::protocol::is_user_name;
use crate::scheduler::membership::host_name;
use crate::store::agency::{AgencyEntry, AgencyLog};
use crate::store::{Pool, instances, token_keys, tree, users};
use crate::web::people;
use anyhow::{Context, bail};
use chrono::Utc;
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::io::{BufRead, IsTerminal, Write};
use std::time::{Duration, Instant};
use tokio::signal::unix::{SignalKind, signal};

/// A part that does not end in this time is left behind: the next start rescues what it held.
const STOP_SECONDS: u64 = 9;

/// How long a command waits for its turn at the log's tree, and between two looks.
const TURN: Duration = Duration::from_secs(10);
const LOOK: Duration = Duration::from_millis(20);

/// `hms-act serve`: until SIGTERM or Ctrl-C.
pub fn serve(config: &Config) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let served = runtime.block_on(async {
        let mut terminate = signal(SignalKind::terminate())?;
        let mut interrupt = signal(SignalKind::interrupt())?;
        let running = tokio::select! {
            running = app::start(config) => running?,
            _ = terminate.recv() => return Ok(()),
            _ = interrupt.recv() => return Ok(()),
        };
        println!("HMS-ACT is open at {}", running.base_url());
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        // Whoever read this may be gone, which is no reason not to close in order.
        let _ = writeln!(std::io::stdout(), "HMS-ACT is closing.");
        match tokio::time::timeout(Duration::from_secs(STOP_SECONDS), running.stop()).await {
            Ok(stopped) => stopped,
            Err(_) => bail!("some part did not end in {STOP_SECONDS} seconds and was left behind"),
        }
    });
    // What did not end is left behind: waiting for it is not stopping.
    runtime.shutdown_background();
    served
}

/// `hms-act migrate`
pub fn migrate(config: &Config) -> anyhow::Result<()> {
    match Database::migrate_only(config)? {
        0 if Database::is_newer(config)? => {
            println!("The database is of a newer version: nothing to do. Install that version here, too.");
        }
        0 => println!("The database is up to date."),
        count => println!("{count} migration(s) done."),
    }
    Ok(())
}

/// `hms-act user add`
pub fn add_user(
    config: &Config,
    name: &str,
    role: &str,
    groups: &[String],
    no_password: bool,
) -> anyhow::Result<()> {
    let role = Role::parse(role).context("--role: use staff, supervisor, auditor or admin")?;
    let groups = people::sorted(groups.to_vec());
    if let Some(wrong) = groups.iter().find(|group| !is_user_name(group)) {
        bail!("--group: `{wrong}` is no name of a group: {}", people::NAME_RULE);
    }
    let hash = if no_password { None } else { Some(password::hash(&ask_password()?)?) };
    with_database(config, |pool, agency| {
        let created = agency.record_in(&mut *pool.get()?, |connection| {
            let created = users::create(connection, name, role.as_str(), &groups, hash.as_deref())?;
            let detail = people::created(name, role.as_str(), &groups);
            let told = created.is_some().then(|| entry("user.created", detail));
            Ok((created, told))
        });
        match created {
            Ok(Some(_)) => {}
            Ok(None) => bail!("there is already a user {name}"),
            Err(error) if error.to_string().contains("users_name_check") => {
                bail!("{}", people::NAME_RULE)
            }
            Err(error) => return Err(error.into()),
        }
        println!("User {name} may now act as {}.", role.as_str());
        Ok(())
    })
}

/// `hms-act token`
pub fn token(config: &Config, user: &str, scope: &str, ttl: u32) -> anyhow::Result<()> {
    let scopes: BTreeSet<Scope> = scope
        .split_whitespace()
        .map(|word| Scope::parse(word).with_context(|| format!("--scope: `{word}` is no scope")))
        .collect::<anyhow::Result<_>>()?;
    anyhow::ensure!(!scopes.is_empty(), "--scope: name at least one scope");
    with_database(config, |pool, agency| {
        let mut connection = pool.get()?;
        let found = users::get(&mut connection, user)?;
        let found = found
            .with_context(|| format!("--user: there is no user {user}. Add one with `hms-act user add`"))?;
        anyhow::ensure!(found.disabled_at.is_none(), "--user: {user} is disabled");
        let key = TokenKey::load_or_create(&config.data_dir)?;
        token_keys::publish(&mut connection, key.kid(), &key.public_key())?;
        let minted = tokens::mint(&key, user, &scopes, ttl, Utc::now())?;
        let detail = json!({"user": user, "scope": scope, "ttl_seconds": ttl});
        agency.record(entry("token.issued", detail))?;
        println!("{minted}");
        Ok(())
    })
}

/// `hms-act rotate-log-key`
pub fn rotate_log_key(config: &Config) -> anyhow::Result<()> {
    with_database(config, |pool, agency| {
        let mut connection = pool.get()?;
        let origin = log_origin(config, &mut connection)?;
        let keys = LogKeys::rotate(&config.data_dir, |keys| -> anyhow::Result<()> {
            let (vkey, before) = (keys.vkey(&origin), keys.retiring_vkey(&origin));
            let began = Instant::now();
            // Whoever signs has its turn for some milliseconds.
            while tree::turn(&mut connection, |connection| tree::keys::rotate(connection, &vkey))?.is_none() {
                anyhow::ensure!(began.elapsed() < TURN, "the log is being signed all the time; try again");
                std::thread::sleep(LOOK);
            }
            let detail = json!({"use": "log", "vkey": vkey, "before": before});
            Ok(agency.record(entry("key.rotated", detail))?)
        })?;
        println!("From now on the log is signed with {}", keys.vkey(&origin));
        Ok(())
    })
}

/// Somebody on the machine: the operating system knows who, and the log from where.
pub(super) fn entry(type_name: &'static str, mut detail: Value) -> AgencyEntry {
    detail["via"] = json!({"auth": AuthMethod::CommandLine.as_str(), "address": host_name()});
    AgencyEntry { actor: "command line".to_owned(), type_name, status: None, detail, flood: None }
}

/// Opens the database, does something with a stream of the log of its own, and closes it.
pub(super) fn with_database(
    config: &Config,
    work: impl FnOnce(&Pool, &AgencyLog) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    let database = Database::open(config)?;
    let worked = with_opened(config, &database, work);
    let closed = database.close();
    worked.and(closed)
}

/// The same with a database that is open.
pub(super) fn with_opened(
    config: &Config,
    database: &Database,
    work: impl FnOnce(&Pool, &AgencyLog) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    let pool = database.pool(2)?;
    let mut connection = pool.get()?;
    let origin = log_origin(config, &mut connection)?;
    // Draws a number that no stream ever had; it is no instance, so nobody waits for its heartbeat.
    let stream = instances::register(&mut connection, "command line")?;
    instances::remove(&mut connection, stream)?;
    drop(connection);
    let agency = AgencyLog::new(pool.clone(), origin, stream);
    work(&pool, &agency)
}

fn ask_password() -> anyhow::Result<String> {
    if std::io::stdin().is_terminal() {
        eprint!("Password (it is shown as you type): ");
    }
    let mut line = String::new();
    std::io::stdin().lock().read_line(&mut line)?;
    Ok(line.trim_end_matches(['\r', '\n']).to_owned())
}
