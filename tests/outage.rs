//! The database goes away, or refuses to write, and comes back: nothing that was begun stands still afterwards.

use crate::support::server::TestServer;
use crate::support::service::TestService;
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
    server.database.lock_everybody_out();
    service.open();
    let staff = server.user("staff");
    server.nobody().get("/readyz").await.problem(503);
    staff.post("/acts/run", json!({"protocol_id": protocol})).await.problem(503);
    server.database.let_everybody_in();
    check_completed(&server, &service, &runs).await;
    assert_eq!(server.nobody().get("/readyz").await.status, 200);
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
