//! `/runs/{id}`: the run, its stream, and the acts of it.

use super::sent::{Form, Sent, address};
use super::visit::{Visit, id, page, page_with, see_other, status_of};
use crate::auth::policy::{Permission, Principal, Resource, allow};
use crate::engine::ids::RunId;
use crate::engine::state::Run;
use crate::store::Connection;
use crate::store::error::StoreError;
use crate::store::log;
use crate::web::acts;
use crate::web::live::{self, Frame, Live};
use crate::web::pages::chrome::Chrome;
use crate::web::pages::log::Entry;
use crate::web::pages::moment::Moment;
use crate::web::pages::run::{CancelForm, DecisionLink, ResumeForm, Run as View};
use crate::web::pages::sentences::{self, Depth};
use crate::web::pages::{approvers, facts, plan};
use crate::web::problem::AppError;
use crate::web::site::Site;
use actix_web::{HttpRequest, HttpResponse, web};
use askama::Template;
use chrono::Utc;
use serde_json::Value;

/// Entries on the page; the replay has them all.
const LATEST: u64 = 200;

/// `GET /runs/{id}`.
///
/// # Errors
/// 403, 404.
pub async fn show(visit: Visit, path: web::Path<String>) -> Result<HttpResponse, AppError> {
    let run = acts::read_run(&visit.site, &visit.who, id(&path)?).await?;
    page(&draw(&visit, run.id, Typed::default()).await?)
}

/// `POST /runs/{id}/cancel`.
///
/// # Errors
/// 403, 404; 409 when the run is over. Without a reason the page comes back, with 422.
pub async fn cancel(
    visit: Visit,
    path: web::Path<String>,
    Form(sent): Form,
) -> Result<HttpResponse, AppError> {
    let (id, reason) = (id(&path)?, sent.text("reason"));
    if let Some(error) = reason_problem(&reason, "Say why the run is cancelled.") {
        acts::read_run(&visit.site, &visit.who, id).await?;
        let typed = Typed { cancel: (reason, Some(error)), ..Typed::default() };
        return page_with(status_of(true), &draw(&visit, RunId(id), typed).await?);
    }
    acts::cancel_run(&visit.site, &visit.who, id, reason).await?;
    visit.notice(true, "The run is cancelled.");
    Ok(see_other(&format!("/runs/{id}")))
}

/// `POST /runs/{id}/resume`.
///
/// # Errors
/// As [`cancel`]; 409 when the run is not paused.
pub async fn resume(
    visit: Visit,
    path: web::Path<String>,
    Form(sent): Form,
) -> Result<HttpResponse, AppError> {
    let (id, reason) = (id(&path)?, sent.text("reason"));
    if let Some(error) = reason_problem(&reason, "Say why the run may go on.") {
        acts::read_run(&visit.site, &visit.who, id).await?;
        let typed = Typed { resume: (reason, Some(error)), ..Typed::default() };
        return page_with(status_of(true), &draw(&visit, RunId(id), typed).await?);
    }
    acts::resume_run(&visit.site, &visit.who, id, reason).await?;
    visit.notice(true, "The run goes on.");
    Ok(see_other(&format!("/runs/{id}")))
}

/// What is wrong with a reason, if anything is. `missing` says what to do when there is none.
pub fn reason_problem(reason: &str, missing: &str) -> Option<String> {
    if reason.is_empty() {
        return Some(missing.to_owned());
    }
    let long = reason.chars().count() > acts::MAX_REASON;
    long.then(|| format!("The reason is longer than {} characters. Say it more briefly.", acts::MAX_REASON))
}

/// `GET /runs/{id}/live?after=N`: the block `live` of the page, whenever the run has moved on.
///
/// # Errors
/// 401, 403, 404: never a redirect.
pub async fn live(visit: Visit, path: web::Path<String>, req: HttpRequest) -> Result<HttpResponse, AppError> {
    let query = Sent::query(req.query_string(), &["after"])?;
    let after = live::position(&req, query.raw("after")).and_then(|after| after.parse().ok()).unwrap_or(0);
    // Before the run is read: no change falls in between.
    let listener = visit.site.scheduler.changes.listen();
    let run = acts::read_run(&visit.site, &visit.who, id(&path)?).await?.id;
    let chrome = Chrome { csrf: visit.csrf()?, ..Chrome::default() };
    let (site, who) = (visit.site.clone(), visit.who.clone());
    let stream = Live { listener, of: Some(run), session: live::session(&req)?, site: visit.site.clone() };
    Ok(stream.respond(after, move |seen: &mut u64| {
        let (site, who, chrome) = (site.clone(), who.clone(), chrome.clone());
        let known = *seen;
        async move {
            let drawn = read(&site, move |connection, site| {
                let Some(loaded) = site.scheduler.load(connection, run)? else { return Ok(None) };
                let (version, over) = (loaded.run.version, loaded.run.status.is_final());
                if version <= known {
                    return Ok(Some((version, over, None)));
                }
                let view = view(connection, &who, chrome, &loaded.run, Typed::default())?;
                Ok(Some((version, over, Some(view))))
            })
            .await?;
            let Some((version, over, view)) = drawn else { return Ok((known, Frame::end())) };
            let html = view.map(|view| view.as_live().render()).transpose().map_err(AppError::internal)?;
            Ok((version.max(known), Frame { html, id: version.to_string(), end: over }))
        }
    }))
}

