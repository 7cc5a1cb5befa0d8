//! A run of the other version, told what the recorded run was told.

use super::answers::Heard;
use super::reading::{Input, Read, beginning};
use super::record::Drawn;
use super::{Counterparts, Other, Tape};
use crate::engine::command::{Actor, Catalog, Command, Context, DoneBy, Rejection, StartRun, TimerKind};
use crate::engine::decide::{Decided, decide, start};
use crate::engine::effects;
use crate::engine::event::{EventKind, Recorded};
use crate::engine::ids::{InstanceId, StepPath};
use crate::engine::state::Run;
use chrono::{DateTime, Utc};
use std::collections::{BTreeSet, HashMap, HashSet, VecDeque};

pub struct Told {
    /// The run as it would be.
    pub run: Run,
    /// Why the next recorded answer of a step could not be given to it: the step, and a sentence.
    pub refused: HashMap<StepPath, String>,
    /// What people did to the run that made no sense there.
    pub acts: Vec<(Command, Rejection)>,
}

/// # Errors
/// The run cannot begin.
pub fn tell(tape: &Tape<'_>, read: &Read<'_>, other: &Other) -> Result<Told, Rejection> {
    let mut simulation = Simulation::begin(tape, read, other)?;
    for (index, input) in read.inputs.iter().enumerate() {
        simulation.pass_until(Some(input.at));
        let next = read.inputs.get(index + 1).map(|next| next.at);
        simulation.hear(input);
        simulation.pass_until(next);
    }
    simulation.pass_until(None);
    let Simulation { run, refused, acts, .. } = simulation;
    Ok(Told { run, refused, acts })
}

pub(super) struct Simulation<'r> {
    pub read: &'r Read<'r>,
    pub run: Run,
    numbers: Drawn<'r>,
    pub counterparts: Counterparts,
    /// The recorded run's steps, for those that stand in for each other.
    recorded: Counterparts,
    /// What was said to a step before it could take it, by the recorded step.
    pub unheard: HashMap<StepPath, VecDeque<&'r Input>>,
    /// Waits that the record knows nothing of end by themselves.
    clocks: BTreeSet<(DateTime<Utc>, StepPath)>,
    /// What the engine computes by itself, and was too much for one decision.
    computing: Vec<StepPath>,
    /// Steps that were computed in place.
    in_place: HashSet<StepPath>,
    pub refused: HashMap<StepPath, String>,
    acts: Vec<(Command, Rejection)>,
}

