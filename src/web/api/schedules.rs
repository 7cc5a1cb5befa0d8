//! `/acts/schedules`: what is started by the clock, and when.

use super::super::principal::authenticate;
use super::super::problem::AppError;
use super::super::site::Site;
use super::page;
use super::query::Query;
use super::runs::time;
use crate::auth::policy::{Permission, Resource};
use crate::store::schedules::{self, ScheduleEntry};
use actix_web::{HttpRequest, HttpResponse, web};
use serde_json::{Value, json};

/// `GET /acts/schedules`
pub async fn index(req: HttpRequest, site: web::Data<Site>) -> Result<HttpResponse, AppError> {
    let who = authenticate(&req).await?;
    site.permit(&who, Permission::ReadProtocols, Resource::Any).await?;
    let mut query = Query::of(&req)?;
    let limit = query.limit()?;
    let after = query.number_cursor()?;
    query.finish()?;
    let rows = site.read(move |connection| schedules::list(connection, after, limit + 1)).await?;
    Ok(page(&req, "schedules", rows, limit, as_json, |row| row.protocol_id.to_string()))
}

fn as_json(row: &ScheduleEntry) -> Value {
    json!({
        "protocol_id": row.protocol_id,
        "name": row.name,
        "cron": row.cron,
        "time_zone": row.time_zone,
        "next_at": row.next_at.map(time),
        "last_at": row.last_at.map(time),
        "last_run_id": row.last_run_id,
    })
}
