//! Rows of the lists of runs and approvals, from what is stored.

use super::visit::Visit;
use crate::auth::policy::Principal;
use crate::engine::ids::{RunId, StepPath};
use crate::engine::protocol::{Protocol, Wait, Work};
use crate::engine::state::RunStatus;
use crate::scheduler::Scheduler;
use crate::store::Connection;
use crate::store::approvals::ApprovalRow as StoredApproval;
use crate::store::error::StoreError;
use crate::store::runs::RunRow as StoredRun;
use crate::web::pages::approvals::ApprovalRow;
use crate::web::pages::moment::Moment;
use crate::web::pages::runs::RunRow;
use crate::web::pages::status::Status;
use crate::web::pages::{approvers, plan, sentences};
use chrono::Utc;

/// How many rows a page of a list has.
pub const PAGE: i64 = 50;

/// Rows of a list of runs. Protocols come from memory.
pub fn runs(
    connection: &mut Connection,
    scheduler: &Scheduler,
    rows: Vec<StoredRun>,
) -> Result<Vec<RunRow>, StoreError> {
    let mut finished = Vec::with_capacity(rows.len());
    for row in rows {
        let protocol = scheduler.protocols().get_known(connection, row.protocol_id, row.protocol_version)?;
        finished.push(run(row, protocol.as_deref()));
    }
    Ok(finished)
}

/// `protocol`: None where a newer version published it; its steps then go by their ids.
fn run(row: StoredRun, protocol: Option<&Protocol>) -> RunRow {
    let status = RunStatus::parse(&row.status);
    let at = row.current_step.as_deref().map(StepPath::from_log);
    let task = at.as_ref().and_then(|at| protocol?.task(at));
    RunRow {
        href: format!("/runs/{}", row.run_id),
        number: row.run_id.to_string(),
        protocol: row.protocol_name,
        subject: row.subject,
        status: status
            .map_or_else(Status::newer, |status| Status::of_run(status, task.map(|task| waits(&task.work)))),
        stalled: row.stalled,
        step: at
            .filter(|_| !status.is_some_and(RunStatus::is_final))
            .map(|at| sentences::label(protocol, &at)),
        started_by: row.started_by,
        started: Moment::new(row.created_at),
    }
}

/// What a run at this step waits for, when it waits.
fn waits(work: &Work) -> Status {
    match work {
        Work::Hitl(hitl) => Status::waiting_for(&hitl.approvers.in_words()),
        Work::Wait(Wait::Event { .. }) => Status::waiting_on("an event"),
        Work::Wait(Wait::For(_) | Wait::Until(_)) => Status::waiting_on("a time"),
        Work::Protocol(_) => Status::waiting_on("another run"),
        Work::Script(_) | Work::Agent(_) => Status::waiting_on("another service"),
        Work::Parallel(_) => Status::waiting_on("several things"),
    }
}

/// Rows of a list of approvals. The runs come from memory, where their last moves left them; those that a newer version
/// wrote stay untold.
pub fn approvals(
    connection: &mut Connection,
    scheduler: &Scheduler,
    who: &Principal,
    rows: Vec<StoredApproval>,
) -> Result<Vec<ApprovalRow>, StoreError> {
    let mut finished = Vec::with_capacity(rows.len());
    for row in rows {
        let run = match scheduler.load_shown(connection, RunId(row.run_id)) {
            // The list stays whole: what the rows themselves say is still there.
            Err(StoreError::Archived { .. } | StoreError::Newer(_)) => None,
            loaded => loaded?,
        };
        let pending = row.status == "pending";
        let barred = approvers::bar(who, &row.approvers(), row.four_eyes, &row.run_starter)
            .or_else(|| approvers::not_needed(who, &row));
        let filled = row.filled();
        let slots = approvers::slots_in_words(&row.approvers(), &filled).filter(|_| !filled.is_empty());
        finished.push(ApprovalRow {
            href: format!("/approvals/{}", row.id),
            run_number: row.run_id.to_string(),
            run_href: format!("/runs/{}", row.run_id),
            subject: run.as_ref().map(|run| crate::store::batch::subject(run)).unwrap_or_default(),
            status: approval_status(&row),
            risk: run.as_ref().and_then(|run| plan::risk(run)),
            opened: Moment::new(row.opened_at),
            due: row.due_at.map(Moment::new),
            overdue: pending && row.due_at.is_some_and(|due| due < Utc::now()),
            barred: barred.filter(|_| pending),
            slots: slots.filter(|_| pending),
            decided: row.decided_by.zip(row.decided_at.map(Moment::new)),
            title: row.title,
            protocol: row.protocol_name,
            started_by: row.run_starter,
        });
    }
    Ok(finished)
}

/// Where an approval stands.
pub fn approval_status(row: &StoredApproval) -> Status {
    match row.status.as_str() {
        "pending" => Status::waiting_for(&row.missing().in_words()),
        "approved" => Status::approved(),
        "rejected" => Status::rejected(),
        "returned" => Status::sent_back(),
        _ => Status::withdrawn(),
    }
}

/// One row more than a page was read: whether there is a next page, and what it begins after.
pub fn cut<T>(rows: &mut Vec<T>, key: impl Fn(&T) -> String) -> Option<String> {
    if rows.len() <= PAGE as usize {
        return None;
    }
    rows.truncate(PAGE as usize);
    rows.last().map(key)
}

/// Works with the viewer, the scheduler and a connection, off the event loop.
///
/// # Errors
/// As [`crate::web::site::Site::read`].
pub async fn read<T: Send + 'static>(
    visit: &Visit,
    work: impl FnOnce(&mut Connection, &Scheduler, &Principal) -> Result<T, StoreError> + Send + 'static,
) -> Result<T, crate::web::problem::AppError> {
    let (scheduler, who) = (visit.site.scheduler.clone(), visit.who.clone());
    visit.site.read(move |connection| work(connection, &scheduler, &who)).await
}

/// The same for what reads much of the log, on the replica where there is one.
///
/// # Errors
/// As [`crate::web::site::Site::read_behind`].
pub async fn read_behind<T: Send + 'static>(
    visit: &Visit,
    work: impl Fn(&mut Connection, &Scheduler) -> Result<T, StoreError> + Send + Sync + 'static,
) -> Result<T, crate::web::problem::AppError> {
    let scheduler = visit.site.scheduler.clone();
    visit.site.read_behind(move |connection| work(connection, &scheduler)).await
}
