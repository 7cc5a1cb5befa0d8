//! The JSON API, under `/acts` and `/hitl`. One file for each noun; every URL is in [`super::routes`].

pub mod approvals;
pub mod bundle;
pub mod callbacks;
pub mod docs;
pub mod events;
pub mod evidence;
pub mod log;
pub mod openapi;
pub mod overrides;
pub mod protocols;
pub mod query;
pub mod redactions;
pub mod registry;
pub mod replay;
pub mod run_acts;
pub mod runs;
pub mod schedules;
pub mod sealed;
pub mod service;
pub mod what_if;
pub mod work;

use super::json::{Fields, parse_object};
use super::principal::{authenticate, doors};
use super::problem::AppError;
use crate::auth::policy::Principal;
use actix_web::http::header;
use actix_web::{HttpRequest, HttpResponse, web};
use serde_json::{Map, Value, json};

/// Who asks, and the body's fields: what nearly every handler begins with.
///
/// # Errors
/// 401; 400, 413, 415, 422 for the body.
async fn signed_body(
    req: &HttpRequest,
    payload: web::Payload,
) -> Result<(Principal, Map<String, Value>), AppError> {
    let who = authenticate(req).await?;
    Ok((who, body_object(req, payload).await?))
}

async fn body_object(req: &HttpRequest, payload: web::Payload) -> Result<Map<String, Value>, AppError> {
    let limit = doors(req)?.max_body_bytes;
    let declared = req
        .headers()
        .get(header::CONTENT_LENGTH)
        .and_then(|length| length.to_str().ok()?.parse::<usize>().ok());
    if declared.is_some_and(|length| length > limit) {
        return Err(AppError::PayloadTooLarge { limit });
    }
    let read = payload.to_bytes_limited(limit).await.map_err(|_| AppError::PayloadTooLarge { limit })?;
    let bytes =
        read.map_err(|error| AppError::BadRequest(format!("The body could not be read: {error}.")))?;
    let content_type =
        req.headers().get(header::CONTENT_TYPE).map(|value| value.to_str().unwrap_or_default());
    parse_object(&bytes, content_type, limit)
}

/// The number in a path. Anything else is a 400 that says what a number is.
fn path_id(text: &str, noun: &str) -> Result<i64, AppError> {
    text.parse::<i64>()
        .ok()
        .filter(|id| *id > 0 && text.bytes().all(|byte| byte.is_ascii_digit()))
        .ok_or_else(|| {
            AppError::BadRequest(format!("The number of {noun} is a whole number from 1 to {}.", i64::MAX))
        })
}

/// `{"<noun>": [...], "next": cursor or null}` with a `Link` header to the next page. `rows` has one more than
/// `limit` when there is a next page; `place` says where in the list a row stands.
fn page<Row>(
    req: &HttpRequest,
    noun: &str,
    mut rows: Vec<Row>,
    limit: i64,
    as_json: impl Fn(&Row) -> Value,
    place: impl Fn(&Row) -> String,
) -> HttpResponse {
    let more = rows.len() > limit as usize;
    rows.truncate(limit as usize);
    let next = rows.last().filter(|_| more).map(|last| query::cursor(place(last)));
    let rows: Vec<Value> = rows.iter().map(as_json).collect();
    let mut response = HttpResponse::Ok();
    if let Some(next) = &next {
        let mut query: Vec<(String, String)> = url::form_urlencoded::parse(req.query_string().as_bytes())
            .into_owned()
            .filter(|(key, _)| key != "cursor")
            .collect();
        query.push(("cursor".to_owned(), next.clone()));
        let query = url::form_urlencoded::Serializer::new(String::new()).extend_pairs(query).finish();
        response.insert_header((header::LINK, format!("<{}?{query}>; rel=\"next\"", req.path())));
    }
    response.json(json!({noun: rows, "next": next}))
}

/// The version that `If-Match` names: `"3"`, `3` or `W/"3"`; `*` and nothing are any.
fn if_match(req: &HttpRequest) -> Result<Option<i32>, AppError> {
    let Some(value) = req.headers().get(header::IF_MATCH) else { return Ok(None) };
    let text = value.to_str().unwrap_or_default().trim().trim_start_matches("W/").trim_matches('"');
    if text == "*" {
        return Ok(None);
    }
    text.parse().map(Some).map_err(|_| {
        AppError::BadRequest("If-Match must be the version that you saw, for example \"3\".".to_owned())
    })
}

/// A body with a reason and nothing else.
fn reason(map: Map<String, Value>) -> Result<String, AppError> {
    Fields::read(map, |fields| fields.required_text("reason", super::acts::MAX_REASON))
}
