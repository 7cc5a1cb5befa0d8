//! Concurrency limits: who waits for a place, and who is refused.

use crate::kill::{Ground, check_log, wait_for_all};
use crate::support::client::Caller;
use crate::support::process::TestProcess;
use crate::support::server::{TestServer, seats};
use crate::waits::{number, publish};
use futures_util::future::join_all;
use reqwest::Method;
use serde_json::json;

/// A protocol that waits for a person, under a limit by the payload's `case`.
async fn limited(admin: &Caller, limit: u32, when_full: &str) -> i64 {
    let definition = json!({
        "concurrency": {"key": "${payload.case}", "limit": limit, "when_full": when_full},
        "tasks": [{"id": "check", "type": "hitl"}],
    });
    publish(admin, &format!("At most {limit}, {when_full}"), definition).await
}

async fn approve(supervisor: &Caller, run: i64) {
    let approval = supervisor.approval(run).await;
    supervisor.decide(approval, "approve", "Checked.").await.expect(200);
    supervisor.wait_for_status(run, "completed").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn runs_wait_for_a_place_in_the_order_of_their_numbers() {
    let server = TestServer::start().await;
    let protocol = limited(&server.user("admin"), 2, "wait").await;
    let (staff, supervisor) = (server.user("staff"), server.user("supervisor"));
    let mut runs = Vec::new();
    for _ in 0..5 {
        runs.push(staff.start(protocol, json!({"case": "a"})).await);
    }
    wait_for_all(&staff, &runs[..2], "waiting").await;
    // Another key is another limit.
    let other = staff.start(protocol, json!({"case": "b"})).await;
    staff.wait_for_status(other, "waiting").await;
    for next in 2..5 {
        for queued in &runs[next..] {
            assert_eq!(staff.run(*queued).await["status"], "queued");
        }
        approve(&supervisor, runs[next - 2]).await;
        staff.wait_for_status(runs[next], "waiting").await;
    }
    // Whoever leaves without having had a place takes none from the others.
    let (queued, last) = (
        staff.start(protocol, json!({"case": "a"})).await,
        staff.start(protocol, json!({"case": "a"})).await,
    );
    staff.patch(&format!("/acts/runs/{queued}/cancel"), json!({"reason": "Withdrawn."})).await.expect(202);
    staff.wait_for_status(queued, "cancelled").await;
    approve(&supervisor, runs[3]).await;
    staff.wait_for_status(last, "waiting").await;
    approve(&supervisor, runs[4]).await;
    approve(&supervisor, last).await;
    approve(&supervisor, other).await;
    assert_eq!(number(&mut server.database.connect(), "SELECT count(*) AS it FROM slots"), 0);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn start_beyond_the_limit_is_refused_where_nobody_may_wait() {
    let server = TestServer::start().await;
    let protocol = limited(&server.user("admin"), 1, "refuse").await;
    let (staff, supervisor) = (server.user("staff"), server.user("supervisor"));
    let first = staff.start(protocol, json!({"case": 7})).await;
    let body = json!({"protocol_id": protocol, "payload": {"case": 7}});
    let start = async || {
        let request = staff.request(Method::POST, "/acts/run").header("idempotency-key", "again");
        Caller::send(request.json(&body)).await
    };
    let refused = start().await;
    assert!(refused.problem(409).contains("at most 1"), "{}", refused.text);
    assert_eq!((&refused.json["key"], &refused.json["limit"]), (&json!("7"), &json!(1)));
    staff.wait_for_status(first, "waiting").await;
    approve(&supervisor, first).await;
    // The key was not used up.
    let second = start().await.expect(202).json["run_id"].as_i64().expect("a number");
    assert_eq!(start().await.expect(202).json["run_id"], second);
    staff.wait_for_status(second, "waiting").await;
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn of_many_starts_at_once_as_many_as_may_be_are_taken() {
    let server = TestServer::start().await;
    let protocol = limited(&server.user("admin"), 3, "refuse").await;
    let staff = server.user("staff");
    let body = json!({"protocol_id": protocol, "payload": {"case": "a"}});
    let answers = join_all((0..20).map(|_| staff.post("/acts/run", body.clone()))).await;
    let of = |status: u16| answers.iter().filter(move |answer| answer.status == status);
    assert_eq!((of(202).count(), of(409).count()), (3, 17));
    let runs: Vec<i64> = of(202).map(|answer| answer.json["run_id"].as_i64().expect("a number")).collect();
    wait_for_all(&staff, &runs, "waiting").await;
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn places_survive_a_kill() {
    const RUNS: usize = 20;
    let (_seats, ground) = (seats(1).await, Ground::new());
    let setup = ground.setup(true, String::new());
    let server = TestProcess::start(&setup);
    let definition = json!({
        "concurrency": {"key": "${payload.case}", "limit": 2},
        "tasks": [
            {"id": "breathe", "type": "wait", "minutes": 0.002},
            {"id": "add", "type": "script", "uses": "compute"},
        ],
    });
    let protocol = publish(&server.user("admin"), "Two at a time", definition).await;
    let staff = server.user("staff");
    let runs = join_all((0..RUNS).map(|_| staff.start(protocol, json!({"case": "a"})))).await;
    let server = server.kill9_and_restart();
    wait_for_all(&server.user("staff"), &runs, "completed").await;
    // At any moment two at most had been admitted and were not over.
    let most = "SELECT max(open)::bigint AS it FROM (
                    SELECT sum(CASE type WHEN 'run.admitted' THEN 1 ELSE -1 END) OVER (ORDER BY t, type) AS open
                    FROM activity_log WHERE type IN ('run.admitted', 'run.closed') AND run_id > 0) AS moments";
    let mut connection = ground.database.connect();
    assert!(number(&mut connection, most) <= 2);
    assert_eq!(number(&mut connection, "SELECT count(*) AS it FROM slots"), 0);
    server.terminate();
    check_log(&setup);
}

#[tokio::test(flavor = "multi_thread")]
async fn run_that_is_paused_while_it_waits_for_a_place_waits_on_when_it_goes_on() {
    let server = TestServer::start().await;
    let protocol = limited(&server.user("admin"), 1, "wait").await;
    let (staff, supervisor) = (server.user("staff"), server.user("supervisor"));
    let first = staff.start(protocol, json!({"case": "a"})).await;
    staff.wait_for_status(first, "waiting").await;
    let second = staff.start(protocol, json!({"case": "a"})).await;
    supervisor.act(second, "pause", json!({"reason": "Lunch."})).await.expect(202);
    let resumed = supervisor.act(second, "resume", json!({"reason": "Back."})).await.expect(202);
    assert_eq!(resumed.json["status"], "queued", "there is still no place");
    approve(&supervisor, first).await;
    staff.wait_for_status(second, "waiting").await;
    approve(&supervisor, second).await;
    server.stop().await;
}
