//! `/acts/protocols`.

use super::call::{AnswerHeader, Call, get, post, put};
use crate::auth::policy::Permission;
use chrono::{DateTime, Utc};
use serde_json::{Value, json};
use utoipa::ToSchema;

pub const TAG: &str = "Protocols";

const NUMBER: &str = "The protocol's number.";

/// A protocol in a list.
#[derive(ToSchema)]
struct ProtocolRow {
    #[schema(example = 7)]
    id: i64,
    #[schema(example = "Export licence renewal")]
    name: String,
    /// The latest version.
    version: i32,
    created_by: String,
    created_at: DateTime<Utc>,
    updated_at: DateTime<Utc>,
}

#[derive(ToSchema)]
struct ProtocolList {
    protocols: Vec<ProtocolRow>,
    /// The cursor of the next page; null on the last.
    #[schema(required)]
    next: Option<String>,
}

/// A protocol in one version.
#[derive(ToSchema)]
struct Protocol {
    #[schema(example = 7)]
    id: i64,
    #[schema(example = "Export licence renewal")]
    name: String,
    /// The version that is shown.
    version: i32,
    latest_version: i32,
    created_by: String,
    created_at: DateTime<Utc>,
    updated_at: DateTime<Utc>,
    definition: Definition,
}

/// The tasks, in order. What a task may say is in `GET /acts/protocol.schema.json`, and is checked by
/// `POST /acts/protocols/validate`.
#[derive(ToSchema)]
struct Definition {
    #[schema(value_type = Vec<Object>)]
    tasks: Vec<()>,
    #[schema(nullable = false)]
    name: Option<String>,
    #[schema(nullable = false)]
    description: Option<String>,
    /// A JSON Schema for the payload of a run. The form that starts a run is drawn from it.
    #[schema(nullable = false, value_type = Option<Object>)]
    input: Option<()>,
    /// When runs begin by themselves.
    #[schema(nullable = false, value_type = Option<Object>)]
    schedule: Option<()>,
    /// How many runs with the same key may be on their way at once.
    #[schema(nullable = false, value_type = Option<Object>)]
    concurrency: Option<()>,
}

/// A JSON Schema (draft 2020-12).
#[derive(ToSchema)]
#[schema(value_type = Object)]
struct ProtocolSchema(());

#[derive(ToSchema)]
struct Version {
    version: i32,
    created_by: String,
    created_at: DateTime<Utc>,
}

#[derive(ToSchema)]
struct VersionList {
    versions: Vec<Version>,
    /// The cursor of the next page; null on the last.
    #[schema(required)]
    next: Option<String>,
}

#[derive(ToSchema)]
struct NewProtocol {
    /// No other protocol may have it.
    #[schema(min_length = 1, max_length = 200)]
    name: String,
    definition: Definition,
}

#[derive(ToSchema)]
struct NextVersion {
    /// Left out: the name stays.
    #[schema(min_length = 1, max_length = 200)]
    name: Option<String>,
    definition: Definition,
}

#[derive(ToSchema)]
struct ToCheck {
    /// What is sent to be saved can be sent to be checked. A name tells whether the protocol would reach itself through
    /// those that it uses.
    #[schema(min_length = 1, max_length = 200)]
    name: Option<String>,
    definition: Definition,
}

#[derive(ToSchema)]
struct Saved {
    id: i64,
    version: i32,
}

#[derive(ToSchema)]
struct Checked {
    /// True: what is wrong comes as a 422.
    valid: bool,
    /// Empty.
    #[schema(max_items = 0, value_type = Vec<Object>)]
    errors: Vec<()>,
}

fn example() -> Value {
    json!({
        "name": "Licence renewal",
        "definition": {
            "tasks": [
                {"id": "fetch_data", "type": "script"},
                {"id": "ai_analysis", "type": "agent"},
                {"id": "human_approval", "type": "hitl"},
                {"id": "deploy", "type": "script"},
            ]
        }
    })
}

pub fn calls() -> Vec<Call> {
    vec![index(), create(), schema(), validate(), show(), save(), versions()]
}

fn index() -> Call {
    get("/acts/protocols", "listProtocols", "List protocols")
        .needs(Permission::ReadProtocols)
        .list()
        .answer::<ProtocolList>(200, "A page of protocols.", &[])
        .tag(TAG)
}

fn create() -> Call {
    post("/acts/protocols", "createProtocol", "Write a new protocol")
        .needs(Permission::WriteProtocols)
        .body::<NewProtocol>(example())
        .answer::<Saved>(201, "It is saved as version 1.", &[AnswerHeader::Location, AnswerHeader::ETag])
        .problem(409)
        .tag(TAG)
}

fn schema() -> Call {
    get("/acts/protocol.schema.json", "getProtocolSchema", "Read the JSON Schema of definitions")
        .about("For editors and programs. Its description lists what only `POST /acts/protocols/validate` can tell.")
        .open()
        .answer_as::<ProtocolSchema>(200, "The schema.", "application/schema+json", &[])
        .problem(400)
        .tag(TAG)
}

fn validate() -> Call {
    post("/acts/protocols/validate", "validateProtocol", "Check a definition without saving it")
        .needs(Permission::ReadProtocols)
        .body::<ToCheck>(example())
        .answer::<Checked>(200, "Nothing is wrong with it.", &[])
        .tag(TAG)
}

fn show() -> Call {
    get("/acts/protocols/{id}", "getProtocol", "See a protocol")
        .needs(Permission::ReadProtocols)
        .path_number("id", NUMBER)
        .query_number("version", "Another version than the latest.")
        .answer::<Protocol>(200, "The protocol.", &[AnswerHeader::ETag])
        .tag(TAG)
}

fn save() -> Call {
    put("/acts/protocols/{id}", "saveProtocol", "Save the next version of a protocol")
        .about("Runs in flight keep the version that they began with.")
        .needs(Permission::WriteProtocols)
        .path_number("id", NUMBER)
        .if_match()
        .body::<NextVersion>(example())
        .answer::<Saved>(200, "It is saved.", &[AnswerHeader::ETag])
        .problem(409)
        .tag(TAG)
}

fn versions() -> Call {
    get(
        "/acts/protocols/{id}/versions",
        "listProtocolVersions",
        "List the versions of a protocol, newest first",
    )
    .needs(Permission::ReadProtocols)
    .path_number("id", NUMBER)
    .list()
    .answer::<VersionList>(200, "A page of versions.", &[])
    .tag(TAG)
}
