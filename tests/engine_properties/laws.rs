//! What holds after every command, and what holds for the whole log of a run.

use super::log::{apply_one, begun};
use super::world::World;
use hms_act::engine::command::TimerKind;
use hms_act::engine::decide::Decided;
use hms_act::engine::effects;
use hms_act::engine::event::{Event, EventKind, Recorded};
use hms_act::engine::ids::{ApprovalId, StepPath};
use hms_act::engine::protocol::{ApproverSlot, Work};
use hms_act::engine::seating::Filled;
use hms_act::engine::state::{Choice, Run, RunStatus, Step, StepStatus};
use std::collections::{HashMap, HashSet};

/// A command was carried out.
pub fn hold_after(world: &World, before: Option<&Run>, decided: &Decided) {
    let events = &decided.events;
    assert!(!events.is_empty(), "a command that is carried out is an event");
    let (mut run, rest) = match before {
        Some(run) => (run.clone(), &events[..]),
        None => (begun(world, &decided.run, &events[0], decided.run.before.clone()), &events[1..]),
    };
    for recorded in rest {
        assert!(recorded.at >= run.updated_at, "time never goes back within a run");
        assert!(!run.status.is_final(), "the closing entry is the last");
        let at_rest = run.status == RunStatus::Paused || run.held;
        assert!(
            !at_rest || !begins(&recorded.event.kind),
            "a paused or held run starts nothing: {recorded:?}"
        );
        apply_one(world, &mut run, recorded);
        if let EventKind::RunClosed { count, .. } = recorded.event.kind {
            assert_eq!(count, run.version, "the closing entry counts itself");
        }
    }
    assert!(run == decided.run, "the events say all that happened:\n{run:#?}\n{:#?}", decided.run);
    if let Some(before) = before {
        for (path, step) in before.steps.iter() {
            let now = run.steps.get(path).expect("a step that has begun stays");
            assert!(now.attempt >= step.attempt, "attempt numbers rise");
        }
    }
    hold_for(&run);
}

/// What a paused run must not do. An approval that is asked again replaces one that was asked before.
fn begins(kind: &EventKind) -> bool {
    match kind {
        EventKind::StepStarted { .. }
        | EventKind::StepCarried { .. }
        | EventKind::GroupStarted { .. }
        | EventKind::WaitStarted { .. }
        | EventKind::SubrunStarted { .. } => true,
        EventKind::ApprovalOpened { again, .. } => !again,
        _ => false,
    }
}

/// What holds for a run in any state.
fn hold_for(run: &Run) {
    let at_work = run.open_steps().filter(|(_, step)| step.group.is_none()).count();
    let rests = run.status == RunStatus::Paused || run.held;
    if run.status.is_final() {
        assert!(!run.steps.any_open(), "a run that is over has no open step");
        assert!(effects::attempts(run).is_empty() && run.current_steps().is_empty());
        assert!(run.closed_at.is_some() && run.ending.is_none() && run.overridden.is_none());
    } else if !rests {
        assert!(at_work > 0, "a run that is not over and not paused has something to wait for");
        let waits = run.ending.is_none() && run.steps.running() == 0;
        assert_eq!(run.status, if waits { RunStatus::Waiting } else { RunStatus::Running });
    }
    timers_hold(run, run.status.is_final() || rests);
    for (path, step) in run.open_steps() {
        if let Some((group, _)) = path.group().filter(|_| !step.reopened && path.undone().is_none()) {
            let around = run.steps.get(&group).map(|group| group.status);
            assert_eq!(around, Some(StepStatus::Running), "{path} is open, and its group is not");
        }
        let rests = run.status == RunStatus::Paused || run.ending.is_some() || run.reopened > 0;
        assert!(!step.is_lost() || rests, "what was lost is begun again, unless the run rests: {path}");
        attempt_holds(run, path, step);
        group_holds(run, path, step);
    }
    rounds_hold(run);
}

