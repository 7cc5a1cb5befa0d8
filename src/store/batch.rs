//! The committer's transaction: the log and its projections, written together.
//!
//! A handful of set-based statements; their number does not grow with the batch. A member whose run has moved on
//! (or whose key is taken) is left out and reported; the others are written.

mod approvals;
mod disclosures;
mod entries;
mod overrides;
mod projections;
pub(super) mod replayed;
mod slots;
mod subruns;
mod timers;
mod waits;
mod work;

pub use projections::subject;

use super::error::StoreError;
use crate::audit::entry::Sealed;
use crate::engine::event::Recorded;
use crate::engine::state::Run;
use diesel::prelude::*;
use diesel::sql_types::{Array, BigInt, Bool, Bytea, Integer, Nullable, Text};
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use std::collections::{HashMap, HashSet};
use std::sync::Arc;

/// The answer to `POST /acts/run` under an `Idempotency-Key`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StartKey {
    pub actor: String,
    pub key: String,
    /// SHA-256 of the request's canonical body. Never stored so: what is sealed in the body could be guessed from it.
    pub body_hash: Vec<u8>,
}

impl StartKey {
    /// What is stored of the body: HMAC-SHA-256 under the salt of the run that it began. Erased with that salt.
    fn sealed(&self, salt: &[u8]) -> Vec<u8> {
        let mut mac = Hmac::<Sha256>::new_from_slice(salt).expect("HMAC takes a key of any length");
        mac.update(&self.body_hash);
        mac.finalize().into_bytes().to_vec()
    }

    /// Whether this is the body that was stored with a run of this salt. Earlier versions stored the plain hash.
    pub fn is_of(&self, stored: &[u8], salt: Option<&[u8]>) -> bool {
        salt.is_some_and(|salt| self.sealed(salt) == stored)
            || (!stored.is_empty() && stored == self.body_hash)
    }
}

/// A run before and after some commands, with what they add to the log.
#[derive(Debug, Clone)]
pub struct Member {
    pub start_key: Option<StartKey>,
    /// The version that this was decided on. None: a new run.
    pub before: Option<u64>,
    pub run: Arc<Run>,
    pub events: Vec<Recorded>,
    /// One for each event.
    pub sealed: Vec<Sealed>,
    /// The same run and events with what is sealed left out, where something is.
    pub veiled: Option<Veiled>,
}

/// What is told of a run to those who may not see what is sealed in it.
#[derive(Debug, Clone)]
pub struct Veiled {
    pub run: Arc<Run>,
    pub events: Vec<Recorded>,
}

impl Member {
    /// The run as lists and forms may show it.
    fn told_run(&self) -> &Run {
        self.veiled.as_ref().map_or(&self.run, |veiled| &veiled.run)
    }

