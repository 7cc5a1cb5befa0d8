//! Input that cannot be: each gets its own clear refusal, and nothing is half-written.

use crate::support::client::{Answer, Caller};
use crate::support::server::{ALL_SCOPES, TestServer};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use diesel::sql_types::BigInt;
use diesel::{PgConnection, QueryableByName, RunQueryDsl, sql_query};
use hms_act::auth::policy::Scope;
use hms_act::auth::token_keys::TokenKey;
use hms_act::auth::tokens;
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use reqwest::Method;
use serde_json::{Value, json};

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
fn rows(server: &TestServer) -> [i64; 5] {
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

/// Tokens that must open nothing, each with a word of its refusal.
fn bad_tokens(server: &TestServer) -> Vec<(&'static str, String, &'static str)> {
    let ours = TokenKey::load_or_create(server.scratch.path()).expect("a key");
    let foreign = TokenKey::generate().expect("a key");
    let good = server.token("staff", ALL_SCOPES);
    let parts: Vec<&str> = good.split('.').collect();
    let encode = |value: Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let claims: Value = serde_json::from_slice(&URL_SAFE_NO_PAD.decode(parts[1]).unwrap()).unwrap();
    let with = |claim: &str, value: Value| {
        let mut changed = claims.clone();
        changed[claim] = value;
        changed
    };
    let pem = std::fs::read(server.scratch.path().join("token-key.pem")).expect("a key");
    let signing = EncodingKey::from_ed_pem(&pem).expect("a key");
    let header = Header { kid: Some(ours.kid().to_owned()), ..Header::new(Algorithm::EdDSA) };
    let signed = |claims: &Value| jsonwebtoken::encode(&header, claims, &signing).expect("a token");
    let hmac = Header { kid: Some(ours.kid().to_owned()), ..Header::new(Algorithm::HS256) };
    let confused = EncodingKey::from_secret(&ours.public_key());
    let scopes = [Scope::RunsRead, Scope::RunsWrite].into_iter().collect();
    let foreign = tokens::mint(&foreign, "staff", &scopes, 60, chrono::Utc::now()).expect("a token");
    let mut tampered = claims.clone();
    tampered["sub"] = json!("admin");
    let none = |alg: &str, kid: &str| encode(json!({"typ": "JWT", "alg": alg, "kid": kid}));
    vec![
        ("expired", signed(&with("exp", json!(1_700_000_000))), "expired"),
        ("not yet valid", signed(&with("nbf", json!(4_000_000_000_i64))), "not valid yet"),
        ("another audience", signed(&with("aud", json!("other"))), "audience"),
        ("another issuer", signed(&with("iss", json!("other"))), "issuer"),
        ("no expiry", signed(&with("exp", Value::Null)), "exp"),
        ("unknown user", signed(&with("sub", json!("mallory"))), "user"),
        ("empty user", signed(&with("sub", json!(""))), "sub"),
        ("unsigned", format!("{}.{}.", parts[0], parts[1]), "not signed"),
        ("alg none", format!("{}.{}.", none("none", ours.kid()), parts[1]), "not signed"),
        ("alg None, signed", format!("{}.{}.{}", none("None", ours.kid()), parts[1], parts[2]), "not signed"),
        ("another key", foreign, "no key"),
        ("no kid", format!("{}.{}.{}", encode(json!({"alg": "EdDSA"})), parts[1], parts[2]), "no key"),
        ("HS256 under the public key", jsonwebtoken::encode(&hmac, &claims, &confused).unwrap(), "EdDSA"),
        ("claims changed", format!("{}.{}.{}", parts[0], encode(tampered), parts[2]), "signature"),
        ("signature cut", good[..good.len() - 4].to_owned(), "The token"),
        ("no JWT", "abc".to_owned(), "not a JWT"),
        ("too long", format!("{good}{}", "A".repeat(10_000)), "not a JWT"),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn tokens_that_prove_nothing_open_nothing() {
    let server = TestServer::start().await;
    let before = rows(&server);
    server.user("staff").get("/acts/runs").await.expect(200);
    for (what, token, says) in bad_tokens(&server) {
        let caller = server.bearer(&token);
        let start = json!({"protocol_id": 7, "payload": {"license_id": 123}});
        for refused in [caller.get("/acts/runs").await, caller.post("/acts/run", start).await] {
            let detail = refused.problem(401);
            assert!(detail.contains(says), "{what}: {detail}");
            let challenge = refused.header("www-authenticate");
            assert!(
                challenge.starts_with(r#"Bearer realm="hms-act", error="invalid_token""#),
                "{what}: {challenge}"
            );
        }
    }
    assert_eq!(rows(&server), before);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn missing_and_unreadable_credentials_are_challenged() {
    let server = TestServer::start().await;
    let missing = server.nobody().get("/acts/runs").await;
    missing.problem(401);
    assert_eq!(missing.header("www-authenticate"), r#"Bearer realm="hms-act""#);
    let token = server.token("staff", "runs:read");
    for value in ["Basic c3RhZmY6eA==".to_owned(), "Bearer".to_owned(), token.clone()] {
        let request = server.nobody().request(Method::GET, "/acts/runs").header("authorization", value);
        let refused = Caller::send(request).await;
        refused.problem(401);
        assert!(refused.header("www-authenticate").contains("invalid_request"));
    }
    // A token in the address is no credential.
    server.nobody().get(&format!("/acts/runs?access_token={token}")).await.problem(401);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn disabled_users_and_changed_roles_count_at_once() {
    let server = TestServer::start().await;
    let (staff, supervisor) = (server.user("staff"), server.user("supervisor"));
    let id = staff.start(7, json!({"license_id": 123})).await;
    staff.wait_for_status(id, "waiting").await;
    let approval = supervisor.approval(id).await;
    let mut app = server.database.connect();
    sql_query("UPDATE users SET disabled_at = now() WHERE name = 'staff'").execute(&mut app).expect("ours");
    assert!(staff.get("/acts/runs").await.problem(401).contains("disabled"));
    sql_query("UPDATE users SET role = 'staff' WHERE name = 'supervisor'").execute(&mut app).expect("ours");
    supervisor.decide(approval, "approve", "I was a supervisor.").await.problem(403);
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

/// The refusal, and what it says is missing.
#[track_caller]
fn missing(refused: &Answer) -> &str {
    refused.problem(403);
    let missing = refused.json["missing"].as_str().expect("it names what is missing");
    assert!(refused.header("www-authenticate").contains(&format!(r#"scope="{missing}""#)));
    missing
}

#[tokio::test(flavor = "multi_thread")]
async fn refusals_name_what_is_missing_and_are_in_the_log() {
    let server = TestServer::start().await;
    let start = json!({"protocol_id": 7, "payload": {"license_id": 123}});
    let before = rows(&server);
    // The token lacks it.
    let reader = server.with_scopes("staff", "runs:read");
    assert_eq!(missing(&reader.post("/acts/run", start.clone()).await), "runs:write");
    let writer = server.with_scopes("supervisor", "runs:write");
    assert_eq!(missing(&writer.get("/acts/runs").await), "runs:read");
    assert_eq!(missing(&writer.get("/acts/log.csv").await), "log:read");
    // The role lacks it, whatever the token says.
    let (staff, auditor) = (server.user("staff"), server.user("auditor"));
    assert_eq!(missing(&auditor.post("/acts/run", start).await), "runs:write");
    assert_eq!(missing(&staff.get("/acts/log.csv").await), "log:read");
    assert_eq!(missing(&staff.get("/acts/actions").await), "protocols:write");
    let definition = json!({"name": "Mine", "definition": {"tasks": []}});
    assert_eq!(missing(&staff.post("/acts/protocols", definition.clone()).await), "protocols:write");
    assert_eq!(
        missing(&server.user("supervisor").put("/acts/protocols/7", definition).await),
        "protocols:write"
    );
    assert_eq!(rows(&server), before);

    let log = auditor.get("/acts/log.ndjson?run_id=0&type=access.refused").await.expect(200).text;
    let refused: Vec<Value> = log.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    let named = |actor: &str, missing: &str| {
        let fits = |entry: &&Value| entry["actor"] == actor && entry["detail"]["missing"] == missing;
        refused.iter().filter(fits).count()
    };
    assert_eq!(refused.len(), 8, "{log}");
    assert_eq!((named("staff", "runs:write"), named("supervisor", "runs:read")), (1, 1));
    assert_eq!((named("supervisor", "log:read"), named("staff", "protocols:write")), (1, 2));
    assert!(refused.iter().all(|entry| entry["run"] == 0 && entry["status"] == "refused"));
    assert!(refused.iter().all(|entry| entry["detail"]["via"]["auth"] == "token"));
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn refused_commands_are_in_the_log_of_the_agency_and_not_in_the_runs() {
    let server = TestServer::start().await;
    let (staff, supervisor) = (server.user("staff"), server.user("supervisor"));
    let id = supervisor.start(7, json!({"license_id": 123})).await;
    supervisor.wait_for_status(id, "waiting").await;
    let approval = supervisor.approval(id).await;
    let before = server.user("auditor").replay(id).await;
    supervisor.decide(approval, "approve", "Mine.").await.problem(403);
    let body = json!({"decision": "maybe", "reason": "x"});
    supervisor.post(&format!("/acts/approvals/{approval}/decision"), body).await.problem(422);
    // Staff see and stop their own runs only.
    staff.get(&format!("/acts/runs/{id}")).await.problem(403);
    staff.get(&format!("/acts/runs/{id}/replay")).await.problem(403);
    staff.patch(&format!("/acts/runs/{id}/cancel"), json!({"reason": "x"})).await.problem(403);
    supervisor.post(&format!("/acts/runs/{id}/resume"), json!({"reason": "x"})).await.problem(409);
    assert_eq!(server.user("auditor").replay(id).await, before);

    let log = server.user("auditor").get("/acts/log.ndjson?run_id=0&status=refused").await.expect(200).text;
    assert_eq!(log.lines().filter(|line| line.contains("command.refused")).count(), 2, "{log}");
    assert_eq!(log.lines().filter(|line| line.contains("access.refused")).count(), 3, "{log}");
    assert!(log.contains("somebody else must decide"));
    server.stop().await;
}
