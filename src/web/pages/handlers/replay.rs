//! `GET /runs/{id}/replay`: the recording. Nothing is executed.

use super::sent::Sent;
use super::visit::{Visit, id, page};
use crate::store::log;
use crate::web::acts;
use crate::web::pages::moment::duration;
use crate::web::pages::plan;
use crate::web::pages::replay::Replay;
use crate::web::pages::sentences::{self, Depth};
use crate::web::problem::AppError;
use actix_web::{HttpRequest, HttpResponse, web};

/// Entries on one page.
const PAGE: i64 = 500;

/// `GET /runs/{id}/replay`.
///
/// # Errors
/// 403, 404.
pub async fn show(visit: Visit, path: web::Path<String>, req: HttpRequest) -> Result<HttpResponse, AppError> {
    let query = Sent::query(req.query_string(), &["cursor"])?;
    let run = acts::read_run(&visit.site, &visit.who, id(&path)?).await?;
    let number = run.id;
    let after = query.filled("cursor").map(|text| id(&text)).transpose()?;
    let stored =
        visit.site.read(move |connection| log::of_run(connection, number.0, after.unwrap_or(0), PAGE));
    let stored: Vec<_> = stored.await?.into_iter().filter(|entry| entry.seq as u64 <= run.version).collect();
    let last = stored.last().map_or(0, |entry| entry.seq);
    let here = format!("/runs/{number}/replay");
    let count = if run.version == 1 { "1 entry".to_owned() } else { format!("{} entries", run.version) };
    let view = Replay {
        run_number: number.to_string(),
        run_href: format!("/runs/{number}"),
        protocol: run.protocol_ref.name.clone(),
        status: plan::status(&run),
        summary: format!("{count} over {}", duration(run.updated_at - run.created_at)),
        complete: run.status.is_final(),
        entries: stored
            .iter()
            .map(|entry| sentences::entry(entry, Some(&run.protocol), Depth::Full))
            .collect(),
        first: after.map(|_| here.clone()),
        next: ((last as u64) < run.version && last > 0)
            .then(|| query.address_with(&here, "cursor", &last.to_string())),
        chrome: visit.chrome(&format!("Replay of run {number}"), "/runs").await?,
    };
    page(&view)
}
