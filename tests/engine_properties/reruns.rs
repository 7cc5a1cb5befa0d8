//! Reruns: what an earlier run of the lineage did is taken over, and only that.

use super::choices::Choices;
use super::generate::{Language, document};
use super::play::Played;
use super::properties::{cases, happenings, tasks};
use super::{laws, log};
use hms_act::engine::command::{Command, Rerun};
use hms_act::engine::event::{EventKind, Recorded};
use hms_act::engine::ids::{RunId, StepPath};
use hms_act::engine::state::{DoneBefore, Lineage, Run, RunStatus};
use proptest::prelude::*;
use std::collections::HashMap;
use std::sync::Arc;

/// What a run did: by checksum, as its entries say.
fn lineage(run: &Run, events: &[Recorded]) -> Lineage {
    let mut asked: HashMap<&StepPath, (&str, i32)> = HashMap::new();
    let mut lineage = Lineage::default();
    for recorded in events {
        let Some(step) = &recorded.event.step else { continue };
        match &recorded.event.kind {
            EventKind::StepStarted { checksum, action_version, .. } => {
                asked.insert(step, (checksum, *action_version));
            }
            EventKind::SubrunStarted { checksum, .. } => {
                asked.insert(step, (checksum, 0));
            }
            EventKind::StepCarried { .. } => unreachable!("the first run of a lineage takes nothing over"),
            EventKind::StepDone { result } => match step.undone() {
                Some(undone) => {
                    let checksum = asked[&undone].0;
                    lineage.done.get_mut(checksum).expect("it was done").retain(|done| done.step != undone);
                    *lineage.undos.entry(checksum.to_owned()).or_default() += 1;
                }
                None => {
                    let Some((checksum, action_version)) = asked.get(step).copied() else { continue };
                    let (run, step, result) = (run.id, step.clone(), result.clone());
                    let done = DoneBefore { run, step, action_version, result };
                    lineage.done.entry(checksum.to_owned()).or_default().push(done);
                }
            },
            _ => {}
        }
    }
    lineage.done.retain(|_, done| !done.is_empty());
    lineage
}

/// The same again, with what the first run did at hand.
pub fn again(first: &mut Played) -> (Run, Vec<Recorded>) {
    let before = Arc::new(lineage(&first.run, &first.events));
    let rerun = Rerun { of: first.run.id, lineage: first.run.lineage, reason: "again".to_owned(), before };
    let decided = first.world.start_as(RunId(2), Some(rerun));
    laws::hold_after(&first.world, None, &decided);
    (decided.run, decided.events)
}

/// The checksum and the key of every call that was started.
fn calls(events: &[Recorded]) -> Vec<(&StepPath, &str, &str)> {
    let calls = events.iter().filter_map(|recorded| match &recorded.event.kind {
        EventKind::StepStarted { kind, checksum, idempotency_key, .. } if kind != "undo" => {
            Some((recorded.event.step.as_ref()?, checksum.as_str(), idempotency_key.as_str()))
        }
        _ => None,
    });
    calls.collect()
}

proptest! {
    #![proptest_config(cases(3_000))]

    #[test]
    fn a_rerun_of_a_completed_run_does_nothing_again(tasks in tasks(), order in happenings()) {
        let mut first = Played::begin(document(&tasks, Language::Work));
        first.finish(&mut Choices::new(&order));
        prop_assert_eq!(first.run.status, RunStatus::Completed);
        let (second, events) = again(&mut first);
        prop_assert_eq!(second.status, RunStatus::Completed);
        prop_assert!(calls(&events).is_empty(), "{:?}", calls(&events));
        prop_assert_eq!(&second.payload, &first.run.payload);
        prop_assert!(log::fold(&first.world, &second, &events) == second);
    }

    #[test]
    fn a_rerun_does_what_was_not_done_and_what_was_taken_back(tasks in tasks(), happenings in happenings()) {
        let mut first = Played::of(document(&tasks, Language::Whole), &happenings);
        if !first.run.status.is_final() && first.run.ending.is_none() {
            let stop = Command::CancelRun { reason: "stop".to_owned() };
            first.ask(stop, "sam").expect("it can be cancelled");
        }
        first.finish(&mut Choices::new(&[]));
        let keys: HashMap<(StepPath, String), String> = calls(&first.events)
            .into_iter()
            .map(|(step, checksum, key)| ((step.clone(), checksum.to_owned()), key.to_owned()))
            .collect();
        let (second, events) = again(&mut first);
        let before = second.before.clone().expect("a rerun knows what was done before");
        for (step, checksum, key) in calls(&events) {
            prop_assert!(!before.done.contains_key(checksum), "{} was done already", step);
            let taken_back = before.undos.contains_key(checksum);
            if let Some(first_key) = keys.get(&(step.clone(), checksum.to_owned())) {
                prop_assert_eq!(taken_back, first_key != key, "{}: a key is new after an undo only", step);
            }
        }
    }
}
