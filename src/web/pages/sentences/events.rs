//! A run's event as a sentence, and the state that it leads to. Each is one exhaustive match.

use super::{clip, ended, label};
use crate::engine::command::Actor;
use crate::engine::event::{EventKind, Recorded};
use crate::engine::ids::StepPath;
use crate::engine::protocol::{Approvers, Join, Protocol, Wait, Work};
use crate::engine::seating::Filled;
use crate::engine::state::{Choice, OverrideAction, OverrideChoice, RunStatus};
use crate::web::pages::facts;
use crate::web::pages::moment::Moment;
use crate::web::pages::status::Status;
use chrono::{DateTime, Utc};
use serde_json::Value;

/// A run's event.
pub fn of_event(recorded: &Recorded, run: i64, protocol: Option<&Protocol>) -> String {
    let (kind, who) = (&recorded.event.kind, &recorded.actor);
    // Every step has a path; an entry of one without it is told by its type.
    let of_its_step = |tell: fn(&Recorded, Option<&Protocol>, &StepPath) -> String| {
        recorded.event.step.as_ref().map_or_else(|| by_type(kind), |path| tell(recorded, protocol, path))
    };
    match kind {
        EventKind::RunQueued { .. }
        | EventKind::RunAdmitted {}
        | EventKind::RunPaused { .. }
        | EventKind::RunResumed { .. }
        | EventKind::CancelRequested { .. }
        | EventKind::RunEnding { .. }
        | EventKind::ValueSet { .. }
        | EventKind::RunMigrated { .. }
        | EventKind::RunMarked { .. }
        | EventKind::OverrideFiled { .. }
        | EventKind::OverrideDecided { .. }
        | EventKind::RunClosed { .. } => of_run(kind, who, run),
        EventKind::ApprovalOpened { .. }
        | EventKind::ApprovalReminded { .. }
        | EventKind::ApprovalEscalated { .. }
        | EventKind::ApprovalVoted { .. }
        | EventKind::ApprovalDecided { .. } => of_its_step(of_approval),
        EventKind::StepStarted { .. }
        | EventKind::StepCarried { .. }
        | EventKind::StepClaimed { .. }
        | EventKind::StepAccepted {}
        | EventKind::StepDone { .. }
        | EventKind::StepRetrying { .. }
        | EventKind::StepFailed { .. }
        | EventKind::StepRetried { .. }
        | EventKind::StepSkipped { .. }
        | EventKind::StepCancelled { .. }
        | EventKind::StepRescued { .. }
        | EventKind::StepStalled { .. }
        | EventKind::GroupStarted { .. }
        | EventKind::GroupDone { .. }
        | EventKind::WaitStarted { .. }
        | EventKind::EventReceived { .. }
        | EventKind::SubrunStarted { .. } => of_its_step(of_undo),
    }
}

fn by_type(kind: &EventKind) -> String {
    format!("{}.", facts::words(&kind.type_name().replace('.', " ")))
}

fn of_step(recorded: &Recorded, protocol: Option<&Protocol>, path: &StepPath) -> String {
    let (who, step) = (&recorded.actor, label(protocol, path));
    let again = recorded.event.attempt.filter(|attempt| *attempt > 1);
    match &recorded.event.kind {
        EventKind::StepStarted { worker: true, .. } => format!("{step} waits for a worker to take it."),
        EventKind::StepStarted { .. } => match again {
            Some(attempt) => format!("{step} began again: attempt {attempt}."),
            None => format!("{step} began."),
        },
        EventKind::StepCarried { run, .. } => {
            format!("{step} was taken over from run {run}: it was not done again.")
        }
        EventKind::StepClaimed { worker } => format!("The worker {} took {step}.", clip(worker)),
        EventKind::StepAccepted {} => format!("The service accepted {step} and will call back."),
        EventKind::StepDone { result } => match stated_risk(recorded, protocol, result) {
            Some(risk) => format!("{step} is done: {} risk.", clip(risk)),
            None => format!("{step} is done."),
        },
        EventKind::StepRetrying { error, retry_at } => {
            format!("{step} failed and is tried again at {}: {}", time(*retry_at), ended(error))
        }
        EventKind::StepFailed { error, .. } => format!("{step} failed: {}", ended(error)),
        EventKind::StepRetried { reason, .. } => format!("{who} had {step} tried again: {}", ended(reason)),
        EventKind::StepSkipped { reason, .. } if by_itself(who) => {
            format!("{step} was skipped: {}", ended(reason))
        }
        EventKind::StepSkipped { reason, .. } => format!("{who} skipped {step}: {}", ended(reason)),
        EventKind::StepCancelled { reason } => format!("{step} was cancelled: {}", ended(reason)),
        EventKind::StepRescued { reason, .. } => format!("{step} was taken over: {}", ended(reason)),
        EventKind::StepStalled { .. } => format!("{step} takes longer than its time limit."),
        EventKind::GroupStarted { branches, join, items } => {
            format!("{step} began: {}", at_once(*branches, *join, items.is_some()))
        }
        EventKind::GroupDone { succeeded, failed, fruitless } => {
            let failed = if *failed > 0 { format!(", {failed} failed") } else { String::new() };
            let none = if *fruitless > 0 { format!(", {fruitless} did nothing") } else { String::new() };
            format!("{step} is done: {succeeded} succeeded{failed}{none}.")
        }
        EventKind::WaitStarted { until: Some(until), .. } => format!("{step} waits until {}.", time(*until)),
        EventKind::WaitStarted { event, key, .. } => {
            format!("{step} waits for {}.", outside_event(event.as_deref(), key.as_deref()))
        }
        EventKind::EventReceived { .. } => {
            format!("{} came: {step} is done.", capital(&outside_event(awaited(protocol, path), None)))
        }
        EventKind::SubrunStarted { run, protocol, .. } => {
            format!("{step} started run {run} with {}, version {}.", protocol.name, protocol.version)
        }
        other => by_type(other),
    }
}

