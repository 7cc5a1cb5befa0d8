//! Every refusal and failure that a request can meet, as RFC 9457 `application/problem+json`.
//!
//! Which to use:
//! - the bytes are not what HTTP or JSON allow: [`AppError::BadRequest`]; they are, but say something that cannot be:
//!   [`AppError::Unprocessable`], with every error at once;
//! - nobody is signed in: [`AppError::Unauthorized`]; somebody is, and may not: [`AppError::Forbidden`];
//! - it would have been right at another moment: [`AppError::Conflict`];
//! - it is our fault: [`AppError::Internal`], which is logged here, once, and shows only a request id.

use super::request_id;
use crate::auth::limits::Wait;
use crate::auth::policy::{Refusal, Scope};
use crate::scheduler::input::Misfit;
use actix_web::body::BoxBody;
use actix_web::http::StatusCode;
use actix_web::http::header::{self, HeaderValue};
use actix_web::{HttpResponse, ResponseError};
use serde::Serialize;
use serde_json::{Map, Value};
use std::fmt;

/// The media type of every error body.
pub const CONTENT_TYPE: &str = "application/problem+json";

/// A refusal or failure, on its way to an answer. `detail` says what happened and what to do next.
#[derive(Debug)]
pub enum AppError {
    /// 400
    BadRequest(String),
    /// 401
    Unauthorized { detail: String, challenge: Challenge },
    /// 403
    Forbidden { detail: String, missing: Option<&'static str> },
    /// 404
    NotFound(String),
    /// 410: it was here. Says where it is now.
    Gone(String),
    /// 405; `allow` as in the header: `GET, POST`.
    MethodNotAllowed { allow: String },
    /// 409; `fields` join the body, for example who decided.
    Conflict { detail: String, fields: Map<String, Value> },
    /// 412: `If-Match` names another version than the stored one.
    PreconditionFailed(String),
    /// 413; `limit` in bytes.
    PayloadTooLarge { limit: usize },
    /// 415
    UnsupportedMediaType(String),
    /// 422
    Unprocessable { errors: Vec<FieldError> },
    /// 429; `retry_after` in seconds.
    TooManyRequests { detail: String, retry_after: u64 },
    /// 500
    Internal(anyhow::Error),
    /// 503; `retry_after` in seconds.
    Unavailable { detail: String, retry_after: u64 },
}

/// What a 401 says about the credentials (RFC 6750, 3.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Challenge {
    /// There were none.
    Missing,
    /// The `Authorization` header is not one bearer token.
    InvalidRequest,
    /// The token or its user is refused.
    InvalidToken,
}

/// One thing that is wrong with what was sent, and where: `$.tasks[2].id`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct FieldError {
    pub path: String,
    pub message: String,
}

/// The body of an error, also for pages that show it.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Problem {
    #[serde(rename = "type")]
    pub kind: &'static str,
    pub title: &'static str,
    pub status: u16,
    pub detail: String,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub errors: Vec<FieldError>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub missing: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub request_id: Option<String>,
    #[serde(flatten)]
    pub fields: Map<String, Value>,
}

impl AppError {
    /// Our own fault, from whatever went wrong.
    pub fn internal(error: impl Into<anyhow::Error>) -> AppError {
        AppError::Internal(error.into())
    }

    /// One field is wrong.
    pub fn field(path: impl Into<String>, message: impl Into<String>) -> AppError {
        AppError::Unprocessable { errors: vec![FieldError { path: path.into(), message: message.into() }] }
    }

    /// A conflict that needs no more than a sentence.
    pub fn conflict(detail: impl Into<String>) -> AppError {
        AppError::Conflict { detail: detail.into(), fields: Map::new() }
    }

    /// The body. Every problem names its request, so that a report can be matched with the logs.
    pub fn problem(&self) -> Problem {
        let status = self.status_code();
        let (errors, missing, fields) = match self {
            AppError::Unprocessable { errors } => (errors.clone(), None, Map::new()),
            AppError::Forbidden { missing, .. } => (Vec::new(), *missing, Map::new()),
            AppError::Conflict { fields, .. } => (Vec::new(), None, fields.clone()),
            _ => (Vec::new(), None, Map::new()),
        };
        Problem {
            kind: "about:blank",
            title: status.canonical_reason().unwrap_or("Error"),
            status: status.as_u16(),
            detail: self.detail(),
            errors,
            missing,
            request_id: request_id::current().map(|id| id.as_str().to_owned()),
            fields,
        }
    }

