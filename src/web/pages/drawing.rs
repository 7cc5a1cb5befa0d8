//! A protocol's tasks in words: who does each, under which conditions, and what happens when something goes wrong.

use super::approvers;
use super::moment::duration;
use super::plan::{counted, thousands};
use super::protocol::{Task as View, TaskKind, TaskList};
use crate::engine::expression::{Expression, Piece, Template};
use crate::engine::protocol::{
    Concurrency, Hitl, Invocation, Join, Missed, OnFailure, OnReject, OnTimeout, Overlap, Parallel, Protocol,
    Retry, Schedule, Task, Wait, WhenFull, Work,
};
use serde_json::Value;
use std::sync::Arc;

/// The drawing of a protocol, in order.
pub fn tasks(protocol: &Protocol) -> TaskList {
    TaskList { inner: false, tasks: list(protocol, &protocol.tasks) }
}

/// What holds for its runs as a whole.
pub fn rules(protocol: &Protocol) -> Vec<String> {
    let schedule = protocol.schedule.as_ref().map(scheduled).unwrap_or_default();
    let limit = protocol.concurrency.as_ref().map(limited);
    schedule.into_iter().chain(limit).collect()
}

/// When runs start by themselves.
pub fn scheduled(schedule: &Schedule) -> Vec<String> {
    let mut said =
        vec![format!("Runs start by themselves: {} ({}).", schedule.cron, schedule.time_zone.name())];
    said.push(
        match schedule.missed {
            Missed::Skip => "Times that are missed are left out.",
            Missed::RunOnce => "When times are missed, one run makes up for all of them.",
        }
        .to_owned(),
    );
    said.extend(
        match schedule.overlap {
            Overlap::Allow => None,
            Overlap::Skip => Some("While the last run is not over, the next time is left out."),
            Overlap::Wait => Some("While the last run is not over, the next one waits."),
        }
        .map(str::to_owned),
    );
    said
}

fn limited(limit: &Concurrency) -> String {
    let full = match limit.when_full {
        WhenFull::Wait => "others wait their turn",
        WhenFull::Refuse => "others are refused",
    };
    format!(
        "At most {} with the same key under way at once; {full}.",
        counted(limit.limit as usize, "run", "runs")
    )
}

fn list(protocol: &Protocol, tasks: &[Arc<Task>]) -> Vec<View> {
    tasks.iter().map(|one| task(protocol, one)).collect()
}

fn task(protocol: &Protocol, task: &Task) -> View {
    let (kind, what) = match &task.work {
        Work::Script(call) => (TaskKind::Automatic, format!("Automatic: calls {}", call.uses)),
        Work::Agent(call) => (TaskKind::Agent, format!("An AI agent: {}", call.uses)),
        Work::Hitl(hitl) => {
            let decides = if hitl.approvers.seats() > 1 { "decide" } else { "decides" };
            (TaskKind::Person, format!("{} {decides}", approvers::capital(&hitl.approvers.in_words())))
        }
        Work::Parallel(parallel) => (TaskKind::Other, at_once(parallel)),
        Work::Wait(wait) => (TaskKind::Other, waits(wait)),
        Work::Protocol(call) => (TaskKind::Other, format!("Runs another protocol: {}", call.uses)),
    };
    let inside = match &task.work {
        Work::Parallel(parallel) => branches(protocol, parallel),
        Work::Script(_) | Work::Agent(_) | Work::Hitl(_) | Work::Wait(_) | Work::Protocol(_) => Vec::new(),
    };
    let inside = TaskList { inner: true, tasks: inside };
    View { title: task.label(), id: task.id.clone(), kind, what, notes: notes(protocol, task), inside }
}

fn at_once(parallel: &Parallel) -> String {
    let most = parallel.max_concurrency.map(|most| format!(", at most {most} at once")).unwrap_or_default();
    match &parallel.for_each {
        Some(each) => {
            let must = match parallel.join {
                Join::All => "all of them must succeed".to_owned(),
                Join::Any => "one of them must succeed".to_owned(),
                Join::Number(number) => format!("{} of them must succeed", thousands(number as usize)),
            };
            format!("Once for each item of {}{most}; {must}", each.items.source())
        }
        None => {
            let many = parallel.branches.len();
            let must = match parallel.join.needed(u32::try_from(many).unwrap_or(u32::MAX)) as usize {
                needed if needed >= many => "all must succeed".to_owned(),
                1 => "one must succeed, and then the others are cancelled".to_owned(),
                needed => format!("{needed} must succeed, and then the others are cancelled"),
            };
            format!("{} at the same time{most}; {must}", counted(many, "branch", "branches"))
        }
    }
}

