//! One example of each thing that can happen to a run; some are what generated cases once found.

use super::choices::Choices;
use super::play::Played;
use chrono::TimeDelta;
use hms_act::engine::command::{Command, Fault, Rejection, TimerKind};
use hms_act::engine::event::EventKind;
use hms_act::engine::ids::{ApprovalId, OverrideId, StepPath};
use hms_act::engine::state::{Choice, OverrideAction, OverrideChoice, RunStatus};
use hms_act::engine::{decide, effects};
use serde_json::{Value, json};

const SYSTEM: &str = "HMS-ACT";

pub(super) fn run_of(tasks: Value) -> Played {
    Played::begin(json!({ "tasks": tasks }))
}

pub(super) fn call(id: &str) -> Value {
    json!({"id": id, "type": "script", "uses": "call"})
}

/// A task with more fields.
pub(super) fn with(mut task: Value, fields: Value) -> Value {
    let Value::Object(fields) = fields else { panic!("fields are an object") };
    task.as_object_mut().expect("a task is an object").extend(fields);
    task
}

pub(super) fn because() -> String {
    "because".to_owned()
}

pub(super) fn path(step: &str) -> StepPath {
    StepPath::from_log(step)
}

impl Played {
    pub(super) fn status(&self, step: &str) -> &'static str {
        self.run.step(step).map_or("pending", |step| step.status.as_str())
    }

    pub(super) fn attempt(&self, step: &str) -> u32 {
        self.run.step(step).map_or(1, |step| step.attempt)
    }

    pub(super) fn carries_out(&mut self, command: Command, by: &str) {
        let asked = format!("{command:?}");
        self.ask(command, by).unwrap_or_else(|refused| panic!("{asked}: {refused}"));
    }

    pub(super) fn done(&mut self, step: &str) {
        let command = Command::CompleteStep {
            step: path(step),
            attempt: self.attempt(step),
            result: json!({"of": step}),
        };
        self.carries_out(command, SYSTEM);
    }

    pub(super) fn fails(&mut self, step: &str, retryable: bool) {
        let (attempt, error) = (self.attempt(step), "no".to_owned());
        let command = Command::FailStep { step: path(step), attempt, error, retryable, retry_after: None };
        self.carries_out(command, SYSTEM);
    }

    pub(super) fn skip(&mut self, step: &str) -> Result<(), Rejection> {
        self.ask(Command::SkipStep { step: path(step), reason: because() }, "sam")
    }

    pub(super) fn retry(&mut self, step: &str) -> Result<(), Rejection> {
        self.ask(Command::RetryStep { step: path(step), reason: because() }, "sam")
    }

    pub(super) fn approval(&self, step: &str) -> ApprovalId {
        self.run.step(step).and_then(|step| step.approval.as_ref()).expect("an approval was asked for").id
    }

    pub(super) fn decided(&mut self, step: &str, choice: Choice, by: &str) -> Result<(), Rejection> {
        let approval = self.approval(step);
        self.ask(Command::Decide { approval, choice, reason: Some(because()), form: None }, by)
    }

    /// Fires a timer of a step at its time.
    pub(super) fn timer(&mut self, step: &str, kind: TimerKind) {
        let set = effects::timers_of(&self.run, &path(step));
        let timer = set.into_iter().find(|timer| timer.kind == kind).expect("the timer is set");
        self.world.now = self.world.now.max(timer.at);
        let command = Command::FireTimer { step: timer.step, attempt: timer.attempt, kind };
        self.carries_out(command, SYSTEM);
    }

    pub(super) fn cancel(&mut self) {
        self.carries_out(Command::CancelRun { reason: because() }, "sam");
    }
}