/// Every timer is for something that is open.
fn timers_hold(run: &Run, none: bool) {
    let timers = effects::timers(run);
    assert!(!none || timers.is_empty(), "a run that is over, paused or held has no timers: {timers:?}");
    let mut of_steps = 0;
    for timer in &timers {
        let Some(path) = &timer.step else {
            assert!(timer.kind == TimerKind::Grace && run.ending.is_some(), "{timer:?}");
            continue;
        };
        of_steps += 1;
        let step = run.steps.get(path).expect("a timer is for a step that has begun");
        assert!(step.status.is_open() && step.attempt == timer.attempt, "{timer:?} of {step:?}");
        assert!(effects::timers_of(run, path).contains(timer));
    }
    let one_by_one: usize = run.steps.iter().map(|(path, _)| effects::timers_of(run, path).len()).sum();
    assert_eq!(one_by_one, of_steps, "the timers of a run are those of its steps");
}

/// What runs in an executor can be started again from the state alone.
fn attempt_holds(run: &Run, path: &StepPath, step: &Step) {
    let runs = step.status == StepStatus::Running && step.group.is_none() && step.subrun.is_none();
    let claimable = step.waits == Some(hms_act::engine::state::Waits::Worker);
    match effects::attempt(run, path, step) {
        Some(attempt) => assert!((runs || claimable) && attempt.number == step.attempt, "{path}"),
        None => assert!(!runs && !claimable, "{path} runs, and nobody could say what"),
    }
}

fn group_holds(run: &Run, path: &StepPath, step: &Step) {
    let Some(group) = &step.group else { return };
    assert!(
        group.begun <= group.branches && group.succeeded + group.failed + group.fruitless <= group.begun,
        "{path}: {group:?}"
    );
    let Some(Work::Parallel(parallel)) = run.protocol.task(path).map(|task| &task.work) else { return };
    if let Some(most) = parallel.max_concurrency {
        assert!(group.open() <= most, "{path} has more branches open than {most}: {group:?}");
    }
}

fn rounds_hold(run: &Run) {
    for (path, _) in run.steps.iter().filter(|(path, _)| path.round() > 1) {
        let before = path.in_round(path.round() - 1);
        // The undo of a round is called after it, and has no rounds of its own.
        assert!(path.undone().is_some() || run.steps.contains_key(&before), "{path} without {before}");
    }
    for (path, returns) in &run.returns {
        if let Some(Work::Hitl(hitl)) = run.protocol.task(path).map(|task| &task.work) {
            assert!(*returns <= hitl.max_returns, "{path} was sent back {returns} times");
        }
    }
}

/// Where a step stands, as its entries say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stands {
    /// At this attempt.
    At(u32),
    /// After this attempt, before the next.
    Between(u32),
    Over(u32),
}

/// Every attempt that was started is ended once, and every decision is made by as many people as it needs.
pub fn hold_over(run: &Run, events: &[Recorded]) {
    let mut steps: HashMap<&StepPath, Stands> = HashMap::new();
    for recorded in events {
        let Event { step: Some(path), attempt, kind } = &recorded.event else { continue };
        let attempt = attempt.expect("an entry of a step says which attempt");
        let next = next(steps.get(path).copied(), attempt, kind);
        let next = next.unwrap_or_else(|| panic!("{path} stood at {:?}, then {recorded:?}", steps.get(path)));
        steps.insert(path, next);
    }
    for (path, step) in run.steps.iter() {
        let open = match steps[path] {
            Stands::At(attempt) | Stands::Between(attempt) => {
                assert_eq!(attempt, step.attempt, "{path}");
                true
            }
            Stands::Over(_) => false,
        };
        assert_eq!(open, step.status.is_open(), "{path} stands at {:?}: {step:?}", steps[path]);
    }
    decisions_hold(run, events);
}

