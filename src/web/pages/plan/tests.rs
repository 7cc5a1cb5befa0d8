use super::*;
use crate::engine::event::EventKind;
use crate::engine::ids::RunId;
use crate::engine::protocol::{Join, WhenFull};
use crate::engine::state::{Choice, OverrideAction, Payload, Slot};
use crate::web::pages::samples::story::{Story, start, started, story};
use crate::web::pages::steps::{Step as View, StepList};
use chrono::TimeDelta;
use serde_json::{Value, json};

fn drawn(story: &Story) -> Vec<View> {
    steps(&story.run, &Known::default(), None).steps
}

fn said(story: &Story) -> String {
    sentence(&story.run, &Known::default())
}

fn words(view: &View) -> (&str, Vec<&str>) {
    (&view.status.word, view.sentences.iter().map(String::as_str).collect())
}

fn retried() -> Value {
    json!([{"id": "fetch", "type": "script", "retry": {"attempts": 3, "backoff_seconds": 2}}, {"id": "deploy", "type": "script"}])
}

#[test]
fn attempts_are_counted_and_the_next_has_its_time() {
    let retrying = EventKind::StepRetrying {
        error: "It answered 503".to_owned(),
        retry_at: start() + TimeDelta::minutes(5),
    };
    let waits = story(retried()).begins("fetch", 1).then("HMS-ACT", Some("fetch"), 1, retrying);
    let view = &drawn(&waits)[0];
    let sentences =
        ["The last attempt failed: It answered 503.", "The next attempt is at 22 Nov 2026, 14:05:00 UTC."];
    assert_eq!(words(view), ("Waiting to try again", sentences.to_vec()));
    assert_eq!(view.attempt.as_deref(), Some("attempt 1 of 3"));
    assert_eq!(said(&waits), "Fetch failed and is tried again at 22 Nov 2026, 14:05:00 UTC.");
    let again = waits.begins("fetch", 2);
    assert_eq!(drawn(&again)[0].attempt.as_deref(), Some("attempt 2 of 3"));
    assert_eq!(said(&again), "Fetch is under way.");
}

#[test]
fn waits_say_for_what() {
    let tasks = json!([{"id": "payment", "type": "wait", "event": "paid"}, {"id": "act", "type": "script"}]);
    let event =
        EventKind::WaitStarted { until: None, event: Some("paid".to_owned()), key: Some("123".to_owned()) };
    let waits = story(tasks.clone()).then("HMS-ACT", Some("payment"), 1, event);
    assert_eq!(
        words(&drawn(&waits)[0]),
        ("Waiting for an event", vec!["Waiting for the event paid with the key 123."])
    );
    assert_eq!(said(&waits), "Payment waits for the event paid with the key 123.");
    assert_eq!(status(&waits.run).word, "Waiting for an event");
    let until = EventKind::WaitStarted { until: Some(start()), event: None, key: None };
    let waits = story(tasks.clone()).then("HMS-ACT", Some("payment"), 1, until);
    assert_eq!(words(&drawn(&waits)[0]).1, ["Waiting until 22 Nov 2026, 14:00:00 UTC."]);
    let worker = story(tasks.clone()).then("HMS-ACT", Some("act"), 1, started(true));
    assert_eq!(words(&drawn(&worker)[1]), ("Waiting for a worker", vec!["Waiting for a worker to take it."]));
    let called = story(tasks).begins("act", 1).then("HMS-ACT", Some("act"), 1, EventKind::StepAccepted {});
    assert_eq!(words(&drawn(&called)[1]).1, ["Waiting for the service to call back."]);
}

#[test]
fn work_that_is_sent_back_is_done_in_rounds() {
    let tasks = json!([{"id": "draft", "type": "script"},
        {"id": "sign", "type": "hitl", "approvers": "supervisor", "returns_to": "draft"}]);
    let back = story(tasks).done("draft", json!({"letter": "Dear …"})).asks("sign", 5, 1);
    let back = back.decides("sam", "sign", 5, Choice::Return, "The address is wrong.");
    let steps = drawn(&back);
    assert_eq!(words(&steps[0]), ("Not started", vec!["It will be done once more."]));
    let again = back.begins("draft#2", 1);
    let steps = drawn(&again);
    let why = "Second time, sent back by sam at Sign: “The address is wrong.”";
    assert_eq!(words(&steps[0]), ("Running", vec![why]));
    assert_eq!(steps[0].earlier.steps[0].title, "Draft, time 1");
    assert_eq!(words(&steps[1].earlier.steps[0]).0, "Sent back");
}

