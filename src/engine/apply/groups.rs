//! Groups: what their branches have come to.

use super::{end_step, ensure, payload, with_step};
use crate::engine::event::Recorded;
use crate::engine::ids::StepPath;
use crate::engine::protocol::{Join, OnFailure, Work};
use crate::engine::state::{Group, Payload, Run, StepStatus};
use rpds::HashTrieMapSync;
use serde_json::Value;
use std::sync::Arc;

pub(super) fn start(
    run: &mut Run,
    recorded: &Recorded,
    branches: u32,
    join: Join,
    items: Option<&Vec<Value>>,
) {
    let Some(path) = recorded.event.step.clone() else { return };
    ensure(run, &path, recorded.at);
    let group = Group {
        branches,
        needed: join.needed(branches),
        counts: join != Join::All,
        items: items.cloned().map(Arc::new),
        begun: 0,
        succeeded: 0,
        failed: 0,
        fruitless: 0,
        own: HashTrieMapSync::default(),
    };
    with_step(run, recorded, |step| {
        (step.status, step.attempt, step.group) = (StepStatus::Running, 1, Some(group));
    });
}

/// The group around a step, and which of its branches the step is in.
pub(super) fn branch(run: &Run, path: &StepPath) -> Option<(StepPath, u32)> {
    let (group, item) = path.group()?;
    let branch = item.or_else(|| Some(run.protocol.place(path.task_id())?.branch))?;
    Some((group, branch as u32))
}

/// A step that begins may be the first of its branch: an item is laid over what the branch sees.
pub(super) fn begin_branch(run: &mut Run, path: &StepPath) {
    let Some((group_path, branch)) = branch(run, path) else { return };
    let name = match run.protocol.task(&group_path).map(|task| &task.work) {
        Some(Work::Parallel(parallel)) => parallel.for_each.as_ref().map(|each| each.name.clone()),
        _ => None,
    };
    run.steps.change(&group_path, |step| {
        let Some(group) = &mut step.group else { return };
        if branch < group.begun {
            return;
        }
        group.begun = branch + 1;
        let item = group.items.as_ref().and_then(|items| items.get(branch as usize));
        if let (Some(name), Some(item)) = (name, item) {
            let own = Payload::from_iter([(name, item.clone())]);
            group.own.insert_mut(branch, Arc::new(own));
        }
    });
}

/// A step ended: its branch may have, too.
pub(super) fn account(run: &mut Run, path: &StepPath) {
    if path.undone().is_some() {
        return;
    }
    let Some((group_path, _)) = branch(run, path) else { return };
    let (Some(step), Some(place)) = (run.steps.get(path), run.protocol.place(path.task_id())) else { return };
    let sent_back = step.approval.as_ref().is_some_and(|approval| {
        approval
            .decision
            .as_ref()
            .is_some_and(|decision| decision.choice == crate::engine::state::Choice::Return)
    });
    if step.reopened || sent_back {
        return;
    }
    let (ended, failed) = match (step.status, place.task.on_failure) {
        (StepStatus::Done | StepStatus::Skipped, _) | (StepStatus::Failed, OnFailure::Continue) => {
            (place.last, false)
        }
        (StepStatus::Failed, OnFailure::Fail) => (false, true),
        _ => (false, false),
    };
    let fruitless = ended && !came_to_something(run, path);
    run.steps.change(&group_path, |step| {
        if let (StepStatus::Running, Some(group)) = (step.status, &mut step.group) {
            let fruitless = fruitless && group.counts;
            group.succeeded += u32::from(ended && !fruitless);
            group.fruitless += u32::from(fruitless);
            group.failed += u32::from(failed);
        }
    });
}

/// Whether the last task of a branch that was not skipped is done: one that was skipped whole, or whose end failed and
/// was passed over, did nothing that could be counted.
fn came_to_something(run: &Run, last: &StepPath) -> bool {
    let Some(place) = run.protocol.place(last.task_id()) else { return false };
    let list = run.protocol.list(place.group.as_deref(), place.branch);
    let steps = list.iter().rev().filter_map(|task| {
        let base = last.beside(&task.id).in_round(1);
        run.steps.get(&base.in_round(run.round(&base)))
    });
    let mut done = steps.filter(|step| step.status != StepStatus::Skipped);
    done.next().is_some_and(|step| step.status == StepStatus::Done)
}

/// Enough branches succeeded: the group's key gets the list of what they came to, and what the tasks of a plain
/// group saved is seen from now on under their own keys as well.
pub(super) fn join(run: &mut Run, recorded: &Recorded) {
    let Some(path) = recorded.event.step.clone() else { return };
    let Some(task) = run.protocol.task(&path).map(Arc::clone) else { return };
    let Work::Parallel(parallel) = &task.work else { return };
    let Some(group) = run.steps.get(&path).and_then(|step| step.group.clone()) else { return };
    clear(run, &path);
    let results = (0..group.branches).map(|branch| {
        let list = parallel.branches.get(if parallel.for_each.is_some() { 0 } else { branch as usize });
        let own = group.own.get(&branch);
        let last = |list: &Vec<_>| {
            list.iter().rev().find_map(|task: &Arc<crate::engine::protocol::Task>| own?.get(&task.saves))
        };
        list.and_then(last).cloned().unwrap_or(Value::Null)
    });
    let results = Value::Array(results.collect());
    if parallel.for_each.is_none() {
        for branch in 0..group.branches {
            for (key, value) in group.own.get(&branch).map(|own| own.as_ref().clone()).unwrap_or_default() {
                payload::save_under(run, &path, &key, value);
            }
        }
    }
    payload::save(run, &path, results);
    end_step(run, recorded, StepStatus::Done, None);
}

/// A group that is over keeps its counts, and what its branches saved no longer.
pub(super) fn clear(run: &mut Run, path: &StepPath) {
    let mut freed = 0;
    let is_group = run.steps.get(path).is_some_and(|step| step.group.is_some());
    if !is_group {
        return;
    }
    run.steps.change(path, |step| {
        if let Some(group) = &mut step.group {
            freed = group.own.values().map(|own| payload::bytes(own)).sum();
            (group.own, group.items) = (HashTrieMapSync::default(), None);
        }
    });
    run.payload_bytes = run.payload_bytes.saturating_sub(freed);
}
