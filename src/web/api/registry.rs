//! `/acts/actions` and `/acts/agents`: two registries of one shape.

use super::super::authoring::{Registry, change_registered, register};
use super::super::json::Fields;
use super::super::principal::authenticate;
use super::super::problem::AppError;
use super::super::site::Site;
use super::query::Query;
use super::runs::time;
use super::{if_match, page, signed_body};
use crate::auth::policy::{Permission, Resource};
use crate::store::registry::{self, Registered};
use actix_web::http::header;
use actix_web::{HttpRequest, HttpResponse, web};
use serde_json::{Value, json};

impl Registry {
    fn of(req: &HttpRequest) -> Registry {
        if req.path().starts_with("/acts/agents") { Registry::Agents } else { Registry::Actions }
    }

    fn noun(self) -> &'static str {
        match self {
            Registry::Actions => "actions",
            Registry::Agents => "agents",
        }
    }
}

/// `GET /acts/actions`, `GET /acts/agents`: by name.
pub async fn index(req: HttpRequest, site: web::Data<Site>) -> Result<HttpResponse, AppError> {
    let who = authenticate(&req).await?;
    site.permit(&who, Permission::ReadActions, Resource::Any).await?;
    let mut query = Query::of(&req)?;
    let limit = query.limit()?;
    let after = query.cursor()?.unwrap_or_default();
    query.finish()?;
    let registry = Registry::of(&req);
    let rows = site
        .read(move |connection| match registry {
            Registry::Actions => registry::actions::list(connection),
            Registry::Agents => registry::agents::list(connection),
        })
        .await?;
    let rows: Vec<Registered> =
        rows.into_iter().filter(|row| row.name > after).take(limit as usize + 1).collect();
    Ok(page(&req, registry.noun(), rows, limit, as_json, |row| row.name.clone()))
}

/// `GET /acts/actions/{name}`, `GET /acts/agents/{name}`
pub async fn show(
    req: HttpRequest,
    site: web::Data<Site>,
    path: web::Path<String>,
) -> Result<HttpResponse, AppError> {
    let who = authenticate(&req).await?;
    site.permit(&who, Permission::ReadActions, Resource::Any).await?;
    Query::of(&req)?.finish()?;
    let (registry, name) = (Registry::of(&req), path.into_inner());
    let wanted = name.clone();
    let missing = || AppError::NotFound(format!("There is nothing registered as `{wanted}`."));
    if name.contains('\0') {
        // No text in the database can hold it, so the question cannot even be asked there.
        return Err(missing());
    }
    let found = site
        .read(move |connection| match registry {
            Registry::Actions => registry::actions::get(connection, &name),
            Registry::Agents => registry::agents::get(connection, &name),
        })
        .await?;
    let row = found.ok_or_else(missing)?;
    Ok(answer(HttpResponse::Ok(), &row))
}

/// `POST /acts/actions`, `POST /acts/agents`
pub async fn create(
    req: HttpRequest,
    site: web::Data<Site>,
    payload: web::Payload,
) -> Result<HttpResponse, AppError> {
    let (who, body) = signed_body(&req, payload).await?;
    site.permit(&who, Permission::WriteProtocols, Resource::Any).await?;
    let registry = Registry::of(&req);
    let (name, kind, config) = Fields::read(body, |fields| {
        let name = fields.required_text("name", 100);
        (name, kind(fields, registry), Value::Object(fields.optional_object("config").unwrap_or_default()))
    })?;
    let saved = register(&site, &who, registry, name, kind, config).await?;
    let mut response = HttpResponse::Created();
    response.insert_header((header::LOCATION, format!("/acts/{}/{}", registry.noun(), saved.name)));
    Ok(answer(response, &saved))
}

/// `PUT /acts/actions/{name}`, `PUT /acts/agents/{name}`
pub async fn save(
    req: HttpRequest,
    site: web::Data<Site>,
    path: web::Path<String>,
    payload: web::Payload,
) -> Result<HttpResponse, AppError> {
    let (who, body) = signed_body(&req, payload).await?;
    site.permit(&who, Permission::WriteProtocols, Resource::Any).await?;
    let (registry, name, expected) = (Registry::of(&req), path.into_inner(), if_match(&req)?);
    let (_, kind, config) = Fields::read(body, |fields| {
        let named = fields.optional_text("name", 100);
        if named.is_some_and(|named| named != name) {
            fields.error("name", "differs from the name in the address; a name cannot be changed");
        }
        ((), kind(fields, registry), Value::Object(fields.optional_object("config").unwrap_or_default()))
    })?;
    let saved = change_registered(&site, &who, registry, name, expected, kind, config).await?;
    Ok(answer(HttpResponse::Ok(), &saved))
}

/// An agent has only one kind, so that it may be left out.
fn kind(fields: &mut Fields, registry: Registry) -> String {
    match registry {
        Registry::Actions => fields.required_text("kind", 20),
        Registry::Agents => fields.optional_text("kind", 20).unwrap_or_else(|| "openai".to_owned()),
    }
}

fn answer(mut response: actix_web::HttpResponseBuilder, row: &Registered) -> HttpResponse {
    response.insert_header((header::ETAG, format!("\"{}\"", row.version))).json(as_json(row))
}

fn as_json(row: &Registered) -> Value {
    json!({
        "name": row.name,
        "kind": row.kind,
        "config": row.config,
        "version": row.version,
        "updated_by": row.updated_by,
        "updated_at": time(row.updated_at),
    })
}
