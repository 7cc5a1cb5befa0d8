//! `/acts/run` and `/acts/runs`.

use super::call::{AnswerHeader, Call, get, post, short_text, text};
use super::log::LogEntry;
use super::overrides::OverrideAction;
use crate::auth::policy::Permission;
use chrono::{DateTime, Utc};
use serde_json::json;
use utoipa::ToSchema;

pub const TAG: &str = "Runs";

/// What to start.
#[derive(ToSchema)]
struct StartRun {
    /// The protocol to follow, in its latest version.
    #[schema(example = 7)]
    protocol_id: i64,
    /// What the steps work on. It must fit the protocol's `input`, if it has one.
    #[schema(value_type = Option<Object>)]
    payload: Option<()>,
}

#[derive(ToSchema)]
pub struct RunStarted {
    #[schema(example = 9001)]
    run_id: i64,
    /// Its first entry is in the log.
    #[schema(example = "queued")]
    status: RunStatus,
}

/// How a run stands. The last four are final.
#[derive(ToSchema)]
#[schema(rename_all = "snake_case")]
pub enum RunStatus {
    Queued,
    Running,
    Waiting,
    Paused,
    Completed,
    Rejected,
    Failed,
    Cancelled,
}

/// A run as it stands.
#[derive(ToSchema)]
struct Run {
    #[schema(example = 9001)]
    run_id: i64,
    #[schema(example = 7)]
    protocol_id: i64,
    /// The version that it began with, and keeps.
    #[schema(example = 1)]
    protocol_version: i32,
    protocol_name: String,
    status: RunStatus,
    /// What it will be once what it did is taken back; null while it is not ending.
    #[schema(required)]
    ending: Option<RunStatus>,
    /// The first unfinished step, or null.
    #[schema(required, example = "ai_analysis")]
    current_step: Option<String>,
    /// All steps that are being worked on or waited for.
    current_steps: Vec<String>,
    /// A step is past its `max_minutes`.
    stalled: bool,
    #[schema(example = "staff")]
    started_by: String,
    started_at: DateTime<Utc>,
    updated_at: DateTime<Utc>,
    #[schema(required)]
    ended_at: Option<DateTime<Utc>>,
    /// Why it is paused, or ended as it did.
    #[schema(required)]
    reason: Option<String>,
    /// The step that started it, if it is a sub-run.
    #[schema(required)]
    parent: Option<Parent>,
    /// The run that this one runs again.
    #[schema(required)]
    rerun_of: Option<i64>,
    /// The override that is under review.
    #[schema(required, rename = "override")]
    overridden: Option<UnderReview>,
    /// What was sent, and the results of the steps so far.
    #[schema(value_type = Object)]
    payload: (),
    /// Every step that has begun, in that order.
    steps: Vec<StepNow>,
    /// One line for each step that has begun.
    log: Vec<LogLine>,
}

/// The step of another run that started this one.
#[derive(ToSchema)]
struct Parent {
    run_id: i64,
    step: String,
}

/// An override that nobody has decided yet. The run is paused until somebody does.
#[derive(ToSchema)]
struct UnderReview {
    id: i64,
    action: OverrideAction,
    filed_by: String,
    review_until: DateTime<Utc>,
}

/// A step that has begun, as it stands.
#[derive(ToSchema)]
struct StepNow {
    /// Nested steps are `checks/legal`, items `checks[3]/legal`, later rounds `draft_letter#2`; what takes a step back
    /// is `deploy~undo`.
    #[schema(example = "draft_letter#2")]
    step: String,
    status: StepStatus,
    /// Number of the latest attempt.
    attempt: u32,
    /// 1 for the first time; more after an approver sent the work back.
    round: u32,
    /// What it waits for.
    #[schema(required)]
    waits: Option<Waits>,
    /// Number of the approval that it opened.
    #[schema(required)]
    approval: Option<i64>,
    /// The run that it started.
    #[schema(required)]
    subrun: Option<i64>,
    /// Its result was taken over from an earlier run.
    carried: bool,
    /// What it did was taken back.
    undone: bool,
    /// It is past its `max_minutes`.
    stalled: bool,
    /// Why it failed, was skipped or was cancelled.
    #[schema(required)]
    note: Option<String>,
}

/// What a step waits for, with what belongs to it.
#[derive(ToSchema)]
struct Waits {
    #[schema(rename = "for")]
    what: WaitsFor,
    /// The approval's number.
    #[schema(nullable = false)]
    approval: Option<i64>,
    /// When it goes on by itself.
    #[schema(nullable = false)]
    at: Option<DateTime<Utc>>,
    /// Name of the outside event.
    #[schema(nullable = false)]
    name: Option<String>,
    /// Key of the outside event. Null: any.
    key: Option<String>,
}

