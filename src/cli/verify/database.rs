//! The database: every chain entry by entry, every entry beside its place in the tree, every signed head.

use super::archives;
use super::tree::{Places, check_heads, check_memory};
use super::{Findings, Progress, Trust, own_keys};
use crate::app::database::Database;
use crate::app::log_origin;
use crate::audit::chain::{ChainCheck, Finding, Stored};
use crate::audit::note::VerifierKey;
use crate::config::Config;
use crate::engine::ids::RunId;
use crate::store::archive::{self, Archive};
use crate::store::error::StoreError;
use crate::store::protocols::ProtocolCache;
use crate::store::tree::{self, keys};
use crate::store::{Connection, Pool, log, runs, snapshot};
use std::collections::{HashMap, HashSet};
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
    if let Some(archive) = run.and_then(|run| archive::of_run(connection, RunId(run)).transpose()) {
        let Archive { place, archived_at, .. } = archive?;
        println!(
            "Its entries were moved to the archive at {place} on {}: `hms-act verify --archive {place}` checks them.",
            archived_at.date_naive()
        );
    } else if let (Some(run_id), 0, 0) = (run, checked.entries, checked.findings.count) {
        let message = "there is no entry of this run".to_owned();
        checked.findings.add(&Finding { run_id, stream: 0, seq: 1, message });
    }
    if run.is_none() {
        archives::compare(connection, &mut checked.findings)?;
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
    let keys = [trust.keys(), known].concat();
    check_memory(connection, &config.data_dir, &keys, &mut checked.findings)?;
    // Of one run, what has no place in the tree yet; of all, what no head covers.
    let unsigned = match (run, &heads) {
        (None, Some((size, ..))) => (checked.entries + checked.archived).saturating_sub(*size),
        _ => checked.unsigned,
    };
    println!(
        "{} entries in {} streams checked, {} broken. {} not signed yet.",
        checked.entries, checked.streams, checked.findings.count, unsigned
    );
    if run.is_none() && checked.archived > 0 {
        println!(
            "{} entries are in archives, and have their places in the tree: `hms-act verify --archive PLACE` checks them.",
            checked.archived
        );
    }
    if checked.newer > 0 {
        println!(
            "{} runs were written by a newer version of this program: their entries are checked, what the pages show \
             of them is not. Run `hms-act verify` of that version.",
            checked.newer
        );
    }
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
    /// Runs on their way that only a newer version of this program can fold.
    newer: u64,
    findings: Findings,
    /// Runs with a finding: what follows is unproven, and named once.
    broken: HashSet<(i64, i64)>,
    /// Entries that are in archives instead.
    archived: u64,
}

impl Checked {
    /// What was signed and is not in the log: of whole runs, which may be elsewhere.
    fn add_missing(&mut self, connection: &mut Connection, missing: Vec<Finding>) -> Result<(), StoreError> {
        archives::unexplained(connection, missing)?.iter().for_each(|finding| self.add(finding));
        Ok(())
    }

    fn add(&mut self, finding: &Finding) {
        if self.broken.insert((finding.run_id, finding.stream)) {
            self.findings.add(finding);
        }
    }
}

