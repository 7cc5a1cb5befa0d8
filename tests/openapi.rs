//! The published description of the API, held against what a running server answers.

use crate::support::client::{Answer, Caller};
use crate::support::server::TestServer;
use crate::support::service::TestService;
use reqwest::Method;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};

/// The description, and which of its calls have been seen to be true.
struct Contract {
    document: Value,
    seen: BTreeSet<String>,
}

impl Contract {
    async fn of(server: &TestServer) -> Contract {
        let mut document = server.nobody().get("/openapi.json").await.expect(200).json;
        // A field that an answer has and the description does not name is a fault of the description.
        for (name, schema) in document["components"]["schemas"].as_object_mut().expect("schemas") {
            if schema.get("properties").is_some() && name != "Description" {
                schema["additionalProperties"] = false.into();
            }
        }
        Contract { document, seen: BTreeSet::new() }
    }

    /// `/acts/runs/{id}` as it is called: everything that the description says of it.
    fn operation(&self, method: &str, path: &str) -> &Value {
        let operation = &self.document["paths"][path][method.to_lowercase()];
        assert!(operation.is_object(), "{method} {path} is not described");
        operation
    }

    /// Checks an answer: its status, headers, media type and body are what the description says.
    fn check(&mut self, method: &str, path: &str, answer: Answer) -> Answer {
        let place = format!("{method} {path} {}", answer.status);
        let operation = self.operation(method, path);
        let mut response = &operation["responses"][answer.status.to_string()];
        assert!(response.is_object(), "{place} is not described: {}", answer.text);
        if let Some(reference) = response["$ref"].as_str() {
            response = self.document.pointer(&reference[1..]).expect("it resolves");
        }
        for (name, _) in response["headers"].as_object().into_iter().flatten() {
            let is_there = answer.headers.contains_key(name.as_str());
            // A last page has no next, and only a refused token has a challenge with a scope.
            assert!(is_there || name == "Link" || name == "WWW-Authenticate", "{place}: no {name}");
        }
        let media_type = answer.header("content-type").split(';').next().unwrap_or_default().to_owned();
        let content = &response["content"][&media_type];
        assert!(content.is_object(), "{place}: {media_type} is not described");
        if media_type.ends_with("json") && media_type != "application/x-ndjson" {
            self.fits(&place, &content["schema"], &answer.json);
        }
        if answer.status < 300 {
            self.seen.insert(format!("{method} {path}"));
        }
        answer
    }

    fn fits(&self, place: &str, schema: &Value, value: &Value) {
        let mut schema = schema.clone();
        schema["components"] = self.document["components"].clone();
        let validator = jsonschema::draft202012::options()
            .should_validate_formats(true)
            .build(&schema)
            .expect("a schema");
        let errors: Vec<String> =
            validator.iter_errors(value).map(|error| format!("{}: {error}", error.instance_path())).collect();
        assert!(errors.is_empty(), "{place}: {errors:#?} in {value:#}");
    }

