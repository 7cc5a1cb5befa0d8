//! The steps of a run that have begun, in that order. Copies share what they have in common, so that a command on a
//! run of ten thousand branches does not copy them all.

use super::ids::StepPath;
use super::state::{Step, StepStatus};
use rpds::{HashTrieMapSync, RedBlackTreeSetSync, VectorSync};
use std::sync::Arc;

#[derive(Debug, Clone, Default)]
pub struct Steps {
    begun: VectorSync<(StepPath, Arc<Step>)>,
    places: HashTrieMapSync<StepPath, usize>,
    open: RedBlackTreeSetSync<usize>,
    /// Open steps, groups not counted, that are at work or wait.
    running: usize,
    waiting: usize,
    stalled: usize,
}

impl PartialEq for Steps {
    fn eq(&self, other: &Self) -> bool {
        self.begun.len() == other.begun.len() && self.begun.iter().eq(other.begun.iter())
    }
}

impl Steps {
    pub fn get(&self, path: &StepPath) -> Option<&Arc<Step>> {
        self.begun.get(*self.places.get(path)?).map(|(_, step)| step)
    }

    pub fn get_key_value(&self, path: &StepPath) -> Option<(&StepPath, &Arc<Step>)> {
        self.begun.get(*self.places.get(path)?).map(|(path, step)| (path, step))
    }

    pub fn contains_key(&self, path: &StepPath) -> bool {
        self.places.contains_key(path)
    }

    pub fn len(&self) -> usize {
        self.begun.len()
    }

    pub fn is_empty(&self) -> bool {
        self.begun.is_empty()
    }

    /// All of them, in the order in which they began.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = (&StepPath, &Arc<Step>)> {
        self.begun.iter().map(|(path, step)| (path, step))
    }

    /// Those that are not over, in the order in which they began.
    pub fn open(&self) -> impl Iterator<Item = (&StepPath, &Arc<Step>)> {
        self.open.iter().filter_map(|place| self.begun.get(*place)).map(|(path, step)| (path, step))
    }

    pub fn any_open(&self) -> bool {
        !self.open.is_empty()
    }

    /// How many are at work, groups not counted.
    pub fn running(&self) -> usize {
        self.running
    }

    /// How many wait, groups not counted.
    pub fn waiting(&self) -> usize {
        self.waiting
    }

    pub fn any_stalled(&self) -> bool {
        self.stalled > 0
    }

    pub fn insert(&mut self, path: StepPath, step: Arc<Step>) {
        match self.places.get(&path).copied() {
            Some(place) => self.replace(place, path, step),
            None => {
                let place = self.begun.len();
                self.places.insert_mut(path.clone(), place);
                self.count(&step, true);
                if step.status.is_open() {
                    self.open.insert_mut(place);
                }
                self.begun.push_back_mut((path, step));
            }
        }
    }

    /// Changes a step. False: it has not begun.
    pub fn change(&mut self, path: &StepPath, change: impl FnOnce(&mut Step)) -> bool {
        let Some(place) = self.places.get(path).copied() else { return false };
        let Some((path, step)) = self.begun.get(place).cloned() else { return false };
        let mut step = Arc::unwrap_or_clone(step);
        change(&mut step);
        self.replace(place, path, Arc::new(step));
        true
    }

    fn replace(&mut self, place: usize, path: StepPath, step: Arc<Step>) {
        if let Some((_, before)) = self.begun.get(place).cloned() {
            self.count(&before, false);
        }
        self.count(&step, true);
        match step.status.is_open() {
            true => self.open.insert_mut(place),
            false => {
                self.open.remove_mut(&place);
            }
        }
        self.begun.set_mut(place, (path, step));
    }

    fn count(&mut self, step: &Step, comes: bool) {
        let one = |number: &mut usize| if comes { *number += 1 } else { *number -= 1 };
        if step.status.is_open() && step.stalled {
            one(&mut self.stalled);
        }
        match step.status {
            StepStatus::Running if step.group.is_none() => one(&mut self.running),
            StepStatus::Waiting => one(&mut self.waiting),
            _ => {}
        }
    }
}
