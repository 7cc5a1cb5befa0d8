//! `POST /runs/{id}/{act}`: the acts whose forms are on the page of a run.
//!
//! What is done is done by `acts`, as for every door. A form with something wrong comes back on its page.

use super::offers::Back;
use super::run::{Asked, draw};
use super::sent::{Form, Sent};
use super::visit::{Visit, id, page_with, see_other};
use crate::engine::ids::RunId;
use crate::web::acts;
use crate::web::pages::chrome::Notice;
use crate::web::pages::input_form;
use crate::web::problem::{AppError, FieldError};
use actix_web::http::StatusCode;
use actix_web::{HttpResponse, web};

/// An act with a form on the page of the run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Act {
    Pause,
    Resume,
    Cancel,
    Retry,
    Skip,
    Value,
}

/// `POST /runs/{id}/pause`.
///
/// # Errors
/// 403, 404. What is wrong otherwise is said on the page, with 422, or 409 when the run has moved on.
pub async fn pause(visit: Visit, path: web::Path<String>, form: Form) -> Result<HttpResponse, AppError> {
    perform(visit, &path, form, Act::Pause).await
}

/// `POST /runs/{id}/resume`.
///
/// # Errors
/// As [`pause`].
pub async fn resume(visit: Visit, path: web::Path<String>, form: Form) -> Result<HttpResponse, AppError> {
    perform(visit, &path, form, Act::Resume).await
}

/// `POST /runs/{id}/cancel`.
///
/// # Errors
/// As [`pause`].
pub async fn cancel(visit: Visit, path: web::Path<String>, form: Form) -> Result<HttpResponse, AppError> {
    perform(visit, &path, form, Act::Cancel).await
}

/// `POST /runs/{id}/retry`.
///
/// # Errors
/// As [`pause`].
pub async fn retry(visit: Visit, path: web::Path<String>, form: Form) -> Result<HttpResponse, AppError> {
    perform(visit, &path, form, Act::Retry).await
}

/// `POST /runs/{id}/skip`.
///
/// # Errors
/// As [`pause`].
pub async fn skip(visit: Visit, path: web::Path<String>, form: Form) -> Result<HttpResponse, AppError> {
    perform(visit, &path, form, Act::Skip).await
}

/// `POST /runs/{id}/value`.
///
/// # Errors
/// As [`pause`].
pub async fn value(visit: Visit, path: web::Path<String>, form: Form) -> Result<HttpResponse, AppError> {
    perform(visit, &path, form, Act::Value).await
}

async fn perform(visit: Visit, path: &str, Form(sent): Form, act: Act) -> Result<HttpResponse, AppError> {
    let id = id(path)?;
    let problems = act.problems(&sent);
    if !problems.is_empty() {
        acts::read_run(&visit.site, &visit.who, id).await?;
        return come_back(&visit, id, act, sent, problems, StatusCode::UNPROCESSABLE_ENTITY).await;
    }
    match act.submit(&visit, id, &sent).await {
        Ok(()) => {
            visit.notice(true, act.done());
            Ok(see_other(&format!("/runs/{id}")))
        }
        Err(AppError::Unprocessable { errors }) => {
            let problems = errors.into_iter().map(at_field).collect();
            come_back(&visit, id, act, sent, problems, StatusCode::UNPROCESSABLE_ENTITY).await
        }
        Err(AppError::Conflict { detail, .. }) => {
            let problems = vec![(String::new(), detail)];
            come_back(&visit, id, act, sent, problems, StatusCode::CONFLICT).await
        }
        Err(error) => Err(error),
    }
}

/// The page again, with what is wrong. Where the form is not offered any more, it is said at the top.
async fn come_back(
    visit: &Visit,
    id: i64,
    act: Act,
    sent: Sent,
    problems: Vec<(String, String)>,
    status: StatusCode,
) -> Result<HttpResponse, AppError> {
    let all: Vec<String> = problems.iter().map(|(_, message)| message.clone()).collect();
    let back = Back { act: act.name(), sent, problems };
    let mut view = draw(visit, RunId(id), Asked { focus: None, back: Some(back) }).await?;
    if !view.acts.forms.iter().any(|form| form.open) {
        view.chrome.notice = Some(Notice { success: false, text: all.join(" ") });
    }
    page_with(status, &view)
}

