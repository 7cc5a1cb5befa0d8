//! Runs: one by folding its log, many from the projection.

use super::error::StoreError;
use super::protocols::ProtocolCache;
use super::schema::runs;
use super::{archive, lineage, log, sequences};
use crate::audit::chain::Stored;
use crate::audit::entry::{Opened, open};
use crate::audit::{Hash, leaf_hash};
use crate::engine::apply::{apply, begin, pinned};
use crate::engine::event::{Event, EventKind, Recorded, Unreadable};
use crate::engine::ids::{RunId, StepPath};
use crate::engine::state::{Run, RunStatus};
use chrono::{DateTime, Utc};
use diesel::pg::Pg;
use diesel::prelude::*;
use diesel::sql_types::BigInt;
use std::collections::HashMap;
use std::ops::Range;
use std::sync::Arc;

/// Entries read at a time while a run is folded.
const FOLD_PAGE: i64 = 5_000;

/// A run, and the hash that its next entry links to.
#[derive(Debug, Clone)]
pub struct Loaded {
    pub run: Arc<Run>,
    pub head: Hash,
    /// How often something of it was erased.
    pub erasures: i32,
}

impl Loaded {
    /// Where it stands in the database.
    pub fn state(&self) -> (u64, i32) {
        (self.run.version, self.erasures)
    }
}

/// A run by folding its log. None: there is no such run.
///
/// # Errors
/// [`StoreError::Archived`] when its entries are no longer in the log.
pub fn load(
    connection: &mut PgConnection,
    id: RunId,
    protocols: &ProtocolCache,
) -> Result<Option<Loaded>, StoreError> {
    let Some((version, erasures)) = state(connection, id)? else { return Ok(None) };
    let folded = fold(connection, id, protocols, None, u64::MAX, &mut |_| {})?;
    // It may have left while it was read: what is here is then perhaps not all of it.
    if folded.as_ref().is_none_or(|(run, _)| run.version < version)
        && let Some(archive) = archive::of_run(connection, id)?
    {
        return Err(archive.away(id));
    }
    Ok(folded.map(|(run, head)| Loaded { run: Arc::new(run), head, erasures }))
}

/// A run as it was after this entry, or after its last: folded from its log, or on from an earlier moment of it. `passed`
/// sees every moment on the way.
pub fn at(
    connection: &mut PgConnection,
    id: RunId,
    protocols: &ProtocolCache,
    from: Option<Arc<Run>>,
    until: u64,
    passed: &mut dyn FnMut(&Run),
) -> Result<Option<Arc<Run>>, StoreError> {
    let folded = fold(connection, id, protocols, from, until, passed)?;
    Ok(folded.map(|(run, _)| Arc::new(run)))
}

/// A run with the hash of the last entry that was read.
fn fold(
    connection: &mut PgConnection,
    id: RunId,
    protocols: &ProtocolCache,
    from: Option<Arc<Run>>,
    until: u64,
    passed: &mut dyn FnMut(&Run),
) -> Result<Option<(Run, Hash)>, StoreError> {
    let known = runs::table.find(id.0).select((runs::salt, runs::closed_at.is_null()));
    let known: Option<(Option<Vec<u8>>, bool)> = known.first(connection).optional()?;
    let Some((salt, is_open)) = known else { return Ok(None) };
    let salt = salt.and_then(|bytes| <[u8; 32]>::try_from(bytes).ok());
    let beginning = Beginning { id, salt, is_open };
    let mut folded = from.map(|known| (Arc::unwrap_or_clone(known), Hash::default()));
    loop {
        let after = folded.as_ref().map_or(0, |(run, _)| run.version);
        let page = until.saturating_sub(after).min(FOLD_PAGE as u64) as i64;
        let entries = log::of_run(connection, id.0, after as i64, page)?;
        let last = entries.len() < page as usize || after + entries.len() as u64 >= until;
        for stored in entries {
            let recorded = recorded(&stored)?;
            let head = leaf_hash(&stored.leaf);
            folded = Some(match folded {
                Some((mut run, _)) => {
                    apply(&mut run, &recorded);
                    if let Some(pin) = pinned(&recorded.event.kind) {
                        run.protocol = protocols.get(connection, pin.id, pin.version)?;
                    }
                    (run, head)
                }
                None => (beginning.first(connection, &recorded, protocols)?, head),
            });
            if let Some((run, _)) = &folded {
                passed(run);
            }
        }
        if last {
            return Ok(folded);
        }
    }
}