/// A step, or what takes one back.
fn of_undo(recorded: &Recorded, protocol: Option<&Protocol>, path: &StepPath) -> String {
    let Some(done) = path.undone() else { return of_step(recorded, protocol, path) };
    let done = label(protocol, &done);
    let who = &recorded.actor;
    match &recorded.event.kind {
        EventKind::StepStarted { .. } => match recorded.event.attempt.filter(|attempt| *attempt > 1) {
            Some(attempt) => format!("{done} is being taken back again: attempt {attempt}."),
            None => format!("{done} is being taken back."),
        },
        EventKind::StepDone { .. } => format!("{done} was taken back."),
        EventKind::StepRetrying { error, retry_at } => {
            let at = time(*retry_at);
            format!("{done} could not be taken back and is tried again at {at}: {}", ended(error))
        }
        EventKind::StepFailed { error, .. } => format!("{done} could not be taken back: {}", ended(error)),
        EventKind::StepSkipped { reason, .. } => {
            format!("{who} decided that {done} is not taken back: {}", ended(reason))
        }
        EventKind::StepRetried { reason, .. } => {
            format!("{who} had it tried again to take back {done}: {}", ended(reason))
        }
        _ => of_step(recorded, protocol, path),
    }
}

fn of_approval(recorded: &Recorded, protocol: Option<&Protocol>, path: &StepPath) -> String {
    let (who, step) = (&recorded.actor, label(protocol, path));
    match &recorded.event.kind {
        EventKind::ApprovalOpened { approvers, quorum, again, .. } => {
            let asked = if *again { " again, because a value was changed," } else { "" };
            match quorum {
                _ if !approvers.slots.is_empty() => {
                    format!("{step} waits{asked} for {}, each by its own people.", approvers.in_words())
                }
                1 => format!("{step} waits{asked} for {}.", approvers.in_words()),
                more => {
                    format!("{step} waits{asked} for {more} approvals, each by {}.", approvers.in_words())
                }
            }
        }
        EventKind::ApprovalReminded { .. } => format!("Whoever may decide {step} was reminded."),
        EventKind::ApprovalEscalated { approvers, .. } => {
            format!("{step} was not decided in time: {} may decide it now.", approvers.in_words())
        }
        EventKind::ApprovalVoted { reason, filled, .. } => {
            format!(
                "{who} approved {step}{}, and more approvals are needed{}",
                for_slot(filled, who),
                why(reason.as_deref())
            )
        }
        EventKind::ApprovalDecided { decision, reason, filled, .. } => {
            let why = why(reason.as_deref());
            match decision {
                Choice::Approve => format!("{who} approved {step}{}{why}", for_slot(filled, who)),
                Choice::Reject => format!("{who} rejected {step}{why}"),
                Choice::Return => format!("{who} sent the work back at {step}{why}"),
            }
        }
        other => by_type(other),
    }
}

/// ` for legal`. Empty: there are no slots.
fn for_slot(filled: &[Filled], who: &str) -> String {
    let own = filled.iter().find(|filled| filled.by == who);
    own.map_or_else(String::new, |filled| format!(" for {}", filled.slot))
}

