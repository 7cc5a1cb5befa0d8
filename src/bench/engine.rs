//! The engine: runs per second beside the raw rate, how long one takes, fan-out, and what a run costs the machine.
//!
//! Inside a whole app, without HTTP at the door: the committer, the sequencer, housekeeping and all are at work.

use super::cost::{processor_seconds, processor_seconds_of_family, resident};
use super::figures::{Section, Times};
use super::{Ground, raw};
use crate::app::{self, Running};
use crate::config::Config;
use crate::engine::command::{Actor, Command};
use crate::engine::ids::{ApprovalId, RunId};
use crate::engine::protocol::Protocol;
use crate::engine::state::{Choice, ProtocolRef, Run, RunStatus};
use crate::scheduler::{NewRun, Scheduler};
use crate::store::registry::actions;
use crate::store::{health, pool, protocols};
use serde_json::{Value, json};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};
use tokio::task::JoinSet;

/// Callers that start runs at the same time.
const CALLERS: usize = 256;
/// Runs timed one at a time.
const SINGLE_RUNS: usize = 500;
/// Steps of a run.
const STEPS: usize = 5;
/// How long the raw rate is taken.
const RAW: Duration = Duration::from_secs(5);
/// How long runs come at half the most that were completed.
const HALF_LOAD: Duration = Duration::from_secs(5);
/// Items of the large fan-out.
const MANY: usize = 10_000;

/// Everything about the engine.
pub(super) async fn sections(ground: &Ground, config: &Config, runs: usize) -> anyhow::Result<Vec<Section>> {
    let raw_url = ground.cluster().map(raw::database).transpose()?;
    let running = app::start(config).await?;
    let bench = Bench::new(ground, &running);
    let measured = async {
        let computed = bench.computed(raw_url, runs).await?;
        Ok::<_, anyhow::Error>(vec![computed, bench.called(runs / 4).await?, bench.decided(runs / 4).await?])
    };
    let sections = measured.await;
    drop(bench);
    running.stop().await?;
    sections
}

struct Bench {
    scheduler: Scheduler,
    url: String,
    service_url: String,
    postmaster: Option<u32>,
}

impl Bench {
    fn new(ground: &Ground, running: &Running) -> Bench {
        Bench {
            scheduler: running.scheduler().clone(),
            url: ground.database.app_url.clone(),
            service_url: ground.service.url(),
            postmaster: ground.database.cluster().map(|cluster| cluster.pid().unsigned_abs()),
        }
    }

    /// Five steps that are computed.
    async fn computed(&self, raw_url: Option<String>, runs: usize) -> anyhow::Result<Section> {
        let health = health::read(&mut pool::connect(&self.url)?)?;
        let title = format!(
            "{STEPS} compute steps a run, {runs} runs, fsync {}, synchronous_commit {}",
            health.fsync, health.synchronous_commit
        );
        let mut section = Section::new("engine", title);
        let new = self.new_run("Five steps", &steps("compute"), &json!({"license_id": 123}))?;
        // Warm: connections, caches, the first partition.
        complete(&self.scheduler, &new, 500).await?;
        let mut single = Times::default();
        for _ in 0..SINGLE_RUNS {
            single.add(timed(&self.scheduler, &new, 1).await?);
        }
        // Halves around the raw rate, so that a machine that drifts drifts for both.
        let before = self.costs()?;
        let first = timed(&self.scheduler, &new, runs / 2).await?;
        let between = self.costs()?;
        let template = self.url.clone();
        let raw = move || raw_url.map(|url| raw::rows_per_second(&template, &url, RAW)).transpose();
        let raw = tokio::task::spawn_blocking(raw).await??;
        let second = timed(&self.scheduler, &new, runs - runs / 2).await?;
        // Right after a load: how far the signing of the log is behind.
        let unsealed = health::read(&mut pool::connect(&self.url)?)?.unsealed_for.unwrap_or_default();
        let rate = runs as f64 / (first + second).as_secs_f64();
        let rows = rate * (2 * STEPS + 2) as f64;
        section.add("runs_per_second", "runs per second", rate, "");
        section.add("log_rows_per_second", "log rows per second", rows, "");
        let words = "raw: the same rows, 2 clients, 1,000 a commit";
        section.add_if_measured("raw_log_rows_per_second", words, raw, "");
        section.add_share("ratio_of_raw", "share of the raw rate", raw.map(|raw| rows / raw));
        section.add_times("latency", "one run at a time", &mut single);
        let mut half = half_load(&self.scheduler, &new, rate / 2.0).await?;
        section.add_times("latency_half_load", "at half that rate", &mut half);
        between.tell(&before, runs / 2, &mut section);
        section.add_time("fan_out_50_ms", "for each of 50, joined", self.fan_out(50).await?);
        section.add_time("fan_out_10000_ms", "for each of 10,000, joined", self.fan_out(MANY).await?);
        section.add("unsealed_seconds", "age of the oldest entry without a place in the tree", unsealed, "s");
        Ok(section)
    }

