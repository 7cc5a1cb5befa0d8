//! The figures that `/metrics` shows: every name, unit and meaning, in one place.
//!
//! Few, and none by run or user: what an operator watches or is woken by. Recording costs a few hundred nanoseconds
//! and never fails. Must never decide anything: nothing here is read back.

use crate::engine::event::{EventKind, Recorded};
use crate::engine::state::RunStatus;
use metrics::{Unit, counter, describe_counter, describe_gauge, describe_histogram, gauge, histogram};
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder};
use std::time::{Duration, Instant};

const RUNS_STARTED: &str = "hms_act_runs_started_total";
const RUNS_CLOSED: &str = "hms_act_runs_closed_total";
const ENTRIES: &str = "hms_act_log_entries_written_total";
const STALLED: &str = "hms_act_steps_stalled_total";
const RESCUED: &str = "hms_act_attempts_rescued_total";
const BATCH: &str = "hms_act_batch_commands";
const COMMIT: &str = "hms_act_commit_duration_seconds";
const QUEUED: &str = "hms_act_commands_queued";
const IN_FLIGHT: &str = "hms_act_attempts_in_flight";
const ATTEMPT: &str = "hms_act_attempt_duration_seconds";
const REQUEST: &str = "hms_act_http_request_duration_seconds";
const CONNECTIONS: &str = "hms_act_database_connections";
const SEALED: &str = "hms_act_log_sealed_entries";
const UNSEALED: &str = "hms_act_log_unsealed_seconds";
const BEHIND: &str = "hms_act_backup_behind_seconds";
const BACKED_UP: &str = "hms_act_backup_entries";
const REPLICA_READS: &str = "hms_act_replica_reads_total";
const REPLICA_FALLBACKS: &str = "hms_act_replica_fallbacks_total";