fn of_run(kind: &EventKind, who: &str, run: i64) -> String {
    match kind {
        EventKind::RunQueued { .. } => queued(kind, run),
        EventKind::RunAdmitted {} => "There is room for the run now: it begins.".to_owned(),
        EventKind::RunPaused { reason, .. } if by_itself(who) => {
            format!("The run was paused: {}", ended(reason))
        }
        EventKind::RunPaused { reason, .. } => format!("{who} paused the run: {}", ended(reason)),
        EventKind::RunResumed { reason, .. } => format!("{who} let the run go on: {}", ended(reason)),
        EventKind::CancelRequested { reason, .. } => format!("{who} cancelled the run: {}", ended(reason)),
        EventKind::RunEnding { outcome, .. } => {
            format!("{}. What it did is taken back first.", capital(being(*outcome)))
        }
        EventKind::ValueSet { path, value, reason, .. } => {
            format!("{who} set {} to {}: {}", path.join("."), clip(&plain(value)), ended(reason))
        }
        EventKind::RunMigrated { to, reason, .. } => {
            format!("{who} moved the run to version {} of {}: {}", to.version, to.name, ended(reason))
        }
        EventKind::RunMarked { from, .. } => {
            format!("What run {from} brought back is sealed, as it was there.")
        }
        EventKind::OverrideFiled { action, reason, .. } => {
            let what = wanted(*action);
            format!(
                "{who} filed an override, so that {what}: {} It is paused until that is decided.",
                ended(reason)
            )
        }
        EventKind::OverrideDecided { choice, reason, .. } => {
            let why = why(reason.as_deref());
            match choice {
                OverrideChoice::Approve => {
                    format!("{who} approved the override, so the run is cancelled{why}")
                }
                OverrideChoice::Modify => format!("{who} let the run go on with changed values{why}"),
                OverrideChoice::Reject => {
                    format!("{who} rejected the override, so the run goes on as it was{why}")
                }
            }
        }
        EventKind::RunClosed { outcome, .. } => closing(*outcome).to_owned(),
        other => by_type(other),
    }
}

fn queued(kind: &EventKind, run: i64) -> String {
    let EventKind::RunQueued { protocol, started_by, parent, rerun_of, reason, slot, .. } = kind else {
        return String::new();
    };
    let mut said = format!("Run {run} was started with {}, version {}.", protocol.name, protocol.version);
    if let Some(parent) = parent {
        said.push_str(&format!(" Run {} started it.", parent.run));
    } else if let Some(of) = rerun_of {
        said.push_str(&format!(" It is a rerun of run {of}{}", why(reason.as_deref())));
    } else if let Some(name) = started_by {
        said.push_str(&format!(" It bears the name of {name}."));
    }
    if let Some(slot) = slot {
        said.push_str(&format!(" At most {} runs of {} are under way at once.", slot.limit, clip(&slot.key)));
    }
    said
}

/// How many branches there are, and how many must succeed.
fn at_once(branches: u32, join: Join, items: bool) -> String {
    let what = if items { "item" } else { "branch" };
    let many = match (branches, items) {
        (0, _) => return "there is nothing to do.".to_owned(),
        (1, _) => format!("1 {what}"),
        (more, true) => format!("{more} items"),
        (more, false) => format!("{more} branches"),
    };
    match join.needed(branches) {
        needed if needed >= branches => format!("{many}, and every one must succeed."),
        1 => format!("{many}, of which one must succeed."),
        needed => format!("{many}, of which {needed} must succeed."),
    }
}

/// "the event payment_received with the key 123".
pub fn outside_event(name: Option<&str>, key: Option<&str>) -> String {
    let event = name.map_or_else(|| "the event".to_owned(), |name| format!("the event {}", clip(name)));
    match key {
        Some(key) => format!("{event} with the key {}", clip(key)),
        None => event,
    }
}

/// "the run is cancelled": what an override asks for.
pub fn wanted(action: OverrideAction) -> &'static str {
    match action {
        OverrideAction::Pause => "the run is paused",
        OverrideAction::Cancel => "the run is cancelled",
        OverrideAction::Modify => "values of the run are changed",
    }
}

/// "the run is being cancelled".
pub fn being(outcome: RunStatus) -> &'static str {
    match outcome {
        RunStatus::Cancelled => "the run is being cancelled",
        RunStatus::Rejected => "the run is being stopped, because it was rejected",
        RunStatus::Failed => "the run is being stopped, because a step failed",
        RunStatus::Queued
        | RunStatus::Running
        | RunStatus::Waiting
        | RunStatus::Paused
        | RunStatus::Completed => "the run is being ended",
    }
}

