//! Services that answer 202 and report later: before their answer, twice, for another step, too late.

use crate::support::client::{Answer, Caller};
use crate::support::process::published;
use crate::support::server::TestServer;
use crate::support::service::{Heard, TestService};
use serde_json::{Value, json};

/// A server with a service that its action `call` calls.
async fn start() -> (TestServer, TestService) {
    let service = TestService::start();
    let allowed = service.allowed();
    let server = TestServer::start_with(|config| config.allow_hosts = vec![allowed]).await;
    register(&server, &service).await;
    (server, service)
}

async fn register(server: &TestServer, service: &TestService) {
    let call = json!({"name": "call", "kind": "http", "config": {"method": "POST", "url": service.url()}});
    server.user("admin").post("/acts/actions", call).await.expect(201);
}

/// Starts a run of these tasks, and gives its number.
async fn start_run(server: &TestServer, tasks: Value) -> i64 {
    let protocol = server.user("admin").publish("Call", json!({"tasks": tasks})).await;
    server.user("staff").start(protocol, json!({"license_id": 123})).await
}

fn call() -> Value {
    json!([{"id": "call", "type": "script"}])
}

/// Reports to an address as it was sent, as a service does that knows nothing else.
async fn report(heard: &Heard, body: Value) -> Answer {
    let (base, path) = heard.callback.split_at(heard.callback.find("/acts/").expect("an address of ours"));
    Caller::new(base, None).post(path, body).await
}

fn done() -> Value {
    json!({"status": "done", "result": {"receipt": 9_007_199_254_740_993_i64}})
}

