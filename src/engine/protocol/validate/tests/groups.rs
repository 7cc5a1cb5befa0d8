//! Groups, lists, and the names in them.

use super::{parsed, refused, tasks};
use crate::engine::protocol::{Join, MAX_GROUP_DEPTH, MAX_TASKS, Work};
use serde_json::{Value, json};

#[test]
fn work_is_sent_back_to_an_earlier_task_of_the_same_list() {
    let list = |to: &str| {
        tasks(json!([
            {"id": "before", "type": "script"},
            {"id": "group", "type": "parallel", "tasks": [
                [{"id": "draft", "type": "script"}, {"id": "ask", "type": "hitl", "returns_to": to, "max_returns": 1},
                 {"id": "after", "type": "script"}],
                {"id": "other", "type": "script"}]}]))
    };
    let protocol = parsed(list("draft"));
    let Some(Work::Hitl(ask)) = protocol.place("ask").map(|place| &place.task.work) else {
        panic!("an approval")
    };
    assert_eq!((ask.returns_to.as_deref(), ask.max_returns), (Some("draft"), 1));
    for (to, words) in [
        ("ask", "is this task itself"),
        ("after", "comes later"),
        ("before", "no task `before` earlier in the same list"),
        ("other", "no task `other` earlier in the same list"),
        ("nowhere", "no task `nowhere`"),
    ] {
        refused(list(to), "$.tasks[1].tasks[0][1].returns_to", words);
    }
}

#[test]
fn a_group_has_branches_of_one_or_more_tasks() {
    let protocol = parsed(tasks(
        json!([{"id": "g", "type": "parallel", "join": 2, "max_concurrency": 1, "tasks": [
        {"id": "a", "type": "script", "uses": "x"},
        [{"id": "b", "type": "script", "uses": "y"}],
        [{"id": "c", "type": "script", "undo": "z"}, {"id": "d", "type": "parallel", "tasks": [{"id": "e", "type": "agent"}]}]]}]),
    ));
    let Work::Parallel(group) = &protocol.tasks[0].work else { panic!("a group") };
    assert_eq!(group.branches.iter().map(Vec::len).collect::<Vec<_>>(), [1, 1, 2]);
    assert_eq!((group.join, group.max_concurrency, &group.for_each), (Join::Number(2), Some(1), &None));
    // Where each is written, brackets around a single one included.
    let paths: Vec<String> =
        protocol.uses().into_iter().map(|(path, _, name)| format!("{path} {name}")).collect();
    assert_eq!(
        paths,
        [
            "$.tasks[0].tasks[0].uses x",
            "$.tasks[0].tasks[1][0].uses y",
            "$.tasks[0].tasks[2][0].uses c",
            "$.tasks[0].tasks[2][0].undo z",
            "$.tasks[0].tasks[2][1].tasks[0].uses e",
        ]
    );
    let place = protocol.place("d").expect("a place");
    assert_eq!((place.group.as_deref(), place.branch, place.position, place.last), (Some("g"), 2, 1, true));
}

#[test]
fn a_group_that_cannot_be_is_refused() {
    let group = |rest: Value| {
        let mut task = json!({"id": "g", "type": "parallel", "tasks": [{"id": "a", "type": "script"}]});
        task.as_object_mut().unwrap().extend(rest.as_object().unwrap().clone());
        tasks(json!([task]))
    };
    for (rest, path, words) in [
        (json!({"tasks": []}), ".tasks", "is empty"),
        (json!({"tasks": {}}), ".tasks", "must be a list"),
        (json!({"tasks": [[]]}), ".tasks[0]", "an empty branch"),
        (json!({"tasks": ["a"]}), ".tasks[0]", "A branch is a task"),
        (json!({"tasks": [[["a"]]]}), ".tasks[0][0]", "A task is an object"),
        (json!({"join": 2}), ".join", "there are only 1"),
        (json!({"join": 0}), ".join", "must be `all`"),
        (json!({"join": "some"}), ".join", "must be `all`"),
        (json!({"max_concurrency": 0}), ".max_concurrency", "from 1"),
        (json!({"as": "x"}), ".as", "`for_each`, which is missing"),
        (
            json!({"for_each": "payload.l", "tasks": [[{"id": "a", "type": "script"}]]}),
            ".tasks[0]",
            "A task is an object",
        ),
        (json!({"for_each": "payload.l", "as": "in"}), ".as", "means something else"),
        (json!({"for_each": "payload.l", "as": "x-y"}), ".as", "cannot be used in expressions"),
        (json!({"for_each": "payload.l", "as": "2nd"}), ".as", "cannot be used in expressions"),
        (json!({"for_each": "3"}), ".for_each", "is a number, where a list is needed"),
        (json!({"for_each": "[]"}), ".for_each", "always empty"),
        (json!({"for_each": ["a"]}), ".for_each", "must be a text"),
        (json!({"for_each": "item.l"}), ".for_each", "names `item`"),
    ] {
        refused(group(rest), &format!("$.tasks[0]{path}"), words);
    }
}

