//! What can happen to a run, as people see it and act on it: groups in groups, rounds, pauses, overrides, reruns.

use crate::support::browser::desks;
use crate::support::server::TestServer;
use serde_json::{Value, json};

fn compute(id: &str) -> Value {
    json!({"id": id, "type": "script", "uses": "compute", "with": {"n": 1}})
}

fn asks(id: &str) -> Value {
    json!({"id": id, "type": "hitl", "approvers": "supervisor"})
}

/// Decides the pending approval of one step of a run.
async fn approve(server: &TestServer, run: i64, step: &str) {
    let supervisor = server.user("supervisor");
    let found =
        supervisor.get(&format!("/acts/approvals?status=pending&run_id={run}")).await.expect(200).json;
    let all = found["approvals"].as_array().expect("a list");
    let of_step =
        all.iter().find(|approval| approval["step"] == step).unwrap_or_else(|| panic!("{step}: {found}"));
    let id = of_step["id"].as_i64().expect("a number");
    supervisor.decide(id, "approve", &format!("{step} is in order.")).await.expect(200);
}

#[tokio::test(flavor = "multi_thread")]
async fn groups_inside_groups_are_watched_live() {
    let (desks, server) = (desks(1).await, TestServer::start().await);
    let inner = json!({"id": "inner", "type": "parallel", "title": "Both halves", "tasks": [asks("north"), asks("south")]});
    let checks = json!({"id": "checks", "type": "parallel", "title": "All checks", "tasks": [asks("legal"), [compute("fees"), inner]]});
    let tasks = json!({"tasks": [checks, compute("publish")]});
    let protocol = server.user("admin").publish("Nested", tasks).await;
    let staff = server.user("staff");
    let id = staff.start(protocol, json!({})).await;
    staff.wait_for_status(id, "waiting").await;

    let page = desks.seat(server.base_url(), "staff").await;
    page.goto(&format!("/runs/{id}")).await;
    page.mark().await;
    page.listening().await;
    page.see_in("[id='step-checks']", "2 branches, and all of them must succeed").await;
    page.see_in("[id='step-checks-branch-1']", "Both halves").await;
    for open in ["step-checks/legal", "step-checks/inner/north", "step-checks/inner/south"] {
        page.see_in(&format!("[id='{open}']"), "Waiting for a supervisor").await;
    }
    page.see_in("[id='step-publish']", "Not started").await;
    approve(&server, id, "checks/inner/north").await;
    page.see_in("[id='step-checks/inner/north']", "checks/inner/north is in order.").await;
    approve(&server, id, "checks/legal").await;
    page.see_in("[id='step-checks/legal'].step--done", "Approved").await;
    page.see_in("[id='step-checks/inner/south']", "Waiting for a supervisor").await;
    approve(&server, id, "checks/inner/south").await;
    page.see_in("#state", "Completed").await;
    page.see_in("[id='step-checks'].step--done", "So far 2 succeeded.").await;
    assert!(page.is_marked().await, "the page was loaded again");
    page.close().await;
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn work_that_is_sent_back_comes_a_second_time() {
    let (desks, server) = (desks(1).await, TestServer::start().await);
    let sign = json!({"id": "sign", "type": "hitl", "title": "Sign the letter", "approvers": "supervisor", "returns_to": "draft",
        "form": {"type": "object", "required": ["amount"], "properties": {"amount": {"type": "integer", "title": "Amount in euro"}}}});
    let protocol = server.user("admin").publish("Letters", json!({"tasks": [compute("draft"), sign]})).await;
    let staff = server.user("staff");
    let id = staff.start(protocol, json!({})).await;
    staff.wait_for_status(id, "waiting").await;

    let page = desks.seat(server.base_url(), "supervisor").await;
    page.goto("/approvals").await;
    page.follow("Sign the letter").await;
    page.choose("Send back: it is done again from Draft on").await;
    page.fill("Reason", "  ").await;
    page.press("Record my decision").await;
    page.see_in(".decision .usa-error-message", "Write down what should be changed.").await;
    page.fill("Reason", "The address is wrong.").await;
    page.press("Record my decision").await;
    page.see("The work is sent back.").await;
    page.see_in(".facts", "Sent back").await;

    page.goto(&format!("/runs/{id}")).await;
    let again = "Second time, sent back by supervisor at Sign the letter: “The address is wrong.”";
    page.see_in("[id='step-draft#2']", again).await;
    page.follow("Review and decide").await;
    page.see(again).await;
    page.choose("Approve: the run goes on").await;
    page.fill("Amount in euro", "much").await;
    page.fill("Reason", "Now it is right.").await;
    page.press("Record my decision").await;
    page.see_in(".usa-error-message", "Write a whole number, for example 123.").await;
    page.fill("Amount in euro", "120").await;
    page.press("Record my decision").await;
    page.see("Your decision is recorded.").await;
    page.see_in("main", "120").await;
    page.goto(&format!("/runs/{id}")).await;
    page.see_in("#state", "Completed").await;
    page.unfold("Earlier rounds of Sign the letter").await;
    page.see_in("[id='step-sign']", "Sent back by supervisor: The address is wrong.").await;
    page.close_expecting(&["status of 422"]).await;
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn runs_are_steered_through_their_page() {
    let (desks, server) = (desks(1).await, TestServer::start().await);
    let admin = server.user("admin");
    let deploy = admin.get("/acts/actions/deploy").await.expect(200).json["config"].clone();
    let nowhere = deploy["url"].as_str().expect("a url").replace("/portal/licences", "/no/such/place");
    let config = json!({"method": "GET", "url": nowhere});
    admin
        .post("/acts/actions", json!({"name": "look_up", "kind": "http", "config": config}))
        .await
        .expect(201);
    let look_up = json!({"id": "look_up", "type": "script", "on_failure": "pause"});
    let protocol = admin.publish("Steered", json!({"tasks": [look_up, asks("sign")]})).await;
    let staff = server.user("staff");
    let id = staff.start(protocol, json!({"license_id": 123})).await;
    staff.wait_for_status(id, "paused").await;

    // Without a script of ours: every act is a form.
    let page = desks.open_without_javascript(server.base_url()).await;
    page.sign_in("supervisor").await;
    page.goto(&format!("/runs/{id}")).await;
    page.see_in("#state", "Have the step tried again, skip it, or cancel the run.").await;
    page.unfold("Have a step tried again").await;
    page.fill("Why may it be tried again?", "  ").await;
    page.press("Try this step again").await;
    page.see_in("#retry .usa-error-message", "Say why the step may be tried again.").await;
    page.fill("Why may it be tried again?", "The service is up again.").await;
    page.press("Try this step again").await;
    page.see("The step is tried again.").await;
    staff.wait_until(id, |run| run["status"] == "paused" && run["steps"][0]["attempt"] == 2).await;
    page.reload().await;
    page.see_in("[id='step-look_up']", "attempt 2").await;
    page.unfold("Skip a step").await;
    page.fill("Why is it skipped?", "It was looked up by hand.").await;
    page.press("Skip this step").await;
    page.see("The step is skipped.").await;
    page.see_in("[id='step-look_up']", "Skipped by supervisor: It was looked up by hand.").await;

    page.unfold("Change a value").await;
    page.fill("Which value?", "license_id").await;
    page.fill("New value", "124").await;
    page.fill("Why is it changed?", "A typing error.").await;
    page.press("Change this value").await;
    page.see("The value is changed.").await;
    page.see_in("[id='step-sign']", "This is asked again, because a value was changed").await;
    page.unfold("Pause this run").await;
    page.fill("Why is it paused?", "A letter came in.").await;
    page.press(&format!("Pause run {id}")).await;
    page.see_in("#state", "The run is paused by supervisor: A letter came in.").await;
    page.unfold("Let this run go on").await;
    page.fill("Why may it go on?", "The letter is answered.").await;
    page.press(&format!("Let run {id} go on")).await;
    page.see("The run goes on.").await;
    page.see_in("#state", "Waiting for a supervisor").await;
    page.close_expecting(&["status of 422"]).await;
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn override_is_filed_by_one_and_decided_by_another() {
    let (desks, server) = (desks(2).await, TestServer::start().await);
    let staff = server.user("staff");
    let id = staff.start(7, json!({"license_id": 123})).await;
    staff.wait_for_status(id, "waiting").await;
    let (supervisor, admin) =
        tokio::join!(desks.seat(server.base_url(), "supervisor"), desks.seat(server.base_url(), "admin"));
    supervisor.goto(&format!("/runs/{id}")).await;
    supervisor.follow("File an override").await;
    supervisor.choose("What do you ask for?").await;
    supervisor.evaluate("document.getElementById('action').value = 'modify'", []).await;
    supervisor.fill("Why do you stop it?", "The number is wrong.").await;
    supervisor.fill("Name 1", "note").await;
    supervisor.fill("Value 1", "checked twice").await;
    supervisor.press(&format!("Pause run {id} and file the override")).await;
    supervisor.see("The run is paused, and your override is under review.").await;
    supervisor.see("You filed this override, so somebody else must decide it.").await;
    assert!(supervisor.texts("main form").await.is_empty(), "a form that would be refused");

    admin.goto("/").await;
    admin.see("Overrides under review").await;
    admin.follow("Change values of the run").await;
    admin.choose("Modify: the run goes on with the values below").await;
    admin.fill("Reason", "The note helps.").await;
    admin.press("Record my decision").await;
    admin.see("Your decision is recorded.").await;
    admin.see_in("main", "checked twice").await;
    admin.goto("/overrides?tab=history").await;
    admin.see("Changed").await;
    supervisor.goto(&format!("/runs/{id}")).await;
    supervisor.see_in("#state", "Waiting for a supervisor").await;
    supervisor.see_in(".log", "admin let the run go on with changed values: The note helps.").await;
    tokio::join!(supervisor.close(), admin.close());
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn run_that_is_over_is_run_once_more() {
    let (desks, server) = (desks(1).await, TestServer::start().await);
    let staff = server.user("staff");
    let id = staff.start(7, json!({"license_id": 123})).await;
    staff.wait_for_status(id, "waiting").await;
    staff.patch(&format!("/acts/runs/{id}/cancel"), json!({"reason": "Too early."})).await.expect(202);
    staff.wait_for_status(id, "cancelled").await;
    let page = desks.seat(server.base_url(), "staff").await;
    page.goto(&format!("/runs/{id}")).await;
    page.follow("Run it once more").await;
    let given = page.field("Licence number").await.value().await.expect("a field");
    assert_eq!(given.as_deref(), Some("123"), "as the run was given it");
    page.fill("Why is it run once more?", "Now it is time.").await;
    page.press("Start it once more").await;
    page.see(&format!("Run {id} is started once more")).await;
    page.see("It is a rerun of an earlier run:").await;
    page.see(&format!("Taken over from run {id}: it was not done again.")).await;
    page.see_in("#state", "Waiting for a supervisor").await;
    page.close().await;
    server.stop().await;
}
