//! The committer's transaction: the log and its projections, written together.
//!
//! A handful of set-based statements; their number does not grow with the batch. A member whose run has moved on
//! (or whose key is taken) is left out and reported; the others are written.

use super::error::StoreError;
use crate::audit::entry::Sealed;
use crate::engine::event::{EventKind, Recorded};
use crate::engine::state::{Choice, Run, StepStatus};
use chrono::{DateTime, Utc};
use diesel::prelude::*;
use diesel::sql_types::{Array, BigInt, Bool, Bytea, Integer, Json, Jsonb, Nullable, Text, Timestamptz};
use serde_json::Value;
use std::collections::{HashMap, HashSet};
use std::sync::Arc;

/// The answer to `POST /acts/run` under an `Idempotency-Key`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StartKey {
    pub actor: String,
    pub key: String,
    /// SHA-256 of the request's canonical body.
    pub body_hash: Vec<u8>,
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
    },
}

/// Writes a batch in one transaction. On an error nothing is written, except that after a connection broke in
/// COMMIT nobody knows: look with [`super::runs::version`].
pub fn write(connection: &mut PgConnection, members: &[Member]) -> Result<Vec<Written>, StoreError> {
    connection.transaction(|connection| {
        let mut outcomes = vec![Written::Written; members.len()];
        take_keys(connection, members, &mut outcomes)?;
        lock_runs(connection, members, &mut outcomes)?;
        let kept: Vec<&Member> = members
            .iter()
            .zip(&outcomes)
            .filter_map(|(member, outcome)| (*outcome == Written::Written).then_some(member))
            .collect();
        if !kept.is_empty() {
            append_log(connection, &kept)?;
            insert_runs(connection, &kept)?;
            update_runs(connection, &kept)?;
            open_approvals(connection, &kept)?;
            end_approvals(connection, &kept)?;
            set_timers(connection, &kept)?;
        }
        Ok(outcomes)
    })
}

fn take_keys(
    connection: &mut PgConnection,
    members: &[Member],
    outcomes: &mut [Written],
) -> Result<(), StoreError> {
    let keyed: Vec<(usize, &StartKey, i64)> = members
        .iter()
        .enumerate()
        .filter_map(|(index, member)| Some((index, member.start_key.as_ref()?, member.run.id.0)))
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
    }
    let actors: Vec<&str> = keyed.iter().map(|(_, key, _)| key.actor.as_str()).collect();
    let keys: Vec<&str> = keyed.iter().map(|(_, key, _)| key.key.as_str()).collect();
    diesel::sql_query(
        "INSERT INTO start_keys (actor, key, body_hash, run_id)
         SELECT * FROM unnest($1, $2, $3, $4) ON CONFLICT DO NOTHING",
    )
    .bind::<Array<Text>, _>(&actors)
    .bind::<Array<Text>, _>(&keys)
    .bind::<Array<Bytea>, _>(keyed.iter().map(|(_, key, _)| key.body_hash.as_slice()).collect::<Vec<_>>())
    .bind::<Array<BigInt>, _>(keyed.iter().map(|(_, _, run)| *run).collect::<Vec<_>>())
    .execute(connection)?;
    let owners: Vec<Owner> = diesel::sql_query(
        "SELECT k.run_id, k.actor, k.key, k.body_hash FROM start_keys k
         JOIN unnest($1, $2) AS asked (actor, key) ON k.actor = asked.actor AND k.key = asked.key",
    )
    .bind::<Array<Text>, _>(&actors)
    .bind::<Array<Text>, _>(&keys)
    .load(connection)?;
    let owners: HashMap<(&str, &str), &Owner> =
        owners.iter().map(|owner| ((owner.actor.as_str(), owner.key.as_str()), owner)).collect();
    for (index, key, run_id) in keyed {
        let owner = owners
            .get(&(key.actor.as_str(), key.key.as_str()))
            .ok_or_else(|| StoreError::Corrupt("a start key vanished in its own transaction".to_owned()))?;
        if owner.run_id != run_id {
            outcomes[index] = Written::KeyTaken { run_id: owner.run_id, body_hash: owner.body_hash.clone() };
        }
    }
    Ok(())
}

