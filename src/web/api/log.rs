//! `/acts/log.csv` and `/acts/log.ndjson`: the filtered log, streamed, and gone on with where it broke off.

use super::super::principal::authenticate;
use super::super::problem::AppError;
use super::super::site::Site;
use super::query::Query;
use crate::auth::policy::{Permission, Principal, Resource};
use crate::export::log::{self as export, Ended, Format, Order, Outcome, Source};
use crate::store::error::StoreError;
use crate::store::log;
use crate::store::log_search::{LogFilter, LogPosition, present};
use crate::store::replica::{Mark, Replica};
use crate::web::log_search;
use actix_web::http::header::{HeaderName, HeaderValue, LINK};
use actix_web::{HttpRequest, HttpResponse, web};
use chrono::{DateTime, SecondsFormat, Utc};
use serde_json::json;
use std::sync::Arc;
use tokio::sync::mpsc;

/// Header that says up to when the log is exported: an entry that is written later is not in it.
const UNTIL: HeaderName = HeaderName::from_static("act-log-to");

/// The filters of the log, wherever it is exported.
///
/// # Errors
/// 400
pub fn filter(query: &mut Query) -> Result<LogFilter, AppError> {
    let mut filter = LogFilter {
        run_id: query.number("run_id")?,
        actor: query.text("actor"),
        step: query.text("step"),
        type_name: query.text("type"),
        status: query.text("status"),
        from: query.moment("from", false)?,
        to: query.moment("to", true)?,
        texts: query.text("q").into_iter().collect(),
    };
    if let Some(text) = query.text("search") {
        let also = log_search::read(&text).map_err(|problems| {
            AppError::BadRequest(format!("The query parameter `search`: {}", problems.join(" ")))
        })?;
        let twice = |name| {
            AppError::BadRequest(format!("`{name}` and `search` ask for different values of it. Name one."))
        };
        log_search::join(&mut filter, also).map_err(twice)?;
    }
    Ok(filter)
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
    let mut filter = filter(&mut query)?;
    let with_bom = format == Format::Csv && query.flag("bom")?;
    let after = query.text("after").map(|text| place(&text)).transpose()?;
    query.finish()?;
    let replica = site.replica.clone();
    let (after, until, replica) = site
        .read(move |connection| {
            let known =
                after.map(|(run, stream, seq)| log::entry(connection, run, stream, seq)).transpose()?;
            let until = present(connection)?;
            // Once the end is settled: what is read elsewhere must hold all up to it.
            let mark = replica.as_ref().map(|replica| replica.mark(connection)).transpose()?.flatten();
            Ok((known, until, replica.zip(mark)))
        })
        .await?;
    let after = match after {
        None => None,
        Some(Some(entry)) => Some(LogPosition::of(&entry)),
        Some(None) => {
            return Err(AppError::BadRequest("`after` names an entry that there is not.".to_owned()));
        }
    };
    let until = filter.to.map_or(until, |to| to.min(until));
    filter.to = Some(until);
    let id = hex::encode(rand::random::<[u8; 6]>());
    // Before the first byte: an export that is not recorded does not happen.
    let detail =
        json!({"export": id, "format": name(format), "query": req.query_string(), "to": written(until)});
    site.record(&who, "log.exported", detail).await?;
    let order = Order { filter, format, with_bom, after };
    Ok(answer(&req, site.into_inner(), who, Recorded { id, order, until, replica }))
}

/// An export that was told to the log.
struct Recorded {
    id: String,
    order: Order,
    until: DateTime<Utc>,
    /// Where it is read, if that is not the primary.
    replica: Option<(Arc<Replica>, Mark)>,
}

