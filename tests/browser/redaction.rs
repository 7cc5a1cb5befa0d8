//! Reading what is sealed, and having it erased by two people, in their browsers.

use crate::support::browser::desks;
use crate::support::server::TestServer;
use serde_json::json;

const SECRET: &str = "536-90-4271";

#[tokio::test(flavor = "multi_thread")]
async fn sealed_value_is_read_for_a_reason_and_erased_by_two() {
    let (desks, server) = (desks(2).await, TestServer::start().await);
    let definition = json!({"redact": [{"path": "payload.ssn", "exemption": "b(6)"}],
        "tasks": [{"id": "one", "type": "script", "uses": "compute", "with": {"n": 1}}]});
    let protocol = server.user("admin").publish("Applications", definition).await;
    let staff = server.user("staff");
    let run = staff.start(protocol, json!({"ssn": SECRET, "case": "c-1"})).await;
    staff.wait_for_status(run, "completed").await;
    let (first, second) =
        tokio::join!(desks.seat(server.base_url(), "supervisor"), desks.seat(server.base_url(), "admin"));

    first.goto(&format!("/runs/{run}")).await;
    assert!(!first.text().await.contains(SECRET));
    first.follow("Show sealed values").await;
    first.fill("Why do you need to see them?", "The applicant asks.").await;
    first.press("Show sealed values").await;
    first.see_in("#sealed-values", SECRET).await;
    first.see_in("#sealed-values", "Withheld under b(6)").await;
    first.follow("Ask that a sealed value is erased").await;
    first.fill("Why is it to be erased?", "She asked for it.").await;
    first.press("Ask for the erasure").await;
    first.see("Your request is filed.").await;
    first.see("somebody else must decide").await;

    second.goto("/redactions").await;
    second.follow("payload.ssn").await;
    second.choose("Approve: it is erased at once, for good").await;
    second.fill("Reason", "The request is justified.").await;
    second.press("Record my decision").await;
    second.see("payload.ssn was erased on").await;
    second.goto(&format!("/runs/{run}")).await;
    second.see("payload.ssn was erased on").await;
    second.see("She asked for it.").await;
    second.follow("Show sealed values").await;
    second.fill("Why do you need to see them?", "To see that it is gone.").await;
    second.press("Show sealed values").await;
    second.see_in("#sealed-values", "Erased on").await;
    assert!(!second.text().await.contains(SECRET));
    tokio::join!(first.close(), second.close());
    server.stop().await;
}
