//! Outside events, and the steps that wait for them.
//!
//! An event is matched with every step that waits for it at that moment; one that finds nobody is kept for the first
//! that does. A match is a committed row, so no crash loses a delivery. Both sides commit before they look for the
//! other: the event before its waits are looked for, the wait before its event is; so one of them finds the other.

use super::batch::StartKey;
use super::error::StoreError;
use super::schema::events;
use diesel::prelude::*;
use diesel::sql_types::{Array, BigInt, Integer, Nullable, Text};
use serde_json::Value;

/// Events that nobody took which are kept at most. Beyond that new ones are refused: dropping old ones would lose them.
pub const MOST_KEPT: i64 = 100_000;
/// Events are kept for so long, taken or not.
pub const KEPT_DAYS: i32 = 30;

/// An event as it came in.
#[derive(Debug, Clone, PartialEq)]
pub struct NewEvent {
    pub name: String,
    pub key: Option<String>,
    pub payload: Value,
    pub received_by: String,
    /// A delivery that is repeated under the same key is the same event.
    pub idempotency_key: Option<StartKey>,
}

/// What became of a delivery.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Received {
    New(i64),
    /// Sent again under its key: the event that it was at first.
    Again(i64),
    /// The key belongs to another event.
    KeyReused,
    /// As many events are kept as may be.
    TooMany,
}

/// Keeps an event.
pub fn receive(connection: &mut PgConnection, new: &NewEvent) -> Result<Received, StoreError> {
    if let Some(earlier) = earlier(connection, new)? {
        return Ok(earlier);
    }
    if kept(connection)? >= MOST_KEPT {
        return Ok(Received::TooMany);
    }
    let key = new.idempotency_key.as_ref();
    let id: Option<i64> = diesel::insert_into(events::table)
        .values((
            events::name.eq(&new.name),
            events::key.eq(&new.key),
            events::payload.eq(&new.payload),
            events::received_by.eq(&new.received_by),
            events::idempotency_key.eq(key.map(|key| key.key.as_str())),
            events::body_hash.eq(key.map(|key| key.body_hash.as_slice())),
        ))
        .on_conflict_do_nothing()
        .returning(events::id)
        .get_result(connection)
        .optional()?;
    match id {
        Some(id) => Ok(Received::New(id)),
        // Of two deliveries at once the other was first.
        None => earlier(connection, new)?
            .ok_or_else(|| StoreError::Corrupt("an event was refused for one that is not there".to_owned())),
    }
}

/// What was received under the same key before.
fn earlier(connection: &mut PgConnection, new: &NewEvent) -> Result<Option<Received>, StoreError> {
    let Some(key) = &new.idempotency_key else { return Ok(None) };
    let found: Option<(i64, Option<Vec<u8>>)> = events::table
        .filter(events::received_by.eq(&new.received_by).and(events::idempotency_key.eq(&key.key)))
        .select((events::id, events::body_hash))
        .first(connection)
        .optional()?;
    let same = |hash: Option<Vec<u8>>| hash.as_ref() == Some(&key.body_hash);
    Ok(found.map(|(id, hash)| if same(hash) { Received::Again(id) } else { Received::KeyReused }))
}

/// How many events nobody took, counted up to the most.
fn kept(connection: &mut PgConnection) -> Result<i64, StoreError> {
    #[derive(QueryableByName)]
    struct Count {
        #[diesel(sql_type = BigInt)]
        kept: i64,
    }
    let query =
        "SELECT count(*) AS kept FROM (SELECT 1 FROM events WHERE taken_at IS NULL LIMIT $1) AS kept_events";
    let count: Count = diesel::sql_query(query).bind::<BigInt, _>(MOST_KEPT).get_result(connection)?;
    Ok(count.kept)
}

/// The runs that an event was matched with.
pub fn delivered_to(connection: &mut PgConnection, event: i64) -> Result<Vec<i64>, StoreError> {
    Ok(events::table.find(event).select(events::delivered_to).first(connection)?)
}

/// Matches events that nobody took with the steps that wait for them now. Each step gets the oldest that fits, each
/// event goes to every such step. The runs that have something to receive.
pub fn assign(connection: &mut PgConnection, of: &[i64]) -> Result<Vec<i64>, StoreError> {
    connection.transaction(|connection| {
        // One after the other: whoever looks second sees whom the first found.
        diesel::sql_query(
            "SELECT id FROM events WHERE id = ANY($1) AND taken_at IS NULL ORDER BY id FOR UPDATE",
        )
        .bind::<Array<BigInt>, _>(of)
        .execute(connection)?;
        let rows: Vec<InRun> = diesel::sql_query(
            "WITH free AS (
                SELECT id, name, key FROM events e WHERE id = ANY($1) AND taken_at IS NULL
                    AND NOT EXISTS (SELECT FROM event_waits w WHERE w.event_id = e.id)),
             pairs AS (
                SELECT w.run_id, w.step, f.id FROM free f JOIN event_waits w
                    ON w.name = f.name AND w.key = f.key AND w.event_id IS NULL
                UNION ALL
                SELECT w.run_id, w.step, f.id FROM free f JOIN event_waits w
                    ON w.name = f.name AND w.key IS NULL AND w.event_id IS NULL),
             chosen AS (SELECT run_id, step, min(id) AS id FROM pairs GROUP BY run_id, step),
             held AS (
                SELECT w.run_id, w.step, c.id FROM event_waits w JOIN chosen c USING (run_id, step)
                WHERE w.event_id IS NULL FOR UPDATE OF w SKIP LOCKED),
             matched AS (
                UPDATE event_waits w SET event_id = h.id FROM held h
                WHERE w.run_id = h.run_id AND w.step = h.step RETURNING w.run_id, h.id),
             told AS (
                UPDATE events e SET delivered_to = e.delivered_to || m.runs
                FROM (SELECT id, array_agg(DISTINCT run_id ORDER BY run_id) AS runs FROM matched GROUP BY id) m
                WHERE e.id = m.id)
             SELECT DISTINCT run_id FROM matched ORDER BY run_id",
        )
        .bind::<Array<BigInt>, _>(of)
        .load(connection)?;
        Ok(rows.into_iter().map(|row| row.run_id).collect())
    })
}

