//! A commit that waits for a synchronous standby which is away.

use crate::support::client::GUARD;
use crate::support::postgres::ScratchDir;
use crate::support::process::{Setup, TestProcess};
use crate::support::server::seats;
use diesel::sql_types::{BigInt, Integer, Text};
use diesel::{Connection, PgConnection, QueryableByName, RunQueryDsl, sql_query};
use hms_act::store::embedded::Cluster;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::json;

#[derive(QueryableByName)]
struct Backend {
    #[diesel(sql_type = Integer)]
    pid: i32,
}

/// The name of the standby that every commit waits for, from now on. Empty: none.
async fn wait_for_standby(cluster: &Cluster, scratch: &ScratchDir, name: &str) {
    #[derive(QueryableByName)]
    struct Setting {
        #[diesel(sql_type = Text)]
        names: String,
    }
    let settings = scratch.path().join("postgres/postgresql.auto.conf");
    std::fs::write(settings, format!("synchronous_standby_names = '{name}'\n")).expect("written");
    kill_process(Pid::from_raw(cluster.pid()).expect("a process"), Signal::HUP).expect("it runs");
    let mut connection = PgConnection::establish(&cluster.app_url()).expect("ours");
    let show = "SELECT current_setting('synchronous_standby_names') AS names";
    let taken = async {
        while sql_query(show).get_result::<Setting>(&mut connection).expect("a setting").names != name {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(GUARD, taken).await.expect("it reads its settings again");
}

/// The committer's backend, once it waits for the standby: another one than this.
async fn waiting_committer(connection: &mut PgConnection, but_not: i32) -> i32 {
    let query = "SELECT a.pid FROM pg_stat_activity a JOIN pg_locks l ON l.pid = a.pid
         WHERE l.locktype = 'advisory' AND l.classid::bigint = hashtext('hms_act.writer')::bigint & 4294967295
         AND a.wait_event = 'SyncRep' AND a.pid <> $1";
    let found = async {
        loop {
            let waiting: Vec<Backend> =
                sql_query(query).bind::<Integer, _>(but_not).load(connection).expect("backends");
            if let Some(backend) = waiting.first() {
                return backend.pid;
            }
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(GUARD, found).await.expect("a commit waits for the standby")
}

fn runs_of(connection: &mut PgConnection, protocol: i64) -> i64 {
    #[derive(QueryableByName)]
    struct Count {
        #[diesel(sql_type = BigInt)]
        count: i64,
    }
    let query = "SELECT count(*) AS count FROM runs WHERE protocol_id = $1";
    sql_query(query).bind::<BigInt, _>(protocol).get_result::<Count>(connection).expect("a count").count
}

/// The run is there on the primary, and would be lost with it: whoever asked is told when the standby has it too.
#[tokio::test(flavor = "multi_thread")]
async fn what_a_standby_does_not_have_is_not_acknowledged() {
    let (_seats, scratch) = (seats(1).await, ScratchDir::new());
    let setup =
        Setup { data_dir: scratch.path().to_owned(), demo: true, database: None, allow_hosts: String::new() };
    let server = TestProcess::start(&setup);
    let definition = json!({"tasks": [{"id": "one", "type": "script", "uses": "compute"}]});
    let protocol = server.user("admin").publish("One", definition).await;
    let staff = server.user("staff");
    // The committer has its connection from here on.
    let before = staff.start(protocol, json!({})).await;
    staff.wait_for_status(before, "completed").await;
    let cluster = Cluster::start(scratch.path()).expect("the one that runs");
    let mut connection = PgConnection::establish(&cluster.app_url()).expect("ours");

    wait_for_standby(&cluster, &scratch, "absent").await;
    let start = tokio::spawn(async move { staff.post("/acts/run", json!({"protocol_id": protocol})).await });
    let first = waiting_committer(&mut connection, 0).await;
    let end = "SELECT CASE WHEN pg_terminate_backend($1) THEN $1 ELSE 0 END AS pid";
    let ended: Backend =
        sql_query(end).bind::<Integer, _>(first).get_result(&mut connection).expect("it is ours");
    assert_eq!(ended.pid, first);
    waiting_committer(&mut connection, first).await;
    assert_eq!(runs_of(&mut connection, protocol), 2, "it is committed on the primary");
    assert!(!start.is_finished(), "and not acknowledged");

    wait_for_standby(&cluster, &scratch, "").await;
    start.await.expect("an answer").expect(202);
    server.terminate();
    cluster.stop().expect("it stops");
}
