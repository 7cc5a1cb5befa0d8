//! The run page in every situation that a run can be in, drawn from runs that are told event by event.

use super::run::{acts, run_queued};
use super::story::{Story, start, started, story};
use super::{HOSTILE, Page, chrome, draw};
use crate::engine::event::EventKind;
use crate::engine::ids::{ApprovalId, OverrideId, RunId, StepPath};
use crate::engine::protocol::Join;
use crate::engine::state::{Choice, OverrideAction, Parent, RunStatus};
use crate::web::pages::drawn::Drawn;
use crate::web::pages::plan::{self, Bucket, Focus, Known};
use crate::web::pages::run::{DecisionLink, Origin, Run};
use crate::web::pages::steps::Link;
use chrono::TimeDelta;
use serde_json::json;

pub fn pages() -> Vec<Page> {
    vec![
        ("run_nested", draw(&page(&nested(), None))),
        ("run_items", draw(&page(&items(), None))),
        ("run_items_failed", draw(&page(&items(), Some(Bucket::Done)))),
        ("run_sent_back", draw(&page(&sent_back(), None))),
        ("run_waits", draw(&page(&waits(), None))),
        ("run_paused", draw(&page(&paused(), None))),
        ("run_override", draw(&page(&overridden(), None))),
        ("run_ending", draw(&page(&ending(false), None))),
        ("run_undo_failed", draw(&page(&ending(true), None))),
        ("run_rerun", draw(&page(&rerun(), None))),
    ]
}

fn page(story: &Story, state: Option<Bucket>) -> Run {
    let run = &story.run;
    let known = Known { paused_by: Some("sam".to_owned()), ..Known::default() };
    let focus = state.map(|state| Focus { group: StepPath::top("checks", 1), state: Some(state), page: 2 });
    let parent = run.parent.as_ref().map(|parent| Origin {
        sentence: format!("Another run started it, at its step {}:", parent.step),
        link: Some(Link { href: format!("/runs/{}", parent.run), text: format!("Run {}", parent.run) }),
    });
    Run {
        chrome: chrome("Run 9001", "Supervisor", "/runs"),
        status: plan::status(run),
        sentence: plan::sentence(run, &known),
        origins: parent.into_iter().collect(),
        stalled: plan::stalled(run),
        not_undone: plan::not_undone(run),
        steps: Drawn::steps(&plan::steps(run, &known, focus.as_ref())),
        whole_href: focus.map(|_| "/runs/9001".to_owned()),
        undone: Drawn::steps(&plan::undone(run, &known)),
        review: run
            .overridden
            .as_ref()
            .map(|_| DecisionLink { href: "/overrides/3".to_owned(), may_decide: true }),
        acts: acts(),
        ..run_queued()
    }
}

fn group(branches: u32, items: Option<Vec<serde_json::Value>>) -> EventKind {
    EventKind::GroupStarted { branches, join: Join::All, items }
}

fn nested() -> Story {
    let tasks = json!([{"id": "fetch", "type": "script", "title": "Fetch the application"},
        {"id": "checks", "type": "parallel", "title": "All checks", "tasks": [
            {"id": "legal", "type": "agent", "title": "Legal check"},
            [{"id": "fees", "type": "script"}, {"id": "pay", "type": "wait", "event": "payment_received", "key": "123"},
             {"id": "parties", "type": "parallel", "for_each": "payload.parties", "tasks": [
                {"id": "screen", "type": "script"}, {"id": "confirm", "type": "hitl", "approvers": "supervisor"}]}],
            [{"id": "a", "type": "script"}, {"id": "b", "type": "parallel", "join": "any",
              "tasks": [{"id": "north", "type": "script"}, {"id": "south", "type": "script"}]}]]},
        {"id": "publish", "type": "script"}]);
    let items = Some(vec![json!({"name": "Vostok Aero"}), json!(HOSTILE)]);
    let story = story(tasks)
        .done("fetch", json!({"a": 1}))
        .then("HMS-ACT", Some("checks"), 1, group(3, None))
        .done("checks/legal", json!({"risk": "low", "summary": "Nothing was found."}))
        .done("checks/fees", json!({"fee": 120}))
        .done("checks/a", json!(1))
        .then("HMS-ACT", Some("checks/b"), 1, group(2, None))
        .begins("checks/b/north", 1)
        .fails("checks/b/south", "It answered 404");
    let waits = EventKind::WaitStarted {
        until: None,
        event: Some("payment_received".to_owned()),
        key: Some("123".to_owned()),
    };
    story
        .then("HMS-ACT", Some("checks/pay"), 1, waits)
        .then(
            "HMS-ACT",
            Some("checks/pay"),
            1,
            EventKind::EventReceived { event: 1, payload: json!({"paid": true}) },
        )
        .then("HMS-ACT", Some("checks/parties"), 1, group(2, items))
        .done("checks/parties[0]/screen", json!(1))
        .asks("checks/parties[0]/confirm", 5, 1)
        .begins("checks/parties[1]/screen", 1)
}

fn items() -> Story {
    let tasks = json!([{"id": "checks", "type": "parallel", "title": "Screen every party", "for_each": "payload.parties",
        "max_concurrency": 20, "tasks": [{"id": "screen", "type": "script", "on_failure": "fail"}]}]);
    let names = (0..10_000).map(|number| json!({"name": format!("Party {number} {HOSTILE}")})).collect();
    let mut story = story(tasks).then("HMS-ACT", Some("checks"), 1, group(10_000, Some(names)));
    for item in 0..400 {
        story = story.done(&format!("checks[{item}]/screen"), json!(1));
    }
    story = story.fails("checks[401]/screen", "The screening service answered 503.");
    for item in 402..410 {
        story = story.begins(&format!("checks[{item}]/screen"), 1);
    }
    story
}

