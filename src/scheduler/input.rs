//! Whether a payload fits the protocol that is to work on it: asked by whoever starts a run.

use crate::engine::protocol::Protocol;
use crate::engine::state::Payload;
use serde_json::Value;

/// Something in a payload that does not fit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Misfit {
    /// JSON path: `$.payload.case`.
    pub path: String,
    /// What is wrong and what to do.
    pub message: String,
}

/// Everything that does not fit the protocol's input schema, each with its JSON path.
pub fn input_problems(protocol: &Protocol, payload: &Payload) -> Vec<Misfit> {
    let Some(schema) = &protocol.input else { return Vec::new() };
    let validator = match jsonschema::validator_for(schema) {
        Ok(validator) => validator,
        Err(error) => {
            let message = format!("cannot be checked: the protocol's input is no JSON Schema ({error}).");
            return vec![Misfit { path: "$.payload".to_owned(), message }];
        }
    };
    let payload = Value::Object(payload.clone());
    let errors = validator.iter_errors(&payload).take(50).map(|error| Misfit {
        path: format!("$.payload{}", error.instance_path().to_string().replace('/', ".")),
        message: format!("{error}."),
    });
    errors.collect()
}

/// Fields of the payload that a step's result would overwrite without a word.
pub fn overwritten(protocol: &Protocol, payload: &Payload) -> Vec<Misfit> {
    // What is done for each item of a list saves nothing beside the list.
    let saving = protocol.all().into_iter().filter(|place| place.items.is_empty());
    let taken = saving.filter(|place| payload.contains_key(&place.task.saves));
    let problem = |key: &str, task: &str| Misfit {
        path: format!("$.payload.{key}"),
        message: format!("is where the result of the task `{task}` goes. Use another name for this field."),
    };
    taken.map(|place| problem(&place.task.saves, &place.task.id)).collect()
}
