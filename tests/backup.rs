//! Backups: what is written, whether a log that is lost comes back as it was, and what is found when they were changed.

use crate::support::bucket::{Buckets, free_port};
use crate::support::client::GUARD;
use crate::support::postgres::{ScratchDir, TestDatabase};
use crate::support::process::{Setup, TestProcess};
use crate::support::server::{TestServer, seats};
use crate::waits::publish;
use diesel::sql_types::{Nullable, Text};
use diesel::{PgConnection, QueryableByName, RunQueryDsl, sql_query};
use hms_act::audit::checkpoint::Checkpoint;
use hms_act::audit::note::VerifierKey;
use hms_act::config::{Backup, Secret};
use serde_json::json;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// The command line on this database, with this data directory.
pub fn setup(database: &TestDatabase, data_dir: &Path) -> Setup {
    let database = Some((database.url(), database.owner_url()));
    Setup { data_dir: data_dir.to_owned(), demo: false, database, allow_hosts: String::new() }
}

/// Whether it went well, and all that it said.
pub fn run(setup: &Setup, arguments: &[&str]) -> (bool, String) {
    let output = setup.run(arguments);
    let said = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    (output.status.success(), said.into_owned())
}

/// What it said, when it went well.
#[track_caller]
pub fn well(setup: &Setup, arguments: &[&str]) -> String {
    let (went_well, said) = run(setup, arguments);
    assert!(went_well, "{said}");
    said
}

/// Everything that is made from the log, the log itself and its tree, and the tables beside it, as text.
fn content(connection: &mut PgConnection) -> BTreeMap<&'static str, String> {
    #[derive(QueryableByName)]
    struct Rows {
        #[diesel(sql_type = Nullable<Text>)]
        rows: Option<String>,
    }
    [
        ("runs", "SELECT * FROM runs ORDER BY run_id"),
        ("approvals", "SELECT * FROM approvals ORDER BY id"),
        ("overrides", "SELECT * FROM overrides ORDER BY id"),
        ("timers", "SELECT * FROM timers ORDER BY run_id, step, kind"),
        ("work", "SELECT run_id, step, attempt, action FROM work ORDER BY run_id, step"),
        ("event_waits", "SELECT run_id, step, name, key FROM event_waits ORDER BY run_id, step"),
        ("subruns", "SELECT * FROM subruns ORDER BY run_id, child_run_id"),
        ("slots", "SELECT * FROM slots ORDER BY run_id"),
        ("start_keys", "SELECT * FROM start_keys ORDER BY run_id"),
        ("disclosures", "SELECT * FROM disclosures ORDER BY run_id, seq, place"),
        ("redactions", "SELECT * FROM redactions ORDER BY id"),
        ("events", "SELECT id, name, key, payload FROM events WHERE taken_at IS NULL ORDER BY id"),
        ("users", "SELECT * FROM users ORDER BY name"),
        ("protocols", "SELECT * FROM protocols ORDER BY id"),
        ("protocol_versions", "SELECT * FROM protocol_versions ORDER BY protocol_id, version"),
        ("actions", "SELECT * FROM actions ORDER BY name"),
        ("agents", "SELECT * FROM agents ORDER BY name"),
        ("schedules", "SELECT * FROM schedules ORDER BY protocol_id"),
        ("settings", "SELECT * FROM settings ORDER BY key"),
        ("log_keys", "SELECT * FROM log_keys ORDER BY vkey"),
        ("log_tiles", "SELECT * FROM log_tiles ORDER BY level, index"),
        (
            "activity_log",
            "SELECT run_id, stream, seq, t, actor, type, step, attempt, status, leaf, leaf_hash, beside
             FROM activity_log WHERE type NOT IN ('log.backed_up', 'log.restored') ORDER BY run_id, stream, seq",
        ),
    ]
    .into_iter()
    .map(|(name, query)| {
        let all = format!("SELECT json_agg(t)::text AS rows FROM ({query}) t");
        let found: Rows = sql_query(all).get_result(connection).expect(name);
        (name, found.rows.unwrap_or_default())
    })
    .collect()
}

