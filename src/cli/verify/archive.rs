//! What left the log, where it is now: every entry has the hash that the tree has in its place.

use super::{Findings, Progress};
use crate::app::backup as app_backup;
use crate::app::database::Database;
use crate::config::Config;
use crate::export::backup::archiving::{bundles_of, prove};
use crate::export::backup::objects::Source;
use crate::export::backup::target::Target;
use crate::store::{Pool, archive};
use tokio::runtime::Runtime;

/// How many findings there were.
pub fn check(config: &Config, place: &str) -> anyhow::Result<u64> {
    let places = app_backup::places(config, place, None)?;
    let access = app_backup::access(config);
    let source = Source {
        main: Target::existing(&places.main, &access)?,
        aside: Target::existing(&places.aside, &access)?,
    };
    let database = Database::open(config)?;
    let pool = database.pool(2)?;
    let checked = check_all(&source, &pool);
    drop(pool);
    let closed = database.close();
    let findings = checked?;
    closed?;
    Ok(findings)
}

fn check_all(source: &Source, pool: &Pool) -> anyhow::Result<u64> {
    let (runs, bundles) = {
        let connection = &mut *pool.get()?;
        let runs = archive::runs_of(connection, None)?;
        let ids: Vec<i64> = runs.iter().map(|run| run.run_id).collect();
        (runs, bundles_of(&archive::places(connection, &ids)?))
    };
    let mut progress = Progress::new("bundles", bundles.len() as u64);
    let proven = Runtime::new()?.block_on(prove(source, pool, &bundles, &mut |done| progress.at(done)))?;
    drop(progress);
    let mut findings = Findings::default();
    proven.iter().for_each(|words| findings.add_words(words));
    let entries: i64 = runs.iter().map(|run| run.version).sum();
    println!(
        "{entries} entries of {} runs are archived, in {} bundles at {}: {} broken.",
        runs.len(),
        bundles.len(),
        source.main.name(),
        findings.count
    );
    Ok(findings.count)
}
