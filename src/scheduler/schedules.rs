//! Starts the runs that protocols ask for by the clock.
//!
//! Each time is a start under a key of its own, so that neither a crash nor another instance starts it twice. What
//! is not started (because it was missed, the last run is not over, the payload no longer fits, the limit is full)
//! is an entry of the agency's log.

use super::input::{input_problems, overwritten};
use super::reading::with_connection;
use super::{NewRun, Refused, Scheduler, stopped};
use crate::engine::command::Actor;
use crate::engine::protocol::{Missed, Overlap, Protocol, Schedule};
use crate::engine::state::ProtocolRef;
use crate::store::agency::{AgencyEntry, AgencyLog};
use crate::store::batch::StartKey;
use crate::store::error::StoreError;
use crate::store::schedules::{self, Next, ScheduleRow};
use crate::store::{Connection, Pool, protocols};
use chrono::{DateTime, SecondsFormat, TimeDelta, Utc};
use futures_util::future::join_all;
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;

/// How often it is looked what is due.
const EVERY: Duration = Duration::from_millis(500);
/// Schedules looked at together.
const AT_A_TIME: i64 = 200;
/// A time that is this old was missed.
const LATE: TimeDelta = TimeDelta::seconds(60);
/// Times of a schedule that are looked at one by one; beyond them a gap is only "many".
const MOST_MISSED: u32 = 1_000;

pub struct Schedules {
    pub scheduler: Scheduler,
    pub pool: Pool,
    pub agency: Arc<AgencyLog>,
}

/// What the clock says about a schedule whose time has come.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    /// The time to start a run for.
    pub start: Option<DateTime<Utc>>,
    /// How many times passed for which none is started, from the first on.
    pub missed: u32,
    pub next: Option<DateTime<Utc>>,
}

/// What to do at `now` about a schedule that was due at `due`. A time is on time for a minute, or until the next one
/// has come: no two runs are started at once to catch up. Times before that were missed: none of them is started, or
/// one run for all.
pub fn plan(schedule: &Schedule, due: DateTime<Utc>, now: DateTime<Utc>) -> Plan {
    let (mut last, mut passed) = (due, 1);
    let mut next = schedule.next_after(due);
    while let Some(time) = next.filter(|time| *time <= now) {
        if passed >= MOST_MISSED {
            // So many that only the end of the gap matters.
            next = schedule.next_after(now);
            break;
        }
        (last, passed) = (time, passed + 1);
        next = schedule.next_after(time);
    }
    let on_time = now - last <= LATE;
    let start = (on_time || schedule.missed == Missed::RunOnce).then_some(last);
    Plan { start, missed: if start.is_some() { passed - 1 } else { passed }, next }
}

