//! `POST /acts/runs/{id}/what-if`: what another version of its protocol would have made of a run. Nothing is executed.

use super::super::acts::{Instead, Told, ask_what_if};
use super::super::json::Fields;
use super::super::problem::AppError;
use super::super::site::Site;
use super::{path_id, signed_body};
use crate::engine::ids::StepPath;
use crate::engine::state::RunStatus;
use crate::engine::whatif::Difference;
use actix_web::{HttpRequest, HttpResponse, web};
use serde_json::{Map, Value, json};

/// `{"version": 3}`, or `{"definition": {…}}` for a draft.
pub async fn ask(
    req: HttpRequest,
    site: web::Data<Site>,
    path: web::Path<String>,
    payload: web::Payload,
) -> Result<HttpResponse, AppError> {
    let (who, body) = signed_body(&req, payload).await?;
    let id = path_id(&path, "a run")?;
    let told = ask_what_if(&site, &who, id, instead(body)?).await?;
    Ok(HttpResponse::Ok().json(as_json(&told)))
}

fn instead(body: Map<String, Value>) -> Result<Instead, AppError> {
    Fields::read(body, |fields| {
        match (fields.optional_i64("version"), fields.optional_object("definition")) {
            (Some(version), None) => Instead::Version(version),
            (None, Some(definition)) => Instead::Draft(definition),
            (Some(_), Some(definition)) => {
                fields.error("definition", "cannot be sent beside `version`. Send one of the two.");
                Instead::Draft(definition)
            }
            (None, None) => {
                fields
                    .error("version", "or `definition` must be sent: a version of the protocol, or a draft.");
                Instead::Version(0)
            }
        }
    })
}

fn as_json(told: &Told) -> Value {
    let report = &told.report;
    let difference = |difference: &Difference| {
        json!({
            "step": difference.step.as_ref().map(StepPath::as_str),
            "kind": difference.kind.as_str(),
            "message": difference.message,
        })
    };
    json!({
        "run_id": told.run.id,
        "version": told.version,
        "same": report.same(),
        "same_until": report.same_until.as_ref().map(StepPath::as_str),
        "outcome": {"then": report.then.as_str(), "now": report.now.map(RunStatus::as_str)},
        "differences": report.differences.iter().map(difference).collect::<Vec<_>>(),
    })
}