    async fn get(&mut self, caller: &Caller, path: &str, filled: &str) -> Answer {
        let answer = caller.get(filled).await;
        self.check("GET", path, answer)
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn answers_about_runs_and_approvals_are_as_described() {
    let server = TestServer::start().await;
    let mut contract = Contract::of(&server).await;
    let (staff, supervisor) = (server.user("staff"), server.user("supervisor"));

    let body = json!({"protocol_id": 7, "payload": {"license_id": 123}});
    let answer = staff.post("/acts/run", body.clone()).await;
    let id =
        contract.check("POST", "/acts/run", answer).expect(202).json["run_id"].as_i64().expect("a number");
    staff.wait_for_status(id, "waiting").await;
    contract.get(&staff, "/acts/runs/{id}", &format!("/acts/runs/{id}?wait=0")).await.expect(200);
    contract.get(&staff, "/acts/runs", "/acts/runs").await.expect(200);

    let approval = supervisor.approval(id).await;
    contract.get(&supervisor, "/acts/approvals", "/acts/approvals").await.expect(200);
    let (path, filled) = ("/acts/approvals/{id}/decision", format!("/acts/approvals/{approval}/decision"));
    let approve = json!({"decision": "approve", "reason": "All in order."});
    let answer = supervisor.post(&filled, approve.clone()).await;
    contract.check("POST", path, answer).expect(200);
    let answer = supervisor.post(&filled, approve).await;
    contract.check("POST", path, answer).expect(409);
    let filled = format!("/acts/approvals/{approval}");
    contract.get(&supervisor, "/acts/approvals/{id}", &filled).await.expect(200);
    staff.wait_for_status(id, "completed").await;
    contract.get(&staff, "/acts/runs/{id}", &format!("/acts/runs/{id}")).await.expect(200);

    let filled = format!("/acts/runs/{id}/replay");
    let tape = contract.get(&staff, "/acts/runs/{id}/replay", &filled).await.expect(200);
    let entry = json!({"$ref": "#/components/schemas/LogEntry"});
    for line in tape.text.lines() {
        contract.fits("an entry", &entry, &serde_json::from_str(line).expect("JSON"));
    }

    let (path, filled) = ("/acts/runs/{id}/what-if", format!("/acts/runs/{id}/what-if"));
    for (body, status) in [(json!({"version": 1}), 200), (json!({"version": 9}), 422)] {
        let answer = staff.post(&filled, body).await;
        contract.check("POST", path, answer).expect(status);
    }

    let cancelled =
        staff.post("/acts/run", body).await.expect(202).json["run_id"].as_i64().expect("a number");
    let (path, filled) = ("/acts/runs/{id}/cancel", format!("/acts/runs/{cancelled}/cancel"));
    for status in [202, 409] {
        let answer = staff.patch(&filled, json!({"reason": "The applicant withdrew."})).await;
        contract.check("PATCH", path, answer).expect(status);
    }
    let filled = format!("/acts/runs/{cancelled}/resume");
    let answer = staff.post(&filled, json!({"reason": "On with it."})).await;
    contract.check("POST", "/acts/runs/{id}/resume", answer).expect(409);
    let body = json!({"key": 17, "payload": {"amount": 250}});
    let answer = staff.post("/acts/events/payment_received", body).await;
    contract.check("POST", "/acts/events/{name}", answer).expect(202);
    // A second page, and the way to it.
    let page = contract.get(&staff, "/acts/runs", "/acts/runs?limit=1").await.expect(200);
    assert!(page.header("link").ends_with("; rel=\"next\""), "{:?}", page.headers);

    assert_eq!(contract.seen.len(), 10, "{:?}", contract.seen);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn answers_about_acts_and_overrides_are_as_described() {
    let server = TestServer::start().await;
    let mut contract = Contract::of(&server).await;
    let (staff, supervisor, admin) = (server.user("staff"), server.user("supervisor"), server.user("admin"));
    let tasks = json!({"tasks": [
        {"id": "fetch_data", "type": "script", "on_failure": "pause"},
        {"id": "check", "type": "hitl", "approvers": "supervisor", "quorum": 2},
    ]});
    let protocol = admin.publish("Acts", tasks).await;
    let id = staff.start(protocol, json!({"license_id": 999_999})).await;
    staff.wait_for_status(id, "paused").await;
    contract.get(&staff, "/acts/runs/{id}", &format!("/acts/runs/{id}")).await.expect(200);
    let why = json!({"reason": "x"});
    let steps = json!({"step": "fetch_data", "reason": "x"});
    for (act, body, status) in [
        ("resume", why.clone(), 409),
        ("retry", json!({"step": "check", "reason": "x"}), 404),
        ("retry", steps.clone(), 202),
    ] {
        let answer = supervisor.act(id, act, body).await;
        contract.check("POST", &format!("/acts/runs/{{id}}/{act}"), answer).expect(status);
    }
    staff.wait_for_status(id, "paused").await;
    for (act, body, status) in [
        ("skip", steps, 202),
        ("values", json!({"path": "license_id", "value": 1, "reason": "x"}), 202),
        ("values", json!({"path": "license_id", "value": 1, "reason": "x"}), 409),
        ("pause", why.clone(), 202),
        ("resume", why.clone(), 202),
        ("migrate", json!({"version": 1, "preview": true}), 200),
        ("migrate", json!({"version": 1, "reason": "x"}), 409),
        ("rerun", why.clone(), 409),
    ] {
        let answer = admin.act(id, act, body).await;
        contract.check("POST", &format!("/acts/runs/{{id}}/{act}"), answer).expect(status);
    }
    contract.get(&staff, "/acts/runs/{id}", &format!("/acts/runs/{id}")).await.expect(200);
    let approval = supervisor.approval(id).await;
    let answer = supervisor.decide(approval, "approve", "Good.").await;
    contract.check("POST", "/acts/approvals/{id}/decision", answer).expect(200);
    contract.get(&staff, "/acts/approvals/{id}", &format!("/acts/approvals/{approval}")).await.expect(200);

    let body = json!({"run_id": id, "action": "cancel", "reason": "x", "new_value": {"a": 1}});
    for status in [201, 409] {
        let answer = supervisor.post("/hitl/overrides", body.clone()).await;
        contract.check("POST", "/hitl/overrides", answer).expect(status);
    }
    contract.get(&staff, "/acts/runs/{id}", &format!("/acts/runs/{id}")).await.expect(200);
    let list = contract.get(&staff, "/hitl/overrides", "/hitl/overrides?status=pending").await.expect(200);
    let one = format!("/hitl/overrides/{}", list.json["overrides"][0]["id"]);
    let decision = format!("{one}/decision");
    let path = "/hitl/overrides/{id}/decision";
    let answer = supervisor.post(&decision, json!({"choice": "approve"})).await;
    contract.check("POST", path, answer).expect(403);
    for status in [200, 409] {
        let answer = admin.post(&decision, json!({"choice": "approve"})).await;
        contract.check("POST", path, answer).expect(status);
    }
    contract.get(&staff, "/hitl/overrides/{id}", &one).await.expect(200);
    staff.wait_for_status(id, "cancelled").await;
    let answer = staff.act(id, "rerun", why).await;
    contract.check("POST", "/acts/runs/{id}/rerun", answer).expect(202);
    assert_eq!(contract.seen.len(), 14, "{:?}", contract.seen);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn answers_about_protocols_registries_log_and_service_are_as_described() {
    let server = TestServer::start().await;
    let mut contract = Contract::of(&server).await;
    let (admin, auditor, nobody) = (server.user("admin"), server.user("auditor"), server.nobody());

    let definition = json!({
        "schedule": {"cron": "0 7 * * *", "time_zone": "Europe/Berlin"},
        "tasks": [{"id": "add", "type": "script", "uses": "compute"}],
    });
    let body = json!({"name": "Sums", "definition": definition});
    let answer = admin.post("/acts/protocols", body.clone()).await;
    let made = contract.check("POST", "/acts/protocols", answer).expect(201);
    let one = made.header("location").to_owned();
    let answer = admin.put(&one, body.clone()).await;
    contract.check("PUT", "/acts/protocols/{id}", answer).expect(200);
    let stale = admin.request(Method::PUT, &one).header("if-match", made.header("etag")).json(&body);
    let answer = Caller::send(stale).await;
    contract.check("PUT", "/acts/protocols/{id}", answer).expect(412);
    let answer = admin.post("/acts/protocols/validate", body).await;
    contract.check("POST", "/acts/protocols/validate", answer).expect(200);
    let answer = admin.post("/acts/protocols/validate", json!({"definition": {"tasks": 1}})).await;
    contract.check("POST", "/acts/protocols/validate", answer).expect(422);
    contract.get(&admin, "/acts/protocols", "/acts/protocols").await.expect(200);
    contract.get(&admin, "/acts/schedules", "/acts/schedules").await.expect(200);
    contract.get(&admin, "/acts/protocols/{id}", "/acts/protocols/7").await.expect(200);
    contract.get(&admin, "/acts/protocols/{id}", "/acts/protocols/70").await.expect(404);
    contract.get(&admin, "/acts/protocols/{id}/versions", &format!("{one}/versions")).await.expect(200);

    let agent = json!({"endpoint": "https://models.example.gov/v1/", "model": "m", "prompt": "Look."});
    for (all, name, body) in [
        ("/acts/actions", "total", json!({"name": "total", "kind": "compute"})),
        ("/acts/agents", "reader", json!({"name": "reader", "config": agent})),
    ] {
        let (path, one) = (format!("{all}/{{name}}"), format!("{all}/{name}"));
        for status in [201, 409] {
            let answer = admin.post(all, body.clone()).await;
            contract.check("POST", all, answer).expect(status);
        }
        let answer = admin.put(&one, body).await;
        contract.check("PUT", &path, answer).expect(200);
        contract.get(&admin, &path, &one).await.expect(200);
        contract.get(&admin, all, all).await.expect(200);
        contract.get(&auditor, all, all).await.expect(403);
        contract.get(&nobody, all, all).await.expect(401);
    }

    for path in ["/acts/log.csv", "/acts/log.ndjson"] {
        contract.get(&auditor, path, path).await.expect(200);
    }
    let schema = "/acts/protocol.schema.json";
    contract.get(&nobody, schema, schema).await.expect(200);
    for path in ["/healthz", "/readyz", "/metrics", "/.well-known/jwks.json", "/openapi.json"] {
        contract.get(&nobody, path, path).await.expect(200);
    }
    assert_eq!(contract.seen.len(), 8 + 8 + 2 + 5, "{:?}", contract.seen);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn answers_about_work_and_callbacks_are_as_described() {
    let service = TestService::start();
    let allowed = service.allowed();
    let server = TestServer::start_with(|config| config.allow_hosts = vec![allowed]).await;
    let mut contract = Contract::of(&server).await;
    let (admin, staff) = (server.user("admin"), server.user("staff"));
    let call = json!({"name": "call", "kind": "http", "config": {"url": service.url()}});
    for action in [json!({"name": "fees", "kind": "worker"}), call] {
        admin.post("/acts/actions", action).await.expect(201);
    }
    let tasks = json!([{"id": "fees", "type": "script"}, {"id": "call", "type": "script"}]);
    let protocol = admin.publish("Fees", json!({"tasks": tasks})).await;
    service.answer_with(&[202]);
    let asked = json!({"actions": ["fees"], "worker": "fees-1", "wait_seconds": 60});
    let mut ended = json!({"result": {"fees": 120}});
    for (status, verb) in [(200, "complete"), (200, "fail")] {
        staff.start(protocol, json!({"license_id": 123})).await;
        let answer = staff.post("/acts/work/claim", asked.clone()).await;
        let claimed =
            contract.check("POST", "/acts/work/claim", answer).expect(status).json["work"][0].clone();
        let place = |verb: &str| format!("/acts/work/{}/{verb}", claimed["id"]);
        ended["lease_token"] = claimed["lease_token"].clone();
        let alive = json!({"lease_token": claimed["lease_token"]});
        for status in [200, 409] {
            let answer = staff.post(&place("heartbeat"), alive.clone()).await;
            contract.check("POST", "/acts/work/{id}/heartbeat", answer).expect(status);
            let answer = staff.post(&place(verb), ended.clone()).await;
            contract.check("POST", &format!("/acts/work/{{id}}/{verb}"), answer).expect(status);
        }
        ended = json!({"error": "The ledger is closed."});
    }
    service.called(1).await;
    let report = json!({"status": "done", "result": 1});
    let heard = service.heard().remove(0);
    let path = heard.callback.strip_prefix(server.base_url()).expect("an address of ours").to_owned();
    for status in [200, 409] {
        let answer = server.nobody().post(&path, report.clone()).await;
        contract.check("POST", "/acts/runs/{id}/steps/{step}/callback", answer).expect(status);
    }
    let answer = server.nobody().post(path.split_once('?').expect("a token").0, report).await;
    contract.check("POST", "/acts/runs/{id}/steps/{step}/callback", answer).expect(403);
    assert_eq!(contract.seen.len(), 5, "{:?}", contract.seen);
    server.stop().await;
}

/// What a refusal says is known: `… known are: a, b.`
fn known(message: &str) -> BTreeSet<String> {
    let names = message.split_once("known are: ").map_or("", |(_, names)| names.trim_end_matches('.'));
    names.split(", ").filter(|name| !name.is_empty()).map(str::to_owned).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn handlers_know_the_parameters_and_fields_that_are_described_and_no_others() {
    let server = TestServer::start().await;
    let contract = Contract::of(&server).await;
    let admin = server.user("admin");
    let mut looked_at = BTreeMap::from([("queries", 0), ("bodies", 0)]);
    for (path, item) in contract.document["paths"].as_object().expect("paths") {
        if !path.starts_with("/acts/") && !path.starts_with("/hitl/") {
            continue;
        }
        let filled = path.replace("{id}", "7").replace("{name}", "fetch_data");
        for (method, operation) in item.as_object().expect("methods") {
            let place = format!("{method} {path}");
            if method == "get" {
                let answer = admin.get(&format!("{filled}?no_such_parameter=1")).await;
                let none = Vec::new();
                let described = operation["parameters"].as_array().unwrap_or(&none).iter();
                let described = described.filter(|parameter| parameter["in"] == "query");
                let described: BTreeSet<String> = described
                    .map(|parameter| parameter["name"].as_str().expect("a name").to_owned())
                    .collect();
                assert_eq!(known(answer.problem(400)), described, "{place}");
                *looked_at.get_mut("queries").expect("counted") += 1;
                continue;
            }
            let reference = &operation["requestBody"]["content"]["application/json"]["schema"]["$ref"];
            let schema =
                contract.document.pointer(&reference.as_str().expect("a body")[1..]).expect("it resolves");
            let described: BTreeSet<String> =
                schema["properties"].as_object().expect("fields").keys().cloned().collect();
            let method = method.to_uppercase().parse::<Method>().expect("a method");
            let answer =
                Caller::send(admin.request(method, &filled).json(&json!({"no_such_field": 1}))).await;
            let errors = answer.errors();
            let unknown = errors.iter().find(|(path, _)| *path == "$.no_such_field").expect(&place);
            assert_eq!(known(unknown.1), described, "{place}");
            let required: BTreeSet<&str> = errors
                .iter()
                .filter(|(_, message)| message.starts_with("is required"))
                .filter_map(|(path, _)| path.strip_prefix("$."))
                .collect();
            let described: BTreeSet<&str> = schema["required"]
                .as_array()
                .into_iter()
                .flatten()
                .map(|name| name.as_str().expect("a name"))
                .collect();
            assert_eq!(required, described, "{place}");
            *looked_at.get_mut("bodies").expect("counted") += 1;
        }
    }
    assert_eq!(looked_at, BTreeMap::from([("queries", 24), ("bodies", 30)]));
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn docs_are_for_everybody_and_all_of_their_files_are_ours() {
    let server = TestServer::start().await;
    let nobody = server.nobody();
    let document = nobody.get("/openapi.json").await.expect(200);
    assert_eq!(document.header("cache-control"), "no-cache");
    assert_eq!(document.header("content-type"), "application/json");
    // The client follows the redirect to where the page's files are.
    let page = nobody.get("/docs").await.expect(200);
    assert_eq!(page.header("cache-control"), "no-cache");
    let policy = page.header("content-security-policy");
    assert!(policy.contains("default-src 'self'") && !policy.contains("unsafe"), "{policy}");
    assert!(!page.text.contains("style=") && !page.text.contains("<style"), "{}", page.text);
    assert!(!page.text.contains("<script>"), "{}", page.text);
    let links = ["href=\"", "src=\""].into_iter().flat_map(|start| page.text.split(start).skip(1));
    let links: Vec<&str> = links.filter_map(|rest| rest.split('"').next()).collect();
    assert_eq!(links.len(), 7, "{links:?}");
    for link in links {
        let path = if link.starts_with('/') { link.to_owned() } else { format!("/docs/{link}") };
        nobody.get(&path).await.expect(200);
    }
    let start = nobody.get("/docs/swagger-initializer.js").await.expect(200);
    assert!(start.text.contains("/openapi.json") && !start.text.contains("petstore"), "{}", start.text);
    nobody.get("/docs/no-such-file.js").await.expect(404);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn figures_count_what_happens() {
    let server = TestServer::start().await;
    let staff = server.user("staff");
    let id = staff.start(7, json!({"license_id": 123})).await;
    staff.wait_for_status(id, "waiting").await;
    let figures = server.nobody().get("/metrics").await.expect(200).text;
    // Other tests run in this process and are counted, too.
    let at_least = |line: &str, least: f64| {
        let found = figures.lines().find_map(|found| found.strip_prefix(line)?.strip_prefix(' '));
        let value: f64 =
            found.unwrap_or_else(|| panic!("no {line} in\n{figures}")).parse().expect("a number");
        assert!(value >= least, "{line} {value}");
    };
    at_least("hms_act_runs_started_total", 1.0);
    at_least("hms_act_runs_closed_total{status=\"completed\"}", 0.0);
    at_least("hms_act_log_entries_written_total", 8.0);
    at_least("hms_act_commit_duration_seconds_count", 4.0);
    at_least("hms_act_attempt_duration_seconds_count{outcome=\"done\"}", 3.0);
    at_least("hms_act_commands_queued", 0.0);
    at_least("hms_act_database_connections{state=\"idle\"}", 0.0);
    let route = "{method=\"POST\",route=\"/acts/run\",status=\"202\"}";
    at_least(&format!("hms_act_http_request_duration_seconds_count{route}"), 1.0);
    assert!(!figures.contains("run_id"), "no figure by run");
    for line in figures.lines().filter(|line| line.starts_with("# TYPE")) {
        let name = line.split(' ').nth(2).expect("a name");
        assert!(figures.contains(&format!("# HELP {name} ")), "{name} is not explained");
    }
    server.stop().await;
}
