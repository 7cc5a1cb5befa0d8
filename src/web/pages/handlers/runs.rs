//! `GET /runs`: the list, with its filters in the address.

use super::rows::{self, PAGE};
use super::sent::{Sent, day, end_of_day};
use super::visit::{Visit, page_with};
use crate::auth::policy::Permission;
use crate::engine::state::RunStatus;
use crate::store::protocols;
use crate::store::runs::{self as store, RunFilter};
use crate::web::pages::forms::{Choice, Problem};
use crate::web::pages::runs::{Runs, RunsFilter};
use crate::web::pages::status::Status;
use crate::web::problem::AppError;
use actix_web::http::StatusCode;
use actix_web::{HttpRequest, HttpResponse};

/// The value of the status filter that means: not over yet.
pub const OPEN: &str = "open";

const KNOWN: [&str; 8] = ["status", "protocol_id", "q", "from", "to", "mine", "stalled", "cursor"];
/// Protocols in the filter's list.
const MOST_PROTOCOLS: i64 = 200;

/// `GET /runs`.
///
/// # Errors
/// 400 for parameters that are not known; 403.
pub async fn index(visit: Visit, req: HttpRequest) -> Result<HttpResponse, AppError> {
    visit.permit(Permission::ReadRun).await?;
    let query = Sent::query(req.query_string(), &KNOWN)?;
    let mut problems = Vec::new();
    let filter = filter(&visit, &query, &mut problems);
    let cursor = cursor(&query)?;
    let wrong = !problems.is_empty();
    let (mut found, protocols) = rows::read(&visit, move |connection, _, _| {
        let found = if wrong { Vec::new() } else { store::list(connection, &filter, cursor, PAGE + 1)? };
        Ok((found, protocols::list(connection, None, MOST_PROTOCOLS)?))
    })
    .await?;
    let next = rows::cut(&mut found, |row| row.run_id.to_string());
    let runs = rows::read(&visit, move |connection, scheduler, _| rows::runs(connection, scheduler, found));
    let chosen = query.raw("protocol_id");
    let protocols = protocols.into_iter().map(|row| {
        let id = row.id.to_string();
        Choice::new(id.clone(), row.name, id == chosen)
    });
    let view = Runs {
        runs: runs.await?,
        filter: RunsFilter {
            statuses: statuses(query.raw("status")),
            protocols: protocols.collect(),
            q: query.text("q"),
            from: query.text("from"),
            to: query.text("to"),
            mine: query.raw("mine") == "1",
            stalled: query.raw("stalled") == "1",
        },
        problems,
        filtered: KNOWN.iter().any(|name| *name != "cursor" && query.filled(name).is_some()),
        first: cursor.map(|_| query.address_with("/runs", "cursor", "")),
        next: next.map(|next| query.address_with("/runs", "cursor", &next)),
        can_start: visit.may(Permission::StartRun),
        chrome: visit.chrome("Runs", "/runs").await?,
    };
    page_with(if wrong { StatusCode::BAD_REQUEST } else { StatusCode::OK }, &view)
}

fn filter(visit: &Visit, query: &Sent, problems: &mut Vec<Problem>) -> RunFilter {
    let mut problem = |field: &str, message: &str| problems.push(Problem::at_field(field, message));
    let statuses = match query.filled("status").as_deref() {
        None => Vec::new(),
        Some(OPEN) => open_statuses(),
        Some(word) => RunStatus::parse(word).map(|status| vec![status]).unwrap_or_else(|| {
            problem("status", "There is no such status. Choose one of the list.");
            Vec::new()
        }),
    };
    let protocol_id = query.filled("protocol_id").and_then(|text| {
        let id = text.parse().ok();
        if id.is_none() {
            problem("protocol_id", "A protocol is a number, for example 7.");
        }
        id
    });
    let (from, to) = days(query, &mut problem);
    let mine = query.raw("mine") == "1";
    RunFilter {
        statuses,
        protocol_id,
        text: query.filled("q"),
        from,
        to,
        started_by: if mine { Some(visit.who.user.clone()) } else { visit.only_runs_of() },
        stalled: (query.raw("stalled") == "1").then_some(true),
    }
}

type Day = Option<chrono::DateTime<chrono::Utc>>;

/// The filter's days: from the beginning of one to the end of the other.
pub fn days(query: &Sent, problem: &mut impl FnMut(&str, &str)) -> (Day, Day) {
    let mut read = |name: &str, parse: fn(&str) -> Day| {
        let text = query.filled(name)?;
        let found = parse(&text);
        if found.is_none() {
            problem(name, "Write the day as year, month, day: 2026-11-22.");
        }
        found
    };
    (read("from", day), read("to", end_of_day))
}

/// Runs that are not over.
pub fn open_statuses() -> Vec<RunStatus> {
    RunStatus::ALL.into_iter().filter(|status| !status.is_final()).collect()
}

fn statuses(chosen: &str) -> Vec<Choice> {
    let under_way = Choice::new(OPEN, "Under way (all)", chosen == OPEN);
    let each = RunStatus::ALL.into_iter().map(|status| {
        Choice::new(status.as_str(), Status::of_run(status, None).word, chosen == status.as_str())
    });
    std::iter::once(under_way).chain(each).collect()
}

fn cursor(query: &Sent) -> Result<Option<i64>, AppError> {
    let Some(text) = query.filled("cursor") else { return Ok(None) };
    let wrong =
        |_| AppError::BadRequest("The cursor is not one of ours. Begin at the first page.".to_owned());
    text.parse().map(Some).map_err(wrong)
}
