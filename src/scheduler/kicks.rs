//! What was just committed and concerns a loop, so that it need not wait for its next look.
//!
//! Only a convenience: everything follows from committed rows, and the loops look for themselves as well. A kick
//! that is lost, or was for another instance, costs a second or two.

use crate::engine::event::EventKind;
use crate::engine::ids::RunId;
use crate::store::batch::Member;
use crate::store::slots::Lane;
use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};
use tokio::sync::Notify;

/// Beyond so many the loop's own look is as good.
const MOST: usize = 10_000;

/// What one loop is to look at.
#[derive(Debug)]
pub struct Kick<T> {
    at: Mutex<BTreeSet<T>>,
    notify: Notify,
}

impl<T> Default for Kick<T> {
    fn default() -> Kick<T> {
        Kick { at: Mutex::new(BTreeSet::new()), notify: Notify::new() }
    }
}

impl<T: Ord> Kick<T> {
    /// Look at this soon.
    pub fn about(&self, of: impl IntoIterator<Item = T>) {
        let mut at = self.at.lock().unwrap_or_else(PoisonError::into_inner);
        let before = at.len();
        at.extend(of.into_iter().take(MOST.saturating_sub(before)));
        if at.len() > before {
            self.notify.notify_one();
        }
    }

    /// Waits until there is something to look at. For one loop alone.
    pub async fn next(&self) -> Vec<T> {
        loop {
            let at = std::mem::take(&mut *self.at.lock().unwrap_or_else(PoisonError::into_inner));
            if !at.is_empty() {
                return at.into_iter().collect();
            }
            self.notify.notified().await;
        }
    }
}

/// One for each loop. Cloning shares them.
#[derive(Debug, Clone, Default)]
pub struct Kicks {
    /// Runs with a step that waits for an event, or has one to receive.
    pub events: Arc<Kick<i64>>,
    /// Runs whose sub-runs, or who as a sub-run, have something to settle.
    pub subruns: Arc<Kick<i64>>,
    /// Lanes in which somebody waits, or left.
    pub slots: Arc<Kick<Lane>>,
}

impl Kicks {
    /// Tells the loops of what was committed.
    pub fn committed(&self, member: &Member) {
        let run = &member.run;
        if let Some(slot) = run.slot.as_ref().filter(|_| member.before.is_none() || run.status.is_final()) {
            self.slots.about([Lane { protocol_id: run.protocol_ref.id, key: slot.key.clone() }]);
        }
        if run.status.is_final() && run.parent.is_some() {
            self.subruns.about([run.id.0]);
        }
        let (mut waits, mut subruns) = (false, false);
        for recorded in &member.events {
            match &recorded.event.kind {
                EventKind::WaitStarted { event: Some(_), .. } => waits = true,
                EventKind::SubrunStarted { .. } => subruns = true,
                EventKind::StepFailed { .. }
                | EventKind::StepSkipped { .. }
                | EventKind::StepCancelled { .. } => {
                    let step = recorded.event.step.as_ref().and_then(|path| run.steps.get(path));
                    subruns |= step.is_some_and(|step| step.subrun.is_some());
                }
                _ => {}
            }
        }
        let RunId(id) = run.id;
        self.events.about(waits.then_some(id));
        self.subruns.about(subruns.then_some(id));
    }
}

#[cfg(test)]
mod tests {
    use super::Kick;

    #[tokio::test]
    async fn what_comes_before_and_after_the_loop_waits_is_there_once() {
        let kick = Kick::default();
        kick.about([2, 1]);
        kick.about([2]);
        assert_eq!(kick.next().await, [1, 2]);
        let (found, ()) = tokio::join!(kick.next(), async { kick.about([3]) });
        assert_eq!(found, [3]);
    }
}
