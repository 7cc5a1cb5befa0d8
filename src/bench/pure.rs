//! What the engine costs without a database: deciding, and keeping runs in memory.

use super::cost::resident;
use super::figures::Section;
use crate::engine::command::{Actor, Catalog, CatalogEntry, Command, Context, DoneBy, Numbers, StartRun};
use crate::engine::decide::{decide, start};
use crate::engine::effects;
use crate::engine::ids::{ApprovalId, InstanceId, RunId};
use crate::engine::protocol::Protocol;
use crate::engine::state::{ProtocolRef, Run};
use chrono::Utc;
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// What the engine costs by itself.
pub(super) fn section() -> anyhow::Result<Section> {
    let mut section = Section::new("pure", "the engine without a database");
    let memory = memory()?;
    let (p50, p99) = next_step(100, 50)?;
    section.add(
        "decide_100_tasks_p50_us",
        "deciding the next of 100 tasks, p50",
        p50.as_secs_f64() * 1e6,
        "µs",
    );
    section.add(
        "decide_100_tasks_p99_us",
        "deciding the next of 100 tasks, p99",
        p99.as_secs_f64() * 1e6,
        "µs",
    );
    if let Some((parked, branch)) = memory {
        section.add("bytes_per_parked_run", "memory, a run at an approval", parked, "bytes");
        section.add("bytes_per_open_branch", "memory, one of 10,000 open branches", branch, "bytes");
    }
    Ok(section)
}

/// Every action is called by the instance.
struct Everything;

impl Catalog for Everything {
    fn action(&self, _: &str) -> Option<CatalogEntry> {
        Some(CatalogEntry { version: 1, done_by: DoneBy::Instance })
    }

    fn agent(&self, name: &str) -> Option<CatalogEntry> {
        self.action(name)
    }

    fn protocol(&self, _: &str) -> Option<ProtocolRef> {
        None
    }
}

struct Counted(i64);

impl Numbers for Counted {
    fn approval(&mut self) -> ApprovalId {
        self.0 += 1;
        ApprovalId(self.0)
    }

    fn run(&mut self) -> RunId {
        self.0 += 1;
        RunId(self.0)
    }
}

fn with_context<T>(act: impl FnOnce(&mut Context<'_>) -> T) -> T {
    let (actor, mut numbers) = (Actor::system(), Counted(0));
    act(&mut Context {
        now: Utc::now(),
        actor: &actor,
        catalog: &Everything,
        instance: InstanceId(1),
        numbers: &mut numbers,
    })
}

/// How long it takes to decide what follows a result, for each step of a run of `tasks` tasks: the median and the
/// longest of the 99 fastest in a hundred.
fn next_step(tasks: usize, runs: usize) -> anyhow::Result<(Duration, Duration)> {
    let list: Vec<Value> = (0..tasks)
        .map(|task| {
            json!({"id": format!("task_{task}"), "type": "script", "uses": "call",
                   "with": {"license_id": "${payload.license_id}", "n": task}, "when": "payload.license_id > 0"})
        })
        .collect();
    let protocol = Protocol::parse(&json!({ "tasks": list }));
    let protocol = Arc::new(protocol.map_err(|problems| anyhow::anyhow!("{problems:?}"))?);
    let mut took = Vec::with_capacity(tasks * runs);
    for _ in 0..runs {
        let mut run = begin(&protocol)?;
        while let Some(attempt) = effects::attempts(&run).pop() {
            let done = Command::CompleteStep {
                step: attempt.step,
                attempt: attempt.number,
                result: json!({"status": "approved", "checked": ["fees", "parties"]}),
            };
            let began = Instant::now();
            let decided = with_context(|context| decide(&run, done, context))?;
            took.push(began.elapsed());
            run = decided.run;
        }
    }
    took.sort();
    Ok((took[took.len() / 2], took[took.len() * 99 / 100]))
}

/// Bytes that a run takes which waits at an approval, and that a branch of a run takes whose 10,000 branches are all
/// open: what the process grew by. None where the system does not say.
fn memory() -> anyhow::Result<Option<(f64, f64)>> {
    const PARKED: usize = 20_000;
    const BRANCHES: usize = 10_000;
    let parse = |document| {
        Protocol::parse(&document).map(Arc::new).map_err(|problems| anyhow::anyhow!("{problems:?}"))
    };
    let parked = parse(json!({"tasks": [{"id": "approve", "type": "hitl"}]}))?;
    let me = std::process::id();
    let Some(before) = resident(me) else { return Ok(None) };
    let runs: Vec<Arc<Run>> =
        (0..PARKED).map(|_| Ok(Arc::new(begin(&parked)?))).collect::<anyhow::Result<_>>()?;
    let between = resident(me).unwrap_or(before);
    let each = parse(json!({"tasks": [{"id": "each", "type": "parallel", "for_each": "payload.items",
        "max_concurrency": BRANCHES, "tasks": [{"id": "call", "type": "script", "with": {"n": "${item}"}}]}]}))?;
    let wide = begin_with(&each, json!({"items": (0..BRANCHES).collect::<Vec<_>>()}))?;
    let after = resident(me).unwrap_or(between);
    anyhow::ensure!(runs.len() == PARKED && wide.steps.len() == BRANCHES + 1);
    let per = |bytes: u64, count: usize| bytes as f64 / count as f64;
    Ok(Some((per(between.saturating_sub(before), PARKED), per(after.saturating_sub(between), BRANCHES))))
}

fn begin(protocol: &Arc<Protocol>) -> anyhow::Result<Run> {
    begin_with(protocol, json!({"license_id": 123}))
}

fn begin_with(protocol: &Arc<Protocol>, payload: Value) -> anyhow::Result<Run> {
    let command = StartRun {
        run_id: RunId(1),
        protocol_ref: ProtocolRef { id: 1, version: 1, name: "bench".to_owned() },
        protocol: Arc::clone(protocol),
        payload: payload.as_object().cloned().unwrap_or_default(),
        salt: [7; 32],
        started_by: None,
        parent: None,
        rerun: None,
        redact: Vec::new(),
    };
    Ok(with_context(|context| start(command, context))?.run)
}
