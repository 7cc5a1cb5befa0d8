//! From a run's log to the commands that it came of.
//!
//! An entry may be what somebody said, or what followed from it. Which, the engine itself tells: a command is found when
//! deciding it again, on the run as it was, gives the entries that stand there.

use super::candidates::candidates;
use super::record::{Catalogue, Drawn, version};
use super::{Asks, Tape, Today};
use crate::engine::apply::{apply, begin, pinned};
use crate::engine::command::{Actor, Command, Context, Rerun, StartRun};
use crate::engine::decide::{decide, start};
use crate::engine::event::{EventKind, Recorded, Via};
use crate::engine::ids::{InstanceId, StepPath};
use crate::engine::state::{DoneBefore, Lineage, Run};
use chrono::{DateTime, Utc};
use std::sync::Arc;

/// Something that the run was told.
#[derive(Debug, Clone)]
pub struct Input {
    /// Its first entry's place.
    pub position: usize,
    pub at: DateTime<Utc>,
    pub actor: Actor,
    pub command: Command,
    /// The step that it is about. None: the run.
    pub step: Option<StepPath>,
    /// What that step needed an answer from. None, too, for what a person did to it.
    pub asks: Option<Asks>,
}

pub struct Read<'a> {
    /// The run as it went.
    pub run: Run,
    pub inputs: Vec<Input>,
    pub catalogue: Catalogue<'a>,
    /// What a rerun took over, as far as the record tells.
    pub before: Option<Arc<Lineage>>,
}

/// None: the entries are not those of a run.
pub fn read<'a>(tape: &Tape<'_>, today: &Today<'a>) -> Option<Read<'a>> {
    let first = tape.events.first()?;
    let protocol = version(tape.versions, pinned(&first.event.kind)?)?;
    let before = taken_over(tape.events).map(Arc::new);
    let mut run = begin(tape.run, first, protocol, Some(tape.salt), before.clone())?;
    let catalogue = Catalogue::of(tape, today);
    let mut reader = Reader { tape, today, inputs: Vec::new() };
    let begun = begun(tape, before.clone(), &catalogue);
    let mut position = 1;
    while position < tape.events.len() {
        let input = if position < begun { None } else { reader.input(&run, &catalogue, position) };
        let length = match input {
            Some((input, length)) => {
                reader.inputs.push(input);
                length
            }
            None => 1,
        };
        for recorded in tape.events[position..].iter().take(length) {
            apply(&mut run, recorded);
            if let Some(protocol) = pinned(&recorded.event.kind).and_then(|pin| version(tape.versions, pin)) {
                run.protocol = protocol;
            }
        }
        position += length;
    }
    Some(Read { run, inputs: reader.inputs, catalogue, before })
}

/// What a rerun took over of earlier runs: what its entries say of it. None: nothing.
fn taken_over(events: &[Recorded]) -> Option<Lineage> {
    let mut lineage = Lineage::default();
    for recorded in events {
        if let EventKind::StepCarried { run, from_step, action_version, checksum, result } =
            &recorded.event.kind
        {
            let done = DoneBefore {
                run: *run,
                step: from_step.clone(),
                action_version: *action_version,
                result: result.clone(),
            };
            lineage.done.entry(checksum.clone()).or_default().push(done);
        }
    }
    (!lineage.done.is_empty()).then_some(lineage)
}

/// How the run was begun.
pub fn beginning<'t>(tape: &Tape<'t>, before: Option<Arc<Lineage>>) -> Option<(StartRun, &'t Recorded)> {
    let first = tape.events.first()?;
    let EventKind::RunQueued {
        protocol, payload, redact, lineage, started_by, parent, rerun_of, reason, ..
    } = first.event.kind.clone()
    else {
        return None;
    };
    let before = before.unwrap_or_default();
    let reason = reason.unwrap_or_default();
    let start = StartRun {
        run_id: tape.run,
        protocol: version(tape.versions, &protocol)?,
        protocol_ref: protocol,
        payload,
        redact,
        salt: tape.salt,
        started_by,
        parent,
        rerun: rerun_of.map(|of| Rerun { of, lineage, reason, before }),
    };
    Some((start, first))
}

/// How many entries the start itself came to: a run's first step begins with it.
fn begun(tape: &Tape<'_>, before: Option<Arc<Lineage>>, catalogue: &Catalogue<'_>) -> usize {
    let Some((command, first)) = beginning(tape, before) else { return 1 };
    let via = match &first.event.kind {
        EventKind::RunQueued { via, .. } => via.clone(),
        _ => None,
    };
    let actor = Actor { name: first.actor.clone(), via, ..Actor::system() };
    catalogue.position.set(0);
    let mut numbers = Drawn::of(tape.events);
    let mut context = context(tape.events, &actor, catalogue, &mut numbers);
    let Ok(decided) = start(command, &mut context) else { return 1 };
    let stands = |exactly| fits(&decided.events, tape.events, exactly);
    if stands(true) || stands(false) { decided.events.len() } else { 1 }
}

struct Reader<'t, 'a> {
    tape: &'t Tape<'t>,
    today: &'t Today<'a>,
    inputs: Vec<Input>,
}

