//! Brings outside events to the steps that wait for them.
//!
//! A match of an event with a step is a committed row (`store::events`); here matches are made for steps that began
//! to wait, and delivered. A delivery that gets lost is made again, for its row stays until the step has the event.

use super::reading::with_connection;
use super::{Refused, Scheduler, stopped};
use crate::engine::command::{Actor, Command};
use crate::engine::ids::{RunId, StepPath};
use crate::engine::state::Waits;
use crate::store::Pool;
use crate::store::agency::{AgencyEntry, AgencyLog};
use crate::store::events::{self, Delivery};
use futures_util::future::join_all;
use serde_json::{Value, json};
use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;

/// How often it looks for itself.
const EVERY: Duration = Duration::from_secs(2);
/// How often old events are removed.
const EXPIRE: Duration = Duration::from_secs(600);
/// Events matched, or removed, at a time.
const AT_A_TIME: i64 = 500;
/// Deliveries at a time: each may hold a payload of a megabyte.
const DELIVERIES: i64 = 100;

pub struct Events {
    pub scheduler: Scheduler,
    pub pool: Pool,
    pub agency: Arc<AgencyLog>,
}

impl Events {
    /// Delivers until `stop`.
    pub async fn run(self, mut stop: watch::Receiver<bool>) {
        tokio::select! {
            () = self.watch() => {}
            () = stopped(&mut stop) => {}
        }
    }

    async fn watch(&self) {
        let (mut look, mut expire) = (tokio::time::interval(EVERY), tokio::time::interval(EXPIRE));
        look.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            let runs = tokio::select! {
                runs = self.scheduler.kicks.events.next() => Some(runs),
                _ = look.tick() => None,
                _ = expire.tick() => {
                    self.expire().await;
                    continue;
                }
            };
            self.make_matches(runs.as_deref()).await;
            self.deliver(runs.as_deref()).await;
        }
    }

    /// Matches kept events with steps that wait: of these runs, or of all.
    async fn make_matches(&self, runs: Option<&[i64]>) {
        loop {
            let of = runs.map(<[i64]>::to_vec);
            let assign = move |connection: &mut _| {
                let awaited = events::awaited(connection, of.as_deref(), AT_A_TIME)?;
                if !awaited.is_empty() {
                    events::assign(connection, &awaited)?;
                }
                Ok(awaited.len() < AT_A_TIME as usize)
            };
            if with_connection(&self.pool, "matching events", assign).await != Some(false) {
                return;
            }
        }
    }

    async fn deliver(&self, runs: Option<&[i64]>) {
        let mut after: Option<Delivery> = None;
        loop {
            let (of, last) = (runs.map(<[i64]>::to_vec), after.take());
            let read = move |connection: &mut _| {
                let found = events::deliveries(connection, of.as_deref(), last.as_ref(), DELIVERIES)?;
                let ids: BTreeSet<i64> = found.iter().map(|delivery| delivery.event_id).collect();
                let payloads = events::payloads(connection, &ids.into_iter().collect::<Vec<_>>())?;
                Ok((found, payloads.into_iter().collect::<HashMap<_, _>>()))
            };
            let Some((found, payloads)) = with_connection(&self.pool, "reading events", read).await else {
                return;
            };
            let deliveries = found.iter().filter_map(|delivery| {
                let payload = payloads.get(&delivery.event_id)?;
                Some(self.hand_over(delivery, payload.clone()))
            });
            join_all(deliveries).await;
            if found.len() < DELIVERIES as usize {
                return;
            }
            after = found.into_iter().next_back();
        }
    }

    async fn hand_over(&self, delivery: &Delivery, payload: Value) {
        let (run, step) = (RunId(delivery.run_id), StepPath::from_log(&delivery.step));
        let command = Command::ReceiveEvent { step: step.clone(), event: delivery.event_id, payload };
        let Err(Refused::Rejected(_)) = self.scheduler.act(run, command, Actor::system()).await else {
            return;
        };
        let Ok(run) = self.scheduler.look(run).await else { return };
        let waits = |step: &StepPath| {
            let step = run.steps.get(step)?;
            matches!(step.waits, Some(Waits::Event { .. })).then_some(())
        };
        if waits(&step).is_none() || run.status.is_final() {
            let (stale, version) = (delivery.clone(), run.version);
            let drop = move |connection: &mut _| events::drop_stale(connection, &stale, version);
            with_connection(&self.pool, "dropping a wait", drop).await;
        }
    }

    /// Removes events that are too old, and says so of those that nobody took.
    async fn expire(&self) {
        let agency = Arc::clone(&self.agency);
        let expire = move |connection: &mut _| {
            agency.record_in(connection, |connection| {
                let (gone, untaken) = events::expire(connection, AT_A_TIME)?;
                let detail = json!({"untaken": untaken, "kept_days": events::KEPT_DAYS});
                let entry = AgencyEntry {
                    actor: Actor::system().name,
                    type_name: "event.expired",
                    status: None,
                    detail,
                    flood: None,
                };
                Ok((gone, (untaken > 0).then_some(entry)))
            })
        };
        while with_connection(&self.pool, "removing old events", expire.clone()).await == Some(AT_A_TIME) {}
    }
}
