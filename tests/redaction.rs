//! Values that a protocol seals: nowhere in the log or in what is shown, read as an act, erased by two people.

use crate::support::bundle::{self, Unpacked};
use crate::support::client::{Answer, Caller};
use crate::support::process::Setup;
use crate::support::server::TestServer;
use diesel::connection::SimpleConnection;
use diesel::sql_types::Text;
use diesel::{PgConnection, QueryableByName, RunQueryDsl, sql_query};
use serde_json::{Value, json};

/// The applicant's number, which nobody may see.
const SECRET: &str = "536-90-4271";
/// What a step brings, which is sealed too.
const CARD: &str = "4000-1234-5678";

/// Looks up, echoes, asks with a form, and ends: the sealed values go through every kind of place.
fn definition() -> Value {
    json!({
        "redact": [{"path": "payload.applicant.ssn", "exemption": "b(6)"}, "payload.lookup.card", "payload.ask.form.phone"],
        "tasks": [
            {"id": "lookup", "type": "script", "uses": "compute", "with": {"card": CARD, "case": "${payload.case}"}},
            {"id": "echo", "type": "script", "uses": "compute",
                "with": {"letter": "Dear ${payload.applicant.ssn}, we have your card.", "copy": "${payload.lookup}"}},
            {"id": "ask", "type": "hitl", "approvers": "supervisor", "form": {
                "type": "object", "properties": {"phone": {"type": "string"}}}},
            {"id": "end", "type": "script", "uses": "compute", "with": {"phone": "${payload.ask.form.phone}"}},
        ],
    })
}

struct Ground {
    server: TestServer,
    staff: Caller,
    supervisor: Caller,
    admin: Caller,
    auditor: Caller,
    protocol: i64,
}

impl Ground {
    async fn new() -> Ground {
        Ground::with(definition()).await
    }

    async fn with(definition: Value) -> Ground {
        let server = TestServer::start().await;
        let [staff, supervisor, admin, auditor] =
            ["staff", "supervisor", "admin", "auditor"].map(|name| server.user(name));
        let protocol = admin.publish("Applications", definition).await;
        Ground { server, staff, supervisor, admin, auditor, protocol }
    }

    async fn start(&self) -> i64 {
        self.staff.start(self.protocol, application()).await
    }

    /// A run of which everything is done.
    async fn completed(&self) -> i64 {
        let id = self.start().await;
        self.staff.wait_for_status(id, "waiting").await;
        let approval = self.supervisor.approval(id).await;
        let decision =
            json!({"decision": "approve", "reason": "Known.", "form": {"phone": "+49 170 5551234"}});
        self.supervisor.post(&format!("/acts/approvals/{approval}/decision"), decision).await.expect(200);
        self.staff.wait_for_status(id, "completed").await;
        id
    }

    async fn file(&self, who: &Caller, run: i64, path: &str) -> Answer {
        who.post("/acts/redactions", json!({"run_id": run, "path": path, "reason": "She asked for it."}))
            .await
    }

    async fn decide(&self, who: &Caller, redaction: i64, decision: &str) -> Answer {
        let body = json!({"decision": decision, "reason": "The request is justified."});
        who.post(&format!("/acts/redactions/{redaction}/decision"), body).await
    }

    /// Filed by the supervisor, approved by the admin.
    async fn erase(&self, run: i64, path: &str) -> Value {
        let filed = self.file(&self.supervisor, run, path).await.expect(201).json;
        let id = filed["id"].as_i64().expect("a number");
        self.decide(&self.admin, id, "approve").await.expect(200).json
    }

    /// What a person asks for by pages and API, all in one text.
    async fn all_that_is_shown(&self, run: i64) -> String {
        let mut text = String::new();
        let api = [
            format!("/acts/runs/{run}"),
            format!("/acts/runs/{run}/replay"),
            "/acts/runs?limit=200".to_owned(),
            format!("/acts/log.csv?run_id={run}"),
            format!("/acts/log.ndjson?run_id={run}"),
            format!("/acts/approvals?run_id={run}"),
            format!("/hitl/overrides?run_id={run}"),
        ];
        let pages = ["", "/replay", "/rerun"].map(|page| format!("/runs/{run}{page}"));
        let lists = ["/", "/runs", "/approvals?tab=history", "/log"].map(str::to_owned);
        for path in api.into_iter().chain(pages).chain(lists) {
            let answer = self.admin.get(&path).await;
            assert!([200, 409].contains(&answer.status), "{path}: {}", answer.text);
            text.push_str(&answer.text);
        }
        text
    }

