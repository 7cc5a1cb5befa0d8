//! The lists of the API: pages, filters, and who sees what.

use crate::support::client::Caller;
use crate::support::server::TestServer;
use serde_json::{Value, json};
use std::collections::BTreeSet;

/// A protocol of one step that computes.
async fn echo(server: &TestServer, name: &str) -> i64 {
    let definition = json!({"tasks": [{"id": "echo", "type": "script", "uses": "compute"}]});
    let created =
        server.user("admin").post("/acts/protocols", json!({"name": name, "definition": definition})).await;
    created.expect(201).json["id"].as_i64().expect("a number")
}

fn numbers(list: &Value, noun: &str, key: &str) -> Vec<i64> {
    let rows = list[noun].as_array().expect("a list under its noun");
    rows.iter().map(|row| row[key].as_i64().expect("a number")).collect()
}

/// All pages of a list, each reached by the `Link` of the one before.
async fn pages(caller: &Caller, first: &str) -> Vec<Value> {
    let mut path = first.to_owned();
    let mut pages = Vec::new();
    loop {
        let page = caller.get(&path).await.expect(200);
        match page.json["next"].as_str() {
            None => {
                assert_eq!(page.header("link"), "", "the last page leads nowhere");
                pages.push(page.json);
                return pages;
            }
            Some(cursor) => {
                let link = page.header("link").strip_prefix('<').expect("a link");
                path = link.strip_suffix(">; rel=\"next\"").expect("to the next page").to_owned();
                assert!(path.contains(cursor));
                pages.push(page.json);
            }
        }
    }
}

