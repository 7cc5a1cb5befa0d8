//! Behind a real PgBouncer that lends a server connection for one transaction only.

use crate::agency_log::{browser, cookie, post_form, sign_in};
use crate::support::client::{Caller, GUARD};
use crate::support::pooler::Pooler;
use crate::support::postgres::{ScratchDir, TestDatabase};
use crate::support::process::{Setup, TestProcess};
use crate::support::server::{ALL_SCOPES, DEMO_PASSWORD, TestServer, seats};
use diesel::connection::SimpleConnection;
use diesel::sql_types::BigInt;
use diesel::{Connection, PgConnection, QueryableByName, RunQueryDsl, sql_query};
use futures_util::future::join_all;
use hms_act::config::Secret;
use hms_act::store::pooler;
use serde_json::json;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Connections from the pooler to the server, for two instances with 12 each to the pooler.
const SIZE: u32 = 3;
const RUNS: i64 = 24;

/// Two instances behind one pooler.
struct Pair {
    first: TestServer,
    second: TestProcess,
    second_setup: Setup,
    pooler: Pooler,
    _second_scratch: ScratchDir,
}

impl Pair {
    async fn start() -> Pair {
        let (database, scratch) = (TestDatabase::new(), ScratchDir::new());
        let pooler = Pooler::before(&database.url(), SIZE, &scratch).await;
        let urls = Some((database.url(), database.owner_url()));
        let pooled = Secret::new(pooler.url());
        let first =
            TestServer::start_before(database, |config| config.pooled_database_url = Some(pooled)).await;
        let second_setup = Setup {
            data_dir: scratch.path().to_owned(),
            demo: false,
            database: urls,
            allow_hosts: String::new(),
        };
        let settings = [("HMS_ACT_POOLED_DATABASE_URL", pooler.url())];
        let second = TestProcess::start_with(&second_setup, &settings);
        Pair { first, second, second_setup, pooler, _second_scratch: scratch }
    }

    /// A user at the first instance, and at the second.
    fn user(&self, name: &str) -> [Caller; 2] {
        let token = self.first.token(name, ALL_SCOPES);
        [self.first.bearer(&token), self.second.bearer(token)]
    }
}

/// How many connections the pooler has to the server.
fn lent(connection: &mut PgConnection) -> i64 {
    #[derive(QueryableByName)]
    struct Count {
        #[diesel(sql_type = BigInt)]
        count: i64,
    }
    let query = "SELECT count(*) AS count FROM pg_stat_activity
         WHERE datname = current_database() AND application_name LIKE 'hms-act - %'";
    sql_query(query).get_result::<Count>(connection).expect("a count").count
}

/// Starts runs at both instances and approves each at the other, while others read.
async fn work(pair: &Pair, protocol: i64, session: &str) {
    let (staff, supervisor, auditor) = (pair.user("staff"), pair.user("supervisor"), pair.user("auditor"));
    let runs = (0..RUNS).map(|n| {
        let (here, there) = (&staff[(n % 2) as usize], &supervisor[((n + 1) % 2) as usize]);
        async move {
            let id = here.start(protocol, json!({"n": n})).await;
            here.wait_for_status(id, "waiting").await;
            let approval = there.approval(id).await;
            there.decide(approval, "approve", "Behind a pooler.").await.expect(200);
            assert_eq!(here.wait_for_status(id, "completed").await["payload"]["after"]["n"], n);
            id
        }
    });
    let pages =
        ["/", "/runs", "/approvals", "/log?search=actor:supervisor", "/log?search=words", "/protocols"];
    let pages = pages.into_iter().cycle().take(48).map(|page| async move {
        let address = format!("{}{page}", pair.first.base_url());
        let answer =
            browser().get(address).header("cookie", session).send().await.expect("the server answers");
        assert_eq!(answer.status(), 200, "{page}");
    });
    let exports = auditor.iter().map(|auditor| async {
        let export = auditor.get("/acts/log.csv?search=type:run.queued").await.expect(200);
        assert!(export.text.starts_with("run_id,seq,t"));
    });
    // One each: attempts of one user at a time are limited.
    let sign_ins = ["staff", "supervisor", "auditor", "admin"].map(|user| async move {
        assert_eq!(sign_in(&pair.first, user, DEMO_PASSWORD).await.status(), 303);
    });
    let (runs, ..) = tokio::join!(join_all(runs), join_all(pages), join_all(exports), join_all(sign_ins));
    let runs: BTreeSet<i64> = runs.into_iter().collect();
    assert_eq!(runs.len() as i64, RUNS);
}

