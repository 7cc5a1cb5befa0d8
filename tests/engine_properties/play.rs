//! Playing a protocol: what happens to a run, one move after the other.

use super::choices::Choices;
use super::moves::{self, Move};
use super::world::World;
use super::{laws, undos};
use hms_act::engine::command::{Command, Rejection};
use hms_act::engine::event::Recorded;
use hms_act::engine::state::Run;
use serde_json::Value;

/// The most moves that help until a generated run must be over.
const MANY: usize = 400;

/// Moves that are tried on a run that is over.
const MANY_LATE: usize = 3;

/// A run with everything that happened to it.
pub struct Played {
    pub world: World,
    pub run: Run,
    pub events: Vec<Recorded>,
}

impl Played {
    pub fn begin(document: Value) -> Played {
        let mut world = World::new(document);
        let first = world.start();
        laws::hold_after(&world, None, &first);
        Played { world, run: first.run, events: first.events }
    }

    /// A run of the protocol to which what the bytes say happened.
    pub fn of(document: Value, bytes: &[u8]) -> Played {
        let mut played = Played::begin(document);
        let mut choices = Choices::new(bytes);
        let mut late = 0;
        while !choices.are_made() && late < MANY_LATE {
            late += usize::from(played.run.status.is_final());
            let Move { command, by } = moves::any(&mut played.world, &played.run, &mut choices);
            let _ = played.ask(command, by);
        }
        laws::hold_over(&played.run, &played.events);
        played
    }

    pub fn ask(&mut self, command: Command, by: &str) -> Result<(), Rejection> {
        let was_final = self.run.status.is_final();
        let cancels = matches!(command, Command::CancelRun { .. }) && self.run.ending.is_none();
        match self.world.decide(&self.run, command, by) {
            Ok(decided) => {
                assert!(!was_final, "final states absorb");
                laws::hold_after(&self.world, Some(&self.run), &decided);
                self.run = decided.run;
                self.events.extend(decided.events);
                Ok(())
            }
            Err(refused) => {
                assert!(was_final || !cancels, "a run that is not over can be cancelled: {refused}");
                Err(refused)
            }
        }
    }

    pub fn must(&mut self, Move { command, by }: Move) {
        let asked = format!("{command:?} by {by}");
        if let Err(refused) = self.ask(command, by) {
            panic!("{asked}: {refused}\n{:#?}", self.run);
        }
    }

    /// Everything succeeds, and people let go on what is held up: the run ends.
    pub fn finish(&mut self, choices: &mut Choices<'_>) {
        for _ in 0..MANY {
            if self.run.status.is_final() {
                laws::hold_over(&self.run, &self.events);
                undos::ran_once_for_what_was_done(&self.run, &self.events);
                return;
            }
            let next = moves::helpful(&mut self.world, &self.run, choices);
            self.must(next);
        }
        panic!("the run does not end: {:#?}", self.run);
    }
}
