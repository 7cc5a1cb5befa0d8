//! Every page against WCAG 2.2 AA as axe-core checks it, on a desk and on a phone, light and dark.
//!
//! `axe.min.js` is the file of the npm package axe-core 4.14.1, unchanged; its licence is beside it.

use crate::support::browser::{Browser, Desks, desks};
use crate::support::server::TestServer;
use serde_json::{Value, json};

const AXE: &str = include_str!("axe.min.js");
const RUN_AXE: &str = r#"
    const done = arguments[0];
    for (const fold of document.querySelectorAll("details")) fold.open = true;
    const runOnly = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa"];
    axe.run(document, { runOnly, resultTypes: ["violations"], preload: false }).then(
        (found) => done(found.violations.flatMap((rule) => rule.nodes.map((node) => [rule.id, node.html, node.failureSummary]))),
        (error) => done([String(error)]));
"#;
const OVERFLOW: &str = r#"
    const width = document.documentElement.clientWidth;
    if (document.documentElement.scrollWidth <= width) return [];
    return [...document.querySelectorAll("body *")].filter((it) => it.getBoundingClientRect().right > width + 1)
        .map((it) => it.outerHTML.slice(0, 200));
"#;

/// The states of a page in which it is looked at: width in CSS pixels, colours.
const LOOKS: [(u32, &str); 4] = [(1280, "light"), (1280, "dark"), (390, "dark"), (390, "light")];

async fn check(browser: &Browser, path: &str, faults: &mut Vec<Value>) {
    browser.goto(path).await;
    check_here(browser, faults).await;
}

