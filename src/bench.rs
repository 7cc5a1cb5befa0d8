//! `hms-act bench`: figures of the engine, each beside the raw ceiling taken in the same run on the same Postgres.
//!
//! It starts a private Postgres of its own in a temporary directory, with the settings that `serve` uses (fsync and
//! synchronous_commit on), and removes it at the end. A ratio survives a slow or noisy machine; a rate alone does not.

mod pure;
mod raw;

use crate::actions::HttpLimits;
use crate::actions::agent::AgentExecutor;
use crate::actions::command::{AllowedPrograms, CommandExecutor};
use crate::actions::guard::Guard;
use crate::actions::http::HttpExecutor;
use crate::engine::command::Actor;
use crate::engine::ids::RunId;
use crate::engine::protocol::Protocol;
use crate::engine::state::{ProtocolRef, RunStatus};
use crate::scheduler::attempt::Executors;
use crate::scheduler::callbacks::Callbacks;
use crate::scheduler::committer::{Committer, Parts};
use crate::scheduler::dispatch::{Dispatch, InHand};
use crate::scheduler::runs::RunCache;
use crate::scheduler::{NewRun, Scheduler};
use crate::store::bootstrap::{self, AppLogin};
use crate::store::embedded::Cluster;
use crate::store::{Pool, instances, migrate, pool, protocols};
use anyhow::Context;
use serde_json::{Value, json};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};
use tokio::sync::{mpsc, watch};

/// Callers that start runs at the same time.
const CALLERS: usize = 256;
/// Runs timed one at a time.
const SINGLE_RUNS: usize = 500;
/// Steps of a run.
const STEPS: usize = 5;

struct Figures {
    runs: usize,
    runs_per_second: f64,
    rows_per_second: f64,
    raw_rows_per_second: f64,
    latency_p50: Duration,
    latency_p99: Duration,
    /// A run that goes over 50 items, and one over 10,000: from the start to its completion.
    fan_out_50: Duration,
    fan_out_10_000: Duration,
    /// Deciding what follows a result in a protocol of 100 tasks.
    decide_p50: Duration,
    decide_p99: Duration,
    /// Bytes of a run that waits at an approval, and of one of 10,000 open branches.
    memory: Option<(f64, f64)>,
}

/// Items of the large fan-out.
const MANY: usize = 10_000;

/// Measures and prints.
///
/// # Errors
/// When the private Postgres does not start, or a run does not complete.
pub fn run(runs: usize, as_json: bool) -> anyhow::Result<()> {
    let place = std::env::temp_dir().join(format!("hms-act-bench-{}", std::process::id()));
    std::fs::create_dir_all(&place).with_context(|| place.display().to_string())?;
    // First, while the allocator holds nothing that it could use again: what is taken then is what the process grows by.
    let memory = pure::memory()?;
    let measured = on_private_postgres(&place, runs);
    // A leftover directory is only disk space; the figures are worth more.
    let _ = std::fs::remove_dir_all(&place);
    let figures = Figures { memory, ..measured? };
    if as_json {
        println!("{}", figures.as_json())
    } else {
        figures.print()
    }
    Ok(())
}

fn on_private_postgres(place: &Path, runs: usize) -> anyhow::Result<Figures> {
    let cluster = Cluster::start(place)?;
    let url = cluster.app_url();
    bootstrap::prepare(&cluster.owner_url(), AppLogin::from_url(&url)?.as_ref())?;
    migrate::run(&cluster.owner_url())?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let measured = runtime.block_on(measure(&url, runs));
    drop(runtime);
    cluster.stop()?;
    measured
}

async fn measure(url: &str, runs: usize) -> anyhow::Result<Figures> {
    let pool = pool::pool(url, 4)?;
    let engine = Engine::start(url, pool.clone())?;
    let new = engine.five_steps()?;
    // Warm: connections, caches, the first partition.
    complete(&engine.scheduler, &new, 500).await?;
    let mut single = Vec::with_capacity(SINGLE_RUNS);
    for _ in 0..SINGLE_RUNS {
        let began = Instant::now();
        complete(&engine.scheduler, &new, 1).await?;
        single.push(began.elapsed());
    }
    single.sort();
    // Halves around the raw rate, so that a machine that drifts drifts for both.
    let first = timed(&engine.scheduler, &new, runs / 2).await?;
    let raw_url = url.to_owned();
    let raw =
        tokio::task::spawn_blocking(move || raw::rows_per_second(&raw_url, Duration::from_secs(5))).await??;
    let second = timed(&engine.scheduler, &new, runs - runs / 2).await?;
    let fan_out_50 = fan_out(&engine, 50).await?;
    let fan_out_10_000 = fan_out(&engine, MANY).await?;
    let (decide_p50, decide_p99) = tokio::task::spawn_blocking(|| pure::next_step(100, 50)).await??;
    let runs_per_second = runs as f64 / (first + second).as_secs_f64();
    engine.stop().await?;
    Ok(Figures {
        runs,
        runs_per_second,
        rows_per_second: runs_per_second * (2 * STEPS + 2) as f64,
        raw_rows_per_second: raw,
        latency_p50: single[single.len() / 2],
        latency_p99: single[single.len() * 99 / 100],
        fan_out_50,
        fan_out_10_000,
        decide_p50,
        decide_p99,
        memory: None,
    })
}

