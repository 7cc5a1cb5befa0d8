//! The log as it leaves: CSV, NDJSON, and the replay of one run.

use crate::support::postgres::TestDatabase;
use crate::support::server::TestServer;
use crate::support::service::TestService;
use diesel::connection::SimpleConnection;
use diesel::sql_types::{BigInt, Bytea, Text};
use diesel::{PgConnection, QueryableByName, RunQueryDsl, sql_query};
use hms_act::audit::entry::{Draft, seal};
use hms_act::store::error::StoreError;
use reqwest::Method;
use serde_json::{Value, json};
use std::collections::BTreeSet;

const COLUMNS: [&str; 8] = ["run_id", "seq", "t", "actor", "type", "step", "attempt", "status"];

fn records(csv: &str) -> Vec<Vec<String>> {
    let mut reader = csv::ReaderBuilder::new().has_headers(false).from_reader(csv.as_bytes());
    reader.records().map(|record| record.expect("a record").iter().map(str::to_owned).collect()).collect()
}

/// A renewal that completed and one that was cancelled, with a log to look into.
async fn history(server: &TestServer) -> (i64, i64) {
    let (staff, supervisor) = (server.user("staff"), server.user("supervisor"));
    let (done, cancelled) =
        (staff.start(7, json!({"license_id": 123})).await, staff.start(7, json!({"license_id": 126})).await);
    for id in [done, cancelled] {
        staff.wait_for_status(id, "waiting").await;
    }
    let approval = supervisor.approval(done).await;
    supervisor.decide(approval, "approve", "100% in_order").await.expect(200);
    staff.wait_for_status(done, "completed").await;
    supervisor.patch(&format!("/acts/runs/{cancelled}/cancel"), json!({"reason": "x"})).await.expect(202);
    (done, cancelled)
}

