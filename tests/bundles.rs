//! A run's evidence in one file: checked offline by ours and by the checker that comes along.

use crate::support::bundle::{self, Unpacked};
use crate::support::server::TestServer;
use serde_json::json;

const STRANGER: &str = "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW";

async fn bundle_of(server: &TestServer, run: i64) -> Vec<u8> {
    server.wait_until_sealed().await;
    bundle::download(&server.user("auditor"), run).await
}

/// The key that signs, as it is known from elsewhere.
async fn vkey(server: &TestServer) -> String {
    let keys = server.user("auditor").get("/acts/log/key").await.expect(200).text;
    keys.lines().next().expect("a key").to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn bundle_is_checked_by_others_offline_and_is_the_same_each_time() {
    let server = TestServer::start().await;
    let runs = server.complete_runs(3).await;
    let first = bundle_of(&server, runs[1]).await;
    server.complete_runs(2).await;
    assert!(first == bundle_of(&server, runs[1]).await, "pinned to one checkpoint, whatever came since");
    let told = server.user("auditor").get("/acts/log.ndjson?type=bundle.made").await.expect(200).text;
    assert_eq!(told.lines().count(), 2);

    let vkey = vkey(&server).await;
    let unpacked = Unpacked::new(&first, server.scratch.path().join("bundle"));
    let (passed, said) = unpacked.check(Some(&vkey));
    assert!(passed && said.contains("signed with the key that you gave"), "{said}");
    let (passed, said) = unpacked.check(None);
    assert!(passed && said.contains("proves nothing"), "{said}");
    assert!(!unpacked.check(Some(STRANGER)).0);

    let file = server.scratch.path().join("downloaded").join("bundle.zip");
    std::fs::create_dir(file.parent().expect("a folder")).expect("made");
    std::fs::write(&file, &first).expect("written");
    let (passed, said) = bundle::verify(&file, &["--key", &vkey]);
    assert!(passed && said.contains("6 entries of run") && said.contains("given with --key"), "{said}");
    let (passed, said) = bundle::verify(&file, &[]);
    assert!(passed && said.contains("which proves nothing"), "{said}");
    assert!(!bundle::verify(&file, &["--key", STRANGER]).0);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn tampered_bundle_is_found_by_ours_and_by_the_checker_that_comes_along() {
    let server = TestServer::start().await;
    let run = server.complete_runs(1).await[0];
    let whole = bundle_of(&server, run).await;
    let vkey = vkey(&server).await;
    let change = |entries: &str, at: usize, with: &[&str]| {
        let mut lines: Vec<&str> = entries.lines().collect();
        lines.splice(at..=at, with.iter().copied());
        lines.iter().map(|line| format!("{line}\n")).collect::<String>()
    };
    for (how, seq) in [("changed", 3), ("removed", 3), ("cut", 6), ("swapped", 2)] {
        let unpacked = Unpacked::new(&whole, server.scratch.path().join(how));
        let entries = unpacked.read("entries.ndjson");
        let lines: Vec<&str> = entries.lines().collect();
        let forged = lines[2].replace("\"actor\":\"HMS-ACT\"", "\"actor\":\"mallory\"");
        let tampered = match how {
            "changed" => change(&entries, 2, &[&forged]),
            "removed" => change(&entries, 2, &[]),
            "cut" => change(&entries, 5, &[]),
            _ => change(&change(&entries, 1, &[lines[2]]), 2, &[lines[1]]),
        };
        unpacked.write("entries.ndjson", &tampered);
        let named = format!("BROKEN run {run} seq {seq}: ");
        let (passed, said) = unpacked.check(Some(&vkey));
        assert!(!passed && said.contains(&named), "{how}: {said}");
        let (passed, said) = unpacked.verify(&["--key", &vkey]);
        assert!(!passed && said.contains(&named), "{how}: {said}");
    }
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn bundle_is_for_those_who_may_export_and_of_a_run_that_there_is() {
    let server = TestServer::start().await;
    let staff = server.user("staff");
    let run = staff.start(7, json!({"license_id": 123})).await;
    staff.wait_for_status(run, "waiting").await;
    staff.get(&format!("/acts/runs/{run}/bundle")).await.problem(403);
    server.user("auditor").get("/acts/runs/8999/bundle").await.problem(404);
    server.user("auditor").get(&format!("/acts/runs/{run}/bundle?x=1")).await.problem(400);
    // A run that is on its way: what is signed so far.
    let unpacked = Unpacked::new(&bundle_of(&server, run).await, server.scratch.path().join("so-far"));
    assert!(unpacked.check(None).0);
    let manifest = unpacked.read("manifest.json");
    assert!(manifest.contains("\"complete\": false"), "{manifest}");
    assert!(!unpacked.has("disclosures.ndjson"), "nothing is sealed in it");
    let report = unpacked.read("report.html");
    assert!(report.contains("Not over yet") && !report.contains("<script"), "{report}");
    server.stop().await;
}
