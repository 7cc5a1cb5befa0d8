//! `GET` and `POST /runs/{id}/sealed`: what is sealed in a run, for somebody who says why they need it.

use super::run_acts::reason_problem;
use super::sent::{Form, Sent};
use super::visit::{Visit, id, page_with};
use crate::auth::policy::Permission;
use crate::store::disclosures::SealedValue;
use crate::web::acts;
use crate::web::api::bundle;
use crate::web::pages::acts::reason;
use crate::web::pages::facts;
use crate::web::pages::forms::Problem;
use crate::web::pages::moment::Moment;
use crate::web::pages::redactions::{Sealed, Value};
use crate::web::problem::AppError;
use actix_web::http::StatusCode;
use actix_web::{HttpResponse, web};
use indexmap::IndexMap;

/// `GET /runs/{id}/sealed`: the form. Nothing is shown, and nothing recorded.
///
/// # Errors
/// 403, 404.
pub async fn show(visit: Visit, path: web::Path<String>) -> Result<HttpResponse, AppError> {
    let id = id(&path)?;
    acts::may_read_sealed(&visit.site, &visit.who, id).await?;
    draw(&visit, id, &Sent::default(), None, Vec::new(), StatusCode::OK).await
}

/// `POST /runs/{id}/sealed`: the values, after the reading is recorded; or, asked `as` a `bundle`, the run's evidence
/// with them in it.
///
/// # Errors
/// 403, 404. What is wrong comes back with the form, with 422, or 409 when nothing is sealed.
pub async fn read(visit: Visit, path: web::Path<String>, Form(sent): Form) -> Result<HttpResponse, AppError> {
    let id = id(&path)?;
    acts::may_read_sealed(&visit.site, &visit.who, id).await?;
    let reason = sent.text("reason");
    if let Some(message) = reason_problem(&reason, "Say why you need to see them.") {
        let problems = vec![Problem::at_field("field-reason", message)];
        return draw(&visit, id, &sent, None, problems, StatusCode::UNPROCESSABLE_ENTITY).await;
    }
    let read = async {
        if sent.text("as") == "bundle" {
            let bytes = acts::make_bundle(&visit.site, &visit.who, id, Some(&reason)).await?;
            return Ok(bundle::zipped(id, bytes));
        }
        let values = acts::read_sealed(&visit.site, &visit.who, id, &reason).await?;
        draw(&visit, id, &sent, Some(told(&values)?), Vec::new(), StatusCode::OK).await
    };
    match read.await {
        Err(AppError::Conflict { detail, .. }) => {
            draw(&visit, id, &sent, None, vec![Problem::at_field("", detail)], StatusCode::CONFLICT).await
        }
        answer => answer,
    }
}

async fn draw(
    visit: &Visit,
    id: i64,
    sent: &Sent,
    values: Option<Vec<Value>>,
    problems: Vec<Problem>,
    status: StatusCode,
) -> Result<HttpResponse, AppError> {
    let run = acts::read_run(&visit.site, &visit.who, id).await?;
    let mut field = reason("Why do you need to see them?");
    field.value = sent.text("reason");
    let about_reason = problems.iter().find(|problem| problem.field == field.id());
    field.error = about_reason.map(|problem| problem.message.clone());
    let may_erase = visit.may(Permission::Redact) && run.status.is_final();
    let view = Sealed {
        number: id.to_string(),
        protocol: run.protocol_ref.name.clone(),
        problems,
        reason: field,
        values,
        may_bundle: visit.may(Permission::ReadLog),
        redaction_href: may_erase.then(|| format!("/runs/{id}/redaction")),
        chrome: visit.chrome(&format!("Sealed values of run {id}"), "/runs").await?,
    };
    page_with(status, &view)
}

/// Each value once, however many entries it stands in.
fn told(values: &[SealedValue]) -> Result<Vec<Value>, AppError> {
    let mut told: IndexMap<(String, String), (Value, Vec<String>)> = IndexMap::new();
    for sealed in values {
        let disclosure = &sealed.disclosure;
        let value = disclosure.value().map_err(|error| AppError::internal(anyhow::anyhow!(error)))?;
        let key = (disclosure.path.clone(), value.as_ref().map_or_else(String::new, ToString::to_string));
        let new = || Value {
            path: disclosure.path.clone(),
            exemption: disclosure.exemption.clone(),
            value: value.as_ref().map(facts::short),
            erased: sealed.erased_at.map(Moment::new),
            entries: String::new(),
        };
        let (_, entries) = told.entry(key).or_insert_with(|| (new(), Vec::new()));
        let entry = sealed.seq.to_string();
        if entries.last() != Some(&entry) {
            entries.push(entry);
        }
    }
    let finished = |(value, entries): (Value, Vec<String>)| Value { entries: entries.join(", "), ..value };
    Ok(told.into_values().map(finished).collect())
}
