//! The published JSON Schema of protocols (draft 2020-12): for editors, and for whoever writes documents by program.
//!
//! It accepts and refuses what [`super::Protocol::parse`] does, but for what no schema can say; its description lists
//! that. `agreement.rs` holds the two to each other.

/// The document, as it is served at `/acts/protocol.schema.json`.
pub const JSON_SCHEMA: &str = include_str!("schema.json");
