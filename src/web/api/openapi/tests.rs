//! The description against the table of URLs, and against OpenAPI's own rules.

use super::super::super::routes;
use super::json;
use serde_json::Value;
use std::collections::BTreeSet;

fn document() -> Value {
    serde_json::from_str(json()).expect("JSON")
}

/// (path, method, operation)
fn operations(document: &Value) -> Vec<(String, String, Value)> {
    let mut found = Vec::new();
    for (path, item) in document["paths"].as_object().expect("paths") {
        for (method, operation) in item.as_object().expect("an item") {
            found.push((path.clone(), method.to_uppercase(), operation.clone()));
        }
    }
    found
}

#[test]
fn every_url_is_described_and_every_description_has_its_url() {
    let document = document();
    let described: BTreeSet<(String, String)> =
        operations(&document).into_iter().map(|(path, method, _)| (path, method)).collect();
    let answered: BTreeSet<(String, String)> =
        routes::described().map(|(path, method)| (path.to_owned(), method.to_string())).collect();
    assert_eq!(described.difference(&answered).collect::<Vec<_>>(), Vec::<&(String, String)>::new());
    assert_eq!(answered.difference(&described).collect::<Vec<_>>(), Vec::<&(String, String)>::new());
}

#[test]
fn document_says_what_it_is() {
    let document = document();
    assert_eq!(document["openapi"], "3.1.0");
    assert_eq!(document["info"]["title"], "HMS-ACT API");
    assert_eq!(document["info"]["version"], env!("CARGO_PKG_VERSION"));
    assert_eq!(document["info"]["license"]["identifier"], "Apache-2.0");
}

#[test]
fn every_operation_says_what_it_does_who_may_and_what_comes_back() {
    let document = document();
    let tags: Vec<&Value> =
        document["tags"].as_array().expect("tags").iter().map(|tag| &tag["name"]).collect();
    let mut ids = BTreeSet::new();
    for (path, method, operation) in operations(&document) {
        let place = format!("{method} {path}");
        let id = operation["operationId"].as_str().expect(&place);
        assert!(ids.insert(id.to_owned()), "{id} twice");
        assert!(operation["summary"].as_str().is_some_and(|text| !text.is_empty()), "{place}");
        assert!(tags.contains(&&operation["tags"][0]), "{place}: an unknown tag");
        let responses = operation["responses"].as_object().expect(&place);
        assert!(responses.keys().any(|status| status.starts_with('2')), "{place}: no good answer");
        assert!(responses.contains_key("500"), "{place}");
        let security = operation["security"].as_array().expect(&place);
        // A callback brings a token of its own.
        let open = path == "/acts/protocol.schema.json" || path.ends_with("/callback");
        let is_open = !path.starts_with("/acts/") && !path.starts_with("/hitl/") || open;
        assert_eq!(security.is_empty(), is_open, "{place}");
        assert_eq!(responses.contains_key("401"), !is_open, "{place}");
        check_parameters(&place, &path, &operation);
    }
}

/// Every `{name}` of the path is a required path parameter, and nothing else is; no parameter is there twice.
fn check_parameters(place: &str, path: &str, operation: &Value) {
    let none = Vec::new();
    let parameters = operation["parameters"].as_array().unwrap_or(&none);
    let of = |place: &str| -> Vec<&str> {
        let those = parameters.iter().filter(|parameter| parameter["in"] == place);
        those.map(|parameter| parameter["name"].as_str().expect("a name")).collect()
    };
    let in_path: Vec<&str> =
        path.split('/').filter_map(|part| part.strip_prefix('{')?.strip_suffix('}')).collect();
    assert_eq!(of("path"), in_path, "{place}");
    let mut seen = BTreeSet::new();
    for parameter in parameters {
        assert!(seen.insert((parameter["in"].to_string(), parameter["name"].to_string())), "{place}");
        assert_eq!(parameter["required"], parameter["in"] == "path", "{place}");
        assert!(parameter["schema"].is_object() && parameter["description"].is_string(), "{place}");
    }
}

#[test]
fn every_body_refuses_unknown_fields_and_its_example_fits() {
    let document = document();
    let mut bodies = 0;
    for (path, method, operation) in operations(&document) {
        let Some(body) = operation.get("requestBody") else { continue };
        let content = &body["content"]["application/json"];
        let name = content["schema"]["$ref"].as_str().expect("a name");
        let schema = document.pointer(&name[1..]).expect("it resolves");
        assert_eq!(schema["additionalProperties"], false, "{method} {path}");
        let validator = validator(&document, name);
        let errors: Vec<String> =
            validator.iter_errors(&content["example"]).map(|error| error.to_string()).collect();
        assert!(errors.is_empty(), "{method} {path}: {errors:?}");
        bodies += 1;
    }
    assert_eq!(bodies, operations(&document).iter().filter(|(_, method, _)| method != "GET").count());
}

fn validator(document: &Value, reference: &str) -> jsonschema::Validator {
    let schema = serde_json::json!({"$ref": reference, "components": document["components"]});
    jsonschema::draft202012::new(&schema).expect("a schema of JSON Schema 2020-12")
}

#[test]
fn every_schema_is_json_schema_2020_12() {
    let document = document();
    for (name, schema) in document["components"]["schemas"].as_object().expect("schemas") {
        assert!(jsonschema::draft202012::meta::is_valid(schema), "{name}: {schema}");
        validator(&document, &format!("#/components/schemas/{name}"));
    }
}

#[test]
fn every_reference_resolves_and_nothing_is_left_over() {
    let document = document();
    let mut named = BTreeSet::new();
    references(&document, &mut named);
    for reference in &named {
        assert!(document.pointer(&reference[1..]).is_some(), "{reference} leads nowhere");
    }
    for kind in ["schemas", "responses"] {
        for name in document["components"][kind].as_object().expect("components").keys() {
            let reference = format!("#/components/{kind}/{name}");
            // Entries of a stream are named in words: OpenAPI 3.1 cannot say "one of these a line".
            assert!(named.contains(&reference) || name == "LogEntry", "{reference} is not used");
        }
    }
}

fn references(value: &Value, found: &mut BTreeSet<String>) {
    match value {
        Value::Object(map) => {
            if let Some(Value::String(reference)) = map.get("$ref") {
                found.insert(reference.clone());
            }
            map.values().for_each(|value| references(value, found));
        }
        Value::Array(items) => items.iter().for_each(|value| references(value, found)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}
