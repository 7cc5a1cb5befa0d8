//! `hms-act backup` and `hms-act restore`.

use super::commands::{entry, with_database, with_opened};
use super::verify::{Progress, own_keys_of};
use crate::app::backup as app_backup;
use crate::app::database::Database;
use crate::app::log_origin;
use crate::audit::checkpoint::Checkpoint;
use crate::audit::note::VerifierKey;
use crate::config::Config;
use crate::export::backup::manifest::{LATEST, Manifest, Opened, claimed_origin, fetch, of_day};
use crate::export::backup::objects::Source;
use crate::export::backup::restoring::{self, RestoreError};
use crate::export::backup::target::Target;
use crate::scheduler::sequencer::MEMORY;
use crate::store::restore::Restored;
use anyhow::{Context, bail};
use chrono::NaiveDate;
use serde_json::json;
use std::process::ExitCode;
use std::time::Instant;
use tokio::runtime::Runtime;

/// `hms-act backup`
pub fn make(config: &Config, to: Option<String>, aside: Option<String>) -> anyhow::Result<()> {
    let to =
        to.or_else(|| config.backup.to.clone()).context("--to: name a directory, or s3://bucket/prefix")?;
    let places = app_backup::places(config, &to, aside.as_deref())?;
    let (main, aside) = app_backup::open(&places, &app_backup::access(config))?;
    let runtime = Runtime::new()?;
    with_database(config, |pool, agency| {
        let origin = log_origin(config, &mut *pool.get()?)?;
        let mut backup = app_backup::backup(config, (main, aside), pool, &origin);
        let mut progress: Option<Progress> = None;
        let began = Instant::now();
        let round = runtime.block_on(backup.round(true, &mut |done, of| {
            progress.get_or_insert_with(|| Progress::new("entries", of)).at(done);
        }));
        drop(progress);
        let round = round?;
        let Some(size) = round.size else { bail!("nothing is signed yet: start the server once") };
        let took = began.elapsed().as_secs_f64();
        println!(
            "{size} entries are in the backup at {}. {} objects of {} bytes were added in {took:.1} s.",
            places.main, round.objects, round.bytes
        );
        println!("What an erasure must reach is at {}. Keep both private.", places.aside);
        agency.record(entry("log.backed_up", json!({"entries": size, "to": places.main})))?;
        Ok(())
    })
}

/// What is to be restored.
pub struct Asked {
    pub from: Option<String>,
    pub aside: Option<String>,
    pub key: Option<String>,
    pub at: Option<NaiveDate>,
    pub accept_loss: bool,
}

/// `hms-act restore`. Exit code 1: the backup does not hold, and it is said where.
///
/// # Errors
/// When nothing could be restored for another reason.
pub fn restore(config: &Config, asked: Asked) -> anyhow::Result<ExitCode> {
    let from = asked.from.clone().or_else(|| config.backup.to.clone());
    let from = from.context("--from: name a directory, or s3://bucket/prefix")?;
    let places = app_backup::places(config, &from, asked.aside.as_deref())?;
    let access = app_backup::access(config);
    let source = Source {
        main: Target::existing(&places.main, &access)?,
        aside: Target::existing(&places.aside, &access)?,
    };
    let runtime = Runtime::new()?;
    let (opened, trusted, words) = open_manifest(config, &runtime, &source, &asked)?;
    println!(
        "The manifest of {} over {} entries is signed by {}, the key {words}.",
        opened.manifest.made_at.to_rfc3339(),
        opened.checkpoint.size,
        opened.by.vkey()
    );
    let lost = signed_here_since(config, &opened, &trusted, asked.accept_loss)?;
    let database = Database::open(config)?;
    let owner_url = database.owner_url(config).context(
        "HMS_ACT_OWNER_DATABASE_URL: not set. Restoring needs the owner's login: old entries get their old dates back",
    );
    let restored = owner_url.and_then(|url| fill(&runtime, &source, &opened, &trusted, &url));
    let told = match restored {
        Ok(Some(restored)) => tell(config, &database, &places.main, &opened, restored, lost.as_ref())
            .map(|()| ExitCode::SUCCESS),
        Ok(None) => Ok(ExitCode::FAILURE),
        Err(error) => Err(error),
    };
    let closed = database.close();
    let code = told?;
    closed?;
    Ok(code)
}

