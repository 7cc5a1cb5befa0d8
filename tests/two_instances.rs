//! Two instances on one database: what one does the other sees, and goes on with when it dies.

use crate::kill::{Ground, RUNS, check_log, protocol_with_call, wait_for_all};
use crate::support::client::GUARD;
use crate::support::postgres::ScratchDir;
use crate::support::process::{Setup, TestProcess};
use crate::support::server::{TestServer, seats, token};
use crate::support::service::TestService;
use crate::waits::{number, publish, until};
use diesel::{Connection, RunQueryDsl};
use futures_util::future::join_all;
use hms_act::store::runs::{self, Lost};
use hms_act::store::schema::instances;
use serde_json::json;
use std::collections::BTreeSet;
use tokio::io::AsyncReadExt;

/// Two instances on one database, each with a directory and a key of its own.
struct Pair {
    first: TestProcess,
    second: TestProcess,
    second_setup: Setup,
    token: String,
    _second_scratch: ScratchDir,
    ground: Ground,
}

impl Pair {
    fn start(service: &TestService) -> Pair {
        Pair::calling(service.address())
    }

    /// Both may call what listens at this address.
    fn calling(address: &str) -> Pair {
        let (ground, second_scratch) = (Ground::new(), ScratchDir::new());
        let setup = ground.setup(false, address.to_owned());
        let second_setup = Setup { data_dir: second_scratch.path().to_owned(), ..setup.clone() };
        for role in ["staff", "supervisor", "auditor", "admin"] {
            let added = setup.run(&["user", "add", role, "--role", role, "--no-password"]);
            assert!(added.status.success(), "{}", String::from_utf8_lossy(&added.stderr));
        }
        let (first, second) = (TestProcess::start(&setup), TestProcess::start(&second_setup));
        let token = token(ground.scratch.path(), "staff", "runs:read runs:write");
        Pair { first, second, second_setup, token, _second_scratch: second_scratch, ground }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn run_started_through_one_instance_is_seen_and_decided_through_the_other() {
    let (_seats, service) = (seats(2).await, TestService::start());
    let pair = Pair::start(&service);
    let (here, there) = (&pair.first, &pair.second);
    let definition = json!({"tasks": [
        {"id": "before", "type": "script", "uses": "compute"},
        {"id": "approve", "type": "hitl"},
        {"id": "after", "type": "script", "uses": "compute"},
    ]});
    let body = json!({"name": "Ask", "definition": definition});
    let created = here.user("admin").post("/acts/protocols", body).await.expect(201);
    let protocol = created.json["id"].as_i64().expect("a number");

    let id = here.user("staff").start(protocol, json!({"n": 1})).await;
    let seen = there.bearer(pair.token.clone()).wait_for_status(id, "waiting").await;
    assert_eq!(seen, here.user("staff").run(id).await);
    // A page that is open here hears of what is decided there.
    let staff = here.user("staff");
    let (ended, ()) = tokio::join!(staff.wait_for_status(id, "completed"), async {
        let supervisor = there.user("supervisor");
        let approval = supervisor.approval(id).await;
        supervisor.decide(approval, "approve", "From there.").await.expect(200);
        let late = here.user("admin").decide(approval, "reject", "From here.").await;
        assert_eq!(late.json["decided_by"], "supervisor", "{}", late.text);
        late.problem(409);
    });
    assert_eq!(ended["payload"]["approve"]["by"], "supervisor");
    assert!(pair.first.terminate().success() && pair.second.terminate().success());
    check_log(&pair.second_setup);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_registered_through_one_instance_counts_at_the_other_at_once() {
    let (_seats, service) = (seats(2).await, TestService::start());
    service.open();
    let pair = Pair::start(&service);
    let (here, there) = (pair.first.user("admin"), pair.second.user("admin"));
    let config = json!({"method": "POST", "url": service.url()});
    for turn in 0..3 {
        let name = format!("call_{turn}");
        let action = json!({"name": name, "kind": "http", "config": config});
        here.post("/acts/actions", action.clone()).await.expect(201);
        let tasks = json!({"tasks": [{"id": "call", "type": "script", "uses": name}]});
        // Known to the one that publishes, and to the one that decides what is called.
        let protocol = publish(&there, &name, tasks).await;
        let first = there.start(protocol, json!({})).await;
        there.wait_for_status(first, "completed").await;
        there.put(&format!("/acts/actions/{name}"), action).await.expect(200);
        let second = here.start(protocol, json!({})).await;
        here.wait_for_status(second, "completed").await;
        for (run, version) in [(first, 1), (second, 2)] {
            let started = here.wait_for_entry(run, "step.started").await;
            assert_eq!(started["detail"]["action_version"], version, "{started}");
        }
    }
    assert!(pair.first.terminate().success() && pair.second.terminate().success());
    check_log(&pair.second_setup);
}

#[tokio::test(flavor = "multi_thread")]
async fn attempts_of_a_dead_instance_are_rescued_by_the_other() {
    let (_seats, service) = (seats(2).await, TestService::start());
    let pair = Pair::start(&service);
    let protocol = protocol_with_call(&pair.first.user("admin"), &service).await;
    let staff = pair.first.user("staff");
    let runs = join_all((0..RUNS).map(|n| staff.start(protocol, json!({"n": n})))).await;
    service.called(RUNS).await;
    pair.first.kill9();
    // The other waits for the lease of the dead one, then calls again.
    service.called(2 * RUNS).await;
    service.open();
    wait_for_all(&pair.second.user("staff"), &runs, "completed").await;
    let keys: BTreeSet<String> = service.heard().into_iter().map(|heard| heard.key).collect();
    assert_eq!((service.heard().len(), keys.len()), (2 * RUNS, RUNS));
    assert!(pair.second.terminate().success());
    check_log(&pair.second_setup);
    println!(
        "kill test, other instance: {RUNS} runs acknowledged, 1 kill, {} calls under {RUNS} keys",
        2 * RUNS
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn attempt_is_lost_only_once_its_instance_is_gone() {
    let service = TestService::start();
    let allowed = service.allowed();
    let server = TestServer::start_with(|config| config.allow_hosts = vec![allowed]).await;
    let protocol = protocol_with_call(&server.user("admin"), &service).await;
    let run = server.user("staff").start(protocol, json!({})).await;
    service.called(1).await;
    let mut database = server.database.connect();
    assert_eq!(
        runs::lost(&mut database, 0, 10).expect("rows"),
        [],
        "whoever is registered may have just joined"
    );
    database.test_transaction::<_, diesel::result::Error, _>(|database| {
        let gone: i64 = diesel::delete(instances::table).returning(instances::id).get_result(database)?;
        let lost = runs::lost(database, 0, 10).expect("rows");
        assert_eq!(lost, [Lost { run_id: run, gone: vec![gone] }]);
        Ok(())
    });
    service.open();
    server.user("staff").wait_for_status(run, "completed").await;
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn result_that_comes_while_its_run_is_cancelled_is_kept() {
    let (_seats, service) = (seats(2).await, TestService::start());
    let pair = Pair::start(&service);
    let protocol = protocol_with_call(&pair.first.user("admin"), &service).await;
    let cancelled = pair.first.user("staff").start(protocol, json!({"n": 1})).await;
    service.called(1).await;
    // Cancelled through the other instance: the attempt of the first still has a moment.
    let staff = pair.second.user("staff");
    let path = format!("/acts/runs/{cancelled}/cancel");
    let answer = staff.patch(&path, json!({"reason": "Not needed."})).await.expect(202);
    assert_eq!(answer.json["status"], "running", "what runs is not over yet");
    service.open();
    staff.wait_for_status(cancelled, "cancelled").await;
    let entries = pair.second.user("auditor").entries(cancelled).await;
    let types: Vec<&str> = entries.iter().filter_map(|entry| entry["type"].as_str()).collect();
    let end = ["run.cancel_requested", "run.ending", "step.done", "run.closed"];
    assert_eq!(types[types.len() - 4..], end, "{types:?}");
    let (first, second) = (pair.first.terminate(), pair.second.terminate());
    assert!(first.success() && second.success());
    check_log(&pair.ground.setup(false, String::new()));
}

/// A service that answers nothing: it reads what it is asked, and waits until whoever asked hangs up.
struct Silent {
    listener: tokio::net::TcpListener,
}

impl Silent {
    async fn start() -> Silent {
        Silent { listener: tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port") }
    }

    fn address(&self) -> String {
        self.listener.local_addr().expect("bound").to_string()
    }

    async fn called(&self) -> tokio::net::TcpStream {
        let called = tokio::time::timeout(GUARD, self.listener.accept()).await;
        called.expect("it is called").expect("a connection").0
    }
}

/// Reads until the other side hangs up.
async fn hung_up(mut call: tokio::net::TcpStream) {
    let mut heard = Vec::new();
    let read = tokio::time::timeout(GUARD, call.read_to_end(&mut heard)).await;
    // Hanging up in the middle of a request may come as a reset.
    drop(read.expect("the call is broken off"));
}

#[tokio::test(flavor = "multi_thread")]
async fn attempt_of_one_instance_is_broken_off_when_the_other_commits_that_it_lost() {
    let (_seats, service) = (seats(2).await, Silent::start().await);
    let pair = Pair::calling(&service.address());
    let admin = pair.first.user("admin");
    let url = format!("http://{}/act", service.address());
    let action = json!({"name": "slow", "kind": "http", "config": {"method": "POST", "url": url, "timeout_seconds": 3600}});
    admin.post("/acts/actions", action).await.expect(201);
    let group = json!({"id": "first_of", "type": "parallel", "join": "any", "tasks": [
        {"id": "slow", "type": "script"}, {"id": "sign", "type": "hitl"}]});
    let protocol = publish(&admin, "Whoever is first", json!({"tasks": [group]})).await;
    // The first instance starts the run, so the call is its own; the decision comes through the second.
    let id = pair.first.user("staff").start(protocol, json!({})).await;
    let call = service.called().await;
    let supervisor = pair.second.user("supervisor");
    let approval = supervisor.approval(id).await;
    supervisor.decide(approval, "approve", "That will do.").await.expect(200);
    hung_up(call).await;
    let entries = pair.first.user("auditor").entries(id).await;
    let slow: Vec<&str> = entries
        .iter()
        .filter(|entry| entry["step"] == "first_of/slow")
        .filter_map(|entry| entry["type"].as_str())
        .collect();
    assert_eq!(slow, ["step.started", "step.cancelled"]);
    assert!(pair.first.terminate().success() && pair.second.terminate().success());
    check_log(&pair.second_setup);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_both_would_start_is_started_once() {
    let (_seats, service) = (seats(2).await, TestService::start());
    let pair = Pair::start(&service);
    let admin = pair.first.user("admin");
    let computes = json!([{"id": "add", "type": "script", "uses": "compute"}]);
    publish(&admin, "Sums", json!({"tasks": computes})).await;
    let asks_for = json!([{"id": "sub", "type": "protocol", "uses": "Sums", "with": {}}]);
    let schedule = json!({"cron": "* * * * * *"});
    let protocol = publish(&admin, "Tick", json!({"schedule": schedule, "tasks": asks_for})).await;
    let mut connection = pair.ground.database.connect();
    let ended = format!("FROM runs WHERE protocol_id = {protocol} AND status = 'completed'");
    until(&mut connection, &format!("SELECT (count(*) >= 4)::int::bigint AS it {ended}"), 1);
    assert!(pair.first.terminate().success() && pair.second.terminate().success());
    let runs = format!("SELECT count(*) AS it FROM runs WHERE protocol_id = {protocol}");
    let times = "SELECT count(DISTINCT key) AS it FROM start_keys WHERE actor = 'HMS-ACT'";
    assert_eq!(number(&mut connection, times), number(&mut connection, &runs));
    let twice = "SELECT count(*) AS it FROM (
                     SELECT 1 FROM runs WHERE parent_run_id IS NOT NULL GROUP BY parent_run_id HAVING count(*) > 1
                 ) AS twice";
    assert_eq!(number(&mut connection, twice), 0);
    check_log(&pair.second_setup);
}