#[tokio::test(flavor = "multi_thread")]
async fn exports_hold_exactly_what_the_filters_say() {
    let server = TestServer::start().await;
    let (done, cancelled) = history(&server).await;
    let auditor = server.user("auditor");
    let mut all = auditor.entries(done).await;
    all.extend(auditor.entries(cancelled).await);
    let middle = all[5]["t"].as_str().expect("a time").to_owned();
    type Test = Box<dyn Fn(&Value) -> bool>;
    let is = |key: &'static str, value: Value| -> Test { Box::new(move |entry| entry[key] == value) };
    let from = middle.clone();
    let cases: Vec<(String, Test)> = vec![
        (format!("run_id={done}"), is("run", json!(done))),
        (
            "actor=supervisor&q=9001".to_owned(),
            Box::new(|it| it["actor"] == "supervisor" && it["run"] == 9001),
        ),
        (
            format!("run_id={done}&step=deploy"),
            Box::new(move |it| it["run"] == done && it["step"] == "deploy"),
        ),
        ("type=step.done".to_owned(), is("type", json!("step.done"))),
        ("status=waiting".to_owned(), is("status", json!("waiting"))),
        (
            "type=run.closed&status=cancelled".to_owned(),
            Box::new(|it| it["type"] == "run.closed" && it["status"] == "cancelled"),
        ),
        (
            format!("run_id={done}&from={middle}"),
            Box::new(move |it| it["run"] == done && it["t"].as_str() >= Some(&from)),
        ),
        (
            format!("run_id={done}&to={middle}"),
            Box::new(move |it| it["run"] == done && it["t"].as_str() < Some(&middle)),
        ),
        ("q=100%25%20in_order".to_owned(), Box::new(|it| it.to_string().contains("100% in_order"))),
        ("q=100_%25".to_owned(), Box::new(|_| false)),
        ("type=run.closed&from=2020-01-01&to=2020-12-31".to_owned(), Box::new(|_| false)),
    ];
    for (query, fits) in cases {
        let key = |entry: &Value| format!("{} {}", entry["run"], entry["seq"]);
        let expected: BTreeSet<String> = all.iter().filter(|entry| fits(entry)).map(key).collect();
        let lines = auditor.get(&format!("/acts/log.ndjson?{query}")).await.expect(200).text;
        let found = lines.lines().map(|line| serde_json::from_str::<Value>(line).expect("JSON"));
        // Reading the log is itself an entry, of the agency's own run 0.
        let found: BTreeSet<String> =
            found.filter(|entry| entry["run"] != 0).map(|entry| key(&entry)).collect();
        assert_eq!(found, expected, "{query}");
        let csv = records(&auditor.get(&format!("/acts/log.csv?{query}")).await.expect(200).text);
        let found = csv[1..].iter().filter(|row| row[0] != "0").map(|row| format!("{} {}", row[0], row[1]));
        assert_eq!(found.collect::<BTreeSet<_>>(), expected, "{query}");
    }
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn csv_has_the_entries_fields_and_is_recorded() {
    let server = TestServer::start().await;
    let (done, _) = history(&server).await;
    let auditor = server.user("auditor");
    let answer = auditor.get(&format!("/acts/log.csv?run_id={done}")).await.expect(200);
    assert!(answer.header("content-type").starts_with("text/csv"));
    assert!(answer.header("content-disposition").contains("attachment"));
    assert!(answer.text.contains("\r\n"));
    let csv = records(&answer.text);
    assert_eq!(csv[0][..8], COLUMNS);
    let lines = auditor.replay(done).await;
    assert_eq!(csv.len() - 1, lines.len());
    for (row, line) in csv[1..].iter().zip(&lines) {
        let entry: Value = serde_json::from_str(line).expect("JSON");
        let plain = |key: &str| match &entry[key] {
            Value::Null => String::new(),
            Value::String(text) => text.clone(),
            other => other.to_string(),
        };
        let expected = ["run", "seq", "t", "actor", "type", "step", "attempt", "status"].map(plain);
        assert_eq!(row[..8], expected);
    }
    let with_mark = auditor.request(Method::GET, &format!("/acts/log.csv?run_id={done}&bom=1"));
    let with_mark = with_mark.send().await.expect("it answers").bytes().await.expect("it is whole");
    assert!(with_mark == format!("\u{feff}{}", answer.text), "the mark is all that differs");
    let recorded = auditor.get("/acts/log.ndjson?run_id=0&type=log.exported").await.expect(200).text;
    assert!(recorded.lines().count() >= 2, "{recorded}");
    assert!(recorded.contains(&format!("run_id={done}")) && recorded.contains(r#""actor":"auditor""#));
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn cells_that_a_spreadsheet_would_execute_are_defused() {
    let server = TestServer::start().await;
    let (admin, staff) = (server.user("admin"), server.user("staff"));
    // Of the columns only a step's id can begin like a formula; what people write stands inside JSON.
    let definition = json!({"tasks": [{"id": "-2-3", "type": "script", "uses": "compute"}]});
    let created =
        admin.post("/acts/protocols", json!({"name": "=1+1", "definition": definition})).await.expect(201);
    let payload = json!({"=cmd|' /C calc'!A0": "=HYPERLINK(\"http://evil.test\")", "two": "a\r\n=1+1"});
    let id = staff.start(created.json["id"].as_i64().unwrap(), payload.clone()).await;
    staff.wait_for_status(id, "completed").await;
    let csv = server.user("auditor").get(&format!("/acts/log.csv?run_id={id}")).await.expect(200).text;
    let rows = records(&csv);
    assert!(rows.iter().any(|row| row[5] == "'-2-3"), "{csv}");
    for cell in rows.iter().flatten() {
        assert!(!cell.starts_with(['=', '+', '-', '@', '\t', '\r', '\n']), "{cell}");
    }
    let detail: Value = serde_json::from_str(&rows[1][9]).expect("the detail is whole");
    assert_eq!(detail["payload"], payload);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn replay_plays_the_same_lines_at_any_speed_and_as_events() {
    let server = TestServer::start().await;
    let (done, _) = history(&server).await;
    let auditor = server.user("auditor");
    let lines = auditor.replay(done).await;
    let path = format!("/acts/runs/{done}/replay");
    for query in ["speed=1000000", "speed=10000", "follow=1", "follow=1&speed=100000"] {
        let played = auditor.get(&format!("{path}?{query}")).await.expect(200).text;
        assert_eq!(played.lines().collect::<Vec<_>>(), lines, "{query}");
    }
    let events = auditor.events(&path, None).await;
    let expected: Vec<(String, String)> =
        lines.iter().enumerate().map(|(index, line)| ((index + 1).to_string(), line.clone())).collect();
    assert_eq!(events, expected);
    assert_eq!(auditor.events(&path, Some("4")).await, expected[4..], "a reconnect goes on where it was cut");
    assert_eq!(auditor.replay(done).await, lines, "playing it adds nothing to it");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn replay_of_a_run_in_flight_ends_at_the_present_unless_it_follows() {
    let service = TestService::start();
    let allowed = service.allowed();
    let server = TestServer::start_with(|config| config.allow_hosts = vec![allowed]).await;
    let (admin, staff) = (server.user("admin"), server.user("staff"));
    let call = json!({"name": "call", "kind": "http", "config": {"method": "POST", "url": service.url()}});
    admin.post("/acts/actions", call).await.expect(201);
    let definition = json!({"tasks": [{"id": "call", "type": "script"}]});
    let created =
        admin.post("/acts/protocols", json!({"name": "Call", "definition": definition})).await.expect(201);
    let id = staff.start(created.json["id"].as_i64().unwrap(), json!({})).await;
    service.called(1).await;

    let run = staff.run(id).await;
    assert_eq!((&run["status"], &run["current_step"]), (&json!("running"), &json!("call")));
    assert_eq!((&run["log"][0]["step"], &run["log"][0]["status"]), (&json!("call"), &json!("running")));
    assert_eq!(staff.replay(id).await.len(), 2);
    let path = format!("/acts/runs/{id}/replay?follow=1");
    let mut tape = staff.request(Method::GET, &path).send().await.expect("it answers");
    let mut played = tape.chunk().await.expect("open").expect("what happened so far").to_vec();
    service.open();
    while let Some(chunk) = tape.chunk().await.expect("whole") {
        played.extend(chunk);
    }
    let played = String::from_utf8(played).expect("UTF-8");
    assert_eq!(played.lines().collect::<Vec<_>>(), staff.replay(id).await);
    assert!(played.lines().last().unwrap().contains("run.closed"));

    let heard = service.heard();
    assert_eq!((heard[0].run.as_str(), heard[0].step.as_str()), (id.to_string().as_str(), "call"));
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn tape_that_follows_ends_with_the_rights_of_whoever_listens() {
    let server = TestServer::start().await;
    let (staff, auditor) = (server.user("staff"), server.user("auditor"));
    let definition = json!({"tasks": [{"id": "ask", "type": "hitl"}]});
    let body = json!({"name": "Ask", "definition": definition});
    let created = server.user("admin").post("/acts/protocols", body).await.expect(201);
    let id = staff.start(created.json["id"].as_i64().expect("a number"), json!({})).await;
    staff.wait_for_status(id, "waiting").await;
    let path = format!("/acts/runs/{id}/replay?follow=1");
    let mut tape = auditor.request(Method::GET, &path).send().await.expect("the server answers");
    assert_eq!(tape.status(), 200);
    let mut played = tape.chunk().await.expect("the tape begins").expect("an entry").to_vec();

    let disable = "UPDATE users SET disabled_at = now() WHERE name = 'auditor'";
    server.database.connect().batch_execute(disable).expect("disabled");
    staff.patch(&format!("/acts/runs/{id}/cancel"), json!({"reason": "Not needed."})).await.expect(202);
    let broken = loop {
        match tape.chunk().await {
            Ok(Some(bytes)) => played.extend(bytes),
            Ok(None) => break false,
            Err(_) => break true,
        }
    };
    let played = String::from_utf8_lossy(&played);
    assert!(broken && !played.contains("run.closed"), "{played}");
    server.stop().await;
}

#[test]
fn statement_that_takes_too_long_is_told_from_one_that_is_wrong() {
    let database = TestDatabase::new();
    let mut connection = database.connect_for_any_entry();
    connection.batch_execute("SET statement_timeout = '1ms'").expect("set");
    let error = connection.batch_execute("SELECT pg_sleep(60)").expect_err("given up");
    assert!(matches!(StoreError::from(error), StoreError::TooSlow));
    let error = connection.batch_execute("SELECT nothing").expect_err("wrong");
    assert!(matches!(StoreError::from(error), StoreError::Database(_)));
}

/// An entry of run 0 with these words in every column that holds words.
pub fn insert(connection: &mut PgConnection, seq: i64, words: &str, detail: Value) -> Vec<u8> {
    let sealed = seal(&Draft {
        origin: "test.invalid/log",
        run_id: 0,
        stream: 77,
        seq: seq as u64,
        prev: None,
        at: chrono::DateTime::from_timestamp(1_767_225_600 + seq, 0).expect("a time"),
        actor: words,
        type_name: words,
        step: Some(words),
        attempt: None,
        status: Some(words),
        checksum: None,
        detail,
    });
    sql_query(
        "INSERT INTO activity_log (run_id, stream, seq, t, actor, type, step, status, leaf, leaf_hash)
         VALUES (0, 77, $1, to_timestamp(1767225600 + $1), $2, $2, $2, $2, $3, $4)",
    )
    .bind::<BigInt, _>(seq)
    .bind::<Text, _>(words)
    .bind::<Bytea, _>(&sealed.leaf)
    .bind::<Bytea, _>(sealed.hash.as_slice())
    .execute(connection)
    .expect("written");
    sealed.leaf
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_an_entry_holds_comes_out_whole_and_harmless() {
    let server = TestServer::start().await;
    let mut connection = server.database.connect_for_any_entry();
    let words = [
        "=1+1",
        "+1",
        "-1",
        "@SUM(A1)",
        "\t=1",
        "\r=1",
        "\n=1",
        "＝1",
        "a\r\nb,\"c\";d",
        "\"",
        "'=1",
        " =1",
        "\u{7}\u{1b}[31m",
        "💩\u{202e}",
        "",
    ];
    let mut leaves = Vec::new();
    for (at, words) in words.iter().enumerate() {
        let detail = json!({"=x": words, "nul": "a\u{0}b", "lines": "1\r\n2"});
        leaves.push(insert(&mut connection, at as i64 + 1, words, detail));
    }
    // As long as a leaf may be, and longer than a page of them may weigh together.
    for seq in 100..180 {
        leaves.push(insert(&mut connection, seq, "long", json!({"x": "é\"".repeat(16_000)})));
    }
    assert!(leaves.iter().any(|leaf| leaf.len() > 60_000));
    let auditor = server.user("auditor");
    let query = "run_id=0&to=2026-01-02";
    let lines = auditor.get(&format!("/acts/log.ndjson?{query}")).await.expect(200).text;
    let expected: Vec<&str> = leaves.iter().map(|leaf| std::str::from_utf8(leaf).expect("UTF-8")).collect();
    assert!(lines.ends_with('\n') && lines.lines().eq(expected.iter().copied()), "the exact bytes");

    let csv = auditor.get(&format!("/acts/log.csv?{query}")).await.expect(200).text;
    let rows = records(&csv);
    assert_eq!(rows.len(), leaves.len() + 1);
    for (row, (words, leaf)) in rows[1..].iter().zip(words.iter().zip(&expected)) {
        let is_formula = words.starts_with(['=', '+', '-', '@', '\t', '\r', '\n', '＝']);
        let cell = if is_formula { format!("'{words}") } else { (*words).to_owned() };
        for column in [3, 4, 5, 7] {
            assert_eq!(row[column], cell);
        }
        assert!(leaf.contains(&row[9]), "the detail is the leaf's own: {}", row[9]);
        assert_eq!(row[12], "77");
    }
    for cell in rows.iter().flatten() {
        assert!(!cell.starts_with(['=', '+', '-', '@', '\t', '\r', '\n', '＝']), "{cell}");
    }
    server.stop().await;
}

/// Entries of many pages, some at the same moment: runs 1 to 600 with ten each.
fn fill(connection: &mut PgConnection) {
    connection
        .batch_execute(
            "INSERT INTO activity_log (run_id, seq, t, actor, type, leaf, leaf_hash)
             SELECT run, seq, timestamptz '2026-01-01' + (run * 7 + seq) / 5 * interval '1 second', 'eve',
                    CASE WHEN seq = 10 THEN 'run.closed' ELSE 'step.done' END,
                    convert_to(format('{\"run\":%s,\"seq\":%s}', run, seq), 'UTF8'), sha256('x')
             FROM generate_series(1, 600) AS run, generate_series(1, 10) AS seq",
        )
        .expect("written");
}

fn places(lines: &str) -> Vec<(i64, i64)> {
    let place = |line: &str| {
        let entry: Value = serde_json::from_str(line).expect("JSON");
        (entry["run"].as_i64().expect("a number"), entry["seq"].as_i64().expect("a number"))
    };
    lines.lines().map(place).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn export_that_broke_off_goes_on_and_ends_where_it_would_have() {
    let server = TestServer::start().await;
    let mut connection = server.database.connect_for_any_entry();
    fill(&mut connection);
    let auditor = server.user("auditor");
    let address = "/acts/log.ndjson?actor=eve&from=2026-01-01";
    let whole = auditor.get(address).await.expect(200);
    let lines: Vec<&str> = whole.text.lines().collect();
    assert_eq!(lines.len(), 6_000);
    let mut expected = places(&whole.text);
    expected.dedup();
    assert_eq!(expected.len(), 6_000, "each once");

    // Written meanwhile, among what is exported as well as behind it.
    let until = whole.header("act-log-to").to_owned();
    let pinned = whole.header("link").trim_start_matches('<').replace(">; rel=\"self\"", "");
    assert!(pinned.contains("actor=eve") && pinned.contains("to="), "{pinned}");
    let late = format!(
        "INSERT INTO activity_log (run_id, seq, t, actor, type, leaf, leaf_hash)
         VALUES (601, 1, '{until}', 'eve', 'step.done', '{{}}', sha256('x'))"
    );
    connection.batch_execute(&late).expect("written");
    for kept in [1, 2_047, 2_048, 5_999, 6_000] {
        let (run, seq) = expected[kept - 1];
        let rest = auditor.get(&format!("{pinned}&after={run}.{seq}")).await.expect(200);
        assert_eq!(rest.header("act-log-to"), until);
        assert!(rest.text.lines().eq(lines[kept..].iter().copied()), "after {kept}");
    }
    assert_eq!(
        auditor.get(address).await.expect(200).text.lines().count(),
        6_001,
        "a new one has what is new"
    );

    let csv =
        auditor.get("/acts/log.csv?actor=eve&type=run.closed&to=2026-02-01&bom=1").await.expect(200).text;
    assert_eq!(csv.lines().count(), 601);
    let header = csv.lines().next().expect("a header").to_owned();
    let rest = "/acts/log.csv?actor=eve&type=run.closed&to=2026-02-01&bom=1&after=300.10";
    let rest = auditor.get(rest).await.expect(200);
    assert!(rest.header("content-type").contains("header=absent"));
    assert!(!rest.text.contains(&header) && !rest.text.starts_with('\u{feff}'));
    assert!(csv.ends_with(&rest.text) && rest.text.lines().count() == 300, "{}", rest.text.lines().count());
    // Of run 0, with its stream.
    let all = auditor.get("/acts/log.ndjson?run_id=0").await.expect(200).text;
    let first: Value = serde_json::from_str(all.lines().next().expect("an entry")).expect("JSON");
    let rest = format!("/acts/log.ndjson?run_id=0&after=0.{}.{}", first["stream"], first["seq"]);
    let rest = auditor.get(&rest).await.expect(200).text;
    let behind = all.split_once('\n').expect("more than one").1;
    assert!(rest.starts_with(behind), "{rest}");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn search_of_the_page_exports_what_the_page_shows() {
    let server = TestServer::start().await;
    fill(&mut server.database.connect_for_any_entry());
    let auditor = server.user("auditor");
    let search = "actor%3Aeve+type%3Arun.closed+%22%5C%22run%5C%22%3A30%22";
    let page = auditor.get(&format!("/log?search={search}")).await.expect(200).text;
    assert_eq!(page.matches("<th scope=\"row\"").count(), 11, "{page}");
    let found = auditor.get(&format!("/acts/log.ndjson?search={search}")).await.expect(200).text;
    let runs: Vec<i64> = places(&found).into_iter().map(|(run, _)| run).collect();
    assert_eq!(runs, [30, 300, 301, 302, 303, 304, 305, 306, 307, 308, 309]);
    let narrowed =
        auditor.get(&format!("/acts/log.ndjson?search={search}&run_id=305")).await.expect(200).text;
    assert_eq!(places(&narrowed), [(305, 10)]);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn end_of_every_export_is_an_entry() {
    let server = TestServer::start().await;
    let mut connection = server.database.connect_for_any_entry();
    fill(&mut connection);
    let auditor = server.user("auditor");
    auditor.get("/acts/log.csv?actor=eve&type=run.closed").await.expect(200);
    let entries = async |kind: &str| -> Vec<Value> {
        let text = auditor.get(&format!("/acts/log.ndjson?run_id=0&type={kind}")).await.expect(200).text;
        text.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect()
    };
    let ended = entries("log.export_ended").await;
    assert_eq!(ended.len(), 1, "{ended:?}");
    let detail = &ended[0]["detail"];
    assert_eq!((&detail["rows"], &detail["outcome"]), (&json!(600), &json!("complete")));
    assert_eq!(detail["last"], "600.0.10");
    let began = entries("log.exported").await;
    let first =
        began.iter().find(|entry| entry["detail"]["export"] == detail["export"]).expect("its beginning");
    assert!(first["detail"]["query"].as_str().expect("a query").contains("actor=eve"));

    // Somebody goes away in the middle.
    for seq in 1..=600 {
        insert(&mut connection, seq, "long", json!({"x": "x".repeat(60_000)}));
    }
    let mut leaving =
        auditor.request(Method::GET, "/acts/log.ndjson?actor=long").send().await.expect("it answers");
    leaving.chunk().await.expect("open").expect("something");
    drop(leaving);
    // Its end is written once the next piece finds nobody: asking again is all that can be done from here.
    let broken = loop {
        let ended = entries("log.export_ended").await;
        if let Some(broken) =
            ended.into_iter().find(|it| it["detail"]["outcome"] == "broken off by the reader")
        {
            break broken;
        }
        tokio::task::yield_now().await;
    };
    assert!(broken["detail"]["rows"].as_i64().expect("a number") < 600, "{broken}");
    server.stop().await;
}

#[derive(QueryableByName)]
struct Held {
    #[diesel(sql_type = BigInt)]
    it: i64,
}

#[tokio::test(flavor = "multi_thread")]
async fn readers_that_take_nothing_hold_up_nobody() {
    let server = TestServer::start().await;
    let mut connection = server.database.connect_for_any_entry();
    for seq in 1..=700 {
        insert(&mut connection, seq, "long", json!({"x": "x".repeat(60_000)}));
    }
    let auditor = server.user("auditor");
    // More than may read at once. Nothing is taken but the head of each answer.
    let mut slow = Vec::new();
    for _ in 0..5 {
        let answer =
            auditor.request(Method::GET, "/acts/log.ndjson?actor=long").send().await.expect("it answers");
        assert_eq!(answer.status(), 200);
        slow.push(answer);
    }
    let whole = auditor.get("/acts/log.ndjson?actor=long").await.expect(200).text;
    assert_eq!(whole.lines().count(), 700);
    let held = "SELECT count(*) AS it FROM pg_stat_activity
                WHERE datname = current_database() AND query LIKE '%activity_log%' AND pid <> pg_backend_pid()
                  AND state <> 'idle'";
    let held: Held = sql_query(held).get_result(&mut connection).expect("a count");
    assert_eq!(held.it, 0, "no statement and no transaction is open");
    // Each goes on when its reader does.
    for answer in slow {
        assert_eq!(answer.text().await.expect("whole"), whole);
    }
    server.stop().await;
}
