//! The overrides that a batch files, decides or closes.

use super::Member;
use crate::engine::event::{EventKind, Recorded};
use crate::engine::state::{OverrideChoice, Payload, Run};
use crate::store::error::StoreError;
use diesel::prelude::*;
use diesel::sql_types::{Array, BigInt, Json, Nullable, Text, Timestamptz};
use serde_json::Value;

fn events<'a>(members: &'a [&Member]) -> impl Iterator<Item = (&'a Run, &'a Recorded)> {
    members
        .iter()
        .flat_map(|member| member.told_events().iter().map(|recorded| (member.told_run(), recorded)))
}

fn as_json(values: Option<&Payload>) -> Option<Value> {
    values.map(|values| Value::Object(values.clone()))
}

pub(super) fn file(connection: &mut PgConnection, members: &[&Member]) -> Result<(), StoreError> {
    let filed =
        |(_, recorded): &(&Run, &Recorded)| matches!(recorded.event.kind, EventKind::OverrideFiled { .. });
    let filed: Vec<(&Run, &Recorded)> = events(members).filter(filed).collect();
    if filed.is_empty() {
        return Ok(());
    }
    let (mut ids, mut actions, mut reasons, mut values, mut until) = (vec![], vec![], vec![], vec![], vec![]);
    for (_, recorded) in &filed {
        if let EventKind::OverrideFiled { id, action, reason, new_value, review_until, .. } =
            &recorded.event.kind
        {
            ids.push(id.0);
            actions.push(action.as_str());
            reasons.push(reason.as_str());
            values.push(as_json(new_value.as_ref()));
            until.push(*review_until);
        }
    }
    diesel::sql_query(
        "INSERT INTO overrides (run_id, id, action, status, protocol_name, run_starter, filed_by, reason,
            new_value, filed_at, review_until)
         SELECT r, i, a, 'pending', pn, sb, by, why, v, at, until
         FROM unnest($1, $2, $3, $4, $5, $6, $7, $8, $9, $10) AS n (r, i, a, pn, sb, by, why, v, at, until)",
    )
    .bind::<Array<BigInt>, _>(filed.iter().map(|(run, _)| run.id.0).collect::<Vec<_>>())
    .bind::<Array<BigInt>, _>(ids)
    .bind::<Array<Text>, _>(actions)
    .bind::<Array<Text>, _>(filed.iter().map(|(run, _)| run.protocol_ref.name.as_str()).collect::<Vec<_>>())
    .bind::<Array<Text>, _>(filed.iter().map(|(run, _)| run.started_by.as_str()).collect::<Vec<_>>())
    .bind::<Array<Text>, _>(filed.iter().map(|(_, recorded)| recorded.actor.as_str()).collect::<Vec<_>>())
    .bind::<Array<Text>, _>(reasons)
    .bind::<Array<Nullable<Json>>, _>(values)
    .bind::<Array<Timestamptz>, _>(filed.iter().map(|(_, recorded)| recorded.at).collect::<Vec<_>>())
    .bind::<Array<Timestamptz>, _>(until)
    .execute(connection)?;
    Ok(())
}

pub(super) fn decide(connection: &mut PgConnection, members: &[&Member]) -> Result<(), StoreError> {
    let (mut runs, mut ids, mut statuses, mut by) = (vec![], vec![], vec![], vec![]);
    let (mut at, mut reasons, mut merged) = (vec![], vec![], vec![]);
    for (run, recorded) in events(members) {
        let EventKind::OverrideDecided { id, choice, reason, new_value, .. } = &recorded.event.kind else {
            continue;
        };
        runs.push(run.id.0);
        ids.push(id.0);
        statuses.push(match choice {
            OverrideChoice::Approve => "approved",
            OverrideChoice::Modify => "modified",
            OverrideChoice::Reject => "rejected",
        });
        by.push(recorded.actor.as_str());
        at.push(recorded.at);
        reasons.push(reason.as_deref());
        merged.push(as_json(new_value.as_ref()));
    }
    if ids.is_empty() {
        return Ok(());
    }
    diesel::sql_query(
        "UPDATE overrides SET status = n.s, decided_by = n.b, decided_at = n.at, decision = n.why, merged = n.m
         FROM unnest($1, $2, $3, $4, $5, $6, $7) AS n (r, i, s, b, at, why, m)
         WHERE overrides.run_id = n.r AND overrides.id = n.i AND overrides.status = 'pending'",
    )
    .bind::<Array<BigInt>, _>(runs)
    .bind::<Array<BigInt>, _>(ids)
    .bind::<Array<Text>, _>(statuses)
    .bind::<Array<Text>, _>(by)
    .bind::<Array<Timestamptz>, _>(at)
    .bind::<Array<Nullable<Text>>, _>(reasons)
    .bind::<Array<Nullable<Json>>, _>(merged)
    .execute(connection)?;
    Ok(())
}

/// Those of runs that ended, or are on their way there, before anybody decided.
pub(super) fn close(connection: &mut PgConnection, members: &[&Member]) -> Result<(), StoreError> {
    let ends = |run: &Run| run.status.is_final() || run.ending.is_some();
    let over = members.iter().filter(|member| ends(&member.run) && member.before.is_some());
    let over: Vec<i64> = over.map(|member| member.run.id.0).collect();
    if over.is_empty() {
        return Ok(());
    }
    diesel::sql_query("UPDATE overrides SET status = 'closed' WHERE run_id = ANY($1) AND status = 'pending'")
        .bind::<Array<BigInt>, _>(over)
        .execute(connection)?;
    Ok(())
}
