//! `/actions` and `/agents`: what steps call. The two have the same shape; this is both.

use super::sent::{Form, Sent, address};
use super::visit::{Visit, page_with, see_other};
use crate::auth::policy::Permission;
use crate::store::registry::{self, Registered};
use crate::web::authoring::{Registry, change_registered, register};
use crate::web::json;
use crate::web::pages::actions::{Actions, TargetForm, TargetRow};
use crate::web::pages::agents::Agents;
use crate::web::pages::forms::{Choice, Problem};
use crate::web::pages::moment::Moment;
use crate::web::problem::{AppError, FieldError};
use actix_web::http::StatusCode;
use actix_web::{HttpRequest, HttpResponse, web};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};

const ACTION_KINDS: [(&str, &str); 2] = [("http", "Web service"), ("compute", "Calculation")];
const AGENT_KINDS: [(&str, &str); 1] = [("openai", "OpenAI-compatible")];

const ACTION_EXAMPLE: &str = r#"{
  "method": "POST",
  "url": "https://service.example/path",
  "timeout_seconds": 20
}"#;
const AGENT_EXAMPLE: &str = r#"{
  "endpoint": "https://models.example/v1/",
  "model": "name-of-the-model",
  "prompt": "What the model is to do.",
  "schema": {"type": "object", "properties": {"risk": {"type": "string"}}, "required": ["risk"]}
}"#;

/// `GET /actions`, `GET /agents`.
///
/// # Errors
/// 403.
pub async fn index(visit: Visit, req: HttpRequest) -> Result<HttpResponse, AppError> {
    let place = Place::of(&req);
    visit.permit(Permission::ReadActions).await?;
    draw(&visit, place, place.blank(), Vec::new(), StatusCode::OK).await
}

/// `POST /actions`, `POST /agents`: a new one.
///
/// # Errors
/// 403; 409 when the name is taken. Problems come back with the form.
pub async fn create(visit: Visit, req: HttpRequest, Form(sent): Form) -> Result<HttpResponse, AppError> {
    let place = Place::of(&req);
    visit.permit(Permission::WriteProtocols).await?;
    let form = place.typed(&sent, None);
    let config = match config(&sent) {
        Ok(config) => config,
        Err(problem) => {
            return draw(&visit, place, form, vec![problem], StatusCode::UNPROCESSABLE_ENTITY).await;
        }
    };
    let (name, kind) = (sent.text("name"), sent.text("kind"));
    match register(&visit.site, &visit.who, place.registry, name, kind, config).await {
        Ok(saved) => {
            visit.notice(true, format!("The {} {} is added.", place.noun, saved.name));
            Ok(see_other(&place.href(&saved.name)))
        }
        Err(error) => refused(&visit, place, form, error).await,
    }
}

/// `GET /actions/{name}`, `GET /agents/{name}`.
///
/// # Errors
/// 403, 404.
pub async fn show(visit: Visit, req: HttpRequest, path: web::Path<String>) -> Result<HttpResponse, AppError> {
    let place = Place::of(&req);
    visit.permit(Permission::ReadActions).await?;
    let found = place.find(&visit, path.into_inner()).await?;
    let form = TargetForm {
        base_version: Some(found.version.to_string()),
        kinds: place.choices(&found.kind),
        config: serde_json::to_string_pretty(&found.config).map_err(AppError::internal)?,
        name: found.name,
    };
    draw(&visit, place, form, Vec::new(), StatusCode::OK).await
}

/// `POST /actions/{name}`, `POST /agents/{name}`: its next version.
///
/// # Errors
/// 403, 404; 412 when somebody else saved in between: the form comes back with what was typed.
pub async fn save(
    visit: Visit,
    req: HttpRequest,
    path: web::Path<String>,
    Form(sent): Form,
) -> Result<HttpResponse, AppError> {
    let place = Place::of(&req);
    visit.permit(Permission::WriteProtocols).await?;
    let name = place.find(&visit, path.into_inner()).await?.name;
    let form = place.typed(&sent, Some(&name));
    let config = match config(&sent) {
        Ok(config) => config,
        Err(problem) => {
            return draw(&visit, place, form, vec![problem], StatusCode::UNPROCESSABLE_ENTITY).await;
        }
    };
    let (expected, kind) = (base_version(&sent)?, sent.text("kind"));
    match change_registered(&visit.site, &visit.who, place.registry, name, Some(expected), kind, config).await
    {
        Ok(saved) => {
            visit.notice(
                true,
                format!("Version {} of the {} {} is saved.", saved.version, place.noun, saved.name),
            );
            Ok(see_other(&place.href(&saved.name)))
        }
        Err(error) => refused(&visit, place, form, error).await,
    }
}

/// The version that a change is based on.
///
/// # Errors
/// 400 if the form lost it.
pub fn base_version(sent: &Sent) -> Result<i32, AppError> {
    let lost =
        |_| AppError::BadRequest("The form does not say which version it changes. Load it again.".to_owned());
    sent.raw("base_version").parse().map_err(lost)
}