#[derive(ToSchema)]
#[schema(rename_all = "snake_case")]
enum WaitsFor {
    Approval,
    Retry,
    Time,
    Event,
    Callback,
    Worker,
}

/// When a step reached the status that it has.
#[derive(ToSchema)]
struct LogLine {
    t: DateTime<Utc>,
    #[schema(example = "fetch_data")]
    step: String,
    #[schema(example = "done")]
    status: StepStatus,
}

#[derive(ToSchema)]
#[schema(rename_all = "snake_case")]
pub enum StepStatus {
    Pending,
    Running,
    Waiting,
    Done,
    Failed,
    Skipped,
    Cancelled,
}

/// A run in a list.
#[derive(ToSchema)]
struct RunRow {
    run_id: i64,
    protocol_id: i64,
    protocol_version: i32,
    protocol_name: String,
    status: RunStatus,
    #[schema(required)]
    current_step: Option<String>,
    stalled: bool,
    started_by: String,
    /// What it is about, in a few words of its payload.
    subject: String,
    started_at: DateTime<Utc>,
    updated_at: DateTime<Utc>,
}

#[derive(ToSchema)]
struct RunList {
    runs: Vec<RunRow>,
    /// The cursor of the next page; null on the last.
    #[schema(required)]
    next: Option<String>,
}

/// Why a run was not started now. Beside the fields of every problem, the limit.
#[derive(ToSchema)]
struct Full {
    #[schema(rename = "type", example = "about:blank")]
    kind: String,
    #[schema(example = "Conflict")]
    title: String,
    #[schema(example = 409)]
    status: u16,
    /// What happened, and what to do next.
    detail: String,
    #[schema(nullable = false)]
    request_id: Option<String>,
    /// The key that the runs share.
    key: String,
    /// How many of them may be on their way at once.
    limit: u32,
}

pub fn calls() -> Vec<Call> {
    vec![start(), index(), show(), replay()]
}

fn start() -> Call {
    let key = "Makes it safe to send again: the same key and body give the run that the first one began, the same \
               key with another body is a 422.";
    post("/acts/run", "startRun", "Start a run")
        .about("The answer comes after the run's first entry is committed to the log.")
        .needs(Permission::StartRun)
        .request_header("Idempotency-Key", key, short_text(255))
        .body::<StartRun>(json!({"protocol_id": 7, "payload": {"license_id": 123}}))
        .answer::<RunStarted>(202, "The run is queued.", &[AnswerHeader::Location])
        .problem_as::<Full>(409, "The protocol's concurrency limit is reached, and it lets nobody wait.")
        .tag(TAG)
}

fn index() -> Call {
    get("/acts/runs", "listRuns", "List runs, newest first")
        .about("Staff see the runs that they started.")
        .needs(Permission::ReadRun)
        .query_text("status", "One status, or several with commas: `running,waiting`.")
        .query_number("protocol_id", "Only runs of this protocol.")
        .query_text("q", "Only runs with this text in their subject, protocol, starter or number.")
        .query_span("runs started")
        .query_text("started_by", "Only runs that this user started.")
        .query_flag("stalled", "Only runs with a step past its `max_minutes`.")
        .list()
        .answer::<RunList>(200, "A page of runs.", &[])
        .tag(TAG)
}

fn show() -> Call {
    get("/acts/runs/{id}", "getRun", "See a run, its payload and a short log")
        .needs(Permission::ReadRun)
        .path_run()
        .query_range("wait", "Wait up to so many seconds for the next change.", 0.0, 60.0)
        .answer::<Run>(200, "The run as it stands.", &[])
        .tag(TAG)
}

fn replay() -> Call {
    get("/acts/runs/{id}/replay", "replayRun", "Play back the whole log of a run")
        .about("Nothing is executed. The entries come in order, each one a `LogEntry` in the exact bytes that are \
                hashed: the SHA-256 of a zero byte and the line is the next one's `prev`.")
        .needs(Permission::ReadRun)
        .path_run()
        .query_range("speed", "1 keeps the pauses, 10 makes them a tenth, none is longer than a minute; without it all comes at once.", 0.001, 1e6)
        .query_flag("follow", "Go on with what happens, until the run is over.")
        .request_header("Last-Event-ID", "Server-sent events only: go on after this `seq`.", text())
        .names::<LogEntry>()
        .answer_text(
            "The entries. With `Accept: text/event-stream` they come as server-sent events whose id is the `seq`.",
            &[
                ("application/x-ndjson", "One `LogEntry` a line."),
                ("text/event-stream", "One `LogEntry` in the data of each event."),
            ],
        )
        .tag(TAG)
}
