//! `GET` and `POST /runs/{id}/migrate`: a run moves to another version, after a look at what would happen.

use super::run_acts::reason_problem;
use super::sent::{Form, Sent};
use super::visit::{Visit, id, page, page_with, see_other};
use crate::auth::policy::Permission;
use crate::engine::decide::migrate::{Mapped as Found, Preview as Move};
use crate::engine::state::Run;
use crate::store::protocols;
use crate::web::acts;
use crate::web::pages::acts::reason;
use crate::web::pages::forms::{Choice, Problem};
use crate::web::pages::migration::{Mapped, Migration, Preview};
use crate::web::pages::plan;
use crate::web::pages::status::Status;
use crate::web::problem::AppError;
use actix_web::http::StatusCode;
use actix_web::{HttpRequest, HttpResponse, web};
use std::sync::Arc;

/// Rows of the preview: who moves a run of ten thousand branches reads the summary.
const MOST_ROWS: usize = 200;

/// `GET /runs/{id}/migrate`, and with `?version=3` what would happen.
///
/// # Errors
/// 403, 404.
pub async fn show(visit: Visit, path: web::Path<String>, req: HttpRequest) -> Result<HttpResponse, AppError> {
    let query = Sent::query(req.query_string(), &["version"])?;
    let asked = Asked { id: id(&path)?, version: query.filled("version"), ..Asked::default() };
    draw(&visit, asked, StatusCode::OK).await
}

/// `POST /runs/{id}/migrate`.
///
/// # Errors
/// 403, 404. What stands in the way is said on the page, with 422 or 409.
pub async fn migrate(
    visit: Visit,
    path: web::Path<String>,
    Form(sent): Form,
) -> Result<HttpResponse, AppError> {
    let id = id(&path)?;
    let mut asked =
        Asked { id, version: sent.filled("version"), reason: sent.text("reason"), ..Asked::default() };
    asked.reason_error = reason_problem(&asked.reason, "Say why the run is moved.");
    if let Some(message) = asked.reason_error.clone() {
        asked.problems.push(Problem::at_field("field-reason", message));
    }
    let version = asked.version.as_deref().and_then(|text| text.parse().ok());
    let Some(version) = version.filter(|_| asked.problems.is_empty()) else {
        return draw(&visit, asked, StatusCode::UNPROCESSABLE_ENTITY).await;
    };
    match acts::migrate_run(&visit.site, &visit.who, id, version, asked.reason.clone()).await {
        Ok(_) => {
            visit.notice(true, format!("The run follows version {version} now."));
            Ok(see_other(&format!("/runs/{id}")))
        }
        Err(AppError::Conflict { detail, .. }) => {
            asked.problems.push(Problem::at_field("", detail));
            draw(&visit, asked, StatusCode::CONFLICT).await
        }
        Err(AppError::Unprocessable { errors }) => {
            let problems = errors.into_iter().map(|error| Problem::at_field("version", error.message));
            asked.problems.extend(problems);
            draw(&visit, asked, StatusCode::UNPROCESSABLE_ENTITY).await
        }
        Err(error) => Err(error),
    }
}

#[derive(Default)]
struct Asked {
    id: i64,
    /// As it was sent.
    version: Option<String>,
    reason: String,
    reason_error: Option<String>,
    problems: Vec<Problem>,
}

async fn draw(visit: &Visit, mut asked: Asked, mut status: StatusCode) -> Result<HttpResponse, AppError> {
    visit.permit(Permission::MigrateRun).await?;
    let run = acts::read_run(&visit.site, &visit.who, asked.id).await?;
    let mut preview = None;
    if let Some(text) = &asked.version {
        // No number is a version that there is not.
        let version = text.parse().unwrap_or(0);
        match acts::preview_migration(&visit.site, &visit.who, asked.id, version).await {
            Ok((run, found)) => preview = Some(view(&run, text, &found, &asked)),
            Err(AppError::Unprocessable { errors }) => {
                asked
                    .problems
                    .extend(errors.into_iter().map(|error| Problem::at_field("version", error.message)));
                status = StatusCode::UNPROCESSABLE_ENTITY;
            }
            Err(error) => return Err(error),
        }
    }
    let view = Migration {
        number: run.id.to_string(),
        protocol: run.protocol_ref.name.clone(),
        from: run.protocol_ref.version.to_string(),
        versions: versions(visit, &run, asked.version.as_deref()).await?,
        problems: asked.problems,
        preview,
        chrome: visit.chrome(&format!("Move run {}", run.id), "/runs").await?,
    };
    if status == StatusCode::OK { page(&view) } else { page_with(status, &view) }
}

/// The other versions of the protocol, the latest first.
async fn versions(visit: &Visit, run: &Arc<Run>, chosen: Option<&str>) -> Result<Vec<Choice>, AppError> {
    let id = run.protocol_ref.id;
    let row = visit.site.read(move |connection| protocols::get(connection, id)).await?;
    let latest = row.map_or(0, |row| row.latest_version);
    let others = (1..=latest).rev().filter(|version| *version != run.protocol_ref.version);
    let choice = |version: i32| {
        let text = version.to_string();
        Choice::new(text.clone(), format!("Version {text}"), chosen == Some(text.as_str()))
    };
    Ok(others.take(MOST_ROWS).map(choice).collect())
}

fn view(run: &Run, version: &str, found: &Move, asked: &Asked) -> Preview {
    let possible = found.is_possible();
    let list = |ids: &[String]| ids.iter().take(10).cloned().collect::<Vec<_>>().join(", ");
    let mut said = vec![if possible {
        format!("The run can be moved: every step that has begun stands in version {version} too.")
    } else {
        "The run cannot be moved.".to_owned()
    }];
    said.extend(found.problems.iter().cloned());
    if !found.adds.is_empty() {
        said.push(format!("New in it: {}.", list(&found.adds)));
    }
    if !found.drops.is_empty() {
        said.push(format!("No longer in it: {}.", list(&found.drops)));
    }
    let mut reason = reason("Why is it moved?");
    reason.value.clone_from(&asked.reason);
    reason.error.clone_from(&asked.reason_error);
    // What stands in the way is not cut off.
    let mut steps: Vec<&Found> = found.steps.iter().collect();
    steps.sort_by_key(|step| step.problem.is_none());
    let rows = steps.into_iter().take(MOST_ROWS).map(|step| mapped(run, step));
    Preview { version: version.to_owned(), sentence: said.join(" "), possible, rows: rows.collect(), reason }
}

fn mapped(run: &Run, found: &Found) -> Mapped {
    let becomes = match (&found.problem, &found.maps_to) {
        (Some(problem), _) => problem.clone(),
        (None, Some(_)) => "Stays as it is.".to_owned(),
        (None, None) => "It has no counterpart.".to_owned(),
    };
    Mapped { step: plan::label(run, &found.step), status: Status::of_step(found.status), becomes }
}
