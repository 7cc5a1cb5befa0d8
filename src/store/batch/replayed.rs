//! The projections of whole runs that were folded again, for a restore: the same set-based writes as the committer's.
//!
//! What follows from where a run stands now (timers, work, waits, sub-runs, places) is written once. What keeps a
//! history (approvals, overrides) is written event by event, the first of each run together, then the second, and so
//! on: as it was written when it happened.

use super::{
    Member, Veiled, approvals, overrides, projections, slots, subject, subruns, timers, waits, work,
};
use crate::engine::event::{EventKind, Recorded};
use crate::engine::redact;
use crate::engine::state::Run;
use crate::store::error::StoreError;
use diesel::prelude::*;
use std::sync::Arc;

/// A run that was folded from its log, and what the projections need of the way there.
pub struct Replayed {
    subject: String,
    /// All of its events, and how it stands after them.
    whole: Member,
    /// The events of its approvals and overrides, each with the run after it.
    moments: Vec<Member>,
}

impl Replayed {
    /// The run after its first event. `veiled`: the same with what is sealed left out, if something is sealed in the
    /// run.
    pub fn begin(run: &Run, first: Recorded, veiled: Option<Recorded>) -> Replayed {
        let whole = member(None, run, first, veiled);
        Replayed { subject: subject(whole.told_run()), whole, moments: Vec::new() }
    }

    /// The run after one more.
    pub fn add(&mut self, run: &Run, recorded: Recorded, veiled: Option<Recorded>) {
        if keeps_history(run, &recorded) {
            self.moments.push(member(Some(run.version - 1), run, recorded.clone(), veiled.clone()));
        }
        self.whole.events.push(recorded);
        if let (Some(told), Some(veiled)) = (&mut self.whole.veiled, veiled) {
            told.events.push(veiled);
        }
    }

    /// The run as it stands after all of them.
    pub fn end(&mut self, run: Run) {
        self.whole.run = Arc::new(run);
        if let Some(told) = &mut self.whole.veiled {
            told.run = redact::shown(&self.whole.run);
        }
    }

    pub fn is_open(&self) -> bool {
        !self.whole.run.status.is_final()
    }

    pub fn events(&self) -> usize {
        self.whole.events.len()
    }
}

fn member(before: Option<u64>, run: &Run, recorded: Recorded, veiled: Option<Recorded>) -> Member {
    let run = Arc::new(run.clone());
    let veiled = veiled.map(|veiled| Veiled { run: redact::shown(&run), events: vec![veiled] });
    Member { start_key: None, before, run, events: vec![recorded], sealed: Vec::new(), veiled }
}

/// Whether this changes rows that say more than how the run stands now.
fn keeps_history(run: &Run, recorded: &Recorded) -> bool {
    match &recorded.event.kind {
        EventKind::OverrideFiled { .. }
        | EventKind::OverrideDecided { .. }
        | EventKind::RunEnding { .. }
        | EventKind::RunClosed { .. } => true,
        _ => {
            let step = recorded.event.step.as_ref().and_then(|step| run.steps.get(step));
            step.is_some_and(|step| step.approval.is_some())
        }
    }
}

/// Writes everything of these runs but their log.
pub fn write(connection: &mut PgConnection, replayed: &[Replayed]) -> Result<(), StoreError> {
    let rows: Vec<(&Run, String)> =
        replayed.iter().map(|replayed| (replayed.whole.told_run(), replayed.subject.clone())).collect();
    projections::insert_as(connection, &rows)?;
    for moment in 0.. {
        let members: Vec<&Member> =
            replayed.iter().filter_map(|replayed| replayed.moments.get(moment)).collect();
        if members.is_empty() {
            break;
        }
        approvals::open(connection, &members)?;
        approvals::move_on(connection, &members)?;
        approvals::end(connection, &members)?;
        overrides::file(connection, &members)?;
        overrides::decide(connection, &members)?;
        overrides::close(connection, &members)?;
    }
    let whole: Vec<&Member> = replayed.iter().map(|replayed| &replayed.whole).collect();
    timers::set(connection, &whole)?;
    waits::set(connection, &whole)?;
    subruns::set(connection, &whole)?;
    slots::set(connection, &whole)?;
    work::set(connection, &whole)
}
