//! What officials file against runs in flight, and what others make of it.

use super::super::problem::AppError;
use super::super::site::{Site, actor};
use super::refused::{plain_refusal, refused_error};
use super::runs::permitted;
use crate::auth::policy::{Permission, Principal, Resource};
use crate::engine::command::{Command, Rejection};
use crate::engine::ids::{OverrideId, RunId};
use crate::engine::redact::restored;
use crate::engine::state::{OverrideAction, OverrideChoice, Payload, Run};
use crate::scheduler::Refused;
use crate::store::overrides::{self, OverrideRow, OverrideStatus};
use serde_json::json;
use std::sync::Arc;

/// Files an override: its run is paused at once, and somebody else decides.
///
/// # Errors
/// 403; 422 for an unknown run; 409 when the run is over, or has an override under review.
pub async fn file_override(
    site: &Site,
    who: &Principal,
    run: i64,
    action: OverrideAction,
    reason: String,
    new_value: Option<Payload>,
) -> Result<(OverrideRow, Arc<Run>), AppError> {
    permitted(site, who, run, Permission::Override).await.map_err(|error| match error {
        AppError::NotFound(detail) => AppError::field("$.run_id", detail),
        other => other,
    })?;
    let id = site.read(overrides::draw_id).await?;
    let command = Command::FileOverride {
        id: OverrideId(id),
        action,
        reason,
        new_value: new_value.map(crate::engine::json::normalise_map),
        review: site.override_review,
    };
    match site.scheduler.act(RunId(run), command, actor(who)).await {
        Ok(done) => Ok((found(site, id).await?, done.run)),
        Err(refused) => Err(refused_error(site, who, refused).await),
    }
}

/// An override, for somebody who may see its run.
///
/// # Errors
/// 403, 404.
pub async fn read_override(site: &Site, who: &Principal, id: i64) -> Result<OverrideRow, AppError> {
    site.permit(who, Permission::ReadOverrides, Resource::Any).await?;
    let row = found(site, id).await?;
    site.permit(who, Permission::ReadOverrides, Resource::Run { started_by: &row.run_starter }).await?;
    Ok(row)
}

/// What is decided about an override.
#[derive(Debug, Clone, PartialEq)]
pub struct Judgement {
    pub choice: OverrideChoice,
    pub reason: Option<String>,
    /// What the payload gets. None: what was filed.
    pub new_value: Option<Payload>,
}

/// Decides an override.
///
/// # Errors
/// 403 for whoever filed it; 404; 409 to the second of two deciders, with who was first; 422 for a change without
/// values.
pub async fn decide_override(
    site: &Site,
    who: &Principal,
    id: i64,
    judgement: Judgement,
) -> Result<(OverrideRow, Arc<Run>), AppError> {
    site.permit(who, Permission::Override, Resource::Any).await?;
    let row = found(site, id).await?;
    site.permit(who, Permission::Override, Resource::Run { started_by: &row.run_starter }).await?;
    if let Some(error) = decided_before(&row) {
        return Err(error);
    }
    let Judgement { choice, reason, new_value } = judgement;
    if choice == OverrideChoice::Modify && new_value.is_none() && row.new_value.is_none() {
        let message =
            "is needed to modify: nothing was filed to change. Send the values that the run goes on with.";
        return Err(AppError::field("$.new_value", message));
    }
    let new_value = match new_value {
        Some(sent) => Some(as_filed(site, row.run_id, crate::engine::json::normalise_map(sent)).await?),
        None => None,
    };
    let command = Command::DecideOverride { id: OverrideId(id), choice, reason, new_value };
    match site.scheduler.act(RunId(row.run_id), command, actor(who)).await {
        Ok(done) => Ok((found(site, id).await?, done.run)),
        Err(refused) => Err(overtaken(site, who, id, refused).await),
    }
}

/// The values as they were sent; where they say that something is sealed, what was filed there.
async fn as_filed(site: &Site, run: i64, sent: Payload) -> Result<Payload, AppError> {
    let run = site.scheduler.look(RunId(run)).await.map_err(|refused| plain_refusal(&refused))?;
    let filed = run.overridden.as_ref().and_then(|filed| filed.new_value.clone()).unwrap_or_default();
    Ok(restored(&run, sent, &filed))
}

/// Somebody may have been faster: then the answer says who.
async fn overtaken(site: &Site, who: &Principal, id: i64, refused: Refused) -> AppError {
    let late = matches!(
        &refused,
        Refused::Rejected(Rejection::UnknownOverride { .. } | Rejection::RunIsOver { .. })
    );
    let answer = refused_error(site, who, refused).await;
    if !late {
        return answer;
    }
    match found(site, id).await {
        Ok(row) => decided_before(&row).unwrap_or(answer),
        Err(error) => error,
    }
}

fn decided_before(row: &OverrideRow) -> Option<AppError> {
    if row.status == OverrideStatus::Pending.as_str() {
        return None;
    }
    let (Some(by), Some(at)) = (&row.decided_by, row.decided_at) else {
        let detail = format!("Run {} ended before anybody decided this override.", row.run_id);
        return Some(AppError::conflict(detail));
    };
    let at = at.format("%Y-%m-%d %H:%M:%S UTC");
    let fields =
        json!({"decided_by": by, "decision": row.status, "decided_at": row.decided_at, "run_id": row.run_id});
    Some(AppError::Conflict {
        detail: format!("{by} already decided this override ({}) at {at}.", row.status),
        fields: fields.as_object().cloned().unwrap_or_default(),
    })
}

async fn found(site: &Site, id: i64) -> Result<OverrideRow, AppError> {
    let row = site.read(move |connection| overrides::get(connection, id)).await?;
    row.ok_or_else(|| AppError::NotFound(format!("There is no override {id}.")))
}
