//! `/overrides` and `/overrides/{id}`: what officials filed against runs, and what others make of it.

use super::pairs;
use super::rows::{self, PAGE};
use super::run_acts::reason_problem;
use super::sent::{Form, Sent};
use super::visit::{Visit, id, page, page_with, see_other};
use crate::auth::policy::{Permission, Principal, Resource, allow};
use crate::engine::command::Rejection;
use crate::engine::state::{OverrideChoice, Payload};
use crate::store::overrides::{self as store, OverrideFilter, OverrideRow as Stored, OverrideStatus};
use crate::web::acts::{self, Judgement};
use crate::web::pages::facts;
use crate::web::pages::forms::Problem;
use crate::web::pages::moment::Moment;
use crate::web::pages::overrides::{Answer, Decided, Override, OverrideRow, Overrides};
use crate::web::pages::run_new::Pair;
use crate::web::pages::status::Status;
use crate::web::problem::AppError;
use actix_web::http::StatusCode;
use actix_web::{HttpRequest, HttpResponse, web};
use chrono::Utc;

/// `GET /overrides`, and `?tab=history`.
///
/// # Errors
/// 400 for parameters that are not known; 403.
pub async fn index(visit: Visit, req: HttpRequest) -> Result<HttpResponse, AppError> {
    visit.permit(Permission::ReadOverrides).await?;
    let query = Sent::query(req.query_string(), &["tab", "cursor"])?;
    let pending = query.raw("tab") != "history";
    let decided = OverrideStatus::ALL.into_iter().filter(|status| *status != OverrideStatus::Pending);
    let filter = OverrideFilter {
        statuses: if pending { vec![OverrideStatus::Pending] } else { decided.collect() },
        run_starter: visit.only_runs_of(),
        ..OverrideFilter::default()
    };
    let cursor = query.filled("cursor").map(|text| id(&text)).transpose()?;
    let mut found =
        visit.site.read(move |connection| store::list(connection, &filter, cursor, PAGE + 1)).await?;
    let next = rows::cut(&mut found, |row| row.id.to_string());
    let view = Overrides {
        pending,
        overrides: found.into_iter().map(|row| self::row(&visit.who, row)).collect(),
        first: cursor.map(|_| query.address_with("/overrides", "cursor", "")),
        next: next.map(|next| query.address_with("/overrides", "cursor", &next)),
        chrome: visit.chrome("Overrides", "/overrides").await?,
    };
    page(&view)
}

/// `GET /overrides/{id}`.
///
/// # Errors
/// 403, 404.
pub async fn show(visit: Visit, path: web::Path<String>) -> Result<HttpResponse, AppError> {
    draw(&visit, id(&path)?, None, StatusCode::OK).await
}

/// `POST /overrides/{id}`.
///
/// # Errors
/// 403, 404. Who decides second sees who decided first, with 409.
pub async fn decide(
    visit: Visit,
    path: web::Path<String>,
    Form(sent): Form,
) -> Result<HttpResponse, AppError> {
    let id = id(&path)?;
    let (mut typed, new_value) = Typed::read(&sent);
    let (Some(choice), true) = (typed.choice(), typed.problems.is_empty()) else {
        return draw(&visit, id, Some(typed), StatusCode::UNPROCESSABLE_ENTITY).await;
    };
    let new_value = new_value.filter(|_| choice == OverrideChoice::Modify);
    let judgement = Judgement { choice, reason: Some(typed.reason.clone()), new_value };
    match acts::decide_override(&visit.site, &visit.who, id, judgement).await {
        Ok(_) => {
            visit.notice(true, "Your decision is recorded.");
            Ok(see_other(&format!("/overrides/{id}")))
        }
        Err(AppError::Unprocessable { errors }) => {
            let message = |message: String| Problem::at_field("name_1", format!("The new values: {message}"));
            typed.problems = errors.into_iter().map(|error| message(error.message)).collect();
            draw(&visit, id, Some(typed), StatusCode::UNPROCESSABLE_ENTITY).await
        }
        Err(AppError::Conflict { detail, .. }) => {
            typed.problems = vec![Problem::at_field("", detail)];
            draw(&visit, id, Some(typed), StatusCode::CONFLICT).await
        }
        Err(error) => Err(error),
    }
}

/// What came with the form, and what is wrong with it.
struct Typed {
    choice: String,
    reason: String,
    pairs: Vec<Pair>,
    problems: Vec<Problem>,
}

impl Typed {
    fn read(sent: &Sent) -> (Typed, Option<Payload>) {
        let (choice, reason) = (sent.text("choice"), sent.text("reason"));
        let mut typed = Typed { choice, reason, pairs: pairs::sent(sent), problems: Vec::new() };
        if typed.choice().is_none() {
            typed.problems.push(Problem::at_field("approve", "Choose what becomes of the run."));
        }
        if let Some(message) = reason_problem(&typed.reason, "Write down why you decide so.") {
            typed.problems.push(Problem::at_field("reason", message));
        }
        let values = pairs::read_nested(&typed.pairs).unwrap_or_else(|wrong| {
            typed.problems.extend(wrong);
            Payload::new()
        });
        (typed, (!values.is_empty()).then_some(values))
    }

