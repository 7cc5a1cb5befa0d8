//! `/acts/actions` and `/acts/agents`: two registries of one shape.

use super::call::{AnswerHeader, Call, get, post, put};
use crate::auth::policy::Permission;
use chrono::{DateTime, Utc};
use serde_json::{Value, json};
use utoipa::ToSchema;

pub const TAG: &str = "Actions and agents";

const NAME: &str = "The name that it is registered under.";

/// An action or an agent.
#[derive(ToSchema)]
struct Registered {
    #[schema(example = "fetch_data")]
    name: String,
    #[schema(example = "http")]
    kind: String,
    #[schema(value_type = Object)]
    config: (),
    version: i32,
    updated_by: String,
    updated_at: DateTime<Utc>,
}

#[derive(ToSchema)]
struct ActionList {
    actions: Vec<Registered>,
    /// The cursor of the next page; null on the last.
    #[schema(required)]
    next: Option<String>,
}

#[derive(ToSchema)]
struct AgentList {
    agents: Vec<Registered>,
    /// The cursor of the next page; null on the last.
    #[schema(required)]
    next: Option<String>,
}

#[derive(ToSchema)]
struct NewAction {
    /// Letters, digits, `_` and `-`. Tasks name it in `uses`.
    #[schema(min_length = 1, max_length = 100)]
    name: String,
    /// `http`, `worker`, `command` or `compute`.
    #[schema(min_length = 1, max_length = 20)]
    kind: String,
    /// For `http`: `method`, `url`, `headers`, `body`, `result`, `timeout_seconds`. For `command`: `program`, `args`,
    /// `environment`, `timeout_seconds`, `max_output_bytes`; `worker` and `compute` have none.
    #[schema(value_type = Option<Object>)]
    config: Option<()>,
}

#[derive(ToSchema)]
struct ChangedAction {
    /// A name cannot be changed: if it is sent, it is the one in the address.
    #[schema(min_length = 1, max_length = 100)]
    name: Option<String>,
    /// `http`, `worker`, `command` or `compute`.
    #[schema(min_length = 1, max_length = 20)]
    kind: String,
    /// The whole configuration: what is left out is gone.
    #[schema(value_type = Option<Object>)]
    config: Option<()>,
}

#[derive(ToSchema)]
struct NewAgent {
    /// Letters, digits, `_` and `-`. Tasks name it in `uses`.
    #[schema(min_length = 1, max_length = 100)]
    name: String,
    /// `openai`, which any compatible endpoint speaks; it may be left out.
    #[schema(min_length = 1, max_length = 20)]
    kind: Option<String>,
    /// `endpoint`, `model`, `prompt`, `schema`, `api_key_env`, `temperature`, `max_tokens`, `timeout_seconds`.
    #[schema(value_type = Option<Object>)]
    config: Option<()>,
}

#[derive(ToSchema)]
struct ChangedAgent {
    /// A name cannot be changed: if it is sent, it is the one in the address.
    #[schema(min_length = 1, max_length = 100)]
    name: Option<String>,
    /// `openai`, which any compatible endpoint speaks; it may be left out.
    #[schema(min_length = 1, max_length = 20)]
    kind: Option<String>,
    /// The whole configuration: what is left out is gone.
    #[schema(value_type = Option<Object>)]
    config: Option<()>,
}

pub fn calls() -> Vec<Call> {
    let mut calls = actions();
    calls.extend(agents());
    calls
}

fn actions() -> Vec<Call> {
    let (all, one) = ("/acts/actions", "/acts/actions/{name}");
    vec![
        list::<ActionList>(all, "listActions", "List actions by name"),
        create::<NewAction>(all, "createAction", "Register an action", action()),
        show(one, "getAction", "See an action"),
        save::<ChangedAction>(one, "saveAction", "Save the next version of an action", action()),
    ]
}

fn agents() -> Vec<Call> {
    let (all, one) = ("/acts/agents", "/acts/agents/{name}");
    vec![
        list::<AgentList>(all, "listAgents", "List agents by name"),
        create::<NewAgent>(all, "createAgent", "Register an agent", agent()),
        show(one, "getAgent", "See an agent"),
        save::<ChangedAgent>(one, "saveAgent", "Save the next version of an agent", agent()),
    ]
}

fn action() -> Value {
    let config = json!({"method": "GET", "url": "https://data.example.gov/licences/${input.license_id}"});
    json!({"name": "fetch_data", "kind": "http", "config": config})
}

fn agent() -> Value {
    let config = json!({
        "endpoint": "https://models.example.gov/v1/",
        "model": "screening-1",
        "prompt": "Screen the parties of this application: ${input.parties}",
    });
    json!({"name": "ai_analysis", "kind": "openai", "config": config})
}

fn list<T: ToSchema>(path: &'static str, id: &str, summary: &str) -> Call {
    let draft = get(path, id, summary).needs(Permission::ReadActions).list();
    draft.answer::<T>(200, "A page.", &[]).tag(TAG)
}

fn create<T: ToSchema>(path: &'static str, id: &str, summary: &str, example: Value) -> Call {
    post(path, id, summary)
        .needs(Permission::WriteProtocols)
        .body::<T>(example)
        .answer::<Registered>(201, "It is registered.", &[AnswerHeader::Location, AnswerHeader::ETag])
        .problem(409)
        .tag(TAG)
}

fn show(path: &'static str, id: &str, summary: &str) -> Call {
    get(path, id, summary)
        .needs(Permission::ReadActions)
        .path_text("name", NAME)
        .answer::<Registered>(200, "What is registered.", &[AnswerHeader::ETag])
        .tag(TAG)
}

fn save<T: ToSchema>(path: &'static str, id: &str, summary: &str, example: Value) -> Call {
    put(path, id, summary)
        .about("Attempts that begin from now on use it.")
        .needs(Permission::WriteProtocols)
        .path_text("name", NAME)
        .if_match()
        .body::<T>(example)
        .answer::<Registered>(200, "It is saved.", &[AnswerHeader::ETag])
        .problem(409)
        .tag(TAG)
}
