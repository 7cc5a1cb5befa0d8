//! `GET` and `POST /acts/runs/{id}/bundle`: a run's evidence in one file. Making one is an entry in the log.

use super::super::acts;
use super::super::principal::authenticate;
use super::super::problem::AppError;
use super::super::site::Site;
use super::query::Query;
use super::{path_id, reason, signed_body};
use actix_web::http::header;
use actix_web::{HttpRequest, HttpResponse, web};

/// `GET`: what is sealed is withheld.
pub async fn bundle(
    req: HttpRequest,
    site: web::Data<Site>,
    path: web::Path<String>,
) -> Result<HttpResponse, AppError> {
    let who = authenticate(&req).await?;
    let id = path_id(&path, "a run")?;
    Query::of(&req)?.finish()?;
    Ok(zipped(id, acts::make_bundle(&site, &who, id, None).await?))
}

/// `POST` with a reason: what is sealed is in it.
pub async fn disclose(
    req: HttpRequest,
    site: web::Data<Site>,
    path: web::Path<String>,
    payload: web::Payload,
) -> Result<HttpResponse, AppError> {
    let (who, body) = signed_body(&req, payload).await?;
    let id = path_id(&path, "a run")?;
    let reason = reason(body)?;
    Ok(zipped(id, acts::make_bundle(&site, &who, id, Some(&reason)).await?))
}

/// The file, as a download.
pub fn zipped(id: i64, bytes: Vec<u8>) -> HttpResponse {
    HttpResponse::Ok()
        .content_type("application/zip")
        .insert_header((header::CACHE_CONTROL, "no-store"))
        .insert_header((
            header::CONTENT_DISPOSITION,
            format!("attachment; filename=\"run-{id}-evidence.zip\""),
        ))
        .body(bytes)
}
