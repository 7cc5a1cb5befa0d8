//! One attempt: read its target, call it, submit what came of it.

use super::callbacks::Callbacks;
use super::figures::InFlight;
use super::{Refused, Scheduler};
use crate::actions::agent::AgentExecutor;
use crate::actions::command::CommandExecutor;
use crate::actions::http::HttpExecutor;
use crate::actions::{Call, Executor, Fault, Outcome, Target};
use crate::engine::command::{Actor, Command};
use crate::engine::effects::Attempt;
use crate::engine::ids::{RunId, StepPath};
use crate::engine::json;
use crate::engine::protocol::UsedAs;
use crate::store::registry::Registered;
use chrono::TimeDelta;
use futures_util::FutureExt;
use rand::Rng;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// The most that one attempt may take, whatever its action says.
const TIME_LIMIT: Duration = Duration::from_secs(60 * 60);

/// Between two tries of a result that the database refuses, and its failure with it.
const AGAIN: Duration = Duration::from_secs(1);

/// What attempts are made with.
pub struct Executors {
    pub http: HttpExecutor,
    pub agent: AgentExecutor,
    pub command: CommandExecutor,
    pub callbacks: Arc<Callbacks>,
}

/// Makes the attempt and submits what came of it.
pub async fn carry_out(scheduler: &Scheduler, executors: &Executors, run: RunId, attempt: Attempt) {
    let (began, in_flight) = (Instant::now(), InFlight::begin());
    let (step, number) = (attempt.step.clone(), attempt.number);
    let Some(registered) = decided_target(scheduler, &attempt) else {
        // Somebody changed it since: the next attempt is decided, and logged, with what is registered now.
        let again = Command::RescueStep {
            step: step.clone(),
            attempt: number,
            reason: "its action was changed before it was called".to_owned(),
        };
        return report(scheduler, run, step, number, again).await;
    };
    // An executor that breaks must not take its attempt with it: nobody would ever hear of it.
    let broke = |_| Err(fault("the executor broke; the server's log says where".to_owned()));
    let outcome = AssertUnwindSafe(execute(executors, run, attempt, &registered)).catch_unwind().await;
    let outcome = outcome.unwrap_or_else(broke);
    in_flight.end(outcome.is_ok());
    let duration_ms = began.elapsed().as_millis() as u64;
    tracing::debug!(run.id = run.0, step = %step, attempt = number, duration_ms, failed = outcome.is_err(), "attempt ended");
    report(scheduler, run, step.clone(), number, command(step, number, outcome)).await;
}

fn command(step: StepPath, attempt: u32, outcome: Result<Outcome, Fault>) -> Command {
    let failed = |fault: Fault| Command::FailStep {
        step: step.clone(),
        attempt,
        error: fault.message,
        retryable: fault.retryable,
        retry_after: fault.retry_after.and_then(|pause| TimeDelta::from_std(pause).ok()),
    };
    match outcome {
        Ok(Outcome::Done(result)) => {
            Command::CompleteStep { step: step.clone(), attempt, result: json::normalise(result) }
        }
        Ok(Outcome::Accepted) => Command::AcceptStep { step: step.clone(), attempt },
        Err(fault) => failed(fault),
    }
}

/// Submits what came of an attempt, and does not let go of it while the database is away: nobody else has it, and as
/// long as this instance lives nobody rescues the attempt.
async fn report(scheduler: &Scheduler, run: RunId, step: StepPath, attempt: u32, command: Command) {
    loop {
        let refused = match scheduler.insist(run, command.clone(), Actor::system()).await {
            Ok(_) => return,
            Err(Refused::Unwritable) => {
                let error = "its result could not be stored; the database refused it".to_owned();
                let failed = Command::FailStep {
                    step: step.clone(),
                    attempt,
                    error,
                    retryable: false,
                    retry_after: None,
                };
                match scheduler.insist(run, failed, Actor::system()).await {
                    Ok(_) => return,
                    // Nothing at all can be written: the result may yet be.
                    Err(Refused::Unwritable) => {
                        tokio::time::sleep(AGAIN).await;
                        continue;
                    }
                    Err(refused) => refused,
                }
            }
            Err(refused) => refused,
        };
        tracing::info!(run.id = run.0, step = %step, attempt, refused = %refused, "what came of an attempt was not taken");
        return;
    }
}

/// What the attempt was decided with. None: it is not registered any more, or has another version.
fn decided_target(scheduler: &Scheduler, attempt: &Attempt) -> Option<Registered> {
    let catalog = scheduler.catalog.current();
    let registered = match attempt.used_as {
        UsedAs::Action => catalog.action(&attempt.uses),
        UsedAs::Agent => catalog.agent(&attempt.uses),
        UsedAs::Protocol => None,
    };
    registered.filter(|registered| registered.version == attempt.action_version).cloned()
}

async fn execute(
    executors: &Executors,
    run: RunId,
    attempt: Attempt,
    registered: &Registered,
) -> Result<Outcome, Fault> {
    // What an agent answers must fit a schema, which a report would go around.
    let callback_url = match attempt.used_as {
        UsedAs::Action => Some(executors.callbacks.url(run, &attempt.step)),
        UsedAs::Agent | UsedAs::Protocol => None,
    };
    let call = Call {
        run_id: run.0,
        step: attempt.step.as_str().to_owned(),
        attempt: attempt.number as i32,
        target: Arc::new(target(registered)),
        // In order of their keys: every attempt sends the same bytes, also one decided from the log again.
        input: json::sorted(attempt.input),
        payload: attempt.payload,
        idempotency_key: attempt.idempotency_key,
        traceparent: traceparent(),
        callback_url,
        time_limit: TIME_LIMIT,
    };
    match (attempt.used_as, registered.kind.as_str()) {
        (UsedAs::Agent, _) => executors.agent.execute(&call).await,
        (_, "http") => executors.http.execute(&call).await,
        (_, "command") => executors.command.execute(&call).await,
        (_, "compute") => Ok(Outcome::Done(call.input)),
        (_, kind) => Err(fault(format!("`{kind}` actions are not done here"))),
    }
}

fn fault(message: String) -> Fault {
    Fault { message, retryable: false, retry_after: None }
}

fn target(registered: &Registered) -> Target {
    Target {
        name: registered.name.clone(),
        kind: registered.kind.clone(),
        config: registered.config.clone(),
        version: registered.version,
    }
}

/// A new trace (W3C Trace Context, level 1): version 00, random trace and parent ids, sampled.
fn traceparent() -> String {
    let mut bytes = [0; 24];
    rand::rng().fill_bytes(&mut bytes);
    format!("00-{}-{}-01", hex::encode(&bytes[..16]), hex::encode(&bytes[16..]))
}