fn sent_back() -> Story {
    let tasks = json!([{"id": "draft", "type": "script", "title": "Draft the letter"},
        {"id": "sign", "type": "hitl", "approvers": "supervisor", "quorum": 2, "returns_to": "draft"}]);
    let voted = EventKind::ApprovalVoted {
        approval: ApprovalId(6),
        reason: None,
        form: None,
        as_role: "supervisor".to_owned(),
        fits: Vec::new(),
        filled: Vec::new(),
        via: None,
    };
    story(tasks)
        .done("draft", json!({"letter": "Dear Sir"}))
        .asks("sign", 5, 2)
        .decides("sam", "sign", 5, Choice::Return, HOSTILE)
        .done("draft#2", json!({"letter": "Dear Madam"}))
        .asks("sign#2", 6, 2)
        .then("sam", Some("sign#2"), 1, voted)
}

fn waits() -> Story {
    let tasks = json!([{"id": "all", "type": "parallel", "title": "Many things at once", "tasks": [
        {"id": "again", "type": "script", "retry": {"attempts": 3}},
        {"id": "night", "type": "wait", "minutes": 60},
        {"id": "paid", "type": "wait", "event": "payment_received"},
        {"id": "answer", "type": "script"},
        {"id": "work", "type": "script", "max_minutes": 1},
        {"id": "child", "type": "protocol", "uses": "8"}]}]);
    let next = EventKind::StepRetrying {
        error: "It answered 503".to_owned(),
        retry_at: start() + TimeDelta::hours(1),
    };
    let wait = |until, event: Option<&str>| EventKind::WaitStarted {
        until,
        event: event.map(str::to_owned),
        key: event.map(|_| "123".to_owned()),
    };
    let child = EventKind::SubrunStarted {
        run: RunId(9002),
        protocol: crate::engine::state::ProtocolRef { id: 8, version: 1, name: "Fees".to_owned() },
        input: serde_json::Map::new(),
        checksum: String::new(),
    };
    let mut story = story(tasks)
        .then("HMS-ACT", Some("all"), 1, group(6, None))
        .begins("all/again", 1)
        .then("HMS-ACT", Some("all/again"), 1, next)
        .then("HMS-ACT", Some("all/night"), 1, wait(Some(start()), None))
        .then("HMS-ACT", Some("all/paid"), 1, wait(None, Some("payment_received")))
        .begins("all/answer", 1)
        .then("HMS-ACT", Some("all/answer"), 1, EventKind::StepAccepted {})
        .then("HMS-ACT", Some("all/work"), 1, started(true))
        .then("HMS-ACT", Some("all/work"), 1, EventKind::StepStalled { deadline: start() })
        .then("HMS-ACT", Some("all/child"), 1, child);
    story.run.parent = Some(Parent { run: RunId(8000), step: StepPath::top("renew", 1), depth: 1 });
    story
}

fn paused() -> Story {
    let tasks =
        json!([{"id": "fetch", "type": "script", "on_failure": "pause"}, {"id": "next", "type": "script"}]);
    let paused = EventKind::RunPaused {
        reason: "The data repository answered 503".to_owned(),
        step: Some(StepPath::top("fetch", 1)),
        via: None,
    };
    story(tasks).fails("fetch", "The data repository answered 503").run_is("HMS-ACT", paused)
}

fn overridden() -> Story {
    let filed = EventKind::OverrideFiled {
        id: OverrideId(3),
        action: OverrideAction::Modify,
        reason: HOSTILE.to_owned(),
        new_value: None,
        review_until: start(),
        via: None,
    };
    story(json!([{"id": "fetch", "type": "script"}])).begins("fetch", 1).run_is("sam", filed)
}

fn ending(stuck: bool) -> Story {
    let tasks = json!([{"id": "reserve", "type": "script", "undo": "release"},
        {"id": "deploy", "type": "script", "undo": "withdraw"}, {"id": "tell", "type": "script"}]);
    let ending = EventKind::RunEnding {
        outcome: RunStatus::Cancelled,
        reason: Some("The exporter withdrew.".to_owned()),
        grace_until: start(),
    };
    let story = story(tasks)
        .done("reserve", json!(1))
        .done("deploy", json!(1))
        .run_is("HMS-ACT", ending)
        .begins("deploy~undo", 1);
    if !stuck {
        return story;
    }
    let failed = EventKind::StepFailed { error: HOSTILE.to_owned(), retryable: true };
    let step = Some(StepPath::from_log("deploy~undo"));
    let paused = EventKind::RunPaused { reason: "It could not be taken back".to_owned(), step, via: None };
    story.then("HMS-ACT", Some("deploy~undo"), 1, failed).run_is("HMS-ACT", paused)
}

fn rerun() -> Story {
    let tasks = json!([{"id": "fetch", "type": "script"}, {"id": "a", "type": "script", "on_failure": "continue"},
        {"id": "b", "type": "script"}, {"id": "c", "type": "script"}]);
    let carried = EventKind::StepCarried {
        run: RunId(8999),
        from_step: StepPath::top("fetch", 1),
        action_version: 1,
        checksum: "c".to_owned(),
        result: json!({"a": 1}),
    };
    let skipped = EventKind::StepSkipped { reason: HOSTILE.to_owned(), as_role: None, via: None };
    let mut story = story(tasks).then("HMS-ACT", Some("fetch"), 1, carried).fails("a", "It answered 404");
    story.run.rerun_of = Some(RunId(8999));
    story.then("sam", Some("b"), 1, skipped).begins("c", 2)
}
