//! `GET` and `POST /runs/{id}/redaction`: asking that something sealed is erased.

use super::run_acts::reason_problem;
use super::sent::{Form, Sent};
use super::visit::{Visit, id, page_with, see_other};
use crate::auth::policy::Permission;
use crate::store::disclosures::{self, State};
use crate::web::acts;
use crate::web::pages::acts::{one_of, reason, text};
use crate::web::pages::forms::{Choice, Field, Problem};
use crate::web::pages::redactions::RedactionNew;
use crate::web::problem::AppError;
use actix_web::http::StatusCode;
use actix_web::{HttpResponse, web};
use std::collections::BTreeSet;

/// Of more paths than this nobody chooses from a list: one is typed.
const MOST_PATHS: usize = 50;

/// `GET /runs/{id}/redaction`.
///
/// # Errors
/// 403, 404.
pub async fn show(visit: Visit, path: web::Path<String>) -> Result<HttpResponse, AppError> {
    draw(&visit, id(&path)?, &Sent::default(), Vec::new(), StatusCode::OK).await
}

/// `POST /runs/{id}/redaction`.
///
/// # Errors
/// 403, 404. What is wrong comes back with the form, with 422, or 409 when it cannot be asked for now.
pub async fn create(
    visit: Visit,
    path: web::Path<String>,
    Form(sent): Form,
) -> Result<HttpResponse, AppError> {
    let id = id(&path)?;
    let (path, why) = (sent.text("path"), sent.text("reason"));
    let mut problems = Vec::new();
    if path.is_empty() {
        problems.push(Problem::at_field("field-path", "Choose what is to be erased."));
    } else if path.chars().count() > acts::MAX_PATH {
        problems.push(Problem::at_field("field-path", "The path is too long."));
    }
    let missing = reason_problem(&why, "Say why it is to be erased.");
    problems.extend(missing.map(|message| Problem::at_field("field-reason", message)));
    if !problems.is_empty() {
        return draw(&visit, id, &sent, problems, StatusCode::UNPROCESSABLE_ENTITY).await;
    }
    match acts::file_redaction(&visit.site, &visit.who, id, path, why).await {
        Ok(row) => {
            visit.notice(true, "Your request is filed. Somebody else decides.");
            Ok(see_other(&format!("/redactions/{}", row.id)))
        }
        Err(AppError::Unprocessable { errors }) => {
            let problem = |message: String| Problem::at_field("field-path", message);
            let problems = errors.into_iter().map(|error| problem(error.message)).collect();
            draw(&visit, id, &sent, problems, StatusCode::UNPROCESSABLE_ENTITY).await
        }
        Err(AppError::Conflict { detail, .. }) => {
            let problems = vec![Problem::at_field("", detail)];
            draw(&visit, id, &sent, problems, StatusCode::CONFLICT).await
        }
        Err(error) => Err(error),
    }
}

async fn draw(
    visit: &Visit,
    id: i64,
    sent: &Sent,
    problems: Vec<Problem>,
    status: StatusCode,
) -> Result<HttpResponse, AppError> {
    visit.permit(Permission::Redact).await?;
    let run = acts::read_run(&visit.site, &visit.who, id).await?;
    let sealed = visit.site.read(move |connection| disclosures::of_run(connection, id)).await?;
    let present = sealed.iter().filter(|sealed| sealed.state() == State::Withheld);
    let paths: BTreeSet<&str> = present.map(|sealed| sealed.disclosure.path.as_str()).collect();
    let (mut path, mut why) = (choose(&paths), reason("Why is it to be erased?"));
    why.hint =
        Some("It is kept with your name in the activity log: leave the value itself out of it.".to_owned());
    for field in [&mut path, &mut why] {
        field.value = sent.text(&field.name);
        for choice in &mut field.choices {
            choice.selected = choice.value == field.value || paths.len() == 1;
        }
        let wrong = problems.iter().find(|problem| problem.field == field.id());
        field.error = wrong.map(|problem| problem.message.clone());
    }
    let view = RedactionNew {
        number: id.to_string(),
        protocol: run.protocol_ref.name.clone(),
        problems,
        path,
        reason: why,
        chrome: visit.chrome(&format!("Erase values of run {id}"), "/redactions").await?,
    };
    page_with(status, &view)
}

fn choose(paths: &BTreeSet<&str>) -> Field {
    const LABEL: &str = "What is to be erased?";
    if paths.is_empty() || paths.len() > MOST_PATHS {
        return Field {
            hint: Some("Its path, for example payload.applicant.ssn".to_owned()),
            ..text("path", LABEL)
        };
    }
    let choices = paths.iter().map(|path| Choice::new(*path, *path, false));
    one_of("path", LABEL, choices.collect())
}
