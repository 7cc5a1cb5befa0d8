//! Pages and calls of the API with many runs present: each by itself, then all of them beside a full load of runs.

use super::Ground;
use super::figures::{Section, Times};
use super::server::{Server, fine};
use anyhow::{Context, ensure};
use serde_json::{Value, json};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};
use tokio::task::JoinSet;

/// Times that each address is asked for.
const ASKED: usize = 300;
/// Callers that start runs at the same time.
const CALLERS: usize = 64;
/// Pages a second beside the load, and for how long.
const PAGES_PER_SECOND: f64 = 200.0;
const LOADED: Duration = Duration::from_secs(10);

pub(super) async fn sections(ground: &Ground, present: usize) -> anyhow::Result<Vec<Section>> {
    let server = Arc::new(tokio::task::block_in_place(|| Server::start(&ground.program))?);
    let protocol = server.publish("Present", five_steps()).await?;
    let (filled, rate) = fill(&server, protocol, present).await?;
    let places = places(&server).await?;
    let mut alone = Section::new("pages", format!("each of {ASKED} times, with {filled} runs present"));
    if let Some(rate) = rate {
        alone.add("http_runs_per_second", "runs per second over HTTP, while they were made", rate, "");
    }
    for (key, path) in &places {
        let mut times = Times::default();
        for number in 0..ASKED + 5 {
            let took = asked(&server, path).await?;
            // The first ones warm what is cold.
            if number >= 5 {
                times.add(took);
            }
        }
        alone.add_times(key, path, &mut times);
    }
    let beside = beside_load(&server, protocol, &places).await?;
    if let Ok(server) = Arc::try_unwrap(server).map_err(|_| ()) {
        tokio::task::block_in_place(|| server.stop())?;
    }
    Ok(vec![alone, beside])
}

/// Five steps that are computed.
pub(super) fn five_steps() -> Value {
    let step = |step| {
        json!({"id": format!("step_{step}"), "type": "script", "uses": "compute",
                             "with": {"license_id": "${payload.license_id}", "step": step}})
    };
    json!({"tasks": (1..=5).map(step).collect::<Vec<_>>()})
}

/// Starts runs until so many are there. How many, and the rate if it was more than a few.
async fn fill(server: &Arc<Server>, protocol: i64, present: usize) -> anyhow::Result<(usize, Option<f64>)> {
    let there = server.start_run(protocol, json!({"license_id": 1})).await?;
    // Numbers count from 1, and have few gaps.
    let there = usize::try_from(there).unwrap_or_default();
    let missing = present.saturating_sub(there);
    let began = Instant::now();
    let left = Arc::new(AtomicUsize::new(missing));
    let mut callers = JoinSet::new();
    for _ in 0..CALLERS.min(missing) {
        let (server, left) = (Arc::clone(server), Arc::clone(&left));
        callers.spawn(async move {
            let take = |left: usize| left.checked_sub(1);
            while let Ok(number) = left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, take) {
                server
                    .start_run(protocol, json!({"license_id": number, "applicant": "Example Trading"}))
                    .await?;
            }
            Ok::<_, anyhow::Error>(())
        });
    }
    while let Some(caller) = callers.join_next().await {
        caller??;
    }
    let rate = (missing > 1_000).then(|| missing as f64 / began.elapsed().as_secs_f64());
    Ok((there + missing, rate))
}

/// What is asked for, by its name in JSON.
async fn places(server: &Server) -> anyhow::Result<Vec<(&'static str, String)>> {
    let newest = server.json(server.get("/acts/runs?limit=1")).await?;
    let run = newest["runs"][0]["run_id"].as_i64().context("there is a run")?;
    Ok(vec![
        ("home", "/".to_owned()),
        ("runs", "/runs".to_owned()),
        ("runs_found", "/runs?q=Example".to_owned()),
        ("run", format!("/runs/{run}")),
        ("replay", format!("/runs/{run}/replay")),
        ("approvals", "/approvals".to_owned()),
        ("log", "/log".to_owned()),
        ("log_of_run", format!("/log?search=run%3A{run}")),
        ("log_by_type", "/log?search=type%3Astep.done".to_owned()),
        ("log_entry", format!("/log/{run}/3")),
        ("api_runs", "/acts/runs?limit=50".to_owned()),
        ("api_run", format!("/acts/runs/{run}")),
        ("api_replay", format!("/acts/runs/{run}/replay")),
        ("api_approvals", "/acts/approvals?status=pending".to_owned()),
    ])
}

async fn asked(server: &Server, path: &str) -> anyhow::Result<Duration> {
    let began = Instant::now();
    fine(server.get(path).send().await?)?.bytes().await?;
    Ok(began.elapsed())
}

/// All of them at an even rate, while runs are started as fast as they are taken.
async fn beside_load(
    server: &Arc<Server>,
    protocol: i64,
    places: &[(&'static str, String)],
) -> anyhow::Result<Section> {
    let over = Arc::new(AtomicBool::new(false));
    let runs = Arc::new(AtomicUsize::new(0));
    let mut callers = JoinSet::new();
    for _ in 0..CALLERS {
        let (server, over, runs) = (Arc::clone(server), Arc::clone(&over), Arc::clone(&runs));
        callers.spawn(async move {
            while !over.load(Ordering::Relaxed) {
                server.start_run(protocol, json!({"license_id": 1})).await?;
                runs.fetch_add(1, Ordering::Relaxed);
            }
            Ok::<_, anyhow::Error>(())
        });
    }
    let began = Instant::now();
    let count = (PAGES_PER_SECOND * LOADED.as_secs_f64()) as usize;
    let mut visits = JoinSet::new();
    for number in 0..count {
        let due = began + Duration::from_secs_f64(number as f64 / PAGES_PER_SECOND);
        let (server, path) = (Arc::clone(server), places[number % places.len()].1.clone());
        visits.spawn(async move {
            tokio::time::sleep_until(due.into()).await;
            asked(&server, &path).await.map(|_| due.elapsed())
        });
    }
    let (mut times, mut failed) = (Times::default(), 0);
    while let Some(visit) = visits.join_next().await {
        match visit? {
            Ok(time) => times.add(time),
            Err(error) => {
                eprintln!("beside the load: {error}");
                failed += 1;
            }
        }
    }
    let rate = runs.load(Ordering::Relaxed) as f64 / began.elapsed().as_secs_f64();
    over.store(true, Ordering::Relaxed);
    while let Some(caller) = callers.join_next().await {
        caller??;
    }
    ensure!(failed < count, "no page was answered beside the load");
    let title = format!("{PAGES_PER_SECOND} of these a second beside a full load of runs over HTTP");
    let mut section = Section::new("pages_beside_load", title);
    section.add("runs_per_second", "runs per second meanwhile", rate, "");
    section.add("failed", "pages and calls that failed", failed as f64, "");
    section.add_times("all", "from when it was due", &mut times);
    Ok(section)
}
