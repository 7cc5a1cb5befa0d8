//! `hms-act doctor`: well where all is well, and a line that says what to do where it is not.

use crate::support::process::Setup;
use crate::support::server::TestServer;
use diesel::connection::SimpleConnection;
use std::fs::{Permissions, set_permissions};
use std::os::unix::fs::PermissionsExt;

fn examined(setup: &Setup) -> (bool, String) {
    let output = setup.run(&["doctor"]);
    let said = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    (output.status.success(), said.into_owned())
}

#[tokio::test(flavor = "multi_thread")]
async fn doctor_finds_what_is_wrong_and_says_what_to_do() {
    let server = TestServer::start().await;
    server.complete_runs(1).await;
    let (database, scratch) = server.stop_and_keep().await;
    let urls = Some((database.url(), database.owner_url()));
    let setup = Setup {
        data_dir: scratch.path().to_owned(),
        demo: false,
        database: urls,
        allow_hosts: String::new(),
    };
    let (well, said) = examined(&setup);
    assert!(well && !said.contains("WRONG"), "{said}");
    assert!(said.contains("ok     the log goes on from what was signed here last"), "{said}");

    let key = scratch.path().join("log-key.pem");
    set_permissions(&key, Permissions::from_mode(0o644)).expect("ours");
    let mut owner = database.connect_as_owner();
    owner.batch_execute("SET ROLE hms_act_owner; GRANT UPDATE ON activity_log TO hms_act_app").expect("ours");
    let silent = "RESET ROLE; INSERT INTO instances (label, heartbeat_at) VALUES ('gone', '2026-01-01')";
    owner.batch_execute(silent).expect("ours");
    let (well, said) = examined(&setup);
    assert!(!well && said.contains("is open to others (mode 644): chmod 600 it"), "{said}");
    assert!(said.contains("WRONG  the login of DATABASE_URL could alter the activity log"), "{said}");
    assert!(said.contains("look   1 instance(s) have been silent"), "{said}");

    // Without the last head that was signed here, nothing is known of what the database should go on from.
    std::fs::remove_file(scratch.path().join("log-checkpoint")).expect("there");
    assert!(!examined(&setup).1.contains("signed here last"));
}