/// The manifest that is asked for, the keys that are trusted, and where those come from.
fn open_manifest(
    config: &Config,
    runtime: &Runtime,
    source: &Source,
    asked: &Asked,
) -> anyhow::Result<(Opened, Vec<VerifierKey>, &'static str)> {
    let name = asked.at.map_or(LATEST.to_owned(), of_day);
    let place = format!("{}/{name}", source.main.name().trim_end_matches('/'));
    let signed = runtime.block_on(fetch(&source.main, &name))?;
    let signed = signed.with_context(|| format!("{place}: it is missing: there is no backup of then"))?;
    let (trusted, words) = match &asked.key {
        Some(vkey) => {
            (vec![VerifierKey::parse(vkey).context("--key: this is no verifier key")?], "given with --key")
        }
        None => {
            let origin = claimed_origin(&signed).with_context(|| format!("{place}: this is no manifest"))?;
            (own_keys_of(config, &origin)?, "of this data directory")
        }
    };
    anyhow::ensure!(
        !trusted.is_empty(),
        "no key is trusted: this data directory has none, and a backup's own would prove nothing. Give the one that \
         you kept with --key"
    );
    let opened = Manifest::open(&signed, &trusted)
        .map_err(|why| anyhow::anyhow!("{place}: {why}. An earlier one can be named with --at YYYY-MM-DD"))?;
    Ok((opened, trusted, words))
}

/// What was signed here after the backup: it is lost, and whoever has seen it will notice.
fn signed_here_since(
    config: &Config,
    opened: &Opened,
    trusted: &[VerifierKey],
    accept_loss: bool,
) -> anyhow::Result<Option<Checkpoint>> {
    let path = config.data_dir.join(MEMORY);
    let Ok(note) = std::fs::read_to_string(&path) else { return Ok(None) };
    let Ok((last, _)) = Checkpoint::open(&note, trusted) else { return Ok(None) };
    let size = opened.checkpoint.size;
    if last.origin != opened.checkpoint.origin || last.size <= size {
        return Ok(None);
    }
    anyhow::ensure!(
        accept_loss,
        "{} entries were signed here ({}) and the backup has {size}: {} would be lost, and everybody who has the later \
         checkpoint will see that the log was set back. Restore a newer backup, or say --accept-loss",
        last.size,
        path.display(),
        last.size - size
    );
    Ok(Some(last))
}

/// None: it does not hold, which was told.
fn fill(
    runtime: &Runtime,
    source: &Source,
    opened: &Opened,
    trusted: &[VerifierKey],
    owner_url: &str,
) -> anyhow::Result<Option<Restored>> {
    let size = opened.checkpoint.size;
    let (mut written, mut folded) = (Progress::new("entries", size), Progress::new("entries folded", size));
    let done = restoring::restore(runtime.handle(), source, opened, trusted, owner_url, &mut |progress| {
        match progress {
            restoring::Progress::Written(entries) => written.at(entries),
            restoring::Progress::Folded(entries) => folded.at(entries),
        }
    });
    drop((written, folded));
    match done {
        Ok(restored) => Ok(Some(restored)),
        Err(RestoreError::Damaged(findings)) => {
            findings.iter().for_each(|finding| println!("BROKEN {finding}"));
            println!("The backup does not hold. Nothing was restored.");
            Ok(None)
        }
        Err(error) => Err(error.into()),
    }
}

/// Says what was restored, here and in the log itself.
fn tell(
    config: &Config,
    database: &Database,
    from: &str,
    opened: &Opened,
    restored: Restored,
    lost: Option<&Checkpoint>,
) -> anyhow::Result<()> {
    let (size, root) = (opened.checkpoint.size, hex::encode(opened.checkpoint.root));
    let kept = config.data_dir.join(format!("{MEMORY}.before-restore"));
    if let Some(last) = lost {
        std::fs::rename(config.data_dir.join(MEMORY), &kept).with_context(|| kept.display().to_string())?;
        println!(
            "LOST: {} entries that were signed here after the backup. Their last checkpoint is kept as {}.",
            last.size - size,
            kept.display()
        );
    }
    with_opened(config, database, |_, agency| {
        let lost = lost.map(|last| json!({"entries": last.size, "root": hex::encode(last.root)}));
        let detail = json!({"from": from, "entries": size, "root": root, "lost": lost});
        Ok(agency.record(entry("log.restored", detail))?)
    })?;
    println!(
        "{} runs were restored with {size} entries; {} of them go on.",
        restored.runs, restored.open_runs
    );
    for table in &opened.manifest.tables {
        println!("  {}: {}", table.table, table.rows);
    }
    println!("The tree over the {size} entries has the root that was signed: {root}");
    println!("What was written after {} is not in this backup.", opened.manifest.made_at.to_rfc3339());
    Ok(())
}
