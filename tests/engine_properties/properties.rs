//! The properties themselves. Together they try more than a hundred thousand cases.

use super::choices::Choices;
use super::generate::{Language, document};
use super::log::fold;
use super::moves;
use super::play::Played;
use super::world::{STARTER, actor};
use hms_act::engine::command::{Command, Rejection, TimerKind};
use hms_act::engine::ids::StepPath;
use hms_act::engine::state::{Choice, RunStatus};
use proptest::collection::vec;
use proptest::prelude::*;
use serde_json::{Value, json};
use std::collections::BTreeMap;

pub fn cases(cases: u32) -> ProptestConfig {
    ProptestConfig { cases, failure_persistence: None, ..ProptestConfig::default() }
}

/// Of a protocol.
pub fn tasks() -> impl Strategy<Value = Vec<u8>> {
    vec(any::<u8>(), 0..90)
}

/// Of what happens to a run.
pub fn happenings() -> impl Strategy<Value = Vec<u8>> {
    vec(any::<u8>(), 0..160)
}

fn cancelled() -> Command {
    Command::CancelRun { reason: "stop".to_owned() }
}

proptest! {
    #![proptest_config(cases(60_000))]

    #[test]
    fn whatever_happens_to_a_run_the_laws_hold(tasks in tasks(), happenings in happenings()) {
        Played::of(document(&tasks, Language::Whole), &happenings);
    }
}

proptest! {
    #![proptest_config(cases(15_000))]

    #[test]
    fn runs_end_when_everything_succeeds(tasks in tasks(), order in happenings()) {
        Played::begin(document(&tasks, Language::Whole)).finish(&mut Choices::new(&order));
    }
}

proptest! {
    #![proptest_config(cases(6_000))]

    #[test]
    fn folding_the_log_gives_the_run(tasks in tasks(), happenings in happenings()) {
        let played = Played::of(document(&tasks, Language::Whole), &happenings);
        prop_assert_eq!(played.run.version, played.events.len() as u64);
        let folded = fold(&played.world, &played.run, &played.events);
        prop_assert!(folded == played.run, "{:#?}\n{:#?}", folded, played.run);
    }

    #[test]
    fn any_run_can_be_cancelled_and_takes_back_what_it_did(
        tasks in tasks(), happenings in happenings(), after in happenings(),
    ) {
        let mut played = Played::of(document(&tasks, Language::Whole), &happenings);
        let ends_already = played.run.status.is_final() || played.run.ending.is_some();
        if !ends_already {
            played.ask(cancelled(), "sam").expect("it can be cancelled");
        }
        played.finish(&mut Choices::new(&after));
        prop_assert!(ends_already || played.run.status == RunStatus::Cancelled);
    }

    #[test]
    fn whatever_happened_a_run_comes_to_its_end(
        tasks in tasks(), happenings in happenings(), after in happenings(),
    ) {
        Played::of(document(&tasks, Language::Whole), &happenings).finish(&mut Choices::new(&after));
    }

    #[test]
    fn the_order_in_which_results_arrive_does_not_change_the_end(
        tasks in tasks(), one in happenings(), other in happenings(),
    ) {
        let document = document(&tasks, Language::Calm);
        prop_assert_eq!(end_of(document.clone(), &one), end_of(document, &other));
    }
}

/// How a run ends whose results arrive in this order: the outcome, each step, and the payload.
fn end_of(document: Value, order: &[u8]) -> (RunStatus, BTreeMap<String, &'static str>, Value) {
    let mut played = Played::begin(document);
    played.finish(&mut Choices::new(order));
    let run = played.run;
    assert_eq!(run.status, RunStatus::Completed);
    let steps = run.steps.iter().map(|(path, step)| (path.to_string(), step.status.as_str()));
    (run.status, steps.collect(), without_times(Value::Object((*run.payload).clone())))
}

/// When something was decided, and until when something waited, does depend on the order.
fn without_times(value: Value) -> Value {
    match value {
        Value::Object(map) => {
            let kept = map.into_iter().filter(|(key, _)| key != "at" && key != "until");
            Value::Object(kept.map(|(key, value)| (key, without_times(value))).collect())
        }
        Value::Array(items) => Value::Array(items.into_iter().map(without_times).collect()),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => value,
    }
}

