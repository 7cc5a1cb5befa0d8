//! `GET /log/{run}/{seq}` and `/log/{run}/{stream}/{seq}`: one entry of the log; and its exact bytes.

use super::log::{entry_address, grouped, list_address, protocols_of, run_link, verified};
use super::rows;
use super::sent::Sent;
use super::visit::{Visit, id, page};
use crate::audit;
use crate::audit::chain::Stored;
use crate::audit::leaf_hash;
use crate::auth::policy::Permission;
use crate::engine::ids::RunId;
use crate::engine::protocol::Protocol;
use crate::store::error::StoreError;
use crate::store::log as store;
use crate::store::log_search::LogFilter;
use crate::store::tree::{self, checkpoints};
use crate::store::{Connection, archive};
use crate::web::pages::log::Verified;
use crate::web::pages::log_entry::{Column, LogEntry, Others, Proof};
use crate::web::pages::sentences::{self, Depth};
use crate::web::problem::AppError;
use crate::web::{acts, log_search};
use actix_web::{HttpRequest, HttpResponse, web};
use serde_json::Value;
use std::sync::Arc;

/// The place of an entry.
type Place = (i64, i64, i64);

/// `GET /log/{run}/{seq}`: an entry of a run.
///
/// # Errors
/// 403, 404.
pub async fn of_run(
    visit: Visit,
    path: web::Path<(String, String)>,
    req: HttpRequest,
) -> Result<HttpResponse, AppError> {
    let (run, seq) = path.into_inner();
    show(visit, (id(&run)?, 0, id(&seq)?), &req).await
}

/// `GET /log/{run}/{stream}/{seq}`: an entry of a run (stream 0), or one of run 0.
///
/// # Errors
/// 403, 404.
pub async fn of_stream(
    visit: Visit,
    path: web::Path<(String, String, String)>,
    req: HttpRequest,
) -> Result<HttpResponse, AppError> {
    show(visit, place(&path)?, &req).await
}

/// `GET /log/{run}/{stream}/{seq}/leaf.json`: the bytes that are hashed.
///
/// # Errors
/// 403, 404.
pub async fn leaf(
    visit: Visit,
    path: web::Path<(String, String, String)>,
    req: HttpRequest,
) -> Result<HttpResponse, AppError> {
    Sent::query(req.query_string(), &[])?;
    let (run, stream, seq) = place(&path)?;
    permit(&visit, run).await?;
    let read = move |connection: &mut Connection| match store::entry(connection, run, stream, seq)? {
        Some(entry) => Ok(Some(entry)),
        None => away(connection, run),
    };
    let entry = visit.site.read_behind(read).await?;
    let entry = entry.ok_or_else(|| missing((run, stream, seq)))?;
    let name = format!("attachment; filename=\"entry-{run}-{stream}-{seq}.json\"");
    Ok(HttpResponse::Ok()
        .content_type("application/json")
        .insert_header(("content-disposition", name))
        .body(entry.leaf))
}

fn place((run, stream, seq): &(String, String, String)) -> Result<Place, AppError> {
    // 0 is a number here.
    let part = |text: &str| if text == "0" { Ok(0) } else { id(text) };
    Ok((part(run)?, part(stream)?, id(seq)?))
}

/// Whoever may read the log reads all of it; whoever may read a run reads its entries.
async fn permit(visit: &Visit, run: i64) -> Result<(), AppError> {
    if run > 0 && !visit.may(Permission::ReadLog) {
        return acts::read_run_behind(&visit.site, &visit.who, run).await.map(|_| ());
    }
    visit.permit(Permission::ReadLog).await
}

/// The entries of a run that ended long ago are elsewhere.
fn away<T>(connection: &mut Connection, run: i64) -> Result<Option<T>, StoreError> {
    let run = RunId(run);
    archive::of_run(connection, run)?.map_or(Ok(None), |archive| Err(archive.away(run)))
}

fn missing((run, stream, seq): Place) -> AppError {
    let place = entry_address(run, stream, seq);
    AppError::NotFound(format!("The log has no entry at {place}."))
}

async fn show(visit: Visit, place: Place, req: &HttpRequest) -> Result<HttpResponse, AppError> {
    Sent::query(req.query_string(), &[])?;
    permit(&visit, place.0).await?;
    let found = rows::read_behind(&visit, move |connection, scheduler| {
        let Some(around) = Around::read(connection, place)? else { return away(connection, place.0) };
        let protocol = protocols_of(connection, scheduler, &[place.0])?.remove(&place.0);
        Ok(Some((around, protocol)))
    });
    let (around, protocol) = found.await?.ok_or_else(|| missing(place))?;
    let may_search = visit.may(Permission::ReadLog);
    let title = title(place);
    let chrome = visit.chrome(&title, if may_search { "/log" } else { "/runs" }).await?;
    let verified = verified(&visit).await?;
    page(&view(chrome, title, verified, around, protocol, may_search))
}

/// An entry and what it is checked against.
struct Around {
    entry: Stored,
    prev: Option<Stored>,
    has_next: bool,
    proof: Option<Proof>,
}