impl Reader<'_, '_> {
    /// What was said at this place, and how many entries it came to. None: nothing that can be told again.
    fn input(&self, run: &Run, catalogue: &Catalogue<'_>, position: usize) -> Option<(Input, usize)> {
        let ahead = &self.tape.events[position..];
        let said = candidates(run, ahead, self.tape);
        // The very same entries; else, for a log that another version of the engine wrote, entries of the same kinds.
        for exactly in [true, false] {
            for (command, actor) in &said {
                catalogue.position.set(position);
                let actor = self.actor(actor);
                let Some(length) = explains(run, command, &actor, catalogue, ahead, exactly) else {
                    continue;
                };
                let step = step_of(run, command);
                let is_act = matches!(command, Command::SkipStep { .. } | Command::RetryStep { .. });
                let asks = step.as_ref().filter(|_| !is_act).and_then(|step| Asks::of(run, step));
                let (at, command) = (ahead[0].at, command.clone());
                return Some((Input { position, at, actor, command, step, asks }, length));
            }
        }
        None
    }

    /// Whoever said it, with the roles and groups that they have today and the one that they acted in.
    fn actor(&self, recorded: &Recorded) -> Actor {
        let name = recorded.actor.clone();
        let mut actor = (self.today.person)(&name);
        let (acted_as, via) = acted_as(&recorded.event.kind);
        match acted_as.as_deref().map(|acted| (acted.strip_prefix("group:"), acted)) {
            Some((Some(group), _)) if !actor.groups.iter().any(|held| held == group) => {
                actor.groups.push(group.to_owned());
            }
            Some((None, role)) if role != name && !actor.roles.iter().any(|held| held == role) => {
                actor.roles.push(role.to_owned());
            }
            Some(_) | None => {}
        }
        Actor { name, via, ..actor }
    }
}

/// The role that let somebody act, and how the request came in.
fn acted_as(kind: &EventKind) -> (Option<String>, Option<Via>) {
    match kind {
        EventKind::ApprovalVoted { as_role, via, .. } | EventKind::ApprovalDecided { as_role, via, .. } => {
            (Some(as_role.clone()), via.clone())
        }
        EventKind::StepSkipped { as_role, via, .. } => (as_role.clone(), via.clone()),
        EventKind::StepRetried { via, .. }
        | EventKind::RunPaused { via, .. }
        | EventKind::RunResumed { via, .. }
        | EventKind::CancelRequested { via, .. }
        | EventKind::ValueSet { via, .. }
        | EventKind::RunMigrated { via, .. }
        | EventKind::OverrideFiled { via, .. }
        | EventKind::OverrideDecided { via, .. } => (None, via.clone()),
        _ => (None, None),
    }
}

/// How many of the entries ahead this command gives. None: it gives others, or is refused.
fn explains(
    run: &Run,
    command: &Command,
    actor: &Actor,
    catalogue: &Catalogue<'_>,
    ahead: &[Recorded],
    exactly: bool,
) -> Option<usize> {
    let mut numbers = Drawn::of(ahead);
    let mut context = context(ahead, actor, catalogue, &mut numbers);
    let decided = decide(run, command.clone(), &mut context).ok()?.events;
    fits(&decided, ahead, exactly).then_some(decided.len())
}

/// What the engine was given when the entries ahead were decided.
fn context<'c>(
    ahead: &[Recorded],
    actor: &'c Actor,
    catalogue: &'c Catalogue<'_>,
    numbers: &'c mut Drawn<'_>,
) -> Context<'c> {
    let now = ahead[0].at;
    let instance = at_once(ahead).find_map(|recorded| match recorded.event.kind {
        EventKind::StepStarted { instance, .. } => instance,
        _ => None,
    });
    Context { now, actor, catalog: catalogue, instance: instance.unwrap_or(InstanceId(0)), numbers }
}

/// The entries of one decision bear one time.
pub fn at_once(ahead: &[Recorded]) -> impl Iterator<Item = &Recorded> {
    ahead.iter().take_while(|recorded| recorded.at == ahead[0].at)
}

fn fits(decided: &[Recorded], ahead: &[Recorded], exactly: bool) -> bool {
    let alike = |(one, other): (&Recorded, &Recorded)| {
        let kinds = one.event.kind.type_name() == other.event.kind.type_name();
        if exactly { one == other } else { kinds && one.event.step == other.event.step }
    };
    decided.len() <= ahead.len() && decided.iter().zip(ahead).all(alike)
}

/// The step that a command is about.
fn step_of(run: &Run, command: &Command) -> Option<StepPath> {
    match command {
        Command::CompleteStep { step, .. }
        | Command::FailStep { step, .. }
        | Command::AcceptStep { step, .. }
        | Command::CallBack { step, .. }
        | Command::ClaimStep { step, .. }
        | Command::RescueStep { step, .. }
        | Command::ReceiveEvent { step, .. }
        | Command::SubrunEnded { step, .. }
        | Command::RetryStep { step, .. }
        | Command::SkipStep { step, .. } => Some(step.clone()),
        Command::FireTimer { step, .. } => step.clone(),
        Command::Decide { approval, .. } => run.approval(*approval).map(|(path, _, _)| path.clone()),
        Command::AdmitRun
        | Command::PauseRun { .. }
        | Command::ResumeRun { .. }
        | Command::CancelRun { .. }
        | Command::SetValue { .. }
        | Command::MigrateRun { .. }
        | Command::FileOverride { .. }
        | Command::DecideOverride { .. } => None,
    }
}
