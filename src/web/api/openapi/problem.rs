//! What a refusal looks like (RFC 9457), and the refusals that mean the same everywhere.

use super::super::super::problem::CONTENT_TYPE;
use super::call::{named, remember};
use actix_web::http::StatusCode;
use serde_json::json;
use utoipa::ToSchema;
use utoipa::openapi::content::ContentBuilder;
use utoipa::openapi::header::HeaderBuilder;
use utoipa::openapi::response::{Response, ResponseBuilder};
use utoipa::openapi::schema::{ObjectBuilder, Schema, Type};
use utoipa::openapi::{ComponentsBuilder, RefOr};

/// What went wrong and what to do next (RFC 9457, `application/problem+json`).
#[derive(ToSchema)]
pub struct Problem {
    /// Always `about:blank`: the status says what kind of problem it is.
    #[schema(rename = "type", example = "about:blank")]
    kind: String,
    /// The status in words.
    #[schema(example = "Conflict")]
    title: String,
    /// The HTTP status.
    #[schema(example = 409)]
    status: u16,
    /// What happened, and what to do next.
    detail: String,
    /// 422: everything that is wrong, each with its place.
    #[schema(nullable = false)]
    errors: Option<Vec<FieldError>>,
    /// 403: the scope, or the role, that is missing.
    #[schema(nullable = false, example = "approvals:decide")]
    missing: Option<String>,
    /// Also in the header `X-Request-Id`. Report it if something is our fault.
    #[schema(nullable = false)]
    request_id: Option<String>,
}

/// One thing that is wrong with what was sent.
#[derive(ToSchema)]
pub struct FieldError {
    /// Where: a JSON path into the body, or the name of a header.
    #[schema(example = "$.definition.tasks[2].id")]
    path: String,
    /// What is wrong, and what would be right.
    message: String,
}

/// (status, name, what it means, header)
type Refusal = (u16, &'static str, &'static str, Option<(&'static str, &'static str)>);

const REFUSALS: [Refusal; 12] = [
    (400, "BadRequest", "A parameter, a header or the JSON itself could not be read.", None),
    (401, "Unauthorized", "Nobody is signed in, or the token is refused.", Some(CHALLENGE)),
    (
        403,
        "Forbidden",
        "The role or the token lacks what this needs. The try is an entry in the log.",
        Some(CHALLENGE),
    ),
    (404, "NotFound", "There is nothing of this number or name.", None),
    (410, "Gone", "The run ended long ago, and its record was moved to the archive.", None),
    (409, "Conflict", "It would have been right at another moment.", None),
    (412, "PreconditionFailed", "Somebody saved another version in the meantime.", None),
    (413, "PayloadTooLarge", "The body is larger than the limit (1 MiB unless configured).", None),
    (415, "UnsupportedMediaType", "The body is not sent as JSON.", None),
    (422, "Unprocessable", "The JSON was read and says something wrong; `errors` lists all of it.", None),
    (429, "TooManyRequests", "More calls than one user may make.", Some(RETRY_AFTER)),
    (503, "Unavailable", "The database cannot be reached; nothing was done.", Some(RETRY_AFTER)),
];
const CHALLENGE: (&str, &str) = ("WWW-Authenticate", "What is wrong with the token (RFC 6750).");
const RETRY_AFTER: (&str, &str) = ("Retry-After", "Seconds to wait.");

const OURS: &str = "Our fault. It is logged under the request id.";

/// The name of the answer with this status.
pub fn name(status: u16) -> &'static str {
    REFUSALS.iter().find(|refusal| refusal.0 == status).map_or("InternalError", |refusal| refusal.1)
}

/// Adds the shapes, and the answers that calls refer to by name.
pub fn components(components: ComponentsBuilder) -> ComponentsBuilder {
    let mut schemas = Vec::new();
    remember::<Problem>(&mut schemas);
    let components = components.schemas_from_iter(schemas).response(name(500), plain(500, OURS));
    REFUSALS.into_iter().fold(components, |components, (status, name, about, header)| {
        let mut response = plain(status, about);
        if let Some((header, about)) = header {
            let text = Schema::Object(ObjectBuilder::new().schema_type(Type::String).build());
            let described =
                HeaderBuilder::new().schema(Some(RefOr::T(text))).description(Some(about)).build();
            response.headers.insert(header.to_owned(), RefOr::T(described));
        }
        components.response(name, response)
    })
}

/// A problem in general, with this status in its example.
fn plain(status: u16, about: &str) -> Response {
    let title = StatusCode::from_u16(status).ok().and_then(|status| status.canonical_reason());
    let example = json!({"type": "about:blank", "title": title, "status": status, "detail": about});
    let content = ContentBuilder::new().schema(Some(named::<Problem>())).example(Some(example)).build();
    ResponseBuilder::new().description(about).content(CONTENT_TYPE, content).build()
}

/// An answer that is a problem, perhaps with fields of its own.
pub fn response<T: ToSchema>(about: &str) -> Response {
    let content = ContentBuilder::new().schema(Some(named::<T>())).build();
    ResponseBuilder::new().description(about).content(CONTENT_TYPE, content).build()
}

/// Why a command came too late. Beside the fields of every problem, those that apply.
#[derive(ToSchema)]
pub struct TooLate {
    #[schema(rename = "type", example = "about:blank")]
    kind: String,
    #[schema(example = "Conflict")]
    title: String,
    #[schema(example = 409)]
    status: u16,
    /// What happened, and what to do next.
    detail: String,
    #[schema(nullable = false)]
    request_id: Option<String>,
    /// The run, and how it stands.
    #[schema(nullable = false)]
    run_id: Option<i64>,
    #[schema(nullable = false, example = "cancelled")]
    run_status: Option<String>,
    /// Who was faster, with what, and when.
    #[schema(nullable = false, example = "supervisor")]
    decided_by: Option<String>,
    #[schema(nullable = false, example = "approve")]
    decision: Option<String>,
    #[schema(nullable = false, format = DateTime)]
    decided_at: Option<String>,
}