/// Where a step stands after an entry. None: that entry makes no sense there.
fn next(stands: Option<Stands>, attempt: u32, kind: &EventKind) -> Option<Stands> {
    let rises = match stands {
        None => attempt == 1,
        Some(Stands::Between(last)) => attempt > last,
        Some(Stands::At(_) | Stands::Over(_)) => false,
    };
    let at = stands == Some(Stands::At(attempt));
    let between = stands == Some(Stands::Between(attempt));
    let next = match kind {
        EventKind::StepStarted { .. } | EventKind::SubrunStarted { .. } | EventKind::WaitStarted { .. } => {
            rises.then_some(Stands::At(attempt))
        }
        EventKind::GroupStarted { .. } => (attempt == 1 && stands.is_none()).then_some(Stands::At(1)),
        EventKind::ApprovalOpened { again, .. } => match stands {
            Some(Stands::At(last)) => (*again && attempt > last).then_some(Stands::At(attempt)),
            _ => rises.then_some(Stands::At(attempt)),
        },
        EventKind::StepCarried { .. } => stands.is_none().then_some(Stands::Over(1)),
        // A step may be past its time between two attempts, too.
        EventKind::StepStalled { .. } if between => stands,
        EventKind::StepClaimed { .. }
        | EventKind::StepAccepted {}
        | EventKind::StepStalled { .. }
        | EventKind::ApprovalReminded { .. }
        | EventKind::ApprovalEscalated { .. }
        | EventKind::ApprovalVoted { .. } => at.then_some(Stands::At(attempt)),
        EventKind::StepRetrying { .. } | EventKind::StepRescued { .. } => {
            at.then_some(Stands::Between(attempt))
        }
        EventKind::StepRetried { .. } => {
            let ended = between || stands == Some(Stands::Over(attempt));
            ended.then_some(Stands::Between(attempt))
        }
        EventKind::StepDone { .. } | EventKind::EventReceived { .. } => {
            (at || between).then_some(Stands::Over(attempt))
        }
        // Its branch lost before it had begun.
        EventKind::StepCancelled { .. } => {
            (at || between || stands.is_none()).then_some(Stands::Over(attempt))
        }
        EventKind::GroupDone { .. } | EventKind::ApprovalDecided { .. } => {
            at.then_some(Stands::Over(attempt))
        }
        // It may have failed to begin.
        EventKind::StepFailed { .. } => (at || between || stands.is_none()).then_some(Stands::Over(attempt)),
        // Its `when` was false, a person passed over it while it was open, or after it had failed.
        EventKind::StepSkipped { .. } => Some(Stands::Over(attempt)),
        _ => None,
    };
    next.filter(|_| attempt >= 1)
}

/// Every slot has as many people as it needs, and nobody fills two.
fn slots_hold(slots: &[ApproverSlot], filled: &[Filled]) {
    let people: HashSet<&str> = filled.iter().map(|filled| filled.by.as_str()).collect();
    assert_eq!(people.len(), filled.len(), "somebody fills two slots: {filled:?}");
    for slot in slots {
        let there = filled.iter().filter(|filled| filled.slot == slot.name).count();
        assert_eq!(there as u32, slot.count, "{}: {filled:?}", slot.name);
    }
}

/// As many different people as the quorum says, and never whoever started the run where four eyes are asked for.
fn decisions_hold(run: &Run, events: &[Recorded]) {
    let mut opened: HashMap<ApprovalId, (u32, bool)> = HashMap::new();
    let mut approved: HashMap<ApprovalId, HashSet<&str>> = HashMap::new();
    let mut decided: HashSet<ApprovalId> = HashSet::new();
    let mut slots: HashMap<ApprovalId, &[ApproverSlot]> = HashMap::new();
    for recorded in events {
        let by = recorded.actor.as_str();
        let (id, choice) = match &recorded.event.kind {
            EventKind::ApprovalOpened { approval, quorum, four_eyes, approvers, .. } => {
                slots.insert(*approval, approvers.slots.as_slice());
                assert!(opened.insert(*approval, (*quorum, *four_eyes)).is_none(), "numbers are drawn once");
                continue;
            }
            EventKind::ApprovalVoted { approval, .. } => (approval, Choice::Approve),
            EventKind::ApprovalDecided { approval, decision, filled, .. } => {
                assert!(decided.insert(*approval), "decided once");
                if let Some(slots) = slots.get(approval).filter(|_| *decision == Choice::Approve) {
                    slots_hold(slots, filled);
                }
                (approval, *decision)
            }
            EventKind::StepSkipped { as_role: Some(_), .. } => {
                let path = recorded.event.step.as_ref().expect("a step is skipped");
                if let Some(Work::Hitl(hitl)) = run.protocol.task(path).map(|task| &task.work) {
                    assert!(!hitl.four_eyes || by != run.started_by, "{path} was skipped by its starter");
                }
                continue;
            }
            _ => continue,
        };
        let (quorum, four_eyes) = opened[id];
        assert!(!four_eyes || by != run.started_by, "whoever started the run decided {id:?}");
        let people = approved.entry(*id).or_default();
        if choice == Choice::Approve {
            assert!(people.insert(by), "{by} approved twice");
            assert_eq!(
                people.len() as u32 >= quorum,
                decided.contains(id),
                "{id:?} needs {quorum}: {people:?}"
            );
        }
    }
}
