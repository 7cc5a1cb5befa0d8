//! `/hitl/overrides`: an official stops a run for review, another decides.

use super::super::acts::{self, Judgement};
use super::super::json::Fields;
use super::super::principal::authenticate;
use super::super::problem::AppError;
use super::super::site::Site;
use super::query::Query;
use super::runs::time;
use super::{page, path_id, signed_body};
use crate::auth::policy::{Permission, Resource, sees_all_runs};
use crate::engine::state::{OverrideAction, OverrideChoice};
use crate::store::overrides::{self, OverrideFilter, OverrideRow, OverrideStatus};
use actix_web::http::header;
use actix_web::{HttpRequest, HttpResponse, web};
use serde_json::{Value, json};

/// `GET /hitl/overrides`, newest first.
pub async fn index(req: HttpRequest, site: web::Data<Site>) -> Result<HttpResponse, AppError> {
    let who = authenticate(&req).await?;
    site.permit(&who, Permission::ReadOverrides, Resource::Any).await?;
    let mut query = Query::of(&req)?;
    let limit = query.limit()?;
    let before = query.number_cursor()?;
    let statuses = match query.text("status") {
        None => Vec::new(),
        Some(text) => text.split(',').map(|word| status(word.trim())).collect::<Result<_, _>>()?,
    };
    let run_id = query.number("run_id")?;
    query.finish()?;
    let run_starter = (!sees_all_runs(&who)).then(|| who.user.clone());
    let filter = OverrideFilter { statuses, run_id, run_starter };
    let rows = site.read(move |connection| overrides::list(connection, &filter, before, limit + 1)).await?;
    Ok(page(&req, "overrides", rows, limit, as_json, |row| row.id.to_string()))
}

fn status(word: &str) -> Result<OverrideStatus, AppError> {
    OverrideStatus::parse(word).ok_or_else(|| {
        let known: Vec<&str> = OverrideStatus::ALL.iter().map(|status| status.as_str()).collect();
        AppError::BadRequest(format!(
            "`{word}` is no status of an override. Use one of {}.",
            known.join(", ")
        ))
    })
}

/// `POST /hitl/overrides`
pub async fn file(
    req: HttpRequest,
    site: web::Data<Site>,
    payload: web::Payload,
) -> Result<HttpResponse, AppError> {
    let (who, body) = signed_body(&req, payload).await?;
    let (run_id, action, reason, new_value) = Fields::read(body, |fields| {
        let run_id = fields.required_i64("run_id");
        let action = match fields.required_choice("action", &["pause", "cancel", "modify"]) {
            "cancel" => OverrideAction::Cancel,
            "modify" => OverrideAction::Modify,
            _ => OverrideAction::Pause,
        };
        let reason = fields.required_text("reason", acts::MAX_REASON);
        (run_id, action, reason, fields.optional_object("new_value"))
    })?;
    let (row, run) = acts::file_override(&site, &who, run_id, action, reason, new_value).await?;
    let mut body = as_json(&row);
    body["run_status"] = run.status.as_str().into();
    Ok(HttpResponse::Created()
        .insert_header((header::LOCATION, format!("/hitl/overrides/{}", row.id)))
        .json(body))
}

/// `GET /hitl/overrides/{id}`
pub async fn show(
    req: HttpRequest,
    site: web::Data<Site>,
    path: web::Path<String>,
) -> Result<HttpResponse, AppError> {
    let who = authenticate(&req).await?;
    Query::of(&req)?.finish()?;
    let row = acts::read_override(&site, &who, path_id(&path, "an override")?).await?;
    Ok(HttpResponse::Ok().json(as_json(&row)))
}

/// `POST /hitl/overrides/{id}/decision`
pub async fn decide(
    req: HttpRequest,
    site: web::Data<Site>,
    path: web::Path<String>,
    payload: web::Payload,
) -> Result<HttpResponse, AppError> {
    let (who, body) = signed_body(&req, payload).await?;
    let id = path_id(&path, "an override")?;
    let judgement = Fields::read(body, |fields| {
        let choice = match fields.required_choice("choice", &["approve", "modify", "reject"]) {
            "approve" => OverrideChoice::Approve,
            "modify" => OverrideChoice::Modify,
            _ => OverrideChoice::Reject,
        };
        let reason = fields.optional_text("reason", acts::MAX_REASON);
        let new_value = fields.optional_object("new_value");
        if choice != OverrideChoice::Modify && new_value.is_some() {
            fields.error("new_value", "is only for the choice modify");
        }
        Judgement { choice, reason, new_value }
    })?;
    let (row, run) = acts::decide_override(&site, &who, id, judgement).await?;
    let mut body = as_json(&row);
    body["run_status"] = run.status.as_str().into();
    if let Some(ending) = &run.ending {
        body["ending"] = ending.outcome.as_str().into();
    }
    Ok(HttpResponse::Ok().json(body))
}

fn as_json(row: &OverrideRow) -> Value {
    json!({
        "id": row.id,
        "run_id": row.run_id,
        "action": row.action,
        "status": row.status,
        "protocol_name": row.protocol_name,
        "started_by": row.run_starter,
        "filed_by": row.filed_by,
        "filed_at": time(row.filed_at),
        "reason": row.reason,
        "new_value": row.new_value,
        "review_until": time(row.review_until),
        "decided_by": row.decided_by,
        "decided_at": row.decided_at.map(time),
        "decision_reason": row.decision,
        "merged_value": row.merged,
    })
}
