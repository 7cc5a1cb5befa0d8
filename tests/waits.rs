//! Steps that wait for a time or an outside event, and the timers behind everything that waits.

use crate::kill::{Ground, check_log, wait_for_all};
use crate::support::client::{Answer, Caller, GUARD};
use crate::support::process::TestProcess;
use crate::support::server::{TestServer, seats};
use diesel::connection::SimpleConnection;
use diesel::sql_types::BigInt;
use diesel::{PgConnection, QueryableByName, RunQueryDsl, sql_query};
use futures_util::future::join_all;
use reqwest::Method;
use serde_json::{Value, json};
use std::time::Instant;

/// A new protocol; its number.
pub async fn publish(admin: &Caller, name: &str, definition: Value) -> i64 {
    let created = admin.post("/acts/protocols", json!({"name": name, "definition": definition})).await;
    created.expect(201).json["id"].as_i64().expect("a number")
}

/// The first column of the first row.
pub fn number(connection: &mut PgConnection, query: &str) -> i64 {
    #[derive(QueryableByName)]
    struct Number {
        #[diesel(sql_type = BigInt)]
        it: i64,
    }
    sql_query(query).get_result::<Number>(connection).expect("a number").it
}

/// Looks until a query gives this number.
pub fn until(connection: &mut PgConnection, query: &str, expected: i64) {
    let deadline = Instant::now() + GUARD;
    loop {
        let found = number(connection, query);
        if found == expected {
            return;
        }
        assert!(Instant::now() < deadline, "{query}: {found}, not {expected}");
        std::thread::yield_now();
    }
}

/// Waits for a payment under the case's number, then for nothing more.
async fn payment(admin: &Caller) -> i64 {
    let definition = json!({"tasks": [
        {"id": "paid", "type": "wait", "event": "payment_received", "key": "${payload.case}"},
        {"id": "thank", "type": "script", "uses": "compute", "with": {"amount": "${payload.paid.amount}"}},
    ]});
    publish(admin, "Payment", definition).await
}

async fn send(caller: &Caller, key: Value, amount: i64) -> Answer {
    let body = json!({"key": key, "payload": {"amount": amount}});
    caller.post("/acts/events/payment_received", body).await
}