#[test]
fn the_losers_of_an_any_are_cancelled_and_come_too_late() {
    let group =
        json!({"id": "g", "type": "parallel", "join": "any", "tasks": [call("a"), call("b"), call("c")]});
    let mut played = run_of(json!([group, call("end")]));
    played.fails("g/a", false);
    played.done("g/b");
    let statuses = ["g", "g/a", "g/b", "g/c", "end"].map(|step| played.status(step));
    assert_eq!(statuses, ["done", "failed", "done", "cancelled", "running"]);
    assert_eq!(played.run.payload["g"], json!([null, {"of": "g/b"}, null]));
    let late = Command::CompleteStep { step: path("g/c"), attempt: 1, result: json!(1) };
    assert!(played.ask(late, SYSTEM).is_err());
}

#[test]
fn a_group_fails_as_soon_as_it_can_no_longer_reach_its_number() {
    let group = json!({"id": "g", "type": "parallel", "join": 2, "tasks": [call("a"), call("b"), call("c")]});
    let mut played = run_of(json!([group]));
    played.fails("g/a", false);
    assert_eq!(played.run.status, RunStatus::Running);
    played.fails("g/b", false);
    assert_eq!((played.status("g"), played.status("g/c")), ("failed", "cancelled"));
    assert_eq!(played.run.status, RunStatus::Failed);
}

#[test]
fn no_more_branches_are_open_than_the_protocol_says() {
    let group = json!({"id": "g", "type": "parallel", "for_each": "payload.list", "max_concurrency": 2,
        "tasks": [with(call("a"), json!({"with": "${item}"}))]});
    let mut played = run_of(json!([group]));
    assert_eq!((played.status("g[1]/a"), played.status("g[2]/a")), ("running", "pending"));
    assert_eq!(effects::attempts(&played.run)[1].input, json!(2), "each branch sees its item");
    played.done("g[1]/a");
    assert_eq!(played.status("g[2]/a"), "running");
    played.done("g[2]/a");
    played.done("g[0]/a");
    assert_eq!(played.run.status, RunStatus::Completed);
    assert_eq!(played.run.payload["g"][2], json!({"of": "g[2]/a"}), "in the order of the items");
}

#[test]
fn nothing_to_go_over_is_done_at_once_and_what_is_no_list_fails() {
    for (items, status) in [("payload.none", RunStatus::Completed), ("payload.n", RunStatus::Failed)] {
        let group = json!({"id": "g", "type": "parallel", "for_each": items, "tasks": [call("a")]});
        assert_eq!(run_of(json!([group])).run.status, status, "{items}");
    }
}

#[test]
fn every_attempt_sends_the_same_key_and_the_last_one_fails_the_step() {
    let task = with(call("a"), json!({"retry": {"attempts": 2, "backoff_seconds": 5}}));
    let mut played = run_of(json!([task]));
    let key = played.run.step("a").and_then(|step| step.idempotency_key.clone());
    played.fails("a", true);
    assert_eq!((played.status("a"), played.run.status), ("waiting", RunStatus::Waiting));
    played.timer("a", TimerKind::Retry);
    assert_eq!((played.attempt("a"), played.status("a")), (2, "running"));
    assert_eq!(played.run.step("a").and_then(|step| step.idempotency_key.clone()), key);
    played.fails("a", true);
    assert_eq!(played.run.status, RunStatus::Failed);
}

#[test]
fn what_may_not_be_retried_fails_at_once() {
    let mut played = run_of(json!([with(call("a"), json!({"retry": {"attempts": 9}}))]));
    played.fails("a", false);
    assert_eq!((played.run.status, played.attempt("a")), (RunStatus::Failed, 1));
}

#[test]
fn a_failure_that_is_passed_over_is_seen_by_what_comes_next() {
    let next = json!({"id": "b", "type": "script", "uses": "compute", "with": "${payload.a.error}"});
    let mut played = run_of(json!([with(call("a"), json!({"on_failure": "continue"})), next]));
    played.fails("a", false);
    assert_eq!((played.run.status, played.status("a")), (RunStatus::Completed, "failed"));
    assert_eq!(played.run.payload["b"], json!("no"));
}

