//! What workers do: claim work, say that they are alive, say what came of it.
//!
//! Lending is the store's and a claim is the engine's: a worker has work only when both agree. A lease's token is
//! known to its worker alone; here is only its hash. No connection and no thread waits for work.

use super::acts::{plain_refusal, refused_error};
use super::problem::{AppError, FieldError};
use super::site::{Site, actor};
use crate::auth::policy::{Permission, Principal, Resource};
use crate::engine::command::{Command, Rejection};
use crate::engine::effects::{self, Attempt};
use crate::engine::ids::{RunId, StepPath};
use crate::engine::json;
use crate::engine::state::Run;
use crate::scheduler::{Refused, stopped};
use crate::store::registry::Snapshot;
use crate::store::work::{self, Found, Lent, Wanted, WorkRow};
use chrono::{DateTime, Utc};
use futures_util::future::join_all;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

/// Work is looked for this often, whatever is heard.
const POLL: Duration = Duration::from_secs(1);
/// And never more often than this by one worker, however much happens.
const PAUSE: Duration = Duration::from_millis(100);

/// What a worker asks for.
pub struct Claim {
    pub actions: Vec<String>,
    pub worker: String,
    pub max: usize,
    pub wait: Duration,
    pub lease_seconds: i32,
}

/// Work that a worker has.
pub struct Claimed {
    pub lent: Lent,
    pub attempt: Attempt,
    pub lease_token: String,
}

/// Lends work, as soon as there is any. Empty: there was none in that time.
///
/// # Errors
/// 403; 422 for actions that no worker does; 503.
pub async fn claim(site: &Site, who: &Principal, claim: &Claim) -> Result<Vec<Claimed>, AppError> {
    site.permit(who, Permission::Work, Resource::Any).await?;
    check_actions(&*site.catalog().await?, &claim.actions)?;
    let deadline = Instant::now() + claim.wait;
    let mut changes = site.scheduler.changes.listen();
    let mut stopping = site.stopping.clone();
    loop {
        let claimed = claim_now(site, who, claim).await?;
        if !claimed.is_empty() || Instant::now() >= deadline || *stopping.borrow() {
            return Ok(claimed);
        }
        tokio::time::sleep_until(deadline.min(Instant::now() + PAUSE)).await;
        let poll = deadline.min(Instant::now() + POLL);
        tokio::select! {
            is_open = changes.anything_changed() => if !is_open { return Ok(Vec::new()) },
            () = tokio::time::sleep_until(poll) => {}
            () = stopped(&mut stopping) => return Ok(Vec::new()),
        }
    }
}

fn check_actions(catalog: &Snapshot, actions: &[String]) -> Result<(), AppError> {
    let wrong = actions.iter().enumerate().filter_map(|(index, name)| {
        let message = match catalog.action(name) {
            None => format!("names no action: there is none called {name:?}"),
            Some(action) if action.kind != "worker" => {
                format!("is not done by workers: {name:?} is an action of the kind {:?}", action.kind)
            }
            Some(_) => return None,
        };
        Some(FieldError { path: format!("$.actions[{index}]"), message })
    });
    let errors: Vec<FieldError> = wrong.collect();
    if errors.is_empty() { Ok(()) } else { Err(AppError::Unprocessable { errors }) }
}

async fn claim_now(site: &Site, who: &Principal, claim: &Claim) -> Result<Vec<Claimed>, AppError> {
    let tokens: Vec<String> = (0..claim.max).map(|_| hex::encode(rand::random::<[u8; 32]>())).collect();
    let wanted = Wanted {
        actions: claim.actions.clone(),
        worker: claim.worker.clone(),
        lease_seconds: claim.lease_seconds,
        token_hashes: tokens.iter().map(|token| hash(token)).collect(),
    };
    let mut lent = site.read(move |connection| work::claim(connection, &wanted)).await?;
    lent.sort_by_key(|lent| lent.id);
    let token =
        |lent: &Lent| tokens.iter().find(|token| hash(token)[..] == lent.lease_token_hash[..]).cloned();
    let asked = lent.into_iter().filter_map(|lent| Some((token(&lent)?, lent)));
    let asked = asked.map(|(token, lent)| confirm(site, who, &claim.worker, lent, token));
    let (mut claimed, mut in_vain, mut away) = (Vec::new(), Vec::new(), None);
    for answer in join_all(asked).await {
        match answer {
            Ok(taken) => claimed.push(taken),
            Err((lent, None)) => in_vain.push((lent.id, lent.lease_token_hash)),
            // Whether the engine took it is not known: the end of the lease will tell.
            Err((_, Some(refused))) => away = Some(refused),
        }
    }
    if !in_vain.is_empty() {
        site.read(move |connection| work::give_back(connection, &in_vain)).await?;
    }
    match away {
        Some(refused) if claimed.is_empty() => Err(plain_refusal(&refused)),
        Some(_) | None => Ok(claimed),
    }
}

