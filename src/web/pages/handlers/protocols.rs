//! `/protocols`: the list, a new one, one with its versions, and its next version.

use super::rows::{self, PAGE};
use super::sent::{Form, Sent, address};
use super::targets::{base_version, document_problem};
use super::visit::{Visit, id, page, page_with, see_other};
use crate::auth::policy::Permission;
use crate::engine::protocol::Protocol;
use crate::store::protocols::{self as store, ProtocolRow as Stored, VersionEntry, VersionRow};
use crate::web::authoring::{create_protocol, save_protocol};
use crate::web::json;
use crate::web::pages::drawing;
use crate::web::pages::forms::Problem;
use crate::web::pages::moment::Moment;
use crate::web::pages::protocol::{Editor, Protocol as View, Version};
use crate::web::pages::protocols::{ProtocolNew, ProtocolRow, Protocols};
use crate::web::problem::AppError;
use actix_web::http::StatusCode;
use actix_web::{HttpRequest, HttpResponse, web};
use serde_json::Value;
use std::sync::Arc;

/// The longest name of a protocol, as the table has it.
const NAME: usize = 200;
/// What a new protocol begins with.
const EXAMPLE: &str = r#"{
  "tasks": [
    {"id": "fetch_data",     "type": "script"},
    {"id": "ai_analysis",    "type": "agent"},
    {"id": "human_approval", "type": "hitl"},
    {"id": "deploy",         "type": "script"}
  ]
}"#;

/// `GET /protocols`.
///
/// # Errors
/// 400 for parameters that are not known; 403.
pub async fn index(visit: Visit, req: HttpRequest) -> Result<HttpResponse, AppError> {
    visit.permit(Permission::ReadProtocols).await?;
    let query = Sent::query(req.query_string(), &["cursor"])?;
    let cursor = query.filled("cursor").map(|text| id(&text)).transpose()?;
    let (found, next) = rows::read(&visit, move |connection, scheduler, _| {
        let mut found = store::list(connection, cursor, PAGE + 1)?;
        let next = rows::cut(&mut found, |row| row.id.to_string());
        let parsed = found.into_iter().map(|row| {
            let version = store::version(connection, row.id, row.latest_version)?;
            let protocol = scheduler.protocols().get_known(connection, row.id, row.latest_version)?;
            Ok((row, protocol, version.map(|version| version.created_by)))
        });
        Ok((parsed.collect::<Result<Vec<_>, crate::store::error::StoreError>>()?, next))
    })
    .await?;
    let can_start = visit.may(Permission::StartRun);
    let row = |(row, protocol, by): (Stored, Option<Arc<Protocol>>, Option<String>)| ProtocolRow {
        href: format!("/protocols/{}", row.id),
        id: row.id.to_string(),
        description: protocol.and_then(|protocol| protocol.description.clone()).unwrap_or_default(),
        version: row.latest_version.to_string(),
        updated: Moment::new(row.updated_at),
        updated_by: by.unwrap_or(row.created_by),
        start_href: can_start.then(|| start_href(row.id)),
        name: row.name,
    };
    let view = Protocols {
        rows: found.into_iter().map(row).collect(),
        can_write: visit.may(Permission::WriteProtocols),
        first: cursor.map(|_| "/protocols".to_owned()),
        next: next.map(|next| query.address_with("/protocols", "cursor", &next)),
        chrome: visit.chrome("Protocols", "/protocols").await?,
    };
    page(&view)
}

/// `GET /protocols/new`.
///
/// # Errors
/// 403.
pub async fn new(visit: Visit) -> Result<HttpResponse, AppError> {
    visit.permit(Permission::WriteProtocols).await?;
    draw_new(&visit, StatusCode::OK, String::new(), EXAMPLE.to_owned(), Vec::new()).await
}

