//! Errors of pages, as pages.
//!
//! A middleware around all of them, so that a handler says what went wrong and never how it looks. Streams keep
//! their problem: a page would be drawn into the page that listens.

use super::visit::{Visit, nobody, see_other, site};
use crate::web::pages::chrome::Chrome;
use crate::web::pages::error::ErrorPage;
use crate::web::problem::AppError;
use crate::web::request_id;
use actix_web::body::{BoxBody, EitherBody, MessageBody};
use actix_web::dev::{Payload, ServiceRequest, ServiceResponse};
use actix_web::http::header::{ACCEPT, CONTENT_TYPE, HOST, HeaderMap, HeaderName, HeaderValue, REFERER};
use actix_web::http::{Method, StatusCode};
use actix_web::middleware::Next;
use actix_web::{FromRequest, HttpRequest};
use askama::Template;

/// Turns the problem of a failed request into the page that a person reads.
///
/// # Errors
/// What is inside fails with.
pub async fn as_pages<B: MessageBody + 'static>(
    req: ServiceRequest,
    next: Next<B>,
) -> Result<ServiceResponse<EitherBody<B, BoxBody>>, actix_web::Error> {
    let response = next.call(req).await?;
    let status = response.status();
    if !(status.is_client_error() || status.is_server_error())
        || is_html(response.headers())
        || is_for_programs(response.request())
    {
        return Ok(response.map_into_left_body());
    }
    let req = response.request().clone();
    if status == StatusCode::UNAUTHORIZED {
        let to_sign_in = see_other(&sign_in_path(&req));
        return Ok(response.into_response(to_sign_in).map_into_right_body());
    }
    let chrome = chrome(&req).await;
    let view = view(chrome, status, response.response().error().and_then(|error| error.as_error()));
    let html = view.render().map_err(AppError::internal)?;
    Ok(response.map_body(|head, _| {
        head.headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/html; charset=utf-8"));
        head.headers.remove(HeaderName::from_static("www-authenticate"));
        EitherBody::right(BoxBody::new(html))
    }))
}

/// What nothing else answers.
///
/// # Errors
/// Always 404.
pub async fn not_found() -> Result<actix_web::HttpResponse, AppError> {
    Err(AppError::NotFound("There is nothing at this address.".to_owned()))
}

/// An address of ours to go on to after signing in; anything else leads home.
pub fn local_path(next: &str) -> &str {
    let plain = next.bytes().all(|letter| (b'!'..=b'~').contains(&letter) && letter != b'\\');
    let elsewhere = !next.starts_with('/') || next.starts_with("//");
    if elsewhere || !plain || next.starts_with("/sign-") { "/" } else { next }
}

fn is_html(headers: &HeaderMap) -> bool {
    let content_type = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok());
    content_type.is_some_and(|value| value.starts_with("text/html"))
}

/// Streams, what is drawn into a page that is there already, and the addresses of the API that nothing there answers.
fn is_for_programs(req: &HttpRequest) -> bool {
    let accepts = req.headers().get(ACCEPT).and_then(|value| value.to_str().ok()).unwrap_or("*/*");
    let of_the_api = |path: &str| path == "/acts" || path.starts_with("/acts/") || path.starts_with("/hitl/");
    let is_fragment = req.path().ends_with("/replay/moment");
    let for_a_script = accepts.contains("text/event-stream") || accepts == "application/json" || is_fragment;
    for_a_script || of_the_api(req.path())
}

/// Where to sign in, and the page to come back to: a form that was sent is not sent again by itself.
fn sign_in_path(req: &HttpRequest) -> String {
    let next = if req.method() == Method::GET {
        req.uri().path_and_query().map(|path| path.as_str().to_owned())
    } else {
        page_of_form(req.headers())
    };
    let next = next.as_deref().map(local_path).unwrap_or("/");
    let query: String =
        url::form_urlencoded::Serializer::new(String::new()).append_pair("next", next).finish();
    if next == "/" { "/sign-in".to_owned() } else { format!("/sign-in?{query}") }
}