#[test]
fn approvals_of_several_people_count_them() {
    let tasks = json!([{"id": "sign", "type": "hitl", "approvers": "supervisor", "quorum": 2}]);
    let voted = EventKind::ApprovalVoted {
        approval: crate::engine::ids::ApprovalId(5),
        reason: None,
        form: None,
        as_role: "supervisor".to_owned(),
        fits: Vec::new(),
        filled: Vec::new(),
        via: None,
    };
    let story = story(tasks).asks("sign", 5, 2).then("sam", Some("sign"), 1, voted);
    let sentences = &drawn(&story)[0].sentences;
    assert!(sentences.contains(&"1 of 2 approvals so far: sam.".to_owned()), "{sentences:?}");
}

#[test]
fn paused_runs_say_who_why_and_what_may_be_done() {
    let paused = |step| EventKind::RunPaused { reason: "Look at it".to_owned(), step, via: None };
    let by_sam = Known { paused_by: Some("sam".to_owned()), ..Known::default() };
    let run = story(retried()).run_is("sam", paused(None)).run;
    assert_eq!(sentence(&run, &by_sam), "The run is paused by sam: Look at it. Let it go on, or cancel it.");
    let tasks = json!([{"id": "fetch", "type": "script", "on_failure": "pause"}]);
    let fails = story(tasks).fails("fetch", "no").run_is("HMS-ACT", paused(Some(StepPath::top("fetch", 1))));
    assert!(
        said(&fails).ends_with("Have the step tried again, skip it, or cancel the run."),
        "{}",
        said(&fails)
    );
    let view = &drawn(&fails)[0];
    assert_eq!(words(view), ("Failed", vec!["Somebody must decide: have it tried again, or skip it."]));
    let filed = EventKind::OverrideFiled {
        id: crate::engine::ids::OverrideId(3),
        action: OverrideAction::Cancel,
        reason: "Fraud".to_owned(),
        new_value: None,
        review_until: start(),
        via: None,
    };
    let filed = story(retried()).run_is("sam", filed);
    let expected =
        "sam asked that the run is cancelled: Fraud. The run is paused until somebody else decides.";
    assert_eq!(said(&filed), expected);
}

#[test]
fn runs_that_end_say_what_they_take_back() {
    let tasks =
        json!([{"id": "deploy", "type": "script", "undo": "withdraw"}, {"id": "tell", "type": "script"}]);
    let ending = EventKind::RunEnding {
        outcome: RunStatus::Cancelled,
        reason: Some("Withdrawn".to_owned()),
        grace_until: start(),
    };
    let story = story(tasks).done("deploy", json!(1)).begins("tell", 1).run_is("HMS-ACT", ending);
    assert_eq!(status(&story.run).word, "Being cancelled");
    assert!(said(&story).starts_with("The run is being cancelled: Withdrawn. What is running has until"));
    assert_eq!(drawn(&story)[0].sentences, ["What it did will be taken back."]);
    let undoing = story.begins("deploy~undo", 1);
    assert!(said(&undoing).ends_with("Taking back what was done: Deploy."), "{}", said(&undoing));
    let failed = EventKind::StepFailed { error: "It answered 500".to_owned(), retryable: true };
    let stuck = undoing.then("HMS-ACT", Some("deploy~undo"), 1, failed);
    assert!(not_undone(&stuck.run)[0].starts_with("Deploy could not be taken back: It answered 500."));
    let list = undone(&stuck.run, &Known::default());
    assert_eq!(list.steps[0].title, "Take back: Deploy");
    assert_eq!(list.steps[0].status.word, "Failed");
}

#[test]
fn runs_without_room_say_what_for() {
    let mut run = story(retried()).run;
    run.slot = Some(Slot { key: "exporter 5".to_owned(), limit: 2, when_full: WhenFull::Wait });
    run.held = true;
    assert_eq!(status(&run).word, "Waiting for its turn");
    let sentence = sentence(&run, &Known::default());
    assert!(sentence.starts_with("At most 2 runs of exporter 5 may be under way at once."), "{sentence}");
}

