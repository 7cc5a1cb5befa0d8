//! What answers a page's address: ask the policy, read or act, put the answer into a view.
//!
//! Owns the addresses of pages. Whatever is done is done by `acts`, `authoring` and `people`, as for every door.
//! Everything works without JavaScript: a form is sent by POST and answered by a redirect to what it changed.

mod errors;
mod home;
mod replay;
mod rows;
mod run;
mod run_new;
mod runs;
mod sent;
mod sign_in;
mod visit;

use actix_web::middleware::from_fn;
use actix_web::web::{self, ServiceConfig, get, post};

/// Every page. Register it last: it answers whatever nothing before it did.
pub fn routes(config: &mut ServiceConfig) {
    let pages = web::scope("")
        .wrap(from_fn(errors::as_pages))
        .route("/sign-in", get().to(sign_in::show))
        .route("/sign-in", post().to(sign_in::create))
        .route("/sign-out", post().to(sign_in::destroy))
        .route("/", get().to(home::show))
        .route("/runs", get().to(runs::index))
        .route("/runs/new", get().to(run_new::show))
        .route("/runs/new", post().to(run_new::create))
        .route("/runs/{id}", get().to(run::show))
        .route("/runs/{id}/live", get().to(run::live))
        .route("/runs/{id}/replay", get().to(replay::show))
        .route("/runs/{id}/cancel", post().to(run::cancel))
        .route("/runs/{id}/resume", post().to(run::resume))
        .default_service(web::to(errors::not_found));
    config.service(pages);
}