/// A branch of one task is that task; of several, they are inside it.
fn branches(protocol: &Protocol, parallel: &Parallel) -> Vec<View> {
    let branch = |(number, tasks): (usize, &Vec<Arc<Task>>)| match tasks.as_slice() {
        [only] => task(protocol, only),
        tasks => View {
            title: if parallel.for_each.is_some() {
                "Each item".to_owned()
            } else {
                format!("Branch {}", number + 1)
            },
            id: String::new(),
            kind: TaskKind::Other,
            what: format!("{}, one after another", counted(tasks.len(), "step", "steps")),
            notes: Vec::new(),
            inside: TaskList { inner: true, tasks: list(protocol, tasks) },
        },
    };
    parallel.branches.iter().enumerate().map(branch).collect()
}

fn waits(wait: &Wait) -> String {
    match wait {
        Wait::For(length) => format!("Waits {}", duration(*length)),
        Wait::Until(until) => format!("Waits until {}", in_words(until)),
        Wait::Event { name, key: None } => format!("Waits for the event {name}"),
        Wait::Event { name, key: Some(key) } => {
            format!("Waits for the event {name} with the key {}", in_words(key))
        }
    }
}

/// A template as its author wrote it, on one line.
fn in_words(template: &Template) -> String {
    let expression = |expression: &Expression| format!("${{{}}}", expression.source());
    match template {
        Template::Constant(Value::String(text)) => text.clone(),
        Template::Constant(value) => value.to_string(),
        Template::Whole(whole) => expression(whole),
        Template::Text(pieces) => {
            let piece = |piece: &Piece| match piece {
                Piece::Text(text) => text.clone(),
                Piece::Expression(inner) => expression(inner),
            };
            pieces.iter().map(piece).collect()
        }
        Template::List(_) | Template::Object(_) => "what it computes".to_owned(),
    }
}

fn notes(protocol: &Protocol, task: &Task) -> Vec<String> {
    let mut notes = Vec::new();
    if let Some(when) = &task.when {
        notes.push(format!("Only when {}.", when.source()));
    }
    match &task.work {
        Work::Hitl(hitl) => notes.extend(of_decision(protocol, hitl)),
        Work::Script(call) | Work::Agent(call) | Work::Protocol(call) => notes.extend(of_call(call)),
        Work::Parallel(_) | Work::Wait(_) => {}
    }
    if let Some(limit) = task.max_time {
        let limit = duration(limit);
        notes.push(match task.on_timeout {
            OnTimeout::Flag => format!("Flagged when it takes longer than {limit}."),
            OnTimeout::Fail => format!("Fails when it takes longer than {limit}."),
            OnTimeout::Retry => format!("Tried again when it takes longer than {limit}."),
            OnTimeout::Escalate => format!("More people may decide when it takes longer than {limit}."),
        });
    }
    match task.on_failure {
        OnFailure::Fail => {}
        OnFailure::Continue => notes.push("When it fails, the run goes on without it.".to_owned()),
        OnFailure::Pause => notes.push("When it fails, the run is paused and a person decides.".to_owned()),
    }
    if task.saves != task.id {
        notes.push(format!("Its result is kept as {}.", task.saves));
    }
    notes
}

fn of_call(call: &Invocation) -> Vec<String> {
    let retry = call.retry.as_ref().filter(|retry| retry.attempts > 1).map(retried);
    let undo = call.undo.as_ref().map(|undo| format!("Taken back by {undo} when the run does not end well."));
    retry.into_iter().chain(undo).collect()
}

fn retried(retry: &Retry) -> String {
    let grows = if retry.factor > 1.0 && retry.attempts > 2 { ", longer each time" } else { "" };
    format!("Up to {} attempts, {} apart{grows}.", retry.attempts, duration(retry.backoff))
}

