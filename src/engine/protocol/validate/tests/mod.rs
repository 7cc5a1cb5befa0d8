//! The reader of documents: what is taken, what is refused, where and with which words.

mod groups;
mod kinds;

use crate::engine::protocol::{MAX_TASKS, Missed, Overlap, Protocol, WhenFull, Work};
use proptest::prelude::*;
use serde_json::{Value, json};

fn tasks(tasks: Value) -> Value {
    json!({ "tasks": tasks })
}

fn problems(document: &Value) -> Vec<(String, String)> {
    let problems = Protocol::parse(document).err().unwrap_or_default();
    problems.into_iter().map(|problem| (problem.path, problem.message)).collect()
}

/// The one thing that is wrong: where, and words of the sentence.
fn refused(document: Value, path: &str, words: &str) {
    let found = problems(&document);
    assert!(
        found.len() == 1 && found[0].0 == path && found[0].1.contains(words),
        "wanted {path}: …{words}…, got {found:#?} for {document}"
    );
}

fn parsed(document: Value) -> Protocol {
    Protocol::parse(&document).unwrap_or_else(|problems| panic!("{problems:#?} in {document}"))
}

fn work(task: Value) -> Work {
    parsed(tasks(json!([task]))).tasks[0].work.clone()
}

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
fn a_protocol_that_is_not_an_object_is_refused() {
    for document in [json!([]), json!(1), json!({}), json!({"tasks": []}), json!({"tasks": {}})] {
        assert!(Protocol::parse(&document).is_err(), "{document}");
    }
}

#[test]
fn an_unknown_field_and_a_field_of_another_type_are_told_apart() {
    let document = json!({"colour": [], "tasks": [
        {"id": "a", "type": "script", "quorum": 2, "two words": 1, "ID": 1},
        {"id": "b", "type": "wait", "minutes": 1, "tasks": [], "with": {}}]});
    let found = problems(&document);
    for (path, words) in [
        ("$.colour", "is not a field of this"),
        ("$.tasks[0].quorum", "is a field of `hitl` tasks, and this one is `script`"),
        ("$.tasks[0]['two words']", "is not a field of this"),
        ("$.tasks[0].ID", "use one of id, type"),
        ("$.tasks[1].tasks", "is a field of `parallel` tasks"),
        ("$.tasks[1].with", "`script` and `agent` and `protocol`"),
    ] {
        assert!(
            found.iter().any(|(at, said)| at == path && said.contains(words)),
            "{path} {words}: {found:#?}"
        );
    }
    assert_eq!(found.len(), 6);
}

#[test]
fn a_schedule_has_a_pattern_a_zone_and_a_payload_that_fits() {
    let with = |schedule: Value| {
        json!({"schedule": schedule, "tasks": [{"id": "a", "type": "script"}],
            "input": {"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"]}})
    };
    let schedule = parsed(with(
        json!({"cron": " 30 7 * * MON-FRI ", "time_zone": "Europe/Berlin", "payload": {"n": 1.0},
        "missed": "run_once", "overlap": "wait"}),
    ))
    .schedule
    .expect("a schedule");
    assert_eq!((schedule.cron.as_str(), schedule.time_zone), ("30 7 * * MON-FRI", chrono_tz::Europe::Berlin));
    assert_eq!(Value::Object(schedule.payload), json!({"n": 1}));
    assert_eq!((schedule.missed, schedule.overlap), (Missed::RunOnce, Overlap::Wait));
    let plain =
        parsed(with(json!({"cron": "*/10 * * * * *", "payload": {"n": 1}}))).schedule.expect("a schedule");
    assert_eq!(
        (plain.time_zone, plain.missed, plain.overlap),
        (chrono_tz::UTC, Missed::Skip, Overlap::Allow)
    );
    for (rest, field, words) in [
        (json!({"cron": null}), "cron", "must be a text"),
        (json!({"cron": "* * * *"}), "cron", "has 4 fields"),
        (json!({"cron": "0 0 0 1 1 * 2027"}), "cron", "has 7 fields"),
        (json!({"cron": "@daily"}), "cron", "has 1 fields"),
        (json!({"cron": "61 * * * *"}), "cron", "is not a schedule"),
        (json!({"cron": "0 0 30 2 *"}), "cron", "never comes"),
        (json!({"time_zone": "Europe/Nowhere"}), "time_zone", "IANA"),
        (json!({"payload": []}), "payload", "must be an object"),
        (json!({"payload": {"n": "x"}}), "payload", "does not fit `input`"),
        (json!({"payload": {}}), "payload", "does not fit `input`"),
        (json!({"payload": {"n": 1, "a": 2}}), "payload", "where the result of $.tasks[0] goes"),
        (json!({"missed": "all"}), "missed", "`skip`, `run_once`"),
        (json!({"every": "day"}), "every", "is not a field of this"),
    ] {
        let mut schedule = json!({"cron": "* * * * *", "payload": {"n": 1}});
        schedule.as_object_mut().unwrap().extend(rest.as_object().unwrap().clone());
        refused(with(schedule), &format!("$.schedule.{field}"), words);
    }
    refused(with(json!({"payload": {"n": 1}})), "$.schedule.cron", "is missing");
    refused(with(json!("* * * * *")), "$.schedule", "must be a schedule (an object)");
}

