//! `/openapi.json`, the JSON Schema of protocols, and `/docs`, where people read and try it (Swagger UI). Nothing here is secret.

use super::super::problem::AppError;
use super::openapi;
use super::query::Query;
use crate::engine::protocol::JSON_SCHEMA;
use actix_web::http::header::{CACHE_CONTROL, CONTENT_ENCODING, LOCATION};
use actix_web::web::{self, ServiceConfig, get};
use actix_web::{HttpRequest, HttpResponse, Responder};
use askama::Template;
use std::sync::{Arc, LazyLock};
use utoipa_swagger_ui::Config;

/// Asked again each time: another version may run by then.
const FRESH: (actix_web::http::header::HeaderName, &str) = (CACHE_CONTROL, "no-cache");

/// Loads Swagger UI. Its own page has no language for those whose browser runs no scripts.
#[derive(Template)]
#[template(path = "docs.html")]
struct Page;

pub fn routes(config: &mut ServiceConfig) {
    config
        .route("/docs", get().to(to_page))
        .route("/docs/", get().to(page))
        .route("/docs/{file}", get().to(file));
}

/// `GET /openapi.json`
pub async fn document() -> impl Responder {
    HttpResponse::Ok().insert_header(FRESH).content_type("application/json").body(openapi::json())
}

/// `GET /acts/protocol.schema.json`
pub async fn protocol_schema(req: HttpRequest) -> Result<HttpResponse, AppError> {
    Query::of(&req)?.finish()?;
    let mut response = HttpResponse::Ok();
    response.insert_header(FRESH).content_type("application/schema+json");
    Ok(response.body(JSON_SCHEMA))
}

/// The page's files are beside it.
async fn to_page() -> HttpResponse {
    HttpResponse::PermanentRedirect().insert_header(FRESH).insert_header((LOCATION, "/docs/")).finish()
}

async fn page() -> Result<HttpResponse, AppError> {
    let html = Page.render().map_err(AppError::internal)?;
    Ok(HttpResponse::Ok().insert_header(FRESH).content_type("text/html; charset=utf-8").body(html))
}

/// A file of Swagger UI, as the library embeds it.
async fn file(name: web::Path<String>) -> Result<HttpResponse, AppError> {
    static CONFIG: LazyLock<Arc<Config<'static>>> = LazyLock::new(|| {
        let config = Config::from("/openapi.json").use_base_layout().default_models_expand_depth(0);
        // Its default sends the address of the document to a service elsewhere.
        Arc::new(config.validator_url("none"))
    });
    let found = utoipa_swagger_ui::serve(&name, Arc::clone(&CONFIG))
        .map_err(|error| AppError::internal(anyhow::anyhow!("{error}")))?;
    let file = found.ok_or_else(|| AppError::NotFound(format!("There is nothing at /docs/{name}.")))?;
    let mut response = HttpResponse::Ok();
    response.insert_header(FRESH).content_type(file.content_type);
    if file.gzpipped {
        response.insert_header((CONTENT_ENCODING, "gzip"));
    }
    Ok(response.body(file.bytes.into_owned()))
}
