//! The rows of `runs` that a batch adds or changes.

use super::Member;
use crate::engine::redact::{ERASED, SEALED};
use crate::engine::state::Run;
use crate::store::error::StoreError;
use diesel::prelude::*;
use diesel::sql_types::{Array, BigInt, Bool, Bytea, Integer, Nullable, Text, Timestamptz};
use serde_json::Value;
use std::collections::HashSet;

pub(super) fn insert(connection: &mut PgConnection, members: &[&Member]) -> Result<(), StoreError> {
    let new = members.iter().filter(|member| member.before.is_none()).map(|member| member.told_run());
    let new: Vec<(&Run, String)> = new.map(|run| (run, subject(run))).collect();
    insert_as(connection, &new)
}

/// Adds runs, each with the words that lists show of the payload that it began with.
pub(super) fn insert_as(connection: &mut PgConnection, runs: &[(&Run, String)]) -> Result<(), StoreError> {
    if runs.is_empty() {
        return Ok(());
    }
    let new: Vec<&Run> = runs.iter().map(|(run, _)| *run).collect();
    diesel::sql_query(
        "INSERT INTO runs (run_id, protocol_id, protocol_version, protocol_name, started_by, subject, salt,
            created_at, status, current_step, stalled, version, instances, updated_at, closed_at, lineage,
            parent_run_id, parent_step)
         SELECT r, p, pv, pn, sb, su, sa, ca, st, cs, stalled, v, i::bigint[], ua, cl, l, pr, ps
         FROM unnest($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18)
            AS n (r, p, pv, pn, sb, su, sa, ca, st, cs, stalled, v, i, ua, cl, l, pr, ps)",
    )
    .bind::<Array<BigInt>, _>(new.iter().map(|run| run.id.0).collect::<Vec<_>>())
    .bind::<Array<BigInt>, _>(new.iter().map(|run| run.protocol_ref.id).collect::<Vec<_>>())
    .bind::<Array<Integer>, _>(new.iter().map(|run| run.protocol_ref.version).collect::<Vec<_>>())
    .bind::<Array<Text>, _>(new.iter().map(|run| run.protocol_ref.name.as_str()).collect::<Vec<_>>())
    .bind::<Array<Text>, _>(new.iter().map(|run| run.started_by.as_str()).collect::<Vec<_>>())
    .bind::<Array<Text>, _>(runs.iter().map(|(_, subject)| subject.as_str()).collect::<Vec<_>>())
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
    .bind::<Array<BigInt>, _>(new.iter().map(|run| run.lineage.0).collect::<Vec<_>>())
    .bind::<Array<Nullable<BigInt>>, _>(
        new.iter().map(|run| run.parent.as_ref().map(|parent| parent.run.0)).collect::<Vec<_>>(),
    )
    .bind::<Array<Nullable<Text>>, _>(
        new.iter().map(|run| run.parent.as_ref().map(|parent| parent.step.as_str())).collect::<Vec<_>>(),
    )
    .execute(connection)?;
    Ok(())
}

pub(super) fn update(connection: &mut PgConnection, members: &[&Member]) -> Result<(), StoreError> {
    let old: Vec<&Run> =
        members.iter().filter(|member| member.before.is_some()).map(|member| member.run.as_ref()).collect();
    if old.is_empty() {
        return Ok(());
    }
    diesel::sql_query(
        "UPDATE runs SET status = n.st, current_step = n.cs, stalled = n.stalled, version = n.v,
            instances = n.i::bigint[], updated_at = n.ua, closed_at = n.cl, protocol_version = n.pv,
            protocol_name = n.pn
         FROM unnest($1, $2, $3, $4, $5, $6, $7, $8, $9, $10) AS n (r, st, cs, stalled, v, i, ua, cl, pv, pn)
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
    .bind::<Array<Integer>, _>(old.iter().map(|run| run.protocol_ref.version).collect::<Vec<_>>())
    .bind::<Array<Text>, _>(old.iter().map(|run| run.protocol_ref.name.as_str()).collect::<Vec<_>>())
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

/// A few words of the payload, for lists and search: its plain fields, in the order in which they were given. Of a run
/// as it is shown: what is sealed is no subject.
pub fn subject(run: &Run) -> String {
    let plain = run.payload.iter().filter_map(|(key, value)| match value {
        // Nothing can be found by it.
        value if value == SEALED || value == ERASED => None,
        Value::String(text) => Some(format!("{key} {text}")),
        Value::Number(number) => Some(format!("{key} {number}")),
        Value::Bool(flag) => Some(format!("{key} {flag}")),
        Value::Null | Value::Array(_) | Value::Object(_) => None,
    });
    let words = plain.take(6).collect::<Vec<_>>().join(", ").replace('_', " ");
    words.chars().take(200).collect()
}
