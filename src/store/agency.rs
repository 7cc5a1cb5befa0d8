//! The agency's own stream in the log (run 0): sign-ins, refusals, exports, changes of protocols and users.
//!
//! One stream for each instance, so that no two writers share a chain. What is refused can be asked for without end:
//! such entries name a flood key, the first under a key are written at once, the others are counted and written as
//! one. What was done is always written. Never remembers where the stream ends past a write whose outcome it does
//! not know: then the database is asked.

use super::Connection;
use super::error::StoreError;
use super::pool::Pool;
use super::schema::activity_log;
use crate::audit::Hash;
use crate::audit::entry::{Draft, seal};
use crate::engine::command::Actor;
use chrono::{DateTime, SubsecRound, Utc};
use diesel::prelude::*;
use serde_json::{Value, json};
use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Entries under the same flood key are counted at least this long before the count is written.
const FLOOD_WINDOW: Duration = Duration::from_secs(10);
/// After this many of them; a person never gets there.
const FLOOD_AFTER: u32 = 20;
/// The actor of what nobody known, or more than one name, did.
pub const NOBODY: &str = "nobody";

pub struct AgencyLog {
    pool: Pool,
    origin: String,
    stream: i64,
    /// Held from the insert to the end of its transaction. None: read it first.
    head: Mutex<Option<Head>>,
    floods: Mutex<HashMap<FloodKey, Flood>>,
}

/// The last entry of the stream.
struct Head {
    seq: i64,
    hash: Option<Hash>,
    at: DateTime<Utc>,
}