#[test]
fn failures_that_do_not_stop_the_run_and_skips_say_so() {
    let tasks =
        json!([{"id": "a", "type": "script", "on_failure": "continue"}, {"id": "b", "type": "script"}]);
    let skipped = EventKind::StepSkipped { reason: "Not needed".to_owned(), as_role: None, via: None };
    let story = story(tasks).fails("a", "no").then("sam", Some("b"), 1, skipped);
    let known = Known { skipped_by: [("b".to_owned(), "sam".to_owned())].into(), ..Known::default() };
    let steps = steps(&story.run, &known, None).steps;
    assert_eq!(words(&steps[0]), ("Failed", vec!["It failed, and the run went on without it."]));
    assert_eq!(words(&steps[1]), ("Skipped", vec!["Skipped by sam: Not needed."]));
}

fn group(join: Value) -> Value {
    json!([{"id": "checks", "type": "parallel", "join": join, "tasks": [
        {"id": "legal", "type": "script"},
        [{"id": "fees", "type": "script"},
         {"id": "more", "type": "parallel", "tasks": [{"id": "left", "type": "script"}, {"id": "right", "type": "script"}]}]]}])
}

fn begun(branches: u32, items: Option<Vec<Value>>) -> EventKind {
    EventKind::GroupStarted { branches, join: Join::All, items }
}

#[test]
fn groups_are_drawn_inside_groups() {
    let to_come = drawn(&story(group(json!("any"))));
    let sentence = &to_come[0].group.as_ref().expect("a group").sentence;
    assert_eq!(sentence, "2 branches, and one of them must succeed.");
    assert_eq!(to_come[0].inside.steps[1].title, "Branch 2");
    assert_eq!(to_come[0].inside.steps[1].inside.steps[1].inside.steps.len(), 2);
    let story = story(group(json!("all")))
        .then("HMS-ACT", Some("checks"), 1, begun(2, None))
        .done("checks/legal", json!({"ok": true}))
        .done("checks/fees", json!(1))
        .then("HMS-ACT", Some("checks/more"), 1, begun(2, None))
        .begins("checks/more/left", 1)
        .asks("checks/more/right", 5, 1);
    let checks = &drawn(&story)[0];
    assert_eq!(checks.status.word, "Waiting for a person", "somebody can do something about it");
    let branches = &checks.inside.steps;
    assert_eq!((branches[0].status.word.as_str(), branches[0].result.len()), ("Done", 1));
    assert_eq!(branches[1].status.word, "Waiting for a person");
    let more = &branches[1].inside.steps[1];
    assert_eq!(more.inside.steps[0].status.word, "Running");
    assert_eq!(more.inside.steps[1].status.word, "Waiting for a supervisor");
    assert_eq!(said(&story), "Left is under way.");
}

/// A `for_each` of so many items, of which a few have moved.
fn fan_out(items: u32) -> Story {
    let tasks = json!([{"id": "checks", "type": "parallel", "for_each": "payload.parties", "on_failure": "continue",
        "tasks": [{"id": "screen", "type": "script"}]}]);
    let names = (0..items).map(|number| json!({"name": format!("Party {number}")})).collect();
    story(tasks).then("HMS-ACT", Some("checks"), 1, begun(items, Some(names)))
}

fn rows(list: &StepList) -> Vec<&str> {
    list.steps.iter().map(|step| step.title.as_str()).collect()
}

#[test]
fn few_items_are_drawn_whole() {
    let story = fan_out(2).done("checks[0]/screen", json!(1)).begins("checks[1]/screen", 1);
    let checks = &drawn(&story)[0];
    assert_eq!(rows(&checks.inside), ["Item 1: Party 0", "Item 2: Party 1"]);
    let group = checks.group.as_ref().expect("a group");
    let shares: Vec<_> =
        group.shares.iter().map(|share| (share.status.word.as_str(), share.count.as_str())).collect();
    assert_eq!(shares, [("Running", "1"), ("Done", "1")]);
    assert!(group.all.is_none() && group.shares.iter().all(|share| share.href.is_none()));
}

