//! Groups and slots, as people see them and act on them.

use crate::groups::{PEOPLE, both};
use crate::support::browser::desks;
use crate::support::server::TestServer;
use diesel::connection::SimpleConnection;
use serde_json::json;

#[tokio::test(flavor = "multi_thread")]
async fn an_admin_puts_people_into_groups_and_each_slot_is_filled_without_javascript() {
    let (desks, server) = (desks(1).await, TestServer::start().await);
    server.database.connect().batch_execute(PEOPLE).expect("users");
    let page = desks.open_without_javascript(server.base_url()).await;
    page.sign_in("admin").await;
    page.goto("/users").await;
    page.fill("Groups of supervisor", "security").await;
    page.press("Change groups of supervisor").await;
    page.see("The groups of supervisor are changed.").await;
    page.press("Sign out").await;

    let protocol = server.user("admin").publish("Two slots", both()).await;
    let staff = server.user("staff");
    let run = staff.start(protocol, json!({})).await;
    staff.wait_for_status(run, "waiting").await;
    page.sign_in("ada").await;
    page.goto("/approvals").await;
    page.follow("Both must agree").await;
    page.see("Waiting for legal and security").await;
    page.choose("Approve: one more person must approve too").await;
    page.fill("Reason", "Nothing speaks against it.").await;
    page.press("Record my decision").await;
    page.see("Your approval is recorded. Others must approve too.").await;
    page.see("Approved for legal by ada; waits for security.").await;
    page.see("ada for legal").await;
    assert!(!page.text().await.contains("You may still reject it"), "ada has decided");
    page.press("Sign out").await;

    page.sign_in("carl").await;
    page.goto("/approvals").await;
    page.see("Enough people approved for legal already.").await;
    page.follow("Both must agree").await;
    page.see("You may still reject it").await;
    assert!(!page.text().await.contains("Approve:"), "what does not count is not offered");
    page.press("Sign out").await;

    page.sign_in("supervisor").await;
    page.goto(&format!("/runs/{run}")).await;
    page.see_in("[id='step-sign']", "Approved for legal by ada; waits for security.").await;
    page.follow("What has to be decided").await;
    page.choose("Approve: the run goes on").await;
    page.fill("Reason", "Nor for security.").await;
    page.press("Record my decision").await;
    page.see("Approved for legal by ada and for security by supervisor.").await;
    page.goto(&format!("/runs/{run}")).await;
    page.see_in("[id='step-sign']", "Approved for legal by ada and for security by supervisor.").await;
    page.see("supervisor approved Both must agree for security: Nor for security.").await;
    page.close_expecting(&[]).await;
    server.stop().await;
}
