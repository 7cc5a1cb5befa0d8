//! The guide's own walk: renew export licence 123 by the API, watch it, approve it, replay it.

use crate::support::client::Caller;
use crate::support::process::published;
use crate::support::server::TestServer;
use reqwest::Method;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

/// As the guide writes it.
const START: &str = r#"{
        "protocol_id": 7,
        "payload": { "license_id": 123 }
      }"#;

const STEPS: [&str; 5] = ["fetch_data", "ai_analysis", "draft_letter", "human_approval", "deploy"];

/// (step, status) of each line of the mini log.
fn mini_log(run: &Value) -> Vec<(&str, &str)> {
    let lines = run["log"].as_array().expect("a log");
    lines.iter().map(|line| (line["step"].as_str().unwrap(), line["status"].as_str().unwrap())).collect()
}

/// Checks the chain as an outsider would, from the lines alone: nothing of the product's own code.
fn check_chain(lines: &[String]) -> Vec<Value> {
    let mut prev = Value::Null;
    let mut time = String::new();
    let mut entries = Vec::new();
    for (index, line) in lines.iter().enumerate() {
        let entry: Value = serde_json::from_str(line).expect("a line is JSON");
        assert_eq!(entry["seq"], index + 1);
        assert_eq!(entry["prev"], prev, "seq {}", index + 1);
        let t = entry["t"].as_str().expect("a time");
        assert!(t >= time.as_str() && t.len() == "2026-11-22T14:00:01.000000Z".len(), "{t} after {time}");
        time = t.to_owned();
        prev = hex::encode(Sha256::digest([b"\0", line.as_bytes()].concat())).into();
        entries.push(entry);
    }
    entries
}

/// A waiting run of staff, and its approval.
async fn waiting_run(server: &TestServer, licence: i64) -> (i64, i64) {
    let staff = server.user("staff");
    let id = staff.start(7, json!({"license_id": licence})).await;
    staff.wait_for_status(id, "waiting").await;
    (id, server.user("supervisor").approval(id).await)
}