#[test]
fn a_step_that_paused_its_run_is_retried_or_skipped_and_not_just_resumed() {
    let mut played = run_of(json!([with(call("a"), json!({"on_failure": "pause"})), call("b")]));
    played.fails("a", false);
    assert_eq!(played.run.status, RunStatus::Paused);
    let resume = Command::ResumeRun { reason: because() };
    assert!(matches!(played.ask(resume, "sam"), Err(Rejection::NotNow(_))));
    played.retry("a").unwrap();
    assert_eq!((played.attempt("a"), played.run.status), (2, RunStatus::Running));
    played.fails("a", false);
    played.skip("a").unwrap();
    assert_eq!((played.status("a"), played.status("b")), ("skipped", "running"));
}

#[test]
fn what_was_lost_during_a_pause_begins_again_when_the_step_that_paused_is_skipped() {
    let group = json!({"id": "g", "type": "parallel", "tasks": [with(call("a"), json!({"on_failure": "pause"})), call("b")]});
    let mut played = run_of(json!([group]));
    played.fails("g/a", false);
    let rescue = Command::RescueStep { step: path("g/b"), attempt: 1, reason: because() };
    played.carries_out(rescue, SYSTEM);
    let late = Command::CompleteStep { step: path("g/b"), attempt: 1, result: json!(1) };
    assert!(played.ask(late, SYSTEM).is_err(), "a lost attempt was given up");
    played.skip("g/a").unwrap();
    assert_eq!((played.run.status, played.attempt("g/b")), (RunStatus::Running, 2));
}

#[test]
fn a_group_that_could_not_begin_is_not_retried() {
    let group = json!({"id": "g", "type": "parallel", "for_each": "payload.n", "on_failure": "pause", "tasks": [call("a")]});
    let mut played = run_of(json!([group]));
    assert!(matches!(played.retry("g"), Err(Rejection::NotNow(_))));
    played.skip("g").unwrap();
    assert_eq!(played.run.status, RunStatus::Completed);
}

#[test]
fn what_failed_in_a_group_that_was_skipped_holds_nobody_up() {
    let group =
        json!({"id": "g", "type": "parallel", "tasks": [with(call("a"), json!({"on_failure": "pause"}))]});
    let mut played = run_of(json!([group, call("b")]));
    played.fails("g/a", false);
    played.skip("g").unwrap();
    assert_eq!((played.run.status, played.status("b")), (RunStatus::Running, "running"));
    assert!(played.retry("g/a").is_err());
}

#[test]
fn what_was_done_is_taken_back_latest_first_and_a_failed_undo_waits_for_a_person() {
    let undone = |id| with(call(id), json!({"undo": "take_back"}));
    let missing = with(call("b"), json!({"undo": "missing"}));
    let mut played = run_of(json!([undone("a"), missing, undone("c"), call("d")]));
    ["a", "b", "c"].into_iter().for_each(|step| played.done(step));
    played.cancel();
    assert_eq!((played.run.status, played.status("c~undo")), (RunStatus::Running, "pending"));
    let grace = Command::FireTimer { step: None, attempt: 0, kind: TimerKind::Grace };
    assert!(played.ask(grace.clone(), SYSTEM).is_err(), "what runs has its grace");
    played.world.pass(decide::GRACE);
    played.carries_out(grace, SYSTEM);
    assert_eq!((played.status("d"), played.status("c~undo")), ("cancelled", "running"));
    played.done("c~undo");
    assert_eq!((played.run.status, played.status("b~undo")), (RunStatus::Paused, "failed"));
    played.skip("b~undo").unwrap();
    played.done("a~undo");
    assert_eq!(played.run.status, RunStatus::Cancelled);
    super::undos::ran_once_for_what_was_done(&played.run, &played.events);
}

