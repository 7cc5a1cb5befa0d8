//! `/acts/log.csv` and `/acts/log.ndjson`: the filtered log, streamed.

use super::super::principal::authenticate;
use super::super::problem::AppError;
use super::super::site::{LogReaders, Site};
use super::query::Query;
use crate::audit::chain::Stored;
use crate::auth::policy::{Permission, Resource};
use crate::export::csv;
use crate::store::error::StoreError;
use crate::store::log::{self, LogFilter, LogOrder, LogPosition};
use crate::store::pool;
use actix_web::{HttpRequest, HttpResponse, web};
use serde_json::json;
use std::sync::Arc;
use tokio::sync::mpsc;

/// Entries read at a time: what bounds an export's memory.
const PAGE: i64 = 500;

/// The filters of the log, wherever it is shown or exported.
///
/// # Errors
/// 400
pub fn filter(query: &mut Query) -> Result<LogFilter, AppError> {
    Ok(LogFilter {
        run_id: query.number("run_id")?,
        actor: query.text("actor"),
        step: query.text("step"),
        type_name: query.text("type"),
        status: query.text("status"),
        from: query.moment("from", false)?,
        to: query.moment("to", true)?,
        text: query.text("q"),
    })
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Format {
    Csv,
    Ndjson,
}

/// `GET /acts/log.csv`
pub async fn as_csv(req: HttpRequest, site: web::Data<Site>) -> Result<HttpResponse, AppError> {
    export(req, site, Format::Csv).await
}

/// `GET /acts/log.ndjson`: the leaves themselves, one a line.
pub async fn as_ndjson(req: HttpRequest, site: web::Data<Site>) -> Result<HttpResponse, AppError> {
    export(req, site, Format::Ndjson).await
}

async fn export(req: HttpRequest, site: web::Data<Site>, format: Format) -> Result<HttpResponse, AppError> {
    let who = authenticate(&req).await?;
    site.permit(&who, Permission::ReadLog, Resource::Any).await?;
    let mut query = Query::of(&req)?;
    let filter = filter(&mut query)?;
    let with_bom = format == Format::Csv && query.flag("bom")?;
    query.finish()?;
    // Before the first byte: an export that is not recorded does not happen.
    let detail = json!({"format": format!("{format:?}").to_lowercase(), "query": req.query_string()});
    site.record(&who, "log.exported", detail).await?;

    let (sender, receiver) = mpsc::channel::<Result<web::Bytes, StoreError>>(4);
    let readers = Arc::clone(&site.log_readers);
    tokio::task::spawn_blocking(move || {
        if let Err(error) = send_pages(&readers, &filter, format, with_bom, &sender) {
            tracing::error!(error = %error, "an export broke off");
            // The stream ends in an error, so that the reader cannot take a part for the whole.
            let _ = sender.blocking_send(Err(error));
        }
    });
    let (content_type, name) = match format {
        Format::Csv => ("text/csv; charset=utf-8; header=present", "activity-log.csv"),
        Format::Ndjson => ("application/x-ndjson", "activity-log.ndjson"),
    };
    Ok(HttpResponse::Ok()
        .content_type(content_type)
        .insert_header(("content-disposition", format!("attachment; filename=\"{name}\"")))
        .streaming(stream(receiver)))
}

/// What a receiver gets, as a stream.
pub fn stream<T>(receiver: mpsc::Receiver<T>) -> impl futures_util::Stream<Item = T> {
    futures_util::stream::unfold(receiver, |mut receiver| async move {
        receiver.recv().await.map(|item| (item, receiver))
    })
}

/// A connection of its own, without a limit on a statement, and only while a page is read: a slow reader holds none.
fn read_page(
    readers: &LogReaders,
    filter: &LogFilter,
    place: Option<LogPosition>,
) -> Result<Vec<Stored>, StoreError> {
    let turn = tokio::runtime::Handle::current().block_on(readers.exports.acquire());
    let _turn = turn.map_err(|_| StoreError::Connection("the app is closing".to_owned()))?;
    let mut connection = pool::connect(&readers.database_url)?;
    log::page(&mut connection, filter, LogOrder::OldestFirst, place, PAGE)
}

fn send_pages(
    readers: &LogReaders,
    filter: &LogFilter,
    format: Format,
    with_bom: bool,
    sender: &mpsc::Sender<Result<web::Bytes, StoreError>>,
) -> Result<(), StoreError> {
    let mut bytes = Vec::new();
    if format == Format::Csv {
        if with_bom {
            bytes.extend("\u{FEFF}".as_bytes());
        }
        bytes.extend(csv::header());
    }
    let mut place: Option<LogPosition> = None;
    loop {
        let page = read_page(readers, filter, place)?;
        for entry in &page {
            match format {
                Format::Csv => bytes.extend(csv::row(entry)),
                Format::Ndjson => {
                    bytes.extend(&entry.leaf);
                    bytes.push(b'\n');
                }
            }
        }
        let last = page.len() < PAGE as usize;
        place = page.last().map(LogPosition::of);
        // The reader went away.
        if sender.blocking_send(Ok(web::Bytes::from(std::mem::take(&mut bytes)))).is_err() || last {
            return Ok(());
        }
    }
}