    fn choice(&self) -> Option<OverrideChoice> {
        let choices = [OverrideChoice::Approve, OverrideChoice::Modify, OverrideChoice::Reject];
        choices.into_iter().find(|choice| choice.as_str() == self.choice)
    }
}

async fn draw(
    visit: &Visit,
    id: i64,
    typed: Option<Typed>,
    status: StatusCode,
) -> Result<HttpResponse, AppError> {
    let stored = acts::read_override(&visit.site, &visit.who, id).await?;
    let run = acts::read_run(&visit.site, &visit.who, stored.run_id).await?;
    let problems = typed.as_ref().map(|typed| typed.problems.clone()).unwrap_or_default();
    let view = Override {
        id: id.to_string(),
        sentence: sentence(&stored),
        problems,
        new_value: stored.new_value.as_ref().map(facts::short).unwrap_or_default(),
        payload: facts::short_map(&run.payload),
        answer: answer(&visit.who, &stored, typed),
        row: row(&visit.who, stored),
        chrome: visit.chrome(&format!("Override {id}"), "/overrides").await?,
    };
    page_with(status, &view)
}

fn sentence(stored: &Stored) -> String {
    let (by, run) = (&stored.filed_by, stored.run_id);
    match OverrideStatus::parse(&stored.status) {
        Some(OverrideStatus::Pending) => {
            format!("{by} stopped run {run}. It stays paused until somebody else decides.")
        }
        Some(OverrideStatus::Approved) => format!("The override stands: run {run} is cancelled."),
        Some(OverrideStatus::Modified) => format!("Run {run} went on with new values."),
        Some(OverrideStatus::Rejected) => format!("Run {run} went on as it was."),
        Some(OverrideStatus::Closed) | None => format!("Run {run} ended before anybody decided."),
    }
}

fn answer(who: &Principal, stored: &Stored, typed: Option<Typed>) -> Answer {
    if let (Some(by), Some(at)) = (&stored.decided_by, stored.decided_at) {
        return Answer::Decided(Decided {
            status: status(stored),
            by: by.clone(),
            at: Moment::new(at),
            reason: stored.decision.clone().unwrap_or_else(|| "No reason was given.".to_owned()),
            merged: stored.merged.as_ref().map(facts::short).unwrap_or_default(),
        });
    }
    if stored.status != OverrideStatus::Pending.as_str() {
        return Answer::Withdrawn(
            "The run ended before anybody decided, so nothing is left to decide.".to_owned(),
        );
    }
    if let Some(why) = bar(who, stored) {
        return Answer::Barred(why);
    }
    match typed {
        Some(typed) => Answer::Open { choice: typed.choice, reason: typed.reason, pairs: typed.pairs },
        None => {
            let filed = stored.new_value.as_ref().and_then(|value| value.as_object()).and_then(pairs::of);
            Answer::Open {
                choice: String::new(),
                reason: String::new(),
                pairs: filed.unwrap_or_else(pairs::blank),
            }
        }
    }
}

/// Why the viewer cannot decide. None: the viewer can.
fn bar(who: &Principal, stored: &Stored) -> Option<String> {
    if stored.filed_by == who.user {
        return Some(Rejection::OwnOverride.to_string());
    }
    let resource = Resource::Run { started_by: &stored.run_starter };
    allow(who, Permission::Override, resource).err().map(|refusal| refusal.message)
}

fn status(stored: &Stored) -> Status {
    match OverrideStatus::parse(&stored.status) {
        Some(OverrideStatus::Pending) => Status::under_review(),
        Some(OverrideStatus::Approved) => Status::approved(),
        Some(OverrideStatus::Modified) => Status::modified(),
        Some(OverrideStatus::Rejected) => Status::rejected(),
        Some(OverrideStatus::Closed) | None => Status::withdrawn(),
    }
}

/// An override as a row of a list.
pub fn row(who: &Principal, stored: Stored) -> OverrideRow {
    let pending = stored.status == OverrideStatus::Pending.as_str();
    let title = match stored.action.as_str() {
        "cancel" => "Cancel the run",
        "modify" => "Change values of the run",
        _ => "Pause the run",
    };
    OverrideRow {
        href: format!("/overrides/{}", stored.id),
        title: title.to_owned(),
        status: status(&stored),
        barred: bar(who, &stored).filter(|_| pending),
        overdue: pending && stored.review_until < Utc::now(),
        decided: stored.decided_by.clone().zip(stored.decided_at.map(Moment::new)),
        run_number: stored.run_id.to_string(),
        run_href: format!("/runs/{}", stored.run_id),
        filed: Moment::new(stored.filed_at),
        review_until: Moment::new(stored.review_until),
        reason: stored.reason,
        protocol: stored.protocol_name,
        filed_by: stored.filed_by,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn choice_and_reason_are_both_needed() {
        let fields = |body: &str| {
            let (typed, _) = Typed::read(&Sent::form(body.as_bytes()).expect("a form"));
            typed.problems.into_iter().map(|problem| problem.field).collect::<Vec<_>>()
        };
        assert_eq!(fields(""), ["approve", "reason"]);
        assert_eq!(fields("choice=later&reason=x&value_1=5"), ["approve", "name_1"]);
        assert!(fields("choice=modify&reason=x&name_1=a.b&value_1=5").is_empty());
    }
}
