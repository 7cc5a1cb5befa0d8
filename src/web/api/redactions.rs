//! `/acts/redactions`: one person asks that something sealed is erased, another decides.

use super::super::acts;
use super::super::json::Fields;
use super::super::principal::authenticate;
use super::super::problem::AppError;
use super::super::site::Site;
use super::query::Query;
use super::runs::time;
use super::{page, path_id, signed_body};
use crate::auth::policy::{Permission, Resource};
use crate::store::redactions::{self, RedactionFilter, RedactionRow, RedactionStatus};
use actix_web::http::header;
use actix_web::{HttpRequest, HttpResponse, web};
use serde_json::{Value, json};

/// `GET /acts/redactions`, newest first.
pub async fn index(req: HttpRequest, site: web::Data<Site>) -> Result<HttpResponse, AppError> {
    let who = authenticate(&req).await?;
    site.permit(&who, Permission::ReadRedactions, Resource::Any).await?;
    let mut query = Query::of(&req)?;
    let limit = query.limit()?;
    let before = query.number_cursor()?;
    let statuses = match query.text("status") {
        None => Vec::new(),
        Some(text) => text.split(',').map(|word| status(word.trim())).collect::<Result<_, _>>()?,
    };
    let run_id = query.number("run_id")?;
    query.finish()?;
    let filter = RedactionFilter { statuses, run_id };
    let rows = site.read(move |connection| redactions::list(connection, &filter, before, limit + 1)).await?;
    Ok(page(&req, "redactions", rows, limit, as_json, |row| row.id.to_string()))
}

fn status(word: &str) -> Result<RedactionStatus, AppError> {
    RedactionStatus::parse(word).ok_or_else(|| {
        let known: Vec<&str> = RedactionStatus::ALL.iter().map(|status| status.as_str()).collect();
        AppError::BadRequest(format!(
            "`{word}` is no status of a redaction. Use one of {}.",
            known.join(", ")
        ))
    })
}

/// `POST /acts/redactions`
pub async fn file(
    req: HttpRequest,
    site: web::Data<Site>,
    payload: web::Payload,
) -> Result<HttpResponse, AppError> {
    let (who, body) = signed_body(&req, payload).await?;
    let (run_id, path, reason) = Fields::read(body, |fields| {
        let run_id = fields.required_i64("run_id");
        let path = fields.required_text("path", acts::MAX_PATH);
        (run_id, path, fields.required_text("reason", acts::MAX_REASON))
    })?;
    let row = acts::file_redaction(&site, &who, run_id, path, reason).await?;
    Ok(HttpResponse::Created()
        .insert_header((header::LOCATION, format!("/acts/redactions/{}", row.id)))
        .json(as_json(&row)))
}

/// `GET /acts/redactions/{id}`
pub async fn show(
    req: HttpRequest,
    site: web::Data<Site>,
    path: web::Path<String>,
) -> Result<HttpResponse, AppError> {
    let who = authenticate(&req).await?;
    Query::of(&req)?.finish()?;
    let row = acts::read_redaction(&site, &who, path_id(&path, "a redaction")?).await?;
    Ok(HttpResponse::Ok().json(as_json(&row)))
}

/// `POST /acts/redactions/{id}/decision`
pub async fn decide(
    req: HttpRequest,
    site: web::Data<Site>,
    path: web::Path<String>,
    payload: web::Payload,
) -> Result<HttpResponse, AppError> {
    let (who, body) = signed_body(&req, payload).await?;
    let id = path_id(&path, "a redaction")?;
    let (approve, reason) = Fields::read(body, |fields| {
        let decision = fields.required_choice("decision", &["approve", "reject"]);
        (decision == "approve", fields.required_text("reason", acts::MAX_REASON))
    })?;
    let row = acts::decide_redaction(&site, &who, id, approve, reason).await?;
    Ok(HttpResponse::Ok().json(as_json(&row)))
}

fn as_json(row: &RedactionRow) -> Value {
    json!({
        "id": row.id,
        "run_id": row.run_id,
        "path": row.path,
        "status": row.status,
        "protocol_name": row.protocol_name,
        "started_by": row.run_starter,
        "filed_by": row.filed_by,
        "filed_at": time(row.filed_at),
        "reason": row.reason,
        "decided_by": row.decided_by,
        "decided_at": row.decided_at.map(time),
        "decision_reason": row.decision,
        "erased_values": row.erased,
    })
}
