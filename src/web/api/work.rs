//! `/acts/work`: claiming work, and saying what came of it.

use super::super::json::Fields;
use super::super::problem::AppError;
use super::super::site::Site;
use super::super::work::{self, Claim, Claimed};
use super::runs::time;
use super::{path_id, signed_body};
use crate::engine::state::Run;
use crate::store::work::WorkRow;
use actix_web::{HttpRequest, HttpResponse, web};
use serde_json::{Map, Value, json};
use std::time::Duration;

const MAX_ACTIONS: usize = 100;
const MAX_AT_ONCE: i64 = 100;
/// Seconds.
const MAX_WAIT: i64 = 60;
const LEASE: std::ops::RangeInclusive<i64> = 1..=3600;
const DEFAULT_LEASE: i64 = 60;
/// Characters.
const MAX_NAME: usize = 200;
const MAX_TOKEN: usize = 200;
const MAX_ERROR: usize = 4_000;

/// `POST /acts/work/claim`
pub async fn claim(
    req: HttpRequest,
    site: web::Data<Site>,
    payload: web::Payload,
) -> Result<HttpResponse, AppError> {
    let (who, body) = signed_body(&req, payload).await?;
    let claimed = work::claim(&site, &who, &read_claim(body)?).await?;
    let list: Vec<Value> = claimed.into_iter().map(as_json).collect();
    Ok(HttpResponse::Ok().json(json!({"work": list})))
}

fn read_claim(body: Map<String, Value>) -> Result<Claim, AppError> {
    Fields::read(body, |fields| {
        let actions = read_actions(fields);
        let worker = fields.required_text("worker", MAX_NAME);
        let max = within(fields, "max", 1, 1..=MAX_AT_ONCE);
        let wait = within(fields, "wait_seconds", 0, 0..=MAX_WAIT);
        let lease_seconds = within(fields, "lease_seconds", DEFAULT_LEASE, LEASE);
        Claim {
            actions,
            worker,
            max: max as usize,
            wait: Duration::from_secs(wait.unsigned_abs()),
            lease_seconds: lease_seconds as i32,
        }
    })
}

fn read_actions(fields: &mut Fields) -> Vec<String> {
    let listed = fields.required_array("actions");
    let names: Vec<String> = listed.iter().filter_map(|name| name.as_str().map(str::to_owned)).collect();
    if names.len() < listed.len() {
        fields.error("actions", "must be a list of names, each a text");
    } else if names.len() > MAX_ACTIONS {
        fields.error("actions", format!("must name at most {MAX_ACTIONS} actions"));
    }
    names
}

/// A whole number in a range; left out, `default`.
fn within(fields: &mut Fields, key: &'static str, default: i64, range: std::ops::RangeInclusive<i64>) -> i64 {
    let number = fields.optional_i64(key).unwrap_or(default);
    if !range.contains(&number) {
        fields.error(key, format!("must be from {} to {}", range.start(), range.end()));
        return default;
    }
    number
}

fn as_json(claimed: Claimed) -> Value {
    let Claimed { lent, attempt, lease_token } = claimed;
    json!({
        "id": lent.id,
        "run_id": lent.run_id,
        "step": lent.step,
        "attempt": lent.attempt,
        "action": attempt.uses,
        "input": attempt.input,
        "idempotency_key": attempt.idempotency_key,
        "lease_token": lease_token,
        "lease_until": time(lent.lease_until),
    })
}

/// `POST /acts/work/{id}/heartbeat`
pub async fn heartbeat(
    req: HttpRequest,
    site: web::Data<Site>,
    path: web::Path<String>,
    payload: web::Payload,
) -> Result<HttpResponse, AppError> {
    let (who, body) = signed_body(&req, payload).await?;
    let token = Fields::read(body, |fields| fields.required_text("lease_token", MAX_TOKEN))?;
    let extended = work::heartbeat(&site, &who, path_id(&path, "work")?, &token).await?;
    Ok(HttpResponse::Ok().json(json!({"lease_until": time(extended.lease_until), "cancel": extended.cancel})))
}

/// `POST /acts/work/{id}/complete`
pub async fn complete(
    req: HttpRequest,
    site: web::Data<Site>,
    path: web::Path<String>,
    payload: web::Payload,
) -> Result<HttpResponse, AppError> {
    let (who, body) = signed_body(&req, payload).await?;
    let (token, result) = Fields::read(body, |fields| {
        (fields.required_text("lease_token", MAX_TOKEN), fields.required_value("result"))
    })?;
    let (row, run) = work::complete(&site, &who, path_id(&path, "work")?, &token, result).await?;
    Ok(ended(&row, &run))
}

/// `POST /acts/work/{id}/fail`
pub async fn fail(
    req: HttpRequest,
    site: web::Data<Site>,
    path: web::Path<String>,
    payload: web::Payload,
) -> Result<HttpResponse, AppError> {
    let (who, body) = signed_body(&req, payload).await?;
    let (token, error, retryable) = Fields::read(body, |fields| {
        let token = fields.required_text("lease_token", MAX_TOKEN);
        let error = fields.required_text("error", MAX_ERROR);
        (token, error, fields.optional_bool("retryable").unwrap_or(false))
    })?;
    let (row, run) = work::fail(&site, &who, path_id(&path, "work")?, &token, error, retryable).await?;
    Ok(ended(&row, &run))
}

fn ended(row: &WorkRow, run: &Run) -> HttpResponse {
    HttpResponse::Ok().json(json!({
        "id": row.id,
        "run_id": row.run_id,
        "step": row.step,
        "run_status": run.status.as_str(),
    }))
}
