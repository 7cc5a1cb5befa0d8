//! `(Run, &Recorded) → Run`, in place: a run is the fold of its events.
//!
//! The only code that writes a run. It accepts whatever the log says; whether something may happen is `decide`'s.

mod approvals;
mod groups;
mod payload;

use super::event::{EventKind, Recorded};
use super::ids::{RunId, StepPath};
use super::protocol::{OnFailure, OnTimeout, Protocol, Task};
use super::redact::Mark;
use super::state::{
    Approval, Choice, Decision, Ending, Lineage, Override, ProtocolRef, Run, RunStatus, Step, StepStatus,
    Waits,
};
use super::steps::Steps;
use chrono::{DateTime, Utc};
use rpds::HashTrieMapSync;
use serde_json::json;
use std::sync::Arc;

pub use payload::{merged, with_value};

/// The run after its first event. None: that event does not begin a run. `before` is what the earlier runs of its
/// lineage did.
pub fn begin(
    id: RunId,
    first: &Recorded,
    protocol: Arc<Protocol>,
    salt: Option<[u8; 32]>,
    before: Option<Arc<Lineage>>,
) -> Option<Run> {
    let EventKind::RunQueued {
        protocol: protocol_ref,
        payload,
        lineage,
        started_by,
        parent,
        rerun_of,
        slot,
        redact,
        ..
    } = &first.event.kind
    else {
        return None;
    };
    Some(Run {
        id,
        protocol_ref: protocol_ref.clone(),
        protocol,
        status: RunStatus::Queued,
        payload: Arc::new(payload.clone()),
        payload_bytes: payload::bytes(payload),
        started_by: started_by.as_ref().unwrap_or(&first.actor).clone(),
        parent: parent.clone(),
        rerun_of: *rerun_of,
        lineage: *lineage,
        before,
        salt,
        marks: Arc::new(redact.clone()),
        replaced: Arc::default(),
        slot: slot.clone(),
        held: slot.is_some(),
        steps: Steps::default(),
        rounds: HashTrieMapSync::default(),
        returns: HashTrieMapSync::default(),
        reopened: 0,
        ending: None,
        paused_for: None,
        overridden: None,
        version: 1,
        created_at: first.at,
        updated_at: first.at,
        closed_at: None,
        note: None,
    })
}

/// Which protocol version a run's first event pins, or a later one moves it to.
pub fn pinned(kind: &EventKind) -> Option<&ProtocolRef> {
    match kind {
        EventKind::RunQueued { protocol, .. } => Some(protocol),
        EventKind::RunMigrated { to, .. } => Some(to),
        _ => None,
    }
}

/// The run after one more event. After [`EventKind::RunMigrated`] whoever folds gives it the protocol that
/// [`pinned`] names.
pub fn apply(run: &mut Run, recorded: &Recorded) {
    run.version += 1;
    run.updated_at = recorded.at;
    match &recorded.event.kind {
        EventKind::RunQueued { .. } => {}
        EventKind::StepStarted { .. }
        | EventKind::StepClaimed { .. }
        | EventKind::StepAccepted {}
        | EventKind::StepRetrying { .. }
        | EventKind::StepRetried { .. }
        | EventKind::StepRescued { .. }
        | EventKind::StepStalled { .. }
        | EventKind::WaitStarted { .. }
        | EventKind::SubrunStarted { .. } => go_on(run, recorded),
        EventKind::StepDone { .. }
        | EventKind::StepCarried { .. }
        | EventKind::EventReceived { .. }
        | EventKind::StepFailed { .. }
        | EventKind::StepSkipped { .. }
        | EventKind::StepCancelled { .. } => end(run, recorded),
        EventKind::GroupStarted { branches, join, items } => {
            groups::start(run, recorded, *branches, *join, items.as_ref());
        }
        EventKind::GroupDone { .. } => groups::join(run, recorded),
        EventKind::ApprovalOpened { .. }
        | EventKind::ApprovalReminded { .. }
        | EventKind::ApprovalEscalated { .. }
        | EventKind::ApprovalVoted { .. }
        | EventKind::ApprovalDecided { .. } => approvals::apply(run, recorded),
        EventKind::RunAdmitted {}
        | EventKind::RunPaused { .. }
        | EventKind::RunResumed { .. }
        | EventKind::CancelRequested { .. }
        | EventKind::RunEnding { .. }
        | EventKind::ValueSet { .. }
        | EventKind::RunMigrated { .. }
        | EventKind::RunMarked { .. }
        | EventKind::OverrideFiled { .. }
        | EventKind::OverrideDecided { .. }
        | EventKind::RunClosed { .. } => of_run(run, recorded),
    }
    settle_status(run);
}

