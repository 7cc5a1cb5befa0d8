//! CEL in protocols: `${ … }` inside strings, bare expressions in `when`.
use serde_json::Value;

/// Why an expression could not be read or evaluated. `message` is a sentence for the author.
#[derive(Debug, Clone, thiserror::Error, PartialEq)]
#[error("{message}")]
pub struct ExpressionError {
    pub expression: String,
    pub message: String,
}

/// Resolves every `${ CEL }` in the strings of `template`; a string that is one expression keeps its type.
/// `names` are the variables, for example `[("payload", &payload)]` or `[("input", …), ("payload", …)]`.
pub fn resolve(_template: &Value, _names: &[(&str, &Value)]) -> Result<Value, ExpressionError> {
    unimplemented!("being written")
}
