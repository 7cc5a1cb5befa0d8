//! What people do to a run in flight.

use super::super::problem::AppError;
use super::super::site::{Site, actor};
use super::refused::{plain_refusal, refused_error};
use crate::auth::policy::{Permission, Principal, Resource};
use crate::engine::command::Command;
use crate::engine::decide::migrate::{self, Preview};
use crate::engine::ids::{RunId, StepPath};
use crate::engine::protocol::Protocol;
use crate::engine::redact::shown;
use crate::engine::state::{ProtocolRef, Run};
use crate::scheduler::Refused;
use crate::store::protocols;
use serde_json::Value;
use std::sync::Arc;

/// A run, for somebody who may see it; what is sealed in it is left out.
///
/// # Errors
/// 404, 403.
pub async fn read_run(site: &Site, who: &Principal, id: i64) -> Result<Arc<Run>, AppError> {
    Ok(shown(&permitted(site, who, id, Permission::ReadRun).await?))
}

/// The same for somebody who reads its recording: of the replica, where there is one.
///
/// # Errors
/// 404, 403.
pub async fn read_run_behind(site: &Site, who: &Principal, id: i64) -> Result<Arc<Run>, AppError> {
    site.permit(who, Permission::ReadRun, Resource::Any).await?;
    let scheduler = site.scheduler.clone();
    let found = site.read_behind(move |connection| scheduler.load(connection, RunId(id))).await?;
    let run = found.ok_or_else(|| plain_refusal(&Refused::UnknownRun(RunId(id))))?.run;
    site.permit(who, Permission::ReadRun, Resource::Run { started_by: &run.started_by }).await?;
    Ok(shown(&run))
}

/// Stops a run.
///
/// # Errors
/// 403, 404; 409 when it is over.
pub async fn cancel_run(site: &Site, who: &Principal, id: i64, reason: String) -> Result<Arc<Run>, AppError> {
    act(site, who, id, Permission::CancelRun, Command::CancelRun { reason }).await
}

/// Stops a run for a while: nothing starts any more.
///
/// # Errors
/// 403, 404; 409 when it is paused, or over.
pub async fn pause_run(site: &Site, who: &Principal, id: i64, reason: String) -> Result<Arc<Run>, AppError> {
    act(site, who, id, Permission::SteerRun, Command::PauseRun { reason }).await
}

/// Lets a paused run go on.
///
/// # Errors
/// 403, 404; 409 when it is not paused, or something else must be decided first.
pub async fn resume_run(site: &Site, who: &Principal, id: i64, reason: String) -> Result<Arc<Run>, AppError> {
    act(site, who, id, Permission::CancelRun, Command::ResumeRun { reason }).await
}

/// Has a step that paused its run done once more.
///
/// # Errors
/// 403, 404 (of the run and of the step); 409 when the step did not pause the run.
pub async fn retry_step(
    site: &Site,
    who: &Principal,
    id: i64,
    step: &str,
    reason: String,
) -> Result<Arc<Run>, AppError> {
    let step = StepPath::from_log(step);
    act(site, who, id, Permission::SteerRun, Command::RetryStep { step, reason }).await
}

/// Passes over a step. Past an approval only for whoever may decide it.
///
/// # Errors
/// 403, 404 (of the run and of the step); 409 when the step is over.
pub async fn skip_step(
    site: &Site,
    who: &Principal,
    id: i64,
    step: &str,
    reason: String,
) -> Result<Arc<Run>, AppError> {
    let step = StepPath::from_log(step);
    act(site, who, id, Permission::SteerRun, Command::SkipStep { step, reason }).await
}

/// Sets a value in the payload. `path` is as [`value_path`] gives it.
///
/// # Errors
/// 403, 404; 409 when the run is over; 422 when the path leads nowhere.
pub async fn set_value(
    site: &Site,
    who: &Principal,
    id: i64,
    path: Vec<String>,
    value: Value,
    reason: String,
) -> Result<Arc<Run>, AppError> {
    let value = crate::engine::json::normalise(value);
    act(site, who, id, Permission::SteerRun, Command::SetValue { path, value, reason }).await
}

