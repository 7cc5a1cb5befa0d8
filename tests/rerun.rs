//! Reruns: what was done is taken over, what was taken back is done again, and no licence is published twice.

use crate::support::client::Caller;
use crate::support::process::published;
use crate::support::server::TestServer;
use serde_json::{Value, json};

/// Gets the application, asks, and publishes: what is published does not depend on when it was approved.
fn renewal() -> Value {
    json!({"tasks": [
        {"id": "fetch_data", "type": "script", "with": {"license_id": "${payload.license_id}"}},
        {"id": "human_approval", "type": "hitl", "approvers": "supervisor"},
        {"id": "deploy", "type": "script", "with": {
            "license_id": "${payload.license_id}", "fetch_data": "${payload.fetch_data}",
            "human_approval": {"decision": "${payload.human_approval.decision}"},
        }},
    ]})
}

/// Runs again, and gives the new run's number.
async fn rerun(who: &Caller, run: i64, body: Value) -> i64 {
    let begun = who.act(run, "rerun", body).await.expect(202);
    let id = begun.json["run_id"].as_i64().expect("a number");
    assert_eq!(
        (begun.header("location"), &begun.json["status"]),
        (&*format!("/acts/runs/{id}"), &json!("queued"))
    );
    id
}

async fn approve(server: &TestServer, run: i64) -> Value {
    let (staff, supervisor) = (server.user("staff"), server.user("supervisor"));
    staff.wait_for_status(run, "waiting").await;
    let approval = supervisor.approval(run).await;
    supervisor.decide(approval, "approve", "Good.").await.expect(200);
    staff.wait_for_status(run, "completed").await
}

/// (step, type) of every entry that begins a step.
async fn begun(server: &TestServer, run: i64) -> Vec<(String, String)> {
    let entries = server.user("auditor").entries(run).await;
    let starts =
        entries.iter().filter(|entry| entry["type"] == "step.started" || entry["type"] == "step.carried");
    let text = |value: &Value| value.as_str().expect("text").to_owned();
    starts.map(|entry| (text(&entry["step"]), text(&entry["type"]))).collect()
}

