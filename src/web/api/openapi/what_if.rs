//! `/acts/runs/{id}/what-if`.

use super::call::{Call, post};
use super::runs::{RunStatus, TAG};
use crate::auth::policy::Permission;
use serde_json::json;
use utoipa::ToSchema;

/// What to tell the run to: one of the two.
#[derive(ToSchema)]
struct WhatIf {
    /// A version of the run's own protocol.
    #[schema(example = 3)]
    version: Option<i64>,
    /// A draft that is not published. Needs `protocols:write`.
    #[schema(value_type = Option<Object>)]
    definition: Option<()>,
}

/// Where another version would have gone differently.
#[derive(ToSchema)]
struct WhatIfReport {
    run_id: i64,
    /// Null: a draft.
    #[schema(required)]
    version: Option<i32>,
    /// There is no difference.
    same: bool,
    /// The last step before the first difference. Null: they differ from the beginning.
    #[schema(required, example = "draft_letter")]
    same_until: Option<String>,
    outcome: Outcomes,
    /// In the order of the run.
    differences: Vec<WhatIfDifference>,
}

#[derive(ToSchema)]
struct Outcomes {
    then: RunStatus,
    /// Null: the record does not say enough to know.
    #[schema(required)]
    now: Option<RunStatus>,
}

#[derive(ToSchema)]
struct WhatIfDifference {
    /// The step. Null: the run as a whole.
    #[schema(required, example = "audit_sync")]
    step: Option<String>,
    kind: DifferenceKind,
    /// What differs, in a sentence.
    message: String,
}

/// `only_then`, `only_now`: the step begins in one of the two alone. `status`: it comes to something else. `input`: it is
/// asked for something else, and the recorded answer is used all the same. `calls`: it calls, or waits for, something
/// else. `branches`: a group has others. `approvers`: others must decide. `not_recorded`: the record does not say what it
/// would have answered, so that branch stands still there. `act`: something that a person did to the run makes no sense.
/// `end`: the run ends otherwise.
#[derive(ToSchema)]
#[schema(rename_all = "snake_case")]
enum DifferenceKind {
    OnlyThen,
    OnlyNow,
    Status,
    Input,
    Calls,
    Branches,
    Approvers,
    NotRecorded,
    Act,
    End,
}

pub fn calls() -> Vec<Call> {
    vec![what_if()]
}

fn what_if() -> Call {
    post("/acts/runs/{id}/what-if", "whatIf", "Ask what another version would have made of a run")
        .about("Nothing is executed and the run is not touched: what was recorded of it (results, failures, decisions, \
                events, acts, with their times) is told to the other version, and the answer says where that one would \
                have gone differently. That it was asked is an entry in the log. Needs to read protocols as well; a \
                draft, to write them.")
        .needs(Permission::ReadRun)
        .path_run()
        .body::<WhatIf>(json!({"version": 3}))
        .answer::<WhatIfReport>(200, "Where it would have gone differently.", &[])
        .problem(409)
        .tag(TAG)
}
