//! The timers of what a batch touches: as `effects` reads them from the runs.
//!
//! Normally those of the touched steps alone, so that a result in a run of ten thousand branches costs one row. What
//! concerns the whole run, such as a pause, sets all of its timers anew.

use super::Member;
use crate::engine::effects::{self, Timer};
use crate::engine::event::{EventKind, Recorded};
use crate::engine::ids::StepPath;
use crate::engine::protocol::Work;
use crate::engine::state::Run;
use crate::store::error::StoreError;
use chrono::{DateTime, Utc};
use diesel::prelude::*;
use diesel::sql_types::{Array, BigInt, Integer, Text, Timestamptz};
use std::collections::BTreeSet;

/// The step of a timer that belongs to the run as a whole.
const RUN: &str = "";

#[derive(Default)]
struct Changes {
    /// Runs that lose all timers.
    runs: Vec<i64>,
    /// Steps that lose theirs: run and path.
    steps: Vec<(i64, String)>,
    /// What is set.
    timers: Vec<(i64, Timer)>,
}

pub(super) fn set(connection: &mut PgConnection, members: &[&Member]) -> Result<(), StoreError> {
    let mut changes = Changes::default();
    members.iter().for_each(|member| changes.add(member));
    changes.remove(connection)?;
    insert(connection, &changes.timers)
}

impl Changes {
    fn add(&mut self, member: &Member) {
        let (run, id) = (&member.run, member.run.id.0);
        let asked_again = |step: &StepPath| run.steps.get(step).is_some_and(|step| step.reopened);
        let concerns_all = |recorded: &Recorded| {
            concerns_all(&recorded.event.kind) || recorded.event.step.as_ref().is_some_and(asked_again)
        };
        if member.events.iter().any(concerns_all) {
            if member.before.is_some() {
                self.runs.push(id);
            }
            self.timers.extend(effects::timers(run).into_iter().map(|timer| (id, timer)));
            return;
        }
        let touched = member.events.iter().filter_map(|recorded| recorded.event.step.as_ref());
        let touched: BTreeSet<&StepPath> = touched.filter(|path| may_have_timers(run, path)).collect();
        for path in touched {
            self.steps.push((id, path.as_str().to_owned()));
            self.timers.extend(effects::timers_of(run, path).into_iter().map(|timer| (id, timer)));
        }
        if run.ending.is_some() {
            self.steps.push((id, RUN.to_owned()));
            self.timers.extend(effects::run_timer(run).map(|timer| (id, timer)));
        }
    }

    fn remove(&self, connection: &mut PgConnection) -> Result<(), StoreError> {
        if !self.runs.is_empty() {
            diesel::sql_query("DELETE FROM timers WHERE run_id = ANY($1)")
                .bind::<Array<BigInt>, _>(&self.runs)
                .execute(connection)?;
        }
        if !self.steps.is_empty() {
            diesel::sql_query(
                "DELETE FROM timers t USING unnest($1, $2) AS n (r, s) WHERE t.run_id = n.r AND t.step = n.s",
            )
            .bind::<Array<BigInt>, _>(self.steps.iter().map(|(run, _)| *run).collect::<Vec<_>>())
            .bind::<Array<Text>, _>(self.steps.iter().map(|(_, step)| step.as_str()).collect::<Vec<_>>())
            .execute(connection)?;
        }
        Ok(())
    }
}

/// Whether this changes the timers of steps that it does not name.
fn concerns_all(kind: &EventKind) -> bool {
    matches!(
        kind,
        EventKind::RunQueued { .. }
            | EventKind::RunAdmitted {}
            | EventKind::RunPaused { .. }
            | EventKind::RunResumed { .. }
            | EventKind::RunEnding { .. }
            | EventKind::RunMigrated { .. }
            | EventKind::ValueSet { .. }
            | EventKind::RunClosed { .. }
            | EventKind::OverrideFiled { .. }
            | EventKind::OverrideDecided { .. }
    )
}

/// Most steps never have a timer, and cost nothing here.
fn may_have_timers(run: &Run, path: &StepPath) -> bool {
    let Some(task) = run.protocol.task(path) else { return true };
    let by_kind = match &task.work {
        Work::Wait(_) => true,
        Work::Hitl(hitl) => hitl.due.is_some() || hitl.remind.is_some(),
        Work::Script(call) | Work::Agent(call) => call.retry.is_some(),
        Work::Parallel(_) | Work::Protocol(_) => false,
    };
    by_kind || task.max_time.is_some() || path.undone().is_some()
}

fn insert(connection: &mut PgConnection, timers: &[(i64, Timer)]) -> Result<(), StoreError> {
    if timers.is_empty() {
        return Ok(());
    }
    let steps = timers.iter().map(|(_, timer)| timer.step.as_ref().map_or(RUN, StepPath::as_str));
    let due: Vec<DateTime<Utc>> = timers.iter().map(|(_, timer)| timer.at).collect();
    diesel::sql_query(
        "INSERT INTO timers (run_id, step, kind, attempt, due_at)
         SELECT * FROM unnest($1, $2, $3, $4, $5)
         ON CONFLICT (run_id, step, kind) DO UPDATE SET attempt = excluded.attempt, due_at = excluded.due_at",
    )
    .bind::<Array<BigInt>, _>(timers.iter().map(|(run, _)| *run).collect::<Vec<_>>())
    .bind::<Array<Text>, _>(steps.collect::<Vec<_>>())
    .bind::<Array<Text>, _>(timers.iter().map(|(_, timer)| timer.kind.as_str()).collect::<Vec<_>>())
    .bind::<Array<Integer>, _>(timers.iter().map(|(_, timer)| timer.attempt as i32).collect::<Vec<_>>())
    .bind::<Array<Timestamptz>, _>(due)
    .execute(connection)?;
    Ok(())
}