#[tokio::test(flavor = "multi_thread")]
async fn licence_123_is_renewed_as_the_guide_tells_it() {
    let server = TestServer::start().await;
    let (staff, supervisor) = (server.user("staff"), server.user("supervisor"));

    let started = staff.post_bytes("/acts/run", START).await.expect(202);
    assert_eq!(started.json, json!({"run_id": 9001, "status": "queued"}));
    assert_eq!(started.header("location"), "/acts/runs/9001");

    let run = staff.wait_for_status(9001, "waiting").await;
    assert_eq!(run["run_id"], 9001);
    assert_eq!((&run["protocol_id"], &run["protocol_version"]), (&json!(7), &json!(1)));
    assert_eq!(
        (&run["current_step"], &run["current_steps"]),
        (&json!("human_approval"), &json!(["human_approval"]))
    );
    assert_eq!(run["started_by"], "staff");
    assert_eq!(run["payload"]["license_id"], 123);
    assert_eq!(run["payload"]["fetch_data"]["license_id"], 123);
    assert_eq!(run["payload"]["ai_analysis"]["risk"], "low");
    let expected = [
        ("fetch_data", "done"),
        ("ai_analysis", "done"),
        ("draft_letter", "done"),
        ("human_approval", "waiting"),
    ];
    assert_eq!(mini_log(&run), expected);
    assert!(published(server.scratch.path()).is_empty(), "nothing is published before somebody approves");

    let approval = supervisor.approval(9001).await;
    let decided = supervisor.decide(approval, "approve", "All in order.").await.expect(200);
    assert_eq!(decided.json["decided_by"], "supervisor");

    let run = staff.wait_for_status(9001, "completed").await;
    assert_eq!((&run["current_step"], &run["current_steps"]), (&Value::Null, &json!([])));
    assert_eq!(mini_log(&run), STEPS.map(|step| (step, "done")));
    assert_eq!(run["payload"]["human_approval"]["decision"], "approve");
    assert_eq!(run["payload"]["deploy"]["published"], true);

    let lines = server.user("auditor").replay(9001).await;
    let entries = check_chain(&lines);
    assert_eq!((&entries[0]["type"], &entries[0]["status"]), (&json!("run.queued"), &json!("queued")));
    let last = entries.last().expect("entries");
    assert_eq!((&last["type"], &last["detail"]["count"]), (&json!("run.closed"), &json!(entries.len())));
    assert!(entries.iter().all(|entry| entry["run"] == 9001 && entry["log"] == "test.invalid/log"));
    let decision = entries.iter().find(|entry| entry["type"] == "approval.decided").expect("a decision");
    assert_eq!(
        (&decision["actor"], &decision["detail"]["reason"]),
        (&json!("supervisor"), &json!("All in order."))
    );

    let licences = published(server.scratch.path());
    assert_eq!(licences.len(), 1, "{licences:?}");
    let deploy =
        entries.iter().find(|it| it["type"] == "step.started" && it["step"] == "deploy").expect("a start");
    assert_eq!(licences[0], (deploy["detail"]["idempotency_key"].as_str().unwrap().to_owned(), 123));
    // Looking at a run that is over adds nothing to its log.
    assert_eq!(server.user("auditor").replay(9001).await, lines);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_started_a_run_cannot_decide_it() {
    let server = TestServer::start().await;
    let (supervisor, admin) = (server.user("supervisor"), server.user("admin"));
    let id = supervisor.start(7, json!({"license_id": 123})).await;
    supervisor.wait_for_status(id, "waiting").await;
    let approval = supervisor.approval(id).await;

    let refused = supervisor.decide(approval, "approve", "I trust myself.").await;
    assert!(refused.problem(403).contains("somebody else must decide"));
    let refused = supervisor.decide(approval, "reject", "I changed my mind.").await;
    assert!(refused.problem(403).contains("somebody else must decide"));
    server.user("staff").decide(approval, "approve", "I may not.").await.problem(403);
    server.user("auditor").decide(approval, "approve", "I may not.").await.problem(403);
    assert_eq!(supervisor.run(id).await["status"], "waiting");
    assert_eq!(supervisor.approval(id).await, approval);

    // An admin holds the role of a supervisor, and did not start it.
    admin.decide(approval, "approve", "Checked.").await.expect(200);
    let run = supervisor.wait_for_status(id, "completed").await;
    assert_eq!(run["payload"]["human_approval"]["by"], "admin");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_deciders_at_once_one_wins_and_the_other_hears_who() {
    let server = TestServer::start().await;
    for round in 0..5 {
        let (id, approval) = waiting_run(&server, 123).await;
        let (supervisor, admin) = (server.user("supervisor"), server.user("admin"));
        let (a, b) = tokio::join!(
            supervisor.decide(approval, "approve", "Good."),
            admin.decide(approval, "reject", "Not good."),
        );
        let (winner, loser) = if a.status == 200 { (a, b) } else { (b, a) };
        let winner = winner.expect(200).json["decided_by"].clone();
        assert!(loser.problem(409).contains(winner.as_str().unwrap()), "{}", loser.text);
        assert_eq!(loser.json["decided_by"], winner, "round {round}");
        let run = server.user("staff").wait_until(id, |run| !run["current_step"].is_string()).await;
        let expected = if winner == "supervisor" { "completed" } else { "rejected" };
        assert_eq!(run["status"], expected);
        let entries = server.user("auditor").entries(id).await;
        assert_eq!(entries.iter().filter(|entry| entry["type"] == "approval.decided").count(), 1);
    }
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn cancelled_run_closes_its_approval_and_stays_cancelled() {
    let server = TestServer::start().await;
    let (staff, supervisor) = (server.user("staff"), server.user("supervisor"));
    let (id, approval) = waiting_run(&server, 123).await;
    let cancel = format!("/acts/runs/{id}/cancel");

    staff.patch(&cancel, json!({"reason": "  "})).await.problem(422);
    assert_eq!(staff.run(id).await["status"], "waiting");
    let cancelled = staff.patch(&cancel, json!({"reason": "Filed twice."})).await.expect(202);
    assert_eq!(cancelled.json, json!({"run_id": id, "status": "cancelled"}));

    let again = staff.patch(&cancel, json!({"reason": "Filed twice."})).await;
    assert!(again.problem(409).contains("cancelled"), "{}", again.text);
    let late = supervisor.decide(approval, "approve", "Good.").await;
    assert!(late.problem(409).contains("cancelled"), "{}", late.text);

    let run = staff.run(id).await;
    assert_eq!((&run["status"], &run["reason"]), (&json!("cancelled"), &json!("Filed twice.")));
    assert_eq!(mini_log(&run).last(), Some(&("human_approval", "cancelled")));
    let closed = supervisor.get(&format!("/acts/approvals/{approval}")).await.expect(200).json;
    assert_eq!((&closed["status"], &closed["decided_by"]), (&json!("closed"), &Value::Null));
    let entries = check_chain(&server.user("auditor").replay(id).await);
    assert_eq!(entries.last().unwrap()["status"], "cancelled");
    assert_eq!(entries.iter().filter(|entry| entry["type"] == "run.cancel_requested").count(), 1);
    assert!(published(server.scratch.path()).is_empty());
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn rejected_run_publishes_nothing_and_needs_a_reason() {
    let server = TestServer::start().await;
    let supervisor = server.user("supervisor");
    let (id, approval) = waiting_run(&server, 125).await;
    let path = format!("/acts/approvals/{approval}/decision");
    let unsaid = supervisor.post(&path, json!({"decision": "reject"})).await;
    assert_eq!(unsaid.errors()[0].0, "$.reason");

    supervisor.decide(approval, "reject", "The end user is unclear.").await.expect(200);
    let run = supervisor.run(id).await;
    assert_eq!((&run["status"], &run["reason"]), (&json!("rejected"), &json!("The end user is unclear.")));
    assert!(published(server.scratch.path()).is_empty());
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn high_risk_is_shown_to_the_supervisor_with_its_evidence() {
    let server = TestServer::start().await;
    let (id, _) = waiting_run(&server, 124).await;
    let analysis = server.user("supervisor").run(id).await["payload"]["ai_analysis"].clone();
    assert_eq!(analysis["risk"], "high", "{analysis:#}");
    let found = &analysis["matches"][0];
    assert!(found["score"].as_f64().expect("a score") > 0.8);
    assert!(!found["entry"].as_str().expect("a name").is_empty());
    assert!(found["reasons"].as_array().is_some_and(|reasons| !reasons.is_empty()), "{found:#}");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn unknown_licence_fails_the_run_and_says_why() {
    let server = TestServer::start().await;
    let staff = server.user("staff");
    let id = staff.start(7, json!({"license_id": 999_999})).await;
    let run = staff.wait_for_status(id, "failed").await;
    assert_eq!(mini_log(&run), [("fetch_data", "failed")]);
    let reason = run["reason"].as_str().expect("a reason");
    assert!(reason.contains("fetch_data") && reason.contains("404"), "{reason}");
    server.stop().await;
}

/// The guide's GETs, each with what it promises.
#[tokio::test(flavor = "multi_thread")]
async fn long_poll_answers_with_the_next_change() {
    let server = TestServer::start().await;
    let (id, approval) = waiting_run(&server, 123).await;
    let staff = server.user("staff");
    let look = async |caller: &Caller| {
        let answer = Caller::send(caller.request(Method::GET, &format!("/acts/runs/{id}?wait=60"))).await;
        answer.expect(200).json
    };
    // A poll that begins before the decision ends with it; one that begins after the end answers at once.
    let (seen, _) = tokio::join!(look(&staff), async {
        server.user("supervisor").decide(approval, "approve", "Good.").await.expect(200);
        staff.wait_for_status(id, "completed").await
    });
    assert_ne!(seen["status"], "waiting");
    assert_eq!(look(&staff).await["status"], "completed");
    assert_eq!(staff.get(&format!("/acts/runs/{id}?wait=0")).await.expect(200).json["status"], "completed");
    for bad in ["-1", "61", "soon"] {
        staff.get(&format!("/acts/runs/{id}?wait={bad}")).await.problem(400);
    }
    server.stop().await;
}
