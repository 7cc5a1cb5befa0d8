//! Leases of workers: the attempts of one that fell silent are rescued. Any instance does it.

use super::{Refused, Scheduler, stopped};
use crate::engine::command::{Actor, Command};
use crate::engine::ids::{RunId, StepPath};
use crate::engine::state::{StepStatus, Waits};
use crate::store::error::StoreError;
use crate::store::work::{self, Lost};
use crate::store::{Connection, Pool};
use std::time::{Duration, Instant};
use tokio::sync::watch;

/// How often leases are looked at.
const EVERY: Duration = Duration::from_secs(1);
/// Leases acted on at a time.
const AT_A_TIME: i64 = 500;
/// After a time in which workers may have knocked in vain, they get this long to say that they are alive.
const PATIENCE: Duration = Duration::from_secs(3);
const REASON: &str = "its worker's lease ran out";

/// Runs until `stop`.
pub async fn run(scheduler: Scheduler, pool: Pool, mut stop: watch::Receiver<bool>) {
    let mut tick = tokio::time::interval(EVERY);
    tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let (mut open_since, mut last) = (Instant::now(), Instant::now());
    loop {
        tokio::select! {
            _ = tick.tick() => {}
            () = stopped(&mut stop) => return,
        }
        if last.elapsed() > PATIENCE {
            open_since = Instant::now();
        }
        // Nobody could have extended a lease while the database was away, or while nothing listened.
        let looked = if open_since.elapsed() < PATIENCE {
            read(&pool, |connection| work::find(connection, 0).map(drop)).await.is_some()
        } else {
            rescue_lost(&scheduler, &pool).await
        };
        if looked {
            last = Instant::now();
        }
    }
}

/// False: the database is away.
async fn rescue_lost(scheduler: &Scheduler, pool: &Pool) -> bool {
    let Some(lost) = read(pool, |connection| work::take_expired(connection, AT_A_TIME)).await else {
        return false;
    };
    for lost in lost {
        rescue(scheduler, pool, lost).await;
    }
    true
}

async fn rescue(scheduler: &Scheduler, pool: &Pool, lost: Lost) {
    let Ok(run) = scheduler.look(RunId(lost.run_id)).await else { return };
    let (path, attempt) = (StepPath::from_log(&lost.step), lost.attempt as u32);
    let Some(step) = run.steps.get(&path).filter(|step| step.attempt == attempt) else { return };
    if step.status == StepStatus::Waiting && step.waits == Some(Waits::Worker) {
        // It was lent, and the instance that lent it died before the engine heard of it.
        read(pool, move |connection| work::offer_again(connection, lost.id)).await;
        return;
    }
    tracing::info!(run.id = run.id.0, step = %path, attempt, "a worker's lease ran out");
    let command = Command::RescueStep { step: path, attempt, reason: REASON.to_owned() };
    if let Err(refused @ (Refused::Unavailable | Refused::Unwritable)) =
        scheduler.act(run.id, command, Actor::system()).await
    {
        // The next look finds it again.
        tracing::warn!(run.id = run.id.0, refused = %refused, "a lost attempt could not be rescued yet");
    }
}

async fn read<T: Send + 'static>(
    pool: &Pool,
    act: impl FnOnce(&mut Connection) -> Result<T, StoreError> + Send + 'static,
) -> Option<T> {
    let pool = pool.clone();
    let read = tokio::task::spawn_blocking(move || act(&mut *pool.get()?));
    match read.await {
        Ok(Ok(read)) => Some(read),
        Ok(Err(error)) => {
            tracing::warn!(error = %error, "leases could not be looked at");
            None
        }
        Err(_) => None,
    }
}
