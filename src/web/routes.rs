//! Every URL, in one table. The published description of the API (`api::openapi`) is held against it.

use super::api::{
    approvals, bundle, callbacks, docs, events, evidence, log, overrides, protocols, redactions, registry,
    replay, run_acts, runs, schedules, sealed, service, what_if, work,
};
use super::{pages, problem::AppError, static_files};
use actix_web::http::Method;
use actix_web::web::{self, ServiceConfig, get, resource, to};
use actix_web::{HttpRequest, HttpResponse, Route};

/// A method, and what answers it.
type Verb = (Method, fn(Route) -> Route);

/// What programs call. The order matters: the first address that fits is taken.
const API: &[(&str, &[Verb])] = &[
    ("/acts/run", &[(Method::POST, |post| post.to(runs::start))]),
    ("/acts/runs", &[(Method::GET, |get| get.to(runs::index))]),
    ("/acts/runs/{id}", &[(Method::GET, |get| get.to(runs::show))]),
    ("/acts/runs/{id}/replay", &[(Method::GET, |get| get.to(replay::replay))]),
    (
        "/acts/runs/{id}/bundle",
        &[(Method::GET, |get| get.to(bundle::bundle)), (Method::POST, |post| post.to(bundle::disclose))],
    ),
    ("/acts/runs/{id}/cancel", &[(Method::PATCH, |patch| patch.to(run_acts::cancel))]),
    ("/acts/runs/{id}/pause", &[(Method::POST, |post| post.to(run_acts::pause))]),
    ("/acts/runs/{id}/resume", &[(Method::POST, |post| post.to(run_acts::resume))]),
    ("/acts/runs/{id}/retry", &[(Method::POST, |post| post.to(run_acts::retry))]),
    ("/acts/runs/{id}/skip", &[(Method::POST, |post| post.to(run_acts::skip))]),
    ("/acts/runs/{id}/values", &[(Method::POST, |post| post.to(run_acts::set_value))]),
    ("/acts/runs/{id}/migrate", &[(Method::POST, |post| post.to(run_acts::migrate))]),
    ("/acts/runs/{id}/rerun", &[(Method::POST, |post| post.to(run_acts::rerun))]),
    ("/acts/runs/{id}/what-if", &[(Method::POST, |post| post.to(what_if::ask))]),
    ("/acts/runs/{id}/sealed", &[(Method::POST, |post| post.to(sealed::read))]),
    // A step's path has slashes: `{step}` takes all that stands between.
    ("/acts/runs/{id}/steps/{step}/callback", &[(Method::POST, |post| post.to(callbacks::call_back))]),
    ("/acts/work/claim", &[(Method::POST, |post| post.to(work::claim))]),
    ("/acts/work/{id}/heartbeat", &[(Method::POST, |post| post.to(work::heartbeat))]),
    ("/acts/work/{id}/complete", &[(Method::POST, |post| post.to(work::complete))]),
    ("/acts/work/{id}/fail", &[(Method::POST, |post| post.to(work::fail))]),
    ("/acts/approvals", &[(Method::GET, |get| get.to(approvals::index))]),
    ("/acts/approvals/{id}", &[(Method::GET, |get| get.to(approvals::show))]),
    ("/acts/approvals/{id}/decision", &[(Method::POST, |post| post.to(approvals::decide))]),
    ("/acts/events/{name}", &[(Method::POST, |post| post.to(events::receive))]),
    ("/acts/schedules", &[(Method::GET, |get| get.to(schedules::index))]),
    (
        "/hitl/overrides",
        &[(Method::GET, |get| get.to(overrides::index)), (Method::POST, |post| post.to(overrides::file))],
    ),
    ("/hitl/overrides/{id}", &[(Method::GET, |get| get.to(overrides::show))]),
    ("/hitl/overrides/{id}/decision", &[(Method::POST, |post| post.to(overrides::decide))]),
    (
        "/acts/redactions",
        &[(Method::GET, |get| get.to(redactions::index)), (Method::POST, |post| post.to(redactions::file))],
    ),
    ("/acts/redactions/{id}", &[(Method::GET, |get| get.to(redactions::show))]),
    ("/acts/redactions/{id}/decision", &[(Method::POST, |post| post.to(redactions::decide))]),
    (
        "/acts/protocols",
        &[(Method::GET, |get| get.to(protocols::index)), (Method::POST, |post| post.to(protocols::create))],
    ),
    ("/acts/protocol.schema.json", &[(Method::GET, |get| get.to(docs::protocol_schema))]),
    ("/acts/protocols/validate", &[(Method::POST, |post| post.to(protocols::validate))]),
    (
        "/acts/protocols/{id}",
        &[(Method::GET, |get| get.to(protocols::show)), (Method::PUT, |put| put.to(protocols::save))],
    ),
    ("/acts/protocols/{id}/versions", &[(Method::GET, |get| get.to(protocols::versions))]),
    ("/acts/actions", REGISTRY),
    ("/acts/actions/{name}", REGISTERED),
    ("/acts/agents", REGISTRY),
    ("/acts/agents/{name}", REGISTERED),
    ("/acts/log.csv", &[(Method::GET, |get| get.to(log::as_csv))]),
    ("/acts/log.ndjson", &[(Method::GET, |get| get.to(log::as_ndjson))]),
    ("/acts/log/checkpoint", &[(Method::GET, |get| get.to(evidence::checkpoint))]),
    ("/acts/log/key", &[(Method::GET, |get| get.to(evidence::key))]),
    // So has a tile's address.
    ("/acts/log/tile/{tile}", &[(Method::GET, |get| get.to(evidence::tile))]),
];

