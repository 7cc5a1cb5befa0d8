//! JSON Schemas of answers: compiled, and held against what came back.
//!
//! Must never fetch anything: a `$ref` leads inside its own schema or the schema is refused. Patterns are matched in
//! linear time, so that no answer can hang the check.

use super::exchange::readable;
use jsonschema::{PatternOptions, Validator};
use serde_json::Value;

const MAX_VIOLATIONS: usize = 5;
const VIOLATION_CHARS: usize = 200;

/// A compiled JSON Schema.
#[derive(Debug)]
pub(super) struct Schema(Validator);

impl Schema {
    /// Errors are sentences without a full stop.
    pub fn compile(schema: &Value) -> Result<Schema, String> {
        if !schema.is_object() {
            return Err("a schema is an object".to_owned());
        }
        let options = jsonschema::options().offline().with_pattern_options(PatternOptions::regex());
        options.build(schema).map(Schema).map_err(|cause| readable(&cause.to_string(), VIOLATION_CHARS))
    }

    /// The first few places where `value` breaks the schema, each as `/path: what is wrong`.
    pub fn violations(&self, value: &Value) -> Vec<String> {
        let describe = |violation: jsonschema::ValidationError<'_>| {
            let path = violation.instance_path().to_string();
            let path = if path.is_empty() { "the whole answer" } else { path.as_str() };
            format!(
                "{}: {}",
                readable(path, VIOLATION_CHARS),
                readable(&violation.to_string(), VIOLATION_CHARS)
            )
        };
        self.0.iter_errors(value).take(MAX_VIOLATIONS).map(describe).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::Schema;
    use serde_json::json;

    #[test]
    fn violations_name_their_places_and_stop_at_five() {
        let schema = Schema::compile(&json!({
            "type": "object", "required": ["risk"], "additionalProperties": false,
            "properties": {"risk": {"enum": ["low", "high"]}, "n": {"items": {"type": "integer"}}}
        }))
        .unwrap();
        assert_eq!(schema.violations(&json!({"risk": "low", "n": [1, 2]})), Vec::<String>::new());
        assert!(schema.violations(&json!({"risk": "odd"}))[0].starts_with("/risk: "));
        assert!(schema.violations(&json!({}))[0].starts_with("the whole answer: "));
        let many = schema.violations(&json!({"risk": "low", "n": ["a", "b", "c", "d", "e", "f", "g"]}));
        assert_eq!(many.len(), 5);
        assert!(many[4].starts_with("/n/4: "), "{many:?}");
    }

    #[test]
    fn references_stay_inside_the_schema() {
        let inside =
            json!({"$defs": {"r": {"type": "string"}}, "properties": {"risk": {"$ref": "#/$defs/r"}}});
        assert_eq!(Schema::compile(&inside).unwrap().violations(&json!({"risk": 5})).len(), 1);
        for reference in
            ["http://127.0.0.1:9/x.json", "https://schemas.example/x", "file:///etc/passwd", "x.json"]
        {
            assert!(Schema::compile(&json!({"$ref": reference})).is_err(), "{reference}");
        }
    }

    #[test]
    fn what_is_no_schema_is_refused() {
        for broken in [json!({"type": "thing"}), json!({"pattern": "("}), json!(true), json!("x"), json!([])]
        {
            assert!(Schema::compile(&broken).is_err(), "{broken}");
        }
    }
}