    /// Every row of every table, as text.
    fn dump(&self) -> String {
        dump(&mut self.server.database.connect_as_owner())
    }

    fn verify(&self) -> (bool, String) {
        let database = Some((self.server.database.url(), self.server.database.owner_url()));
        let data_dir = self.server.scratch.path().to_owned();
        let output = Setup { data_dir, demo: false, database, allow_hosts: String::new() }.run(&["verify"]);
        let said = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
        (output.status.success(), said.into_owned())
    }
}

fn application() -> Value {
    json!({"case": "c-1", "contact": SECRET, "applicant": {"name": "Ada", "ssn": SECRET}})
}

fn dump(owner: &mut PgConnection) -> String {
    #[derive(QueryableByName)]
    struct Line {
        #[diesel(sql_type = Text)]
        line: String,
    }
    let tables: Vec<Line> = sql_query(
        "SELECT format('%I.%I', schemaname, tablename) AS line FROM pg_tables
         WHERE schemaname NOT IN ('pg_catalog', 'information_schema')",
    )
    .load(owner)
    .expect("tables");
    assert!(tables.len() > 15, "{}", tables.len());
    let mut text = String::new();
    for table in tables {
        // A leaf is bytes, and a disclosure base64url.
        let rows = match table.line.as_str() {
            "public.activity_log" => "SELECT row(t.*)::text || convert_from(leaf, 'UTF8') AS line FROM activity_log t",
            "public.disclosures" => {
                "SELECT row(t.*)::text || coalesce(convert_from(decode(rpad(translate(disclosure, '-_', '+/'),
                    (length(disclosure) + 3) / 4 * 4, '='), 'base64'), 'UTF8'), '') AS line FROM disclosures t"
            }
            other => &format!("SELECT row(t.*)::text AS line FROM {other} t"),
        };
        let rows: Vec<Line> = sql_query(rows).load(owner).expect(&table.line);
        rows.into_iter().for_each(|row| text.push_str(&(row.line + "\n")));
    }
    text
}

