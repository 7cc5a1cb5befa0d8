//! An admin changes a protocol in the browser: the first guide's own experiment.

use crate::support::browser::desks;
use crate::support::server::TestServer;
use serde_json::json;
use thirtyfour::prelude::*;

const DOCUMENT: &str = "Steps, as JSON";

#[tokio::test(flavor = "multi_thread")]
async fn audit_sync_is_inserted_before_deploy_and_nothing_else_changes() {
    let (desks, server) = (desks(1).await, TestServer::start().await);
    let admin = desks.seat(server.base_url(), "admin").await;
    admin.goto("/protocols").await;
    admin.follow("Export licence renewal").await;
    admin.see("Protocol 7, version 1").await;
    let before = admin.texts(".task__title code").await;
    let document = admin.field(DOCUMENT).await.value().await.expect("a field").expect("a text");
    let deploy = document.find(r#""id": "deploy""#).expect("a step deploy");
    let place = document[..deploy].rfind('{').expect("it begins");
    let (first, rest) = document.split_at(place);

    // First with a slip: everything that is wrong is said, by place, and what was typed is kept.
    let wrong = format!(r#"{first}{{"id": "audit_sync", "type": "scrpt"}}, {rest}"#);
    admin.fill(DOCUMENT, &wrong).await;
    admin.press("Save as version 2").await;
    admin.see("There is a problem").await;
    admin.see_in(".problems__place", "$.tasks[4].type").await;
    let kept = admin.field(DOCUMENT).await.value().await.expect("a field").expect("a text");
    assert_eq!(kept.trim(), wrong.trim());
    admin.fill(DOCUMENT, "{\"tasks\": [").await;
    admin.press("Save as version 2").await;
    admin.see_in(".problems", "line 1").await;

    admin.fill(DOCUMENT, &format!(r#"{first}{{"id": "audit_sync", "type": "script"}}, {rest}"#)).await;
    admin.press("Save as version 2").await;
    admin.see("Version 2 is saved. New runs follow it.").await;
    admin.see("Protocol 7, version 2").await;
    let mut expected = before;
    expected.insert(4, "audit_sync".to_owned());
    assert_eq!(admin.texts(".task__title code").await, expected);

    let (staff, supervisor) = (server.user("staff"), server.user("supervisor"));
    let id = staff.start(7, json!({"license_id": 123})).await;
    staff.wait_for_status(id, "waiting").await;
    admin.goto(&format!("/runs/{id}")).await;
    admin.mark().await;
    let steps = admin.texts(".step__title").await;
    assert!(steps[4].contains("udit") && steps[5].starts_with("Publish"), "{steps:?}");
    supervisor.decide(supervisor.approval(id).await, "approve", "Checked.").await.expect(200);
    admin.see_in("#state", "Completed").await;
    assert!(admin.is_marked().await);
    let done = admin.driver.find_all(By::Css(".step--done")).await.expect("a list");
    assert_eq!(done.len(), 6);
    admin.close_expecting(&["status of 422"]).await;
    server.stop().await;
}
