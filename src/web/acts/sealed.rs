//! Reading what is sealed: an act of its own, recorded before anything is shown.

use super::super::problem::AppError;
use super::super::site::Site;
use super::refused::plain_refusal;
use crate::auth::policy::{Permission, Principal, Resource};
use crate::engine::ids::RunId;
use crate::store::disclosures::{self, SealedValue};
use serde_json::json;
use std::collections::BTreeSet;

/// The sealed values of a run, for somebody who says why they need them. Who, why and which is an entry in the log
/// before they are given.
///
/// # Errors
/// 403, 404; 409 when nothing is sealed in the run.
pub async fn read_sealed(
    site: &Site,
    who: &Principal,
    id: i64,
    reason: &str,
) -> Result<Vec<SealedValue>, AppError> {
    may_read_sealed(site, who, id).await?;
    let values = site.read(move |connection| disclosures::of_run(connection, id)).await?;
    if values.is_empty() {
        return Err(AppError::conflict(format!("Nothing is sealed in run {id}: it is shown as it is.")));
    }
    let paths: BTreeSet<&str> = values.iter().map(|value| value.disclosure.path.as_str()).collect();
    site.record(who, "sealed.read", json!({"run_id": id, "reason": reason, "paths": paths})).await?;
    Ok(values)
}

/// Whether somebody may read what is sealed in a run.
///
/// # Errors
/// 403, 404.
pub async fn may_read_sealed(site: &Site, who: &Principal, id: i64) -> Result<(), AppError> {
    site.permit(who, Permission::ReadSealed, Resource::Any).await?;
    let run = site.scheduler.look(RunId(id)).await.map_err(|refused| plain_refusal(&refused))?;
    site.permit(who, Permission::ReadSealed, Resource::Run { started_by: &run.started_by }).await
}
