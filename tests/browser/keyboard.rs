//! With nothing but a keyboard.

use crate::support::browser::{Browser, desks};
use crate::support::server::{DEMO_PASSWORD, TestServer};
use thirtyfour::prelude::*;

/// What has the focus, in the words that a person reads for it; and whether the focus can be seen.
const FOCUSED: &str = r#"
    const element = document.activeElement;
    const said = element.labels?.[0]?.innerText ?? element.innerText ?? "";
    const seen = [element, ...(element.labels ?? [])].some((it) => {
        const style = [getComputedStyle(it), getComputedStyle(it, "::before")];
        return style.some((it) => it.boxShadow !== "none"
            || (it.outlineStyle !== "none" && parseFloat(it.outlineWidth) >= 2));
    });
    return [said.trim().replace(/\s+/g, " "), seen, element === document.body];
"#;

/// More stops than any page has.
const MOST: usize = 60;

async fn press_key(browser: &Browser, keys: impl Into<TypingData>) {
    browser.driver.action_chain().send_keys(keys).perform().await.expect("a keyboard");
}

/// Goes on with Tab until this has the focus; every stop on the way can be seen.
async fn tab_to(browser: &Browser, what: &str) {
    let mut passed = Vec::new();
    for _ in 0..MOST {
        press_key(browser, Key::Tab).await;
        let focused = browser.evaluate(FOCUSED, []).await;
        let said = focused[0].as_str().expect("text").to_owned();
        assert!(focused[1] == true || focused[2] == true, "the focus on {said:?} cannot be seen");
        if said.starts_with(what) {
            return;
        }
        passed.push(said);
    }
    panic!("Tab does not lead to {what:?} at {}, only to {passed:#?}", browser.path().await);
}

async fn enter(browser: &Browser) {
    press_key(browser, Key::Enter).await;
}

async fn sign_in(browser: &Browser, user: &str) {
    browser.goto("/sign-in").await;
    tab_to(browser, "User name").await;
    press_key(browser, user).await;
    tab_to(browser, "Password").await;
    press_key(browser, DEMO_PASSWORD).await;
    enter(browser).await;
    browser.see("Sign out").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn run_is_started_and_approved_by_keyboard_alone() {
    let (desks, server) = (desks(2).await, TestServer::start().await);
    let (staff, supervisor) = tokio::join!(desks.open(server.base_url()), desks.open(server.base_url()));
    sign_in(&staff, "staff").await;
    tab_to(&staff, "Skip to the main content").await;
    enter(&staff).await;
    tab_to(&staff, "Start a run").await;
    enter(&staff).await;
    staff.see("Choose what is to be done.").await;
    tab_to(&staff, "Export licence renewal").await;
    enter(&staff).await;
    staff.see("What will happen").await;
    tab_to(&staff, "Licence number").await;
    press_key(&staff, "123").await;
    tab_to(&staff, "Start the run").await;
    enter(&staff).await;
    staff.see_in("#state", "Waiting for a supervisor").await;

    sign_in(&supervisor, "supervisor").await;
    tab_to(&supervisor, "Approvals").await;
    enter(&supervisor).await;
    supervisor.arrive("/approvals").await;
    tab_to(&supervisor, "Approve the renewal").await;
    enter(&supervisor).await;
    supervisor.see("Your decision").await;
    tab_to(&supervisor, "Approve: the run goes on").await;
    // Arrow keys choose among radio buttons.
    press_key(&supervisor, Key::Down).await;
    press_key(&supervisor, Key::Up).await;
    tab_to(&supervisor, "Reason").await;
    press_key(&supervisor, "Read it all, with the keyboard.").await;
    tab_to(&supervisor, "Record my decision").await;
    enter(&supervisor).await;
    supervisor.see("Your decision is recorded.").await;
    supervisor.see("Read it all, with the keyboard.").await;
    staff.see_in("#state", "Completed").await;
    tokio::join!(staff.close(), supervisor.close());
    server.stop().await;
}