impl<'r> Simulation<'r> {
    fn begin(tape: &Tape<'r>, read: &'r Read<'r>, other: &Other) -> Result<Simulation<'r>, Rejection> {
        let Some((begun, first)) = beginning(tape, read.before.clone()) else {
            let message = "The entries do not begin with the queueing of a run.".to_owned();
            return Err(Rejection::Unfit { field: "run", message });
        };
        let command = StartRun {
            protocol_ref: other.version.clone(),
            protocol: std::sync::Arc::clone(&other.protocol),
            ..begun
        };
        let mut numbers = Drawn::of(tape.events);
        let actor = Actor { name: first.actor.clone(), ..Actor::system() };
        read.catalogue.position.set(0);
        let mut context = Context {
            now: first.at,
            actor: &actor,
            catalog: &read.catalogue,
            instance: InstanceId(0),
            numbers: &mut numbers,
        };
        let Decided { run, events } = start(command, &mut context)?;
        let mut recorded = Counterparts::default();
        read.run.steps.iter().for_each(|(path, _)| recorded.add(path));
        let in_place = tape.events.iter().filter_map(|recorded| match &recorded.event.kind {
            EventKind::StepStarted { instance: None, worker: false, .. } => recorded.event.step.clone(),
            _ => None,
        });
        let mut simulation = Simulation {
            read,
            run,
            numbers,
            counterparts: Counterparts::default(),
            recorded,
            unheard: HashMap::new(),
            clocks: BTreeSet::new(),
            computing: Vec::new(),
            in_place: in_place.collect(),
            refused: HashMap::new(),
            acts: Vec::new(),
        };
        simulation.follow(events);
        // Where the recorded run did not wait for room, neither does this one.
        if simulation.run.held && read.run.slot.is_none() {
            simulation.carry_out(Command::AdmitRun, &Actor::system(), first.at, 0).ok();
        }
        Ok(simulation)
    }

    fn hear(&mut self, input: &'r Input) {
        let Some(step) = &input.step else { return self.hear_of_run(input) };
        let unheard = self.unheard.entry(step.clone()).or_default();
        unheard.push_back(input);
        if unheard.len() == 1 {
            self.tell_step(step);
        }
    }

    /// What is said about the run as a whole is said once.
    fn hear_of_run(&mut self, input: &'r Input) {
        // It had this version from its beginning.
        if matches!(input.command, Command::MigrateRun { .. }) {
            return;
        }
        let told = self.carry_out(input.command.clone(), &input.actor, input.at, input.position);
        if let Err(refusal) = told
            && input.command != Command::AdmitRun
            && !matches!(input.command, Command::FireTimer { .. })
        {
            self.acts.push((input.command.clone(), refusal));
        }
    }

    /// Tells a step, as long as it can take it, what it was told; then those that this led to.
    fn tell_step(&mut self, step: &StepPath) {
        let mut ready = BTreeSet::from([(0, step.clone())]);
        while let Some((_, step)) = ready.pop_first() {
            let Some(input) = self.unheard.get(&step).and_then(VecDeque::front).copied() else { continue };
            let events = match self.answer(input) {
                Heard::NotNow => continue,
                Heard::Dropped => Vec::new(),
                Heard::Done(events) => events,
            };
            self.again(&step, &events, &mut ready);
        }
    }

    /// Which steps may take what they were told, after these events.
    fn again(&self, step: &StepPath, events: &[Recorded], ready: &mut BTreeSet<(usize, StepPath)>) {
        let mut add = |step: &StepPath| {
            if let Some(next) = self.unheard.get(step).and_then(VecDeque::front) {
                ready.insert((next.position, step.clone()));
            }
        };
        add(step);
        let wakes_all = |kind: &EventKind| {
            matches!(
                kind,
                EventKind::RunResumed { .. }
                    | EventKind::RunAdmitted {}
                    | EventKind::RunEnding { .. }
                    | EventKind::OverrideDecided { .. }
                    | EventKind::ApprovalDecided { .. }
            )
        };
        if events.iter().any(|recorded| wakes_all(&recorded.event.kind)) {
            self.unheard.keys().for_each(&mut add);
        }
        for path in events.iter().filter_map(|recorded| recorded.event.step.as_ref()) {
            if let Some(recorded) = self.recorded.of(&self.read.run, path) {
                add(&recorded);
            }
        }
    }

    /// Lets end by itself what needs nobody, up to a time.
    fn pass_until(&mut self, limit: Option<DateTime<Utc>>) {
        loop {
            if let Some(step) = self.computing.pop() {
                self.compute(&step);
                continue;
            }
            let next = self.clocks.first().filter(|(at, _)| limit.is_none_or(|limit| *at <= limit));
            let Some((at, step)) = next.cloned() else { return };
            self.clocks.pop_first();
            let attempt = self.run.steps.get(&step).map_or(1, |step| step.attempt);
            let command = Command::FireTimer { step: Some(step), attempt, kind: TimerKind::Wait };
            let position = self.read.catalogue.position.get();
            self.carry_out(command, &Actor::system(), at, position).ok();
        }
    }

    fn compute(&mut self, path: &StepPath) {
        let step = self.run.steps.get(path);
        let Some(attempt) = step.and_then(|step| effects::attempt(&self.run, path, step)) else { return };
        let command =
            Command::CompleteStep { step: path.clone(), attempt: attempt.number, result: attempt.input };
        let (at, position) = (self.run.updated_at, self.read.catalogue.position.get());
        self.carry_out(command, &Actor::system(), at, position).ok();
    }

    /// Carries out a command, and tells the steps that it led to what they were told already.
    fn carry_out(
        &mut self,
        command: Command,
        actor: &Actor,
        at: DateTime<Utc>,
        position: usize,
    ) -> Result<(), Rejection> {
        let events = self.decided(command, actor, at, position)?;
        let mut ready = BTreeSet::new();
        self.again(&StepPath::from_log(""), &events, &mut ready);
        for (_, step) in ready {
            self.tell_step(&step);
        }
        Ok(())
    }

    pub fn decided(
        &mut self,
        command: Command,
        actor: &Actor,
        at: DateTime<Utc>,
        position: usize,
    ) -> Result<Vec<Recorded>, Rejection> {
        self.read.catalogue.position.set(position);
        let mut context = Context {
            now: at,
            actor,
            catalog: &self.read.catalogue,
            instance: InstanceId(0),
            numbers: &mut self.numbers,
        };
        let Decided { run, events } = decide(&self.run, command, &mut context)?;
        self.run = run;
        self.follow(events.clone());
        Ok(events)
    }

    /// Keeps in mind what began.
    fn follow(&mut self, events: Vec<Recorded>) {
        for recorded in events {
            let Some(path) = recorded.event.step else { continue };
            self.counterparts.add(&path);
            let known = self.recorded.of(&self.read.run, &path);
            match recorded.event.kind {
                EventKind::WaitStarted { until: Some(until), .. } if known.is_none() => {
                    self.clocks.insert((until, path));
                }
                EventKind::StepStarted { instance: Some(_), uses, .. } => {
                    let computes = self.read.catalogue.action(&uses);
                    let computes = computes.is_some_and(|entry| entry.done_by == DoneBy::Engine);
                    if computes && known.is_none_or(|known| self.in_place.contains(&known)) {
                        self.computing.push(path);
                    }
                }
                _ => {}
            }
        }
    }
}
