//! The player of a recording, and what another version would have made of a run.

use crate::support::browser::{Browser, desks};
use crate::support::server::TestServer;
use serde_json::json;
use thirtyfour::prelude::*;

/// A run of licence 123 that was approved.
async fn approved(server: &TestServer) -> i64 {
    let (staff, supervisor) = (server.user("staff"), server.user("supervisor"));
    let run = staff.start(7, json!({"license_id": 123})).await;
    staff.wait_for_status(run, "waiting").await;
    let approval = supervisor.approval(run).await;
    supervisor.decide(approval, "approve", "The parties are clean.").await.expect(200);
    staff.wait_for_status(run, "completed").await;
    run
}

async fn press_key(browser: &Browser, keys: impl Into<TypingData>) {
    browser.driver.action_chain().send_keys(keys).perform().await.expect("a keyboard");
}

async fn address(browser: &Browser) -> String {
    let url = browser.driver.current_url().await.expect("an address");
    format!("{}?{}", url.path(), url.query().unwrap_or_default())
}

/// Waits until this moment is shown, and the address says so.
async fn at(browser: &Browser, run: i64, seq: usize, count: usize) {
    browser.see_in("#scene", &format!("Entry {seq} of {count}")).await;
    let wanted = format!("/runs/{run}/replay?at={seq}");
    browser.wait_for(&wanted, async || address(browser).await == wanted).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn recording_is_played_by_keys_and_the_address_follows_the_moment() {
    let (desks, server) = (desks(1).await, TestServer::start().await);
    let run = approved(&server).await;
    let count = server.user("auditor").replay(run).await.len();
    let browser = desks.seat(server.base_url(), "auditor").await;
    browser.goto(&format!("/runs/{run}/replay")).await;
    browser.see("Nothing is being executed.").await;
    browser.see_in("#scene", &format!("Entry 1 of {count}")).await;
    browser.mark().await;
    let steps = browser.texts(".step .status").await;
    assert!(
        steps.iter().all(|word| word == "Running" || word == "Not started"),
        "the first moment: {steps:?}"
    );

    press_key(&browser, Key::Right).await;
    at(&browser, run, 2, count).await;
    press_key(&browser, Key::End).await;
    at(&browser, run, count, count).await;
    browser.see_in("#state", "Completed").await;
    press_key(&browser, Key::Left).await;
    at(&browser, run, count - 1, count).await;
    press_key(&browser, Key::Home).await;
    at(&browser, run, 1, count).await;

    // What has the focus keeps it, however often the moment changes.
    let next = browser.find(By::Id("next")).await;
    next.focus().await.expect("it can have the focus");
    for seq in 2..=4 {
        press_key(&browser, Key::Enter).await;
        at(&browser, run, seq, count).await;
    }
    let focused = "return document.activeElement.id";
    assert_eq!(browser.evaluate(focused, []).await, "next");

    browser.evaluate("document.activeElement.blur()", []).await;
    press_key(&browser, Key::Home).await;
    at(&browser, run, 1, count).await;
    browser.find(By::Id("speed")).await.send_keys("As fast").await.expect("a choice");
    browser.evaluate("document.activeElement.blur()", []).await;
    press_key(&browser, " ").await;
    at(&browser, run, count, count).await;
    browser.see_in("#play", "Play").await;
    assert!(browser.is_marked().await, "the page was loaded again");

    // A link to a moment shows that moment.
    browser.reload().await;
    browser.see_in("#state", "Completed").await;
    let mark = browser.find(By::XPath("//ol//a[contains(., 'supervisor approved')]")).await;
    mark.scroll_into_view().await.expect("it is on the page");
    mark.click().await.expect("it can be clicked");
    browser.see_in("#said", "The parties are clean.").await;
    browser.close().await;
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn recording_is_gone_through_without_javascript() {
    let (desks, server) = (desks(1).await, TestServer::start().await);
    let run = approved(&server).await;
    let count = server.user("auditor").replay(run).await.len();
    let browser = desks.open_without_javascript(server.base_url()).await;
    browser.sign_in("auditor").await;
    browser.goto(&format!("/runs/{run}/replay")).await;
    assert!(!browser.text().await.contains("As fast as possible"), "what needs JavaScript is not there");
    browser.follow("Next").await;
    browser.see(&format!("Entry 2 of {count}")).await;
    browser.follow("Last").await;
    browser.see(&format!("Entry {count} of {count}")).await;
    browser.fill("Go to the moment after entry", "3").await;
    browser.press("Show this moment").await;
    browser.see(&format!("Entry 3 of {count}")).await;
    browser.follow("Every entry as a list").await;
    browser.see("Every entry of run").await;
    browser.follow(&format!("The moment after entry {count}")).await;
    browser.see(&format!("Entry {count} of {count}")).await;
    for wrong in ["0", "x", "-1", "%2B1", "1.5", "99999", "18446744073709551616"] {
        browser.goto(&format!("/runs/{run}/replay?at={wrong}")).await;
        browser.see("There is no moment after entry").await;
    }

    browser.goto(&format!("/runs/{run}")).await;
    browser.follow("What if another version had been used?").await;
    browser.press("Show what would have happened").await;
    browser.see("the run would have gone exactly as it did").await;
    browser.close_expecting(&["status of 400"]).await;
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_if_is_told_step_by_step_and_a_draft_comes_back_with_what_is_wrong() {
    let (desks, server) = (desks(1).await, TestServer::start().await);
    let run = approved(&server).await;
    let browser = desks.seat(server.base_url(), "admin").await;
    browser.goto(&format!("/runs/{run}/what-if")).await;
    browser.see("Nothing is being executed").await;
    browser.unfold("A draft instead, as JSON").await;
    browser
        .fill(
            "Definition",
            r#"{"tasks": [{"id": "fetch_data", "type": "script"}, {"id": "x", "type": "wrong"}]}"#,
        )
        .await;
    browser.press("Show what would have happened").await;
    browser.see("There is a problem").await;
    browser.see("$.tasks[1].type").await;
    let draft = r#"{"tasks": [{"id": "fetch_data", "type": "script"}, {"id": "deploy", "type": "script"}]}"#;
    browser.fill("Definition", draft).await;
    browser.press("Show what would have happened").await;
    browser.see("With the draft").await;
    browser.see("the draft has no such step").await;
    browser.close_expecting(&["status of 422"]).await;
    server.stop().await;
}
