//! `GET /acts/runs/{id}/bundle`: a run's evidence in one file. Making one is an entry in the log.

use super::super::acts;
use super::super::pages::report::Report;
use super::super::principal::authenticate;
use super::super::problem::AppError;
use super::super::site::Site;
use super::path_id;
use super::query::Query;
use crate::auth::policy::{Permission, Resource};
use crate::export::bundle;
use actix_web::http::header;
use actix_web::{HttpRequest, HttpResponse, web};
use askama::Template;
use serde_json::json;
use std::sync::Arc;

pub async fn bundle(
    req: HttpRequest,
    site: web::Data<Site>,
    path: web::Path<String>,
) -> Result<HttpResponse, AppError> {
    let who = authenticate(&req).await?;
    let id = path_id(&path, "a run")?;
    Query::of(&req)?.finish()?;
    site.permit(&who, Permission::ReadLog, Resource::Any).await?;
    let run = acts::read_run(&site, &who, id).await?;
    let (over, protocol) = (run.status.is_final(), Arc::clone(&run.protocol));
    let evidence = site.read(move |connection| bundle::evidence(connection, id, over)).await?;
    let evidence = evidence.ok_or_else(|| AppError::Unavailable {
        detail: site.sealing.problem().map_or_else(
            || "The run's last entries are being signed. Ask again in a second.".to_owned(),
            |problem| format!("The run's last entries are not signed: {problem}."),
        ),
        retry_after: 1,
    })?;
    let head = evidence.head.size;
    let making = web::block(move || -> Result<Vec<u8>, askama::Error> {
        let report = Report::of(&evidence, &protocol, &run.protocol_ref.name).render()?;
        Ok(bundle::write(&evidence, &report))
    });
    let bytes = making.await.map_err(AppError::internal)?.map_err(AppError::internal)?;
    site.record(&who, "bundle.made", json!({"run": id, "checkpoint": head})).await?;
    Ok(HttpResponse::Ok()
        .content_type("application/zip")
        .insert_header((
            header::CONTENT_DISPOSITION,
            format!("attachment; filename=\"run-{id}-evidence.zip\""),
        ))
        .body(bytes))
}