    /// Five calls of a service on this machine.
    async fn called(&self, runs: usize) -> anyhow::Result<Section> {
        let title = format!("{STEPS} http steps a run, to a service on this machine, {runs} runs");
        let mut section = Section::new("http", title);
        let config = json!({"method": "POST", "url": self.service_url, "body": "${input}"});
        actions::create(&mut pool::connect(&self.url)?, "call", "http", &config, "bench")?;
        self.scheduler.catalog.refresh(&mut pool::connect(&self.url)?)?;
        let new = self.new_run("Five calls", &steps("call"), &json!({"license_id": 123}))?;
        complete(&self.scheduler, &new, 100).await?;
        let took = timed(&self.scheduler, &new, runs).await?;
        section.add("runs_per_second", "runs per second", runs as f64 / took.as_secs_f64(), "");
        Ok(section)
    }

    /// A run that waits for a person, decided when all wait.
    async fn decided(&self, runs: usize) -> anyhow::Result<Section> {
        let title = format!("compute, an approval, compute: {runs} runs parked, then decided");
        let mut section = Section::new("approvals", title);
        let definition = json!({"tasks": [
            {"id": "before", "type": "script", "uses": "compute"},
            {"id": "approve", "type": "hitl", "approvers": "supervisor"},
            {"id": "after", "type": "script", "uses": "compute"},
        ]});
        let new = self.new_run("Ask", &definition, &json!({"license_id": 123}))?;
        let (parked, parking) = self.parked(&new, runs).await?;
        let began = Instant::now();
        let mut deciders = JoinSet::new();
        for (run, approval) in parked {
            let scheduler = self.scheduler.clone();
            deciders.spawn(async move { decide(&scheduler, run, approval).await });
        }
        while let Some(decided) = deciders.join_next().await {
            decided??;
        }
        let deciding = began.elapsed();
        let mut single = Times::default();
        for _ in 0..SINGLE_RUNS {
            let (parked, _) = self.parked(&new, 1).await?;
            let (run, approval) = parked[0];
            let began = Instant::now();
            decide(&self.scheduler, run, approval).await?;
            single.add(began.elapsed());
        }
        section.add("parked_per_second", "runs parked per second", runs as f64 / parking.as_secs_f64(), "");
        section.add(
            "decided_per_second",
            "runs decided per second",
            runs as f64 / deciding.as_secs_f64(),
            "",
        );
        section.add_times("decision", "from a decision to completed", &mut single);
        Ok(section)
    }

    /// Starts runs and waits until each waits for a person. Their approvals, and how long it took.
    async fn parked(
        &self,
        new: &NewRun,
        runs: usize,
    ) -> anyhow::Result<(Vec<(RunId, ApprovalId)>, Duration)> {
        let began = Instant::now();
        let mut starts = JoinSet::new();
        for _ in 0..runs {
            let (scheduler, new) = (self.scheduler.clone(), new.clone());
            starts.spawn(async move {
                let run = scheduler.start(new).await?.run;
                until(&scheduler, run, |run| run.status == RunStatus::Waiting).await
            });
        }
        let mut parked = Vec::with_capacity(runs);
        while let Some(run) = starts.join_next().await {
            let run = run??;
            let approval = run.steps.iter().find_map(|(_, step)| step.approval.as_ref());
            let approval = approval.ok_or_else(|| anyhow::anyhow!("run {} has no approval", run.id))?;
            parked.push((run.id, approval.id));
        }
        Ok((parked, began.elapsed()))
    }

    /// One run that computes something for each of so many items: the fastest of three.
    async fn fan_out(&self, items: usize) -> anyhow::Result<Duration> {
        let definition = json!({"tasks": [{"id": "each", "type": "parallel", "for_each": "payload.items", "tasks": [
            {"id": "check", "type": "script", "uses": "compute", "with": {"number": "${item}"}}]}]});
        let payload = json!({"items": (0..items).collect::<Vec<_>>()});
        let new = self.new_run(&format!("For each of {items}"), &definition, &payload)?;
        let mut fastest = Duration::MAX;
        for _ in 0..3 {
            fastest = fastest.min(timed(&self.scheduler, &new, 1).await?);
        }
        Ok(fastest)
    }

    fn new_run(&self, name: &str, definition: &Value, payload: &Value) -> anyhow::Result<NewRun> {
        let row = protocols::create(&mut pool::connect(&self.url)?, None, name, definition, "bench")?;
        let protocol = Protocol::parse(definition).map_err(|problems| anyhow::anyhow!("{problems:?}"))?;
        let payload = payload.as_object().cloned().unwrap_or_default();
        let protocol_ref = ProtocolRef { id: row.id, version: 1, name: row.name };
        Ok(NewRun::of(protocol_ref, Arc::new(protocol), payload, actor("bench", "staff")))
    }

    fn costs(&self) -> anyhow::Result<Costs> {
        let me = std::process::id();
        Ok(Costs {
            app: processor_seconds(me),
            postgres: self.postmaster.and_then(processor_seconds_of_family),
            memory: resident(me),
            written: health::written_ahead(&mut pool::connect(&self.url)?)?,
        })
    }
}

