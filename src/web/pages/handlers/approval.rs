//! `/approvals/{id}`: the evidence, and the decision.

use super::rows::approval_status;
use super::run::reason_problem;
use super::sent::{Form, Sent};
use super::visit::{Visit, id, page, page_with, see_other};
use crate::auth::policy::Principal;
use crate::engine::ids::StepPath;
use crate::engine::state::{Choice, Run};
use crate::store::approvals::ApprovalRow;
use crate::web::acts;
use crate::web::pages::approval::{Answer, Approval, Decided, Evidence};
use crate::web::pages::forms::Problem;
use crate::web::pages::moment::Moment;
use crate::web::pages::{approvers, plan};
use crate::web::problem::AppError;
use actix_web::http::StatusCode;
use actix_web::{HttpResponse, web};
use chrono::Utc;
use std::sync::Arc;

/// `GET /approvals/{id}`.
///
/// # Errors
/// 403, 404.
pub async fn show(visit: Visit, path: web::Path<String>) -> Result<HttpResponse, AppError> {
    page(&Page::of(&visit, id(&path)?).await?.view(&visit, Typed::default()).await?)
}

/// `POST /approvals/{id}`.
///
/// # Errors
/// 403, 404. Who decides second sees who decided first, with 409.
pub async fn decide(
    visit: Visit,
    path: web::Path<String>,
    Form(sent): Form,
) -> Result<HttpResponse, AppError> {
    let id = id(&path)?;
    let typed = Typed::read(&sent);
    let (choice, reason) = match (typed.choice(), &typed.problems) {
        (Some(choice), problems) if problems.is_empty() => (choice, typed.reason.clone()),
        _ => {
            let view = Page::of(&visit, id).await?.view(&visit, typed).await?;
            return page_with(StatusCode::UNPROCESSABLE_ENTITY, &view);
        }
    };
    match acts::decide(&visit.site, &visit.who, id, choice, Some(reason), None).await {
        Ok(_) => {
            visit.notice(true, "Your decision is recorded.");
            Ok(see_other(&format!("/approvals/{id}")))
        }
        Err(AppError::Conflict { detail, .. }) => {
            let typed = Typed { problems: vec![Problem::at_field("", detail)], ..Typed::default() };
            let view = Page::of(&visit, id).await?.view(&visit, typed).await?;
            page_with(StatusCode::CONFLICT, &view)
        }
        Err(error) => Err(error),
    }
}

/// What came with the form, and what is wrong with it.
#[derive(Debug, Default)]
struct Typed {
    decision: String,
    reason: String,
    problems: Vec<Problem>,
}

impl Typed {
    fn read(sent: &Sent) -> Typed {
        let (decision, reason) = (sent.text("decision"), sent.text("reason"));
        let mut typed = Typed { decision, reason, problems: Vec::new() };
        if typed.choice().is_none() {
            typed.problems.push(Problem::at_field("approve", "Choose whether you approve or reject."));
        }
        if let Some(message) = reason_problem(&typed.reason, "Write down why you decide so.") {
            typed.problems.push(Problem::at_field("reason", message));
        }
        typed
    }

    fn choice(&self) -> Option<Choice> {
        [Choice::Approve, Choice::Reject].into_iter().find(|choice| choice.as_str() == self.decision)
    }
}

/// An approval and its run.
struct Page {
    row: ApprovalRow,
    run: Arc<Run>,
}

impl Page {
    async fn of(visit: &Visit, id: i64) -> Result<Page, AppError> {
        let row = acts::read_approval(&visit.site, &visit.who, id).await?;
        let run = acts::read_run(&visit.site, &visit.who, row.run_id).await?;
        Ok(Page { row, run })
    }

    async fn view(self, visit: &Visit, typed: Typed) -> Result<Approval, AppError> {
        let Page { row, run } = self;
        let found = plan::evidence(&run, &StepPath::from_log(&row.step));
        let others = found.others.into_iter().map(|(title, facts)| Evidence { title, facts });
        let problems = typed.problems.clone();
        Ok(Approval {
            chrome: visit.chrome(&row.title, "/approvals").await?,
            id: row.id.to_string(),
            status: approval_status(&row),
            run_number: row.run_id.to_string(),
            run_href: format!("/runs/{}", row.run_id),
            protocol: row.protocol_name.clone(),
            started_by: row.run_starter.clone(),
            opened: Moment::new(row.opened_at),
            due: row.due_at.map(Moment::new),
            overdue: row.status == "pending" && row.due_at.is_some_and(|due| due < Utc::now()),
            problems,
            assessment: found.assessment,
            application: found.application,
            letter: found.letter,
            evidence: others.collect(),
            answer: answer(&row, &run, &visit.who, typed),
            title: row.title,
        })
    }
}

fn answer(row: &ApprovalRow, run: &Run, who: &Principal, typed: Typed) -> Answer {
    if let (Some(by), Some(at)) = (&row.decided_by, row.decided_at) {
        return Answer::Decided(Decided {
            status: approval_status(row),
            by: by.clone(),
            at: Moment::new(at),
            reason: row.reason.clone().unwrap_or_else(|| "No reason was given.".to_owned()),
        });
    }
    if row.status != "pending" {
        let sentence = plan::sentence(run);
        return Answer::Withdrawn(format!("The run ended before anybody decided. {sentence}"));
    }
    match approvers::bar(who, &row.approvers(), row.four_eyes, &row.run_starter) {
        None => Answer::Open { decision: typed.decision, reason: typed.reason },
        Some(why) => {
            let others = approvers::who_may(&row.approvers(), false, &row.run_starter);
            Answer::Barred(if why == others { why } else { format!("{why} {others}") })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decision_and_reason_are_both_needed() {
        let problems = |body: &str| {
            let typed = Typed::read(&Sent::form(body.as_bytes()).expect("a form"));
            typed.problems.into_iter().map(|problem| problem.field).collect::<Vec<_>>()
        };
        assert_eq!(problems(""), ["approve", "reason"]);
        assert_eq!(problems("decision=return&reason=x"), ["approve"]);
        assert_eq!(problems("decision=approve&reason=+%0D%0A"), ["reason"]);
        assert!(problems("decision=reject&reason=no").is_empty());
        assert_eq!(problems(&format!("decision=reject&reason={}", "x".repeat(4001))), ["reason"]);
    }
}
