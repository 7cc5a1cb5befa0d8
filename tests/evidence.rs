//! The log as evidence: its tree, its signed heads, and whether others can check them.

use crate::support::client::GUARD;
use crate::support::outside::Checker;
use crate::support::process::Setup;
use crate::support::server::TestServer;
use diesel::connection::SimpleConnection;
use diesel::sql_types::{BigInt, Binary};
use diesel::{PgConnection, QueryableByName, RunQueryDsl, sql_query};
use hms_act::audit::checkpoint::Checkpoint;
use hms_act::audit::note::VerifierKey;
use hms_act::audit::tile::{Resource, TILE_WIDTH, TileId};
use hms_act::audit::{Hash, leaf_hash};
use std::collections::BTreeMap;

async fn text(server: &TestServer, path: &str) -> String {
    server.user("auditor").get(path).await.expect(200).text
}

async fn bytes(server: &TestServer, path: &str) -> Vec<u8> {
    let request = server.user("auditor").request(reqwest::Method::GET, path);
    let answer = request.send().await.expect("an answer");
    assert_eq!(answer.status(), 200, "{path}");
    answer.bytes().await.expect("a body").to_vec()
}

async fn trusted(server: &TestServer) -> Vec<VerifierKey> {
    let keys = text(server, "/acts/log/key").await;
    keys.lines().map(|line| VerifierKey::parse(line).expect("a verifier key")).collect()
}

fn unbundled(mut bundle: &[u8]) -> Vec<Vec<u8>> {
    let mut leaves = Vec::new();
    while let [high, low, rest @ ..] = bundle {
        let (leaf, rest) = rest.split_at(usize::from(u16::from_be_bytes([*high, *low])));
        leaves.push(leaf.to_vec());
        bundle = rest;
    }
    leaves
}

#[tokio::test(flavor = "multi_thread")]
async fn the_head_is_signed_and_its_tiles_hold_the_very_entries() {
    let server = TestServer::start().await;
    let runs = server.complete_runs(50).await;
    server.wait_until_sealed().await;
    let note = text(&server, "/acts/log/checkpoint").await;
    let (head, _) = Checkpoint::open(&note, &trusted(&server).await).expect("it is signed");
    assert_eq!(head.origin, "test.invalid/log");
    assert!(head.size > 256, "a full tile and a partial one: {}", head.size);

    let partial = head.size % TILE_WIDTH;
    let entries = |index, width| Resource::Entries { index }.path(width);
    let mut leaves = unbundled(&bytes(&server, &format!("/acts/log/tile/{}", entries(0, 256))).await);
    leaves.extend(unbundled(&bytes(&server, &format!("/acts/log/tile/{}", entries(1, partial))).await));
    let tile =
        |index, width| format!("/acts/log/tile/{}", Resource::Tile(TileId { level: 0, index }).path(width));
    let hashes = [bytes(&server, &tile(0, 256)).await, bytes(&server, &tile(1, partial)).await].concat();
    let expected: Vec<Hash> = leaves.iter().map(|leaf| leaf_hash(leaf)).collect();
    assert_eq!(hashes, expected.concat());
    let of_run: Vec<&[u8]> =
        leaves.iter().map(Vec::as_slice).filter(|leaf| contains(leaf, runs[7])).collect();
    let replay = server.user("auditor").replay(runs[7]).await;
    assert_eq!(of_run, replay.iter().map(String::as_bytes).collect::<Vec<_>>(), "in the order of `seq`");
    server.stop().await;
}

fn contains(leaf: &[u8], run: i64) -> bool {
    String::from_utf8_lossy(leaf).contains(&format!("\"run\":{run},"))
}

#[tokio::test(flavor = "multi_thread")]
async fn evidence_is_for_those_who_may_read_the_log() {
    let server = TestServer::start().await;
    server.complete_runs(1).await;
    server.wait_until_sealed().await;
    let (auditor, staff) = (server.user("auditor"), server.user("staff"));
    for path in ["/acts/log/checkpoint", "/acts/log/key", "/acts/log/tile/0/000.p/1"] {
        staff.get(path).await.problem(403);
        server.nobody().get(path).await.problem(401);
        assert!(auditor.get(&format!("{path}?x=1")).await.problem(400).contains("`x` is not known"));
    }
    for tile in
        ["0/000", "0/000.p/0", "0/001", "0/0", "8/000", "entries/000.p/255", "data/000", "0/000.p/999", "x"]
    {
        let detail = auditor.get(&format!("/acts/log/tile/{tile}")).await;
        assert!(detail.problem(404).contains("no tile"), "{tile}");
    }
    let entries = auditor.get("/acts/log.ndjson?run_id=0&type=access.refused").await.expect(200).text;
    assert_eq!(entries.lines().count(), 3, "refusals are entries, reading is not: {entries}");
    server.stop().await;
}

