//! One HTTP call: request out, bounded JSON back.
//!
//! Owns what an answer means (which statuses are faults, and which of those may be retried) and how much of it is
//! read. Must never follow a redirect, buffer more than the limit, or put a URL or a header into a message.

use super::guard::{Guard, Refused};
use super::secrets::Secrets;
use super::{Fault, json};
use chrono::{DateTime, Utc};
use reqwest::header::{
    ACCEPT, CONTENT_ENCODING, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue, RETRY_AFTER,
};
use reqwest::{Request, Response, StatusCode};
use serde_json::Value;
use std::error::Error;
use std::future::Future;
use std::time::Duration;

/// A service may ask for a pause; it may not park a run for days.
const MAX_RETRY_AFTER: Duration = Duration::from_secs(3600);
/// How much of a refusal is read for the sentence in it, and for how long.
const REFUSAL_BYTES: usize = 16 * 1024;
const REFUSAL_TIME: Duration = Duration::from_secs(2);
const EXCERPT_CHARS: usize = 300;

/// Bounds on every call.
#[derive(Debug, Clone)]
pub struct HttpLimits {
    /// Bytes of an answer's body.
    pub max_answer_bytes: usize,
}

impl Default for HttpLimits {
    fn default() -> HttpLimits {
        HttpLimits { max_answer_bytes: 1024 * 1024 }
    }
}

/// A 2xx answer. The body of 202, 204 and 205 is null.
#[derive(Debug)]
pub(super) struct Answer {
    pub status: StatusCode,
    pub body: Value,
}

impl Fault {
    /// A fault that the same call would meet again.
    pub(super) fn lasting(message: impl Into<String>) -> Fault {
        Fault { message: message.into(), retryable: false, retry_after: None }
    }

    /// A fault that may be gone at the next attempt.
    pub(super) fn passing(message: impl Into<String>) -> Fault {
        Fault { message: message.into(), retryable: true, retry_after: None }
    }
}

/// Sets a header, or says which one cannot be sent.
pub(super) fn set_header(headers: &mut HeaderMap, name: &str, value: &str) -> Result<(), Fault> {
    let refused = |_| Fault::lasting(format!("The header {name} cannot be sent: it is not a valid header."));
    let key = HeaderName::from_bytes(name.as_bytes()).map_err(|_| refused(()))?;
    let value = HeaderValue::from_bytes(value.as_bytes()).map_err(|_| refused(()))?;
    headers.insert(key, value);
    Ok(())
}

/// Bounds a call in time.
pub(super) async fn within<T>(
    limit: Duration,
    work: impl Future<Output = Result<T, Fault>>,
) -> Result<T, Fault> {
    match tokio::time::timeout(limit, work).await {
        Ok(done) => done,
        Err(_) => Err(Fault::passing(format!(
            "The service did not answer within {} seconds. Check it, or give it more time (timeout_seconds, max_minutes).",
            limit.as_secs_f64()
        ))),
    }
}

/// Makes the call. The time limit is the caller's; no fault's message holds a secret of it.
pub(super) async fn exchange(
    guard: &Guard,
    limits: &HttpLimits,
    request: Request,
    secrets: &Secrets,
) -> Result<Answer, Fault> {
    send(guard, limits, request, secrets).await.map_err(|fault| secrets.hide_in(fault))
}

async fn send(
    guard: &Guard,
    limits: &HttpLimits,
    mut request: Request,
    secrets: &Secrets,
) -> Result<Answer, Fault> {
    let client = guard.client_for(request.url()).map_err(|refused| Fault::lasting(refused.message))?;
    request.headers_mut().insert(ACCEPT, HeaderValue::from_static("application/json"));
    let response = client.execute(request).await.map_err(|cause| transport_fault(&cause))?;
    let status = response.status();
    match status.as_u16() {
        202 | 204 | 205 => Ok(Answer { status, body: Value::Null }),
        200..=299 => Ok(Answer { status, body: read_json(response, limits.max_answer_bytes).await? }),
        300..=399 => Err(Fault::lasting(format!(
            "The service answered {status}, a redirect. Redirects are not followed: write the final address into \
             the configuration."
        ))),
        _ => Err(refusal(response, secrets).await),
    }
}

async fn read_json(mut response: Response, limit: usize) -> Result<Value, Fault> {
    let headers = response.headers();
    let content_type = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or("");
    if !is_json(content_type) {
        let found = match readable(content_type, 80) {
            text if text.is_empty() => "no content type".to_owned(),
            text => format!("the content type {text}"),
        };
        return Err(Fault::lasting(format!(
            "The service answered with {found}; application/json is needed."
        )));
    }
    if headers.get(CONTENT_ENCODING).is_some_and(|value| value != "identity") {
        return Err(Fault::lasting(
            "The service answered with a compressed body, which it was not asked for.",
        ));
    }
    let too_large =
        || Fault::lasting(format!("The service's answer is larger than the limit of {limit} bytes."));
    if response.content_length().is_some_and(|length| length > limit as u64) {
        return Err(too_large());
    }
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(|cause| transport_fault(&cause))? {
        if body.len() + chunk.len() > limit {
            return Err(too_large());
        }
        body.extend_from_slice(&chunk);
    }
    json::parse(&body).map_err(|why| Fault::lasting(format!("The service's answer {why}.")))
}

