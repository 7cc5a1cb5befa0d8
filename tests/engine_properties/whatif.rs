//! What if: a run told to its own version goes as it went; told to another, it differs where that one does.

use super::choices::Choices;
use super::generate::{Language, document, parse};
use super::play::Played;
use super::properties::{cases, happenings, tasks};
use super::world::{Registered, actor};
use hms_act::engine::command::Command;
use hms_act::engine::ids::StepPath;
use hms_act::engine::protocol::Protocol;
use hms_act::engine::state::{Choice, ProtocolRef, RunStatus};
use hms_act::engine::whatif::{Difference, Other, Report, Tape, Today, what_if};
use proptest::prelude::*;
use serde_json::{Value, json};
use std::collections::HashMap;
use std::sync::Arc;

/// What the run of this recording would have come to with another version.
pub fn told(played: &Played, version: ProtocolRef, protocol: Arc<Protocol>) -> Report {
    let versions: HashMap<(i64, i32), Arc<Protocol>> = (1..)
        .zip(&played.world.versions)
        .map(|(version, protocol)| ((1, version), Arc::clone(protocol)))
        .collect();
    let tape = Tape { run: played.run.id, salt: [1; 32], events: &played.events, versions: &versions };
    let called = format!("version {}", version.version);
    let today = Today { catalog: &Registered, person: &|name| actor(name) };
    what_if(&tape, &Other { version, protocol, called }, &today).expect("it can begin")
}

/// The same with a document.
pub fn with_version(played: &Played, tasks: Value) -> Report {
    let version = ProtocolRef { id: 1, version: 2, name: "generated".to_owned() };
    told(played, version, parse(&json!({ "tasks": tasks })))
}

proptest! {
    #![proptest_config(cases(4_000))]

    #[test]
    fn told_to_its_own_version_a_run_goes_as_it_went(tasks in tasks(), happenings in happenings()) {
        let played = Played::of(document(&tasks, Language::Whole), &happenings);
        let own = (played.run.protocol_ref.clone(), Arc::clone(&played.run.protocol));
        let report = told(&played, own.0, own.1);
        prop_assert!(report.same(), "{:#?}\n{:#?}", report.differences, played.events);
        prop_assert_eq!((report.then, report.now), (played.run.status, Some(played.run.status)));
    }
}

proptest! {
    #![proptest_config(cases(1_000))]

    #[test]
    fn told_to_any_other_version_it_comes_to_some_end(
        tasks in tasks(), happenings in happenings(), others in super::properties::tasks(),
    ) {
        let played = Played::of(document(&tasks, Language::Whole), &happenings);
        let version = ProtocolRef { id: 1, version: 9, name: "generated".to_owned() };
        let report = told(&played, version, parse(&document(&others, Language::Whole)));
        let known = report.sides.iter().all(|side| !side.unknown);
        prop_assert!(report.now.is_some() || !known || !report.same());
    }

    #[test]
    fn a_task_that_is_put_first_is_the_first_difference_and_nothing_after_it_is_known(
        tasks in tasks(), order in happenings(),
    ) {
        let document = document(&tasks, Language::Calm);
        let mut played = Played::begin(document.clone());
        played.finish(&mut Choices::new(&order));
        let mut later = document;
        let new = json!({"id": "brand_new", "type": "script", "uses": "call"});
        later["tasks"].as_array_mut().expect("a list").insert(0, new);
        let version = ProtocolRef { id: 1, version: 2, name: "generated".to_owned() };
        let report = told(&played, version, parse(&later));
        let first = &report.differences[0];
        prop_assert_eq!(first.step.as_ref().map(StepPath::as_str), Some("brand_new"));
        prop_assert_eq!((report.now, &report.same_until), (None, &None));
    }
}

fn call(id: &str) -> Value {
    json!({"id": id, "type": "script", "uses": "call", "with": {}})
}

fn with(mut task: Value, fields: Value) -> Value {
    let Value::Object(fields) = fields else { panic!("fields are an object") };
    task.as_object_mut().expect("a task is an object").extend(fields);
    task
}

/// A run to whose end everything succeeded.
fn completed(tasks: Value) -> Played {
    let mut played = Played::begin(json!({ "tasks": tasks }));
    played.finish(&mut Choices::new(&[]));
    assert_eq!(played.run.status, RunStatus::Completed);
    played
}

/// The differences as `kind step`, in their order.
fn kinds(report: &Report) -> Vec<String> {
    let line = |difference: &Difference| {
        let step = difference.step.as_ref().map_or("the run", StepPath::as_str);
        format!("{} {step}", difference.kind.as_str())
    };
    report.differences.iter().map(line).collect()
}

#[track_caller]
fn says(report: &Report, words: &str) {
    let said = report.differences.iter().any(|difference| difference.message.contains(words));
    assert!(said, "{words:?} is not in {:#?}", report.differences);
}

