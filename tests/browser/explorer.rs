//! The log explorer: searching, looking at one entry, taking an export away.

use crate::support::browser::{Browser, desks};
use crate::support::postgres::ScratchDir;
use crate::support::server::TestServer;
use serde_json::json;
use thirtyfour::prelude::*;

/// A renewal that waits for its supervisor, and its number.
async fn waiting_run(server: &TestServer) -> i64 {
    let staff = server.user("staff");
    let run = staff.start(7, json!({"license_id": 123})).await;
    staff.wait_for_status(run, "waiting").await;
    run
}

async fn value_of(browser: &Browser, id: &str) -> String {
    browser.find(By::Id(id)).await.prop("value").await.expect("a field").expect("a value")
}

/// What an auditor does, with and without JavaScript.
async fn explore(browser: &Browser, run: i64) {
    browser.sign_in("auditor").await;
    browser.follow("Activity log").await;
    browser.see("Verified to entry").await;
    browser.fill("Search", &format!("run:{run} step:human_approval")).await;
    browser.press("Search").await;
    browser.see("1 entry match").await;
    browser.unfold("Search by fields instead").await;
    assert_eq!(value_of(browser, "run_id").await, run.to_string(), "the box fills the fields");
    assert_eq!(value_of(browser, "step").await, "human_approval");
    browser.fill("Step", "fetch_data").await;
    browser.press("Show these entries").await;
    browser.see("2 entries match").await;
    assert_eq!(
        value_of(browser, "search").await,
        format!("run:{run} step:fetch_data"),
        "the fields fill the box"
    );

    let newest = browser.texts("tbody th a").await.remove(0);
    browser.follow(&newest).await;
    browser.see(&format!("Entry 3 of run {run}")).await;
    browser.see("they have this hash").await;
    browser.see("It is the leaf hash of the entry before.").await;
    browser.see("gives the root that the checkpoint signs.").await;
    browser.see("\"step\": \"fetch_data\"").await;
    browser.follow("Entry before").await;
    browser.arrive(&format!("/log/{run}/2")).await;
    browser.see("Step checksum").await;
    browser.follow("Entry before").await;
    browser.see("It is the first of its chain.").await;
    browser.follow("What else they did").await;
    assert_eq!(value_of(browser, "search").await, "actor:staff");

    browser.fill("Search", "actr:staff").await;
    browser.press("Search").await;
    browser.see("There is a problem").await;
    browser.see_in("#search-error-1", "Did you mean actor:").await;
    assert_eq!(value_of(browser, "search").await, "actr:staff", "it can be mended");
    browser.fill("Search", "type:step.dne").await;
    browser.press("Search").await;
    browser.see("No entry matches.").await;
    browser.follow("type:step.done").await;
    browser.see("match").await;
    assert_eq!(value_of(browser, "search").await, "type:step.done");
    browser.follow("Clear the search").await;
    assert_eq!(value_of(browser, "search").await, "");
}

#[tokio::test(flavor = "multi_thread")]
async fn auditor_explores_the_log() {
    let (desks, server) = (desks(1).await, TestServer::start().await);
    let run = waiting_run(&server).await;
    server.wait_until_sealed().await;
    let browser = desks.open(server.base_url()).await;
    explore(&browser, run).await;
    browser.close_expecting(&["status of 400"]).await;
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn auditor_explores_the_log_without_javascript() {
    let (desks, server) = (desks(1).await, TestServer::start().await);
    let run = waiting_run(&server).await;
    server.wait_until_sealed().await;
    let browser = desks.open_without_javascript(server.base_url()).await;
    explore(&browser, run).await;
    browser.close_expecting(&["status of 400"]).await;
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn export_says_how_far_it_is_and_saves_the_file() {
    let (desks, server) = (desks(1).await, TestServer::start().await);
    let run = waiting_run(&server).await;
    let browser = desks.seat(server.base_url(), "auditor").await;
    let folder = ScratchDir::new();
    let allow = json!({"behavior": "allow", "downloadPath": folder.path()});
    browser.devtools("Page.setDownloadBehavior", allow).await;
    browser.goto(&format!("/log?search=run%3A{run}")).await;
    browser.follow("CSV").await;
    let auditor = server.user("auditor");
    let whole = auditor.get(&format!("/acts/log.csv?run_id={run}")).await.expect(200).text;
    browser.see(&format!("All {} entries are saved.", whole.lines().count() - 1)).await;
    let saved = folder.path().join("activity-log.csv");
    browser
        .wait_for("the file", async || std::fs::read_to_string(&saved).is_ok_and(|text| text == whole))
        .await;

    // Without a right to it, the browser goes there by itself and shows what is wrong.
    browser.evaluate("document.querySelector('[data-export]').href = '/acts/log.csv?nonsense=1'", []).await;
    browser.follow("CSV").await;
    browser.see("nonsense").await;
    // A problem in JSON is no page of ours, so the browser looks for a picture of its own.
    browser.close_expecting(&["status of 400", "favicon.ico"]).await;
    server.stop().await;
}