/// `POST /protocols/new`.
///
/// # Errors
/// 403. Problems come back with what was typed.
pub async fn create(visit: Visit, Form(sent): Form) -> Result<HttpResponse, AppError> {
    visit.permit(Permission::WriteProtocols).await?;
    let (name, typed) = (sent.text("name"), sent.raw("definition").to_owned());
    let mut problems = Vec::new();
    if name.is_empty() || name.chars().count() > NAME {
        problems
            .push(Problem::at_field("name", format!("Give the protocol a name of 1 to {NAME} characters.")));
    }
    let definition = read_document(&typed, &mut problems);
    let (Some(definition), true) = (definition, problems.is_empty()) else {
        return draw_new(&visit, StatusCode::UNPROCESSABLE_ENTITY, name, typed, problems).await;
    };
    match create_protocol(&visit.site, &visit.who, name.clone(), definition).await {
        Ok(row) => {
            visit.notice(true, "The protocol is saved. Runs can be started with it now.");
            Ok(see_other(&format!("/protocols/{}", row.id)))
        }
        Err(error) => {
            let (status, problems) = refused(error)?;
            draw_new(&visit, status, name, typed, problems).await
        }
    }
}

/// `GET /protocols/{id}`, and `?version=2`; `cursor` pages through the versions.
///
/// # Errors
/// 403, 404.
pub async fn show(visit: Visit, path: web::Path<String>, req: HttpRequest) -> Result<HttpResponse, AppError> {
    visit.permit(Permission::ReadProtocols).await?;
    let query = Sent::query(req.query_string(), &["version", "cursor"])?;
    let number = |name: &str| {
        let number = query.filled(name).map(|text| id(&text)).transpose()?;
        number.map(i32::try_from).transpose().map_err(|_| unknown())
    };
    let shown = Shown::of(&visit, id(&path)?, number("version")?, number("cursor")?).await?;
    page(&shown.view(&visit, None, Vec::new()).await?)
}

/// `POST /protocols/{id}`: its next version.
///
/// # Errors
/// 403, 404. Problems come back with what was typed; so does a version that somebody else saved in between.
pub async fn save(visit: Visit, path: web::Path<String>, Form(sent): Form) -> Result<HttpResponse, AppError> {
    visit.permit(Permission::WriteProtocols).await?;
    let (id, expected) = (id(&path)?, base_version(&sent)?);
    let typed = sent.raw("definition").to_owned();
    let mut problems = Vec::new();
    let (status, problems) = match read_document(&typed, &mut problems) {
        None => (StatusCode::UNPROCESSABLE_ENTITY, problems),
        Some(definition) => {
            match save_protocol(&visit.site, &visit.who, id, Some(expected), None, definition).await {
                Ok(row) => {
                    visit.notice(
                        true,
                        format!("Version {} is saved. New runs follow it.", row.latest_version),
                    );
                    return Ok(see_other(&format!("/protocols/{id}")));
                }
                Err(error) => refused(error)?,
            }
        }
    };
    let shown = Shown::of(&visit, id, None, None).await?;
    // Who was told that somebody was faster, and saves again, means it.
    let base = if status == StatusCode::UNPROCESSABLE_ENTITY { expected } else { shown.row.latest_version };
    page_with(status, &shown.view(&visit, Some((typed, base)), problems).await?)
}

/// What is wrong with a document, by place; other errors stay errors.
fn refused(error: AppError) -> Result<(StatusCode, Vec<Problem>), AppError> {
    match error {
        AppError::Unprocessable { errors } => {
            let place = |path: &str| path.replacen("$.definition", "$", 1);
            let problems = errors
                .iter()
                .map(|error| Problem::at_place("definition", place(&error.path), &error.message));
            Ok((StatusCode::UNPROCESSABLE_ENTITY, problems.collect()))
        }
        AppError::Conflict { detail, .. } => Ok((StatusCode::CONFLICT, vec![Problem::at_field("", detail)])),
        AppError::PreconditionFailed(detail) => {
            Ok((StatusCode::PRECONDITION_FAILED, vec![Problem::at_field("", detail)]))
        }
        other => Err(other),
    }
}

