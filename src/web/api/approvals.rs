//! `/acts/approvals`: what waits for a decision, and deciding it.

use super::super::acts;
use super::super::json::Fields;
use super::super::principal::authenticate;
use super::super::problem::AppError;
use super::super::site::Site;
use super::query::Query;
use super::runs::time;
use super::{page, path_id, signed_body};
use crate::auth::policy::{Permission, Resource, sees_all_runs};
use crate::engine::ids::ApprovalId;
use crate::engine::protocol::Approvers;
use crate::engine::seating::Filled;
use crate::engine::state::{Choice, Run};
use crate::store::approvals::{self, ApprovalFilter, ApprovalRow};
use actix_web::{HttpRequest, HttpResponse, web};
use serde_json::{Value, json};

const STATUSES: [&str; 5] = ["pending", "approved", "rejected", "returned", "closed"];

/// `GET /acts/approvals`, oldest first.
pub async fn index(req: HttpRequest, site: web::Data<Site>) -> Result<HttpResponse, AppError> {
    let who = authenticate(&req).await?;
    site.permit(&who, Permission::ReadApprovals, Resource::Any).await?;
    let mut query = Query::of(&req)?;
    let limit = query.limit()?;
    let after = query.number_cursor()?;
    let statuses: Vec<String> = query
        .text("status")
        .map_or_else(Vec::new, |text| text.split(',').map(|word| word.trim().to_owned()).collect());
    let run_id = query.number("run_id")?;
    query.finish()?;
    if let Some(unknown) = statuses.iter().find(|status| !STATUSES.contains(&status.as_str())) {
        let message = format!("`{unknown}` is no status of an approval. Use one of {}.", STATUSES.join(", "));
        return Err(AppError::BadRequest(message));
    }
    let run_starter = (!sees_all_runs(&who)).then(|| who.user.clone());
    let filter = ApprovalFilter { statuses, run_id, run_starter, ..ApprovalFilter::default() };
    let rows = site.read(move |connection| approvals::list(connection, &filter, after, limit + 1)).await?;
    Ok(page(&req, "approvals", rows, limit, as_json, |row| row.id.to_string()))
}

/// `GET /acts/approvals/{id}`
pub async fn show(
    req: HttpRequest,
    site: web::Data<Site>,
    path: web::Path<String>,
) -> Result<HttpResponse, AppError> {
    let who = authenticate(&req).await?;
    Query::of(&req)?.finish()?;
    let row = acts::read_approval(&site, &who, path_id(&path, "an approval")?).await?;
    Ok(HttpResponse::Ok().json(as_json(&row)))
}

/// `POST /acts/approvals/{id}/decision`
pub async fn decide(
    req: HttpRequest,
    site: web::Data<Site>,
    path: web::Path<String>,
    payload: web::Payload,
) -> Result<HttpResponse, AppError> {
    let (who, body) = signed_body(&req, payload).await?;
    let id = path_id(&path, "an approval")?;
    let (choice, reason, form) = Fields::read(body, |fields| {
        let choice = match fields.required_choice("decision", &["approve", "reject", "return"]) {
            "reject" => Choice::Reject,
            "return" => Choice::Return,
            _ => Choice::Approve,
        };
        let reason = fields.optional_text("reason", acts::MAX_REASON);
        match choice {
            Choice::Reject if reason.is_none() => fields.error("reason", "is required to reject: say why"),
            Choice::Return if reason.is_none() => {
                fields.error("reason", "is required to send the work back: say what should change");
            }
            Choice::Approve | Choice::Reject | Choice::Return => {}
        }
        (choice, reason, fields.optional_object("form").map(Value::Object))
    })?;
    let run = acts::decide(&site, &who, id, choice, reason, form).await?;
    Ok(HttpResponse::Ok().json(json!({
        "id": id,
        "run_id": run.id,
        "decision": choice.as_str(),
        "decided_by": who.user,
        "run_status": run.status.as_str(),
        "approval": standing(&run, ApprovalId(id)),
    })))
}

/// How an approval stands after a decision: it may need more of them.
fn standing(run: &Run, id: ApprovalId) -> Value {
    let Some((_, _, approval)) = run.approval(id) else { return Value::Null };
    let status = match approval.decision.as_ref().map(|decision| decision.choice) {
        None => "pending",
        Some(Choice::Approve) => "approved",
        Some(Choice::Reject) => "rejected",
        Some(Choice::Return) => "returned",
    };
    let last = approval.decision.as_ref().is_some_and(|decision| decision.choice == Choice::Approve);
    let votes = approval.votes.len() + usize::from(last);
    let mut standing = json!({"status": status, "votes": votes, "quorum": approval.quorum});
    if !approval.approvers.slots.is_empty() {
        standing["slots"] = json!(slots(&approval.approvers, &approval.filled));
    }
    standing
}

/// How far each slot has come.
fn slots(approvers: &Approvers, filled: &[Filled]) -> Vec<Value> {
    let slots = approvers.slots.iter().map(|slot| {
        let by = filled.iter().filter(|filled| filled.slot == slot.name).map(|filled| &filled.by);
        json!({"name": slot.name, "needed": slot.count, "approved_by": by.collect::<Vec<_>>()})
    });
    slots.collect()
}

/// The votes, each with the slot that it fills.
fn votes(row: &ApprovalRow, filled: &[Filled]) -> Value {
    let mut votes = row.votes.clone();
    for vote in votes.as_array_mut().into_iter().flatten() {
        let slot = filled.iter().find(|filled| vote["by"] == filled.by.as_str());
        vote["slot"] = json!(slot.map(|filled| &filled.slot));
    }
    votes
}

fn as_json(row: &ApprovalRow) -> Value {
    let filled = row.filled();
    json!({
        "id": row.id,
        "run_id": row.run_id,
        "step": row.step,
        "title": row.title,
        "status": row.status,
        "protocol_name": row.protocol_name,
        "approvers": row.approvers,
        "quorum": row.quorum,
        "slots": slots(&row.approvers(), &filled),
        "votes": votes(row, &filled),
        "four_eyes": row.four_eyes,
        "started_by": row.run_starter,
        "opened_at": time(row.opened_at),
        "due_at": row.due_at.map(time),
        "reminded_at": row.reminded_at.map(time),
        "escalated_at": row.escalated_at.map(time),
        "decided_by": row.decided_by,
        "decided_at": row.decided_at.map(time),
        "reason": row.reason,
        "form": row.form,
    })
}