/// What was used up to now.
struct Costs {
    app: Option<f64>,
    postgres: Option<f64>,
    memory: Option<u64>,
    /// Bytes in the write-ahead log.
    written: i64,
}

impl Costs {
    /// What so many runs took since before.
    fn tell(&self, before: &Costs, runs: usize, section: &mut Section) {
        let thousands = runs as f64 / 1_000.0;
        let mut seconds = |key, words, now: Option<f64>, before: Option<f64>| {
            let used = now.zip(before).map(|(now, before)| (now - before) / thousands);
            section.add_if_measured(key, words, used, "s");
        };
        seconds("app_cpu_seconds", "processor time of the app, 1,000 runs", self.app, before.app);
        seconds(
            "postgres_cpu_seconds",
            "processor time of Postgres, 1,000 runs",
            self.postgres,
            before.postgres,
        );
        if let (Some(now), Some(before)) = (self.memory, before.memory) {
            let grown = now.saturating_sub(before) as f64 / 1_048_576.0 / thousands;
            section.add("memory_mib", "memory of the app, 1,000 runs", grown, "MiB");
        }
        let written = (self.written - before.written) as f64 / runs as f64 / 1_024.0;
        section.add("wal_kib_per_run", "written ahead by Postgres, a run", written, "KiB");
    }
}

/// Five tasks of an action, each with an input of its own.
fn steps(action: &str) -> Value {
    let tasks: Vec<Value> = (1..=STEPS)
        .map(|step| json!({"id": format!("step_{step}"), "type": "script", "uses": action,
                           "with": {"license_id": "${payload.license_id}", "step": step, "result": "approved"}}))
        .collect();
    json!({ "tasks": tasks })
}

fn actor(name: &str, role: &str) -> Actor {
    Actor { name: name.to_owned(), roles: vec![role.to_owned()], groups: Vec::new(), via: None }
}

async fn decide(scheduler: &Scheduler, run: RunId, approval: ApprovalId) -> anyhow::Result<()> {
    let reason = Some("The parties are clean.".to_owned());
    let command = Command::Decide { approval, choice: Choice::Approve, reason, form: None };
    let done = scheduler.act(run, command, actor("judge", "supervisor")).await?;
    until(scheduler, done.run, |run| run.status.is_final()).await?;
    Ok(())
}

/// Waits until a run is so.
async fn until(
    scheduler: &Scheduler,
    mut run: Arc<Run>,
    is_so: fn(&Run) -> bool,
) -> anyhow::Result<Arc<Run>> {
    if is_so(&run) {
        return Ok(run);
    }
    let mut changes = scheduler.changes.listen();
    run = scheduler.look(run.id).await?;
    while !is_so(&run) {
        anyhow::ensure!(!run.status.is_final(), "run {} ended as {:?}", run.id, run.status);
        changes.run_changed(run.id).await;
        run = scheduler.look(run.id).await?;
    }
    Ok(run)
}

async fn completed(scheduler: &Scheduler, new: NewRun) -> anyhow::Result<()> {
    let run = scheduler.start(new).await?.run;
    let run = until(scheduler, run, |run| run.status.is_final()).await?;
    anyhow::ensure!(run.status == RunStatus::Completed, "run {} ended as {:?}", run.id, run.status);
    Ok(())
}

async fn timed(scheduler: &Scheduler, new: &NewRun, runs: usize) -> anyhow::Result<Duration> {
    let began = Instant::now();
    complete(scheduler, new, runs).await?;
    Ok(began.elapsed())
}

/// Starts runs from many callers and waits until each is completed and committed.
async fn complete(scheduler: &Scheduler, new: &NewRun, runs: usize) -> anyhow::Result<()> {
    let left = Arc::new(AtomicUsize::new(runs));
    let mut callers = JoinSet::new();
    for _ in 0..CALLERS.min(runs) {
        let (scheduler, new, left) = (scheduler.clone(), new.clone(), Arc::clone(&left));
        callers.spawn(async move {
            let take = |left: usize| left.checked_sub(1);
            while left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, take).is_ok() {
                completed(&scheduler, new.clone()).await?;
            }
            Ok::<_, anyhow::Error>(())
        });
    }
    while let Some(caller) = callers.join_next().await {
        caller??;
    }
    Ok(())
}

/// Starts runs at an even rate, whatever becomes of those before, and times each.
async fn half_load(scheduler: &Scheduler, new: &NewRun, rate: f64) -> anyhow::Result<Times> {
    let began = Instant::now();
    let runs = (rate * HALF_LOAD.as_secs_f64()) as usize;
    let mut calls = JoinSet::new();
    for number in 0..runs {
        let due = began + Duration::from_secs_f64(number as f64 / rate);
        let (scheduler, new) = (scheduler.clone(), new.clone());
        calls.spawn(async move {
            tokio::time::sleep_until(due.into()).await;
            // From when it was due: one that had to wait for its turn took longer.
            completed(&scheduler, new).await.map(|()| due.elapsed())
        });
    }
    let mut times = Times::default();
    while let Some(time) = calls.join_next().await {
        times.add(time??);
    }
    Ok(times)
}
