//! Gives the places under a concurrency limit to the runs that wait for them, in the order of their numbers.
//!
//! A place is a committed row (`store::slots`); then the run is told. A crash in between loses nothing: who has a
//! place and is still queued is told again.

use super::reading::with_connection;
use super::{Scheduler, stopped};
use crate::engine::command::{Actor, Command};
use crate::engine::ids::RunId;
use crate::store::Pool;
use crate::store::slots::{self, Lane};
use futures_util::future::join_all;
use std::time::Duration;
use tokio::sync::watch;

/// How often it looks for itself.
const EVERY: Duration = Duration::from_secs(1);
/// Lanes, and runs, looked at together.
const AT_A_TIME: i64 = 500;

pub struct Slots {
    pub scheduler: Scheduler,
    pub pool: Pool,
}

impl Slots {
    /// Works until `stop`.
    pub async fn run(self, mut stop: watch::Receiver<bool>) {
        tokio::select! {
            () = self.watch() => {}
            () = stopped(&mut stop) => {}
        }
    }

    async fn watch(&self) {
        let mut look = tokio::time::interval(EVERY);
        look.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                lanes = self.scheduler.kicks.slots.next() => self.give_places(lanes).await,
                _ = look.tick() => {
                    let read = |connection: &mut _| slots::lanes_with_room(connection, AT_A_TIME);
                    let lanes = with_connection(&self.pool, "reading who waits for room", read).await;
                    self.give_places(lanes.unwrap_or_default()).await;
                    self.admit_all().await;
                }
            }
        }
    }

    async fn give_places(&self, lanes: Vec<Lane>) {
        for lane in lanes {
            let give = move |connection: &mut _| {
                slots::give_places(connection, &lane)?;
                slots::untold(connection, &lane)
            };
            let runs = with_connection(&self.pool, "giving out room", give).await;
            self.admit(runs.unwrap_or_default()).await;
        }
    }

    /// Tells every run that has a place and is still queued.
    async fn admit_all(&self) {
        let mut after = 0;
        loop {
            let read = move |connection: &mut _| slots::to_admit(connection, after, AT_A_TIME);
            let runs = with_connection(&self.pool, "reading who has room", read).await.unwrap_or_default();
            let (count, last) = (runs.len(), runs.last().copied());
            self.admit(runs).await;
            match last {
                Some(last) if count == AT_A_TIME as usize => after = last,
                _ => return,
            }
        }
    }

    async fn admit(&self, runs: Vec<i64>) {
        // Refused: it was told before, or it is over.
        join_all(
            runs.into_iter().map(|run| self.scheduler.act(RunId(run), Command::AdmitRun, Actor::system())),
        )
        .await;
    }
}
