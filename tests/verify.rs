//! `hms-act verify` names every entry that somebody with all rights on the database tampered with.

use crate::support::postgres::{ScratchDir, TestDatabase};
use crate::support::process::Setup;
use crate::support::server::TestServer;
use diesel::connection::SimpleConnection;
use diesel::sql_types::{Array, BigInt, Integer, Text};
use diesel::{PgConnection, QueryableByName, RunQueryDsl, sql_query};
use serde_json::json;

/// A completed run of three entries a step, and what lies beside one of its entries. The server is down: what was
/// tampered with is not to be signed.
struct Evidence {
    database: TestDatabase,
    scratch: ScratchDir,
    owner: PgConnection,
    /// Entries: queued, started, done, started, done, closed.
    run: i64,
    /// A run that waits for a person.
    open: i64,
}

const SEAL_AGAIN: &str = "leaf_hash = sha256('\\x00'::bytea || ";

impl Evidence {
    async fn collect() -> Evidence {
        let server = TestServer::start().await;
        let definition = json!({"tasks": [
            {"id": "one", "type": "script", "uses": "compute"},
            {"id": "two", "type": "script", "uses": "compute", "with": {"n": "${payload.n}"}},
        ]});
        let admin = server.user("admin");
        let created = admin.post("/acts/protocols", json!({"name": "Two", "definition": definition})).await;
        let protocol = created.expect(201).json["id"].as_i64().expect("a number");
        let staff = server.user("staff");
        let mut runs = Vec::new();
        for _ in 0..3 {
            // An integer that the leaf holds as text, so that its number lies beside it.
            let id = staff.start(protocol, json!({"n": 9_007_199_254_740_993_i64})).await;
            staff.wait_for_status(id, "completed").await;
            runs.push(id);
        }
        let open = staff.start(7, json!({"license_id": 123})).await;
        staff.wait_for_status(open, "waiting").await;
        let (database, scratch) = server.stop_and_keep().await;
        let mut owner = database.connect_as_owner();
        owner
            .batch_execute(
                "SET ROLE hms_act_owner;
                 CREATE TABLE kept_log AS SELECT * FROM activity_log;
                 CREATE TABLE kept_runs AS SELECT * FROM runs;
                 ALTER TABLE activity_log DISABLE TRIGGER USER;
                 ALTER TABLE activity_log_0 DISABLE TRIGGER USER;
                 ALTER TABLE activity_log_agency DISABLE TRIGGER USER;",
            )
            .expect("the owner may");
        Evidence { database, scratch, owner, run: runs[1], open }
    }

    fn setup(&self) -> Setup {
        let database = Some((self.database.url(), self.database.owner_url()));
        let data_dir = self.scratch.path().to_owned();
        Setup { data_dir, demo: false, database, allow_hosts: String::new() }
    }

    fn verify(&self, arguments: &[&str]) -> (bool, String) {
        let output = self.setup().run(&[&["verify"], arguments].concat());
        let said = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
        assert!(matches!(output.status.code(), Some(0 | 1)), "{said}");
        (output.status.success(), said.into_owned())
    }

