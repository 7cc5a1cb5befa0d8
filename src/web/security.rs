//! What is around every request: its id, the headers of every answer, and the guard against cross-site requests.
//!
//! Owns no permission: who somebody is and what they may do is decided in the handler.

use super::doors::Doors;
use super::problem::{AppError, CONTENT_TYPE, Problem};
use super::request_id::{self, RequestId};
use crate::auth::session::{self, COOKIE_NAME};
use crate::store::error::StoreError;
use actix_session::SessionExt;
use actix_web::body::{BoxBody, EitherBody, MessageBody};
use actix_web::dev::{Payload, ServiceRequest, ServiceResponse};
use actix_web::http::header::{self, HeaderMap, HeaderName, HeaderValue};
use actix_web::http::{Method, StatusCode};
use actix_web::middleware::Next;
use actix_web::{HttpResponse, ResponseError, web};
use serde_json::Map;
use sha2::{Digest, Sha256};
use std::fmt;

/// Header in which a script sends the session's CSRF token; forms send the field `csrf`.
pub const CSRF_HEADER: &str = "x-csrf-token";
/// The form field with the session's CSRF token.
pub const CSRF_FIELD: &str = "csrf";

/// No inline scripts or styles, nothing from elsewhere, no framing. `data:` is for the icons in USWDS's stylesheet.
const CONTENT_SECURITY_POLICY: &str = "default-src 'self'; img-src 'self' data:; base-uri 'none'; \
     form-action 'self'; frame-ancestors 'none'; object-src 'none'";

const HEADERS: [(HeaderName, &str); 6] = [
    (header::CONTENT_SECURITY_POLICY, CONTENT_SECURITY_POLICY),
    (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    // Not `no-referrer`: browsers would then send `Origin: null` with our own forms.
    (header::REFERRER_POLICY, "same-origin"),
    (header::PERMISSIONS_POLICY, "camera=(), geolocation=(), microphone=(), payment=(), usb=()"),
    (header::CROSS_ORIGIN_OPENER_POLICY, "same-origin"),
    (header::CROSS_ORIGIN_RESOURCE_POLICY, "same-origin"),
];

/// The outermost middleware: gives the request its id, turns every error into a problem and sets the headers.
///
/// # Errors
/// What the middlewares inside fail with, framed in the same way.
pub async fn frame<B: MessageBody + 'static>(
    req: ServiceRequest,
    next: Next<B>,
) -> Result<ServiceResponse<EitherBody<B, BoxBody>>, actix_web::Error> {
    let id = RequestId::generate();
    let secure = req.app_data::<web::Data<Doors>>().is_some_and(|doors| doors.is_secure());
    id.clone()
        .scope(async move {
            let response = next.call(req).await.map_err(|inner| Framed { inner, id: id.clone(), secure })?;
            let mut response = if needs_problem(response.status(), response.headers()) {
                let problem = plain_problem(response.response().head().status);
                response.map_body(|head, _| {
                    set(&mut head.headers, header::CONTENT_TYPE, CONTENT_TYPE);
                    head.headers.remove(header::CONTENT_LENGTH);
                    EitherBody::right(BoxBody::new(problem))
                })
            } else {
                response.map_into_left_body()
            };
            add_headers(response.headers_mut(), &id, secure);
            Ok(response)
        })
        .await
}

fn add_headers(headers: &mut HeaderMap, id: &RequestId, secure: bool) {
    for (name, value) in HEADERS {
        headers.insert(name, HeaderValue::from_static(value));
    }
    set(headers, HeaderName::from_static(request_id::HEADER), id.as_str());
    if secure {
        set(headers, header::STRICT_TRANSPORT_SECURITY, "max-age=31536000");
    }
    // Static files say themselves how long they keep; everything else belongs to one person at one moment.
    if !headers.contains_key(header::CACHE_CONTROL) {
        set(headers, header::CACHE_CONTROL, "no-store");
    }
}

fn set(headers: &mut HeaderMap, name: HeaderName, value: &str) {
    if let Ok(value) = HeaderValue::from_str(value) {
        headers.insert(name, value);
    }
}

/// Errors that the framework words itself (an address that nothing answers, an unreadable path or body).
fn needs_problem(status: StatusCode, headers: &HeaderMap) -> bool {
    let content_type = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    let is_ours =
        content_type.is_some_and(|value| value.starts_with(CONTENT_TYPE) || value.starts_with("text/html"));
    (status.is_client_error() || status.is_server_error()) && !is_ours
}

fn plain_problem(status: StatusCode) -> String {
    let detail = match status {
        StatusCode::NOT_FOUND => "There is nothing at this address.",
        StatusCode::METHOD_NOT_ALLOWED => "This address does not take this method.",
        StatusCode::PAYLOAD_TOO_LARGE => "The body is larger than the limit.",
        status if status.is_server_error() => {
            "Something went wrong here. It has been logged; report the request id if it happens again."
        }
        _ => "The request could not be read.",
    };
    let problem = Problem {
        kind: "about:blank",
        title: status.canonical_reason().unwrap_or("Error"),
        status: status.as_u16(),
        detail: detail.to_owned(),
        errors: Vec::new(),
        missing: None,
        request_id: request_id::current().map(|id| id.to_string()),
        fields: Map::new(),
    };
    serde_json::to_string(&problem).expect("a problem is plain JSON")
}

