//! `hms-act archive`: old runs leave the log, once a backup is proven to have them.

use super::commands::{entry, with_opened};
use super::verify::Progress;
use crate::app::backup as app_backup;
use crate::app::database::Database;
use crate::app::log_origin;
use crate::audit::tile::TILE_WIDTH;
use crate::config::Config;
use crate::export::backup::archiving::{self, Listing};
use crate::export::backup::objects::Source;
use crate::store::agency::AgencyLog;
use crate::store::archive::{self, Candidate};
use crate::store::{Connection, Pool, notices};
use anyhow::{Context, bail};
use chrono::{DateTime, NaiveDate, NaiveTime, Utc};
use serde_json::json;
use std::process::ExitCode;
use tokio::runtime::Runtime;

/// What is to be archived.
pub struct Asked {
    /// Runs that ended before this day (UTC).
    pub before: NaiveDate,
    pub to: Option<String>,
    pub aside: Option<String>,
    /// Only say what would leave.
    pub dry_run: bool,
}

/// Exit code 1: the backup does not hold, and it is said where. Nothing was removed then.
///
/// # Errors
/// When it could not be done for another reason.
pub fn archive(config: &Config, asked: &Asked) -> anyhow::Result<ExitCode> {
    let to = asked.to.clone().or_else(|| config.backup.to.clone());
    let to =
        to.context("--to: name the backup that keeps what leaves: a directory, or s3://bucket/prefix")?;
    let places = app_backup::places(config, &to, asked.aside.as_deref())?;
    let (main, aside) = app_backup::open(&places, &app_backup::access(config))?;
    let source = Source { main, aside };
    let database = Database::open(config)?;
    let owner_url = database.owner_url(config).context(
        "HMS_ACT_OWNER_DATABASE_URL: not set. Removing entries needs the owner's login: the app itself may not",
    );
    let mut code = ExitCode::SUCCESS;
    let done = owner_url.and_then(|owner_url| {
        let mut owner = archive::connect(&owner_url)?;
        with_opened(config, &database, |pool, agency| {
            let work = Work { config, asked, source: &source, pool, agency };
            if !work.carry_out(&mut owner)? {
                code = ExitCode::FAILURE;
            }
            Ok(())
        })
    });
    let closed = database.close();
    done?;
    closed?;
    Ok(code)
}

struct Work<'a> {
    config: &'a Config,
    asked: &'a Asked,
    source: &'a Source,
    pool: &'a Pool,
    agency: &'a AgencyLog,
}

impl Work<'_> {
    /// False: the backup does not hold, which was told.
    fn carry_out(&self, owner: &mut Connection) -> anyhow::Result<bool> {
        // What was broken off: those entries are proven to be in the archive.
        for unfinished in archive::all(owner)?.into_iter().filter(|archive| archive.removed_at.is_none()) {
            if self.asked.dry_run {
                println!("Archive {} was broken off: the next call goes on with it.", unfinished.id);
                continue;
            }
            println!("Archive {} was broken off: it goes on.", unfinished.id);
            self.remove(owner, unfinished.id, unfinished.runs as u64)?;
        }
        let before: DateTime<Utc> = self.asked.before.and_time(NaiveTime::MIN).and_utc();
        let runtime = Runtime::new()?;
        let leaving = archiving::settle(archive::candidates(owner, before)?, self.backed_up(&runtime)?);
        let entries: i64 = leaving.iter().map(|run| run.version).sum();
        if leaving.is_empty() {
            println!("No run that ended before {} can leave the log.", self.asked.before);
            return Ok(true);
        }
        if self.asked.dry_run {
            println!("{} runs with {entries} entries would leave the log.", leaving.len());
            return Ok(true);
        }
        if !self.prove(owner, &runtime, &leaving)? {
            return Ok(false);
        }
        let id = self.leave(owner, before, &leaving)?;
        self.remove(owner, id, leaving.len() as u64)?;
        println!(
            "{} runs with {entries} entries left the log: archive {id} at {}. Keep that place as long as they must be \
             kept; every proof still holds.",
            leaving.len(),
            self.source.main.name()
        );
        Ok(true)
    }

    /// Brings the backup up to date. How many entries it has in full bundles.
    fn backed_up(&self, runtime: &Runtime) -> anyhow::Result<u64> {
        let origin = log_origin(self.config, &mut *self.pool.get()?)?;
        let places = (self.source.main.clone(), self.source.aside.clone());
        let mut backup = app_backup::backup(self.config, places, self.pool, &origin);
        let mut progress: Option<Progress> = None;
        let round = runtime.block_on(backup.round(false, &mut |done, of| {
            progress.get_or_insert_with(|| Progress::new("entries backed up", of)).at(done);
        }));
        drop(progress);
        let Some(size) = round?.size else { bail!("nothing is signed yet: start the server once") };
        Ok(size / TILE_WIDTH * TILE_WIDTH)
    }

    fn prove(
        &self,
        owner: &mut Connection,
        runtime: &Runtime,
        leaving: &[Candidate],
    ) -> anyhow::Result<bool> {
        let ids: Vec<i64> = leaving.iter().map(|run| run.run_id).collect();
        let bundles = archiving::bundles_of(&archive::places(owner, &ids)?);
        let mut progress = Progress::new("bundles read back", bundles.len() as u64);
        let mut told = |done| progress.at(done);
        let findings = runtime.block_on(archiving::prove(self.source, self.pool, &bundles, &mut told))?;
        drop(progress);
        findings.iter().for_each(|words| println!("BROKEN {words}"));
        if !findings.is_empty() {
            println!(
                "The backup at {} does not hold. Nothing was removed. What is missing there, `hms-act backup` adds.",
                self.source.main.name()
            );
        }
        Ok(findings.is_empty())
    }

    /// Says in the log, and of each run, where they are from now on. Both or neither.
    fn leave(
        &self,
        owner: &mut Connection,
        before: DateTime<Utc>,
        leaving: &[Candidate],
    ) -> anyhow::Result<i64> {
        let place = self.source.main.name();
        let mut listing = Listing::default();
        leaving.iter().for_each(|run| listing.add(run.run_id, run.version));
        let (runs, entries, sha256) = (listing.runs, listing.entries, listing.sha256());
        let id = self.agency.record_in(owner, |owner| {
            let id = archive::leave(owner, place, before, leaving)?;
            let detail = json!({
                "archive": id,
                "place": place,
                "before": self.asked.before,
                "runs": runs,
                "entries": entries,
                "sha256": sha256,
            });
            Ok((id, Some(entry(archive::TOLD, detail))))
        })?;
        // What instances have in memory of them is out of date.
        notices::notify(owner)?;
        Ok(id)
    }

    fn remove(&self, owner: &mut Connection, archive: i64, runs: u64) -> anyhow::Result<()> {
        let mut progress = Progress::new("runs removed", runs);
        // Before: where a whole part goes, nothing needs to be removed one by one.
        let dropped = archive::drop_parts(owner)?;
        archive::remove(owner, archive, &mut |done| progress.at(done))?;
        drop(progress);
        let dropped = dropped + archive::drop_parts(owner)?;
        if dropped > 0 {
            println!("Parts of the log that were dropped whole: {dropped}.");
        }
        Ok(())
    }
}
