//! Examples about sizes, numbers and losses.

use super::log::fold;
use super::play::Played;
use super::world::{Registered, World};
use chrono::TimeDelta;
use hms_act::engine::command::{Catalog, CatalogEntry, Command, DoneBy, TimerKind};
use hms_act::engine::ids::StepPath;
use hms_act::engine::state::{ProtocolRef, Run, RunStatus};
use hms_act::engine::{effects, json as engine_json};
use serde_json::{Value, json};

fn one_call() -> Value {
    json!([{"id": "a", "type": "script", "uses": "call", "max_minutes": 0.5}])
}

fn rescued(attempt: u32) -> Command {
    Command::RescueStep { step: StepPath::top("a", 1), attempt, reason: "gone".to_owned() }
}

#[test]
fn the_third_rescue_in_a_row_pauses_the_run_and_a_person_lets_it_go_on() {
    let (mut world, mut run) = World::with_tasks(one_call());
    let key = run.step("a").unwrap().idempotency_key.clone();
    for attempt in 1..=3 {
        assert_eq!(run.status, RunStatus::Running);
        run = world.then(&run, rescued(attempt), "HMS-ACT");
    }
    assert_eq!(run.status, RunStatus::Paused);
    run = world.then(&run, Command::ResumeRun { reason: "looked".to_owned() }, "sam");
    let step = run.step("a").unwrap();
    assert_eq!((run.status, step.attempt), (RunStatus::Running, 4));
    assert_eq!(step.idempotency_key, key, "attempts of one step send one key");
}

#[test]
fn a_step_past_its_time_is_flagged_once() {
    let (mut world, run) = World::with_tasks(one_call());
    let step = Some(StepPath::top("a", 1));
    let flag = Command::FireTimer { step, attempt: 1, kind: TimerKind::MaxMinutes };
    assert!(world.decide(&run, flag.clone(), "HMS-ACT").is_err(), "it is not past its time yet");
    world.pass(TimeDelta::seconds(31));
    let flagged = world.then(&run, flag.clone(), "HMS-ACT");
    assert!(flagged.is_stalled());
    assert!(world.decide(&flagged, flag, "HMS-ACT").is_err(), "once is enough");
}

#[test]
fn numbers_come_back_from_the_log_as_they_went_in() {
    let value = engine_json::normalise(json!([1.0, 9_007_199_254_740_993_i64, u64::MAX, 0.1, -1e300]));
    let mut played = Played::begin(json!({ "tasks": one_call() }));
    let done = Command::CompleteStep { step: StepPath::top("a", 1), attempt: 1, result: value.clone() };
    played.ask(done, "HMS-ACT").unwrap();
    assert_eq!(fold(&played.world, &played.run, &played.events).payload["a"], value);
}

fn forty_computes(with: &Value) -> Value {
    let compute = |number: u32| {
        let mut task = json!({"id": format!("a{number}"), "type": "script", "uses": "compute"});
        if !with.is_null() {
            task["with"] = with.clone();
        }
        task
    };
    (0..40).map(compute).collect()
}

/// Completes what did not fit into one decision, as the executors would.
fn finish_computing(world: &mut World, mut run: Run) -> Run {
    while !run.status.is_final() {
        let attempt = effects::attempts(&run).remove(0);
        let done =
            Command::CompleteStep { step: attempt.step, attempt: attempt.number, result: attempt.input };
        run = world.then(&run, done, "HMS-ACT");
    }
    run
}

#[test]
fn a_payload_that_doubles_with_every_step_ends_the_run_and_not_the_process() {
    let (mut world, run) = World::with_tasks(forty_computes(&Value::Null));
    let run = finish_computing(&mut world, run);
    assert_eq!(run.status, RunStatus::Failed);
    assert!(run.note.as_deref().unwrap().contains("larger than 16 MiB"), "{:?}", run.note);
}

#[test]
fn a_result_that_nests_too_deep_to_be_read_again_is_refused() {
    let mut tasks = vec![json!({"id": "a0", "type": "script", "uses": "compute", "with": "x"})];
    for number in 1..6 {
        let before = (0..30).fold(json!(format!("${{payload.a{}}}", number - 1)), |inner, _| json!([inner]));
        tasks.push(json!({"id": format!("a{number}"), "type": "script", "uses": "compute", "with": before}));
    }
    let played = Played::begin(json!({ "tasks": tasks }));
    assert_eq!(played.run.status, RunStatus::Failed);
    assert!(played.run.note.as_deref().unwrap().contains("levels deep"), "{:?}", played.run.note);
    assert_eq!(fold(&played.world, &played.run, &played.events), played.run);
}

#[test]
fn one_decision_computes_only_so_much_and_then_gives_others_their_turn() {
    let large = json!({"n": "${payload.n}", "text": "x".repeat(900_000)});
    let (_, first) = World::with_tasks(forty_computes(&large));
    assert_eq!(first.status, RunStatus::Running);
    assert!(first.steps.len() < 40 && !effects::attempts(&first).is_empty());
}

#[test]
fn a_step_that_is_computed_by_the_time_it_is_rescued_moves_the_run_on() {
    struct NowComputes;
    impl Catalog for NowComputes {
        fn action(&self, _: &str) -> Option<CatalogEntry> {
            Some(CatalogEntry { version: 2, done_by: DoneBy::Engine })
        }
        fn agent(&self, name: &str) -> Option<CatalogEntry> {
            Registered.agent(name)
        }
        fn protocol(&self, name: &str) -> Option<ProtocolRef> {
            Registered.protocol(name)
        }
    }
    let (mut world, run) = World::with_tasks(one_call());
    let decided = world.decide_with(&run, rescued(1), "HMS-ACT", &NowComputes).unwrap();
    assert_eq!(decided.run.status, RunStatus::Completed);
}