/// Locks the existing runs, in the order of their ids, and marks those that moved on.
fn lock_runs(
    connection: &mut PgConnection,
    members: &[Member],
    outcomes: &mut [Written],
) -> Result<(), StoreError> {
    #[derive(QueryableByName)]
    struct Version {
        #[diesel(sql_type = BigInt)]
        run_id: i64,
        #[diesel(sql_type = BigInt)]
        version: i64,
    }
    let ids: Vec<i64> =
        members.iter().filter(|member| member.before.is_some()).map(|member| member.run.id.0).collect();
    if ids.is_empty() {
        return Ok(());
    }
    let versions: Vec<Version> = diesel::sql_query(
        "SELECT run_id, version FROM runs WHERE run_id = ANY($1) ORDER BY run_id FOR UPDATE",
    )
    .bind::<Array<BigInt>, _>(ids)
    .load(connection)?;
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

fn append_log(connection: &mut PgConnection, members: &[&Member]) -> Result<(), StoreError> {
    let rows = || members.iter().flat_map(|member| entries(member));
    let text = |pick: fn(&Recorded) -> Option<&str>| {
        rows().map(|(_, _, recorded, _)| pick(recorded)).collect::<Vec<_>>()
    };
    diesel::sql_query(
        "INSERT INTO activity_log
            (run_id, seq, t, actor, type, step, attempt, status, leaf, leaf_hash, beside)
         SELECT * FROM unnest($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)",
    )
    .bind::<Array<BigInt>, _>(rows().map(|(run, ..)| run).collect::<Vec<_>>())
    .bind::<Array<BigInt>, _>(rows().map(|(_, seq, ..)| seq).collect::<Vec<_>>())
    .bind::<Array<Timestamptz>, _>(rows().map(|(_, _, recorded, _)| recorded.at).collect::<Vec<_>>())
    .bind::<Array<Nullable<Text>>, _>(text(|recorded| Some(&recorded.actor)))
    .bind::<Array<Nullable<Text>>, _>(text(|recorded| Some(recorded.event.kind.type_name())))
    .bind::<Array<Nullable<Text>>, _>(text(|recorded| recorded.event.step.as_ref().map(|step| step.as_str())))
    .bind::<Array<Nullable<Integer>>, _>(
        rows()
            .map(|(_, _, recorded, _)| recorded.event.attempt.map(|attempt| attempt as i32))
            .collect::<Vec<_>>(),
    )
    .bind::<Array<Nullable<Text>>, _>(text(|recorded| recorded.event.kind.status()))
    .bind::<Array<Bytea>, _>(rows().map(|(.., sealed)| sealed.leaf.as_slice()).collect::<Vec<_>>())
    .bind::<Array<Bytea>, _>(rows().map(|(.., sealed)| sealed.hash.as_slice()).collect::<Vec<_>>())
    .bind::<Array<Nullable<Json>>, _>(rows().map(|(.., sealed)| sealed.beside.as_ref()).collect::<Vec<_>>())
    .execute(connection)?;
    Ok(())
}

fn entries(member: &Member) -> impl Iterator<Item = (i64, i64, &Recorded, &Sealed)> {
    let first = member.run.version - member.events.len() as u64 + 1;
    let pairs = member.events.iter().zip(&member.sealed);
    pairs.enumerate().map(move |(index, (recorded, sealed))| {
        (member.run.id.0, (first + index as u64) as i64, recorded, sealed)
    })
}

fn insert_runs(connection: &mut PgConnection, members: &[&Member]) -> Result<(), StoreError> {
    let new: Vec<&Run> =
        members.iter().filter(|member| member.before.is_none()).map(|member| member.run.as_ref()).collect();
    if new.is_empty() {
        return Ok(());
    }
    diesel::sql_query(
        "INSERT INTO runs (run_id, protocol_id, protocol_version, protocol_name, started_by, subject, salt,
            created_at, status, current_step, stalled, version, instances, updated_at, closed_at)
         SELECT r, p, pv, pn, sb, su, sa, ca, st, cs, stalled, v, i::bigint[], ua, cl
         FROM unnest($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15)
            AS n (r, p, pv, pn, sb, su, sa, ca, st, cs, stalled, v, i, ua, cl)",
    )
    .bind::<Array<BigInt>, _>(new.iter().map(|run| run.id.0).collect::<Vec<_>>())
    .bind::<Array<BigInt>, _>(new.iter().map(|run| run.protocol_ref.id).collect::<Vec<_>>())
    .bind::<Array<Integer>, _>(new.iter().map(|run| run.protocol_ref.version).collect::<Vec<_>>())
    .bind::<Array<Text>, _>(new.iter().map(|run| run.protocol_ref.name.as_str()).collect::<Vec<_>>())
    .bind::<Array<Text>, _>(new.iter().map(|run| run.started_by.as_str()).collect::<Vec<_>>())
    .bind::<Array<Text>, _>(new.iter().map(|run| subject(run)).collect::<Vec<_>>())
    .bind::<Array<Nullable<Bytea>>, _>(
        new.iter().map(|run| run.salt.as_ref().map(<[u8; 32]>::as_slice)).collect::<Vec<_>>(),
    )
    .bind::<Array<Timestamptz>, _>(new.iter().map(|run| run.created_at).collect::<Vec<_>>())
    .bind::<Array<Text>, _>(new.iter().map(|run| run.status.as_str()).collect::<Vec<_>>())
    .bind::<Array<Nullable<Text>>, _>(new.iter().map(|run| current_step(run)).collect::<Vec<_>>())
    .bind::<Array<Bool>, _>(new.iter().map(|run| run.is_stalled()).collect::<Vec<_>>())
    .bind::<Array<BigInt>, _>(new.iter().map(|run| run.version as i64).collect::<Vec<_>>())
    .bind::<Array<Text>, _>(new.iter().map(|run| instances(run)).collect::<Vec<_>>())
    .bind::<Array<Timestamptz>, _>(new.iter().map(|run| run.updated_at).collect::<Vec<_>>())
    .bind::<Array<Nullable<Timestamptz>>, _>(new.iter().map(|run| run.closed_at).collect::<Vec<_>>())
    .execute(connection)?;
    Ok(())
}

