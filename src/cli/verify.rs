//! `hms-act verify`: every chain of the log, entry by entry.

use crate::app::database::Database;
use crate::audit::chain::{ChainCheck, Finding, Stored};
use crate::config::Config;
use crate::engine::ids::RunId;
use crate::store::protocols::ProtocolCache;
use crate::store::{Connection, log, runs};
use std::process::ExitCode;

/// Entries read at a time.
const PAGE: i64 = 5_000;

#[derive(Default)]
struct Checked {
    entries: u64,
    streams: u64,
    findings: Vec<Finding>,
}

/// Exit code 0: every chain holds; 1: at least one does not, and each is named.
pub fn verify(config: &Config, run: Option<i64>) -> anyhow::Result<ExitCode> {
    let database = Database::open(config)?;
    let pool = database.pool(1)?;
    let checked = check_chains(&mut *pool.get()?, run);
    let checked = checked.and_then(|mut checked| {
        check_projections(&mut *pool.get()?, run, &mut checked)?;
        Ok(checked)
    });
    drop(pool);
    let closed = database.close();
    let checked = checked?;
    closed?;
    for finding in &checked.findings {
        println!("BROKEN {finding}");
    }
    println!(
        "{} entries in {} streams checked, {} broken.",
        checked.entries,
        checked.streams,
        checked.findings.len()
    );
    Ok(if checked.findings.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Every entry of every stream, in constant memory. After a finding the rest of that stream is unproven and skipped.
fn check_chains(connection: &mut Connection, run: Option<i64>) -> anyhow::Result<Checked> {
    let mut checked = Checked::default();
    let mut check = ChainCheck::default();
    let mut broken: Option<(i64, i64)> = None;
    let mut place: Option<(i64, i64, i64)> = None;
    loop {
        let page = log::in_chain_order(connection, run, place, PAGE)?;
        for entry in &page {
            let stream = (entry.run_id, entry.stream);
            if place.map(|(run_id, stream, _)| (run_id, stream)) != Some(stream) {
                check = ChainCheck::default();
                checked.streams += 1;
            }
            place = Some((entry.run_id, entry.stream, entry.seq));
            checked.entries += 1;
            if broken != Some(stream)
                && let Err(finding) = check.check(entry)
            {
                broken = Some(stream);
                checked.findings.push(finding);
            }
        }
        if page.len() < PAGE as usize {
            return Ok(checked);
        }
    }
}

/// The projection of each run is what its log folds to; and no run lost the end of its log.
fn check_projections(
    connection: &mut Connection,
    run: Option<i64>,
    checked: &mut Checked,
) -> anyhow::Result<()> {
    let protocols = ProtocolCache::default();
    let mut next = run.unwrap_or(1);
    let end = run.map_or(i64::MAX, |run| run.saturating_add(1));
    loop {
        let ids = runs::ids(connection, next..end, PAGE)?;
        let Some(last) = ids.last() else { return Ok(()) };
        next = last.saturating_add(1);
        for id in ids {
            if checked.findings.iter().any(|finding| finding.run_id == id) {
                continue;
            }
            if let Some(message) = projection_problem(connection, id, &protocols)? {
                checked.findings.push(Finding { run_id: id, stream: 0, seq: 0, message });
            }
        }
    }
}

fn projection_problem(
    connection: &mut Connection,
    id: i64,
    protocols: &ProtocolCache,
) -> anyhow::Result<Option<String>> {
    let stored = runs::version(connection, RunId(id))?.unwrap_or(0);
    let entries: Vec<Stored> = log::of_run(connection, id, stored as i64 - 1, 2)?;
    if entries.len() != 1 {
        return Ok(Some(format!(
            "its log should end at entry {stored}, and does not: entries were cut off or added"
        )));
    }
    let status = runs::status(connection, RunId(id))?;
    match runs::load(connection, RunId(id), protocols) {
        Ok(Some(loaded)) if Some(loaded.run.status.as_str()) == status.as_deref() => Ok(None),
        Ok(_) => Ok(Some("the list of runs shows another status than its log folds to".to_owned())),
        Err(error) => Ok(Some(error.to_string())),
    }
}
