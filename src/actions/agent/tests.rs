//! Agents against model services that behave, and that do not.

use super::*;
use crate::actions::testing::{Service, answer, call};
use serde_json::json;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

const KEY: &str = "sk-very-secret";

/// An answer of a chat API whose message is `content`.
fn completion(content: &str) -> Vec<u8> {
    let message = json!({"role": "assistant", "content": content});
    let choice = json!({"index": 0, "finish_reason": "stop", "message": message});
    answer("200 OK", &json!({"id": "c1", "model": "m", "choices": [choice]}).to_string())
}

fn config(service: &Service) -> Value {
    json!({
        "endpoint": format!("{}/v1", service.base), "model": "vendor::screening-high",
        "prompt": "Screen ${payload.name} for licence ${input.license_id}.",
        "schema": {
            "type": "object", "required": ["risk"], "additionalProperties": false,
            "properties": {"risk": {"enum": ["low", "high"]}, "n": {"type": "integer"}}
        },
        "temperature": 0, "max_tokens": 500
    })
}

async fn ask(service: &Service, change: impl FnOnce(&mut Value)) -> Result<Outcome, Fault> {
    let mut config = config(service);
    change(&mut config);
    let environment: Environment = Arc::new(|name| match name {
        "HMS_ACT_AGENT_KEY" => Some(format!("{KEY}\n")),
        "HMS_ACT_AGENT_LOST_FILE" => Some("/nonexistent/key".to_owned()),
        _ => None,
    });
    AgentExecutor::with_environment(service.guard.clone(), HttpLimits::default(), environment)
        .execute(&call("openai", config))
        .await
}

async fn answered(bytes: impl Into<Vec<u8>>) -> Result<Outcome, Fault> {
    ask(&Service::answering(bytes).await, |_| {}).await
}

