//! The log as it leaves: CSV, NDJSON, and the replay of one run.

use crate::support::postgres::TestDatabase;
use crate::support::server::TestServer;
use crate::support::service::TestService;
use diesel::connection::SimpleConnection;
use hms_act::store::error::StoreError;
use hms_act::store::log::{self, LogFilter};
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
    let mut connection = database.connect();
    connection.batch_execute("SET statement_timeout = '1ms'").expect("set");
    let error = connection.batch_execute("SELECT pg_sleep(60)").expect_err("given up");
    assert!(matches!(StoreError::from(error), StoreError::TooSlow));
    let error = connection.batch_execute("SELECT nothing").expect_err("wrong");
    assert!(matches!(StoreError::from(error), StoreError::Database(_)));
}

#[test]
fn log_without_end_is_not_counted_to_its_end() {
    let database = TestDatabase::new();
    let mut connection = database.connect();
    connection
        .batch_execute(
            "INSERT INTO activity_log (run_id, stream, seq, t, actor, type, leaf, leaf_hash)
             SELECT 0, 9, n, now(), 'ada', 'user.signed_in', '\\x7b7d', sha256('\\x007b7d')
             FROM generate_series(1, 10500) AS n",
        )
        .expect("written");
    let all = log::count(&mut connection, &LogFilter::default()).expect("counted");
    assert_eq!(all, log::COUNTED + 1);
    let few = LogFilter { actor: Some("eve".to_owned()), ..LogFilter::default() };
    assert_eq!(log::count(&mut connection, &few).expect("counted"), 0);
}