    /// Does it, sees that it is found in exactly one place, and puts everything back.
    fn tamper(&mut self, statement: &str, place: &str, reason: &str) {
        let statement = statement.replace("$run", &self.run.to_string());
        let place = place.replace("$run", &self.run.to_string());
        self.owner.batch_execute(&statement).expect(&statement);
        let (passed, said) = self.verify(&[]);
        assert!(!passed, "not found: {statement}");
        let findings: Vec<&str> = said.lines().filter(|line| line.starts_with("BROKEN")).collect();
        assert_eq!(findings.len(), 1, "{statement}: {said}");
        assert!(findings[0].starts_with(&format!("BROKEN {place}: ")), "{statement}: {said}");
        assert!(findings[0].contains(reason), "{statement}: {said}");
        self.owner
            .batch_execute(
                "DELETE FROM activity_log; INSERT INTO activity_log SELECT * FROM kept_log;
                 DELETE FROM runs; INSERT INTO runs SELECT * FROM kept_runs;",
            )
            .expect("put back");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_kind_of_tampering_is_named_with_its_entry() {
    let mut evidence = Evidence::collect().await;
    let (passed, said) = evidence.verify(&[]);
    assert!(passed && said.contains(", 0 broken."), "{said}");

    let entry = |seq: u8| format!("run_id = $run AND seq = {seq}");
    for (statement, place, reason) in [
        // One bit of the sealed bytes.
        (
            format!("UPDATE activity_log SET leaf = set_byte(leaf, 20, get_byte(leaf, 20) # 1) WHERE {}", entry(3)),
            "run $run seq 3",
            "bytes were changed",
        ),
        (
            format!("UPDATE activity_log SET leaf_hash = sha256(leaf_hash) WHERE {}", entry(6)),
            "run $run seq 6",
            "bytes were changed",
        ),
        // Changed, and sealed again with everything that repeats it: another was signed.
        (
            format!(
                "UPDATE activity_log SET actor = 'admin',
                    leaf = convert_to(replace(convert_from(leaf, 'UTF8'), '\"actor\":\"staff\"', '\"actor\":\"admin\"'), 'UTF8')
                    WHERE {0}; UPDATE activity_log SET {SEAL_AGAIN} leaf) WHERE {0}",
                entry(1)
            ),
            "run $run seq 1",
            "not the entry that was signed",
        ),
        (format!("DELETE FROM activity_log WHERE {}", entry(1)), "run $run seq 1", "no longer in the log"),
        (format!("DELETE FROM activity_log WHERE {}", entry(3)), "run $run seq 3", "no longer in the log"),
        ("DELETE FROM activity_log WHERE run_id = $run AND seq > 4".to_owned(), "run $run seq 5", "no longer in the log"),
        ("DELETE FROM activity_log WHERE run_id = $run".to_owned(), "run $run seq 1", "no longer in the log"),
        // Two entries change places.
        (
            format!(
                "UPDATE activity_log SET seq = 100 WHERE {}; UPDATE activity_log SET seq = 3 WHERE {};
                 UPDATE activity_log SET seq = 4 WHERE run_id = $run AND seq = 100",
                entry(3),
                entry(4)
            ),
            "run $run seq 3",
            "`seq` does not agree",
        ),
        // An entry of another run.
        (
            format!(
                "UPDATE activity_log SET (leaf, leaf_hash) =
                    (SELECT leaf, leaf_hash FROM activity_log WHERE run_id = $run + 1 AND seq = 4) WHERE {}",
                entry(4)
            ),
            "run $run seq 4",
            "`run_id` does not agree",
        ),
        // One more, after the end.
        (
            format!(
                "INSERT INTO activity_log (run_id, seq, t, actor, type, step, attempt, status, leaf, leaf_hash, beside)
                 SELECT run_id, 7, t, actor, type, step, attempt, status, leaf, leaf_hash, beside
                 FROM activity_log WHERE {}",
                entry(6)
            ),
            "run $run seq 7",
            "`seq` does not agree",
        ),
        // What stands beside the sealed bytes.
        (format!("UPDATE activity_log SET actor = 'mallory' WHERE {}", entry(4)), "run $run seq 4", "`actor`"),
        (format!("UPDATE activity_log SET status = 'failed' WHERE {}", entry(5)), "run $run seq 5", "`status`"),
        (format!("UPDATE activity_log SET t = t - interval '1 us' WHERE {}", entry(2)), "run $run seq 2", "`t`"),
        (
            format!("UPDATE activity_log SET beside = '{{\"/payload/n\": 9007199254740995}}' WHERE {}", entry(1)),
            "run $run seq 1",
            "not the one that was sealed",
        ),
        // What the pages show instead of the log.
        ("UPDATE runs SET status = 'failed' WHERE run_id = $run".to_owned(), "run $run seq 6", "another status"),
        ("UPDATE runs SET version = 5 WHERE run_id = $run".to_owned(), "run $run seq 5", "ends here"),
        ("DELETE FROM runs WHERE run_id = $run".to_owned(), "run $run seq 1", "does not have this run"),
        // The agency's own stream.
        (
            "UPDATE activity_log SET actor = 'nobody' WHERE run_id = 0 AND seq = 1".to_owned(),
            "run 0 seq 1",
            "`actor`",
        ),
    ] {
        evidence.tamper(&statement, place, reason);
    }
    let (passed, said) = evidence.verify(&[]);
    assert!(passed, "it was not put back as it was: {said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn one_run_is_checked_alone() {
    let mut evidence = Evidence::collect().await;
    let run = evidence.run;
    let statement = format!("UPDATE activity_log SET actor = 'mallory' WHERE run_id = {run} AND seq = 2");
    evidence.owner.batch_execute(&statement).expect("the owner may");
    let (passed, said) = evidence.verify(&["--run", &run.to_string()]);
    assert!(!passed && said.contains(&format!("BROKEN run {run} seq 2: ")), "{said}");
    let (passed, said) = evidence.verify(&["--run", &(run + 1).to_string()]);
    assert!(passed && said.contains("6 entries in 1 streams checked, 0 broken."), "{said}");
    let (passed, said) = evidence.verify(&["--run", "8999"]);
    assert!(!passed && said.contains("BROKEN run 8999 seq 1: there is no entry of this run"), "{said}");
}

#[derive(QueryableByName)]
struct Number {
    #[diesel(sql_type = BigInt)]
    it: i64,
}

/// Returns once somebody asks for a lock on the table: `known` are those who do not count.
fn wait_for_lock(eyes: &mut PgConnection, table: &str, known: &[i32], granted_too: bool) {
    let asked = "SELECT count(*) AS it FROM pg_locks
        WHERE relation = $1::regclass AND pid <> ALL($2) AND (NOT granted OR $3)";
    let mut seen = 0;
    while seen == 0 {
        let asked = sql_query(asked).bind::<Text, _>(table).bind::<Array<Integer>, _>(known);
        let asked = asked.bind::<diesel::sql_types::Bool, _>(granted_too);
        seen = asked.get_result::<Number>(eyes).expect("readable").it;
    }
}

fn backends(eyes: &mut PgConnection) -> Vec<i32> {
    let pids = "SELECT pid::bigint AS it FROM pg_stat_activity";
    let pids: Vec<Number> = sql_query(pids).load(eyes).expect("readable");
    pids.into_iter().map(|pid| i32::try_from(pid.it).expect("a process number")).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn run_that_moves_while_it_is_checked_is_not_called_broken() {
    let evidence = Evidence::collect().await;
    let connect = || {
        let mut owner = evidence.database.connect_as_owner();
        owner.batch_execute("SET ROLE hms_act_owner").expect("the owner may");
        owner
    };
    let (mut eyes, mut runs) = (connect(), connect());
    let before = backends(&mut eyes);
    let mut log = connect();
    let known = backends(&mut eyes);
    runs.batch_execute("BEGIN; LOCK TABLE runs IN ACCESS EXCLUSIVE MODE").expect("locked");
    let setup = evidence.setup();
    let verify = std::thread::spawn(move || setup.verify());
    // The log is read, the list of runs is not.
    wait_for_lock(&mut eyes, "runs", &known, false);
    let change = std::thread::spawn(move || {
        log.batch_execute("BEGIN; LOCK TABLE activity_log IN ACCESS EXCLUSIVE MODE").expect("locked");
        log
    });
    let verifying: Vec<i32> = backends(&mut eyes).into_iter().filter(|pid| !known.contains(pid)).collect();
    wait_for_lock(&mut eyes, "activity_log", &[&before[..], &verifying].concat(), true);
    runs.batch_execute("COMMIT").expect("unlocked");
    let mut log = change.join().expect("it has the lock");
    // The list of runs is read, the end of the run's log is not: now the run moves.
    wait_for_lock(&mut eyes, "activity_log", &known, false);
    let moved = format!(
        "INSERT INTO activity_log SELECT run_id, stream, seq + 1, t, actor, type, step, attempt, status, leaf,
             leaf_hash, beside FROM activity_log WHERE run_id = {0} ORDER BY seq DESC LIMIT 1;
         UPDATE runs SET version = version + 1 WHERE run_id = {0}; COMMIT",
        evidence.open
    );
    log.batch_execute(&moved).expect("it moves");
    let (passed, said) = verify.join().expect("it ends");
    assert!(passed, "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn log_that_is_signed_on_while_it_is_checked_is_not_called_broken() {
    let evidence = Evidence::collect().await;
    let connect = || {
        let mut owner = evidence.database.connect_as_owner();
        owner.batch_execute("SET ROLE hms_act_owner").expect("the owner may");
        owner
    };
    let (mut eyes, mut runs, mut tiles) = (connect(), connect(), connect());
    let known = backends(&mut eyes);
    runs.batch_execute("BEGIN; LOCK TABLE runs IN ACCESS EXCLUSIVE MODE").expect("locked");
    let setup = evidence.setup();
    let verify = std::thread::spawn(move || setup.verify());
    wait_for_lock(&mut eyes, "runs", &known, false);
    tiles.batch_execute("BEGIN; LOCK TABLE log_tiles IN ACCESS EXCLUSIVE MODE").expect("locked");
    runs.batch_execute("COMMIT").expect("unlocked");
    // Every entry is checked, and how far the log is signed is known; the tree is not read: now the signer goes on.
    wait_for_lock(&mut eyes, "log_tiles", &known, false);
    let signed = "INSERT INTO log_checkpoints (size, root, note)
        SELECT size + 1, root, note FROM log_checkpoints ORDER BY size DESC LIMIT 1; COMMIT";
    tiles.batch_execute(signed).expect("signed");
    let (passed, said) = verify.join().expect("it ends");
    assert!(passed, "{said}");
}
