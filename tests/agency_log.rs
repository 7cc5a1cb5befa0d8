//! The agency's own stream of the log: nothing is done unrecorded, nothing done goes uncounted, and nobody can fill it.

use crate::support::postgres::TestDatabase;
use crate::support::server::{DEMO_PASSWORD, TestServer};
use diesel::connection::SimpleConnection;
use diesel::sql_types::{BigInt, Text};
use diesel::{PgConnection, QueryableByName, RunQueryDsl, sql_query};
use hms_act::store::agency::{AgencyEntry, AgencyLog};
use hms_act::store::pool;
use reqwest::redirect::Policy;
use serde_json::{Value, json};

#[derive(Debug, QueryableByName, PartialEq)]
struct Entry {
    #[diesel(sql_type = BigInt)]
    seq: i64,
    #[diesel(sql_type = Text)]
    actor: String,
    #[diesel(sql_type = Text)]
    linked: String,
}

/// The entries of a type, in order, and whether each is linked to the one before it in its stream.
fn entries(connection: &mut PgConnection, type_name: &str) -> Vec<Entry> {
    sql_query(
        "SELECT seq, actor, linked FROM (
             SELECT seq, actor, type, (convert_from(leaf, 'UTF8')::json ->> 'prev' IS NOT DISTINCT FROM
                 encode(lag(leaf_hash) OVER (PARTITION BY stream ORDER BY seq), 'hex'))::text AS linked
             FROM activity_log WHERE run_id = 0) AS agency
         WHERE type = $1 ORDER BY seq",
    )
    .bind::<Text, _>(type_name)
    .load(connection)
    .expect("readable")
}

/// From now on the app cannot write into the log.
fn close_the_log(server: &TestServer) {
    let mut owner = server.database.connect_as_owner();
    owner
        .batch_execute("SET ROLE hms_act_owner; REVOKE INSERT ON activity_log FROM hms_act_app")
        .expect("the owner may");
}

/// A browser without scripts: keeps no cookies and follows no redirect.
pub fn browser() -> reqwest::Client {
    reqwest::Client::builder().no_proxy().redirect(Policy::none()).build().expect("a client")
}

pub async fn sign_in(server: &TestServer, user: &str, password: &str) -> reqwest::Response {
    let form = format!("user={user}&password={password}");
    post_form(server, "/sign-in", "", form).await
}

pub async fn post_form(server: &TestServer, path: &str, cookie: &str, form: String) -> reqwest::Response {
    let request = browser().post(format!("{}{path}", server.base_url())).header("cookie", cookie);
    let request = request.header("sec-fetch-site", "same-origin");
    let request = request.header("content-type", "application/x-www-form-urlencoded").body(form);
    request.send().await.expect("the server answers")
}

pub fn cookie(answer: &reqwest::Response) -> String {
    let set = answer.headers().get("set-cookie").map_or("", |value| value.to_str().expect("ASCII"));
    set.split(';').next().unwrap_or_default().to_owned()
}

