//! Overrides: an official stops a run for review, another decides.

use crate::support::client::{Answer, Caller};
use crate::support::server::TestServer;
use serde_json::{Value, json};

async fn file(who: &Caller, run: i64, action: &str, new_value: Value) -> Answer {
    let body =
        json!({"run_id": run, "action": action, "reason": "The amount is wrong.", "new_value": new_value});
    who.post("/hitl/overrides", body).await
}

async fn judge(who: &Caller, id: i64, body: Value) -> Answer {
    who.post(&format!("/hitl/overrides/{id}/decision"), body).await
}

/// A run of staff at its approval, with an override of the supervisor under review.
async fn reviewed(server: &TestServer, action: &str, new_value: Value) -> (i64, i64) {
    let staff = server.user("staff");
    let run = staff.start(7, json!({"license_id": 123})).await;
    staff.wait_for_status(run, "waiting").await;
    let filed = file(&server.user("supervisor"), run, action, new_value).await.expect(201);
    (run, filed.json["id"].as_i64().expect("a number"))
}

#[tokio::test(flavor = "multi_thread")]
async fn filing_pauses_the_run_at_once_and_somebody_else_decides() {
    let server = TestServer::start().await;
    let (staff, supervisor, admin) = (server.user("staff"), server.user("supervisor"), server.user("admin"));
    let run = staff.start(7, json!({"license_id": 123})).await;
    staff.wait_for_status(run, "waiting").await;

    file(&staff, run, "pause", Value::Null).await.problem(403);
    file(&server.user("auditor"), run, "pause", Value::Null).await.problem(403);
    let scopes = "runs:read runs:write";
    file(&server.with_scopes("supervisor", scopes), run, "pause", Value::Null).await.problem(403);
    assert_eq!(file(&supervisor, 9_999, "pause", Value::Null).await.errors()[0].0, "$.run_id");
    assert_eq!(file(&supervisor, run, "stop", Value::Null).await.errors()[0].0, "$.action");
    assert_eq!(file(&supervisor, run, "modify", json!(1)).await.errors()[0].0, "$.new_value");
    let unsaid = json!({"run_id": run, "action": "pause", "reason": "  "});
    assert_eq!(supervisor.post("/hitl/overrides", unsaid).await.errors()[0].0, "$.reason");

    let filed = file(&supervisor, run, "pause", Value::Null).await.expect(201);
    let id = filed.json["id"].as_i64().expect("a number");
    assert_eq!(filed.header("location"), format!("/hitl/overrides/{id}"));
    assert_eq!((&filed.json["run_id"], &filed.json["status"]), (&json!(run), &json!("pending")));
    assert_eq!(filed.json["run_status"], "paused");
    let time = |key: &str| {
        chrono::DateTime::parse_from_rfc3339(filed.json[key].as_str().expect("text")).expect("a time")
    };
    assert_eq!((time("review_until") - time("filed_at")).num_hours(), 72);
    let shown = staff.run(run).await;
    assert_eq!((&shown["status"], &shown["override"]["id"]), (&json!("paused"), &json!(id)));

    let second = file(&admin, run, "cancel", Value::Null).await;
    assert!(second.problem(409).contains("under review already"));
    let resumed = supervisor.act(run, "resume", json!({"reason": "On."})).await;
    assert!(resumed.problem(409).contains("under review"));
    assert!(judge(&supervisor, id, json!({"choice": "reject"})).await.problem(403).contains("somebody else"));
    judge(&staff, id, json!({"choice": "reject"})).await.problem(403);
    judge(&admin, 9_999, json!({"choice": "reject"})).await.problem(404);
    assert_eq!(judge(&admin, id, json!({"choice": "modify"})).await.errors()[0].0, "$.new_value");
    assert_eq!(judge(&admin, id, json!({"choice": "perhaps"})).await.errors()[0].0, "$.choice");

    let decided = judge(&admin, id, json!({"choice": "reject", "reason": "It was right."})).await.expect(200);
    assert_eq!(
        (&decided.json["status"], &decided.json["run_status"]),
        (&json!("rejected"), &json!("waiting"))
    );
    let again = judge(&admin, id, json!({"choice": "approve"})).await;
    assert!(again.problem(409).contains("admin already decided"));
    assert_eq!((&again.json["decided_by"], &again.json["decision"]), (&json!("admin"), &json!("rejected")));
    // It goes on as it was.
    let approval = admin.approval(run).await;
    admin.decide(approval, "approve", "Good.").await.expect(200);
    staff.wait_for_status(run, "completed").await;
    file(&supervisor, run, "cancel", Value::Null).await.problem(409);

    let entries = server.user("auditor").entries(run).await;
    let of =
        |type_name: &str| entries.iter().find(|entry| entry["type"] == type_name).expect("an entry").clone();
    assert_eq!(of("override.filed")["actor"], "supervisor");
    assert_eq!(of("override.filed")["detail"]["reason"], "The amount is wrong.");
    assert_eq!(
        (&of("override.decided")["actor"], &of("override.decided")["detail"]["reason"]),
        (&json!("admin"), &json!("It was right."))
    );
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn modified_run_goes_on_with_new_values_and_is_asked_again() {
    let server = TestServer::start().await;
    let admin = server.user("admin");
    let (run, id) = reviewed(&server, "modify", json!({"note": {"from": "filing"}})).await;
    let decided = judge(&admin, id, json!({"choice": "modify"})).await.expect(200);
    assert_eq!(
        (&decided.json["status"], &decided.json["run_status"]),
        (&json!("modified"), &json!("waiting"))
    );
    assert_eq!(decided.json["merged_value"], json!({"note": {"from": "filing"}}));
    assert_eq!(admin.run(run).await["payload"]["note"]["from"], "filing");

    let (run, id) = reviewed(&server, "modify", Value::Null).await;
    let first = admin.approval(run).await;
    let values = json!({"note": {"from": "review", "n": 9_007_199_254_740_993_i64}});
    judge(&admin, id, json!({"choice": "modify", "new_value": values, "reason": "Corrected."}))
        .await
        .expect(200);
    assert_ne!(admin.approval(run).await, first, "what was asked before is void");
    let shown = admin.get(&format!("/hitl/overrides/{id}")).await.expect(200).json;
    assert_eq!((&shown["merged_value"], &shown["decision_reason"]), (&values, &json!("Corrected.")));
    assert_eq!(shown["new_value"], Value::Null);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn approved_override_cancels_the_run_and_a_cancelled_run_closes_its_override() {
    let server = TestServer::start().await;
    let (staff, admin) = (server.user("staff"), server.user("admin"));
    let (run, id) = reviewed(&server, "cancel", Value::Null).await;
    let decided = judge(&admin, id, json!({"choice": "approve"})).await.expect(200);
    assert_eq!(decided.json["status"], "approved");
    staff.wait_for_status(run, "cancelled").await;

    let (closed, id) = reviewed(&server, "pause", Value::Null).await;
    staff.patch(&format!("/acts/runs/{closed}/cancel"), json!({"reason": "Filed twice."})).await.expect(202);
    let late = judge(&admin, id, json!({"choice": "reject"})).await;
    assert!(late.problem(409).contains("ended before"), "{}", late.text);
    assert_eq!(admin.get(&format!("/hitl/overrides/{id}")).await.expect(200).json["status"], "closed");

    // What is listed, and for whom.
    let list = async |who: &Caller, query: &str| -> Vec<i64> {
        let page = who.get(&format!("/hitl/overrides{query}")).await.expect(200).json;
        page["overrides"]
            .as_array()
            .expect("a list")
            .iter()
            .map(|row| row["run_id"].as_i64().expect("a run"))
            .collect()
    };
    assert_eq!(list(&staff, "").await, [closed, run]);
    assert_eq!(list(&admin, "?status=approved").await, [run]);
    assert_eq!(list(&admin, &format!("?run_id={closed}&status=closed,pending")).await, [closed]);
    assert_eq!(list(&admin, "?limit=1").await, [closed]);
    admin.get("/hitl/overrides?status=open").await.problem(400);
    admin.get("/hitl/overrides/x").await.problem(400);
    let by_admin = admin.start(7, json!({"license_id": 123})).await;
    admin.wait_for_status(by_admin, "waiting").await;
    let filed = file(&admin, by_admin, "pause", Value::Null).await.expect(201).json["id"].clone();
    assert_eq!(list(&staff, "").await, [closed, run], "staff see those of their own runs");
    staff.get(&format!("/hitl/overrides/{filed}")).await.problem(403);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_deciders_at_once_one_wins_and_the_other_hears_who() {
    let server = TestServer::start().await;
    let admin = server.user("admin");
    for _ in 0..5 {
        let (_, id) = reviewed(&server, "pause", Value::Null).await;
        let (a, b) = tokio::join!(
            judge(&admin, id, json!({"choice": "approve"})),
            judge(&admin, id, json!({"choice": "reject"}))
        );
        let (winner, loser) = if a.status == 200 { (a, b) } else { (b, a) };
        let winner = winner.expect(200);
        assert!(loser.problem(409).contains("admin already decided"), "{}", loser.text);
        assert_eq!(loser.json["decision"], winner.json["status"]);
    }
    server.stop().await;
}
