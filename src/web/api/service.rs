//! What machines ask of the service itself: is it there, is it ready, its keys, its figures.

use super::super::doors::Doors;
use super::super::problem::AppError;
use super::super::site::Site;
use crate::scheduler::figures;
use actix_web::http::header;
use actix_web::{HttpResponse, web};
use metrics_exporter_prometheus::PrometheusHandle;
use serde_json::json;

/// `GET /healthz`: the process answers.
pub async fn healthz() -> HttpResponse {
    HttpResponse::Ok().json(json!({"status": "ok"}))
}

/// `GET /readyz`: it can do its work, the database answers and it is not stopping.
pub async fn readyz(site: web::Data<Site>) -> Result<HttpResponse, AppError> {
    let unready = |detail: &str| AppError::Unavailable { detail: detail.to_owned(), retry_after: 2 };
    if *site.stopping.borrow() {
        return Err(unready("This instance is stopping."));
    }
    site.read(crate::store::settings::answers).await?;
    Ok(HttpResponse::Ok().json(json!({"status": "ready"})))
}

/// `GET /.well-known/jwks.json`: the public keys of every instance's tokens (RFC 7517).
pub async fn jwks(doors: web::Data<Doors>) -> HttpResponse {
    HttpResponse::Ok()
        .insert_header((header::CACHE_CONTROL, "public, max-age=60"))
        .json(doors.key_ring().jwks())
}

/// `GET /metrics`, in the Prometheus text format; what each figure means is in `scheduler::figures`.
pub async fn metrics(site: web::Data<Site>, recorder: web::Data<PrometheusHandle>) -> HttpResponse {
    let pool = site.pool.state();
    figures::look(site.scheduler.queued(), pool.connections - pool.idle_connections, pool.idle_connections);
    if let Some(replica) = &site.replica {
        let (served, fallen_back) = replica.counts();
        figures::look_at_replica(served, fallen_back);
    }
    HttpResponse::Ok().content_type("text/plain; version=0.0.4").body(recorder.render())
}