fn pairs(steps: &[(&str, &str)]) -> Vec<(String, String)> {
    steps.iter().map(|(step, kind)| ((*step).to_owned(), (*kind).to_owned())).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn rerun_takes_over_what_was_done_and_publishes_nothing_twice() {
    let server = TestServer::start().await;
    let staff = server.user("staff");
    let protocol = server.user("admin").publish("Renewal", renewal()).await;
    let first = staff.start(protocol, json!({"license_id": 123})).await;
    let done = approve(&server, first).await;

    let why = json!({"reason": "The exporter asked for it."});
    server.user("auditor").act(first, "rerun", why.clone()).await.problem(403);
    assert_eq!(staff.act(first, "rerun", json!({"reason": ""})).await.errors()[0].0, "$.reason");
    let second = rerun(&staff, first, why.clone()).await;
    let open = staff.act(second, "rerun", why.clone()).await;
    assert!(open.problem(409).contains("is not over"), "{}", open.text);
    let open = staff.act(first, "rerun", why.clone()).await;
    assert!(open.problem(409).contains(&format!("Run {second} of the same lineage")), "{}", open.text);
    // The server forgets nothing of it.
    staff.wait_for_status(second, "waiting").await;
    let server = server.away_while(async {}).await;
    let run = approve(&server, second).await;

    assert_eq!(run["rerun_of"], first);
    assert_eq!(run["payload"]["deploy"], done["payload"]["deploy"]);
    let both = pairs(&[("fetch_data", "step.carried"), ("deploy", "step.carried")]);
    assert_eq!(begun(&server, second).await, both);
    assert_eq!(published(server.scratch.path()).len(), 1);
    // And of a rerun's rerun.
    let third = rerun(&staff, second, why).await;
    approve(&server, third).await;
    assert_eq!(begun(&server, third).await, both);
    assert_eq!(published(server.scratch.path()).len(), 1);
    let entries = server.user("auditor").entries(third).await;
    assert_eq!(entries[0]["detail"]["reason"], "The exporter asked for it.");
    assert_eq!(
        (&entries[0]["detail"]["rerun_of"], &entries[0]["detail"]["lineage"]),
        (&json!(second), &json!(first))
    );
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn demo_licence_is_published_once_however_often_it_is_run_again() {
    let server = TestServer::start().await;
    let staff = server.user("staff");
    let mut last = staff.start(7, json!({"license_id": 123})).await;
    approve(&server, last).await;
    for _ in 0..2 {
        last = rerun(&staff, last, json!({"reason": "Once more."})).await;
        approve(&server, last).await;
        let carried =
            ["fetch_data", "ai_analysis", "draft_letter", "deploy"].map(|step| (step, "step.carried"));
        assert_eq!(begun(&server, last).await, pairs(&carried));
    }
    assert_eq!(published(server.scratch.path()).len(), 1);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn edited_input_does_only_what_it_changes() {
    let server = TestServer::start().await;
    let staff = server.user("staff");
    let protocol = server.user("admin").publish("Renewal", renewal()).await;
    let first = staff.start(protocol, json!({"license_id": 123, "note": "a"})).await;
    approve(&server, first).await;
    let edited = json!({"reason": "x", "payload": {"license_id": 123, "note": "b"}});
    let second = rerun(&staff, first, edited).await;
    assert_eq!(approve(&server, second).await["payload"]["note"], "b");
    assert_eq!(
        begun(&server, second).await,
        pairs(&[("fetch_data", "step.carried"), ("deploy", "step.carried")])
    );
    let third = rerun(&staff, second, json!({"reason": "x", "payload": {"license_id": 124}})).await;
    approve(&server, third).await;
    assert_eq!(
        begun(&server, third).await,
        pairs(&[("fetch_data", "step.started"), ("deploy", "step.started")])
    );
    let licences: Vec<i64> =
        published(server.scratch.path()).into_iter().map(|(_, licence)| licence).collect();
    assert_eq!(licences, [123, 124]);
    let taken = staff.act(third, "rerun", json!({"reason": "x", "payload": {"deploy": 1}})).await;
    assert_eq!(taken.errors()[0].0, "$.payload.deploy");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_taken_back_is_done_again_under_a_new_key() {
    let server = TestServer::start().await;
    let (staff, admin) = (server.user("staff"), server.user("admin"));
    let deploy = json!({"license_id": "${payload.license_id}"});
    let tasks = json!({"tasks": [
        {"id": "deploy", "type": "script", "with": deploy, "undo": "compute"},
        {"id": "human_approval", "type": "hitl", "approvers": "supervisor"},
    ]});
    let protocol = admin.publish("Publish first", tasks).await;
    let first = staff.start(protocol, json!({"license_id": 123})).await;
    staff.wait_for_status(first, "waiting").await;
    staff.patch(&format!("/acts/runs/{first}/cancel"), json!({"reason": "Withdrawn."})).await.expect(202);
    let run = staff.wait_for_status(first, "cancelled").await;
    assert_eq!(run["steps"][0]["undone"], true, "{run:#}");

    let second = rerun(&staff, first, json!({"reason": "They came back."})).await;
    approve(&server, second).await;
    assert_eq!(begun(&server, second).await, pairs(&[("deploy", "step.started")]));
    let licences = published(server.scratch.path());
    assert_eq!(licences.len(), 2, "{licences:?}");
    assert_ne!(licences[0].0, licences[1].0, "a new key");
    // That one was not taken back.
    let third = rerun(&staff, second, json!({"reason": "Once more."})).await;
    approve(&server, third).await;
    assert_eq!(begun(&server, third).await, pairs(&[("deploy", "step.carried")]));
    assert_eq!(published(server.scratch.path()).len(), 2);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_reruns_at_once_one_begins() {
    let server = TestServer::start().await;
    let staff = server.user("staff");
    let protocol = server.user("admin").publish("Renewal", renewal()).await;
    let first = staff.start(protocol, json!({"license_id": 123})).await;
    approve(&server, first).await;
    let why = json!({"reason": "x"});
    let both = tokio::join!(staff.act(first, "rerun", why.clone()), staff.act(first, "rerun", why.clone()));
    let (begun, refused) = if both.0.status == 202 { both } else { (both.1, both.0) };
    let begun = begun.expect(202).json["run_id"].clone();
    assert!(refused.problem(409).contains(&format!("Run {begun} of the same lineage is not over")));
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn run_whose_salt_was_erased_is_not_run_again() {
    use diesel::connection::SimpleConnection;
    let server = TestServer::start().await;
    let staff = server.user("staff");
    let protocol = server.user("admin").publish("Renewal", renewal()).await;
    let first = staff.start(protocol, json!({"license_id": 123})).await;
    approve(&server, first).await;
    let server = server.away_while(async {}).await;
    server.database.connect().batch_execute("UPDATE runs SET salt = NULL").expect("erased");
    let refused = staff.act(first, "rerun", json!({"reason": "x"})).await;
    assert!(refused.problem(409).contains("erased"), "{}", refused.text);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn rerun_follows_the_latest_version() {
    let server = TestServer::start().await;
    let (staff, admin) = (server.user("staff"), server.user("admin"));
    let tasks =
        |n: i64| json!({"tasks": [{"id": "sum", "type": "script", "uses": "compute", "with": {"n": n}}]});
    let protocol = admin.publish("Sums", tasks(1)).await;
    let first = staff.start(protocol, json!({})).await;
    staff.wait_for_status(first, "completed").await;
    let body = json!({"name": "Sums", "definition": tasks(2)});
    admin.put(&format!("/acts/protocols/{protocol}"), body).await.expect(200);
    let second = rerun(&staff, first, json!({"reason": "The sum was wrong."})).await;
    let run = staff.wait_for_status(second, "completed").await;
    assert_eq!((&run["protocol_version"], &run["payload"]["sum"]["n"]), (&json!(2), &json!(2)));
    server.stop().await;
}