#[test]
fn a_run_that_ends_does_nothing_again_but_its_undos() {
    let undone = with(call("a"), json!({"undo": "missing"}));
    let mut played = run_of(json!([undone, with(call("b"), json!({"on_failure": "pause"}))]));
    played.done("a");
    played.fails("b", false);
    played.cancel();
    assert_eq!((played.run.status, played.status("a~undo")), (RunStatus::Paused, "failed"));
    assert!(matches!(played.retry("b"), Err(Rejection::NotNow(_))));
    played.skip("a~undo").unwrap();
    assert_eq!(played.run.status, RunStatus::Cancelled);
}

#[test]
fn an_override_is_moot_once_its_run_ends() {
    let mut played = run_of(json!([with(call("a"), json!({"undo": "missing"})), call("b")]));
    played.done("a");
    let (id, action) = (OverrideId(1), OverrideAction::Pause);
    let review = TimeDelta::hours(72);
    let filed = Command::FileOverride { id, action, reason: because(), new_value: None, review };
    played.carries_out(filed, "sue");
    played.cancel();
    played.done("b");
    assert_eq!((played.run.status, played.status("a~undo")), (RunStatus::Paused, "failed"));
    let decision =
        Command::DecideOverride { id, choice: OverrideChoice::Reject, reason: None, new_value: None };
    assert!(matches!(played.ask(decision, "sam"), Err(Rejection::UnknownOverride { .. })));
    assert_eq!(played.run.status, RunStatus::Paused, "the undo that failed is not passed over");
}

#[test]
fn nobody_decides_an_override_of_their_own_and_new_values_are_merged() {
    let mut played = run_of(json!([call("a")]));
    let new_value = json!({"case": "c-2"}).as_object().cloned();
    let (id, action, review) = (OverrideId(1), OverrideAction::Modify, TimeDelta::hours(72));
    let filed = Command::FileOverride { id, action, reason: because(), new_value, review };
    played.carries_out(filed, "sue");
    assert!(effects::timers(&played.run).is_empty() && played.run.status == RunStatus::Paused);
    let decision =
        Command::DecideOverride { id, choice: OverrideChoice::Modify, reason: None, new_value: None };
    assert_eq!(played.ask(decision.clone(), "sue"), Err(Rejection::OwnOverride));
    played.carries_out(decision, "sam");
    assert_eq!((played.run.status, &played.run.payload["case"]), (RunStatus::Running, &json!("c-2")));
}

#[test]
fn the_work_is_sent_back_as_often_as_the_protocol_allows() {
    let approval = json!({"id": "ask", "type": "hitl", "returns_to": "draft", "max_returns": 1});
    let mut played = run_of(json!([call("draft"), approval]));
    played.done("draft");
    played.decided("ask", Choice::Return, "sam").unwrap();
    assert_eq!((played.status("draft#2"), played.status("ask#2")), ("running", "pending"));
    played.done("draft#2");
    assert!(matches!(played.decided("ask#2", Choice::Return, "sam"), Err(Rejection::NotNow(_))));
    played.decided("ask#2", Choice::Approve, "sam").unwrap();
    assert_eq!(played.run.status, RunStatus::Completed);
}

#[test]
fn a_quorum_is_of_different_people() {
    let mut played = run_of(json!([{"id": "ask", "type": "hitl", "quorum": 2}]));
    played.decided("ask", Choice::Approve, "sam").unwrap();
    assert_eq!(played.decided("ask", Choice::Approve, "sam"), Err(Rejection::VotedBefore));
    played.decided("ask", Choice::Approve, "sue").unwrap();
    assert_eq!(played.run.status, RunStatus::Completed);
}

