//! `/acts/log.csv` and `/acts/log.ndjson`.

use super::call::{Call, Draft, get};
use crate::auth::policy::Permission;
use chrono::{DateTime, Utc};
use utoipa::ToSchema;

pub const TAG: &str = "Activity log";

/// An entry of the activity log, as it is hashed (RFC 8785). Other fields may join these.
#[derive(ToSchema)]
pub struct LogEntry {
    /// The version of this format.
    #[schema(example = 1)]
    v: u32,
    /// The name of the log.
    log: String,
    /// 0: what belongs to no run, such as sign-ins, refusals and exports.
    #[schema(example = 9001)]
    run: i64,
    /// From 1, without a gap.
    seq: i64,
    /// The hash of the run's entry before, in hex; null for the first.
    #[schema(required)]
    prev: Option<String>,
    t: DateTime<Utc>,
    /// Who did it: a user, or `system`.
    actor: String,
    #[schema(rename = "type", example = "step.done")]
    kind: String,
    #[schema(required)]
    step: Option<String>,
    #[schema(required)]
    attempt: Option<u32>,
    /// The state that the step, or else the run, is in after it; null: unchanged.
    #[schema(required)]
    status: Option<String>,
    #[schema(required)]
    checksum: Option<String>,
    #[schema(value_type = Object)]
    detail: (),
}

pub fn calls() -> Vec<Call> {
    vec![csv(), ndjson()]
}

fn csv() -> Call {
    let columns = "A header line, then one entry a line (RFC 4180): run_id, seq, t, actor, type, step, attempt, \
                   status, checksum, detail, prev, hash, stream. New columns are added at the end. Lines end in CR \
                   LF. `detail` is the entry's own JSON. A cell that a spreadsheet would execute begins with an \
                   apostrophe. With `after` there is no header line and no byte order mark.";
    filters(get("/acts/log.csv", "exportLogAsCsv", "Export the log as CSV"))
        .query_flag("bom", "Begin with a byte order mark, by which some spreadsheets know UTF-8.")
        .answer_text("The entries that fit, oldest first.", &[("text/csv", columns)])
        .tag(TAG)
}

fn ndjson() -> Call {
    filters(get("/acts/log.ndjson", "exportLogAsNdjson", "Export the log as NDJSON"))
        .names::<LogEntry>()
        .answer_text(
            "The entries that fit, oldest first, in the exact bytes that are hashed.",
            &[("application/x-ndjson", "One `LogEntry` a line.")],
        )
        .tag(TAG)
}

fn filters(draft: Draft) -> Draft {
    draft
        .about("Streamed. The export is an entry in the log, and so is how it ended. A stream that breaks off is not whole.")
        .about(
            "To go on with one that broke off, ask for the same again with `to` as the header `Act-Log-To` said (the \
             header `Link`, `rel=\"self\"`, is that address) and with `after` as the last whole line that you have, \
             and put what comes behind it.",
        )
        .needs(Permission::ReadLog)
        .query_number("run_id", "Only entries of this run; 0: those that belong to none.")
        .query_text("actor", "Only what this user did.")
        .query_text("step", "Only entries of this step.")
        .query_text("type", "Only entries of this type, for example `step.failed`.")
        .query_text("status", "Only entries with this status.")
        .query_span("entries written")
        .query_text("q", "Only entries with this text, in capital or small letters.")
        .query_text(
            "search",
            "What stands in the search box of the page: `actor: step: status: type: run: from: to:` and text; quotes \
             keep a phrase together. An entry must fit it and the other parameters.",
        )
        .query_text("after", "Only entries behind this one: RUN.SEQ, for example 9001.5; of run 0 RUN.STREAM.SEQ.")
}