#[tokio::test(flavor = "multi_thread")]
async fn wait_of_minutes_ends_by_itself() {
    let server = TestServer::start().await;
    let definition = json!({"tasks": [
        {"id": "breathe", "type": "wait", "minutes": 0.01},
        {"id": "after", "type": "script", "uses": "compute"},
    ]});
    let protocol = publish(&server.user("admin"), "Breathe", definition).await;
    let staff = server.user("staff");
    let id = staff.start(protocol, json!({})).await;
    let ended = staff.wait_for_status(id, "completed").await;
    assert!(ended["payload"]["breathe"]["until"].is_string(), "{ended}");
    let entries = server.user("auditor").entries(id).await;
    let of = |kind: &str| entries.iter().find(|entry| entry["type"] == kind).expect(kind).clone();
    // Not before its time.
    assert!(of("step.done")["t"].as_str() >= of("wait.started")["detail"]["until"].as_str());
    assert_eq!(number(&mut server.database.connect(), "SELECT count(*) AS it FROM timers"), 0);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn event_goes_to_who_waits_for_its_key_and_to_nobody_else() {
    let server = TestServer::start().await;
    let protocol = payment(&server.user("admin")).await;
    let staff = server.user("staff");
    let text = staff.start(protocol, json!({"case": "a-1"})).await;
    let number = staff.start(protocol, json!({"case": 17})).await;
    let other = staff.start(protocol, json!({"case": "a-2"})).await;
    wait_for_all(&staff, &[text, number, other], "waiting").await;
    let sent = send(&staff, json!("a-1"), 5).await.expect(202).json;
    assert_eq!(sent["delivered_to"], json!([text]));
    let ended = staff.wait_for_status(text, "completed").await;
    assert_eq!(ended["payload"]["paid"], json!({"amount": 5}));
    assert_eq!(ended["payload"]["thank"], json!({"amount": 5}));
    // A number and its text are the same key.
    assert_eq!(send(&staff, json!("17"), 6).await.expect(202).json["delivered_to"], json!([number]));
    staff.wait_for_status(number, "completed").await;
    assert_eq!(staff.run(other).await["status"], "waiting");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn event_that_comes_first_is_kept_for_the_first_who_waits() {
    let server = TestServer::start().await;
    let protocol = payment(&server.user("admin")).await;
    let staff = server.user("staff");
    assert_eq!(send(&staff, json!("b"), 1).await.expect(202).json["delivered_to"], json!([]));
    assert_eq!(send(&staff, json!("b"), 2).await.expect(202).json["delivered_to"], json!([]));
    for amount in [1, 2] {
        let id = staff.start(protocol, json!({"case": "b"})).await;
        let ended = staff.wait_for_status(id, "completed").await;
        assert_eq!(ended["payload"]["paid"]["amount"], amount);
    }
    let third = staff.start(protocol, json!({"case": "b"})).await;
    staff.wait_for_status(third, "waiting").await;
    assert_eq!(send(&staff, json!("b"), 3).await.expect(202).json["delivered_to"], json!([third]));
    staff.wait_for_status(third, "completed").await;
    assert_eq!(number(&mut server.database.connect(), "SELECT count(*) AS it FROM event_waits"), 0);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn everybody_who_waits_has_the_event() {
    let server = TestServer::start().await;
    let admin = server.user("admin");
    let definition = json!({"tasks": [{"id": "any", "type": "wait", "event": "payment_received"}]});
    let (keyed, any) = (payment(&admin).await, publish(&admin, "Any payment", definition).await);
    let staff = server.user("staff");
    let mut runs = Vec::new();
    for _ in 0..2 {
        runs.push(staff.start(keyed, json!({"case": "c"})).await);
        runs.push(staff.start(any, json!({})).await);
    }
    wait_for_all(&staff, &runs, "waiting").await;
    assert_eq!(send(&staff, json!("c"), 9).await.expect(202).json["delivered_to"], json!(runs));
    let ended = wait_for_all(&staff, &runs, "completed").await;
    assert_eq!(ended[1]["payload"]["any"], json!({"amount": 9}));
    let untaken = "SELECT count(*) AS it FROM events WHERE taken_at IS NULL";
    assert_eq!(number(&mut server.database.connect(), untaken), 0);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn repeated_delivery_is_the_same_event() {
    let server = TestServer::start().await;
    let protocol = payment(&server.user("admin")).await;
    let staff = server.user("staff");
    let id = staff.start(protocol, json!({"case": "d"})).await;
    staff.wait_for_status(id, "waiting").await;
    let deliver = async |path: &str, amount: i64| {
        let body = json!({"key": "d", "payload": {"amount": amount}});
        let request = staff.request(Method::POST, path).header("idempotency-key", "bank-1").json(&body);
        Caller::send(request).await
    };
    let path = "/acts/events/payment_received";
    let all = join_all((0..5).map(|_| deliver(path, 1))).await;
    let first = all.into_iter().map(|answer| answer.expect(202).json["event_id"].clone()).collect::<Vec<_>>();
    assert!(first.iter().all(|event| *event == first[0]), "{first:?}");
    staff.wait_for_status(id, "completed").await;
    assert_eq!(deliver(path, 1).await.expect(202).json["delivered_to"], json!([id]));
    assert_eq!(deliver(path, 2).await.errors()[0].0, "Idempotency-Key");
    assert_eq!(deliver("/acts/events/payment_lost", 1).await.errors()[0].0, "Idempotency-Key");
    let mut connection = server.database.connect();
    assert_eq!(number(&mut connection, "SELECT count(*) AS it FROM events"), 1);
    let told = "SELECT count(*) AS it FROM activity_log
                WHERE run_id = 0 AND type = 'event.received' AND actor = 'staff'";
    assert_eq!(number(&mut connection, told), 1);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn events_that_make_no_sense_are_refused() {
    let server = TestServer::start().await;
    let (staff, auditor) = (server.user("staff"), server.user("auditor"));
    send(&auditor, json!("a"), 1).await.problem(403);
    send(&server.with_scopes("staff", "runs:read"), json!("a"), 1).await.problem(403);
    send(&server.nobody(), json!("a"), 1).await.problem(401);
    assert_eq!(send(&staff, json!(["a"]), 1).await.errors()[0].0, "$.key");
    assert_eq!(send(&staff, json!("k".repeat(501)), 1).await.errors()[0].0, "$.key");
    staff.post(&format!("/acts/events/{}", "n".repeat(201)), json!({})).await.problem(400);
    staff.post("/acts/events/%20", json!({})).await.problem(400);
    // Nothing but a name is needed.
    assert_eq!(staff.post("/acts/events/it", json!({})).await.expect(202).json["delivered_to"], json!([]));
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn cancelled_wait_leaves_the_event_to_the_next() {
    let server = TestServer::start().await;
    let protocol = payment(&server.user("admin")).await;
    let staff = server.user("staff");
    let gone = staff.start(protocol, json!({"case": "e"})).await;
    staff.wait_for_status(gone, "waiting").await;
    staff.patch(&format!("/acts/runs/{gone}/cancel"), json!({"reason": "Withdrawn."})).await.expect(202);
    staff.wait_for_status(gone, "cancelled").await;
    assert_eq!(send(&staff, json!("e"), 1).await.expect(202).json["delivered_to"], json!([]));
    let next = staff.start(protocol, json!({"case": "e"})).await;
    staff.wait_for_status(next, "completed").await;
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn event_that_does_not_come_in_time_fails_the_step() {
    let server = TestServer::start().await;
    let definition = json!({"tasks": [{
        "id": "paid", "type": "wait", "event": "payment_received", "max_minutes": 0.005, "on_timeout": "fail",
    }]});
    let protocol = publish(&server.user("admin"), "In time", definition).await;
    let staff = server.user("staff");
    let id = staff.start(protocol, json!({})).await;
    let ended = staff.wait_for_status(id, "failed").await;
    assert!(ended["reason"].as_str().is_some_and(|reason| reason.contains("longer than")), "{ended}");
    let mut connection = server.database.connect();
    assert_eq!(number(&mut connection, "SELECT count(*) AS it FROM event_waits"), 0);
    assert_eq!(number(&mut connection, "SELECT count(*) AS it FROM timers"), 0);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn paused_run_has_no_timers_and_what_came_due_happens_when_it_goes_on() {
    let server = TestServer::start().await;
    let definition = json!({"tasks": [{"id": "breathe", "type": "wait", "minutes": 0.05}]});
    let protocol = publish(&server.user("admin"), "Breathe", definition).await;
    let (staff, supervisor) = (server.user("staff"), server.user("supervisor"));
    let (id, other) = (staff.start(protocol, json!({})).await, staff.start(protocol, json!({})).await);
    let act = async |act: &str| {
        let path = format!("/acts/runs/{id}/{act}");
        supervisor.post(&path, json!({"reason": "To look at it."})).await.expect(202);
    };
    act("pause").await;
    let timers = format!("SELECT count(*) AS it FROM timers WHERE run_id = {id}");
    assert_eq!(number(&mut server.database.connect(), &timers), 0);
    // The other began later: when it is over, this one's time has come, too.
    staff.wait_for_status(other, "completed").await;
    assert_eq!(staff.run(id).await["status"], "paused");
    act("resume").await;
    staff.wait_for_status(id, "completed").await;
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn event_reaches_a_paused_run_which_goes_on_later() {
    let server = TestServer::start().await;
    let protocol = payment(&server.user("admin")).await;
    let (staff, supervisor) = (server.user("staff"), server.user("supervisor"));
    let id = staff.start(protocol, json!({"case": "p"})).await;
    staff.wait_for_status(id, "waiting").await;
    let reason = json!({"reason": "To look at it."});
    supervisor.post(&format!("/acts/runs/{id}/pause"), reason.clone()).await.expect(202);
    assert_eq!(send(&staff, json!("p"), 4).await.expect(202).json["delivered_to"], json!([id]));
    staff.wait_until(id, |run| run["payload"]["paid"]["amount"] == 4).await;
    assert_eq!(staff.run(id).await["status"], "paused");
    supervisor.post(&format!("/acts/runs/{id}/resume"), reason).await.expect(202);
    staff.wait_for_status(id, "completed").await;
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn acknowledged_events_survive_a_kill() {
    const RUNS: i64 = 20;
    let (_seats, ground) = (seats(1).await, Ground::new());
    let setup = ground.setup(true, String::new());
    let server = TestProcess::start(&setup);
    let protocol = payment(&server.user("admin")).await;
    let staff = server.user("staff");
    // Every other event comes before its run, and the kill on the heels of the last.
    let one = async |case: i64| {
        if case % 2 == 0 {
            send(&staff, json!(case), case).await.expect(202);
            return staff.start(protocol, json!({"case": case})).await;
        }
        let id = staff.start(protocol, json!({"case": case})).await;
        send(&staff, json!(case), case).await.expect(202);
        id
    };
    let runs = join_all((0..RUNS).map(one)).await;
    let server = server.kill9_and_restart();
    let ended = wait_for_all(&server.user("staff"), &runs, "completed").await;
    for (case, run) in (0..RUNS).zip(&ended) {
        assert_eq!(run["payload"]["paid"]["amount"], case);
    }
    server.terminate();
    check_log(&setup);
    println!("kill test, events: {RUNS} runs and events acknowledged, 1 kill, {RUNS} delivered");
}

#[tokio::test(flavor = "multi_thread")]
async fn timers_fire_among_a_hundred_thousand_and_those_of_nothing_go() {
    let server = TestServer::start().await;
    let definition = json!({"tasks": [{"id": "breathe", "type": "wait", "minutes": 0.02}]});
    let protocol = publish(&server.user("admin"), "Breathe", definition).await;
    let staff = server.user("staff");
    let parked = staff.start(7, json!({"license_id": 123})).await;
    staff.wait_for_status(parked, "waiting").await;
    let mut connection = server.database.connect();
    // A hundred thousand that are set for later, and a thousand that are due and belong to nothing.
    connection
        .batch_execute(&format!(
            "INSERT INTO timers (run_id, step, kind, attempt, due_at)
             SELECT {parked}, 'later_' || n, 'wait', 1, clock_timestamp() + interval '1 day' + n * interval '1 ms'
             FROM generate_series(1, 100000) AS n;
             INSERT INTO timers (run_id, step, kind, attempt, due_at)
             SELECT {parked}, 'gone_' || n, 'wait', 1, clock_timestamp() FROM generate_series(1, 1000) AS n;"
        ))
        .expect("they are set");
    let runs = join_all((0..20).map(|_| staff.start(protocol, json!({})))).await;
    wait_for_all(&staff, &runs, "completed").await;
    until(&mut connection, "SELECT count(*) AS it FROM timers WHERE step LIKE 'gone%'", 0);
    assert_eq!(
        number(&mut connection, "SELECT count(*) AS it FROM timers WHERE step LIKE 'later%'"),
        100_000
    );
    let late = "SELECT (max(extract(epoch FROM d.t - (convert_from(w.leaf, 'UTF8')::json->'detail'->>'until')::timestamptz))
                    * 1000)::bigint AS it
                FROM activity_log w JOIN activity_log d USING (run_id)
                WHERE w.type = 'wait.started' AND d.type = 'step.done' AND d.step = 'breathe'";
    println!("timers: among 100,000, the latest of 20 fired after {} ms", number(&mut connection, late));
    server.stop().await;
}
