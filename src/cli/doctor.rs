//! `hms-act doctor`: looks at everything that keeps this deployment well, and says what to do where it is not.
//!
//! Changes nothing. Each finding is a line; the exit code is 1 when something is wrong, 0 when something is only worth a
//! look.

use crate::app::database::Database;
use crate::app::log_origin;
use crate::auth::log_keys::LogKeys;
use crate::cli::verify::own_keys_of;
use crate::config::Config;
use crate::scheduler::sequencer::{MEMORY, extends, last_signed};
use crate::store::error::StoreError;
use crate::store::health::{self, Health};
use crate::store::replica::{self, Identity, Standing};
use crate::store::{Connection, migrate, pool, pooler, tree};
use chrono::Utc;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::ExitCode;

/// Of the disk: below the one it is time to make room, below the other writes will soon fail.
const LITTLE_FREE: f64 = 0.1;
const LEAST_FREE: f64 = 0.02;
/// Seconds that the clocks may differ.
const CLOCKS: f64 = 2.0;
/// Seconds after which an entry should long have been signed.
const SIGNED_IN: f64 = 60.0;
/// Seconds that nobody's transaction should take.
const LONG_TRANSACTION: f64 = 600.0;
/// Seconds that a replica may be behind.
const BEHIND: f64 = 5.0;
/// Rows below which it is not worth talking about dead ones.
const MANY_DEAD: i64 = 100_000;
/// Half of what the server bears.
const OLD_TRANSACTIONS: i64 = 1_000_000_000;

/// What was found, line by line.
#[derive(Default)]
struct Report {
    wrong: usize,
}

impl Report {
    fn well(&self, what: &str) {
        println!("ok     {what}");
    }

    /// Worth a look.
    fn look(&self, what: &str) {
        println!("look   {what}");
    }

    fn wrong(&mut self, what: &str) {
        self.wrong += 1;
        println!("WRONG  {what}");
    }

    fn expect(&mut self, holds: bool, well: &str, wrong: &str) {
        if holds { self.well(well) } else { self.wrong(wrong) }
    }

    fn prefer(&self, holds: bool, well: &str, look: &str) {
        if holds { self.well(well) } else { self.look(look) }
    }
}

