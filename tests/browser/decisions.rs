//! Who may decide, who was faster, and what must be said: the ways that do not lead on.

use crate::support::browser::desks;
use crate::support::client::Caller;
use crate::support::server::TestServer;
use serde_json::json;

/// A run of licence #123 that waits, with its approval.
async fn waiting_run(server: &TestServer, starter: &str) -> (i64, i64) {
    let starter: Caller = server.user(starter);
    let id = starter.start(7, json!({"license_id": 123})).await;
    starter.wait_for_status(id, "waiting").await;
    (id, server.user("supervisor").approval(id).await)
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_started_a_run_reads_why_they_cannot_decide_it() {
    let (desks, server) = (desks(1).await, TestServer::start().await);
    let (id, approval) = waiting_run(&server, "supervisor").await;
    let supervisor = desks.seat(server.base_url(), "supervisor").await;
    supervisor.goto(&format!("/runs/{id}")).await;
    supervisor.follow("See what has to be decided").await;
    supervisor.arrive(&format!("/approvals/{approval}")).await;
    supervisor.see("somebody else must decide").await;
    assert!(supervisor.texts("main form").await.is_empty(), "a form that would be refused");
    supervisor.goto("/approvals").await;
    supervisor.see_in("#live", "somebody else must decide").await;
    supervisor.close().await;
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn second_of_two_deciders_sees_who_decided() {
    let (desks, server) = (desks(2).await, TestServer::start().await);
    let (_, approval) = waiting_run(&server, "staff").await;
    let (first, second) =
        tokio::join!(desks.seat(server.base_url(), "supervisor"), desks.seat(server.base_url(), "admin"));
    for (browser, choice, reason) in [
        (&first, "Approve: the run goes on", "Everything is in order."),
        (&second, "Reject: the run stops here", "I have doubts."),
    ] {
        browser.goto(&format!("/approvals/{approval}")).await;
        browser.choose(choice).await;
        browser.fill("Reason", reason).await;
    }
    first.press("Record my decision").await;
    first.see("Your decision is recorded.").await;
    second.press("Record my decision").await;
    second.see("There is a problem").await;
    second.see_in(".problems", "supervisor").await;
    second.see_in(".facts", "Everything is in order.").await;
    assert!(!second.text().await.contains("Record my decision"), "it can be decided no more");
    tokio::join!(first.close(), second.close_expecting(&["status of 409"]));
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_missing_is_said_at_its_field() {
    let (desks, server) = (desks(1).await, TestServer::start().await);
    let (id, approval) = waiting_run(&server, "staff").await;
    let browser = desks.seat(server.base_url(), "supervisor").await;
    browser.goto(&format!("/approvals/{approval}")).await;
    browser.choose("Approve: the run goes on").await;
    browser.fill("Reason", "   ").await;
    browser.press("Record my decision").await;
    browser.see_in(".decision .usa-error-message", "Write down why you decide so.").await;
    let chosen = "return document.querySelector('#approve').checked";
    assert_eq!(browser.evaluate(chosen, []).await, true, "what was chosen is kept");

    browser.goto(&format!("/runs/{id}")).await;
    browser.unfold("Cancel this run").await;
    browser.fill("Why is it cancelled?", "   ").await;
    browser.press(&format!("Cancel run {id}")).await;
    browser.see_in("#cancel .usa-error-message", "Say why the run is cancelled.").await;
    let described = "return document.getElementById('cancel-reason').getAttribute('aria-describedby')";
    assert_eq!(browser.evaluate(described, []).await, "cancel-reason-hint cancel-reason-error");
    browser.fill("Why is it cancelled?", "The exporter withdrew.").await;
    browser.press(&format!("Cancel run {id}")).await;
    browser.see("The run is cancelled.").await;
    browser.see_in("#state", "The exporter withdrew.").await;
    browser.close_expecting(&["status of 422"]).await;
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn pages_that_are_missing_or_forbidden_say_what_to_do() {
    let (desks, server) = (desks(1).await, TestServer::start().await);
    let (id, _) = waiting_run(&server, "supervisor").await;
    let staff = desks.seat(server.base_url(), "staff").await;
    for path in ["/nothing", "/runs/1", "/runs/abc", "/protocols/99"] {
        staff.goto(path).await;
        staff.see("Page not found").await;
        staff.see("Check the address for typing mistakes.").await;
        staff.see("Go to the home page").await;
    }
    let run = format!("/runs/{id}");
    for path in ["/users", "/log", &run] {
        staff.goto(path).await;
        staff.see("You may not do this").await;
        staff.see("Missing permission").await;
    }
    staff.close_expecting(&["status of 404", "status of 403"]).await;
    server.stop().await;
}
