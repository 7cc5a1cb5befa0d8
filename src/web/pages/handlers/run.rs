//! `/runs/{id}`: the run, and its stream.

use super::offers::{self, Back};
use super::redactions as redaction;
use super::sent::{Sent, address};
use super::visit::{Visit, id, page};
use crate::audit::chain::Stored;
use crate::auth::policy::{Permission, Principal, Resource, allow};
use crate::engine::apply::pinned;
use crate::engine::command::Actor;
use crate::engine::ids::{RunId, StepPath};
use crate::engine::redact;
use crate::engine::state::Run;
use crate::store::Connection;
use crate::store::error::StoreError;
use crate::store::log;
use crate::store::redactions::{self, RedactionFilter, RedactionRow};
use crate::store::runs::recorded;
use crate::web::acts;
use crate::web::live::{self, Frame, Live};
use crate::web::pages::chrome::Chrome;
use crate::web::pages::drawn::Drawn;
use crate::web::pages::moment::Moment;
use crate::web::pages::plan::{Bucket, Focus, Known};
use crate::web::pages::run::{DecisionLink, Origin, Run as View};
use crate::web::pages::sentences::{self, Depth};
use crate::web::pages::steps::Link;
use crate::web::pages::{approvers, facts, plan};
use crate::web::problem::AppError;
use actix_web::{HttpRequest, HttpResponse, web};
use askama::Template;
use chrono::Utc;
use std::sync::Arc;
use std::time::Duration;

/// Entries on the page; the replay has them all.
const LATEST: u64 = 200;
/// Requests to erase something that are told on the page.
const MOST_REDACTIONS: i64 = 100;

/// `GET /runs/{id}`.
///
/// # Errors
/// 403, 404; 400 for a group or state that no address of ours names.
pub async fn show(visit: Visit, path: web::Path<String>, req: HttpRequest) -> Result<HttpResponse, AppError> {
    let run = acts::read_run(&visit.site, &visit.who, id(&path)?).await?;
    let query = Sent::query(req.query_string(), &["group", "state", "page"])?;
    page(&draw(&visit, run.id, Asked { focus: focus(&query)?, back: None }).await?)
}

/// The group that the address asks for, alone.
pub(super) fn focus(query: &Sent) -> Result<Option<Focus>, AppError> {
    let Some(group) = query.filled("group") else { return Ok(None) };
    let wrong = |what: &str| AppError::BadRequest(format!("The address names a {what} that there is not."));
    let state =
        query.filled("state").map(|text| Bucket::parse(&text).ok_or_else(|| wrong("state"))).transpose()?;
    let page = query.filled("page").map(|text| text.parse().ok().filter(|page| *page > 0));
    let page = page.map(|page| page.ok_or_else(|| wrong("page"))).transpose()?.unwrap_or(1);
    Ok(Some(Focus { group: StepPath::from_log(&group), state, page }))
}

/// `GET /runs/{id}/live?after=N`: the block `live` of the page, whenever the run has moved on.
///
/// # Errors
/// 401, 403, 404: never a redirect.
pub async fn live(visit: Visit, path: web::Path<String>, req: HttpRequest) -> Result<HttpResponse, AppError> {
    let query = Sent::query(req.query_string(), &["after", "group", "state", "page"])?;
    let focus = focus(&query)?;
    let after = live::position(&req, query.raw("after")).and_then(|after| after.parse().ok()).unwrap_or(0);
    // Before the run is read: no change falls in between.
    let listener = visit.site.scheduler.changes.listen();
    let run = acts::read_run(&visit.site, &visit.who, id(&path)?).await?.id;
    let chrome = Chrome { csrf: visit.csrf()?, ..Chrome::default() };
    let (site, who) = (visit.site.clone(), visit.who.clone());
    let stream = Live { listener, of: Some(run), session: live::session(&req)?, site: visit.site.clone() };
    Ok(stream.respond(after, move |seen: &mut u64| {
        let (site, who, chrome, focus) = (site.clone(), who.clone(), chrome.clone(), focus.clone());
        let known = *seen;
        async move {
            let Some(told) = site.readings.runs.get(run).await? else { return Ok((known, Frame::end())) };
            let told = told.map_err(StoreError::Newer)?;
            let (version, over) = (told.run.version, told.run.status.is_final());
            let (html, drawing) = match version > known {
                true => {
                    let shared = told.drawing;
                    let (html, own) = drawn(told, who, chrome, focus).await?;
                    (Some(html), shared + own)
                }
                false => (None, Duration::ZERO),
            };
            Ok((version.max(known), Frame { html, id: version.to_string(), end: over, drawing }))
        }
    }))
}