/// A page of the log.
type Page = Result<Vec<Stored>, StoreError>;

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
                let page = log::in_chain_order(&mut reading, run, place, PAGE);
                let last = page.as_ref().map_or(true, |entries| entries.len() < PAGE as usize);
                if let Ok(entries) = &page {
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
    let mut rows = Rows::default();
    let mut stream: Option<(i64, i64)> = None;
    for page in pages {
        let (entries, mut missing) = (page?, Vec::new());
        places.read_to(connection, entries.last())?;
        for entry in &entries {
            let here = (entry.run_id, entry.stream);
            if stream.replace(here) != Some(here) {
                chain = ChainCheck::default();
                checked.streams += 1;
            }
            checked.entries += 1;
            rows.pass(entry);
            for finding in places.missing_before(entry) {
                match (finding.run_id, finding.stream) == here {
                    true => checked.add(&finding),
                    false => missing.push(finding),
                }
            }
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
        checked.add_missing(connection, missing)?;
        places.settle(connection, false)?.iter().for_each(|finding| checked.add(finding));
        rows.compare(connection, checked)?;
        progress.at(checked.entries);
    }
    places.rest(connection, &mut |connection, missing| checked.add_missing(connection, missing))?;
    checked.unsigned = places.unsigned();
    rows.finish(connection, run, checked)
}

/// A closing entry: its `seq` and status.
type Closing = (i64, Option<String>);

/// The rows of the list of runs, beside the ends of their logs: what the pages show is what the log says.
#[derive(Default)]
struct Rows {
    /// The last entry so far of the stream that the walk is in.
    last: Option<Stored>,
    /// Runs whose log was passed and whose row was not looked at yet, with their closing entry.
    ended: Vec<(i64, Option<Closing>)>,
    /// Every run with entries, in order.
    seen: Vec<i64>,
    protocols: ProtocolCache,
}

impl Rows {
    fn pass(&mut self, entry: &Stored) {
        if self.last.as_ref().is_some_and(|last| last.run_id != entry.run_id) {
            self.end();
        }
        if entry.run_id > 0 && (self.last.is_none() || entry.type_name == "run.closed") {
            self.last = Some(entry.clone());
        }
    }

    fn end(&mut self) {
        let Some(last) = self.last.take() else { return };
        let closing = (last.type_name == "run.closed").then_some((last.seq, last.status));
        self.ended.push((last.run_id, closing));
        self.seen.push(last.run_id);
    }

    /// A run that is over has its row compared with its closing entry; one that is on its way is folded.
    fn compare(&mut self, connection: &mut Connection, checked: &mut Checked) -> anyhow::Result<()> {
        let ended = std::mem::take(&mut self.ended);
        let ids: Vec<i64> = ended.iter().map(|(id, _)| *id).collect();
        let rows: HashMap<i64, (i64, String)> = runs::ends(connection, &ids)?
            .into_iter()
            .map(|(id, version, status)| (id, (version, status)))
            .collect();
        for (id, closing) in ended {
            if checked.broken.contains(&(id, 0)) {
                continue;
            }
            let finding =
                |seq: i64, message: &str| Finding { run_id: id, stream: 0, seq, message: message.to_owned() };
            let problem = match (rows.get(&id), closing) {
                (None, _) => Some(finding(1, "the list of runs does not have this run")),
                (Some((version, _)), Some((seq, _))) if *version != seq => {
                    Some(finding(*version, "the list of runs says that the log ends here, and it does not"))
                }
                (Some((_, status)), Some((seq, closed))) if Some(status) != closed.as_ref() => {
                    Some(finding(seq, "the list of runs shows another status than its log folds to"))
                }
                (Some(_), Some(_)) => None,
                (Some(_), None) => self.folded(connection, id, checked)?,
            };
            problem.iter().for_each(|finding| checked.add(finding));
        }
        Ok(())
    }

    /// What of a run's row does not fit what its log folds to.
    fn folded(
        &self,
        connection: &mut Connection,
        id: i64,
        checked: &mut Checked,
    ) -> anyhow::Result<Option<Finding>> {
        let compared = snapshot(connection, |connection| projection_problem(connection, id, &self.protocols));
        match compared {
            Err(error) if matches!(error.downcast_ref(), Some(StoreError::Newer(_))) => {
                checked.newer += 1;
                Ok(None)
            }
            compared => compared,
        }
    }

    /// And no run is listed that has no log.
    fn finish(
        &mut self,
        connection: &mut Connection,
        run: Option<i64>,
        checked: &mut Checked,
    ) -> anyhow::Result<()> {
        self.end();
        self.compare(connection, checked)?;
        let mut next = run.unwrap_or(1);
        let end = run.map_or(i64::MAX, |run| run.saturating_add(1));
        loop {
            let ids = runs::ids(connection, next..end, PAGE)?;
            let Some(last) = ids.last() else { return Ok(()) };
            next = last.saturating_add(1);
            // Those that began behind the walk have their entries; others may have left.
            let unseen: Vec<i64> =
                ids.into_iter().filter(|id| self.seen.binary_search(id).is_err()).collect();
            let away = archive::among(connection, &unseen)?;
            checked.archived += away.values().map(|entries| *entries as u64).sum::<u64>();
            for id in unseen.into_iter().filter(|id| !away.contains_key(id)) {
                let problem = self.folded(connection, id, checked)?;
                problem.iter().for_each(|finding| checked.add(finding));
            }
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
        Err(newer @ StoreError::Newer(_)) => Err(newer.into()),
        Err(error) => finding(error.to_string()),
    }
}