/// The keys that lead to a value: `payload.case.amount`, `case.amount`, `items[0].name`, or the JSON pointer
/// `/case/amount`, for keys with dots in them.
///
/// # Errors
/// A sentence for whoever typed it.
pub fn value_path(text: &str) -> Result<Vec<String>, String> {
    let example = "Write it like payload.case.amount, or as a JSON pointer: /case/amount.";
    let keys: Vec<String> = match text.strip_prefix('/') {
        Some(pointer) => pointer.split('/').map(|key| key.replace("~1", "/").replace("~0", "~")).collect(),
        None => {
            let dotted = text.replace('[', ".").replace(']', "");
            let mut keys: Vec<String> = dotted.split('.').map(|key| key.trim().to_owned()).collect();
            if keys.first().is_some_and(|key| key == "payload") {
                keys.remove(0);
            }
            keys
        }
    };
    match keys.as_slice() {
        [] => Err(format!("names the whole payload; name one field of it. {example}")),
        keys if keys.iter().any(String::is_empty) => Err(format!("has an empty part. {example}")),
        _ => Ok(keys),
    }
}

/// What moving a run to another version of its protocol would come to. Changes nothing.
///
/// # Errors
/// 403, 404; 422 for an unknown version.
pub async fn preview_migration(
    site: &Site,
    who: &Principal,
    id: i64,
    version: i64,
) -> Result<(Arc<Run>, Preview), AppError> {
    let run = permitted(site, who, id, Permission::MigrateRun).await?;
    let (to, protocol) = version_of(site, &run, version).await?;
    let preview = migrate::preview(&run, &to, &protocol);
    Ok((run, preview))
}

/// Moves a parked run to another version of its protocol.
///
/// # Errors
/// 403, 404; 409 where a step has no counterpart, or something is being executed; 422 for an unknown version.
pub async fn migrate_run(
    site: &Site,
    who: &Principal,
    id: i64,
    version: i64,
    reason: String,
) -> Result<Arc<Run>, AppError> {
    let run = permitted(site, who, id, Permission::MigrateRun).await?;
    let (to, protocol) = version_of(site, &run, version).await?;
    submit(site, who, id, Command::MigrateRun { to, protocol, reason }).await
}

/// A version of the run's own protocol.
pub(super) async fn version_of(
    site: &Site,
    run: &Run,
    version: i64,
) -> Result<(ProtocolRef, Arc<Protocol>), AppError> {
    let (scheduler, id) = (site.scheduler.clone(), run.protocol_ref.id);
    let found = site.read(move |connection| {
        let Some(row) = protocols::get(connection, id)? else { return Ok(Err(0)) };
        let known = i32::try_from(version).ok().filter(|known| (1..=row.latest_version).contains(known));
        let Some(version) = known else { return Ok(Err(row.latest_version)) };
        let protocol = scheduler.protocols().get(connection, id, version)?;
        Ok(Ok((ProtocolRef { id, version, name: row.name }, protocol)))
    });
    found.await?.map_err(|latest| {
        let message = format!("Protocol {id} has no version {version}; its latest is {latest}.");
        AppError::field("$.version", message)
    })
}

async fn act(
    site: &Site,
    who: &Principal,
    id: i64,
    permission: Permission,
    command: Command,
) -> Result<Arc<Run>, AppError> {
    permitted(site, who, id, permission).await?;
    submit(site, who, id, command).await
}

/// The run, if this person may do that to it.
pub(super) async fn permitted(
    site: &Site,
    who: &Principal,
    id: i64,
    permission: Permission,
) -> Result<Arc<Run>, AppError> {
    site.permit(who, permission, Resource::Any).await?;
    let run = site.scheduler.look(RunId(id)).await.map_err(|refused| plain_refusal(&refused))?;
    site.permit(who, permission, Resource::Run { started_by: &run.started_by }).await?;
    Ok(run)
}

async fn submit(site: &Site, who: &Principal, id: i64, command: Command) -> Result<Arc<Run>, AppError> {
    match site.scheduler.act(RunId(id), command, actor(who)).await {
        Ok(done) => Ok(done.run),
        Err(refused) => Err(refused_error(site, who, refused).await),
    }
}

#[cfg(test)]
mod tests {
    use super::value_path;

    #[test]
    fn paths_are_read_with_dots_brackets_or_as_pointers() {
        let keys = |text: &str| value_path(text).map(|keys| keys.join(" "));
        assert_eq!(keys("payload.case.amount").as_deref(), Ok("case amount"));
        assert_eq!(keys("case.amount").as_deref(), Ok("case amount"));
        assert_eq!(keys("items[0].name").as_deref(), Ok("items 0 name"));
        assert_eq!(keys("/case/a.b/c~1d~0e").as_deref(), Ok("case a.b c/d~e"));
        assert_eq!(keys("/payload").as_deref(), Ok("payload"));
        for bad in ["payload", "payload.", "a..b", ".", "/", "//a", ""] {
            assert!(keys(bad).is_err_and(|message| message.ends_with("/case/amount.")), "{bad:?}");
        }
    }
}
