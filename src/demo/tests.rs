//! The agency as a caller sees it: a real server on a loopback port, called over HTTP.

use super::*;
use genai::chat::{ChatMessage, ChatOptions, ChatRequest, JsonSpec};
use genai::resolver::{AuthData, Endpoint, ServiceTargetResolver};
use genai::{Client, ModelIden, ServiceTarget, adapter::AdapterKind};
use reqwest::StatusCode;
use serde_json::Value;
use std::io::Write;
use std::sync::atomic::{AtomicU32, Ordering};

/// A directory of this test's own, removed at its end.
struct Directory(PathBuf);

impl Directory {
    fn new() -> Directory {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let name = format!("hms-act-demo-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        Directory(std::env::temp_dir().join(name))
    }

    fn options(&self) -> AgencyOptions {
        AgencyOptions { data_dir: self.0.clone(), screening_list: None }
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        std::fs::remove_dir_all(&self.0).ok();
    }
}

async fn open() -> (Agency, Directory) {
    let directory = Directory::new();
    (start(directory.options()).await.expect("the agency starts"), directory)
}

async fn get(agency: &Agency, path: &str) -> (StatusCode, Value) {
    let answer = reqwest::get(agency.base_url() + path).await.expect("an answer");
    (answer.status(), answer.json().await.expect("JSON"))
}

async fn post(agency: &Agency, path: &str, key: Option<&str>, body: &Value) -> (StatusCode, Value) {
    let mut request = reqwest::Client::new().post(agency.base_url() + path).json(body);
    if let Some(key) = key {
        request = request.header("Idempotency-Key", key);
    }
    let answer = request.send().await.expect("an answer");
    (answer.status(), answer.json().await.expect("JSON"))
}

/// Fetches, screens and drafts as the protocol does: the payload as the supervisor sees it.
async fn payload_for(agency: &Agency, license_id: i64) -> Value {
    let (_, application) = get(agency, &format!("/repository/applications/{license_id}")).await;
    let mut payload = json!({"license_id": license_id, "fetch_data": application});
    payload["ai_analysis"] = analyse(agency, &payload).await;
    let (status, letter) = post(agency, "/letters", None, &payload).await;
    assert_eq!(status, StatusCode::OK, "{letter}");
    payload["draft_letter"] = letter;
    payload
}

/// Asks the agent through the library that the product asks with, configured by the seed.
async fn analyse(agency: &Agency, input: &Value) -> Value {
    let (_, _, config) = seed::agents(&agency.base_url()).remove(0);
    let text = |field: &str| config[field].as_str().expect("text").to_owned();
    let (endpoint, model) = (text("endpoint"), text("model"));
    let resolve = move |_: ServiceTarget| {
        Ok(ServiceTarget {
            endpoint: Endpoint::from_owned(endpoint.clone()),
            auth: AuthData::from_single("none"),
            model: ModelIden::new(AdapterKind::OpenAI, model.clone()),
        })
    };
    let client = Client::builder()
        .with_service_target_resolver(ServiceTargetResolver::from_resolver_fn(resolve))
        .build()
        .expect("a client");
    let request =
        ChatRequest::new(vec![ChatMessage::system(text("prompt")), ChatMessage::user(input.to_string())]);
    let options = ChatOptions::default()
        .with_temperature(0.0)
        .with_response_format(JsonSpec::new("ai_analysis", config["schema"].clone()));
    let answer = client.exec_chat(text("model").as_str(), request, Some(&options)).await.expect("an answer");
    assert!(answer.usage.total_tokens.unwrap_or(0) > 0);
    let answer: Value = serde_json::from_str(answer.first_text().expect("text")).expect("JSON");
    let schema = jsonschema::validator_for(&config["schema"]).expect("a schema");
    assert!(schema.is_valid(&answer), "{answer}");
    answer
}

#[actix_web::test]
async fn licence_123_goes_the_whole_way_and_is_published_once() {
    let (agency, _directory) = open().await;
    let mut payload = payload_for(&agency, 123).await;
    assert_eq!(payload["ai_analysis"]["risk"], "low", "{}", payload["ai_analysis"]);
    payload["human_approval"] = json!({"decision": "approve", "reason": "in order"});

    let (status, first) = post(&agency, "/portal/licences", Some("key-1"), &payload).await;
    assert_eq!((status, &first["published"]), (StatusCode::CREATED, &json!(true)), "{first}");
    assert_eq!(first["licence_number"], "D-000123-R1");
    let (status, again) = post(&agency, "/portal/licences", Some("key-1"), &payload).await;
    assert_eq!((status, &again["already_published"]), (StatusCode::OK, &json!(true)));
    assert_eq!(again["receipt"], first["receipt"]);

    let (_, count) = get(&agency, "/portal/licences/count").await;
    assert_eq!((&count["published"], &count["calls"]), (&json!(1), &json!(2)), "{count}");
    let (_, ledger) = get(&agency, "/portal/licences").await;
    assert_eq!(ledger["licences"][0]["applicant"], payload["fetch_data"]["applicant"]["name"]);
}

#[actix_web::test]
async fn every_application_gets_the_risk_that_it_is_made_for() {
    let (agency, _directory) = open().await;
    let expected = [(124, "high"), (125, "medium"), (126, "low"), (127, "low"), (128, "low"), (129, "low")];
    for (license_id, risk) in expected.into_iter().chain([(130, "high"), (131, "low"), (132, "high")]) {
        let analysis = payload_for(&agency, license_id).await["ai_analysis"].take();
        assert_eq!(analysis["risk"], risk, "#{license_id}: {analysis}");
        assert_eq!(
            analysis["matches"].as_array().expect("a list").is_empty(),
            risk == "low",
            "#{license_id}"
        );
    }
}

#[actix_web::test]
async fn a_match_says_which_entry_how_well_and_why() {
    let (agency, _directory) = open().await;
    let input = json!({"fetch_data": {"parties": [{"role": "Vessel", "name": "Lapwing Grey"}]}});
    let found = analyse(&agency, &input).await["matches"][0].take();
    assert_eq!(found["entry"], "MORNING TEAL 3");
    assert_eq!(found["matched_name"], "GREY LAPWING");
    assert_eq!(found["entry_id"], "900001");
    assert_eq!(found["reasons"], json!(["the same words in another order", "an alias on the list"]));
}

#[actix_web::test]
async fn an_input_without_names_is_an_error_and_not_a_low_risk() {
    let (agency, _directory) = open().await;
    let ask = |content: &str, model: &str| json!({"model": model, "messages": [{"role": "user", "content": content}]});
    let path = "/agent/v1/chat/completions";
    let (status, answer) = post(&agency, path, None, &ask(r#"{"license_id":123}"#, agent::MODEL)).await;
    assert_eq!((status, &answer["error"]["code"]), (StatusCode::BAD_REQUEST, &json!("no_parties")));
    let (status, _) = post(&agency, path, None, &ask("{}", "another-model")).await;
    assert_eq!(status, StatusCode::NOT_FOUND);
}

#[actix_web::test]
async fn refusals_are_json_and_say_what_is_wrong() {
    let (agency, _directory) = open().await;
    for path in ["/repository/applications/999", "/repository/applications/x", "/nowhere"] {
        let (status, answer) = get(&agency, path).await;
        assert_eq!(status, StatusCode::NOT_FOUND, "{path}");
        assert!(answer["message"].is_string(), "{path}: {answer}");
    }
    let (status, answer) = post(&agency, "/letters", None, &json!({"ai_analysis": {"risk": "low"}})).await;
    assert_eq!(
        (status, &answer["field"]),
        (StatusCode::UNPROCESSABLE_ENTITY, &json!("fetch_data.licence_number"))
    );
    let (status, _) = post(&agency, "/portal/licences", None, &json!({"license_id": 123})).await;
    assert_eq!(status, StatusCode::BAD_REQUEST);
}

#[actix_web::test]
async fn the_portal_refuses_what_does_not_fit_together() {
    let (agency, _directory) = open().await;
    let bodies = [
        json!({}),
        json!({"license_id": 123, "fetch_data": {"license_id": 124}}),
        json!({"license_id": 123, "draft_letter": {"license_id": 124, "letter": "text"}}),
        json!({"license_id": 123, "draft_letter": {"letter": ""}}),
        json!({"license_id": 123, "human_approval": {"decision": "reject"}}),
        json!({"license_id": 123, "human_approval": {}}),
    ];
    for body in bodies {
        let (status, answer) = post(&agency, "/portal/licences", Some("key"), &body).await;
        assert_eq!(status, StatusCode::UNPROCESSABLE_ENTITY, "{body}: {answer}");
    }
    assert_eq!(get(&agency, "/portal/licences/count").await.1["published"], 0);
}

#[actix_web::test]
async fn a_key_belongs_to_one_body_whatever_the_order_of_its_fields() {
    let (agency, _directory) = open().await;
    let (_, first) =
        post(&agency, "/portal/licences", Some("k"), &json!({"license_id": 1, "note": "a"})).await;
    let (status, same) =
        post(&agency, "/portal/licences", Some("k"), &json!({"note": "a", "license_id": 1})).await;
    assert_eq!((status, &same["receipt"]), (StatusCode::OK, &first["receipt"]));
    let (status, _) =
        post(&agency, "/portal/licences", Some("k"), &json!({"license_id": 1, "note": "b"})).await;
    assert_eq!(status, StatusCode::UNPROCESSABLE_ENTITY);
    // Another service of the agency has keys of its own.
    let (status, synced) = post(&agency, "/audit/sync", Some("k"), &json!({"license_id": 1})).await;
    assert_eq!((status, &synced["synced"]), (StatusCode::CREATED, &json!(true)));
    let (status, synced) = post(&agency, "/audit/sync", Some("k"), &json!({"license_id": 1})).await;
    assert_eq!((status, &synced["already_synced"]), (StatusCode::OK, &json!(true)));
}

#[actix_web::test]
async fn simultaneous_calls_with_one_key_publish_once() {
    let (agency, directory) = open().await;
    let neighbour = start(directory.options()).await.expect("a second agency on the same directory");
    let body = json!({"license_id": 5});
    let calls = (0..16)
        .map(|at| post(if at % 2 == 0 { &agency } else { &neighbour }, "/portal/licences", Some("k"), &body));
    let answers = futures_util::future::join_all(calls).await;
    assert_eq!(answers.iter().filter(|(status, _)| *status == StatusCode::CREATED).count(), 1);
    assert!(answers.iter().all(|(_, answer)| answer["receipt"] == answers[0].1["receipt"]));
    assert_eq!(get(&neighbour, "/portal/licences/count").await.1["published"], 1);
}

#[actix_web::test]
async fn after_a_restart_the_port_and_the_receipts_are_the_same() {
    let (agency, directory) = open().await;
    let address = agency.address();
    let (_, first) = post(&agency, "/portal/licences", Some("k"), &json!({"license_id": 1})).await;
    agency.stop().await;
    let mut file = std::fs::OpenOptions::new()
        .append(true)
        .open(directory.0.join("demo-portal-ledger.ndjson"))
        .expect("file");
    file.write_all(br#"{"kind":"licence","key":"cut o"#).expect("a torn line");

    let agency = start(directory.options()).await.expect("starts again");
    assert_eq!(agency.address(), address);
    let (status, again) = post(&agency, "/portal/licences", Some("k"), &json!({"license_id": 1})).await;
    assert_eq!((status, &again["receipt"]), (StatusCode::OK, &first["receipt"]));
    let (status, _) = post(&agency, "/portal/licences", Some("k2"), &json!({"license_id": 1})).await;
    assert_eq!(status, StatusCode::CREATED);
    assert_eq!(Ledger::open(&directory.0).expect("whole").read("licence").expect("readable").0.len(), 2);
}

#[actix_web::test]
async fn a_damaged_ledger_is_not_silently_shortened() {
    let directory = Directory::new();
    std::fs::create_dir_all(&directory.0).expect("a directory");
    std::fs::write(directory.0.join("demo-portal-ledger.ndjson"), "{\"key\":\"a\"}\nnonsense\n{}\n")
        .expect("a file");
    let error = start(directory.options()).await.expect_err("damaged");
    assert!(error.to_string().contains("line 2 is damaged"), "{error}");
}

#[actix_web::test]
async fn a_wrong_screening_list_is_one_line_that_names_the_variable() {
    let directory = Directory::new();
    std::fs::create_dir_all(&directory.0).expect("a directory");
    let wrong = directory.0.join("wrong.csv");
    std::fs::write(&wrong, "id,title\n1,x\n").expect("a file");
    for path in [wrong, directory.0.join("missing.csv"), directory.0.clone()] {
        let options = AgencyOptions { screening_list: Some(path), ..directory.options() };
        let message = start(options).await.expect_err("no list").to_string();
        assert!(message.starts_with(SCREENING_LIST_VARIABLE) && !message.contains('\n'), "{message}");
    }
}