#[test]
fn ten_thousand_items_are_counted_and_those_to_look_at_come_first() {
    let mut story = fan_out(10_000);
    for item in 0..200 {
        story = story.done(&format!("checks[{item}]/screen"), json!(1));
    }
    story = story.fails("checks[777]/screen", "It answered 404").begins("checks[9999]/screen", 1);
    let checks = &drawn(&story)[0];
    let shown = rows(&checks.inside);
    assert_eq!(shown.len(), 12);
    assert_eq!(shown[..2], ["Item 778: Party 777", "Item 10,000: Party 9999"]);
    let group = checks.group.as_ref().expect("a group");
    let failed = &group.shares[0];
    assert_eq!((failed.status.word.as_str(), failed.count.as_str()), ("Failed", "1"));
    assert_eq!(failed.href.as_deref(), Some("/runs/9001?group=checks&state=failed"));
    let bar: Vec<_> = group.shares.iter().map(|share| (share.from, share.width)).collect();
    assert_eq!(bar, [(0, 8), (8, 8), (16, 964), (980, 20)], "every state is to be seen");
    let counts: Vec<_> = group.shares.iter().map(|share| share.count.as_str()).collect();
    assert_eq!(counts, ["1", "1", "9,798", "200"]);
    assert_eq!(group.all.as_ref().expect("the rest").text, "All 10,000");
}

#[test]
fn group_alone_is_paged_and_filtered() {
    let mut story = fan_out(200);
    for item in 0..120 {
        story = story.done(&format!("checks[{item}]/screen"), json!(1));
    }
    let page = |state, page| {
        let focus = Focus { group: StepPath::top("checks", 1), state, page };
        steps(&story.run, &Known::default(), Some(&focus)).steps.remove(0)
    };
    let second = page(Some(Bucket::Done), 2);
    assert_eq!(second.inside.steps.len(), 50);
    assert_eq!(second.inside.steps[0].title, "Item 51: Party 50");
    let group = second.group.expect("a group");
    assert_eq!(group.shown.as_deref(), Some("51 to 100 of 120 (done)."));
    assert_eq!(group.previous.as_deref(), Some("/runs/9001?group=checks&state=done"));
    assert_eq!(group.next.as_deref(), Some("/runs/9001?group=checks&state=done&page=3"));
    let past = page(Some(Bucket::Done), 99).group.expect("a group");
    assert_eq!((past.shown.as_deref(), past.next), (Some("101 to 120 of 120 (done)."), None));
    let none = page(Some(Bucket::Failed), 1).group.expect("a group");
    assert_eq!(none.shown.as_deref(), Some("No branch is in this state (failed) now."));
    let nothing = Focus { group: StepPath::top("nothing", 1), state: None, page: 1 };
    assert_eq!(steps(&story.run, &Known::default(), Some(&nothing)).steps.len(), 1, "the whole plan");
}

#[test]
fn sub_runs_and_carried_results_name_the_other_run() {
    let tasks = json!([{"id": "fetch", "type": "script"}, {"id": "fees", "type": "protocol", "uses": "8"}]);
    let carried = EventKind::StepCarried {
        run: RunId(9000),
        from_step: StepPath::top("fetch", 1),
        action_version: 1,
        checksum: "c".to_owned(),
        result: json!({"a": 1}),
    };
    let child = EventKind::SubrunStarted {
        run: RunId(9002),
        protocol: crate::engine::state::ProtocolRef { id: 8, version: 1, name: "Fees".to_owned() },
        input: Payload::new(),
        checksum: String::new(),
    };
    let mut story =
        story(tasks).then("HMS-ACT", Some("fetch"), 1, carried).then("HMS-ACT", Some("fees"), 1, child);
    story.run.rerun_of = Some(RunId(9000));
    let steps = drawn(&story);
    assert_eq!(words(&steps[0]), ("Done", vec!["Taken over from run 9000: it was not done again."]));
    assert_eq!(steps[0].links[0].href, "/runs/9000");
    assert_eq!(words(&steps[1]).1, ["Run 9002 does this. The result comes when it is over."]);
    assert_eq!(steps[1].links[0].text, "Run 9002");
}

#[test]
fn numbers_have_their_commas() {
    assert_eq!(thousands(7), "7");
    assert_eq!(thousands(9_950), "9,950");
    assert_eq!(thousands(1_000_000), "1,000,000");
    assert_eq!(counted(1, "run", "runs"), "1 run");
}
