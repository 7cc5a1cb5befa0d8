//! What the record answers to the engine's own questions: which actions there were, and which numbers were drawn.

use super::{Tape, Today};
use crate::engine::apply::pinned;
use crate::engine::command::{Catalog, CatalogEntry, DoneBy, Numbers};
use crate::engine::event::{EventKind, Recorded};
use crate::engine::ids::{ApprovalId, RunId};
use crate::engine::protocol::{Protocol, Work};
use crate::engine::state::ProtocolRef;
use std::cell::Cell;
use std::collections::HashMap;
use std::sync::Arc;

/// Actions, agents and protocols as they were when the run called them; else as they are today.
pub struct Catalogue<'a> {
    today: &'a dyn Catalog,
    /// By kind and name: at which entry, and what was found. None: there was none.
    calls: HashMap<(Noun, String), Vec<Found<Option<CatalogEntry>>>>,
    protocols: HashMap<String, Vec<Found<ProtocolRef>>>,
    /// The entry that is being decided.
    pub position: Cell<usize>,
}

/// What was found, and at which entry.
type Found<T> = (usize, T);

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Noun {
    Action,
    Agent,
}

impl<'a> Catalogue<'a> {
    pub fn of(tape: &Tape<'_>, today: &Today<'a>) -> Catalogue<'a> {
        let mut catalogue = Catalogue {
            today: today.catalog,
            calls: HashMap::new(),
            protocols: HashMap::new(),
            position: Cell::new(0),
        };
        let mut protocol = None;
        for (position, recorded) in tape.events.iter().enumerate() {
            let kind = &recorded.event.kind;
            if let Some(pinned) = pinned(kind) {
                protocol = version(tape.versions, pinned);
            }
            catalogue.add(position, kind);
            let task = protocol.as_ref().zip(recorded.event.step.as_ref());
            let task = task.and_then(|(protocol, step)| protocol.task(step));
            if let (EventKind::SubrunStarted { protocol: started, .. }, Some(Work::Protocol(call))) =
                (kind, task.map(|task| &task.work))
            {
                let known = catalogue.protocols.entry(call.uses.clone()).or_default();
                known.push((position, started.clone()));
            }
        }
        catalogue
    }

    fn add(&mut self, position: usize, kind: &EventKind) {
        match kind {
            EventKind::StepStarted { kind, uses, action_version, instance, worker, .. } => {
                let noun = if kind == "agent" { Noun::Agent } else { Noun::Action };
                let done_by = match (worker, instance) {
                    (true, _) => DoneBy::Worker,
                    (false, Some(_)) => DoneBy::Instance,
                    (false, None) => DoneBy::Engine,
                };
                let found = CatalogEntry { version: *action_version, done_by };
                let known = self.calls.entry((noun, uses.clone())).or_default();
                // What was computed in place once is only too much for one decision where an instance does it.
                let computed =
                    |entry: &CatalogEntry| entry.version == found.version && entry.done_by == DoneBy::Engine;
                let done_by = match known.iter().rev().find_map(|(_, entry)| entry.filter(computed)) {
                    Some(_) => DoneBy::Engine,
                    None => done_by,
                };
                known.push((position, Some(CatalogEntry { done_by, ..found })));
            }
            EventKind::StepFailed { error, .. } | EventKind::StepRetrying { error, .. } => {
                for (noun, prefix) in
                    [(Noun::Action, "there is no action `"), (Noun::Agent, "there is no agent `")]
                {
                    let name = error.strip_prefix(prefix).and_then(|rest| rest.split('`').next());
                    if let Some(name) = name {
                        self.calls.entry((noun, name.to_owned())).or_default().push((position, None));
                    }
                }
            }
            _ => {}
        }
    }

    fn call(
        &self,
        noun: Noun,
        name: &str,
        today: impl FnOnce() -> Option<CatalogEntry>,
    ) -> Option<CatalogEntry> {
        match self.calls.get(&(noun, name.to_owned())) {
            Some(known) => at(known, self.position.get()).copied().flatten(),
            None => today(),
        }
    }
}

/// What was found at this place, or the next time after it; else the last time before.
fn at<T>(known: &[Found<T>], position: usize) -> Option<&T> {
    let next = known.partition_point(|(at, _)| *at < position);
    known.get(next).or(known.last()).map(|(_, found)| found)
}

impl Catalog for Catalogue<'_> {
    fn action(&self, name: &str) -> Option<CatalogEntry> {
        self.call(Noun::Action, name, || self.today.action(name))
    }

    fn agent(&self, name: &str) -> Option<CatalogEntry> {
        self.call(Noun::Agent, name, || self.today.agent(name))
    }

    fn protocol(&self, name: &str) -> Option<ProtocolRef> {
        match self.protocols.get(name) {
            Some(known) => at(known, self.position.get()).cloned(),
            None => self.today.protocol(name),
        }
    }
}

/// The numbers that were drawn from here on, in their order; then such as nobody has.
pub struct Drawn<'a> {
    events: &'a [Recorded],
    approvals: usize,
    runs: usize,
    made_up: i64,
}

impl<'a> Drawn<'a> {
    pub fn of(events: &'a [Recorded]) -> Drawn<'a> {
        Drawn { events, approvals: 0, runs: 0, made_up: 0 }
    }

    fn next<T>(events: &[Recorded], from: &mut usize, find: impl Fn(&EventKind) -> Option<T>) -> Option<T> {
        while let Some(recorded) = events.get(*from) {
            *from += 1;
            if let Some(found) = find(&recorded.event.kind) {
                return Some(found);
            }
        }
        None
    }

    fn nobodys(&mut self) -> i64 {
        self.made_up -= 1;
        self.made_up
    }
}

impl Numbers for Drawn<'_> {
    fn approval(&mut self) -> ApprovalId {
        let found = Drawn::next(self.events, &mut self.approvals, |kind| match kind {
            EventKind::ApprovalOpened { approval, .. } => Some(*approval),
            _ => None,
        });
        found.unwrap_or_else(|| ApprovalId(self.nobodys()))
    }

    fn run(&mut self) -> RunId {
        let found = Drawn::next(self.events, &mut self.runs, |kind| match kind {
            EventKind::SubrunStarted { run, .. } => Some(*run),
            _ => None,
        });
        found.unwrap_or_else(|| RunId(self.nobodys()))
    }
}

/// The version that an entry pins.
pub fn version(versions: &HashMap<(i64, i32), Arc<Protocol>>, pinned: &ProtocolRef) -> Option<Arc<Protocol>> {
    versions.get(&(pinned.id, pinned.version)).cloned()
}
