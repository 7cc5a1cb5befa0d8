//! Writing protocols, actions and agents through the API.

use crate::support::client::{Answer, Caller};
use crate::support::process::published;
use crate::support::server::TestServer;
use diesel::connection::SimpleConnection;
use reqwest::Method;
use serde_json::{Value, json};

async fn put_if_match(caller: &Caller, path: &str, version: &str, body: &Value) -> Answer {
    let request = caller.request(Method::PUT, path).header("if-match", version);
    Caller::send(request.json(body)).await
}

fn one_step(id: &str) -> Value {
    json!({"tasks": [{"id": id, "type": "script", "uses": "compute"}]})
}

#[tokio::test(flavor = "multi_thread")]
async fn protocol_is_made_shown_and_versioned() {
    let server = TestServer::start().await;
    let (admin, staff) = (server.user("admin"), server.user("staff"));
    let created = admin
        .post("/acts/protocols", json!({"name": "Zoning", "definition": one_step("a")}))
        .await
        .expect(201);
    assert_eq!(created.json, json!({"id": 8, "version": 1}));
    assert_eq!((created.header("location"), created.header("etag")), ("/acts/protocols/8", "\"1\""));
    let shown = staff.get("/acts/protocols/8").await.expect(200);
    assert_eq!((&shown.json["name"], &shown.json["definition"]), (&json!("Zoning"), &one_step("a")));
    assert_eq!((&shown.json["created_by"], shown.header("etag")), (&json!("admin"), "\"1\""));

    let body = json!({"definition": one_step("b")});
    let saved = put_if_match(&admin, "/acts/protocols/8", "\"1\"", &body).await.expect(200);
    assert_eq!(
        (saved.json, saved.headers["etag"].to_str().unwrap()),
        (json!({"id": 8, "version": 2}), "\"2\"")
    );
    let lost = put_if_match(&admin, "/acts/protocols/8", "\"1\"", &body).await;
    assert!(lost.problem(412).contains("version 2"));
    put_if_match(&admin, "/acts/protocols/8", "\"one\"", &body).await.problem(400);
    put_if_match(&admin, "/acts/protocols/8", "*", &body).await.expect(200);
    admin
        .put("/acts/protocols/8", json!({"name": "Zoning map", "definition": one_step("c")}))
        .await
        .expect(200);
    admin.put("/acts/protocols/9", body.clone()).await.problem(404);

    let latest = staff.get("/acts/protocols/8").await.expect(200).json;
    assert_eq!((&latest["version"], &latest["name"]), (&json!(4), &json!("Zoning map")));
    let second = staff.get("/acts/protocols/8?version=2").await.expect(200).json;
    assert_eq!((&second["definition"], &second["latest_version"]), (&one_step("b"), &json!(4)));
    let versions = staff.get("/acts/protocols/8/versions").await.expect(200).json;
    let numbers: Vec<&Value> =
        versions["versions"].as_array().unwrap().iter().map(|it| &it["version"]).collect();
    assert_eq!(numbers, [4, 3, 2, 1]);

    let taken =
        admin.post("/acts/protocols", json!({"name": "Zoning map", "definition": one_step("a")})).await;
    assert!(taken.problem(409).contains("Zoning map"));
    let list = staff.get("/acts/protocols?limit=1").await.expect(200);
    assert_eq!((&list.json["protocols"][0]["id"], list.json["next"].is_string()), (&json!(7), true));
    let log =
        server.user("auditor").get("/acts/log.ndjson?run_id=0&actor=admin&q=Zoning").await.expect(200).text;
    assert_eq!(log.matches("protocol.created").count(), 1);
    assert_eq!(log.matches("protocol.version_saved").count(), 3);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_who_save_over_the_same_version_one_is_told() {
    let server = TestServer::start().await;
    let admin = server.user("admin");
    admin.post("/acts/protocols", json!({"name": "Race", "definition": one_step("a")})).await.expect(201);
    let (b, c) = (json!({"definition": one_step("b")}), json!({"definition": one_step("c")}));
    let (first, second) = tokio::join!(
        put_if_match(&admin, "/acts/protocols/8", "\"1\"", &b),
        put_if_match(&admin, "/acts/protocols/8", "\"1\"", &c),
    );
    let mut statuses = [first.status, second.status];
    statuses.sort_unstable();
    assert_eq!(statuses, [200, 412], "{} {}", first.text, second.text);
    assert_eq!(admin.get("/acts/protocols/8").await.json["version"], 2);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn everything_that_is_wrong_with_a_protocol_is_said_at_once_with_its_place() {
    let server = TestServer::start().await;
    let users = "INSERT INTO users (name, role, disabled_at) VALUES ('boss', 'supervisor', NULL),
        ('clerk', 'staff', NULL), ('inspector', 'auditor', NULL), ('gone', 'supervisor', now())";
    server.database.connect().batch_execute(users).expect("users");
    let admin = server.user("admin");
    let definition = json!({
        "tasks": [
            {"id": "a", "type": "script", "uses": "nowhere"},
            {"id": "a", "type": "script", "uses": "compute"},
            {"id": "b c", "type": "hitl"},
            {"id": "d", "type": "robot"},
            {"id": "e", "type": "script", "uses": "compute", "when": "payload.x ==", "colour": "red"},
            {"id": "f", "type": "hitl", "approvers": 5},
            {"type": "agent"},
            "g",
        ],
        "owner": "me",
    });
    let body = json!({"name": "Wrong", "definition": definition});
    let before = admin.get("/acts/protocols").await.expect(200).json;
    let refused = admin.post("/acts/protocols", body.clone()).await;
    let paths: Vec<&str> = refused.errors().into_iter().map(|(path, _)| path).collect();
    for expected in [
        "tasks[1].id",
        "tasks[2].id",
        "tasks[3].type",
        "tasks[4].when",
        "tasks[4].colour",
        "tasks[5].approvers",
        "tasks[6].id",
        "tasks[7]",
        "owner",
    ] {
        let expected = format!("$.definition.{expected}");
        assert!(paths.contains(&expected.as_str()), "{expected} is not in {paths:?}");
    }
    let checked = admin.post("/acts/protocols/validate", body.clone()).await;
    assert_eq!(checked.json["errors"], refused.json["errors"]);
    let saved = admin.put("/acts/protocols/7", json!({"definition": body["definition"]})).await;
    assert_eq!(saved.json["errors"], refused.json["errors"]);

    // Nobody could ever decide these.
    for (approver, reason) in [
        ("supervisors", "no user `supervisors`"),
        ("clerk", "`clerk` is staff and may not decide"),
        ("inspector", "`inspector` is auditor and may not decide"),
        ("gone", "no user `gone` who can sign in"),
    ] {
        let definition = json!({"tasks": [
            {"id": "ask", "type": "hitl", "approvers": ["boss", approver]}]});
        let refused =
            admin.post("/acts/protocols", json!({"name": "Nobody", "definition": definition})).await;
        let errors = refused.errors();
        assert_eq!(errors[0].0, "$.definition.tasks[0].approvers");
        assert!(errors[0].1.contains(reason), "{errors:?}");
    }
    let definition = json!({"tasks": [{"id": "ask", "type": "hitl", "approvers": ["boss", "admin"]}]});
    let body_with_boss = json!({"name": "Boss", "definition": definition});
    admin.post("/acts/protocols/validate", body_with_boss).await.expect(200);

    // Read as a whole, its references are looked at.
    for (kind, noun) in [("script", "action"), ("agent", "agent")] {
        let definition = json!({"tasks": [
            {"id": "x", "type": "script", "uses": "compute"}, {"id": "nowhere", "type": kind}]});
        let refused =
            admin.post("/acts/protocols", json!({"name": "Dangling", "definition": definition})).await;
        let errors = refused.errors();
        assert_eq!((errors.len(), errors[0].0), (1, "$.definition.tasks[1].uses"), "{}", refused.text);
        assert!(errors[0].1.contains(&format!("no {noun} `nowhere`")), "{}", refused.text);
    }
    for (definition, path) in [
        (json!({}), "$.definition.tasks"),
        (json!({"tasks": []}), "$.definition.tasks"),
        (json!({"tasks": {}}), "$.definition.tasks"),
    ] {
        let refused = admin.post("/acts/protocols", json!({"name": "X", "definition": definition})).await;
        assert_eq!(refused.errors()[0].0, path);
    }
    let missing = admin.post("/acts/protocols", json!({"definition": 5, "id": 3})).await;
    let paths: Vec<&str> = missing.errors().into_iter().map(|(path, _)| path).collect();
    assert_eq!(paths, ["$.name", "$.definition", "$.id"]);
    assert_eq!(admin.get("/acts/protocols").await.json, before);
    let fine = json!({"definition": one_step("a")});
    assert_eq!(admin.post("/acts/protocols/validate", fine).await.expect(200).json["valid"], true);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn everything_inside_groups_is_checked_where_it_is_written() {
    let server = TestServer::start().await;
    let admin = server.user("admin");
    let definition = json!({"tasks": [
        {"id": "checks", "type": "parallel", "tasks": [
            {"id": "legal", "type": "agent", "uses": "nobody"},
            [{"id": "fees", "type": "script", "uses": "compute", "undo": "nothing"}],
            [{"id": "ask", "type": "hitl", "due_minutes": 5, "escalate_to": "stranger"}]]},
        {"id": "sub", "type": "protocol", "uses": "No such protocol"}]});
    let refused = admin.post("/acts/protocols", json!({"name": "Groups", "definition": definition})).await;
    let refused = refused.errors();
    let expected = [
        ("$.definition.tasks[0].tasks[0].uses", "no agent `nobody`"),
        ("$.definition.tasks[0].tasks[1][0].undo", "no action `nothing`"),
        ("$.definition.tasks[0].tasks[2][0].escalate_to", "no user `stranger`"),
        ("$.definition.tasks[1].uses", "no protocol `No such protocol`"),
    ];
    assert_eq!(refused.len(), expected.len(), "{refused:?}");
    for ((path, message), (at, words)) in refused.iter().zip(expected) {
        assert!(*path == at && message.contains(words), "{path}: {message}");
    }
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn protocol_that_leads_back_to_itself_is_refused_with_the_circle() {
    let server = TestServer::start().await;
    let admin = server.user("admin");
    let uses = |name: Value| json!({"tasks": [{"id": "sub", "type": "protocol", "uses": name}]});
    let make = async |name: &str, definition: Value| {
        let body = json!({"name": name, "definition": definition});
        admin.post("/acts/protocols", body).await.expect(201).json["id"].as_i64().expect("a number")
    };
    let inner = make("Inner", one_step("a")).await;
    let middle = make("Middle", uses(json!("Inner"))).await;
    make("Outer", uses(json!(middle))).await;

    let refused = async |body: Value, circle: &str| {
        let answers = [
            admin.put(&format!("/acts/protocols/{inner}"), body.clone()).await,
            admin
                .post("/acts/protocols/validate", json!({"name": "Inner", "definition": body["definition"]}))
                .await,
        ];
        for answer in answers {
            let errors = answer.errors();
            assert_eq!((errors.len(), errors[0].0), (1, "$.definition.tasks[0].uses"), "{}", answer.text);
            assert!(errors[0].1.contains(circle), "{}", answer.text);
        }
    };
    let body = |name: Value| json!({ "definition": uses(name) });
    refused(body(json!("Inner")), "`Inner` → `Inner`").await;
    refused(body(json!(inner)), "`Inner` → `Inner`").await;
    refused(body(json!("Outer")), "`Inner` → `Outer` → `Middle` → `Inner`").await;
    refused(body(json!(middle.to_string())), "`Inner` → `Middle` → `Inner`").await;

    // A new one may not call itself by the name that it gets either.
    let itself =
        admin.post("/acts/protocols", json!({"name": "Alone", "definition": uses(json!("Alone"))})).await;
    assert!(itself.errors()[0].1.contains("`Alone` → `Alone`"), "{}", itself.text);
    // The same protocol twice is no circle.
    let twice = json!({"tasks": [
        {"id": "first", "type": "protocol", "uses": "Middle"}, {"id": "second", "type": "protocol", "uses": "Outer"}]});
    make("Twice", twice).await;
    // Only the latest versions count.
    admin.put(&format!("/acts/protocols/{middle}"), json!({"definition": one_step("b")})).await.expect(200);
    admin.put(&format!("/acts/protocols/{inner}"), body(json!("Outer"))).await.expect(200);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn json_schema_of_protocols_is_published_for_everybody() {
    let server = TestServer::start().await;
    let answer = server.nobody().get("/acts/protocol.schema.json").await.expect(200);
    assert_eq!(answer.header("content-type"), "application/schema+json");
    let schema = jsonschema::draft202012::new(&answer.json).expect("a JSON Schema");
    let demo = server.user("admin").get("/acts/protocols/7").await.expect(200).json;
    assert!(schema.is_valid(&demo["definition"]), "{:?}", schema.validate(&demo["definition"]).err());
    assert!(!schema.is_valid(&json!({"tasks": [{"id": "a b", "type": "script"}]})));
    server.nobody().post("/acts/protocol.schema.json", json!({})).await.problem(405);
    server.stop().await;
}

/// The guide: "If you later insert audit_sync before deploy, nothing else changes."
#[tokio::test(flavor = "multi_thread")]
async fn audit_sync_inserted_before_deploy_is_done_by_new_runs_only() {
    let server = TestServer::start().await;
    let (staff, supervisor, admin) = (server.user("staff"), server.user("supervisor"), server.user("admin"));
    let before = staff.start(7, json!({"license_id": 123})).await;
    staff.wait_for_status(before, "waiting").await;

    let mut definition = admin.get("/acts/protocols/7").await.expect(200).json["definition"].clone();
    let tasks = definition["tasks"].as_array_mut().expect("tasks");
    let deploy = tasks.iter().position(|task| task["id"] == "deploy").expect("a deploy");
    tasks.insert(deploy, json!({"id": "audit_sync", "type": "script"}));
    put_if_match(&admin, "/acts/protocols/7", "\"1\"", &json!({"definition": definition})).await.expect(200);

    let after = staff.start(7, json!({"license_id": 123})).await;
    staff.wait_for_status(after, "waiting").await;
    for id in [before, after] {
        let approval = supervisor.approval(id).await;
        supervisor.decide(approval, "approve", "Fine.").await.expect(200);
    }
    let steps = async |id: i64| {
        let run = staff.wait_for_status(id, "completed").await;
        let steps: Vec<String> = run["log"]
            .as_array()
            .unwrap()
            .iter()
            .map(|line| line["step"].as_str().unwrap().to_owned())
            .collect();
        (run["protocol_version"].as_i64().unwrap(), steps.join(" "))
    };
    let old = "fetch_data ai_analysis draft_letter human_approval deploy";
    let new = "fetch_data ai_analysis draft_letter human_approval audit_sync deploy";
    assert_eq!(steps(before).await, (1, old.to_owned()));
    assert_eq!(steps(after).await, (2, new.to_owned()));
    assert_eq!(published(server.scratch.path()).len(), 2);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn actions_are_registered_changed_and_checked() {
    let server = TestServer::start().await;
    let admin = server.user("admin");
    let config = json!({"method": "POST", "url": "https://data.gov/x"});
    let body = json!({"name": "notify", "kind": "http", "config": config});
    let created = admin.post("/acts/actions", body.clone()).await.expect(201);
    assert_eq!((created.header("location"), created.header("etag")), ("/acts/actions/notify", "\"1\""));
    assert_eq!((&created.json["version"], &created.json["config"]), (&json!(1), &config));
    admin.post("/acts/actions", body.clone()).await.problem(409);
    let changed = json!({"kind": "http", "config": {"url": "https://data.gov/y"}});
    let saved = put_if_match(&admin, "/acts/actions/notify", "\"1\"", &changed).await.expect(200);
    assert_eq!(saved.json["version"], 2);
    put_if_match(&admin, "/acts/actions/notify", "\"1\"", &changed).await.problem(412);
    admin.put("/acts/actions/nothing", changed.clone()).await.problem(404);
    admin.get("/acts/actions/nothing").await.problem(404);
    assert_eq!(admin.get("/acts/actions/notify").await.expect(200).json["config"], changed["config"]);

    for (body, path) in [
        (json!({"name": "a b", "kind": "http", "config": config}), "$.name"),
        (json!({"name": "compute", "kind": "compute"}), "$.name"),
        (json!({"name": "x", "kind": "teleport", "config": {}}), "$.kind"),
        (json!({"name": "x", "kind": "http"}), "$.config.url"),
        (json!({"name": "x", "kind": "http", "config": {"url": "ftp://data.gov/"}}), "$.config.url"),
        // Private addresses are not for everybody who may write an action.
        (json!({"name": "x", "kind": "http", "config": {"url": "http://127.0.0.1:1/"}}), "$.config.url"),
        (json!({"name": "x", "kind": "http", "config": {"url": "http://169.254.169.254/"}}), "$.config.url"),
    ] {
        let refused = admin.post("/acts/actions", body.clone()).await;
        assert_eq!(refused.errors()[0].0, path, "{body}: {}", refused.text);
    }
    let renamed =
        admin.put("/acts/actions/notify", json!({"name": "other", "kind": "http", "config": config})).await;
    assert_eq!(renamed.errors()[0].0, "$.name");

    let names = admin.get("/acts/actions").await.expect(200).json;
    let names: Vec<&str> =
        names["actions"].as_array().unwrap().iter().map(|it| it["name"].as_str().unwrap()).collect();
    assert!(names.is_sorted() && names.contains(&"notify") && names.contains(&"deploy"), "{names:?}");
    let page = admin.get("/acts/actions?limit=1").await.expect(200).json;
    let rest =
        admin.get(&format!("/acts/actions?cursor={}", page["next"].as_str().unwrap())).await.expect(200).json;
    assert_eq!(rest["actions"].as_array().unwrap().len(), names.len() - 1);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn agents_are_registered_changed_and_checked() {
    let server = TestServer::start().await;
    let admin = server.user("admin");
    let known = admin.get("/acts/agents/ai_analysis").await.expect(200).json;
    let mut config = known["config"].clone();
    config["prompt"] = json!("Look twice.");
    config["endpoint"] = json!("https://models.data.gov/v1/");
    let created =
        admin.post("/acts/agents", json!({"name": "second_look", "config": config})).await.expect(201);
    assert_eq!(
        (&created.json["kind"], created.header("location")),
        (&json!("openai"), "/acts/agents/second_look")
    );
    config["prompt"] = json!("Look three times.");
    let saved = put_if_match(&admin, "/acts/agents/second_look", "\"1\"", &json!({"config": config})).await;
    assert_eq!(saved.expect(200).json["version"], 2);
    config["schema"] = json!({"type": "colour"});
    let refused = admin.post("/acts/agents", json!({"name": "third", "config": config})).await;
    assert!(refused.errors()[0].0.starts_with("$.config.schema"), "{}", refused.text);
    server.user("staff").get("/acts/agents").await.problem(403);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn versions_come_in_pages_without_their_definitions() {
    let server = TestServer::start().await;
    let admin = server.user("admin");
    for _ in 0..4 {
        admin.put("/acts/protocols/7", json!({"definition": one_step("a")})).await.expect(200);
    }
    let (mut path, mut seen) = ("/acts/protocols/7/versions?limit=2".to_owned(), Vec::new());
    loop {
        let page = admin.get(&path).await.expect(200);
        let rows = page.json["versions"].as_array().expect("a list").clone();
        assert!(rows.len() <= 2 && rows.iter().all(|row| row.get("definition").is_none()), "{}", page.text);
        seen.extend(rows.iter().map(|row| row["version"].as_i64().expect("a number")));
        let Some(next) = page.json["next"].as_str() else { break };
        assert!(page.header("link").contains(next), "{}", page.header("link"));
        path = format!("/acts/protocols/7/versions?limit=2&cursor={next}");
    }
    assert_eq!(seen, [5, 4, 3, 2, 1]);
    server.stop().await;
}