fn of_decision(protocol: &Protocol, hitl: &Hitl) -> Vec<String> {
    let mut notes = Vec::new();
    if hitl.quorum > 1 {
        notes.push(format!("{} different people must approve.", hitl.quorum));
    }
    if hitl.four_eyes {
        notes.push("Not whoever started the run.".to_owned());
    }
    if hitl.form.is_some() {
        notes.push("Whoever approves fills in a form.".to_owned());
    }
    if let Some(due) = hitl.due {
        notes.push(format!("Due after {}.", duration(due)));
    }
    if let Some(remind) = hitl.remind {
        notes.push(format!("Reminded every {}.", duration(remind)));
    }
    if let Some(more) = &hitl.escalate_to {
        notes.push(format!("When nobody decides in time, {} may decide too.", more.in_words()));
    }
    if let Some(back) = hitl.returns_to.as_deref().and_then(|id| protocol.place(id)) {
        let times = counted(hitl.max_returns as usize, "time", "times");
        notes.push(format!("May be sent back to {}, at most {times}.", back.task.label()));
    }
    match hitl.on_reject {
        OnReject::End => {}
        OnReject::Continue => notes.push("When it is rejected, the run goes on.".to_owned()),
    }
    notes
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn every_rule_of_a_task_is_told() {
        let protocol = Protocol::parse(&json!({"tasks": [
            {"id": "fetch", "type": "script", "max_minutes": 5, "saves": "data", "when": "payload.a == 1"},
            {"id": "sign", "type": "hitl", "approvers": ["ada", "admin"], "due_minutes": 60, "on_reject": "continue"}]}))
        .expect("valid");
        let drawn = tasks(&protocol).tasks;
        assert_eq!(drawn[0].what, "Automatic: calls fetch");
        assert_eq!(
            drawn[0].notes,
            [
                "Only when payload.a == 1.",
                "Flagged when it takes longer than 5 min 0 s.",
                "Its result is kept as data."
            ]
        );
        assert_eq!(drawn[1].what, "Ada or an admin decides");
        let rules =
            ["Not whoever started the run.", "Due after 1 h 0 min.", "When it is rejected, the run goes on."];
        assert_eq!(drawn[1].notes, rules);
    }

    #[test]
    fn groups_hold_what_they_do_at_once() {
        let protocol = Protocol::parse(&json!({"tasks": [
            {"id": "draft", "type": "script", "undo": "withdraw", "retry": {"attempts": 3, "backoff_seconds": 2}},
            {"id": "checks", "type": "parallel", "join": "any", "on_failure": "continue", "tasks": [
                {"id": "legal", "type": "agent"},
                [{"id": "fees", "type": "script"},
                 {"id": "each", "type": "parallel", "for_each": "payload.parties", "max_concurrency": 5,
                  "tasks": [{"id": "screen", "type": "script"}]}]]},
            {"id": "payment", "type": "wait", "event": "payment_received", "key": "${payload.case}"},
            {"id": "sign", "type": "hitl", "quorum": 2, "returns_to": "draft", "max_returns": 2},
            {"id": "more", "type": "protocol", "uses": "7"}]}))
        .expect("valid");
        let drawn = tasks(&protocol).tasks;
        let undo = "Taken back by withdraw when the run does not end well.";
        assert_eq!(drawn[0].notes, ["Up to 3 attempts, 2 s apart, longer each time.", undo]);
        assert_eq!(
            drawn[1].what,
            "2 branches at the same time; one must succeed, and then the others are cancelled"
        );
        assert_eq!(drawn[1].notes, ["When it fails, the run goes on without it."]);
        let branches = &drawn[1].inside.tasks;
        assert_eq!((branches[0].title.as_str(), branches[1].title.as_str()), ("Legal", "Branch 2"));
        let each = &branches[1].inside.tasks[1];
        assert_eq!(
            each.what,
            "Once for each item of payload.parties, at most 5 at once; all of them must succeed"
        );
        assert_eq!(each.inside.tasks[0].title, "Screen");
        assert_eq!(drawn[2].what, "Waits for the event payment_received with the key ${payload.case}");
        assert_eq!(drawn[3].notes[0], "2 different people must approve.");
        assert!(drawn[3].notes.contains(&"May be sent back to Draft, at most 2 times.".to_owned()));
        assert_eq!(drawn[4].what, "Runs another protocol: 7");
    }

    #[test]
    fn rules_of_the_whole_protocol_are_told() {
        let protocol = Protocol::parse(&json!({
            "schedule": {"cron": "0 6 * * *", "time_zone": "Europe/Berlin", "overlap": "wait"},
            "concurrency": {"key": "${payload.case}", "limit": 2},
            "tasks": [{"id": "a", "type": "script"}]}))
        .expect("valid");
        let rules = rules(&protocol);
        assert_eq!(rules[0], "Runs start by themselves: 0 6 * * * (Europe/Berlin).");
        assert_eq!(
            rules.last().map(String::as_str),
            Some("At most 2 runs with the same key under way at once; others wait their turn.")
        );
    }
}
