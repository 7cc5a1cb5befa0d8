//! Asking what another version of its protocol would have made of a run. Nothing is executed or kept, but that it was
//! asked.

use super::super::authoring::{Own, check_definition};
use super::super::problem::AppError;
use super::super::site::Site;
use super::refused::plain_refusal;
use super::runs::{permitted, version_of};
use crate::auth::policy::{Permission, Principal, Resource, Role};
use crate::engine::apply::pinned;
use crate::engine::command::Actor;
use crate::engine::event::Recorded;
use crate::engine::ids::RunId;
use crate::engine::protocol::Protocol;
use crate::engine::redact::{self, Secrets};
use crate::engine::state::{ProtocolRef, Run};
use crate::engine::whatif::{Other, Report, Tape, Today, what_if};
use crate::scheduler::Scheduler;
use crate::store::Connection;
use crate::store::error::StoreError;
use crate::store::{log, runs, users};
use serde_json::{Map, Value, json};
use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

/// The longest log that is told again.
const MOST_ENTRIES: u64 = 100_000;
/// Entries read at a time.
const PAGE: i64 = 5_000;

/// What the run is told to.
pub enum Instead {
    /// A version of its own protocol.
    Version(i64),
    /// A definition that is not published.
    Draft(Map<String, Value>),
}

/// What came of it.
pub struct Told {
    pub run: Arc<Run>,
    /// None: a draft.
    pub version: Option<i32>,
    pub protocol: Arc<Protocol>,
    pub report: Report,
}

/// Tells another version what the run was told.
///
/// # Errors
/// 403 (of the run, of protocols; of writing them for a draft), 404; 409 where the record is too long, or what the run
/// was given was erased; 422 for an unknown version, and with everything that is wrong with a draft.
pub async fn ask_what_if(site: &Site, who: &Principal, id: i64, instead: Instead) -> Result<Told, AppError> {
    let run = permitted(site, who, id, Permission::ReadRun).await?;
    site.permit(who, Permission::ReadProtocols, Resource::Any).await?;
    let other = match instead {
        Instead::Version(version) => published(site, &run, version).await?,
        Instead::Draft(definition) => draft(site, who, &run, definition).await?,
    };
    let conflict = |detail: String| AppError::Conflict { detail, fields: Map::new() };
    let Some(salt) = run.salt else {
        let detail = format!("What run {id} was given was erased, so it cannot be told to another version.");
        return Err(conflict(detail));
    };
    if run.version > MOST_ENTRIES {
        let detail = format!(
            "The log of run {id} has {} entries; at most {MOST_ENTRIES} are told again.",
            run.version
        );
        return Err(conflict(detail));
    }
    let (scheduler, until) = (site.scheduler.clone(), run.version);
    let read = move |connection: &mut Connection| Record::read(connection, &scheduler, RunId(id), until);
    let record = site.read_behind(read).await?;
    let real = site.scheduler.look(RunId(id)).await.map_err(|refused| plain_refusal(&refused))?;
    let sealed = redact::secrets(&real);
    let catalog = site.catalog().await?;
    let version = (!other.is_draft).then_some(other.other.version.version);
    let protocol = Arc::clone(&other.other.protocol);
    let told = actix_web::web::block(move || {
        let tape = Tape { run: RunId(id), salt, events: &record.events, versions: &record.versions };
        let person = |name: &str| record.people.get(name).cloned().unwrap_or_else(Actor::system);
        what_if(&tape, &other.other, &Today { catalog: catalog.as_ref(), person: &person })
    });
    let report = told.await.map_err(AppError::internal)?;
    let mut report = report.map_err(|refusal| conflict(format!("It could not begin: {refusal}")))?;
    veil(&mut report, &sealed);
    let detail = json!({
        "run_id": run.id,
        "protocol": run.protocol_ref.id,
        "version": version,
        "same": report.same(),
    });
    site.record(who, "run.what_if", detail).await?;
    Ok(Told { run, version, protocol, report })
}

/// What was told again are the true values: a sentence that repeats one that is sealed says only that.
fn veil(report: &mut Report, sealed: &Secrets) {
    for difference in report.differences.iter_mut().filter(|difference| sealed.copied_in(&difference.message))
    {
        "It differs here in what is sealed.".clone_into(&mut difference.message);
    }
}

struct Asked {
    other: Other,
    is_draft: bool,
}

async fn published(site: &Site, run: &Run, version: i64) -> Result<Asked, AppError> {
    let (version, protocol) = version_of(site, run, version).await?;
    let called = format!("version {}", version.version);
    Ok(Asked { other: Other { version, protocol, called }, is_draft: false })
}

async fn draft(
    site: &Site,
    who: &Principal,
    run: &Run,
    definition: Map<String, Value>,
) -> Result<Asked, AppError> {
    site.permit(who, Permission::WriteProtocols, Resource::Any).await?;
    let definition = Value::Object(definition);
    let ProtocolRef { id, name, version } = run.protocol_ref.clone();
    let own = Own { id: Some(id), name: Some(name.clone()) };
    let errors = check_definition(site, &definition, "$.definition", own).await?;
    let protocol = match Protocol::parse(&definition) {
        Ok(protocol) if errors.is_empty() => protocol,
        _ => return Err(AppError::Unprocessable { errors }),
    };
    let version = ProtocolRef { id, name, version: version.saturating_add(1) };
    let other = Other { version, protocol: Arc::new(protocol), called: "the draft".to_owned() };
    Ok(Asked { other, is_draft: true })
}

/// What is stored of a run, and who its people are today.
struct Record {
    events: Vec<Recorded>,
    versions: HashMap<(i64, i32), Arc<Protocol>>,
    people: HashMap<String, Actor>,
}

impl Record {
    fn read(
        connection: &mut Connection,
        scheduler: &Scheduler,
        run: RunId,
        until: u64,
    ) -> Result<Record, StoreError> {
        let mut events: Vec<Recorded> = Vec::new();
        let mut versions = HashMap::new();
        while (events.len() as u64) < until {
            let left = (until - events.len() as u64) as i64;
            let stored = log::of_run(connection, run.0, events.len() as i64, PAGE.min(left))?;
            if stored.is_empty() {
                break;
            }
            for entry in &stored {
                let recorded = runs::recorded(entry)?;
                if let Some(pin) = pinned(&recorded.event.kind) {
                    let protocol = scheduler.protocols().get(connection, pin.id, pin.version)?;
                    versions.insert((pin.id, pin.version), protocol);
                }
                events.push(recorded);
            }
        }
        let names: BTreeSet<&str> = events.iter().map(|recorded| recorded.actor.as_str()).collect();
        let mut people = HashMap::new();
        for name in names {
            let Some(user) = users::get(connection, name)? else { continue };
            let held = Role::parse(&user.role).map_or(&[][..], Role::holds);
            let roles = held.iter().map(|role| role.as_str().to_owned()).collect();
            let person = Actor { name: name.to_owned(), roles, groups: user.groups, via: None };
            people.insert(name.to_owned(), person);
        }
        Ok(Record { events, versions, people })
    }
}
