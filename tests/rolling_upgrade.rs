//! An instance beside instances of a newer version: what only they know is left to them, said so, and holds up nothing.
//!
//! What a newer version would have written is written here by hand, chained and counted as the committer does it.

use crate::agency_log::{browser, cookie, sign_in};
use crate::kill::{Ground, check_log};
use crate::support::client::{Answer, Caller};
use crate::support::process::TestProcess;
use crate::support::server::{DEMO_PASSWORD, TestServer, seats};
use crate::waits::{number, publish, until};
use diesel::connection::SimpleConnection;
use diesel::sql_types::{BigInt, Bytea, Integer, Jsonb, Nullable, Text, Timestamptz};
use diesel::{Connection, PgConnection, QueryableByName, RunQueryDsl, sql_query};
use hms_act::audit::entry::{Draft, open, seal};
use serde_json::{Value, json};

#[derive(QueryableByName)]
struct Last {
    #[diesel(sql_type = BigInt)]
    seq: i64,
    #[diesel(sql_type = Bytea)]
    leaf: Vec<u8>,
    #[diesel(sql_type = Bytea)]
    leaf_hash: Vec<u8>,
}

/// Moves a run on by one entry, as a version of the program does it that knows this type and detail.
fn write_as_newer(database: &mut PgConnection, run: i64, type_name: &str, detail: Value) {
    let write = |connection: &mut PgConnection| {
        let last =
            "SELECT seq, leaf, leaf_hash FROM activity_log WHERE run_id = $1 ORDER BY seq DESC LIMIT 1";
        let last: Last = sql_query(last).bind::<BigInt, _>(run).get_result(connection)?;
        let before = open(&last.leaf, None).expect("an entry");
        let draft = Draft {
            origin: &before.origin,
            run_id: run,
            stream: 0,
            seq: last.seq as u64 + 1,
            prev: Some(last.leaf_hash.try_into().expect("32 bytes")),
            at: before.at,
            actor: "ada",
            type_name,
            step: None,
            attempt: None,
            status: None,
            checksum: None,
            detail,
        };
        let sealed = seal(&draft);
        sql_query(
            "INSERT INTO activity_log (run_id, seq, t, actor, type, leaf, leaf_hash)
             VALUES ($1, $2, $3, 'ada', $4, $5, $6)",
        )
        .bind::<BigInt, _>(run)
        .bind::<BigInt, _>(draft.seq as i64)
        .bind::<Timestamptz, _>(draft.at)
        .bind::<Text, _>(type_name)
        .bind::<Bytea, _>(&sealed.leaf)
        .bind::<Bytea, _>(sealed.hash.to_vec())
        .execute(connection)?;
        let moved = sql_query("UPDATE runs SET version = $2 WHERE run_id = $1 AND version = $3");
        moved
            .bind::<BigInt, _>(run)
            .bind::<BigInt, _>(draft.seq as i64)
            .bind::<BigInt, _>(last.seq)
            .execute(connection)
    };
    assert_eq!(database.transaction(write).expect("the log takes it"), 1, "it moved meanwhile");
}

/// Publishes a version that has more to say than this one understands.
fn publish_as_newer(database: &mut PgConnection, protocol: i64, version: i32, definition: Value) {
    let write = |connection: &mut PgConnection| {
        sql_query(
            "INSERT INTO protocol_versions (protocol_id, version, definition, created_by) VALUES ($1, $2, $3, 'ada')",
        )
        .bind::<BigInt, _>(protocol)
        .bind::<Integer, _>(version)
        .bind::<Nullable<Jsonb>, _>(Some(definition))
        .execute(connection)?;
        let latest = sql_query("UPDATE protocols SET latest_version = $2 WHERE id = $1");
        latest.bind::<BigInt, _>(protocol).bind::<Integer, _>(version).execute(connection)
    };
    assert_eq!(database.transaction(write).expect("it is published"), 1);
}

/// That what was asked for is left to a newer version, and what that version wrote.
#[track_caller]
fn is_left(answer: &Answer, what: &str) {
    let detail = answer.problem(503);
    assert!(detail.starts_with(what), "{detail}");
    assert!(detail.contains("was written by a newer version of this program, and is left to it"), "{detail}");
    assert_eq!(answer.header("retry-after"), "1");
}

