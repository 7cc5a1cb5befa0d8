//! `/acts/run` and `/acts/runs`: start, look, list.

use super::super::acts;
use super::super::json::Fields;
use super::super::principal::authenticate;
use super::super::problem::AppError;
use super::super::site::Site;
use super::query::Query;
use super::{page, path_id, signed_body};
use crate::auth::policy::{Permission, Resource, sees_all_runs};
use crate::engine::ids::RunId;
use crate::engine::ids::StepPath;
use crate::engine::json::{canonical, with_safe_integers};
use crate::engine::state::{Run, RunStatus, Step, Waits};
use crate::scheduler::stopped;
use crate::store::batch::StartKey;
use crate::store::runs::{self, RunFilter, RunRow};
use actix_web::http::header;
use actix_web::{HttpRequest, HttpResponse, web};
use chrono::{DateTime, SecondsFormat, Utc};
use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};
use std::time::Duration;

/// The longest long poll, in seconds.
const MAX_WAIT: i64 = 60;

/// A time as every answer writes it: RFC 3339, UTC, six fractional digits.
pub fn time(at: DateTime<Utc>) -> String {
    at.to_rfc3339_opts(SecondsFormat::Micros, true)
}

/// `POST /acts/run`
pub async fn start(
    req: HttpRequest,
    site: web::Data<Site>,
    payload: web::Payload,
) -> Result<HttpResponse, AppError> {
    let (who, body) = signed_body(&req, payload).await?;
    let key = start_key(&req, &who.user, &body)?;
    let (protocol_id, payload) = Fields::read(body, |fields| {
        (fields.required_i64("protocol_id"), fields.optional_object("payload").unwrap_or_default())
    })?;
    let done = acts::start_run(&site, &who, protocol_id, payload, key).await?;
    let id = done.run.id;
    Ok(HttpResponse::Accepted()
        .insert_header((header::LOCATION, format!("/acts/runs/{id}")))
        .json(json!({"run_id": id, "status": RunStatus::Queued.as_str()})))
}

/// `Idempotency-Key`, with the hash of the body that it stands for.
pub(super) fn start_key(
    req: &HttpRequest,
    user: &str,
    body: &Map<String, Value>,
) -> Result<Option<StartKey>, AppError> {
    let Some(value) = req.headers().get("idempotency-key") else { return Ok(None) };
    let key = value.to_str().unwrap_or_default().trim();
    if key.is_empty() || key.len() > 255 {
        let message = "An Idempotency-Key has 1 to 255 printable ASCII characters.".to_owned();
        return Err(AppError::BadRequest(message));
    }
    let body = canonical(&with_safe_integers(&Value::Object(body.clone())));
    let body_hash = Sha256::digest(body).to_vec();
    Ok(Some(StartKey { actor: user.to_owned(), key: key.to_owned(), body_hash }))
}

/// `GET /acts/runs/{id}`, with `?wait=20` after the next change.
pub async fn show(
    req: HttpRequest,
    site: web::Data<Site>,
    path: web::Path<String>,
) -> Result<HttpResponse, AppError> {
    let who = authenticate(&req).await?;
    let id = path_id(&path, "a run")?;
    let mut query = Query::of(&req)?;
    let wait = query.number("wait")?;
    query.finish()?;
    let mut changes = site.scheduler.changes.listen();
    let mut run = acts::read_run(&site, &who, id).await?;
    if let Some(wait) = wait {
        if !(0..=MAX_WAIT).contains(&wait) {
            return Err(AppError::BadRequest(format!(
                "The query parameter `wait` is from 0 to {MAX_WAIT} seconds."
            )));
        }
        let seen = run.version;
        let deadline = tokio::time::Instant::now() + Duration::from_secs(wait.unsigned_abs());
        let mut stopping = site.stopping.clone();
        while run.version == seen && !run.status.is_final() {
            tokio::select! {
                changed = changes.run_changed(RunId(id)) => if !changed { break },
                () = tokio::time::sleep_until(deadline) => break,
                () = stopped(&mut stopping) => break,
            }
            run = acts::read_run(&site, &who, id).await?;
        }
    }
    Ok(HttpResponse::Ok().json(as_json(&run)))
}

