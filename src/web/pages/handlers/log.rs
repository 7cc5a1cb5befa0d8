//! `GET /log`: the activity log, filtered.

use super::rows::{self, PAGE};
use super::runs::days;
use super::sent::{Sent, address};
use super::visit::{Visit, page_with};
use crate::audit::chain::Stored;
use crate::auth::policy::Permission;
use crate::engine::ids::RunId;
use crate::engine::protocol::Protocol;
use crate::engine::state::{RunStatus, StepStatus};
use crate::scheduler::Scheduler;
use crate::store::Connection;
use crate::store::error::StoreError;
use crate::store::log::{self as store, LogFilter, LogOrder, LogPosition};
use crate::web::pages::forms::{Choice, Problem};
use crate::web::pages::log::{Log, LogFilter as Typed, LogRow, RunLink};
use crate::web::pages::sentences::{self, Depth, KINDS};
use crate::web::problem::AppError;
use actix_web::http::StatusCode;
use actix_web::{HttpRequest, HttpResponse};
use chrono::DateTime;
use std::collections::HashMap;
use std::sync::Arc;

const FILTERS: [&str; 8] = ["run_id", "actor", "step", "type", "status", "from", "to", "q"];
const KNOWN: [&str; 9] = ["run_id", "actor", "step", "type", "status", "from", "to", "q", "cursor"];

/// `GET /log`. Reading it is not itself recorded; exporting it is.
///
/// # Errors
/// 400 for parameters that are not known; 403.
pub async fn index(visit: Visit, req: HttpRequest) -> Result<HttpResponse, AppError> {
    visit.permit(Permission::ReadLog).await?;
    let query = Sent::query(req.query_string(), &KNOWN)?;
    let mut problems = Vec::new();
    let filter = filter(&query, &mut problems);
    let cursor = query.filled("cursor").map(|text| position(&text)).transpose()?;
    let wrong = !problems.is_empty();
    let turn = visit.site.log_readers.pages.acquire().await.map_err(AppError::internal)?;
    let read = rows::read(&visit, move |connection, scheduler, _| {
        if wrong {
            return Ok((Vec::new(), 0, None));
        }
        let mut found = store::page(connection, &filter, LogOrder::NewestFirst, cursor, PAGE + 1)?;
        let next = rows::cut(&mut found, cursor_after);
        let count = store::count(connection, &filter)?;
        Ok((log_rows(connection, scheduler, &found)?, count, next))
    });
    let (rows, count, next) = read.await?;
    drop(turn);
    let view = Log {
        rows,
        problems,
        count: counted(count),
        csv_href: csv_href(&query),
        filtered: FILTERS.iter().any(|name| query.filled(name).is_some()),
        first: cursor.map(|_| query.address_with("/log", "cursor", "")),
        next: next.map(|next| query.address_with("/log", "cursor", &next)),
        filter: typed(&query),
        chrome: visit.chrome("Activity log", "/log").await?,
    };
    page_with(if wrong { StatusCode::BAD_REQUEST } else { StatusCode::OK }, &view)
}

fn filter(query: &Sent, problems: &mut Vec<Problem>) -> LogFilter {
    let mut problem = |field: &str, message: &str| problems.push(Problem::at_field(field, message));
    let run_id = query.filled("run_id").and_then(|text| {
        let number = text.trim_start_matches('#').parse().ok().filter(|number: &i64| *number >= 0);
        if number.is_none() {
            problem("run_id", "A run is a number, for example 9001.");
        }
        number
    });
    let (from, to) = days(query, &mut problem);
    LogFilter {
        run_id,
        actor: query.filled("actor"),
        step: query.filled("step"),
        type_name: query.filled("type"),
        status: query.filled("status"),
        from,
        to,
        text: query.filled("q"),
    }
}

fn typed(query: &Sent) -> Typed {
    let (kind, status) = (query.raw("type"), query.raw("status"));
    Typed {
        run_id: query.text("run_id"),
        actor: query.text("actor"),
        step: query.text("step"),
        types: KINDS.iter().map(|(name, words)| Choice::new(*name, *words, *name == kind)).collect(),
        statuses: statuses()
            .into_iter()
            .map(|(name, words)| Choice::new(name, words, name == status))
            .collect(),
        from: query.text("from"),
        to: query.text("to"),
        q: query.text("q"),
    }
}

/// Every status that an entry may have: those of runs, of steps, and of what was refused.
fn statuses() -> Vec<(&'static str, &'static str)> {
    let runs = RunStatus::ALL.into_iter().map(RunStatus::as_str);
    let steps =
        StepStatus::ALL.into_iter().filter(|status| *status != StepStatus::Pending).map(StepStatus::as_str);
    let mut names: Vec<&'static str> = Vec::new();
    for name in runs.chain(steps).chain(["refused"]) {
        if !names.contains(&name) {
            names.push(name);
        }
    }
    names.into_iter().map(|name| (name, word(name))).collect()
}