fn update_runs(connection: &mut PgConnection, members: &[&Member]) -> Result<(), StoreError> {
    let old: Vec<&Run> =
        members.iter().filter(|member| member.before.is_some()).map(|member| member.run.as_ref()).collect();
    if old.is_empty() {
        return Ok(());
    }
    diesel::sql_query(
        "UPDATE runs SET status = n.st, current_step = n.cs, stalled = n.stalled, version = n.v,
            instances = n.i::bigint[], updated_at = n.ua, closed_at = n.cl
         FROM unnest($1, $2, $3, $4, $5, $6, $7, $8) AS n (r, st, cs, stalled, v, i, ua, cl)
         WHERE runs.run_id = n.r",
    )
    .bind::<Array<BigInt>, _>(old.iter().map(|run| run.id.0).collect::<Vec<_>>())
    .bind::<Array<Text>, _>(old.iter().map(|run| run.status.as_str()).collect::<Vec<_>>())
    .bind::<Array<Nullable<Text>>, _>(old.iter().map(|run| current_step(run)).collect::<Vec<_>>())
    .bind::<Array<Bool>, _>(old.iter().map(|run| run.is_stalled()).collect::<Vec<_>>())
    .bind::<Array<BigInt>, _>(old.iter().map(|run| run.version as i64).collect::<Vec<_>>())
    .bind::<Array<Text>, _>(old.iter().map(|run| instances(run)).collect::<Vec<_>>())
    .bind::<Array<Timestamptz>, _>(old.iter().map(|run| run.updated_at).collect::<Vec<_>>())
    .bind::<Array<Nullable<Timestamptz>>, _>(old.iter().map(|run| run.closed_at).collect::<Vec<_>>())
    .execute(connection)?;
    Ok(())
}

fn current_step(run: &Run) -> Option<String> {
    run.current_steps().first().map(|step| step.as_str().to_owned())
}

/// A `bigint[]` as Postgres reads it: the instances with an attempt in flight.
fn instances(run: &Run) -> String {
    let running = run.open_steps().filter_map(|(_, step)| step.instance);
    let ids: HashSet<i64> = running.map(|instance| instance.0).collect();
    format!("{{{}}}", ids.iter().map(i64::to_string).collect::<Vec<_>>().join(","))
}

