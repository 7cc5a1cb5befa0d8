//! `GET` and `POST /runs/{id}/rerun`: a run that is over, once more.

use super::pairs;
use super::run_acts::reason_problem;
use super::sent::{Form, Sent};
use super::visit::{Visit, id, page, page_with, see_other};
use crate::auth::policy::Permission;
use crate::engine::event::EventKind;
use crate::engine::state::{Payload, Run};
use crate::store::error::StoreError;
use crate::store::runs::veiled;
use crate::store::{log, protocols};
use crate::web::acts;
use crate::web::pages::acts::reason;
use crate::web::pages::forms::Problem;
use crate::web::pages::input_form::{self, Question};
use crate::web::pages::rerun::Rerun;
use crate::web::pages::run_new::Pair;
use crate::web::problem::{AppError, FieldError};
use actix_web::http::StatusCode;
use actix_web::{HttpResponse, web};
use std::sync::Arc;

/// `GET /runs/{id}/rerun`.
///
/// # Errors
/// 403, 404; 409 while the run is not over.
pub async fn show(visit: Visit, path: web::Path<String>) -> Result<HttpResponse, AppError> {
    let draft = Draft::of(&visit, id(&path)?).await?;
    page(&draft.view(&visit, Vec::new()).await?)
}

/// `POST /runs/{id}/rerun`. Problems come back with the form.
///
/// # Errors
/// 403, 404; 409 while the run, or another that follows it, is not over.
pub async fn create(
    visit: Visit,
    path: web::Path<String>,
    Form(sent): Form,
) -> Result<HttpResponse, AppError> {
    let id = id(&path)?;
    let mut draft = Draft::of(&visit, id).await?;
    let payload = match draft.read(&sent) {
        Ok(payload) => payload,
        Err(problems) => return draft.back(&visit, problems, StatusCode::UNPROCESSABLE_ENTITY).await,
    };
    match acts::rerun(&visit.site, &visit.who, id, draft.reason.clone(), payload).await {
        Ok(done) => {
            visit.notice(true, format!("Run {id} is started once more: this is run {}.", done.run.id));
            Ok(see_other(&format!("/runs/{}", done.run.id)))
        }
        Err(AppError::Unprocessable { errors }) => {
            let problems = errors.into_iter().map(|error| draft.problem(error)).collect();
            draft.back(&visit, problems, StatusCode::UNPROCESSABLE_ENTITY).await
        }
        Err(AppError::Conflict { detail, .. }) => {
            draft.back(&visit, vec![Problem::at_field("", detail)], StatusCode::CONFLICT).await
        }
        Err(error) => Err(error),
    }
}

/// A form under way: what it asks, and what was typed so far.
struct Draft {
    run: Arc<Run>,
    latest: i32,
    /// None: the latest version has no input schema.
    questions: Option<Vec<Question>>,
    /// None: the payload is more than rows can hold, or sealed, and stays as it was.
    pairs: Option<Vec<Pair>>,
    reason: String,
    reason_error: Option<String>,
}

impl Draft {
    async fn of(visit: &Visit, id: i64) -> Result<Draft, AppError> {
        let run = acts::read_run(&visit.site, &visit.who, id).await?;
        visit.permit(Permission::RerunRun).await?;
        if !run.status.is_final() {
            return Err(AppError::conflict(format!(
                "Run {id} is not over, so it cannot be run once more. Let it end, or cancel it."
            )));
        }
        let (scheduler, protocol_id, of) = (visit.site.scheduler.clone(), run.protocol_ref.id, run.id);
        let found = visit.site.read(move |connection| {
            let Some(row) = protocols::get(connection, protocol_id)? else { return Ok(None) };
            let protocol = scheduler.protocols().get(connection, row.id, row.latest_version)?;
            let first = log::of_run(connection, of.0, 0, 1)?;
            let first = first.first();
            let sealed = first.is_some_and(|first| first.disclosures.iter().flatten().next().is_some());
            let given = first.map(veiled).transpose()?.map(|first| first.event.kind);
            let Some(EventKind::RunQueued { payload, .. }) = given else {
                return Err(StoreError::Corrupt(format!("run {of} does not begin with its queueing")));
            };
            Ok(Some((row.latest_version, protocol, payload, sealed)))
        });
        let gone = || AppError::NotFound(format!("The protocol of run {id} is gone."));
        let (latest, protocol, given, sealed) = found.await?.ok_or_else(gone)?;
        if sealed {
            let (questions, pairs) = (None, None);
            return Ok(Draft { run, latest, questions, pairs, reason: String::new(), reason_error: None });
        }
        let questions = input_form::questions(protocol.input.as_ref()).map(|mut questions| {
            questions.iter_mut().for_each(|question| filled(question, &given));
            questions
        });
        let pairs = if questions.is_some() { Some(Vec::new()) } else { pairs::of(&given) };
        Ok(Draft { run, latest, questions, pairs, reason: String::new(), reason_error: None })
    }

