//! Workers: who claims, says that they are alive, completes and fails; and those that lie, fall silent or come late.

use crate::support::client::{Answer, Caller, GUARD};
use crate::support::server::TestServer;
use diesel::connection::SimpleConnection;
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::process::{Child, Command, Stdio};

/// A server with an action `fees` that workers do, and a protocol that is nothing but it.
struct Ground {
    server: TestServer,
    protocol: i64,
    staff: Caller,
}

impl Ground {
    async fn new() -> Ground {
        Ground::with(json!({"id": "fees", "type": "script"})).await
    }

    async fn with(task: Value) -> Ground {
        let server = TestServer::start().await;
        let admin = server.user("admin");
        admin.post("/acts/actions", json!({"name": "fees", "kind": "worker"})).await.expect(201);
        let protocol = admin.publish("Fees", json!({"tasks": [task]})).await;
        let staff = server.user("staff");
        Ground { server, protocol, staff }
    }

    async fn start(&self) -> i64 {
        self.staff.start(self.protocol, json!({"license_id": 123})).await
    }

    /// Claims one piece of work, which there is or soon will be.
    async fn claim(&self) -> Work {
        let mut claimed = claim(&self.staff, json!({"wait_seconds": 60})).await;
        assert_eq!(claimed.len(), 1);
        Work(claimed.remove(0))
    }

    async fn send(&self, work: &Work, verb: &str, mut body: Value) -> Answer {
        body["lease_token"] = work.0["lease_token"].clone();
        self.staff.post(&format!("/acts/work/{}/{verb}", work.0["id"]), body).await
    }

    /// As if every worker had been silent for the length of its lease.
    fn let_leases_run_out(&self) {
        let silent = "UPDATE work SET lease_until = clock_timestamp() WHERE lease_until IS NOT NULL";
        self.server.database.connect().batch_execute(silent).expect("ours");
    }

    async fn entries(&self, id: i64, kind: &str) -> Vec<Value> {
        let all = self.server.user("auditor").entries(id).await;
        all.into_iter().filter(|entry| entry["type"] == kind).collect()
    }
}

/// As it was claimed.
struct Work(Value);

async fn claim(caller: &Caller, more: Value) -> Vec<Value> {
    let mut body = json!({"actions": ["fees"], "worker": "fees-1"});
    body.as_object_mut().expect("one").extend(more.as_object().cloned().expect("one"));
    let claimed = caller.post("/acts/work/claim", body).await.expect(200).json;
    claimed["work"].as_array().expect("a list").clone()
}

