//! What a run that did not complete takes back.

use hms_act::engine::event::{EventKind, Recorded};
use hms_act::engine::ids::StepPath;
use hms_act::engine::state::{Run, RunStatus, StepStatus};

/// Undo ran once for each step that was done here and can be undone, for nothing else, latest first, one after the
/// other; of a run that completed nothing is taken back.
pub fn ran_once_for_what_was_done(run: &Run, events: &[Recorded]) {
    assert!(run.status.is_final());
    let undos: Vec<(&StepPath, &EventKind)> = events
        .iter()
        .filter_map(|recorded| Some((recorded.event.step.as_ref()?, &recorded.event.kind)))
        .filter(|(path, _)| path.undone().is_some())
        .collect();
    let begun: Vec<StepPath> = in_order(undos.iter().filter_map(|(path, _)| path.undone()));
    if run.status == RunStatus::Completed {
        assert!(begun.is_empty(), "a run that completed takes nothing back: {begun:?}");
        return;
    }
    let mut done: Vec<(u64, StepPath)> = Vec::new();
    for (seq, recorded) in events.iter().enumerate() {
        let Some(path) = recorded.event.step.as_ref().filter(|path| path.undone().is_none()) else {
            continue;
        };
        let undoable = run.protocol.task(path).is_some_and(|task| task.undo().is_some());
        if undoable && matches!(recorded.event.kind, EventKind::StepDone { .. }) {
            done.push((seq as u64, path.clone()));
        }
    }
    done.sort_by_key(|(seq, _)| std::cmp::Reverse(*seq));
    let expected: Vec<StepPath> = done.into_iter().map(|(_, path)| path).collect();
    assert_eq!(begun, expected, "latest first, each once");
    for step in &expected {
        let ends = undos.iter().filter(|(path, kind)| {
            path.undone().as_ref() == Some(step)
                && matches!(kind, EventKind::StepDone { .. } | EventKind::StepSkipped { .. })
        });
        assert_eq!(ends.count(), 1, "{step} is taken back once, or passed over by a person");
        let status = run.steps.get(&step.undo()).map(|undo| undo.status);
        assert!(matches!(status, Some(StepStatus::Done | StepStatus::Skipped)), "{step}: {status:?}");
    }
    one_after_the_other(&undos);
}

/// The entries of one undo are together.
fn one_after_the_other(undos: &[(&StepPath, &EventKind)]) {
    let mut runs: Vec<&StepPath> = undos.iter().map(|(path, _)| *path).collect();
    runs.dedup();
    let mut once = runs.clone();
    once.sort();
    once.dedup();
    assert_eq!(runs.len(), once.len(), "one after the other: {runs:?}");
}

/// Each of these once, where it first stands.
fn in_order(paths: impl Iterator<Item = StepPath>) -> Vec<StepPath> {
    let mut once: Vec<StepPath> = Vec::new();
    for path in paths {
        if !once.contains(&path) {
            once.push(path);
        }
    }
    once
}