    /// The payload; None keeps what the old run was given.
    fn read(&mut self, sent: &Sent) -> Result<Option<Payload>, Vec<Problem>> {
        let mut problems = Vec::new();
        self.reason = sent.text("reason");
        self.reason_error = reason_problem(&self.reason, "Say why it is run once more.");
        problems.extend(self.reason_error.clone().map(|message| Problem::at_field("field-reason", message)));
        let payload = match (&mut self.questions, &mut self.pairs) {
            (Some(questions), _) => match input_form::read(questions, |name| sent.raw(name)) {
                Some(payload) => Some(payload),
                None => {
                    problems.extend(questions.iter().filter_map(|question| {
                        Some(Problem::at_field(question.field.id(), question.field.error.clone()?))
                    }));
                    None
                }
            },
            (None, Some(pairs)) => {
                *pairs = pairs::sent(sent);
                match pairs::read(pairs) {
                    Ok(payload) => Some(payload),
                    Err(wrong) => {
                        problems.extend(wrong);
                        None
                    }
                }
            }
            (None, None) => None,
        };
        if problems.is_empty() { Ok(payload) } else { Err(problems) }
    }

    /// Puts what the schema says at the field that it is about.
    fn problem(&mut self, error: FieldError) -> Problem {
        let place = error.path.strip_prefix("$.payload").unwrap_or(&error.path).trim_start_matches('.');
        let key = place.split('.').next().unwrap_or_default();
        let question = self.questions.iter_mut().flatten().find(|question| question.key == key);
        match question {
            Some(question) => {
                question.field.error = Some(error.message.clone());
                Problem::at_field(question.field.id(), format!("{}: {}", question.field.label, error.message))
            }
            None => Problem::at_place("", place, error.message),
        }
    }

    async fn back(
        &self,
        visit: &Visit,
        problems: Vec<Problem>,
        status: StatusCode,
    ) -> Result<HttpResponse, AppError> {
        page_with(status, &self.view(visit, problems).await?)
    }

    async fn view(&self, visit: &Visit, problems: Vec<Problem>) -> Result<Rerun, AppError> {
        let (run, began) = (&self.run, self.run.protocol_ref.version);
        let mut reason = reason("Why is it run once more?");
        reason.value.clone_from(&self.reason);
        reason.error.clone_from(&self.reason_error);
        Ok(Rerun {
            number: run.id.to_string(),
            protocol: run.protocol_ref.name.clone(),
            version_note: (self.latest != began).then(|| {
                format!("It follows version {}; run {} followed version {began}.", self.latest, run.id)
            }),
            problems,
            reason,
            fields: self.questions.iter().flatten().map(|question| question.field.clone()).collect(),
            pairs: self.pairs.clone().unwrap_or_default(),
            kept: self.pairs.is_none(),
            chrome: visit.chrome(&format!("Run {} once more", run.id), "/runs").await?,
        })
    }
}

/// A field as the old run had it.
fn filled(question: &mut Question, given: &Payload) {
    let Some(value) = given.get(&question.key) else { return };
    question.field.value = input_form::typed(value);
    for choice in &mut question.field.choices {
        choice.selected = choice.value == question.field.value;
    }
}
