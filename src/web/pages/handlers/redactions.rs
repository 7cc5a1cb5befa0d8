//! `/redactions` and `/redactions/{id}`: what was asked to be erased, and what others make of it.

use super::rows::{self, PAGE};
use super::run_acts::reason_problem;
use super::sent::{Form, Sent};
use super::visit::{Visit, id, page, page_with, see_other};
use crate::auth::policy::{Permission, Principal, Resource, allow};
use crate::store::redactions::{self as store, RedactionFilter, RedactionRow as Stored, RedactionStatus};
use crate::web::acts;
use crate::web::pages::forms::Problem;
use crate::web::pages::moment::Moment;
use crate::web::pages::redactions::{Answer, Redaction, RedactionRow, Redactions};
use crate::web::pages::sentences::ended;
use crate::web::pages::status::Status;
use crate::web::problem::AppError;
use actix_web::http::StatusCode;
use actix_web::{HttpRequest, HttpResponse, web};

/// `GET /redactions`, and `?tab=history`.
///
/// # Errors
/// 400 for parameters that are not known; 403.
pub async fn index(visit: Visit, req: HttpRequest) -> Result<HttpResponse, AppError> {
    visit.permit(Permission::ReadRedactions).await?;
    let query = Sent::query(req.query_string(), &["tab", "cursor"])?;
    let pending = query.raw("tab") != "history";
    let statuses = match pending {
        true => vec![RedactionStatus::Pending],
        false => vec![RedactionStatus::Approved, RedactionStatus::Rejected],
    };
    let filter = RedactionFilter { statuses, run_id: None };
    let cursor = query.filled("cursor").map(|text| id(&text)).transpose()?;
    let mut found =
        visit.site.read(move |connection| store::list(connection, &filter, cursor, PAGE + 1)).await?;
    let next = rows::cut(&mut found, |row| row.id.to_string());
    let view = Redactions {
        pending,
        redactions: found.into_iter().map(|row| self::row(&visit.who, row)).collect(),
        first: cursor.map(|_| query.address_with("/redactions", "cursor", "")),
        next: next.map(|next| query.address_with("/redactions", "cursor", &next)),
        chrome: visit.chrome("Erasures", "/redactions").await?,
    };
    page(&view)
}

/// `GET /redactions/{id}`.
///
/// # Errors
/// 403, 404.
pub async fn show(visit: Visit, path: web::Path<String>) -> Result<HttpResponse, AppError> {
    draw(&visit, id(&path)?, &Sent::default(), Vec::new(), StatusCode::OK).await
}

/// `POST /redactions/{id}`.
///
/// # Errors
/// 403, 404. Who decides second sees who decided first, with 409.
pub async fn decide(
    visit: Visit,
    path: web::Path<String>,
    Form(sent): Form,
) -> Result<HttpResponse, AppError> {
    let id = id(&path)?;
    let (decision, reason) = (sent.text("decision"), sent.text("reason"));
    let mut problems = Vec::new();
    if !["approve", "reject"].contains(&decision.as_str()) {
        problems.push(Problem::at_field("approve", "Choose what you decide."));
    }
    let missing = reason_problem(&reason, "Write down why you decide so.");
    problems.extend(missing.map(|message| Problem::at_field("reason", message)));
    if !problems.is_empty() {
        return draw(&visit, id, &sent, problems, StatusCode::UNPROCESSABLE_ENTITY).await;
    }
    match acts::decide_redaction(&visit.site, &visit.who, id, decision == "approve", reason).await {
        Ok(_) => {
            visit.notice(true, "Your decision is recorded.");
            Ok(see_other(&format!("/redactions/{id}")))
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
    let stored = acts::read_redaction(&visit.site, &visit.who, id).await?;
    let view = Redaction {
        id: id.to_string(),
        sentence: sentence(&stored),
        problems,
        answer: answer(&visit.who, &stored, sent),
        row: row(&visit.who, stored),
        chrome: visit.chrome(&format!("Erasure {id}"), "/redactions").await?,
    };
    page_with(status, &view)
}

/// What became of a request: on its own page, and on that of its run.
pub fn sentence(stored: &Stored) -> String {
    let (path, asked) = (&stored.path, &stored.filed_by);
    let when = stored.decided_at.map_or_else(String::new, |at| Moment::new(at).text);
    let by = stored.decided_by.as_deref().unwrap_or_default();
    let why = ended(stored.decision.as_deref().unwrap_or_default());
    match RedactionStatus::parse(&stored.status) {
        Some(RedactionStatus::Approved) => {
            let values = match stored.erased.unwrap_or(0) {
                1 => "1 value".to_owned(),
                values => format!("{values} values"),
            };
            let because = ended(&stored.reason);
            format!(
                "{path} was erased on {when} ({values}). {asked} asked for it: {because} {by} approved: {why}"
            )
        }
        Some(RedactionStatus::Rejected) => format!("{path} was not erased: {by} refused it on {when}. {why}"),
        Some(RedactionStatus::Pending) | None => {
            format!("{asked} asks that {path} is erased. Nothing happens until somebody else decides.")
        }
    }
}

fn answer(who: &Principal, stored: &Stored, sent: &Sent) -> Answer {
    if let (Some(by), Some(at)) = (&stored.decided_by, stored.decided_at) {
        let reason = stored.decision.clone().unwrap_or_default();
        return Answer::Decided { by: by.clone(), at: Moment::new(at), reason };
    }
    match bar(who, stored) {
        Some(why) => Answer::Barred(why),
        None => Answer::Open { decision: sent.text("decision"), reason: sent.text("reason") },
    }
}

/// Why the viewer cannot decide. None: the viewer can.
fn bar(who: &Principal, stored: &Stored) -> Option<String> {
    if stored.filed_by == who.user {
        return Some(acts::OWN_REDACTION.to_owned());
    }
    allow(who, Permission::Redact, Resource::Any).err().map(|refusal| refusal.message)
}

fn row(who: &Principal, stored: Stored) -> RedactionRow {
    let status = RedactionStatus::parse(&stored.status);
    RedactionRow {
        href: format!("/redactions/{}", stored.id),
        status: match status {
            Some(RedactionStatus::Approved) => Status::erased(),
            Some(RedactionStatus::Rejected) => Status::rejected(),
            Some(RedactionStatus::Pending) | None => Status::under_review(),
        },
        barred: bar(who, &stored).filter(|_| status == Some(RedactionStatus::Pending)),
        decided: stored.decided_by.clone().zip(stored.decided_at.map(Moment::new)),
        run_number: stored.run_id.to_string(),
        run_href: format!("/runs/{}", stored.run_id),
        filed: Moment::new(stored.filed_at),
        path: stored.path,
        reason: stored.reason,
        protocol: stored.protocol_name,
        filed_by: stored.filed_by,
    }
}
