//! Starts the runs that `protocol` steps ask for, tells the steps what came of them, and stops those that are not
//! needed any more.
//!
//! Everything follows from committed rows (`store::subruns`): a child that was asked for and is not there is started
//! under the number that was drawn for it, which two instances cannot do twice.

use super::input::input_problems;
use super::reading::with_connection;
use super::{NewRun, Refused, Scheduler, stopped};
use crate::engine::command::{Actor, Command, Rerun};
use crate::engine::ids::{RunId, StepPath};
use crate::engine::redact::{self, Mark};
use crate::engine::state::{Parent, Payload, ProtocolRef, Run, RunStatus};
use crate::store::error::StoreError;
use crate::store::subruns::{self, SubrunRow};
use crate::store::{Connection, Pool, lineage};
use futures_util::future::join_all;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;

/// How often it looks for itself.
const EVERY: Duration = Duration::from_secs(1);
/// Sub-runs looked at together.
const AT_A_TIME: i64 = 200;

/// What a child brings back.
struct Brought {
    payload: Payload,
    redact: Vec<Mark>,
    note: Option<String>,
}

impl Brought {
    fn nothing(note: Option<String>) -> Brought {
        Brought { payload: Payload::new(), redact: Vec::new(), note }
    }
}

pub struct Subruns {
    pub scheduler: Scheduler,
    pub pool: Pool,
}

impl Subruns {
    /// Works until `stop`.
    pub async fn run(self, mut stop: watch::Receiver<bool>) {
        tokio::select! {
            () = self.watch() => {}
            () = stopped(&mut stop) => {}
        }
    }

