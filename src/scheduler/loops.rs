//! The loops that watch the clock and other runs: each a task of its own, and all end with the app.

use super::Scheduler;
use super::events::Events;
use super::schedules::Schedules;
use super::slots::Slots;
use super::subruns::Subruns;
use super::{leases, timers};
use crate::store::Pool;
use crate::store::agency::AgencyLog;
use std::sync::Arc;
use tokio::sync::watch;
use tokio::task::JoinSet;

/// Starts all of them. Each ends soon after `stop`.
pub fn start(
    scheduler: &Scheduler,
    pool: &Pool,
    agency: &Arc<AgencyLog>,
    stop: &watch::Receiver<bool>,
) -> JoinSet<()> {
    let parts = || (scheduler.clone(), pool.clone(), stop.clone());
    let mut loops = JoinSet::new();
    let (scheduler, pool, stop) = parts();
    loops.spawn(timers::run(scheduler, pool, stop));
    let (scheduler, pool, stop) = parts();
    loops.spawn(leases::run(scheduler, pool, stop));
    let (scheduler, pool, stop) = parts();
    loops.spawn(Events { scheduler, pool, agency: Arc::clone(agency) }.run(stop));
    let (scheduler, pool, stop) = parts();
    loops.spawn(Subruns { scheduler, pool }.run(stop));
    let (scheduler, pool, stop) = parts();
    loops.spawn(Slots { scheduler, pool }.run(stop));
    let (scheduler, pool, stop) = parts();
    loops.spawn(Schedules { scheduler, pool, agency: Arc::clone(agency) }.run(stop));
    loops
}
