//! Text that would like to be markup stays text, on every page that shows it.

use crate::support::browser::{Browser, desks};
use crate::support::server::TestServer;
use serde_json::json;

const PICTURE: &str = r#"<img src=x onerror="window.hacked=1">"#;
const SCRIPT: &str = "</textarea></pre></title><script>window.hacked=1</script>";

async fn shows_as_text(browser: &Browser, what: &[&str]) {
    let inert =
        "return !window.hacked && !document.querySelector('main img, main script, main textarea + script')";
    assert_eq!(browser.evaluate(inert, []).await, true, "it became markup at {}", browser.path().await);
    for text in what {
        let shown = "return document.querySelector('main').textContent.includes(arguments[0])
            || [...document.querySelectorAll('main textarea, main input')].some(it => it.value.includes(arguments[0]))";
        let shown = browser.evaluate(shown, [json!(text)]).await;
        assert_eq!(shown, true, "{text} is not shown at {}", browser.path().await);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn hostile_text_shows_as_text_everywhere() {
    let (desks, server) = (desks(1).await, TestServer::start().await);
    let definition = json!({"description": SCRIPT, "tasks": [
        {"id": "compute", "type": "script", "uses": "compute", "title": PICTURE, "with": {"echo": "${payload.note}"}},
        {"id": "approve", "type": "hitl", "title": SCRIPT},
    ]});
    let admin = server.user("admin");
    let created = admin.post("/acts/protocols", json!({"name": PICTURE, "definition": definition})).await;
    let protocol = created.expect(201).json["id"].as_i64().expect("a number");
    let payload = json!({"note": PICTURE, "title": SCRIPT, SCRIPT: [PICTURE, {"deep": SCRIPT}]});
    let id = server.user("staff").start(protocol, payload).await;
    server.user("staff").wait_for_status(id, "waiting").await;
    let approval = admin.approval(id).await;

    let browser = desks.seat(server.base_url(), "admin").await;
    let run = format!("/runs/{id}");
    for (path, what) in [
        (run.as_str(), &[PICTURE, SCRIPT][..]),
        (&format!("/approvals/{approval}"), &[PICTURE, SCRIPT]),
        ("/approvals", &[PICTURE, SCRIPT]),
        ("/", &[PICTURE]),
        ("/runs", &[PICTURE]),
        ("/protocols", &[PICTURE, SCRIPT]),
        (&format!("/protocols/{protocol}"), &[PICTURE, SCRIPT]),
        (&format!("/runs/new?protocol_id={protocol}"), &[PICTURE, SCRIPT]),
        (&format!("{run}/replay"), &[PICTURE, SCRIPT]),
        (&format!("{run}/replay/entries"), &[PICTURE, SCRIPT]),
        (&format!("{run}/what-if"), &[PICTURE]),
        ("/log", &[PICTURE, SCRIPT]),
        ("/log?q=%3C/textarea%3E%3Cscript%3Ewindow.hacked=1%3C/script%3E", &["</textarea><script>"]),
        ("/runs?q=%22%3E%3Cimg%20src=x%20onerror=window.hacked=1%3E", &["\"><img src=x"]),
    ] {
        browser.goto(path).await;
        shows_as_text(&browser, what).await;
    }

    // Into a page that is open, too.
    browser.goto(&run).await;
    browser.listening().await;
    server.user("supervisor").decide(approval, "reject", PICTURE).await.expect(200);
    browser.see_in("#state", PICTURE).await;
    shows_as_text(&browser, &[PICTURE, SCRIPT]).await;
    browser.goto(&format!("/approvals/{approval}")).await;
    shows_as_text(&browser, &[PICTURE, SCRIPT]).await;
    browser.close().await;
    server.stop().await;
}
