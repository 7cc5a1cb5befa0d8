//! `http` actions against services that behave, and that do not.

use super::*;
use crate::actions::testing::{Service, answer, call};
use serde_json::json;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::sync::mpsc;

/// Characters of a refusal that are kept.
const EXCERPT: usize = 300;

/// One attempt: `config` with the service's address before its `url`.
async fn attempt(
    service: &Service,
    mut config: Value,
    change: impl FnOnce(&mut Call),
) -> Result<Outcome, Fault> {
    let path = config["url"].as_str().unwrap_or("/").to_owned();
    config["url"] = json!(format!("{}{path}", service.base));
    let mut call = call("http", config);
    change(&mut call);
    HttpExecutor::new(service.guard.clone(), HttpLimits::default()).execute(&call).await
}

async fn get(service: &Service) -> Result<Outcome, Fault> {
    attempt(service, json!({"method": "GET"}), |_| {}).await
}

async fn fault_of(bytes: impl Into<Vec<u8>>) -> Fault {
    get(&Service::answering(bytes).await).await.expect_err("the answer is a fault")
}

#[tokio::test]
async fn the_input_goes_out_as_json_with_every_header() {
    let mut service = Service::answering(answer("200 OK", r#"{"ok":true,"n":9007199254740993}"#)).await;
    let config = json!({
        "url": "/licences/${payload.license_id}?name=${payload.name}",
        "headers": {"X-Case": "case ${input.license_id}", "Authorization": "Bearer abc"}
    });
    let done = attempt(&service, config, |call| {
        call.callback_url = Some("https://act.gov/acts/runs/9001/steps/x/callback?token=t".to_owned());
    });
    assert_eq!(done.await, Ok(Outcome::Done(json!({"ok": true, "n": 9007199254740993u64}))));
    let request = service.received().await;
    assert_eq!(request.request_line(), "POST /licences/123?name=Z%C3%BCrich%20%26%20S%C3%B6hne HTTP/1.1");
    assert_eq!(request.json(), json!({"license_id": 123, "big": 9007199254740993u64}));
    for (name, value) in [
        ("Idempotency-Key", "key-1"),
        ("traceparent", "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"),
        ("Act-Run", "9001"),
        ("Act-Step", "checks/legal"),
        ("Act-Callback-Url", "https://act.gov/acts/runs/9001/steps/x/callback?token=t"),
        ("User-Agent", concat!("hms-act/", env!("CARGO_PKG_VERSION"))),
        ("Content-Type", "application/json"),
        ("Accept", "application/json"),
        ("X-Case", "case 123"),
        ("Authorization", "Bearer abc"),
    ] {
        assert_eq!(request.header(name), Some(value), "{name}");
    }
    assert_eq!(request.header("Accept-Encoding"), None);
}

#[tokio::test]
async fn a_get_sends_no_body_and_no_callback_address_unless_there_is_one() {
    let mut service = Service::answering(answer("200 OK", "[]")).await;
    assert_eq!(get(&service).await, Ok(Outcome::Done(json!([]))));
    let request = service.received().await;
    assert_eq!((request.request_line(), request.body.as_str()), ("GET / HTTP/1.1", ""));
    assert_eq!(request.header("Act-Callback-Url"), None);
}

#[tokio::test]
async fn a_configured_body_keeps_its_types() {
    let mut service = Service::answering(answer("200 OK", "null")).await;
    let config =
        json!({"method": "put", "body": {"id": "${payload.license_id}", "text": "no ${input.license_id}"}});
    assert_eq!(attempt(&service, config, |_| {}).await, Ok(Outcome::Done(Value::Null)));
    assert_eq!(service.received().await.json(), json!({"id": 123, "text": "no 123"}));
}

#[tokio::test]
async fn the_result_may_be_a_part_of_the_answer() {
    let service = Service::answering(answer("201 Created", r#"{"data":{"id":7}}"#)).await;
    let part = attempt(&service, json!({"result": "body.data"}), |_| {}).await;
    assert_eq!(part, Ok(Outcome::Done(json!({"id": 7}))));
    assert_eq!(attempt(&service, json!({"result": "status"}), |_| {}).await, Ok(Outcome::Done(json!(201))));
    let missing = attempt(&service, json!({"result": "body.nothing"}), |_| {}).await.unwrap_err();
    assert!(!missing.retryable && missing.message.contains("result of the action fetch_data"), "{missing}");
}

#[tokio::test]
async fn no_content_is_null() {
    let service = Service::answering("HTTP/1.1 204 No Content\r\n\r\n").await;
    assert_eq!(get(&service).await, Ok(Outcome::Done(Value::Null)));
}

#[tokio::test]
async fn accepted_work_needs_an_address_to_report_to() {
    let service = Service::answering("HTTP/1.1 202 Accepted\r\ncontent-length: 4\r\n\r\ntext").await;
    let with_address =
        attempt(&service, json!({}), |call| call.callback_url = Some("https://act.gov/cb".to_owned()));
    assert_eq!(with_address.await, Ok(Outcome::Accepted));
    let without = attempt(&service, json!({}), |_| {}).await.unwrap_err();
    assert!(!without.retryable && without.message.contains("HMS_ACT_PUBLIC_URL"), "{without}");
}

#[tokio::test]
async fn a_chunked_answer_that_drips_is_read_to_its_end() {
    let service = Service::start(|mut stream: TcpStream| async move {
        let head = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ntransfer-encoding: chunked\r\n\r\n";
        let body = "1\r\n{\r\n3\r\n\"a\"\r\n1\r\n:\r\n2\r\n1}\r\n0\r\n\r\n";
        for byte in format!("{head}{body}").bytes() {
            stream.write_all(&[byte]).await.unwrap();
            tokio::task::yield_now().await;
        }
    })
    .await;
    assert_eq!(get(&service).await, Ok(Outcome::Done(json!({"a": 1}))));
}

#[tokio::test]
async fn server_errors_may_be_retried_and_client_errors_may_not() {
    for (status, retryable) in [
        ("500 Internal Server Error", true),
        ("502 Bad Gateway", true),
        ("503 Service Unavailable", true),
        ("429 Too Many Requests", true),
        ("408 Request Timeout", true),
        ("400 Bad Request", false),
        ("404 Not Found", false),
        ("409 Conflict", false),
        ("422 Unprocessable Content", false),
    ] {
        let fault =
            fault_of(answer(status, r#"{"title":"No","detail":"licence 9 is\r\nunknown\u0007"}"#)).await;
        assert_eq!(fault.retryable, retryable, "{status}");
        assert!(fault.message.contains(&status[..3]), "{fault}");
        assert!(fault.message.ends_with("licence 9 is  unknown"), "{fault}");
        assert_eq!(fault.retry_after, None);
    }
}

#[tokio::test]
async fn the_excerpt_of_a_refusal_is_short_and_optional() {
    let long = fault_of(answer("400 Bad Request", &json!({"error": "x".repeat(2000)}).to_string())).await;
    assert!(long.message.chars().count() < 400 && long.message.contains("xxx"), "{long}");
    let nested = fault_of(answer("401 Unauthorized", r#"{"error":{"message":"no key"}}"#)).await;
    assert!(nested.message.ends_with("no key"), "{nested}");
    for body in ["<html>stack trace</html>", "[]", ""] {
        let fault = fault_of(answer("500 Oops", body)).await;
        assert!(fault.message.ends_with("answered 500 Internal Server Error."), "{fault}");
    }
}

#[tokio::test]
async fn what_a_refusal_quotes_of_the_headers_is_hidden() {
    let said =
        format!(r#"{{"detail":"{} Bearer tok-123 and tok-123 are wrong, case 123"}}"#, "x".repeat(240));
    let service = Service::answering(answer("401 Unauthorized", &said)).await;
    let headers = json!({"Authorization": "Bearer tok-123", "X-Case": "case ${input.license_id}"});
    let fault = attempt(&service, json!({"headers": headers}), |_| {}).await.expect_err("a fault");
    assert!(fault.message.ends_with("x [hidden] and [hidden] are wrong, [hidden]"), "{fault}");
    // The end of the excerpt cuts through the token.
    let said = format!(r#"{{"detail":"{}tok-123456"}}"#, "x".repeat(EXCERPT - 5));
    let service = Service::answering(answer("401 Unauthorized", &said)).await;
    let headers = json!({"X-Key": "tok-123456"});
    let fault = attempt(&service, json!({"headers": headers}), |_| {}).await.expect_err("a fault");
    assert!(!fault.message.contains("tok"), "{fault}");
}

#[tokio::test]
async fn a_service_says_when_to_come_back() {
    let busy =
        |after: &str| format!("HTTP/1.1 429 Slow\r\nretry-after: {after}\r\ncontent-length: 0\r\n\r\n");
    assert_eq!(fault_of(busy("7")).await.retry_after, Some(Duration::from_secs(7)));
    assert_eq!(fault_of(busy("999999999")).await.retry_after, Some(Duration::from_secs(3600)));
    let date = fault_of(busy("Tue, 31 Dec 2199 23:59:59 GMT")).await;
    assert_eq!(date.retry_after, Some(Duration::from_secs(3600)));
    assert_eq!(fault_of(busy("soon")).await.retry_after, None);
}

#[tokio::test]
async fn a_redirect_is_not_followed() {
    let mut elsewhere = Service::answering(answer("200 OK", "{}")).await;
    for status in
        ["301 Moved", "302 Found", "303 See Other", "307 Temporary", "308 Permanent", "304 Not Modified"]
    {
        let head = format!("HTTP/1.1 {status}\r\nlocation: {}/\r\ncontent-length: 0\r\n\r\n", elsewhere.base);
        let fault = fault_of(head).await;
        assert!(!fault.retryable && fault.message.contains("Redirects are not followed"), "{fault}");
    }
    assert!(elsewhere.was_left_alone());
}

#[tokio::test]
async fn what_is_not_json_is_a_lasting_fault() {
    let typed = |content_type: &str, body: &str| {
        format!("HTTP/1.1 200 OK\r\n{content_type}content-length: {}\r\n\r\n{body}", body.len())
    };
    let json = "content-type: application/json\r\n";
    for (bytes, why) in [
        (typed("content-type: text/html\r\n", "<p>hi</p>"), "content type text/html"),
        (typed("", "{}"), "no content type"),
        (typed(json, "<p>hi</p>"), "not valid JSON"),
        (typed(json, ""), "not valid JSON"),
        (typed(json, "{\"a\":1} trailing"), "not valid JSON"),
        (typed(json, &"[".repeat(200_000)), "levels deep"),
        (typed(json, "{\"id\":18446744073709551616}"), "does not fit 64 bits"),
        (typed(json, "[\"\\u0000\"]"), "NUL"),
        (typed("content-type: application/json\r\ncontent-encoding: gzip\r\n", "\x1f"), "compressed"),
    ] {
        let fault = fault_of(bytes).await;
        assert!(!fault.retryable && fault.message.contains(why), "{why}: {fault}");
    }
}

#[tokio::test]
async fn half_an_answer_may_be_retried() {
    for bytes in [
        "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 100\r\n\r\n{\"half\":",
        "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ntransfer-encoding: chunked\r\n\r\n5\r\n{\"a\":\r\n",
        "HTTP/1.1 200 OK\r\ncontent-ty",
        "",
    ] {
        let fault = fault_of(bytes).await;
        assert!(
            fault.retryable && fault.message.contains("before the answer was complete"),
            "{bytes}: {fault}"
        );
    }
    let garbage = fault_of("\x00\x01 SSH-2.0 hello\r\n\r\n").await;
    assert!(garbage.message.contains("before the answer was complete"), "{garbage}");
}

#[tokio::test]
async fn a_gigabyte_is_not_read() {
    let head = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n";
    let declared = fault_of(format!("{head}content-length: 1073741824\r\n\r\n\"")).await;
    assert!(!declared.retryable && declared.message.contains("larger than the limit"), "{declared}");

    let (sender, mut written) = mpsc::unbounded_channel();
    let service = Service::start(move |mut stream: TcpStream| {
        let sender = sender.clone();
        async move {
            let mut total = 0usize;
            let _ = stream.write_all(format!("{head}\r\n\"").as_bytes()).await;
            let block = vec![b'a'; 64 * 1024];
            while total < 1 << 30 && stream.write_all(&block).await.is_ok() {
                total += block.len();
            }
            let _ = sender.send(total);
        }
    })
    .await;
    let streamed = get(&service).await.unwrap_err();
    assert!(!streamed.retryable && streamed.message.contains("larger than the limit"), "{streamed}");
    let total = written.recv().await.unwrap();
    assert!(total < 64 << 20, "the service got rid of {total} bytes before the connection closed");
}

#[tokio::test]
async fn a_service_that_hangs_is_given_up() {
    for begun in [
        "",
        "HTTP/1.1 200 OK\r\n",
        "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 9\r\n\r\n{",
    ] {
        let service = Service::start(move |mut stream: TcpStream| async move {
            stream.write_all(begun.as_bytes()).await.unwrap();
            std::future::pending::<()>().await;
            drop(stream);
        })
        .await;
        let fault = attempt(&service, json!({"timeout_seconds": 0.05}), |_| {}).await.unwrap_err();
        assert!(fault.retryable && fault.message.contains("within 0.05 seconds"), "{fault}");
        let limited = attempt(&service, json!({}), |call| call.time_limit = Duration::from_millis(20))
            .await
            .unwrap_err();
        assert!(limited.retryable && limited.message.contains("within 0.02 seconds"), "{limited}");
    }
}

#[tokio::test]
async fn nobody_listening_may_be_retried() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let guard = Guard::new(vec![address.to_string().parse().unwrap()]);
    let call = call("http", json!({"url": format!("http://{address}/secret-path?token=t0")}));
    let fault = HttpExecutor::new(guard, HttpLimits::default()).execute(&call).await.unwrap_err();
    assert!(fault.retryable && fault.message.contains("could not be reached"), "{fault}");
    assert!(!fault.message.contains("t0") && !fault.message.contains("secret-path"), "{fault}");
}

#[tokio::test]
async fn private_addresses_and_names_that_lead_there_are_never_called() {
    let mut service = Service::answering(answer("200 OK", "{}")).await;
    let port = service.base.rsplit_once(':').unwrap().1.to_owned();
    let executor = HttpExecutor::new(Guard::new(Vec::new()), HttpLimits::default());
    for host in ["127.0.0.1", "0x7f.1", "[::ffff:127.0.0.1]", "localhost", "LOCALHOST"] {
        let call = call("http", json!({"url": format!("http://{host}:{port}/")}));
        let fault = executor.execute(&call).await.expect_err(host);
        assert!(!fault.retryable && fault.message.contains("not a public address"), "{host}: {fault}");
    }
    assert!(service.was_left_alone());
}

#[tokio::test]
async fn a_payload_cannot_add_headers_or_move_the_address() {
    let mut service = Service::answering(answer("200 OK", "{}")).await;
    let evil = |call: &mut Call| call.input = json!({"x": "a\r\nX-Admin: yes", "up": ".."});
    let header = attempt(&service, json!({"headers": {"X-Case": "${input.x}"}}), evil).await.unwrap_err();
    assert!(!header.retryable && header.message.contains("line break"), "{header}");
    let up = attempt(&service, json!({"url": "/a/${input.up}/b"}), evil).await.unwrap_err();
    assert!(!up.retryable && up.message.contains("would change the path"), "{up}");
    let unknown = attempt(&service, json!({"url": "/${input.none}"}), evil).await.unwrap_err();
    assert!(!unknown.retryable && unknown.message.contains("url of the action fetch_data"), "{unknown}");
    assert!(service.was_left_alone());
}

#[tokio::test]
async fn a_broken_configuration_calls_nobody() {
    let mut service = Service::answering(answer("200 OK", "{}")).await;
    let fault = attempt(&service, json!({"method": "STEAL", "retries": 5}), |_| {}).await.unwrap_err();
    assert!(!fault.retryable && fault.message.contains("$.config.method"), "{fault}");
    assert!(fault.message.contains("$.config.retries"), "{fault}");
    assert!(service.was_left_alone());
}
