use super::*;
use crate::engine::apply::{apply, begin};
use crate::engine::event::{Event, Recorded};
use crate::engine::ids::RunId;
use crate::engine::protocol::Protocol;
use crate::engine::state::{Payload, ProtocolRef};
use chrono::DateTime;
use serde_json::json;
use std::sync::Arc;

fn recorded(step: Option<&str>, kind: EventKind) -> Recorded {
    let event = Event { step: step.map(StepPath::from_log), attempt: Some(1), kind };
    Recorded { at: DateTime::UNIX_EPOCH, actor: "ada".to_owned(), event }
}

fn queued(payload: Value) -> EventKind {
    EventKind::RunQueued {
        protocol: ProtocolRef { id: 1, version: 1, name: "x".to_owned() },
        payload: payload.as_object().cloned().expect("an object"),
        lineage: RunId(1),
        started_by: None,
        parent: None,
        rerun_of: None,
        reason: None,
        redact: Vec::new(),
        slot: None,
        via: None,
    }
}

/// A run of these tasks that has these paths marked, after some events.
fn run(redact: Value, tasks: Value, payload: Value, events: Vec<Recorded>) -> Arc<Run> {
    let protocol = Protocol::parse(&json!({"redact": redact, "tasks": tasks})).expect("valid");
    let first = recorded(None, queued(payload));
    let mut run = begin(RunId(1), &first, Arc::new(protocol), None, None).expect("it begins");
    events.iter().for_each(|event| apply(&mut run, event));
    Arc::new(run)
}

fn script() -> Value {
    json!([{"id": "a", "type": "script"}])
}

/// Pointer and path of each sealed place in an entry of the run.
fn sealed(run: &Run, step: Option<&str>, kind: &EventKind) -> Vec<(String, String)> {
    let (step, detail) = (step.map(StepPath::from_log), kind.detail());
    let mut secrets = secrets(run);
    learn(run, step.as_ref(), kind, &detail, &mut secrets);
    let places = places(run, step.as_ref(), kind, &detail, &secrets);
    places.into_iter().map(|place| (place.pointer, place.path)).collect()
}

fn pairs(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
    pairs.iter().map(|(pointer, path)| ((*pointer).to_owned(), (*path).to_owned())).collect()
}

#[test]
fn marked_values_are_found_wherever_an_entry_has_them() {
    let payload = json!({"who": {"ssn": "1", "name": "Ada"}, "all": [{"born": 1}, {"born": 2}]});
    let run = run(
        json!(["payload.who.ssn", "payload.all.*.born", "payload.a.card"]),
        script(),
        payload.clone(),
        vec![],
    );
    let expected = [
        ("/payload/who/ssn", "payload.who.ssn"),
        ("/payload/all/0/born", "payload.all.0.born"),
        ("/payload/all/1/born", "payload.all.1.born"),
    ];
    assert_eq!(sealed(&run, None, &queued(payload)), pairs(&expected));
    let done = EventKind::StepDone { result: json!({"card": 4, "fee": 5}) };
    assert_eq!(sealed(&run, Some("a"), &done), pairs(&[("/result/card", "payload.a.card")]));
    let set = |path: &[&str], value: Value| EventKind::ValueSet {
        path: path.iter().map(|key| (*key).to_owned()).collect(),
        value,
        reason: "so".to_owned(),
        via: None,
    };
    // At the marked place, above it and below it.
    assert_eq!(sealed(&run, None, &set(&["who", "ssn"], json!(5))), pairs(&[("/value", "payload.who.ssn")]));
    assert_eq!(
        sealed(&run, None, &set(&["who"], json!({"ssn": 5}))),
        pairs(&[("/value/ssn", "payload.who.ssn")])
    );
    assert_eq!(
        sealed(&run, None, &set(&["who", "ssn", "x"], json!(5))),
        pairs(&[("/value", "payload.who.ssn.x")])
    );
    assert_eq!(sealed(&run, None, &set(&["who", "name"], json!("B"))), pairs(&[]));
}

#[test]
fn copies_are_sealed_too_where_they_are_long_enough_to_be_copies() {
    let payload = json!({"ssn": "123-45-6789", "pin": "12", "case": {"name": "Ada Lovelace", "mood": "good"}, "n": 5551234});
    let marks = json!(["payload.ssn", "payload.pin", "payload.case", "payload.n"]);
    let run = run(marks, script(), payload, vec![]);
    let found = |result: Value| sealed(&run, Some("a"), &EventKind::StepDone { result });
    assert_eq!(found(json!({"echo": ["123-45-6789"]})), pairs(&[("/result/echo/0", "payload.ssn")]));
    assert_eq!(found(json!("Dear 123-45-6789, hello")), pairs(&[("/result", "payload.ssn")]));
    assert_eq!(found(json!({"n": 5551234})), pairs(&[("/result/n", "payload.n")]));
    assert_eq!(found(json!("call 5551234.")), pairs(&[("/result", "payload.n")]));
    // Words, not parts of words; and nothing that is as good as chance.
    assert_eq!(found(json!(["123-45-67890", "12", "good", "x5551234"])), pairs(&[]));
    assert_eq!(found(json!("for Ada Lovelace")), pairs(&[("/result", "payload.case")]));
    let whole = json!({"c": {"name": "Ada Lovelace", "mood": "good"}});
    assert_eq!(found(whole), pairs(&[("/result/c", "payload.case")]));
    let failed = EventKind::StepFailed { error: "no 123-45-6789 here".to_owned(), retryable: false };
    assert_eq!(sealed(&run, Some("a"), &failed), pairs(&[("/error", "payload.ssn")]));
}