impl Schedules {
    /// Starts runs until `stop`.
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
            look.tick().await;
            let scheduler = self.scheduler.clone();
            let read = move |connection: &mut Connection| {
                schedules::follow(connection, scheduler.protocols())?;
                schedules::due(connection, AT_A_TIME)
            };
            let Some((due, now)) = with_connection(&self.pool, "reading the schedules", read).await else {
                continue;
            };
            join_all(due.into_iter().map(|row| self.come(row, now))).await;
        }
    }

    /// The time of a schedule has come.
    async fn come(&self, row: ScheduleRow, now: DateTime<Utc>) {
        let Some(due) = row.next_at else { return };
        let Some(found) = self.look(&row, due).await else { return };
        let Some(schedule) = &found.protocol.schedule else { return };
        if let Some(run) = found.started {
            // What was missed since is of the same gap.
            let next = schedule.next_after(due.max(now - LATE));
            return self
                .advance(&row, Next { next_at: next, started: Some((due, run)), waiting: false }, None)
                .await;
        }
        let mut plan = plan(schedule, due, now);
        if found.last_is_open {
            match schedule.overlap {
                Overlap::Allow => {}
                Overlap::Skip => return self.skip(&row, &plan, found.name).await,
                Overlap::Wait if row.waiting => return,
                Overlap::Wait => {
                    return self
                        .advance(&row, Next { next_at: row.next_at, started: None, waiting: true }, None)
                        .await;
                }
            }
        }
        if row.waiting {
            // It was on time, and waited: one run for all the times that passed since.
            plan.start = Some(due);
        }
        match plan.start {
            None => self.miss(&row, &plan, &found.name).await,
            Some(time) => self.start(&row, &plan, time, found).await,
        }
    }

    async fn look(&self, row: &ScheduleRow, due: DateTime<Utc>) -> Option<Found> {
        let (scheduler, row) = (self.scheduler.clone(), row.clone());
        let read = move |connection: &mut Connection| {
            let protocol = scheduler.protocols().get(connection, row.protocol_id, row.version)?;
            let key = start_key(row.protocol_id, due);
            Ok(Found {
                protocol,
                name: protocols::get(connection, row.protocol_id)?.map(|row| row.name).unwrap_or_default(),
                started: schedules::started(connection, &key)?,
                last_is_open: schedules::last_is_open(connection, &row)?,
            })
        };
        with_connection(&self.pool, "reading a schedule", read).await
    }

    async fn start(&self, row: &ScheduleRow, plan: &Plan, time: DateTime<Utc>, found: Found) {
        if row.next_at != Some(time) && !self.claim(row, plan, time, &found.name).await {
            return;
        }
        let row = ScheduleRow { next_at: Some(time), ..row.clone() };
        let payload = found.protocol.schedule.as_ref().map(|schedule| schedule.payload.clone());
        let payload = crate::engine::json::normalise_map(payload.unwrap_or_default());
        let mut problems = input_problems(&found.protocol, &payload);
        problems.extend(overwritten(&found.protocol, &payload));
        let refused = match problems.first() {
            Some(problem) => format!("{} {}", problem.path, problem.message),
            None => {
                let protocol_ref =
                    ProtocolRef { id: row.protocol_id, version: row.version, name: found.name.clone() };
                let new = NewRun::of(protocol_ref, found.protocol, payload, Actor::system());
                let key = Some(start_key(row.protocol_id, time));
                match self.scheduler.start(NewRun { key, ..new }).await {
                    Ok(done) => {
                        let started = Some((time, done.run.id.0));
                        let next = Next { next_at: plan.next, started, waiting: false };
                        return self.advance(&row, next, None).await;
                    }
                    // It is due still, here or at an instance of that version.
                    Err(Refused::Unavailable | Refused::Newer(_)) => return,
                    Err(refused) => refused.to_string(),
                }
            }
        };
        let detail = json!({"protocol": row.protocol_id, "name": found.name, "time": rfc3339(time), "reason": refused});
        let next = Next { next_at: plan.next, started: None, waiting: false };
        self.advance(&row, next, Some(("schedule.refused", detail))).await;
    }

    /// Puts the time that is to be started in place of those that were missed, so that whoever comes after a crash
    /// starts the same.
    async fn claim(&self, row: &ScheduleRow, plan: &Plan, time: DateTime<Utc>, name: &str) -> bool {
        let next = Next { next_at: Some(time), started: None, waiting: row.waiting };
        let detail = missed(row, plan, name, "nothing was running then; one run is started for all of them");
        self.advanced(row, next, Some(("schedule.missed", detail))).await
    }

    async fn miss(&self, row: &ScheduleRow, plan: &Plan, name: &str) {
        let next = Next { next_at: plan.next, started: None, waiting: false };
        let detail = missed(row, plan, name, "nothing was running then");
        self.advance(row, next, Some(("schedule.missed", detail))).await;
    }

    async fn skip(&self, row: &ScheduleRow, plan: &Plan, name: String) {
        let reason = format!("run {} is not over", row.last_run_id.unwrap_or_default());
        let detail = json!({"protocol": row.protocol_id, "name": name, "time": row.next_at.map(rfc3339), "reason": reason});
        let next = Next { next_at: plan.next, started: None, waiting: false };
        self.advance(row, next, Some(("schedule.skipped", detail))).await;
    }

    async fn advance(&self, row: &ScheduleRow, next: Next, told: Option<(&'static str, Value)>) {
        self.advanced(row, next, told).await;
    }

    /// Moves the schedule on and writes the entry that says why, both or neither. False: somebody else did.
    async fn advanced(&self, row: &ScheduleRow, next: Next, told: Option<(&'static str, Value)>) -> bool {
        let (agency, row) = (Arc::clone(&self.agency), row.clone());
        let change = move |connection: &mut Connection| -> Result<bool, StoreError> {
            agency.record_in(connection, |connection| {
                let moved = schedules::advance(connection, &row, &next)?;
                let entry = told.filter(|_| moved).map(|(type_name, detail)| AgencyEntry {
                    actor: Actor::system().name,
                    type_name,
                    status: None,
                    detail,
                    flood: Some(format!("schedule {}", row.protocol_id)),
                });
                Ok((moved, entry))
            })
        };
        with_connection(&self.pool, "moving a schedule on", change).await == Some(true)
    }
}

/// What is known of a schedule whose time has come.
struct Found {
    protocol: Arc<Protocol>,
    name: String,
    /// The run that was started for this time already.
    started: Option<i64>,
    last_is_open: bool,
}

/// No user can have this name: nobody else starts under these keys.
fn start_key(protocol_id: i64, time: DateTime<Utc>) -> StartKey {
    let key = format!("schedule {protocol_id}@{}", rfc3339(time));
    StartKey { actor: Actor::system().name, key, body_hash: Vec::new() }
}

fn missed(row: &ScheduleRow, plan: &Plan, name: &str, reason: &str) -> Value {
    json!({
        "protocol": row.protocol_id,
        "name": name,
        "from": row.next_at.map(rfc3339),
        "times": plan.missed,
        "reason": reason,
    })
}

fn rfc3339(time: DateTime<Utc>) -> String {
    time.to_rfc3339_opts(SecondsFormat::Secs, true)
}

#[cfg(test)]
mod tests {
    use super::{Plan, plan};
    use crate::engine::protocol::{Missed, Overlap, Schedule};
    use chrono::{DateTime, Utc};

    fn at(text: &str) -> DateTime<Utc> {
        text.parse().unwrap()
    }

    fn daily(missed: Missed) -> Schedule {
        Schedule {
            cron: "0 7 * * *".to_owned(),
            time_zone: chrono_tz::UTC,
            payload: serde_json::Map::new(),
            missed,
            overlap: Overlap::Allow,
        }
    }

    #[test]
    fn a_time_that_has_just_come_is_started() {
        for missed in [Missed::Skip, Missed::RunOnce] {
            let found = plan(&daily(missed), at("2026-11-22T07:00:00Z"), at("2026-11-22T07:00:59Z"));
            let start = Some(at("2026-11-22T07:00:00Z"));
            assert_eq!(found, Plan { start, missed: 0, next: Some(at("2026-11-23T07:00:00Z")) });
        }
    }

    #[test]
    fn times_that_were_missed_are_skipped_or_done_once() {
        let (due, now) = (at("2026-11-20T07:00:00Z"), at("2026-11-22T09:00:00Z"));
        let next = Some(at("2026-11-23T07:00:00Z"));
        let skipped = plan(&daily(Missed::Skip), due, now);
        assert_eq!(skipped, Plan { start: None, missed: 3, next });
        let once = plan(&daily(Missed::RunOnce), due, now);
        assert_eq!(once, Plan { start: Some(at("2026-11-22T07:00:00Z")), missed: 2, next });
    }

    #[test]
    fn the_time_that_is_now_is_started_whatever_was_missed_before() {
        let (due, now) = (at("2026-11-21T07:00:00Z"), at("2026-11-22T07:00:10Z"));
        let found = plan(&daily(Missed::Skip), due, now);
        let start = Some(at("2026-11-22T07:00:00Z"));
        assert_eq!(found, Plan { start, missed: 1, next: Some(at("2026-11-23T07:00:00Z")) });
    }

    #[test]
    fn years_of_every_second_are_no_work() {
        let every_second = Schedule { cron: "* * * * * *".to_owned(), ..daily(Missed::Skip) };
        let found = plan(&every_second, at("2020-01-01T00:00:00Z"), at("2026-11-22T07:00:00.5Z"));
        assert_eq!((found.start, found.next), (None, Some(at("2026-11-22T07:00:01Z"))));
    }
}
