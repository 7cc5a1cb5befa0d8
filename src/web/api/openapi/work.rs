//! `/acts/work`, and the callback of a step.

use super::call::{Call, post};
use super::problem::TooLate;
use super::runs::RunStatus;
use crate::auth::policy::Permission;
use chrono::{DateTime, Utc};
use serde_json::json;
use utoipa::ToSchema;

pub const TAG: &str = "Workers and callbacks";

const NUMBER: &str = "The work's number, as the claim gave it.";
const NOT_YOURS: &str =
    "The work is not yours any more: it was completed or withdrawn, or the lease ran out.";

/// What a worker asks for.
#[derive(ToSchema)]
struct ClaimWork {
    /// Actions of the kind `worker` that it does.
    #[schema(min_items = 1, max_items = 100)]
    actions: Vec<String>,
    /// What it calls itself, for the log.
    #[schema(min_length = 1, max_length = 200)]
    worker: String,
    /// How much at most; 1 unless said otherwise.
    #[schema(minimum = 1, maximum = 100)]
    max: Option<i64>,
    /// How long to wait for work if there is none; 0 unless said otherwise.
    #[schema(minimum = 0, maximum = 60)]
    wait_seconds: Option<i64>,
    /// How long it may be silent; 60 unless said otherwise.
    #[schema(minimum = 1, maximum = 3600)]
    lease_seconds: Option<i64>,
}

/// One attempt at one step.
#[derive(ToSchema)]
struct ClaimedWork {
    #[schema(example = 12)]
    id: i64,
    #[schema(example = 9001)]
    run_id: i64,
    #[schema(example = "checks/fees")]
    step: String,
    #[schema(example = 1)]
    attempt: i32,
    #[schema(example = "fees")]
    action: String,
    /// What to work on: the step's `with`.
    #[schema(value_type = Value)]
    input: (),
    /// The same for every attempt at the step: do nothing twice under one key.
    idempotency_key: String,
    /// Proves that the work is yours. Keep it to yourself.
    lease_token: String,
    /// Say that you are alive before then.
    lease_until: DateTime<Utc>,
}

#[derive(ToSchema)]
struct WorkList {
    /// Empty: there was none in that time.
    work: Vec<ClaimedWork>,
}

#[derive(ToSchema)]
struct Heartbeat {
    #[schema(min_length = 1, max_length = 200)]
    lease_token: String,
}

#[derive(ToSchema)]
struct LeaseExtended {
    lease_until: DateTime<Utc>,
    /// The run is ending: stop if you can.
    cancel: bool,
}

#[derive(ToSchema)]
struct CompleteWork {
    #[schema(min_length = 1, max_length = 200)]
    lease_token: String,
    /// Any JSON.
    #[schema(value_type = Value)]
    result: (),
}

#[derive(ToSchema)]
struct FailWork {
    #[schema(min_length = 1, max_length = 200)]
    lease_token: String,
    /// What went wrong, for people.
    #[schema(min_length = 1, max_length = 4000)]
    error: String,
    /// Whether another attempt may succeed; no unless said otherwise.
    retryable: Option<bool>,
}

#[derive(ToSchema)]
struct WorkEnded {
    id: i64,
    run_id: i64,
    step: String,
    /// How the run stands now.
    run_status: RunStatus,
}

#[derive(ToSchema)]
struct CallBack {
    status: CallbackStatus,
    /// Of a step that is done: any JSON.
    #[schema(value_type = Option<Value>)]
    result: Option<()>,
    /// Of a step that failed: what went wrong, for people.
    #[schema(min_length = 1, max_length = 4000)]
    error: Option<String>,
    /// Of a step that failed: another attempt may succeed. There is one if the task has `retry` and attempts left.
    #[schema(default = false)]
    retryable: Option<bool>,
}

#[derive(ToSchema)]
#[schema(rename_all = "snake_case")]
enum CallbackStatus {
    Done,
    Failed,
}

#[derive(ToSchema)]
struct CallbackTaken {
    run_id: i64,
    step: String,
    /// How the run stands now.
    run_status: RunStatus,
}

pub fn calls() -> Vec<Call> {
    vec![claim(), heartbeat(), complete(), fail(), call_back()]
}

fn claim() -> Call {
    let example = json!({"actions": ["fees"], "worker": "fees-1", "wait_seconds": 20});
    post("/acts/work/claim", "claimWork", "Claim work")
        .about("The answer comes as soon as there is work, at the latest after `wait_seconds`. Whoever is silent for \
                longer than its lease loses the work to the next worker; the third loss in a row pauses the run.")
        .needs(Permission::Work)
        .body::<ClaimWork>(example)
        .answer::<WorkList>(200, "What is yours now.", &[])
        .tag(TAG)
}

fn heartbeat() -> Call {
    post("/acts/work/{id}/heartbeat", "extendLease", "Say that you are alive")
        .about("Extends the lease by its own length from now.")
        .needs(Permission::Work)
        .path_number("id", NUMBER)
        .body::<Heartbeat>(json!({"lease_token": "0a1b"}))
        .answer::<LeaseExtended>(200, "The work is still yours.", &[])
        .problem_as::<TooLate>(409, NOT_YOURS)
        .tag(TAG)
}

fn complete() -> Call {
    post("/acts/work/{id}/complete", "completeWork", "Say that work is done")
        .about("A result counts as long as nobody else has taken over the attempt.")
        .needs(Permission::Work)
        .path_number("id", NUMBER)
        .body::<CompleteWork>(json!({"lease_token": "0a1b", "result": {"fees": 120}}))
        .answer::<WorkEnded>(200, "The step is done.", &[])
        .problem_as::<TooLate>(409, NOT_YOURS)
        .tag(TAG)
}

fn fail() -> Call {
    post("/acts/work/{id}/fail", "failWork", "Say that work failed")
        .about("A failure that may be retried is, if the task has `retry` and attempts left.")
        .needs(Permission::Work)
        .path_number("id", NUMBER)
        .body::<FailWork>(json!({"lease_token": "0a1b", "error": "The ledger is closed.", "retryable": true}))
        .answer::<WorkEnded>(200, "The attempt failed.", &[])
        .problem_as::<TooLate>(409, NOT_YOURS)
        .tag(TAG)
}

fn call_back() -> Call {
    post("/acts/runs/{id}/steps/{step}/callback", "callBack", "Report the end of a step that was taken on with 202")
        .about("For the service that a step called, at the address that came in `Act-Callback-Url`. The first report \
                ends the step, whichever of its attempts it answers; also one that comes before the 202. A failure is \
                final, unless it says that it is `retryable` and the task has `retry` and attempts left: then the step \
                is called again, and the same address takes the next report.")
        .open()
        .path_run()
        .path_text("step", "The step's path.")
        .query_text("token", "The step's token: bound to run, step and round.")
        .body::<CallBack>(json!({"status": "done", "result": {"receipt": "R-17"}}))
        .answer::<CallbackTaken>(200, "The report counts: the step has ended, or is tried again.", &[])
        .problem(403)
        .problem_as::<TooLate>(409, "The step is over, or the run is: nothing was changed.")
        .problem(503)
        .tag(TAG)
}