proptest! {
    #![proptest_config(cases(3_000))]

    #[test]
    fn nothing_changes_a_run_that_is_over(tasks in tasks(), happenings in happenings(), after in happenings()) {
        let mut played = Played::of(document(&tasks, Language::Whole), &happenings);
        played.finish(&mut Choices::new(&[]));
        let mut choices = Choices::new(&after);
        while !choices.are_made() {
            let late = moves::any(&mut played.world, &played.run, &mut choices);
            prop_assert!(played.ask(late.command, late.by).is_err());
        }
    }

    #[test]
    fn a_stale_attempt_changes_nothing(tasks in tasks(), happenings in happenings(), off in 1..4_u32) {
        let mut played = Played::of(document(&tasks, Language::Whole), &happenings);
        let begun: Vec<_> = played.run.steps.iter().map(|(path, step)| (path.clone(), step.attempt)).collect();
        for (step, now) in begun {
            for attempt in [now.wrapping_sub(off), now + off] {
                for late in of_attempt(&step, attempt) {
                    prop_assert!(played.ask(late.clone(), "HMS-ACT").is_err(), "{:?}", late);
                }
            }
        }
    }

    #[test]
    fn whoever_started_the_run_never_decides_where_four_eyes_are_asked_for(
        tasks in tasks(), happenings in happenings(),
    ) {
        let mut played = Played::of(document(&tasks, Language::Whole), &happenings);
        let open = played.run.open_steps().filter_map(|(path, step)| Some((path.clone(), step.approval.clone()?)));
        let asked: Vec<_> = open.filter(|(_, approval)| approval.four_eyes).collect();
        for (step, approval) in asked {
            for choice in [Choice::Approve, Choice::Reject, Choice::Return] {
                let reason = Some("because".to_owned());
                let command = Command::Decide { approval: approval.id, choice, reason, form: None };
                prop_assert_eq!(played.ask(command, STARTER), Err(Rejection::FourEyes));
            }
            let skip = Command::SkipStep { step, reason: "because".to_owned() };
            prop_assert!(played.ask(skip, STARTER).is_err(), "passing over it is a decision, too");
        }
    }
}

/// Found by the property above: the service of an attempt that was lost called back that it may be tried again, which
/// it is anyway once the run goes on.
#[test]
fn an_attempt_that_was_lost_is_not_retried_twice() {
    let tasks = [0, 80, 0, 100, 0, 1, 1, 0, 0, 0, 0];
    let happenings = [
        124, 0, 0, 0, 0, 61, 0, 0, 0, 0, 0, 128, 113, 0, 0, 228, 11, 0, 0, 1, 0, 0, 2, 24, 0, 0, 52, 0, 0, 7,
        0, 0, 162, 209, 0, 0, 206, 61,
    ];
    Played::of(document(&tasks, Language::Whole), &happenings);
}

/// Everything that an executor, a worker or a timer says about one attempt.
fn of_attempt(step: &StepPath, attempt: u32) -> Vec<Command> {
    let (step, word) = (|| step.clone(), || "late".to_owned());
    let mut commands = vec![
        Command::CompleteStep { step: step(), attempt, result: json!(1) },
        Command::FailStep { step: step(), attempt, error: word(), retryable: true, retry_after: None },
        Command::AcceptStep { step: step(), attempt },
        Command::ClaimStep { step: step(), attempt, worker: word() },
        Command::RescueStep { step: step(), attempt, reason: word() },
    ];
    let timers = TimerKind::ALL.into_iter();
    commands.extend(timers.map(|kind| Command::FireTimer { step: Some(step()), attempt, kind }));
    commands
}

#[test]
fn the_starter_may_decide_where_four_eyes_are_not_asked_for() {
    let tasks = json!([{"id": "a", "type": "hitl", "four_eyes": false}]);
    let mut played = Played::begin(json!({ "tasks": tasks }));
    assert_eq!(actor(STARTER).name, played.run.started_by);
    let approval = played.run.step("a").and_then(|step| step.approval.as_ref()).expect("it is asked").id;
    let command = Command::Decide { approval, choice: Choice::Approve, reason: None, form: None };
    assert_eq!(played.ask(command, STARTER), Ok(()));
}
