//! What machines ask of the service itself.

use super::call::{Call, get};
use utoipa::ToSchema;

pub const TAG: &str = "Service";

#[derive(ToSchema)]
struct Health {
    #[schema(example = "ok")]
    status: String,
}

/// Public keys (RFC 7517).
#[derive(ToSchema)]
struct KeySet {
    keys: Vec<Key>,
}

/// An Ed25519 key (RFC 8037).
#[derive(ToSchema)]
struct Key {
    #[schema(example = "OKP")]
    kty: String,
    #[schema(example = "Ed25519")]
    crv: String,
    #[schema(rename = "use", example = "sig")]
    used_for: String,
    #[schema(example = "EdDSA")]
    alg: String,
    kid: String,
    /// The key, in base64url.
    x: String,
}

/// This document.
#[derive(ToSchema)]
struct Description {
    #[schema(example = "3.1.0")]
    openapi: String,
    #[schema(value_type = Object)]
    info: (),
    #[schema(value_type = Object)]
    paths: (),
}

pub fn calls() -> Vec<Call> {
    vec![healthz(), readyz(), metrics(), jwks(), openapi()]
}

fn healthz() -> Call {
    get("/healthz", "isAlive", "Ask whether the process answers")
        .open()
        .answer::<Health>(200, "It does.", &[])
        .tag(TAG)
}

fn readyz() -> Call {
    get("/readyz", "isReady", "Ask whether it can do its work")
        .about("The database answers, and it is not stopping.")
        .open()
        .answer::<Health>(200, "It can.", &[])
        .problem(503)
        .tag(TAG)
}

fn metrics() -> Call {
    get("/metrics", "getMetrics", "Read the figures")
        .open()
        .answer_text("Each with its meaning.", &[("text/plain", "The Prometheus text format, 0.0.4.")])
        .tag(TAG)
}

fn jwks() -> Call {
    get("/.well-known/jwks.json", "getKeys", "Read the public keys of the tokens")
        .open()
        .answer::<KeySet>(200, "The keys of all instances.", &[])
        .tag(TAG)
}

fn openapi() -> Call {
    get("/openapi.json", "getDescription", "Read this description")
        .about("For people it is at `/docs`.")
        .open()
        .answer::<Description>(200, "OpenAPI 3.1.", &[])
        .tag(TAG)
}