fn answer(req: &HttpRequest, site: Arc<Site>, who: Principal, recorded: Recorded) -> HttpResponse {
    let Recorded { id, order, until, replica } = recorded;
    let (content_type, file) = match (order.format, order.after) {
        (Format::Csv, None) => ("text/csv; charset=utf-8; header=present", "activity-log.csv"),
        (Format::Csv, Some(_)) => ("text/csv; charset=utf-8; header=absent", "activity-log.csv"),
        (Format::Ndjson, _) => ("application/x-ndjson", "activity-log.ndjson"),
    };
    let (sender, receiver) = mpsc::channel::<Result<Vec<u8>, StoreError>>(4);
    tokio::task::spawn_blocking(move || {
        let source = Source {
            database_url: site.log_readers.database_url.clone(),
            replica,
            turns: Arc::clone(&site.log_readers.exports),
            stopping: site.stopping.clone(),
        };
        let ended = export::send(source, &order, &sender);
        if let Err(error) = end(&site, &who, &id, ended) {
            tracing::error!(error = %error, "an export broke off");
            // The stream ends in an error, so that the reader cannot take a part for the whole.
            let _ = sender.blocking_send(Err(error));
        }
    });
    let mut answer = HttpResponse::Ok();
    answer
        .content_type(content_type)
        .insert_header(("content-disposition", format!("attachment; filename=\"{file}\"")))
        .insert_header((UNTIL, written(until)));
    if let Ok(link) = HeaderValue::from_str(&format!("<{}>; rel=\"self\"", pinned(req, until))) {
        answer.insert_header((LINK, link));
    }
    let bytes = |chunk: Result<Vec<u8>, StoreError>| chunk.map(web::Bytes::from);
    answer.streaming(futures_util::StreamExt::map(stream(receiver), bytes))
}

/// Tells the log how an export ended, before its reader sees the end.
fn end(site: &Site, who: &Principal, id: &str, ended: Ended) -> Result<(), StoreError> {
    let Ended { rows, last, outcome } = ended;
    let last = last.map(|last| format!("{}.{}.{}", last.run_id, last.stream, last.seq));
    let told = match &outcome {
        Outcome::Complete => "complete",
        Outcome::Left => "broken off by the reader",
        Outcome::Failed(_) => "broken off by us",
    };
    let detail = json!({"export": id, "rows": rows, "last": last, "outcome": told});
    let recorded = site.record_blocking(who, "log.export_ended", detail);
    match outcome {
        Outcome::Failed(error) => Err(error),
        Outcome::Complete | Outcome::Left => recorded,
    }
}

/// The same export with its end settled, so that a part that is fetched later ends where this one would have.
fn pinned(req: &HttpRequest, until: DateTime<Utc>) -> String {
    let pairs = url::form_urlencoded::parse(req.query_string().as_bytes());
    let kept = pairs.filter(|(name, value)| !["to", "after"].contains(&name.as_ref()) && !value.is_empty());
    let mut query = url::form_urlencoded::Serializer::new(String::new());
    query.extend_pairs(kept).append_pair("to", &written(until));
    format!("{}?{}", req.path(), query.finish())
}

/// `RUN.SEQ`, or `RUN.STREAM.SEQ`.
fn place(text: &str) -> Result<(i64, i64, i64), AppError> {
    let numbers: Result<Vec<i64>, _> = text.split('.').map(str::parse).collect();
    match numbers.as_deref() {
        Ok([run, seq]) => Ok((*run, 0, *seq)),
        Ok([run, stream, seq]) => Ok((*run, *stream, *seq)),
        _ => Err(AppError::BadRequest(
            "The query parameter `after` is the entry to go on behind: RUN.SEQ, for example 9001.5; for entries of \
             run 0 RUN.STREAM.SEQ."
                .to_owned(),
        )),
    }
}

fn written(time: DateTime<Utc>) -> String {
    time.to_rfc3339_opts(SecondsFormat::Micros, true)
}

fn name(format: Format) -> &'static str {
    match format {
        Format::Csv => "csv",
        Format::Ndjson => "ndjson",
    }
}

/// What a receiver gets, as a stream.
pub fn stream<T>(receiver: mpsc::Receiver<T>) -> impl futures_util::Stream<Item = T> {
    futures_util::stream::unfold(receiver, |mut receiver| async move {
        receiver.recv().await.map(|item| (item, receiver))
    })
}