/// One run that computes something for each of so many items: the fastest of three.
async fn fan_out(engine: &Engine, items: usize) -> anyhow::Result<Duration> {
    let new = engine.for_each(items)?;
    let mut fastest = Duration::MAX;
    for _ in 0..3 {
        fastest = fastest.min(timed(&engine.scheduler, &new, 1).await?);
    }
    Ok(fastest)
}

async fn timed(scheduler: &Scheduler, new: &NewRun, runs: usize) -> anyhow::Result<Duration> {
    let began = Instant::now();
    complete(scheduler, new, runs).await?;
    Ok(began.elapsed())
}

/// Starts runs from many callers and waits until each is completed and committed.
async fn complete(scheduler: &Scheduler, new: &NewRun, runs: usize) -> anyhow::Result<()> {
    let left = Arc::new(AtomicUsize::new(runs));
    let mut callers = tokio::task::JoinSet::new();
    for _ in 0..CALLERS.min(runs) {
        let (scheduler, new, left) = (scheduler.clone(), new.clone(), Arc::clone(&left));
        callers.spawn(async move {
            let take = |left: usize| left.checked_sub(1);
            while left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, take).is_ok() {
                let done = scheduler.start(new.clone()).await?;
                let mut run = done.run;
                let mut changes = scheduler.changes.listen();
                while !run.status.is_final() {
                    changes.run_changed(run.id).await;
                    run = scheduler.look(RunId(run.id.0)).await?;
                }
                anyhow::ensure!(
                    run.status == RunStatus::Completed,
                    "run {} ended as {:?}",
                    run.id,
                    run.status
                );
            }
            Ok(())
        });
    }
    while let Some(caller) = callers.join_next().await {
        caller??;
    }
    Ok(())
}

/// The scheduler without doors.
struct Engine {
    scheduler: Scheduler,
    pool: Pool,
    stop: watch::Sender<bool>,
    committer: std::thread::JoinHandle<()>,
    dispatch: tokio::task::JoinHandle<()>,
}

impl Engine {
    fn start(url: &str, pool: Pool) -> anyhow::Result<Engine> {
        let (scheduler, requests) = Scheduler::new(Arc::new(RunCache::default()), pool.clone());
        let mut connection = pool.get()?;
        let instance = instances::register(&mut connection, "bench")?;
        scheduler.catalog.refresh(&mut connection)?;
        let (work, to_do) = mpsc::unbounded_channel();
        let (stop, stopping) = watch::channel(false);
        let committer = Committer::new(Parts {
            database_url: url.to_owned(),
            origin: "hms-act.invalid/bench".to_owned(),
            instance: Arc::new(AtomicI64::new(instance)),
            others: Arc::new(AtomicBool::new(false)),
            runs: scheduler.run_cache(),
            catalog: scheduler.catalog.clone(),
            changes: scheduler.changes.clone(),
            kicks: scheduler.kicks.clone(),
            stopping: stopping.clone(),
            work,
        });
        let committer = std::thread::spawn(move || committer.run(requests));
        let guard = Guard::new(Vec::new());
        let executors = Executors {
            http: HttpExecutor::new(guard.clone(), HttpLimits::default()),
            agent: AgentExecutor::new(guard, HttpLimits::default()),
            command: CommandExecutor::new(AllowedPrograms::default()),
            callbacks: Arc::new(Callbacks::open(&mut connection, "http://hms-act.invalid".to_owned())?),
        };
        let dispatch =
            tokio::spawn(Dispatch::new(scheduler.clone(), executors, InHand::default()).run(to_do, stopping));
        Ok(Engine { scheduler, pool, stop, committer, dispatch })
    }

    /// A run of five `compute` steps, each with an input of its own.
    fn five_steps(&self) -> anyhow::Result<NewRun> {
        let tasks: Vec<Value> = (1..=STEPS)
            .map(|step| json!({"id": format!("step_{step}"), "type": "script", "uses": "compute",
                               "with": {"license_id": "${payload.license_id}", "step": step, "result": "approved"}}))
            .collect();
        let definition = json!({ "tasks": tasks });
        self.new_run("Five steps", &definition, &json!({"license_id": 123}))
    }

