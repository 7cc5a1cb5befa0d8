//! The database goes away, or refuses to write, and comes back: nothing that was begun stands still afterwards.

use crate::agency_log::{browser, cookie, sign_in};
use crate::support::client::GUARD;
use crate::support::server::{DEMO_PASSWORD, TestServer};
use crate::support::service::TestService;
use crate::waits::{number, until};
use diesel::connection::SimpleConnection;
use futures_util::future::join_all;
use serde_json::{Value, json};

const RUNS: usize = 10;

/// Runs that wait for the service's answer, and their protocol.
async fn runs_in_flight(server: &TestServer, service: &TestService, count: usize) -> (i64, Vec<i64>) {
    let (admin, staff) = (server.user("admin"), server.user("staff"));
    let call = json!({"name": "call", "kind": "http", "config": {"method": "POST", "url": service.url()}});
    admin.post("/acts/actions", call).await.expect(201);
    let definition = json!({"tasks": [{"id": "call", "type": "script"}]});
    let created = admin.post("/acts/protocols", json!({"name": "Call", "definition": definition})).await;
    let protocol = created.expect(201).json["id"].as_i64().expect("a number");
    let runs = join_all((0..count).map(|n| staff.start(protocol, json!({"n": n})))).await;
    service.called(count).await;
    (protocol, runs)
}

async fn check_completed(server: &TestServer, service: &TestService, runs: &[i64]) {
    let staff = server.user("staff");
    let ended = join_all(runs.iter().map(|id| staff.wait_for_status(*id, "completed"))).await;
    assert!(ended.iter().all(|run| run["payload"]["call"] == json!({"done": true})));
    assert_eq!(service.heard().len(), runs.len(), "each was asked for once");
}

#[tokio::test(flavor = "multi_thread")]
async fn results_that_arrive_while_the_database_is_away_are_kept() {
    let service = TestService::start();
    let allowed = service.allowed();
    let server = TestServer::start_with(|config| config.allow_hosts = vec![allowed]).await;
    let (protocol, runs) = runs_in_flight(&server, &service, RUNS).await;
    let session = cookie(&sign_in(&server, "staff", DEMO_PASSWORD).await);
    server.database.lock_everybody_out();
    service.open();
    let staff = server.user("staff");
    server.nobody().get("/readyz").await.problem(503);
    let page = browser().get(format!("{}/runs", server.base_url())).header("cookie", session).send().await;
    assert_eq!(page.expect("the server answers").status(), 503);
    staff.post("/acts/run", json!({"protocol_id": protocol})).await.problem(503);
    server.database.let_everybody_in();
    check_completed(&server, &service, &runs).await;
    assert_eq!(server.nobody().get("/readyz").await.status, 200);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_asked_just_when_the_database_went_away_is_told_so_before_it_comes_back() {
    let server = TestServer::start().await;
    let protocol =
        server.user("admin").publish("Wait", json!({"tasks": [{"id": "it", "type": "hitl"}]})).await;
    let (mut eyes, mut owner) = (server.database.connect_as_owner(), server.database.connect_as_owner());
    owner
        .batch_execute("SET ROLE hms_act_owner; BEGIN; LOCK TABLE activity_log IN ACCESS EXCLUSIVE MODE")
        .expect("ours");
    let staff = server.user("staff");
    let asked = tokio::spawn(async move { staff.post("/acts/run", json!({"protocol_id": protocol})).await });
    // Its transaction is under way when every connection breaks.
    let writes = "SELECT count(*) AS it FROM pg_locks
        WHERE relation = 'activity_log'::regclass AND mode = 'RowExclusiveLock' AND NOT granted";
    until(&mut eyes, writes, 1);
    server.database.lock_everybody_out();
    let answer = tokio::time::timeout(GUARD, asked).await.expect("while it is away");
    answer.expect("no panic").problem(503);
    server.database.let_everybody_in();
    let runs = format!("SELECT count(*) AS it FROM runs WHERE protocol_id = {protocol}");
    assert_eq!(number(&mut server.database.connect(), &runs), 0, "what was not acknowledged did not happen");
    let again = server.user("staff").start(protocol, json!({})).await;
    server.user("staff").wait_for_status(again, "waiting").await;
    assert_eq!(number(&mut server.database.connect(), &runs), 1);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn run_whose_result_cannot_be_written_does_not_stand_still_for_ever() {
    let service = TestService::start();
    let allowed = service.allowed();
    let server = TestServer::start_with(|config| config.allow_hosts = vec![allowed]).await;
    let (protocol, runs) = runs_in_flight(&server, &service, 1).await;
    // As when the disk is full: the database answers, and rolls back.
    let mut owner = server.database.connect_as_owner();
    owner
        .batch_execute("SET ROLE hms_act_owner; REVOKE INSERT ON activity_log FROM hms_act_app")
        .expect("ours");
    service.open();
    for _ in 0..20 {
        // Each goes through the committer, behind the result.
        server.user("staff").post("/acts/run", json!({"protocol_id": protocol})).await.problem(500);
    }
    owner.batch_execute("GRANT INSERT ON activity_log TO hms_act_app").expect("ours");
    // It failed if the right came back just between the result and the report that it could not be stored.
    let over = |run: &Value| run["status"] == "completed" || run["status"] == "failed";
    server.user("staff").wait_until(runs[0], over).await;
    assert_eq!(service.heard().len(), 1, "it was asked for once");
    let all = server.user("auditor").get("/acts/runs").await.expect(200).json;
    assert_eq!(all["runs"].as_array().expect("a list").len(), 1, "what was not acknowledged did not happen");
    server.stop().await;
}