#[test]
fn an_item_is_seen_inside_its_branch_only() {
    let nested = |inner: &str| {
        tasks(json!([
            {"id": "outer", "type": "parallel", "for_each": "payload.parties", "as": "party", "join": "any", "tasks": [
                {"id": "inner", "type": "parallel", "for_each": "party.names", "tasks": [
                    {"id": "screen", "type": "script", "when": inner, "with": "${item + payload.party.id}"}]}]},
            {"id": "after", "type": "script"}]))
    };
    let protocol = parsed(nested("party.id == item"));
    assert_eq!(
        protocol.place("screen").map(|place| place.items.clone()),
        Some(vec!["party".to_owned(), "item".to_owned()])
    );
    refused(nested("other"), "$.tasks[0].tasks[0].tasks[0].when", "names `other`");
    let after = tasks(json!([
        {"id": "g", "type": "parallel", "for_each": "payload.l", "tasks": [{"id": "a", "type": "script"}]},
        {"id": "after", "type": "script", "when": "item == 1"}]));
    refused(after, "$.tasks[1].when", "names `item`");
}

#[test]
fn names_are_unique_where_they_meet() {
    let script = |id: &str, saves: &str| json!({"id": id, "type": "script", "saves": saves});
    let each = |id: &str, name: &str, inner: Value| json!({"id": id, "type": "parallel", "for_each": "payload.l", "as": name, "tasks": inner});
    let group = |id: &str, inner: Value| json!({"id": id, "type": "parallel", "tasks": inner});
    // Ids over the whole document.
    refused(
        tasks(json!([script("a", "x"), group("g", json!([script("b", "y"), [script("a", "z")]]))])),
        "$.tasks[1].tasks[1][0].id",
        "`a` is already the id of $.tasks[0]",
    );
    // Keys: the branches of a group are merged upwards.
    refused(
        tasks(json!([group("g", json!([script("a", "x"), [script("b", "x")]]))])),
        "$.tasks[0].tasks[1][0].saves",
        "`x` is already written by $.tasks[0].tasks[0]",
    );
    // Those of a `for_each` are not, so two may use the same; but not one that is around them, before or after.
    parsed(tasks(json!([
        each("e", "i", json!([script("a", "x")])),
        each("f", "i", json!([script("b", "x")]))
    ])));
    refused(
        tasks(json!([each("e", "i", json!([script("a", "x")])), script("b", "x")])),
        "$.tasks[0].tasks[0].saves",
        "`x` is already written by $.tasks[1]",
    );
    // Items.
    refused(
        tasks(json!([each("e", "b", json!([script("a", "x")])), script("b", "b")])),
        "$.tasks[0].as",
        "already taken by $.tasks[1]",
    );
    refused(
        tasks(json!([each("e", "i", json!([script("a", "i")]))])),
        "$.tasks[0].tasks[0].saves",
        "already written by $.tasks[0].as",
    );
    let twice = each("e", "i", json!([each("f", "i", json!([script("a", "x")]))]));
    refused(tasks(json!([twice])), "$.tasks[0].tasks[0].as", "already taken by $.tasks[0].as");
    let default = json!({"id": "e", "type": "parallel", "for_each": "payload.l", "tasks": [
        {"id": "f", "type": "parallel", "for_each": "item.l", "tasks": [script("a", "x")]}]});
    refused(tasks(json!([default])), "$.tasks[0].tasks[0].as", "Call the items something else");
}

#[test]
fn tasks_and_groups_have_limits() {
    let many = |number: usize| {
        (0..number).map(|index| json!({"id": format!("t{index}"), "type": "script"})).collect::<Vec<_>>()
    };
    let mut list = many(MAX_TASKS);
    assert_eq!(parsed(tasks(json!(list))).tasks.len(), MAX_TASKS);
    list.push(json!({"id": "more", "type": "script"}));
    refused(tasks(json!(list)), "$.tasks", "at most 10000");
    let group = json!({"id": "g", "type": "parallel", "tasks": [many(MAX_TASKS)]});
    refused(tasks(json!([group])), "$.tasks", "has 10001 tasks, those inside groups counted");

    let nested = |depth: usize| {
        (0..depth).fold(
            json!({"id": "t", "type": "script"}),
            |inner, index| json!({"id": format!("g{index}"), "type": "parallel", "tasks": [inner]}),
        )
    };
    parsed(tasks(json!([nested(MAX_GROUP_DEPTH)])));
    let path = format!("$.tasks[0]{}", ".tasks[0]".repeat(MAX_GROUP_DEPTH));
    refused(tasks(json!([nested(MAX_GROUP_DEPTH + 1)])), &format!("{path}.tasks"), "a group inside 8 others");
}
