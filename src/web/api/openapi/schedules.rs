//! `/acts/schedules`.

use super::call::{Call, get};
use super::protocols::TAG;
use crate::auth::policy::Permission;
use chrono::{DateTime, Utc};
use utoipa::ToSchema;

/// When the runs of a protocol are started by the clock.
#[derive(ToSchema)]
struct Schedule {
    #[schema(example = 7)]
    protocol_id: i64,
    /// The protocol's name.
    name: String,
    /// Minute, hour, day, month, day of the week; of six fields the first are seconds.
    #[schema(required, example = "30 7 * * MON-FRI")]
    cron: Option<String>,
    #[schema(required, example = "Europe/Berlin")]
    time_zone: Option<String>,
    /// Null: never again.
    #[schema(required)]
    next_at: Option<DateTime<Utc>>,
    /// The last time that a run was started for, and that run.
    #[schema(required)]
    last_at: Option<DateTime<Utc>>,
    #[schema(required)]
    last_run_id: Option<i64>,
}

#[derive(ToSchema)]
struct ScheduleList {
    schedules: Vec<Schedule>,
    /// The cursor of the next page; null on the last.
    #[schema(required)]
    next: Option<String>,
}

pub fn calls() -> Vec<Call> {
    vec![index()]
}

fn index() -> Call {
    get("/acts/schedules", "listSchedules", "List what is started by the clock")
        .about("By protocol, those whose latest version has a `schedule`.")
        .needs(Permission::ReadProtocols)
        .list()
        .answer::<ScheduleList>(200, "A page of schedules.", &[])
        .tag(TAG)
}
