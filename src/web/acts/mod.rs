//! What people do, whichever door they come through: the API and the pages call these same functions.
//!
//! Each asks the policy, checks what was sent, submits a command and waits for its acknowledgement. Refusals are
//! entries in the log.

mod approvals;
mod bundle;
mod overrides;
mod redactions;
mod refused;
mod runs;
mod sealed;
mod start;
mod what_if;

pub use approvals::{decide, read_approval};
pub use bundle::make_bundle;
pub use overrides::{Judgement, decide_override, file_override, read_override};
pub use redactions::{MAX_PATH, OWN_REDACTION, decide_redaction, file_redaction, read_redaction};
pub(in crate::web) use refused::{plain_refusal, refused_error};
pub use runs::{
    cancel_run, migrate_run, pause_run, preview_migration, read_run, read_run_behind, resume_run, retry_step,
    set_value, skip_step, value_path,
};
pub use sealed::{may_read_sealed, read_sealed};
pub use start::{rerun, start_run};
pub use what_if::{Instead, Told, ask_what_if};

use super::problem::{AppError, FieldError};
use serde_json::Value;

/// The longest reason, in characters.
pub const MAX_REASON: usize = 4_000;

/// What of a value does not fit a JSON Schema, each with its JSON path, which begins with `root`.
fn schema_errors(schema: &Value, value: &Value, root: &str) -> Result<Vec<FieldError>, AppError> {
    let validator =
        jsonschema::validator_for(schema).map_err(|error| AppError::internal(anyhow::anyhow!("{error}")))?;
    let errors = validator.iter_errors(value).take(50).map(|error| FieldError {
        path: format!("{root}{}", error.instance_path().to_string().replace('/', ".")),
        message: format!("{error}."),
    });
    Ok(errors.collect())
}
