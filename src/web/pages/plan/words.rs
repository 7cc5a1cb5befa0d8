//! One step in words: its status, and what there is to say beside it.

use super::{Known, label, stop};
use crate::engine::ids::StepPath;
use crate::engine::protocol::{Hitl, OnFailure, Retry, Task, Work};
use crate::engine::state::{Approval, Choice, Decision, Run, Step, StepStatus, Waits};
use crate::web::pages::approvers;
use crate::web::pages::moment::Moment;
use crate::web::pages::sentences::events::outside_event;
use crate::web::pages::status::Status;
use crate::web::pages::steps::Link;

/// Who does it.
pub fn by(work: &Work) -> &'static str {
    match work {
        Work::Script(_) => "Automatic",
        Work::Agent(_) => "AI agent",
        Work::Hitl(_) => "A person decides",
        Work::Parallel(parallel) if parallel.for_each.is_some() => "Once for each item",
        Work::Parallel(_) => "At the same time",
        Work::Wait(_) => "Waits",
        Work::Protocol(_) => "Another run",
    }
}

/// What a step waits for, as a status.
pub fn waiting(waits: &Waits) -> Status {
    match waits {
        Waits::Approval => Status::waiting_for("a person"),
        Waits::Retry { .. } => Status::trying_again(),
        Waits::Time { .. } => Status::waiting_on("a time"),
        Waits::Event { .. } => Status::waiting_on("an event"),
        Waits::Callback => Status::waiting_on("an answer"),
        Waits::Worker => Status::waiting_on("a worker"),
    }
}

pub fn status(step: &Step) -> Status {
    let decision = step.approval.as_ref().and_then(|approval| approval.decision.as_ref());
    match step.status {
        StepStatus::Pending => Status::not_started(),
        StepStatus::Running => Status::running(),
        StepStatus::Waiting => match (&step.approval, &step.waits) {
            (Some(approval), _) => Status::waiting_for(&approval.missing().in_words()),
            (None, Some(waits)) => waiting(waits),
            (None, None) => Status::waiting_on("another service"),
        },
        StepStatus::Done if step.undone => Status::taken_back(),
        StepStatus::Done => decision.map_or_else(Status::done, |decision| Status::decided(decision.choice)),
        StepStatus::Failed => Status::failed(),
        StepStatus::Skipped => Status::skipped(),
        StepStatus::Cancelled => Status::cancelled(),
    }
}

/// What there is to say of a step, most of all what it waits for.
pub fn sentences(run: &Run, known: &Known, task: &Task, path: &StepPath, step: &Step) -> Vec<String> {
    let mut said: Vec<String> = asked_again(run, path, step).into_iter().collect();
    match step.status {
        StepStatus::Waiting => said.extend(of_waiting(run, task, step)),
        StepStatus::Running if step.instance.is_none() && step.rescues > 0 => {
            said.push("The last attempt was lost; it is begun again when the run goes on.".to_owned());
        }
        StepStatus::Running => {
            said.extend(
                step.subrun.map(|child| format!("Run {child} does this. The result comes when it is over.")),
            );
        }
        StepStatus::Done => said.extend(of_done(run, task, path, step)),
        StepStatus::Failed => said.extend(of_failed(run, task, path, step)),
        StepStatus::Skipped => said.push(skipped(known, path, step)),
        StepStatus::Cancelled => {
            said.extend(step.note.as_deref().map(|note| format!("Cancelled: {}", stop(note))));
        }
        StepStatus::Pending => {}
    }
    if step.stalled && step.status.is_open() {
        said.push("It takes longer than its time limit.".to_owned());
    }
    said
}

