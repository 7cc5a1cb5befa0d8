//! What a refused command is to whoever asked, and what is written down of it.

use super::super::problem::AppError;
use super::super::site::Site;
use crate::auth::policy::Principal;
use crate::engine::command::Rejection;
use crate::scheduler::Refused;
use crate::store::error::StoreError;
use serde_json::{Map, Value, json};

/// The answer to a refused command. What was refused to a person is an entry in the log.
pub(in crate::web) async fn refused_error(site: &Site, who: &Principal, refused: Refused) -> AppError {
    if let Refused::Rejected(rejection) = &refused {
        let detail = json!({"command": rejection.to_string()});
        if let Err(error) = site.record_refusal(who, "command.refused", detail).await {
            return error;
        }
    }
    plain_refusal(&refused)
}

pub(in crate::web) fn plain_refusal(refused: &Refused) -> AppError {
    match refused {
        Refused::Rejected(rejection) => rejection_error(rejection),
        Refused::UnknownRun(id) => AppError::NotFound(format!("There is no run {id}.")),
        Refused::Archived(detail) => AppError::Gone(detail.clone()),
        Refused::KeyReused => AppError::field(
            "Idempotency-Key",
            "This key was already used with another body. Send the same body, or use a new key.",
        ),
        Refused::Full { key, limit } => AppError::Conflict {
            detail: refused.to_string(),
            fields: Map::from_iter([("key".to_owned(), json!(key)), ("limit".to_owned(), json!(limit))]),
        },
        Refused::NotWanted => AppError::conflict(refused.to_string()),
        Refused::Newer(_) => left_to_newer(refused.to_string()),
        Refused::Unwritable => AppError::internal(anyhow::anyhow!("{refused}")),
        Refused::Unavailable => AppError::Unavailable {
            detail: "The database does not answer, so nothing was done. Try again in a moment.".to_owned(),
            retry_after: 2,
        },
    }
}

/// Another instance can answer: the next question may come to one.
fn left_to_newer(detail: String) -> AppError {
    AppError::Unavailable { detail, retry_after: 1 }
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
        Rejection::StaleAttempt { .. }
        | Rejection::AskedAgain
        | Rejection::SlotTaken { .. }
        | Rejection::NotNow(_) => conflict(json!({})),
        Rejection::Unfit { field, message } => AppError::field(format!("$.{field}"), message.clone()),
        Rejection::UnknownApproval { .. }
        | Rejection::UnknownStep { .. }
        | Rejection::UnknownOverride { .. } => AppError::NotFound(detail),
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
            StoreError::Archived { .. } => AppError::Gone(error.to_string()),
            StoreError::Connection(_) => {
                tracing::error!(error = %error, "no database connection");
                AppError::Unavailable {
                    detail: "The database cannot be reached. Try again in a moment.".to_owned(),
                    retry_after: 2,
                }
            }
            StoreError::Newer(_) => left_to_newer(error.to_string()),
            StoreError::TooSlow => AppError::Unavailable { detail: error.to_string(), retry_after: 30 },
            StoreError::Database(_) | StoreError::Corrupt(_) | StoreError::Privilege(_) => {
                AppError::internal(error)
            }
        }
    }
}
