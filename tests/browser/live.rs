//! Pages that keep themselves up to date: whatever the network does, they miss nothing.

use crate::support::browser::desks;
use crate::support::gate::Gate;
use crate::support::server::TestServer;
use serde_json::json;

/// What Chromium says of a stream whose server is away for a moment.
const INTERRUPTED: [&str; 3] = ["ERR_CONNECTION", "ERR_INCOMPLETE_CHUNKED", "htmx:sse:error"];

#[tokio::test(flavor = "multi_thread")]
async fn stream_opens_however_late_a_script_comes() {
    let (desks, gate) = (desks(1).await, Gate::holding("hx-sse.min.js").await);
    let url = gate.url();
    let server = TestServer::start_with(|config| config.public_url = Some(url)).await;
    let latch = gate.lead_to(server.address());
    let supervisor = desks.open_hasty(server.base_url()).await;
    supervisor.sign_in("supervisor").await;
    supervisor.goto("/approvals").await;
    supervisor.see("Nothing waits for a decision.").await;
    let is_loaded = "return typeof htmx === 'object'";
    supervisor.wait_for("htmx", async || supervisor.evaluate(is_loaded, []).await == true).await;
    // What htmx has put off is done by now, while its extension for streams is still on its way.
    let after_timers = "const done = arguments[0]; setTimeout(() => setTimeout(done, 0), 0)";
    supervisor.driver.execute_async(after_timers, []).await.expect("timers run");
    latch.open();

    server.user("staff").start(7, json!({"license_id": 123})).await;
    supervisor.see_in("#live", "Approve the renewal").await;
    supervisor.close().await;
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn page_catches_up_after_the_server_was_away() {
    let (desks, server) = (desks(1).await, TestServer::start().await);
    let staff = server.user("staff");
    let id = staff.start(7, json!({"license_id": 123})).await;
    staff.wait_for_status(id, "waiting").await;
    let page = desks.seat(server.base_url(), "staff").await;
    page.goto(&format!("/runs/{id}")).await;
    page.mark().await;
    page.listening().await;

    let server = server.away_while(page.see("The connection is interrupted.")).await;
    let supervisor = server.user("supervisor");
    let approval = supervisor.approval(id).await;
    supervisor.decide(approval, "approve", "Decided while the page was cut off.").await.expect(200);
    page.see_in("#state", "Completed").await;
    page.see_in("#live", "Decided while the page was cut off.").await;
    assert!(page.is_marked().await, "the page was loaded again");
    assert!(!page.text().await.contains("The connection is interrupted."));
    page.close_expecting(&INTERRUPTED).await;
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn live_page_stops_with_its_session_and_the_next_click_leads_to_sign_in() {
    let (desks, server) = (desks(2).await, TestServer::start().await);
    let id = server.user("staff").start(7, json!({"license_id": 123})).await;
    server.user("staff").wait_for_status(id, "waiting").await;
    let (staff, admin) =
        tokio::join!(desks.seat(server.base_url(), "staff"), desks.seat(server.base_url(), "admin"));
    staff.goto(&format!("/runs/{id}")).await;
    staff.mark().await;
    staff.listening().await;
    admin.goto("/users").await;
    admin.press("Switch off staff").await;
    admin.see("staff is switched off, and signed out everywhere.").await;

    let supervisor = server.user("supervisor");
    let approval = supervisor.approval(id).await;
    supervisor.decide(approval, "approve", "Not for eyes that are signed out.").await.expect(200);
    supervisor.wait_for_status(id, "completed").await;
    staff.see("You are signed out").await;
    let shown = staff.text().await;
    assert!(staff.is_marked().await && !shown.contains("Completed"), "{shown}");
    staff.follow("Replay this run").await;
    staff.arrive("/sign-in").await;
    tokio::join!(staff.close_expecting(&["status of 401", "htmx:sse:error"]), admin.close());
    server.stop().await;
}
