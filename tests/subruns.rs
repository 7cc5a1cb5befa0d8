//! Runs that are started by a step of another run.

use crate::kill::{Ground, check_log, wait_for_all};
use crate::support::client::Caller;
use crate::support::process::TestProcess;
use crate::support::server::{TestServer, seats};
use crate::waits::{number, publish, until};
use futures_util::future::join_all;
use serde_json::{Value, json};

/// A protocol whose step `check` runs another one with the number `n`.
async fn parent_of(admin: &Caller, child: &str, definition: Value) -> i64 {
    publish(admin, child, definition).await;
    let parent = json!({"tasks": [
        {"id": "check", "type": "protocol", "uses": child, "with": {"n": "${payload.n}"}},
        {"id": "after", "type": "script", "uses": "compute", "with": {"sum": "${payload.check.add}"}},
    ]});
    publish(admin, &format!("Parent of {child}"), parent).await
}

fn computes() -> Value {
    json!({"tasks": [{"id": "add", "type": "script", "uses": "compute", "with": "${payload.n + 1}"}]})
}

fn asks() -> Value {
    json!({"tasks": [{"id": "add", "type": "hitl", "title": "Check it"}]})
}

/// The run that a step started.
async fn child_of(server: &TestServer, parent: i64) -> i64 {
    let entries = server.user("auditor").entries(parent).await;
    let started = entries.iter().find(|entry| entry["type"] == "subrun.started").expect("it asked for one");
    started["detail"]["run"].as_i64().expect("a number")
}

/// The parent once its child is in this state.
async fn with_child(server: &TestServer, protocol: i64, status: &str) -> (i64, i64) {
    let (staff, supervisor) = (server.user("staff"), server.user("supervisor"));
    let parent = staff.start(protocol, json!({"n": 1})).await;
    let child = child_of(server, parent).await;
    until(
        &mut server.database.connect(),
        &format!("SELECT count(*) AS it FROM runs WHERE run_id = {child}"),
        1,
    );
    supervisor.wait_for_status(child, status).await;
    (parent, child)
}