/// The block `live`, and how long it took beside what is drawn for all. One group alone may have thousands of branches,
/// which take long enough to be drawn off the event loop.
async fn drawn(
    told: Arc<Told>,
    who: Principal,
    chrome: Chrome,
    focus: Option<Focus>,
) -> Result<(String, Duration), AppError> {
    let is_group = focus.is_some();
    let draw = move || {
        let began = live::core_time();
        let html = view(&told, &who, chrome, &Asked { focus, back: None }).as_live().render();
        html.map(|html| (html, live::core_time() - began))
    };
    let drawn = if is_group { web::block(draw).await.map_err(AppError::internal)? } else { draw() };
    drawn.map_err(AppError::internal)
}

/// What a request asks of the page: one group alone, a form that came back.
#[derive(Default)]
pub struct Asked {
    pub focus: Option<Focus>,
    pub back: Option<Back>,
}

/// The page of a run that whoever asks may see.
///
/// # Errors
/// 404.
pub async fn draw(visit: &Visit, run: RunId, asked: Asked) -> Result<View, AppError> {
    let chrome = visit.chrome(&format!("Run {run}"), "/runs").await?;
    let who = visit.who.clone();
    let scheduler = visit.site.scheduler.clone();
    let drawn = visit.site.read(move |connection| {
        let Some(run) = scheduler.load_shown(connection, run)? else { return Ok(None) };
        Ok(Some(view(&Told::read(connection, run)?, &who, chrome, &asked)))
    });
    drawn.await?.ok_or_else(|| AppError::NotFound(format!("There is no run {run}.")))
}

/// What the page of a run shows, whoever looks at it: most of it is drawn once for all.
pub struct Told {
    run: Arc<Run>,
    known: Known,
    redactions: Vec<RedactionRow>,
    /// The whole plan.
    steps: Drawn,
    undone: Drawn,
    entries: Drawn,
    payload: Drawn,
    /// How long drawing these kept a core busy.
    drawing: Duration,
}

impl Told {
    /// A run as it is shown, with what the database knows beside it.
    pub fn read(connection: &mut Connection, run: Arc<Run>) -> Result<Told, StoreError> {
        let latest = latest(connection, &run)?;
        let known = known(connection, &run, &latest)?;
        let redactions = asked_redactions(connection, &run)?;
        let began = live::core_time();
        let sentences: Vec<_> =
            latest.iter().map(|entry| sentences::entry(entry, Some(&run.protocol), Depth::Brief)).collect();
        Ok(Told {
            steps: Drawn::steps(&plan::steps(&run, &known, None)),
            undone: Drawn::steps(&plan::undone(&run, &known)),
            entries: Drawn::entries(&sentences),
            payload: Drawn::facts(&facts::short_map(&run.payload)),
            drawing: live::core_time() - began,
            run,
            known,
            redactions,
        })
    }
}

/// The page of a run, for somebody who may see it.
fn view(told: &Told, who: &Principal, chrome: Chrome, asked: &Asked) -> View {
    let Told { run, known, redactions, .. } = told;
    let may = |permission| allow(who, permission, Resource::Run { started_by: &run.started_by }).is_ok();
    let open = !run.status.is_final();
    let protocol = format!("/protocols/{}", run.protocol_ref.id);
    let version = run.protocol_ref.version.to_string();
    let focus = asked.focus.as_ref();
    View {
        chrome,
        number: run.id.to_string(),
        protocol: run.protocol_ref.name.clone(),
        protocol_href: may(Permission::ReadProtocols)
            .then(|| address(&protocol, [("version", version.as_str())])),
        version: version.clone(),
        live_href: open.then(|| live_href(run, focus)),
        replay_href: format!("/runs/{}/replay", run.id),
        what_if_href: may(Permission::ReadProtocols).then(|| format!("/runs/{}/what-if", run.id)),
        log_href: may(Permission::ReadLog).then(|| format!("/log?run_id={}", run.id)),
        bundle_href: may(Permission::ReadLog).then(|| format!("/acts/runs/{}/bundle", run.id)),
        status: plan::status(run),
        sentence: plan::sentence(run, known),
        origins: origins(run, known),
        stalled: plan::stalled(run),
        not_undone: plan::not_undone(run),
        started_by: run.started_by.clone(),
        started: Moment::new(run.created_at),
        ended: run.closed_at.map(Moment::new),
        duration: plan::took(run, Utc::now()),
        decision: decision(run, who),
        review: review(run, who, may(Permission::ReadOverrides)),
        steps: match focus {
            Some(focus) => Drawn::steps(&plan::steps(run, known, Some(focus))),
            None => told.steps.clone(),
        },
        whole_href: focus.map(|_| format!("/runs/{}", run.id)),
        undone: told.undone.clone(),
        earlier: run.version.checked_sub(LATEST).filter(|earlier| *earlier > 0),
        entries: told.entries.clone(),
        payload: told.payload.clone(),
        redactions: redacted(redactions, may(Permission::ReadRedactions)),
        acts: offers::offers(run, who, asked.back.as_ref()),
    }
}

