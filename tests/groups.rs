//! Who may decide by group and by slot: one of legal AND one of security.

use crate::agency_log::{browser, cookie, post_form, sign_in};
use crate::kill::Ground;
use crate::support::client::Caller;
use crate::support::server::{DEMO_PASSWORD, TestServer, token};
use crate::waits::number;
use diesel::connection::SimpleConnection;
use serde_json::{Value, json};

/// ada and carl are of legal, bob of security, sue of both; clerk is of legal too, and may decide nothing.
pub const PEOPLE: &str = "INSERT INTO users (name, role, groups, password_hash)
    SELECT n, r, g, (SELECT password_hash FROM users WHERE name = 'supervisor') FROM (VALUES
        ('ada', 'supervisor', ARRAY['legal']), ('carl', 'supervisor', ARRAY['legal']),
        ('bob', 'admin', ARRAY['security']), ('sue', 'supervisor', ARRAY['legal', 'security']),
        ('clerk', 'staff', ARRAY['legal', 'archive'])) AS people (n, r, g)";

/// An approval by one of legal and one of security.
pub fn both() -> Value {
    json!({"tasks": [
        {"id": "sign", "type": "hitl", "title": "Both must agree", "approvers": {"slots": [
            {"name": "legal", "approvers": "group:legal"}, {"name": "security", "approvers": ["group:security"]}]}},
        {"id": "after", "type": "script", "uses": "compute", "with": "${payload.sign.slots}"}]})
}

async fn start() -> TestServer {
    let server = TestServer::start().await;
    server.database.connect().batch_execute(PEOPLE).expect("users");
    server
}

/// A run that waits for this approval: its number, and the approval's.
async fn asked(server: &TestServer, name: &str, definition: Value) -> (i64, i64) {
    let protocol = server.user("admin").publish(name, definition).await;
    let staff = server.user("staff");
    let run = staff.start(protocol, json!({})).await;
    staff.wait_for_status(run, "waiting").await;
    (run, staff.approval(run).await)
}

/// The approvals page of somebody, as they see it.
async fn inbox(server: &TestServer, user: &str) -> String {
    let session = cookie(&sign_in(server, user, DEMO_PASSWORD).await);
    page(server, &session, "/approvals?mine=1").await
}

async fn page(server: &TestServer, session: &str, path: &str) -> String {
    let asked = browser().get(format!("{}{path}", server.base_url())).header("cookie", session).send().await;
    asked.expect("the server answers").text().await.expect("a page")
}

