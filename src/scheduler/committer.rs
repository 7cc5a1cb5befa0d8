//! The one that writes. A thread with its own connection and a bounded queue.
//!
//! It takes what waits (group commit), decides each command on the state it knows, seals the entries, and writes
//! all of it in one transaction. Only then are the callers told, changes published and effects started. A run that
//! another instance moved on in the meantime is read again and its commands decided again.

mod batch;

use super::catalog::CatalogCache;
use super::changes::{Change, Changes};
use super::dispatch::Work;
use super::figures::{self, Tally};
use super::kicks::Kicks;
use super::listen::Untold;
use super::runs::RunCache;
use super::{Asked, Refused, Request};
use crate::engine::command::Rejection;
use crate::engine::ids::{InstanceId, RunId};
use crate::store::error::StoreError;
use crate::store::{Connection, pool};
use batch::{Batch, Group};
use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, Instant};
use tokio::sync::{mpsc, watch};

/// The most commands in one transaction.
const MAX_BATCH: usize = 500;
/// Commands that may wait before callers are held back.
pub const QUEUE: usize = 10_000;
/// Numbers of runs and approvals drawn at a time.
const ID_BLOCK: i64 = 256;
/// How long commands are tried, while their run keeps moving or the database is away, before the callers are told
/// to try later.
const MAX_WAIT: Duration = Duration::from_secs(10);

/// What the committer is made of.
pub struct Parts {
    pub database_url: String,
    /// Name of the log in every entry.
    pub origin: String,
    /// This instance's number; it changes when others took it for dead.
    pub instance: Arc<AtomicI64>,
    /// Set after each commit: the other instances are told.
    pub untold: Untold,
    pub runs: Arc<RunCache>,
    pub catalog: CatalogCache,
    pub changes: Changes,
    /// The loops that are told of what concerns them.
    pub kicks: Kicks,
    pub stopping: watch::Receiver<bool>,
    /// Where attempts go that are to be started, or stopped.
    pub work: mpsc::UnboundedSender<Work>,
}

pub struct Committer {
    parts: Parts,
    connection: Option<Connection>,
    /// Names this committer's transactions to the database.
    writer: i64,
    run_ids: VecDeque<i64>,
    approval_ids: VecDeque<i64>,
    tally: Tally,
}

impl Committer {
    pub fn new(parts: Parts) -> Committer {
        Committer {
            parts,
            connection: None,
            writer: rand::random::<i32>().into(),
            run_ids: VecDeque::new(),
            approval_ids: VecDeque::new(),
            tally: Tally::default(),
        }
    }

    /// Runs until every sender of requests is gone and the queue is empty.
    pub fn run(mut self, mut requests: mpsc::Receiver<Asked>) {
        while let Some(first) = requests.blocking_recv() {
            let mut waiting = vec![first];
            while waiting.len() < MAX_BATCH
                && let Ok(next) = requests.try_recv()
            {
                waiting.push(next);
            }
            self.commit(in_time(waiting));
            std::mem::take(&mut self.tally).tell();
        }
    }

    fn commit(&mut self, waiting: Vec<Request>) {
        let mut waiting = waiting;
        let began = Instant::now();
        while !waiting.is_empty() {
            if began.elapsed() > MAX_WAIT {
                waiting.into_iter().for_each(|request| request.refuse(Refused::Unavailable));
                return;
            }
            waiting = match self.attempt(waiting) {
                Ok(stale) => stale,
                Err((error, unwritten)) => {
                    tracing::error!(error = %error, "a batch could not be prepared");
                    self.recover();
                    unwritten
                }
            };
        }
    }

    /// Decides and writes once. Gives back the requests whose run had moved on.
    fn attempt(&mut self, waiting: Vec<Request>) -> Result<Vec<Request>, (StoreError, Vec<Request>)> {
        if let Err(error) = self.prepare(&waiting) {
            return Err((error, waiting));
        }
        let Some(connection) = &mut self.connection else { return Ok(waiting) };
        let instance = InstanceId(self.parts.instance.load(Ordering::Relaxed));
        let mut batch = Batch::new(&self.parts, instance, &mut self.run_ids, &mut self.approval_ids);
        for request in waiting {
            batch.add(connection, request);
        }
        let (groups, read_failed) = batch.finish();
        let stale = self.write(groups);
        if read_failed {
            self.recover();
        }
        Ok(stale)
    }

