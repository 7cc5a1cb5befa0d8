//! What the runs of a lineage did: a rerun takes it over instead of doing it again.
//!
//! Read from their logs, oldest run first. A step counts if its start has a checksum, so groups, approvals and waits
//! do not.

use super::error::StoreError;
use super::schema::runs;
use super::{log, runs as store_runs};
use crate::engine::event::{EventKind, Recorded};
use crate::engine::ids::{RunId, StepPath};
use crate::engine::state::{DoneBefore, Lineage};
use diesel::prelude::*;
use std::collections::HashMap;

/// Entries read at a time.
const PAGE: i64 = 5_000;

/// The events that say what was done, and with what.
const TYPES: [&str; 4] = ["step.started", "step.carried", "step.done", "subrun.started"];

/// What the runs of a lineage did that are over, `except` one: the run that wants to know.
pub fn read(
    connection: &mut PgConnection,
    lineage: RunId,
    except: Option<RunId>,
) -> Result<Lineage, StoreError> {
    let over: Vec<i64> = runs::table
        .filter(runs::lineage.eq(lineage.0).and(runs::closed_at.is_not_null()))
        .filter(runs::run_id.ne(except.map_or(0, |run| run.0)))
        .order((runs::created_at.asc(), runs::run_id.asc()))
        .select(runs::run_id)
        .load(connection)?;
    let mut history = History::default();
    for run in over {
        read_run(connection, RunId(run), &mut history)?;
    }
    Ok(history.into_lineage())
}

fn read_run(connection: &mut PgConnection, run: RunId, history: &mut History) -> Result<(), StoreError> {
    let mut after = 0;
    loop {
        let entries = log::of_run(connection, run.0, after, PAGE)?;
        for stored in entries.iter().filter(|stored| TYPES.contains(&stored.type_name.as_str())) {
            history.add(run, store_runs::recorded(stored)?);
        }
        match entries.last() {
            Some(last) if entries.len() == PAGE as usize => after = last.seq,
            _ => return Ok(()),
        }
    }
}

/// An earlier run of a step that runs another protocol.
pub struct EarlierChild {
    pub run: RunId,
    pub lineage: RunId,
    pub salt: [u8; 32],
}

/// The last run that this step started before, in its own run or in an earlier one of its lineage: a sub-run that is
/// done again goes on with that one's lineage, so that nothing in it is done twice.
pub fn earlier_child(
    connection: &mut PgConnection,
    parent: RunId,
    step: &str,
    child: RunId,
) -> Result<Option<EarlierChild>, StoreError> {
    let lineage: Option<i64> =
        runs::table.find(parent.0).select(runs::lineage).first(connection).optional()?;
    let Some(lineage) = lineage else { return Ok(None) };
    let parents: Vec<i64> =
        runs::table.filter(runs::lineage.eq(lineage)).select(runs::run_id).load(connection)?;
    let found: Option<(i64, i64, Option<Vec<u8>>)> = runs::table
        .filter(runs::parent_run_id.eq_any(parents).and(runs::parent_step.eq(step)))
        .filter(runs::run_id.ne(child.0).and(runs::closed_at.is_not_null()))
        .order(runs::run_id.desc())
        .select((runs::run_id, runs::lineage, runs::salt))
        .first(connection)
        .optional()?;
    Ok(found.and_then(|(run, lineage, salt)| {
        let salt = <[u8; 32]>::try_from(salt?).ok()?;
        Some(EarlierChild { run: RunId(run), lineage: RunId(lineage), salt })
    }))
}

/// The run of the lineage that is not over, if there is one.
pub fn open_run(connection: &mut PgConnection, lineage: RunId) -> Result<Option<RunId>, StoreError> {
    let open = runs::table.filter(runs::lineage.eq(lineage.0).and(runs::closed_at.is_null()));
    let found: Option<i64> = open.select(runs::run_id).first(connection).optional()?;
    Ok(found.map(RunId))
}

/// A step of a run.
type Place = (RunId, StepPath);

#[derive(Default)]
struct History {
    /// What each step was asked to do, by its latest start; for one that was carried over, where it was done.
    asked: HashMap<Place, Asked>,
    /// By checksum, those that were done and not undone, in that order.
    done: HashMap<String, Vec<DoneBefore>>,
    undos: HashMap<String, u32>,
}

struct Asked {
    checksum: String,
    action_version: i32,
    origin: Place,
}

