//! Deadlines: steps past their `max_minutes` are flagged.

use super::{Scheduler, stopped};
use crate::engine::command::{Actor, Command, TimerKind};
use crate::engine::ids::{RunId, StepPath};
use crate::store::instances::{DueTimer, due_timers};
use crate::store::pool::Pool;
use chrono::Utc;
use std::time::Duration;
use tokio::sync::watch;

/// How often deadlines are looked at: a timer fires within twice this.
const EVERY: Duration = Duration::from_millis(500);
/// Deadlines acted on at a time.
const AT_A_TIME: i64 = 500;

/// Runs until `stop`.
pub async fn run(scheduler: Scheduler, pool: Pool, mut stop: watch::Receiver<bool>) {
    let mut tick = tokio::time::interval(EVERY);
    tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            _ = tick.tick() => fire_due(&scheduler, &pool).await,
            () = stopped(&mut stop) => return,
        }
    }
}

async fn fire_due(scheduler: &Scheduler, pool: &Pool) {
    let (pool, catalog) = (pool.clone(), scheduler.catalog.clone());
    let read = tokio::task::spawn_blocking(move || {
        let mut connection = pool.get()?;
        // Another instance may have changed the registries.
        catalog.refresh(&mut connection)?;
        due_timers(&mut connection, Utc::now(), AT_A_TIME)
    });
    let due = match read.await {
        Ok(Ok(due)) => due,
        Ok(Err(error)) => return tracing::warn!(error = %error, "deadlines could not be read"),
        Err(_) => return,
    };
    for DueTimer { run_id, step, attempt, .. } in due {
        let (step, kind) = (Some(StepPath::from_log(&step)), TimerKind::MaxMinutes);
        let command = Command::FireTimer { step, attempt: attempt as u32, kind };
        // Refused: the step ended in the meantime, and its timer with it.
        let _ = scheduler.act(RunId(run_id), command, Actor::system()).await;
    }
}