/// What is sealed in a run's first entry.
fn disclosure(connection: &mut PgConnection, run_id: i64) -> String {
    #[derive(QueryableByName)]
    struct Sealed {
        #[diesel(sql_type = Text)]
        disclosure: String,
    }
    let query = format!("SELECT disclosure FROM disclosures WHERE run_id = {run_id} AND seq = 1");
    sql_query(query).get_result::<Sealed>(connection).expect("one").disclosure
}

#[track_caller]
fn assert_same(before: &BTreeMap<&'static str, String>, after: &BTreeMap<&'static str, String>) {
    for (name, rows) in before {
        // Line by line: of a difference one wants to see the rows.
        let lines = |rows: &str| rows.split("}, \n").map(str::to_owned).collect::<Vec<_>>();
        assert_eq!(lines(rows), lines(&after[name]), "{name}");
    }
}

const SSN: &str = "078-05-1120";

/// Runs that stand in every way that a run can.
struct Runs {
    done: i64,
    licence: i64,
    event: i64,
    held: i64,
    first_of_lane: i64,
    parent: i64,
    child: i64,
    paused: i64,
    rerun: i64,
    offered: i64,
}

/// Stops it once all is signed: what another test's transaction holds up is not lost, but not in the backup either.
async fn stop_sealed(server: TestServer) -> (TestDatabase, ScratchDir) {
    server.wait_until_sealed().await;
    server.stop_and_keep().await
}