async fn read<T: Send + 'static>(
    site: &web::Data<Site>,
    work: impl FnOnce(&mut Connection, &Site) -> Result<T, StoreError> + Send + 'static,
) -> Result<T, AppError> {
    let shared = site.clone();
    site.read(move |connection| work(connection, &shared)).await
}

/// What was typed into the page's forms and came back, with what is wrong with it.
#[derive(Debug, Default)]
struct Typed {
    cancel: (String, Option<String>),
    resume: (String, Option<String>),
}

async fn draw(visit: &Visit, run: RunId, typed: Typed) -> Result<View, AppError> {
    let chrome = visit.chrome(&format!("Run {run}"), "/runs").await?;
    let who = visit.who.clone();
    let drawn = read(&visit.site, move |connection, site| {
        let Some(loaded) = site.scheduler.load(connection, run)? else { return Ok(None) };
        view(connection, &who, chrome, &loaded.run, typed).map(Some)
    });
    drawn.await?.ok_or_else(|| AppError::NotFound(format!("There is no run {run}.")))
}

/// The page of a run, for somebody who may see it.
fn view(
    connection: &mut Connection,
    who: &Principal,
    chrome: Chrome,
    run: &Run,
    typed: Typed,
) -> Result<View, StoreError> {
    let may = |permission| allow(who, permission, Resource::Run { started_by: &run.started_by }).is_ok();
    let open = !run.status.is_final();
    let paused = run.status == crate::engine::state::RunStatus::Paused;
    let form = |(reason, error): (String, Option<String>)| CancelForm { reason, error };
    let protocol = format!("/protocols/{}", run.protocol_ref.id);
    let version = run.protocol_ref.version.to_string();
    Ok(View {
        chrome,
        number: run.id.to_string(),
        protocol: run.protocol_ref.name.clone(),
        protocol_href: may(Permission::ReadProtocols)
            .then(|| address(&protocol, [("version", version.as_str())])),
        version: version.clone(),
        live_href: open.then(|| format!("/runs/{}/live?after={}", run.id, run.version)),
        replay_href: format!("/runs/{}/replay", run.id),
        log_href: may(Permission::ReadLog).then(|| format!("/log?run_id={}", run.id)),
        status: plan::status(run),
        sentence: plan::sentence(run),
        stalled: plan::stalled(run),
        started_by: run.started_by.clone(),
        started: Moment::new(run.created_at),
        ended: run.closed_at.map(Moment::new),
        duration: plan::took(run, Utc::now()),
        decision: decision(run, who),
        steps: plan::steps(run),
        earlier: run.version.checked_sub(LATEST).filter(|earlier| *earlier > 0),
        entries: entries(connection, run)?,
        payload: facts::short(&Value::Object((*run.payload).clone())),
        resume: (paused && may(Permission::CancelRun)).then(|| {
            let (reason, error) = typed.resume;
            ResumeForm { reason, error }
        }),
        cancel: (open && may(Permission::CancelRun)).then(|| form(typed.cancel)),
    })
}

/// The latest entries, oldest first.
fn entries(connection: &mut Connection, run: &Run) -> Result<Vec<Entry>, StoreError> {
    let after = run.version.saturating_sub(LATEST) as i64;
    let stored = log::of_run(connection, run.id.0, after, LATEST as i64)?;
    // What was committed since the run was read belongs to the next state of the page.
    let known = stored.iter().filter(|entry| entry.seq as u64 <= run.version);
    Ok(known.map(|entry| sentences::entry(entry, Some(&run.protocol), Depth::Brief)).collect())
}

fn decision(run: &Run, who: &Principal) -> Option<DecisionLink> {
    let open = run.open_steps().filter_map(|(_, step)| step.approval.as_ref());
    let links = open.map(|approval| DecisionLink {
        href: format!("/approvals/{}", approval.id.0),
        may_decide: approvers::bar(who, &approval.approvers, approval.four_eyes, &run.started_by).is_none(),
    });
    // What the viewer can do something about comes first.
    links.max_by_key(|link| link.may_decide)
}
