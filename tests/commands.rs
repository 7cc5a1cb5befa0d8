//! `command` actions in the real server: what an operator allowed runs, within its bounds, and nothing else does.

use crate::support::client::{Caller, GUARD};
use crate::support::server::TestServer;
use serde_json::{Value, json};
use std::io::Read;

async fn start() -> TestServer {
    TestServer::start_with(|config| config.allow_commands = vec!["/bin/cat".into(), "/bin/sh".into()]).await
}

async fn register(admin: &Caller, name: &str, config: Value) {
    let body = json!({"name": name, "kind": "command", "config": config});
    admin.post("/acts/actions", body).await.expect(201);
}

/// Runs a shell's text as a step, and gives the run.
async fn run(server: &TestServer, name: &str, config: Value) -> i64 {
    let admin = server.user("admin");
    register(&admin, name, config).await;
    let protocol =
        admin.publish(name, json!({"tasks": [{"id": "work", "type": "script", "uses": name}]})).await;
    server.user("staff").start(protocol, json!({"license_id": 123, "y": "a b; $(id)"})).await
}

fn script(text: &str) -> Value {
    json!({"program": "/bin/sh", "args": ["-c", text, "sh", "--", "${input.y}"]})
}

#[tokio::test(flavor = "multi_thread")]
async fn allowed_program_gets_the_input_and_its_output_is_the_result() {
    let server = start().await;
    let staff = server.user("staff");
    let id = run(&server, "echo", json!({"program": "/bin/cat"})).await;
    let done = staff.wait_for_status(id, "completed").await;
    assert_eq!(done["payload"]["work"], json!({"license_id": 123, "y": "a b; $(id)"}));
    let text =
        "printf '[\"%s\", %s, \"%s\", \"%s\"]' \"$2\" $# \"$ACT_RUN/$ACT_STEP\" \"$HOME$HMS_ACT_DATA_DIR\"";
    let id = run(&server, "args", script(text)).await;
    let done = staff.wait_for_status(id, "completed").await;
    assert_eq!(done["payload"]["work"], json!(["a b; $(id)", 2, format!("{id}/work"), ""]));
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn program_that_is_not_allowed_cannot_be_registered() {
    let server = start().await;
    let admin = server.user("admin");
    let body = |program: &str| json!({"name": "steal", "kind": "command", "config": {"program": program}});
    for program in ["/usr/bin/id", "/bin/../bin/sh", "sh", "/bin/sh -c id"] {
        let refused = admin.post("/acts/actions", body(program)).await;
        assert_eq!(refused.errors()[0].0, "$.config.program", "{program}");
    }
    let refused = admin.post("/acts/actions", body("/usr/bin/id")).await;
    assert!(refused.errors()[0].1.contains("HMS_ACT_ALLOW_COMMANDS=/usr/bin/id"), "{}", refused.text);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn failures_say_what_the_program_said() {
    let server = start().await;
    let staff = server.user("staff");
    let mut slow = script("sleep 1000");
    slow["timeout_seconds"] = 0.2.into();
    let mut loud = script("yes");
    loud["max_output_bytes"] = 1000.into();
    for (name, config, said) in [
        ("garbage", script("echo hello"), "is not valid JSON"),
        ("exit", script("echo no such licence >&2; exit 3"), "exit code 3: no such licence"),
        ("slow", slow, "did not end within 0.2 seconds"),
        ("loud", loud, "wrote more than 1000 bytes"),
    ] {
        let id = run(&server, name, config).await;
        let failed = staff.wait_for_status(id, "failed").await;
        assert!(failed["reason"].as_str().expect("why").contains(said), "{failed:#}");
    }
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn cancelled_run_ends_its_program_with_its_children() {
    let server = start().await;
    let staff = server.user("staff");
    let pipe = server.scratch.path().join("pipe");
    let made = std::process::Command::new("mkfifo").arg(&pipe).status().expect("mkfifo runs");
    assert!(made.success());
    // Each of them holds the pipe open as long as it lives.
    let text = format!("exec 3> {}; echo began >&3; sleep 1000 & trap '' TERM; wait; wait", pipe.display());
    let id = run(&server, "holds", script(&text)).await;
    let reads = tokio::task::spawn_blocking(move || {
        let mut file = std::fs::File::open(pipe).expect("a pipe");
        let mut began = [0; 6];
        file.read_exact(&mut began).expect("it began");
        (file, began)
    });
    let (mut file, began) = tokio::time::timeout(GUARD, reads).await.expect("it began").expect("no panic");
    assert_eq!(&began, b"began\n");
    staff.patch(&format!("/acts/runs/{id}/cancel"), json!({"reason": "Enough."})).await.expect(202);
    staff.wait_for_status(id, "cancelled").await;
    // The end of the pipe comes when nobody is left that holds it.
    let ends = tokio::task::spawn_blocking(move || file.read(&mut [0; 1]).expect("a pipe"));
    assert_eq!(tokio::time::timeout(GUARD, ends).await.expect("it ended").expect("no panic"), 0);
    server.stop().await;
}