#[tokio::test(flavor = "multi_thread")]
async fn worker_gets_the_work_and_its_result_is_the_steps() {
    let ground = Ground::new().await;
    assert!(claim(&ground.staff, json!({})).await.is_empty(), "there is none yet");
    // A claim that waits hears of it.
    let (work, id) = tokio::join!(ground.claim(), ground.start());
    assert_eq!(
        (&work.0["run_id"], &work.0["step"], &work.0["attempt"]),
        (&json!(id), &json!("fees"), &json!(1))
    );
    assert_eq!((&work.0["action"], &work.0["input"]), (&json!("fees"), &json!({"license_id": 123})));
    let run = ground.staff.run(id).await;
    assert_eq!((&run["status"], &run["current_step"]), (&json!("running"), &json!("fees")));

    let alive = ground.send(&work, "heartbeat", json!({})).await.expect(200).json;
    assert_eq!(alive["cancel"], false);
    assert!(
        alive["lease_until"].as_str().expect("a time") >= work.0["lease_until"].as_str().expect("a time")
    );
    let ended = ground.send(&work, "complete", json!({"result": {"fees": 9_007_199_254_740_993_i64}})).await;
    assert_eq!(ended.expect(200).json["run_status"], "completed");
    let run = ground.staff.run(id).await;
    assert_eq!(run["payload"]["fees"], json!({"fees": 9_007_199_254_740_993_i64}));
    let started = ground.entries(id, "step.started").await;
    assert_eq!(started[0]["detail"]["idempotency_key"], work.0["idempotency_key"]);
    assert_eq!(ground.entries(id, "step.claimed").await[0]["detail"]["worker"], "fees-1");
    let lines = ground.server.user("auditor").replay(id).await;
    let token = work.0["lease_token"].as_str().expect("a token");
    assert!(!lines.iter().any(|line| line.contains(token)), "the token is in the log");
    ground.server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn worker_that_lies_about_its_lease_changes_nothing() {
    let ground = Ground::new().await;
    let (first, second) = (ground.start().await, ground.start().await);
    let (mine, others) = (ground.claim().await, ground.claim().await);
    let forged = Work(json!({"id": mine.0["id"], "lease_token": "0".repeat(64)}));
    let foreign = Work(json!({"id": mine.0["id"], "lease_token": others.0["lease_token"]}));
    for lie in [&forged, &foreign] {
        for (verb, body) in
            [("heartbeat", json!({})), ("complete", json!({"result": 1})), ("fail", json!({"error": "No."}))]
        {
            let refused = ground.send(lie, verb, body).await;
            assert!(refused.problem(403).contains("somebody else has it"), "{verb}");
        }
    }
    let never = Work(json!({"id": 999_999, "lease_token": "x"}));
    ground.send(&never, "complete", json!({"result": 1})).await.problem(404);
    let refused = ground.server.user("auditor").get("/acts/log.ndjson?q=work.refused").await.expect(200).text;
    assert!(refused.contains("work.refused"), "{refused}");

    ground.send(&mine, "complete", json!({"result": 1})).await.expect(200);
    for (verb, body) in
        [("complete", json!({"result": 2})), ("fail", json!({"error": "No."})), ("heartbeat", json!({}))]
    {
        assert!(ground.send(&mine, verb, body).await.problem(409).contains("not yours any more"), "{verb}");
    }
    ground.send(&others, "complete", json!({"result": 3})).await.expect(200);
    let results = [ground.staff.run(first).await, ground.staff.run(second).await];
    let results: BTreeSet<i64> = results.iter().filter_map(|run| run["payload"]["fees"].as_i64()).collect();
    assert_eq!(results, BTreeSet::from([1, 3]));
    ground.server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn silent_worker_loses_its_work_and_the_third_loss_pauses_the_run() {
    let ground = Ground::new().await;
    let id = ground.start().await;
    let first = ground.claim().await;
    ground.let_leases_run_out();
    let second = ground.claim().await;
    assert_eq!((&second.0["run_id"], &second.0["attempt"]), (&json!(id), &json!(2)));
    assert_eq!(second.0["idempotency_key"], first.0["idempotency_key"]);
    for (verb, body) in [("heartbeat", json!({})), ("complete", json!({"result": "late"}))] {
        assert!(ground.send(&first, verb, body).await.problem(409).contains("its lease ran out"));
    }
    ground.let_leases_run_out();
    assert_eq!(ground.claim().await.0["attempt"], 3);
    ground.let_leases_run_out();
    let run = ground.staff.wait_for_status(id, "paused").await;
    assert!(run["reason"].as_str().expect("why").contains("lost 3 times in a row"), "{run:#}");
    assert!(claim(&ground.staff, json!({})).await.is_empty(), "nothing starts in a paused run");
    let rescued = ground.entries(id, "step.rescued").await;
    assert!(rescued.iter().all(|entry| entry["detail"]["reason"] == "its worker's lease ran out"));
    assert_eq!(rescued.len(), 3);

    let resume = format!("/acts/runs/{id}/resume");
    ground.staff.post(&resume, json!({"reason": "The workers are back."})).await.expect(202);
    let fourth = ground.claim().await;
    assert_eq!(fourth.0["attempt"], 4);
    ground.send(&fourth, "complete", json!({"result": "done"})).await.expect(200);
    assert_eq!(ground.staff.wait_for_status(id, "completed").await["payload"]["fees"], "done");
    ground.server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn failure_is_retried_under_the_same_key_if_the_worker_says_so() {
    let retry = json!({"attempts": 2, "backoff_seconds": 0});
    let ground = Ground::with(json!({"id": "fees", "type": "script", "retry": retry})).await;
    let id = ground.start().await;
    let first = ground.claim().await;
    let body = json!({"error": "The ledger is closed.", "retryable": true});
    ground.send(&first, "fail", body.clone()).await.expect(200);
    let second = ground.claim().await;
    assert_eq!(second.0["attempt"], 2);
    assert_eq!(second.0["idempotency_key"], first.0["idempotency_key"]);
    assert_eq!(ground.send(&second, "fail", body).await.expect(200).json["run_status"], "failed");
    let run = ground.staff.run(id).await;
    assert!(run["reason"].as_str().expect("why").contains("The ledger is closed."), "{run:#}");
    ground.server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn cancelled_run_tells_its_worker_and_takes_the_work_away() {
    let ground = Ground::new().await;
    let (id, unclaimed) = (ground.start().await, ground.start().await);
    let work = ground.claim().await;
    assert_eq!(work.0["run_id"], id, "the longest offered comes first");
    for run in [id, unclaimed] {
        let cancel = format!("/acts/runs/{run}/cancel");
        ground.staff.patch(&cancel, json!({"reason": "Filed twice."})).await.expect(202);
    }
    assert!(claim(&ground.staff, json!({})).await.is_empty(), "what nobody had is withdrawn at once");
    let alive = ground.send(&work, "heartbeat", json!({})).await.expect(200).json;
    assert_eq!(alive["cancel"], true);
    ground.staff.wait_for_status(id, "cancelled").await;
    for (verb, body) in [("heartbeat", json!({})), ("complete", json!({"result": 1}))] {
        ground.send(&work, verb, body).await.problem(409);
    }
    assert_eq!(ground.staff.run(id).await["payload"]["fees"], Value::Null);
    ground.server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn workers_that_claim_at_once_get_different_work() {
    let ground = Ground::new().await;
    let mut runs = BTreeSet::new();
    for _ in 0..12 {
        runs.insert(ground.start().await);
    }
    let claims = (0..6).map(|_| claim(&ground.staff, json!({"max": 5})));
    let claimed: Vec<Value> = futures_util::future::join_all(claims).await.into_iter().flatten().collect();
    let different: BTreeSet<i64> =
        claimed.iter().map(|work| work["run_id"].as_i64().expect("a number")).collect();
    assert_eq!((different.len(), &different), (claimed.len(), &runs));
    let tokens: BTreeSet<&str> =
        claimed.iter().map(|work| work["lease_token"].as_str().expect("a token")).collect();
    assert_eq!(tokens.len(), claimed.len());
    ground.server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn bad_claims_are_refused_with_every_mistake() {
    let ground = Ground::new().await;
    let body = json!({
        "actions": [], "worker": " ", "max": 101, "wait_seconds": 61, "lease_seconds": 0, "more": 1
    });
    let refused = ground.staff.post("/acts/work/claim", body).await;
    let places: Vec<&str> = refused.errors().iter().map(|(place, _)| *place).collect();
    assert_eq!(places, ["$.actions", "$.worker", "$.max", "$.wait_seconds", "$.lease_seconds", "$.more"]);
    let body = json!({"actions": ["fees", "unknown", "deploy", "compute"], "worker": "w"});
    let refused = ground.staff.post("/acts/work/claim", body).await;
    let errors = refused.errors();
    assert_eq!(
        errors.iter().map(|it| it.0).collect::<Vec<_>>(),
        ["$.actions[1]", "$.actions[2]", "$.actions[3]"]
    );
    assert!(errors[0].1.contains("none called") && errors[1].1.contains("not done by workers"), "{errors:?}");
    let body = json!({"actions": ["fees"], "worker": "w"});
    ground.server.nobody().post("/acts/work/claim", body.clone()).await.problem(401);
    ground.server.user("auditor").post("/acts/work/claim", body.clone()).await.problem(403);
    ground.server.with_scopes("staff", "runs:read").post("/acts/work/claim", body).await.problem(403);
    ground.staff.post("/acts/work/x/complete", json!({"lease_token": "x", "result": 1})).await.problem(400);
    ground.staff.post("/acts/work/1/complete", json!({"lease_token": "x"})).await.problem(422);
    ground.server.stop().await;
}

/// The worker in the README, as it stands there.
fn readme_worker() -> &'static str {
    let readme = include_str!("../README.md");
    let (_, from) = readme.split_once("```python\n").expect("the README has a worker");
    from.split_once("```").expect("it ends").0
}

struct Worker(Child);

impl Drop for Worker {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn worker_of_the_readme_does_the_work() {
    assert!(readme_worker().lines().count() <= 30, "it is to be read in a minute");
    let ground = Ground::new().await;
    let mut python = Command::new("python3");
    python.args(["-c", readme_worker()]).stdin(Stdio::null());
    python.env("HMS_ACT_URL", ground.server.base_url());
    python.env("HMS_ACT_TOKEN", ground.server.token("staff", "runs:write"));
    let worker = Worker(python.spawn().expect("python3 runs; make setup-test installs it"));
    let runs = [ground.start().await, ground.start().await];
    for id in runs {
        let ended = tokio::time::timeout(GUARD, ground.staff.wait_for_status(id, "completed")).await;
        assert_eq!(ended.expect("it does the work")["payload"]["fees"], json!({"fees": 120}));
    }
    // What it cannot do, it says.
    let id = ground.staff.start(ground.protocol, json!({"other": 1})).await;
    let failed = ground.staff.wait_for_status(id, "failed").await;
    assert!(failed["reason"].as_str().expect("why").contains("KeyError('license_id')"), "{failed:#}");
    drop(worker);
    ground.server.stop().await;
}