fn word(status: &'static str) -> &'static str {
    match status {
        "queued" => "About to start",
        "running" => "Running",
        "waiting" => "Waiting for a person",
        "paused" => "Paused",
        "completed" => "Completed",
        "rejected" => "Stopped: rejected",
        "failed" => "Failed",
        "cancelled" => "Cancelled",
        "done" => "Done",
        "skipped" => "Skipped",
        "refused" => "Refused",
        other => other,
    }
}

fn log_rows(
    connection: &mut Connection,
    scheduler: &Scheduler,
    entries: &[Stored],
) -> Result<Vec<LogRow>, StoreError> {
    let mut protocols: HashMap<i64, Option<Arc<Protocol>>> = HashMap::new();
    let mut rows = Vec::with_capacity(entries.len());
    for stored in entries {
        let protocol = match protocols.get(&stored.run_id) {
            Some(known) => known.clone(),
            None => {
                let run = if stored.run_id == 0 {
                    None
                } else {
                    scheduler.load(connection, RunId(stored.run_id))?
                };
                let protocol = run.map(|loaded| Arc::clone(&loaded.run.protocol));
                protocols.insert(stored.run_id, protocol.clone());
                protocol
            }
        };
        rows.push(LogRow {
            run: (stored.run_id > 0).then(|| RunLink {
                href: format!("/runs/{}", stored.run_id),
                number: stored.run_id.to_string(),
            }),
            entry: sentences::entry(stored, protocol.as_deref(), Depth::Brief),
        });
    }
    Ok(rows)
}

/// The export of exactly what is shown: the same filters, and no page.
fn csv_href(query: &Sent) -> String {
    let filters: Vec<(&str, String)> =
        FILTERS.iter().filter_map(|name| Some((*name, query.filled(name)?))).collect();
    address("/acts/log.csv", filters.iter().map(|(name, value)| (*name, value.trim_start_matches('#'))))
}

fn cursor_after(entry: &Stored) -> String {
    let LogPosition { at, run_id, stream, seq } = LogPosition::of(entry);
    format!("{}.{run_id}.{stream}.{seq}", at.timestamp_micros())
}

fn position(text: &str) -> Result<LogPosition, AppError> {
    let read = || {
        let numbers: Vec<i64> = text.split('.').map(str::parse).collect::<Result<_, _>>().ok()?;
        let [micros, run_id, stream, seq] = numbers[..] else { return None };
        Some(LogPosition { at: DateTime::from_timestamp_micros(micros)?, run_id, stream, seq })
    };
    let wrong = || AppError::BadRequest("The cursor is not one of ours. Begin at the first page.".to_owned());
    read().ok_or_else(wrong)
}

fn counted(count: i64) -> String {
    match count {
        1 => "1 entry".to_owned(),
        count if count > store::COUNTED => format!("more than {} entries", grouped(store::COUNTED)),
        count => format!("{} entries", grouped(count)),
    }
}

/// `1204` → `1,204`.
fn grouped(number: i64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cursor_leads_back_to_its_place() {
        let place = position("1700000000000001.9001.0.5").expect("ours");
        assert_eq!((place.run_id, place.stream, place.seq), (9001, 0, 5));
        assert_eq!(place.at.timestamp_micros(), 1_700_000_000_000_001);
        for text in ["", "1.2.3", "a.b.c.d", "1.2.3.4.5", "9223372036854775807.1.1.1"] {
            assert!(position(text).is_err(), "{text}");
        }
    }

    #[test]
    fn export_has_the_filters_and_not_the_page() {
        let query = Sent::query("run_id=%239001&q=a+b&status=&cursor=1.2.3.4", &KNOWN).expect("known");
        assert_eq!(csv_href(&query), "/acts/log.csv?run_id=9001&q=a+b");
        assert_eq!(grouped(1_204_000), "1,204,000");
        assert_eq!(counted(store::COUNTED), "10,000 entries");
        assert_eq!(counted(store::COUNTED + 1), "more than 10,000 entries");
    }

    #[test]
    fn every_status_has_a_word_of_its_own() {
        for (name, word) in statuses() {
            assert_ne!(name, word, "{name} has no word");
        }
    }

    #[test]
    fn what_cannot_be_filtered_for_says_so_at_its_field() {
        let mut problems = Vec::new();
        let query = Sent::query("run_id=x&from=2026-13-01", &KNOWN).expect("known");
        filter(&query, &mut problems);
        assert_eq!(
            problems.iter().map(|problem| problem.field.as_str()).collect::<Vec<_>>(),
            ["run_id", "from"]
        );
    }
}
