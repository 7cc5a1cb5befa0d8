//! The published JSON Schema against the reader: the same verdict on the same document, but for what no schema can say
//! ([`Problem::beyond_schema`]).

mod changes;
mod documents;

use super::{JSON_SCHEMA, Problem, Protocol};
use changes::{apply, change, field_names, odd_values, plausible_fields};
use documents::valid;
use jsonschema::Validator;
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::Index;
use serde_json::{Value, json};
use std::sync::LazyLock;

fn schema() -> &'static Validator {
    static SCHEMA: LazyLock<Validator> = LazyLock::new(|| {
        let schema: Value = serde_json::from_str(JSON_SCHEMA).expect("JSON");
        assert!(jsonschema::draft202012::meta::is_valid(&schema));
        jsonschema::draft202012::new(&schema).expect("a schema")
    });
    &SCHEMA
}

/// What the schema should say: only the problems that it can see count.
fn seen_by_schema(document: &Value) -> Vec<Problem> {
    let problems = Protocol::parse(document).err().unwrap_or_default();
    problems.into_iter().filter(|problem| !problem.beyond_schema).collect()
}

fn hold_to_each_other(document: &Value) {
    let (reader, schema) = (seen_by_schema(document), schema().validate(document).err());
    assert_eq!(reader.is_empty(), schema.is_none(), "{document:#}\nreader: {reader:#?}\nschema: {schema:?}");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn schema_and_reader_accept_the_same_documents(document in valid()) {
        prop_assert_eq!(Protocol::parse(&document).err(), None);
        hold_to_each_other(&document);
    }

    #[test]
    fn schema_and_reader_refuse_the_same_documents(
        document in valid(),
        changes in vec((any::<Index>(), change()), 1..4),
    ) {
        let mut document = document;
        for (place, change) in &changes {
            apply(&mut document, *place, change);
        }
        hold_to_each_other(&document);
    }
}

/// Each value in each field of each type: what a few thousand random documents may miss.
#[test]
fn schema_and_reader_agree_on_every_field_of_every_type() {
    let tasks = [
        json!({"id": "t", "type": "script"}),
        json!({"id": "t", "type": "agent", "max_minutes": 1}),
        json!({"id": "t", "type": "hitl", "due_minutes": 1}),
        json!({"id": "t", "type": "hitl", "max_minutes": 1, "escalate_to": "admin"}),
        json!({"id": "t", "type": "parallel", "tasks": [{"id": "u", "type": "script"}]}),
        json!({"id": "t", "type": "parallel", "for_each": "payload.l", "tasks": [{"id": "u", "type": "script"}]}),
        json!({"id": "t", "type": "wait", "minutes": 1}),
        json!({"id": "t", "type": "wait", "event": "e"}),
        json!({"id": "t", "type": "wait"}),
        json!({"id": "t", "type": "protocol"}),
        json!({"id": "t"}),
    ];
    let mut values = odd_values();
    for (_, value) in plausible_fields() {
        if !values.contains(&value) {
            values.push(value);
        }
    }
    for name in field_names() {
        for value in &values {
            for task in &tasks {
                let mut task = task.clone();
                task[name] = value.clone();
                hold_to_each_other(&json!({"tasks": [task]}));
            }
            let mut document = json!({"tasks": [{"id": "t", "type": "script"}]});
            document[name] = value.clone();
            hold_to_each_other(&document);
        }
    }
    for value in values {
        hold_to_each_other(&value);
    }
}
