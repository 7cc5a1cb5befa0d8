//! `/acts/redactions`, and reading what is sealed.

use super::call::{AnswerHeader, Call, get, post};
use super::problem::TooLate;
use super::run_acts::Reason;
use super::runs::TAG as RUNS;
use crate::auth::policy::Permission;
use chrono::{DateTime, Utc};
use serde_json::json;
use utoipa::ToSchema;

pub const TAG: &str = "Redactions";

const NUMBER: &str = "The redaction's number.";

/// `pending`: somebody else must decide. `approved`: the values are erased for good. `rejected`: nothing was erased.
#[derive(ToSchema)]
#[schema(rename_all = "snake_case")]
enum RedactionStatus {
    Pending,
    Approved,
    Rejected,
}

/// A request to erase what is sealed at a path of a run, and below it.
#[derive(ToSchema)]
struct Redaction {
    #[schema(example = 4)]
    id: i64,
    #[schema(example = 9001)]
    run_id: i64,
    #[schema(example = "payload.applicant.ssn")]
    path: String,
    status: RedactionStatus,
    protocol_name: String,
    /// Who started the run.
    started_by: String,
    filed_by: String,
    filed_at: DateTime<Utc>,
    reason: String,
    #[schema(required)]
    decided_by: Option<String>,
    #[schema(required)]
    decided_at: Option<DateTime<Utc>>,
    #[schema(required)]
    decision_reason: Option<String>,
    /// How many disclosures were erased.
    #[schema(required)]
    erased_values: Option<i64>,
}

#[derive(ToSchema)]
struct RedactionList {
    redactions: Vec<Redaction>,
    /// The cursor of the next page; null on the last.
    #[schema(required)]
    next: Option<String>,
}

#[derive(ToSchema)]
struct FileRedaction {
    run_id: i64,
    /// A path that the protocol marks under `redact`, or one above it; `*` is any key and any item.
    #[schema(min_length = 1, max_length = 2100)]
    path: String,
    /// Why. It is written into the log: leave the value itself out of it.
    #[schema(min_length = 1, max_length = 4000)]
    reason: String,
}

#[derive(ToSchema)]
#[schema(rename_all = "snake_case")]
enum RedactionDecision {
    Approve,
    Reject,
}

#[derive(ToSchema)]
struct DecideRedaction {
    decision: RedactionDecision,
    /// Why. It is written into the log.
    #[schema(min_length = 1, max_length = 4000)]
    reason: String,
}

#[derive(ToSchema)]
#[schema(rename_all = "snake_case")]
enum SealedState {
    Sealed,
    Erased,
}

/// A value that the log names by digest alone.
#[derive(ToSchema)]
struct SealedValue {
    /// The entry that it stands in.
    seq: i64,
    /// JSON pointer from the top of the entry.
    #[schema(example = "/detail/payload/applicant/ssn")]
    place: String,
    /// Which value of the payload it is, or is a copy of.
    #[schema(example = "payload.applicant.ssn")]
    path: String,
    state: SealedState,
    /// Null once it is erased.
    #[schema(required, value_type = Option<Value>)]
    value: Option<()>,
    /// How long it is, as JSON.
    bytes: i64,
    /// Under which exemption it is withheld.
    #[schema(required)]
    exemption: Option<String>,
    #[schema(required)]
    erased_at: Option<DateTime<Utc>>,
    /// The redaction that erased it.
    #[schema(required)]
    redaction: Option<i64>,
}

#[derive(ToSchema)]
struct SealedValues {
    run_id: i64,
    values: Vec<SealedValue>,
}

pub fn calls() -> Vec<Call> {
    vec![read(), index(), file(), show(), decide()]
}

fn read() -> Call {
    post("/acts/runs/{id}/sealed", "readSealed", "Read what is sealed in a run")
        .about("Everywhere else such a value is `sealed`. Who reads it, and why, is in the log before it is answered.")
        .needs(Permission::ReadSealed)
        .path_run()
        .body::<Reason>(json!({"reason": "The applicant asks what we hold."}))
        .answer::<SealedValues>(200, "The values, in the order of the entries.", &[])
        .problem(409)
        .tag(RUNS)
}

fn index() -> Call {
    get("/acts/redactions", "listRedactions", "List redactions, newest first")
        .needs(Permission::ReadRedactions)
        .query_text("status", "One status, or several with commas: `pending`.")
        .query_number("run_id", "Only those of this run.")
        .list()
        .answer::<RedactionList>(200, "A page of redactions.", &[])
        .tag(TAG)
}

fn file() -> Call {
    post("/acts/redactions", "fileRedaction", "Ask that something sealed is erased")
        .about(
            "Of a run that is over. Somebody else decides. Once erased, the value is gone for good, while the log and \
             every proof stay as they are, and the run and those of its lineage cannot be rerun.",
        )
        .needs(Permission::Redact)
        .body::<FileRedaction>(json!({
            "run_id": 9001, "path": "payload.applicant.ssn", "reason": "The applicant asked for it."
        }))
        .answer::<Redaction>(201, "The request is filed.", &[AnswerHeader::Location])
        .problem(409)
        .tag(TAG)
}

fn show() -> Call {
    get("/acts/redactions/{id}", "getRedaction", "See a redaction")
        .needs(Permission::ReadRedactions)
        .path_number("id", NUMBER)
        .answer::<Redaction>(200, "The redaction.", &[])
        .tag(TAG)
}

fn decide() -> Call {
    post("/acts/redactions/{id}/decision", "decideRedaction", "Decide a redaction")
        .about("Nobody decides a redaction that they filed.")
        .needs(Permission::Redact)
        .path_number("id", NUMBER)
        .body::<DecideRedaction>(json!({"decision": "approve", "reason": "The request is justified."}))
        .answer::<Redaction>(200, "The decision counts, and is in the log.", &[])
        .problem_as::<TooLate>(409, "Somebody was faster, or a rerun is not over: the body says who, or how.")
        .tag(TAG)
}