/// A few words of the payload, for lists and search: its plain fields, in the order in which they were given.
pub fn subject(run: &Run) -> String {
    let plain = run.payload.iter().filter_map(|(key, value)| match value {
        Value::String(text) => Some(format!("{key} {text}")),
        Value::Number(number) => Some(format!("{key} {number}")),
        Value::Bool(flag) => Some(format!("{key} {flag}")),
        Value::Null | Value::Array(_) | Value::Object(_) => None,
    });
    let words = plain.take(6).collect::<Vec<_>>().join(", ").replace('_', " ");
    words.chars().take(200).collect()
}

fn open_approvals(connection: &mut PgConnection, members: &[&Member]) -> Result<(), StoreError> {
    struct Opened<'a> {
        run: &'a Run,
        step: &'a str,
        at: DateTime<Utc>,
        kind: &'a EventKind,
    }
    let opened: Vec<Opened<'_>> = members
        .iter()
        .flat_map(|member| member.events.iter().map(move |recorded| (member, recorded)))
        .filter(|(_, recorded)| matches!(recorded.event.kind, EventKind::ApprovalOpened { .. }))
        .filter_map(|(member, recorded)| {
            let step = recorded.event.step.as_ref()?.as_str();
            Some(Opened { run: &member.run, step, at: recorded.at, kind: &recorded.event.kind })
        })
        .collect();
    if opened.is_empty() {
        return Ok(());
    }
    let (mut ids, mut titles, mut approvers, mut four_eyes, mut due) =
        (vec![], vec![], vec![], vec![], vec![]);
    for row in &opened {
        if let EventKind::ApprovalOpened { approval, title, approvers: who, four_eyes: eyes, due_at } =
            row.kind
        {
            ids.push(approval.0);
            titles.push(title.as_str());
            approvers.push(serde_json::json!(who));
            four_eyes.push(*eyes);
            due.push(*due_at);
        }
    }
    diesel::sql_query(
        "INSERT INTO approvals (run_id, id, step, title, status, approvers, four_eyes, run_starter,
            protocol_name, opened_at, due_at)
         SELECT r, i, s, t, 'pending', a, f, sb, pn, o, d
         FROM unnest($1, $2, $3, $4, $5, $6, $7, $8, $9, $10) AS n (r, i, s, t, a, f, sb, pn, o, d)",
    )
    .bind::<Array<BigInt>, _>(opened.iter().map(|row| row.run.id.0).collect::<Vec<_>>())
    .bind::<Array<BigInt>, _>(ids)
    .bind::<Array<Text>, _>(opened.iter().map(|row| row.step).collect::<Vec<_>>())
    .bind::<Array<Text>, _>(titles)
    .bind::<Array<Jsonb>, _>(approvers)
    .bind::<Array<Bool>, _>(four_eyes)
    .bind::<Array<Text>, _>(opened.iter().map(|row| row.run.started_by.as_str()).collect::<Vec<_>>())
    .bind::<Array<Text>, _>(opened.iter().map(|row| row.run.protocol_ref.name.as_str()).collect::<Vec<_>>())
    .bind::<Array<Timestamptz>, _>(opened.iter().map(|row| row.at).collect::<Vec<_>>())
    .bind::<Array<Nullable<Timestamptz>>, _>(due)
    .execute(connection)?;
    Ok(())
}

