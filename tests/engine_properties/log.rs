//! The run that a log gives.

use super::world::World;
use hms_act::audit::entry::{Draft, open, seal};
use hms_act::engine::apply::{apply, begin, pinned};
use hms_act::engine::event::{EventKind, Recorded};
use hms_act::engine::ids::StepPath;
use hms_act::engine::state::{Lineage, ProtocolRef, Run};
use std::sync::Arc;

/// The run, folded from what a log would hold of these events: sealed, opened, read.
pub fn fold(world: &World, of: &Run, events: &[Recorded]) -> Run {
    let mut read = events.iter().enumerate().map(|(index, recorded)| through_the_log(of, index, recorded));
    let first = read.next().expect("a run has a first event");
    let mut run = begun(world, of, &first, of.before.clone());
    read.for_each(|recorded| apply_one(world, &mut run, &recorded));
    run
}

fn through_the_log(of: &Run, index: usize, recorded: &Recorded) -> Recorded {
    let kind = &recorded.event.kind;
    let sealed = seal(&Draft {
        origin: "test",
        run_id: of.id.0,
        stream: 0,
        seq: index as u64 + 1,
        prev: None,
        at: recorded.at,
        actor: &recorded.actor,
        type_name: kind.type_name(),
        step: recorded.event.step.as_ref().map(StepPath::as_str),
        attempt: recorded.event.attempt,
        status: kind.status(),
        checksum: kind.checksum(),
        detail: kind.detail(),
    });
    let opened = open(&sealed.leaf, sealed.beside.as_ref()).expect("a sealed entry opens");
    let kind = EventKind::from_entry(&opened.type_name, opened.checksum.as_deref(), opened.detail);
    let mut back = recorded.clone();
    back.at = opened.at;
    back.event.kind = kind.expect("an entry is an event");
    back
}

/// The run after its first event.
pub fn begun(world: &World, of: &Run, first: &Recorded, before: Option<Arc<Lineage>>) -> Run {
    let protocol = Arc::clone(&world.versions[0]);
    begin(of.id, first, protocol, Some([1; 32]), before).expect("it begins the run")
}

/// The run after one more event, as whoever reads a log folds it: with the protocol that the event pins.
pub fn apply_one(world: &World, run: &mut Run, recorded: &Recorded) {
    apply(run, recorded);
    if let Some(ProtocolRef { version, .. }) = pinned(&recorded.event.kind) {
        run.protocol = Arc::clone(&world.versions[*version as usize - 1]);
    }
}
