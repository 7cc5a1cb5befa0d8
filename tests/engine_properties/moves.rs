//! What happens to a run: commands, mostly about what is open.

use super::choices::Choices;
use super::world::{PEOPLE, STARTER, World};
use chrono::TimeDelta;
use hms_act::engine::command::{Command, Fault, TimerKind};
use hms_act::engine::effects;
use hms_act::engine::ids::{ApprovalId, OverrideId, RunId, StepPath};
use hms_act::engine::state::{Approval, Choice, OverrideAction, OverrideChoice, Run, RunStatus, Step, Waits};
use serde_json::{Value, json};

#[derive(Debug, Clone)]
pub struct Move {
    pub command: Command,
    pub by: &'static str,
}

/// Whoever brings results.
const SYSTEM: &str = "HMS-ACT";

/// Any move: one that helps, mostly; or trouble, a timer, an act of a person, something that comes late.
pub fn any(world: &mut World, run: &Run, choices: &mut Choices<'_>) -> Move {
    if run.status == RunStatus::Paused && choices.one_in(2) {
        return out_of_pause(run, choices);
    }
    match choices.below(32) {
        17..=20 => trouble(world, run, choices),
        21..=23 => timer(world, run, choices),
        24..=27 => act(world, run, choices),
        28 => official(run, choices),
        29 | 30 => stale(world, run, choices),
        31 => {
            let jumps = [TimeDelta::seconds(90), TimeDelta::hours(-1), TimeDelta::days(3)];
            world.pass(choices.of(&jumps));
            helpful(world, run, choices)
        }
        _ => helpful(world, run, choices),
    }
}

/// What gets the run on.
pub fn helpful(world: &mut World, run: &Run, choices: &mut Choices<'_>) -> Move {
    let reason = "because".to_owned();
    if run.held {
        return Move { command: Command::AdmitRun, by: SYSTEM };
    }
    if run.status == RunStatus::Paused {
        return on_from_pause(run, reason);
    }
    let mut open = at_work(run);
    if run.reopened > 0 && run.ending.is_none() {
        // Before what was asked again is decided, nothing else gets on.
        open.retain(|(_, step)| step.reopened);
    }
    match open.get(choices.below(open.len())) {
        Some((path, step)) => on(world, run, path, step),
        None => Move { command: Command::ResumeRun { reason }, by: "sam" },
    }
}

/// The open steps, groups not counted.
pub fn at_work(run: &Run) -> Vec<(&StepPath, &Step)> {
    run.open_steps().filter(|(_, step)| step.group.is_none()).collect()
}

/// What lets a paused run go on: the override is turned down, the step that paused it passed over.
fn on_from_pause(run: &Run, reason: String) -> Move {
    if let Some(overridden) = &run.overridden {
        let (id, choice, reason) = (overridden.id, OverrideChoice::Reject, Some(reason));
        let by = if overridden.filed_by == "sue" { "sam" } else { "sue" };
        return Move { command: Command::DecideOverride { id, choice, reason, new_value: None }, by };
    }
    let held_up = run.steps.iter().rev().find(|(path, step)| run.holds(path, step));
    let command = match held_up {
        Some((step, _)) => Command::SkipStep { step: step.clone(), reason },
        None => Command::ResumeRun { reason },
    };
    // Of every role, and of every group that the generated slots ask for.
    Move { command, by: "sue" }
}

/// Ways out of a pause that may make sense.
fn out_of_pause(run: &Run, choices: &mut Choices<'_>) -> Move {
    let reason = "because".to_owned();
    let failed = run.steps.iter().find(|(path, step)| run.holds(path, step) || step.is_lost());
    let by = choices.of(&["sam", "ada"]);
    match failed {
        Some((step, _)) if !choices.one_in(4) => {
            Move { command: Command::RetryStep { step: step.clone(), reason }, by }
        }
        _ => Move { command: Command::ResumeRun { reason }, by },
    }
}