/// A directory as the outside checker wants it.
async fn collect(server: &TestServer, name: &str, before: Option<&str>) -> std::path::PathBuf {
    let dir = server.scratch.path().join(name);
    let write = |path: &str, content: &[u8]| {
        let path = dir.join(path);
        std::fs::create_dir_all(path.parent().expect("a directory")).expect("made");
        std::fs::write(path, content).expect("written");
    };
    let note = text(server, "/acts/log/checkpoint").await;
    let (head, _) = Checkpoint::open(&note, &trusted(server).await).expect("it is signed");
    write("checkpoint", note.as_bytes());
    write("vkey", text(server, "/acts/log/key").await.as_bytes());
    if let Some(before) = before {
        write("checkpoint.before", before.as_bytes());
    }
    for level in 0..2_u8 {
        let subtrees = head.size >> (8 * level);
        for index in 0..subtrees.div_ceil(TILE_WIDTH) {
            let width = (subtrees - index * TILE_WIDTH).min(TILE_WIDTH);
            let path = format!("tile/{}", Resource::Tile(TileId { level, index }).path(width));
            write(&path, &bytes(server, &format!("/acts/log/{path}")).await);
        }
    }
    dir
}

#[derive(QueryableByName)]
struct Leaf {
    #[diesel(sql_type = BigInt)]
    index: i64,
    #[diesel(sql_type = Binary)]
    leaf: Vec<u8>,
}

/// What the database holds now, at the places that were signed by then.
fn write_leaves(database: &mut PgConnection, dir: &std::path::Path) {
    let note = std::fs::read_to_string(dir.join("checkpoint")).expect("collected");
    let size: i64 = note.lines().nth(1).and_then(|size| size.parse().ok()).expect("a size");
    let rows: Vec<Leaf> = sql_query(
        "SELECT first_index + seq - first_seq AS index, leaf FROM log_ranges r JOIN activity_log a
         USING (run_id, stream) WHERE seq >= first_seq AND seq < first_seq + entries
            AND first_index + seq - first_seq < $1 ORDER BY 1",
    )
    .bind::<BigInt, _>(size)
    .load(database)
    .expect("readable");
    let lines = rows.iter().map(|row| [format!("{}\t", row.index).as_bytes(), &row.leaf, b"\n"].concat());
    std::fs::write(dir.join("leaves"), lines.collect::<Vec<_>>().concat()).expect("written");
}

#[tokio::test(flavor = "multi_thread")]
async fn software_of_others_checks_the_log_and_finds_what_was_tampered_with() {
    let server = TestServer::start().await;
    let runs = server.complete_runs(25).await;
    server.wait_until_sealed().await;
    let before = text(&server, "/acts/log/checkpoint").await;
    server.complete_runs(30).await;
    server.wait_until_sealed().await;
    let dir = collect(&server, "outside", Some(&before)).await;
    let (database, scratch) = server.stop_and_keep().await;
    let mut owner = database.connect_as_owner();
    write_leaves(&mut owner, &dir);
    let checker = Checker::build(&scratch);
    let (passed, said) = checker.check(&dir);
    assert!(passed && said.contains("CONSISTENT") && said.contains("INCLUDED"), "{said}");

    owner
        .batch_execute(
            "SET ROLE hms_act_owner; ALTER TABLE activity_log DISABLE TRIGGER USER;
             ALTER TABLE activity_log_0 DISABLE TRIGGER USER",
        )
        .expect("the owner may");
    let (run, next) = (runs[3], runs[4]);
    let place = format!("run_id = {run} AND seq = 3");
    for (name, tampering, word, count) in [
        ("flipped bit", format!("UPDATE activity_log SET leaf = set_byte(leaf, 9, get_byte(leaf, 9) # 1) WHERE {place}"), "CHANGED", 1),
        ("removed row", format!("DELETE FROM activity_log WHERE {place}"), "MISSING", 1),
        (
            "swapped rows",
            format!(
                "UPDATE activity_log a SET leaf = b.leaf FROM activity_log b WHERE a.run_id = {run} AND b.run_id = {run}
                 AND ((a.seq = 2 AND b.seq = 3) OR (a.seq = 3 AND b.seq = 2))"
            ),
            "CHANGED",
            2,
        ),
        ("cut tail", format!("DELETE FROM activity_log WHERE run_id = {run} AND seq > 4"), "MISSING", 2),
        ("an entry of another run", format!("UPDATE activity_log SET leaf = (SELECT leaf FROM activity_log WHERE run_id = {next} AND seq = 3) WHERE {place}"), "CHANGED", 1),
    ] {
        owner.batch_execute("CREATE TABLE kept AS SELECT * FROM activity_log").expect("kept");
        owner.batch_execute(&tampering).expect(name);
        write_leaves(&mut owner, &dir);
        let (passed, said) = checker.check(&dir);
        let found = said.lines().filter(|line| line.starts_with(word)).count();
        assert!(!passed && found == count, "{name}: {said}");
        let put_back = "DELETE FROM activity_log; INSERT INTO activity_log SELECT * FROM kept; DROP TABLE kept";
        owner.batch_execute(put_back).expect("put back");
    }
}