async fn runs_found(caller: &Caller, query: &str) -> BTreeSet<i64> {
    let found = caller.get(&format!("/acts/runs?{query}")).await.expect(200).json;
    numbers(&found, "runs", "run_id").into_iter().collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn pages_of_runs_miss_nothing_and_repeat_nothing() {
    let server = TestServer::start().await;
    let (staff, protocol) = (server.user("staff"), echo(&server, "Echo").await);
    let mut started = Vec::new();
    for n in 0..7 {
        started.push(staff.start(protocol, json!({"n": n})).await);
    }
    let other = echo(&server, "Other").await;
    staff.start(other, json!({})).await;

    let pages = pages(&staff, &format!("/acts/runs?limit=3&protocol_id={protocol}")).await;
    assert_eq!(
        pages.iter().map(|page| page["runs"].as_array().unwrap().len()).collect::<Vec<_>>(),
        [3, 3, 1]
    );
    let seen: Vec<i64> = pages.iter().flat_map(|page| numbers(page, "runs", "run_id")).collect();
    started.reverse();
    assert_eq!(seen, started, "newest first, and only this protocol's");

    // A run that is started in between moves no page.
    let first = staff.get("/acts/runs?limit=2").await.expect(200).json;
    staff.start(protocol, json!({})).await;
    let cursor = first["next"].as_str().expect("more");
    let second = staff.get(&format!("/acts/runs?limit=2&cursor={cursor}")).await.expect(200).json;
    assert_eq!(numbers(&second, "runs", "run_id")[0], numbers(&first, "runs", "run_id")[1] - 1);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn filters_of_runs_combine() {
    let server = TestServer::start().await;
    let (staff, supervisor) = (server.user("staff"), server.user("supervisor"));
    let protocol = echo(&server, "Echo 100%").await;
    let echoed = staff.start(protocol, json!({"ship": "Aurora"})).await;
    let waiting = staff.start(7, json!({"license_id": 123})).await;
    let theirs = supervisor.start(7, json!({"license_id": 126})).await;
    for id in [waiting, theirs] {
        supervisor.wait_for_status(id, "waiting").await;
    }
    let cancelled = staff.start(7, json!({"license_id": 129})).await;
    staff.patch(&format!("/acts/runs/{cancelled}/cancel"), json!({"reason": "x"})).await.expect(202);
    staff.wait_for_status(cancelled, "cancelled").await;

    let renewals = [waiting, theirs, cancelled];
    for (query, expected) in [
        ("".to_owned(), vec![echoed, waiting, theirs, cancelled]),
        ("protocol_id=7".to_owned(), renewals.to_vec()),
        ("status=waiting".to_owned(), vec![waiting, theirs]),
        ("status=cancelled,completed".to_owned(), vec![echoed, cancelled]),
        ("status=waiting&started_by=staff".to_owned(), vec![waiting]),
        ("status=waiting&started_by=staff&protocol_id=7&q=123".to_owned(), vec![waiting]),
        ("status=waiting&started_by=staff&protocol_id=8".to_owned(), vec![]),
        (format!("q={waiting}"), vec![waiting]),
        ("q=export%20LICENCE".to_owned(), renewals.to_vec()),
        ("q=aurora".to_owned(), vec![echoed]),
        // Not a pattern.
        ("q=%25".to_owned(), vec![echoed]),
        ("q=_".to_owned(), numbers_with_underscore(&supervisor).await),
        ("from=2020-01-01&to=2020-01-02".to_owned(), vec![]),
        ("from=2020-01-01T00:00:00Z".to_owned(), vec![echoed, waiting, theirs, cancelled]),
        ("stalled=1".to_owned(), vec![]),
        ("status=&q=&protocol_id=".to_owned(), vec![echoed, waiting, theirs, cancelled]),
    ] {
        let expected: BTreeSet<i64> = expected.into_iter().collect();
        assert_eq!(runs_found(&supervisor, &query).await, expected, "{query}");
    }
    let row = supervisor.get(&format!("/acts/runs?q={waiting}")).await.expect(200).json["runs"][0].clone();
    assert_eq!((&row["status"], &row["current_step"]), (&json!("waiting"), &json!("human_approval")));
    assert_eq!(
        (&row["started_by"], &row["protocol_name"]),
        (&json!("staff"), &json!("Export licence renewal"))
    );
    let between = format!("from={0}&to={0}", row["started_at"].as_str().expect("a time"));
    assert!(runs_found(&supervisor, &between).await.is_empty(), "the end of a span is not in it");
    server.stop().await;
}

/// The runs whose row really holds an underscore where the search looks.
async fn numbers_with_underscore(caller: &Caller) -> Vec<i64> {
    let all = caller.get("/acts/runs").await.expect(200).json;
    let rows = all["runs"].as_array().expect("a list");
    let holds = |row: &&Value| {
        ["subject", "protocol_name", "started_by"]
            .iter()
            .any(|key| row[*key].as_str().is_some_and(|it| it.contains('_')))
    };
    rows.iter().filter(holds).map(|row| row["run_id"].as_i64().expect("a number")).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn staff_see_their_own_runs_and_approvals_only() {
    let server = TestServer::start().await;
    let (staff, supervisor, auditor) =
        (server.user("staff"), server.user("supervisor"), server.user("auditor"));
    let mine = staff.start(7, json!({"license_id": 123})).await;
    let theirs = supervisor.start(7, json!({"license_id": 126})).await;
    for id in [mine, theirs] {
        supervisor.wait_for_status(id, "waiting").await;
    }
    let approvals = async |caller: &Caller, query: &str| {
        let found = caller.get(&format!("/acts/approvals?{query}")).await.expect(200).json;
        numbers(&found, "approvals", "run_id")
    };
    assert_eq!(runs_found(&staff, "").await, BTreeSet::from([mine]));
    assert_eq!(
        runs_found(&staff, "started_by=supervisor").await,
        BTreeSet::from([mine]),
        "cannot be widened"
    );
    assert_eq!(runs_found(&auditor, "").await, BTreeSet::from([mine, theirs]));
    assert_eq!(approvals(&staff, "").await, [mine]);
    assert_eq!(approvals(&supervisor, "status=pending").await.len(), 2);
    assert_eq!(approvals(&supervisor, &format!("run_id={theirs}")).await, [theirs]);

    let approval = supervisor.approval(mine).await;
    let shown = staff.get(&format!("/acts/approvals/{approval}")).await.expect(200).json;
    assert_eq!((&shown["run_id"], &shown["step"]), (&json!(mine), &json!("human_approval")));
    assert_eq!((&shown["title"], &shown["four_eyes"]), (&json!("Approve the renewal"), &json!(true)));
    let other = supervisor.approval(theirs).await;
    staff.get(&format!("/acts/approvals/{other}")).await.problem(403);

    supervisor.decide(approval, "approve", "Fine.").await.expect(200);
    assert_eq!(approvals(&supervisor, "status=pending").await, [theirs]);
    let decided = supervisor.get("/acts/approvals?status=approved").await.expect(200).json;
    let row = &decided["approvals"][0];
    assert_eq!((&row["decided_by"], &row["reason"]), (&json!("supervisor"), &json!("Fine.")));
    let pages = pages(&auditor, "/acts/approvals?limit=1").await;
    assert_eq!(pages.len(), 2);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn same_key_starts_one_run_however_often_it_is_sent() {
    let server = TestServer::start().await;
    let (staff, protocol) = (server.user("staff"), echo(&server, "Echo").await);
    let start = async |caller: &Caller, key: &str, body: Value| {
        let request = caller.request(reqwest::Method::POST, "/acts/run").header("idempotency-key", key);
        Caller::send(request.json(&body)).await
    };
    let body = json!({"protocol_id": protocol, "payload": {"n": 1, "big": 9_007_199_254_740_993_i64}});
    let at_once = futures_util::future::join_all((0..10).map(|_| start(&staff, "k1", body.clone()))).await;
    let ids: BTreeSet<i64> =
        at_once.into_iter().map(|it| it.expect(202).json["run_id"].as_i64().expect("a number")).collect();
    assert_eq!(ids.len(), 1, "{ids:?}");
    let id = *ids.first().expect("one");
    // The order of fields is not part of a body.
    let reordered = json!({"payload": {"big": 9_007_199_254_740_993_i64, "n": 1}, "protocol_id": protocol});
    let again = start(&staff, "k1", reordered).await.expect(202);
    assert_eq!(
        (&again.json["run_id"], again.header("location")),
        (&json!(id), format!("/acts/runs/{id}").as_str())
    );

    let almost = json!({"protocol_id": protocol, "payload": {"n": 1, "big": 9_007_199_254_740_992_i64}});
    let other = start(&staff, "k1", almost).await;
    assert!(other.errors()[0].1.contains("another body"), "{}", other.text);
    // A key belongs to whoever sent it.
    let theirs = start(&server.user("supervisor"), "k1", body.clone()).await.expect(202);
    assert_ne!(theirs.json["run_id"], id);
    let another = start(&staff, "k2", body.clone()).await.expect(202);
    assert_ne!(another.json["run_id"], id);
    // Nor does it matter what the protocol has become since.
    let stricter = json!({"input": {"type": "object", "required": ["m"]}, "tasks": [
        {"id": "n", "type": "script", "uses": "compute"}]});
    let path = format!("/acts/protocols/{protocol}");
    server.user("admin").put(&path, json!({"definition": stricter})).await.expect(200);
    assert_eq!(start(&staff, "k1", body.clone()).await.expect(202).json["run_id"], id);
    start(&staff, "k3", body.clone()).await.problem(422);
    for bad in [" ", "é", &"k".repeat(256)] {
        start(&staff, bad, body.clone()).await.problem(400);
    }
    assert_eq!(runs_found(&server.user("auditor"), "").await.len(), 3);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn services_own_addresses_answer_without_a_token() {
    let server = TestServer::start().await;
    let nobody = server.nobody();
    assert_eq!(nobody.get("/healthz").await.expect(200).json, json!({"status": "ok"}));
    assert_eq!(nobody.get("/readyz").await.expect(200).json, json!({"status": "ready"}));
    let metrics = nobody.get("/metrics").await.expect(200);
    assert_eq!(metrics.header("content-type"), "text/plain; version=0.0.4");

    let keys = nobody.get("/.well-known/jwks.json").await.expect(200);
    let keys: jsonwebtoken::jwk::JwkSet = serde_json::from_value(keys.json).expect("a key set");
    let token = server.token("staff", "runs:read");
    let header = jsonwebtoken::decode_header(&token).expect("a header");
    let key = keys.find(header.kid.as_deref().expect("a kid")).expect("our key is in the set");
    let key = jsonwebtoken::DecodingKey::from_jwk(key).expect("a key");
    let mut rules = jsonwebtoken::Validation::new(jsonwebtoken::Algorithm::EdDSA);
    rules.set_audience(&["hms-act"]);
    rules.set_issuer(&["hms-act"]);
    let claims = jsonwebtoken::decode::<Value>(&token, &key, &rules).expect("it verifies").claims;
    assert_eq!((&claims["sub"], &claims["scope"]), (&json!("staff"), &json!("runs:read")));
    server.stop().await;
}