/// What a step at work needs to get on.
pub fn on(world: &mut World, run: &Run, path: &StepPath, step: &Step) -> Move {
    let (step_path, attempt) = (path.clone(), step.attempt);
    let command = match &step.waits {
        // It was lost while the run was paused, and now the run ends.
        None if step.is_lost() => {
            world.now = run.ending.as_ref().map_or(world.now, |ending| world.now.max(ending.grace_until));
            Command::FireTimer { step: None, attempt: 0, kind: TimerKind::Grace }
        }
        None if step.subrun.is_some() => return subrun_ended(path, step, RunStatus::Completed),
        None => Command::CompleteStep { step: step_path, attempt, result: result(path) },
        Some(Waits::Approval) => return decision(run, step, Choice::Approve),
        Some(Waits::Retry { at }) => {
            world.now = world.now.max(*at);
            Command::FireTimer { step: Some(step_path), attempt, kind: TimerKind::Retry }
        }
        Some(Waits::Time { at }) => {
            world.now = world.now.max(*at);
            Command::FireTimer { step: Some(step_path), attempt, kind: TimerKind::Wait }
        }
        Some(Waits::Event { .. }) => {
            Command::ReceiveEvent { step: step_path, event: 5, payload: result(path) }
        }
        Some(Waits::Callback) => Command::CallBack { step: step_path, outcome: Ok(result(path)) },
        Some(Waits::Worker) => Command::ClaimStep { step: step_path, attempt, worker: "w1".to_owned() },
    };
    Move { command, by: SYSTEM }
}

/// Each step gives a result of its own, the same in every order.
pub fn result(path: &StepPath) -> Value {
    json!({"of": path.as_str(), "big": i64::MAX})
}

fn subrun_ended(path: &StepPath, step: &Step, outcome: RunStatus) -> Move {
    let payload = result(path).as_object().cloned().unwrap_or_default();
    let (run, note) = (step.subrun.unwrap_or(RunId(0)), Some("it went as it went".to_owned()));
    let command =
        Command::SubrunEnded { step: path.clone(), run, outcome, payload, redact: Vec::new(), note };
    Move { command, by: SYSTEM }
}

fn decision(run: &Run, step: &Step, choice: Choice) -> Move {
    let approval = step.approval.as_ref();
    let by = approval.and_then(|approval| decider(run, approval)).unwrap_or("sam");
    let (approval, reason) = (approval.map_or(ApprovalId(0), |approval| approval.id), "because".to_owned());
    Move { command: Command::Decide { approval, choice, reason: Some(reason), form: None }, by }
}

/// Somebody who may decide, and has not voted yet.
fn decider(run: &Run, approval: &Approval) -> Option<&'static str> {
    let may = |name: &&str| {
        let actor = super::world::actor(name);
        let named = approval.open_to().lets(&actor).is_some();
        let voted = approval.votes.iter().any(|vote| vote.by == actor.name);
        named && !voted && !(approval.four_eyes && actor.name == run.started_by)
    };
    PEOPLE.into_iter().rev().find(may)
}

/// What goes wrong with a step at work.
fn trouble(world: &mut World, run: &Run, choices: &mut Choices<'_>) -> Move {
    let open = at_work(run);
    let Some((path, step)) = open.get(choices.below(open.len())) else {
        return helpful(world, run, choices);
    };
    let (step_path, attempt, error) = ((*path).clone(), step.attempt, "no".to_owned());
    if step.approval.is_some() {
        return decision(run, step, choices.of(&[Choice::Reject, Choice::Return, Choice::Return]));
    }
    if step.subrun.is_some() {
        let outcomes = [RunStatus::Failed, RunStatus::Cancelled, RunStatus::Rejected];
        return subrun_ended(path, step, choices.of(&outcomes));
    }
    let retry_after = choices.of(&[None, Some(TimeDelta::seconds(100))]);
    let command = match choices.below(8) {
        0..=2 => Command::FailStep { step: step_path, attempt, error, retryable: true, retry_after },
        3 if choices.one_in(2) => {
            Command::FailStep { step: step_path, attempt, error, retryable: false, retry_after: None }
        }
        4 => Command::RescueStep { step: step_path, attempt, reason: error },
        5 => Command::AcceptStep { step: step_path, attempt },
        6 => {
            Command::CallBack { step: step_path, outcome: Err(Fault { error, retryable: choices.one_in(2) }) }
        }
        _ => Command::CallBack { step: step_path, outcome: Ok(result(path)) },
    };
    Move { command, by: SYSTEM }
}

/// A timer of the run, mostly at its time.
fn timer(world: &mut World, run: &Run, choices: &mut Choices<'_>) -> Move {
    let timers = effects::timers(run);
    let Some(timer) = timers.get(choices.below(timers.len())) else { return helpful(world, run, choices) };
    if !choices.one_in(4) {
        world.now = world.now.max(timer.at);
    }
    let (step, attempt, kind) = (timer.step.clone(), timer.attempt, timer.kind);
    Move { command: Command::FireTimer { step, attempt, kind }, by: SYSTEM }
}