/// None: it is no JSON, and the problems say where.
fn read_document(typed: &str, problems: &mut Vec<Problem>) -> Option<Value> {
    match json::parse_value(typed.as_bytes()) {
        Ok(document) => Some(document),
        Err(error) => {
            problems.extend(document_problem("definition", &error));
            None
        }
    }
}

async fn draw_new(
    visit: &Visit,
    status: StatusCode,
    name: String,
    definition: String,
    problems: Vec<Problem>,
) -> Result<HttpResponse, AppError> {
    let chrome = visit.chrome("Write a new protocol", "/protocols").await?;
    page_with(status, &ProtocolNew { chrome, name, definition, problems })
}

fn start_href(id: i64) -> String {
    address("/runs/new", [("protocol_id", id.to_string().as_str())])
}

fn unknown() -> AppError {
    AppError::NotFound("There is no such version of a protocol.".to_owned())
}

/// A protocol at one of its versions.
struct Shown {
    row: Stored,
    version: VersionRow,
    /// A page of them, and whether it is not the first, and what the next begins before.
    versions: Vec<VersionEntry>,
    cursor: Option<i32>,
    next: Option<String>,
    protocol: Arc<Protocol>,
}

impl Shown {
    /// None: the latest version.
    async fn of(
        visit: &Visit,
        id: i64,
        version: Option<i32>,
        cursor: Option<i32>,
    ) -> Result<Shown, AppError> {
        let found = rows::read(visit, move |connection, scheduler, _| {
            let Some(row) = store::get(connection, id)? else { return Ok(None) };
            let wanted = version.unwrap_or(row.latest_version);
            let Some(version) = store::version(connection, id, wanted)? else { return Ok(None) };
            let mut versions = store::versions(connection, id, cursor, PAGE + 1)?;
            let next = rows::cut(&mut versions, |each| each.version.to_string());
            let protocol = scheduler.protocols().get(connection, id, wanted)?;
            Ok(Some(Shown { row, version, versions, cursor, next, protocol }))
        });
        found.await?.ok_or_else(unknown)
    }

    /// `typed`: a change that was refused, and the version that it is based on.
    async fn view(
        self,
        visit: &Visit,
        typed: Option<(String, i32)>,
        problems: Vec<Problem>,
    ) -> Result<View, AppError> {
        let Shown { row, version, versions, cursor, next, protocol } = self;
        let path = format!("/protocols/{}", row.id);
        let each = versions.iter().map(|each| Version {
            href: address(&path, [("version", each.version.to_string().as_str())]),
            number: each.version.to_string(),
            created: Moment::new(each.created_at),
            created_by: each.created_by.clone(),
            current: each.version == version.version,
        });
        let shown = version.version.to_string();
        let pretty = serde_json::to_string_pretty(&version.definition).map_err(AppError::internal)?;
        let base = typed.as_ref().map_or(row.latest_version, |(_, expected)| *expected);
        Ok(View {
            chrome: visit.chrome(&row.name, "/protocols").await?,
            id: row.id.to_string(),
            description: protocol.description.clone().unwrap_or_default(),
            version: version.version.to_string(),
            versions: each.collect(),
            first: cursor.map(|_| path.clone()),
            next: next.map(|next| address(&path, [("version", &*shown), ("cursor", &*next)])),
            rules: drawing::rules(&protocol),
            tasks: drawing::tasks(&protocol),
            definition: typed.map_or(pretty, |(typed, _)| typed),
            editor: visit.may(Permission::WriteProtocols).then(|| Editor {
                base_version: base.to_string(),
                next_version: (row.latest_version + 1).to_string(),
            }),
            problems,
            start_href: visit.may(Permission::StartRun).then(|| start_href(row.id)),
            name: row.name,
        })
    }
}
