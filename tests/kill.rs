//! Kill -9 of the real binary at bad moments: what was acknowledged is there, goes on, and happens once.

use crate::support::client::Caller;
use crate::support::postgres::{ScratchDir, TestDatabase, wait_until_gone};
use crate::support::process::{Setup, TestProcess, published};
use crate::support::server::seats;
use crate::support::service::TestService;
use futures_util::StreamExt;
use futures_util::future::join_all;
use futures_util::stream::FuturesUnordered;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

pub const RUNS: usize = 30;

pub struct Ground {
    pub database: TestDatabase,
    pub scratch: ScratchDir,
}

impl Ground {
    pub fn new() -> Ground {
        Ground { database: TestDatabase::new(), scratch: ScratchDir::new() }
    }

    fn demo(&self) -> Setup {
        self.setup(true, String::new())
    }

    pub fn setup(&self, demo: bool, allow_hosts: String) -> Setup {
        let database = Some((self.database.url(), self.database.owner_url()));
        Setup { data_dir: self.scratch.path().to_owned(), demo, database, allow_hosts }
    }
}

/// Starts runs at once; the numbers of those that were acknowledged.
async fn start_renewals(staff: &Caller, count: usize) -> Vec<i64> {
    let starts = (0..count).map(|_| staff.start(7, json!({"license_id": 123})));
    join_all(starts).await
}

pub async fn wait_for_all(caller: &Caller, runs: &[i64], status: &str) -> Vec<Value> {
    join_all(runs.iter().map(|id| caller.wait_for_status(*id, status))).await
}

async fn approve_all(supervisor: &Caller, runs: &[i64]) {
    let approve = async |id: &i64| {
        let approval = supervisor.approval(*id).await;
        supervisor.decide(approval, "approve", "Checked.").await.expect(200);
    };
    join_all(runs.iter().map(approve)).await;
}

/// The `Idempotency-Key` of each of a run's steps; attempts of one step share it.
pub fn keys(entries: &[Value]) -> BTreeMap<String, String> {
    let mut keys = BTreeMap::new();
    for entry in entries.iter().filter(|entry| entry["type"] == "step.started") {
        let text = |value: &Value| value.as_str().expect("text").to_owned();
        let (step, key) = (text(&entry["step"]), text(&entry["detail"]["idempotency_key"]));
        let first = keys.entry(step).or_insert_with(|| key.clone());
        assert_eq!(*first, key, "another attempt, another key: {entry}");
    }
    keys
}

/// Nothing was published twice, and each of the runs published its licence. How many licences there are.
async fn check_published(auditor: &Caller, data_dir: &Path, runs: &[i64]) -> usize {
    let logs = join_all(runs.iter().map(|id| auditor.entries(*id))).await;
    let expected: BTreeSet<String> = logs.iter().map(|log| keys(log)["deploy"].clone()).collect();
    assert_eq!(expected.len(), runs.len(), "each run has a key of its own");
    let published = published(data_dir);
    let once: BTreeSet<String> = published.iter().map(|(key, _)| key.clone()).collect();
    assert_eq!(published.len(), once.len(), "something was published twice");
    assert!(once.is_superset(&expected), "an acknowledged run published nothing");
    published.len()
}

