//! `GET /`: what needs my decision, my runs, what takes too long.

use super::rows;
use super::runs::{OPEN, open_statuses};
use super::visit::{Visit, page};
use crate::auth::policy::Permission;
use crate::store::approvals;
use crate::store::overrides as store;
use crate::store::runs::{self, RunFilter};
use crate::web::pages::approvals::ApprovalRow;
use crate::web::pages::home::{Digest, Home};
use crate::web::pages::overrides::OverrideRow;
use crate::web::pages::runs::RunRow;
use crate::web::problem::AppError;
use actix_web::HttpResponse;

/// Rows under each number.
const FIRST: i64 = 5;

/// `GET /`.
///
/// # Errors
/// 403 for a token without `runs:read`.
pub async fn show(visit: Visit) -> Result<HttpResponse, AppError> {
    visit.permit(Permission::ReadRun).await?;
    let can_start = visit.may(Permission::StartRun);
    let mine = RunFilter {
        statuses: open_statuses(),
        started_by: Some(visit.who.user.clone()),
        ..RunFilter::default()
    };
    let stalled = RunFilter { stalled: Some(true), started_by: visit.only_runs_of(), ..RunFilter::default() };
    let view = Home {
        decisions: if visit.may(Permission::Decide) { Some(decisions(&visit).await?) } else { None },
        overrides: if visit.may(Permission::Override) { Some(overrides(&visit).await?) } else { None },
        mine: if can_start {
            Some(digest(&visit, &format!("/runs?mine=1&status={OPEN}"), mine).await?)
        } else {
            None
        },
        stalled: digest(&visit, "/runs?stalled=1", stalled).await?,
        can_start,
        chrome: visit.chrome("Home", "/").await?,
    };
    page(&view)
}

async fn digest(visit: &Visit, href: &str, filter: RunFilter) -> Result<Digest<RunRow>, AppError> {
    let (count, found) = rows::read(visit, move |connection, scheduler, _| {
        let found = runs::list(connection, &filter, None, FIRST)?;
        Ok((runs::count(connection, &filter)?, rows::runs(connection, scheduler, found)?))
    })
    .await?;
    Ok(Digest { count: u64::try_from(count).unwrap_or_default(), href: href.to_owned(), rows: found })
}

async fn decisions(visit: &Visit) -> Result<Digest<ApprovalRow>, AppError> {
    let filter = visit.decidable();
    let (count, found) = rows::read(visit, move |connection, scheduler, who| {
        let found = approvals::list(connection, &filter, None, FIRST)?;
        Ok((approvals::count(connection, &filter)?, rows::approvals(connection, scheduler, who, found)?))
    })
    .await?;
    let href = "/approvals?mine=1".to_owned();
    Ok(Digest { count: u64::try_from(count).unwrap_or_default(), href, rows: found })
}

async fn overrides(visit: &Visit) -> Result<Digest<OverrideRow>, AppError> {
    let filter = visit.under_review();
    let (count, found) = rows::read(visit, move |connection, _, who| {
        let found = store::list(connection, &filter, None, FIRST)?;
        let rows = found.into_iter().map(|row| super::overrides::row(who, row));
        Ok((store::count(connection, &filter)?, rows.collect()))
    })
    .await?;
    let href = "/overrides".to_owned();
    Ok(Digest { count: u64::try_from(count).unwrap_or_default(), href, rows: found })
}