/// What a person does to a run.
fn act(world: &mut World, run: &Run, choices: &mut Choices<'_>) -> Move {
    let by = choices.of(&["sam", "sue", STARTER]);
    let reason = "because".to_owned();
    let begun: Vec<&StepPath> = run.steps.iter().rev().map(|(path, _)| path).collect();
    let step =
        begun.get(choices.below(begun.len().min(4))).map_or(StepPath::top("t0", 1), |path| (*path).clone());
    let command = match choices.below(16) {
        0..=3 => Command::SkipStep { step, reason },
        4..=6 => {
            let path = choices.of(&["n", "list", "t0"]);
            let value = choices.of(&[json!(-1), json!([7]), json!({"a": 1.5})]);
            Command::SetValue { path: vec![path.to_owned()], value, reason }
        }
        7 | 8 => Command::PauseRun { reason },
        9 | 10 => Command::RetryStep { step, reason },
        11 => {
            let (to, protocol) = world.next_version();
            Command::MigrateRun { to, protocol, reason }
        }
        12 => Command::CancelRun { reason },
        _ => Command::ResumeRun { reason },
    };
    Move { command, by }
}

/// Overrides: filed, and decided by anybody.
fn official(run: &Run, choices: &mut Choices<'_>) -> Move {
    let by = choices.of(&["sam", "sue", STARTER]);
    let reason = "because".to_owned();
    let new_value = choices.of(&[None, Some(json!({"n": 3, "case": "c-2"}))]);
    let new_value = new_value.and_then(|value| value.as_object().cloned());
    let command = match &run.overridden {
        Some(overridden) => {
            let choices_there = [OverrideChoice::Reject, OverrideChoice::Modify, OverrideChoice::Approve];
            let choice = choices.of(&choices_there);
            Command::DecideOverride { id: overridden.id, choice, reason: Some(reason), new_value }
        }
        None => {
            let action = choices.of(&[OverrideAction::Pause, OverrideAction::Modify, OverrideAction::Cancel]);
            let (id, review) = (OverrideId(run.version as i64), TimeDelta::hours(72));
            Command::FileOverride { id, action, reason, new_value, review }
        }
    };
    Move { command, by }
}

/// What comes late, twice, or is about another run.
fn stale(world: &mut World, run: &Run, choices: &mut Choices<'_>) -> Move {
    let begun: Vec<(&StepPath, u32)> = run.steps.iter().map(|(path, step)| (path, step.attempt)).collect();
    let chosen = begun.get(choices.below(begun.len() + 1));
    let (step, attempt) =
        chosen.map_or((StepPath::top("nowhere", 1), 1), |(path, now)| ((*path).clone(), *now));
    let attempt = match choices.below(3) {
        0 => attempt.saturating_sub(1),
        1 => attempt + 1,
        _ => attempt,
    };
    let (reason, result) = ("because".to_owned(), json!("late"));
    let approval = run.step(step.as_str()).and_then(|step| step.approval.as_ref());
    let approval = approval.map_or(ApprovalId(7), |approval| approval.id);
    let kind = TimerKind::ALL[choices.below(TimerKind::ALL.len())];
    let command = match choices.below(12) {
        0 => Command::CompleteStep { step, attempt, result },
        1 => Command::FailStep { step, attempt, error: reason, retryable: true, retry_after: None },
        2 => Command::RescueStep { step, attempt, reason },
        3 => Command::AcceptStep { step, attempt },
        4 => Command::ClaimStep { step, attempt, worker: "w2".to_owned() },
        5 => Command::CallBack { step, outcome: Ok(result) },
        6 => Command::ReceiveEvent { step, event: 6, payload: result },
        7 => Command::FireTimer { step: Some(step), attempt, kind },
        8 => {
            Command::Decide { approval, choice: Choice::Approve, reason: None, form: Some(json!({"a": "x"})) }
        }
        9 => Command::SubrunEnded {
            step,
            run: RunId(1),
            outcome: RunStatus::Completed,
            payload: serde_json::Map::new(),
            redact: Vec::new(),
            note: None,
        },
        10 => Command::RetryStep { step, reason },
        _ => {
            world.pass(TimeDelta::seconds(1));
            Command::FireTimer { step: None, attempt, kind }
        }
    };
    Move { command, by: choices.of(&PEOPLE) }
}
