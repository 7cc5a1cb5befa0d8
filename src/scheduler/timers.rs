//! Times that have come: deadlines, retries, waits, reminders, the grace of a run that ends.
//!
//! The database's clock says what is due. What a timer does is the engine's to say; the transaction that does it
//! removes the timer or sets the next.

use super::reading::with_connection;
use super::{Refused, Scheduler, stopped};
use crate::engine::command::{Actor, Command, TimerKind};
use crate::engine::effects;
use crate::engine::ids::{RunId, StepPath};
use crate::engine::state::Run;
use crate::store::pool::Pool;
use crate::store::timers::{self, DueTimer};
use futures_util::future::join_all;
use std::time::Duration;
use tokio::sync::watch;

/// How often it is looked what is due.
const EVERY: Duration = Duration::from_millis(250);
/// Timers that are fired together.
const AT_A_TIME: i64 = 500;
/// How often the registries are read again: another instance may have changed them.
const REFRESH: Duration = Duration::from_secs(1);

/// Runs until `stop`.
pub async fn run(scheduler: Scheduler, pool: Pool, mut stop: watch::Receiver<bool>) {
    let (mut tick, mut refresh) = (tokio::time::interval(EVERY), tokio::time::interval(REFRESH));
    tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    refresh.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let watch = async {
        loop {
            tokio::select! {
                _ = tick.tick() => fire_due(&scheduler, &pool).await,
                _ = refresh.tick() => {
                    let catalog = scheduler.catalog.clone();
                    let read = move |connection: &mut _| catalog.refresh(connection);
                    with_connection(&pool, "reading the registries", read).await;
                }
            }
        }
    };
    tokio::select! {
        () = watch => {}
        () = stopped(&mut stop) => {}
    }
}

/// All that is due, page by page: timers that cannot be fired just now hold up no others.
async fn fire_due(scheduler: &Scheduler, pool: &Pool) {
    let mut after: Option<DueTimer> = None;
    loop {
        let read = move |connection: &mut _| timers::due(connection, after.as_ref(), AT_A_TIME);
        let Some(due) = with_connection(pool, "reading what is due", read).await else { return };
        join_all(due.iter().map(|timer| fire(scheduler, pool, timer))).await;
        if due.len() < AT_A_TIME as usize {
            return;
        }
        after = due.into_iter().next_back();
    }
}

async fn fire(scheduler: &Scheduler, pool: &Pool, timer: &DueTimer) {
    let Some(kind) = TimerKind::parse(&timer.kind) else { return };
    let (run, step) = (RunId(timer.run_id), step(timer));
    let command = Command::FireTimer { step, attempt: timer.attempt as u32, kind };
    let Err(Refused::Rejected(_)) = scheduler.act(run, command, Actor::system()).await else { return };
    // What it belonged to is over, and it should have gone with it; or this machine's clock is behind the database's.
    let Ok(run) = scheduler.look(run).await else { return };
    if is_set(&run, timer, kind) {
        return;
    }
    let (stale, version) = (timer.clone(), run.version);
    let drop = move |connection: &mut _| timers::drop_stale(connection, &stale, version);
    if with_connection(pool, "dropping a timer", drop).await == Some(true) {
        tracing::warn!(
            run.id = timer.run_id,
            step = timer.step,
            kind = timer.kind,
            "a timer of nothing was dropped"
        );
    }
}

fn step(timer: &DueTimer) -> Option<StepPath> {
    (!timer.step.is_empty()).then(|| StepPath::from_log(&timer.step))
}

/// Whether the run still has this timer.
fn is_set(run: &Run, timer: &DueTimer, kind: TimerKind) -> bool {
    let set = match step(timer) {
        None => effects::run_timer(run).into_iter().collect(),
        Some(step) => effects::timers_of(run, &step),
    };
    set.iter().any(|set| set.kind == kind && set.attempt == timer.attempt as u32)
}
