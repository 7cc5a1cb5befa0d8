//! Which attempts this instance has in hand: started when they are committed, stopped when their run is over.
//!
//! Starts only what was committed, and never writes a run. An attempt that is stopped or lost is not an error here,
//! for the engine knows by its number that a later result is old.

use super::attempt::{Executors, carry_out};
use super::{Scheduler, stopped};
use crate::engine::effects::Attempt;
use crate::engine::ids::{RunId, StepPath};
use crate::engine::state::Run;
use crate::store::runs::Loaded;
use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::{Semaphore, mpsc};
use tokio::task::{AbortHandle, JoinSet};

/// Attempts in flight at once. The others wait in order; services have their own limits to keep.
const MAX_IN_FLIGHT: usize = 512;
/// Attempts in flight when the app stops get this long to end; what is left is rescued by the next start.
const GRACE: Duration = Duration::from_secs(5);

pub enum Work {
    Start {
        run: Arc<Run>,
        attempt: Box<Attempt>,
    },
    /// The run is over: its attempts get a signal.
    Stop(RunId),
    /// Nobody waits for this attempt any more: it gets a signal.
    StopAttempt {
        run: RunId,
        step: StepPath,
        attempt: u32,
    },
}

/// The attempts that this instance has in hand. What is committed as its own and not here was lost on the way.
#[derive(Debug, Clone, Default)]
pub struct InHand {
    attempts: Arc<Mutex<HashSet<(RunId, StepPath, u32)>>>,
}

impl InHand {
    pub fn has(&self, run: RunId, step: &StepPath, attempt: u32) -> bool {
        let attempts = self.attempts.lock().unwrap_or_else(PoisonError::into_inner);
        attempts.contains(&(run, step.clone(), attempt))
    }

    /// Run, step and number of each.
    pub fn all(&self) -> Vec<(RunId, StepPath, u32)> {
        self.attempts.lock().unwrap_or_else(PoisonError::into_inner).iter().cloned().collect()
    }

    fn take(&self, run: RunId, attempt: &Attempt) -> Held {
        let place = (run, attempt.step.clone(), attempt.number);
        self.attempts.lock().unwrap_or_else(PoisonError::into_inner).insert(place.clone());
        Held { all: self.clone(), place }
    }
}

/// An attempt in hand, until this is dropped: at its end, or when it is stopped.
struct Held {
    all: InHand,
    place: (RunId, StepPath, u32),
}

impl Drop for Held {
    fn drop(&mut self) {
        self.all.attempts.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.place);
    }
}

pub struct Dispatch {
    scheduler: Scheduler,
    executors: Arc<Executors>,
    in_hand: InHand,
    permits: Arc<Semaphore>,
    in_flight: HashMap<RunId, InFlight>,
    tasks: JoinSet<(RunId, Place)>,
}

/// Step and number of an attempt.
type Place = (StepPath, u32);
/// The attempts of one run.
type InFlight = HashMap<Place, AbortHandle>;

impl Dispatch {
    pub fn new(scheduler: Scheduler, executors: Executors, in_hand: InHand) -> Dispatch {
        Dispatch {
            scheduler,
            executors: Arc::new(executors),
            in_hand,
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
                    Some(Work::StopAttempt { run, step, attempt }) => self.stop_attempt(run, (step, attempt)),
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
        let (id, held) = (run.id, self.in_hand.take(run.id, &attempt));
        let place = (attempt.step.clone(), attempt.number);
        let started = place.clone();
        let handle = self.tasks.spawn(async move {
            let _held = held;
            // The semaphore is never closed.
            let _permit = permits.acquire().await;
            // It may have waited long: what was given up since is not called any more.
            let is_current = |known: Loaded| {
                let step = known.run.steps.get(&attempt.step);
                step.is_some_and(|step| step.attempt == attempt.number && step.status.is_open())
            };
            if !scheduler.run_cache().get(id).is_none_or(is_current) {
                return (id, place);
            }
            carry_out(&scheduler, &executors, id, attempt).await;
            (id, place)
        });
        self.in_flight.entry(id).or_default().insert(started, handle);
    }

    fn stop(&mut self, run: RunId) {
        for handle in self.in_flight.remove(&run).unwrap_or_default().into_values() {
            handle.abort();
        }
    }

    /// One that has just reported is stopped in vain: its report is what ended it.
    fn stop_attempt(&mut self, run: RunId, place: Place) {
        if let Some(handle) = self.forget(run, &place) {
            handle.abort();
        }
    }

    fn ended(&mut self, ended: Option<(RunId, Place)>) {
        if let Some((run, place)) = ended {
            self.forget(run, &place);
        }
    }

    fn forget(&mut self, run: RunId, place: &Place) -> Option<AbortHandle> {
        let attempts = self.in_flight.get_mut(&run)?;
        let handle = attempts.remove(place);
        if attempts.is_empty() {
            self.in_flight.remove(&run);
        }
        handle
    }
}
