//! Starting on a database that is there, and going on after a kill with many runs in flight.

use super::Ground;
use super::figures::Section;
use super::server::{Server, start_runs};
use crate::store::{pool, runs};
use anyhow::ensure;
use serde_json::json;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How often it is looked whether something is so.
const LOOK: Duration = Duration::from_millis(5);
/// What does not happen in this time never does.
const PATIENCE: Duration = Duration::from_secs(300);

pub(super) async fn section(ground: &Ground, in_flight: usize) -> anyhow::Result<Section> {
    let server = Arc::new(tokio::task::block_in_place(|| Server::start(&ground.program))?);
    let opened = server.opened;
    let action = json!({"name": "slow", "kind": "http", "config": {
        "method": "POST", "url": ground.service.url(), "body": "${input}", "timeout_seconds": 120}});
    server.json(server.post("/acts/actions", &action)).await?;
    let definition = json!({"tasks": [{"id": "call", "type": "script", "uses": "slow"}]});
    let protocol = server.publish("In flight", definition).await?;
    ground.service.hold(true);
    start_runs(&[Arc::clone(&server)], protocol, in_flight).await?;
    let open = runs::open_of_protocol(&mut pool::connect(&ground.database.app_url)?, protocol)?;
    ensure!(open == in_flight as i64, "{open} of {in_flight} runs are in flight");

    let Ok(server) = Arc::try_unwrap(server).map_err(|_| ()) else { anyhow::bail!("nobody else calls") };
    tokio::task::block_in_place(|| server.kill9())?;
    ground.service.hold(false);
    let called = ground.service.calls();
    let began = Instant::now();
    // Beside the start: the first step may come before it says that it is open.
    let first = async {
        while ground.service.calls() == called {
            tokio::time::sleep(LOOK).await;
        }
        began.elapsed()
    };
    let starting = tokio::task::spawn_blocking({
        let program = ground.program.clone();
        move || Server::start(&program)
    });
    let first = tokio::time::timeout(PATIENCE, first).await?;
    let server = starting.await??;
    let reopened = server.opened;
    tokio::time::timeout(PATIENCE, ground.all_over(protocol)).await??;
    let done = began.elapsed();
    tokio::task::block_in_place(|| server.stop())?;

    let mut section = Section::new("restart", format!("killed with {in_flight} runs in flight"));
    section.add_time("start_up_ms", "start on an existing database", opened);
    section.add_time("start_up_after_kill_ms", "start after the kill", reopened);
    section.add_time("recovery_ms", "from that start to the first new step", first);
    section.add_time("recovered_ms", "until all of them were completed", done);
    Ok(section)
}