    /// A run that computes something for each item of a list.
    fn for_each(&self, items: usize) -> anyhow::Result<NewRun> {
        let definition = json!({"tasks": [{"id": "each", "type": "parallel", "for_each": "payload.items", "tasks": [
            {"id": "check", "type": "script", "uses": "compute", "with": {"number": "${item}"}}]}]});
        let payload = json!({"items": (0..items).collect::<Vec<_>>()});
        self.new_run(&format!("For each of {items}"), &definition, &payload)
    }

    fn new_run(&self, name: &str, definition: &Value, payload: &Value) -> anyhow::Result<NewRun> {
        let row = protocols::create(&mut *self.pool.get()?, None, name, definition, "bench")?;
        let protocol = Protocol::parse(definition).map_err(|problems| anyhow::anyhow!("{problems:?}"))?;
        let payload = payload.as_object().cloned().unwrap_or_default();
        let actor = Actor {
            name: "bench".to_owned(),
            roles: vec!["staff".to_owned()],
            groups: Vec::new(),
            via: None,
        };
        let protocol_ref = ProtocolRef { id: row.id, version: 1, name: row.name };
        Ok(NewRun::of(protocol_ref, Arc::new(protocol), payload, actor))
    }

    async fn stop(self) -> anyhow::Result<()> {
        // Nobody listening is not an error.
        let _ = self.stop.send(true);
        self.dispatch.await?;
        drop(self.scheduler);
        let committer = self.committer;
        let ended = tokio::task::spawn_blocking(move || committer.join().is_ok()).await?;
        anyhow::ensure!(ended, "the committer ended in a panic");
        Ok(())
    }
}

impl Figures {
    fn ratio(&self) -> f64 {
        self.rows_per_second / self.raw_rows_per_second
    }

    fn as_json(&self) -> Value {
        json!({
            "runs": self.runs,
            "steps_per_run": STEPS,
            "runs_per_second": self.runs_per_second.round(),
            "log_rows_per_second": self.rows_per_second.round(),
            "raw_log_rows_per_second": self.raw_rows_per_second.round(),
            "ratio_of_raw": (self.ratio() * 1_000.0).round() / 1_000.0,
            "latency_p50_ms": milliseconds(self.latency_p50),
            "latency_p99_ms": milliseconds(self.latency_p99),
            "fan_out_50_ms": milliseconds(self.fan_out_50),
            "fan_out_10000_ms": milliseconds(self.fan_out_10_000),
            "decide_100_tasks_p50_us": milliseconds(self.decide_p50) * 1_000.0,
            "decide_100_tasks_p99_us": milliseconds(self.decide_p99) * 1_000.0,
            "bytes_per_parked_run": self.memory.map(|(parked, _)| parked.round()),
            "bytes_per_open_branch": self.memory.map(|(_, branch)| branch.round()),
        })
    }

    fn print(&self) {
        println!(
            "{STEPS} compute steps a run, {} runs, every one durable (fsync, synchronous_commit on)",
            self.runs
        );
        println!("  runs per second                    {:>10.0}", self.runs_per_second);
        println!("  log rows per second                {:>10.0}", self.rows_per_second);
        println!("  raw: the same rows, 2 clients,");
        println!("       1,000 rows a transaction      {:>10.0}", self.raw_rows_per_second);
        println!("  share of the raw rate              {:>9.1} %", self.ratio() * 100.0);
        println!("  one run at a time, p50             {:>8.2} ms", milliseconds(self.latency_p50));
        println!("  one run at a time, p99             {:>8.2} ms", milliseconds(self.latency_p99));
        println!("  for each of 50, joined             {:>8.2} ms", milliseconds(self.fan_out_50));
        println!("  for each of 10,000, joined         {:>8.2} ms", milliseconds(self.fan_out_10_000));
        println!("  decide, 100 tasks, p50             {:>8.2} µs", milliseconds(self.decide_p50) * 1_000.0);
        println!("  decide, 100 tasks, p99             {:>8.2} µs", milliseconds(self.decide_p99) * 1_000.0);
        if let Some((parked, branch)) = self.memory {
            println!("  memory, a run at an approval       {parked:>7.0} bytes");
            println!("  memory, one of 10,000 branches     {branch:>7.0} bytes");
        }
    }
}

fn milliseconds(time: Duration) -> f64 {
    time.as_secs_f64() * 1_000.0
}