/// An error of a middleware inside, with the frame that its answer needs.
#[derive(Debug)]
struct Framed {
    inner: actix_web::Error,
    id: RequestId,
    secure: bool,
}

impl fmt::Display for Framed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.inner.fmt(f)
    }
}

impl ResponseError for Framed {
    fn status_code(&self) -> StatusCode {
        match self.inner.as_response_error().status_code() {
            status if status.is_server_error() => StatusCode::SERVICE_UNAVAILABLE,
            status => status,
        }
    }

    fn error_response(&self) -> HttpResponse<BoxBody> {
        self.id.clone().sync_scope(|| {
            let mut response = self.inner.error_response();
            let status = response.status();
            if status.is_server_error() {
                // What a handler fails with is an answer already. This is the sessions' own middleware, which calls
                // it a 500 when the database, where they are kept, is away.
                response = AppError::from(StoreError::Connection(self.inner.to_string())).error_response();
            } else if needs_problem(status, response.headers()) {
                response = HttpResponse::build(status).content_type(CONTENT_TYPE).body(plain_problem(status));
            }
            add_headers(response.headers_mut(), &self.id, self.secure);
            response
        })
    }
}

/// Middleware inside the session's: a request that changes something and comes with a session cookie must come from
/// our own pages. Either the browser says so (`Sec-Fetch-Site`, `Origin`), or it carries the session's CSRF token.
/// Requests with an `Authorization` header never use the session, so they are exempt.
///
/// # Errors
/// What is inside fails with.
pub async fn guard_csrf<B: MessageBody + 'static>(
    mut req: ServiceRequest,
    next: Next<B>,
) -> Result<ServiceResponse<EitherBody<B, BoxBody>>, actix_web::Error> {
    let guarded = !matches!(*req.method(), Method::GET | Method::HEAD | Method::OPTIONS | Method::TRACE)
        && !req.headers().contains_key(header::AUTHORIZATION)
        && req.cookie(COOKIE_NAME).is_some();
    if guarded && !comes_from_our_pages(&mut req).await {
        return Ok(req.error_response(cross_site()).map_into_right_body());
    }
    Ok(next.call(req).await?.map_into_left_body())
}

/// The refusal of a request that another site may have caused.
pub fn cross_site() -> AppError {
    AppError::Forbidden {
        detail:
            "This request did not come from one of our own pages. Reload the page and try again; a script \
                 sends the session's token in X-CSRF-Token, or uses a bearer token."
                .to_owned(),
        missing: None,
    }
}

async fn comes_from_our_pages(req: &mut ServiceRequest) -> bool {
    let public_url = req.app_data::<web::Data<Doors>>().map(|doors| doors.public_url.clone());
    if same_origin(req.headers(), public_url.as_deref().unwrap_or("")) == Some(true) {
        return true;
    }
    let Some(expected) = session::stored_csrf_token(&req.get_session()) else { return false };
    let sent = match req.headers().get(CSRF_HEADER) {
        Some(value) => value.to_str().ok().map(str::to_owned),
        None => form_token(req).await,
    };
    sent.is_some_and(|sent| same_text(&sent, &expected))
}

/// Hashes first, so that the time that the comparison takes says nothing about how much was right.
fn same_text(a: &str, b: &str) -> bool {
    Sha256::digest(a.as_bytes()) == Sha256::digest(b.as_bytes())
}

/// Reads the form for its token, and puts the body back for the handler.
async fn form_token(req: &mut ServiceRequest) -> Option<String> {
    let content_type = req.headers().get(header::CONTENT_TYPE)?.to_str().ok()?;
    if !content_type.trim_start().to_ascii_lowercase().starts_with("application/x-www-form-urlencoded") {
        return None;
    }
    let body = req.extract::<web::Bytes>().await.ok()?;
    let token = url::form_urlencoded::parse(&body).find(|(name, _)| name == CSRF_FIELD);
    let token = token.map(|(_, value)| value.into_owned());
    req.set_payload(Payload::from(body));
    token
}

/// Whether a browser says that the request comes from this origin. None: it does not say (it is no browser, or an
/// old one).
pub fn same_origin(headers: &HeaderMap, public_url: &str) -> Option<bool> {
    let text = |name: HeaderName| headers.get(name).and_then(|value| value.to_str().ok());
    match text(HeaderName::from_static("sec-fetch-site")) {
        Some("same-origin") => return Some(true),
        Some("cross-site" | "same-site") => return Some(false),
        // `none`: by hand, from a bookmark; and what we do not know.
        Some(_) | None => {}
    }
    let origin = text(header::ORIGIN)?;
    let host = origin.split_once("://").map(|(_, host)| host);
    // A browser cannot be made to send another site's Host, nor will it send our cookie there.
    Some(origin == public_url || (host.is_some() && host == text(header::HOST)))
}

#[cfg(test)]
mod tests;