/// The name of the event that a step waits for.
fn awaited<'a>(protocol: Option<&'a Protocol>, path: &StepPath) -> Option<&'a str> {
    match &protocol?.task(path)?.work {
        Work::Wait(Wait::Event { name, .. }) => Some(name),
        _ => None,
    }
}

/// What an agent says of the risk; what others say only repeats it.
fn stated_risk<'a>(recorded: &Recorded, protocol: Option<&Protocol>, result: &'a Value) -> Option<&'a str> {
    let task = protocol?.task(recorded.event.step.as_ref()?)?;
    let risk = result.get("risk").and_then(Value::as_str);
    risk.filter(|_| matches!(task.work, Work::Agent(_)))
}

fn closing(outcome: RunStatus) -> &'static str {
    match outcome {
        RunStatus::Completed => "The run is completed.",
        RunStatus::Rejected => "The run stopped: it was rejected.",
        RunStatus::Failed => "The run stopped: a step failed.",
        RunStatus::Cancelled => "The run stopped: it was cancelled.",
        RunStatus::Queued | RunStatus::Running | RunStatus::Waiting | RunStatus::Paused => "The run ended.",
    }
}

/// The state that an event leads to.
pub fn status_of(kind: &EventKind) -> Option<Status> {
    match kind {
        EventKind::RunQueued { slot: Some(_), .. } => Some(Status::its_turn()),
        EventKind::RunQueued { .. } | EventKind::RunAdmitted {} => Some(Status::starting()),
        EventKind::StepStarted { worker: true, .. } => Some(Status::waiting_on("a worker")),
        EventKind::StepStarted { .. }
        | EventKind::StepClaimed { .. }
        | EventKind::GroupStarted { .. }
        | EventKind::SubrunStarted { .. }
        | EventKind::RunResumed { .. } => Some(Status::running()),
        EventKind::StepAccepted {} => Some(Status::waiting_on("an answer")),
        EventKind::StepRetrying { .. } => Some(Status::trying_again()),
        EventKind::WaitStarted { until: Some(_), .. } => Some(Status::waiting_on("a time")),
        EventKind::WaitStarted { .. } => Some(Status::waiting_on("an event")),
        EventKind::StepDone { .. }
        | EventKind::StepCarried { .. }
        | EventKind::GroupDone { .. }
        | EventKind::EventReceived { .. } => Some(Status::done()),
        EventKind::StepFailed { .. } => Some(Status::failed()),
        EventKind::StepSkipped { .. } => Some(Status::skipped()),
        EventKind::StepCancelled { .. } => Some(Status::cancelled()),
        EventKind::StepStalled { .. } => Some(Status::stalled()),
        EventKind::ApprovalOpened { approvers, .. } | EventKind::ApprovalEscalated { approvers, .. } => {
            Some(waiting(approvers))
        }
        EventKind::ApprovalDecided { decision, .. } => Some(Status::decided(*decision)),
        EventKind::RunPaused { .. } | EventKind::OverrideFiled { .. } => Some(Status::paused()),
        EventKind::RunEnding { outcome, .. } => Some(Status::ending(*outcome)),
        EventKind::RunClosed { outcome, .. } => Some(Status::of_run(*outcome, None)),
        EventKind::StepRescued { .. }
        | EventKind::StepRetried { .. }
        | EventKind::ApprovalReminded { .. }
        | EventKind::ApprovalVoted { .. }
        | EventKind::CancelRequested { .. }
        | EventKind::ValueSet { .. }
        | EventKind::RunMigrated { .. }
        | EventKind::RunMarked { .. }
        | EventKind::OverrideDecided { .. } => None,
    }
}

fn waiting(approvers: &Approvers) -> Status {
    Status::waiting_for(&approvers.in_words())
}

fn by_itself(actor: &str) -> bool {
    actor == Actor::system().name
}

fn time(at: DateTime<Utc>) -> String {
    Moment::new(at).text
}

/// The end of a sentence: with the reason, if there is one.
fn why(reason: Option<&str>) -> String {
    reason.map_or(".".to_owned(), |reason| format!(": {}", ended(reason)))
}

fn plain(value: &Value) -> String {
    match value {
        Value::String(text) => format!("“{text}”"),
        other => other.to_string(),
    }
}

fn capital(words: &str) -> String {
    crate::web::pages::approvers::capital(words)
}