/// What is known of a run before its log is read.
pub(super) struct Beginning {
    pub id: RunId,
    pub salt: Option<[u8; 32]>,
    pub is_open: bool,
}

impl Beginning {
    pub fn first(
        &self,
        connection: &mut PgConnection,
        recorded: &Recorded,
        protocols: &ProtocolCache,
    ) -> Result<Run, StoreError> {
        let id = self.id;
        let damaged = || StoreError::Corrupt(format!("run {id} does not begin with its queueing"));
        let pin = pinned(&recorded.event.kind).ok_or_else(damaged)?;
        let protocol = protocols.get(connection, pin.id, pin.version)?;
        let before = match &recorded.event.kind {
            // A run that is over asks for nothing any more.
            EventKind::RunQueued { rerun_of: Some(_), lineage: of, .. } if self.is_open => {
                Some(Arc::new(lineage::read(connection, *of, Some(id))?))
            }
            _ => None,
        };
        begin(id, recorded, protocol, self.salt, before).ok_or_else(damaged)
    }
}

/// The event of an entry.
pub fn recorded(stored: &Stored) -> Result<Recorded, StoreError> {
    let damaged =
        |message: String| StoreError::Corrupt(format!("run {} seq {}: {message}", stored.run_id, stored.seq));
    let mut opened: Opened = open(&stored.leaf, stored.beside.as_ref()).map_err(damaged)?;
    opened.disclose(stored.disclosures.as_deref().unwrap_or_default()).map_err(damaged)?;
    event_of(stored, opened)
}

/// The event of an entry as it is shown to somebody who may not see what is sealed in it.
pub fn veiled(stored: &Stored) -> Result<Recorded, StoreError> {
    let damaged =
        |message: String| StoreError::Corrupt(format!("run {} seq {}: {message}", stored.run_id, stored.seq));
    let mut opened: Opened = open(&stored.leaf, stored.beside.as_ref()).map_err(damaged)?;
    opened.veil(stored.disclosures.as_deref().unwrap_or_default()).map_err(damaged)?;
    event_of(stored, opened)
}

fn event_of(stored: &Stored, opened: Opened) -> Result<Recorded, StoreError> {
    let (run, seq) = (stored.run_id, stored.seq);
    let kind = EventKind::from_entry(&opened.type_name, opened.checksum.as_deref(), opened.detail);
    let kind = kind.map_err(|unreadable| match unreadable {
        Unreadable::Newer(_) => StoreError::Newer(format!("Entry {seq} of run {run}")),
        Unreadable::Damaged(message) => StoreError::Corrupt(format!("run {run} seq {seq}: {message}")),
    })?;
    let step = opened.step.as_deref().map(StepPath::from_log);
    Ok(Recorded { at: opened.at, actor: opened.actor, event: Event { step, attempt: opened.attempt, kind } })
}

/// The version of a run: the `seq` of its last entry.
pub fn version(connection: &mut PgConnection, id: RunId) -> Result<Option<u64>, StoreError> {
    let version: Option<i64> = runs::table.find(id.0).select(runs::version).first(connection).optional()?;
    Ok(version.map(|version| version as u64))
}

/// The versions of several runs.
pub fn versions(connection: &mut PgConnection, ids: &[RunId]) -> Result<HashMap<RunId, u64>, StoreError> {
    let ids: Vec<i64> = ids.iter().map(|id| id.0).collect();
    let found = runs::table.filter(runs::run_id.eq_any(ids)).select((runs::run_id, runs::version));
    let found: Vec<(i64, i64)> = found.load(connection)?;
    Ok(found.into_iter().map(|(id, version)| (RunId(id), version as u64)).collect())
}

/// The version of a run, and how often something of it was erased.
pub fn state(connection: &mut PgConnection, id: RunId) -> Result<Option<(u64, i32)>, StoreError> {
    let state = runs::table.find(id.0).select((runs::version, runs::erasures));
    let state: Option<(i64, i32)> = state.first(connection).optional()?;
    Ok(state.map(|(version, erasures)| (version as u64, erasures)))
}

/// Which version of which protocol each of these runs follows; runs that there are not are left out.
pub fn protocol_versions(
    connection: &mut PgConnection,
    ids: &[i64],
) -> Result<Vec<(i64, i64, i32)>, StoreError> {
    let columns = (runs::run_id, runs::protocol_id, runs::protocol_version);
    Ok(runs::table.filter(runs::run_id.eq_any(ids)).select(columns).load(connection)?)
}

