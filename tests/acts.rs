//! What people do to runs in flight: pause, resume, retry, skip, set a value. Who may, what is refused, what is written.

use crate::support::client::Caller;
use crate::support::server::TestServer;
use serde_json::{Value, json};

/// The one entry of a type in a run's log.
async fn entry(server: &TestServer, run: i64, type_name: &str) -> Value {
    let entries = server.user("auditor").entries(run).await;
    let mut found = entries.into_iter().filter(|entry| entry["type"] == type_name);
    let first = found.next().unwrap_or_else(|| panic!("no {type_name}"));
    assert!(found.next().is_none(), "{type_name} twice");
    first
}

/// A run of staff at its approval.
async fn waiting(server: &TestServer) -> i64 {
    let staff = server.user("staff");
    let id = staff.start(7, json!({"license_id": 123})).await;
    staff.wait_for_status(id, "waiting").await;
    id
}

/// Registers an action that calls a service of the demo agency at a path.
async fn action(server: &TestServer, name: &str, path: &str) -> Value {
    let admin = server.user("admin");
    let deploy = admin.get("/acts/actions/deploy").await.expect(200).json["config"].clone();
    let url = deploy["url"].as_str().expect("a url").replace("/portal/licences", path);
    let config = json!({"method": "GET", "url": url, "timeout_seconds": 20});
    let body = json!({"name": name, "kind": "http", "config": config});
    let made = admin.post("/acts/actions", body.clone()).await;
    if made.status == 409 {
        admin.put(&format!("/acts/actions/{name}"), body).await.expect(200);
    } else {
        made.expect(201);
    }
    config
}

