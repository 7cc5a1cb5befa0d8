//! Approvals with more than yes and no: sent back, decided by several, with a form to fill in.

use crate::support::server::TestServer;
use serde_json::{Value, json};

#[tokio::test(flavor = "multi_thread")]
async fn work_is_sent_back_with_a_comment_and_done_again_as_the_next_round() {
    let server = TestServer::start().await;
    let (staff, supervisor, admin) = (server.user("staff"), server.user("supervisor"), server.user("admin"));
    let tasks = json!({"tasks": [
        {"id": "draft", "type": "script", "uses": "compute", "with": {
            "text": "${ has(payload.check) ? payload.check.reason : 'first' }"}},
        {"id": "check", "type": "hitl", "approvers": "supervisor", "returns_to": "draft", "max_returns": 1},
    ]});
    let protocol = admin.publish("Drafts", tasks).await;
    let run = staff.start(protocol, json!({})).await;
    staff.wait_for_status(run, "waiting").await;
    let first = supervisor.approval(run).await;
    let path = format!("/acts/approvals/{first}/decision");
    assert_eq!(supervisor.post(&path, json!({"decision": "return"})).await.errors()[0].0, "$.reason");
    let decided = supervisor.decide(first, "return", "Name the exporter.").await.expect(200);
    assert_eq!(
        (&decided.json["decision"], &decided.json["approval"]["status"]),
        (&json!("return"), &json!("returned"))
    );

    let now = staff.wait_until(run, |run| run["current_step"] == "check#2").await;
    assert_eq!(now["payload"]["draft"]["text"], "Name the exporter.");
    let rounds: Vec<(&str, u64)> = now["steps"]
        .as_array()
        .expect("steps")
        .iter()
        .map(|step| (step["step"].as_str().expect("a step"), step["round"].as_u64().expect("a round")))
        .collect();
    assert_eq!(rounds, [("draft", 1), ("check", 1), ("draft#2", 2), ("check#2", 2)]);
    let row = supervisor.get(&format!("/acts/approvals/{first}")).await.expect(200).json;
    assert_eq!(
        (&row["status"], &row["reason"], &row["decided_by"]),
        (&json!("returned"), &json!("Name the exporter."), &json!("supervisor"))
    );
    let listed =
        supervisor.get(&format!("/acts/approvals?status=returned&run_id={run}")).await.expect(200).json;
    assert_eq!(listed["approvals"].as_array().map(Vec::len), Some(1));

    let second = supervisor.approval(run).await;
    let again = supervisor.decide(second, "return", "Once more.").await;
    assert!(again.problem(409).contains("sent back 1 time"), "{}", again.text);
    supervisor.decide(second, "approve", "Now it is good.").await.expect(200);
    staff.wait_for_status(run, "completed").await;
    let late = supervisor.decide(first, "approve", "Too late.").await;
    assert_eq!((late.problem(409).is_empty(), &late.json["decided_by"]), (false, &json!("supervisor")));
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn step_that_sends_nothing_back_says_so() {
    let server = TestServer::start().await;
    let (staff, supervisor) = (server.user("staff"), server.user("supervisor"));
    let run = staff.start(7, json!({"license_id": 123})).await;
    staff.wait_for_status(run, "waiting").await;
    let refused = supervisor.decide(supervisor.approval(run).await, "return", "Again.").await;
    assert_eq!(refused.errors()[0].0, "$.decision");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn quorum_takes_as_many_people_as_it_says() {
    let server = TestServer::start().await;
    let (staff, supervisor, admin) = (server.user("staff"), server.user("supervisor"), server.user("admin"));
    let tasks = json!({"tasks": [{"id": "check", "type": "hitl", "approvers": "supervisor", "quorum": 2}]});
    let protocol = admin.publish("Two people", tasks).await;
    let run = staff.start(protocol, json!({})).await;
    staff.wait_for_status(run, "waiting").await;
    let approval = supervisor.approval(run).await;

    let first = supervisor.decide(approval, "approve", "Good.").await.expect(200);
    assert_eq!(first.json["approval"], json!({"status": "pending", "votes": 1, "quorum": 2}));
    assert_eq!(first.json["run_status"], "waiting");
    let row = supervisor.get(&format!("/acts/approvals/{approval}")).await.expect(200).json;
    assert_eq!((&row["status"], &row["quorum"]), (&json!("pending"), &json!(2)));
    assert_eq!((&row["votes"][0]["by"], &row["votes"][0]["reason"]), (&json!("supervisor"), &json!("Good.")));
    let twice = supervisor.decide(approval, "approve", "Good again.").await;
    assert!(twice.problem(403).contains("another person"));

    let last = admin.decide(approval, "approve", "I agree.").await.expect(200);
    assert_eq!(last.json["approval"], json!({"status": "approved", "votes": 2, "quorum": 2}));
    staff.wait_for_status(run, "completed").await;
    let row = supervisor.get(&format!("/acts/approvals/{approval}")).await.expect(200).json;
    assert_eq!((&row["status"], &row["decided_by"]), (&json!("approved"), &json!("admin")));
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn form_must_fit_and_its_answers_are_seen_later() {
    let server = TestServer::start().await;
    let (staff, supervisor, admin) = (server.user("staff"), server.user("supervisor"), server.user("admin"));
    let form = json!({
        "type": "object",
        "properties": {"limit": {"type": "integer", "minimum": 1}},
        "required": ["limit"],
        "additionalProperties": false,
    });
    let tasks = json!({"tasks": [
        {"id": "check", "type": "hitl", "approvers": "supervisor", "form": form},
        {"id": "after", "type": "script", "uses": "compute", "with": {"n": "${payload.check.form.limit}"}},
    ]});
    let protocol = admin.publish("Forms", tasks).await;
    let run = staff.start(protocol, json!({})).await;
    staff.wait_for_status(run, "waiting").await;
    let approval = supervisor.approval(run).await;
    let path = format!("/acts/approvals/{approval}/decision");
    let wrong: [(Value, &str); 3] = [
        (json!({"limit": "many"}), "$.form.limit"),
        (json!({}), "$.form"),
        (json!({"limit": 1, "x": 1}), "$.form"),
    ];
    for (form, place) in wrong {
        let refused = supervisor.post(&path, json!({"decision": "approve", "form": form})).await;
        assert_eq!(refused.errors()[0].0, place, "{form}");
    }
    assert_eq!(supervisor.post(&path, json!({"decision": "approve"})).await.errors()[0].0, "$.form");
    let filled = json!({"decision": "approve", "form": {"limit": 3}});
    supervisor.post(&path, filled).await.expect(200);
    let run = staff.wait_for_status(run, "completed").await;
    assert_eq!(run["payload"]["after"]["n"], 3);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn approval_that_nobody_decides_is_given_to_more_people() {
    let server = TestServer::start().await;
    let (staff, supervisor, admin) = (server.user("staff"), server.user("supervisor"), server.user("admin"));
    let tasks = json!({"tasks": [{
        "id": "check", "type": "hitl", "approvers": "admin", "due_minutes": 0.01, "escalate_to": "supervisor",
    }]});
    let protocol = admin.publish("Late", tasks).await;
    let run = staff.start(protocol, json!({})).await;
    let entry = staff.wait_for_entry(run, "approval.escalated").await;
    let approval = supervisor.approval(run).await;
    let row = supervisor.get(&format!("/acts/approvals/{approval}")).await.expect(200).json;
    assert_eq!(row["escalated_at"], entry["t"]);
    assert_eq!(row["approvers"]["roles"], json!(["admin", "supervisor"]));
    supervisor.decide(approval, "approve", "In time after all.").await.expect(200);
    staff.wait_for_status(run, "completed").await;
    server.stop().await;
}
