//! Many open pages of one run: how long until all of them show what happened.

use super::Ground;
use super::figures::{Section, Times};
use super::server::{Server, fine};
use anyhow::{Context, ensure};
use futures_util::StreamExt;
use serde_json::json;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::mpsc;
use tokio::task::JoinSet;

/// Who they are that look.
const USERS: usize = 50;
/// An update that does not come in this time never does.
const PATIENCE: Duration = Duration::from_secs(30);

pub(super) async fn section(ground: &Ground, streams: usize) -> anyhow::Result<Section> {
    let server = Arc::new(tokio::task::block_in_place(|| Server::start(&ground.program))?);
    let protocol = server.publish("Watched", json!({"tasks": [{"id": "approve", "type": "hitl"}]})).await?;
    let run = server.start_run(protocol, json!({"license_id": 123})).await?;
    let waiting = server.json(server.get(&format!("/acts/approvals?status=pending&run_id={run}"))).await?;
    let approval = waiting["approvals"][0]["id"].as_i64().context("the run waits for an approval")?;
    let mut cookies = Vec::with_capacity(USERS);
    for number in 0..USERS {
        let name = format!("reader{number}");
        tokio::task::block_in_place(|| ground.program.add_user(&name, "auditor"))?;
        cookies.push(server.sign_in(&name).await?);
    }
    let cookie = cookies[0].clone();
    let page = fine(server.visit(&format!("/runs/{run}"), &cookie).send().await?)?.text().await?;
    let address = page.split(&format!("/runs/{run}/live")).nth(1).and_then(|rest| rest.split('"').next());
    let address =
        format!("/runs/{run}/live{}", address.context("the page has a stream")?.replace("&amp;", "&"));

    let (told, mut open) = mpsc::channel(streams.max(1));
    let mut pages = JoinSet::new();
    for number in 0..streams {
        let (server, told, address) = (Arc::clone(&server), told.clone(), address.clone());
        let cookie = cookies[number % USERS].clone();
        pages.spawn(async move { follow(&server, &address, &cookie, told).await });
    }
    drop(told);
    for _ in 0..streams {
        // One that could not connect says why below.
        if open.recv().await.is_none() {
            break;
        }
    }
    let began = Instant::now();
    server.approve(approval).await?;
    let acknowledged = began.elapsed();
    let mut times = Times::default();
    while let Some(updated) = pages.join_next().await {
        times.add(updated??.saturating_duration_since(began));
    }
    let title = format!("{streams} open pages of one run, of {USERS} people, one decision");
    let mut section = Section::new("live", title);
    section.add_time("acknowledged_ms", "until the decision was acknowledged", acknowledged);
    section.add_times("update", "until a page was told", &mut times);
    section.add_time("update_last_ms", "until the last page was told", times.longest());
    if let Ok(server) = Arc::try_unwrap(server).map_err(|_| ()) {
        tokio::task::block_in_place(|| server.stop())?;
    }
    Ok(section)
}

/// Follows a page until its run is over. When it was told so.
async fn follow(
    server: &Server,
    address: &str,
    cookie: &str,
    told: mpsc::Sender<()>,
) -> anyhow::Result<Instant> {
    let answer = fine(server.visit(address, cookie).send().await?)?;
    let mut body = answer.bytes_stream();
    let first = body.next().await.context("a stream says something at once")??;
    ensure!(first.starts_with(b":"), "a stream begins with a comment");
    told.send(()).await?;
    drop(told);
    let ended = async {
        let mut text = String::new();
        while let Some(part) = body.next().await {
            text.push_str(&String::from_utf8_lossy(&part?));
            if text.contains("event: end") {
                return Ok(Instant::now());
            }
        }
        anyhow::bail!("a stream ended before its run")
    };
    tokio::time::timeout(PATIENCE, ended).await?
}
