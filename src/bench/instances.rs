//! One instance and three on the same Postgres, under the same load over HTTP: three must not be slower than one.

use super::Ground;
use super::figures::Section;
use super::pages::five_steps;
use super::server::{Program, Server, start_runs};
use anyhow::Context;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How many instances are there in each round: a machine that drifts drifts for both.
const ROUNDS: [usize; 4] = [1, MANY, MANY, 1];
const MANY: usize = 3;
/// Runs of a round before it counts: connections and caches are warm then.
const WARM: usize = 500;

pub(super) async fn section(ground: &Ground, runs: usize) -> anyhow::Result<Section> {
    let runs = (runs / ROUNDS.len()).max(1);
    let (mut one, mut many) = (Duration::ZERO, Duration::ZERO);
    for (round, instances) in ROUNDS.into_iter().enumerate() {
        let took = completed(ground, round, instances, runs).await?;
        *(if instances == 1 { &mut one } else { &mut many }) += took;
    }
    let rate = |took: Duration| (2 * runs) as f64 / took.as_secs_f64();
    let title = format!("five compute steps a run over HTTP, twice {runs} runs each, all completed");
    let mut section = Section::new("instances", title);
    section.add("one_runs_per_second", "one instance, runs per second", rate(one), "");
    section.add("three_runs_per_second", "three on the same Postgres, runs per second", rate(many), "");
    section.add("three_of_one", "three as a multiple of one", rate(many) / rate(one), "");
    Ok(section)
}

/// How long so many instances take for these runs, from the first start to the last end.
async fn completed(ground: &Ground, round: usize, instances: usize, runs: usize) -> anyhow::Result<Duration> {
    let start = |index| Server::start(&instance(ground, index)?).map(Arc::new);
    let started =
        tokio::task::block_in_place(|| (0..instances).map(start).collect::<anyhow::Result<Vec<_>>>());
    let servers = started?;
    let first = servers.first().context("there is one at least")?;
    let protocol = first.publish(&format!("Instances, round {round}"), five_steps()).await?;
    start_runs(&servers, protocol, WARM).await?;
    ground.all_over(protocol).await?;
    let began = Instant::now();
    start_runs(&servers, protocol, runs).await?;
    ground.all_over(protocol).await?;
    let took = began.elapsed();
    for server in servers.into_iter().filter_map(Arc::into_inner) {
        tokio::task::block_in_place(|| server.stop())?;
    }
    Ok(took)
}

/// The first is the one that signs the log; each of the others has a directory and keys of its own.
fn instance(ground: &Ground, index: usize) -> anyhow::Result<Program> {
    if index == 0 {
        return Ok(ground.program.clone());
    }
    let place = ground.program.place.join(format!("instance-{index}"));
    std::fs::create_dir_all(&place).with_context(|| place.display().to_string())?;
    let database_url = Some(ground.database.app_url.clone());
    Ok(Program { place, database_url, ..ground.program.clone() })
}
