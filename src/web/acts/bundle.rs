//! Taking out a run's evidence: an act that is recorded.

use super::super::pages::report::Report;
use super::super::problem::AppError;
use super::super::site::Site;
use super::{read_run_behind, read_sealed};
use crate::auth::policy::{Permission, Principal, Resource};
use crate::export::bundle::disclosures::Sealed;
use crate::export::bundle::{self, Evidence};
use actix_web::web;
use askama::Template;
use serde_json::json;
use std::sync::Arc;

/// A run's evidence in one file (zip). With a reason, for somebody who may read what is sealed in it, the sealed
/// values are in it; that reading is recorded as such too.
///
/// # Errors
/// 403, 404; 409 when nothing is sealed in the run and a reason is given; 503 while its last entries are not signed.
pub async fn make_bundle(
    site: &Site,
    who: &Principal,
    id: i64,
    reason: Option<&str>,
) -> Result<Vec<u8>, AppError> {
    site.permit(who, Permission::ReadLog, Resource::Any).await?;
    let run = read_run_behind(site, who, id).await?;
    let sealed = if reason.is_some() { Sealed::Disclosed } else { Sealed::Withheld };
    if let Some(reason) = reason {
        read_sealed(site, who, id, reason).await?;
    }
    let (over, protocol) = (run.status.is_final(), Arc::clone(&run.protocol));
    let evidence = site.read_behind(move |connection| bundle::evidence(connection, id, over, sealed)).await?;
    let evidence = evidence.ok_or_else(|| not_signed(site))?;
    let head = evidence.head.size;
    let name = run.protocol_ref.name.clone();
    let making = web::block(move || written(&evidence, &protocol, &name));
    let bytes = making.await.map_err(AppError::internal)?.map_err(AppError::internal)?;
    let mut detail = json!({"run": id, "checkpoint": head});
    if sealed == Sealed::Disclosed {
        detail["disclosed"] = true.into();
    }
    site.record(who, "bundle.made", detail).await?;
    Ok(bytes)
}

fn written(
    evidence: &Evidence,
    protocol: &crate::engine::protocol::Protocol,
    name: &str,
) -> Result<Vec<u8>, askama::Error> {
    let report = Report::of(evidence, protocol, name).render()?;
    Ok(bundle::write(evidence, &report))
}

fn not_signed(site: &Site) -> AppError {
    AppError::Unavailable {
        detail: site.sealing.problem().map_or_else(
            || "The run's last entries are being signed. Ask again in a second.".to_owned(),
            |problem| format!("The run's last entries are not signed: {problem}."),
        ),
        retry_after: 1,
    }
}
