//! When the protocols with a schedule are started next. Times are the database's.

use super::batch::StartKey;
use super::error::StoreError;
use super::protocols::ProtocolCache;
use super::schema::{protocols, schedules};
use super::start_keys;
use crate::engine::protocol::Schedule;
use chrono::{DateTime, Utc};
use diesel::dsl::sql;
use diesel::prelude::*;
use diesel::sql_types::{BigInt, Integer, Nullable, Text, Timestamptz};

/// A schedule as it stands.
#[derive(Debug, Clone, PartialEq, Queryable, Selectable)]
#[diesel(table_name = schedules)]
pub struct ScheduleRow {
    pub protocol_id: i64,
    pub version: i32,
    pub next_at: Option<DateTime<Utc>>,
    pub last_at: Option<DateTime<Utc>>,
    pub last_run_id: Option<i64>,
    pub waiting: bool,
}

/// A schedule in a list.
#[derive(Debug, Clone, PartialEq, Queryable)]
pub struct ScheduleEntry {
    pub protocol_id: i64,
    pub name: String,
    pub cron: Option<String>,
    pub time_zone: Option<String>,
    pub next_at: Option<DateTime<Utc>>,
    pub last_at: Option<DateTime<Utc>>,
    pub last_run_id: Option<i64>,
}

/// By protocol, from after `cursor`.
pub fn list(
    connection: &mut PgConnection,
    cursor: Option<i64>,
    limit: i64,
) -> Result<Vec<ScheduleEntry>, StoreError> {
    Ok(schedules::table
        .inner_join(protocols::table)
        .filter(schedules::cron.is_not_null())
        .filter(schedules::protocol_id.gt(cursor.unwrap_or(0)))
        .order(schedules::protocol_id.asc())
        .select((
            schedules::protocol_id,
            protocols::name,
            schedules::cron,
            schedules::time_zone,
            schedules::next_at,
            schedules::last_at,
            schedules::last_run_id,
        ))
        .limit(limit)
        .load(connection)?)
}

/// Brings the schedules in step with the latest versions of their protocols. A schedule that stayed as it was keeps
/// its next time.
pub fn follow(connection: &mut PgConnection, parsed: &ProtocolCache) -> Result<(), StoreError> {
    let behind: Vec<(i64, i32)> = protocols::table
        .left_join(schedules::table)
        .filter(schedules::version.nullable().is_distinct_from(protocols::latest_version.nullable()))
        .order(protocols::id.asc())
        .select((protocols::id, protocols::latest_version))
        .load(connection)?;
    if behind.is_empty() {
        return Ok(());
    }
    let now = now(connection)?;
    for (id, version) in behind {
        // What a newer version published, it follows.
        let Some(protocol) = parsed.get_known(connection, id, version)? else { continue };
        set(connection, id, version, protocol.schedule.as_ref(), now)?;
    }
    Ok(())
}

fn set(
    connection: &mut PgConnection,
    protocol_id: i64,
    version: i32,
    schedule: Option<&Schedule>,
    now: DateTime<Utc>,
) -> Result<(), StoreError> {
    let cron = schedule.map(|schedule| schedule.cron.as_str());
    let time_zone = schedule.map(|schedule| schedule.time_zone.name());
    let next_at = schedule.and_then(|schedule| schedule.next_after(now));
    diesel::sql_query(
        "INSERT INTO schedules AS s (protocol_id, version, cron, time_zone, next_at) VALUES ($1, $2, $3, $4, $5)
         ON CONFLICT (protocol_id) DO UPDATE SET version = excluded.version, cron = excluded.cron,
            time_zone = excluded.time_zone, waiting = s.waiting AND excluded.cron IS NOT NULL,
            next_at = CASE WHEN (s.cron, s.time_zone) IS NOT DISTINCT FROM (excluded.cron, excluded.time_zone)
                THEN s.next_at ELSE excluded.next_at END
         WHERE s.version < excluded.version",
    )
    .bind::<BigInt, _>(protocol_id)
    .bind::<Integer, _>(version)
    .bind::<Nullable<Text>, _>(cron)
    .bind::<Nullable<Text>, _>(time_zone)
    .bind::<Nullable<Timestamptz>, _>(next_at)
    .execute(connection)?;
    Ok(())
}

/// The database's clock.
pub fn now(connection: &mut PgConnection) -> Result<DateTime<Utc>, StoreError> {
    Ok(diesel::select(sql::<Timestamptz>("clock_timestamp()")).get_result(connection)?)
}

/// The schedules whose time has come, and the time that it is.
pub fn due(
    connection: &mut PgConnection,
    limit: i64,
) -> Result<(Vec<ScheduleRow>, DateTime<Utc>), StoreError> {
    let now = now(connection)?;
    let rows = schedules::table
        .filter(schedules::next_at.le(now))
        .order(schedules::next_at.asc())
        .select(ScheduleRow::as_select())
        .limit(limit)
        .load(connection)?;
    Ok((rows, now))
}

/// Whether the run of the last time is still on its way.
pub fn last_is_open(connection: &mut PgConnection, row: &ScheduleRow) -> Result<bool, StoreError> {
    use super::schema::runs;
    let Some(last) = row.last_run_id else { return Ok(false) };
    let open = runs::table.filter(runs::run_id.eq(last).and(runs::closed_at.is_null()));
    Ok(diesel::select(diesel::dsl::exists(open)).get_result(connection)?)
}

/// What becomes of a schedule.
#[derive(Debug, Clone, PartialEq)]
pub struct Next {
    pub next_at: Option<DateTime<Utc>>,
    /// A run was started for a time.
    pub started: Option<(DateTime<Utc>, i64)>,
    pub waiting: bool,
}

/// Moves a schedule on. False: another instance did already, or it was changed; nothing is written then.
pub fn advance(connection: &mut PgConnection, row: &ScheduleRow, next: &Next) -> Result<bool, StoreError> {
    let here = schedules::table
        .filter(schedules::protocol_id.eq(row.protocol_id))
        .filter(schedules::version.eq(row.version))
        .filter(schedules::next_at.is_not_distinct_from(row.next_at))
        .filter(schedules::waiting.eq(row.waiting));
    let (last_at, last_run_id) = match next.started {
        Some((at, run)) => (Some(at), Some(run)),
        None => (row.last_at, row.last_run_id),
    };
    let moved = diesel::update(here)
        .set((
            schedules::next_at.eq(next.next_at),
            schedules::last_at.eq(last_at),
            schedules::last_run_id.eq(last_run_id),
            schedules::waiting.eq(next.waiting),
        ))
        .execute(connection)?;
    Ok(moved == 1)
}

/// The run that was started for a time already, if one was: before a crash, or by another instance.
pub fn started(connection: &mut PgConnection, key: &StartKey) -> Result<Option<i64>, StoreError> {
    Ok(start_keys::find(connection, key)?.map(|(run, _)| run))
}