    fn detail(&self) -> String {
        match self {
            AppError::BadRequest(detail)
            | AppError::Unauthorized { detail, .. }
            | AppError::Forbidden { detail, .. }
            | AppError::NotFound(detail)
            | AppError::Gone(detail)
            | AppError::Conflict { detail, .. }
            | AppError::PreconditionFailed(detail)
            | AppError::UnsupportedMediaType(detail)
            | AppError::TooManyRequests { detail, .. }
            | AppError::Unavailable { detail, .. } => detail.clone(),
            AppError::MethodNotAllowed { allow } => format!("This address takes {allow}."),
            AppError::PayloadTooLarge { limit } => {
                format!("The body is larger than the limit of {limit} bytes.")
            }
            AppError::Unprocessable { errors } => match errors.as_slice() {
                [only] => format!("{}: {}", only.path, only.message),
                several => format!("{} things are wrong; errors lists them.", several.len()),
            },
            AppError::Internal(_) => {
                "Something went wrong here. It has been logged; report the request id if \
                                      it happens again."
                    .to_owned()
            }
        }
    }

    fn add_headers(&self, response: &mut HttpResponse) {
        let headers = response.headers_mut();
        let mut set = |name, value: &str| {
            if let Ok(value) = HeaderValue::from_str(value) {
                headers.insert(name, value);
            }
        };
        match self {
            AppError::Unauthorized { detail, challenge } => {
                set(header::WWW_AUTHENTICATE, &challenge.header(detail));
            }
            // A token with more scopes would not help where a role is missing.
            AppError::Forbidden { missing: Some(scope), .. } if Scope::parse(scope).is_some() => {
                let value = format!(r#"Bearer realm="hms-act", error="insufficient_scope", scope="{scope}""#);
                set(header::WWW_AUTHENTICATE, &value);
            }
            AppError::MethodNotAllowed { allow } => set(header::ALLOW, allow),
            AppError::TooManyRequests { retry_after, .. } | AppError::Unavailable { retry_after, .. } => {
                set(header::RETRY_AFTER, &retry_after.to_string());
            }
            AppError::BadRequest(_)
            | AppError::Forbidden { .. }
            | AppError::NotFound(_)
            | AppError::Gone(_)
            | AppError::Conflict { .. }
            | AppError::PreconditionFailed(_)
            | AppError::PayloadTooLarge { .. }
            | AppError::UnsupportedMediaType(_)
            | AppError::Unprocessable { .. }
            | AppError::Internal(_) => {}
        }
    }
}

impl Challenge {
    fn header(self, detail: &str) -> String {
        let error = match self {
            Challenge::Missing => return r#"Bearer realm="hms-act""#.to_owned(),
            Challenge::InvalidRequest => "invalid_request",
            Challenge::InvalidToken => "invalid_token",
        };
        let detail: String =
            detail.chars().filter(|c| (' '..='~').contains(c) && !"\"\\".contains(*c)).collect();
        format!(r#"Bearer realm="hms-act", error="{error}", error_description="{detail}""#)
    }
}

impl fmt::Display for AppError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.detail())
    }
}

impl ResponseError for AppError {
    fn status_code(&self) -> StatusCode {
        match self {
            AppError::BadRequest(_) => StatusCode::BAD_REQUEST,
            AppError::Unauthorized { .. } => StatusCode::UNAUTHORIZED,
            AppError::Forbidden { .. } => StatusCode::FORBIDDEN,
            AppError::NotFound(_) => StatusCode::NOT_FOUND,
            AppError::Gone(_) => StatusCode::GONE,
            AppError::MethodNotAllowed { .. } => StatusCode::METHOD_NOT_ALLOWED,
            AppError::Conflict { .. } => StatusCode::CONFLICT,
            AppError::PreconditionFailed(_) => StatusCode::PRECONDITION_FAILED,
            AppError::PayloadTooLarge { .. } => StatusCode::PAYLOAD_TOO_LARGE,
            AppError::UnsupportedMediaType(_) => StatusCode::UNSUPPORTED_MEDIA_TYPE,
            AppError::Unprocessable { .. } => StatusCode::UNPROCESSABLE_ENTITY,
            AppError::TooManyRequests { .. } => StatusCode::TOO_MANY_REQUESTS,
            AppError::Internal(_) => StatusCode::INTERNAL_SERVER_ERROR,
            AppError::Unavailable { .. } => StatusCode::SERVICE_UNAVAILABLE,
        }
    }

