//! A protocol's tasks in words: who does each, and under which conditions.

use super::approvers;
use super::moment::duration;
use super::protocol::{Task as View, TaskKind};
use crate::engine::protocol::{Hitl, OnReject, Protocol, Task, Work};

/// The drawing of a protocol, in order.
pub fn tasks(protocol: &Protocol) -> Vec<View> {
    protocol.tasks.iter().map(|it| task(it)).collect()
}

fn task(task: &Task) -> View {
    let (kind, what) = match &task.work {
        Work::Script(call) => (TaskKind::Automatic, format!("Automatic: calls {}", call.uses)),
        Work::Agent(call) => (TaskKind::Agent, format!("An AI agent: {}", call.uses)),
        Work::Hitl(hitl) => {
            (TaskKind::Person, format!("{} decides", approvers::capital(&hitl.approvers.in_words())))
        }
        Work::Parallel(_) => (TaskKind::Automatic, "Side by side".to_owned()),
        Work::Wait(_) => (TaskKind::Automatic, "A wait".to_owned()),
        Work::Protocol(call) => (TaskKind::Automatic, format!("Another protocol: {}", call.uses)),
    };
    View { title: task.label(), id: task.id.clone(), kind, what, notes: notes(task), inner: false }
}

fn notes(task: &Task) -> Vec<String> {
    let mut notes = Vec::new();
    if let Some(when) = &task.when {
        notes.push(format!("Only when {}.", when.source()));
    }
    if let Some(limit) = task.max_time {
        notes.push(format!("Flagged when it takes longer than {}.", duration(limit)));
    }
    if task.saves != task.id {
        notes.push(format!("Its result is kept as {}.", task.saves));
    }
    if let Work::Hitl(hitl) = &task.work {
        notes.extend(of_decision(hitl));
    }
    notes
}

fn of_decision(hitl: &Hitl) -> Vec<String> {
    let mut notes = Vec::new();
    if hitl.four_eyes {
        notes.push("Not whoever started the run.".to_owned());
    }
    if let Some(due) = hitl.due {
        notes.push(format!("Due after {}.", duration(due)));
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
        let drawn = tasks(&protocol);
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
}
