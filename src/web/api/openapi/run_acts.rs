//! `/acts/runs/{id}/…`: what is done to a run.

use super::call::{AnswerHeader, Call, patch, post};
use super::problem::TooLate;
use super::runs::{RunStarted, RunStatus, StepStatus, TAG};
use crate::auth::policy::Permission;
use serde_json::json;
use utoipa::ToSchema;

const TOO_LATE: &str = "It makes no sense now: the body says why, and how the run stands.";

#[derive(ToSchema)]
pub struct Reason {
    /// Why. It is written into the log.
    #[schema(min_length = 1, max_length = 4000)]
    reason: String,
}

#[derive(ToSchema)]
struct StepAndReason {
    /// The step, as `current_steps` and the log name it.
    #[schema(min_length = 1, max_length = 1000, example = "draft_letter#2")]
    step: String,
    /// Why. It is written into the log.
    #[schema(min_length = 1, max_length = 4000)]
    reason: String,
}

#[derive(ToSchema)]
struct SetValue {
    /// Where: `payload.case.amount`, `case.amount`, or the JSON pointer `/case/amount`. Everything but the last part must
    /// be there already.
    #[schema(min_length = 1, max_length = 1000, example = "payload.case.amount")]
    path: String,
    /// Any JSON value.
    #[schema(value_type = Value)]
    value: (),
    /// Why. It is written into the log.
    #[schema(min_length = 1, max_length = 4000)]
    reason: String,
}

#[derive(ToSchema)]
struct Migrate {
    /// A version of the run's own protocol.
    #[schema(example = 2)]
    version: i64,
    /// Only say what would happen.
    preview: Option<bool>,
    /// Why. It is written into the log.
    #[schema(min_length = 1, max_length = 4000)]
    reason: Option<String>,
}

#[derive(ToSchema)]
struct Rerun {
    /// Why. It is written into the log.
    #[schema(min_length = 1, max_length = 4000)]
    reason: String,
    /// What the steps work on instead of what the old run was given.
    #[schema(value_type = Option<Object>)]
    payload: Option<()>,
}

#[derive(ToSchema)]
struct RunChanged {
    run_id: i64,
    status: RunStatus,
    /// What the run will be once what it did is taken back. Missing unless it is ending.
    #[schema(nullable = false)]
    ending: Option<RunStatus>,
}

/// What moving a run to another version would come to.
#[derive(ToSchema)]
struct MigrationPreview {
    run_id: i64,
    from_version: i32,
    to_version: i64,
    /// Nothing stands in the way.
    possible: bool,
    /// Every step that has begun.
    steps: Vec<MappedStep>,
    /// What stands in the way beside the steps' own problems.
    problems: Vec<String>,
    /// Tasks that only the new version has.
    adds: Vec<String>,
    /// Tasks that only the old version has.
    drops: Vec<String>,
}

#[derive(ToSchema)]
struct MappedStep {
    step: String,
    status: StepStatus,
    /// Where its task stands in the new version. Null: it has no counterpart.
    #[schema(required, example = "$.tasks[2]")]
    maps_to: Option<String>,
    /// Why it has none.
    #[schema(nullable = false)]
    problem: Option<String>,
}

pub fn calls() -> Vec<Call> {
    vec![cancel(), pause(), resume(), retry(), skip(), set_value(), migrate(), rerun()]
}

fn cancel() -> Call {
    patch("/acts/runs/{id}/cancel", "cancelRun", "Stop a run")
        .about("Attempts in flight get a signal and a few seconds, approvals that wait are closed, and what was done \
                is taken back where the protocol says how (`undo`), latest first. Until then the run is `running` and \
                `ending` says to what.")
        .needs(Permission::CancelRun)
        .path_run()
        .body::<Reason>(json!({"reason": "The applicant withdrew."}))
        .answer::<RunChanged>(202, "The run is cancelled, or on its way there.", &[])
        .problem_as::<TooLate>(409, TOO_LATE)
        .tag(TAG)
}

