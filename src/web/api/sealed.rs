//! `/acts/runs/{id}/sealed`: reading what is sealed in a run.

use super::super::acts;
use super::super::problem::AppError;
use super::super::site::Site;
use super::runs::time;
use super::{path_id, reason, signed_body};
use crate::store::disclosures::{SealedValue, State};
use actix_web::http::header;
use actix_web::{HttpRequest, HttpResponse, web};
use serde_json::{Value, json};

/// `POST /acts/runs/{id}/sealed`. A POST, for it is an act: it is recorded before it is answered.
pub async fn read(
    req: HttpRequest,
    site: web::Data<Site>,
    path: web::Path<String>,
    payload: web::Payload,
) -> Result<HttpResponse, AppError> {
    let (who, body) = signed_body(&req, payload).await?;
    let id = path_id(&path, "a run")?;
    let reason = reason(body)?;
    let values = acts::read_sealed(&site, &who, id, &reason).await?;
    let values = values.iter().map(as_json).collect::<Result<Vec<Value>, String>>();
    let values = values.map_err(|error| AppError::internal(anyhow::anyhow!("run {id}: {error}")))?;
    Ok(HttpResponse::Ok()
        .insert_header((header::CACHE_CONTROL, "no-store"))
        .json(json!({"run_id": id, "values": values})))
}

fn as_json(sealed: &SealedValue) -> Result<Value, String> {
    let disclosure = &sealed.disclosure;
    Ok(json!({
        "seq": sealed.seq,
        "place": disclosure.place,
        "path": disclosure.path,
        "state": match sealed.state() {
            State::Withheld => "sealed",
            State::Erased => "erased",
        },
        "value": disclosure.value()?,
        "bytes": disclosure.bytes,
        "exemption": disclosure.exemption,
        "erased_at": sealed.erased_at.map(time),
        "redaction": sealed.redaction_id,
    }))
}
