//! The product, started in this process: on a database and a directory of its own, in demo mode.

use super::client::{Caller, GUARD};
use super::postgres::{ScratchDir, TestDatabase};
use diesel::sql_types::BigInt;
use diesel::{QueryableByName, RunQueryDsl, sql_query};
use hms_act::app::{self, Running};
use hms_act::auth::policy::Scope;
use hms_act::auth::token_keys::TokenKey;
use hms_act::auth::tokens;
use hms_act::config::{Config, DEFAULT_MAX_BODY_BYTES, DEFAULT_OVERRIDE_REVIEW_HOURS, Secret};
use serde_json::json;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::{Arc, LazyLock};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

pub const DEMO_PASSWORD: &str = "correct-horse-battery";

/// Each running product holds some 13 connections, of the 60 that the private Postgres has.
static SEATS: LazyLock<Arc<Semaphore>> = LazyLock::new(|| Arc::new(Semaphore::new(3)));

/// Room for this many products at once: a test that needs two takes both places together.
pub async fn seats(count: u32) -> OwnedSemaphorePermit {
    Arc::clone(&SEATS).acquire_many_owned(count).await.expect("never closed")
}

/// A token for a user, signed with the key of a data directory. `scopes` as in `hms-act token --scope`.
pub fn token(data_dir: &Path, user: &str, scopes: &str) -> String {
    let key = TokenKey::load_or_create(data_dir).expect("the server made its key");
    let scopes = scopes.split(' ').map(|scope| Scope::parse(scope).expect("a scope")).collect();
    tokens::mint(&key, user, &scopes, 3600, chrono::Utc::now()).expect("a token")
}

/// Every scope: what the token may do is what its user's role may do.
pub const ALL_SCOPES: &str = "runs:read runs:write approvals:decide log:read protocols:write admin";

pub struct TestServer {
    running: Running,
    config: Config,
    caller: Caller,
    pub database: TestDatabase,
    pub scratch: ScratchDir,
    _seat: OwnedSemaphorePermit,
}

impl TestServer {
    pub async fn start() -> TestServer {
        TestServer::start_with(|_| {}).await
    }

    /// `change`: what is to be different from a plain demo.
    pub async fn start_with(change: impl FnOnce(&mut Config)) -> TestServer {
        TestServer::start_as(TestDatabase::new(), ScratchDir::new(), change).await
    }

    /// On what another one left.
    pub async fn start_on(database: TestDatabase, scratch: ScratchDir) -> TestServer {
        TestServer::start_as(database, scratch, |_| {}).await
    }

    /// On a database that somebody looks at already.
    pub async fn start_before(database: TestDatabase, change: impl FnOnce(&mut Config)) -> TestServer {
        TestServer::start_as(database, ScratchDir::new(), change).await
    }

    async fn start_as(
        database: TestDatabase,
        scratch: ScratchDir,
        change: impl FnOnce(&mut Config),
    ) -> TestServer {
        let seat = seats(1).await;
        let mut config = Config {
            database_url: Some(Secret::new(database.url())),
            owner_database_url: Some(Secret::new(database.owner_url())),
            pooled_database_url: None,
            read_database_url: None,
            bind: "127.0.0.1:0".parse().expect("an address"),
            data_dir: scratch.path().to_owned(),
            public_url: None,
            allow_hosts: Vec::new(),
            allow_commands: Vec::new(),
            demo: true,
            demo_password: Some(Secret::new(DEMO_PASSWORD)),
            demo_screening_list: None,
            log_origin: Some("test.invalid/log".to_owned()),
            max_body_bytes: DEFAULT_MAX_BODY_BYTES,
            override_review_hours: DEFAULT_OVERRIDE_REVIEW_HOURS,
            backup: hms_act::config::Backup::default(),
        };
        change(&mut config);
        let running = app::start(&config).await.expect("it starts");
        let caller = Caller::new(running.base_url(), None);
        TestServer { running, config, caller, database, scratch, _seat: seat }
    }

    /// Stops it, does something while it is away, and starts it again at the same address.
    pub async fn away_while(self, meanwhile: impl Future<Output = ()>) -> TestServer {
        let TestServer { running, mut config, caller, database, scratch, _seat } = self;
        config.bind = running.address();
        running.stop().await.expect("it stops in order");
        meanwhile.await;
        let running = app::start(&config).await.expect("it starts");
        TestServer { running, config, caller, database, scratch, _seat }
    }

    pub fn address(&self) -> SocketAddr {
        self.running.address()
    }

    pub fn base_url(&self) -> &str {
        self.running.base_url()
    }

    /// A token for a user, limited to scopes.
    pub fn token(&self, user: &str, scopes: &str) -> String {
        token(self.scratch.path(), user, scopes)
    }

    /// Calls as one of the demo's users, with every scope.
    pub fn user(&self, name: &str) -> Caller {
        self.with_scopes(name, ALL_SCOPES)
    }

    pub fn with_scopes(&self, user: &str, scopes: &str) -> Caller {
        self.bearer(&self.token(user, scopes))
    }

    pub fn bearer(&self, token: &str) -> Caller {
        self.caller.with_token(Some(token.to_owned()))
    }

    pub fn nobody(&self) -> Caller {
        self.caller.clone()
    }

    /// Publishes two steps that are computed, and completes so many runs of it.
    pub async fn complete_runs(&self, count: usize) -> Vec<i64> {
        let definition = json!({"tasks": [
            {"id": "one", "type": "script", "uses": "compute"},
            {"id": "two", "type": "script", "uses": "compute"},
        ]});
        let id = self.user("admin").publish(&format!("Two {count}"), definition).await;
        let staff = self.user("staff");
        let mut runs = Vec::new();
        for number in 0..count {
            runs.push(staff.start(id, json!({"number": number})).await);
            staff.wait_for_status(runs[number], "completed").await;
        }
        runs
    }

    /// Returns once every entry that is committed by now has its place in a signed tree.
    pub async fn wait_until_sealed(&self) {
        #[derive(QueryableByName)]
        struct Left {
            #[diesel(sql_type = BigInt)]
            entries: i64,
        }
        let mut database = self.database.connect();
        // Those that left for an archive have their places too.
        let entries =
            "SELECT count(*) + (SELECT coalesce(sum(entries), 0)::bigint FROM log_archives) AS entries
            FROM activity_log";
        let committed: Left = sql_query(entries).get_result(&mut database).expect("a count");
        let left = "SELECT $1 - coalesce(max(size), 0) AS entries FROM log_checkpoints";
        let wait = async {
            while sql_query(left)
                .bind::<BigInt, _>(committed.entries)
                .get_result::<Left>(&mut database)
                .expect("a count")
                .entries
                > 0
            {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(GUARD, wait).await.expect("it is signed");
    }

    /// Why the log is not being signed, once it is not.
    pub async fn sealing_problem(&self) -> String {
        let wait = async {
            loop {
                if let Some(problem) = self.running.sealing().problem() {
                    return problem;
                }
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(GUARD, wait).await.expect("it has a problem")
    }

    pub async fn stop(self) {
        drop(self.stop_and_keep().await);
    }

    /// Stops it, and gives what is left: its database and its directory.
    pub async fn stop_and_keep(self) -> (TestDatabase, ScratchDir) {
        self.running.stop().await.expect("it stops in order");
        (self.database, self.scratch)
    }
}