type FloodKey = (String, &'static str);

struct Flood {
    since: Instant,
    seen: u32,
    held: u32,
    /// Of all that was held, or [`NOBODY`] when they differ.
    actor: String,
}

/// Something that happened outside any run.
#[derive(Debug, Clone, PartialEq)]
pub struct AgencyEntry {
    pub actor: String,
    /// For example `access.refused`, `user.signed_in`, `log.exported`.
    pub type_name: &'static str,
    pub status: Option<&'static str>,
    pub detail: Value,
    /// Whose flood this would be: a user, an address. None: it is evidence of its own, and always written.
    pub flood: Option<String>,
}

impl AgencyEntry {
    /// Something that HMS-ACT itself did.
    pub fn of_system(type_name: &'static str, detail: Value) -> AgencyEntry {
        AgencyEntry { actor: Actor::system().name, type_name, status: None, detail, flood: None }
    }
}

impl AgencyLog {
    /// A stream of its own; `stream` is the number of the instance, which no other ever has.
    pub fn new(pool: Pool, origin: String, stream: i64) -> AgencyLog {
        AgencyLog { pool, origin, stream, head: Mutex::new(None), floods: Mutex::new(HashMap::new()) }
    }

    /// Writes an entry, committed when this returns. Blocks: call it off the event loop.
    pub fn record(&self, entry: AgencyEntry) -> Result<(), StoreError> {
        if self.holds_back(&entry) {
            return Ok(());
        }
        self.write_in(&mut *self.pool.get()?, |_| Ok(((), Some(entry))))
    }

    /// Does a change and writes the entry that tells of it in one transaction: both are committed when this returns,
    /// or neither is. `change` gives no entry when it changed nothing. An entry that is one too many of its flood is
    /// counted.
    pub fn record_in<T>(
        &self,
        connection: &mut Connection,
        change: impl FnOnce(&mut Connection) -> Result<(T, Option<AgencyEntry>), StoreError>,
    ) -> Result<T, StoreError> {
        self.write_in(connection, |connection| {
            let (done, entry) = change(connection)?;
            Ok((done, entry.filter(|entry| !self.holds_back(entry))))
        })
    }

    fn write_in<T>(
        &self,
        connection: &mut Connection,
        change: impl FnOnce(&mut Connection) -> Result<(T, Option<AgencyEntry>), StoreError>,
    ) -> Result<T, StoreError> {
        let mut written: Option<(MutexGuard<Option<Head>>, Head)> = None;
        let done = super::transaction(connection, |connection| {
            let (done, entry) = change(connection)?;
            if let Some(entry) = entry {
                let mut head = lock(&self.head);
                // Taken: unless the commit is known, the next writer asks the database where the stream ends.
                let last = match head.take() {
                    Some(last) => last,
                    None => self.read_head(connection)?,
                };
                let next = self.append(connection, &last, &entry)?;
                written = Some((head, next));
            }
            Ok(done)
        })?;
        if let Some((mut head, next)) = written {
            *head = Some(next);
        }
        Ok(done)
    }

    /// Writes the counts of what was held back, once their time is over. Call it every few seconds and at the end.
    pub fn flush(&self, at_end: bool) -> Result<(), StoreError> {
        let is_over = |flood: &Flood| at_end || flood.since.elapsed() >= FLOOD_WINDOW;
        let over: Vec<(FloodKey, Flood)> = lock(&self.floods).extract_if(|_, flood| is_over(flood)).collect();
        for ((key, type_name), flood) in over.into_iter().filter(|(_, flood)| flood.held > 0) {
            let note = "the same again, counted instead of written";
            let detail = json!({"repeated": flood.held, "gathered_under": key, "note": note});
            let entry = AgencyEntry { actor: flood.actor, type_name, status: None, detail, flood: None };
            self.record(entry)?;
        }
        Ok(())
    }

    /// Whether this is one too many of its flood: then it was counted.
    fn holds_back(&self, entry: &AgencyEntry) -> bool {
        let Some(key) = entry.flood.clone() else { return false };
        let mut floods = lock(&self.floods);
        let new = || Flood { since: Instant::now(), seen: 0, held: 0, actor: entry.actor.clone() };
        let flood = floods.entry((key, entry.type_name)).or_insert_with(new);
        flood.seen += 1;
        if flood.seen <= FLOOD_AFTER {
            return false;
        }
        flood.held += 1;
        if flood.held == 1 {
            flood.actor.clone_from(&entry.actor);
        } else if flood.actor != entry.actor {
            NOBODY.clone_into(&mut flood.actor);
        }
        true
    }

    fn read_head(&self, connection: &mut Connection) -> Result<Head, StoreError> {
        let last: Option<(i64, Vec<u8>, DateTime<Utc>)> = activity_log::table
            .filter(activity_log::run_id.eq(0).and(activity_log::stream.eq(self.stream)))
            .order(activity_log::seq.desc())
            .select((activity_log::seq, activity_log::leaf_hash, activity_log::t))
            .first(connection)
            .optional()?;
        let Some((seq, hash, at)) = last else {
            return Ok(Head { seq: 0, hash: None, at: DateTime::UNIX_EPOCH });
        };
        let hash = Hash::try_from(hash.as_slice())
            .map_err(|_| StoreError::Corrupt(format!("entry {seq} of stream {} has no hash", self.stream)))?;
        Ok(Head { seq, hash: Some(hash), at })
    }

    fn append(
        &self,
        connection: &mut Connection,
        last: &Head,
        entry: &AgencyEntry,
    ) -> Result<Head, StoreError> {
        let (seq, at) = (last.seq + 1, Utc::now().trunc_subsecs(6).max(last.at));
        let sealed = seal(&Draft {
            origin: &self.origin,
            run_id: 0,
            stream: self.stream,
            seq: seq.unsigned_abs(),
            prev: last.hash,
            at,
            actor: &entry.actor,
            type_name: entry.type_name,
            step: None,
            attempt: None,
            status: entry.status,
            checksum: None,
            detail: entry.detail.clone(),
        });
        diesel::insert_into(activity_log::table)
            .values((
                activity_log::run_id.eq(0),
                activity_log::stream.eq(self.stream),
                activity_log::seq.eq(seq),
                activity_log::t.eq(at),
                activity_log::actor.eq(&entry.actor),
                activity_log::type_.eq(entry.type_name),
                activity_log::status.eq(entry.status),
                activity_log::leaf.eq(&sealed.leaf),
                activity_log::leaf_hash.eq(sealed.hash.as_slice()),
                activity_log::beside.eq(&sealed.beside),
            ))
            .execute(connection)?;
        Ok(Head { seq, hash: Some(sealed.hash), at })
    }
}

/// A panic elsewhere leaves nothing half-done: the head is taken before it is used, and counts are counts.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
