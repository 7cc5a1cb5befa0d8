//! `(Run, &Recorded) → Run`, in place: a run is the fold of its events.
//!
//! The only code that writes a run. It accepts whatever the log says; whether something may happen is `decide`'s.

use super::event::{EventKind, Recorded};
use super::ids::{InstanceId, RunId, StepPath};
use super::protocol::{Protocol, Task};
use super::state::{Approval, Choice, Decision, ProtocolRef, Run, RunStatus, Step, StepStatus};
use chrono::{DateTime, Utc};
use indexmap::IndexMap;
use serde_json::{Value, json};
use std::sync::Arc;

/// The run after its first event. None: that event does not begin a run.
pub fn begin(id: RunId, first: &Recorded, protocol: Arc<Protocol>, salt: Option<[u8; 32]>) -> Option<Run> {
    let EventKind::RunQueued { protocol: protocol_ref, payload, lineage, .. } = &first.event.kind else {
        return None;
    };
    Some(Run {
        id,
        protocol_ref: protocol_ref.clone(),
        protocol,
        status: RunStatus::Queued,
        payload: Arc::new(payload.clone()),
        started_by: first.actor.clone(),
        lineage: *lineage,
        salt,
        steps: IndexMap::new(),
        version: 1,
        created_at: first.at,
        updated_at: first.at,
        closed_at: None,
        note: None,
    })
}

/// Which protocol version a run's first event pins.
pub fn pinned(first: &EventKind) -> Option<&ProtocolRef> {
    match first {
        EventKind::RunQueued { protocol, .. } => Some(protocol),
        _ => None,
    }
}

/// The run after one more event.
pub fn apply(run: &mut Run, recorded: &Recorded) {
    let Recorded { at, actor, event } = recorded;
    run.version += 1;
    run.updated_at = *at;
    match &event.kind {
        EventKind::RunQueued { .. } => {}
        EventKind::StepStarted { checksum, idempotency_key, instance, .. } => {
            start_step(run, recorded, checksum, idempotency_key, *instance);
        }
        EventKind::StepDone { result } => {
            save(run, event.step.as_ref(), result.clone());
            end_step(run, recorded, StepStatus::Done, None);
        }
        EventKind::StepFailed { error, .. } => end_step(run, recorded, StepStatus::Failed, Some(error)),
        EventKind::StepSkipped { reason } => end_step(run, recorded, StepStatus::Skipped, Some(reason)),
        EventKind::StepCancelled { reason } => end_step(run, recorded, StepStatus::Cancelled, Some(reason)),
        EventKind::StepRescued { .. } => with_step(run, recorded, |step| {
            step.instance = None;
            step.rescues += 1;
        }),
        EventKind::StepStalled { .. } => with_step(run, recorded, |step| step.stalled = true),
        EventKind::ApprovalOpened { approval, approvers, four_eyes, due_at, .. } => {
            let opened = Approval {
                id: *approval,
                approvers: approvers.clone(),
                four_eyes: *four_eyes,
                due_at: *due_at,
                decision: None,
            };
            open_approval(run, recorded, opened);
        }
        EventKind::ApprovalDecided { decision, reason, form, .. } => {
            let decision = Decision {
                choice: *decision,
                by: actor.clone(),
                at: *at,
                reason: reason.clone(),
                form: form.clone(),
            };
            decide_approval(run, recorded, decision);
        }
        EventKind::RunPaused { reason } => {
            run.status = RunStatus::Paused;
            run.note = Some(reason.clone());
        }
        EventKind::RunResumed { .. } => {
            run.status = RunStatus::Running;
            run.note = None;
        }
        EventKind::CancelRequested { reason, .. } => run.note = Some(reason.clone()),
        EventKind::RunClosed { outcome, reason, .. } => {
            run.status = *outcome;
            run.closed_at = Some(*at);
            run.note = reason.clone().or(run.note.take());
        }
    }
    settle_status(run);
}

