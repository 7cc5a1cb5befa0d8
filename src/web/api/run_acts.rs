//! What is done to a run in flight, or to one that is over: `/acts/runs/{id}/cancel`, `pause`, `resume`, `retry`,
//! `skip`, `values`, `migrate`, `rerun`.

use super::super::acts;
use super::super::json::Fields;
use super::super::problem::AppError;
use super::super::site::Site;
use super::{path_id, reason, signed_body};
use crate::engine::decide::migrate::{Mapped, Preview};
use crate::engine::state::{Run, RunStatus};
use actix_web::http::header;
use actix_web::{HttpRequest, HttpResponse, web};
use serde_json::{Map, Value, json};
use std::sync::Arc;

/// The longest path to a step or a value, in characters.
const MAX_PATH: usize = 1_000;

/// How a run stands after what was asked of it.
fn changed(run: Arc<Run>) -> HttpResponse {
    let mut body = json!({"run_id": run.id, "status": run.status.as_str()});
    if let Some(ending) = &run.ending {
        body["ending"] = ending.outcome.as_str().into();
    }
    HttpResponse::Accepted().json(body)
}

/// `PATCH /acts/runs/{id}/cancel`
pub async fn cancel(
    req: HttpRequest,
    site: web::Data<Site>,
    path: web::Path<String>,
    payload: web::Payload,
) -> Result<HttpResponse, AppError> {
    let (who, body) = signed_body(&req, payload).await?;
    Ok(changed(acts::cancel_run(&site, &who, path_id(&path, "a run")?, reason(body)?).await?))
}

/// `POST /acts/runs/{id}/pause`
pub async fn pause(
    req: HttpRequest,
    site: web::Data<Site>,
    path: web::Path<String>,
    payload: web::Payload,
) -> Result<HttpResponse, AppError> {
    let (who, body) = signed_body(&req, payload).await?;
    Ok(changed(acts::pause_run(&site, &who, path_id(&path, "a run")?, reason(body)?).await?))
}

/// `POST /acts/runs/{id}/resume`
pub async fn resume(
    req: HttpRequest,
    site: web::Data<Site>,
    path: web::Path<String>,
    payload: web::Payload,
) -> Result<HttpResponse, AppError> {
    let (who, body) = signed_body(&req, payload).await?;
    Ok(changed(acts::resume_run(&site, &who, path_id(&path, "a run")?, reason(body)?).await?))
}

/// `POST /acts/runs/{id}/retry`
pub async fn retry(
    req: HttpRequest,
    site: web::Data<Site>,
    path: web::Path<String>,
    payload: web::Payload,
) -> Result<HttpResponse, AppError> {
    let (who, body) = signed_body(&req, payload).await?;
    let id = path_id(&path, "a run")?;
    let (step, reason) = step_and_reason(body)?;
    Ok(changed(acts::retry_step(&site, &who, id, &step, reason).await?))
}

/// `POST /acts/runs/{id}/skip`
pub async fn skip(
    req: HttpRequest,
    site: web::Data<Site>,
    path: web::Path<String>,
    payload: web::Payload,
) -> Result<HttpResponse, AppError> {
    let (who, body) = signed_body(&req, payload).await?;
    let id = path_id(&path, "a run")?;
    let (step, reason) = step_and_reason(body)?;
    Ok(changed(acts::skip_step(&site, &who, id, &step, reason).await?))
}

fn step_and_reason(body: Map<String, Value>) -> Result<(String, String), AppError> {
    Fields::read(body, |fields| {
        (fields.required_text("step", MAX_PATH), fields.required_text("reason", acts::MAX_REASON))
    })
}

/// `POST /acts/runs/{id}/values`
pub async fn set_value(
    req: HttpRequest,
    site: web::Data<Site>,
    path: web::Path<String>,
    payload: web::Payload,
) -> Result<HttpResponse, AppError> {
    let (who, body) = signed_body(&req, payload).await?;
    let id = path_id(&path, "a run")?;
    let (place, value, reason) = Fields::read(body, |fields| {
        let sent = fields.required_text("path", MAX_PATH);
        let place = if sent.is_empty() { Ok(Vec::new()) } else { acts::value_path(&sent) };
        let place = place.unwrap_or_else(|message| {
            fields.error("path", message);
            Vec::new()
        });
        (place, fields.required_value("value"), fields.required_text("reason", acts::MAX_REASON))
    })?;
    Ok(changed(acts::set_value(&site, &who, id, place, value, reason).await?))
}

/// `POST /acts/runs/{id}/migrate`
pub async fn migrate(
    req: HttpRequest,
    site: web::Data<Site>,
    path: web::Path<String>,
    payload: web::Payload,
) -> Result<HttpResponse, AppError> {
    let (who, body) = signed_body(&req, payload).await?;
    let id = path_id(&path, "a run")?;
    let (version, preview, reason) = Fields::read(body, |fields| {
        let version = fields.required_i64("version");
        let preview = fields.optional_bool("preview").unwrap_or(false);
        (version, preview, fields.optional_text("reason", acts::MAX_REASON))
    })?;
    if preview {
        let (run, preview) = acts::preview_migration(&site, &who, id, version).await?;
        return Ok(HttpResponse::Ok().json(preview_as_json(&run, version, &preview)));
    }
    let reason = reason.unwrap_or_else(|| "No reason was given.".to_owned());
    Ok(changed(acts::migrate_run(&site, &who, id, version, reason).await?))
}

fn preview_as_json(run: &Run, version: i64, preview: &Preview) -> Value {
    let step = |mapped: &Mapped| {
        let mut step = json!({
            "step": mapped.step.as_str(),
            "status": mapped.status.as_str(),
            "maps_to": mapped.maps_to,
        });
        if let Some(problem) = &mapped.problem {
            step["problem"] = problem.as_str().into();
        }
        step
    };
    json!({
        "run_id": run.id,
        "from_version": run.protocol_ref.version,
        "to_version": version,
        "possible": preview.is_possible(),
        "steps": preview.steps.iter().map(step).collect::<Vec<_>>(),
        "problems": preview.problems,
        "adds": preview.adds,
        "drops": preview.drops,
    })
}

/// `POST /acts/runs/{id}/rerun`
pub async fn rerun(
    req: HttpRequest,
    site: web::Data<Site>,
    path: web::Path<String>,
    payload: web::Payload,
) -> Result<HttpResponse, AppError> {
    let (who, body) = signed_body(&req, payload).await?;
    let id = path_id(&path, "a run")?;
    let (reason, payload) = Fields::read(body, |fields| {
        (fields.required_text("reason", acts::MAX_REASON), fields.optional_object("payload"))
    })?;
    let begun = acts::rerun(&site, &who, id, reason, payload).await?.run.id;
    Ok(HttpResponse::Accepted()
        .insert_header((header::LOCATION, format!("/acts/runs/{begun}")))
        .json(json!({"run_id": begun, "status": RunStatus::Queued.as_str()})))
}