fn of_type<'a>(entries: &'a [Value], kind: &str) -> Vec<&'a Value> {
    entries.iter().filter(|entry| entry["type"] == kind).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn service_that_answers_202_ends_the_step_later_and_once() {
    let (server, service) = start().await;
    service.answer_with(&[202]);
    let id = start_run(&server, call()).await;
    let (staff, auditor) = (server.user("staff"), server.user("auditor"));
    let run = staff.wait_for_status(id, "waiting").await;
    assert_eq!(run["current_step"], "call");
    let heard = service.heard().remove(0);

    let taken = report(&heard, done()).await.expect(200);
    assert_eq!(taken.json, json!({"run_id": id, "step": "call", "run_status": "completed"}));
    let run = staff.run(id).await;
    assert_eq!(run["payload"]["call"], done()["result"]);
    let lines = auditor.replay(id).await;
    // Delivered twice, or with another end.
    for again in [done(), json!({"status": "failed", "error": "No."})] {
        let late = report(&heard, again).await;
        assert!(late.problem(409).contains("completed"), "{}", late.text);
    }
    assert_eq!(auditor.replay(id).await, lines);
    let token = heard.callback.split_once("token=").expect("a token").1;
    assert!(!lines.iter().any(|line| line.contains(token)), "the token is in the log");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn report_that_comes_before_the_202_ends_the_step() {
    let (server, service) = start().await;
    let tasks =
        json!([{"id": "call", "type": "script"}, {"id": "next", "type": "hitl", "approvers": "supervisor"}]);
    let id = start_run(&server, tasks).await;
    service.called(1).await;
    report(&service.heard()[0], done()).await.expect(200);
    let run = server.user("staff").wait_for_status(id, "waiting").await;
    assert_eq!(run["current_step"], "next");
    // The service's own answer comes to nobody.
    service.answer_with(&[202]);
    assert!(report(&service.heard()[0], done()).await.problem(409).contains("call"));
    let entries = server.user("auditor").entries(id).await;
    assert_eq!(of_type(&entries, "step.done").len(), 1);
    assert!(of_type(&entries, "step.accepted").is_empty());
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn reported_failure_fails_the_step_and_says_why() {
    let (server, service) = start().await;
    service.answer_with(&[202]);
    let id = start_run(&server, call()).await;
    server.user("staff").wait_for_status(id, "waiting").await;
    let body = json!({"status": "failed", "error": "The register is closed."});
    report(&service.heard()[0], body).await.expect(200);
    let run = server.user("staff").wait_for_status(id, "failed").await;
    assert!(run["reason"].as_str().expect("why").contains("The register is closed."), "{run:#}");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn reported_failure_that_may_be_retried_is_tried_again_under_the_same_address() {
    let (server, service) = start().await;
    service.answer_with(&[202, 202]);
    let retry = json!({"attempts": 2, "backoff_seconds": 0});
    let id = start_run(&server, json!([{"id": "call", "type": "script", "retry": retry}])).await;
    let staff = server.user("staff");
    staff.wait_for_status(id, "waiting").await;
    let first = service.heard().remove(0);
    let wrong = report(&first, json!({"status": "done", "retryable": true})).await;
    assert_eq!(wrong.errors()[0].0, "$.retryable");
    let busy = json!({"status": "failed", "error": "Busy.", "retryable": true});
    report(&first, busy.clone()).await.expect(200);
    service.called(2).await;
    let second = service.heard().remove(1);
    assert_eq!((&second.key, &second.callback), (&first.key, &first.callback));
    staff.wait_until(id, |run| run["status"] == "waiting" && run["steps"][0]["attempt"] == 2).await;
    report(&second, busy).await.expect(200);
    let run = staff.wait_for_status(id, "failed").await;
    assert!(run["reason"].as_str().expect("why").contains("Busy."), "{run:#}");
    let entries = server.user("auditor").entries(id).await;
    assert_eq!(of_type(&entries, "step.retrying").len(), 1);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn foreign_tokens_and_bad_reports_change_nothing() {
    let (server, service) = start().await;
    service.answer_with(&[202, 202]);
    let (id, other) = (start_run(&server, call()).await, start_run_again(&server).await);
    for run in [id, other] {
        server.user("staff").wait_for_status(run, "waiting").await;
    }
    let heard = service.heard();
    let of = |run: i64| heard.iter().find(|heard| heard.run == run.to_string()).expect("it was called");
    let (mine, others) = (of(id), of(other));
    let token = |heard: &Heard| heard.callback.split_once("token=").expect("a token").1.to_owned();
    let nobody = server.nobody();
    let lines = server.user("auditor").replay(id).await;
    for wrong in [token(others), "0".repeat(64), "zz".to_owned(), String::new()] {
        let path = format!("/acts/runs/{id}/steps/call/callback?token={wrong}");
        assert!(nobody.post(&path, done()).await.problem(403).contains("Act-Callback-Url"));
    }
    let elsewhere = format!("/acts/runs/{id}/steps/call%232/callback?token={}", token(mine));
    nobody.post(&elsewhere, done()).await.problem(403);
    nobody.post("/acts/runs/999999/steps/call/callback?token=00", done()).await.problem(404);
    nobody.post("/acts/runs/x/steps/call/callback?token=00", done()).await.problem(400);
    for (body, place) in [
        (json!({}), "$.status"),
        (json!({"status": "perhaps"}), "$.status"),
        (json!({"status": "done", "error": "No."}), "$.error"),
        (json!({"status": "failed", "result": 1}), "$.result"),
        (json!({"status": "done", "more": 1}), "$.more"),
    ] {
        assert_eq!(report(mine, body).await.errors()[0].0, place);
    }
    let path = format!("/acts/runs/{id}/steps/call/callback?token={}", token(mine));
    nobody.post_bytes(&path, "garbage").await.problem(400);
    nobody.post(&format!("{path}&more=1"), done()).await.problem(400);
    assert_eq!(server.user("auditor").replay(id).await, lines);

    report(mine, done()).await.expect(200);
    server.user("staff").wait_for_status(id, "completed").await;
    assert_eq!(server.user("staff").run(other).await["status"], "waiting");
    let refused = server.user("auditor").get("/acts/log.ndjson?q=callback.refused").await.expect(200).text;
    assert!(refused.contains("callback.refused") && !refused.contains(&token(mine)), "{refused}");
    server.stop().await;
}

/// Another run of the protocol that was made last.
async fn start_run_again(server: &TestServer) -> i64 {
    let listed = server.user("admin").get("/acts/protocols").await.expect(200).json;
    let ids = listed["protocols"].as_array().expect("a list").iter();
    let last = ids.filter_map(|row| row["id"].as_i64()).max().expect("protocols");
    server.user("staff").start(last, json!({"license_id": 124})).await
}

#[tokio::test(flavor = "multi_thread")]
async fn cancelled_run_takes_no_report() {
    let (server, service) = start().await;
    service.answer_with(&[202]);
    let id = start_run(&server, call()).await;
    let staff = server.user("staff");
    staff.wait_for_status(id, "waiting").await;
    staff.patch(&format!("/acts/runs/{id}/cancel"), json!({"reason": "Filed twice."})).await.expect(202);
    staff.wait_for_status(id, "cancelled").await;
    assert!(report(&service.heard()[0], done()).await.problem(409).contains("cancelled"));
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn steps_inside_a_group_have_addresses_too() {
    let (server, service) = start().await;
    service.answer_with(&[202, 202, 202]);
    let tasks = json!([{"id": "checks", "type": "parallel", "for_each": "[1, 2, 3]", "tasks": [
        {"id": "legal", "type": "script", "uses": "call"}
    ]}]);
    let id = start_run(&server, tasks).await;
    server.user("staff").wait_for_status(id, "waiting").await;
    let mut heard = service.heard();
    heard.sort_by(|a, b| a.step.cmp(&b.step));
    let steps: Vec<&str> = heard.iter().map(|heard| heard.step.as_str()).collect();
    assert_eq!(steps, ["checks[0]/legal", "checks[1]/legal", "checks[2]/legal"]);
    assert!(heard[0].callback.contains("/steps/checks%5B0%5D%2Flegal/callback?token="), "{heard:?}");
    report(&heard[0], done()).await.expect(200);
    // As a proxy may write it.
    let plain = heard[1].callback.replace("%2F", "/");
    report(&Heard { callback: plain, ..heard[1].clone() }, done()).await.expect(200);
    report(&heard[0], done()).await.problem(409);
    report(&heard[2], done()).await.expect(200);
    let run = server.user("staff").wait_for_status(id, "completed").await;
    assert_eq!(run["payload"]["checks"].as_array().expect("a list").len(), 3);
    server.stop().await;
}

/// The portal is behind a service that loses its answer, then answers 202 and reports twice.
#[tokio::test(flavor = "multi_thread")]
async fn licence_is_published_once_however_often_its_step_is_answered() {
    let data_dir = crate::support::postgres::ScratchDir::new();
    let port =
        std::net::TcpListener::bind("127.0.0.1:0").and_then(|free| free.local_addr()).expect("a port").port();
    std::fs::write(data_dir.path().join("demo-agency-port"), port.to_string()).expect("ours");
    let service = TestService::before(Some(format!("http://127.0.0.1:{port}/portal/licences")));
    let (allowed, place) = (service.allowed(), data_dir.path().to_owned());
    let server = TestServer::start_with(|config| {
        config.allow_hosts = vec![allowed];
        config.data_dir = place;
    })
    .await;
    let token = |user: &str| {
        server.bearer(&crate::support::server::token(
            data_dir.path(),
            user,
            crate::support::server::ALL_SCOPES,
        ))
    };
    let (admin, staff) = (token("admin"), token("staff"));
    let call = json!({"name": "call", "kind": "http", "config": {"method": "POST", "url": service.url()}});
    admin.post("/acts/actions", call).await.expect(201);
    let retry = json!({"attempts": 3, "backoff_seconds": 0});
    let tasks = json!([{"id": "deploy", "type": "script", "uses": "call", "retry": retry}]);
    let protocol = admin.publish("Deploy", json!({"tasks": tasks})).await;
    service.answer_with(&[503, 202]);
    let id = staff.start(protocol, json!({"license_id": 123})).await;
    staff.wait_until(id, |run| run["status"] == "waiting" && service.heard().len() == 2).await;
    let heard = service.heard();
    assert_eq!(heard[0].key, heard[1].key, "attempts of one step are one thing");
    assert_eq!(heard[0].callback, heard[1].callback);
    // The first attempt's address is as good.
    report(&heard[0], done()).await.expect(200);
    report(&heard[1], done()).await.problem(409);
    staff.wait_for_status(id, "completed").await;
    assert_eq!(published(data_dir.path()), [(heard[0].key.clone(), 123)]);
    let entries = token("auditor").entries(id).await;
    assert_eq!(of_type(&entries, "step.started").len(), 2);
    assert_eq!(of_type(&entries, "step.done").len(), 1);
    server.stop().await;
}
