//! `POST /acts/runs/{id}/steps/{step}/callback?token=`: a service reports the end of what it took on with a 202.
//!
//! Open to whoever has the step's token, which was sent to the service with its call: no bearer token, no session.

use super::super::acts::plain_refusal;
use super::super::json::Fields;
use super::super::problem::AppError;
use super::super::site::Site;
use super::query::Query;
use super::{body_object, path_id};
use crate::engine::command::{Actor, Command, Fault, Rejection};
use crate::engine::ids::{RunId, StepPath};
use crate::engine::json;
use crate::scheduler::Refused;
use crate::store::agency::{AgencyEntry, NOBODY};
use crate::store::runs;
use actix_web::{HttpRequest, HttpResponse, web};
use serde_json::{Map, Value, json};

/// The longest error, in characters.
const MAX_ERROR: usize = 4_000;
/// No step's path is longer; what is longer is not even looked at.
const MAX_STEP: usize = 2_000;

pub async fn call_back(
    req: HttpRequest,
    site: web::Data<Site>,
    path: web::Path<(String, String)>,
    payload: web::Payload,
) -> Result<HttpResponse, AppError> {
    let (id, step) = path.into_inner();
    let (id, step) = (RunId(path_id(&id, "a run")?), StepPath::from_log(&step));
    let mut query = Query::of(&req)?;
    let token = query.text("token").unwrap_or_default();
    query.finish()?;
    let outcome = outcome(body_object(&req, payload).await?)?;
    if step.as_str().len() > MAX_STEP || !site.callbacks.is_ours(id, &step, &token) {
        return Err(refuse(&req, &site, id).await);
    }
    let command = Command::CallBack { step: step.clone(), outcome };
    match site.scheduler.act(id, command, Actor::system()).await {
        Ok(done) => Ok(HttpResponse::Ok().json(json!({
            "run_id": id,
            "step": step.as_str(),
            "run_status": done.run.status.as_str(),
        }))),
        Err(Refused::Rejected(Rejection::StaleAttempt { .. })) => Err(AppError::conflict(format!(
            "The step {step} waits for no callback any more: it is over. Nothing was changed."
        ))),
        Err(refused) => Err(plain_refusal(&refused)),
    }
}

fn outcome(body: Map<String, Value>) -> Result<Result<Value, Fault>, AppError> {
    Fields::read(body, |fields| {
        let status = fields.required_choice("status", &["done", "failed"]);
        let result = fields.optional_value("result");
        let error = fields.optional_text("error", MAX_ERROR);
        let retryable = fields.optional_bool("retryable");
        if status == "failed" {
            if result.is_some() {
                fields.error("result", "belongs to `done`: say in `error` what failed");
            }
            let error = error.unwrap_or_else(|| "the service reported a failure".to_owned());
            return Err(Fault { error, retryable: retryable.unwrap_or(false) });
        }
        if status == "done" && retryable.is_some() {
            fields.error("retryable", "belongs to `failed`: a step that is done is not tried again");
        }
        if status == "done" && error.is_some() {
            fields.error("error", "belongs to `failed`: a step that is done has a `result`");
        }
        Ok(json::normalise(result.unwrap_or(Value::Null)))
    })
}

/// 403, and an entry in the log; 404 for a run that is not there.
async fn refuse(req: &HttpRequest, site: &Site, id: RunId) -> AppError {
    match site.read(move |connection| runs::version(connection, id)).await {
        Ok(Some(_)) => {}
        Ok(None) => return AppError::NotFound(format!("There is no run {id}.")),
        Err(error) => return error,
    }
    let address = req.peer_addr().map(|address| address.ip().to_string());
    let entry = AgencyEntry {
        actor: NOBODY.to_owned(),
        type_name: "callback.refused",
        status: Some("refused"),
        detail: json!({"run": id, "address": address}),
        flood: Some(address.unwrap_or_default()),
    };
    match site.record_entry(entry).await {
        Ok(()) => AppError::Forbidden {
            detail:
                "The token is not the one of this step. Use the address in Act-Callback-Url as it was sent."
                    .to_owned(),
            missing: None,
        },
        Err(error) => error,
    }
}