#[test]
fn concurrency_has_a_key_and_a_limit() {
    let with =
        |concurrency: Value| json!({"concurrency": concurrency, "tasks": [{"id": "a", "type": "script"}]});
    let limited = parsed(with(json!({"key": "${payload.office}", "limit": 2}))).concurrency.expect("a limit");
    assert_eq!((limited.limit, limited.when_full), (2, WhenFull::Wait));
    refused(with(json!({"limit": 2})), "$.concurrency.key", "is missing");
    refused(with(json!({"key": "k"})), "$.concurrency.limit", "is missing");
    refused(with(json!({"key": "k", "limit": 0})), "$.concurrency.limit", "from 1");
    refused(with(json!({"key": "${office}", "limit": 1})), "$.concurrency.key", "names `office`");
    refused(
        with(json!({"key": "k", "limit": 1, "when_full": "drop"})),
        "$.concurrency.when_full",
        "`wait`, `refuse`",
    );
}

#[test]
fn paths_to_seal_are_read_with_their_exemptions() {
    let with = |redact: Value| json!({"redact": redact, "tasks": [{"id": "a", "type": "script"}]});
    let protocol = parsed(with(
        json!(["payload.applicant.ssn", {"path": "payload.parties.*.born", "exemption": "b(6)"}]),
    ));
    let paths: Vec<String> = protocol.redact.iter().map(|mark| mark.path.join("/")).collect();
    assert_eq!(paths, ["applicant/ssn", "parties/*/born"]);
    assert_eq!(protocol.redact[1].exemption.as_deref(), Some("b(6)"));
    parsed(with(json!([])));
    for (redact, path, words) in [
        (json!("payload.a"), "$.redact", "must be a list of paths"),
        (json!([1]), "$.redact[0]", "must be a path"),
        (json!(["payload"]), "$.redact[0]", "is not a path"),
        (json!(["applicant.ssn"]), "$.redact[0]", "is not a path"),
        (json!(["payload.a", "payload..b"]), "$.redact[1]", "is not a path"),
        (json!([{"exemption": "b(6)"}]), "$.redact[0].path", "is missing"),
        (json!([{"path": "payload.a", "exemption": " "}]), "$.redact[0].exemption", "is blank"),
        (json!([{"path": "payload.a", "why": "x"}]), "$.redact[0].why", "is not a field of this"),
        (json!(["payload.a", "payload.a.b"]), "$.redact[1]", "Remove one of them"),
        (json!(["payload.*.b", "payload.a"]), "$.redact[1]", "Remove one of them"),
        (json!(vec!["payload.a"; 101]), "$.redact", "at most 100"),
    ] {
        refused(with(redact), path, words);
    }
}