    /// The events as lists and forms may show them.
    fn told_events(&self) -> &[Recorded] {
        self.veiled.as_ref().map_or(&self.events, |veiled| &veiled.events)
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Written {
    Written,
    /// The run has another version than the one decided on: load it and decide again.
    Stale,
    /// The key was used before, for this run and this body.
    KeyTaken {
        run_id: i64,
        body_hash: Vec<u8>,
        /// Of that run. None: erased.
        salt: Option<Vec<u8>>,
    },
    /// As many runs as may be are on their way under the run's concurrency limit, and it does not wait.
    Full,
    /// A sub-run that began already, or that its step no longer waits for; a rerun of what was erased meanwhile.
    NotWanted,
    /// A rerun whose lineage has another run that is not over.
    LineageOpen {
        run_id: i64,
    },
}

/// Writes a batch in one transaction. On an error nothing is written, except that after a connection broke in
/// COMMIT nobody knows: look with [`await_writer`] and [`super::runs::entry_hash`]. `writer` is a number that no
/// other committer uses.
pub fn write(
    connection: &mut PgConnection,
    writer: i64,
    members: &[&Member],
) -> Result<Vec<Written>, StoreError> {
    connection.transaction(|connection| {
        hold_writer_lock(connection, writer)?;
        let mut outcomes = vec![Written::Written; members.len()];
        take_keys(connection, members, &mut outcomes)?;
        lock_runs(connection, members, &mut outcomes)?;
        check_lineages(connection, members, &mut outcomes)?;
        subruns::check(connection, members, &mut outcomes)?;
        slots::check(connection, members, &mut outcomes)?;
        give_back_keys(connection, members, &outcomes)?;
        let kept: Vec<&Member> = members
            .iter()
            .zip(&outcomes)
            .filter_map(|(member, outcome)| (*outcome == Written::Written).then_some(*member))
            .collect();
        if !kept.is_empty() {
            entries::append(connection, &kept)?;
            disclosures::append(connection, &kept)?;
            projections::insert(connection, &kept)?;
            projections::update(connection, &kept)?;
            approvals::open(connection, &kept)?;
            approvals::move_on(connection, &kept)?;
            approvals::end(connection, &kept)?;
            overrides::file(connection, &kept)?;
            overrides::decide(connection, &kept)?;
            overrides::close(connection, &kept)?;
            timers::set(connection, &kept)?;
            waits::set(connection, &kept)?;
            subruns::set(connection, &kept)?;
            slots::set(connection, &kept)?;
            work::set(connection, &kept)?;
        }
        Ok(outcomes)
    })
}

/// Waits until no transaction of this writer is under way any more: one whose connection broke may still be in its
/// COMMIT, on the server's side. And until whatever can be seen by now is where commits have to be: a COMMIT that waited
/// for a synchronous standby and was broken off has happened here and perhaps nowhere else, so that whoever finds it
/// must not acknowledge it yet. A message in the WAL, which nobody reads, makes this COMMIT wait for all before it.
pub fn await_writer(connection: &mut PgConnection, writer: i64) -> Result<(), StoreError> {
    connection.transaction(|connection| {
        hold_writer_lock(connection, writer)?;
        diesel::sql_query("SELECT pg_logical_emit_message(true, 'hms_act', '')").execute(connection)?;
        Ok(())
    })
}

fn hold_writer_lock(connection: &mut PgConnection, writer: i64) -> Result<(), StoreError> {
    // Two keys of 32 bits: what the lock is for, and whose.
    diesel::sql_query("SELECT pg_advisory_xact_lock(hashtext('hms_act.writer'), $1)")
        .bind::<Integer, _>((writer % i64::from(i32::MAX)) as i32)
        .execute(connection)?;
    Ok(())
}

fn take_keys(
    connection: &mut PgConnection,
    members: &[&Member],
    outcomes: &mut [Written],
) -> Result<(), StoreError> {
    let keyed: Vec<(usize, &StartKey, &Run)> = members
        .iter()
        .enumerate()
        .filter_map(|(index, member)| Some((index, member.start_key.as_ref()?, member.run.as_ref())))
        .collect();
    if keyed.is_empty() {
        return Ok(());
    }
    #[derive(QueryableByName)]
    struct Owner {
        #[diesel(sql_type = BigInt)]
        run_id: i64,
        #[diesel(sql_type = Text)]
        actor: String,
        #[diesel(sql_type = Text)]
        key: String,
        #[diesel(sql_type = Bytea)]
        body_hash: Vec<u8>,
        #[diesel(sql_type = Nullable<Bytea>)]
        salt: Option<Vec<u8>>,
    }
    let actors: Vec<&str> = keyed.iter().map(|(_, key, _)| key.actor.as_str()).collect();
    let keys: Vec<&str> = keyed.iter().map(|(_, key, _)| key.key.as_str()).collect();
    diesel::sql_query(
        "INSERT INTO start_keys (actor, key, body_hash, run_id)
         SELECT * FROM unnest($1, $2, $3, $4) ON CONFLICT DO NOTHING",
    )
    .bind::<Array<Text>, _>(&actors)
    .bind::<Array<Text>, _>(&keys)
    .bind::<Array<Bytea>, _>(
        keyed
            .iter()
            .map(|(_, key, run)| key.sealed(run.salt.as_ref().map_or(&[], <[u8; 32]>::as_slice)))
            .collect::<Vec<_>>(),
    )
    .bind::<Array<BigInt>, _>(keyed.iter().map(|(_, _, run)| run.id.0).collect::<Vec<_>>())
    .execute(connection)?;
    let owners: Vec<Owner> = diesel::sql_query(
        "SELECT k.run_id, k.actor, k.key, k.body_hash, r.salt FROM start_keys k
         JOIN unnest($1, $2) AS asked (actor, key) ON k.actor = asked.actor AND k.key = asked.key
         LEFT JOIN runs r ON r.run_id = k.run_id",
    )
    .bind::<Array<Text>, _>(&actors)
    .bind::<Array<Text>, _>(&keys)
    .load(connection)?;
    let owners: HashMap<(&str, &str), &Owner> =
        owners.iter().map(|owner| ((owner.actor.as_str(), owner.key.as_str()), owner)).collect();
    for (index, key, run) in keyed {
        let owner = owners
            .get(&(key.actor.as_str(), key.key.as_str()))
            .ok_or_else(|| StoreError::Corrupt("a start key vanished in its own transaction".to_owned()))?;
        if owner.run_id != run.id.0 {
            let (body_hash, salt) = (owner.body_hash.clone(), owner.salt.clone());
            outcomes[index] = Written::KeyTaken { run_id: owner.run_id, body_hash, salt };
        }
    }
    Ok(())
}

/// A start that is refused leaves its key unused: a later try under it may find room.
fn give_back_keys(
    connection: &mut PgConnection,
    members: &[&Member],
    outcomes: &[Written],
) -> Result<(), StoreError> {
    let refused = |outcome: &Written| {
        matches!(outcome, Written::Full | Written::NotWanted | Written::LineageOpen { .. })
    };
    let pairs = members.iter().zip(outcomes).filter(|(_, outcome)| refused(outcome));
    let ids: Vec<i64> =
        pairs.filter(|(member, _)| member.start_key.is_some()).map(|(member, _)| member.run.id.0).collect();
    if !ids.is_empty() {
        diesel::sql_query("DELETE FROM start_keys WHERE run_id = ANY($1)")
            .bind::<Array<BigInt>, _>(ids)
            .execute(connection)?;
    }
    Ok(())
}

/// Reruns, with their place in the batch.
fn reruns<'a>(members: &'a [&Member]) -> impl Iterator<Item = (usize, &'a Run)> {
    let new = members.iter().enumerate().filter(|(_, member)| member.before.is_none());
    new.map(|(index, member)| (index, member.run.as_ref())).filter(|(_, run)| run.rerun_of.is_some())
}

/// Marks the reruns whose lineage has a run that is not over. Its first run is locked, so that of two the second waits
/// and then sees the first.
fn check_lineages(
    connection: &mut PgConnection,
    members: &[&Member],
    outcomes: &mut [Written],
) -> Result<(), StoreError> {
    #[derive(QueryableByName)]
    struct Open {
        #[diesel(sql_type = BigInt)]
        lineage: i64,
        #[diesel(sql_type = BigInt)]
        run_id: i64,
    }
    let lineages: Vec<i64> = reruns(members).map(|(_, run)| run.lineage.0).collect();
    if lineages.is_empty() {
        return Ok(());
    }
    let open: Vec<Open> =
        diesel::sql_query("SELECT lineage, run_id FROM runs WHERE lineage = ANY($1) AND closed_at IS NULL")
            .bind::<Array<BigInt>, _>(lineages)
            .load(connection)?;
    let mut open: HashMap<i64, i64> = open.into_iter().map(|row| (row.lineage, row.run_id)).collect();
    for (index, run) in reruns(members) {
        match open.get(&run.lineage.0) {
            Some(other) => outcomes[index] = Written::LineageOpen { run_id: *other },
            None => {
                open.insert(run.lineage.0, run.id.0);
            }
        }
    }
    Ok(())
}

/// Locks the existing runs, and the first runs of lineages that go on, in the order of their ids, and marks those that
/// moved on.
fn lock_runs(
    connection: &mut PgConnection,
    members: &[&Member],
    outcomes: &mut [Written],
) -> Result<(), StoreError> {
    #[derive(QueryableByName)]
    struct Version {
        #[diesel(sql_type = BigInt)]
        run_id: i64,
        #[diesel(sql_type = BigInt)]
        version: i64,
        #[diesel(sql_type = Bool)]
        erased: bool,
    }
    let existing = members.iter().filter(|member| member.before.is_some()).map(|member| member.run.id.0);
    let ids: Vec<i64> = existing.chain(reruns(members).map(|(_, run)| run.lineage.0)).collect();
    if ids.is_empty() {
        return Ok(());
    }
    let versions: Vec<Version> = diesel::sql_query(
        "SELECT run_id, version, salt IS NULL OR archive_id IS NOT NULL AS erased FROM runs
         WHERE run_id = ANY($1) ORDER BY run_id FOR UPDATE",
    )
    .bind::<Array<BigInt>, _>(ids)
    .load(connection)?;
    let erased: HashSet<i64> = versions.iter().filter(|row| row.erased).map(|row| row.run_id).collect();
    for (index, run) in reruns(members) {
        // Erased, or moved to the archive, since the rerun was asked for.
        if erased.contains(&run.lineage.0) {
            outcomes[index] = Written::NotWanted;
        }
    }
    let versions: HashMap<i64, i64> = versions.into_iter().map(|row| (row.run_id, row.version)).collect();
    for (member, outcome) in members.iter().zip(outcomes) {
        if let Some(before) = member.before
            && versions.get(&member.run.id.0) != Some(&(before as i64))
        {
            *outcome = Written::Stale;
        }
    }
    Ok(())
}