fn mark(run: &mut Run, more: &[Mark]) {
    let new: Vec<Mark> = more.iter().filter(|mark| !run.marks.contains(mark)).cloned().collect();
    if !new.is_empty() {
        Arc::make_mut(&mut run.marks).extend(new);
    }
}

/// What concerns the run as a whole.
fn of_run(run: &mut Run, recorded: &Recorded) {
    match &recorded.event.kind {
        EventKind::RunAdmitted {} => run.held = false,
        EventKind::RunPaused { reason, step, .. } => {
            run.status = RunStatus::Paused;
            run.note = Some(reason.clone());
            run.paused_for.clone_from(step);
        }
        EventKind::RunResumed { .. } => resume(run),
        EventKind::CancelRequested { reason, .. } => run.note = Some(reason.clone()),
        EventKind::RunEnding { outcome, reason, grace_until } => {
            run.status = RunStatus::Running;
            // Nobody needs to decide about a run that ends.
            (run.paused_for, run.overridden) = (None, None);
            run.note.clone_from(reason);
            let (outcome, grace_until) = (*outcome, *grace_until);
            run.ending = Some(Ending { outcome, reason: reason.clone(), grace_until });
        }
        EventKind::ValueSet { path, value, .. } => payload::set(run, path, value),
        EventKind::RunMigrated { to, .. } => {
            // What was sealed stays sealed, whatever the new version marks.
            let before = run.protocol.redact.clone();
            mark(run, &before);
            run.protocol_ref = to.clone();
        }
        EventKind::RunMarked { redact, .. } => mark(run, redact),
        EventKind::OverrideFiled { id, action, reason, new_value, review_until, .. } => {
            let was_paused = run.status == RunStatus::Paused;
            run.overridden = Some(Arc::new(Override {
                id: *id,
                action: *action,
                filed_by: recorded.actor.clone(),
                reason: reason.clone(),
                new_value: new_value.clone(),
                review_until: *review_until,
                was_paused,
            }));
            run.status = RunStatus::Paused;
            run.note = Some(reason.clone());
        }
        EventKind::OverrideDecided { new_value, .. } => {
            run.overridden = None;
            if let Some(values) = new_value {
                payload::merge(run, values);
            }
        }
        EventKind::RunClosed { outcome, reason, .. } => {
            run.status = *outcome;
            run.closed_at = Some(recorded.at);
            run.note = reason.clone().or(run.note.take());
            (run.ending, run.overridden, run.paused_for) = (None, None, None);
        }
        _ => {}
    }
}

fn resume(run: &mut Run) {
    // One that waits for room under a limit waits on.
    run.status = if run.held { RunStatus::Queued } else { RunStatus::Running };
    run.note = run.ending.as_ref().and_then(|ending| ending.reason.clone());
    run.paused_for = None;
    // A person looked: losses are counted anew.
    let open: Vec<StepPath> =
        run.open_steps().filter(|(_, step)| step.rescues > 0).map(|(path, _)| path.clone()).collect();
    for path in open {
        run.steps.change(&path, |step| step.rescues = 0);
    }
}

/// Running and waiting follow from the steps; the other states are put there by an event.
fn settle_status(run: &mut Run) {
    if !matches!(run.status, RunStatus::Queued | RunStatus::Running | RunStatus::Waiting) {
        return;
    }
    run.status = match (run.steps.running(), run.steps.waiting()) {
        _ if run.ending.is_some() => RunStatus::Running,
        // Whatever was skipped in it: it waits for room under its limit.
        _ if run.held => RunStatus::Queued,
        (0, 0) if run.steps.is_empty() => run.status,
        (0, waiting) if waiting > 0 => RunStatus::Waiting,
        _ => RunStatus::Running,
    };
}

