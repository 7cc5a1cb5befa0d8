//! `GET /schedules`: the runs that are started without a person.

use super::rows::{self, PAGE};
use super::sent::Sent;
use super::visit::{Visit, id, page};
use crate::auth::policy::Permission;
use crate::scheduler::Scheduler;
use crate::store::error::StoreError;
use crate::store::schedules::{self as store, ScheduleEntry};
use crate::store::{Connection, protocols};
use crate::web::pages::drawing;
use crate::web::pages::moment::Moment;
use crate::web::pages::schedules::{ScheduleRow, Schedules};
use crate::web::problem::AppError;
use actix_web::{HttpRequest, HttpResponse};

/// `GET /schedules`.
///
/// # Errors
/// 400 for parameters that are not known; 403.
pub async fn index(visit: Visit, req: HttpRequest) -> Result<HttpResponse, AppError> {
    visit.permit(Permission::ReadProtocols).await?;
    let query = Sent::query(req.query_string(), &["cursor"])?;
    let cursor = query.filled("cursor").map(|text| id(&text)).transpose()?;
    let (found, next) = rows::read(&visit, move |connection, scheduler, _| {
        let mut found = store::list(connection, cursor, PAGE + 1)?;
        let next = rows::cut(&mut found, |entry| entry.protocol_id.to_string());
        let rows = found.into_iter().map(|entry| row(connection, scheduler, entry));
        Ok((rows.collect::<Result<Vec<_>, _>>()?, next))
    })
    .await?;
    let view = Schedules {
        rows: found,
        first: cursor.map(|_| "/schedules".to_owned()),
        next: next.map(|next| query.address_with("/schedules", "cursor", &next)),
        can_write: visit.may(Permission::WriteProtocols),
        chrome: visit.chrome("Schedules", "/schedules").await?,
    };
    page(&view)
}

fn row(
    connection: &mut Connection,
    scheduler: &Scheduler,
    entry: ScheduleEntry,
) -> Result<ScheduleRow, StoreError> {
    let version = protocols::get(connection, entry.protocol_id)?.map_or(1, |row| row.latest_version);
    let protocol = scheduler.protocols().get_known(connection, entry.protocol_id, version)?;
    // The first sentence says the times, which stand beside it.
    let notes = protocol
        .as_ref()
        .and_then(|protocol| protocol.schedule.as_ref())
        .map(drawing::scheduled)
        .unwrap_or_default()
        .into_iter()
        .skip(1);
    Ok(ScheduleRow {
        protocol: entry.name,
        protocol_href: format!("/protocols/{}", entry.protocol_id),
        version: version.to_string(),
        cron: entry.cron.unwrap_or_default(),
        zone: entry.time_zone.unwrap_or_default(),
        next: entry.next_at.map(Moment::new),
        last: entry.last_at.map(Moment::new),
        last_run: entry.last_run_id.map(|run| (format!("/runs/{run}"), format!("Run {run}"))),
        notes: notes.collect(),
    })
}
