//! A run as people see it: where it stands in a sentence, and every step of its plan, those to come too.
//!
//! Pure: it reads a folded run and puts it into words.

use super::approvers;
use super::facts;
use super::moment::{Moment, duration};
use super::reading;
use super::run::Step as StepView;
use super::status::Status;
use crate::engine::ids::StepPath;
use crate::engine::protocol::{Task, Work};
use crate::engine::state::{Choice, Run, RunStatus, Step, StepStatus};
use chrono::{DateTime, Utc};

/// Where the run stands.
pub fn status(run: &Run) -> Status {
    Status::of_run(run.status, waits_for(run).as_deref())
}

/// What happens now, or how it ended.
pub fn sentence(run: &Run) -> String {
    let at = || run.current_steps().iter().map(|path| label(run, path)).collect::<Vec<_>>().join(", ");
    let note = || run.note.as_deref().map(|note| format!(": {}", stop(note))).unwrap_or(".".to_owned());
    let ended_by = |status| run.steps.iter().rev().find(|(_, step)| step.status == status);
    match run.status {
        RunStatus::Queued => "The first step is about to begin.".to_owned(),
        RunStatus::Running if at().is_empty() => "The run is under way.".to_owned(),
        RunStatus::Running => format!("{} is under way.", at()),
        RunStatus::Waiting => {
            let whom = waits_for(run).unwrap_or_else(|| "a person".to_owned());
            format!("{} waits for {whom} to approve or reject.", at())
        }
        RunStatus::Paused => format!("The run is paused{}", note()),
        RunStatus::Completed => "Every step is done.".to_owned(),
        RunStatus::Rejected => format!("It stopped because it was rejected{}", note()),
        RunStatus::Failed => match ended_by(StepStatus::Failed) {
            Some((path, _)) => format!("It stopped because the step {} failed.", label(run, path)),
            None => format!("It stopped because a step failed{}", note()),
        },
        RunStatus::Cancelled => format!("It was cancelled{}", note()),
    }
}

/// Which step takes too long, and what to do.
pub fn stalled(run: &Run) -> Option<String> {
    let (path, step) = run.open_steps().find(|(_, step)| step.stalled)?;
    let limit = run.protocol.task(path).and_then(|task| task.max_time);
    let than = limit.map_or("its time limit".to_owned(), |limit| format!("its {}", duration(limit)));
    let then = match &step.approval {
        Some(approval) => format!("Remind {}, or cancel the run.", approval.approvers.in_words()),
        None => "Ask the operators of the service that it calls, or cancel the run.".to_owned(),
    };
    Some(format!("{} has taken longer than {than}. {then}", label(run, path)))
}

/// Whom the run waits for, as in "a supervisor".
pub fn waits_for(run: &Run) -> Option<String> {
    let waiting = run.open_steps().filter_map(|(_, step)| step.approval.as_ref());
    let names: Vec<String> = waiting.map(|approval| approval.approvers.in_words()).collect();
    (!names.is_empty()).then(|| names.join(" and "))
}

/// What people call a step of this run.
pub fn label(run: &Run, path: &StepPath) -> String {
    super::sentences::label(Some(&run.protocol), path)
}

/// Every step of the plan.
pub fn steps(run: &Run) -> Vec<StepView> {
    let tasks = run.protocol.tasks.iter().enumerate();
    tasks.map(|(index, task)| step_view(run, index + 1, task)).collect()
}

fn step_view(run: &Run, number: usize, task: &Task) -> StepView {
    let view = StepView {
        number: number.to_string(),
        title: task.label(),
        by: by(&task.work).to_owned(),
        status: Status::not_started(),
        inner: false,
        sentence: None,
        started: None,
        duration: None,
        attempt: None,
        error: None,
        assessment: None,
        letter: None,
        result: Vec::new(),
    };
    match run.steps.get(&StepPath::top(&task.id, 1)) {
        Some(step) => begun(run, task, step, view),
        None if run.status.is_final() => StepView { status: Status::not_reached(), ..view },
        None => view,
    }
}

fn begun(run: &Run, task: &Task, step: &Step, view: StepView) -> StepView {
    let result = match (step.status, &task.work) {
        (StepStatus::Done, Work::Script(_) | Work::Agent(_)) => read(run, task),
        _ => reading::Reading::default(),
    };
    let took = (!step.status.is_open()).then(|| duration(step.changed_at - step.started_at));
    let acted = step.attempt > 0;
    StepView {
        status: step_status(step),
        sentence: step_sentence(run, step),
        started: acted.then(|| Moment::new(step.started_at)),
        duration: took.filter(|_| acted),
        attempt: (step.attempt > 1).then(|| format!("attempt {}", step.attempt)),
        error: step.note.clone().filter(|_| step.status == StepStatus::Failed),
        assessment: result.assessment,
        letter: result.letter,
        result: result.rest,
        ..view
    }
}