#[test]
fn what_is_sealed_in_a_branch_is_sealed_in_the_list_of_its_group() {
    let document = json!({"redact": ["payload.fees.card", "payload.inner_step.name"], "tasks": [
        {"id": "each", "type": "parallel", "for_each": "payload.l", "tasks": [{"id": "fees", "type": "script"}]},
        {"id": "outer", "type": "parallel", "saves": "o", "tasks": [
            {"id": "plain", "type": "script"},
            {"id": "inner", "type": "parallel", "tasks": [{"id": "inner_step", "type": "script"}]}]}]});
    let paths: Vec<String> = parsed(document).redact.iter().map(|mark| mark.path.join(".")).collect();
    assert_eq!(paths, ["fees.card", "inner_step.name", "each.*.card", "inner.0.name", "o.1.0.name"]);
}

#[test]
fn input_that_no_run_could_have_is_refused() {
    let with =
        |input: Value| json!({"input": input, "tasks": [{"id": "a", "type": "script", "saves": "licence"}]});
    refused(
        with(json!({"required": ["licence"]})),
        "$.input.required",
        "where the result of $.tasks[0] goes",
    );
    refused(with(json!({"type": "thing"})), "$.input", "not a valid JSON Schema");
    refused(with(json!(true)), "$.input", "must be a JSON Schema (an object)");
    parsed(with(json!({"required": ["license_id"]})));
}

#[test]
fn hostile_documents_are_refused_and_never_crash() {
    for cron in [
        "L L L L L",
        "# # # # #",
        "*/0 * * * *",
        "0/99999999999 * * * *",
        "1-0 * * * *",
        "ä ä ä ä ä",
        "+ + + + +",
        "W W W W W",
        "* * 32 13 8",
        "* * * * 1#6",
        "* * L-99 * *",
        "* * 1W,,1 * *",
        "? ? ? ? ?",
        "JANJAN * * FEBMON SUNSUN",
        "- - - - -",
        "* * * * +",
    ] {
        drop(Protocol::parse(&json!({"schedule": {"cron": cron}, "tasks": [{"id": "a", "type": "script"}]})));
    }
    let deep = (0..120).fold(json!("x"), |inner, _| json!({"id": "g", "type": "parallel", "tasks": [inner]}));
    assert!(!problems(&tasks(json!([deep]))).is_empty());
    let same = vec![json!({"id": "a", "type": "script"}); MAX_TASKS];
    assert_eq!(problems(&tasks(json!(same))).len(), MAX_TASKS - 1);
    let back: Vec<Value> = (0..MAX_TASKS)
        .map(|index| json!({"id": format!("h{index}"), "type": "hitl", "returns_to": "h9999"}))
        .collect();
    assert_eq!(problems(&tasks(json!(back))).len(), MAX_TASKS);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 500, failure_persistence: None, ..ProptestConfig::default() })]

    /// What reads the pattern is not ours: whatever it is given, the answer is a schedule or a sentence.
    #[test]
    fn no_cron_pattern_crashes_the_reader(cron in "([0-9LWMONJAä#,*/+?@-]{1,6} {1,2}){4,6}[0-9L#,*/+?-]{1,6}") {
        let document = json!({"schedule": { "cron": cron }, "tasks": [{"id": "a", "type": "script"}]});
        for (path, _) in problems(&document) {
            prop_assert_eq!(path, "$.schedule.cron");
        }
    }

    #[test]
    fn plausible_cron_patterns_are_read_at_once(
        cron in "([0-9]|[1-5][0-9]|\\*|\\*/[1-9]) ([0-9]|1[0-9]|\\*) ([1-9]|[12][0-9]|3[01]|L|\\*) ([1-9]|1[0-2]|\\*) ([0-7]|MON|\\*)",
    ) {
        let document = json!({"schedule": { "cron": cron }, "tasks": [{"id": "a", "type": "script"}]});
        // Only 30 and 31 February, and their like, never come.
        prop_assert!(problems(&document).iter().all(|(_, message)| message.contains("never comes")));
    }
}