#[tokio::test(flavor = "multi_thread")]
async fn two_instances_share_few_connections_and_outlive_their_pooler() {
    let _seats = seats(1).await;
    let mut pair = Pair::start().await;
    let definition = json!({"tasks": [
        {"id": "before", "type": "script", "uses": "compute"},
        {"id": "approve", "type": "hitl"},
        {"id": "after", "type": "script", "uses": "compute", "with": {"n": "${payload.n}"}},
    ]});
    let protocol = pair.first.user("admin").publish("Ask", definition).await;
    let session = cookie(&sign_in(&pair.first, "auditor", DEMO_PASSWORD).await);
    work(&pair, protocol, &session).await;
    let mut eyes = pair.first.database.connect();
    assert!((1..=i64::from(SIZE)).contains(&lent(&mut eyes)));

    // The pooler goes, under load, and comes back.
    let enough = Arc::new(AtomicBool::new(false));
    let callers = pair.user("staff").into_iter().chain(pair.user("auditor"));
    let paths = ["/acts/runs", "/acts/approvals", "/acts/log/checkpoint", "/readyz"];
    let load = callers.zip(paths).map(|(caller, path)| {
        let enough = Arc::clone(&enough);
        tokio::spawn(async move {
            let mut seen = BTreeSet::new();
            while !enough.load(Ordering::Relaxed) {
                seen.insert(caller.get(path).await.status);
            }
            seen
        })
    });
    let load: Vec<_> = load.collect();
    pair.pooler.kill();
    pair.first.nobody().get("/readyz").await.problem(503);
    pair.user("staff")[1].post("/acts/run", json!({"protocol_id": protocol})).await.problem(503);
    pair.pooler.start_again();
    pair.second.ready().await;
    let ready = async { while pair.first.nobody().get("/readyz").await.status != 200 {} };
    tokio::time::timeout(GUARD, ready).await.expect("it gets ready");
    enough.store(true, Ordering::Relaxed);
    for seen in join_all(load).await {
        let seen = seen.expect("it answers");
        assert!(seen.iter().all(|status| [200, 503].contains(status)), "{seen:?}");
    }
    work(&pair, protocol, &session).await;
    let out = post_form(&pair.first, "/sign-out", &session, String::new()).await;
    assert_eq!(out.status(), 303);

    let examined =
        pair.second_setup.run_with(&[("HMS_ACT_POOLED_DATABASE_URL", pair.pooler.url())], &["doctor"]);
    let said = String::from_utf8_lossy(&examined.stdout);
    for line in [
        "ok     the pooler leads to the same database",
        "ok     sessions behind the pooler have their limits",
    ] {
        assert!(said.contains(line), "{said}");
    }
    assert!(pair.second.terminate().success());
    let (well, said) = pair.second_setup.verify();
    assert!(well, "{said}");
    drop(eyes);
    pair.first.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn way_to_another_database_is_refused_and_missing_limits_are_told() {
    let (database, other, scratch) = (TestDatabase::new(), TestDatabase::new(), ScratchDir::new());
    let setup = Setup {
        data_dir: scratch.path().to_owned(),
        demo: false,
        database: Some((database.url(), database.owner_url())),
        allow_hosts: String::new(),
    };
    let told = |url: &str, command: &str| {
        let output = setup.run_with(&[("HMS_ACT_POOLED_DATABASE_URL", url)], &[command]);
        let said = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
        (output.status.success(), said.into_owned())
    };
    for command in ["serve", "doctor"] {
        let (well, said) = told(&other.url(), command);
        assert!(!well, "{said}");
        let line = "HMS_ACT_POOLED_DATABASE_URL: leads to another database than DATABASE_URL";
        assert!(said.contains(line), "{said}");
    }
    let (well, said) = told(&database.owner_url(), "serve");
    assert!(!well && said.contains("the login of HMS_ACT_POOLED_DATABASE_URL could alter"), "{said}");

    let lacking = |database: &TestDatabase| {
        pooler::lacking(&mut PgConnection::establish(&database.url()).expect("ours")).expect("settings")
    };
    assert!(lacking(&database).is_empty());
    let reset = "DO $$ BEGIN
        EXECUTE format('ALTER ROLE hms_act IN DATABASE %I RESET ALL', current_database());
        EXECUTE format('ALTER ROLE hms_act IN DATABASE %I SET statement_timeout = ''50s''', current_database());
    END $$";
    database.connect_as_owner().batch_execute(reset).expect("the owner may");
    assert_eq!(lacking(&database), ["idle_in_transaction_session_timeout"]);
    let (well, said) = told(&database.url(), "doctor");
    assert!(
        well && said.contains("look   sessions behind HMS_ACT_POOLED_DATABASE_URL lack idle_in"),
        "{said}"
    );
    // What somebody set stays as it is.
    crate::support::postgres::prepare(&database.owner_url(), &database.url());
    assert!(lacking(&database).is_empty());
    let mut raw = PgConnection::establish(&database.url()).expect("ours");
    raw.batch_execute("DO $$ BEGIN ASSERT current_setting('statement_timeout') = '50s'; END $$")
        .expect("it stays");
}
