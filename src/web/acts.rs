//! What people do, whichever door they come through: the API and the pages call these same functions.
//!
//! Each asks the policy, checks what was sent, submits a command and waits for its acknowledgement. Refusals are
//! entries in the log.

use super::problem::{AppError, FieldError};
use super::site::{Site, actor};
use crate::auth::policy::{Permission, Principal, Resource};
use crate::engine::command::{Command, Rejection};
use crate::engine::ids::{ApprovalId, RunId};
use crate::engine::state::{Choice, Payload, ProtocolRef, Run};
use crate::scheduler::input::{input_problems, overwritten};
use crate::scheduler::{Done, NewRun, Refused};
use crate::store::batch::StartKey;
use crate::store::error::StoreError;
use crate::store::{approvals, protocols, start_keys};
use serde_json::{Map, Value, json};
use std::sync::Arc;

/// The longest reason, in characters.
pub const MAX_REASON: usize = 4_000;

/// Starts a run of the protocol's latest version.
///
/// # Errors
/// 403; 422 for an unknown protocol, or a payload that does not fit its input schema or the key's first body.
pub async fn start_run(
    site: &Site,
    who: &Principal,
    protocol_id: i64,
    payload: Payload,
    key: Option<StartKey>,
) -> Result<Done, AppError> {
    site.permit(who, Permission::StartRun, Resource::Any).await?;
    if let Some(key) = &key
        && let Some(done) = started_before(site, key).await?
    {
        return Ok(done);
    }
    let scheduler = site.scheduler.clone();
    let found = site
        .read(move |connection| {
            let Some(row) = protocols::get(connection, protocol_id)? else { return Ok(None) };
            let protocol = scheduler.protocols().get(connection, row.id, row.latest_version)?;
            Ok(Some((row, protocol)))
        })
        .await?;
    let Some((row, protocol)) = found else {
        let message = format!("There is no protocol {protocol_id}. GET /acts/protocols lists them.");
        return Err(AppError::field("$.protocol_id", message));
    };
    let payload = crate::engine::json::normalise_map(payload);
    for problems in [overwritten(&protocol, &payload), input_problems(&protocol, &payload)] {
        if !problems.is_empty() {
            return Err(AppError::Unprocessable {
                errors: problems.into_iter().map(FieldError::from).collect(),
            });
        }
    }
    let protocol_ref = ProtocolRef { id: row.id, version: row.latest_version, name: row.name };
    let new = NewRun { key, ..NewRun::of(protocol_ref, protocol, payload, actor(who)) };
    match site.scheduler.start(new).await {
        Ok(done) => Ok(done),
        Err(refused) => Err(refused_error(site, who, refused).await),
    }
}

/// The run that was started under this key, whatever has become of its protocol since. The committer decides between
/// two starts at once.
async fn started_before(site: &Site, key: &StartKey) -> Result<Option<Done>, AppError> {
    let (actor, name) = (key.actor.clone(), key.key.clone());
    let found = site.read(move |connection| start_keys::find(connection, &actor, &name)).await?;
    let Some((run_id, body_hash)) = found else { return Ok(None) };
    if body_hash != key.body_hash {
        return Err(plain_refusal(&Refused::KeyReused));
    }
    let run = site.scheduler.look(RunId(run_id)).await.map_err(|refused| plain_refusal(&refused))?;
    Ok(Some(Done { run, repeated: true }))
}

/// A run, for somebody who may see it.
///
/// # Errors
/// 404, 403.
pub async fn read_run(site: &Site, who: &Principal, id: i64) -> Result<Arc<Run>, AppError> {
    site.permit(who, Permission::ReadRun, Resource::Any).await?;
    let run = site.scheduler.look(RunId(id)).await.map_err(|refused| plain_refusal(&refused))?;
    site.permit(who, Permission::ReadRun, Resource::Run { started_by: &run.started_by }).await?;
    Ok(run)
}

/// Stops a run.
///
/// # Errors
/// 403, 404; 409 when it is over.
pub async fn cancel_run(site: &Site, who: &Principal, id: i64, reason: String) -> Result<Arc<Run>, AppError> {
    act_on_run(site, who, id, Command::CancelRun { reason }).await
}

/// Lets a paused run go on.
///
/// # Errors
/// 403, 404; 409 when it is not paused.
pub async fn resume_run(site: &Site, who: &Principal, id: i64, reason: String) -> Result<Arc<Run>, AppError> {
    act_on_run(site, who, id, Command::ResumeRun { reason }).await
}

async fn act_on_run(site: &Site, who: &Principal, id: i64, command: Command) -> Result<Arc<Run>, AppError> {
    site.permit(who, Permission::CancelRun, Resource::Any).await?;
    let run = site.scheduler.look(RunId(id)).await.map_err(|refused| plain_refusal(&refused))?;
    site.permit(who, Permission::CancelRun, Resource::Run { started_by: &run.started_by }).await?;
    match site.scheduler.act(RunId(id), command, actor(who)).await {
        Ok(done) => Ok(done.run),
        Err(refused) => Err(refused_error(site, who, refused).await),
    }
}

