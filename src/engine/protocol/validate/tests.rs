use crate::engine::protocol::Protocol;
use serde_json::json;

#[test]
fn the_minimal_form_of_the_seed_is_a_protocol() {
    let protocol = Protocol::parse(&json!({"tasks": [
        {"id": "fetch_data", "type": "script"}, {"id": "ai_analysis", "type": "agent"},
        {"id": "human_approval", "type": "hitl"}, {"id": "deploy", "type": "script"}]}))
    .unwrap();
    assert_eq!(protocol.tasks.len(), 4);
    assert_eq!(protocol.tasks[2].label(), "Human approval");
    assert_eq!(
        protocol.uses().into_iter().map(|(_, _, name)| name).collect::<Vec<_>>(),
        ["fetch_data", "ai_analysis", "deploy"]
    );
}

#[test]
fn everything_wrong_is_named_at_once_and_by_place() {
    let problems = Protocol::parse(&json!({"tusks": 1, "tasks": [
        {"id": "a b", "type": "script", "colour": "red"}, {"type": "robot"}, 7,
        {"id": "x", "type": "hitl", "approvers": 3, "max_minutes": -1},
        {"id": "x", "type": "script", "with": {"a": ["${nope.x}"]}},
        {"id": "p", "type": "parallel", "tasks": []}]}))
    .unwrap_err();
    let paths: Vec<&str> = problems.iter().map(|problem| problem.path.as_str()).collect();
    for path in [
        "$.tusks",
        "$.tasks[0].id",
        "$.tasks[0].colour",
        "$.tasks[1].id",
        "$.tasks[1].type",
        "$.tasks[2]",
        "$.tasks[3].approvers",
        "$.tasks[3].max_minutes",
        "$.tasks[4].id",
        "$.tasks[4].with.a[0]",
        "$.tasks[5].tasks",
    ] {
        assert!(paths.contains(&path), "{path} is not among {paths:?}");
    }
}

#[test]
fn roles_that_may_not_decide_are_no_approvers() {
    for (approvers, accepted) in [
        (json!("supervisor"), true),
        (json!(["ada", "admin"]), true),
        (json!("auditor"), false),
        (json!(["supervisor", "staff"]), false),
    ] {
        let document = json!({"tasks": [{"id": "ask", "type": "hitl", "approvers": approvers}]});
        let problems = Protocol::parse(&document).err().unwrap_or_default();
        let places: Vec<&str> = problems.iter().map(|problem| problem.path.as_str()).collect();
        let expected: &[&str] = if accepted { &[] } else { &["$.tasks[0].approvers"] };
        assert_eq!(places, expected, "{document}");
    }
}

#[test]
fn a_protocol_that_is_not_an_object_is_refused() {
    for document in [json!([]), json!(1), json!({}), json!({"tasks": []}), json!({"tasks": {}})] {
        assert!(Protocol::parse(&document).is_err(), "{document}");
    }
}
