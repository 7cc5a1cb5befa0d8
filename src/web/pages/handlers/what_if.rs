//! `GET` and `POST /runs/{id}/what-if`: what another version would have made of a run. Nothing is executed.

use super::sent::{Form, Sent};
use super::visit::{Visit, id, page, page_with};
use crate::auth::policy::Permission;
use crate::engine::state::{Run, RunStatus};
use crate::engine::whatif::{Report, Side};
use crate::store::protocols;
use crate::web::acts::{self, Instead, Told, ask_what_if};
use crate::web::json::parse_object;
use crate::web::pages::forms::{Choice, Problem};
use crate::web::pages::plan;
use crate::web::pages::status::Status;
use crate::web::pages::what_if::{Answer, Row, WhatIf};
use crate::web::problem::AppError;
use actix_web::http::StatusCode;
use actix_web::{HttpRequest, HttpResponse, web};

/// Rows of the answer, those that differ before the others where there are more.
const MOST_ROWS: usize = 200;
/// The longest draft, in bytes.
const MOST_BYTES: usize = 1 << 20;

/// `GET /runs/{id}/what-if`.
///
/// # Errors
/// 403, 404.
pub async fn show(visit: Visit, path: web::Path<String>, req: HttpRequest) -> Result<HttpResponse, AppError> {
    Sent::query(req.query_string(), &[])?;
    let asked = Asked { id: id(&path)?, ..Asked::default() };
    draw(&visit, asked, None, StatusCode::OK).await
}

/// `POST /runs/{id}/what-if`.
///
/// # Errors
/// 403, 404. What is wrong with a draft is said on the page, with 422; what stands in the way, with 409.
pub async fn ask(visit: Visit, path: web::Path<String>, Form(sent): Form) -> Result<HttpResponse, AppError> {
    let mut asked = Asked {
        id: id(&path)?,
        version: sent.filled("version"),
        draft: sent.text("definition"),
        problems: Vec::new(),
    };
    let told = match asked.instead() {
        Ok(instead) => ask_what_if(&visit.site, &visit.who, asked.id, instead).await,
        Err(error) => Err(error),
    };
    match told {
        Ok(told) => draw(&visit, asked, Some(told), StatusCode::OK).await,
        Err(AppError::Unprocessable { errors }) => {
            let field = if asked.draft.is_empty() { "version" } else { "definition" };
            let problems = errors.into_iter().map(|error| match field {
                "definition" => {
                    Problem::at_place(field, error.path.replacen("$.definition", "$", 1), error.message)
                }
                _ => Problem::at_field(field, error.message),
            });
            asked.problems.extend(problems);
            draw(&visit, asked, None, StatusCode::UNPROCESSABLE_ENTITY).await
        }
        Err(AppError::Conflict { detail, .. }) => {
            asked.problems.push(Problem::at_field("", detail));
            draw(&visit, asked, None, StatusCode::CONFLICT).await
        }
        Err(error) => Err(error),
    }
}

#[derive(Default)]
struct Asked {
    id: i64,
    /// As they were sent.
    version: Option<String>,
    draft: String,
    problems: Vec<Problem>,
}

impl Asked {
    fn instead(&self) -> Result<Instead, AppError> {
        if self.draft.is_empty() {
            // No number is a version that there is not.
            let version = self.version.as_deref().and_then(|text| text.parse().ok());
            return Ok(Instead::Version(version.unwrap_or(0)));
        }
        let read = parse_object(self.draft.as_bytes(), Some("application/json"), MOST_BYTES);
        read.map(Instead::Draft).map_err(|error| match error {
            AppError::BadRequest(detail) | AppError::UnsupportedMediaType(detail) => {
                AppError::field("$.definition", detail)
            }
            other => other,
        })
    }
}

