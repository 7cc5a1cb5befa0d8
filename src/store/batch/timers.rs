//! The deadlines of the steps that a batch touches.

use super::Member;
use crate::store::error::StoreError;
use chrono::{DateTime, Utc};
use diesel::prelude::*;
use diesel::sql_types::{Array, BigInt, Integer, Text, Timestamptz};
use std::collections::HashMap;

/// The deadlines of the steps that these events touched, as they are now.
pub(super) fn set(connection: &mut PgConnection, members: &[&Member]) -> Result<(), StoreError> {
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