/// `application/json` and `application/…+json`, with or without parameters.
fn is_json(content_type: &str) -> bool {
    let media = content_type.split(';').next().unwrap_or("").trim().to_ascii_lowercase();
    media == "application/json" || (media.starts_with("application/") && media.ends_with("+json"))
}

/// What a 4xx or 5xx means.
async fn refusal(response: Response, secrets: &Secrets) -> Fault {
    let status = response.status();
    // 408 says that the request did not arrive whole in time: this machine may have stood still meanwhile.
    let may_pass = [StatusCode::TOO_MANY_REQUESTS, StatusCode::REQUEST_TIMEOUT];
    let retryable = status.is_server_error() || may_pass.contains(&status);
    let retry_after = response.headers().get(RETRY_AFTER).and_then(|value| value.to_str().ok());
    let retry_after = retry_after.filter(|_| retryable).and_then(|text| pause_asked_for(text, Utc::now()));
    let message = match tokio::time::timeout(REFUSAL_TIME, excerpt(response, secrets)).await.ok().flatten() {
        Some(said) => format!("The service answered {status}: {said}"),
        None => format!("The service answered {status}."),
    };
    Fault { message, retryable, retry_after }
}

/// The sentence of a refusal: `detail` of RFC 9457, or what others call it.
async fn excerpt(mut response: Response, secrets: &Secrets) -> Option<String> {
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await.ok()? {
        body.extend_from_slice(&chunk);
        if body.len() > REFUSAL_BYTES {
            return None;
        }
    }
    let body = json::parse(&body).ok()?;
    let said = ["/detail", "/error/message", "/error", "/message", "/title"]
        .into_iter()
        .find_map(|pointer| body.pointer(pointer).and_then(Value::as_str))?;
    // Hidden before it is cut: half a secret is one too.
    Some(readable(&secrets.hide(said), EXCERPT_CHARS)).filter(|text| !text.is_empty())
}

/// Foreign text, fit to be shown: control characters out, cut to `limit` characters.
pub(super) fn readable(text: &str, limit: usize) -> String {
    let spaced = text.chars().map(|character| if character.is_whitespace() { ' ' } else { character });
    let clean: String = spaced.filter(|character| !character.is_control()).collect();
    match clean.char_indices().nth(limit) {
        Some((end, _)) => format!("{}…", clean[..end].trim()),
        None => clean.trim().to_owned(),
    }
}

/// `Retry-After`: seconds, or an HTTP date (RFC 9110, section 10.2.3).
fn pause_asked_for(text: &str, now: DateTime<Utc>) -> Option<Duration> {
    let text = text.trim();
    let asked = if text.bytes().all(|byte| byte.is_ascii_digit()) && !text.is_empty() {
        Duration::from_secs(text.parse().unwrap_or(u64::MAX))
    } else {
        let until = DateTime::parse_from_rfc2822(text).ok()?;
        until.signed_duration_since(now).to_std().unwrap_or(Duration::ZERO)
    };
    Some(asked.min(MAX_RETRY_AFTER))
}

/// A call that broke. The URL is left out: it may hold what the payload holds.
fn transport_fault(cause: &reqwest::Error) -> Fault {
    let mut innermost: &dyn Error = cause;
    while let Some(deeper) = innermost.source() {
        if let Some(refused) = deeper.downcast_ref::<Refused>() {
            return Fault::lasting(refused.message.clone());
        }
        innermost = deeper;
    }
    let why = if cause.source().is_some() { readable(&innermost.to_string(), 200) } else { String::new() };
    let what = if cause.is_connect() {
        "The service could not be reached"
    } else if cause.is_builder() {
        return Fault::lasting(format!("The call could not be made: {why}."));
    } else {
        "The connection broke before the answer was complete"
    };
    Fault::passing(format!("{what} ({why})."))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn retry_after_is_seconds_or_a_date_and_is_capped() {
        let now = DateTime::parse_from_rfc3339("2026-03-01T12:00:00Z").unwrap().with_timezone(&Utc);
        for (text, seconds) in [
            ("7", Some(7)),
            ("0", Some(0)),
            ("99999999999999999999999", Some(3600)),
            ("Sun, 01 Mar 2026 12:02:00 GMT", Some(120)),
            ("Sun, 01 Mar 2026 11:00:00 GMT", Some(0)),
            ("Mon, 01 Mar 2027 12:00:00 GMT", Some(3600)),
            ("-5", None),
            ("soon", None),
            ("", None),
        ] {
            assert_eq!(pause_asked_for(text, now), seconds.map(Duration::from_secs), "{text:?}");
        }
    }

    #[test]
    fn only_json_is_json() {
        for text in ["application/json", "Application/JSON; charset=utf-8", "application/problem+json"] {
            assert!(is_json(text), "{text}");
        }
        for text in ["", "text/html", "text/json", "application/jsonl", "application/json5", "x+json"] {
            assert!(!is_json(text), "{text}");
        }
    }

    #[test]
    fn foreign_text_is_cut_and_cleaned() {
        assert_eq!(readable("a\u{1b}[31m\r\nb\0", 10), "a[31m  b");
        assert_eq!(readable(&"é".repeat(400), 300).chars().count(), 301);
    }
}
