//! The sub-runs that a batch asks for, withdraws or has the results of; and whether one may still begin.

use super::{Member, Written};
use crate::engine::event::EventKind;
use crate::store::error::StoreError;
use diesel::prelude::*;
use diesel::sql_types::{Array, BigInt, Integer, Json, Text};
use serde_json::Value;
use std::collections::HashSet;

const OPEN: &str = "open";
const WITHDRAWN: &str = "withdrawn";

/// A sub-run that a step asked for in this batch.
struct Asked<'a> {
    run_id: i64,
    step: &'a str,
    child: i64,
    protocol: (i64, i32, &'a str),
    input: Value,
    state: &'static str,
}

#[derive(Default)]
struct Changes<'a> {
    asked: Vec<Asked<'a>>,
    /// Steps that have the result of a sub-run of an earlier batch: run and path.
    done: Vec<(i64, &'a str)>,
    /// Steps that ended otherwise.
    over: Vec<(i64, &'a str)>,
}

/// Marks new sub-runs that began already, or that their step no longer waits for. After the runs are locked.
pub(super) fn check(
    connection: &mut PgConnection,
    members: &[&Member],
    outcomes: &mut [Written],
) -> Result<(), StoreError> {
    let begins = |member: &Member| member.before.is_none() && member.run.parent.is_some();
    let ids: Vec<i64> =
        members.iter().filter(|member| begins(member)).map(|member| member.run.id.0).collect();
    if ids.is_empty() {
        return Ok(());
    }
    #[derive(QueryableByName)]
    struct Wanted {
        #[diesel(sql_type = BigInt)]
        id: i64,
    }
    // Held until this is committed: whoever withdraws it then sees that it has begun.
    let wanted: Vec<Wanted> = diesel::sql_query(
        "SELECT s.child_run_id AS id FROM subruns s
         WHERE s.child_run_id = ANY($1) AND s.state = 'open'
           AND NOT EXISTS (SELECT FROM runs r WHERE r.run_id = s.child_run_id)
         ORDER BY s.child_run_id FOR SHARE OF s",
    )
    .bind::<Array<BigInt>, _>(ids)
    .load(connection)?;
    let wanted: HashSet<i64> = wanted.into_iter().map(|row| row.id).collect();
    for (member, outcome) in members.iter().zip(outcomes) {
        if begins(member) && !wanted.contains(&member.run.id.0) {
            *outcome = Written::NotWanted;
        }
    }
    Ok(())
}

pub(super) fn set(connection: &mut PgConnection, members: &[&Member]) -> Result<(), StoreError> {
    let mut changes = Changes::default();
    members.iter().for_each(|member| changes.add(member));
    remove(connection, &changes.done)?;
    withdraw(connection, &changes.over)?;
    insert(connection, &changes.asked)
}

impl<'a> Changes<'a> {
    /// In the order of the events: a step may ask, end and ask again in one batch.
    fn add(&mut self, member: &'a Member) {
        let run_id = member.run.id.0;
        for recorded in &member.events {
            if matches!(recorded.event.kind, EventKind::RunEnding { .. }) {
                let open = member.run.open_steps().filter(|(_, step)| step.subrun.is_some());
                self.over.extend(open.map(|(path, _)| (run_id, path.as_str())));
            }
            let Some(path) = recorded.event.step.as_ref() else { continue };
            let step = path.as_str();
            match &recorded.event.kind {
                EventKind::SubrunStarted { run, protocol, input, .. } => self.asked.push(Asked {
                    run_id,
                    step,
                    child: run.0,
                    protocol: (protocol.id, protocol.version, &protocol.name),
                    input: Value::Object(input.clone()),
                    state: OPEN,
                }),
                EventKind::StepDone { .. }
                | EventKind::StepFailed { .. }
                | EventKind::StepSkipped { .. }
                | EventKind::StepCancelled { .. }
                    if member.run.steps.get(path).is_some_and(|step| step.subrun.is_some()) =>
                {
                    let asked_here = |asked: &&mut Asked<'_>| asked.run_id == run_id && asked.step == step;
                    let done = matches!(recorded.event.kind, EventKind::StepDone { .. });
                    match self.asked.iter_mut().rev().find(asked_here) {
                        Some(asked) => asked.state = WITHDRAWN,
                        None if done => self.done.push((run_id, step)),
                        None => self.over.push((run_id, step)),
                    }
                }
                _ => {}
            }
        }
    }
}

fn remove(connection: &mut PgConnection, done: &[(i64, &str)]) -> Result<(), StoreError> {
    if done.is_empty() {
        return Ok(());
    }
    diesel::sql_query(
        "DELETE FROM subruns s USING unnest($1, $2) AS n (r, s)
         WHERE s.run_id = n.r AND s.step = n.s AND s.state = 'open'",
    )
    .bind::<Array<BigInt>, _>(done.iter().map(|(run, _)| *run).collect::<Vec<_>>())
    .bind::<Array<Text>, _>(done.iter().map(|(_, step)| *step).collect::<Vec<_>>())
    .execute(connection)?;
    Ok(())
}

fn withdraw(connection: &mut PgConnection, over: &[(i64, &str)]) -> Result<(), StoreError> {
    if over.is_empty() {
        return Ok(());
    }
    diesel::sql_query(
        "UPDATE subruns s SET state = 'withdrawn' FROM unnest($1, $2) AS n (r, s)
         WHERE s.run_id = n.r AND s.step = n.s AND s.state = 'open'",
    )
    .bind::<Array<BigInt>, _>(over.iter().map(|(run, _)| *run).collect::<Vec<_>>())
    .bind::<Array<Text>, _>(over.iter().map(|(_, step)| *step).collect::<Vec<_>>())
    .execute(connection)?;
    Ok(())
}

fn insert(connection: &mut PgConnection, asked: &[Asked<'_>]) -> Result<(), StoreError> {
    if asked.is_empty() {
        return Ok(());
    }
    diesel::sql_query(
        "INSERT INTO subruns
            (run_id, child_run_id, step, protocol_id, protocol_version, protocol_name, input, state)
         SELECT * FROM unnest($1, $2, $3, $4, $5, $6, $7, $8)",
    )
    .bind::<Array<BigInt>, _>(asked.iter().map(|row| row.run_id).collect::<Vec<_>>())
    .bind::<Array<BigInt>, _>(asked.iter().map(|row| row.child).collect::<Vec<_>>())
    .bind::<Array<Text>, _>(asked.iter().map(|row| row.step).collect::<Vec<_>>())
    .bind::<Array<BigInt>, _>(asked.iter().map(|row| row.protocol.0).collect::<Vec<_>>())
    .bind::<Array<Integer>, _>(asked.iter().map(|row| row.protocol.1).collect::<Vec<_>>())
    .bind::<Array<Text>, _>(asked.iter().map(|row| row.protocol.2).collect::<Vec<_>>())
    .bind::<Array<Json>, _>(asked.iter().map(|row| &row.input).collect::<Vec<_>>())
    .bind::<Array<Text>, _>(asked.iter().map(|row| row.state).collect::<Vec<_>>())
    .execute(connection)?;
    Ok(())
}