#[test]
fn a_value_that_is_set_has_everybody_asked_again_and_nothing_waits_for_them_in_vain() {
    let asks = json!([{"id": "ask", "type": "hitl", "max_minutes": 5, "on_timeout": "fail"}, call("b")]);
    let group =
        json!({"id": "g", "type": "parallel", "join": "any", "tasks": [asks, [call("c"), call("d")]]});
    let mut played = run_of(json!([group]));
    played.decided("g/ask", Choice::Approve, "sam").unwrap();
    let set = Command::SetValue { path: vec!["n".to_owned()], value: json!(1), reason: because() };
    played.carries_out(set, "sam");
    assert_eq!(played.status("g/ask#2"), "waiting");
    played.done("g/c");
    assert_eq!(played.status("g/d"), "pending", "until it is decided nothing begins");
    assert!(matches!(played.decided("g/ask#2", Choice::Return, "sam"), Err(Rejection::Unfit { .. })));
    played.timer("g/ask#2", TimerKind::MaxMinutes);
    played.finish(&mut Choices::new(&[]));
    assert_eq!(played.run.status, RunStatus::Failed, "what was approved no longer is");
}

#[test]
fn a_callback_may_come_before_the_202_and_counts_once() {
    let mut played = run_of(json!([call("a"), call("b")]));
    let back = || Command::CallBack { step: path("a"), outcome: Ok(json!({"of": "a"})) };
    played.carries_out(back(), SYSTEM);
    assert_eq!((played.status("a"), played.status("b")), ("done", "running"));
    assert!(played.ask(back(), SYSTEM).is_err());
    assert!(played.ask(Command::AcceptStep { step: path("a"), attempt: 1 }, SYSTEM).is_err());
}

#[test]
fn a_worker_claims_an_attempt_and_only_that_one_counts() {
    let mut played = run_of(json!([{"id": "a", "type": "script", "uses": "work"}]));
    assert_eq!((played.status("a"), played.run.status), ("waiting", RunStatus::Waiting));
    let claim = |attempt| Command::ClaimStep { step: path("a"), attempt, worker: "w1".to_owned() };
    played.carries_out(claim(1), SYSTEM);
    assert!(played.ask(claim(1), SYSTEM).is_err(), "claimed once");
    let rescue = Command::RescueStep { step: path("a"), attempt: 1, reason: because() };
    played.carries_out(rescue, SYSTEM);
    played.carries_out(claim(2), SYSTEM);
    let late = Command::CompleteStep { step: path("a"), attempt: 1, result: json!(1) };
    assert!(played.ask(late, SYSTEM).is_err(), "a worker that lies about its lease");
    played.done("a");
    assert_eq!(played.run.status, RunStatus::Completed);
}

#[test]
fn a_sub_run_that_fails_fails_its_step() {
    let mut played = run_of(json!([{"id": "a", "type": "protocol", "uses": "child"}]));
    let run = played.run.step("a").and_then(|step| step.subrun).expect("a sub-run was started");
    let (outcome, note) = (RunStatus::Failed, Some("no".to_owned()));
    let ended = Command::SubrunEnded {
        step: path("a"),
        run,
        outcome,
        payload: serde_json::Map::new(),
        redact: Vec::new(),
        note,
    };
    played.carries_out(ended, SYSTEM);
    assert_eq!(played.run.status, RunStatus::Failed);
}

#[test]
fn a_run_without_room_starts_nothing_until_it_is_admitted() {
    let concurrency = json!({"key": "${payload.case}", "limit": 1, "when_full": "wait"});
    let mut played = Played::begin(json!({"tasks": [call("a")], "concurrency": concurrency}));
    assert!(played.run.held && played.run.steps.is_empty() && played.run.status == RunStatus::Queued);
    played.carries_out(Command::AdmitRun, SYSTEM);
    assert_eq!(played.status("a"), "running");
    assert!(played.ask(Command::AdmitRun, SYSTEM).is_err());
}

#[test]
fn branches_that_ask_for_the_same_are_each_given_what_they_had_in_a_rerun() {
    let group = json!({"id": "g", "type": "parallel", "for_each": "payload.list",
        "tasks": [with(call("a"), json!({"with": {"n": "${payload.n}"}}))]});
    let mut first = run_of(json!([group]));
    (0..3).for_each(|item| first.done(&format!("g[{item}]/a")));
    let (second, events) = super::reruns::again(&mut first);
    assert_eq!((second.status, &second.payload), (RunStatus::Completed, &first.run.payload));
    let carried =
        events.iter().filter(|recorded| matches!(recorded.event.kind, EventKind::StepCarried { .. }));
    assert_eq!(carried.count(), 3);
}