fn pause() -> Call {
    post("/acts/runs/{id}/pause", "pauseRun", "Stop a run for a while")
        .about("What is being executed may end; nothing new begins, and nothing is decided, until the run is resumed.")
        .needs(Permission::SteerRun)
        .path_run()
        .body::<Reason>(json!({"reason": "The screening list is being corrected."}))
        .answer::<RunChanged>(202, "The run is paused.", &[])
        .problem_as::<TooLate>(409, TOO_LATE)
        .tag(TAG)
}

fn resume() -> Call {
    post("/acts/runs/{id}/resume", "resumeRun", "Let a paused run go on")
        .about("A run that paused because a step failed goes on when that step is retried or skipped.")
        .needs(Permission::CancelRun)
        .path_run()
        .body::<Reason>(json!({"reason": "The service is back."}))
        .answer::<RunChanged>(202, "The run goes on.", &[])
        .problem_as::<TooLate>(409, "The run is not paused, or something must be decided first.")
        .tag(TAG)
}

fn retry() -> Call {
    post("/acts/runs/{id}/retry", "retryStep", "Have a failed step done once more")
        .about("For a step that paused its run (`on_failure: pause`, or an `undo` that failed), and for one that waits \
                for its next attempt. The service is called with the same `Idempotency-Key`. A failed run is rerun \
                instead.")
        .needs(Permission::SteerRun)
        .path_run()
        .body::<StepAndReason>(json!({"step": "draft_letter", "reason": "The service is back."}))
        .answer::<RunChanged>(202, "The step is done once more.", &[])
        .problem_as::<TooLate>(409, TOO_LATE)
        .tag(TAG)
}

fn skip() -> Call {
    post("/acts/runs/{id}/skip", "skipStep", "Pass over a step")
        .about("For a step that is open, or that paused its run. Past an approval only for whoever may decide it.")
        .needs(Permission::SteerRun)
        .path_run()
        .body::<StepAndReason>(json!({"step": "draft_letter", "reason": "The letter was written by hand."}))
        .answer::<RunChanged>(202, "The step is skipped.", &[])
        .problem_as::<TooLate>(409, TOO_LATE)
        .tag(TAG)
}

fn set_value() -> Call {
    post("/acts/runs/{id}/values", "setValue", "Set a value in the payload")
        .about("What was sent, or what a step saved, may be corrected. Decisions that were made on the old value are \
                void: their approvals are asked again, under new numbers.")
        .needs(Permission::SteerRun)
        .path_run()
        .body::<SetValue>(json!({"path": "payload.amount", "value": 120, "reason": "A typing error."}))
        .answer::<RunChanged>(202, "The value is set.", &[])
        .problem_as::<TooLate>(409, TOO_LATE)
        .tag(TAG)
}

fn migrate() -> Call {
    post("/acts/runs/{id}/migrate", "migrateRun", "Move a parked run to another version of its protocol")
        .about("Every step that has begun needs its counterpart: the same id, type and group, in the same order, with \
                nothing new before it. Nothing may be at work. With `\"preview\": true` nothing is changed. Moving past \
                an approval that the new version drops is for whoever may decide it.")
        .needs(Permission::MigrateRun)
        .path_run()
        .body::<Migrate>(json!({"version": 2, "preview": true}))
        .answer::<MigrationPreview>(200, "What would happen.", &[])
        .answer::<RunChanged>(202, "The run follows the other version.", &[])
        .problem_as::<TooLate>(409, TOO_LATE)
        .tag(TAG)
}

fn rerun() -> Call {
    post("/acts/runs/{id}/rerun", "rerunRun", "Run again what is over")
        .about("A new run, by the latest version of the protocol. It takes over the result of every step that an \
                earlier run of the same lineage did with the same input and did not take back, instead of doing it \
                again; approvals are asked again. One run of a lineage is open at a time.")
        .needs(Permission::RerunRun)
        .path_run()
        .body::<Rerun>(json!({"reason": "The exporter's portal was down."}))
        .answer::<RunStarted>(202, "The new run is queued.", &[AnswerHeader::Location])
        .problem_as::<TooLate>(409, "The run is not over, another of its lineage is open, or its input was erased.")
        .tag(TAG)
}
