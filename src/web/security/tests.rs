use super::{frame, guard_csrf, same_origin};
use crate::auth::session::COOKIE_NAME;
use crate::web::problem::AppError;
use actix_session::SessionExt;
use actix_web::cookie::Cookie;
use actix_web::dev::{Service, ServiceResponse};
use actix_web::http::header::{HeaderMap, HeaderName, HeaderValue};
use actix_web::middleware::from_fn;
use actix_web::test::{TestRequest, init_service, read_body, read_body_json};
use actix_web::{App, HttpResponse, error, web};
use serde_json::{Value, json};

const TOKEN: &str = "the-token";

/// Sends a request through the frame and the guard, to a few routes. The session holds a CSRF token.
async fn send(request: TestRequest) -> ServiceResponse {
    let app = App::new()
        .wrap(from_fn(guard_csrf))
        .wrap_fn(|req, service| {
            req.get_session().insert("csrf", TOKEN).expect("json");
            service.call(req)
        })
        .wrap(from_fn(frame))
        .route("/", web::get().to(HttpResponse::Ok))
        .route("/echo", web::post().to(|body: String| async move { body }))
        .route("/static", web::get().to(immutable))
        .route("/refused", web::get().to(refused))
        .route("/number/{id}", web::get().to(|_: web::Path<i64>| async { "a number" }));
    init_service(app).await.call(request.to_request()).await.expect("no error leaves").map_into_boxed_body()
}

async fn immutable() -> HttpResponse {
    HttpResponse::Ok().insert_header(("cache-control", "public, max-age=31536000, immutable")).finish()
}

async fn refused() -> Result<HttpResponse, AppError> {
    Err(AppError::NotFound("There is no run 9001.".to_owned()))
}

fn header<'a>(response: &'a ServiceResponse, name: &str) -> &'a str {
    response.headers().get(name).expect("set").to_str().expect("text")
}

fn form(body: &str) -> TestRequest {
    TestRequest::post()
        .uri("/echo")
        .cookie(Cookie::new(COOKIE_NAME, "x"))
        .insert_header(("content-type", "application/x-www-form-urlencoded"))
        .set_payload(body.to_owned())
}

async fn status(request: TestRequest) -> u16 {
    send(request).await.status().as_u16()
}

#[actix_web::test]
async fn every_answer_carries_the_headers() {
    for uri in ["/", "/static", "/refused", "/nowhere"] {
        let response = send(TestRequest::get().uri(uri)).await;
        let policy = header(&response, "content-security-policy");
        assert!(policy.starts_with("default-src 'self'") && !policy.contains("unsafe"), "{policy}");
        assert_eq!(header(&response, "x-content-type-options"), "nosniff");
        assert_eq!(header(&response, "referrer-policy"), "same-origin");
    }
}

#[actix_web::test]
async fn only_what_says_so_is_cached() {
    assert_eq!(header(&send(TestRequest::get().uri("/")).await, "cache-control"), "no-store");
    let files = send(TestRequest::get().uri("/static")).await;
    assert_eq!(header(&files, "cache-control"), "public, max-age=31536000, immutable");
}

#[actix_web::test]
async fn request_id_is_ours_and_the_same_in_header_and_body() {
    let response = send(TestRequest::get().uri("/refused").insert_header(("x-request-id", "forged"))).await;
    let id = header(&response, "x-request-id").to_owned();
    let body: Value = read_body_json(response).await;
    assert_eq!(body["request_id"], id);
    assert_eq!(body["detail"], "There is no run 9001.");
    let other = send(TestRequest::get().uri("/refused")).await;
    assert_ne!(header(&other, "x-request-id"), id);
    assert_ne!(id, "forged");
}