async fn start_runs(server: &TestServer) -> Runs {
    let (admin, staff, supervisor) = (server.user("admin"), server.user("staff"), server.user("supervisor"));
    let check = json!({"tasks": [{"id": "check", "type": "hitl"}]});
    let two = json!({"tasks": [
        {"id": "one", "type": "script", "uses": "compute"},
        {"id": "check", "type": "hitl", "max_minutes": 90},
    ]});
    let two = publish(&admin, "Two", two).await;
    let wait = json!({"tasks": [{"id": "paid", "type": "wait", "event": "paid", "key": "${payload.case}"}]});
    let wait = publish(&admin, "Wait", wait).await;
    let limited = json!({
        "concurrency": {"key": "${payload.case}", "limit": 1, "when_full": "wait"},
        "tasks": [{"id": "check", "type": "hitl"}],
    });
    let limited = publish(&admin, "One at a time", limited).await;
    let sealed = json!({"redact": ["payload.ssn"], "tasks": [{"id": "check", "type": "hitl"}]});
    let sealed = publish(&admin, "Sealed", sealed).await;
    let sealed = staff.start(sealed, json!({"case": "s", "ssn": SSN})).await;
    staff.wait_for_status(sealed, "waiting").await;
    publish(&admin, "Inner", check).await;
    let outer = json!({"tasks": [{"id": "Inner", "type": "protocol"}]});
    let outer = publish(&admin, "Outer", outer).await;
    admin.post("/acts/actions", json!({"name": "pull", "kind": "worker", "config": {}})).await.expect(201);
    let pull = json!({"tasks": [{"id": "pull", "type": "script"}]});
    let pull = publish(&admin, "Pull", pull).await;

    // With values that no leaf can hold as they are.
    let large = json!({"n": 9_007_199_254_740_993_i64, "text": "x".repeat(100_000), "case": "z"});
    let done = staff.start(two, large).await;
    staff.wait_for_status(done, "waiting").await;
    supervisor.decide(supervisor.approval(done).await, "approve", "Fine.").await.expect(200);
    staff.wait_for_status(done, "completed").await;
    let rejected = staff.start(two, json!({"case": "r"})).await;
    staff.wait_for_status(rejected, "waiting").await;
    supervisor.decide(supervisor.approval(rejected).await, "reject", "Not like this.").await.expect(200);
    staff.wait_for_status(rejected, "rejected").await;
    let rerun = staff.act(rejected, "rerun", json!({"reason": "Once more."})).await.expect(202);
    let rerun = rerun.json["run_id"].as_i64().expect("a number");
    staff.wait_for_status(rerun, "waiting").await;
    let licence = staff.start(7, json!({"license_id": 123})).await;
    staff.wait_for_status(licence, "waiting").await;
    let event = staff.start(wait, json!({"case": "7"})).await;
    staff.wait_for_status(event, "waiting").await;
    let first_of_lane = staff.start(limited, json!({"case": "a"})).await;
    staff.wait_for_status(first_of_lane, "waiting").await;
    let held = staff.start(limited, json!({"case": "a"})).await;
    let parent = staff.start(outer, json!({})).await;
    let begun = staff.wait_for_entry(parent, "subrun.started").await;
    let child = begun["detail"]["run"].as_i64().expect("a number");
    let begins = async {
        while staff.get(&format!("/acts/runs/{child}")).await.status == 404 {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(GUARD, begins).await.expect("the sub-run begins");
    staff.wait_for_status(child, "waiting").await;
    let paused = staff.start(two, json!({"case": "p"})).await;
    staff.wait_for_status(paused, "waiting").await;
    let filed =
        json!({"run_id": paused, "action": "modify", "reason": "A wrong case.", "new_value": {"case": "q"}});
    supervisor.post("/hitl/overrides", filed).await.expect(201);
    let offered = staff.start(pull, json!({})).await;
    staff.wait_for_entry(offered, "step.started").await;
    admin.post("/acts/events/kept", json!({"key": "k", "payload": {"a": 1}})).await.expect(202);
    Runs { done, licence, event, held, first_of_lane, parent, child, paused, rerun, offered }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_that_was_lost_comes_back_as_it_was_and_its_runs_go_on() {
    let server = TestServer::start().await;
    let runs = start_runs(&server).await;
    let payload = server.user("staff").run(runs.done).await["payload"].clone();
    let (database, scratch) = stop_sealed(server).await;
    let before = content(&mut database.connect_as_owner());
    let to = scratch.path().join("backup");
    let to = to.to_str().expect("UTF-8");
    well(&setup(&database, scratch.path()), &["backup", "--to", to]);
    drop(database);

    let fresh = TestDatabase::new();
    let setup_fresh = setup(&fresh, scratch.path());
    let said = well(&setup_fresh, &["restore", "--from", to]);
    assert!(said.contains("the root that was signed"), "{said}");
    assert_same(&before, &content(&mut fresh.connect_as_owner()));
    let (passed, said) = setup_fresh.verify();
    assert!(passed, "{said}");
    let (again, said) = run(&setup_fresh, &["restore", "--from", to]);
    assert!(!again && said.contains("into an empty one only"), "{said}");

    let server = TestServer::start_on(fresh, scratch).await;
    let (staff, supervisor) = (server.user("staff"), server.user("supervisor"));
    assert_eq!(staff.run(runs.done).await["payload"], payload);
    for run in [runs.licence, runs.first_of_lane, runs.child, runs.rerun] {
        supervisor.decide(supervisor.approval(run).await, "approve", "Fine.").await.expect(200);
        staff.wait_for_status(run, "completed").await;
    }
    staff.wait_for_status(runs.parent, "completed").await;
    staff.wait_for_status(runs.held, "waiting").await;
    let paid = json!({"key": "7", "payload": {}});
    server.user("admin").post("/acts/events/paid", paid).await.expect(202);
    staff.wait_for_status(runs.event, "completed").await;
    let overrides = supervisor.get("/hitl/overrides?status=pending").await.expect(200).json;
    let id = &overrides["overrides"][0]["id"];
    let choice = json!({"choice": "modify", "reason": "Right."});
    server.user("admin").post(&format!("/hitl/overrides/{id}/decision"), choice).await.expect(200);
    staff.wait_for_status(runs.paused, "waiting").await;
    assert_eq!(staff.run(runs.paused).await["payload"]["case"], "q");
    let claim = json!({"actions": ["pull"], "worker": "w"});
    let work = server.user("admin").post("/acts/work/claim", claim).await.expect(200).json;
    assert_eq!(work["work"][0]["run_id"], runs.offered);
    let new = staff.start(7, json!({"license_id": 123})).await;
    assert!(new > runs.offered + 500, "numbers that may have been given are not given again: {new}");
    server.wait_until_sealed().await;
    let restored = server.user("auditor").get("/acts/log.ndjson?type=log.restored").await.expect(200).text;
    assert_eq!(restored.lines().count(), 1, "{restored}");

    let (database, scratch) = stop_sealed(server).await;
    let said = well(&setup(&database, scratch.path()), &["backup", "--to", to]);
    assert!(said.contains("are in the backup"), "{said}");
    let another = TestDatabase::new();
    well(&setup(&another, scratch.path()), &["restore", "--from", to]);
    let (passed, said) = setup(&another, scratch.path()).verify();
    assert!(passed, "{said}");
}

fn files(dir: &Path) -> Vec<PathBuf> {
    let (mut found, mut open) = (Vec::new(), vec![dir.to_owned()]);
    while let Some(directory) = open.pop() {
        for entry in std::fs::read_dir(directory).expect("readable") {
            let path = entry.expect("an entry").path();
            if path.is_dir() { open.push(path) } else { found.push(path) }
        }
    }
    found.sort();
    found
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flipped_byte_anywhere_in_a_backup_is_found_and_named() {
    let server = TestServer::start().await;
    let compute = json!({"tasks": [{"id": "one", "type": "script", "uses": "compute"}]});
    let protocol = publish(&server.user("admin"), "One", compute).await;
    let staff = server.user("staff");
    for number in 0..70 {
        let run =
            staff.start(protocol, json!({"text": "y".repeat(if number == 3 { 90_000 } else { 10 })})).await;
        staff.wait_for_status(run, "completed").await;
    }
    let (database, scratch) = stop_sealed(server).await;
    let to = scratch.path().join("backup");
    let place = to.to_str().expect("UTF-8");
    well(&setup(&database, scratch.path()), &["backup", "--to", place]);
    drop(database);

    let fresh = TestDatabase::new();
    let setup = setup(&fresh, scratch.path());
    let objects = files(&to);
    let named = |path: &Path| path.strip_prefix(&to).expect("below").to_str().expect("UTF-8").to_owned();
    let names: Vec<String> = objects.iter().map(|path| named(path)).collect();
    for expected in
        ["tile/0/000", "tile/1/000.p/1", "tile/entries/000", "beside/000", "aside/entries/000", "checkpoint"]
    {
        assert!(names.iter().any(|name| name == expected), "{expected}: {names:?}");
    }
    for path in &objects {
        let sound = std::fs::read(path).expect("readable");
        // The daily manifest is what is read when it is asked for.
        let name = named(path);
        let daily = name.starts_with("manifest/") && !name.ends_with("latest.json");
        let day = name.trim_start_matches("manifest/").trim_end_matches(".json").to_owned();
        for at in [0, sound.len() / 2, sound.len().saturating_sub(2)] {
            if sound.is_empty() {
                continue;
            }
            let mut flipped = sound.clone();
            flipped[at] ^= 1;
            std::fs::write(path, flipped).expect("written");
            let arguments = if daily {
                vec!["restore", "--from", place, "--at", &day]
            } else {
                vec!["restore", "--from", place]
            };
            let (passed, said) = run(&setup, &arguments);
            assert!(!passed, "byte {at} of {name}: {said}");
            let object = name.trim_start_matches("aside/");
            assert!(said.contains(object), "byte {at} of {name}: {said}");
            if name.starts_with("tile/entries/") && at > 0 {
                assert!(said.contains("run ") && said.contains(" seq "), "byte {at} of {name}: {said}");
            }
        }
        std::fs::remove_file(path).expect("removed");
        if name != "checkpoint" {
            let arguments = if daily {
                vec!["restore", "--from", place, "--at", &day]
            } else {
                vec!["restore", "--from", place]
            };
            let (passed, said) = run(&setup, &arguments);
            let object = name.trim_start_matches("aside/");
            assert!(!passed && said.contains(object), "without {name}: {said}");
        }
        std::fs::write(path, sound).expect("put back");
    }
    well(&setup, &["restore", "--from", place]);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_database_directory_is_deleted_and_restored() {
    let _seats = seats(1).await;
    let scratch = ScratchDir::new();
    let setup =
        Setup { data_dir: scratch.path().to_owned(), demo: true, database: None, allow_hosts: String::new() };
    let process = TestProcess::start(&setup);
    let (staff, supervisor) = (process.user("staff"), process.user("supervisor"));
    let run = staff.start(7, json!({"license_id": 123})).await;
    staff.wait_for_status(run, "waiting").await;
    drop((staff, supervisor));
    assert!(process.terminate().success());
    let to = scratch.path().join("backup");
    let place = to.to_str().expect("UTF-8");
    well(&setup, &["backup", "--to", place]);
    let noted = std::fs::read_to_string(scratch.path().join("postgres.location")).ok();
    let cluster = noted.map_or(scratch.path().join("postgres"), |noted| {
        PathBuf::from(noted.lines().next().expect("a path"))
    });
    std::fs::remove_dir_all(&cluster).expect("it is deleted");
    let said = well(&setup, &["restore", "--from", place]);
    assert!(said.contains("1 runs were restored"), "{said}");
    let (passed, said) = setup.verify();
    assert!(passed, "{said}");
    let process = TestProcess::start(&setup);
    let (staff, supervisor) = (process.user("staff"), process.user("supervisor"));
    supervisor.decide(supervisor.approval(run).await, "approve", "Fine.").await.expect(200);
    staff.wait_for_status(run, "completed").await;
    assert!(process.terminate().success());
}

/// Returns once the bucket has what is signed by now.
async fn wait_until_backed_up(buckets: &Buckets, server: &TestServer) -> Checkpoint {
    let keys = server.user("auditor").get("/acts/log/key").await.expect(200).text;
    let trusted: Vec<VerifierKey> = keys.lines().map(|key| VerifierKey::parse(key).expect("a key")).collect();
    let note = server.user("auditor").get("/acts/log/checkpoint").await.expect(200).text;
    let head = Checkpoint::open(&note, &trusted).expect("signed").0;
    let wait = async {
        while figure(server, "hms_act_backup_entries").await < head.size as f64 {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(2 * GUARD, wait).await.expect("it is backed up");
    let (note, _) = buckets.get("locked/log/checkpoint").await.expect("it is there");
    let there = Checkpoint::open(std::str::from_utf8(&note).expect("text"), &trusted).expect("signed").0;
    assert!(there.size >= head.size);
    there
}

async fn figure(server: &TestServer, name: &str) -> f64 {
    let figures = server.nobody().get("/metrics").await.expect(200).text;
    let value = figures.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    value.map_or(0.0, |value| value.parse().expect("a number"))
}

/// How long the backup is behind.
async fn behind(server: &TestServer) -> f64 {
    figure(server, "hms_act_backup_behind_seconds").await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_locked_bucket_follows_the_log_also_after_it_was_away() {
    let port = free_port();
    let endpoint = format!("http://127.0.0.1:{port}");
    let server = TestServer::start_with(|config| {
        config.backup = Backup {
            to: Some("s3://locked/log".to_owned()),
            aside: Some("s3://aside/log".to_owned()),
            s3_endpoint: Some(endpoint.clone()),
            region: Some("us-east-1".to_owned()),
            access_key_id: Some("tester".to_owned()),
            secret_access_key: Some(Secret::new("not much of one")),
            session_token: None,
        };
    })
    .await;
    let (staff, supervisor) = (server.user("staff"), server.user("supervisor"));
    let run = staff.start(7, json!({"license_id": 123})).await;
    staff.wait_for_status(run, "waiting").await;
    let is_behind = async {
        while behind(&server).await <= 0.0 {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(GUARD, is_behind).await.expect("nobody answers there");

    let buckets = Buckets::start(port);
    buckets.make_locked("locked").await;
    buckets.make("aside").await;
    wait_until_backed_up(&buckets, &server).await;
    assert_eq!(behind(&server).await, 0.0);
    supervisor.decide(supervisor.approval(run).await, "approve", "Fine.").await.expect(200);
    staff.wait_for_status(run, "completed").await;
    server.wait_until_sealed().await;
    let head = wait_until_backed_up(&buckets, &server).await;
    let (_, mode) = buckets.get("locked/log/manifest/latest.json").await.expect("it is there");
    assert_eq!(mode, "COMPLIANCE");
    let (database, scratch) = stop_sealed(server).await;
    drop(database);

    let fresh = TestDatabase::new();
    let setup = setup(&fresh, scratch.path());
    let settings = [
        ("HMS_ACT_BACKUP", "s3://locked/log"),
        ("HMS_ACT_BACKUP_ASIDE", "s3://aside/log"),
        ("HMS_ACT_BACKUP_S3_ENDPOINT", endpoint.as_str()),
        ("AWS_REGION", "us-east-1"),
        ("AWS_ACCESS_KEY_ID", "tester"),
        ("AWS_SECRET_ACCESS_KEY", "not much of one"),
    ];
    let output = setup.run_with(&settings, &["restore"]);
    let said = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    // What was signed on the way down was still sent.
    let number =
        |text: &str| text.split("over ").nth(1).and_then(|rest| rest.split(' ').next()?.parse::<u64>().ok());
    assert!(number(&said).is_some_and(|size| size >= head.size), "{said}");
    let (passed, said) = setup.verify();
    assert!(passed, "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_erased_is_gone_from_the_backup_too_and_its_proofs_still_hold() {
    let to = ScratchDir::new();
    let place = to.path().join("backup");
    let server = TestServer::start_with(|config| {
        config.backup.to = Some(place.to_str().expect("UTF-8").to_owned());
    })
    .await;
    let (admin, staff, supervisor) = (server.user("admin"), server.user("staff"), server.user("supervisor"));
    let sealed =
        json!({"redact": ["payload.ssn"], "tasks": [{"id": "one", "type": "script", "uses": "compute"}]});
    let sealed = publish(&admin, "Sealed", sealed).await;
    let run_id = staff.start(sealed, json!({"case": "s", "ssn": SSN})).await;
    staff.wait_for_status(run_id, "completed").await;
    // As it is stored: base64url of salt, name and value.
    let disclosure = disclosure(&mut server.database.connect_as_owner(), run_id);
    let holding = || {
        let holds = |path: &PathBuf| {
            std::fs::read(path).is_ok_and(|bytes| String::from_utf8_lossy(&bytes).contains(&disclosure))
        };
        files(&place).into_iter().filter(holds).collect::<Vec<_>>()
    };
    let until = async |wanted: bool| {
        let wait = async {
            while !place.exists() || holding().is_empty() == wanted {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(2 * GUARD, wait).await.expect("the backup follows");
    };
    until(true).await;
    let found = holding();
    assert!(found.iter().all(|path| path.starts_with(place.join("aside"))), "{found:?}");

    let filed = json!({"run_id": run_id, "path": "payload.ssn", "reason": "She asked for it."});
    let filed = supervisor.post("/acts/redactions", filed).await.expect(201).json;
    let approve = json!({"decision": "approve", "reason": "She may."});
    admin.post(&format!("/acts/redactions/{}/decision", filed["id"]), approve).await.expect(200);
    until(false).await;
    let (database, scratch) = stop_sealed(server).await;
    let before = content(&mut database.connect_as_owner());
    drop(database);
    let fresh = TestDatabase::new();
    let setup = setup(&fresh, scratch.path());
    well(&setup, &["restore", "--from", place.to_str().expect("UTF-8")]);
    let mut after = content(&mut fresh.connect_as_owner());
    // Only a counter of this database's own.
    after.insert("runs", before["runs"].clone());
    assert_same(&before, &after);
    let (passed, said) = setup.verify();
    assert!(passed, "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backup_that_was_killed_on_its_way_leaves_a_usable_one() {
    let server = TestServer::start().await;
    let compute = json!({"tasks": [{"id": "one", "type": "script", "uses": "compute"}]});
    let protocol = publish(&server.user("admin"), "One", compute).await;
    let (database, scratch) = stop_sealed(server).await;
    let to = scratch.path().join("backup");
    let place = to.to_str().expect("UTF-8");
    let before = setup(&database, scratch.path());
    well(&before, &["backup", "--to", place]);
    let server = TestServer::start_on(database, scratch).await;
    let staff = server.user("staff");
    for _ in 0..120 {
        staff.start(protocol, json!({})).await;
    }
    let last = staff.start(protocol, json!({})).await;
    staff.wait_for_status(last, "completed").await;
    let (database, scratch) = stop_sealed(server).await;
    let before = setup(&database, scratch.path());
    // One after the other: each try comes further, until none is left.
    for object in ["tile/entries/000", "tile/entries/001", "tile/0/000", "tile/1", "tables"] {
        let new = to.join(object);
        before.run_and_kill9(&["backup", "--to", place], || new.exists());
        let fresh = TestDatabase::new();
        let fresh = setup(&fresh, scratch.path());
        let said = well(&fresh, &["restore", "--from", place, "--accept-loss"]);
        assert!(said.contains("the root that was signed"), "{said}");
        let kept = scratch.path().join("log-checkpoint.before-restore");
        if kept.exists() {
            assert!(said.contains("LOST"), "{said}");
            std::fs::rename(kept, scratch.path().join("log-checkpoint")).expect("put back");
        }
    }
    well(&before, &["backup", "--to", place]);
    let fresh = TestDatabase::new();
    let fresh = setup(&fresh, scratch.path());
    let said = well(&fresh, &["restore", "--from", place]);
    assert!(said.contains("122 runs") || said.contains("121 runs"), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_signed_after_the_backup_is_not_given_up_unasked() {
    let server = TestServer::start().await;
    let (database, scratch) = stop_sealed(server).await;
    let to = scratch.path().join("backup");
    let place = to.to_str().expect("UTF-8");
    well(&setup(&database, scratch.path()), &["backup", "--to", place]);
    let server = TestServer::start_on(database, scratch).await;
    let run_id = server.user("staff").start(7, json!({"license_id": 123})).await;
    server.user("staff").wait_for_status(run_id, "waiting").await;
    let (database, scratch) = stop_sealed(server).await;
    drop(database);

    let fresh = TestDatabase::new();
    let setup_fresh = setup(&fresh, scratch.path());
    let stranger = "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW";
    let (passed, said) = run(&setup_fresh, &["restore", "--from", place, "--key", stranger]);
    assert!(!passed && said.contains("none of its signatures is by the key that is trusted"), "{said}");
    let elsewhere = ScratchDir::new();
    let (passed, said) = run(&setup(&fresh, elsewhere.path()), &["restore", "--from", place]);
    assert!(!passed && said.contains("no key is trusted"), "{said}");
    let (passed, said) = run(&setup_fresh, &["restore", "--from", place]);
    assert!(!passed && said.contains("would be lost"), "{said}");
    let said = well(&setup_fresh, &["restore", "--from", place, "--accept-loss"]);
    assert!(said.contains("LOST"), "{said}");
    // It is signed again from there on, and the log itself says what happened.
    let server = TestServer::start_on(fresh, scratch).await;
    server.wait_until_sealed().await;
    let told = server.user("auditor").get("/acts/log.ndjson?type=log.restored").await.expect(200).text;
    assert!(told.contains("\"lost\":{\"entries\":"), "{told}");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bucket_needs_a_place_aside_and_a_foreign_backup_is_left_alone() {
    let server = TestServer::start().await;
    let (database, scratch) = stop_sealed(server).await;
    let first = setup(&database, scratch.path());
    let (passed, said) = run(&first, &["backup", "--to", "s3://bucket/log"]);
    assert!(!passed && said.contains("HMS_ACT_BACKUP_ASIDE"), "{said}");
    let place = scratch.path().join("backup");
    let place = place.to_str().expect("UTF-8");
    well(&first, &["backup", "--to", place]);
    let objects = files(Path::new(place));

    let other = TestServer::start().await;
    let (other_database, other_scratch) = stop_sealed(other).await;
    let (passed, said) = run(&setup(&other_database, other_scratch.path()), &["backup", "--to", place]);
    assert!(!passed && said.contains("the backup of another log"), "{said}");
    assert_eq!(files(Path::new(place)), objects);
}