    fn error_response(&self) -> HttpResponse<BoxBody> {
        let problem = self.problem();
        if let AppError::Internal(error) = self {
            let id = problem.request_id.as_deref().unwrap_or("none");
            tracing::error!(request.id = id, error = format!("{error:#}"), "a request failed");
        }
        let body = serde_json::to_string(&problem).expect("a problem is plain JSON");
        let mut response = HttpResponse::build(self.status_code()).content_type(CONTENT_TYPE).body(body);
        self.add_headers(&mut response);
        response
    }
}

impl From<Misfit> for FieldError {
    fn from(misfit: Misfit) -> FieldError {
        FieldError { path: misfit.path, message: misfit.message }
    }
}

impl From<Refusal> for AppError {
    fn from(refusal: Refusal) -> AppError {
        AppError::Forbidden { detail: refusal.message, missing: Some(refusal.missing.as_str()) }
    }
}

impl From<Wait> for AppError {
    fn from(wait: Wait) -> AppError {
        let unit = if wait.seconds == 1 { "second" } else { "seconds" };
        AppError::TooManyRequests {
            detail: format!("Too many tries. Wait {} {unit} and try again.", wait.seconds),
            retry_after: wait.seconds,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{AppError, Challenge, FieldError};
    use crate::auth::limits::Wait;
    use crate::auth::policy::{Missing, Refusal, Scope};
    use crate::web::request_id::RequestId;
    use actix_web::ResponseError;
    use actix_web::body::MessageBody;
    use serde_json::{Map, Value, json};

    fn body(error: &AppError) -> Value {
        let bytes = error.error_response().into_body().try_into_bytes().expect("in memory");
        serde_json::from_slice(&bytes).expect("json")
    }

    fn header(error: &AppError, name: &str) -> String {
        let response = error.error_response();
        response.headers().get(name).expect("set").to_str().expect("text").to_owned()
    }

    #[test]
    fn body_is_a_problem_of_its_own_media_type() {
        let error = AppError::NotFound("There is no run 9001.".to_owned());
        assert_eq!(header(&error, "content-type"), "application/problem+json");
        let expected = json!({ "type": "about:blank", "title": "Not Found", "status": 404,
                               "detail": "There is no run 9001." });
        assert_eq!(body(&error), expected);
    }

    #[test]
    fn internal_errors_show_a_request_id_and_nothing_else() {
        let error = AppError::internal(anyhow::anyhow!("password=hunter2"));
        let id = RequestId::generate();
        let body = id.clone().sync_scope(|| body(&error));
        assert_eq!(body["request_id"], id.as_str());
        assert!(!body.to_string().contains("hunter2") && !error.to_string().contains("hunter2"));
    }

    #[test]
    fn refusal_names_the_missing_scope() {
        let refusal = Refusal {
            missing: Missing::Scope(Scope::LogRead),
            message: "This token lacks log:read.".to_owned(),
        };
        let error = AppError::from(refusal);
        assert_eq!(body(&error)["missing"], "log:read");
        assert!(
            header(&error, "www-authenticate").ends_with(r#"error="insufficient_scope", scope="log:read""#)
        );
    }

    #[test]
    fn challenge_says_what_is_wrong_with_the_token() {
        let refused = |challenge| AppError::Unauthorized { detail: "It \"expired\".".to_owned(), challenge };
        assert_eq!(header(&refused(Challenge::Missing), "www-authenticate"), r#"Bearer realm="hms-act""#);
        assert_eq!(
            header(&refused(Challenge::InvalidToken), "www-authenticate"),
            r#"Bearer realm="hms-act", error="invalid_token", error_description="It expired.""#
        );
    }

    #[test]
    fn conflict_carries_its_own_fields() {
        let fields = Map::from_iter([("decided_by".to_owned(), json!("supervisor"))]);
        let error = AppError::Conflict { detail: "It is decided.".to_owned(), fields };
        assert_eq!(body(&error)["decided_by"], "supervisor");
    }

    #[test]
    fn field_errors_come_all_at_once() {
        let error = |path: &str| FieldError { path: path.to_owned(), message: "is required".to_owned() };
        let both = AppError::Unprocessable { errors: vec![error("$.a"), error("$.b")] };
        assert_eq!(body(&both)["errors"][1], json!({ "path": "$.b", "message": "is required" }));
        assert_eq!(body(&both)["detail"], "2 things are wrong; errors lists them.");
        assert_eq!(body(&AppError::field("$.a", "is required"))["detail"], "$.a: is required");
    }

    #[test]
    fn waiting_is_told_to_people_and_programs() {
        let error = AppError::from(Wait { seconds: 60 });
        assert_eq!(header(&error, "retry-after"), "60");
        assert_eq!(body(&error)["detail"], "Too many tries. Wait 60 seconds and try again.");
    }
}