fn unsettled(server: &TestServer) {
    until(&mut server.database.connect(), "SELECT count(*) AS it FROM subruns", 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn result_of_a_sub_run_is_the_result_of_its_step() {
    let server = TestServer::start().await;
    let protocol = parent_of(&server.user("admin"), "Sums", computes()).await;
    let staff = server.user("staff");
    let parent = staff.start(protocol, json!({"n": 4})).await;
    let ended = staff.wait_for_status(parent, "completed").await;
    assert_eq!(ended["payload"]["check"], json!({"n": 4, "add": 5}));
    assert_eq!(ended["payload"]["after"], json!({"sum": 5}));
    let child = child_of(&server, parent).await;
    // It bears the name of whoever started the parent, so that four eyes hold.
    let run = staff.run(child).await;
    assert_eq!((&run["started_by"], &run["status"]), (&json!("staff"), &json!("completed")));
    let entries = server.user("auditor").entries(child).await;
    let place = json!({"run": parent, "step": "check", "depth": 1});
    assert_eq!(entries[0]["detail"]["parent"], place, "{}", entries[0]);
    let listed = format!("SELECT parent_run_id AS it FROM runs WHERE run_id = {child}");
    assert_eq!(number(&mut server.database.connect(), &listed), parent);
    unsettled(&server);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn cancel_flows_down() {
    let server = TestServer::start().await;
    let protocol = parent_of(&server.user("admin"), "Asks", asks()).await;
    let (parent, child) = with_child(&server, protocol, "waiting").await;
    let supervisor = server.user("supervisor");
    let path = format!("/acts/runs/{parent}/cancel");
    supervisor.patch(&path, json!({"reason": "Withdrawn."})).await.expect(202);
    supervisor.wait_for_status(parent, "cancelled").await;
    let ended = supervisor.run(child).await;
    assert_eq!(ended["status"], "cancelled", "no run is over before the one that it started");
    let reason = format!("Run {parent}, whose step check started it, no longer needs it.");
    assert_eq!(ended["reason"], json!(reason), "{ended}");
    unsettled(&server);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn failure_flows_up() {
    let server = TestServer::start().await;
    let protocol = parent_of(&server.user("admin"), "Asks", asks()).await;
    let supervisor = server.user("supervisor");
    // Rejected by a person.
    let (parent, child) = with_child(&server, protocol, "waiting").await;
    let approval = supervisor.approval(child).await;
    supervisor.decide(approval, "reject", "Not in order.").await.expect(200);
    let ended = supervisor.wait_for_status(parent, "failed").await;
    let reason = ended["reason"].as_str().expect("a sentence");
    assert!(reason.contains(&format!("run {child}")) && reason.contains("rejected"), "{reason}");
    // Cancelled on its own.
    let (parent, child) = with_child(&server, protocol, "waiting").await;
    let path = format!("/acts/runs/{child}/cancel");
    supervisor.patch(&path, json!({"reason": "A mistake."})).await.expect(202);
    let ended = supervisor.wait_for_status(parent, "failed").await;
    assert!(ended["reason"].as_str().is_some_and(|reason| reason.contains("cancelled")), "{ended}");
    unsettled(&server);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn step_whose_time_is_over_stops_its_sub_run() {
    let server = TestServer::start().await;
    let admin = server.user("admin");
    publish(&admin, "Asks", asks()).await;
    let definition = json!({"tasks": [{
        "id": "check", "type": "protocol", "uses": "Asks", "max_minutes": 0.02, "on_timeout": "fail",
    }]});
    let protocol = publish(&admin, "In time", definition).await;
    let staff = server.user("staff");
    let parent = staff.start(protocol, json!({"n": 1})).await;
    staff.wait_for_status(parent, "failed").await;
    let child = child_of(&server, parent).await;
    unsettled(&server);
    staff.wait_for_status(child, "cancelled").await;
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn input_that_does_not_fit_fails_the_step_and_says_where() {
    let server = TestServer::start().await;
    let mut definition = computes();
    definition["input"] =
        json!({"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"]});
    let protocol = parent_of(&server.user("admin"), "Sums", definition).await;
    let staff = server.user("staff");
    let parent = staff.start(protocol, json!({"n": "four"})).await;
    let ended = staff.wait_for_status(parent, "failed").await;
    let reason = ended["reason"].as_str().expect("a sentence");
    assert!(reason.contains("could not begin") && reason.contains("$.payload.n"), "{reason}");
    unsettled(&server);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn sub_runs_survive_kills_and_each_begins_once() {
    const RUNS: usize = 20;
    let (_seats, ground) = (seats(1).await, Ground::new());
    let setup = ground.setup(true, String::new());
    let server = TestProcess::start(&setup);
    let protocol = parent_of(&server.user("admin"), "Asks", asks()).await;
    let staff = server.user("staff");
    // On the heels of the last start: some children are there, some are not.
    let parents = join_all((0..RUNS).map(|n| staff.start(protocol, json!({"n": n})))).await;
    let server = server.kill9_and_restart();
    let mut connection = ground.database.connect();
    let count = "SELECT count(*) AS it FROM runs WHERE parent_run_id IS NOT NULL AND status = 'waiting'";
    until(&mut connection, count, RUNS as i64);
    let supervisor = server.user("supervisor");
    let children = "SELECT count(DISTINCT parent_run_id) AS it FROM runs WHERE parent_run_id IS NOT NULL";
    assert_eq!(number(&mut connection, children), RUNS as i64);
    let waiting = supervisor.get("/acts/approvals?status=pending&limit=200").await.expect(200).json;
    for approval in waiting["approvals"].as_array().expect("a list") {
        supervisor
            .decide(approval["id"].as_i64().expect("a number"), "approve", "Checked.")
            .await
            .expect(200);
    }
    // Decided; whether the parents heard of it is up to the next start.
    let server = server.kill9_and_restart();
    wait_for_all(&server.user("staff"), &parents, "completed").await;
    assert_eq!(number(&mut connection, "SELECT count(*) AS it FROM runs"), 2 * RUNS as i64);
    server.terminate();
    check_log(&setup);
    println!("kill test, sub-runs: {RUNS} runs acknowledged, 2 kills, {RUNS} sub-runs, 0 twice");
}

#[tokio::test(flavor = "multi_thread")]
async fn starts_at_once_get_their_numbers_however_many_sub_runs_they_begin() {
    const RUNS: usize = 20;
    let server = TestServer::start().await;
    let (admin, staff) = (server.user("admin"), server.user("staff"));
    publish(&admin, "Adds", computes()).await;
    let branch =
        |id: &str| json!({"id": id, "type": "protocol", "uses": "Adds", "with": {"n": "${payload.n}"}});
    let branches: Vec<Value> = ["a", "b", "c", "d"].map(branch).to_vec();
    let several = json!({"tasks": [{"id": "all", "type": "parallel", "tasks": branches}]});
    let protocol = publish(&admin, "Adds four times", several).await;
    // `start` panics at anything but 202.
    let parents = join_all((0..RUNS).map(|n| staff.start(protocol, json!({"n": n})))).await;
    wait_for_all(&staff, &parents, "completed").await;
    let mut connection = server.database.connect();
    assert_eq!(number(&mut connection, "SELECT count(*) AS it FROM runs"), 5 * RUNS as i64);
    unsettled(&server);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn step_that_is_done_again_takes_over_what_its_sub_run_did() {
    let server = TestServer::start().await;
    let (admin, supervisor) = (server.user("admin"), server.user("supervisor"));
    let child = json!({"tasks": [
        {"id": "publish", "type": "script", "uses": "compute", "with": {"n": "${payload.n}"}},
        {"id": "sign", "type": "hitl"}]});
    publish(&admin, "Publishes", child).await;
    let parent =
        json!({"tasks": [{"id": "sub", "type": "protocol", "uses": "Publishes", "on_failure": "pause"}]});
    let protocol = publish(&admin, "Parent that pauses", parent).await;
    let parent = server.user("staff").start(protocol, json!({"n": 1})).await;
    let first = child_of(&server, parent).await;
    let mut connection = server.database.connect();
    until(&mut connection, &format!("SELECT count(*) AS it FROM approvals WHERE run_id = {first}"), 1);
    let waiting = supervisor.get("/acts/approvals?status=pending").await.expect(200).json;
    let approval = waiting["approvals"][0]["id"].as_i64().expect("a number");
    supervisor.decide(approval, "reject", "Not yet.").await.expect(200);
    supervisor.wait_for_status(parent, "paused").await;
    supervisor.act(parent, "retry", json!({"step": "sub", "reason": "Now."})).await.expect(202);
    let children =
        format!("SELECT count(*) AS it FROM approvals WHERE status = 'pending' AND run_id > {first}");
    until(&mut connection, &children, 1);
    let second = number(
        &mut connection,
        &format!("SELECT max(run_id) AS it FROM runs WHERE parent_run_id = {parent}"),
    );
    assert_ne!(first, second);
    let entries = server.user("auditor").entries(second).await;
    let published: Vec<&str> = entries
        .iter()
        .filter(|entry| entry["step"] == "publish")
        .map(|entry| entry["type"].as_str().expect("a type"))
        .collect();
    assert_eq!(published, ["step.carried"], "it is not done twice");
    server.stop().await;
}
