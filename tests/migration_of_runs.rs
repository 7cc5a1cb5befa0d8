//! Moving a parked run to another version of its protocol.

use crate::support::client::Caller;
use crate::support::server::TestServer;
use serde_json::{Value, json};

fn compute(id: &str) -> Value {
    json!({"id": id, "type": "script", "uses": "compute", "with": {"by": id}})
}

fn check() -> Value {
    json!({"id": "check", "type": "hitl", "approvers": "supervisor"})
}

/// Publishes the next version, and gives its number.
async fn next_version(admin: &Caller, protocol: i64, tasks: &[Value]) -> i64 {
    let body = json!({"name": "Moving", "definition": {"tasks": tasks}});
    let saved = admin.put(&format!("/acts/protocols/{protocol}"), body).await.expect(200);
    saved.json["version"].as_i64().expect("a version")
}

/// A run of staff that waits at `check`, the second of three tasks.
async fn parked(server: &TestServer) -> (i64, i64) {
    let (staff, admin) = (server.user("staff"), server.user("admin"));
    let tasks = json!({"tasks": [compute("first"), check(), compute("last")]});
    let protocol = admin.publish("Moving", tasks).await;
    let run = staff.start(protocol, json!({"given": 1})).await;
    staff.wait_for_status(run, "waiting").await;
    (protocol, run)
}

