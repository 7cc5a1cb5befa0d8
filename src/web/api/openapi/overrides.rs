//! `/hitl/overrides`.

use super::call::{AnswerHeader, Call, get, post};
use super::problem::TooLate;
use super::runs::RunStatus;
use crate::auth::policy::Permission;
use chrono::{DateTime, Utc};
use serde_json::json;
use utoipa::ToSchema;

pub const TAG: &str = "Overrides";

const NUMBER: &str = "The override's number.";

/// What the official wants.
#[derive(ToSchema)]
#[schema(rename_all = "snake_case")]
pub enum OverrideAction {
    Pause,
    Cancel,
    Modify,
}

/// `pending`: under review, and the run is paused. `approved`: it stands, and the run was cancelled. `modified`: the run
/// went on with new values. `rejected`: it went on as it was. `closed`: it ended before anybody decided.
#[derive(ToSchema)]
#[schema(rename_all = "snake_case")]
enum OverrideStatus {
    Pending,
    Approved,
    Modified,
    Rejected,
    Closed,
}

/// An official stopping or changing a run in flight.
#[derive(ToSchema)]
struct Override {
    #[schema(example = 3)]
    id: i64,
    #[schema(example = 9001)]
    run_id: i64,
    action: OverrideAction,
    status: OverrideStatus,
    protocol_name: String,
    /// Who started the run.
    started_by: String,
    filed_by: String,
    filed_at: DateTime<Utc>,
    reason: String,
    /// What should be merged into the payload.
    #[schema(required, value_type = Option<Object>)]
    new_value: Option<()>,
    /// Until then somebody should decide. Nothing happens by itself when it is over: the run stays paused.
    review_until: DateTime<Utc>,
    #[schema(required)]
    decided_by: Option<String>,
    #[schema(required)]
    decided_at: Option<DateTime<Utc>>,
    #[schema(required)]
    decision_reason: Option<String>,
    /// What was merged into the payload.
    #[schema(required, value_type = Option<Object>)]
    merged_value: Option<()>,
    /// How the run stands now. In the answers to filing and deciding.
    #[schema(nullable = false)]
    run_status: Option<RunStatus>,
    /// What the run will be once what it did is taken back. Missing unless it is ending.
    #[schema(nullable = false)]
    ending: Option<RunStatus>,
}

#[derive(ToSchema)]
struct OverrideList {
    overrides: Vec<Override>,
    /// The cursor of the next page; null on the last.
    #[schema(required)]
    next: Option<String>,
}

#[derive(ToSchema)]
struct FileOverride {
    run_id: i64,
    action: OverrideAction,
    /// Why. It is written into the log.
    #[schema(min_length = 1, max_length = 4000)]
    reason: String,
    /// What should be merged into the payload, object by object.
    #[schema(value_type = Option<Object>)]
    new_value: Option<()>,
}

#[derive(ToSchema)]
struct DecideOverride {
    choice: OverrideChoice,
    /// Why. It is written into the log.
    #[schema(min_length = 1, max_length = 4000)]
    reason: Option<String>,
    /// To modify: what is merged into the payload instead of what was filed.
    #[schema(value_type = Option<Object>)]
    new_value: Option<()>,
}

/// `approve`: the override stands, and the run is cancelled. `modify`: the run goes on with the new values. `reject`: it
/// goes on as it was.
#[derive(ToSchema)]
#[schema(rename_all = "snake_case")]
enum OverrideChoice {
    Approve,
    Modify,
    Reject,
}

pub fn calls() -> Vec<Call> {
    vec![index(), file(), show(), decide()]
}

fn index() -> Call {
    get("/hitl/overrides", "listOverrides", "List overrides, newest first")
        .about("Staff see those of the runs that they started.")
        .needs(Permission::ReadOverrides)
        .query_text("status", "One status, or several with commas: `pending`.")
        .query_number("run_id", "Only those of this run.")
        .list()
        .answer::<OverrideList>(200, "A page of overrides.", &[])
        .tag(TAG)
}

fn file() -> Call {
    post("/hitl/overrides", "fileOverride", "Stop a run for review")
        .about("The run is paused at once. Somebody else decides; until then it stays paused.")
        .needs(Permission::Override)
        .body::<FileOverride>(json!({
            "run_id": 9001, "action": "modify", "reason": "The amount is wrong.", "new_value": {"amount": 120}
        }))
        .answer::<Override>(201, "The override is filed, and the run is paused.", &[AnswerHeader::Location])
        .problem_as::<TooLate>(409, "The run is over or ending, or has an override under review.")
        .tag(TAG)
}

fn show() -> Call {
    get("/hitl/overrides/{id}", "getOverride", "See an override")
        .needs(Permission::ReadOverrides)
        .path_number("id", NUMBER)
        .answer::<Override>(200, "The override.", &[])
        .tag(TAG)
}

fn decide() -> Call {
    post("/hitl/overrides/{id}/decision", "decideOverride", "Decide an override")
        .about("Nobody decides an override that they filed.")
        .needs(Permission::Override)
        .path_number("id", NUMBER)
        .body::<DecideOverride>(json!({"choice": "modify", "new_value": {"amount": 120}}))
        .answer::<Override>(200, "The decision counts, and is in the log.", &[])
        .problem_as::<TooLate>(409, "Somebody was faster, or the run is over: the body says who, or how.")
        .tag(TAG)
}
