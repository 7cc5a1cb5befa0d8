//! What reads much is read on a streaming replica, and on the primary where that one is away or behind.

use crate::log_exports::insert;
use crate::support::client::{Caller, GUARD};
use crate::support::postgres::{ScratchDir, TestCluster, TestDatabase};
use crate::support::process::{Setup, TestProcess};
use crate::support::replica::TestReplica;
use crate::support::server::seats;
use diesel::Connection;
use hms_act::export::log::{Format, Order, Outcome, Source, send};
use hms_act::store::log_search::LogFilter;
use hms_act::store::replica::Replica;
use hms_act::store::{instances, pool};
use serde_json::{Value, json};
use std::sync::Arc;
use std::sync::atomic::AtomicI64;
use tokio::sync::{Semaphore, mpsc, watch};

const VARIABLE: &str = "HMS_ACT_READ_DATABASE_URL";

/// An instance that knows of a replica.
struct Ground {
    server: TestProcess,
    setup: Setup,
    protocol: i64,
    replica: TestReplica,
    scratch: ScratchDir,
    cluster: TestCluster,
}

impl Ground {
    async fn new() -> Ground {
        let (cluster, scratch) = (TestCluster::start(), ScratchDir::new());
        let replica = TestReplica::of(&cluster);
        let setup = Setup {
            data_dir: scratch.path().to_owned(),
            demo: true,
            database: Some((cluster.url(), cluster.owner_url())),
            allow_hosts: String::new(),
        };
        let server = TestProcess::start_with(&setup, &[(VARIABLE, &replica.url())]);
        let tasks = json!([
            {"id": "one", "type": "script", "uses": "compute"},
            {"id": "two", "type": "script", "uses": "compute"},
        ]);
        let protocol = server.user("admin").publish("Two", json!({"tasks": tasks})).await;
        Ground { server, setup, protocol, replica, scratch, cluster }
    }

    /// Readings that the replica answered, and those that the primary did in its place.
    async fn counts(&self) -> (u64, u64) {
        let figures = self.server.user("admin").get("/metrics").await.expect(200).text;
        let of = |name: &str| {
            let line = figures.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
            line.and_then(|count| count.parse().ok())
                .unwrap_or_else(|| panic!("{name} is missing: {figures}"))
        };
        (of("hms_act_replica_reads_total"), of("hms_act_replica_fallbacks_total"))
    }

    /// Completes a run, and reads all there is of it that very moment.
    async fn complete_and_read(&self) {
        let (staff, auditor) = (self.server.user("staff"), self.server.user("auditor"));
        let id = staff.start(self.protocol, json!({"n": 1})).await;
        staff.wait_for_status(id, "completed").await;
        let lines = staff.replay(id).await;
        let last: Value = serde_json::from_str(lines.last().expect("entries")).expect("JSON");
        assert_eq!((&last["type"], &last["detail"]["count"]), (&json!("run.closed"), &json!(lines.len())));
        let count = lines.len();
        for page in [
            format!("/runs/{id}/replay?at={count}"),
            format!("/runs/{id}/replay/entries"),
            format!("/log/{id}/{count}"),
        ] {
            staff.get(&page).await.expect(200);
        }
        let search = auditor.get(&format!("/log?search=run:{id}")).await.expect(200).text;
        assert_eq!(search.matches("<th scope=\"row\"").count(), count, "{search}");
        let exported = auditor.get(&format!("/acts/log.ndjson?run_id={id}")).await.expect(200).text;
        assert_eq!(exported.lines().collect::<Vec<_>>(), lines);
        staff.get("/runs/999999/replay").await.expect(404);
        auditor.get("/acts/runs/999999/replay").await.problem(404);
    }

