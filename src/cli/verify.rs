//! `hms-act verify`: every chain of the log, entry by entry.

use crate::app::database::Database;
use crate::audit::chain::{ChainCheck, Finding, Stored};
use crate::config::Config;
use crate::engine::ids::RunId;
use crate::store::protocols::ProtocolCache;
use crate::store::{Connection, log, runs, snapshot};
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
        if let (Some(run_id), 0, true) = (run, checked.entries, checked.findings.is_empty()) {
            let message = "there is no entry of this run".to_owned();
            checked.findings.push(Finding { run_id, stream: 0, seq: 1, message });
        }
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
        // Runs go on meanwhile: what is compared is read at one moment.
        let (page, unlisted) = snapshot(connection, |connection| -> anyhow::Result<_> {
            let page = log::in_chain_order(connection, run, place, PAGE)?;
            let unlisted = unlisted(connection, &page)?;
            Ok((page, unlisted))
        })?;
        checked.findings.extend(unlisted);
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

/// Runs that begin on this page of the log and are not in the list of runs.
fn unlisted(connection: &mut Connection, page: &[Stored]) -> anyhow::Result<Vec<Finding>> {
    let first = |entry: &&Stored| entry.run_id > 0 && entry.seq == 1;
    let begun: Vec<i64> = page.iter().filter(first).map(|entry| entry.run_id).collect();
    let (Some(low), Some(high)) = (begun.first(), begun.last()) else { return Ok(Vec::new()) };
    let listed = runs::ids(connection, *low..high.saturating_add(1), PAGE)?;
    let missing = begun.iter().filter(|id| listed.binary_search(id).is_err());
    let message = "the list of runs does not have this run";
    Ok(missing.map(|id| Finding { run_id: *id, stream: 0, seq: 1, message: message.to_owned() }).collect())
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
            let problem = snapshot(connection, |connection| projection_problem(connection, id, &protocols))?;
            checked.findings.extend(problem);
        }
    }
}

/// What of a run's row does not fit its log: named with the entry that the row says is the last.
fn projection_problem(
    connection: &mut Connection,
    id: i64,
    protocols: &ProtocolCache,
) -> anyhow::Result<Option<Finding>> {
    let seq = runs::version(connection, RunId(id))?.unwrap_or(0) as i64;
    let finding = |message: String| Ok(Some(Finding { run_id: id, stream: 0, seq, message }));
    let entries: Vec<Stored> = log::of_run(connection, id, seq - 1, 2)?;
    if entries.len() != 1 {
        return finding(
            "the log should end with this entry, and does not: some were cut off or added".into(),
        );
    }
    let status = runs::status(connection, RunId(id))?;
    match runs::load(connection, RunId(id), protocols) {
        Ok(Some(loaded)) if Some(loaded.run.status.as_str()) == status.as_deref() => Ok(None),
        Ok(_) => finding("the list of runs shows another status than its log folds to".into()),
        Err(error) => finding(error.to_string()),
    }
}