    async fn watch(&self) {
        let mut look = tokio::time::interval(EVERY);
        look.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            let runs = tokio::select! {
                runs = self.scheduler.kicks.subruns.next() => Some(runs),
                _ = look.tick() => None,
            };
            self.settle(runs.as_deref()).await;
        }
    }

    /// Does what there is to do: for these runs, or for all.
    async fn settle(&self, runs: Option<&[i64]>) {
        let mut after = 0;
        loop {
            let of = runs.map(<[i64]>::to_vec);
            let read =
                move |connection: &mut _| subruns::unsettled(connection, of.as_deref(), after, AT_A_TIME);
            let Some(rows) = with_connection(&self.pool, "reading sub-runs", read).await else { return };
            join_all(rows.iter().map(|row| self.settle_one(row))).await;
            match rows.last() {
                Some(last) if rows.len() == AT_A_TIME as usize => after = last.child_run_id,
                _ => return,
            }
        }
    }

    async fn settle_one(&self, row: &SubrunRow) {
        match row {
            SubrunRow { withdrawn: true, started: true, closed: false, .. } => self.stop(row).await,
            SubrunRow { withdrawn: true, started: false, .. } => {
                let note = Some("it was not needed any more".to_owned());
                self.end(row, RunStatus::Cancelled, Brought::nothing(note)).await;
            }
            SubrunRow { started: false, .. } => self.start(row).await,
            SubrunRow { closed: true, .. } => self.tell(row).await,
            SubrunRow { .. } => {}
        }
    }

    /// Begins the child, or tells the parent why it cannot.
    async fn start(&self, row: &SubrunRow) {
        let Ok(parent) = self.scheduler.look(RunId(row.run_id)).await else { return };
        let (scheduler, id, version) = (self.scheduler.clone(), row.protocol_id, row.protocol_version);
        let read = move |connection: &mut Connection| scheduler.protocols().get(connection, id, version);
        let Some(protocol) = with_connection(&self.pool, "reading a protocol", read).await else { return };
        let payload = row.input.as_object().cloned().unwrap_or_default();
        if let Some(problem) = input_problems(&protocol, &payload).first() {
            let note = format!("{} {}", problem.path, problem.message);
            return self.could_not_start(row, &note).await;
        }
        let asked = row.clone();
        let read = move |connection: &mut Connection| continued(connection, &asked);
        let Some(continued) = with_connection(&self.pool, "reading a lineage", read).await else { return };
        let (rerun, salt) = continued.unzip();
        let new = NewRun {
            id: Some(RunId(row.child_run_id)),
            started_by: Some(parent.started_by.clone()),
            parent: Some(place(&parent, row)),
            rerun,
            salt,
            redact: redact::handed_on(&parent, &StepPath::from_log(&row.step), &row.input),
            ..NewRun::of(protocol_ref(row), protocol, payload, Actor::system())
        };
        match self.scheduler.start(new).await {
            // Not wanted: another instance was faster, or the step is over.
            Ok(_) | Err(Refused::NotWanted | Refused::Unavailable | Refused::Newer(_)) => {}
            Err(refused) => self.could_not_start(row, &refused.to_string()).await,
        }
    }

    async fn could_not_start(&self, row: &SubrunRow, why: &str) {
        let note = Some(format!("it could not begin. {why}"));
        self.end(row, RunStatus::Failed, Brought::nothing(note)).await;
    }

    /// Tells the parent what came of the child.
    async fn tell(&self, row: &SubrunRow) {
        let Ok(child) = self.scheduler.look(RunId(row.child_run_id)).await else { return };
        if child.status.is_final() {
            let marks = redact::marks(&child).into_iter().cloned().collect();
            let note = redact::shown(&child).note.clone();
            let brought = Brought { payload: (*child.payload).clone(), redact: marks, note };
            self.end(row, child.status, brought).await;
        }
    }

    async fn end(&self, row: &SubrunRow, outcome: RunStatus, brought: Brought) {
        let Brought { payload, redact, note } = brought;
        let (run, step) = (RunId(row.child_run_id), StepPath::from_log(&row.step));
        let command = Command::SubrunEnded { step, run, outcome, payload, redact, note };
        let parent = RunId(row.run_id);
        let Err(Refused::Rejected(_)) = self.scheduler.act(parent, command, Actor::system()).await else {
            return;
        };
        // The step ended otherwise, which should have withdrawn it.
        let Ok(parent) = self.scheduler.look(parent).await else { return };
        let step = parent.steps.get(&StepPath::from_log(&row.step));
        if !step.is_some_and(|step| step.status.is_open() && step.subrun == Some(run)) {
            if row.withdrawn {
                let row = row.clone();
                let forget = move |connection: &mut _| subruns::forget(connection, &row);
                with_connection(&self.pool, "settling a sub-run", forget).await;
                return;
            }
            let (row, version) = (row.clone(), parent.version);
            let withdraw = move |connection: &mut _| subruns::withdraw_stale(connection, &row, version);
            with_connection(&self.pool, "settling a sub-run", withdraw).await;
        }
    }

    /// The step that asked for it is over: so is the child.
    async fn stop(&self, row: &SubrunRow) {
        let reason = format!("Run {}, whose step {} started it, no longer needs it.", row.run_id, row.step);
        let command = Command::CancelRun { reason };
        // Refused: it is over, or ends already.
        let _ = self.scheduler.act(RunId(row.child_run_id), command, Actor::system()).await;
    }
}

/// What a step that was done before, by hand or in an earlier run of the lineage, goes on with.
fn continued(connection: &mut Connection, row: &SubrunRow) -> Result<Option<(Rerun, [u8; 32])>, StoreError> {
    let (parent, child) = (RunId(row.run_id), RunId(row.child_run_id));
    let Some(earlier) = lineage::earlier_child(connection, parent, &row.step, child)? else {
        return Ok(None);
    };
    let before = Arc::new(lineage::read(connection, earlier.lineage, Some(child))?);
    let reason = format!("The step {} of run {parent} is done again.", row.step);
    let rerun = Rerun { of: earlier.run, lineage: earlier.lineage, reason, before };
    Ok(Some((rerun, earlier.salt)))
}

fn place(parent: &Run, row: &SubrunRow) -> Parent {
    let depth = parent.parent.as_ref().map_or(0, |above| above.depth) + 1;
    Parent { run: parent.id, step: StepPath::from_log(&row.step), depth }
}

fn protocol_ref(row: &SubrunRow) -> ProtocolRef {
    ProtocolRef { id: row.protocol_id, version: row.protocol_version, name: row.protocol_name.clone() }
}