async fn draw(
    visit: &Visit,
    asked: Asked,
    told: Option<Told>,
    status: StatusCode,
) -> Result<HttpResponse, AppError> {
    visit.permit(Permission::ReadProtocols).await?;
    let run = acts::read_run(&visit.site, &visit.who, asked.id).await?;
    let view = WhatIf {
        number: run.id.to_string(),
        protocol: run.protocol_ref.name.clone(),
        from: run.protocol_ref.version.to_string(),
        versions: versions(visit, &run, asked.version.as_deref()).await?,
        draft: visit.may(Permission::WriteProtocols).then_some(asked.draft),
        problems: asked.problems,
        answer: told.as_ref().map(answer),
        chrome: visit.chrome(&format!("What if: run {}", run.id), "/runs").await?,
    };
    if status == StatusCode::OK { page(&view) } else { page_with(status, &view) }
}

/// Every version of the protocol, the latest first; that one is offered, unless another was chosen.
async fn versions(visit: &Visit, run: &Run, chosen: Option<&str>) -> Result<Vec<Choice>, AppError> {
    let id = run.protocol_ref.id;
    let row = visit.site.read(move |connection| protocols::get(connection, id)).await?;
    let latest = row.map_or(0, |row| row.latest_version);
    let choice = |version: i32| {
        let text = version.to_string();
        let own = if version == run.protocol_ref.version { " (the run's own)" } else { "" };
        Choice::new(text.clone(), format!("Version {text}{own}"), chosen == Some(text.as_str()))
    };
    Ok((1..=latest).rev().take(MOST_ROWS).map(choice).collect())
}

fn answer(told: &Told) -> Answer {
    let report = &told.report;
    let called = told.version.map_or("the draft".to_owned(), |version| format!("version {version}"));
    let mut sides: Vec<&Side> = report.sides.iter().collect();
    let differs =
        |side: &Side| report.differences.iter().any(|found| found.step.as_ref() == Some(&side.step));
    if sides.len() > MOST_ROWS {
        sides.sort_by_key(|side| !differs(side));
    }
    let more = sides.len().saturating_sub(MOST_ROWS);
    let rows = sides.into_iter().take(MOST_ROWS).map(|side| row(told, side));
    let of_run = report.differences.iter().filter(|found| found.step.is_none());
    Answer {
        same: report.same(),
        sentences: sentences(told, &called),
        then: Status::of_run(report.then, None),
        now: report.now.map(|now| Status::of_run(now, None)),
        rows: rows.collect(),
        more: (more > 0).then(|| format!("{} do the same.", plan::counted(more, "more step", "more steps"))),
        of_run: of_run.map(|found| found.message.clone()).collect(),
        called,
    }
}

fn sentences(told: &Told, called: &str) -> Vec<String> {
    let Report { same_until, differences, now, .. } = &told.report;
    if differences.is_empty() {
        return vec![format!("With {called} the run would have gone exactly as it did.")];
    }
    let count = plan::counted(differences.len(), "difference", "differences");
    let until = match same_until {
        Some(step) => format!("The same until {}; then {count}.", plan::label(&told.run, step)),
        None => format!("Different from the beginning: {count}."),
    };
    let end = match now {
        None => "The record does not say enough to know how it would have ended.".to_owned(),
        Some(now) if *now == told.report.then => "It would have come to the same end.".to_owned(),
        Some(now) => format!("It would have ended otherwise: {}.", in_words(*now)),
    };
    vec![until, end]
}

fn in_words(status: RunStatus) -> String {
    Status::of_run(status, None).word.to_lowercase()
}

fn row(told: &Told, side: &Side) -> Row {
    let known =
        if told.run.protocol.task(&side.step).is_some() { &told.run.protocol } else { &told.protocol };
    let differences = told.report.differences.iter().filter(|found| found.step.as_ref() == Some(&side.step));
    let differences: Vec<String> = differences.map(|found| found.message.clone()).collect();
    // Whether it would have come to it, where the record ends before.
    let not_reached = side.now.is_none() && told.report.now.is_none() && differences.is_empty();
    Row {
        step: crate::web::pages::sentences::label(Some(known), &side.step),
        then: side.then.map(Status::of_step),
        now: side.now.map(Status::of_step),
        unknown: side.unknown || not_reached,
        differences,
    }
}