/// What moves a step on without ending it.
fn go_on(run: &mut Run, recorded: &Recorded) {
    let Some(path) = recorded.event.step.clone() else { return };
    ensure(run, &path, recorded.at);
    let limit = run.protocol.task(&path).filter(|task| task.on_timeout == OnTimeout::Retry);
    let task = run.protocol.task(&path).filter(|_| path.undone().is_none());
    let fresh_deadline = task.and_then(|task| task.max_time).map(|limit| recorded.at + limit);
    let next_deadline = limit.and_then(|task| task.max_time).map(|limit| recorded.at + limit);
    let attempt = recorded.event.attempt;
    with_step(run, recorded, |step| match &recorded.event.kind {
        EventKind::StepStarted { checksum, idempotency_key, instance, action_version, worker, .. } => {
            step.attempt = attempt.unwrap_or(step.attempt + 1);
            step.status = if *worker { StepStatus::Waiting } else { StepStatus::Running };
            step.waits = worker.then_some(Waits::Worker);
            (step.instance, step.worker) = (*instance, None);
            step.action_version = *action_version;
            step.checksum = Some(checksum.clone());
            step.idempotency_key = Some(idempotency_key.clone());
            // Each attempt has its own time where a new one is what its end brings.
            step.deadline = next_deadline.or(step.deadline);
            step.note = None;
        }
        EventKind::StepClaimed { worker } => {
            (step.status, step.waits, step.worker) = (StepStatus::Running, None, Some(worker.clone()));
        }
        EventKind::StepAccepted {} => {
            (step.status, step.waits, step.instance) = (StepStatus::Waiting, Some(Waits::Callback), None);
        }
        EventKind::StepRetrying { error, retry_at } => {
            step.status = StepStatus::Waiting;
            step.waits = Some(Waits::Retry { at: *retry_at });
            (step.instance, step.worker) = (None, None);
            (step.rescues, step.failures) = (0, step.failures + 1);
            step.note = Some(error.clone());
        }
        EventKind::StepRetried { .. } => {
            (step.rescues, step.stalled) = (0, false);
            // What a person begins anew has its time anew.
            step.deadline = fresh_deadline.or(step.deadline);
        }
        EventKind::StepRescued { .. } => {
            // The next attempt begins in the same decision, unless the run is paused.
            (step.status, step.waits) = (StepStatus::Running, None);
            (step.instance, step.worker) = (None, None);
            step.rescues += 1;
        }
        EventKind::StepStalled { .. } => step.stalled = true,
        EventKind::WaitStarted { until, event, key } => {
            (step.status, step.attempt) = (StepStatus::Waiting, attempt.unwrap_or(1));
            step.waits = match (until, event) {
                (Some(at), _) => Some(Waits::Time { at: *at }),
                (None, Some(name)) => Some(Waits::Event { name: name.clone(), key: key.clone() }),
                (None, None) => None,
            };
        }
        EventKind::SubrunStarted { run, checksum, .. } => {
            (step.status, step.attempt) = (StepStatus::Running, attempt.unwrap_or(1));
            (step.subrun, step.checksum) = (Some(*run), Some(checksum.clone()));
        }
        _ => {}
    });
    with_step(run, recorded, |step| step.changed_at = recorded.at);
}