/// # Errors
/// When the database cannot be reached at all.
pub fn examine(config: &Config) -> anyhow::Result<ExitCode> {
    let mut report = Report::default();
    // Given or private; a given one is not migrated, which would be a change.
    let (url, private) = match &config.database_url {
        Some(url) => (url.expose().to_owned(), None),
        None => {
            let database = Database::open(config)?;
            (database.app_url.clone(), Some(database))
        }
    };
    let examined = examine_all(config, &url, &mut report);
    if let Some(database) = private {
        database.close()?;
    }
    examined?;
    Ok(if report.wrong == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn examine_all(config: &Config, url: &str, report: &mut Report) -> anyhow::Result<()> {
    let mut connection = pool::connect(url)?;
    let pending = migrate::pending(url)?;
    report.expect(
        pending.is_empty(),
        "the tables are up to date",
        &format!("{} migration(s) are missing: run `hms-act migrate`", pending.len()),
    );
    let newer = migrate::newer(url)?;
    report.prefer(
        newer == 0,
        "no newer version of this program has been at work here",
        &format!("{newer} migration(s) are of a newer version: replace what still runs of this one"),
    );
    match migrate::app_role_cannot_alter_log(&mut connection, pool::APP_VARIABLE) {
        Ok(()) => report.well("the app's login can add to the log and not change it"),
        Err(error) => report.wrong(&error),
    }
    if let Some(pooled) = &config.pooled_database_url {
        through_pooler(&mut connection, pooled.expose(), report);
    }
    if let Some(read) = &config.read_database_url
        && let Err(error) = on_replica(&mut connection, read.expose(), report)
    {
        report.wrong(&error.to_string());
    }
    disk(&config.data_dir, report);
    if pending.is_empty() {
        let health = health::read(&mut connection)?;
        server(&health, report);
        work(&health, report);
        signing(config, &mut connection, &health, report)?;
        for table in health::bloated(&mut connection, MANY_DEAD)? {
            report.look(&format!(
                "the table {} has {} dead rows beside {}: VACUUM it, and see what keeps autovacuum from it",
                table.name, table.dead, table.living
            ));
        }
    }
    Ok(())
}

fn through_pooler(direct: &mut Connection, pooled_url: &str, report: &mut Report) {
    let mut pooled = match pool::connect_pooled(pooled_url) {
        Ok(pooled) => pooled,
        Err(error) => return report.wrong(&error.to_string()),
    };
    match pooler::leads_to_same(direct, &mut pooled) {
        Ok(()) => report.well("the pooler leads to the same database"),
        Err(error) => report.wrong(&error.to_string()),
    }
    match migrate::app_role_cannot_alter_log(&mut pooled, pool::POOLED_VARIABLE) {
        Ok(()) => report.well("the login behind the pooler can add to the log and not change it"),
        Err(error) => report.wrong(&error),
    }
    match pooler::lacking(&mut pooled) {
        Ok(lacking) => report.prefer(
            lacking.is_empty(),
            "sessions behind the pooler have their limits",
            &pooler::advice(&lacking),
        ),
        Err(error) => report.wrong(&error.to_string()),
    }
}

fn on_replica(primary: &mut Connection, read_url: &str, report: &mut Report) -> Result<(), StoreError> {
    let mut replica = pool::connect_to_replica(read_url)?;
    Identity::of(primary)?.check(&mut replica)?;
    report.well("the replica is a standby of this database");
    let Standing { behind, seconds, has_feedback } = replica::standing(primary, &mut replica)?;
    report.prefer(
        seconds.is_none_or(|seconds| seconds < BEHIND),
        &format!("the replica has caught up ({behind} bytes are on their way)"),
        &format!(
            "the replica is {behind} bytes behind, its last change is {:.0} s old: the primary is read in its place until \
             it has caught up",
            seconds.unwrap_or_default()
        ),
    );
    report.prefer(
        has_feedback,
        "the primary keeps what is being read on the replica",
        "hot_standby_feedback is off on the replica: vacuuming on the primary breaks off readings there, which the \
         primary then does. Switch it on",
    );
    Ok(())
}

fn server(health: &Health, report: &mut Report) {
    report.well(&format!("PostgreSQL {}", health.version));
    let durable = health.fsync == "on" && health.full_page_writes == "on";
    report.expect(
        durable,
        "what is committed is on disk",
        "fsync or full_page_writes is off: a power cut loses what was acknowledged. Switch both on",
    );
    report.expect(
        health.synchronous_commit != "off",
        &format!("commits wait (synchronous_commit is {})", health.synchronous_commit),
        "synchronous_commit is off: a crash loses what was acknowledged. Set it to on",
    );
    report.prefer(
        health.autovacuum == "on",
        "autovacuum is on",
        "autovacuum is off: tables grow without end. Switch it on",
    );
    report.expect(
        health.transaction_age < OLD_TRANSACTIONS,
        "transaction numbers are far from running out",
        "the oldest transaction is a thousand million back: vacuum the database before the server stops",
    );
    let apart = (health.now - Utc::now()).as_seconds_f64().abs();
    report.expect(
        apart < CLOCKS,
        "the clocks of the database and of this machine agree",
        &format!("the clocks of the database and of this machine are {apart:.1} s apart: let NTP set both"),
    );
    let longest = health.longest_transaction.unwrap_or_default();
    report.prefer(
        longest < LONG_TRANSACTION,
        "no transaction has been open for long",
        &format!(
            "a transaction has been open for {longest:.0} s: it holds up vacuuming and the signing of the log"
        ),
    );
}

fn work(health: &Health, report: &mut Report) {
    report.prefer(
        health.silent_instances == 0,
        "no instance is silent",
        &format!(
            "{} instance(s) have been silent for a minute: others take over what they did",
            health.silent_instances
        ),
    );
    report.prefer(
        health.stalled_runs == 0,
        "no run is stalled",
        &format!("{} run(s) have a step that is past its time: see /runs?stalled=1", health.stalled_runs),
    );
}

fn signing(
    config: &Config,
    connection: &mut Connection,
    health: &Health,
    report: &mut Report,
) -> anyhow::Result<()> {
    let waiting = health.unsealed_for.unwrap_or_default();
    report.expect(
        waiting < SIGNED_IN,
        "every entry has its place in the tree",
        &format!("entries have waited {waiting:.0} s for their place in the tree: is an instance with log-key.pem up?"),
    );
    report.prefer(
        health.unsigned == 0,
        "the log is signed to its end",
        &format!("{} entries are not under a signed head yet", health.unsigned),
    );
    let key = config.data_dir.join("log-key.pem");
    match fs::metadata(&key) {
        Ok(metadata) => {
            let mode = metadata.permissions().mode() & 0o777;
            report.expect(
                mode & 0o077 == 0,
                "the key that signs the log is its owner's alone",
                &format!(
                    "{} is open to others (mode {mode:o}): chmod 600 it, and think of a new key",
                    key.display()
                ),
            );
        }
        Err(_) => report.look("this directory has no key that signs the log: another instance must sign"),
    }
    if LogKeys::load(&config.data_dir)?.is_some() && config.data_dir.join(MEMORY).exists() {
        let keys = own_keys_of(config, &log_origin(config, connection)?)?;
        let size = tree::size(connection)?;
        let memory = config.data_dir.join(MEMORY).display().to_string();
        let goes_on = last_signed(&config.data_dir, &keys).and_then(|head| {
            head.map_or(Ok(()), |head| extends(connection, size, (head.size, head.root), &memory))
        });
        match goes_on {
            Ok(()) => report.well("the log goes on from what was signed here last"),
            Err(error) => report.wrong(&error.to_string()),
        }
    }
    Ok(())
}

fn disk(data_dir: &Path, report: &mut Report) {
    let Ok(disk) = rustix::fs::statvfs(data_dir) else {
        return report.look(&format!("{} cannot be looked at", data_dir.display()));
    };
    let free = disk.f_bavail as f64 / (disk.f_blocks as f64).max(1.0);
    let told = format!("{:.1} % of the disk of {} are free", free * 100.0, data_dir.display());
    match free {
        free if free < LEAST_FREE => report.wrong(&format!("only {told}: nothing can be written soon")),
        free if free < LITTLE_FREE => report.look(&format!("only {told}: make room")),
        _ => report.well(&told),
    }
}