/// A run as the API shows it: the seed's fields, and what stands beside them.
pub fn as_json(run: &Run) -> Value {
    let current: Vec<String> = run.current_steps().iter().map(ToString::to_string).collect();
    json!({
        "run_id": run.id,
        "protocol_id": run.protocol_ref.id,
        "protocol_version": run.protocol_ref.version,
        "protocol_name": run.protocol_ref.name,
        "status": run.status.as_str(),
        "ending": run.ending.as_ref().map(|ending| ending.outcome.as_str()),
        "current_step": current.first(),
        "current_steps": current,
        "stalled": run.is_stalled(),
        "started_by": run.started_by,
        "started_at": time(run.created_at),
        "updated_at": time(run.updated_at),
        "ended_at": run.closed_at.map(time),
        "reason": run.note,
        "parent": run.parent.as_ref().map(|parent| json!({"run_id": parent.run, "step": parent.step.as_str()})),
        "rerun_of": run.rerun_of,
        "override": run.overridden.as_ref().map(|filed| json!({
            "id": filed.id,
            "action": filed.action.as_str(),
            "filed_by": filed.filed_by,
            "review_until": time(filed.review_until),
        })),
        "payload": *run.payload,
        "steps": run.steps.iter().map(|(path, step)| step_as_json(path, step)).collect::<Vec<_>>(),
        "log": mini_log(run),
    })
}

/// A step that has begun, as it stands.
fn step_as_json(path: &StepPath, step: &Step) -> Value {
    json!({
        "step": path.as_str(),
        "status": step.status.as_str(),
        "attempt": step.attempt,
        "round": path.round(),
        "waits": step.waits.as_ref().filter(|_| step.status.is_open()).map(|waits| waits_as_json(waits, step)),
        "approval": step.approval.as_ref().map(|approval| approval.id),
        "subrun": step.subrun,
        "carried": step.carried,
        "undone": step.undone,
        "stalled": step.stalled,
        "note": step.note,
    })
}

fn waits_as_json(waits: &Waits, step: &Step) -> Value {
    match waits {
        Waits::Approval => {
            json!({"for": "approval", "approval": step.approval.as_ref().map(|approval| approval.id)})
        }
        Waits::Retry { at } => json!({"for": "retry", "at": time(*at)}),
        Waits::Time { at } => json!({"for": "time", "at": time(*at)}),
        Waits::Event { name, key } => json!({"for": "event", "name": name, "key": key}),
        Waits::Callback => json!({"for": "callback"}),
        Waits::Worker => json!({"for": "worker"}),
    }
}

/// One line for each step that has begun: when it reached the status that it has.
fn mini_log(run: &Run) -> Vec<Value> {
    let mut steps: Vec<(&str, &Step)> =
        run.steps.iter().map(|(path, step)| (path.as_str(), step.as_ref())).collect();
    steps.sort_by_key(|(_, step)| step.changed_at);
    let line = |(path, step): &(&str, &Step)| json!({"t": time(step.changed_at), "step": path, "status": step.status.as_str()});
    steps.iter().map(line).collect()
}

/// `GET /acts/runs`
pub async fn index(req: HttpRequest, site: web::Data<Site>) -> Result<HttpResponse, AppError> {
    let who = authenticate(&req).await?;
    site.permit(&who, Permission::ReadRun, Resource::Any).await?;
    let mut query = Query::of(&req)?;
    let limit = query.limit()?;
    let before = query.number_cursor()?;
    let mut filter = filter(&mut query)?;
    query.finish()?;
    if !sees_all_runs(&who) {
        filter.started_by = Some(who.user.clone());
    }
    let rows = site.read(move |connection| runs::list(connection, &filter, before, limit + 1)).await?;
    Ok(page(&req, "runs", rows, limit, row_as_json, |row| row.run_id.to_string()))
}

/// The filters that `/acts/runs` takes.
fn filter(query: &mut Query) -> Result<RunFilter, AppError> {
    let statuses = match query.text("status") {
        None => Vec::new(),
        Some(text) => text.split(',').map(|word| status(word.trim())).collect::<Result<_, _>>()?,
    };
    Ok(RunFilter {
        statuses,
        protocol_id: query.number("protocol_id")?,
        text: query.text("q"),
        from: query.moment("from", false)?,
        to: query.moment("to", true)?,
        started_by: query.text("started_by"),
        stalled: query.flag("stalled")?.then_some(true),
    })
}

fn status(word: &str) -> Result<RunStatus, AppError> {
    RunStatus::parse(word).ok_or_else(|| {
        let known: Vec<&str> = RunStatus::ALL.iter().map(|status| status.as_str()).collect();
        AppError::BadRequest(format!("`{word}` is no status of a run. Use one of {}.", known.join(", ")))
    })
}

fn row_as_json(row: &RunRow) -> Value {
    json!({
        "run_id": row.run_id,
        "protocol_id": row.protocol_id,
        "protocol_version": row.protocol_version,
        "protocol_name": row.protocol_name,
        "status": row.status,
        "current_step": row.current_step,
        "stalled": row.stalled,
        "started_by": row.started_by,
        "subject": row.subject,
        "started_at": time(row.created_at),
        "updated_at": time(row.updated_at),
    })
}