    /// A connection, what is registered, and numbers enough for every request: drawn before the first try, and kept as
    /// long as the connection.
    fn prepare(&mut self, waiting: &[Request]) -> Result<(), StoreError> {
        if self.connection.is_none() {
            self.connection = Some(self.connect()?);
        }
        let Some(connection) = &mut self.connection else { return Ok(()) };
        // What was registered through another instance counts at once: a step of which nothing is known fails for good.
        // It may have joined a moment ago, so that nobody knows of it: this asks each time, which takes 16 µs.
        self.parts.catalog.catch_up(connection)?;
        let starts = waiting.iter().filter(|request| matches!(request, Request::Start { .. })).count();
        if self.run_ids.len() < starts {
            let missing = (starts - self.run_ids.len()) as i64;
            let block = if missing == 1 { 1 } else { missing.max(ID_BLOCK.min(missing * 2)) };
            self.run_ids.extend(crate::store::runs::draw_run_ids(connection, block)?);
        }
        // A command opens at most one approval for each branch that it starts; refilled when it runs low.
        if self.approval_ids.len() < waiting.len() {
            let missing = (waiting.len() - self.approval_ids.len()) as i64;
            self.approval_ids.extend(crate::store::runs::draw_approval_ids(connection, missing)?);
        }
        Ok(())
    }

    fn write(&mut self, groups: Vec<Group>) -> Vec<Request> {
        if groups.is_empty() {
            return Vec::new();
        }
        let Some(connection) = &mut self.connection else {
            return groups.into_iter().flat_map(Group::into_requests).collect();
        };
        let members: Vec<_> = groups.iter().map(|group| &group.member).collect();
        let began = Instant::now();
        let mut written = crate::store::batch::write(connection, self.writer, &members);
        // A deadlock is nobody's fault: one that is alone is tried once more before it is called unwritable.
        if members.len() == 1 && written.is_err() && is_alive(connection) {
            written = crate::store::batch::write(connection, self.writer, &members);
        }
        figures::committed(groups.iter().map(Group::commands).sum(), began.elapsed());
        match written {
            Ok(outcomes) => {
                let finished = groups.into_iter().zip(outcomes);
                let stale = finished.flat_map(|(group, outcome)| self.finish(group, outcome)).collect();
                self.parts.untold.set();
                stale
            }
            Err(error) if !is_alive(connection) => self.look(groups, &error),
            Err(error) if groups.len() == 1 => {
                tracing::error!(error = %error, "a command could not be written");
                let writes = can_write(connection, self.writer);
                for group in groups {
                    self.parts.runs.forget(group.member.run.id);
                    let refused = || if writes { Refused::Unwritable } else { Refused::Unavailable };
                    group.into_requests().into_iter().for_each(|request| request.refuse(refused()));
                }
                Vec::new()
            }
            // Known to be rolled back: one of them is at fault, so that the others must not suffer.
            Err(error) => {
                tracing::warn!(error = %error, "a batch was rolled back; its members are tried one by one");
                groups.into_iter().flat_map(|group| self.write(vec![group])).collect()
            }
        }
    }

    /// The connection broke, perhaps in COMMIT: what is stored decides what is told.
    fn look(&mut self, groups: Vec<Group>, error: &StoreError) -> Vec<Request> {
        tracing::warn!(error = %error, "the connection broke while a batch was written; looking what is stored");
        loop {
            if *self.parts.stopping.borrow() {
                let requests = groups.into_iter().flat_map(Group::into_requests);
                requests.for_each(|request| request.refuse(Refused::Unavailable));
                return Vec::new();
            }
            self.recover();
            let Some(connection) = &mut self.connection else { continue };
            let stored: Result<Vec<bool>, StoreError> = groups
                .iter()
                .map(|group| {
                    let last = group.member.sealed.last().map(|sealed| sealed.hash.to_vec());
                    let (id, version) = (group.member.run.id, group.member.run.version);
                    Ok(crate::store::runs::entry_hash(connection, id, version)? == last)
                })
                .collect();
            let Ok(stored) = stored else { continue };
            let finished = groups.into_iter().zip(stored);
            return finished
                .flat_map(|(group, stored)| {
                    if stored {
                        return self.finish(group, crate::store::batch::Written::Written);
                    }
                    group.into_requests()
                })
                .collect();
        }
    }