/// Tells the engine who has the work. What it refuses is no work any more: that is not the worker's fault, and the
/// worker does not hear of it.
async fn confirm(
    site: &Site,
    who: &Principal,
    worker: &str,
    lent: Lent,
    lease_token: String,
) -> Result<Claimed, (Lent, Option<Refused>)> {
    let (id, step, number) = (RunId(lent.run_id), StepPath::from_log(&lent.step), lent.attempt as u32);
    let command = Command::ClaimStep { step: step.clone(), attempt: number, worker: worker.to_owned() };
    match site.scheduler.act(id, command, actor(who)).await {
        Ok(done) => match attempt(&done.run, &step, number) {
            Some(attempt) => Ok(Claimed { lent, attempt, lease_token }),
            // Another command of the same batch ended it.
            None => Err((lent, None)),
        },
        Err(refused @ (Refused::Unavailable | Refused::Unwritable)) => Err((lent, Some(refused))),
        // The work is gone; the others are about starting runs.
        Err(_) => Err((lent, None)),
    }
}

fn attempt(run: &Run, path: &StepPath, number: u32) -> Option<Attempt> {
    let step = run.steps.get(path).filter(|step| step.attempt == number)?;
    let attempt = effects::attempt(run, path, step)?;
    // In order of its keys: every attempt gets the same bytes.
    Some(Attempt { input: json::sorted(attempt.input), ..attempt })
}

/// A lease, after a heartbeat.
pub struct Extended {
    pub lease_until: DateTime<Utc>,
    /// The run is ending: whatever the work comes to, it may be taken back.
    pub cancel: bool,
}

/// Extends a lease.
///
/// # Errors
/// 403 for another's lease; 404; 409 when the lease ran out or the work is over.
pub async fn heartbeat(site: &Site, who: &Principal, id: i64, token: &str) -> Result<Extended, AppError> {
    let held = held(site, who, id, token).await?;
    let token_hash = hash(token);
    let extended = site.read(move |connection| work::extend(connection, id, &token_hash)).await?;
    let lease_until = extended.ok_or_else(|| over(id))?;
    let run = site.scheduler.look(RunId(held.run_id)).await.map_err(|refused| plain_refusal(&refused))?;
    let takes_back = StepPath::from_log(&held.step).undone().is_some();
    Ok(Extended { lease_until, cancel: run.ending.is_some() && !takes_back })
}

/// The work is done.
///
/// # Errors
/// As [`heartbeat`].
pub async fn complete(
    site: &Site,
    who: &Principal,
    id: i64,
    token: &str,
    result: Value,
) -> Result<(WorkRow, Arc<Run>), AppError> {
    let result = json::normalise(result);
    end(site, who, id, token, |step, attempt| Command::CompleteStep { step, attempt, result }).await
}

/// The work failed.
///
/// # Errors
/// As [`heartbeat`].
pub async fn fail(
    site: &Site,
    who: &Principal,
    id: i64,
    token: &str,
    error: String,
    retryable: bool,
) -> Result<(WorkRow, Arc<Run>), AppError> {
    let failed = |step, attempt| Command::FailStep { step, attempt, error, retryable, retry_after: None };
    end(site, who, id, token, failed).await
}

async fn end(
    site: &Site,
    who: &Principal,
    id: i64,
    token: &str,
    command: impl FnOnce(StepPath, u32) -> Command,
) -> Result<(WorkRow, Arc<Run>), AppError> {
    let held = held(site, who, id, token).await?;
    let command = command(StepPath::from_log(&held.step), held.attempt as u32);
    match site.scheduler.act(RunId(held.run_id), command, actor(who)).await {
        Ok(done) => Ok((held, done.run)),
        // Somebody was faster than this answer: the first result, a cancellation, the end of the lease.
        Err(Refused::Rejected(Rejection::StaleAttempt { .. } | Rejection::RunIsOver { .. })) => Err(over(id)),
        Err(refused) => Err(refused_error(site, who, refused).await),
    }
}

/// The work, if the token is the one of its lease. A result counts as long as nobody else has taken over the attempt,
/// also a little after the lease.
async fn held(site: &Site, who: &Principal, id: i64, token: &str) -> Result<WorkRow, AppError> {
    site.permit(who, Permission::Work, Resource::Any).await?;
    let row = match site.read(move |connection| work::find(connection, id)).await? {
        Found::Open(row) => row,
        Found::Over => return Err(over(id)),
        Found::Never => return Err(AppError::NotFound(format!("There is no work {id}."))),
    };
    match &row.lease_token_hash {
        Some(expected) if same(expected, &hash(token)) => Ok(row),
        Some(_) => {
            let detail = json!({"work": id, "run": row.run_id, "step": row.step});
            site.record_refusal(who, "work.refused", detail).await?;
            let detail = format!(
                "This is not the lease of work {id}: somebody else has it. Claim work of your own at /acts/work/claim."
            );
            Err(AppError::Forbidden { detail, missing: None })
        }
        None => Err(over(id)),
    }
}

fn over(id: i64) -> AppError {
    AppError::conflict(format!(
        "Work {id} is not yours any more: it was completed or withdrawn, or its lease ran out. Drop it, and claim the \
         next."
    ))
}

fn hash(token: &str) -> [u8; 32] {
    Sha256::digest(token.as_bytes()).into()
}

/// Takes the same time whatever differs.
fn same(a: &[u8], b: &[u8; 32]) -> bool {
    a.len() == b.len() && a.iter().zip(b).fold(0, |differing, (a, b)| differing | (a ^ b)) == 0
}