#[tokio::test(flavor = "multi_thread")]
async fn paused_run_decides_nothing_until_it_is_resumed() {
    let server = TestServer::start().await;
    let (staff, supervisor) = (server.user("staff"), server.user("supervisor"));
    let id = waiting(&server).await;
    let approval = supervisor.approval(id).await;

    let why = json!({"reason": "The list is being corrected."});
    let refused = staff.act(id, "pause", why.clone()).await;
    assert_eq!(refused.problem(403), "This takes the role supervisor; yours is staff.");
    assert_eq!(refused.json["missing"], "supervisor");
    server.user("auditor").act(id, "pause", why.clone()).await.problem(403);
    server.with_scopes("supervisor", "runs:read").act(id, "pause", why.clone()).await.problem(403);
    assert_eq!(supervisor.act(id, "pause", json!({"reason": " "})).await.errors()[0].0, "$.reason");
    supervisor.act(id, "pause", json!({"reason": "x", "force": true})).await.problem(422);
    supervisor.act(9_999, "pause", why.clone()).await.problem(404);

    let paused = supervisor.act(id, "pause", why.clone()).await.expect(202);
    assert_eq!(paused.json, json!({"run_id": id, "status": "paused"}));
    assert!(supervisor.act(id, "pause", why).await.problem(409).contains("paused already"));
    let decided = supervisor.decide(approval, "approve", "Good.").await;
    assert!(decided.problem(409).contains("resumed first"));
    let written = entry(&server, id, "run.paused").await;
    assert_eq!(
        (&written["actor"], &written["detail"]["reason"]),
        (&json!("supervisor"), &json!("The list is being corrected."))
    );

    let resumed = supervisor.act(id, "resume", json!({"reason": "It is corrected."})).await.expect(202);
    assert_eq!(resumed.json["status"], "waiting");
    assert_eq!(entry(&server, id, "run.resumed").await["detail"]["reason"], "It is corrected.");
    let again = supervisor.act(id, "resume", json!({"reason": "Once more."})).await;
    assert!(again.problem(409).contains("not paused"));
    supervisor.decide(approval, "approve", "Good.").await.expect(200);
    staff.wait_for_status(id, "completed").await;
    supervisor.act(id, "pause", json!({"reason": "Too late."})).await.problem(409);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn step_that_paused_its_run_is_retried_or_skipped() {
    let server = TestServer::start().await;
    let (staff, supervisor, admin) = (server.user("staff"), server.user("supervisor"), server.user("admin"));
    action(&server, "look_up", "/no/such/place").await;
    let tasks = json!({"tasks": [
        {"id": "look_up", "type": "script", "on_failure": "pause"},
        {"id": "sum", "type": "script", "uses": "compute", "with": {"n": "${ 1 + 1 }"}},
    ]});
    let protocol = admin.publish("Pausing", tasks).await;
    let paused = async || {
        let id = staff.start(protocol, json!({})).await;
        let run = staff.wait_for_status(id, "paused").await;
        assert_eq!(run["current_step"], "look_up");
        id
    };
    let (retried, skipped) = (paused().await, paused().await);
    let body = json!({"step": "look_up", "reason": "The service is repaired."});
    staff.act(retried, "retry", body.clone()).await.problem(403);
    let resumed = supervisor.act(retried, "resume", json!({"reason": "On."})).await;
    assert!(resumed.problem(409).contains("retry it, or skip it"));
    let unknown = supervisor.act(retried, "retry", json!({"step": "nothing", "reason": "x"})).await;
    unknown.problem(404);
    assert_eq!(supervisor.act(retried, "retry", json!({"reason": "x"})).await.errors()[0].0, "$.step");

    action(&server, "look_up", "/portal/licences/count").await;
    supervisor.act(retried, "retry", body).await.expect(202);
    let run = staff.wait_for_status(retried, "completed").await;
    assert_eq!(run["payload"]["sum"]["n"], 2);
    let entries = server.user("auditor").entries(retried).await;
    let keys: Vec<&Value> = entries
        .iter()
        .filter(|entry| entry["type"] == "step.started" && entry["step"] == "look_up")
        .map(|entry| &entry["detail"]["idempotency_key"])
        .collect();
    assert!(keys.len() == 2 && keys[0] == keys[1], "one key for every attempt: {keys:?}");
    let written = entry(&server, retried, "step.retried").await;
    assert_eq!(
        (&written["actor"], &written["detail"]["reason"]),
        (&json!("supervisor"), &json!("The service is repaired."))
    );
    let late = supervisor.act(retried, "retry", json!({"step": "look_up", "reason": "x"})).await;
    assert!(late.problem(409).contains("completed"));

    let body = json!({"step": "look_up", "reason": "It was looked up by hand."});
    supervisor.act(skipped, "skip", json!({"step": "sum", "reason": "x"})).await.problem(409);
    supervisor.act(skipped, "skip", body).await.expect(202);
    let run = staff.wait_for_status(skipped, "completed").await;
    assert_eq!(run["steps"][0]["status"], "skipped");
    let written = entry(&server, skipped, "step.skipped").await;
    assert_eq!(
        (&written["actor"], &written["detail"]["reason"]),
        (&json!("supervisor"), &json!("It was looked up by hand."))
    );
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn approval_is_skipped_only_by_whoever_may_decide_it() {
    let server = TestServer::start().await;
    let (supervisor, admin) = (server.user("supervisor"), server.user("admin"));
    let id = supervisor.start(7, json!({"license_id": 123})).await;
    supervisor.wait_for_status(id, "waiting").await;
    let approval = supervisor.approval(id).await;
    let body = json!({"step": "human_approval", "reason": "It was approved on paper."});
    // Whoever started the run is barred, as from the decision itself.
    assert!(supervisor.act(id, "skip", body.clone()).await.problem(403).contains("somebody else"));
    admin.act(id, "skip", body).await.expect(202);
    let closed = admin.get(&format!("/acts/approvals/{approval}")).await.expect(200).json;
    assert_eq!((&closed["status"], &closed["decided_by"]), (&json!("closed"), &Value::Null));
    let written = entry(&server, id, "step.skipped").await;
    assert_eq!((&written["actor"], &written["detail"]["as_role"]), (&json!("admin"), &json!("supervisor")));
    admin.wait_for_status(id, "completed").await;
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn value_set_in_the_payload_voids_what_was_decided_on_the_old_one() {
    let server = TestServer::start().await;
    let (staff, supervisor, admin) = (server.user("staff"), server.user("supervisor"), server.user("admin"));
    let tasks = json!({"tasks": [
        {"id": "sum", "type": "script", "uses": "compute", "with": {"n": "${payload.case.amount}"}},
        {"id": "check", "type": "hitl", "approvers": "supervisor"},
        {"id": "pay", "type": "script", "uses": "compute", "with": {"n": "${payload.case.amount}"}},
    ]});
    let protocol = admin.publish("Payment", tasks).await;
    let id = staff.start(protocol, json!({"case": {"amount": 100, "name": "A"}})).await;
    staff.wait_for_status(id, "waiting").await;
    let first = supervisor.approval(id).await;

    let set = |path: &str, value: Value| json!({"path": path, "value": value, "reason": "A typing error."});
    staff.act(id, "values", set("case.amount", json!(120))).await.problem(403);
    for wrong in ["payload", "case..amount", "no.such.field", "case.name.letter"] {
        let refused = supervisor.act(id, "values", set(wrong, json!(1))).await;
        assert_eq!(refused.errors()[0].0, "$.path", "{wrong}");
    }
    let same = supervisor.act(id, "values", set("case.amount", json!(100))).await;
    assert!(same.problem(409).contains("already"));
    supervisor.act(id, "values", set("payload.case.amount", json!(120))).await.expect(202);

    let second = supervisor.approval(id).await;
    assert_ne!(first, second);
    let old = supervisor.get(&format!("/acts/approvals/{first}")).await.expect(200).json;
    assert_eq!(old["status"], "closed");
    let late = supervisor.decide(first, "approve", "Of the old one.").await;
    assert!(matches!(late.status, 404 | 409), "{}", late.text);
    // What a step saved may be corrected too, and by a pointer.
    admin.act(id, "values", set("/sum/n", json!(120))).await.expect(202);
    let third = supervisor.approval(id).await;
    supervisor.decide(third, "approve", "Of the new one.").await.expect(200);
    let run = staff.wait_for_status(id, "completed").await;
    assert_eq!((&run["payload"]["pay"]["n"], &run["payload"]["sum"]["n"]), (&json!(120), &json!(120)));
    let entries = server.user("auditor").entries(id).await;
    let written: Vec<&Value> = entries.iter().filter(|entry| entry["type"] == "run.value_set").collect();
    assert_eq!(written[0]["actor"], "supervisor");
    assert_eq!(
        (&written[0]["detail"]["path"], &written[0]["detail"]["reason"]),
        (&json!(["case", "amount"]), &json!("A typing error."))
    );
    server.stop().await;
}

/// Every act by every role, on a run that staff started and on one that somebody else did.
#[tokio::test(flavor = "multi_thread")]
async fn acts_are_allowed_by_role() {
    let server = TestServer::start().await;
    let (staff, admin) = (server.user("staff"), server.user("admin"));
    let own = waiting(&server).await;
    let other = admin.start(7, json!({"license_id": 123})).await;
    admin.wait_for_status(other, "waiting").await;
    let bodies = [
        ("pause", json!({"reason": "x"})),
        ("retry", json!({"step": "deploy", "reason": "x"})),
        ("skip", json!({"step": "deploy", "reason": "x"})),
        ("values", json!({"path": "x", "value": 1, "reason": "x"})),
        ("migrate", json!({"version": 1, "preview": true})),
        ("resume", json!({"reason": "x"})),
        ("rerun", json!({"reason": "x"})),
    ];
    let allowed = async |who: &Caller, run: i64| {
        let mut allowed = Vec::new();
        for (act, body) in &bodies {
            let answer = who.act(run, act, body.clone()).await;
            if answer.status != 403 {
                allowed.push(*act);
            }
        }
        allowed
    };
    // Refused for other reasons: the run is not paused, and not over.
    assert_eq!(allowed(&staff, own).await, ["resume", "rerun"]);
    assert_eq!(allowed(&staff, other).await, Vec::<&str>::new());
    assert_eq!(allowed(&server.user("auditor"), own).await, Vec::<&str>::new());
    let supervisor = ["pause", "retry", "skip", "values", "resume", "rerun"];
    assert_eq!(allowed(&server.user("supervisor"), other).await, supervisor);
    assert_eq!(allowed(&admin, own).await, bodies.each_ref().map(|(act, _)| *act));
    for (act, body) in &bodies {
        server.nobody().act(own, act, body.clone()).await.problem(401);
    }
    server.stop().await;
}
