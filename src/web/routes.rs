//! Every URL, in one table.

use super::api::{approvals, log, protocols, registry, replay, runs, service};
use super::{pages, problem::AppError, static_files};
use actix_web::web::{self, ServiceConfig, get, patch, post, put, resource, to};
use actix_web::{HttpRequest, HttpResponse, Route};

/// Everything that this app answers.
pub fn all(config: &mut ServiceConfig) {
    config
        .configure(api)
        .configure(operations)
        .route("/static/{hash}/{path:.*}", get().to(static_files::serve))
        .configure(pages::handlers::routes);
}

fn api(config: &mut ServiceConfig) {
    at(config, "/acts/run", "POST", [post().to(runs::start)]);
    at(config, "/acts/runs", "GET", [get().to(runs::index)]);
    at(config, "/acts/runs/{id}", "GET", [get().to(runs::show)]);
    at(config, "/acts/runs/{id}/replay", "GET", [get().to(replay::replay)]);
    at(config, "/acts/runs/{id}/cancel", "PATCH", [patch().to(runs::cancel)]);
    at(config, "/acts/runs/{id}/resume", "POST", [post().to(runs::resume)]);
    at(config, "/acts/approvals", "GET", [get().to(approvals::index)]);
    at(config, "/acts/approvals/{id}", "GET", [get().to(approvals::show)]);
    at(config, "/acts/approvals/{id}/decision", "POST", [post().to(approvals::decide)]);
    at(config, "/acts/protocols", "GET, POST", [get().to(protocols::index), post().to(protocols::create)]);
    at(config, "/acts/protocols/validate", "POST", [post().to(protocols::validate)]);
    at(config, "/acts/protocols/{id}", "GET, PUT", [get().to(protocols::show), put().to(protocols::save)]);
    at(config, "/acts/protocols/{id}/versions", "GET", [get().to(protocols::versions)]);
    for registry in ["/acts/actions", "/acts/agents"] {
        at(config, registry, "GET, POST", [get().to(registry::index), post().to(registry::create)]);
        let one = format!("{registry}/{{name}}");
        at(config, &one, "GET, PUT", [get().to(registry::show), put().to(registry::save)]);
    }
    at(config, "/acts/log.csv", "GET", [get().to(log::as_csv)]);
    at(config, "/acts/log.ndjson", "GET", [get().to(log::as_ndjson)]);
    config.service(web::scope("/acts").default_service(to(unknown)));
    config.service(web::scope("/hitl").default_service(to(unknown)));
}

fn operations(config: &mut ServiceConfig) {
    at(config, "/healthz", "GET", [get().to(service::healthz)]);
    at(config, "/readyz", "GET", [get().to(service::readyz)]);
    at(config, "/metrics", "GET", [get().to(service::metrics)]);
    at(config, "/.well-known/jwks.json", "GET", [get().to(service::jwks)]);
}

/// One URL: its methods, and a 405 that names them for every other.
fn at<const N: usize>(config: &mut ServiceConfig, path: &str, allow: &'static str, methods: [Route; N]) {
    let refuse =
        move |_: HttpRequest| async move { Err::<HttpResponse, _>(AppError::MethodNotAllowed { allow }) };
    let found = methods.into_iter().fold(resource(path), |found, method| found.route(method));
    config.service(found.default_service(to(refuse)));
}

async fn unknown(req: HttpRequest) -> Result<HttpResponse, AppError> {
    Err(AppError::NotFound(format!("There is nothing at {}.", req.path())))
}
