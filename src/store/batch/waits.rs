//! The steps that begin or cease to wait for an outside event, and the events that were taken.

use super::Member;
use crate::engine::event::EventKind;
use crate::engine::ids::StepPath;
use crate::engine::protocol::{Wait, Work};
use crate::engine::state::{Run, Waits};
use crate::store::error::StoreError;
use diesel::prelude::*;
use diesel::sql_types::{Array, BigInt, Nullable, Text};
use std::collections::BTreeSet;

#[derive(Default)]
struct Changes<'a> {
    /// Run, step, name and key.
    begun: Vec<(i64, &'a str, &'a str, Option<&'a str>)>,
    over: Vec<(i64, &'a str)>,
}

pub(super) fn set(connection: &mut PgConnection, members: &[&Member]) -> Result<(), StoreError> {
    let mut changes = Changes::default();
    members.iter().for_each(|member| changes.add(member));
    take(connection, members)?;
    remove(connection, &changes.over)?;
    insert(connection, &changes.begun)
}

impl<'a> Changes<'a> {
    /// As the batch leaves them: a step may begin to wait and end in one batch.
    fn add(&mut self, member: &'a Member) {
        let (run, id) = (&member.run, member.run.id.0);
        let touched = member.events.iter().filter_map(|recorded| recorded.event.step.as_ref());
        let touched: BTreeSet<&StepPath> = touched.filter(|path| waits_for_event(run, path)).collect();
        for path in touched {
            let Some(step) = run.steps.get(path) else { continue };
            match &step.waits {
                Some(Waits::Event { name, key }) if began(member, path) => {
                    self.begun.push((id, path.as_str(), name, key.as_deref()));
                }
                Some(Waits::Event { .. }) => {}
                _ => self.over.push((id, path.as_str())),
            }
        }
    }
}

fn waits_for_event(run: &Run, path: &StepPath) -> bool {
    run.protocol.task(path).is_some_and(|task| matches!(task.work, Work::Wait(Wait::Event { .. })))
}

fn began(member: &Member, path: &StepPath) -> bool {
    member.events.iter().any(|recorded| {
        recorded.event.step.as_ref() == Some(path)
            && matches!(recorded.event.kind, EventKind::WaitStarted { .. })
    })
}

/// What was received is nobody else's any more.
fn take(connection: &mut PgConnection, members: &[&Member]) -> Result<(), StoreError> {
    let all = members.iter().flat_map(|member| &member.events);
    let taken: BTreeSet<i64> = all
        .filter_map(|recorded| match &recorded.event.kind {
            EventKind::EventReceived { event, .. } => Some(*event),
            _ => None,
        })
        .collect();
    if taken.is_empty() {
        return Ok(());
    }
    // In order, as everybody locks them.
    diesel::sql_query(
        "WITH taken AS (SELECT id FROM events WHERE id = ANY($1) AND taken_at IS NULL ORDER BY id FOR UPDATE)
         UPDATE events SET taken_at = clock_timestamp() FROM taken WHERE events.id = taken.id",
    )
    .bind::<Array<BigInt>, _>(taken.into_iter().collect::<Vec<_>>())
    .execute(connection)?;
    Ok(())
}

fn remove(connection: &mut PgConnection, over: &[(i64, &str)]) -> Result<(), StoreError> {
    if over.is_empty() {
        return Ok(());
    }
    diesel::sql_query(
        "DELETE FROM event_waits w USING unnest($1, $2) AS n (r, s) WHERE w.run_id = n.r AND w.step = n.s",
    )
    .bind::<Array<BigInt>, _>(over.iter().map(|(run, _)| *run).collect::<Vec<_>>())
    .bind::<Array<Text>, _>(over.iter().map(|(_, step)| *step).collect::<Vec<_>>())
    .execute(connection)?;
    Ok(())
}

fn insert(
    connection: &mut PgConnection,
    begun: &[(i64, &str, &str, Option<&str>)],
) -> Result<(), StoreError> {
    if begun.is_empty() {
        return Ok(());
    }
    diesel::sql_query(
        "INSERT INTO event_waits (run_id, step, name, key) SELECT * FROM unnest($1, $2, $3, $4)
         ON CONFLICT (run_id, step) DO UPDATE SET name = excluded.name, key = excluded.key, event_id = NULL",
    )
    .bind::<Array<BigInt>, _>(begun.iter().map(|row| row.0).collect::<Vec<_>>())
    .bind::<Array<Text>, _>(begun.iter().map(|row| row.1).collect::<Vec<_>>())
    .bind::<Array<Text>, _>(begun.iter().map(|row| row.2).collect::<Vec<_>>())
    .bind::<Array<Nullable<Text>>, _>(begun.iter().map(|row| row.3).collect::<Vec<_>>())
    .execute(connection)?;
    Ok(())
}