/// Approvals that were decided, or whose step was cancelled with its run.
fn end_approvals(connection: &mut PgConnection, members: &[&Member]) -> Result<(), StoreError> {
    struct Ended<'a> {
        run_id: i64,
        id: i64,
        status: &'static str,
        by: Option<&'a str>,
        at: Option<DateTime<Utc>>,
        reason: Option<&'a str>,
        form: Option<&'a Value>,
    }
    let mut ended = Vec::new();
    for member in members {
        for recorded in &member.events {
            let step = recorded.event.step.as_ref().and_then(|path| member.run.steps.get(path));
            let Some((step, approval)) = step.and_then(|step| Some((step, step.approval.as_ref()?))) else {
                continue;
            };
            let (run_id, id) = (member.run.id.0, approval.id.0);
            if let EventKind::ApprovalDecided { decision, reason, form, .. } = &recorded.event.kind {
                let status = match decision {
                    Choice::Approve => "approved",
                    Choice::Reject => "rejected",
                };
                let (by, at) = (Some(recorded.actor.as_str()), Some(recorded.at));
                ended.push(Ended {
                    run_id,
                    id,
                    status,
                    by,
                    at,
                    reason: reason.as_deref(),
                    form: form.as_ref(),
                });
            } else if step.status == StepStatus::Cancelled {
                ended.push(Ended {
                    run_id,
                    id,
                    status: "closed",
                    by: None,
                    at: None,
                    reason: None,
                    form: None,
                });
            }
        }
    }
    if ended.is_empty() {
        return Ok(());
    }
    diesel::sql_query(
        "UPDATE approvals SET status = n.s, decided_by = n.b, decided_at = n.at, reason = n.why, form = n.f
         FROM unnest($1, $2, $3, $4, $5, $6, $7) AS n (r, i, s, b, at, why, f)
         WHERE approvals.run_id = n.r AND approvals.id = n.i AND approvals.status = 'pending'",
    )
    .bind::<Array<BigInt>, _>(ended.iter().map(|row| row.run_id).collect::<Vec<_>>())
    .bind::<Array<BigInt>, _>(ended.iter().map(|row| row.id).collect::<Vec<_>>())
    .bind::<Array<Text>, _>(ended.iter().map(|row| row.status).collect::<Vec<_>>())
    .bind::<Array<Nullable<Text>>, _>(ended.iter().map(|row| row.by).collect::<Vec<_>>())
    .bind::<Array<Nullable<Timestamptz>>, _>(ended.iter().map(|row| row.at).collect::<Vec<_>>())
    .bind::<Array<Nullable<Text>>, _>(ended.iter().map(|row| row.reason).collect::<Vec<_>>())
    .bind::<Array<Nullable<Jsonb>>, _>(ended.iter().map(|row| row.form).collect::<Vec<_>>())
    .execute(connection)?;
    Ok(())
}

/// The deadlines of the steps that these events touched, as they are now.
fn set_timers(connection: &mut PgConnection, members: &[&Member]) -> Result<(), StoreError> {
    // Run and step → attempt and deadline; None: the timer goes.
    type Timer = Option<(i32, DateTime<Utc>)>;
    let mut touched: HashMap<(i64, &str), Timer> = HashMap::new();
    for member in members {
        for path in member.events.iter().filter_map(|recorded| recorded.event.step.as_ref()) {
            let Some(step) = member.run.steps.get(path) else { continue };
            let Some(deadline) = step.deadline else { continue };
            let due = (step.status.is_open() && !step.stalled).then_some((step.attempt as i32, deadline));
            touched.insert((member.run.id.0, path.as_str()), due);
        }
    }
    if touched.is_empty() {
        return Ok(());
    }
    let (mut ended, mut ended_steps) = (Vec::new(), Vec::new());
    let (mut runs, mut steps, mut attempts, mut due) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for ((run_id, step), timer) in touched {
        match timer {
            None => {
                ended.push(run_id);
                ended_steps.push(step);
            }
            Some((attempt, at)) => {
                runs.push(run_id);
                steps.push(step);
                attempts.push(attempt);
                due.push(at);
            }
        }
    }
    diesel::sql_query(
        "DELETE FROM timers t USING unnest($1, $2) AS n (r, s)
         WHERE t.run_id = n.r AND t.step = n.s AND t.kind = 'max_minutes'",
    )
    .bind::<Array<BigInt>, _>(ended)
    .bind::<Array<Text>, _>(ended_steps)
    .execute(connection)?;
    diesel::sql_query(
        "INSERT INTO timers (run_id, step, kind, attempt, due_at)
         SELECT r, s, 'max_minutes', a, d FROM unnest($1, $2, $3, $4) AS n (r, s, a, d)
         ON CONFLICT (run_id, step, kind) DO UPDATE SET attempt = excluded.attempt, due_at = excluded.due_at",
    )
    .bind::<Array<BigInt>, _>(runs)
    .bind::<Array<Text>, _>(steps)
    .bind::<Array<Integer>, _>(attempts)
    .bind::<Array<Timestamptz>, _>(due)
    .execute(connection)?;
    Ok(())
}
