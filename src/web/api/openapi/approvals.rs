//! `/acts/approvals`.

use super::call::{Call, get, post};
use super::problem::TooLate;
use super::runs::RunStatus;
use crate::auth::policy::Permission;
use chrono::{DateTime, Utc};
use serde_json::json;
use utoipa::ToSchema;

pub const TAG: &str = "Approvals";

const NUMBER: &str = "The approval's number.";

/// What waits, or waited, for a person's decision.
#[derive(ToSchema)]
struct Approval {
    #[schema(example = 5)]
    id: i64,
    #[schema(example = 9001)]
    run_id: i64,
    #[schema(example = "human_approval")]
    step: String,
    title: String,
    status: ApprovalStatus,
    protocol_name: String,
    /// Who may decide: `{"roles", "users", "groups", "slots"}`, the last two where there are any. With slots, they
    /// alone say who may.
    #[schema(value_type = Value)]
    approvers: (),
    /// How many different people must approve.
    quorum: i32,
    /// How far each slot has come; empty where there are none.
    slots: Vec<SlotStanding>,
    /// Who approved so far, while more are needed.
    votes: Vec<Vote>,
    /// Whoever started the run may not decide.
    four_eyes: bool,
    /// Who started the run.
    started_by: String,
    opened_at: DateTime<Utc>,
    #[schema(required)]
    due_at: Option<DateTime<Utc>>,
    #[schema(required)]
    reminded_at: Option<DateTime<Utc>>,
    /// Nobody decided in time: since then more people may, and `approvers` names them too.
    #[schema(required)]
    escalated_at: Option<DateTime<Utc>>,
    #[schema(required)]
    decided_by: Option<String>,
    #[schema(required)]
    decided_at: Option<DateTime<Utc>>,
    #[schema(required)]
    reason: Option<String>,
    /// The form's answers.
    #[schema(required, value_type = Option<Object>)]
    form: Option<()>,
}

/// One of several slots, each of which needs people of its own.
#[derive(ToSchema)]
struct SlotStanding {
    #[schema(example = "legal")]
    name: String,
    /// How many people must approve for it.
    needed: i64,
    /// Who does. Whoever fits several slots may move when somebody comes who fits only one.
    approved_by: Vec<String>,
}

/// One of several approvals that are needed.
#[derive(ToSchema)]
struct Vote {
    by: String,
    /// The slot that it fills now; null where there are none.
    #[schema(required)]
    slot: Option<String>,
    at: DateTime<Utc>,
    #[schema(required)]
    reason: Option<String>,
    #[schema(required, value_type = Option<Object>)]
    form: Option<()>,
}

/// `returned`: the work was sent back. `closed`: its run ended, its step was skipped, or it was asked again because
/// something changed, before anybody decided.
#[derive(ToSchema)]
#[schema(rename_all = "snake_case")]
enum ApprovalStatus {
    Pending,
    Approved,
    Rejected,
    Returned,
    Closed,
}

#[derive(ToSchema)]
struct ApprovalList {
    approvals: Vec<Approval>,
    /// The cursor of the next page; null on the last.
    #[schema(required)]
    next: Option<String>,
}

#[derive(ToSchema)]
struct Decide {
    decision: Decision,
    /// Why. Required to reject, and to send the work back.
    #[schema(min_length = 1, max_length = 4000)]
    reason: Option<String>,
    /// The form's answers, if the step has one. They must fit it.
    #[schema(value_type = Option<Object>)]
    form: Option<()>,
}

#[derive(ToSchema)]
#[schema(rename_all = "snake_case")]
enum Decision {
    Approve,
    Reject,
    Return,
}

/// How an approval stands.
#[derive(ToSchema)]
struct Standing {
    status: ApprovalStatus,
    /// Approvals so far, this one included.
    votes: i64,
    /// How many are needed.
    quorum: i64,
    /// How far each slot has come, where there are slots.
    slots: Option<Vec<SlotStanding>>,
}

#[derive(ToSchema)]
struct Decided {
    id: i64,
    run_id: i64,
    decision: Decision,
    decided_by: String,
    /// How the run stands now.
    run_status: RunStatus,
    /// How the approval stands now: it may need more people.
    approval: Standing,
}

pub fn calls() -> Vec<Call> {
    vec![index(), show(), decide()]
}

fn index() -> Call {
    get("/acts/approvals", "listApprovals", "List approvals, oldest first")
        .about("Staff see those of the runs that they started.")
        .needs(Permission::ReadApprovals)
        .query_text("status", "One status, or several with commas: `pending`.")
        .query_number("run_id", "Only those of this run.")
        .list()
        .answer::<ApprovalList>(200, "A page of approvals.", &[])
        .tag(TAG)
}

fn show() -> Call {
    get("/acts/approvals/{id}", "getApproval", "See an approval")
        .needs(Permission::ReadApprovals)
        .path_number("id", NUMBER)
        .answer::<Approval>(200, "The approval.", &[])
        .tag(TAG)
}

fn decide() -> Call {
    post("/acts/approvals/{id}/decision", "decideApproval", "Approve, reject or send back")
        .about("Whoever started the run may not decide, unless the protocol says so. `return` sends the work back to an \
                earlier step, where the protocol says to which: the steps from there on get their next round.")
        .needs(Permission::Decide)
        .path_number("id", NUMBER)
        .body::<Decide>(json!({"decision": "approve", "reason": "The analysis found nothing."}))
        .answer::<Decided>(200, "The decision counts, and is in the log.", &[])
        .problem_as::<TooLate>(409, "Somebody was faster, or the run is over: the body says who, or how.")
        .tag(TAG)
}