#[test]
fn a_step_that_a_person_retries_has_its_time_anew() {
    let timed = json!({"max_minutes": 5, "on_timeout": "fail", "on_failure": "pause"});
    let mut played = run_of(json!([with(call("a"), timed)]));
    played.timer("a", TimerKind::MaxMinutes);
    assert_eq!((played.run.status, played.status("a")), (RunStatus::Paused, "failed"));
    played.retry("a").unwrap();
    let set = effects::timers_of(&played.run, &path("a"));
    assert!(set.iter().all(|timer| timer.at > played.world.now), "{set:?}");
    played.done("a");
    assert_eq!(played.run.status, RunStatus::Completed);
}

#[test]
fn nothing_is_retried_or_skipped_while_an_override_is_under_review() {
    let mut played = run_of(json!([with(call("a"), json!({"on_failure": "pause"}))]));
    played.fails("a", false);
    let (id, action, review) = (OverrideId(1), OverrideAction::Pause, TimeDelta::hours(72));
    let filed = Command::FileOverride { id, action, reason: because(), new_value: None, review };
    played.carries_out(filed, "sue");
    assert!(matches!(played.retry("a"), Err(Rejection::NotNow(_))));
    assert!(matches!(played.skip("a"), Err(Rejection::NotNow(_))));
    assert_eq!(played.run.status, RunStatus::Paused);
}

#[test]
fn nothing_is_tried_again_on_a_decision_that_is_void() {
    let retried = with(call("b"), json!({"retry": {"attempts": 5}}));
    let mut played = run_of(json!([{"id": "ok", "type": "hitl"}, retried]));
    played.decided("ok", Choice::Approve, "sam").unwrap();
    played.fails("b", true);
    let set = Command::SetValue { path: vec!["n".to_owned()], value: json!(1), reason: because() };
    played.carries_out(set, "sam");
    assert!(effects::timers_of(&played.run, &path("b")).is_empty(), "its next attempt has no time");
    assert!(matches!(played.retry("b"), Err(Rejection::NotNow(_))));
    played.decided("ok#2", Choice::Approve, "sam").unwrap();
    played.timer("b", TimerKind::Retry);
    assert_eq!(played.status("b"), "running");
}

#[test]
fn whoever_started_the_run_does_not_skip_what_another_protocol_asks() {
    let mut played = run_of(json!([{"id": "s", "type": "protocol", "uses": "other"}, call("b")]));
    let skip = Command::SkipStep { step: path("s"), reason: because() };
    let starter = played.run.started_by.clone();
    assert_eq!(played.ask(skip, &starter), Err(Rejection::FourEyes));
    played.skip("s").unwrap();
    assert_eq!(played.status("b"), "running");
}

#[test]
fn only_a_branch_that_did_something_is_a_success() {
    let skipped = || with(call("a"), json!({"when": "payload.n < 0"}));
    let passed_over = || with(call("a"), json!({"on_failure": "continue"}));
    let group = |join: Value, a: Value| json!([{"id": "g", "type": "parallel", "join": join, "tasks": [a, call("b")]}]);

    let mut any = run_of(group(json!("any"), skipped()));
    assert_eq!((any.status("a"), any.status("g/a"), any.status("g")), ("pending", "skipped", "running"));
    any.done("g/b");
    assert_eq!((any.status("g"), any.run.status), ("done", RunStatus::Completed));
    let done = any.events.iter().find(|recorded| matches!(recorded.event.kind, EventKind::GroupDone { .. }));
    let counts = EventKind::GroupDone { succeeded: 1, failed: 0, fruitless: 1 };
    assert_eq!(done.map(|recorded| &recorded.event.kind), Some(&counts));

    let mut continued = run_of(group(json!("any"), passed_over()));
    continued.fails("g/a", false);
    assert_eq!(continued.status("g"), "running", "a failure is no success, though its branch goes on");
    continued.done("g/b");
    assert_eq!(continued.run.status, RunStatus::Completed);

    let both = run_of(group(json!(2), skipped()));
    assert_eq!((both.status("g"), both.status("g/b")), ("failed", "pending"), "two can no longer succeed");
    let note = both.run.step("g").and_then(|step| step.note.clone()).unwrap_or_default();
    assert!(note.contains("1 of 2 branches did nothing, and 2 must succeed"), "{note}");

    for a in [skipped(), passed_over()] {
        let mut all = run_of(group(json!("all"), a));
        if all.status("g/a") == "running" {
            all.fails("g/a", false);
        }
        all.done("g/b");
        assert_eq!(all.run.status, RunStatus::Completed, "for `all` it passes");
    }
}