/// What ends a step.
fn end(run: &mut Run, recorded: &Recorded) {
    let Some(path) = recorded.event.step.clone() else { return };
    ensure(run, &path, recorded.at);
    match &recorded.event.kind {
        EventKind::StepDone { result } => {
            if let Some(undone) = path.undone() {
                run.steps.change(&undone, |step| step.undone = true);
            } else {
                payload::save(run, &path, result.clone());
                let undoable = run.protocol.task(&path).is_some_and(|task| task.undo().is_some());
                let kept = undoable.then(|| Arc::new(result.clone()));
                with_step(run, recorded, |step| step.result = kept);
            }
            end_step(run, recorded, StepStatus::Done, None);
        }
        EventKind::EventReceived { payload: result, .. } => {
            payload::save(run, &path, result.clone());
            end_step(run, recorded, StepStatus::Done, None);
        }
        EventKind::StepCarried { action_version, checksum, result, .. } => {
            payload::save(run, &path, result.clone());
            with_step(run, recorded, |step| {
                (step.carried, step.action_version) = (true, *action_version);
                step.checksum = Some(checksum.clone());
            });
            end_step(run, recorded, StepStatus::Done, None);
        }
        EventKind::StepFailed { error, .. } => {
            groups::clear(run, &path);
            if goes_on_when_failed(run, &path) {
                payload::save(run, &path, json!({"error": error}));
            }
            with_step(run, recorded, |step| step.failures += 1);
            end_step(run, recorded, StepStatus::Failed, Some(error));
        }
        EventKind::StepSkipped { reason, .. } => {
            groups::clear(run, &path);
            end_step(run, recorded, StepStatus::Skipped, Some(reason));
        }
        EventKind::StepCancelled { reason } => {
            groups::clear(run, &path);
            end_step(run, recorded, StepStatus::Cancelled, Some(reason));
        }
        _ => {}
    }
}

fn goes_on_when_failed(run: &Run, path: &StepPath) -> bool {
    path.undone().is_none()
        && run.protocol.task(path).is_some_and(|task| task.on_failure == OnFailure::Continue)
}

fn end_step(run: &mut Run, recorded: &Recorded, status: StepStatus, note: Option<&String>) {
    let Some(path) = recorded.event.step.as_ref() else { return };
    let version = run.version;
    let task = run.protocol.task(path).map(Arc::clone);
    let needed_later = keeps_what_it_saw(task.as_deref(), path, status);
    let was_reopened = run.steps.get(path).is_some_and(|step| step.reopened && step.status.is_open());
    with_step(run, recorded, |step| {
        step.status = status;
        (step.changed_at, step.changed_in) = (recorded.at, version);
        (step.instance, step.worker, step.waits) = (None, None, None);
        (step.stalled, step.rescues) = (false, 0);
        if !needed_later {
            step.seen = None;
        }
        step.note = note.cloned();
    });
    if was_reopened {
        run.reopened -= 1;
    }
    groups::account(run, path);
}

/// A step that may be undone, or tried again by a person, is asked for the same as before.
fn keeps_what_it_saw(task: Option<&Task>, path: &StepPath, status: StepStatus) -> bool {
    let Some(task) = task else { return false };
    match status {
        StepStatus::Done => path.undone().is_none() && task.undo().is_some(),
        StepStatus::Failed => path.undone().is_some() || task.on_failure == OnFailure::Pause,
        StepStatus::Pending
        | StepStatus::Running
        | StepStatus::Waiting
        | StepStatus::Skipped
        | StepStatus::Cancelled => false,
    }
}

/// Makes the step if it has not begun.
fn ensure(run: &mut Run, path: &StepPath, at: DateTime<Utc>) {
    if run.steps.contains_key(path) {
        return;
    }
    // What the step sees includes its branch's item.
    groups::begin_branch(run, path);
    let step = new_step(run, path, at);
    run.steps.insert(path.clone(), Arc::new(step));
}

fn new_step(run: &Run, path: &StepPath, at: DateTime<Utc>) -> Step {
    let undoes = path.undone();
    let task = run.protocol.task(path).filter(|_| undoes.is_none());
    let seen = match &undoes {
        Some(undone) => run.steps.get(undone).and_then(|step| step.seen.clone()),
        None => Some(run.scope(groups::branch(run, path).as_ref().map(|(group, branch)| (group, *branch)))),
    };
    Step {
        status: StepStatus::Pending,
        attempt: 1,
        failures: 0,
        rescues: 0,
        instance: None,
        worker: None,
        waits: None,
        started_at: at,
        changed_at: at,
        changed_in: run.version,
        deadline: task.and_then(|task| task.max_time).map(|limit| at + limit),
        stalled: false,
        checksum: None,
        action_version: 0,
        idempotency_key: None,
        seen,
        result: None,
        approval: None,
        group: None,
        subrun: None,
        carried: false,
        reopened: false,
        undone: false,
        note: None,
    }
}

fn with_step(run: &mut Run, recorded: &Recorded, change: impl FnOnce(&mut Step)) {
    if let Some(path) = &recorded.event.step {
        run.steps.change(path, change);
    }
}