fn setup(database: &crate::support::postgres::TestDatabase, data_dir: &std::path::Path) -> Setup {
    let database = Some((database.url(), database.owner_url()));
    Setup { data_dir: data_dir.to_owned(), demo: false, database, allow_hosts: String::new() }
}

#[tokio::test(flavor = "multi_thread")]
async fn entry_and_tree_changed_together_do_not_get_past_the_signature() {
    let server = TestServer::start().await;
    let runs = server.complete_runs(3).await;
    let (database, scratch) = server.stop_and_keep().await;
    let mut owner = database.connect_as_owner();
    // All that somebody with every right on the database can do: the entry, its hash, and its place in the tree.
    let forgery = format!(
        "SET ROLE hms_act_owner;
         ALTER TABLE activity_log DISABLE TRIGGER USER; ALTER TABLE activity_log_0 DISABLE TRIGGER USER;
         UPDATE activity_log SET actor = 'mallory', leaf = convert_to(replace(convert_from(leaf, 'UTF8'),
            '\"actor\":\"HMS-ACT\"', '\"actor\":\"mallory\"'), 'UTF8') WHERE run_id = {0} AND seq = 6;
         UPDATE activity_log SET leaf_hash = sha256('\\x00'::bytea || leaf) WHERE run_id = {0} AND seq = 6;
         UPDATE log_tiles SET hashes = overlay(hashes PLACING (SELECT leaf_hash FROM activity_log
            WHERE run_id = {0} AND seq = 6) FROM 1 + 32 * (SELECT first_index + 6 - first_seq FROM log_ranges
            WHERE run_id = {0} AND 6 >= first_seq AND 6 < first_seq + entries)::int)
         WHERE level = 0 AND index = 0",
        runs[1]
    );
    owner.batch_execute(&forgery).expect("the owner may");
    let (passed, said) = setup(&database, scratch.path()).verify();
    assert!(!passed && said.contains("was changed after it was signed"), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_signed_after_the_database_was_set_back() {
    let server = TestServer::start().await;
    server.complete_runs(1).await;
    let (database, scratch) = server.stop_and_keep().await;
    let before = database.copy();
    let server = TestServer::start_on(database, scratch).await;
    server.complete_runs(2).await;
    server.wait_until_sealed().await;
    let signed = text(&server, "/acts/log/checkpoint").await;
    let memory = server.scratch.path().join("log-checkpoint");
    assert_eq!(std::fs::read_to_string(&memory).expect("kept outside the database"), signed);

    let (database, scratch) = server.stop_and_keep().await;
    drop(database);
    let last = std::fs::read_to_string(&memory).expect("kept");
    let server = TestServer::start_on(before, scratch).await;
    let problem = server.sealing_problem().await;
    assert!(problem.contains("it was set back"), "{problem}");
    let page = server.user("auditor").get("/log").await.expect(200).text;
    assert!(page.contains("The log is not being signed:") && page.contains("it was set back"), "{page}");
    assert_eq!(std::fs::read_to_string(&memory).expect("kept"), last);
    let keys = trusted(&server).await;
    let head = Checkpoint::open(&text(&server, "/acts/log/checkpoint").await, &keys).expect("the old one").0;
    let last = Checkpoint::open(&last, &keys).expect("signed").0;
    assert!(head.size < last.size);
    // Whole in itself, so that only what lies outside the database can tell.
    let (database, scratch) = server.stop_and_keep().await;
    let (passed, said) = setup(&database, scratch.path()).verify();
    assert!(!passed && said.contains("it was set back"), "{said}");
    assert!(!said.contains(" 0 not signed yet"), "what no head covers is told: {said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn old_heads_are_thinned_and_what_they_covered_is_covered() {
    let server = TestServer::start().await;
    for count in 1..5 {
        server.complete_runs(count).await;
        server.wait_until_sealed().await;
    }
    let server = server.away_while(async {}).await;
    let heads = |server: &TestServer| {
        let query = "SELECT size AS it FROM log_checkpoints ORDER BY size";
        let rows = sql_query(query).load::<Number>(&mut server.database.connect_as_owner()).expect("heads");
        rows.into_iter().map(|row| row.it).collect::<Vec<_>>()
    };
    let before = heads(&server);
    assert!(before.len() > 3, "{before:?}");
    // Two days ago, in the same hour; but for the first, which is of the hour before.
    let age = |database: &mut PgConnection| {
        let statement = "UPDATE log_checkpoints SET signed_at =
                date_trunc('hour', clock_timestamp() - interval '2 days') + interval '1 second' * size / 10000;
             UPDATE log_checkpoints SET signed_at = signed_at - interval '1 hour'
                WHERE size = (SELECT min(size) FROM log_checkpoints)";
        database.batch_execute(statement).expect("aged");
    };
    age(&mut server.database.connect_as_owner());
    let server = server.away_while(async {}).await;
    let wait = async {
        while heads(&server).iter().filter(|size| before.contains(size)).count() > 2 {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(GUARD, wait).await.expect("they are thinned");
    let after = heads(&server);
    assert!(after.starts_with(&[before[0]]), "{before:?} {after:?}");
    server.wait_until_sealed().await;
    let (database, scratch) = server.stop_and_keep().await;
    let (passed, said) = setup(&database, scratch.path()).verify();
    assert!(passed, "{said}");
}

#[derive(QueryableByName)]
struct Number {
    #[diesel(sql_type = BigInt)]
    it: i64,
}

#[tokio::test(flavor = "multi_thread")]
async fn both_keys_sign_while_they_change() {
    let server = TestServer::start().await;
    server.complete_runs(1).await;
    let old = trusted(&server).await;
    let data_dir = server.scratch.path().to_owned();
    let rotate = setup(&server.database, &data_dir);
    let output = tokio::task::spawn_blocking(move || rotate.run(&["rotate-log-key"])).await.expect("it ran");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    server.complete_runs(2).await;
    server.wait_until_sealed().await;
    let note = text(&server, "/acts/log/checkpoint").await;
    let new = trusted(&server).await;
    assert_eq!((new.len(), &new[1]), (2, &old[0]));
    for key in &new {
        Checkpoint::open(&note, std::slice::from_ref(key)).expect("signed by both");
    }
    let told = server.user("auditor").get("/acts/log.ndjson?type=key.rotated").await.expect(200).text;
    assert!(told.contains(&new[0].vkey()) && told.contains(&old[0].vkey()), "{told}");
    let (database, scratch) = server.stop_and_keep().await;
    let (passed, said) = setup(&database, scratch.path()).verify();
    assert!(passed, "{said}");
    let given = setup(&database, scratch.path()).run(&["verify", "--key", &old[0].vkey()]);
    assert!(given.status.success(), "the old key vouches too: {}", String::from_utf8_lossy(&given.stdout));
    let stranger = "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW";
    assert!(!setup(&database, scratch.path()).run(&["verify", "--key", stranger]).status.success());
}

#[tokio::test(flavor = "multi_thread")]
async fn exported_log_is_checked_without_a_database() {
    let server = TestServer::start().await;
    let runs = server.complete_runs(3).await;
    let export = text(&server, "/acts/log.ndjson").await;
    let scratch = server.scratch.path();
    let path = scratch.join("export.ndjson");
    let check = |content: &str| {
        std::fs::write(&path, content).expect("written");
        let output =
            Setup { data_dir: scratch.to_owned(), demo: false, database: None, allow_hosts: String::new() }
                .run(&["verify", "--file", path.to_str().expect("UTF-8")]);
        (output.status.success(), String::from_utf8_lossy(&output.stdout).into_owned())
    };
    let (passed, said) = check(&export);
    assert!(passed && said.contains(", 0 broken. 0 gaps"), "{said}");
    let mut broken = BTreeMap::new();
    let third = format!("\"run\":{},\"seq\":3", runs[1]);
    for line in export.lines().filter(|line| line.contains(&third)) {
        broken.insert(
            "changed",
            export.replace(line, &line.replace("\"actor\":\"HMS-ACT\"", "\"actor\":\"mallory\"")),
        );
        broken.insert("spaced", export.replace(line, &line.replacen(':', ": ", 1)));
    }
    assert_eq!(broken.len(), 2);
    for (how, content) in broken {
        let (passed, said) = check(&content);
        assert!(!passed && said.contains(&format!("BROKEN run {} seq 3: ", runs[1])), "{how}: {said}");
    }
    server.stop().await;
}