/// Running and waiting follow from the steps; the other states are put there by an event.
fn settle_status(run: &mut Run) {
    if !matches!(run.status, RunStatus::Queued | RunStatus::Running | RunStatus::Waiting) {
        return;
    }
    let open = run.open_steps().count();
    let waiting = run.open_steps().filter(|(_, step)| step.status == StepStatus::Waiting).count();
    run.status = match (open, waiting) {
        (0, _) => {
            if run.steps.is_empty() {
                run.status
            } else {
                RunStatus::Running
            }
        }
        (open, waiting) if open == waiting => RunStatus::Waiting,
        _ => RunStatus::Running,
    };
}

fn new_step(run: &Run, path: &StepPath, at: DateTime<Utc>) -> Step {
    let task = run.protocol.task(path);
    Step {
        status: StepStatus::Pending,
        attempt: 0,
        rescues: 0,
        instance: None,
        started_at: at,
        changed_at: at,
        deadline: task.and_then(|task| task.max_time).map(|limit| at + limit),
        stalled: false,
        checksum: None,
        idempotency_key: None,
        seen: Some(Arc::clone(&run.payload)),
        approval: None,
        note: None,
    }
}

fn start_step(run: &mut Run, recorded: &Recorded, checksum: &str, key: &str, instance: Option<InstanceId>) {
    let Some(path) = recorded.event.step.clone() else { return };
    let mut step = match run.steps.get(&path) {
        Some(step) => Step::clone(step),
        None => new_step(run, &path, recorded.at),
    };
    step.status = StepStatus::Running;
    step.attempt = recorded.event.attempt.unwrap_or(step.attempt + 1);
    step.instance = instance;
    step.changed_at = recorded.at;
    step.checksum = Some(checksum.to_owned());
    step.idempotency_key = Some(key.to_owned());
    run.steps.insert(path, Arc::new(step));
}

fn end_step(run: &mut Run, recorded: &Recorded, status: StepStatus, note: Option<&String>) {
    let Some(path) = recorded.event.step.clone() else { return };
    if !run.steps.contains_key(&path) {
        let step = new_step(run, &path, recorded.at);
        run.steps.insert(path, Arc::new(step));
    }
    with_step(run, recorded, |step| {
        step.status = status;
        step.changed_at = recorded.at;
        step.instance = None;
        step.stalled = false;
        step.rescues = 0;
        step.seen = None;
        step.note = note.cloned();
    });
}

fn open_approval(run: &mut Run, recorded: &Recorded, approval: Approval) {
    let Some(path) = recorded.event.step.clone() else { return };
    let mut step = new_step(run, &path, recorded.at);
    step.status = StepStatus::Waiting;
    step.attempt = 1;
    step.seen = None;
    step.approval = Some(approval);
    run.steps.insert(path, Arc::new(step));
}

fn decide_approval(run: &mut Run, recorded: &Recorded, decision: Decision) {
    let result = decision_as_result(&decision);
    save(run, recorded.event.step.as_ref(), result);
    end_step(run, recorded, StepStatus::Done, None);
    with_step(run, recorded, |step| {
        if let Some(approval) = &mut step.approval {
            approval.decision = Some(decision);
        }
    });
}

/// What later steps see of a decision.
fn decision_as_result(decision: &Decision) -> Value {
    let word = match decision.choice {
        Choice::Approve => "approve",
        Choice::Reject => "reject",
    };
    json!({
        "decision": word,
        "by": decision.by,
        "at": decision.at.to_rfc3339_opts(chrono::SecondsFormat::Micros, true),
        "reason": decision.reason,
        "form": decision.form,
    })
}

fn save(run: &mut Run, path: Option<&StepPath>, result: Value) {
    let Some(saves) = path.and_then(|path| run.protocol.task(path)).map(|task: &Task| task.saves.clone())
    else {
        return;
    };
    Arc::make_mut(&mut run.payload).insert(saves, result);
}

fn with_step(run: &mut Run, recorded: &Recorded, change: impl FnOnce(&mut Step)) {
    if let Some(step) = recorded.event.step.as_ref().and_then(|path| run.steps.get_mut(path)) {
        change(Arc::make_mut(step));
    }
}