/// What is wrong with a typed document: the reader's words, which name line and column.
pub fn document_problem(field: &str, error: &AppError) -> Vec<Problem> {
    match error {
        AppError::Unprocessable { errors } => {
            errors.iter().map(|error| Problem::at_place(field, &error.path, &error.message)).collect()
        }
        other => vec![Problem::at_field(field, other.to_string().replace("The body", "The document"))],
    }
}

fn config(sent: &Sent) -> Result<serde_json::Value, Problem> {
    json::parse_value(sent.raw("config").as_bytes()).map_err(|error| {
        let first = document_problem("config", &error).into_iter().next();
        first.unwrap_or_else(|| Problem::at_field("config", "The configuration cannot be read."))
    })
}

async fn refused(
    visit: &Visit,
    place: Place,
    form: TargetForm,
    error: AppError,
) -> Result<HttpResponse, AppError> {
    let (problems, status) = match error {
        AppError::Unprocessable { errors } => {
            (errors.into_iter().map(problem).collect(), StatusCode::UNPROCESSABLE_ENTITY)
        }
        AppError::Conflict { detail, .. } => (vec![Problem::at_field("", detail)], StatusCode::CONFLICT),
        AppError::PreconditionFailed(detail) => {
            (vec![Problem::at_field("", detail)], StatusCode::PRECONDITION_FAILED)
        }
        other => return Err(other),
    };
    let mut form = form;
    if form.base_version.is_some() && status != StatusCode::UNPROCESSABLE_ENTITY {
        // Who was told that somebody was faster, and saves again, means it.
        form.base_version = Some(place.find(visit, form.name.clone()).await?.version.to_string());
    }
    draw(visit, place, form, problems, status).await
}

fn problem(error: FieldError) -> Problem {
    match error.path.as_str() {
        "$.name" => Problem::at_field("name", error.message),
        "$.kind" => Problem::at_field("kind", error.message),
        path => Problem::at_place("config", path.replacen("$.config", "$", 1), error.message),
    }
}

async fn draw(
    visit: &Visit,
    place: Place,
    form: TargetForm,
    problems: Vec<Problem>,
    status: StatusCode,
) -> Result<HttpResponse, AppError> {
    let title = if form.base_version.is_some() { &form.name } else { place.title };
    let chrome = visit.chrome(title, place.path).await?;
    let registry = place.registry;
    let found = visit.site.read(move |connection| match registry {
        Registry::Actions => registry::actions::list(connection),
        Registry::Agents => registry::agents::list(connection),
    });
    let rows = found.await?.into_iter().map(|row| place.row(row)).collect();
    match registry {
        Registry::Actions => page_with(status, &Actions { chrome, rows, form, problems }),
        Registry::Agents => page_with(status, &Agents { chrome, rows, form, problems }),
    }
}

/// One of the two registries, as its pages know it.
#[derive(Debug, Clone, Copy)]
struct Place {
    registry: Registry,
    path: &'static str,
    title: &'static str,
    noun: &'static str,
    kinds: &'static [(&'static str, &'static str)],
    example: &'static str,
}

impl Place {
    fn of(req: &HttpRequest) -> Place {
        if req.path().starts_with("/agents") {
            Place {
                registry: Registry::Agents,
                path: "/agents",
                title: "Agents",
                noun: "agent",
                kinds: &AGENT_KINDS,
                example: AGENT_EXAMPLE,
            }
        } else {
            Place {
                registry: Registry::Actions,
                path: "/actions",
                title: "Actions",
                noun: "action",
                kinds: &ACTION_KINDS,
                example: ACTION_EXAMPLE,
            }
        }
    }

    async fn find(self, visit: &Visit, name: String) -> Result<Registered, AppError> {
        let wanted = name.clone();
        let found = visit.site.read(move |connection| match self.registry {
            Registry::Actions => registry::actions::get(connection, &wanted),
            Registry::Agents => registry::agents::get(connection, &wanted),
        });
        found.await?.ok_or_else(|| AppError::NotFound(format!("There is no {} {name}.", self.noun)))
    }

    fn href(self, name: &str) -> String {
        address(&format!("{}/{}", self.path, utf8_percent_encode(name, NON_ALPHANUMERIC)), [])
    }

    fn row(self, row: Registered) -> TargetRow {
        let kind = self.kinds.iter().find(|(kind, _)| *kind == row.kind);
        TargetRow {
            href: self.href(&row.name),
            kind: kind.map_or(row.kind.clone(), |(_, words)| (*words).to_owned()),
            version: row.version.to_string(),
            updated: Moment::new(row.updated_at),
            updated_by: row.updated_by,
            name: row.name,
        }
    }

    fn blank(self) -> TargetForm {
        TargetForm { kinds: self.choices(""), config: self.example.to_owned(), ..TargetForm::default() }
    }

    fn typed(self, sent: &Sent, name: Option<&str>) -> TargetForm {
        TargetForm {
            base_version: name.map(|_| sent.raw("base_version").to_owned()),
            name: name.map_or_else(|| sent.text("name"), str::to_owned),
            kinds: self.choices(sent.raw("kind")),
            config: sent.raw("config").to_owned(),
        }
    }

    fn choices(self, chosen: &str) -> Vec<Choice> {
        self.kinds.iter().map(|(kind, words)| Choice::new(*kind, *words, *kind == chosen)).collect()
    }
}