impl Around {
    fn read(connection: &mut Connection, (run, stream, seq): Place) -> Result<Option<Around>, StoreError> {
        let Some(entry) = store::entry(connection, run, stream, seq)? else { return Ok(None) };
        Ok(Some(Around {
            prev: if seq > 1 { store::entry(connection, run, stream, seq - 1)? } else { None },
            has_next: seq < i64::MAX && store::exists(connection, run, stream, seq + 1)?,
            proof: proof(connection, &entry)?,
            entry,
        }))
    }
}

/// That the entry stands under the last signed head. None: it does not yet.
fn proof(connection: &mut Connection, entry: &Stored) -> Result<Option<Proof>, StoreError> {
    let index = tree::index_of(connection, entry.run_id, entry.stream, entry.seq)?;
    let head = checkpoints::latest(connection)?;
    let Some((index, head)) = index.zip(head).filter(|(index, head)| *index < head.size) else {
        return Ok(None);
    };
    let path = audit::tree::inclusion_proof(&mut tree::nodes(connection), index, head.size)?;
    Ok(Some(Proof {
        index: index.to_string(),
        tree_size: head.size.to_string(),
        holds: audit::tree::is_included(&leaf_hash(&entry.leaf), index, head.size, &path, &head.root),
        path: path.iter().map(hex::encode).collect(),
        root: hex::encode(head.root),
    }))
}

fn title((run, stream, seq): Place) -> String {
    if run > 0 {
        format!("Entry {seq} of run {run}")
    } else {
        format!("Entry {seq} of the agency's stream {stream}")
    }
}

fn view(
    chrome: crate::web::pages::chrome::Chrome,
    title: String,
    verified: Verified,
    around: Around,
    protocol: Option<Arc<Protocol>>,
    may_search: bool,
) -> LogEntry {
    let Around { entry, prev, has_next, proof } = around;
    let sealed: Value = serde_json::from_slice(&entry.leaf).unwrap_or_default();
    let text = |key: &str| sealed.get(key).and_then(Value::as_str).map(str::to_owned);
    let (run, stream, seq) = (entry.run_id, entry.stream, entry.seq);
    let prev_hash = text("prev");
    LogEntry {
        chrome,
        verified,
        title,
        log_href: may_search.then(|| "/log".to_owned()),
        run: run_link(run),
        columns: columns(&entry, may_search),
        pretty: serde_json::to_string_pretty(&sealed).unwrap_or_default(),
        raw: String::from_utf8_lossy(&entry.leaf).into_owned(),
        raw_href: format!("/log/{run}/{stream}/{seq}/leaf.json"),
        bytes: grouped(entry.leaf.len() as i64),
        leaf_hash: hex::encode(&entry.leaf_hash),
        hash_holds: leaf_hash(&entry.leaf).as_slice() == entry.leaf_hash,
        link_holds: prev_hash
            .as_ref()
            .map(|hash| prev.as_ref().is_some_and(|prev| hex::encode(&prev.leaf_hash) == *hash)),
        prev_hash,
        prev_href: prev.map(|prev| entry_address(run, stream, prev.seq)),
        next_href: has_next.then(|| entry_address(run, stream, seq + 1)),
        checksum: text("checksum"),
        has_beside: entry.beside.is_some(),
        proof,
        entry: sentences::entry(&entry, protocol.as_deref(), Depth::Full),
    }
}

/// The columns, in the order of the export, with the way to what else has the same.
fn columns(entry: &Stored, may_search: bool) -> Vec<Column> {
    let others = |filter: LogFilter, text: &str| {
        may_search
            .then(|| Others { href: list_address(&log_search::write(&filter), None), text: text.to_owned() })
    };
    let blank = LogFilter::default;
    let column = |name: &str, value: Option<String>, href: Option<Others>| Column {
        name: name.to_owned(),
        href: href.filter(|_| value.is_some()),
        value: value.unwrap_or_else(|| "none".to_owned()),
    };
    let (run, step) = (Some(entry.run_id), entry.step.clone());
    let of_run = others(LogFilter { run_id: run, ..blank() }, "All its entries");
    let of_actor = others(LogFilter { actor: Some(entry.actor.clone()), ..blank() }, "What else they did");
    let of_step =
        others(LogFilter { run_id: run, step: step.clone(), ..blank() }, "The step's entries in this run");
    let of_type =
        others(LogFilter { type_name: Some(entry.type_name.clone()), ..blank() }, "Others of this kind");
    let of_status = others(LogFilter { status: entry.status.clone(), ..blank() }, "Others with this status");
    let time = entry.at.to_rfc3339_opts(chrono::SecondsFormat::Micros, true);
    vec![
        column("run_id", Some(entry.run_id.to_string()), of_run),
        column("stream", Some(entry.stream.to_string()), None),
        column("seq", Some(entry.seq.to_string()), None),
        column("t", Some(time), None),
        column("actor", Some(entry.actor.clone()), of_actor),
        column("type", Some(entry.type_name.clone()), of_type),
        column("step", step, of_step),
        column("attempt", entry.attempt.map(|attempt| attempt.to_string()), None),
        column("status", entry.status.clone(), of_status),
    ]
}