async fn check_here(browser: &Browser, faults: &mut Vec<Value>) {
    let path = browser.path().await;
    for (width, colours) in LOOKS {
        browser.look_at(width, colours).await;
        let found = browser.driver.execute_async(RUN_AXE, []).await.expect("axe runs").json().clone();
        for fault in found.as_array().expect("a list") {
            faults.push(json!([path, width, colours, fault]));
        }
        for element in browser.evaluate(OVERFLOW, []).await.as_array().expect("a list") {
            faults.push(json!([path, width, "wider than the window", element]));
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn faults_that_are_there_are_found() {
    let desks = desks(1).await;
    let browser = desks.open("").await;
    browser.devtools("Page.addScriptToEvaluateOnNewDocument", json!({"source": AXE})).await;
    let page = "data:text/html,<html lang=en><title>A</title><main><h1>A</h1><input>\
        <p style='color:%23bbb'>Pale<p style='width:1000px'>Wide</main>";
    let mut faults = Vec::new();
    check(&browser, page, &mut faults).await;
    for (width, _) in LOOKS {
        let found: Vec<_> =
            faults.iter().filter(|fault| fault[1] == width).map(|it| it.to_string()).collect();
        for fault in ["color-contrast", "\"label\""] {
            assert!(found.iter().any(|found| found.contains(fault)), "{fault} at {width}: {found:#?}");
        }
        assert_eq!(found.iter().any(|found| found.contains("wider than the window")), width == 390);
    }
    browser.close().await;
}

async fn seat(desks: &Desks, server: &TestServer, user: Option<&str>) -> Browser {
    let browser = match user {
        Some(user) => desks.seat(server.base_url(), user).await,
        None => desks.open(server.base_url()).await,
    };
    // The page's policy forbids scripts from elsewhere; what the browser itself brings along is not from there.
    browser.devtools("Page.addScriptToEvaluateOnNewDocument", json!({"source": AXE})).await;
    browser
}

#[track_caller]
fn assert_none(faults: &[Value]) {
    assert!(faults.is_empty(), "{}", serde_json::to_string_pretty(faults).expect("JSON"));
}

/// Runs to look at: one that waits with a high risk, one that is over, one that is cancelled.
async fn furnish(server: &TestServer) -> [i64; 3] {
    let (staff, supervisor) = (server.user("staff"), server.user("supervisor"));
    let mut runs = [0; 3];
    for run in &mut runs {
        *run = staff.start(7, json!({"license_id": 123})).await;
        staff.wait_for_status(*run, "waiting").await;
    }
    let approval = supervisor.approval(runs[1]).await;
    supervisor.decide(approval, "approve", "All in order.").await.expect(200);
    staff.wait_for_status(runs[1], "completed").await;
    let path = format!("/acts/runs/{}/cancel", runs[2]);
    staff.patch(&path, json!({"reason": "Withdrawn by the exporter."})).await.expect(202);
    runs
}

/// A run with groups in groups, one of many items, and a failure; and one that is stopped for review, with its override.
async fn furnish_situations(server: &TestServer) -> (i64, i64, i64) {
    let (staff, supervisor, admin) = (server.user("staff"), server.user("supervisor"), server.user("admin"));
    let compute = |id: &str| json!({"id": id, "type": "script", "uses": "compute", "with": {"n": 1}});
    let asks = |id: &str| json!({"id": id, "type": "hitl", "approvers": "supervisor", "quorum": 2});
    let each = json!({"id": "each", "type": "parallel", "for_each": "payload.parties", "tasks": [compute("screen"), asks("confirm")]});
    let wait = json!({"id": "paid", "type": "wait", "event": "payment_received", "key": "123"});
    let inner = json!({"id": "inner", "type": "parallel", "tasks": [asks("north"), wait]});
    let checks = json!({"id": "checks", "type": "parallel", "tasks": [each, [compute("fees"), inner]]});
    let protocol = admin.publish("Nested", json!({"tasks": [checks, compute("last")]})).await;
    let parties: Vec<Value> = (0..60).map(|number| json!({"name": format!("Party {number}")})).collect();
    let nested = staff.start(protocol, json!({"parties": parties})).await;
    staff.wait_for_status(nested, "waiting").await;
    let stopped = staff.start(7, json!({"license_id": 123})).await;
    staff.wait_for_status(stopped, "waiting").await;
    let filed =
        json!({"run_id": stopped, "action": "modify", "reason": "Wrong.", "new_value": {"note": "x"}});
    let filed = supervisor.post("/hitl/overrides", filed).await.expect(201);
    (nested, stopped, filed.json["id"].as_i64().expect("a number"))
}

#[tokio::test(flavor = "multi_thread")]
async fn pages_of_every_situation_are_accessible() {
    let (desks, server) = (desks(1).await, TestServer::start().await);
    let (nested, stopped, filed) = furnish_situations(&server).await;
    let [_, completed, _] = furnish(&server).await;
    let browser = seat(&desks, &server, Some("admin")).await;
    let mut faults = Vec::new();
    for path in [
        "/".to_owned(),
        format!("/runs/{nested}"),
        format!("/runs/{nested}?group=checks%2Feach&state=person&page=2"),
        format!("/runs/{nested}/replay?at=99"),
        format!("/runs/{nested}/replay?at=99&group=checks%2Feach&state=person&page=2"),
        format!("/runs/{nested}/override"),
        format!("/runs/{nested}/migrate"),
        format!("/runs/{nested}/migrate?version=9"),
        format!("/runs/{completed}/rerun"),
        format!("/runs/{stopped}"),
        "/overrides".to_owned(),
        "/overrides?tab=history".to_owned(),
        "/redactions".to_owned(),
        "/redactions?tab=history".to_owned(),
        format!("/overrides/{filed}"),
        "/schedules".to_owned(),
        "/protocols".to_owned(),
    ] {
        check(&browser, &path, &mut faults).await;
    }
    browser.goto("/protocols").await;
    browser.follow("Nested").await;
    check_here(&browser, &mut faults).await;
    assert_none(&faults);
    browser.close_expecting(&["status of 422"]).await;
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn pages_of_staff_and_supervisors_are_accessible() {
    let (desks, server) = (desks(1).await, TestServer::start().await);
    let mut faults = Vec::new();
    let browser = seat(&desks, &server, None).await;
    check(&browser, "/sign-in", &mut faults).await;
    browser.fill("User name", "staff").await;
    browser.fill("Password", "not the password").await;
    browser.press("Sign in").await;
    browser.see("The name or the password is wrong.").await;
    check_here(&browser, &mut faults).await;
    browser.sign_in("supervisor").await;
    for path in ["/", "/runs", "/approvals", "/approvals?tab=history"] {
        check(&browser, path, &mut faults).await;
    }
    let [waiting, completed, cancelled] = furnish(&server).await;
    let approval = server.user("supervisor").approval(waiting).await;
    for path in ["/", "/runs", "/runs?q=nothing&status=running", "/runs/new", "/runs/new?protocol_id=7"] {
        check(&browser, path, &mut faults).await;
    }
    for run in [waiting, completed, cancelled] {
        check(&browser, &format!("/runs/{run}"), &mut faults).await;
    }
    for place in ["replay", "replay?at=9", "replay/entries", "what-if"] {
        check(&browser, &format!("/runs/{completed}/{place}"), &mut faults).await;
    }
    browser.goto(&format!("/runs/{completed}/what-if")).await;
    browser.press("Show what would have happened").await;
    browser.see("exactly as it did").await;
    check_here(&browser, &mut faults).await;
    check(&browser, &format!("/runs/{waiting}/replay?at=5"), &mut faults).await;
    check(&browser, "/approvals", &mut faults).await;
    check(&browser, "/approvals?tab=history", &mut faults).await;
    check(&browser, &format!("/approvals/{approval}"), &mut faults).await;
    browser.choose("Reject: the run stops here").await;
    browser.fill("Reason", " ").await;
    browser.press("Record my decision").await;
    browser.see("There is a problem").await;
    check_here(&browser, &mut faults).await;
    check(&browser, "/nothing", &mut faults).await;
    check(&browser, "/users", &mut faults).await;
    assert_none(&faults);
    let refused = ["status of 401", "status of 403", "status of 404", "status of 422"];
    browser.close_expecting(&refused).await;
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn pages_of_admins_and_auditors_are_accessible() {
    let (desks, server) = (desks(1).await, TestServer::start().await);
    furnish(&server).await;
    let browser = seat(&desks, &server, Some("admin")).await;
    let mut faults = Vec::new();
    for path in [
        "/log",
        "/log?q=nothing%20like%20this",
        "/log?run_id=abc",
        "/log?search=actr%3Aada+type%3Astep.dne",
        "/log?search=type%3Astep.dne",
        "/log/9001/2",
        "/protocols",
        "/protocols/7",
        "/protocols/new",
        "/actions",
        "/actions/deploy",
        "/agents",
        "/agents/ai_analysis",
        "/users",
    ] {
        check(&browser, path, &mut faults).await;
    }
    browser.goto("/protocols/7").await;
    browser.fill("Steps, as JSON", r#"{"tasks": [{"id": "a", "type": "wrong"}]}"#).await;
    browser.press("Save as version 2").await;
    browser.see("There is a problem").await;
    check_here(&browser, &mut faults).await;
    assert_none(&faults);
    browser.close_expecting(&["status of 422", "status of 400"]).await;
    server.stop().await;
}
