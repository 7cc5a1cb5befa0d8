//! `/acts/protocols`: the list, one with its versions, writing and checking.

use super::super::authoring::{Own, check_definition, create_protocol, save_protocol};
use super::super::json::Fields;
use super::super::principal::authenticate;
use super::super::problem::AppError;
use super::super::site::Site;
use super::query::{Query, bad_cursor};
use super::runs::time;
use super::{if_match, page, path_id, signed_body};
use crate::auth::policy::{Permission, Resource};
use crate::store::protocols::{self, ProtocolRow, VersionEntry};
use actix_web::http::header;
use actix_web::{HttpRequest, HttpResponse, web};
use serde_json::{Value, json};

/// `GET /acts/protocols`
pub async fn index(req: HttpRequest, site: web::Data<Site>) -> Result<HttpResponse, AppError> {
    let who = authenticate(&req).await?;
    site.permit(&who, Permission::ReadProtocols, Resource::Any).await?;
    let mut query = Query::of(&req)?;
    let limit = query.limit()?;
    let after = query.number_cursor()?;
    query.finish()?;
    let rows = site.read(move |connection| protocols::list(connection, after, limit + 1)).await?;
    Ok(page(&req, "protocols", rows, limit, row_as_json, |row| row.id.to_string()))
}

fn row_as_json(row: &ProtocolRow) -> Value {
    json!({
        "id": row.id,
        "name": row.name,
        "version": row.latest_version,
        "created_by": row.created_by,
        "created_at": time(row.created_at),
        "updated_at": time(row.updated_at),
    })
}

/// `GET /acts/protocols/{id}`, the latest version or `?version=2`.
pub async fn show(
    req: HttpRequest,
    site: web::Data<Site>,
    path: web::Path<String>,
) -> Result<HttpResponse, AppError> {
    let who = authenticate(&req).await?;
    site.permit(&who, Permission::ReadProtocols, Resource::Any).await?;
    let id = path_id(&path, "a protocol")?;
    let mut query = Query::of(&req)?;
    let wanted = query.number("version")?;
    query.finish()?;
    let found = site
        .read(move |connection| {
            let Some(row) = protocols::get(connection, id)? else { return Ok(None) };
            let number = wanted.unwrap_or_else(|| row.latest_version.into());
            let Ok(number) = i32::try_from(number) else { return Ok(None) };
            Ok(protocols::version(connection, id, number)?.map(|version| (row, version)))
        })
        .await?;
    let missing = || AppError::NotFound(format!("There is no such version of protocol {id}."));
    let (row, version) = found.ok_or_else(missing)?;
    let mut body = row_as_json(&row);
    body["version"] = version.version.into();
    body["latest_version"] = row.latest_version.into();
    body["definition"] = version.definition;
    Ok(HttpResponse::Ok().insert_header((header::ETAG, format!("\"{}\"", version.version))).json(body))
}

/// `GET /acts/protocols/{id}/versions`, newest first.
pub async fn versions(
    req: HttpRequest,
    site: web::Data<Site>,
    path: web::Path<String>,
) -> Result<HttpResponse, AppError> {
    let who = authenticate(&req).await?;
    site.permit(&who, Permission::ReadProtocols, Resource::Any).await?;
    let id = path_id(&path, "a protocol")?;
    let mut query = Query::of(&req)?;
    let limit = query.limit()?;
    let before = query.number_cursor()?.map(i32::try_from).transpose().map_err(|_| bad_cursor())?;
    query.finish()?;
    let found = site.read(move |connection| {
        let Some(_) = protocols::get(connection, id)? else { return Ok(None) };
        protocols::versions(connection, id, before, limit + 1).map(Some)
    });
    let missing = || AppError::NotFound(format!("There is no protocol {id}."));
    let rows = found.await?.ok_or_else(missing)?;
    let as_json = |row: &VersionEntry| json!({"version": row.version, "created_by": row.created_by, "created_at": time(row.created_at)});
    Ok(page(&req, "versions", rows, limit, as_json, |row| row.version.to_string()))
}

/// `POST /acts/protocols`
pub async fn create(
    req: HttpRequest,
    site: web::Data<Site>,
    payload: web::Payload,
) -> Result<HttpResponse, AppError> {
    let (who, body) = signed_body(&req, payload).await?;
    site.permit(&who, Permission::WriteProtocols, Resource::Any).await?;
    let (name, definition) = Fields::read(body, |fields| {
        (fields.required_text("name", 200), Value::Object(fields.required_object("definition")))
    })?;
    let row = create_protocol(&site, &who, name, definition).await?;
    Ok(HttpResponse::Created()
        .insert_header((header::LOCATION, format!("/acts/protocols/{}", row.id)))
        .insert_header((header::ETAG, format!("\"{}\"", row.latest_version)))
        .json(json!({"id": row.id, "version": row.latest_version})))
}

/// `PUT /acts/protocols/{id}`: the next version. `If-Match` guards against lost edits.
pub async fn save(
    req: HttpRequest,
    site: web::Data<Site>,
    path: web::Path<String>,
    payload: web::Payload,
) -> Result<HttpResponse, AppError> {
    let (who, body) = signed_body(&req, payload).await?;
    site.permit(&who, Permission::WriteProtocols, Resource::Any).await?;
    let (id, expected) = (path_id(&path, "a protocol")?, if_match(&req)?);
    let (name, definition) = Fields::read(body, |fields| {
        (fields.optional_text("name", 200), Value::Object(fields.required_object("definition")))
    })?;
    let row = save_protocol(&site, &who, id, expected, name, definition).await?;
    Ok(HttpResponse::Ok()
        .insert_header((header::ETAG, format!("\"{}\"", row.latest_version)))
        .json(json!({"id": row.id, "version": row.latest_version})))
}

/// `POST /acts/protocols/validate`: what is wrong with a definition, without saving it.
pub async fn validate(
    req: HttpRequest,
    site: web::Data<Site>,
    payload: web::Payload,
) -> Result<HttpResponse, AppError> {
    let (who, body) = signed_body(&req, payload).await?;
    site.permit(&who, Permission::ReadProtocols, Resource::Any).await?;
    let (name, definition) = Fields::read(body, |fields| {
        (fields.optional_text("name", 200), Value::Object(fields.required_object("definition")))
    })?;
    let errors = check_definition(&site, &definition, "$.definition", Own { id: None, name }).await?;
    if errors.is_empty() {
        return Ok(HttpResponse::Ok().json(json!({"valid": true, "errors": []})));
    }
    Err(AppError::Unprocessable { errors })
}
