//! What answers a page's address: ask the policy, read or act, put the answer into a view.
//!
//! Owns the addresses of pages. Whatever is done is done by `acts`, `authoring` and `people`, as for every door.
//! Everything works without JavaScript: a form is sent by POST and answered by a redirect to what it changed.

mod approval;
mod approvals;
mod errors;
mod home;
mod log;
mod log_entry;
mod migrate;
mod offers;
mod override_new;
mod overrides;
mod pairs;
mod protocols;
mod redaction_new;
mod redactions;
mod replay;
mod rerun;
mod rows;
pub mod run;
mod run_acts;
mod run_new;
mod runs;
mod schedules;
mod sealed;
mod sent;
mod sign_in;
mod targets;
mod users;
mod visit;
mod what_if;

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
        .route("/runs/{id}/replay/moment", get().to(replay::moment))
        .route("/runs/{id}/replay/entries", get().to(replay::entries))
        .route("/runs/{id}/pause", post().to(run_acts::pause))
        .route("/runs/{id}/resume", post().to(run_acts::resume))
        .route("/runs/{id}/cancel", post().to(run_acts::cancel))
        .route("/runs/{id}/retry", post().to(run_acts::retry))
        .route("/runs/{id}/skip", post().to(run_acts::skip))
        .route("/runs/{id}/value", post().to(run_acts::value))
        .route("/runs/{id}/rerun", get().to(rerun::show))
        .route("/runs/{id}/rerun", post().to(rerun::create))
        .route("/runs/{id}/migrate", get().to(migrate::show))
        .route("/runs/{id}/migrate", post().to(migrate::migrate))
        .route("/runs/{id}/what-if", get().to(what_if::show))
        .route("/runs/{id}/what-if", post().to(what_if::ask))
        .route("/runs/{id}/override", get().to(override_new::show))
        .route("/runs/{id}/override", post().to(override_new::create))
        .route("/overrides", get().to(overrides::index))
        .route("/overrides/{id}", get().to(overrides::show))
        .route("/overrides/{id}", post().to(overrides::decide))
        .route("/runs/{id}/sealed", get().to(sealed::show))
        .route("/runs/{id}/sealed", post().to(sealed::read))
        .route("/runs/{id}/redaction", get().to(redaction_new::show))
        .route("/runs/{id}/redaction", post().to(redaction_new::create))
        .route("/redactions", get().to(redactions::index))
        .route("/redactions/{id}", get().to(redactions::show))
        .route("/redactions/{id}", post().to(redactions::decide))
        .route("/approvals", get().to(approvals::index))
        .route("/approvals/live", get().to(approvals::live))
        .route("/approvals/{id}", get().to(approval::show))
        .route("/approvals/{id}", post().to(approval::decide))
        .route("/schedules", get().to(schedules::index))
        .route("/log", get().to(log::index))
        .route("/log/{run}/{seq}", get().to(log_entry::of_run))
        .route("/log/{run}/{stream}/{seq}", get().to(log_entry::of_stream))
        .route("/log/{run}/{stream}/{seq}/leaf.json", get().to(log_entry::leaf))
        .route("/protocols", get().to(protocols::index))
        .route("/protocols/new", get().to(protocols::new))
        .route("/protocols/new", post().to(protocols::create))
        .route("/protocols/{id}", get().to(protocols::show))
        .route("/protocols/{id}", post().to(protocols::save))
        .route("/actions", get().to(targets::index))
        .route("/actions", post().to(targets::create))
        .route("/actions/{name}", get().to(targets::show))
        .route("/actions/{name}", post().to(targets::save))
        .route("/agents", get().to(targets::index))
        .route("/agents", post().to(targets::create))
        .route("/agents/{name}", get().to(targets::show))
        .route("/agents/{name}", post().to(targets::save))
        .route("/users", get().to(users::index))
        .route("/users", post().to(users::create))
        .route("/users/{name}/role", post().to(users::set_role))
        .route("/users/{name}/groups", post().to(users::set_groups))
        .route("/users/{name}/password", post().to(users::set_password))
        .route("/users/{name}/disable", post().to(users::disable))
        .route("/users/{name}/enable", post().to(users::enable))
        .default_service(web::to(errors::not_found));
    config.service(pages);
}
