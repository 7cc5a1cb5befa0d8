//! From events to the entries of the log, what is sealed in them taken out.

use super::Group;
use crate::audit::Hash;
use crate::audit::disclosure::{Cover, Salt};
use crate::audit::entry::{Draft, Sealed, seal_covered};
use crate::engine::event::{Event, EventKind, Recorded};
use crate::engine::ids::RunId;
use crate::engine::redact::{self, ERASED, Place, SEALED, Secrets};
use crate::engine::state::Run;
use crate::store::batch::Veiled;
use rand::Rng;
use serde_json::Value;
use std::sync::Arc;

/// Adds the events of a command to its group, sealed. `before`: the run's head and state before it; the group has the
/// run as it is after it.
pub(super) fn seal_events(
    group: &mut Group,
    origin: &str,
    before: Option<(Hash, Arc<Run>)>,
    events: Vec<Recorded>,
) {
    let run = Arc::clone(&group.member.run);
    let secrets =
        redact::is_marked(&run).then(|| secrets(&run, before.as_ref().map(|(_, run)| run.as_ref()), &events));
    let mut prev = before.map(|(head, _)| head);
    let mut seq = run.version - events.len() as u64;
    let mut veiled = Vec::new();
    for recorded in events {
        seq += 1;
        let detail = recorded.event.kind.detail();
        let places = secrets.as_ref().map_or_else(Vec::new, |secrets| {
            redact::places(&run, recorded.event.step.as_ref(), &recorded.event.kind, &detail, secrets)
        });
        if secrets.is_some() {
            veiled.push(veil(&recorded, &detail, &places));
        }
        let sealed = seal_event(origin, run.id, seq, prev, &recorded, (detail, places));
        prev = Some(sealed.hash);
        group.head = sealed.hash;
        group.member.events.push(recorded);
        group.member.sealed.push(sealed);
    }
    if secrets.is_some() {
        let earlier = group.member.veiled.take().map(|veiled| veiled.events).unwrap_or_default();
        let events = earlier.into_iter().chain(veiled).collect();
        group.member.veiled = Some(Veiled { run: redact::shown(&run), events });
    }
}

/// Every marked value that stood in the run before or after, or that the events themselves bring.
fn secrets(run: &Run, before: Option<&Run>, events: &[Recorded]) -> Secrets {
    let mut secrets = redact::secrets(run);
    if let Some(before) = before {
        redact::learn_run(before, &mut secrets);
    }
    for Recorded { event, .. } in events {
        redact::learn(run, event.step.as_ref(), &event.kind, &event.kind.detail(), &mut secrets);
    }
    secrets
}

/// The event as it is told to somebody who may not see what is sealed in it.
fn veil(recorded: &Recorded, detail: &Value, places: &[Place]) -> Recorded {
    if places.is_empty() {
        return recorded.clone();
    }
    let mut detail = detail.clone();
    for place in places {
        if let Some(value) = detail.pointer_mut(&place.pointer).filter(|value| **value != ERASED) {
            *value = SEALED.into();
        }
    }
    let kind = &recorded.event.kind;
    let kind = EventKind::from_entry(kind.type_name(), kind.checksum(), detail)
        .expect("texts and free values alone are sealed, and a text may stand in the place of either");
    let Event { step, attempt, .. } = recorded.event.clone();
    Recorded { event: Event { step, attempt, kind }, ..recorded.clone() }
}

fn seal_event(
    origin: &str,
    run: RunId,
    seq: u64,
    prev: Option<Hash>,
    recorded: &Recorded,
    (detail, places): (Value, Vec<Place>),
) -> Sealed {
    let event = &recorded.event;
    let draft = Draft {
        origin,
        run_id: run.0,
        stream: 0,
        seq,
        prev,
        at: recorded.at,
        actor: &recorded.actor,
        type_name: event.kind.type_name(),
        step: event.step.as_ref().map(|step| step.as_str()),
        attempt: event.attempt,
        status: event.kind.status(),
        checksum: event.kind.checksum(),
        detail,
    };
    let cover = |Place { pointer, path, exemption }| Cover { pointer, path, exemption, salt: new_salt() };
    seal_covered(&draft, places.into_iter().map(cover).collect())
}

fn new_salt() -> Salt {
    let mut salt = [0; 16];
    rand::rng().fill_bytes(&mut salt);
    salt
}
