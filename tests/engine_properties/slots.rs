//! Approvals that several slots are needed for: one of legal AND one of security.

use super::play::Played;
use super::situations::{because, path, run_of};
use hms_act::engine::command::{Command, Rejection, TimerKind};
use hms_act::engine::event::EventKind;
use hms_act::engine::state::{Approval, Choice, RunStatus};
use serde_json::{Value, json};

/// An approval by one of each slot; sam is of legal, ada of security, sue of both.
fn slots(legal: Value, security: Value) -> Value {
    let slots = json!([{"name": "legal", "approvers": legal}, {"name": "security", "approvers": security}]);
    json!({"id": "ask", "type": "hitl", "approvers": {"slots": slots}})
}

fn both() -> Value {
    slots(json!("group:legal"), json!("group:security"))
}

fn asks(task: Value) -> Played {
    run_of(json!([task, {"id": "after", "type": "script", "uses": "call"}]))
}

impl Played {
    fn asked(&self) -> &Approval {
        self.run.step("ask").and_then(|step| step.approval.as_ref()).expect("it was asked")
    }

    fn approves(&mut self, by: &str) -> Result<(), Rejection> {
        self.decided("ask", Choice::Approve, by)
    }

    /// `legal: sam`
    fn filled(&self) -> Vec<String> {
        self.asked().filled.iter().map(|filled| format!("{}: {}", filled.slot, filled.by)).collect()
    }
}

#[test]
fn whoever_fits_both_moves_for_whoever_fits_one() {
    for order in [["sue", "sam"], ["sam", "sue"]] {
        let mut played = asks(both());
        played.approves(order[0]).expect("one of two");
        assert_eq!((played.status("ask"), played.filled().len()), ("waiting", 1));
        played.approves(order[1]).expect("the other");
        assert_eq!(played.filled(), ["legal: sam", "security: sue"], "{order:?}");
        assert_eq!((played.status("ask"), played.status("after")), ("done", "running"));
        let seen = &played.run.payload["ask"]["slots"];
        assert_eq!(seen[1], json!({"slot": "security", "by": "sue"}), "later steps see who stood for what");
    }
}

#[test]
fn every_slot_needs_a_person_of_its_own() {
    let mut played = asks(both());
    assert!(matches!(played.approves("eve"), Err(Rejection::NotAnApprover { .. })));
    assert!(matches!(played.approves("starter"), Err(Rejection::FourEyes)), "though starter is of security");
    played.approves("sue").expect("one of two");
    assert!(matches!(played.approves("sue"), Err(Rejection::VotedBefore)), "nobody fills two");
    assert_eq!(played.asked().missing().in_words(), "security");
    played.approves("ada").expect("the other");
    assert_eq!(played.filled(), ["legal: sue", "security: ada"]);
}

#[test]
fn a_slot_that_has_its_people_takes_no_more_and_one_no_is_a_no() {
    let mut played = asks(slots(json!("group:legal"), json!("ada")));
    played.approves("sam").expect("legal");
    let refused = played.approves("sue").expect_err("legal has sam");
    let said = "Enough people approved for legal already. What is needed now is security.";
    assert_eq!(refused.to_string(), said);
    assert_eq!(played.asked().open_to().users, ["ada"]);
    assert!(played.asked().open_to().groups.is_empty(), "the inbox of legal is empty now");
    played.decided("ask", Choice::Reject, "sue").expect("one no is enough");
    assert_eq!(played.run.status, RunStatus::Rejected);
}

#[test]
fn a_slot_may_need_several() {
    let mut task = slots(json!(["group:legal", "ada"]), json!("admin"));
    task["approvers"]["slots"][0]["count"] = json!(2);
    let mut played = asks(task);
    for by in ["ada", "sam"] {
        played.approves(by).expect("legal");
    }
    assert_eq!(played.asked().missing().in_words(), "security");
    played.approves("sue").expect("ada moves to security");
    assert_eq!(played.filled(), ["legal: sue", "legal: sam", "security: ada"]);
    assert_eq!(played.status("ask"), "done");
}

#[test]
fn a_changed_value_empties_the_slots() {
    let mut played = asks(both());
    played.approves("sam").expect("legal");
    let set = Command::SetValue { path: vec!["n".to_owned()], value: json!(1), reason: because() };
    played.carries_out(set, "sue");
    assert!(played.filled().is_empty() && played.asked().votes.is_empty(), "everybody is asked again");
    played.approves("sam").expect("again");
    played.approves("ada").expect("security");
    assert_eq!(played.status("ask"), "done");
}

#[test]
fn only_whoever_fits_every_slot_passes_over_them() {
    let mut played = asks(both());
    let skip = || Command::SkipStep { step: path("ask"), reason: because() };
    for by in ["sam", "ada"] {
        let refused = played.ask(skip(), by).expect_err("one slot is not all");
        assert!(matches!(refused, Rejection::NotAnApprover { .. }), "{refused}");
    }
    played.carries_out(skip(), "sue");
    assert_eq!(played.status("ask"), "skipped");
}

#[test]
fn whoever_it_escalates_to_may_fill_any_slot_but_one() {
    let mut task = slots(json!("group:nobody"), json!("group:nobody"));
    task["due_minutes"] = json!(5);
    task["escalate_to"] = json!(["ada", "group:legal"]);
    let mut played = asks(task);
    assert!(played.approves("ada").is_err());
    played.timer("ask", TimerKind::Due);
    played.approves("ada").expect("any slot");
    assert!(matches!(played.approves("ada"), Err(Rejection::VotedBefore)));
    played.approves("sam").expect("the other");
    assert_eq!(played.status("ask"), "done");
    let role = played.events.iter().rev().find_map(|recorded| match &recorded.event.kind {
        EventKind::ApprovalDecided { as_role, .. } => Some(as_role.clone()),
        _ => None,
    });
    assert_eq!(role.as_deref(), Some("group:legal"));
}