impl History {
    fn add(&mut self, run: RunId, recorded: Recorded) {
        let Some(step) = recorded.event.step else { return };
        let place = (run, step);
        match recorded.event.kind {
            // What takes a step back has a checksum of its own, which nothing is carried over by.
            EventKind::StepStarted { .. } if place.1.undone().is_some() => {}
            EventKind::StepStarted { checksum, action_version, .. } => {
                self.asked.insert(place.clone(), Asked { checksum, action_version, origin: place });
            }
            EventKind::SubrunStarted { checksum, .. } => {
                self.asked.insert(place.clone(), Asked { checksum, action_version: 0, origin: place });
            }
            EventKind::StepCarried { run: from, from_step, action_version, checksum, .. } => {
                let first = (from, from_step);
                let origin = self.asked.get(&first).map_or(first, |asked| asked.origin.clone());
                self.asked.insert(place, Asked { checksum, action_version, origin });
            }
            EventKind::StepDone { result } => match place.1.undone() {
                Some(undone) => self.undo(&(run, undone)),
                None => self.finish(&place, result),
            },
            _ => {}
        }
    }

    fn finish(&mut self, place: &Place, result: serde_json::Value) {
        let Some(asked) = self.asked.get(place) else { return };
        let (run, step) = place.clone();
        let done = DoneBefore { run, step, action_version: asked.action_version, result };
        self.done.entry(asked.checksum.clone()).or_default().push(done);
    }

    fn undo(&mut self, place: &Place) {
        let Some(asked) = self.asked.get(place) else { return };
        *self.undos.entry(asked.checksum.clone()).or_default() += 1;
        if let Some(done) = self.done.get_mut(&asked.checksum) {
            done.retain(|done| (done.run, &done.step) != (asked.origin.0, &asked.origin.1));
        }
    }

    fn into_lineage(mut self) -> Lineage {
        self.done.retain(|_, done| !done.is_empty());
        Lineage { done: self.done, undos: self.undos }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::event::Event;
    use chrono::{TimeZone, Utc};
    use serde_json::{Value, json};

    fn recorded(step: &str, kind: EventKind) -> Recorded {
        let event = Event { step: Some(StepPath::from_log(step)), attempt: Some(1), kind };
        let at = Utc.with_ymd_and_hms(2026, 11, 22, 14, 0, 0).single().expect("a time");
        Recorded { at, actor: "HMS-ACT".to_owned(), event }
    }

    fn started(checksum: &str) -> EventKind {
        EventKind::StepStarted {
            kind: "script".to_owned(),
            uses: "deploy".to_owned(),
            action_version: 3,
            checksum: checksum.to_owned(),
            idempotency_key: "key".to_owned(),
            instance: None,
            worker: false,
        }
    }

    fn done(result: Value) -> EventKind {
        EventKind::StepDone { result }
    }

    fn carried(run: i64, checksum: &str) -> EventKind {
        EventKind::StepCarried {
            run: RunId(run),
            from_step: StepPath::from_log("deploy"),
            action_version: 3,
            checksum: checksum.to_owned(),
            result: json!(1),
        }
    }

    #[test]
    fn what_was_done_and_not_undone_is_carried_over() {
        let mut history = History::default();
        for (step, kind) in [("a", started("A")), ("a", done(json!(1))), ("b", started("B"))] {
            history.add(RunId(1), recorded(step, kind));
        }
        // A group has no start with a checksum.
        history.add(RunId(1), recorded("group", done(json!([]))));
        let lineage = history.into_lineage();
        assert_eq!(lineage.undos.len(), 0);
        assert_eq!(lineage.done.keys().collect::<Vec<_>>(), ["A"]);
        let before = &lineage.done["A"][0];
        assert_eq!((before.run, before.step.as_str(), before.action_version), (RunId(1), "a", 3));
    }

    #[test]
    fn what_was_undone_is_counted_and_done_again() {
        let mut history = History::default();
        for (step, kind) in
            [("deploy", started("A")), ("deploy", done(json!(1))), ("deploy~undo", started("U"))]
        {
            history.add(RunId(1), recorded(step, kind));
        }
        history.add(RunId(1), recorded("deploy~undo", done(Value::Null)));
        history.add(RunId(2), recorded("deploy", started("A")));
        history.add(RunId(2), recorded("deploy", done(json!(2))));
        let lineage = history.into_lineage();
        assert_eq!(lineage.undos, HashMap::from([("A".to_owned(), 1)]));
        assert_eq!(lineage.done["A"].last().map(|done| &done.result), Some(&json!(2)));
    }

    #[test]
    fn undoing_what_was_carried_over_undoes_where_it_was_done() {
        let mut history = History::default();
        history.add(RunId(1), recorded("deploy", started("A")));
        history.add(RunId(1), recorded("deploy", done(json!(1))));
        history.add(RunId(2), recorded("deploy", carried(1, "A")));
        history.add(RunId(3), recorded("deploy", carried(2, "A")));
        history.add(RunId(3), recorded("deploy~undo", done(Value::Null)));
        let lineage = history.into_lineage();
        assert!(lineage.done.is_empty());
        assert_eq!(lineage.undos["A"], 1);
    }
}
