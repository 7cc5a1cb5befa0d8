//! Renewing licence #123: three people, each in a browser of their own.

use crate::support::browser::{Browser, desks};
use crate::support::process::published;
use crate::support::server::TestServer;

const PLAN: [&str; 5] = [
    "Get the application",
    "Screen the parties",
    "Draft the licence letter",
    "Approve the renewal",
    "Publish the licence to the exporter",
];

#[tokio::test(flavor = "multi_thread")]
async fn the_licence_walk() {
    let (desks, server) = (desks(3).await, TestServer::start().await);
    let (staff, supervisor) =
        tokio::join!(desks.seat(server.base_url(), "staff"), desks.seat(server.base_url(), "supervisor"));
    supervisor.goto("/approvals").await;
    supervisor.mark().await;
    supervisor.see("Nothing waits for a decision.").await;

    start_123(&staff).await;
    staff.arrive("/runs/9001").await;
    staff.mark().await;
    // Every step of the plan is there from the first, whether it has happened yet or not.
    assert_eq!(staff.texts(".step__title").await, PLAN);
    staff.see_in("#state", "Waiting for a supervisor").await;
    assert!(published(server.scratch.path()).is_empty(), "nothing is published before somebody approves");

    supervisor.see_in("#live", "Approve the renewal").await;
    supervisor.see_in("#live", "started by staff").await;
    assert!(supervisor.is_marked().await, "the list was loaded again");
    supervisor.follow("Approve the renewal").await;
    read_and_approve(&supervisor).await;

    staff.see_in("#state", "Completed").await;
    assert!(staff.is_marked().await, "the run's page was loaded again");
    assert_eq!(staff.texts(".step__title").await, PLAN);

    let auditor = desks.seat(server.base_url(), "auditor").await;
    play_back(&auditor).await;
    let licences = published(server.scratch.path());
    assert_eq!(licences.iter().map(|(_, licence)| *licence).collect::<Vec<_>>(), [123]);
    tokio::join!(staff.close(), supervisor.close(), auditor.close());
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_licence_walk_without_javascript() {
    let (desks, server) = (desks(1).await, TestServer::start().await);
    let browser = desks.open_without_javascript(server.base_url()).await;
    browser.sign_in("staff").await;
    start_123(&browser).await;
    browser.see("This page does not update by itself without JavaScript.").await;
    assert_eq!(browser.texts(".step__title").await, PLAN);
    reload_until(&browser, "Waiting for a supervisor").await;
    browser.press("Sign out").await;

    browser.sign_in("supervisor").await;
    browser.goto("/approvals").await;
    browser.follow("Approve the renewal").await;
    read_and_approve(&browser).await;
    browser.press("Sign out").await;

    browser.sign_in("staff").await;
    browser.goto("/runs/9001").await;
    reload_until(&browser, "Completed").await;
    browser.press("Sign out").await;

    browser.sign_in("auditor").await;
    play_back(&browser).await;
    assert_eq!(published(server.scratch.path()).len(), 1);
    browser.close().await;
    server.stop().await;
}

/// From the home page to the run's page, as the form leads.
async fn start_123(browser: &Browser) {
    browser.follow("Start a run").await;
    browser.follow("Export licence renewal").await;
    for step in PLAN {
        browser.see(step).await;
    }
    browser.fill("Licence number", "123").await;
    browser.press("Start the run").await;
    browser.see("Run 9001 – Export licence renewal").await;
}

async fn read_and_approve(browser: &Browser) {
    browser.see("What the AI analysis found").await;
    browser.see("Low risk").await;
    browser.see("The letter that would be sent").await;
    browser.see("started by staff").await;
    browser.choose("Approve: the run goes on").await;
    browser.fill("Reason", "All parties checked; nothing on the list.").await;
    browser.press("Record my decision").await;
    browser.see("Your decision is recorded.").await;
    browser.see("All parties checked; nothing on the list.").await;
}

async fn play_back(browser: &Browser) {
    browser.goto("/runs").await;
    browser.follow("Run 9001 – Export licence renewal").await;
    browser.follow("Replay this run").await;
    browser.see("Nothing is being executed.").await;
    browser.follow("Every entry as a list").await;
    browser.see("Nothing is being executed: this is a recording.").await;
    assert_eq!(browser.texts("tbody tr").await.len(), 12);
    let sentences = browser.texts("tbody th").await;
    assert!(sentences.iter().any(|sentence| sentence.contains("All parties checked")), "{sentences:#?}");
}

async fn reload_until(browser: &Browser, status: &str) {
    browser
        .wait_for(status, async || {
            browser.reload().await;
            browser.texts("#state").await.iter().any(|text| text.contains(status))
        })
        .await;
}
