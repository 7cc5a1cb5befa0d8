//! Carries out attempts: read the target, call it, submit what came of it.
//!
//! Starts only what was committed, and reports by command: it never writes a run. An attempt that is stopped or
//! lost is not an error here, for the engine knows by its number that a later result is old.

use super::figures::InFlight;
use super::{Refused, Scheduler, stopped};
use crate::actions::agent::AgentExecutor;
use crate::actions::http::HttpExecutor;
use crate::actions::{Call, Executor, Fault, Outcome, Target};
use crate::engine::command::{Actor, Command};
use crate::engine::effects::Attempt;
use crate::engine::ids::{RunId, StepPath};
use crate::engine::protocol::UsedAs;
use crate::engine::state::Run;
use crate::store::registry::Registered;
use rand::Rng;
use serde_json::Value;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::{Semaphore, mpsc};
use tokio::task::{AbortHandle, JoinSet};

/// Attempts in flight at once. The others wait in order; services have their own limits to keep.
const MAX_IN_FLIGHT: usize = 512;
/// The most that one attempt may take, whatever its action says.
const TIME_LIMIT: Duration = Duration::from_secs(60 * 60);
/// Attempts in flight when the app stops get this long to end; what is left is rescued by the next start.
const GRACE: Duration = Duration::from_secs(5);

pub enum Work {
    Start {
        run: Arc<Run>,
        attempt: Box<Attempt>,
    },
    /// The run is over: its attempts get a signal.
    Stop(RunId),
}

/// What attempts are made with.
pub struct Executors {
    pub http: HttpExecutor,
    pub agent: AgentExecutor,
}

pub struct Dispatch {
    scheduler: Scheduler,
    executors: Arc<Executors>,
    permits: Arc<Semaphore>,
    in_flight: HashMap<RunId, Vec<AbortHandle>>,
    tasks: JoinSet<RunId>,
}

impl Dispatch {
    pub fn new(scheduler: Scheduler, executors: Executors) -> Dispatch {
        Dispatch {
            scheduler,
            executors: Arc::new(executors),
            permits: Arc::new(Semaphore::new(MAX_IN_FLIGHT)),
            in_flight: HashMap::new(),
            tasks: JoinSet::new(),
        }
    }

    /// Runs until `stop`; then gives the attempts in flight a moment to end.
    pub async fn run(
        mut self,
        mut work: mpsc::UnboundedReceiver<Work>,
        mut stop: tokio::sync::watch::Receiver<bool>,
    ) {
        loop {
            tokio::select! {
                Some(ended) = self.tasks.join_next(), if !self.tasks.is_empty() => self.ended(ended.ok()),
                next = work.recv() => match next {
                    Some(Work::Start { run, attempt }) => self.start(&run, *attempt),
                    Some(Work::Stop(run)) => self.stop(run),
                    None => break,
                },
                () = stopped(&mut stop) => break,
            }
        }
        let all_ended = async { while self.tasks.join_next().await.is_some() {} };
        if tokio::time::timeout(GRACE, all_ended).await.is_err() {
            tracing::info!("attempts in flight are handed back; the next start rescues them");
        }
    }

    fn start(&mut self, run: &Arc<Run>, attempt: Attempt) {
        let (scheduler, executors) = (self.scheduler.clone(), Arc::clone(&self.executors));
        let permits = Arc::clone(&self.permits);
        let id = run.id;
        let handle = self.tasks.spawn(async move {
            // The semaphore is never closed.
            let _permit = permits.acquire().await;
            carry_out(&scheduler, &executors, id, attempt).await;
            id
        });
        self.in_flight.entry(id).or_default().push(handle);
    }

    fn stop(&mut self, run: RunId) {
        for handle in self.in_flight.remove(&run).unwrap_or_default() {
            handle.abort();
        }
    }

    fn ended(&mut self, run: Option<RunId>) {
        let Some(run) = run else { return };
        if let Some(handles) = self.in_flight.get_mut(&run) {
            handles.retain(|handle| !handle.is_finished());
            if handles.is_empty() {
                self.in_flight.remove(&run);
            }
        }
    }
}

async fn carry_out(scheduler: &Scheduler, executors: &Executors, run: RunId, attempt: Attempt) {
    let (began, in_flight) = (Instant::now(), InFlight::begin());
    let (step, number) = (attempt.step.clone(), attempt.number);
    let outcome = execute(scheduler, executors, run, attempt).await;
    in_flight.end(outcome.is_ok());
    let duration_ms = began.elapsed().as_millis() as u64;
    let failed = outcome.as_ref().err().map(|fault| fault.message.clone());
    tracing::debug!(run.id = run.0, step = %step, attempt = number, duration_ms, failed = failed.is_some(), "attempt ended");
    let command = match outcome {
        Ok(Outcome::Done(result)) => Command::CompleteStep {
            step: step.clone(),
            attempt: number,
            result: crate::engine::json::normalise(result),
        },
        Ok(Outcome::Accepted) => Command::FailStep {
            step: step.clone(),
            attempt: number,
            error: "the service answered 202, and callbacks are not part of this version of HMS-ACT"
                .to_owned(),
            retryable: false,
        },
        Err(fault) => Command::FailStep {
            step: step.clone(),
            attempt: number,
            error: fault.message,
            retryable: fault.retryable,
        },
    };
    report(scheduler, run, step, number, command).await;
}

/// Submits what came of an attempt, and does not let go of it while the database is away.
async fn report(scheduler: &Scheduler, run: RunId, step: StepPath, attempt: u32, command: Command) {
    let refused = match scheduler.insist(run, command, Actor::system()).await {
        Ok(_) => return,
        Err(Refused::Unwritable) => {
            let error = "its result could not be stored; the database refused it".to_owned();
            let command = Command::FailStep { step: step.clone(), attempt, error, retryable: false };
            match scheduler.insist(run, command, Actor::system()).await {
                Ok(_) => return,
                Err(refused) => refused,
            }
        }
        Err(refused) => refused,
    };
    tracing::info!(run.id = run.0, step = %step, attempt, refused = %refused, "what came of an attempt was not taken");
}

async fn execute(
    scheduler: &Scheduler,
    executors: &Executors,
    run: RunId,
    attempt: Attempt,
) -> Result<Outcome, Fault> {
    let catalog = scheduler.catalog.current();
    let registered = match attempt.used_as {
        UsedAs::Action => catalog.action(&attempt.uses),
        UsedAs::Agent => catalog.agent(&attempt.uses),
    };
    let registered =
        registered.ok_or_else(|| fault(format!("`{}` is not registered any more", attempt.uses)))?;
    let call = Call {
        run_id: run.0,
        step: attempt.step.as_str().to_owned(),
        attempt: attempt.number as i32,
        target: Arc::new(target(registered)),
        input: attempt.input,
        payload: Arc::new(Value::Object((*attempt.payload).clone())),
        idempotency_key: attempt.idempotency_key,
        traceparent: traceparent(),
        callback_url: None,
        time_limit: TIME_LIMIT,
    };
    match (attempt.used_as, registered.kind.as_str()) {
        (UsedAs::Agent, _) => executors.agent.execute(&call).await,
        (UsedAs::Action, "http") => executors.http.execute(&call).await,
        (UsedAs::Action, "compute") => Ok(Outcome::Done(call.input)),
        (UsedAs::Action, kind) => Err(fault(format!("this version cannot run `{kind}` actions"))),
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
