//! `GET` and `POST /runs/new`: choose a protocol, fill in its form, start a run.

use super::pairs;
use super::sent::{Form, Sent, address};
use super::visit::{Visit, id, page, page_with, see_other};
use crate::auth::policy::Permission;
use crate::engine::json::{canonical, with_safe_integers};
use crate::engine::protocol::Protocol;
use crate::engine::state::Payload;
use crate::store::batch::StartKey;
use crate::store::protocols::{self, ProtocolRow};
use crate::web::acts;
use crate::web::pages::forms::Problem;
use crate::web::pages::input_form::{self, Question};
use crate::web::pages::run_new::{Pair, ProtocolChoice, RunNew, StartForm};
use crate::web::problem::{AppError, FieldError};
use actix_web::http::StatusCode;
use actix_web::{HttpRequest, HttpResponse};
use serde_json::json;
use sha2::{Digest, Sha256};
use std::sync::Arc;

/// Protocols to choose from.
const MOST_PROTOCOLS: i64 = 200;

/// `GET /runs/new`, and with `?protocol_id=7` its form.
///
/// # Errors
/// 403; 404 for an unknown protocol.
pub async fn show(visit: Visit, req: HttpRequest) -> Result<HttpResponse, AppError> {
    visit.permit(Permission::StartRun).await?;
    let query = Sent::query(req.query_string(), &["protocol_id"])?;
    match query.filled("protocol_id") {
        None => choose(&visit).await,
        Some(text) => {
            let draft = Draft::of(&visit, id(&text)?).await?;
            page(&draft.view(&visit, Vec::new()).await?)
        }
    }
}

/// `POST /runs/new`. Problems come back with the form; sending the same form twice starts one run.
///
/// # Errors
/// 403; 404 for an unknown protocol.
pub async fn create(visit: Visit, Form(sent): Form) -> Result<HttpResponse, AppError> {
    visit.permit(Permission::StartRun).await?;
    let protocol_id = id(sent.raw("protocol_id"))?;
    let mut draft = Draft::of(&visit, protocol_id).await?;
    let payload = match draft.read(&sent) {
        Ok(payload) => payload,
        Err(problems) => return refused(&draft, &visit, problems).await,
    };
    let key = start_key(&visit, &sent, protocol_id, &payload);
    match acts::start_run(&visit.site, &visit.who, protocol_id, payload, key).await {
        Ok(done) => {
            let said = if done.repeated {
                "This form was sent before: here is the run that it started."
            } else {
                "The run is started. You can watch it here."
            };
            visit.notice(true, said);
            Ok(see_other(&format!("/runs/{}", done.run.id)))
        }
        Err(AppError::Unprocessable { errors }) => {
            let problems = errors.into_iter().map(|error| draft.problem(error)).collect();
            refused(&draft, &visit, problems).await
        }
        Err(error) => Err(error),
    }
}

async fn refused(draft: &Draft, visit: &Visit, problems: Vec<Problem>) -> Result<HttpResponse, AppError> {
    page_with(StatusCode::UNPROCESSABLE_ENTITY, &draft.view(visit, problems).await?)
}

/// The key that the form was drawn with: a second click, or the back button, starts nothing new.
fn start_key(visit: &Visit, sent: &Sent, protocol_id: i64, payload: &Payload) -> Option<StartKey> {
    let key = sent.filled("key").filter(|key| key.len() <= 64)?;
    let body = with_safe_integers(&json!({"protocol_id": protocol_id, "payload": payload}));
    let body_hash = Sha256::digest(canonical(&body)).to_vec();
    Some(StartKey { actor: visit.who.user.clone(), key: format!("form-{key}"), body_hash })
}

async fn choose(visit: &Visit) -> Result<HttpResponse, AppError> {
    let scheduler = visit.site.scheduler.clone();
    let found = visit.site.read(move |connection| {
        let rows = protocols::list(connection, None, MOST_PROTOCOLS)?;
        let each = rows.into_iter().map(|row| {
            let protocol = scheduler.protocols().get_known(connection, row.id, row.latest_version)?;
            Ok((row, protocol))
        });
        each.collect::<Result<Vec<(ProtocolRow, Option<Arc<Protocol>>)>, _>>()
    });
    let protocols = found.await?.into_iter().map(|(row, protocol)| ProtocolChoice {
        href: address("/runs/new", [("protocol_id", row.id.to_string().as_str())]),
        name: row.name,
        description: protocol.and_then(|protocol| protocol.description.clone()).unwrap_or_default(),
    });
    let view = RunNew {
        protocols: protocols.collect(),
        form: None,
        problems: Vec::new(),
        chrome: visit.chrome("Start a run", "/runs").await?,
    };
    page(&view)
}

/// A form under way: what it asks, and what was typed so far.
struct Draft {
    row: ProtocolRow,
    protocol: Arc<Protocol>,
    /// None: rows of names and values.
    questions: Option<Vec<Question>>,
    pairs: Vec<Pair>,
}

impl Draft {
    async fn of(visit: &Visit, id: i64) -> Result<Draft, AppError> {
        let scheduler = visit.site.scheduler.clone();
        let found = visit.site.read(move |connection| {
            let Some(row) = protocols::get(connection, id)? else { return Ok(None) };
            let protocol = scheduler.protocols().get(connection, row.id, row.latest_version)?;
            Ok(Some((row, protocol)))
        });
        let found = found.await?.ok_or_else(|| AppError::NotFound(format!("There is no protocol {id}.")))?;
        let (row, protocol) = found;
        let questions = input_form::questions(protocol.input.as_ref());
        let pairs = if questions.is_some() { Vec::new() } else { pairs::blank() };
        Ok(Draft { row, protocol, questions, pairs })
    }

    fn read(&mut self, sent: &Sent) -> Result<Payload, Vec<Problem>> {
        if let Some(questions) = &mut self.questions {
            return input_form::read(questions, |name| sent.raw(name)).ok_or_else(|| self.field_problems());
        }
        self.pairs = pairs::sent(sent);
        pairs::read(&self.pairs)
    }

    fn field_problems(&self) -> Vec<Problem> {
        let questions = self.questions.iter().flatten();
        let wrong = questions.filter_map(|question| {
            Some(Problem::at_field(question.field.id(), question.field.error.clone()?))
        });
        wrong.collect()
    }

    /// Puts what the schema says at the field that it is about.
    fn problem(&mut self, error: FieldError) -> Problem {
        if error.path == "Idempotency-Key" {
            let message = "This form was sent before with other answers, and that run is started. Send it once \
                           more to start another run.";
            return Problem::at_field("", message);
        }
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

    async fn view(&self, visit: &Visit, problems: Vec<Problem>) -> Result<RunNew, AppError> {
        let form = StartForm {
            protocol_id: self.row.id.to_string(),
            key: hex::encode(rand::random::<[u8; 16]>()),
            name: self.row.name.clone(),
            description: self.protocol.description.clone().unwrap_or_default(),
            steps: self.protocol.tasks.iter().map(|task| task.label()).collect(),
            fields: self.questions.iter().flatten().map(|question| question.field.clone()).collect(),
            pairs: self.pairs.clone(),
        };
        let chrome = visit.chrome(&format!("Start: {}", self.row.name), "/runs").await?;
        Ok(RunNew { protocols: Vec::new(), form: Some(form), problems, chrome })
    }
}
