//! Input that cannot be: each gets its own clear refusal, and nothing is half-written.

use crate::support::client::Caller;
use crate::support::server::TestServer;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use diesel::sql_types::BigInt;
use diesel::{PgConnection, QueryableByName, RunQueryDsl, sql_query};
use reqwest::Method;
use serde_json::json;

fn count(connection: &mut PgConnection, table_and_condition: &str) -> i64 {
    #[derive(QueryableByName)]
    struct Count {
        #[diesel(sql_type = BigInt)]
        it: i64,
    }
    let query = format!("SELECT count(*) AS it FROM {table_and_condition}");
    sql_query(query).get_result::<Count>(connection).expect("a count").it
}

/// How many rows there are of everything that a run leaves.
pub fn rows(server: &TestServer) -> [i64; 5] {
    let mut connection = server.database.connect();
    ["runs", "activity_log WHERE run_id > 0", "approvals", "timers", "start_keys"]
        .map(|table| count(&mut connection, table))
}

/// A protocol of one step that computes: its result is what it was given.
async fn echo(server: &TestServer) -> i64 {
    let definition = json!({"tasks": [{"id": "echo", "type": "script", "uses": "compute"}]});
    let body = json!({"name": "Echo", "definition": definition});
    server.user("admin").post("/acts/protocols", body).await.expect(201).json["id"]
        .as_i64()
        .expect("a number")
}

