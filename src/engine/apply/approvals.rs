//! Approvals: opened, voted on, decided, and sent back.

use super::{Approval, Choice, Decision, Waits, end_step, ensure, payload, with_step};
use crate::engine::event::{EventKind, Recorded};
use crate::engine::ids::StepPath;
use crate::engine::protocol::Work;
use crate::engine::seating::Filled;
use crate::engine::state::{Run, Step, StepStatus};
use serde_json::{Value, json};

pub(super) fn apply(run: &mut Run, recorded: &Recorded) {
    match &recorded.event.kind {
        EventKind::ApprovalOpened { .. } => open(run, recorded),
        EventKind::ApprovalReminded { next_at, .. } => {
            with_approval(run, recorded, |approval| approval.remind_at = Some(*next_at));
        }
        EventKind::ApprovalEscalated { approvers, .. } => with_approval(run, recorded, |approval| {
            approval.escalated = true;
            approval.approvers.add(approvers);
        }),
        EventKind::ApprovalVoted { reason, form, fits, filled, .. } => {
            let vote = decision(recorded, Choice::Approve, reason.as_ref(), form.as_ref());
            let vote = Decision { fits: fits.clone(), ..vote };
            with_approval(run, recorded, |approval| {
                approval.votes.push(vote);
                approval.filled.clone_from(filled);
            });
        }
        EventKind::ApprovalDecided { decision: choice, reason, form, filled, .. } => {
            let decision = decision(recorded, *choice, reason.as_ref(), form.as_ref());
            decide(run, recorded, decision, filled);
        }
        _ => {}
    }
}

fn decision(recorded: &Recorded, choice: Choice, reason: Option<&String>, form: Option<&Value>) -> Decision {
    let (by, at) = (recorded.actor.clone(), recorded.at);
    Decision { choice, by, at, reason: reason.cloned(), form: form.cloned(), fits: Vec::new() }
}

fn with_approval(run: &mut Run, recorded: &Recorded, change: impl FnOnce(&mut Approval)) {
    with_step(run, recorded, |step| {
        if let Some(approval) = &mut step.approval {
            change(approval);
        }
    });
}

fn open(run: &mut Run, recorded: &Recorded) {
    let EventKind::ApprovalOpened { approval, approvers, quorum, four_eyes, due_at, again, .. } =
        &recorded.event.kind
    else {
        return;
    };
    let Some(path) = recorded.event.step.clone() else { return };
    let before = run.steps.get(&path).map(|step| (step.reopened, step.status.is_open()));
    ensure(run, &path, recorded.at);
    let remind = match run.protocol.task(&path).map(|task| &task.work) {
        Some(Work::Hitl(hitl)) => hitl.remind,
        _ => None,
    };
    let opened = Approval {
        id: *approval,
        approvers: approvers.clone(),
        quorum: *quorum,
        four_eyes: *four_eyes,
        due_at: *due_at,
        remind_at: remind.map(|every| recorded.at + every),
        escalated: false,
        votes: Vec::new(),
        filled: Vec::new(),
        decision: None,
    };
    // A person may also have one asked once more that was asked again, and failed.
    let reopened = before.map_or(*again, |(reopened, _)| reopened);
    let counted = before == Some((true, true));
    with_step(run, recorded, |step: &mut Step| {
        step.attempt = recorded.event.attempt.unwrap_or(step.attempt);
        (step.status, step.waits) = (StepStatus::Waiting, Some(Waits::Approval));
        (step.seen, step.approval) = (None, Some(opened));
        (step.changed_at, step.reopened) = (recorded.at, reopened);
    });
    if reopened && !counted {
        run.reopened += 1;
        run.rounds.insert_mut(path.in_round(1), path.round());
    }
}

fn decide(run: &mut Run, recorded: &Recorded, decision: Decision, filled: &[Filled]) {
    let Some(path) = recorded.event.step.clone() else { return };
    let choice = decision.choice;
    payload::save(run, &path, as_result(&decision, filled));
    with_approval(run, recorded, |approval| {
        approval.decision = Some(decision);
        if !filled.is_empty() {
            approval.filled = filled.to_vec();
        }
    });
    end_step(run, recorded, StepStatus::Done, None);
    if choice == Choice::Return {
        send_back(run, &path);
    }
}

/// The tasks from the one that the work goes back to, up to the approval, get their next round.
fn send_back(run: &mut Run, path: &StepPath) {
    let base = path.in_round(1);
    let returns = run.returns.get(&base).copied().unwrap_or(0) + 1;
    run.returns.insert_mut(base, returns);
    let Some(place) = run.protocol.place(path.task_id()).cloned() else { return };
    let Work::Hitl(hitl) = &place.task.work else { return };
    let list = run.protocol.list(place.group.as_deref(), place.branch);
    let back_to = list.iter().position(|task| Some(&task.id) == hitl.returns_to.as_ref());
    let again: Vec<String> =
        list[back_to.unwrap_or(place.position)..=place.position].iter().map(|task| task.id.clone()).collect();
    for id in again {
        let base = path.beside(&id);
        let round = run.round(&base);
        if run.steps.contains_key(&base.in_round(round)) {
            run.rounds.insert_mut(base, round + 1);
        }
    }
}

/// What later steps see of a decision.
fn as_result(decision: &Decision, filled: &[Filled]) -> Value {
    let mut result = json!({
        "decision": decision.choice.as_str(),
        "by": decision.by,
        "at": decision.at.to_rfc3339_opts(chrono::SecondsFormat::Micros, true),
        "reason": decision.reason,
        "form": decision.form,
    });
    if !filled.is_empty() {
        result["slots"] = json!(filled);
    }
    result
}