    fn finish(&mut self, group: Group, outcome: crate::store::batch::Written) -> Vec<Request> {
        use crate::store::batch::Written;
        match outcome {
            Written::Written => {
                self.tally.add(&group.member.events);
                self.parts.runs.put(group.loaded());
                let change = Change::Run { id: group.member.run.id, version: group.member.run.version };
                self.parts.changes.publish(change);
                // The receiver is gone only while the app stops; a rescue finds these attempts then.
                group.work().into_iter().for_each(|work| drop(self.parts.work.send(work)));
                self.parts.kicks.committed(&group.member);
                group.acknowledge();
                Vec::new()
            }
            Written::Stale => {
                self.parts.runs.forget(group.member.run.id);
                group.into_requests()
            }
            Written::Full | Written::NotWanted => {
                if group.drew_its_number() {
                    self.run_ids.push_back(group.member.run.id.0);
                }
                group.refuse_start(&outcome);
                Vec::new()
            }
            Written::LineageOpen { run_id } => {
                self.run_ids.push_back(group.member.run.id.0);
                for request in group.into_requests() {
                    request.refuse(Refused::Rejected(Rejection::lineage_open(RunId(run_id))));
                }
                Vec::new()
            }
            Written::KeyTaken { run_id, body_hash, salt } => {
                self.run_ids.push_back(group.member.run.id.0);
                match &mut self.connection {
                    Some(connection) => {
                        let stored = (body_hash.as_slice(), salt.as_deref());
                        group.answer_with_earlier(connection, &self.parts.runs, run_id, stored);
                    }
                    None => group
                        .into_requests()
                        .into_iter()
                        .for_each(|request| request.refuse(Refused::Unavailable)),
                }
                Vec::new()
            }
        }
    }

    /// A connection to go on with. Only once the transaction of the one before it is over, and whatever is stored is
    /// where commits have to be, can anybody say what is stored.
    fn connect(&mut self) -> Result<Connection, StoreError> {
        let mut connection = pool::connect(&self.parts.database_url)?;
        crate::store::batch::await_writer(&mut connection, self.writer)?;
        // Numbers that were drawn may be drawn again: this may be another server, which does not know of them.
        self.run_ids.clear();
        self.approval_ids.clear();
        Ok(connection)
    }

    /// A new connection in place of a broken one. Waits a little, so that a database that is down is not hammered.
    fn recover(&mut self) {
        if self.connection.as_mut().is_some_and(is_alive) {
            return;
        }
        self.connection = None;
        match self.connect() {
            Ok(connection) => self.connection = Some(connection),
            Err(error) => {
                tracing::warn!(error = %error, "the database does not answer");
                std::thread::sleep(Duration::from_millis(200));
            }
        }
    }
}

/// Those that somebody still waits for. What waited behind an outage is refused: its callers are told, or soon will be,
/// and may have asked again.
fn in_time(waiting: Vec<Asked>) -> Vec<Request> {
    let (in_time, late): (Vec<Asked>, Vec<Asked>) =
        waiting.into_iter().partition(|asked| asked.at.elapsed() <= MAX_WAIT);
    late.into_iter().for_each(|asked| asked.request.refuse(Refused::Unavailable));
    in_time.into_iter().map(|asked| asked.request).collect()
}

/// Whether anything can be written at all: after a failover, or on a full disk, it is not the command's fault.
fn can_write(connection: &mut Connection, writer: i64) -> bool {
    crate::store::settings::can_write(connection, writer).is_ok()
}

/// Whether the connection still answers. If it does, a failed transaction is known to be rolled back; if it does
/// not, its COMMIT may have gone through.
fn is_alive(connection: &mut Connection) -> bool {
    crate::store::settings::answers(connection).is_ok()
}