/// `$.path` is about the field `path`.
fn at_field(error: FieldError) -> (String, String) {
    let name = error.path.trim_start_matches("$.");
    let name = name.split(['.', '[']).next().unwrap_or_default();
    let message = error.message;
    // What the API says after a field's name is a sentence of its own here.
    (name.to_owned(), crate::web::pages::approvers::capital(&message))
}

impl Act {
    /// As in the address.
    fn name(self) -> &'static str {
        match self {
            Act::Pause => "pause",
            Act::Resume => "resume",
            Act::Cancel => "cancel",
            Act::Retry => "retry",
            Act::Skip => "skip",
            Act::Value => "value",
        }
    }

    /// What the page says afterwards.
    fn done(self) -> &'static str {
        match self {
            Act::Pause => "The run is paused.",
            Act::Resume => "The run goes on.",
            Act::Cancel => "The run is cancelled.",
            Act::Retry => "The step is tried again.",
            Act::Skip => "The step is skipped.",
            Act::Value => "The value is changed.",
        }
    }

    /// What is missing before anything is asked of the run.
    fn problems(self, sent: &Sent) -> Vec<(String, String)> {
        let mut problems = Vec::new();
        let mut problem = |field: &str, message: String| problems.push((field.to_owned(), message));
        match self {
            Act::Retry | Act::Skip if sent.filled("step").is_none() => {
                problem("step", "Choose the step.".to_owned());
            }
            Act::Value => {
                if let Err(message) = acts::value_path(&sent.text("path")) {
                    problem("path", format!("This {message}"));
                }
            }
            Act::Pause | Act::Resume | Act::Cancel | Act::Retry | Act::Skip => {}
        }
        let missing = match self {
            Act::Pause => "Say why the run is paused.",
            Act::Resume => "Say why the run may go on.",
            Act::Cancel => "Say why the run is cancelled.",
            Act::Retry => "Say why the step may be tried again.",
            Act::Skip => "Say why the step is skipped.",
            Act::Value => "Say why the value is changed.",
        };
        if let Some(message) = reason_problem(&sent.text("reason"), missing) {
            problem("reason", message);
        }
        problems
    }

    async fn submit(self, visit: &Visit, id: i64, sent: &Sent) -> Result<(), AppError> {
        let (site, who, reason) = (&visit.site, &visit.who, sent.text("reason"));
        let step = sent.text("step");
        let done = match self {
            Act::Pause => acts::pause_run(site, who, id, reason).await,
            Act::Resume => acts::resume_run(site, who, id, reason).await,
            Act::Cancel => acts::cancel_run(site, who, id, reason).await,
            Act::Retry => acts::retry_step(site, who, id, &step, reason).await,
            Act::Skip => acts::skip_step(site, who, id, &step, reason).await,
            Act::Value => {
                let path = acts::value_path(&sent.text("path"))
                    .map_err(|message| AppError::field("$.path", message))?;
                acts::set_value(site, who, id, path, input_form::value(sent.raw("value")), reason).await
            }
        };
        done.map(|_| ())
    }
}

/// What is wrong with a reason, if anything is. `missing` says what to do when there is none.
pub fn reason_problem(reason: &str, missing: &str) -> Option<String> {
    if reason.is_empty() {
        return Some(missing.to_owned());
    }
    let long = reason.chars().count() > acts::MAX_REASON;
    long.then(|| format!("The reason is longer than {} characters. Say it more briefly.", acts::MAX_REASON))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_act_says_what_is_missing() {
        let fields = |act: Act, body: &str| {
            let problems = act.problems(&Sent::form(body.as_bytes()).expect("a form"));
            problems.into_iter().map(|(field, _)| field).collect::<Vec<_>>()
        };
        assert_eq!(fields(Act::Pause, ""), ["reason"]);
        assert_eq!(fields(Act::Retry, "reason=+%0D%0A"), ["step", "reason"]);
        assert_eq!(fields(Act::Value, "path=a..b&reason=x"), ["path"]);
        assert!(fields(Act::Skip, "step=a&reason=x").is_empty());
        assert_eq!(fields(Act::Cancel, &format!("reason={}", "x".repeat(4001))), ["reason"]);
    }
}