#[test]
fn a_branch_counts_by_the_last_task_that_was_not_skipped() {
    let branch = json!([call("a"), with(call("b"), json!({"when": "payload.n < 0"}))]);
    let mut done =
        run_of(json!([{"id": "g", "type": "parallel", "join": "any", "tasks": [branch, call("c")]}]));
    done.done("g/a");
    assert_eq!((done.status("g"), done.status("g/c")), ("done", "cancelled"));
    let branch = json!([call("a"), with(call("b"), json!({"on_failure": "continue"}))]);
    let mut failed =
        run_of(json!([{"id": "g", "type": "parallel", "join": "any", "tasks": [branch, call("c")]}]));
    failed.done("g/a");
    failed.fails("g/b", false);
    assert_eq!((failed.status("g"), failed.status("g/c")), ("running", "running"));
}

#[test]
fn losers_that_had_not_begun_are_cancelled_too() {
    let mut played = run_of(json!([
        {"id": "g", "type": "parallel", "join": "any", "max_concurrency": 1,
         "tasks": [call("a"), [call("b"), call("c")], {"id": "h", "type": "parallel", "tasks": [call("d")]}]},
        {"id": "each", "type": "parallel", "join": 1, "max_concurrency": 2, "for_each": "payload.list",
         "tasks": [call("x")]}]));
    played.done("g/a");
    assert_eq!(
        (played.status("g/b"), played.status("g/c"), played.status("g/h")),
        ("cancelled", "pending", "cancelled")
    );
    played.done("each[0]/x");
    assert_eq!((played.status("each[1]/x"), played.status("each[2]/x")), ("cancelled", "cancelled"));
    assert_eq!(played.run.status, RunStatus::Completed);
}

#[test]
fn a_callback_may_ask_for_another_attempt() {
    let back = |retryable| Command::CallBack {
        step: path("a"),
        outcome: Err(Fault { error: "busy".to_owned(), retryable }),
    };
    let task = with(call("a"), json!({"retry": {"attempts": 2, "backoff_seconds": 1}}));
    let mut played = run_of(json!([task]));
    played.carries_out(Command::AcceptStep { step: path("a"), attempt: 1 }, SYSTEM);
    played.carries_out(back(true), SYSTEM);
    assert_eq!(played.status("a"), "waiting");
    assert!(
        matches!(played.ask(back(true), SYSTEM), Err(Rejection::NotNow(_))),
        "it has its next attempt already"
    );
    played.timer("a", TimerKind::Retry);
    assert_eq!((played.status("a"), played.attempt("a")), ("running", 2));
    played.carries_out(back(true), SYSTEM);
    assert_eq!(played.run.status, RunStatus::Failed, "`attempts` counts them all");

    let mut once = run_of(json!([call("a")]));
    once.carries_out(back(true), SYSTEM);
    assert_eq!(once.run.status, RunStatus::Failed, "without `retry` there is one attempt");
    let mut last = run_of(json!([with(call("a"), json!({"retry": {}}))]));
    last.carries_out(back(false), SYSTEM);
    assert_eq!(last.run.status, RunStatus::Failed, "a plain failure is final");
}