#[test]
fn a_new_step_has_no_recorded_answer_and_the_report_says_so() {
    let played = completed(json!([call("a"), call("deploy")]));
    let report = with_version(&played, json!([call("a"), call("audit_sync"), call("deploy")]));
    assert_eq!(kinds(&report), ["only_now audit_sync", "not_recorded audit_sync"]);
    assert_eq!(report.same_until, Some(StepPath::from_log("a")));
    assert_eq!((report.then, report.now), (RunStatus::Completed, None));
    says(&report, "The record does not say what `audit_sync` would have answered.");
}

#[test]
fn a_new_step_that_is_computed_needs_no_record() {
    let played = completed(json!([call("a"), call("deploy")]));
    let sum = json!({"id": "sum", "type": "script", "uses": "compute", "with": 1});
    let report = with_version(&played, json!([call("a"), sum, call("deploy")]));
    assert_eq!(kinds(&report), ["only_now sum"]);
    assert_eq!(report.now, Some(RunStatus::Completed));
}

#[test]
fn a_step_that_is_left_out_is_only_in_the_recorded_run() {
    let played = completed(json!([call("a"), call("b"), call("c")]));
    let report = with_version(&played, json!([call("a"), call("c")]));
    assert_eq!(kinds(&report), ["only_then b"]);
    assert_eq!(report.now, Some(RunStatus::Completed));
    says(&report, "version 2 has no such step");
}

#[test]
fn a_condition_that_differs_is_told_with_what_it_says() {
    let played = completed(json!([call("a"), call("b")]));
    let report =
        with_version(&played, json!([call("a"), with(call("b"), json!({"when": "payload.case == 'x'"}))]));
    assert_eq!(kinds(&report), ["status b"]);
    says(
        &report,
        "`b` was done; with version 2 it is skipped (its condition `payload.case == 'x'` is false).",
    );
}

#[test]
fn a_step_that_was_skipped_and_would_be_done_has_no_answer() {
    let played = completed(json!([with(call("a"), json!({"when": "payload.case == 'x'"})), call("b")]));
    let report = with_version(&played, json!([call("a"), call("b")]));
    assert_eq!(kinds(&report), ["not_recorded a"]);
    assert!(report.sides.iter().any(|side| side.step.as_str() == "a" && side.unknown));
}

#[test]
fn another_input_is_a_difference_and_the_recorded_answer_is_used() {
    let played = completed(json!([call("a"), call("b")]));
    let report = with_version(&played, json!([call("a"), with(call("b"), json!({"with": {"n": 1}}))]));
    assert_eq!(kinds(&report), ["input b"]);
    assert_eq!(report.now, Some(RunStatus::Completed));
}

#[test]
fn what_calls_something_else_has_no_recorded_answer() {
    let played = completed(json!([call("a"), call("b")]));
    let report = with_version(&played, json!([with(call("a"), json!({"uses": "other"})), call("b")]));
    assert_eq!(kinds(&report), ["calls a", "not_recorded a"]);
    says(&report, "`a` asks the action `other` instead of the action `call`.");
}

#[test]
fn other_approvers_are_told_and_only_a_decision_by_one_of_them_counts() {
    let ask = |approvers: &str| json!([{"id": "ok", "type": "hitl", "approvers": approvers}, call("b")]);
    let mut played = Played::begin(json!({ "tasks": ask("supervisor") }));
    let approval = played.run.step("ok").and_then(|step| step.approval.as_ref()).expect("it is asked").id;
    let decide = Command::Decide { approval, choice: Choice::Approve, reason: None, form: None };
    played.ask(decide, "sam").expect("sam is a supervisor");
    played.finish(&mut Choices::new(&[]));
    let report = with_version(&played, ask("admin"));
    assert_eq!(kinds(&report), ["approvers ok", "not_recorded ok"]);
    says(&report, "`ok` needs an admin instead of a supervisor.");
    says(&report, "This is for an admin to decide.");
    let two = json!([{"id": "ok", "type": "hitl", "approvers": "supervisor", "quorum": 2}, call("b")]);
    assert_eq!(kinds(&with_version(&played, two)), ["approvers ok", "not_recorded ok"]);
}

#[test]
fn a_run_that_failed_goes_on_where_the_failure_is_passed_over() {
    let mut played = Played::begin(json!({ "tasks": [call("a"), call("b")] }));
    let fail = |step: &str| Command::FailStep {
        step: StepPath::from_log(step),
        attempt: 1,
        error: "no".to_owned(),
        retryable: false,
        retry_after: None,
    };
    played.ask(fail("a"), "HMS-ACT").expect("it runs");
    assert_eq!(played.run.status, RunStatus::Failed);
    let report = with_version(&played, json!([with(call("a"), json!({"on_failure": "continue"}))]));
    assert_eq!(kinds(&report), ["end the run"]);
    says(&report, "The run was failed; with version 2 it is completed.");
    let paused = with_version(&played, json!([with(call("a"), json!({"on_failure": "pause"})), call("b")]));
    assert_eq!((kinds(&paused), paused.now), (vec!["not_recorded a".to_owned()], None));
    says(&paused, "the run is paused");
}

