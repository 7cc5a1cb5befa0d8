//! Runs that are started by the clock.

use crate::kill::{Ground, check_log};
use crate::support::client::Caller;
use crate::support::process::TestProcess;
use crate::support::server::{TestServer, seats};
use crate::waits::{number, publish, until};
use serde_json::{Value, json};

const EVERY_SECOND: &str = "* * * * * *";

fn scheduled(schedule: Value, tasks: Value) -> Value {
    json!({"schedule": schedule, "tasks": tasks})
}

fn computes() -> Value {
    json!([{"id": "add", "type": "script", "uses": "compute"}])
}

fn asks() -> Value {
    json!([{"id": "check", "type": "hitl", "four_eyes": false}])
}

/// How many runs of a protocol there are.
fn runs(protocol: i64) -> String {
    format!("SELECT count(*) AS it FROM runs WHERE protocol_id = {protocol}")
}

/// 1 once there are so many.
fn at_least(count: i64, protocol: i64) -> String {
    format!("SELECT (count(*) >= {count})::int::bigint AS it FROM runs WHERE protocol_id = {protocol}")
}

fn told(type_name: &str) -> String {
    format!(
        "SELECT (count(*) > 0)::int::bigint AS it FROM activity_log WHERE run_id = 0 AND type = '{type_name}'"
    )
}

async fn schedules(caller: &Caller) -> Vec<Value> {
    let found = caller.get("/acts/schedules").await.expect(200).json;
    found["schedules"].as_array().expect("a list").clone()
}

#[tokio::test(flavor = "multi_thread")]
async fn runs_are_started_by_the_clock_and_listed() {
    let server = TestServer::start().await;
    let admin = server.user("admin");
    let schedule = json!({"cron": EVERY_SECOND, "payload": {"n": 1}});
    let protocol = publish(&admin, "Tick", scheduled(schedule, computes())).await;
    let listed = schedules(&admin).await;
    assert_eq!((&listed[0]["protocol_id"], &listed[0]["name"]), (&json!(protocol), &json!("Tick")));
    assert_eq!((&listed[0]["cron"], &listed[0]["time_zone"]), (&json!(EVERY_SECOND), &json!("UTC")));
    assert!(listed[0]["next_at"].is_string(), "{listed:?}");
    let mut connection = server.database.connect();
    until(&mut connection, &at_least(3, protocol), 1);
    let listed = schedules(&admin).await;
    let last = listed[0]["last_run_id"].as_i64().expect("a number");
    let run = admin.wait_for_status(last, "completed").await;
    assert_eq!((&run["started_by"], &run["payload"]["n"]), (&json!("HMS-ACT"), &json!(1)));
    // The next version has none.
    let path = format!("/acts/protocols/{protocol}");
    admin.put(&path, json!({"definition": {"tasks": computes()}})).await.expect(200);
    assert_eq!(schedules(&admin).await, Vec::<Value>::new());
    server.user("auditor").get("/acts/schedules").await.expect(200);
    server.nobody().get("/acts/schedules").await.problem(401);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn no_time_is_started_twice_across_a_kill() {
    let (_seats, ground) = (seats(1).await, Ground::new());
    let setup = ground.setup(true, String::new());
    let mut server = TestProcess::start(&setup);
    let schedule = json!({"cron": EVERY_SECOND, "missed": "run_once"});
    let protocol = publish(&server.user("admin"), "Tick", scheduled(schedule, computes())).await;
    let mut connection = ground.database.connect();
    for round in 1..=3 {
        until(&mut connection, &at_least(2 * round, protocol), 1);
        server = server.kill9_and_restart();
    }
    assert!(server.terminate().success());
    let count = number(&mut connection, &runs(protocol));
    let keys = "SELECT count(DISTINCT key) AS it FROM start_keys k JOIN runs USING (run_id)
                WHERE k.actor = 'HMS-ACT' AND k.key LIKE 'schedule %'";
    assert_eq!(number(&mut connection, keys), count);
    check_log(&setup);
    println!("kill test, schedules: {count} runs under 3 kills, each of a time of its own");
}

#[tokio::test(flavor = "multi_thread")]
async fn time_passes_over_a_run_that_is_not_over() {
    let server = TestServer::start().await;
    let schedule = json!({"cron": EVERY_SECOND, "overlap": "skip"});
    let protocol = publish(&server.user("admin"), "Skips", scheduled(schedule, asks())).await;
    let mut connection = server.database.connect();
    until(&mut connection, &told("schedule.skipped"), 1);
    assert_eq!(number(&mut connection, &runs(protocol)), 1);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn time_waits_for_a_run_that_is_not_over() {
    let server = TestServer::start().await;
    let schedule = json!({"cron": EVERY_SECOND, "overlap": "wait"});
    let protocol = publish(&server.user("admin"), "Waits", scheduled(schedule, asks())).await;
    let mut connection = server.database.connect();
    until(&mut connection, "SELECT count(*) AS it FROM schedules WHERE waiting", 1);
    let supervisor = server.user("supervisor");
    let first = number(
        &mut connection,
        &format!("SELECT max(run_id) AS it FROM runs WHERE protocol_id = {protocol}"),
    );
    supervisor.wait_for_status(first, "waiting").await;
    let approval = supervisor.approval(first).await;
    supervisor.decide(approval, "approve", "Checked.").await.expect(200);
    until(&mut connection, &runs(protocol), 2);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn start_that_is_refused_is_told() {
    let server = TestServer::start().await;
    let mut definition = scheduled(json!({"cron": EVERY_SECOND, "payload": {"case": "a"}}), asks());
    definition["concurrency"] = json!({"key": "${payload.case}", "limit": 1, "when_full": "refuse"});
    let protocol = publish(&server.user("admin"), "One", definition).await;
    let mut connection = server.database.connect();
    until(&mut connection, &told("schedule.refused"), 1);
    assert_eq!(number(&mut connection, &runs(protocol)), 1);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn times_that_were_missed_are_told_and_not_made_up_for() {
    let server = TestServer::start().await;
    let schedule = json!({"cron": "0 7 * * *", "time_zone": "Europe/Berlin"});
    let protocol = publish(&server.user("admin"), "Daily", scheduled(schedule, computes())).await;
    let mut connection = server.database.connect();
    // As after a week without power.
    let away = "UPDATE schedules SET next_at = next_at - interval '8 days' WHERE cron IS NOT NULL";
    diesel::RunQueryDsl::execute(diesel::sql_query(away), &mut connection).expect("moved");
    until(&mut connection, &told("schedule.missed"), 1);
    assert_eq!(number(&mut connection, &runs(protocol)), 0);
    let listed = schedules(&server.user("admin")).await;
    assert_eq!(listed[0]["last_at"], Value::Null, "{listed:?}");
    server.stop().await;
}