#[tokio::test(flavor = "multi_thread")]
async fn bodies_that_are_not_what_a_start_takes_are_refused() {
    let server = TestServer::start().await;
    let staff = server.user("staff");
    let before = rows(&server);
    for (body, status, says) in [
        ("", 400, "empty"),
        ("{", 400, "not valid JSON"),
        (r#"{"protocol_id": 7,}"#, 400, "not valid JSON"),
        (r#"{"protocol_id": 7} {}"#, 400, "not valid JSON"),
        ("{\"protocol_id\": 7, \"payload\": {\"a\": \"\u{1}\"}}", 400, "not valid JSON"),
        (r#"{"protocol_id": 7, "payload": {"a": 1e400}}"#, 400, "not valid JSON"),
        (r#"{"protocol_id": 7, "payload": {"a": "\ud800"}}"#, 400, "not valid JSON"),
        (r#"{"protocol_id": 7, "protocol_id": 7}"#, 400, "$.protocol_id twice"),
        (r#"{"protocol_id": 7, "payload": {"a": {"b": 1, "b": 1}}}"#, 400, "$.payload.a.b twice"),
        ("[]", 422, "an array"),
        ("7", 422, "a whole number"),
        ("null", 422, "null"),
        ("{}", 422, "$.protocol_id"),
        (r#"{"protocol_id": "7"}"#, 422, "must be a whole number"),
        (r#"{"protocol_id": 7.5}"#, 422, "must be a whole number"),
        (r#"{"protocol_id": null}"#, 422, "must be a whole number"),
        (r#"{"protocol_id": 7, "payload": []}"#, 422, "must be an object"),
        (r#"{"protocol_id": 7, "payload": "x"}"#, 422, "must be an object"),
        (r#"{"protocol_id": 7, "payloda": {}}"#, 422, "$.payloda"),
        (r#"{"protocol_id": 8, "payload": {}}"#, 422, "no protocol 8"),
        (r#"{"protocol_id": -1, "payload": {}}"#, 422, "no protocol -1"),
        (r#"{"protocol_id": 9223372036854775808}"#, 422, "must be a whole number"),
        (r#"{"protocol_id": 123456789012345678901234567890}"#, 422, "64 bits"),
        (
            r#"{"protocol_id": 7, "payload": {"license_id": 123, "a": 123456789012345678901234567890}}"#,
            422,
            "64 bits",
        ),
        (r#"{"protocol_id": 7, "payload": {"license_id": 123, "a": "x\u0000y"}}"#, 422, "U+0000"),
        (r#"{"protocol_id": 7, "payload": {"license_id": 123, "x\u0000y": 1}}"#, 422, "U+0000"),
        (r#"{"protocol_id": 7, "payload": {"license_id": "123"}}"#, 422, "$.payload.license_id"),
        (r#"{"protocol_id": 7, "payload": {}}"#, 422, "license_id"),
    ] {
        let refused = staff.post_bytes("/acts/run", body.to_owned()).await;
        assert_eq!(refused.status, status, "{body} → {}", refused.text);
        refused.problem(status);
        assert!(refused.text.contains(says), "{body} → {}", refused.text);
    }
    let invalid_utf8 = b"{\"protocol_id\": 7, \"payload\": {\"a\": \"\xff\"}}".to_vec();
    staff.post_bytes("/acts/run", invalid_utf8).await.problem(400);
    assert_eq!(rows(&server), before);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn all_wrong_fields_are_named_at_once() {
    let server = TestServer::start().await;
    let body = json!({"protocol_id": "seven", "payload": [], "priority": 1});
    let refused = server.user("staff").post("/acts/run", body).await;
    let paths: Vec<&str> = refused.errors().into_iter().map(|(path, _)| path).collect();
    assert_eq!(paths, ["$.protocol_id", "$.payload", "$.priority"]);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn large_and_deep_bodies_are_refused_and_harm_nobody() {
    let server = TestServer::start().await;
    let (staff, before) = (server.user("staff"), rows(&server));
    let large =
        format!(r#"{{"protocol_id": 7, "payload": {{"license_id": 123, "a": "{}"}}}}"#, "x".repeat(2 << 20));
    assert!(staff.post_bytes("/acts/run", large.clone()).await.problem(413).contains("1048576 bytes"));
    // Without a declared length it is read, and only as far as the limit.
    let pieces: Vec<Result<Vec<u8>, std::io::Error>> =
        large.as_bytes().chunks(64 * 1024).map(|piece| Ok(piece.to_vec())).collect();
    let stream = reqwest::Body::wrap_stream(futures_util::stream::iter(pieces));
    staff.post_bytes("/acts/run", stream).await.problem(413);

    let deep =
        format!(r#"{{"protocol_id": 7, "payload": {{"a": {}{}}}}}"#, "[".repeat(10_000), "]".repeat(10_000));
    assert!(staff.post_bytes("/acts/run", deep).await.problem(400).contains("deeper than 64"));
    let unclosed = format!(r#"{{"protocol_id": 7, "payload": {{"a": {}"#, "{\"a\":".repeat(100_000));
    staff.post_bytes("/acts/run", unclosed).await.problem(400);
    assert_eq!(rows(&server), before);
    // Just below both limits is fine.
    let echo = echo(&server).await;
    let text = "x".repeat(1_000_000);
    let depth = format!("{}{}", "[".repeat(60), "]".repeat(60));
    let body = format!(r#"{{"protocol_id": {echo}, "payload": {{"text": "{text}", "deep": {depth}}}}}"#);
    let id = staff.post_bytes("/acts/run", body).await.expect(202).json["run_id"].as_i64().expect("a number");
    let run = staff.wait_for_status(id, "completed").await;
    assert_eq!(run["payload"]["echo"]["text"], text.as_str());
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn integers_beyond_doubles_survive_to_the_digit() {
    let server = TestServer::start().await;
    let staff = server.user("staff");
    let echo = echo(&server).await;
    let body = format!(
        r#"{{"protocol_id": {echo}, "payload": {{"n": 9007199254740993, "max": 18446744073709551615, "min": -9223372036854775808}}}}"#
    );
    let started = staff.post_bytes("/acts/run", body).await.expect(202);
    let id = started.json["run_id"].as_i64().expect("a number");
    staff.wait_for_status(id, "completed").await;
    let shown = staff.get(&format!("/acts/runs/{id}")).await.expect(200).text;
    let [n, max, min] = ["9007199254740993", "18446744073709551615", "-9223372036854775808"];
    for (key, digits) in [("n", n), ("max", max), ("min", min)] {
        // Once in the payload, once in the result of the step.
        assert_eq!(shown.matches(&format!("\"{key}\":{digits}")).count(), 2, "{shown}");
    }
    // RFC 8785 has no such numbers: the log holds their digits as text.
    let log = server.user("auditor").replay(id).await.join("\n");
    for (key, digits) in [("n", n), ("max", max), ("min", min)] {
        assert_eq!(log.matches(&format!("\"{key}\":\"{digits}\"")).count(), 2, "{log}");
    }
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn numbers_in_addresses_must_be_numbers() {
    let server = TestServer::start().await;
    let admin = server.user("admin");
    for bad in [
        "abc",
        "0",
        "-1",
        "+1",
        "1.5",
        "1e3",
        "9223372036854775808",
        "99999999999999999999",
        "%20",
        "1%00",
        "%FF",
        "%D9%A1",
    ] {
        for path in ["runs/{}", "runs/{}/replay", "approvals/{}", "protocols/{}", "protocols/{}/versions"] {
            let refused = admin.get(&format!("/acts/{}", path.replace("{}", bad))).await;
            assert!(refused.problem(400).len() > 10, "{path} {bad}");
        }
        admin.patch(&format!("/acts/runs/{bad}/cancel"), json!({"reason": "x"})).await.problem(400);
    }
    for path in [
        "runs/8999",
        "runs/9223372036854775807",
        "runs/8999/replay",
        "approvals/77",
        "protocols/8",
        "protocols/8/versions",
    ] {
        admin.get(&format!("/acts/{path}")).await.problem(404);
    }
    admin.patch("/acts/runs/8999/cancel", json!({"reason": "x"})).await.problem(404);
    admin.decide(77, "approve", "x").await.problem(404);
    for path in ["/acts", "/acts/", "/acts/nothing", "/hitl/nothing", "/acts/runs/9001/nothing"] {
        admin.get(path).await.problem(404);
    }
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn query_parameters_are_read_strictly() {
    let server = TestServer::start().await;
    let admin = server.user("admin");
    let lists = ["runs", "approvals", "protocols", "actions", "agents"];
    for list in lists {
        for query in [
            "limit=0",
            "limit=201",
            "limit=-1",
            "limit=x",
            "limit=1.5",
            "limit=99999999999999999999",
            "cursor=!!",
            "limit=1&limit=1",
            "colour=red",
            "Limit=1",
        ] {
            let refused = admin.get(&format!("/acts/{list}?{query}")).await;
            assert_eq!(refused.status, 400, "{list}?{query}: {}", refused.text);
            refused.problem(400);
        }
    }
    for list in ["runs", "approvals", "protocols"] {
        let cursor = URL_SAFE_NO_PAD.encode("abc");
        admin.get(&format!("/acts/{list}?cursor={cursor}")).await.problem(400);
    }
    for query in [
        "status=done",
        "status=queued,wating",
        "protocol_id=seven",
        "from=yesterday",
        "to=2026-13-01",
        "stalled=perhaps",
        "from=%2B262142-01-01",
        "to=%2B262142-12-31",
        "from=-100000-01-01",
        "to=-0001-01-01",
    ] {
        let refused = admin.get(&format!("/acts/runs?{query}")).await;
        assert_eq!(refused.status, 400, "{query}: {}", refused.text);
    }
    admin.get("/acts/approvals?status=open").await.problem(400);
    for query in ["run_id=x", "from=x", "bom=maybe", "user=staff", "limit=5"] {
        for format in ["csv", "ndjson"] {
            admin.get(&format!("/acts/log.{format}?{query}")).await.problem(400);
        }
    }
    for query in ["speed=0", "speed=-1", "speed=fast", "speed=NaN", "speed=inf", "follow=perhaps", "pace=1"] {
        admin.get(&format!("/acts/runs/9001/replay?{query}")).await.problem(400);
    }
    admin.get("/acts/protocols/7?version=x").await.problem(400);
    admin.get("/acts/protocols/7?version=2").await.problem(404);
    admin.get("/acts/protocols/7?version=4294967297").await.problem(404);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nul_in_an_address_is_refused_wherever_it_stands() {
    let server = TestServer::start().await;
    let admin = server.user("admin");
    for path in
        ["runs?q=%00", "runs?started_by=a%00b", "log.csv?q=%00", "log.csv?actor=%00a", "log.ndjson?step=%00"]
    {
        let refused = admin.get(&format!("/acts/{path}")).await;
        assert_eq!(refused.status, 400, "{path}: {}", refused.text);
    }
    for path in ["actions/a%00b", "agents/%00"] {
        admin.get(&format!("/acts/{path}")).await.problem(404);
        let body = json!({"kind": "http", "config": {"url": "https://data.gov/"}});
        let refused = admin.put(&format!("/acts/{path}"), body).await;
        assert!(matches!(refused.status, 404 | 422), "{path}: {}", refused.text);
    }
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn methods_and_media_types_are_named_when_they_are_wrong() {
    let server = TestServer::start().await;
    let admin = server.user("admin");
    for (method, path, allow) in [
        (Method::GET, "/acts/run", "POST"),
        (Method::DELETE, "/acts/runs/9001", "GET"),
        (Method::POST, "/acts/runs/9001/cancel", "PATCH"),
        (Method::DELETE, "/acts/protocols/7", "GET, PUT"),
        (Method::PUT, "/acts/actions", "GET, POST"),
        (Method::PATCH, "/acts/log.csv", "GET"),
        (Method::POST, "/healthz", "GET"),
    ] {
        let refused = Caller::send(admin.request(method, path)).await;
        refused.problem(405);
        assert_eq!(refused.header("allow"), allow, "{path}");
    }
    let body = r#"{"protocol_id": 7, "payload": {"license_id": 123}}"#;
    for media_type in
        [Some("text/plain"), Some("application/x-www-form-urlencoded"), Some("application/jsonx"), None]
    {
        let mut request = admin.request(Method::POST, "/acts/run").body(body);
        if let Some(media_type) = media_type {
            request = request.header("content-type", media_type);
        }
        assert!(Caller::send(request).await.problem(415).contains("application/json"), "{media_type:?}");
    }
    let request = admin.request(Method::POST, "/acts/run").body(body);
    Caller::send(request.header("content-type", "Application/JSON; charset=utf-8")).await.expect(202);
    server.stop().await;
}
