//! The agency's own stream in the log (run 0): sign-ins, refusals, exports, changes of protocols and users.
//!
//! One stream for each instance, so that no two writers share a chain. Floods of the same entry are gathered: the
//! first is written at once, the others are counted and written as one.

use super::error::StoreError;
use super::pool::Pool;
use super::schema::activity_log;
use crate::audit::Hash;
use crate::audit::entry::{Draft, seal};
use chrono::{DateTime, SubsecRound, Utc};
use diesel::prelude::*;
use serde_json::{Value, json};
use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Entries of the same kind by the same actor within this time are counted instead of written.
const FLOOD_WINDOW: Duration = Duration::from_secs(10);
/// After this many of them; a person never gets there.
const FLOOD_AFTER: u32 = 20;

pub struct AgencyLog {
    pool: Pool,
    origin: String,
    writer: Mutex<Writer>,
}

struct Writer {
    stream: i64,
    seq: u64,
    prev: Option<Hash>,
    last: DateTime<Utc>,
    floods: HashMap<(String, &'static str), Flood>,
}

struct Flood {
    since: Instant,
    seen: u32,
    held: u32,
}

/// Something that happened outside any run.
#[derive(Debug, Clone, PartialEq)]
pub struct AgencyEntry {
    pub actor: String,
    /// For example `access.refused`, `user.signed_in`, `log.exported`.
    pub type_name: &'static str,
    pub status: Option<&'static str>,
    pub detail: Value,
}

impl AgencyLog {
    /// A new stream; `stream` is the number of the instance, which no other ever has.
    pub fn new(pool: Pool, origin: String, stream: i64) -> AgencyLog {
        let writer =
            Writer { stream, seq: 0, prev: None, last: DateTime::UNIX_EPOCH, floods: HashMap::new() };
        AgencyLog { pool, origin, writer: Mutex::new(writer) }
    }

    /// Writes an entry, committed when this returns. Blocks: call it off the event loop.
    pub fn record(&self, entry: &AgencyEntry) -> Result<(), StoreError> {
        let mut writer = self.writer.lock().unwrap_or_else(PoisonError::into_inner);
        let key = (entry.actor.clone(), entry.type_name);
        let flood = writer.floods.entry(key).or_insert(Flood { since: Instant::now(), seen: 0, held: 0 });
        flood.seen += 1;
        if flood.seen > FLOOD_AFTER && flood.since.elapsed() < FLOOD_WINDOW {
            flood.held += 1;
            return Ok(());
        }
        self.write(&mut writer, entry)
    }

    /// Writes the counts of what was held back, once their time is over. Call it every few seconds and at the end.
    pub fn flush(&self, at_end: bool) -> Result<(), StoreError> {
        let mut writer = self.writer.lock().unwrap_or_else(PoisonError::into_inner);
        let over: Vec<((String, &'static str), u32)> = writer
            .floods
            .iter()
            .filter(|(_, flood)| at_end || flood.since.elapsed() >= FLOOD_WINDOW)
            .map(|(key, flood)| (key.clone(), flood.held))
            .collect();
        for (key, held) in over {
            if held > 0 {
                let detail = json!({"repeated": held, "note": "the same again, counted instead of written"});
                let entry = AgencyEntry { actor: key.0.clone(), type_name: key.1, status: None, detail };
                self.write(&mut writer, &entry)?;
            }
            writer.floods.remove(&key);
        }
        Ok(())
    }

    fn write(&self, writer: &mut Writer, entry: &AgencyEntry) -> Result<(), StoreError> {
        let at = Utc::now().trunc_subsecs(6).max(writer.last);
        let sealed = seal(&Draft {
            origin: &self.origin,
            run_id: 0,
            stream: writer.stream,
            seq: writer.seq + 1,
            prev: writer.prev,
            at,
            actor: &entry.actor,
            type_name: entry.type_name,
            step: None,
            attempt: None,
            status: entry.status,
            checksum: None,
            detail: entry.detail.clone(),
        });
        let mut connection = self.pool.get()?;
        diesel::insert_into(activity_log::table)
            .values((
                activity_log::run_id.eq(0),
                activity_log::stream.eq(writer.stream),
                activity_log::seq.eq(writer.seq as i64 + 1),
                activity_log::t.eq(at),
                activity_log::actor.eq(&entry.actor),
                activity_log::type_.eq(entry.type_name),
                activity_log::status.eq(entry.status),
                activity_log::leaf.eq(&sealed.leaf),
                activity_log::leaf_hash.eq(sealed.hash.as_slice()),
                activity_log::beside.eq(&sealed.beside),
            ))
            .execute(&mut connection)?;
        writer.seq += 1;
        writer.prev = Some(sealed.hash);
        writer.last = at;
        Ok(())
    }
}
