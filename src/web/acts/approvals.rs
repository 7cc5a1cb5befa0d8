//! What people decide of what waits for them.

use super::super::problem::AppError;
use super::super::site::{Site, actor};
use super::refused::{plain_refusal, refused_error};
use super::schema_errors;
use crate::auth::policy::{Permission, Principal, Resource};
use crate::engine::command::{Command, Rejection};
use crate::engine::ids::{ApprovalId, RunId};
use crate::engine::protocol::Work;
use crate::engine::state::{Choice, Run};
use crate::scheduler::Refused;
use crate::store::approvals::{self, ApprovalRow};
use serde_json::{Map, Value};
use std::sync::Arc;

/// An approval, for somebody who may see it: whoever decides, and whoever sees its run.
///
/// # Errors
/// 404, 403.
pub async fn read_approval(site: &Site, who: &Principal, id: i64) -> Result<ApprovalRow, AppError> {
    site.permit(who, Permission::ReadApprovals, Resource::Any).await?;
    let row = found(site, id).await?;
    site.permit(who, Permission::ReadApprovals, Resource::Run { started_by: &row.run_starter }).await?;
    Ok(row)
}

/// Decides an approval, or is one of several who must.
///
/// # Errors
/// 403 for whoever may not decide, the run's starter above all; 404; 409 to the second of two deciders; 422 for a
/// form that does not fit.
pub async fn decide(
    site: &Site,
    who: &Principal,
    id: i64,
    choice: Choice,
    reason: Option<String>,
    form: Option<Value>,
) -> Result<Arc<Run>, AppError> {
    site.permit(who, Permission::Decide, Resource::Any).await?;
    let row = found(site, id).await?;
    let form = form.map(crate::engine::json::normalise);
    let run = site.scheduler.look(RunId(row.run_id)).await.map_err(|refused| plain_refusal(&refused))?;
    check_form(&run, ApprovalId(id), choice, form.as_ref())?;
    let command = Command::Decide { approval: ApprovalId(id), choice, reason, form };
    match site.scheduler.act(run.id, command, actor(who)).await {
        Ok(done) => Ok(done.run),
        // The row says that it belongs to the run: another question stands in its place.
        Err(Refused::Rejected(Rejection::UnknownApproval { .. })) => {
            Err(refused_error(site, who, Refused::Rejected(Rejection::AskedAgain)).await)
        }
        Err(refused) => Err(refused_error(site, who, refused).await),
    }
}

async fn found(site: &Site, id: i64) -> Result<ApprovalRow, AppError> {
    let row = site.read(move |connection| approvals::get(connection, id)).await?;
    row.ok_or_else(|| AppError::NotFound(format!("There is no approval {id}.")))
}

/// Whoever approves fills in the form that the task has; whoever does not may leave it out. Whether anybody may decide
/// still is the engine's to say.
fn check_form(run: &Run, id: ApprovalId, choice: Choice, form: Option<&Value>) -> Result<(), AppError> {
    let Some((path, ..)) = run.approval(id).filter(|(_, step, _)| step.status.is_open()) else {
        return Ok(());
    };
    let schema = match run.protocol.task(path).map(|task| &task.work) {
        Some(Work::Hitl(hitl)) => hitl.form.as_ref(),
        _ => None,
    };
    let Some(schema) = schema else { return Ok(()) };
    let empty = Value::Object(Map::new());
    let form = match (form, choice) {
        (Some(form), _) => form,
        (None, Choice::Approve) => &empty,
        (None, Choice::Reject | Choice::Return) => return Ok(()),
    };
    let errors = schema_errors(schema, form, "$.form")?;
    if errors.is_empty() { Ok(()) } else { Err(AppError::Unprocessable { errors }) }
}
