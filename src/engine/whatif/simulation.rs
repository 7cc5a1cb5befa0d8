//! A run of the other version, told what the recorded run was told.

use super::reading::{Input, Read, beginning};
use super::record::Drawn;
use super::{Asks, Counterparts, Other, Tape};
use crate::engine::command::Catalog;
use crate::engine::command::{Actor, Command, Context, DoneBy, Rejection, StartRun, TimerKind};
use crate::engine::decide::{Decided, decide, start};
use crate::engine::effects;
use crate::engine::event::{EventKind, Recorded};
use crate::engine::ids::{InstanceId, StepPath};
use crate::engine::protocol::{OnTimeout, Task};
use crate::engine::state::{Run, Waits};
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

struct Simulation<'r> {
    read: &'r Read<'r>,
    run: Run,
    numbers: Drawn<'r>,
    counterparts: Counterparts,
    /// The recorded run's steps, for those that stand in for each other.
    recorded: Counterparts,
    /// What was said to a step before it could take it, by the recorded step.
    unheard: HashMap<StepPath, VecDeque<&'r Input>>,
    /// Waits that the record knows nothing of end by themselves.
    clocks: BTreeSet<(DateTime<Utc>, StepPath)>,
    /// What the engine computes by itself, and was too much for one decision.
    computing: Vec<StepPath>,
    /// Steps that were computed in place.
    in_place: HashSet<StepPath>,
    refused: HashMap<StepPath, String>,
    acts: Vec<(Command, Rejection)>,
}

/// What came of an attempt to tell something.
enum Heard {
    /// It led to these events.
    Done(Vec<Recorded>),
    /// The step cannot take it now.
    NotNow,
    /// It means nothing here.
    Dropped,
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

    /// Tells a step the next thing that it was told.
    fn answer(&mut self, input: &'r Input) -> Heard {
        let Some(recorded) = &input.step else { return Heard::Dropped };
        let found = self.counterparts.of(&self.run, recorded);
        // What has not begun can be passed over when its turn has come.
        let passed_over = || matches!(input.command, Command::SkipStep { .. }).then(|| recorded.clone());
        let Some(here) = found.or_else(passed_over) else { return Heard::NotNow };
        let asks = Asks::of(&self.run, &here);
        if let (Some(then), Some(now)) = (&input.asks, &asks)
            && then != now
        {
            self.refused.insert(here, format!("It asks {} instead of {}.", now.in_words(), then.in_words()));
            return Heard::NotNow;
        }
        if let Some(events) = self.overdue(&here, recorded, input) {
            return Heard::Done(events);
        }
        let (command, at) = self.translated(input, &here, recorded);
        let told = self.decided(command, &input.actor, at, input.position);
        match told {
            Ok(events) => {
                self.refused.remove(&here);
                self.heard(recorded);
                Heard::Done(events)
            }
            Err(_) if self.means_nothing(input, &here) => {
                self.heard(recorded);
                Heard::Dropped
            }
            Err(refusal) => {
                self.refused.insert(here, refusal.to_string());
                Heard::NotNow
            }
        }
    }

    fn heard(&mut self, recorded: &StepPath) {
        if let Some(unheard) = self.unheard.get_mut(recorded) {
            unheard.pop_front();
            if unheard.is_empty() {
                self.unheard.remove(recorded);
            }
        }
    }

    /// A step that would have run out of its time before it was answered, where the other version gives it less.
    fn overdue(&mut self, here: &StepPath, recorded: &StepPath, input: &Input) -> Option<Vec<Recorded>> {
        if self.same_time_limit(here, recorded) {
            return None;
        }
        let ends = self.run.protocol.task(here).map(|task| task.on_timeout);
        if !matches!(ends, Some(OnTimeout::Fail | OnTimeout::Retry)) {
            return None;
        }
        let timers = effects::timers_of(&self.run, here);
        let timer = timers.into_iter().find(|timer| timer.kind == TimerKind::MaxMinutes)?;
        if timer.at >= input.at {
            return None;
        }
        let command = Command::FireTimer { step: timer.step, attempt: timer.attempt, kind: timer.kind };
        self.decided(command, &Actor::system(), timer.at, input.position).ok()
    }

    fn same_time_limit(&self, here: &StepPath, recorded: &StepPath) -> bool {
        let limit = |task: &std::sync::Arc<Task>| (task.max_time, task.on_timeout);
        self.run.protocol.task(here).map(limit) == self.read.run.protocol.task(recorded).map(limit)
    }

    /// A command as it is said here: to this step's own attempt, approval and sub-run; a time that has come, at its
    /// time.
    fn translated(&self, input: &Input, here: &StepPath, recorded: &StepPath) -> (Command, DateTime<Utc>) {
        let mut command = input.command.clone();
        let mut at = input.at;
        let step = self.run.steps.get(here);
        let now = step.map_or(1, |step| step.attempt);
        match &mut command {
            Command::CompleteStep { step, attempt, .. }
            | Command::FailStep { step, attempt, .. }
            | Command::AcceptStep { step, attempt }
            | Command::ClaimStep { step, attempt, .. }
            | Command::RescueStep { step, attempt, .. } => {
                (*step, *attempt) = (here.clone(), now);
            }
            Command::CallBack { step, .. }
            | Command::ReceiveEvent { step, .. }
            | Command::RetryStep { step, .. }
            | Command::SkipStep { step, .. } => *step = here.clone(),
            Command::SubrunEnded { step: path, run, .. } => {
                *path = here.clone();
                *run = step.and_then(|step| step.subrun).unwrap_or(*run);
            }
            Command::Decide { approval, .. } => {
                let open = step.and_then(|step| step.approval.as_ref());
                *approval = open.map_or(*approval, |open| open.id);
            }
            Command::FireTimer { step, attempt, kind } => {
                (*step, *attempt) = (Some(here.clone()), now);
                let waits_for_it = match kind {
                    TimerKind::Retry | TimerKind::Wait => true,
                    TimerKind::MaxMinutes => self.same_time_limit(here, recorded),
                    TimerKind::Due | TimerKind::Remind | TimerKind::Grace => false,
                };
                let timers = effects::timers_of(&self.run, here);
                let due = timers.into_iter().find(|timer| timer.kind == *kind && waits_for_it);
                at = due.map_or(at, |timer| at.max(timer.at));
            }
            Command::AdmitRun
            | Command::PauseRun { .. }
            | Command::ResumeRun { .. }
            | Command::CancelRun { .. }
            | Command::SetValue { .. }
            | Command::MigrateRun { .. }
            | Command::FileOverride { .. }
            | Command::DecideOverride { .. } => {}
        }
        (command, at)
    }

    /// A reminder, a flag, a claim: nothing that moves the step on hangs on it.
    fn means_nothing(&self, input: &Input, here: &StepPath) -> bool {
        let Some(step) = self.run.steps.get(here).filter(|step| step.status.is_open()) else {
            return false;
        };
        match &input.command {
            Command::AcceptStep { .. } | Command::RescueStep { .. } => true,
            Command::ClaimStep { .. } => step.waits != Some(Waits::Worker),
            Command::FireTimer { kind: TimerKind::Due | TimerKind::Remind, .. } => true,
            Command::FireTimer { kind: TimerKind::MaxMinutes, .. } => {
                let recorded = input.step.as_ref().and_then(|step| self.read.run.protocol.task(step));
                recorded.is_none_or(|task| matches!(task.on_timeout, OnTimeout::Flag | OnTimeout::Escalate))
            }
            _ => false,
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

    fn decided(
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
