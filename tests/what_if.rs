//! What another version of its protocol would have made of a run: asked over the API. Nothing is executed.

use crate::support::client::Caller;
use crate::support::server::TestServer;
use serde_json::{Value, json};

fn compute(id: &str) -> Value {
    json!({"id": id, "type": "script", "uses": "compute", "with": {"by": id}})
}

fn check(approvers: &str) -> Value {
    json!({"id": "check", "type": "hitl", "approvers": approvers})
}

async fn next_version(admin: &Caller, protocol: i64, tasks: Value) {
    let body = json!({"name": "What if", "definition": {"tasks": tasks}});
    admin.put(&format!("/acts/protocols/{protocol}"), body).await.expect(200);
}

fn kinds(answer: &Value) -> Vec<String> {
    let differences = answer["differences"].as_array().expect("a list");
    let line = |found: &Value| format!("{} {}", found["kind"].as_str().unwrap_or_default(), found["step"]);
    differences.iter().map(line).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_licence_run_told_to_another_version_differs_where_that_one_does() {
    let server = TestServer::start().await;
    let (staff, supervisor, admin) = (server.user("staff"), server.user("supervisor"), server.user("admin"));
    let run = staff.start(7, json!({"license_id": 123})).await;
    staff.wait_for_status(run, "waiting").await;
    let parked = staff.act(run, "what-if", json!({"version": 1})).await.expect(200).json;
    assert_eq!((&parked["same"], &parked["outcome"]["now"]), (&json!(true), &json!("waiting")), "{parked}");
    let approval = supervisor.approval(run).await;
    supervisor.decide(approval, "approve", "All in order.").await.expect(200);
    staff.wait_for_status(run, "completed").await;
    let before = server.user("auditor").replay(run).await;

    let own = staff.act(run, "what-if", json!({"version": 1})).await.expect(200).json;
    let expected = json!({
        "run_id": run, "version": 1, "same": true, "same_until": own["same_until"],
        "outcome": {"then": "completed", "now": "completed"}, "differences": [],
    });
    assert_eq!(own, expected);

    let shown = admin.get("/acts/protocols/7").await.expect(200).json;
    let mut definition = shown["definition"].clone();
    let tasks = definition["tasks"].as_array_mut().expect("tasks");
    let audit = json!({"id": "audit_sync", "type": "script", "uses": "deploy"});
    tasks.insert(tasks.len() - 1, audit);
    let draft = json!({"definition": definition});
    staff.act(run, "what-if", draft.clone()).await.problem(403);
    let told = admin.act(run, "what-if", draft).await.expect(200).json;
    assert_eq!(told["version"], Value::Null);
    assert_eq!(kinds(&told), ["only_now \"audit_sync\"", "not_recorded \"audit_sync\""]);
    assert_eq!((&told["same_until"], &told["outcome"]["now"]), (&json!("human_approval"), &Value::Null));
    assert!(
        told["differences"][1]["message"].as_str().expect("text").contains("does not say what `audit_sync`")
    );

    assert_eq!(server.user("auditor").replay(run).await, before, "asking adds nothing to the run's log");
    let log = server.user("auditor").get("/acts/log.ndjson?run_id=0&type=run.what_if").await.expect(200).text;
    let details: Vec<Value> = log
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).expect("JSON")["detail"].clone())
        .collect();
    assert_eq!(details.len(), 3, "{log}");
    assert_eq!((&details[2]["run_id"], &details[2]["version"]), (&json!(run), &Value::Null));
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_wrong_with_the_question_is_said_and_nobody_asks_about_the_runs_of_others() {
    let server = TestServer::start().await;
    let (staff, supervisor, admin) = (server.user("staff"), server.user("supervisor"), server.user("admin"));
    let first = json!({"tasks": [compute("a"), check("supervisor"), compute("b")]});
    let protocol = admin.publish("What if", first).await;
    let run = staff.start(protocol, json!({})).await;
    staff.wait_for_status(run, "waiting").await;
    let approval = supervisor.approval(run).await;
    supervisor.decide(approval, "approve", "Good.").await.expect(200);
    staff.wait_for_status(run, "completed").await;

    assert_eq!(staff.act(run, "what-if", json!({})).await.errors()[0].0, "$.version");
    let both = json!({"version": 1, "definition": {}});
    assert_eq!(admin.act(run, "what-if", both).await.errors()[0].0, "$.definition");
    let unknown = staff.act(run, "what-if", json!({"version": 9})).await;
    assert!(unknown.errors()[0].1.contains("its latest is 1"), "{}", unknown.text);
    let wrong =
        json!({"definition": {"tasks": [{"id": "a", "type": "wrong"}, {"id": "a b", "type": "hitl"}]}});
    let wrong = admin.act(run, "what-if", wrong).await;
    let paths: Vec<&str> = wrong.errors().iter().map(|error| error.0).collect();
    assert!(paths.iter().any(|path| path.starts_with("$.definition.tasks[0]")), "{paths:?}");
    assert!(paths.iter().any(|path| path.starts_with("$.definition.tasks[1]")), "{paths:?}");
    admin.act(8999, "what-if", json!({"version": 1})).await.problem(404);
    let others = admin.start(protocol, json!({})).await;
    staff.act(others, "what-if", json!({"version": 1})).await.problem(403);
    server.with_scopes("staff", "log:read").act(run, "what-if", json!({"version": 1})).await.problem(403);

    next_version(&admin, protocol, json!([compute("a"), check("admin"), compute("b")])).await;
    let told = staff.act(run, "what-if", json!({"version": 2})).await.expect(200).json;
    assert_eq!(kinds(&told), ["approvers \"check\"", "not_recorded \"check\""]);
    next_version(&admin, protocol, json!([compute("a"), compute("b")])).await;
    let told = staff.act(run, "what-if", json!({"version": 3})).await.expect(200).json;
    assert_eq!(
        (kinds(&told), &told["outcome"]["now"]),
        (vec!["only_then \"check\"".to_owned()], &json!("completed"))
    );
    server.stop().await;
}