#[tokio::test]
async fn the_prompt_the_input_and_the_schema_go_out() {
    let mut service = Service::answering(completion(r#"{"risk":"low","n":9007199254740993}"#)).await;
    let done = ask(&service, |config| config["api_key_env"] = json!("HMS_ACT_AGENT_KEY")).await;
    assert_eq!(done, Ok(Outcome::Done(json!({"risk": "low", "n": 9007199254740993u64}))));
    let request = service.received().await;
    assert_eq!(request.request_line(), "POST /v1/chat/completions HTTP/1.1");
    for (name, value) in [
        ("Authorization", "Bearer sk-very-secret"),
        ("Idempotency-Key", "key-1"),
        ("traceparent", "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"),
        ("Act-Run", "9001"),
        ("Act-Step", "checks/legal"),
        ("User-Agent", concat!("hms-act/", env!("CARGO_PKG_VERSION"))),
    ] {
        assert_eq!(request.header(name), Some(value), "{name}");
    }
    let body = request.json();
    assert_eq!(body["model"], "vendor::screening-high", "the model's name stays whole");
    assert_eq!(body.get("reasoning_effort"), None);
    assert_eq!((&body["temperature"], &body["max_tokens"]), (&json!(0.0), &json!(500)));
    assert_eq!(
        body["messages"],
        json!([
            {"role": "system", "content": "Screen Zürich & Söhne for licence 123."},
            {"role": "user", "content": r#"{"license_id":123,"big":9007199254740993}"#}
        ])
    );
    assert_eq!(body["response_format"]["type"], "json_schema");
    assert_eq!(body["response_format"]["json_schema"]["schema"]["required"], json!(["risk", "n"]));
}

#[tokio::test]
async fn without_a_key_none_is_sent() {
    let mut service = Service::answering(completion(r#"{"risk":"low"}"#)).await;
    assert!(ask(&service, |_| {}).await.is_ok());
    assert_eq!(service.received().await.header("Authorization"), None);
}

#[tokio::test]
async fn an_answer_in_a_code_fence_is_read() {
    for content in
        ["```json\n{\"risk\":\"high\"}\n```", " ```\n{\"risk\":\"high\"}```\n", "{\"risk\":\"high\"}"]
    {
        assert_eq!(
            answered(completion(content)).await,
            Ok(Outcome::Done(json!({"risk": "high"}))),
            "{content}"
        );
    }
}

#[tokio::test]
async fn an_answer_that_breaks_the_schema_is_a_fault_that_may_be_retried() {
    let fault = answered(completion(r#"{"risk":"medium","n":1.5,"extra":true}"#)).await.unwrap_err();
    assert!(fault.retryable, "{fault}");
    for place in ["/risk: ", "/n: ", "the whole answer: "] {
        assert!(fault.message.contains(place), "{place}: {fault}");
    }
}

#[tokio::test]
async fn an_answer_that_is_no_json_is_a_fault_that_may_be_retried() {
    for (content, why) in [
        ("The risk is low.", "not valid JSON"),
        ("", "no text"),
        ("{\"risk\":\"low\"", "not valid JSON"),
        ("[\"\\u0000\"]", "NUL"),
        ("{\"risk\":\"low\",\"n\":18446744073709551616}", "64 bits"),
    ] {
        let fault = answered(completion(content)).await.unwrap_err();
        assert!(fault.retryable && fault.message.contains(why), "{content}: {fault}");
    }
    let cut = json!({"choices": [{"finish_reason": "length", "message": {"content": "{\"ri"}}]}).to_string();
    let fault = answered(answer("200 OK", &cut)).await.unwrap_err();
    assert!(fault.message.contains("cut off at max_tokens"), "{fault}");
    for body in ["{}", "[]", "null", r#"{"choices":[]}"#, r#"{"choices":[{"message":{"content":null}}]}"#] {
        let fault = answered(answer("200 OK", body)).await.unwrap_err();
        assert!(fault.retryable, "{body}: {fault}");
    }
}

#[tokio::test]
async fn the_service_behind_an_agent_is_bounded_like_any_other() {
    let head = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n";
    for (bytes, retryable, why) in [
        (format!("{head}content-length: 1073741824\r\n\r\n"), false, "larger than the limit"),
        (format!("{head}content-length: 50\r\n\r\n{{"), true, "before the answer was complete"),
        (
            "HTTP/1.1 200 OK\r\ncontent-type: text/html\r\ncontent-length: 1\r\n\r\nx".to_owned(),
            false,
            "text/html",
        ),
        ("HTTP/1.1 302 Found\r\nlocation: /x\r\ncontent-length: 0\r\n\r\n".to_owned(), false, "redirect"),
        ("HTTP/1.1 500 No\r\ncontent-length: 0\r\n\r\n".to_owned(), true, "500"),
    ] {
        let fault = answered(bytes).await.unwrap_err();
        assert!(fault.retryable == retryable && fault.message.contains(why), "{why}: {fault}");
    }
    let busy =
        answered("HTTP/1.1 429 Slow\r\nretry-after: 9\r\ncontent-length: 0\r\n\r\n").await.unwrap_err();
    assert_eq!((busy.retryable, busy.retry_after), (true, Some(Duration::from_secs(9))));
}

#[tokio::test]
async fn a_gigabyte_from_a_model_is_not_read() {
    let service = Service::start(|mut stream: TcpStream| async move {
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n\r\n\"").await;
        let block = vec![b'a'; 64 * 1024];
        for _ in 0..16 * 1024 {
            if stream.write_all(&block).await.is_err() {
                return;
            }
        }
        panic!("somebody read a gigabyte");
    })
    .await;
    let fault = ask(&service, |_| {}).await.unwrap_err();
    assert!(!fault.retryable && fault.message.contains("larger than the limit"), "{fault}");
}

#[tokio::test]
async fn a_model_that_hangs_is_given_up() {
    let service = Service::start(|stream: TcpStream| async move {
        std::future::pending::<()>().await;
        drop(stream);
    })
    .await;
    let fault = ask(&service, |config| config["timeout_seconds"] = json!(0.05)).await.unwrap_err();
    assert!(fault.retryable && fault.message.contains("within 0.05 seconds"), "{fault}");
}

#[tokio::test]
async fn the_key_never_shows_in_a_fault() {
    let service =
        Service::answering(answer("401 No", &json!({"error": format!("bad key {KEY}")}).to_string())).await;
    let fault = ask(&service, |config| config["api_key_env"] = json!("HMS_ACT_AGENT_KEY")).await.unwrap_err();
    assert!(!fault.retryable && fault.message.ends_with("bad key [hidden]"), "{fault}");
}

#[tokio::test]
async fn a_missing_key_or_a_refused_address_calls_nobody() {
    let mut service = Service::answering(completion("{}")).await;
    for (name, why) in [("HMS_ACT_AGENT_NONE", "neither"), ("HMS_ACT_AGENT_LOST", "cannot be read")] {
        let fault = ask(&service, |config| config["api_key_env"] = json!(name)).await.unwrap_err();
        assert!(!fault.retryable && fault.message.contains(why), "{fault}");
    }
    let other_secret =
        ask(&service, |config| config["api_key_env"] = json!("DATABASE_URL")).await.unwrap_err();
    assert!(other_secret.message.contains("$.config.api_key_env"), "{other_secret}");
    let config = config(&service);
    let refused = AgentExecutor::new(Guard::new(Vec::new()), HttpLimits::default())
        .execute(&call("openai", config))
        .await
        .unwrap_err();
    assert!(!refused.retryable && refused.message.contains("HMS_ACT_ALLOW_HOSTS"), "{refused}");
    assert!(service.was_left_alone());
}