#[test]
fn stream_goes_on_after_a_write_whose_answer_was_lost() {
    let database = TestDatabase::new();
    let pool = pool::pool(&database.url(), 1).expect("connections");
    let entry = |detail: Value| AgencyEntry {
        actor: "ada".to_owned(),
        type_name: "user.signed_in",
        status: None,
        detail,
        flood: None,
    };
    let log = AgencyLog::new(pool.clone(), "test.invalid/log".to_owned(), 1);
    log.record(entry(json!({"n": 1}))).expect("written");
    // What a lost answer leaves behind: an entry of the stream that its writer does not know of.
    let same_stream = AgencyLog::new(pool, "test.invalid/log".to_owned(), 1);
    same_stream.record(entry(json!({"n": 2}))).expect("written");
    log.record(entry(json!({"n": 3}))).expect_err("its place is taken");
    log.record(entry(json!({"n": 4}))).expect("it looked where the stream ends");
    let written = entries(&mut database.connect(), "user.signed_in");
    assert_eq!(written.iter().map(|entry| entry.seq).collect::<Vec<_>>(), [1, 2, 3]);
    assert!(written.iter().all(|entry| entry.linked == "true"), "{written:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_is_signed_in_unrecorded() {
    let server = TestServer::start().await;
    let before = sign_in(&server, "staff", DEMO_PASSWORD).await;
    assert_eq!(before.status(), 303);
    assert_ne!(cookie(&before), "");
    close_the_log(&server);
    let refused = sign_in(&server, "staff", DEMO_PASSWORD).await;
    assert_eq!(refused.status(), 500);
    let session = cookie(&refused);
    let runs = browser().get(format!("{}/acts/runs", server.base_url())).header("cookie", session);
    assert_eq!(runs.send().await.expect("the server answers").status(), 401);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn change_that_cannot_be_recorded_is_not_made() {
    let server = TestServer::start().await;
    let admin = server.user("admin");
    let session = cookie(&sign_in(&server, "admin", DEMO_PASSWORD).await);
    let definition = json!({"tasks": [{"id": "one", "type": "script", "uses": "compute"}]});
    let created = admin.post("/acts/protocols", json!({"name": "Known", "definition": definition})).await;
    let known = format!("/acts/protocols/{}", created.expect(201).json["id"]);
    let names = ["/acts/protocols", "/acts/actions", "/acts/agents"];
    let mut before = Vec::new();
    for list in names {
        before.push(admin.get(list).await.expect(200).json);
    }
    close_the_log(&server);

    admin.post("/acts/protocols", json!({"name": "New", "definition": definition})).await.problem(500);
    admin.put(&known, json!({"definition": definition})).await.problem(500);
    let action = json!({"name": "new", "kind": "compute", "config": {}});
    admin.post("/acts/actions", action).await.problem(500);
    let added =
        post_form(&server, "/users", &session, "name=eve&role=admin&password=long-enough-1".to_owned());
    assert_eq!(added.await.status(), 500);
    let disabled = post_form(&server, "/users/staff/disable", &session, String::new()).await;
    assert_eq!(disabled.status(), 500);

    let mut after = Vec::new();
    for list in names {
        after.push(admin.get(list).await.expect(200).json);
    }
    assert_eq!(before, after);
    #[derive(QueryableByName)]
    struct Count {
        #[diesel(sql_type = BigInt)]
        it: i64,
    }
    let changed = "SELECT count(*) AS it FROM users WHERE name = 'eve' OR disabled_at IS NOT NULL";
    let changed: Count = sql_query(changed).get_result(&mut server.database.connect()).expect("readable");
    assert_eq!(changed.it, 0);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_done_is_written_however_often() {
    let server = TestServer::start().await;
    let admin = server.user("admin");
    let definition = json!({"tasks": [{"id": "one", "type": "script", "uses": "compute"}]});
    let created = admin.post("/acts/protocols", json!({"name": "Often", "definition": definition})).await;
    let path = format!("/acts/protocols/{}", created.expect(201).json["id"]);
    for _ in 0..30 {
        admin.put(&path, json!({"definition": definition})).await.expect(200);
    }
    let saved = entries(&mut server.database.connect(), "protocol.version_saved");
    assert_eq!(saved.len(), 30);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn names_made_up_by_one_address_do_not_fill_the_log() {
    let server = TestServer::start().await;
    let (mut looked_at, mut limited) = (0, 0);
    for n in 0..60 {
        match sign_in(&server, &format!("made-up-{n}"), "wrong").await.status().as_u16() {
            401 => looked_at += 1,
            429 => limited += 1,
            other => panic!("answered with {other}"),
        }
    }
    assert!(limited > 0);
    let failures = entries(&mut server.database.connect(), "user.sign_in_failed");
    let (nobody, named): (Vec<&Entry>, Vec<&Entry>) =
        failures.iter().partition(|entry| entry.actor == "nobody");
    assert!(named.len() <= looked_at, "{named:?}");
    assert!(nobody.len() < limited, "nothing was gathered: {nobody:?}");
    server.stop().await;
}