/// The status that the projection shows.
pub fn status(connection: &mut PgConnection, id: RunId) -> Result<Option<String>, StoreError> {
    Ok(runs::table.find(id.0).select(runs::status).first(connection).optional()?)
}

/// Where the list of runs says that these end: number, version and status.
pub fn ends(connection: &mut PgConnection, ids: &[i64]) -> Result<Vec<(i64, i64, String)>, StoreError> {
    let rows = runs::table.filter(runs::run_id.eq_any(ids));
    Ok(rows.select((runs::run_id, runs::version, runs::status)).load(connection)?)
}

/// The leaf hash of one entry: after a commit whose outcome is unknown, it tells whose entry is there.
pub fn entry_hash(connection: &mut PgConnection, id: RunId, seq: u64) -> Result<Option<Vec<u8>>, StoreError> {
    use super::schema::activity_log::dsl;
    Ok(dsl::activity_log
        .filter(dsl::run_id.eq(id.0).and(dsl::stream.eq(0)).and(dsl::seq.eq(seq as i64)))
        .select(dsl::leaf_hash)
        .first(connection)
        .optional()?)
}

/// Draws numbers for runs and makes sure that the log has room for them.
pub fn draw_run_ids(connection: &mut PgConnection, count: i64) -> Result<Vec<i64>, StoreError> {
    let ids = sequences::draw(connection, "run_ids", count)?;
    if let Some(last) = ids.iter().max() {
        ensure_log_room(connection, *last)?;
    }
    Ok(ids)
}

/// Makes the part of the log that holds this run's entries, if it is missing.
pub fn ensure_log_room(connection: &mut PgConnection, run_id: i64) -> Result<(), StoreError> {
    diesel::sql_query("SELECT ensure_log_partition($1)").bind::<BigInt, _>(run_id).execute(connection)?;
    Ok(())
}

pub fn draw_approval_ids(connection: &mut PgConnection, count: i64) -> Result<Vec<i64>, StoreError> {
    sequences::draw(connection, "approval_ids", count)
}

/// The next run gets at least this number.
pub fn begin_ids_at(connection: &mut PgConnection, first: i64) -> Result<(), StoreError> {
    sequences::begin_at(connection, "run_ids", first)
}

/// A row of the list of runs.
#[derive(Debug, Clone, PartialEq, Queryable, Selectable)]
#[diesel(table_name = runs)]
pub struct RunRow {
    pub run_id: i64,
    pub protocol_id: i64,
    pub protocol_version: i32,
    pub protocol_name: String,
    pub status: String,
    pub current_step: Option<String>,
    pub stalled: bool,
    pub started_by: String,
    pub subject: String,
    pub created_at: DateTime<Utc>,
    pub updated_at: DateTime<Utc>,
}

/// What a reader asked for. Empty: all runs.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct RunFilter {
    pub statuses: Vec<RunStatus>,
    pub protocol_id: Option<i64>,
    /// In the number, the protocol's name, the starter or the subject.
    pub text: Option<String>,
    pub from: Option<DateTime<Utc>>,
    pub to: Option<DateTime<Utc>>,
    pub started_by: Option<String>,
    pub stalled: Option<bool>,
}

/// Newest first, from below `cursor`.
pub fn list(
    connection: &mut PgConnection,
    filter: &RunFilter,
    cursor: Option<i64>,
    limit: i64,
) -> Result<Vec<RunRow>, StoreError> {
    let mut query = filtered(filter).select(RunRow::as_select()).order(runs::run_id.desc()).limit(limit);
    if let Some(below) = cursor {
        query = query.filter(runs::run_id.lt(below));
    }
    Ok(query.load(connection)?)
}

/// How many runs the list with this filter has.
pub fn count(connection: &mut PgConnection, filter: &RunFilter) -> Result<i64, StoreError> {
    Ok(filtered(filter).count().get_result(connection)?)
}