#[derive(Clone, Copy)]
enum Kind {
    Counter,
    Gauge,
    /// With the upper bounds of its buckets.
    Histogram(&'static [f64]),
}

struct Figure {
    name: &'static str,
    kind: Kind,
    unit: Unit,
    help: &'static str,
}

const COMMANDS: &[f64] = &[1.0, 2.0, 5.0, 10.0, 25.0, 50.0, 100.0, 250.0, 500.0];
const FAST: &[f64] = &[0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0];
const SLOW: &[f64] = &[0.005, 0.025, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 1_800.0];

const ALL: [Figure; 18] = [
    figure(RUNS_STARTED, Kind::Counter, Unit::Count, "Runs started, once their first entry is committed."),
    figure(RUNS_CLOSED, Kind::Counter, Unit::Count, "Runs that ended, by the status that they ended in."),
    figure(ENTRIES, Kind::Counter, Unit::Count, "Entries of runs written into the activity log."),
    figure(STALLED, Kind::Counter, Unit::Count, "Steps that ran past their max_minutes and were flagged."),
    figure(RESCUED, Kind::Counter, Unit::Count, "Attempts taken over from an instance that is gone."),
    figure(BATCH, Kind::Histogram(COMMANDS), Unit::Count, "Commands written in one transaction."),
    figure(
        COMMIT,
        Kind::Histogram(FAST),
        Unit::Seconds,
        "From the first statement of a batch to its COMMIT.",
    ),
    figure(QUEUED, Kind::Gauge, Unit::Count, "Commands that wait for the committer."),
    figure(IN_FLIGHT, Kind::Gauge, Unit::Count, "Attempts that a service is working on for this instance."),
    figure(
        ATTEMPT,
        Kind::Histogram(SLOW),
        Unit::Seconds,
        "How long attempts took, by outcome: done, failed, stopped.",
    ),
    figure(
        REQUEST,
        Kind::Histogram(FAST),
        Unit::Seconds,
        "Requests by method, address pattern and status, until the answer began; its _count is their number.",
    ),
    figure(
        CONNECTIONS,
        Kind::Gauge,
        Unit::Count,
        "Connections of the pool to the database, in_use and idle.",
    ),
    figure(SEALED, Kind::Gauge, Unit::Count, "Entries of the log under the last signed checkpoint."),
    figure(
        UNSEALED,
        Kind::Gauge,
        Unit::Seconds,
        "For how long the log has not been signed although it should be; 0 while all is well.",
    ),
    figure(
        BACKED_UP,
        Kind::Gauge,
        Unit::Count,
        "Entries of the log in the backup, if this instance makes it.",
    ),
    figure(
        BEHIND,
        Kind::Gauge,
        Unit::Seconds,
        "For how long the backup has lacked signed entries; 0 while all is well or another instance makes it.",
    ),
    figure(REPLICA_READS, Kind::Counter, Unit::Count, "Readings that the replica answered."),
    figure(
        REPLICA_FALLBACKS,
        Kind::Counter,
        Unit::Count,
        "Readings that were meant for the replica and that the primary answered, since it was away or behind.",
    ),
];

const fn figure(name: &'static str, kind: Kind, unit: Unit, help: &'static str) -> Figure {
    Figure { name, kind, unit, help }
}

/// A recorder that shows histograms with buckets that fit.
pub fn recorder() -> PrometheusBuilder {
    ALL.iter().fold(PrometheusBuilder::new(), |builder, figure| match figure.kind {
        Kind::Histogram(buckets) => builder
            .set_buckets_for_metric(Matcher::Full(figure.name.to_owned()), buckets)
            .expect("every histogram has buckets"),
        Kind::Counter | Kind::Gauge => builder,
    })
}

/// Tells the recorder what each figure means, and shows the counters from the start: an alarm on a counter that
/// does not exist yet would never ring.
pub fn describe() {
    for figure in &ALL {
        match figure.kind {
            Kind::Counter => describe_counter!(figure.name, figure.unit, figure.help),
            Kind::Gauge => describe_gauge!(figure.name, figure.unit, figure.help),
            Kind::Histogram(_) => describe_histogram!(figure.name, figure.unit, figure.help),
        }
    }
    for name in [RUNS_STARTED, ENTRIES, STALLED, RESCUED, REPLICA_READS, REPLICA_FALLBACKS] {
        counter!(name).increment(0);
    }
    for status in RunStatus::ALL.into_iter().filter(|status| status.is_final()) {
        counter!(RUNS_CLOSED, "status" => status.as_str()).increment(0);
    }
    gauge!(IN_FLIGHT).increment(0.0);
}

/// What was committed, counted up and told once a batch.
#[derive(Debug, Default)]
pub struct Tally {
    entries: u64,
    started: u64,
    closed: [u64; RunStatus::ALL.len()],
    stalled: u64,
    rescued: u64,
}

impl Tally {
    pub fn add(&mut self, events: &[Recorded]) {
        self.entries += events.len() as u64;
        for recorded in events {
            match &recorded.event.kind {
                EventKind::RunQueued { .. } => self.started += 1,
                EventKind::RunClosed { outcome, .. } => self.closed[*outcome as usize] += 1,
                EventKind::StepStalled { .. } => self.stalled += 1,
                EventKind::StepRescued { .. } => self.rescued += 1,
                _ => {}
            }
        }
    }

    pub fn tell(self) {
        for (name, count) in [
            (ENTRIES, self.entries),
            (RUNS_STARTED, self.started),
            (STALLED, self.stalled),
            (RESCUED, self.rescued),
        ] {
            if count > 0 {
                counter!(name).increment(count);
            }
        }
        for (status, count) in RunStatus::ALL.into_iter().zip(self.closed) {
            if count > 0 {
                counter!(RUNS_CLOSED, "status" => status.as_str()).increment(count);
            }
        }
    }
}

/// A batch of this many commands was written, or tried to be.
pub fn committed(commands: usize, took: Duration) {
    histogram!(BATCH).record(commands as f64);
    histogram!(COMMIT).record(took.as_secs_f64());
}

/// An attempt in flight: counted as long as this lives.
pub struct InFlight {
    began: Instant,
    outcome: &'static str,
}

impl InFlight {
    pub fn begin() -> InFlight {
        gauge!(IN_FLIGHT).increment(1.0);
        // Whatever drops it before it ends has stopped it.
        InFlight { began: Instant::now(), outcome: "stopped" }
    }

