//! What demo mode puts into the database, as plain data: the protocol, its actions and its agent.
//!
//! Pure. Knows the protocol language and the agency's URLs; it never writes anywhere.

use super::agent::MODEL;
use super::repository::applications;
use serde_json::{Value, json};

/// The protocol's number, as the first guide to the product has it.
pub const PROTOCOL_ID: i64 = 7;

/// Name, kind and configuration of an action or agent.
pub type Registration = (&'static str, &'static str, Value);

/// Protocol 7, "Export licence renewal".
pub fn protocol() -> Value {
    json!({
        "name": "Export licence renewal",
        "description": "Renews an export licence: gets the application, checks every party against a screening \
                        list, drafts the letter, asks a supervisor, and publishes the licence to the exporter.",
        "input": {
            "type": "object",
            "properties": {
                "license_id": {
                    "type": "integer",
                    "title": "Licence number",
                    "description": format!("The licence to renew. The demo has {}.", range()),
                    "minimum": 1,
                },
                "also_check": {
                    "type": "string",
                    "title": "Other names to check",
                    "description": "Optional. Names that are screened too, with semicolons between them.",
                },
            },
            "required": ["license_id"],
        },
        "tasks": [
            {"id": "fetch_data", "type": "script", "title": "Get the application"},
            {"id": "ai_analysis", "type": "agent", "title": "Screen the parties", "max_minutes": 5},
            {"id": "draft_letter", "type": "script", "title": "Draft the licence letter"},
            {"id": "human_approval", "type": "hitl", "title": "Approve the renewal", "approvers": "supervisor"},
            {"id": "deploy", "type": "script", "title": "Publish the licence to the exporter", "with": publication()},
        ],
    })
}

/// What the portal is sent: what is published, and not when and by whom it was approved, so that a rerun that is
/// approved again publishes nothing twice.
fn publication() -> Value {
    json!({
        "license_id": "${payload.license_id}",
        "fetch_data": "${payload.fetch_data}",
        "ai_analysis": {"risk": "${payload.ai_analysis.risk}"},
        "draft_letter": "${payload.draft_letter}",
        "human_approval":
            "${has(payload.human_approval) ? {'decision': payload.human_approval.decision} : null}",
    })
}

/// The actions of the protocol, and `audit_sync` to insert before `deploy`. `base_url` has no slash at its end.
pub fn actions(base_url: &str) -> Vec<Registration> {
    let post =
        |path: &str| json!({"method": "POST", "url": format!("{base_url}{path}"), "timeout_seconds": 20});
    let application = format!("{base_url}/repository/applications/${{input.license_id}}");
    vec![
        ("fetch_data", "http", json!({"method": "GET", "url": application, "timeout_seconds": 20})),
        ("draft_letter", "http", post("/letters")),
        ("deploy", "http", post("/portal/licences")),
        ("audit_sync", "http", post("/audit/sync")),
    ]
}

/// The agent of the protocol.
pub fn agents(base_url: &str) -> Vec<Registration> {
    let prompt = "You check export licence applications. Compare the name of every party in the application with \
                  the screening list. Say which listed names each one resembles, how closely, and why. A high risk \
                  is the same name written differently; a medium risk is a name that a person should look at; \
                  anything else is low. Do not decide about the licence: a supervisor does.";
    let config = json!({
        "endpoint": format!("{base_url}/agent/v1/"),
        "model": MODEL,
        "prompt": prompt,
        "schema": answer_schema(),
        "timeout_seconds": 60,
    });
    vec![("ai_analysis", "openai", config)]
}

/// The applications that the demo has: number and one line about each, for the start form's hint.
pub fn licences() -> Vec<(i64, String)> {
    let line = |application: &Value| {
        let about = application["about"].as_str().unwrap_or_default();
        (application["license_id"].as_i64().unwrap_or_default(), about.to_owned())
    };
    applications().iter().map(line).collect()
}

fn range() -> String {
    let numbers = || licences().into_iter().map(|(number, _)| number);
    format!("{} to {}", numbers().min().unwrap_or_default(), numbers().max().unwrap_or_default())
}

/// What the agent answers. Every field is always there, so that strict providers accept the schema as it is.
pub fn answer_schema() -> Value {
    let text = |description: &str| json!({"type": "string", "description": description});
    let texts =
        |description: &str| json!({"type": "array", "items": {"type": "string"}, "description": description});
    let likeness = json!({
        "type": "object",
        "properties": {
            "party": text("Name of the party in the application"),
            "party_role": text("Role of the party"),
            "score": {"type": "number", "description": "0 to 1: how closely the names agree"},
            "entry": text("Name on the list"),
            "matched_name": text("The name or alias on the list that agreed"),
            "reasons": texts("Why the names are taken for one another"),
            "list": text("The list that the entry is on"),
            "entry_id": text("The entry's number on its list"),
            "programs": texts("Sanctions programmes of the entry"),
            "address": text("Addresses of the entry"),
            "source_url": text("Where the list is published"),
        },
        "required": ["party", "party_role", "score", "entry", "matched_name", "reasons", "list", "entry_id",
                     "programs", "address", "source_url"],
        "additionalProperties": false,
    });
    json!({
        "type": "object",
        "properties": {
            "risk": {"type": "string", "enum": ["low", "medium", "high"]},
            "score": {"type": "number", "description": "0 to 1: the closest likeness found"},
            "summary": text("One or two plain sentences for the supervisor"),
            "screened": {"type": "integer", "description": "How many names were checked"},
            "list_name": text("The list that was used"),
            "list_entries": {"type": "integer", "description": "How many entries it has"},
            "matches": {"type": "array", "items": likeness},
        },
        "required": ["risk", "score", "summary", "screened", "list_name", "list_entries", "matches"],
        "additionalProperties": false,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_task_of_the_protocol_has_what_it_uses() {
        let base = "http://127.0.0.1:1";
        let known: Vec<&str> = actions(base).iter().chain(&agents(base)).map(|(name, _, _)| *name).collect();
        for task in protocol()["tasks"].as_array().expect("tasks") {
            let id = task["id"].as_str().expect("an id");
            assert!(task["type"] == "hitl" || known.contains(&id), "{id}");
            assert!(task["title"].is_string(), "{id}");
        }
    }

    #[test]
    fn the_start_form_takes_a_whole_number() {
        let schema = jsonschema::validator_for(&protocol()["input"]).expect("a schema");
        assert!(schema.is_valid(&json!({"license_id": 123})));
        assert!(!schema.is_valid(&json!({"license_id": "123"})) && !schema.is_valid(&json!({})));
        assert!(licences().len() >= 8 && licences().iter().any(|(number, _)| *number == 123));
    }
}
