//! Old runs leave the log for the archive: what can be seen of them then, and that every proof still holds.

use crate::backup::{run, setup, well};
use crate::support::bundle;
use crate::support::client::Caller;
use crate::support::postgres::{ScratchDir, TestDatabase};
use crate::support::process::Setup;
use crate::support::server::TestServer;
use crate::waits::publish;
use diesel::connection::SimpleConnection;
use diesel::sql_types::BigInt;
use diesel::{PgConnection, QueryableByName, RunQueryDsl, sql_query};
use serde_json::json;
use std::path::PathBuf;

/// So many runs of two steps have more entries than a bundle.
const OLD: usize = 60;

fn number(connection: &mut PgConnection, query: &str) -> i64 {
    #[derive(QueryableByName)]
    struct Number {
        #[diesel(sql_type = BigInt)]
        it: i64,
    }
    sql_query(query).get_result::<Number>(connection).expect(query).it
}

/// In the future, so that everything that is over is old.
fn tomorrow() -> String {
    (chrono::Utc::now().date_naive() + chrono::Days::new(1)).to_string()
}

/// A product with old runs, one that is open, and a backup. The old runs are on both sides of the end of a part of the
/// log.
struct Agency {
    server: TestServer,
    setup: Setup,
    place: PathBuf,
    old: Vec<i64>,
    open: i64,
}

impl Agency {
    async fn new() -> Agency {
        let server = TestServer::start().await;
        let skip = format!("SELECT setval('run_ids', {})", 1_000_000 - OLD / 2);
        server.database.connect_as_owner().batch_execute(&skip).expect("numbers go on there");
        let ask = json!({"tasks": [{"id": "check", "type": "hitl"}]});
        let ask = publish(&server.user("admin"), "Ask", ask).await;
        let (staff, supervisor) = (server.user("staff"), server.user("supervisor"));
        let decided = staff.start(ask, json!({"case": "decided"})).await;
        supervisor.decide(supervisor.approval(decided).await, "approve", "It is fine.").await.expect(200);
        staff.wait_for_status(decided, "completed").await;
        let old = [vec![decided], server.complete_runs(OLD).await].concat();
        let open = staff.start(ask, json!({"case": "open"})).await;
        supervisor.wait_for_status(open, "waiting").await;
        // One that began before may hold numbers of the first part, which then stays.
        let server = server.away_while(async {}).await;
        server.wait_until_sealed().await;
        let setup = setup(&server.database, server.scratch.path());
        let place = server.scratch.path().join("kept");
        Agency { server, setup, place, old, open }
    }

    fn place(&self) -> &str {
        self.place.to_str().expect("UTF-8")
    }

    fn archive(&self) -> (bool, String) {
        run(&self.setup, &["archive", "--before", &tomorrow(), "--to", self.place()])
    }

    fn connect(&self) -> PgConnection {
        self.server.database.connect_as_owner()
    }

    /// The old runs that left.
    fn archived(&self) -> Vec<i64> {
        let count =
            number(&mut self.connect(), "SELECT count(*) AS it FROM runs WHERE archive_id IS NOT NULL");
        // By number, but for the last ones, whose entries are in a bundle that is not full.
        self.old[..count as usize].to_vec()
    }

    fn entries_of_old(&self) -> i64 {
        let ids: Vec<String> = self.archived().iter().map(i64::to_string).collect();
        let query =
            format!("SELECT count(*) AS it FROM activity_log WHERE run_id = ANY('{{{}}}')", ids.join(","));
        number(&mut self.connect(), &query)
    }

    #[track_caller]
    fn verify(&self) -> String {
        let said = well(&self.setup, &["verify"]);
        assert!(said.contains("0 broken"), "{said}");
        said
    }
}

async fn gone(caller: &Caller, path: &str) {
    let answer = caller.get(path).await;
    assert!(answer.problem(410).contains("moved to the archive"), "{}", answer.text);
}