/// What somebody sees in a browser: the status, and the page.
async fn page(server: &TestServer, session: &str, path: &str) -> (u16, String) {
    let request = browser().get(format!("{}{path}", server.base_url())).header("cookie", session);
    let answer = request.send().await.expect("the server answers");
    (answer.status().as_u16(), answer.text().await.expect("UTF-8"))
}

async fn session(server: &TestServer, user: &str) -> String {
    cookie(&sign_in(server, user, DEMO_PASSWORD).await)
}

async fn at_approval(caller: &Caller, protocol: i64) -> i64 {
    let run = caller.start(protocol, json!({"case": "A-1"})).await;
    caller.wait_for_status(run, "waiting").await;
    run
}

fn ask() -> Value {
    json!({"tasks": [
        {"id": "before", "type": "script", "uses": "compute"},
        {"id": "approve", "type": "hitl"},
        {"id": "after", "type": "script", "uses": "compute"},
    ]})
}

#[tokio::test(flavor = "multi_thread")]
async fn runs_with_entries_of_a_newer_version_are_left_to_it_and_the_others_go_on() {
    let server = TestServer::start().await;
    let mut database = server.database.connect();
    let (staff, supervisor) = (server.user("staff"), server.user("supervisor"));
    let protocol = publish(&server.user("admin"), "Ask", ask()).await;
    let (delegated, prioritised, plain) = (
        at_approval(&staff, protocol).await,
        at_approval(&staff, protocol).await,
        at_approval(&staff, protocol).await,
    );
    let approvals =
        [supervisor.approval(delegated).await, supervisor.approval(plain).await].map(|it| it.to_string());
    // A type that this version does not know; and a field of one that it does.
    write_as_newer(&mut database, delegated, "run.delegated", json!({"to": "bo"}));
    write_as_newer(&mut database, prioritised, "run.resumed", json!({"reason": "Go on.", "priority": 1}));
    let place = |run: i64| {
        let seq = number(
            &mut server.database.connect(),
            &format!("SELECT version AS it FROM runs WHERE run_id = {run}"),
        );
        format!("Entry {seq} of run {run} ")
    };
    let (left, also_left) = (place(delegated), place(prioritised));

    // Asked twice: what was found once is known, and said alike.
    for _ in 0..2 {
        is_left(&staff.get(&format!("/acts/runs/{delegated}")).await, &left);
        is_left(&staff.get(&format!("/acts/runs/{prioritised}")).await, &also_left);
        is_left(&staff.get(&format!("/acts/runs/{delegated}/replay")).await, &left);
        let reason = json!({"reason": "No longer needed."});
        is_left(&staff.patch(&format!("/acts/runs/{delegated}/cancel"), reason.clone()).await, &left);
        is_left(&supervisor.act(delegated, "pause", reason).await, &left);
        let decided = json!({"decision": "approve", "reason": "Checked."});
        let decision = format!("/acts/approvals/{}/decision", approvals[0]);
        is_left(&supervisor.post(&decision, decided).await, &left);
    }
    assert_eq!(place(delegated), left, "nothing was written");

    // Lists have it, from what is beside its log; its entries are there to read; its page says why it is not.
    let session = session(&server, "admin").await;
    for path in ["/", "/runs", "/approvals", "/log", "/protocols", "/runs/new"] {
        let (status, html) = page(&server, &session, path).await;
        assert_eq!(status, 200, "{path}: {html}");
    }
    let (_, runs) = page(&server, &session, "/runs").await;
    assert!(runs.contains(&format!("/runs/{delegated}\"")), "{runs}");
    let seq = left.split(' ').nth(1).expect("a number");
    let (status, entry) = page(&server, &session, &format!("/log/{delegated}/{seq}")).await;
    assert!(status == 200 && entry.contains("run.delegated"), "{entry}");
    let (status, html) = page(&server, &session, &format!("/runs/{delegated}")).await;
    assert!(status == 503 && html.contains("was written by a newer version of this program"), "{html}");
    let listed = staff.get("/acts/runs").await.expect(200).json;
    assert_eq!(listed["runs"].as_array().expect("a list").len(), 3);

    // The others go on.
    supervisor.decide(approvals[1].parse().expect("a number"), "approve", "Checked.").await.expect(200);
    staff.wait_for_status(plain, "completed").await;
    let (database, scratch) = server.stop_and_keep().await;
    let ground = Ground { database, scratch };
    let (passed, said) = ground.setup(false, String::new()).verify();
    assert!(passed && said.contains("2 runs were written by a newer version of this program"), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_due_for_runs_of_a_newer_version_holds_up_nobody() {
    let server = TestServer::start().await;
    let mut database = server.database.connect();
    let (staff, admin) = (server.user("staff"), server.user("admin"));
    admin.post("/acts/actions", json!({"name": "fees", "kind": "worker"})).await.expect(201);
    let fees = admin.publish("Fees", json!({"tasks": [{"id": "fees", "type": "script"}]})).await;
    let wait = json!({"tasks": [{"id": "paid", "type": "wait", "event": "paid", "key": "${payload.case}"}]});
    let wait = admin.publish("Paid", wait).await;
    let timed = |minutes: f64| {
        json!({"tasks": [{"id": "rest", "type": "wait", "minutes": minutes},
                         {"id": "done", "type": "script", "uses": "compute"}]})
    };
    let (long, short) =
        (admin.publish("Long", timed(600.0)).await, admin.publish("Short", timed(0.001)).await);
    let above = json!({"tasks": [{"id": "below", "type": "protocol", "uses": wait.to_string()}]});
    let above = admin.publish("Above", above).await;

    // Each of these has something due that this version would do, were they its own.
    let mut newer = Vec::new();
    for protocol in [fees, wait, long] {
        newer.push(at_approval(&staff, protocol).await);
    }
    let child_of = staff.start(above, json!({"case": "A-2"})).await;
    newer.push(child_of);
    staff.wait_until(child_of, |run| run["steps"][0]["subrun"].is_number()).await;
    for run in &newer {
        write_as_newer(&mut database, *run, "run.delegated", json!({"to": "bo"}));
    }
    let due = "UPDATE timers SET due_at = clock_timestamp() - interval '1 hour'";
    database.batch_execute(due).expect("ours");

    let claim = json!({"actions": ["fees"], "worker": "w", "max": 5, "wait_seconds": 60});
    let own = staff.start(fees, json!({"case": "A-3"})).await;
    let claimed = staff.post("/acts/work/claim", claim).await.expect(200).json;
    let work = claimed["work"].as_array().expect("a list");
    assert!(work.len() == 1 && work[0]["run_id"] == own, "{claimed}");
    let short = staff.start(short, json!({})).await;
    staff.wait_for_status(short, "completed").await;
    let paid = staff.start(wait, json!({"case": "A-4"})).await;
    staff.wait_for_status(paid, "waiting").await;
    for case in ["A-1", "A-2", "A-4"] {
        let body = json!({"key": case, "payload": {"amount": 1}});
        staff.post("/acts/events/paid", body).await.expect(202);
    }
    staff.wait_for_status(paid, "completed").await;
    let below =
        number(&mut database, &format!("SELECT child_run_id AS it FROM subruns WHERE run_id = {child_of}"));
    staff.wait_for_status(below, "completed").await;
    // What is theirs is as it was: nothing was done, and nothing dropped.
    let untouched = format!(
        "SELECT (SELECT count(*) FROM activity_log l JOIN runs r USING (run_id)
                 WHERE r.run_id = ANY('{{{0}}}') AND l.seq = r.version AND l.type = 'run.delegated')
              + 10 * (SELECT count(*) FROM timers WHERE run_id = ANY('{{{0}}}') AND due_at < clock_timestamp())
              + 100 * (SELECT count(*) FROM event_waits WHERE run_id = ANY('{{{0}}}'))
              + 1000 * (SELECT count(*) FROM work WHERE run_id = ANY('{{{0}}}'))
              + 10000 * (SELECT count(*) FROM subruns WHERE run_id = ANY('{{{0}}}')) AS it",
        newer.iter().map(i64::to_string).collect::<Vec<_>>().join(",")
    );
    until(&mut database, &untouched, 11_114);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn protocols_of_a_newer_version_are_left_to_it_and_their_earlier_versions_go_on() {
    let server = TestServer::start().await;
    let mut database = server.database.connect();
    let (staff, supervisor) = (server.user("staff"), server.user("supervisor"));
    let protocol = publish(&server.user("admin"), "Ask", ask()).await;
    let (begun, moved) = (at_approval(&staff, protocol).await, at_approval(&staff, protocol).await);
    let mut definition = ask();
    definition["tasks"][0]["budget"] = json!({"dollars": 5});
    publish_as_newer(&mut database, protocol, 2, definition.clone());
    let to = json!({"id": protocol, "version": 2, "name": "Ask"});
    write_as_newer(&mut database, moved, "run.migrated", json!({"to": to, "reason": "It is better."}));

    let left = format!("Version 2 of protocol {protocol} ");
    let start = json!({"protocol_id": protocol, "payload": {}});
    is_left(&staff.post("/acts/run", start).await, &left);
    is_left(&staff.get(&format!("/acts/runs/{moved}")).await, &left);
    let shown = staff.get(&format!("/acts/protocols/{protocol}")).await.expect(200).json;
    assert_eq!(shown["definition"], definition, "whoever asks for it gets it");
    let session = session(&server, "admin").await;
    for path in ["/", "/runs", "/approvals", "/log", "/protocols", "/runs/new", "/schedules"] {
        let (status, html) = page(&server, &session, path).await;
        assert_eq!(status, 200, "{path}: {html}");
    }
    for path in [format!("/protocols/{protocol}"), format!("/runs/new?protocol_id={protocol}")] {
        let (status, html) = page(&server, &session, &path).await;
        assert!(status == 503 && html.contains("was written by a newer version"), "{path}: {html}");
    }
    let approval = supervisor.approval(begun).await;
    supervisor.decide(approval, "approve", "Checked.").await.expect(200);
    staff.wait_for_status(begun, "completed").await;
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_instance_works_on_and_starts_again_on_a_database_of_a_newer_version() {
    let (_seats, ground) = (seats(1).await, Ground::new());
    let setup = ground.setup(true, String::new());
    let server = TestProcess::start(&setup);
    let staff = server.user("staff");
    let protocol = publish(&server.user("admin"), "Ask", ask()).await;
    let run = at_approval(&staff, protocol).await;
    ground
        .database
        .connect_as_owner()
        .batch_execute(
            "SET ROLE hms_act_owner;
             ALTER TABLE runs ADD COLUMN priority integer;
             CREATE INDEX runs_by_priority ON runs (priority);
             INSERT INTO __diesel_schema_migrations (version) VALUES ('29990101000000');",
        )
        .expect("it adds");
    let supervisor = server.user("supervisor");
    let approval = supervisor.approval(run).await;
    supervisor.decide(approval, "approve", "Checked.").await.expect(200);
    staff.wait_for_status(run, "completed").await;

    let server = server.kill9_and_restart();
    let second = at_approval(&server.user("staff"), protocol).await;
    let supervisor = server.user("supervisor");
    let approval = supervisor.approval(second).await;
    supervisor.decide(approval, "approve", "Checked.").await.expect(200);
    server.user("staff").wait_for_status(second, "completed").await;
    assert!(server.terminate().success());
    let told = "the database is of a newer version of this program";
    assert_eq!(setup.log().matches(told).count(), 1, "{}", setup.log());

    let migrated = setup.run(&["migrate"]);
    let said = String::from_utf8_lossy(&migrated.stdout);
    assert!(migrated.status.success() && said.contains("The database is of a newer version"), "{said}");
    let examined = setup.run(&["doctor"]);
    let said = String::from_utf8_lossy(&examined.stdout);
    assert!(examined.status.success(), "{said}");
    assert!(said.contains("look   1 migration(s) are of a newer version"), "{said}");
    check_log(&setup);
}
