//! Erasing what is sealed: one person asks for it, another decides.

use super::super::problem::AppError;
use super::super::site::Site;
use super::refused::plain_refusal;
use crate::auth::policy::{Permission, Principal, Resource};
use crate::engine::ids::RunId;
use crate::store::redactions::{self, Decided, Matching, NewRedaction, RedactionRow, RedactionStatus};
use serde_json::{Map, json};

/// What is told to whoever decides what they filed.
pub const OWN_REDACTION: &str = "You asked for this, so somebody else must decide it.";
/// The longest path, in characters.
pub const MAX_PATH: usize = 2_100;

/// Asks that what is sealed at a path of a run, and below it, is erased for good.
///
/// # Errors
/// 403; 422 for an unknown run, and for a path where nothing is sealed; 409 while the run is open, when it is erased
/// already, and when somebody asked for the same.
pub async fn file_redaction(
    site: &Site,
    who: &Principal,
    run: i64,
    path: String,
    reason: String,
) -> Result<RedactionRow, AppError> {
    site.permit(who, Permission::Redact, Resource::Any).await?;
    let found = site.scheduler.look(RunId(run)).await.map_err(|refused| match plain_refusal(&refused) {
        AppError::NotFound(detail) => AppError::field("$.run_id", detail),
        other => other,
    })?;
    if !found.status.is_final() {
        return Err(AppError::conflict(format!(
            "Run {run} is not over, and its next steps may need the value. Let it end, or cancel it, and ask again."
        )));
    }
    let asked = path.clone();
    let matching = site.read(move |connection| redactions::matching(connection, run, &asked)).await?;
    check(run, &path, &matching)?;
    let new = NewRedaction {
        run_id: run,
        path,
        status: RedactionStatus::Pending.as_str().to_owned(),
        protocol_name: found.protocol_ref.name.clone(),
        run_starter: found.started_by.clone(),
        reason,
        filed_by: who.user.clone(),
    };
    let filed = site.change(who, move |connection| {
        let row = redactions::file(connection, &new)?;
        let told = row.as_ref().map(|row| {
            let detail = json!({
                "redaction": row.id, "run_id": row.run_id, "path": row.path, "reason": row.reason,
                "values": matching.present,
            });
            ("redaction.filed", detail)
        });
        Ok((row, told))
    });
    filed.await?.ok_or_else(|| {
        AppError::conflict(format!(
            "Somebody asked already that this is erased in run {run}, and nobody has decided yet: see \
             GET /acts/redactions?status=pending&run_id={run}."
        ))
    })
}

fn check(run: i64, path: &str, matching: &Matching) -> Result<(), AppError> {
    if matching.present > 0 {
        return Ok(());
    }
    if matching.erased > 0 {
        return Err(AppError::conflict(format!(
            "What was sealed at `{path}` in run {run} is erased already."
        )));
    }
    if let Some(around) = &matching.inside {
        let message =
            format!("lies in `{around}`, which is sealed as a whole and can only be erased as a whole.");
        return Err(AppError::field("$.path", message));
    }
    let message = format!(
        "`{path}` is nothing that is sealed in run {run}. Name a path that its protocol marks under `redact`, or one \
         above it, for example `payload.applicant.ssn`."
    );
    Err(AppError::field("$.path", message))
}

/// A request to erase something.
///
/// # Errors
/// 403, 404.
pub async fn read_redaction(site: &Site, who: &Principal, id: i64) -> Result<RedactionRow, AppError> {
    site.permit(who, Permission::ReadRedactions, Resource::Any).await?;
    let row = site.read(move |connection| redactions::get(connection, id)).await?;
    row.ok_or_else(|| AppError::NotFound(format!("There is no redaction {id}.")))
}

/// Decides a request: approved, the values are gone when this returns, on this instance and in the database; the others
/// forget them within seconds, and never show them again.
///
/// # Errors
/// 403 for whoever filed it; 404; 409 to the second of two deciders, and while a run of the lineage is open.
pub async fn decide_redaction(
    site: &Site,
    who: &Principal,
    id: i64,
    approve: bool,
    reason: String,
) -> Result<RedactionRow, AppError> {
    site.permit(who, Permission::Redact, Resource::Any).await?;
    let row = read_redaction(site, who, id).await?;
    if row.filed_by == who.user {
        let detail = json!({"command": format!("decide redaction {id}"), "why": OWN_REDACTION});
        site.record_refusal(who, "command.refused", detail).await?;
        return Err(AppError::Forbidden { detail: OWN_REDACTION.to_owned(), missing: None });
    }
    let by = who.user.clone();
    let decided = site.change(who, move |connection| {
        let decided = redactions::decide(connection, id, &by, approve, &reason)?;
        let told = match &decided {
            Decided::Done(row) => Some(told(row, approve)),
            Decided::Before(_) | Decided::LineageOpen(_) => None,
        };
        Ok((decided, told))
    });
    match decided.await? {
        Decided::Done(row) => {
            if approve {
                site.forget(row.run_id).await?;
            }
            Ok(*row)
        }
        Decided::Before(row) => Err(decided_before(&row)),
        Decided::LineageOpen(open) => Err(AppError::conflict(format!(
            "Run {open} does the work of run {} again and is not over. Let it end, or cancel it, and decide then.",
            row.run_id
        ))),
    }
}

fn told(row: &RedactionRow, approve: bool) -> super::super::site::Told {
    let name = if approve { "redaction.approved" } else { "redaction.rejected" };
    let detail = json!({
        "redaction": row.id, "run_id": row.run_id, "path": row.path, "filed_by": row.filed_by,
        "asked_because": row.reason, "reason": row.decision, "values": row.erased.unwrap_or(0),
    });
    (name, detail)
}

fn decided_before(row: &RedactionRow) -> AppError {
    let (by, at) = (row.decided_by.as_deref().unwrap_or_default(), row.decided_at);
    let when = at.map_or_else(String::new, |at| format!(" at {}", at.format("%Y-%m-%d %H:%M:%S UTC")));
    let fields = json!({"decided_by": by, "decision": row.status, "decided_at": at, "run_id": row.run_id});
    AppError::Conflict {
        detail: format!("{by} already decided this ({}){when}.", row.status),
        fields: fields.as_object().cloned().unwrap_or_else(Map::new),
    }
}
