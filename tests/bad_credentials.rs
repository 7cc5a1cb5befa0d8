//! Who is not let in, and who is but may not: refused by name, and on record.

use crate::bad_input::rows;
use crate::support::client::{Answer, Caller};
use crate::support::server::{ALL_SCOPES, TestServer};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use diesel::{RunQueryDsl, sql_query};
use hms_act::auth::policy::Scope;
use hms_act::auth::token_keys::TokenKey;
use hms_act::auth::tokens;
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use reqwest::Method;
use serde_json::{Value, json};

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