#[derive(QueryableByName)]
struct InRun {
    #[diesel(sql_type = BigInt)]
    run_id: i64,
}

/// Kept events that a step waits for: of these runs, or of all.
pub fn awaited(
    connection: &mut PgConnection,
    runs: Option<&[i64]>,
    limit: i64,
) -> Result<Vec<i64>, StoreError> {
    #[derive(QueryableByName)]
    struct Awaited {
        #[diesel(sql_type = BigInt)]
        id: i64,
    }
    // With a key, by hash; without one, the oldest of the name.
    let rows: Vec<Awaited> = diesel::sql_query(
        "SELECT DISTINCT id FROM (
            SELECT e.id FROM event_waits w JOIN events e ON e.name = w.name AND e.key = w.key
            WHERE w.event_id IS NULL AND e.taken_at IS NULL AND ($1 IS NULL OR w.run_id = ANY($1))
                AND NOT EXISTS (SELECT FROM event_waits o WHERE o.event_id = e.id)
            UNION ALL
            SELECT e.id FROM (
                SELECT DISTINCT name FROM event_waits
                WHERE event_id IS NULL AND key IS NULL AND ($1 IS NULL OR run_id = ANY($1))) AS w
            CROSS JOIN LATERAL (
                SELECT id FROM events e WHERE e.name = w.name AND e.taken_at IS NULL
                    AND NOT EXISTS (SELECT FROM event_waits o WHERE o.event_id = e.id)
                ORDER BY id LIMIT 1) AS e) AS found
         ORDER BY id LIMIT $2",
    )
    .bind::<Nullable<Array<BigInt>>, _>(runs)
    .bind::<BigInt, _>(limit)
    .load(connection)?;
    Ok(rows.into_iter().map(|row| row.id).collect())
}

/// An event that was matched with a step and is not there yet.
#[derive(Debug, Clone, PartialEq, QueryableByName)]
pub struct Delivery {
    #[diesel(sql_type = BigInt)]
    pub run_id: i64,
    #[diesel(sql_type = Text)]
    pub step: String,
    #[diesel(sql_type = BigInt)]
    pub event_id: i64,
}

/// What is to be delivered, by run and step, from after `after`: to these runs, or to all.
pub fn deliveries(
    connection: &mut PgConnection,
    runs: Option<&[i64]>,
    after: Option<&Delivery>,
    limit: i64,
) -> Result<Vec<Delivery>, StoreError> {
    Ok(diesel::sql_query(
        "SELECT run_id, step, event_id FROM event_waits
         WHERE event_id IS NOT NULL AND ($1 IS NULL OR run_id = ANY($1))
           AND (run_id, step) > (coalesce($2, 0), coalesce($3, ''))
         ORDER BY run_id, step LIMIT $4",
    )
    .bind::<Nullable<Array<BigInt>>, _>(runs)
    .bind::<Nullable<BigInt>, _>(after.map(|delivery| delivery.run_id))
    .bind::<Nullable<Text>, _>(after.map(|delivery| delivery.step.as_str()))
    .bind::<BigInt, _>(limit)
    .load(connection)?)
}

/// What these events say.
pub fn payloads(connection: &mut PgConnection, ids: &[i64]) -> Result<Vec<(i64, Value)>, StoreError> {
    Ok(events::table.filter(events::id.eq_any(ids)).select((events::id, events::payload)).load(connection)?)
}

/// Removes a wait that its run, at this version, does not have.
pub fn drop_stale(
    connection: &mut PgConnection,
    delivery: &Delivery,
    version: u64,
) -> Result<(), StoreError> {
    diesel::sql_query(
        "DELETE FROM event_waits w USING runs r
         WHERE w.run_id = $1 AND w.step = $2 AND r.run_id = w.run_id AND r.version = $3",
    )
    .bind::<BigInt, _>(delivery.run_id)
    .bind::<Text, _>(&delivery.step)
    .bind::<BigInt, _>(version as i64)
    .execute(connection)?;
    Ok(())
}

/// Removes events whose time is over, a few at a time: how many went, and how many of those nobody took.
pub fn expire(connection: &mut PgConnection, limit: i64) -> Result<(i64, i64), StoreError> {
    #[derive(QueryableByName)]
    struct Gone {
        #[diesel(sql_type = BigInt)]
        all: i64,
        #[diesel(sql_type = BigInt)]
        untaken: i64,
    }
    let gone: Gone = diesel::sql_query(
        r#"WITH old AS (
            SELECT id FROM events e WHERE received_at < clock_timestamp() - make_interval(days => $1)
                AND NOT EXISTS (SELECT FROM event_waits w WHERE w.event_id = e.id)
            ORDER BY received_at LIMIT $2 FOR UPDATE SKIP LOCKED),
         gone AS (DELETE FROM events e USING old WHERE e.id = old.id RETURNING e.taken_at)
         SELECT count(*) AS "all", count(*) FILTER (WHERE taken_at IS NULL) AS untaken FROM gone"#,
    )
    .bind::<Integer, _>(KEPT_DAYS)
    .bind::<BigInt, _>(limit)
    .get_result(connection)?;
    Ok((gone.all, gone.untaken))
}