#[test]
fn what_must_stay_an_object_is_sealed_field_by_field() {
    let payload = json!({"who": {"name": "Ada Lovelace", "age": 3}});
    let tasks = json!([{"id": "a", "type": "protocol", "uses": "b", "with": "${payload.who}"}]);
    let run = run(json!(["payload.who"]), tasks, payload, vec![]);
    let input = json!({"name": "Ada Lovelace", "age": 3});
    let object: Payload = input.as_object().cloned().expect("an object");
    let kind = EventKind::SubrunStarted {
        run: RunId(2),
        protocol: ProtocolRef { id: 1, version: 1, name: "b".to_owned() },
        input: object,
        checksum: String::new(),
    };
    let expected = [("/input/name", "payload.who"), ("/input/age", "payload.who")];
    assert_eq!(sealed(&run, Some("a"), &kind), pairs(&expected));
    // And the run that it starts seals the same.
    let marks = handed_on(&run, &StepPath::from_log("a"), &input);
    assert_eq!(marks.iter().map(|mark| mark.path.join(".")).collect::<Vec<_>>(), ["name", "age"]);
}

#[test]
fn what_a_sub_run_brings_back_is_sealed_where_it_is_saved() {
    let tasks = json!([{"id": "each", "type": "parallel", "for_each": "payload.l", "tasks": [
        {"id": "sub", "type": "protocol", "uses": "b", "saves": "s"}]}]);
    let run = run(json!([]), tasks, json!({"l": [1]}), vec![]);
    let marks = vec![Mark { path: vec!["ssn".to_owned()], exemption: None }];
    let back = brought_back(&run, &StepPath::from_log("each[4]/sub"), marks);
    assert_eq!(back.iter().map(|mark| mark.path.join(".")).collect::<Vec<_>>(), ["s.ssn", "each.4.ssn"]);
}

#[test]
fn a_run_is_shown_without_what_is_sealed() {
    let failed = EventKind::StepFailed { error: "no 123-45-6789".to_owned(), retryable: false };
    let tasks = json!([{"id": "a", "type": "script", "on_failure": "pause"}]);
    let payload =
        json!({"who": {"ssn": "123-45-6789", "name": "Ada"}, "copy": "123-45-6789", "gone": "erased"});
    let run =
        run(json!(["payload.who.ssn", "payload.gone"]), tasks, payload, vec![recorded(Some("a"), failed)]);
    let shown = shown(&run);
    assert_eq!(
        Value::Object((*shown.payload).clone()),
        json!({"who": {"ssn": "sealed", "name": "Ada"}, "copy": "sealed", "gone": "erased"})
    );
    let step = shown.step("a").expect("it began");
    assert_eq!((step.note.as_deref(), step.seen.is_none()), (Some("sealed"), true));
    assert!(!format!("{shown:?}").contains("123-45-6789"));
    let plain = self::run(json!([]), script(), json!({"a b": 1}), vec![]);
    assert!(Arc::ptr_eq(&plain, &super::shown(&plain)), "nothing is copied where nothing is sealed");
}

#[test]
fn what_came_back_as_sealed_stays_what_it_was() {
    let payload = json!({"who": {"ssn": "123-45-6789", "name": "Ada"}, "l": ["123-45-6789", 1]});
    let run = run(json!(["payload.who.ssn"]), script(), payload, vec![]);
    let sent = json!({"who": {"ssn": "sealed", "name": "Bob"}, "l": ["sealed", "sealed"], "new": "sealed"});
    let back = restored(&run, sent.as_object().cloned().expect("an object"), &run.payload);
    let expected = json!({"who": {"ssn": "123-45-6789", "name": "Bob"}, "l": ["123-45-6789", "sealed"], "new": "sealed"});
    assert_eq!(Value::Object(back), expected);
}

#[test]
fn what_a_version_marked_stays_sealed_when_the_run_moves_on() {
    let to = ProtocolRef { id: 1, version: 2, name: "x".to_owned() };
    let moved = EventKind::RunMigrated { to, reason: "so".to_owned(), via: None };
    let before = run(json!(["payload.ssn"]), script(), json!({"ssn": "1234"}), vec![recorded(None, moved)]);
    let mut after = Run::clone(&before);
    after.protocol = Arc::new(Protocol::parse(&json!({"tasks": script()})).expect("valid"));
    assert_eq!(shown(&Arc::new(after)).payload["ssn"], "sealed");
}

#[test]
fn copies_of_a_value_that_was_replaced_stay_sealed() {
    let path = vec!["ssn".to_owned()];
    let set = EventKind::ValueSet { path, value: json!("new-number"), reason: "so".to_owned(), via: None };
    let payload = json!({"ssn": "old-number", "copy": "old-number"});
    let run = run(json!(["payload.ssn"]), script(), payload, vec![recorded(None, set)]);
    assert_eq!(Value::Object((*shown(&run).payload).clone()), json!({"ssn": "sealed", "copy": "sealed"}));
    let done = EventKind::StepDone { result: json!(["old-number", "new-number"]) };
    let both = [("/result/0", "payload.ssn"), ("/result/1", "payload.ssn")];
    assert_eq!(sealed(&run, Some("a"), &done), pairs(&both));
    assert!(!format!("{:?}", shown(&run)).contains("-number"));
}