fn of_waiting(run: &Run, task: &Task, step: &Step) -> Vec<String> {
    match (&step.approval, &step.waits) {
        (Some(approval), _) => of_approval(run, task, approval),
        (None, Some(Waits::Retry { at })) => {
            let failed = step.note.as_deref().map(|note| format!("The last attempt failed: {}", stop(note)));
            let next = format!("The next attempt is at {}.", Moment::new(*at).text);
            failed.into_iter().chain([next]).collect()
        }
        (None, Some(Waits::Time { at })) => vec![format!("Waiting until {}.", Moment::new(*at).text)],
        (None, Some(Waits::Event { name, key })) => {
            vec![format!("Waiting for {}.", outside_event(Some(name), key.as_deref()))]
        }
        (None, Some(Waits::Callback)) => vec!["Waiting for the service to call back.".to_owned()],
        (None, Some(Waits::Worker)) => vec!["Waiting for a worker to take it.".to_owned()],
        (None, Some(Waits::Approval) | None) => Vec::new(),
    }
}

fn of_approval(run: &Run, task: &Task, approval: &Approval) -> Vec<String> {
    let mut said = Vec::new();
    said.push(approvers::who_may(&approval.approvers, approval.four_eyes, &run.started_by));
    said.extend(so_far(approval));
    if approval.escalated {
        said.push("Nobody decided in time, so more people may decide now.".to_owned());
    }
    if let Work::Hitl(hitl) = &task.work {
        said.extend(reminders(hitl, approval));
    }
    said
}

/// `1 of 2 approvals so far: sam.` None: one is enough.
pub fn so_far(approval: &Approval) -> Option<String> {
    if !approval.approvers.slots.is_empty() {
        return approvers::slots_in_words(&approval.approvers, &approval.filled);
    }
    if approval.quorum < 2 {
        return None;
    }
    let names: Vec<&str> = approval.votes.iter().map(|vote| vote.by.as_str()).collect();
    let of = format!("{} of {} approvals so far", names.len(), approval.quorum);
    Some(if names.is_empty() { format!("{of}.") } else { format!("{of}: {}.", names.join(", ")) })
}

fn reminders(hitl: &Hitl, approval: &Approval) -> Option<String> {
    hitl.remind?;
    let next = approval.remind_at?;
    Some(format!("Whoever may decide is reminded at {}.", Moment::new(next).text))
}

fn of_done(run: &Run, task: &Task, path: &StepPath, step: &Step) -> Vec<String> {
    let mut said = Vec::new();
    let approval = step.approval.as_ref();
    if let Some(decision) = approval.and_then(|approval| approval.decision.as_ref()) {
        said.push(decided(decision));
        let slots = approval.and_then(|approval| {
            approvers::slots_in_words(&approval.approvers, &approval.filled)
                .filter(|_| decision.choice == Choice::Approve)
        });
        let others = approval.into_iter().flat_map(|approval| &approval.votes);
        let others: Vec<&str> = others.map(|vote| vote.by.as_str()).filter(|by| *by != decision.by).collect();
        if let Some(slots) = slots {
            said.push(slots);
        } else if !others.is_empty() {
            said.push(format!("Approved by {} before.", others.join(", ")));
        }
    }
    if step.carried {
        said.push(match carried_from(run, path, step) {
            Some(from) => format!("Taken over from run {from}: it was not done again."),
            None => "Taken over from an earlier run: it was not done again.".to_owned(),
        });
    }
    if step.undone {
        said.push("What it did was taken back.".to_owned());
    } else if run.ending.is_some() && task.undo().is_some() && !step.carried {
        said.push("What it did will be taken back.".to_owned());
    }
    said
}

/// A decision in one sentence.
pub fn decided(decision: &Decision) -> String {
    let verb = match decision.choice {
        Choice::Approve => "Approved",
        Choice::Reject => "Rejected",
        Choice::Return => "Sent back",
    };
    let why = decision.reason.as_deref().map_or(".".to_owned(), |why| format!(": {}", stop(why)));
    format!("{verb} by {}{why}", decision.by)
}

