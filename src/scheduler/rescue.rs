//! Attempts that nobody works on: those of instances that are gone, and those of this one that got lost on the way.

use super::dispatch::InHand;
use super::membership::Live;
use super::{Refused, Scheduler, stopped};
use crate::engine::command::{Actor, Command};
use crate::engine::ids::{RunId, StepPath};
use crate::engine::state::{Run, StepStatus};
use crate::store::error::StoreError;
use crate::store::runs::{self, Lost};
use crate::store::{Connection, Pool};
use futures_util::{StreamExt, stream};
use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;
use tokio::sync::watch;

/// Lost runs read at a time.
const AT_A_TIME: i64 = 500;
/// Runs folded and rescued at the same time.
const AT_ONCE: usize = 6;
/// After a look that failed, the next one comes this soon.
const AGAIN: Duration = Duration::from_secs(2);
const GONE: &str = "the instance that ran this attempt is gone";
/// How often this instance looks whether it has in hand what is committed as its own.
const OWN: Duration = Duration::from_secs(20);

pub struct Rescue {
    pub scheduler: Scheduler,
    pub pool: Pool,
    /// This instance's number.
    pub instance: Arc<AtomicI64>,
    pub in_hand: InHand,
    pub live: watch::Receiver<Live>,
}

type Attempts = HashSet<(RunId, StepPath, u32)>;

impl Rescue {
    /// Rescues until `stop`.
    pub async fn run(mut self, mut stop: watch::Receiver<bool>) {
        tokio::select! {
            () = self.watch() => {}
            () = stopped(&mut stop) => {}
        }
    }

    async fn watch(&mut self) {
        let mut own = tokio::time::interval(OWN);
        own.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut suspects = Attempts::new();
        let mut settled = true;
        loop {
            tokio::select! {
                changed = self.live.changed() => if changed.is_err() { return },
                () = tokio::time::sleep(AGAIN), if !settled => {}
                _ = own.tick() => {
                    suspects = self.look_at_own(&suspects).await;
                    continue;
                }
            }
            settled = self.look_at_the_gone().await;
        }
    }

    /// Rescues the attempts of instances that are gone. False: not all could be looked at.
    async fn look_at_the_gone(&self) -> bool {
        if self.live.borrow().is_empty() {
            return true;
        }
        let (mut after, mut all) = (0, true);
        loop {
            let read = self.read(move |connection| runs::lost(connection, after, AT_A_TIME)).await;
            let Some(lost) = read else { return false };
            let Some(last) = lost.last() else { return all };
            after = last.run_id;
            tracing::info!(runs = lost.len(), "runs of instances that are gone are looked at");
            let rescued = stream::iter(lost).map(|lost| self.rescue(lost));
            all &= rescued.buffer_unordered(AT_ONCE).all(|rescued| async move { rescued }).await;
        }
    }

    /// Rescues what this instance should have in hand and does not, twice in a row: what was just committed may
    /// still be on its way. Gives back the suspects for the next look.
    async fn look_at_own(&self, before: &Attempts) -> Attempts {
        let me = self.instance.load(Ordering::Relaxed);
        let mut suspects = Attempts::new();
        let mut after = 0;
        loop {
            let read = self.read(move |connection| runs::on_instance(connection, me, after, AT_A_TIME)).await;
            let Some(ids) = read else { return suspects };
            let Some(last) = ids.last().copied() else { return suspects };
            after = last;
            for id in ids.into_iter().map(RunId) {
                let Ok(run) = self.scheduler.look(id).await else { continue };
                let missing = |instance, step: &StepPath, attempt| {
                    instance == me && !self.in_hand.has(id, step, attempt)
                };
                for (step, attempt) in attempts(&run, missing) {
                    if before.contains(&(id, step.clone(), attempt)) {
                        tracing::warn!(run.id = id.0, step = %step, attempt, "an attempt got lost in this instance");
                        self.submit(id, step, attempt).await;
                    } else {
                        suspects.insert((id, step, attempt));
                    }
                }
            }
        }
    }

    /// False: the run could not be read, or the database was away.
    async fn rescue(&self, lost: Lost) -> bool {
        let id = RunId(lost.run_id);
        let run = match self.scheduler.look(id).await {
            Ok(run) => run,
            // An instance of that version rescues it.
            Err(Refused::Newer(_)) => return true,
            Err(_) => return false,
        };
        let mut all = true;
        for (step, attempt) in attempts(&run, |instance, _, _| lost.gone.contains(&instance)) {
            all &= self.submit(id, step, attempt).await;
        }
        all
    }

    async fn submit(&self, id: RunId, step: StepPath, attempt: u32) -> bool {
        let command = Command::RescueStep { step, attempt, reason: GONE.to_owned() };
        match self.scheduler.act(id, command, Actor::system()).await {
            // Rejected: another instance was faster, or the result came after all. Newer: an instance of that version
            // rescues it.
            Ok(_)
            | Err(
                Refused::Rejected(_)
                | Refused::UnknownRun(_)
                | Refused::Archived(_)
                | Refused::KeyReused
                | Refused::Full { .. }
                | Refused::NotWanted
                | Refused::Newer(_),
            ) => true,
            Err(Refused::Unavailable | Refused::Unwritable) => false,
        }
    }

    async fn read<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Connection) -> Result<T, StoreError> + Send + 'static,
    ) -> Option<T> {
        let pool = self.pool.clone();
        let read = tokio::task::spawn_blocking(move || {
            let mut connection = pool.get()?;
            work(&mut connection)
        });
        match read.await {
            Ok(Ok(read)) => Some(read),
            Ok(Err(error)) => {
                tracing::warn!(error = %error, "lost runs could not be read");
                None
            }
            Err(_) => None,
        }
    }
}

/// The running attempts of a run that `is_lost` says are: instance, step, number.
fn attempts(run: &Run, is_lost: impl Fn(i64, &StepPath, u32) -> bool) -> Vec<(StepPath, u32)> {
    let running = run.open_steps().filter(|(_, step)| step.status == StepStatus::Running);
    running
        .filter(|(path, step)| step.instance.is_some_and(|instance| is_lost(instance.0, path, step.attempt)))
        .map(|(path, step)| (path.clone(), step.attempt))
        .collect()
}