fn texts(values: &Value, field: &str) -> Vec<String> {
    let values = values["values"].as_array().expect("a list");
    values.iter().map(|value| value[field].as_str().unwrap_or("null").to_owned()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn sealed_values_are_in_no_entry_and_nowhere_shown() {
    let ground = Ground::new().await;
    let run = ground.completed().await;
    let shown = ground.all_that_is_shown(run).await;
    for secret in [SECRET, CARD, "5551234"] {
        assert!(!shown.contains(secret), "{secret} is shown: {}", &shown[..shown.len().min(2_000)]);
    }
    let seen = ground.staff.run(run).await;
    assert_eq!(seen["payload"]["applicant"], json!({"name": "Ada", "ssn": "sealed"}));
    assert_eq!(seen["payload"]["contact"], "sealed", "a copy is sealed too");
    assert_eq!(seen["payload"]["lookup"], json!({"card": "sealed", "case": "c-1"}));
    assert_eq!(seen["payload"]["echo"]["letter"], "sealed");
    assert_eq!(seen["payload"]["ask"]["form"], json!({"phone": "sealed"}));

    // The steps got the real values, or the sum of what they did would not be the same again.
    let entries = ground.auditor.entries(run).await;
    let queued = &entries[0];
    assert_eq!(queued["detail"]["payload"]["applicant"], json!({"name": "Ada", "ssn": null}));
    let digests = queued["_sd"].as_array().expect("the digests of two values");
    assert_eq!(digests.len(), 2);
    assert!(digests.iter().all(|digest| digest.as_str().is_some_and(|digest| digest.len() == 43)));
    let runs = ground.admin.get(&format!("/acts/runs?q={SECRET}")).await.expect(200).json;
    assert_eq!(runs["runs"], json!([]), "the list cannot be asked for it");
    let (passed, said) = ground.verify();
    assert!(passed, "{said}");

    // It lies in one place: the disclosures. All other rows of the database are without it.
    let rows = ground.dump();
    let with_secret: Vec<&str> = rows.lines().filter(|line| line.contains(SECRET)).collect();
    assert!(
        !with_secret.is_empty() && with_secret.iter().all(|line| line.contains("/detail/")),
        "{with_secret:#?}"
    );
    ground.server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn reading_what_is_sealed_is_recorded_first() {
    let ground = Ground::new().await;
    let run = ground.completed().await;
    let why = json!({"reason": "The applicant asks what we hold."});
    let path = "sealed";
    ground.staff.act(run, path, why.clone()).await.problem(403);
    assert_eq!(ground.supervisor.act(run, path, json!({"reason": " "})).await.errors()[0].0, "$.reason");
    ground.supervisor.act(1, path, why.clone()).await.problem(404);
    let limited = ground.server.with_scopes("supervisor", "runs:read runs:write");
    limited.act(run, path, why.clone()).await.problem(403);

    let read = ground.supervisor.act(run, path, why.clone()).await.expect(200);
    assert_eq!(read.header("cache-control"), "no-store");
    let values = texts(&read.json, "value");
    assert!(
        values.iter().any(|value| value == SECRET) && values.iter().any(|value| value == CARD),
        "{values:?}"
    );
    let first = &read.json["values"][0];
    assert_eq!((&first["path"], &first["exemption"]), (&json!("payload.applicant.ssn"), &json!("b(6)")));
    assert_eq!((&first["seq"], &first["bytes"], &first["state"]), (&json!(1), &json!(13), &json!("sealed")));
    ground.auditor.act(run, path, why.clone()).await.expect(200);

    let log = ground.auditor.get("/acts/log.ndjson?type=sealed.read").await.expect(200);
    let entries: Vec<Value> =
        log.text.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    let told: Vec<&Value> = entries.iter().map(|entry| &entry["actor"]).collect();
    assert_eq!(told, ["supervisor", "auditor"]);
    let detail = &entries[0]["detail"];
    assert_eq!((&detail["run_id"], &detail["reason"]), (&json!(run), &why["reason"]));
    let paths = ["payload.applicant.ssn", "payload.ask.form.phone", "payload.lookup.card"];
    assert_eq!(detail["paths"], json!(paths));
    assert!(!log.text.contains(SECRET));

    // Where nothing is sealed there is nothing to read, and nothing is recorded.
    let plain = ground.staff.start(7, json!({"license_id": 123})).await;
    ground.supervisor.act(plain, path, why).await.problem(409);
    ground.server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn two_people_erase_a_value_and_every_proof_holds() {
    let ground = Ground::new().await;
    let run = ground.completed().await;
    let before = ground.auditor.replay(run).await;

    ground.file(&ground.staff, run, "payload.applicant.ssn").await.problem(403);
    ground.file(&ground.auditor, run, "payload.applicant.ssn").await.problem(403);
    assert_eq!(ground.file(&ground.admin, 1, "payload.applicant.ssn").await.errors()[0].0, "$.run_id");
    for path in ["payload.applicant.name", "applicant.ssn", "payload.applicant.ssn.x"] {
        assert_eq!(ground.file(&ground.admin, run, path).await.errors()[0].0, "$.path", "{path}");
    }
    let open = ground.start().await;
    let early = ground.file(&ground.admin, open, "payload.applicant.ssn").await;
    assert!(early.problem(409).contains("is not over"), "{}", early.text);

    let filed = ground.file(&ground.supervisor, run, "payload.applicant.ssn").await.expect(201);
    let id = filed.json["id"].as_i64().expect("a number");
    assert_eq!(filed.header("location"), format!("/acts/redactions/{id}"));
    assert_eq!(filed.json["status"], "pending");
    ground.file(&ground.admin, run, "payload.applicant.ssn").await.problem(409);
    let own = ground.decide(&ground.supervisor, id, "approve").await;
    assert!(own.problem(403).contains("somebody else"), "{}", own.text);
    let pending = ground.admin.get("/acts/redactions?status=pending").await.expect(200).json;
    assert_eq!(pending["redactions"][0]["id"], id);
    ground.staff.get("/acts/redactions").await.problem(403);
    ground.admin.get("/acts/redactions?status=gone").await.problem(400);
    ground.admin.get("/acts/redactions/99").await.problem(404);

    let done = ground.decide(&ground.admin, id, "approve").await.expect(200).json;
    assert_eq!((&done["status"], &done["decided_by"]), (&json!("approved"), &json!("admin")));
    assert!(done["erased_values"].as_i64() > Some(2), "{done}");
    let late = ground.decide(&ground.admin, id, "reject").await;
    assert!(late.problem(409).contains("admin already decided"), "{}", late.text);
    let again = ground.file(&ground.supervisor, run, "payload.applicant.ssn").await;
    assert!(again.problem(409).contains("erased already"), "{}", again.text);

    // The log is what it was, byte for byte, and what was erased is nowhere in the database.
    assert_eq!(ground.auditor.replay(run).await, before);
    let payload = &ground.staff.run(run).await["payload"];
    assert_eq!(payload["applicant"], json!({"name": "Ada", "ssn": "erased"}));
    assert_eq!((&payload["contact"], &payload["echo"]["letter"]), (&json!("erased"), &json!("erased")));
    assert_eq!(payload["lookup"]["card"], "sealed", "what nobody asked for is there");
    let (passed, said) = ground.verify();
    assert!(passed, "{said}");
    let other = ground.supervisor.act(run, "sealed", json!({"reason": "To see."})).await.expect(200).json;
    assert!(texts(&other, "value").iter().all(|value| value != SECRET));
    assert!(texts(&other, "state").contains(&"erased".to_owned()));

    let log = ground.auditor.get("/acts/log.ndjson?q=redaction.").await.expect(200).text;
    let entries: Vec<Value> = log.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    let kinds: Vec<&Value> = entries.iter().map(|entry| &entry["type"]).collect();
    assert!(kinds.contains(&&json!("redaction.filed")) && kinds.contains(&&json!("redaction.approved")));
    assert!(!log.contains(SECRET));
    let page = ground.admin.get(&format!("/runs/{run}")).await.expect(200).text;
    assert!(page.contains("was erased on") && page.contains("She asked for it."), "{page}");

    // The other run still holds it: once that is over and erased, too, it is gone from every table.
    ground.supervisor.decide(ground.supervisor.approval(open).await, "reject", "No.").await.expect(200);
    ground.staff.wait_for_status(open, "rejected").await;
    ground.erase(open, "payload.applicant").await;
    let rows = ground.dump();
    let left: Vec<&str> = rows.lines().filter(|line| line.contains(SECRET)).collect();
    assert!(left.is_empty(), "{left:#?}");
    ground.server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_erasure_that_is_rejected_changes_nothing() {
    let ground = Ground::new().await;
    let run = ground.completed().await;
    let filed = ground.file(&ground.admin, run, "payload.applicant.ssn").await.expect(201).json;
    let id = filed["id"].as_i64().expect("a number");
    let rejected = ground.decide(&ground.supervisor, id, "reject").await.expect(200).json;
    assert_eq!((&rejected["status"], &rejected["erased_values"]), (&json!("rejected"), &Value::Null));
    let read = ground.supervisor.act(run, "sealed", json!({"reason": "To see."})).await.expect(200).json;
    assert!(texts(&read, "value").contains(&SECRET.to_owned()));
    // It may be asked for again.
    ground.file(&ground.admin, run, "payload.applicant.ssn").await.expect(201);
    ground.server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn runs_go_on_and_are_run_again_with_sealed_values() {
    let ground = Ground::new().await;
    let run = ground.completed().await;
    // From the log alone, after a restart.
    let Ground { server, staff, supervisor, admin, auditor, protocol } = ground;
    let server = server.away_while(async {}).await;
    let ground = Ground { server, staff, supervisor, admin, auditor, protocol };
    let why = json!({"reason": "Once more."});
    let again = ground.staff.act(run, "rerun", why.clone()).await.expect(202).json;
    let second = again["run_id"].as_i64().expect("a number");
    ground.staff.wait_for_status(second, "waiting").await;
    let read = ground.supervisor.act(second, "sealed", json!({"reason": "To see."})).await.expect(200).json;
    assert!(texts(&read, "value").contains(&SECRET.to_owned()), "it was given what the first was given");
    ground.supervisor.decide(ground.supervisor.approval(second).await, "reject", "No.").await.expect(200);
    ground.staff.wait_for_status(second, "rejected").await;
    // Who sends back what they were shown changes nothing of what is sealed.
    let payload = ground.staff.run(run).await["payload"].clone();
    let sent = json!({"case": "c-2", "contact": payload["contact"], "applicant": payload["applicant"]});
    let third =
        ground.staff.act(run, "rerun", json!({"reason": "Another case.", "payload": sent})).await.expect(202);
    let third = third.json["run_id"].as_i64().expect("a number");
    ground.staff.wait_for_status(third, "waiting").await;
    let read = ground.supervisor.act(third, "sealed", json!({"reason": "To see."})).await.expect(200).json;
    assert_eq!(read["values"][0]["value"], SECRET);

    // While a run of the lineage is open nothing of it is erased; afterwards none can be run again.
    let filed = ground.file(&ground.admin, run, "payload.applicant.ssn").await.expect(201).json;
    let id = filed["id"].as_i64().expect("a number");
    let open = ground.decide(&ground.supervisor, id, "approve").await;
    assert!(open.problem(409).contains(&format!("Run {third}")), "{}", open.text);
    ground.supervisor.decide(ground.supervisor.approval(third).await, "reject", "No.").await.expect(200);
    ground.staff.wait_for_status(third, "rejected").await;
    ground.decide(&ground.supervisor, id, "approve").await.expect(200);
    for id in [run, second, third] {
        let refused = ground.staff.act(id, "rerun", why.clone()).await;
        assert!(refused.problem(409).contains("was erased"), "{}", refused.text);
    }
    ground.server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_key_and_body_is_the_same_run_until_it_is_erased() {
    let ground = Ground::new().await;
    let body = json!({"protocol_id": ground.protocol, "payload": application()});
    let send = |body: Value| {
        let request = ground.staff.request(reqwest::Method::POST, "/acts/run");
        Caller::send(request.header("idempotency-key", "k-1").json(&body))
    };
    let first = send(body.clone()).await.expect(202).json;
    assert_eq!(send(body.clone()).await.expect(202).json["run_id"], first["run_id"]);
    let mut other = body.clone();
    other["payload"]["case"] = json!("c-2");
    assert_eq!(send(other).await.errors()[0].0, "Idempotency-Key");
    // No hash of the body is stored that its sealed value could be guessed from.
    let plain = {
        use sha2::{Digest, Sha256};
        let bytes = hms_act::engine::json::canonical(&body);
        hex::encode(Sha256::digest(bytes))
    };
    assert!(!ground.dump().contains(&plain));

    let run = first["run_id"].as_i64().expect("a number");
    ground.staff.wait_for_status(run, "waiting").await;
    ground.supervisor.decide(ground.supervisor.approval(run).await, "reject", "No.").await.expect(200);
    ground.staff.wait_for_status(run, "rejected").await;
    ground.erase(run, "payload").await;
    assert_eq!(send(body).await.errors()[0].0, "Idempotency-Key");
    ground.server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_disclosure_that_is_deleted_or_changed_is_named_by_verify() {
    let ground = Ground::new().await;
    let run = ground.completed().await;
    let (passed, said) = ground.verify();
    assert!(passed, "{said}");
    let mut app = ground.server.database.connect();
    for refused in [
        "DELETE FROM disclosures",
        "UPDATE disclosures SET disclosure = 'x'",
        "UPDATE disclosures SET digest = digest",
    ] {
        assert!(app.batch_execute(refused).is_err(), "the app may do this: {refused}");
    }
    let mut owner = ground.server.database.connect_as_owner();
    owner
        .batch_execute(
            "SET ROLE hms_act_owner;
             ALTER TABLE disclosures DISABLE TRIGGER USER;
             CREATE TABLE kept AS SELECT * FROM disclosures;",
        )
        .expect("the owner may");
    for (statement, reason) in [
        ("DELETE FROM disclosures WHERE run_id = $run AND seq = 1", "is missing"),
        (
            "UPDATE disclosures SET disclosure = (SELECT o.disclosure FROM disclosures o WHERE o.run_id = $run
                AND o.seq > 1 ORDER BY o.seq LIMIT 1) WHERE run_id = $run AND seq = 1",
            "is not the one that was sealed",
        ),
        ("UPDATE disclosures SET digest = reverse(digest) WHERE run_id = $run AND seq = 1", "is missing"),
    ] {
        let statement = statement.replace("$run", &run.to_string());
        owner.batch_execute(&statement).expect(&statement);
        let (passed, said) = ground.verify();
        assert!(!passed, "not found: {statement}");
        let finding = said.lines().find(|line| line.starts_with("BROKEN")).expect("one");
        assert!(finding.starts_with(&format!("BROKEN run {run} seq 1: ")) && finding.contains(reason), "{said}");
        owner.batch_execute("DELETE FROM disclosures; INSERT INTO disclosures SELECT * FROM kept;").expect("put back");
    }
    let (passed, said) = ground.verify();
    assert!(passed, "{said}");
    ground.server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn overrides_values_and_reasons_are_sealed_as_well() {
    let ground = Ground::new().await;
    let run = ground.start().await;
    ground.staff.wait_for_status(run, "waiting").await;
    let second = "777-12-3456";
    let set = json!({"path": "payload.applicant.ssn", "value": second, "reason": format!("It is {second}.")});
    ground.supervisor.act(run, "values", set).await.expect(202);
    let third = "888-12-3456";
    let filed = ground
        .supervisor
        .post(
            "/hitl/overrides",
            json!({"run_id": run, "action": "modify", "reason": format!("Not {second}!"),
                "new_value": {"applicant": {"ssn": third}}}),
        )
        .await
        .expect(201)
        .json;
    assert_eq!(filed["new_value"], json!({"applicant": {"ssn": "sealed"}}));
    assert_eq!(filed["reason"], "sealed");
    // Whoever decides sends back what they see, and what was filed is merged.
    let choice = json!({"choice": "modify", "reason": "Right.", "new_value": filed["new_value"]});
    let path = format!("/hitl/overrides/{}/decision", filed["id"]);
    let decided = ground.admin.post(&path, choice).await.expect(200).json;
    assert_eq!(decided["merged_value"], json!({"applicant": {"ssn": "sealed"}}));
    let read = ground.auditor.act(run, "sealed", json!({"reason": "To see."})).await.expect(200).json;
    let values = texts(&read, "value");
    assert_eq!(values.last().map(String::as_str), Some(third), "{values:?}");
    let shown = ground.all_that_is_shown(run).await;
    for secret in [SECRET, second, third] {
        assert!(!shown.contains(secret), "{secret}");
    }
    let waiting = ground.staff.wait_for_status(run, "waiting").await;
    assert_eq!(waiting["payload"]["applicant"]["ssn"], "sealed");
    let stop = json!({"reason": "It is over."});
    ground.supervisor.patch(&format!("/acts/runs/{run}/cancel"), stop).await.expect(202);
    ground.staff.wait_for_status(run, "cancelled").await;
    ground.erase(run, "payload").await;
    let rows = ground.dump();
    for secret in [SECRET, second, third, CARD] {
        let left: Vec<&str> =
            rows.lines().filter(|line| line.contains(secret) && !line.contains("compute")).collect();
        assert!(left.is_empty(), "{left:#?}");
    }
    ground.server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn sub_runs_events_and_workers_keep_what_is_sealed() {
    let server = TestServer::start().await;
    let (admin, staff, supervisor) = (server.user("admin"), server.user("staff"), server.user("supervisor"));
    admin.post("/acts/actions", json!({"name": "fees", "kind": "worker"})).await.expect(201);
    let child = json!({"redact": ["payload.code"], "tasks": [
        {"id": "code", "type": "script", "uses": "compute", "with": {"pin": "PIN-778899"}},
        {"id": "seen", "type": "script", "uses": "compute", "with": {"name": "${payload.person.ssn}"}}]});
    admin.publish("Child", child).await;
    let parent = json!({"redact": ["payload.person.ssn", "payload.news.phone"], "tasks": [
        {"id": "sub", "type": "protocol", "uses": "Child", "with": {"person": "${payload.person}"}},
        {"id": "news", "type": "wait", "event": "news", "key": "${payload.case}"},
        {"id": "each", "type": "parallel", "for_each": "[payload.person.ssn]", "tasks": [
            {"id": "fees", "type": "script", "with": {"for": "${item}", "phone": "${payload.news.phone}"}}]}]});
    let protocol = admin.publish("Parent", parent).await;
    let run = staff.start(protocol, json!({"case": "c-9", "person": {"ssn": SECRET}})).await;
    staff.wait_until(run, |run| run["current_step"] == "news").await;
    let sent = json!({"key": "c-9", "payload": {"phone": "PHONE-112233", "x": 1}});
    staff.post("/acts/events/news", sent).await.expect(202);
    let claim = json!({"actions": ["fees"], "worker": "w", "wait_seconds": 60});
    let work = staff.post("/acts/work/claim", claim).await.expect(200).json["work"][0].clone();
    assert_eq!(
        work["input"],
        json!({"for": SECRET, "phone": "PHONE-112233"}),
        "the worker gets the real values"
    );
    let end = json!({"lease_token": work["lease_token"], "result": {"paid_by": SECRET}});
    staff.post(&format!("/acts/work/{}/complete", work["id"]), end).await.expect(200);
    let done = staff.wait_for_status(run, "completed").await;
    assert_eq!(done["payload"]["sub"]["code"], "sealed", "it was sealed in the run that it comes from");
    assert_eq!(done["payload"]["each"], json!([{"paid_by": "sealed"}]));
    let entries = staff.entries(run).await;
    let started = entries.iter().find(|entry| entry["type"] == "subrun.started").expect("one");
    let child = started["detail"]["run"].as_i64().expect("a number");
    let below = supervisor.run(child).await;
    assert_eq!(below["payload"]["person"], json!({"ssn": "sealed"}));
    assert_eq!(below["payload"]["seen"], json!({"name": "sealed"}));
    let mut owner = server.database.connect_as_owner();
    for secret in [SECRET, "PIN-778899", "PHONE-112233"] {
        let rows = dump(&mut owner);
        let open: Vec<&str> = rows
            .lines()
            .filter(|line| line.contains(secret) && !line.contains("/detail/") && !line.contains("compute"))
            .collect();
        // The event itself is kept for a while, beside the log.
        let expected = usize::from(secret.starts_with("PHONE"));
        assert_eq!(open.len(), expected, "{open:#?}");
    }
    for id in [run, child] {
        let file = json!({"run_id": id, "path": "payload", "reason": "She asked for it."});
        let filed = supervisor.post("/acts/redactions", file).await.expect(201).json;
        let body = json!({"decision": "approve", "reason": "Right."});
        admin.post(&format!("/acts/redactions/{}/decision", filed["id"]), body).await.expect(200);
    }
    let rows = dump(&mut owner);
    for secret in [SECRET, "PIN-778899", "PHONE-112233"] {
        let left: Vec<&str> =
            rows.lines().filter(|line| line.contains(secret) && !line.contains("compute")).collect();
        assert!(left.is_empty(), "{left:#?}");
    }
    let after = staff.run(run).await["payload"].clone();
    assert_eq!(
        (&after["person"]["ssn"], &after["each"]),
        (&json!("erased"), &json!([{"paid_by": "erased"}]))
    );
    server.stop().await;
}

/// The state of each line of `disclosures.ndjson`.
fn states(unpacked: &Unpacked) -> Vec<(String, String)> {
    let lines = unpacked.read("disclosures.ndjson");
    let line = |line: &str| {
        let line: Value = serde_json::from_str(line).expect("JSON");
        let text = |key: &str| line[key].as_str().expect("text").to_owned();
        (text("path"), text("state"))
    };
    lines.lines().map(line).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn bundle_says_what_is_withheld_and_proves_what_is_given() {
    let ground = Ground::new().await;
    let run = ground.completed().await;
    ground.server.wait_until_sealed().await;
    let place = |name: &str| ground.server.scratch.path().join(name);

    let withheld = Unpacked::new(&bundle::download(&ground.auditor, run).await, place("withheld"));
    let text = withheld.text();
    assert!(!text.contains(SECRET) && !text.contains(CARD) && !text.contains("5551234"));
    let states_of = states(&withheld);
    assert!(states_of.len() > 5 && states_of.iter().all(|(_, state)| state == "withheld"), "{states_of:?}");
    let report = withheld.read("report.html");
    assert!(report.contains("payload.applicant.ssn") && report.contains("Withheld under exemption b(6)."));
    for (passed, said) in [withheld.check(None), withheld.verify(&[])] {
        assert!(passed, "{said}");
    }

    // With a reason, by somebody who may read them.
    let address = format!("/acts/runs/{run}/bundle");
    ground.auditor.post(&address, json!({})).await.problem(422);
    ground.staff.post(&address, json!({"reason": "Curious."})).await.problem(403);
    ground.supervisor.post(&address, json!({"reason": "May read them, not the log."})).await.problem(403);
    let request = ground.auditor.request(reqwest::Method::POST, &address);
    let answer = request.json(&json!({"reason": "The court asked."})).send().await.expect("an answer");
    assert_eq!(answer.status(), 200);
    let given = Unpacked::new(&answer.bytes().await.expect("a body"), place("given"));
    assert!(states(&given).iter().all(|(_, state)| state == "disclosed"));
    assert!(given.read("report.html").contains(SECRET));
    assert!(!given.read("entries.ndjson").contains(SECRET));
    for (passed, said) in [given.check(None), given.verify(&[])] {
        assert!(passed, "{said}");
    }
    let told = ground.auditor.get("/acts/log.ndjson?type=sealed.read").await.expect(200).text;
    assert!(told.contains("The court asked."), "{told}");
    let told = ground.auditor.get("/acts/log.ndjson?type=bundle.made").await.expect(200).text;
    assert_eq!((told.lines().count(), told.matches("\"disclosed\":true").count()), (2, 1), "{told}");

    // Another value in the place of one that was sealed, or a line less, is found.
    let lines = given.read("disclosures.ndjson");
    let (first, rest) = lines.split_once('\n').expect("lines");
    let other = rest.lines().next_back().expect("another");
    let text_of = |line: &str| {
        let line: Value = serde_json::from_str(line).expect("JSON");
        line["disclosure"].as_str().expect("text").to_owned()
    };
    let forged = first.replace(&text_of(first), &text_of(other));
    for tampered in [format!("{forged}\n{rest}"), rest.to_owned()] {
        given.write("disclosures.ndjson", &tampered);
        for (passed, said) in [given.check(None), given.verify(&[])] {
            assert!(!passed && said.contains(&format!("BROKEN run {run} seq 1: ")), "{said}");
        }
    }

    // What is erased is gone from both, and says why.
    ground.erase(run, "payload.applicant.ssn").await;
    let erased = Unpacked::new(&bundle::download(&ground.auditor, run).await, place("erased"));
    let gone = states(&erased);
    assert!(
        gone.iter().all(|(path, state)| (path == "payload.applicant.ssn") == (state == "erased")),
        "{gone:?}"
    );
    let report = erased.read("report.html");
    assert!(report.contains("Erased for good on") && report.contains("She asked for it."), "{report}");
    assert!(report.contains("The request is justified."), "{report}");
    for (passed, said) in [erased.check(None), erased.verify(&[])] {
        assert!(passed, "{said}");
    }
    let plain = ground.staff.start(7, json!({"license_id": 123})).await;
    ground
        .auditor
        .post(&format!("/acts/runs/{plain}/bundle"), json!({"reason": "Why not."}))
        .await
        .problem(409);
    ground.server.stop().await;
}
