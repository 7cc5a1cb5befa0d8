//! Runs that begin: for the first time, or again.

use super::super::problem::{AppError, FieldError};
use super::super::site::{Site, actor};
use super::refused::{plain_refusal, refused_error};
use crate::auth::policy::{Permission, Principal, Resource};
use crate::engine::command::{Rejection, Rerun};
use crate::engine::event::EventKind;
use crate::engine::ids::RunId;
use crate::engine::protocol::Protocol;
use crate::engine::redact::restored;
use crate::engine::state::{Payload, ProtocolRef, Run};
use crate::scheduler::input::{input_problems, overwritten};
use crate::scheduler::{Done, NewRun, Refused};
use crate::store::batch::StartKey;
use crate::store::error::StoreError;
use crate::store::{Connection, lineage, log, protocols, runs, start_keys};
use std::sync::Arc;

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
    let Some((protocol_ref, protocol)) = latest(site, protocol_id).await? else {
        let message = format!("There is no protocol {protocol_id}. GET /acts/protocols lists them.");
        return Err(AppError::field("$.protocol_id", message));
    };
    let payload = crate::engine::json::normalise_map(payload);
    check_input(&protocol, &payload)?;
    begin(site, who, NewRun { key, ..NewRun::of(protocol_ref, protocol, payload, actor(who)) }).await
}

/// Starts a run again that is over, by the latest version of its protocol. What its lineage did already, and did not
/// undo, is taken over instead of being done again. `payload`: None gives it what the old run was given.
///
/// # Errors
/// 403, 404; 409 while the run or another of its lineage is open, and when what it was given is erased; 422 for a
/// payload that does not fit.
pub async fn rerun(
    site: &Site,
    who: &Principal,
    id: i64,
    reason: String,
    payload: Option<Payload>,
) -> Result<Done, AppError> {
    site.permit(who, Permission::RerunRun, Resource::Any).await?;
    let old = site.scheduler.look(RunId(id)).await.map_err(|refused| plain_refusal(&refused))?;
    site.permit(who, Permission::RerunRun, Resource::Run { started_by: &old.started_by }).await?;
    let salt = rerunnable(&old)?;
    let Some((protocol_ref, protocol)) = latest(site, old.protocol_ref.id).await? else {
        return Err(AppError::conflict(format!(
            "The protocol of run {id} is gone, so nothing can follow it."
        )));
    };
    let (run, lineage) = (old.id, old.lineage);
    let (input, before) = site
        .read(move |connection| {
            if let Some(open) = lineage::open_run(connection, lineage)? {
                return Err(StoreError::Conflict(Rejection::lineage_open(open).to_string()));
            }
            Ok((input_of(connection, run)?, lineage::read(connection, lineage, None)?))
        })
        .await?;
    let payload = match payload {
        Some(sent) => restored(&old, crate::engine::json::normalise_map(sent), &input),
        None => input,
    };
    check_input(&protocol, &payload)?;
    let rerun = Rerun { of: old.id, lineage, reason, before: Arc::new(before) };
    let new = NewRun::of(protocol_ref, protocol, payload, actor(who));
    begin(site, who, NewRun { rerun: Some(rerun), salt: Some(salt), ..new }).await
}

/// The lineage's salt, if a run can be run again.
fn rerunnable(run: &Run) -> Result<[u8; 32], AppError> {
    let id = run.id;
    if !run.status.is_final() {
        return Err(AppError::conflict(format!(
            "Run {id} is not over: it is {}. Only a run that has ended can be run again; let it end, or cancel it.",
            run.status.as_str()
        )));
    }
    run.salt.ok_or_else(|| {
        AppError::conflict(format!(
            "What run {id} worked on was erased, so nobody can tell what was done already. Start a new run."
        ))
    })
}

/// What a run was given when it was started.
fn input_of(connection: &mut Connection, run: RunId) -> Result<Payload, StoreError> {
    let first = log::of_run(connection, run.0, 0, 1)?;
    let damaged = || StoreError::Corrupt(format!("run {run} does not begin with its queueing"));
    match runs::recorded(first.first().ok_or_else(damaged)?)?.event.kind {
        EventKind::RunQueued { payload, .. } => Ok(payload),
        _ => Err(damaged()),
    }
}

async fn begin(site: &Site, who: &Principal, new: NewRun) -> Result<Done, AppError> {
    match site.scheduler.start(new).await {
        Ok(done) => Ok(done),
        Err(refused) => Err(refused_error(site, who, refused).await),
    }
}

/// The latest version of a protocol. None: there is no such protocol.
async fn latest(site: &Site, id: i64) -> Result<Option<(ProtocolRef, Arc<Protocol>)>, AppError> {
    let scheduler = site.scheduler.clone();
    let found = site.read(move |connection| {
        let Some(row) = protocols::get(connection, id)? else { return Ok(None) };
        let protocol = scheduler.protocols().get(connection, row.id, row.latest_version)?;
        Ok(Some((ProtocolRef { id: row.id, version: row.latest_version, name: row.name }, protocol)))
    });
    found.await
}

/// The run that was started under this key, whatever has become of its protocol since. The committer decides between
/// two starts at once.
async fn started_before(site: &Site, key: &StartKey) -> Result<Option<Done>, AppError> {
    let asked = key.clone();
    let found = site.read(move |connection| start_keys::find(connection, &asked)).await?;
    let Some((run_id, same_body)) = found else { return Ok(None) };
    if !same_body {
        return Err(plain_refusal(&Refused::KeyReused));
    }
    let run = site.scheduler.look(RunId(run_id)).await.map_err(|refused| plain_refusal(&refused))?;
    Ok(Some(Done { run, repeated: true }))
}

/// What is wrong with what a run is given, all of it.
fn check_input(protocol: &Protocol, payload: &Payload) -> Result<(), AppError> {
    for misfits in [overwritten(protocol, payload), input_problems(protocol, payload)] {
        if !misfits.is_empty() {
            return Err(AppError::Unprocessable {
                errors: misfits.into_iter().map(FieldError::from).collect(),
            });
        }
    }
    Ok(())
}