#[tokio::test(flavor = "multi_thread")]
async fn parked_run_moves_after_a_preview_and_follows_the_new_version() {
    let server = TestServer::start().await;
    let (staff, supervisor, admin) = (server.user("staff"), server.user("supervisor"), server.user("admin"));
    let (protocol, run) = parked(&server).await;
    let version =
        next_version(&admin, protocol, &[compute("first"), check(), compute("audit"), compute("end")]).await;
    assert_eq!(version, 2);

    let preview = json!({"version": 2, "preview": true});
    supervisor.act(run, "migrate", preview.clone()).await.problem(403);
    let shown = admin.act(run, "migrate", preview).await.expect(200).json;
    let expected = json!({
        "run_id": run, "from_version": 1, "to_version": 2, "possible": true,
        "steps": [
            {"step": "first", "status": "done", "maps_to": "$.tasks[0]"},
            {"step": "check", "status": "waiting", "maps_to": "$.tasks[1]"},
        ],
        "problems": [], "adds": ["audit", "end"], "drops": ["last"],
    });
    assert_eq!(shown, expected);
    assert_eq!(admin.run(run).await["protocol_version"], 1, "a preview changes nothing");

    let blank = json!({"version": 2, "reason": " "});
    assert_eq!(admin.act(run, "migrate", blank).await.errors()[0].0, "$.reason");
    let unknown = admin.act(run, "migrate", json!({"version": 9, "reason": "x"})).await;
    assert!(unknown.errors()[0].1.contains("its latest is 2"), "{}", unknown.text);
    let why = "The audit is law now.";
    let moved = admin.act(run, "migrate", json!({"version": 2, "reason": why})).await.expect(202);
    assert_eq!(moved.json, json!({"run_id": run, "status": "waiting"}));
    let again = admin.act(run, "migrate", json!({"version": 2, "reason": why})).await;
    assert!(again.problem(409).contains("already"), "{}", again.text);

    // Also after the run is read from its log again.
    let server = server.away_while(async {}).await;
    let approval = supervisor.approval(run).await;
    supervisor.decide(approval, "approve", "Good.").await.expect(200);
    let done = staff.wait_for_status(run, "completed").await;
    assert_eq!(done["protocol_version"], 2);
    assert_eq!((&done["payload"]["audit"]["by"], &done["payload"]["last"]), (&json!("audit"), &Value::Null));
    let listed = admin.get(&format!("/acts/runs?protocol_id={protocol}")).await.expect(200).json;
    assert_eq!(listed["runs"][0]["protocol_version"], 2);
    let entries = server.user("auditor").entries(run).await;
    let entry = entries.iter().find(|entry| entry["type"] == "run.migrated").expect("it is in the log");
    assert_eq!((&entry["actor"], &entry["detail"]["reason"]), (&json!("admin"), &json!(why)));
    assert_eq!(entry["detail"]["to"]["version"], 2);
    let late = admin.act(run, "migrate", json!({"version": 1, "reason": why})).await;
    assert!(late.problem(409).contains("over"), "{}", late.text);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn move_is_refused_where_what_has_begun_has_no_counterpart() {
    let server = TestServer::start().await;
    let admin = server.user("admin");
    let (protocol, run) = parked(&server).await;
    let group = json!({"id": "group", "type": "parallel", "tasks": [compute("first"), compute("other")]});
    let given = compute("given");
    let cases: [(Vec<Value>, &str); 6] = [
        (vec![check(), compute("last")], "no task `first`"),
        (vec![compute("check"), compute("first")], "of the type `hitl`"),
        (vec![compute("first"), compute("new"), check()], "would never be done"),
        (vec![check(), compute("first")], "another order"),
        (vec![group, check()], "another group"),
        (vec![compute("first"), check(), given], "would replace `given`"),
    ];
    for (tasks, expected) in cases {
        let version = next_version(&admin, protocol, &tasks).await;
        let shown =
            admin.act(run, "migrate", json!({"version": version, "preview": true})).await.expect(200).json;
        assert_eq!(shown["possible"], false, "{expected}");
        let steps = shown["steps"].as_array().expect("steps").iter().map(|step| &step["problem"]);
        let problems: Vec<String> = steps
            .chain(shown["problems"].as_array().expect("problems"))
            .filter_map(|problem| problem.as_str().map(str::to_owned))
            .collect();
        assert!(problems.iter().any(|problem| problem.contains(expected)), "{expected}: {problems:?}");
        let refused = admin.act(run, "migrate", json!({"version": version, "reason": "x"})).await;
        assert!(refused.problem(409).contains(expected), "{}", refused.text);
    }
    assert_eq!(admin.run(run).await["protocol_version"], 1);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn group_that_has_begun_keeps_what_is_in_it() {
    let server = TestServer::start().await;
    let (staff, supervisor, admin) = (server.user("staff"), server.user("supervisor"), server.user("admin"));
    let group = |tasks: Value| json!({"id": "checks", "type": "parallel", "tasks": tasks});
    let both = json!([check(), compute("fees")]);
    let protocol = admin.publish("Moving", json!({"tasks": [group(both.clone()), compute("last")]})).await;
    let run = staff.start(protocol, json!({})).await;
    staff.wait_for_status(run, "waiting").await;
    for tasks in [
        json!([check(), [compute("fees"), compute("more")]]),
        json!([check(), compute("fees"), compute("more")]),
    ] {
        let version = next_version(&admin, protocol, &[group(tasks), compute("last")]).await;
        let refused = admin.act(run, "migrate", json!({"version": version, "reason": "x"})).await;
        assert!(refused.problem(409).contains("holds other tasks"), "{}", refused.text);
    }
    let version = next_version(&admin, protocol, &[group(both), compute("end")]).await;
    admin.act(run, "migrate", json!({"version": version, "reason": "x"})).await.expect(202);
    let approval = supervisor.approval(run).await;
    supervisor.decide(approval, "approve", "Good.").await.expect(200);
    assert_eq!(staff.wait_for_status(run, "completed").await["payload"]["end"]["by"], "end");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn approval_is_dropped_only_by_whoever_may_decide_it() {
    let server = TestServer::start().await;
    let (staff, supervisor, admin) = (server.user("staff"), server.user("supervisor"), server.user("admin"));
    let second = json!({"id": "second_check", "type": "hitl", "approvers": "supervisor"});
    let protocol = admin.publish("Moving", json!({"tasks": [compute("first"), check(), second]})).await;
    let (own, of_staff) = (admin.start(protocol, json!({})).await, staff.start(protocol, json!({})).await);
    for run in [own, of_staff] {
        admin.wait_for_status(run, "waiting").await;
    }
    next_version(&admin, protocol, &[compute("first"), check()]).await;
    let body = json!({"version": 2, "reason": "One check is enough."});
    assert!(admin.act(own, "migrate", body.clone()).await.problem(403).contains("somebody else"));
    admin.act(of_staff, "migrate", body).await.expect(202);
    let approval = supervisor.approval(of_staff).await;
    supervisor.decide(approval, "approve", "Good.").await.expect(200);
    staff.wait_for_status(of_staff, "completed").await;
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_moves_while_it_is_at_work() {
    use crate::support::service::TestService;
    let service = TestService::start();
    let server = TestServer::start_with(|config| config.allow_hosts.push(service.allowed())).await;
    let (staff, admin) = (server.user("staff"), server.user("admin"));
    let config = json!({"method": "POST", "url": service.url(), "timeout_seconds": 60});
    admin.post("/acts/actions", json!({"name": "slow", "kind": "http", "config": config})).await.expect(201);
    let slow = json!({"id": "slow", "type": "script"});
    let protocol = admin.publish("Moving", json!({"tasks": [slow, compute("last")]})).await;
    let run = staff.start(protocol, json!({})).await;
    service.called(1).await;
    next_version(&admin, protocol, &[slow, compute("end")]).await;
    let refused = admin.act(run, "migrate", json!({"version": 2, "reason": "x"})).await;
    assert!(refused.problem(409).contains("slow is being executed"), "{}", refused.text);
    service.open();
    staff.wait_for_status(run, "completed").await;
    server.stop().await;
}
