//! The database: every chain entry by entry, every entry beside its place in the tree, every signed head.

use super::tree::{Places, check_heads};
use super::{Findings, Progress, Trust, own_keys};
use crate::app::database::Database;
use crate::app::log_origin;
use crate::audit::chain::{ChainCheck, Finding, Stored};
use crate::audit::note::VerifierKey;
use crate::config::Config;
use crate::engine::ids::RunId;
use crate::store::error::StoreError;
use crate::store::protocols::ProtocolCache;
use crate::store::tree::{self, keys};
use crate::store::{Connection, Pool, log, runs, snapshot};
use std::collections::HashSet;
use std::sync::mpsc::{Receiver, sync_channel};

/// Entries read at a time.
const PAGE: i64 = 5_000;

/// How many findings there were.
pub fn check(config: &Config, run: Option<i64>, key: Option<VerifierKey>) -> anyhow::Result<u64> {
    let database = Database::open(config)?;
    let pool = database.pool(3)?;
    let checked = check_all(config, &pool, run, key);
    drop(pool);
    let closed = database.close();
    let findings = checked?;
    closed?;
    Ok(findings)
}

fn check_all(
    config: &Config,
    pool: &Pool,
    run: Option<i64>,
    key: Option<VerifierKey>,
) -> anyhow::Result<u64> {
    let mut checked = Checked::default();
    check_entries(pool, run, &mut checked)?;
    let connection = &mut *pool.get()?;
    check_projections(connection, run, &mut checked)?;
    if let (Some(run_id), 0, 0) = (run, checked.entries, checked.findings.count) {
        let message = "there is no entry of this run".to_owned();
        checked.findings.add(&Finding { run_id, stream: 0, seq: 1, message });
    }
    let origin = log_origin(config, connection)?;
    let known: Vec<VerifierKey> =
        keys::all(connection)?.iter().filter_map(|key| VerifierKey::parse(&key.vkey)).collect();
    let trust = match key {
        Some(key) => Trust::Given(key),
        None => match own_keys(config, &origin)? {
            own if own.is_empty() => Trust::OfTheDatabase(known.clone()),
            own => Trust::Own(own),
        },
    };
    let heads = check_heads(connection, &trust.keys(), &known, &mut checked.findings)?;
    println!(
        "{} entries in {} streams checked, {} broken. {} not signed yet.",
        checked.entries, checked.streams, checked.findings.count, checked.unsigned
    );
    match heads {
        Some((size, at, by)) => {
            println!(
                "The first {size} entries were signed at {} by {by}, the key {}.",
                at.to_rfc3339(),
                trust.words()
            );
        }
        None => println!("No signed head was checked."),
    }
    Ok(checked.findings.count)
}

#[derive(Default)]
struct Checked {
    entries: u64,
    streams: u64,
    unsigned: u64,
    findings: Findings,
    /// Runs with a finding: what follows is unproven, and named once.
    broken: HashSet<(i64, i64)>,
}

impl Checked {
    fn add(&mut self, finding: &Finding) {
        if self.broken.insert((finding.run_id, finding.stream)) {
            self.findings.add(finding);
        }
    }
}

/// A page of the log, and which of the runs that begin on it are not in the list of runs.
type Page = Result<(Vec<Stored>, Vec<Finding>), StoreError>;

/// Every entry of every stream, in constant memory: read on a thread of its own, so that reading and hashing overlap.
fn check_entries(pool: &Pool, run: Option<i64>, checked: &mut Checked) -> anyhow::Result<()> {
    let mut connection = pool.get()?;
    let total = match run {
        Some(_) => 0,
        None => tree::size(&mut connection)?,
    };
    let mut progress = Progress::new("entries", total);
    let (sender, pages) = sync_channel::<Page>(2);
    let mut reading = pool.get()?;
    std::thread::scope(|scope| {
        scope.spawn(move || {
            let mut place = None;
            loop {
                let page = read_page(&mut reading, run, place);
                let last = page.as_ref().map_or(true, |(entries, _)| entries.len() < PAGE as usize);
                if let Ok((entries, _)) = &page {
                    place = entries.last().map(|entry| (entry.run_id, entry.stream, entry.seq)).or(place);
                }
                // Nobody takes the page once something went wrong there.
                if sender.send(page).is_err() || last {
                    return;
                }
            }
        });
        check_pages(&mut connection, run, pages, checked, &mut progress)
    })
}

fn check_pages(
    connection: &mut Connection,
    run: Option<i64>,
    pages: Receiver<Page>,
    checked: &mut Checked,
    progress: &mut Progress,
) -> anyhow::Result<()> {
    let mut chain = ChainCheck::default();
    let mut places = Places::new(run);
    let mut stream: Option<(i64, i64)> = None;
    for page in pages {
        let (entries, unlisted) = page?;
        unlisted.iter().for_each(|finding| checked.add(finding));
        places.read_to(connection, entries.last())?;
        for entry in &entries {
            let here = (entry.run_id, entry.stream);
            if stream.replace(here) != Some(here) {
                chain = ChainCheck::default();
                checked.streams += 1;
            }
            checked.entries += 1;
            places.missing_before(entry).iter().for_each(|finding| checked.add(finding));
            if checked.broken.contains(&here) {
                places.pass(entry);
                continue;
            }
            let found = chain.check(entry).and_then(|hash| places.check(connection, entry, &hash));
            if let Err(finding) = found {
                places.pass(entry);
                checked.add(&finding);
            }
        }
        places.settle(connection, false)?.iter().for_each(|finding| checked.add(finding));
        progress.at(checked.entries);
    }
    for finding in places.rest(connection)? {
        checked.add(&finding);
    }
    checked.unsigned = places.unsigned();
    Ok(())
}

/// Runs go on meanwhile: what is compared is read at one moment.
fn read_page(connection: &mut Connection, run: Option<i64>, place: Option<(i64, i64, i64)>) -> Page {
    snapshot(connection, |connection| {
        let page = log::in_chain_order(connection, run, place, PAGE)?;
        let unlisted = unlisted(connection, &page)?;
        Ok((page, unlisted))
    })
}

/// Runs that begin on this page of the log and are not in the list of runs.
fn unlisted(connection: &mut Connection, page: &[Stored]) -> Result<Vec<Finding>, StoreError> {
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
    let mut progress = Progress::new(
        "runs",
        if run.is_some() { 1 } else { runs::count(connection, &runs::RunFilter::default())? as u64 },
    );
    let mut done = 0;
    loop {
        let ids = runs::ids(connection, next..end, PAGE)?;
        let Some(last) = ids.last() else { return Ok(()) };
        next = last.saturating_add(1);
        for id in ids {
            done += 1;
            progress.at(done);
            if checked.broken.contains(&(id, 0)) {
                continue;
            }
            let problem = snapshot(connection, |connection| projection_problem(connection, id, &protocols))?;
            problem.iter().for_each(|finding| checked.add(finding));
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