fn filtered(filter: &RunFilter) -> runs::BoxedQuery<'static, Pg> {
    let mut query = runs::table.into_boxed();
    if !filter.statuses.is_empty() {
        let statuses: Vec<&'static str> = filter.statuses.iter().map(|status| status.as_str()).collect();
        query = query.filter(runs::status.eq_any(statuses));
        if filter.statuses.iter().all(|status| !status.is_final()) {
            // What the index of open runs is for.
            query = query.filter(runs::closed_at.is_null());
        }
    }
    if let Some(protocol_id) = filter.protocol_id {
        query = query.filter(runs::protocol_id.eq(protocol_id));
    }
    if let Some(starter) = &filter.started_by {
        query = query.filter(runs::started_by.eq(starter.clone()));
    }
    if let Some(stalled) = filter.stalled {
        query = query.filter(runs::stalled.eq(stalled));
        if stalled {
            query = query.filter(runs::closed_at.is_null());
        }
    }
    if let Some(from) = filter.from {
        query = query.filter(runs::created_at.ge(from));
    }
    if let Some(to) = filter.to {
        query = query.filter(runs::created_at.lt(to));
    }
    if let Some(text) = &filter.text {
        let anywhere = format!("%{}%", log::like_literal(text));
        let number = text.trim().trim_start_matches('#').parse::<i64>().unwrap_or(-1);
        query = query.filter(
            runs::subject
                .ilike(anywhere.clone())
                .or(runs::protocol_name.ilike(anywhere.clone()))
                .or(runs::started_by.ilike(anywhere))
                .or(runs::run_id.eq(number)),
        );
    }
    query
}

/// Runs that are not over and have an attempt on this instance.
pub fn on_instance(
    connection: &mut PgConnection,
    instance: i64,
    after: i64,
    limit: i64,
) -> Result<Vec<i64>, StoreError> {
    Ok(runs::table
        .filter(runs::closed_at.is_null().and(runs::run_id.gt(after)))
        .filter(runs::instances.contains(vec![instance]))
        .order(runs::run_id.asc())
        .select(runs::run_id)
        .limit(limit)
        .load(connection)?)
}

/// A run with attempts that nobody works on.
#[derive(Debug, Clone, PartialEq, Eq, QueryableByName)]
pub struct Lost {
    #[diesel(sql_type = BigInt)]
    pub run_id: i64,
    /// The instances that had them. No other instance ever gets their numbers.
    #[diesel(sql_type = diesel::sql_types::Array<BigInt>)]
    pub gone: Vec<i64>,
}

/// Runs that are not over and have an attempt on an instance that is gone. Both are read at one moment: an instance
/// registers before it begins anything, so one that joined since a look at who is alive is not taken for gone.
pub fn lost(connection: &mut PgConnection, after: i64, limit: i64) -> Result<Vec<Lost>, StoreError> {
    Ok(diesel::sql_query(
        "SELECT run_id, ARRAY(SELECT unnest(runs.instances) EXCEPT SELECT alive.id FROM instances AS alive) AS gone
         FROM runs
         WHERE closed_at IS NULL AND run_id > $1 AND runs.instances <> '{}'
           AND NOT runs.instances <@ ARRAY(SELECT alive.id FROM instances AS alive)
         ORDER BY run_id LIMIT $2",
    )
    .bind::<BigInt, _>(after)
    .bind::<BigInt, _>(limit)
    .load(connection)?)
}

/// The numbers of existing runs, for a check of everything: page by page.
pub fn ids(connection: &mut PgConnection, range: Range<i64>, limit: i64) -> Result<Vec<i64>, StoreError> {
    Ok(runs::table
        .filter(runs::run_id.ge(range.start).and(runs::run_id.lt(range.end)))
        .order(runs::run_id.asc())
        .select(runs::run_id)
        .limit(limit)
        .load(connection)?)
}

/// Whether there is any run; there is none where there are no tables.
pub fn any(connection: &mut PgConnection) -> Result<bool, StoreError> {
    #[derive(QueryableByName)]
    struct Is {
        #[diesel(sql_type = diesel::sql_types::Bool)]
        it: bool,
    }
    let table = diesel::sql_query("SELECT to_regclass('public.runs') IS NOT NULL AS it");
    if !table.get_result::<Is>(connection)?.it {
        return Ok(false);
    }
    Ok(diesel::select(diesel::dsl::exists(runs::table.select(runs::run_id))).get_result(connection)?)
}

/// How many runs of a protocol are not over.
pub fn open_of_protocol(connection: &mut PgConnection, protocol_id: i64) -> Result<i64, StoreError> {
    let open = runs::table.filter(runs::protocol_id.eq(protocol_id)).filter(runs::closed_at.is_null());
    Ok(open.count().get_result(connection)?)
}