fn of_failed(run: &Run, task: &Task, path: &StepPath, step: &Step) -> Option<String> {
    if run.holds(path, step) && !run.status.is_final() {
        return Some("Somebody must decide: have it tried again, or skip it.".to_owned());
    }
    let goes_on = task.on_failure == OnFailure::Continue && path.undone().is_none();
    goes_on.then(|| "It failed, and the run went on without it.".to_owned())
}

fn skipped(known: &Known, path: &StepPath, step: &Step) -> String {
    let by = known.skipped_by.get(path.as_str()).map(|who| format!(" by {who}")).unwrap_or_default();
    match step.note.as_deref() {
        Some(note) => format!("Skipped{by}: {}", stop(note)),
        None => format!("Skipped{by}."),
    }
}

/// Why a step is done once more: who sent the work back, with their comment; or that a value was changed.
pub fn asked_again(run: &Run, path: &StepPath, step: &Step) -> Option<String> {
    let again = step.approval.is_some() && step.attempt > 1;
    if step.reopened || again {
        return Some("This is asked again, because a value was changed after it was asked first.".to_owned());
    }
    let time = match path.round() {
        1 => return None,
        2 => "Second time".to_owned(),
        3 => "Third time".to_owned(),
        more => format!("Time {more}"),
    };
    let list = path.group();
    let returned = run.steps.iter().filter_map(|(other, step)| {
        let decision = step.approval.as_ref()?.decision.as_ref()?;
        (decision.choice == Choice::Return && other.group() == list).then_some((other, decision))
    });
    let before = returned.filter(|(_, decision)| decision.at <= step.started_at);
    let Some((at, decision)) = before.max_by_key(|(_, decision)| decision.at) else {
        return Some(format!("{time}."));
    };
    let comment = decision.reason.as_deref().map_or(".".to_owned(), |why| format!(": “{}”", why.trim()));
    Some(format!("{time}, sent back by {} at {}{comment}", decision.by, label(run, at)))
}

/// `attempt 2 of 3`. None: the first and only one.
pub fn attempt(task: &Task, step: &Step) -> Option<String> {
    if !matches!(task.work, Work::Script(_) | Work::Agent(_)) {
        return None;
    }
    let most = retry(task).map_or(1, |retry| retry.attempts);
    let waits_to_retry = matches!(step.waits, Some(Waits::Retry { .. }));
    let used =
        if step.status == StepStatus::Failed || waits_to_retry { step.failures } else { step.failures + 1 };
    match step.attempt {
        0 => None,
        _ if most > 1
            && (1..=most).contains(&used)
            && (used > 1 || waits_to_retry || step.status == StepStatus::Failed) =>
        {
            Some(format!("attempt {used} of {most}"))
        }
        1 => None,
        number => Some(format!("attempt {number}")),
    }
}

fn retry(task: &Task) -> Option<&Retry> {
    match &task.work {
        Work::Script(call) | Work::Agent(call) => call.retry.as_ref(),
        Work::Hitl(_) | Work::Parallel(_) | Work::Wait(_) | Work::Protocol(_) => None,
    }
}

/// The run whose result a carried step took over.
fn carried_from(run: &Run, path: &StepPath, step: &Step) -> Option<crate::engine::ids::RunId> {
    let before = run.before.as_ref().zip(step.checksum.as_ref());
    let found = before.and_then(|(before, checksum)| before.done_before(checksum, path)).map(|done| done.run);
    found.or(run.rerun_of)
}

/// Where else to look.
pub fn links(run: &Run, path: &StepPath, step: &Step) -> Vec<Link> {
    let run_link =
        |id: crate::engine::ids::RunId| Link { href: format!("/runs/{id}"), text: format!("Run {id}") };
    let mut links: Vec<Link> = step.subrun.map(run_link).into_iter().collect();
    if step.carried {
        links.extend(carried_from(run, path, step).map(run_link));
    }
    links.extend(step.approval.as_ref().map(|approval| Link {
        href: format!("/approvals/{}", approval.id.0),
        text: if approval.decision.is_some() { "The decision" } else { "What has to be decided" }.to_owned(),
    }));
    links
}