    pub fn end(mut self, done: bool) {
        self.outcome = if done { "done" } else { "failed" };
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        gauge!(IN_FLIGHT).decrement(1.0);
        histogram!(ATTEMPT, "outcome" => self.outcome).record(self.began.elapsed().as_secs_f64());
    }
}

/// A request was answered. `method` and `route` are of our own making, never what was sent: each new value is kept.
pub fn answered(method: &'static str, route: String, status: u16, took: Duration) {
    let labels = [("method", method.to_owned()), ("route", route), ("status", status.to_string())];
    histogram!(REQUEST, &labels).record(took.as_secs_f64());
}

/// The head of the log was signed.
pub fn sealed(size: u64) {
    gauge!(SEALED).set(size as f64);
}

/// How long signing has failed. 0: it does not.
pub fn unsealed_for(time: Duration) {
    gauge!(UNSEALED).set(time.as_secs_f64());
}

/// So many entries are in the backup.
pub fn backed_up(size: u64) {
    gauge!(BACKED_UP).set(size as f64);
}

/// How long the backup has lacked something. 0: it does not.
pub fn backup_behind(time: Duration) {
    gauge!(BEHIND).set(time.as_secs_f64());
}

/// What is looked at only when somebody asks.
pub fn look(queued: usize, in_use: u32, idle: u32) {
    gauge!(QUEUED).set(queued as f64);
    gauge!(CONNECTIONS, "state" => "in_use").set(in_use);
    gauge!(CONNECTIONS, "state" => "idle").set(idle);
}

/// The same for a replica: what it answered, and what the primary did in its place.
pub fn look_at_replica(served: u64, fallen_back: u64) {
    counter!(REPLICA_READS).absolute(served);
    counter!(REPLICA_FALLBACKS).absolute(fallen_back);
}

#[cfg(test)]
mod tests {
    use super::*;
    use chrono::Utc;

    #[test]
    fn what_was_committed_is_told_once_a_batch() {
        let recorder = recorder().build_recorder();
        let handle = recorder.handle();
        metrics::with_local_recorder(&recorder, || {
            describe();
            let event = |kind| Recorded {
                at: Utc::now(),
                actor: "staff".to_owned(),
                event: crate::engine::event::Event { step: None, attempt: None, kind },
            };
            let mut tally = Tally::default();
            tally.add(&[
                event(EventKind::RunPaused { reason: String::new(), step: None, via: None }),
                event(EventKind::RunClosed { outcome: RunStatus::Rejected, reason: None, count: 2 }),
            ]);
            tally.tell();
            committed(3, Duration::from_millis(4));
            drop(InFlight::begin());
            InFlight::begin().end(true);
            answered("GET", "/acts/runs/{id}".to_owned(), 200, Duration::from_millis(2));
            look(5, 1, 11);
        });
        let text = handle.render();
        for line in [
            "# TYPE hms_act_runs_started_total counter",
            "hms_act_runs_started_total 0",
            "hms_act_runs_closed_total{status=\"rejected\"} 1",
            "hms_act_runs_closed_total{status=\"completed\"} 0",
            "hms_act_log_entries_written_total 2",
            "hms_act_batch_commands_bucket{le=\"5\"} 1",
            "hms_act_commit_duration_seconds_count 1",
            "hms_act_attempts_in_flight 0",
            "hms_act_attempt_duration_seconds_count{outcome=\"stopped\"} 1",
            "hms_act_attempt_duration_seconds_count{outcome=\"done\"} 1",
            "hms_act_http_request_duration_seconds_count{method=\"GET\",route=\"/acts/runs/{id}\",status=\"200\"} 1",
            "hms_act_commands_queued 5",
            "hms_act_database_connections{state=\"in_use\"} 1",
        ] {
            assert!(text.lines().any(|found| found == line), "{line} is missing in:\n{text}");
        }
    }

    #[test]
    fn every_figure_has_its_unit_in_its_name_and_says_what_it_is() {
        for figure in &ALL {
            let name = figure.name;
            assert!(name.starts_with("hms_act_") && figure.help.ends_with('.'), "{name}");
            assert_eq!(matches!(figure.kind, Kind::Counter), name.ends_with("_total"), "{name}");
            assert_eq!(figure.unit == Unit::Seconds, name.ends_with("_seconds"), "{name}");
        }
    }
}