    /// Reads until the replica has answered.
    async fn read_until_served(&self) {
        let (before, _) = self.counts().await;
        let auditor: Caller = self.server.user("auditor");
        let served = async {
            while self.counts().await.0 == before {
                auditor.get("/acts/log/key").await.expect(200);
            }
        };
        tokio::time::timeout(GUARD, served).await.expect("the replica is read");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn replica_is_read_while_it_has_what_was_asked_for() {
    let _seats = seats(1).await;
    let ground = Ground::new().await;
    ground.read_until_served().await;
    for _ in 0..5 {
        ground.complete_and_read().await;
    }
    let examined = ground.setup.run_with(&[(VARIABLE, &ground.replica.url())], &["doctor"]);
    let said = String::from_utf8_lossy(&examined.stdout);
    assert!(said.contains("ok     the replica is a standby of this database"), "{said}");
    assert!(said.contains("look   hot_standby_feedback is off on the replica"), "{said}");

    // It falls behind: whatever is new is read on the primary.
    ground.replica.pause();
    let (served, fallen_back) = ground.counts().await;
    ground.complete_and_read().await;
    let now = ground.counts().await;
    assert!(now.0 == served && now.1 > fallen_back, "{served} {fallen_back} {now:?}");
    ground.replica.resume();
    ground.read_until_served().await;
    ground.complete_and_read().await;

    // It goes away.
    ground.replica.stop();
    let (served, fallen_back) = ground.counts().await;
    ground.complete_and_read().await;
    let now = ground.counts().await;
    assert!(now.0 == served && now.1 > fallen_back, "{served} {fallen_back} {now:?}");
    let examined = ground.setup.run_with(&[(VARIABLE, &ground.replica.url())], &["doctor"]);
    assert!(!examined.status.success());
    let said = String::from_utf8_lossy(&examined.stdout);
    assert!(said.contains("WRONG  HMS_ACT_READ_DATABASE_URL: cannot connect to"), "{said}");
    ground.replica.start();
    ground.read_until_served().await;
    ground.complete_and_read().await;
    assert!(ground.server.terminate().success());
    let (well, said) = ground.setup.verify();
    assert!(well, "{said}");
    drop((ground.scratch, ground.cluster));
}

#[tokio::test(flavor = "multi_thread")]
async fn export_that_the_replica_breaks_off_goes_on_at_the_primary() {
    let cluster = TestCluster::start();
    let mut connection = cluster.connect_for_any_entry();
    for seq in 1..=400 {
        insert(&mut connection, seq, "long", json!({"x": "x".repeat(60_000)}));
    }
    let instance = instances::register(&mut connection, "test").expect("a number");
    let replica = TestReplica::of(&cluster);
    let behind = Replica::open(&replica.url(), &mut connection, Arc::new(AtomicI64::new(instance)));
    let behind = Arc::new(behind.expect("a standby"));
    let (_stop, stopping) = watch::channel(false);
    let source = |replica: Option<Arc<Replica>>| {
        let mark = |replica: &Arc<Replica>| replica.mark(&mut pool::connect(&cluster.url()).expect("ours"));
        let mark = replica.as_ref().map(|replica| mark(replica).expect("ours").expect("it is well"));
        Source {
            database_url: cluster.url(),
            replica: replica.zip(mark),
            turns: Arc::new(Semaphore::new(1)),
            stopping: stopping.clone(),
        }
    };
    let order = Order { filter: LogFilter::default(), format: Format::Ndjson, with_bom: false, after: None };
    let whole = {
        let (sender, mut receiver) = mpsc::channel::<Result<Vec<u8>, ()>>(1);
        let (source, order) = (source(None), order.clone());
        let sending = tokio::task::spawn_blocking(move || send(source, &order, &sender));
        let mut bytes = Vec::new();
        while let Some(chunk) = receiver.recv().await {
            bytes.extend(chunk.expect("bytes"));
        }
        assert!(matches!(sending.await.expect("no panic").outcome, Outcome::Complete));
        bytes
    };
    let (sender, mut receiver) = mpsc::channel::<Result<Vec<u8>, ()>>(1);
    let from_replica = source(Some(Arc::clone(&behind)));
    let sending = tokio::task::spawn_blocking(move || send(from_replica, &order, &sender));
    let mut bytes = receiver.recv().await.expect("it begins").expect("bytes");
    assert_eq!(behind.counts(), (1, 0));
    tokio::task::block_in_place(|| replica.stop());
    while let Some(chunk) = receiver.recv().await {
        bytes.extend(chunk.expect("bytes"));
    }
    let ended = sending.await.expect("no panic");
    assert!(matches!(ended.outcome, Outcome::Complete), "{ended:?}");
    assert_eq!(ended.rows, 400);
    assert!(bytes == whole, "the same bytes, whoever was asked");
    assert_eq!(behind.counts(), (1, 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn no_standby_of_this_database_is_refused_and_an_absent_one_is_waited_for() {
    let (database, scratch) = (TestDatabase::new(), ScratchDir::new());
    let setup = Setup {
        data_dir: scratch.path().to_owned(),
        demo: false,
        database: Some((database.url(), database.owner_url())),
        allow_hosts: String::new(),
    };
    let refused = |url: &str| {
        let output = setup.run_with(&[(VARIABLE, url)], &["serve", "--bind", "127.0.0.1:0"]);
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(!output.status.success(), "{said}");
        said
    };
    let said = refused(&database.url());
    assert!(said.contains("HMS_ACT_READ_DATABASE_URL: leads to a server that takes writes"), "{said}");
    let other = TestDatabase::new();
    let said = refused(&other.url());
    assert!(
        said.contains("HMS_ACT_READ_DATABASE_URL: leads to another database than DATABASE_URL"),
        "{said}"
    );

    let _seats = seats(1).await;
    let nowhere = format!("postgres:///hms_act?host={}&user=hms_act", scratch.path().display());
    let server = TestProcess::start_with(&setup, &[(VARIABLE, &nowhere)]);
    server.ready().await;
    assert!(setup.log().contains("the replica is away"), "{}", setup.log());
    assert!(server.terminate().success());
    assert!(diesel::PgConnection::establish(&database.url()).is_ok());
}