#[test]
fn a_failure_that_was_tried_again_ends_a_version_without_retry() {
    let retried = with(call("a"), json!({"retry": {"attempts": 2, "backoff_seconds": 1}}));
    let mut played = Played::begin(json!({ "tasks": [retried, call("b")] }));
    let step = StepPath::from_log("a");
    let fail =
        Command::FailStep { step, attempt: 1, error: "no".to_owned(), retryable: true, retry_after: None };
    played.ask(fail, "HMS-ACT").expect("it runs");
    played.finish(&mut Choices::new(&[]));
    let report = with_version(&played, json!([call("a"), call("b")]));
    assert_eq!(kinds(&report), ["status a", "only_then b", "end the run"]);
    assert_eq!(report.now, Some(RunStatus::Failed));
}

#[test]
fn a_task_that_moved_into_a_group_is_answered_all_the_same() {
    let played = completed(json!([call("a"), call("b")]));
    let group = json!({"id": "g", "type": "parallel", "tasks": [call("a"), call("b")]});
    let report = with_version(&played, json!([group]));
    assert_eq!((kinds(&report), report.now), (vec!["only_now g".to_owned()], Some(RunStatus::Completed)));
}

#[test]
fn a_wait_that_is_new_ends_by_itself() {
    let played = completed(json!([call("a"), call("b")]));
    let wait = json!({"id": "rest", "type": "wait", "minutes": 60});
    let report = with_version(&played, json!([call("a"), wait, call("b")]));
    assert_eq!((kinds(&report), report.now), (vec!["only_now rest".to_owned()], Some(RunStatus::Completed)));
}

#[test]
fn an_event_that_did_not_come_is_not_recorded() {
    let wait = |event: &str| json!([{"id": "w", "type": "wait", "event": event}, call("b")]);
    let played = completed(wait("paid"));
    let report = with_version(&played, wait("signed"));
    assert_eq!(kinds(&report), ["calls w", "not_recorded w"]);
    says(&report, "`w` asks the event `signed` instead of the event `paid`.");
}

#[test]
fn other_items_are_another_number_of_branches() {
    let each = |list: &str| json!([{"id": "g", "type": "parallel", "for_each": list, "tasks": [call("a")]}, call("b")]);
    let played = completed(each("payload.list"));
    let report = with_version(&played, each("[1, 2]"));
    assert_eq!(kinds(&report), ["branches g", "only_then g[2]/a"]);
    assert_eq!(report.now, Some(RunStatus::Completed));
}

#[test]
fn many_steps_that_differ_alike_are_counted() {
    let each = |input: Value| {
        let task = with(call("a"), json!({"with": input}));
        json!([{"id": "g", "type": "parallel", "for_each": "[1,2,3,4,5,6,7,8,9]", "tasks": [task]}])
    };
    let report = with_version(&completed(each(json!(1))), each(json!(2)));
    assert_eq!(report.differences.len(), 6);
    says(&report, "The same for 4 more steps of `a`.");
}

#[test]
fn a_pause_that_makes_no_sense_any_more_is_told() {
    let mut played =
        Played::begin(json!({ "tasks": [with(call("a"), json!({"on_failure": "pause"})), call("b")] }));
    let step = || StepPath::from_log("a");
    let fail = Command::FailStep {
        step: step(),
        attempt: 1,
        error: "no".to_owned(),
        retryable: false,
        retry_after: None,
    };
    played.ask(fail, "HMS-ACT").expect("it runs");
    let skip = Command::SkipStep { step: step(), reason: "because".to_owned() };
    played.ask(skip, "sam").expect("it is held up");
    played.ask(Command::PauseRun { reason: "wait".to_owned() }, "sam").expect("it runs");
    played.ask(Command::ResumeRun { reason: "go".to_owned() }, "sam").expect("it is paused");
    played.finish(&mut Choices::new(&[]));
    let report =
        with_version(&played, json!([with(call("a"), json!({"on_failure": "continue"})), call("b")]));
    assert_eq!(kinds(&report), ["status a"]);
    assert_eq!(report.now, Some(RunStatus::Completed));
}

#[test]
fn what_is_lost_while_a_run_ends_is_read_back_as_what_it_was() {
    let group = json!({"id": "g", "type": "parallel", "tasks": [call("a"), call("b")]});
    let mut played = Played::begin(json!({ "tasks": [group] }));
    played.ask(Command::CancelRun { reason: "stop".to_owned() }, "sam").expect("it runs");
    let lost = Command::RescueStep { step: StepPath::from_log("g/a"), attempt: 1, reason: "gone".to_owned() };
    played.ask(lost, "HMS-ACT").expect("it is in flight");
    let done = Command::CompleteStep { step: StepPath::from_log("g/b"), attempt: 1, result: json!(1) };
    played.ask(done, "HMS-ACT").expect("it is in flight");
    assert_eq!(played.run.status, RunStatus::Cancelled);
    let own = (played.run.protocol_ref.clone(), Arc::clone(&played.run.protocol));
    let report = told(&played, own.0, own.1);
    assert_eq!((kinds(&report), report.now), (Vec::new(), Some(RunStatus::Cancelled)));
}
