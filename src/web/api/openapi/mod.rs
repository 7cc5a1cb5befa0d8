//! The published description of the API: OpenAPI 3.1, at `/openapi.json` and from `hms-act openapi`.
//!
//! One file a noun, beside the handlers that it describes: shapes first, then the calls. Nothing here is executed by
//! a request, so the tests hold it against what is: the table of URLs ([`super::super::routes`]), and the answers of
//! a running server (`tests/openapi.rs`).

#[expect(dead_code, reason = "shapes: only their descriptions are used")]
mod approvals;
mod call;
#[expect(dead_code, reason = "shapes: only their descriptions are used")]
mod events;
mod evidence;
#[expect(dead_code, reason = "shapes: only their descriptions are used")]
mod log;
#[expect(dead_code, reason = "shapes: only their descriptions are used")]
mod overrides;
#[expect(dead_code, reason = "shapes: only their descriptions are used")]
mod problem;
#[expect(dead_code, reason = "shapes: only their descriptions are used")]
mod protocols;
#[expect(dead_code, reason = "shapes: only their descriptions are used")]
mod redactions;
#[expect(dead_code, reason = "shapes: only their descriptions are used")]
mod registry;
#[expect(dead_code, reason = "shapes: only their descriptions are used")]
mod run_acts;
#[expect(dead_code, reason = "shapes: only their descriptions are used")]
mod runs;
#[expect(dead_code, reason = "shapes: only their descriptions are used")]
mod schedules;
#[expect(dead_code, reason = "shapes: only their descriptions are used")]
mod service;
#[cfg(test)]
mod tests;
#[expect(dead_code, reason = "shapes: only their descriptions are used")]
mod what_if;
#[expect(dead_code, reason = "shapes: only their descriptions are used")]
mod work;

use crate::auth::session::COOKIE_NAME;
use call::Call;
use std::sync::LazyLock;
use utoipa::openapi::path::PathsBuilder;
use utoipa::openapi::security::{ApiKey, ApiKeyValue, HttpAuthScheme, HttpBuilder, SecurityScheme};
use utoipa::openapi::tag::TagBuilder;
use utoipa::openapi::{ComponentsBuilder, InfoBuilder, LicenseBuilder, OpenApi, OpenApiBuilder};

/// Names of the security schemes.
const BEARER: &str = "bearer";
const SESSION: &str = "session";

const ABOUT: &str = "Start a run of a protocol, watch it, decide what waits for a person, play it back.\n\n\
    Send a bearer token (`hms-act token --user NAME --scope \"runs:read runs:write\"`). What a token may do is what \
    its scopes and its user's role both allow. Errors are problems (RFC 9457) that say what to do next. Times are \
    RFC 3339, in UTC. Lists give `next`, a cursor for the following page, and a `Link` header; filters combine. \
    Unknown fields and unknown query parameters are refused, so that a misspelt one is never passed over.";

const TAGS: [(&str, &str); 10] = [
    (runs::TAG, "One execution of one version of a protocol."),
    (approvals::TAG, "What waits for a person's decision."),
    (events::TAG, "What happened outside, for the steps that wait for it."),
    (overrides::TAG, "An official stops or changes a run in flight, and another decides."),
    (redactions::TAG, "One person asks that something sealed is erased for good, and another decides."),
    (protocols::TAG, "Versioned lists of tasks."),
    (registry::TAG, "What a step may call: actions are services, agents are AI models."),
    (work::TAG, "Doing what steps ask for, from outside."),
    (log::TAG, "The append-only record of every move."),
    (service::TAG, "The service itself. None of these calls needs a token."),
];

/// The document as JSON, made once.
pub fn json() -> &'static str {
    static JSON: LazyLock<String> =
        LazyLock::new(|| document().to_pretty_json().expect("a description is plain JSON"));
    &JSON
}

fn document() -> OpenApi {
    let calls = [
        runs::calls(),
        run_acts::calls(),
        what_if::calls(),
        approvals::calls(),
        events::calls(),
        overrides::calls(),
        redactions::calls(),
        protocols::calls(),
        schedules::calls(),
        registry::calls(),
        work::calls(),
        log::calls(),
        evidence::calls(),
        service::calls(),
    ];
    let mut paths = PathsBuilder::new().build();
    let mut components = problem::components(security(ComponentsBuilder::new()));
    for call in calls.into_iter().flatten() {
        let Call { method, path, operation, schemas } = call;
        components = components.schemas_from_iter(schemas);
        paths.add_path_operation(path, vec![method], operation);
    }
    let licence = LicenseBuilder::new().name("Apache-2.0").identifier(Some("Apache-2.0")).build();
    let info = InfoBuilder::new()
        .title("HMS-ACT API")
        .version(env!("CARGO_PKG_VERSION"))
        .description(Some(ABOUT))
        .license(Some(licence));
    let tag = |(name, about)| TagBuilder::new().name(name).description(Some(about)).build();
    OpenApiBuilder::new()
        .info(info)
        .tags(Some(TAGS.map(tag)))
        .paths(paths)
        .components(Some(components.build()))
        .build()
}

fn security(components: ComponentsBuilder) -> ComponentsBuilder {
    let bearer = HttpBuilder::new()
        .scheme(HttpAuthScheme::Bearer)
        .bearer_format("JWT")
        .description(Some(
            "A token from `hms-act token`, signed with EdDSA; its scopes limit what it may do.",
        ))
        .build();
    let cookie = "The dashboard's own session. A request that changes something must come from this origin, or \
                  carry the session's token in X-CSRF-Token.";
    let session = ApiKey::Cookie(ApiKeyValue::with_description(COOKIE_NAME, cookie));
    components
        .security_scheme(BEARER, SecurityScheme::Http(bearer))
        .security_scheme(SESSION, SecurityScheme::ApiKey(session))
}
