//! The API's description, as people read it.

use crate::support::browser::desks;
use crate::support::server::TestServer;

#[tokio::test(flavor = "multi_thread")]
async fn description_of_the_api_is_shown_under_the_same_policy() {
    let (desks, server) = (desks(1).await, TestServer::start().await);
    let browser = desks.open(server.base_url()).await;
    browser.goto("/docs").await;
    browser.see("/acts/runs/{id}/replay").await;
    browser.close().await;
    server.stop().await;
}