fn page_of_form(headers: &HeaderMap) -> Option<String> {
    let referer = url::Url::parse(headers.get(REFERER)?.to_str().ok()?).ok()?;
    let host = headers.get(HOST)?.to_str().ok()?;
    let from = match referer.port() {
        Some(port) => format!("{}:{port}", referer.host_str()?),
        None => referer.host_str()?.to_owned(),
    };
    let query = referer.query().map(|query| format!("?{query}")).unwrap_or_default();
    (from == host).then(|| format!("{}{query}", referer.path()))
}

/// The frame for whoever it is; a database that is gone must not hide the error behind another.
async fn chrome(req: &HttpRequest) -> Chrome {
    if let Ok(visit) = Visit::from_request(req, &mut Payload::None).await
        && let Ok(chrome) = visit.chrome("", "").await
    {
        return chrome;
    }
    site(req).map(|site| nobody(&site, "")).unwrap_or_default()
}

fn view(chrome: Chrome, status: StatusCode, error: Option<&AppError>) -> ErrorPage {
    let sentence = error.map(ToString::to_string).unwrap_or_default();
    let view = match (error, status) {
        (Some(AppError::Forbidden { detail, missing: Some(permission) }), _) => {
            ErrorPage::forbidden(chrome, detail, permission)
        }
        (_, StatusCode::FORBIDDEN) => ErrorPage::plain(
            chrome,
            "You may not do this",
            &sentence,
            &["Go back, and ask somebody who may."],
        ),
        (_, StatusCode::NOT_FOUND | StatusCode::METHOD_NOT_ALLOWED) => ErrorPage::not_found(chrome),
        (_, StatusCode::GONE) => ErrorPage::plain(chrome, "In the archive", &sentence, &[]),
        (_, StatusCode::CONFLICT | StatusCode::PRECONDITION_FAILED) => ErrorPage::plain(
            chrome,
            "Not as things stand",
            &sentence,
            &["Go back and load the page again to see how things stand now."],
        ),
        (_, StatusCode::PAYLOAD_TOO_LARGE) => ErrorPage::plain(
            chrome,
            "That is too much",
            "What was sent is larger than the limit, so nothing was done.",
            &["Go back and send less."],
        ),
        (_, StatusCode::TOO_MANY_REQUESTS) => ErrorPage::plain(chrome, "Too many tries", &sentence, &[]),
        (_, StatusCode::SERVICE_UNAVAILABLE) => {
            ErrorPage::plain(chrome, "Not just now", &sentence, &["Load the page again in a moment."])
        }
        (_, status) if status.is_server_error() => {
            let id = request_id::current().map(|id| id.to_string()).unwrap_or_default();
            ErrorPage::internal(chrome, &id)
        }
        (_, _) => {
            let sentence = if sentence.is_empty() { "The request could not be read." } else { &sentence };
            ErrorPage::plain(chrome, "This cannot be done", sentence, &["Go back and check what was sent."])
        }
    };
    let title = view.heading.clone();
    ErrorPage { chrome: Chrome { title, ..view.chrome }, ..view }
}

#[cfg(test)]
mod tests {
    use super::{local_path, page_of_form};
    use actix_web::http::header::{HOST, HeaderMap, HeaderValue, REFERER};

    #[test]
    fn only_our_own_paths_are_gone_on_to() {
        assert_eq!(local_path("/runs/9001?x=1"), "/runs/9001?x=1");
        for elsewhere in
            ["", "//evil.example", "https://evil.example/", "/\\evil.example", "runs", "/a\nb", "/sign-out"]
        {
            assert_eq!(local_path(elsewhere), "/", "{elsewhere:?}");
        }
    }

    #[test]
    fn form_of_an_ended_session_leads_back_to_its_page() {
        let headers = |referer: &'static str| {
            let mut headers = HeaderMap::new();
            headers.insert(HOST, HeaderValue::from_static("127.0.0.1:8080"));
            headers.insert(REFERER, HeaderValue::from_static(referer));
            page_of_form(&headers)
        };
        assert_eq!(headers("http://127.0.0.1:8080/approvals/5?a=1").as_deref(), Some("/approvals/5?a=1"));
        assert_eq!(headers("http://evil.example/approvals/5"), None);
    }
}