fn read(run: &Run, task: &Task) -> reading::Reading {
    let Some(result) = run.payload.get(&task.saves) else { return reading::Reading::default() };
    match &task.work {
        Work::Agent(call) => reading::read(result, Some(&call.uses)),
        _ => reading::read(result, None),
    }
}

fn by(work: &Work) -> &'static str {
    match work {
        Work::Script(_) => "Automatic",
        Work::Agent(_) => "AI agent",
        Work::Hitl(_) => "A person decides",
        Work::Parallel(_) => "Side by side",
        Work::Wait(_) => "A wait",
        Work::Protocol(_) => "Another protocol",
    }
}

fn step_status(step: &Step) -> Status {
    match (step.status, &step.approval) {
        (StepStatus::Pending, _) => Status::not_started(),
        (StepStatus::Running, _) => Status::running(),
        (StepStatus::Waiting, Some(approval)) => Status::waiting_for(&approval.approvers.in_words()),
        (StepStatus::Waiting, None) => Status::waiting_on("another service"),
        (StepStatus::Done, approval) => {
            match approval.as_ref().and_then(|approval| approval.decision.as_ref()) {
                Some(decision) => decided(decision.choice),
                None => Status::done(),
            }
        }
        (StepStatus::Failed, _) => Status::failed(),
        (StepStatus::Skipped, _) => Status::skipped(),
        (StepStatus::Cancelled, _) => Status::cancelled(),
    }
}

/// A decision as a status.
pub fn decided(choice: Choice) -> Status {
    match choice {
        Choice::Approve => Status::approved(),
        Choice::Reject => Status::rejected(),
        Choice::Return => Status::cancelled(),
    }
}

fn step_sentence(run: &Run, step: &Step) -> Option<String> {
    match (step.status, &step.approval) {
        (StepStatus::Waiting, Some(approval)) => {
            Some(approvers::who_may(&approval.approvers, approval.four_eyes, &run.started_by))
        }
        (StepStatus::Done, Some(approval)) => approval.decision.as_ref().map(|decision| {
            let verb = match decision.choice {
                Choice::Approve => "Approved",
                Choice::Reject => "Rejected",
                Choice::Return => "Sent back",
            };
            let why = decision.reason.as_deref().map_or(".".to_owned(), |why| format!(": {}", stop(why)));
            format!("{verb} by {}{why}", decision.by)
        }),
        (StepStatus::Skipped, _) => step.note.as_deref().map(|note| format!("Skipped: {}", stop(note))),
        (StepStatus::Running | StepStatus::Waiting, None) if step.stalled => {
            Some("It takes longer than its time limit.".to_owned())
        }
        (StepStatus::Running, _) if step.instance.is_none() && step.rescues > 0 => {
            Some("The last attempt was lost; it is begun again when the run goes on.".to_owned())
        }
        _ => None,
    }
}

/// What the run was about when it reached a step, for whoever decides there: the application, then the letter and
/// the assessment, then everything else.
#[derive(Debug, Default)]
pub struct Evidence {
    pub application: Vec<facts::Fact>,
    pub assessment: Option<super::assessment::Assessment>,
    pub letter: Option<String>,
    pub others: Vec<(String, Vec<facts::Fact>)>,
}

/// What is known before the step.
pub fn evidence(run: &Run, before: &StepPath) -> Evidence {
    let tasks = &run.protocol.tasks;
    let mut about: serde_json::Map<_, _> = run
        .payload
        .iter()
        .filter(|(key, _)| !tasks.iter().any(|task| task.saves == **key))
        .map(|(key, value)| (key.clone(), value.clone()))
        .collect();
    let (mut found, mut has_application) = (Evidence::default(), false);
    for task in tasks.iter().take_while(|task| task.id != before.task_id()) {
        let Some(result) = run.payload.get(&task.saves) else { continue };
        let reading = read(run, task);
        let plain = reading.assessment.is_none() && reading.letter.is_none();
        if let (true, false, Work::Script(_), Some(fields)) =
            (plain, has_application, &task.work, result.as_object())
        {
            about.extend(fields.clone());
            has_application = true;
            continue;
        }
        found.assessment = reading.assessment.or(found.assessment);
        found.letter = reading.letter.or(found.letter);
        if !reading.rest.is_empty() {
            found.others.push((format!("Details of: {}", task.label()), reading.rest));
        }
    }
    found.application = facts::short(&serde_json::Value::Object(about));
    found
}

/// The risk that an agent of the run stated last.
pub fn risk(run: &Run) -> Option<super::assessment::RiskLevel> {
    let agents = run.protocol.tasks.iter().filter(|task| matches!(task.work, Work::Agent(_)));
    agents.filter_map(|task| reading::risk(run.payload.get(&task.saves)?)).next_back()
}

/// How long it has taken, or took.
pub fn took(run: &Run, now: DateTime<Utc>) -> String {
    duration(run.closed_at.unwrap_or(now) - run.created_at)
}

fn stop(words: &str) -> String {
    let words = words.trim();
    if words.ends_with(['.', '!', '?']) { words.to_owned() } else { format!("{words}.") }
}
