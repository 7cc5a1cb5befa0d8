//! `GET` and `POST /runs/{id}/override`: an official stops a run for review.

use super::pairs;
use super::run_acts::reason_problem;
use super::sent::{Form, Sent};
use super::visit::{Visit, id, page_with, see_other};
use crate::auth::policy::Permission;
use crate::engine::state::{OverrideAction, Payload};
use crate::web::acts;
use crate::web::pages::acts::reason;
use crate::web::pages::forms::{Choice, Problem};
use crate::web::pages::moment::duration;
use crate::web::pages::overrides::OverrideNew;
use crate::web::pages::run_new::Pair;
use crate::web::problem::AppError;
use actix_web::http::StatusCode;
use actix_web::{HttpResponse, web};

/// What may be asked for, and how it is said.
const ACTIONS: [(OverrideAction, &str); 3] = [
    (OverrideAction::Cancel, "Cancel the run"),
    (OverrideAction::Modify, "Change values and let it go on"),
    (OverrideAction::Pause, "Keep it paused until it is looked at"),
];

/// `GET /runs/{id}/override`.
///
/// # Errors
/// 403, 404.
pub async fn show(visit: Visit, path: web::Path<String>) -> Result<HttpResponse, AppError> {
    let typed = Typed { pairs: pairs::blank(), ..Typed::default() };
    typed.draw(&visit, id(&path)?, StatusCode::OK).await
}

/// `POST /runs/{id}/override`.
///
/// # Errors
/// 403, 404. What is wrong comes back with the form, with 422, or 409 when the run has moved on.
pub async fn create(
    visit: Visit,
    path: web::Path<String>,
    Form(sent): Form,
) -> Result<HttpResponse, AppError> {
    let id = id(&path)?;
    let (mut typed, values) = Typed::read(&sent);
    let (Some(action), true) = (typed.action(), typed.problems.is_empty()) else {
        return typed.draw(&visit, id, StatusCode::UNPROCESSABLE_ENTITY).await;
    };
    match acts::file_override(&visit.site, &visit.who, id, action, typed.reason.clone(), values).await {
        Ok((row, _)) => {
            visit.notice(true, "The run is paused, and your override is under review.");
            Ok(see_other(&format!("/overrides/{}", row.id)))
        }
        Err(AppError::Unprocessable { errors }) => {
            typed.problems =
                errors.into_iter().map(|error| Problem::at_field("name_1", error.message)).collect();
            typed.draw(&visit, id, StatusCode::UNPROCESSABLE_ENTITY).await
        }
        Err(AppError::Conflict { detail, .. }) => {
            typed.problems = vec![Problem::at_field("", detail)];
            typed.draw(&visit, id, StatusCode::CONFLICT).await
        }
        Err(error) => Err(error),
    }
}

/// What came with the form, and what is wrong with it.
#[derive(Default)]
struct Typed {
    action: String,
    action_error: Option<String>,
    reason: String,
    reason_error: Option<String>,
    pairs: Vec<Pair>,
    problems: Vec<Problem>,
}

impl Typed {
    fn read(sent: &Sent) -> (Typed, Option<Payload>) {
        let (action, reason) = (sent.text("action"), sent.text("reason"));
        let mut typed = Typed { action, reason, pairs: pairs::sent(sent), ..Typed::default() };
        let mut problems = Vec::new();
        if typed.action().is_none() {
            typed.action_error = Some("Choose what you ask for.".to_owned());
        }
        typed.reason_error = reason_problem(&typed.reason, "Say why you stop the run.");
        problems.extend(typed.action_error.clone().map(|message| Problem::at_field("action", message)));
        problems.extend(typed.reason_error.clone().map(|message| Problem::at_field("field-reason", message)));
        let values = pairs::read_nested(&typed.pairs).unwrap_or_else(|wrong| {
            problems.extend(wrong);
            Payload::new()
        });
        if typed.action() == Some(OverrideAction::Modify) && values.is_empty() && problems.is_empty() {
            problems.push(Problem::at_field("name_1", "Write down at least one new value."));
        }
        typed.problems = problems;
        (typed, (!values.is_empty()).then_some(values))
    }

    fn action(&self) -> Option<OverrideAction> {
        ACTIONS.into_iter().map(|(action, _)| action).find(|action| action.as_str() == self.action)
    }

    async fn draw(self, visit: &Visit, id: i64, status: StatusCode) -> Result<HttpResponse, AppError> {
        visit.permit(Permission::Override).await?;
        let run = acts::read_run(&visit.site, &visit.who, id).await?;
        let mut field = reason("Why do you stop it?");
        (field.value, field.error) = (self.reason, self.reason_error);
        let choice = |(action, text): (OverrideAction, &str)| {
            Choice::new(action.as_str(), text, action.as_str() == self.action)
        };
        let view = OverrideNew {
            number: run.id.to_string(),
            protocol: run.protocol_ref.name.clone(),
            problems: self.problems,
            actions: ACTIONS.into_iter().map(choice).collect(),
            action_error: self.action_error,
            reason: field,
            pairs: self.pairs,
            review: duration(visit.site.override_review),
            chrome: visit.chrome(&format!("Override of run {}", run.id), "/runs").await?,
        };
        page_with(status, &view)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn action_reason_and_values_are_asked_for() {
        let fields = |body: &str| {
            let (typed, _) = Typed::read(&Sent::form(body.as_bytes()).expect("a form"));
            typed.problems.into_iter().map(|problem| problem.field).collect::<Vec<_>>()
        };
        assert_eq!(fields(""), ["action", "field-reason"]);
        assert_eq!(fields("action=modify&reason=x"), ["name_1"]);
        assert!(fields("action=modify&reason=x&name_1=a&value_1=2").is_empty());
        assert!(fields("action=cancel&reason=x").is_empty());
    }
}