/// An approval, for somebody who may see it: whoever decides, and whoever sees its run.
///
/// # Errors
/// 404, 403.
pub async fn read_approval(
    site: &Site,
    who: &Principal,
    id: i64,
) -> Result<approvals::ApprovalRow, AppError> {
    site.permit(who, Permission::ReadApprovals, Resource::Any).await?;
    let row = site.read(move |connection| approvals::get(connection, id)).await?;
    let row = row.ok_or_else(|| AppError::NotFound(format!("There is no approval {id}.")))?;
    site.permit(who, Permission::ReadApprovals, Resource::Run { started_by: &row.run_starter }).await?;
    Ok(row)
}

/// Decides an approval.
///
/// # Errors
/// 403 for whoever may not decide, the run's starter above all; 404; 409 to the second of two deciders.
pub async fn decide(
    site: &Site,
    who: &Principal,
    id: i64,
    choice: Choice,
    reason: Option<String>,
    form: Option<Value>,
) -> Result<Arc<Run>, AppError> {
    site.permit(who, Permission::Decide, Resource::Any).await?;
    let row = site.read(move |connection| approvals::get(connection, id)).await?;
    let row = row.ok_or_else(|| AppError::NotFound(format!("There is no approval {id}.")))?;
    let form = form.map(crate::engine::json::normalise);
    let command = Command::Decide { approval: ApprovalId(id), choice, reason, form };
    match site.scheduler.act(RunId(row.run_id), command, actor(who)).await {
        Ok(done) => Ok(done.run),
        Err(refused) => Err(refused_error(site, who, refused).await),
    }
}

/// The answer to a refused command. What was refused to a person is an entry in the log.
async fn refused_error(site: &Site, who: &Principal, refused: Refused) -> AppError {
    if let Refused::Rejected(rejection) = &refused {
        let detail = json!({"command": rejection.to_string()});
        if let Err(error) = site.record_refusal(who, "command.refused", detail).await {
            return error;
        }
    }
    plain_refusal(&refused)
}

fn plain_refusal(refused: &Refused) -> AppError {
    match refused {
        Refused::Rejected(rejection) => rejection_error(rejection),
        Refused::UnknownRun(id) => AppError::NotFound(format!("There is no run {id}.")),
        Refused::KeyReused => AppError::field(
            "Idempotency-Key",
            "This key was already used with another body. Send the same body, or use a new key.",
        ),
        Refused::Full { key, limit } => AppError::Conflict {
            detail: refused.to_string(),
            fields: json!({"key": key, "limit": limit}).as_object().cloned().unwrap_or_default(),
        },
        Refused::NotWanted => AppError::conflict(refused.to_string()),
        Refused::Unwritable => AppError::internal(anyhow::anyhow!("{refused}")),
        Refused::Unavailable => AppError::Unavailable {
            detail: "The database does not answer, so nothing was done. Try again in a moment.".to_owned(),
            retry_after: 2,
        },
    }
}

fn rejection_error(rejection: &Rejection) -> AppError {
    let detail = rejection.to_string();
    let conflict = |fields: Value| AppError::Conflict {
        detail: detail.clone(),
        fields: fields.as_object().cloned().unwrap_or_else(Map::new),
    };
    match rejection {
        Rejection::RunIsOver { run, status } | Rejection::NotPaused { run, status } => {
            conflict(json!({"run_id": run, "run_status": status.as_str()}))
        }
        Rejection::AlreadyDecided { by, choice, at } => {
            conflict(json!({"decided_by": by, "decision": choice.as_str(), "decided_at": at}))
        }
        Rejection::StaleAttempt { .. } | Rejection::NotNow(_) | Rejection::AskedAgain => conflict(json!({})),
        Rejection::UnknownApproval { .. }
        | Rejection::UnknownStep { .. }
        | Rejection::UnknownOverride { .. } => AppError::NotFound(detail),
        Rejection::Unfit { field, .. } => AppError::field(&format!("$.{field}"), detail),
        Rejection::FourEyes
        | Rejection::NotAnApprover { .. }
        | Rejection::VotedBefore
        | Rejection::OwnOverride => AppError::Forbidden { detail, missing: None },
    }
}

impl From<StoreError> for AppError {
    fn from(error: StoreError) -> AppError {
        match error {
            StoreError::Conflict(message) => AppError::conflict(message),
            StoreError::Overtaken { .. } => AppError::PreconditionFailed(error.to_string()),
            StoreError::Connection(_) => {
                tracing::error!(error = %error, "no database connection");
                AppError::Unavailable {
                    detail: "The database cannot be reached. Try again in a moment.".to_owned(),
                    retry_after: 2,
                }
            }
            StoreError::TooSlow => AppError::Unavailable { detail: error.to_string(), retry_after: 30 },
            StoreError::Database(_) | StoreError::Corrupt(_) | StoreError::Privilege(_) => {
                AppError::internal(error)
            }
        }
    }
}