/// Requests to erase something of the run, oldest first.
fn asked_redactions(connection: &mut Connection, run: &Run) -> Result<Vec<RedactionRow>, StoreError> {
    if !redact::is_marked(run) {
        return Ok(Vec::new());
    }
    let filter = RedactionFilter { run_id: Some(run.id.0), ..RedactionFilter::default() };
    let mut rows = redactions::list(connection, &filter, None, MOST_REDACTIONS)?;
    rows.reverse();
    Ok(rows)
}

/// What was erased of the run, when, by whom and why; and what is asked to be.
fn redacted(rows: &[RedactionRow], may_see: bool) -> Vec<Origin> {
    let told = rows.iter().map(|row| Origin {
        sentence: redaction::sentence(row),
        link: may_see
            .then(|| Link { href: format!("/redactions/{}", row.id), text: "See the request".to_owned() }),
    });
    told.collect()
}

fn live_href(run: &Run, focus: Option<&Focus>) -> String {
    let after = run.version.to_string();
    let page = focus.map(|focus| focus.page.to_string()).unwrap_or_default();
    let mut pairs = vec![("after", after.as_str())];
    if let Some(focus) = focus {
        pairs.push(("group", focus.group.as_str()));
        pairs.extend(focus.state.map(|state| ("state", state.slug())));
        pairs.push(("page", &page));
    }
    address(&format!("/runs/{}/live", run.id), pairs)
}

/// The latest entries, oldest first.
pub(super) fn latest(connection: &mut Connection, run: &Run) -> Result<Vec<Stored>, StoreError> {
    let after = run.version.saturating_sub(LATEST) as i64;
    let mut stored = log::of_run(connection, run.id.0, after, LATEST as i64)?;
    // What was committed since the run was read belongs to the next state of the page.
    stored.retain(|entry| entry.seq as u64 <= run.version);
    Ok(stored)
}

/// What the log tells that the run's state does not.
pub(super) fn known(connection: &mut Connection, run: &Run, latest: &[Stored]) -> Result<Known, StoreError> {
    let people = || latest.iter().rev().filter(|entry| entry.actor != Actor::system().name);
    let paused = latest.iter().rev().find(|entry| entry.type_name == "run.paused");
    let skipped = people().filter(|entry| entry.type_name == "step.skipped");
    let skipped_by = skipped.filter_map(|entry| Some((entry.step.clone()?, entry.actor.clone())));
    Ok(Known {
        paused_by: paused.map(|entry| entry.actor.clone()).filter(|actor| *actor != Actor::system().name),
        skipped_by: skipped_by.collect(),
        began_with: began_with(connection, run, latest)?,
        moment: None,
    })
}

/// The version that the run began with, where it was moved to another since.
fn began_with(connection: &mut Connection, run: &Run, latest: &[Stored]) -> Result<Option<i32>, StoreError> {
    let first = match latest.first().filter(|entry| entry.seq == 1) {
        Some(_) => Vec::new(),
        None => log::of_run(connection, run.id.0, 0, 1)?,
    };
    let Some(first) = first.first().or_else(|| latest.first()) else { return Ok(None) };
    let queued = recorded(first)?.event.kind;
    let version = pinned(&queued).map(|pin| pin.version);
    Ok(version.filter(|version| *version != run.protocol_ref.version))
}

/// Where the run comes from.
fn origins(run: &Run, known: &Known) -> Vec<Origin> {
    let to = |id: RunId| Some(Link { href: format!("/runs/{id}"), text: format!("Run {id}") });
    let mut origins = Vec::new();
    if let Some(parent) = &run.parent {
        let sentence = format!("Another run started it, at its step {}:", parent.step);
        origins.push(Origin { sentence, link: to(parent.run) });
    }
    if let Some(of) = run.rerun_of {
        origins.push(Origin { sentence: "It is a rerun of an earlier run:".to_owned(), link: to(of) });
    }
    if let Some(version) = known.began_with {
        let sentence =
            format!("It began with version {version} and was moved to version {}.", run.protocol_ref.version);
        origins.push(Origin { sentence, link: None });
    }
    origins
}

fn decision(run: &Run, who: &Principal) -> Option<DecisionLink> {
    let open = run.open_steps().filter_map(|(_, step)| step.approval.as_ref());
    let links = open.map(|approval| {
        let bar = approvers::bar_of(who, approval, &run.started_by);
        DecisionLink { href: format!("/approvals/{}", approval.id.0), may_decide: bar.is_none() }
    });
    // What the viewer can do something about comes first.
    links.max_by_key(|link| link.may_decide)
}

fn review(run: &Run, who: &Principal, may_see: bool) -> Option<DecisionLink> {
    let filed = run.overridden.as_ref().filter(|_| may_see)?;
    let may = allow(who, Permission::Override, Resource::Run { started_by: &run.started_by }).is_ok();
    Some(DecisionLink {
        href: format!("/overrides/{}", filed.id.0),
        may_decide: may && filed.filed_by != who.user,
    })
}