#[tokio::test(flavor = "multi_thread")]
async fn old_runs_leave_the_log_and_every_proof_still_holds() {
    let agency = Agency::new().await;
    let Agency { server, setup, .. } = &agency;
    let (auditor, staff) = (server.user("auditor"), server.user("staff"));
    let first = agency.old[0];
    let file = server.scratch.path().join("bundle.zip");
    std::fs::write(&file, bundle::download(&auditor, first).await).expect("written");
    let hashes = async || {
        let request = auditor.request(reqwest::Method::GET, "/acts/log/tile/0/000");
        request.send().await.expect("an answer").bytes().await.expect("a tile")
    };
    let tile = hashes().await;
    let all = number(&mut agency.connect(), "SELECT count(*) AS it FROM activity_log");

    let said = well(setup, &["archive", "--before", &tomorrow(), "--to", agency.place(), "--dry-run"]);
    assert!(said.contains("would leave the log"), "{said}");
    assert!(agency.archived().is_empty());
    let (went_well, said) = agency.archive();
    assert!(went_well && said.contains("left the log: archive 1"), "{said}");
    assert!(said.contains("dropped whole: 1."), "{said}");
    let archived = agency.archived();
    assert!(archived.len() > OLD / 2 && archived.contains(&first), "{}", archived.len());
    assert_eq!(agency.entries_of_old(), 0);

    // What there is to see.
    for path in ["", "/replay", "/bundle"] {
        gone(&auditor, &format!("/acts/runs/{first}{path}")).await;
    }
    gone(&auditor, "/acts/log/tile/entries/000").await;
    let again = server.user("admin").act(first, "rerun", json!({"reason": "Once more."})).await;
    again.problem(410);
    for page in ["/runs", "/approvals?tab=decided", "/log", "/"] {
        auditor.get(page).await.expect(200);
    }
    let listed = staff.get(&format!("/acts/runs?q={first}")).await.expect(200).json;
    assert_eq!(listed["runs"][0]["status"], "completed", "{listed}");
    let told = auditor.get("/acts/log.ndjson?type=log.archived").await.expect(200).text;
    assert!(told.contains("\"sha256\"") && told.contains(agency.place()), "{told}");
    // What goes on.
    let approval = server.user("supervisor").approval(agency.open).await;
    server.user("supervisor").decide(approval, "approve", "It is fine.").await.expect(200);
    staff.wait_for_status(agency.open, "completed").await;
    server.complete_runs(2).await;
    server.wait_until_sealed().await;

    // What is proven.
    let said = agency.verify();
    assert!(said.contains("entries are in archives"), "{said}");
    assert!(said.contains(" 0 not signed yet"), "{said}");
    let said = well(setup, &["verify", "--archive", agency.place()]);
    assert!(said.contains("are archived") && !said.contains("BROKEN"), "{said}");
    let said = well(setup, &["verify", "--run", &first.to_string()]);
    assert!(said.contains("were moved to the archive"), "{said}");
    let vkey = auditor.get("/acts/log/key").await.expect(200).text;
    let (passed, said) = bundle::verify(&file, &["--key", vkey.trim()]);
    assert!(passed, "{said}");
    assert!(tile.len() == 256 * 32 && tile == hashes().await);

    // A backup goes on where the archive is, and nowhere else.
    well(setup, &["backup", "--to", agency.place()]);
    let elsewhere = ScratchDir::new();
    let (went_well, said) = run(setup, &["backup", "--to", elsewhere.path().to_str().expect("UTF-8")]);
    assert!(!went_well && said.contains("copy all that is there"), "{said}");
    // And a restore has everything again.
    let fresh = TestDatabase::new();
    let restored = crate::backup::setup(&fresh, server.scratch.path());
    well(&restored, &["restore", "--from", agency.place(), "--accept-loss"]);
    assert!(number(&mut fresh.connect_as_owner(), "SELECT count(*) AS it FROM activity_log") > all);
    let said = well(&restored, &["verify"]);
    assert!(said.contains("0 broken"), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_leaves_that_the_backup_does_not_have_to_the_byte() {
    let agency = Agency::new().await;
    well(&agency.setup, &["backup", "--to", agency.place()]);
    let bundle = agency.place.join("tile/entries/000");
    let whole = std::fs::read(&bundle).expect("a bundle");
    let mut flipped = whole.clone();
    flipped[40] ^= 1;
    std::fs::write(&bundle, &flipped).expect("written");
    let (went_well, said) = agency.archive();
    assert!(!went_well && said.contains("not the entry that was signed"), "{said}");
    std::fs::remove_file(&bundle).expect("removed");
    let (went_well, said) = agency.archive();
    assert!(!went_well && said.contains("tile/entries/000: it is missing"), "{said}");
    assert!(agency.archived().is_empty());

    std::fs::write(&bundle, &whole).expect("written");
    let (went_well, said) = agency.archive();
    assert!(went_well, "{said}");
    std::fs::write(&bundle, &flipped).expect("written");
    let (passed, said) = run(&agency.setup, &["verify", "--archive", agency.place()]);
    assert!(!passed && said.contains("not the entry that was signed"), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_may_only_be_missing_that_the_log_says_left() {
    let agency = Agency::new().await;
    let (went_well, said) = agency.archive();
    assert!(went_well, "{said}");
    let forged = format!("UPDATE runs SET archive_id = 1 WHERE run_id = {}", agency.open);
    let refused = agency.server.database.connect().batch_execute(&forged).expect_err("the app may not");
    assert!(refused.to_string().contains("only the owner of the log"), "{refused}");
    let mut owner = agency.connect();
    let remove = |run: i64| {
        format!(
            "SET ROLE hms_act_owner; BEGIN; SET LOCAL hms_act.archiving = 'on';
             DELETE FROM activity_log WHERE run_id = {run}; COMMIT; RESET ROLE"
        )
    };
    // One that is open goes missing: with and without a word in its row.
    owner.batch_execute(&remove(agency.open)).expect("the owner may");
    let (passed, said) = run(&agency.setup, &["verify"]);
    assert!(!passed && said.contains(&format!("BROKEN run {} seq 1", agency.open)), "{said}");
    owner.batch_execute(&format!("SET ROLE hms_act_owner; {forged}; RESET ROLE")).expect("the owner may");
    let (passed, said) = run(&agency.setup, &["verify"]);
    assert!(!passed && said.contains("not those that the log says went there"), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn removing_that_was_broken_off_goes_on() {
    let agency = Agency::new().await;
    let mut owner = agency.connect();
    // Something holds the entries of one run: the removing gives up with the others' still there.
    owner
        .batch_execute(
            "CREATE FUNCTION stop() RETURNS trigger LANGUAGE plpgsql AS
                $$ BEGIN RAISE EXCEPTION 'the disk is full'; END $$;
             CREATE TRIGGER stop BEFORE DELETE ON activity_log FOR EACH STATEMENT EXECUTE FUNCTION stop()",
        )
        .expect("a trigger");
    let (went_well, said) = agency.archive();
    assert!(!went_well && said.contains("the disk is full"), "{said}");
    assert!(!agency.archived().is_empty() && agency.entries_of_old() > 0);
    let said = agency.verify();
    assert!(!said.contains("BROKEN"), "{said}");
    owner.batch_execute("DROP TRIGGER stop ON activity_log").expect("gone");
    let (went_well, said) = agency.archive();
    assert!(went_well && said.contains("Archive 1 was broken off: it goes on."), "{said}");
    assert_eq!(agency.entries_of_old(), 0);
    agency.verify();
}