const REGISTRY: &[Verb] =
    &[(Method::GET, |get| get.to(registry::index)), (Method::POST, |post| post.to(registry::create))];
const REGISTERED: &[Verb] =
    &[(Method::GET, |get| get.to(registry::show)), (Method::PUT, |put| put.to(registry::save))];

/// What machines ask of the service itself.
const OPERATIONS: &[(&str, &[Verb])] = &[
    ("/healthz", &[(Method::GET, |get| get.to(service::healthz))]),
    ("/readyz", &[(Method::GET, |get| get.to(service::readyz))]),
    ("/metrics", &[(Method::GET, |get| get.to(service::metrics))]),
    ("/.well-known/jwks.json", &[(Method::GET, |get| get.to(service::jwks))]),
    ("/openapi.json", &[(Method::GET, |get| get.to(docs::document))]),
];

/// Everything that this app answers.
pub fn all(config: &mut ServiceConfig) {
    for (path, verbs) in API.iter().chain(OPERATIONS) {
        at(config, path, verbs);
    }
    config
        .service(web::scope("/acts").default_service(to(unknown)))
        .service(web::scope("/hitl").default_service(to(unknown)))
        .configure(docs::routes)
        .route("/static/{hash}/{path:.*}", get().to(static_files::serve))
        .configure(pages::handlers::routes);
}

/// One URL: its methods, and a 405 that names them for every other.
fn at(config: &mut ServiceConfig, path: &str, verbs: &[Verb]) {
    let names: Vec<&str> = verbs.iter().map(|(method, _)| method.as_str()).collect();
    let allow = names.join(", ");
    let refuse = move |_: HttpRequest| {
        let allow = allow.clone();
        async move { Err::<HttpResponse, _>(AppError::MethodNotAllowed { allow }) }
    };
    let pattern = path.replace("{step}", "{step:.+}").replace("{tile}", "{tile:.+}");
    let found = verbs
        .iter()
        .fold(resource(pattern), |found, (method, answer)| found.route(answer(web::method(method.clone()))));
    config.service(found.default_service(to(refuse)));
}

async fn unknown(req: HttpRequest) -> Result<HttpResponse, AppError> {
    Err(AppError::NotFound(format!("There is nothing at {}.", req.path())))
}

/// Every method of every address that the published description must name.
#[cfg(test)]
pub fn described() -> impl Iterator<Item = (&'static str, &'static Method)> {
    let all = API.iter().chain(OPERATIONS);
    all.flat_map(|(path, verbs)| verbs.iter().map(|(method, _)| (*path, method)))
}