#[actix_web::test]
async fn the_frameworks_own_errors_become_problems() {
    for (uri, code) in [("/nowhere", 404), ("/number/x", 404), ("/echo", 404)] {
        let response = send(TestRequest::get().uri(uri)).await;
        assert_eq!(response.status().as_u16(), code, "{uri}");
        assert_eq!(header(&response, "content-type"), "application/problem+json");
        let body: Value = read_body_json(response).await;
        assert_eq!((&body["status"], &body["type"]), (&json!(code), &json!("about:blank")));
        assert!(body["request_id"].is_string());
    }
}

#[actix_web::test]
async fn failing_middleware_is_framed_and_shows_nothing() {
    let app = App::new()
        .wrap_fn(|_, _| async { Err::<ServiceResponse, _>(error::ErrorInternalServerError("hunter2")) })
        .wrap(from_fn(frame));
    let failure = init_service(app).await.call(TestRequest::get().to_request()).await.expect_err("it fails");
    let response = failure.error_response();
    assert_eq!(response.status().as_u16(), 503);
    assert!(response.headers().contains_key("content-security-policy"));
    let body = actix_web::body::to_bytes(response.into_body()).await.expect("in memory");
    let body: Value = serde_json::from_slice(&body).expect("json");
    assert!(body["request_id"].is_string() && !body.to_string().contains("hunter2"), "{body}");
}

#[actix_web::test]
async fn session_post_without_proof_is_refused() {
    let response = send(form("reason=x")).await;
    assert_eq!(response.status().as_u16(), 403);
    assert_eq!(header(&response, "content-type"), "application/problem+json");
    assert_eq!(status(form("csrf=wrong")).await, 403);
    assert_eq!(status(form("").insert_header(("x-csrf-token", "wrong"))).await, 403);
    assert_eq!(status(form("").insert_header(("sec-fetch-site", "cross-site"))).await, 403);
    assert_eq!(status(form("").insert_header(("sec-fetch-site", "none"))).await, 403);
    assert_eq!(status(form("").insert_header(("origin", "https://elsewhere.example"))).await, 403);
    assert_eq!(status(form("").insert_header(("origin", "null"))).await, 403);
}

#[actix_web::test]
async fn form_with_the_sessions_token_reaches_the_handler_whole() {
    let response = send(form("reason=a%20b&csrf=the-token")).await;
    assert_eq!(response.status().as_u16(), 200);
    assert_eq!(read_body(response).await, "reason=a%20b&csrf=the-token");
    assert_eq!(status(form("").insert_header(("x-csrf-token", TOKEN))).await, 200);
}

#[actix_web::test]
async fn what_a_browser_says_is_from_our_pages_is_let_through() {
    assert_eq!(status(form("").insert_header(("sec-fetch-site", "same-origin"))).await, 200);
    let same_host = form("").insert_header(("host", "act.example:8080"));
    assert_eq!(status(same_host.insert_header(("origin", "http://act.example:8080"))).await, 200);
}

#[actix_web::test]
async fn requests_that_use_no_session_are_not_guarded() {
    assert_eq!(status(form("").insert_header(("authorization", "Bearer x"))).await, 200);
    assert_eq!(status(TestRequest::post().uri("/echo")).await, 200);
    assert_eq!(status(TestRequest::get().uri("/").cookie(Cookie::new(COOKIE_NAME, "x"))).await, 200);
}

#[test]
fn origin_is_that_of_the_public_url_or_of_the_host() {
    let says = |pairs: &[(&'static str, &'static str)]| {
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            headers.insert(HeaderName::from_static(name), HeaderValue::from_static(value));
        }
        same_origin(&headers, "https://act.example.gov")
    };
    assert_eq!(says(&[]), None);
    assert_eq!(says(&[("origin", "https://act.example.gov"), ("host", "10.0.0.7:8080")]), Some(true));
    assert_eq!(says(&[("origin", "https://act.example.gov.evil.example")]), Some(false));
    assert_eq!(says(&[("sec-fetch-site", "same-site"), ("origin", "https://act.example.gov")]), Some(false));
}