#[tokio::test(flavor = "multi_thread")]
async fn one_of_each_slot_decides_and_whoever_fits_both_makes_room() {
    let server = start().await;
    let (run, approval) = asked(&server, "Both", both()).await;
    let sue = server.user("sue");
    let first = sue.decide(approval, "approve", "As far as I see.").await.expect(200).json;
    let slots = |legal: &[&str], security: &[&str]| {
        json!([{"name": "legal", "needed": 1, "approved_by": legal},
            {"name": "security", "needed": 1, "approved_by": security}])
    };
    assert_eq!(first["approval"]["slots"], slots(&["sue"], &[]));
    assert_eq!((&first["approval"]["status"], &first["approval"]["quorum"]), (&json!("pending"), &json!(2)));
    sue.decide(approval, "approve", "Again.").await.problem(403);
    let row = sue.get(&format!("/acts/approvals/{approval}")).await.expect(200).json;
    assert_eq!((&row["slots"], &row["votes"][0]["slot"]), (&slots(&["sue"], &[]), &json!("legal")));
    assert_eq!(row["approvers"]["slots"][0]["groups"], json!(["legal"]));

    let last = server.user("ada").decide(approval, "approve", "Legal is content.").await.expect(200).json;
    assert_eq!(last["approval"]["slots"], slots(&["ada"], &["sue"]), "sue moved to security");
    let ended = server.user("staff").wait_for_status(run, "completed").await;
    assert_eq!(ended["payload"]["after"][1], json!({"slot": "security", "by": "sue"}));
    let row = sue.get(&format!("/acts/approvals/{approval}")).await.expect(200).json;
    assert_eq!((&row["status"], &row["slots"]), (&json!("approved"), &slots(&["ada"], &["sue"])));
    let entries = server.user("auditor").entries(run).await;
    let voted = entries.iter().find(|entry| entry["type"] == "approval.voted").expect("a vote");
    assert_eq!(voted["detail"]["fits"], json!(["legal", "security"]));
    assert_eq!(voted["detail"]["filled"], json!([{"slot": "legal", "by": "sue"}]));
    let decided = entries.iter().find(|entry| entry["type"] == "approval.decided").expect("a decision");
    assert_eq!(decided["detail"]["as_role"], "group:legal");
    assert_eq!(decided["detail"]["filled"][1], json!({"slot": "security", "by": "sue"}));
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn everybody_is_shown_what_they_may_decide_and_every_door_agrees() {
    let server = start().await;
    let (run, approval) = asked(&server, "Both", both()).await;
    let (link, none) = (format!("/approvals/{approval}"), "Both must agree");
    for (user, sees) in [("ada", true), ("bob", true), ("sue", true), ("supervisor", false), ("admin", false)]
    {
        assert_eq!(inbox(&server, user).await.contains(&link), sees, "{user}");
    }
    for user in ["supervisor", "admin"] {
        let refused = server.user(user).decide(approval, "approve", "I may.").await;
        assert_eq!(refused.problem(403), "This is for legal and security to decide.");
        server.user(user).act(run, "skip", json!({"step": "sign", "reason": "No need."})).await.problem(403);
    }
    server.user("clerk").decide(approval, "approve", "I may.").await.problem(403);

    server.user("ada").decide(approval, "approve", "Fine.").await.expect(200);
    for (user, sees) in [("ada", false), ("carl", false), ("bob", true), ("sue", true)] {
        assert_eq!(inbox(&server, user).await.contains(&link), sees, "{user}, after legal has approved");
    }
    assert!(inbox(&server, "bob").await.contains("Approved for legal by ada; waits for security."));
    let late = server.user("carl").decide(approval, "approve", "Me too.").await;
    assert!(late.problem(409).contains("Enough people approved for legal already"), "{}", late.text);
    // Whoever passes over it must fit both.
    let skip = json!({"step": "sign", "reason": "No need."});
    server.user("ada").act(run, "skip", skip.clone()).await.problem(403);
    // One no is a no, also by somebody whose slot has its people.
    server.user("carl").decide(approval, "reject", "Ada missed something.").await.expect(200);
    server.user("staff").wait_for_status(run, "rejected").await;
    assert!(!inbox(&server, "bob").await.contains(none));
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_group_counts_from_the_next_request_on() {
    let server = start().await;
    let tasks = json!({"tasks": [{"id": "sign", "type": "hitl", "approvers": ["group:legal"]}]});
    let (run, approval) = asked(&server, "Legal", tasks).await;
    let bob = server.user("bob");
    let refused = bob.decide(approval, "approve", "I may.").await;
    assert_eq!(refused.problem(403), "This is for the group legal to decide.");
    let join = "UPDATE users SET groups = '{security,legal}' WHERE name = 'bob'";
    server.database.connect().batch_execute(join).expect("a user");
    bob.decide(approval, "approve", "Now I may.").await.expect(200);
    server.user("staff").wait_for_status(run, "completed").await;
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn groups_that_nobody_could_decide_for_are_named_with_everything_else() {
    let server = start().await;
    let admin = server.user("admin");
    let definition = json!({"tasks": [
        {"id": "a", "type": "hitl", "approvers": ["group:nowhere", "nobody"]},
        {"id": "b", "type": "hitl", "approvers": {"slots": [
            {"name": "archive", "approvers": "group:archive"}, {"name": "legal", "approvers": "group:legal"}]},
            "due_minutes": 5, "escalate_to": "group:heads"},
        {"id": "c", "type": "script", "uses": "missing"}]});
    for path in ["/acts/protocols", "/acts/protocols/validate"] {
        let answer = admin.post(path, json!({"name": "Wrong", "definition": definition})).await;
        let errors: Vec<(String, String)> = match answer.json.get("errors") {
            Some(errors) => serde_json::from_value::<Vec<Value>>(errors.clone())
                .expect("a list")
                .iter()
                .map(|error| {
                    (
                        error["path"].as_str().unwrap_or("").into(),
                        error["message"].as_str().unwrap_or("").into(),
                    )
                })
                .collect(),
            None => panic!("{path}: {}", answer.text),
        };
        for (place, words) in [
            ("tasks[0].approvers", "There is no user `nobody`"),
            ("tasks[0].approvers", "There is nobody in the group `nowhere`"),
            ("tasks[1].approvers.slots[0].approvers", "Nobody in the group `archive` may decide"),
            ("tasks[1].escalate_to", "nobody in the group `heads`"),
            ("tasks[2].uses", "no action `missing`"),
        ] {
            let there = |(path, message): &(String, String)| path.ends_with(place) && message.contains(words);
            assert!(errors.iter().any(there), "{path} {place} {words}: {errors:#?}");
        }
        assert_eq!(errors.len(), 5, "{errors:#?}");
    }
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn admins_say_who_belongs_where_and_the_log_says_that_they_did() {
    let server = start().await;
    let session = cookie(&sign_in(&server, "admin", DEMO_PASSWORD).await);
    let post = async |path: &str, form: &str| {
        let answer = post_form(&server, path, &session, form.to_owned()).await;
        (answer.status().as_u16(), answer.text().await.expect("a page"))
    };
    let (status, _) = post("/users/supervisor/groups", "groups=security%2C+legal%2Clegal").await;
    let users = page(&server, &session, "/users").await;
    assert!(status == 303 && users.contains("The groups of supervisor are changed."), "{users}");
    assert!(users.contains("legal, security"), "each once, by name");
    let (status, users) = post("/users/supervisor/groups", "groups=Legal+Department").await;
    assert!(status == 422 && users.contains("cannot be a group"), "{users}");
    let (status, _) = post("/users/admin/groups", "groups=legal").await;
    assert_eq!(status, 403, "nobody puts themselves into a group");
    let added = "name=dora&role=supervisor&groups=legal&password=long-enough-1";
    assert_eq!(post("/users", added).await.0, 303);
    let log = server.user("auditor").get("/acts/log.ndjson?run_id=0&q=groups").await.expect(200).text;
    assert!(log.contains(r#""from":[],"groups":["legal","security"],"user":"supervisor""#), "{log}");
    assert!(log.contains(r#""groups":["legal"],"role":"supervisor","user":"dora""#), "{log}");
    let dora: Caller = server.bearer(&token(server.scratch.path(), "dora", "runs:read approvals:decide"));
    let tasks = json!({"tasks": [{"id": "sign", "type": "hitl", "approvers": "group:legal"}]});
    let (_, approval) = asked(&server, "Legal", tasks).await;
    dora.decide(approval, "approve", "Good.").await.expect(200);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn groups_are_given_on_the_command_line_too() {
    let ground = Ground::new();
    let setup = ground.setup(false, String::new());
    let add = |arguments: &[&str]| {
        let all: Vec<&str> = ["user", "add", "ada", "--role", "supervisor", "--no-password"]
            .into_iter()
            .chain(arguments.iter().copied())
            .collect();
        setup.run(&all)
    };
    let wrong = add(&["--group", "Legal"]);
    let said = String::from_utf8_lossy(&wrong.stderr).into_owned();
    assert!(!wrong.status.success() && said.contains("--group: `Legal` is no name of a group"), "{said}");
    let added = add(&["--group", "security", "--group", "legal"]);
    assert!(added.status.success(), "{}", String::from_utf8_lossy(&added.stderr));
    let mut connection = ground.database.connect();
    let stored = "SELECT count(*) AS it FROM users WHERE name = 'ada' AND groups = '{legal,security}'";
    assert_eq!(number(&mut connection, stored), 1);
    let logged = r#"SELECT count(*) AS it FROM activity_log WHERE type = 'user.created'
        AND convert_from(leaf, 'UTF8') LIKE '%"groups":["legal","security"]%'"#;
    assert_eq!(number(&mut connection, logged), 1);
}