pub fn check_log(setup: &Setup) {
    let (passed, said) = setup.verify();
    assert!(passed, "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn runs_between_steps_survive_a_kill() {
    let (_seats, ground) = (seats(1).await, Ground::new());
    let server = TestProcess::start(&ground.demo());
    // Killed as soon as the last is acknowledged: some wait already, some are between two steps, some in one.
    let runs = start_renewals(&server.user("staff"), RUNS).await;
    let server = server.kill9_and_restart();
    let (staff, supervisor) = (server.user("staff"), server.user("supervisor"));
    wait_for_all(&staff, &runs, "waiting").await;
    approve_all(&supervisor, &runs).await;
    wait_for_all(&staff, &runs, "completed").await;
    let count = check_published(&server.user("auditor"), ground.scratch.path(), &runs).await;
    assert_eq!(count, RUNS);
    server.terminate();
    check_log(&ground.demo());
    println!("kill test, between steps: {RUNS} runs acknowledged, 1 kill, {count} published, 0 twice");
}

#[tokio::test(flavor = "multi_thread")]
async fn runs_that_wait_for_a_person_survive_a_kill() {
    let (_seats, ground) = (seats(1).await, Ground::new());
    let server = TestProcess::start(&ground.demo());
    let runs = start_renewals(&server.user("staff"), RUNS).await;
    let before = wait_for_all(&server.user("staff"), &runs, "waiting").await;
    let server = server.kill9_and_restart();
    let (staff, supervisor) = (server.user("staff"), server.user("supervisor"));
    let after = join_all(runs.iter().map(|id| staff.run(*id))).await;
    assert_eq!(before, after, "a kill does nothing to a run that waits");
    // The second kill is on the heels of the last approval: all were acknowledged, few are published yet.
    approve_all(&supervisor, &runs).await;
    let server = server.kill9_and_restart();
    wait_for_all(&server.user("staff"), &runs, "completed").await;
    let count = check_published(&server.user("auditor"), ground.scratch.path(), &runs).await;
    assert_eq!(count, RUNS);
    server.terminate();
    check_log(&ground.demo());
    println!("kill test, during a wait: {RUNS} runs acknowledged, 2 kills, {count} published, 0 twice");
}

#[tokio::test(flavor = "multi_thread")]
async fn steps_that_a_kill_cuts_off_are_tried_again_under_their_key() {
    let (_seats, ground, service) = (seats(1).await, Ground::new(), TestService::start());
    let setup = ground.setup(true, service.address().to_owned());
    let server = TestProcess::start(&setup);
    let protocol = protocol_with_call(&server.user("admin"), &service).await;
    let staff = server.user("staff");
    let runs = join_all((0..RUNS).map(|n| staff.start(protocol, json!({"n": n})))).await;
    service.called(RUNS).await;
    let server = server.kill9_and_restart();
    service.called(2 * RUNS).await;
    service.open();
    let ended = wait_for_all(&server.user("staff"), &runs, "completed").await;
    assert!(ended.iter().all(|run| run["payload"]["call"] == json!({"done": true})));

    let mut calls: BTreeMap<(String, String), usize> = BTreeMap::new();
    for heard in service.heard() {
        *calls.entry((heard.run, heard.key)).or_default() += 1;
    }
    assert_eq!(calls.len(), RUNS, "a run called under two keys");
    assert!(calls.values().all(|times| *times == 2), "{calls:?}");
    let auditor = server.user("auditor");
    let logs = join_all(runs.iter().map(|id| auditor.entries(*id))).await;
    for (run, log) in runs.iter().zip(&logs) {
        assert!(calls.contains_key(&(run.to_string(), keys(log)["call"].clone())));
        assert_eq!(log.iter().filter(|entry| entry["type"] == "step.rescued").count(), 1);
    }
    server.terminate();
    check_log(&setup);
    println!(
        "kill test, during a step: {RUNS} runs acknowledged, 1 kill, {} calls under {RUNS} keys",
        2 * RUNS
    );
}

/// A protocol of which one step calls the test's own service, between two that compute.
pub async fn protocol_with_call(admin: &Caller, service: &TestService) -> i64 {
    let config = json!({"method": "POST", "url": service.url()});
    admin.post("/acts/actions", json!({"name": "call", "kind": "http", "config": config})).await.expect(201);
    let definition = json!({"tasks": [
        {"id": "before", "type": "script", "uses": "compute"},
        {"id": "call", "type": "script"},
        {"id": "after", "type": "script", "uses": "compute"},
    ]});
    let created = admin.post("/acts/protocols", json!({"name": "Call", "definition": definition})).await;
    created.expect(201).json["id"].as_i64().expect("a number")
}

/// What the server acknowledged before it was killed.
#[derive(Default)]
struct Acknowledged {
    runs: Vec<i64>,
    approvals: Vec<i64>,
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_lost_or_done_twice_however_often_it_is_killed() {
    const KILLS: usize = 5;
    let (_seats, ground) = (seats(1).await, Ground::new());
    let mut server = TestProcess::start(&ground.demo());
    let mut done = Acknowledged::default();
    for round in 0..KILLS {
        // Every other round it gets as far as the first approval of the round before.
        if let (1, Some(first)) = (round % 2, done.runs.last()) {
            server.user("staff").wait_until(*first, |run| run["status"] != "running").await;
        }
        server = kill_while_busy(server, &mut done).await;
        for approval in &done.approvals {
            let path = format!("/acts/approvals/{approval}");
            let found = server.user("supervisor").get(&path).await.expect(200).json;
            assert_eq!(found["status"], "approved", "an acknowledged decision was lost");
        }
    }
    let (staff, supervisor) = (server.user("staff"), server.user("supervisor"));
    let resumed = finish_all(&staff, &supervisor, &done.runs).await;
    let count = check_published(&server.user("auditor"), ground.scratch.path(), &done.runs).await;
    server.terminate();
    check_log(&ground.demo());
    println!(
        "kill test, at any moment: {} runs and {} decisions acknowledged under {KILLS} kills, {count} published, \
         0 twice ({resumed} resumed by hand after three losses in a row)",
        done.runs.len(),
        done.approvals.len()
    );
}

/// Starts runs and approves what waits, all at once, and kills the server when half of it is acknowledged.
async fn kill_while_busy(server: TestProcess, done: &mut Acknowledged) -> TestProcess {
    let (staff, supervisor) = (server.user("staff"), server.user("supervisor"));
    let waiting = supervisor.get("/acts/approvals?status=pending").await.expect(200).json;
    let waiting =
        waiting["approvals"].as_array().expect("a list").iter().map(|it| it["id"].as_i64().unwrap());
    let decisions = waiting
        .map(|id| (format!("/acts/approvals/{id}/decision"), json!({"decision": "approve"}), Some(id)));
    let renewal = json!({"protocol_id": 7, "payload": {"license_id": 123}});
    let starts = (0..RUNS).map(|_| ("/acts/run".to_owned(), renewal.clone(), None));
    let ask = async |(path, body, approval): (String, Value, Option<i64>)| {
        let caller = if approval.is_some() { &supervisor } else { &staff };
        let request = caller.request(reqwest::Method::POST, &path).json(&body);
        let answer = request.send().await.ok()?;
        // Half an answer is none.
        let accepted = answer.status().is_success();
        let said = answer.json::<Value>().await.ok()?;
        assert!(accepted, "{said}");
        Some((said["run_id"].as_i64().expect("a number"), approval))
    };
    let mut asked: FuturesUnordered<_> = decisions.chain(starts).map(ask).collect();
    let half = asked.len() / 2;
    let mut answers = Vec::new();
    while answers.len() < half {
        answers.push(asked.next().await.expect("more are open"));
    }
    let server = server.kill9_and_restart();
    answers.extend(asked.collect::<Vec<_>>().await);
    for (run, approval) in answers.into_iter().flatten() {
        match approval {
            Some(approval) => done.approvals.push(approval),
            None => done.runs.push(run),
        }
    }
    server
}

/// Sees every run to its end; how many had to be resumed. (A step that was lost three times in a row pauses its run.)
async fn finish_all(staff: &Caller, supervisor: &Caller, runs: &[i64]) -> usize {
    let finish = async |id: &i64| {
        let mut resumed = 0;
        let needs_somebody =
            |run: &Value| ["waiting", "paused", "completed"].iter().any(|it| run["status"] == *it);
        loop {
            let run = staff.wait_until(*id, needs_somebody).await;
            match run["status"].as_str() {
                Some("waiting") => {
                    let approval = supervisor.approval(*id).await;
                    supervisor.decide(approval, "approve", "Checked.").await.expect(200);
                }
                Some("paused") => {
                    let body = json!({"reason": "The server is up again."});
                    supervisor.post(&format!("/acts/runs/{id}/resume"), body).await.expect(202);
                    resumed += 1;
                }
                _ => return resumed,
            }
        }
    };
    join_all(runs.iter().map(finish)).await.into_iter().sum()
}

#[tokio::test(flavor = "multi_thread")]
async fn sigterm_ends_it_in_order_and_leaves_no_postgres_behind() {
    let scratch = ScratchDir::new();
    let setup =
        Setup { data_dir: scratch.path().to_owned(), demo: true, database: None, allow_hosts: String::new() };
    let server = TestProcess::start(&setup);
    let runs = start_renewals(&server.user("staff"), 3).await;
    wait_for_all(&server.user("staff"), &runs, "waiting").await;
    let postgres = postmaster(scratch.path());
    // A stream that would go on for ever does not hold it back.
    let staff = server.user("staff");
    let path = format!("/acts/runs/{}/replay?follow=1", runs[0]);
    let mut tape = staff.request(reqwest::Method::GET, &path).send().await.expect("it answers");
    assert!(tape.chunk().await.expect("open").is_some());

    assert!(server.terminate().success());
    while tape.chunk().await.ok().flatten().is_some() {}
    assert!(!scratch.path().join("postgres/postmaster.pid").exists());
    wait_until_gone(postgres);

    // A kill -9 leaves the database running; the next start adopts it.
    let server = TestProcess::start(&setup);
    let again = postmaster(scratch.path());
    let server = server.kill9_and_restart();
    assert_eq!(postmaster(scratch.path()), again);
    let staff = server.user("staff");
    let after = join_all(runs.iter().map(|id| staff.run(*id))).await;
    assert!(after.iter().all(|run| run["status"] == "waiting"));
    assert!(server.terminate().success());
    assert!(!scratch.path().join("postgres/postmaster.pid").exists());
}

fn postmaster(data_dir: &Path) -> u32 {
    let file = std::fs::read_to_string(data_dir.join("postgres/postmaster.pid")).expect("a server runs");
    file.lines().next().expect("a line").trim().parse().expect("a number")
}
