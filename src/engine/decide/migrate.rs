//! Moving a parked run to another version of its protocol: what maps and what does not, and the move itself.
//!
//! What has begun must stand in the new version as it did in the old one; what has not may change as it likes.

use super::Decision;
use super::approvals::may_pass;
use crate::engine::command::{Context, Rejection};
use crate::engine::event::EventKind;
use crate::engine::ids::StepPath;
use crate::engine::protocol::{Parallel, Place, Protocol, Task, Work};
use crate::engine::state::{ProtocolRef, Run, Step, StepStatus, Waits};
use std::collections::BTreeSet;
use std::sync::Arc;

/// What a move would come to.
#[derive(Debug, Clone, PartialEq)]
pub struct Preview {
    /// Every step that has begun, in that order.
    pub steps: Vec<Mapped>,
    /// What stands in the way beside the steps' own problems. Sentences.
    pub problems: Vec<String>,
    /// Ids of tasks that only the new version has.
    pub adds: Vec<String>,
    /// Ids of tasks that only the old version has.
    pub drops: Vec<String>,
}

/// A step that has begun, and where it stands in the new version.
#[derive(Debug, Clone, PartialEq)]
pub struct Mapped {
    pub step: StepPath,
    pub status: StepStatus,
    /// The JSON path of its task. None: it has no counterpart, and `problem` says why.
    pub maps_to: Option<String>,
    pub problem: Option<String>,
}

impl Preview {
    pub fn is_possible(&self) -> bool {
        self.all_problems().next().is_none()
    }

    /// What stands in the way, steps included.
    pub fn all_problems(&self) -> impl Iterator<Item = &str> {
        let of_steps = self.steps.iter().filter_map(|mapped| mapped.problem.as_deref());
        self.problems.iter().map(String::as_str).chain(of_steps)
    }
}

/// What moving a run to another version would come to. Changes nothing.
pub fn preview(run: &Run, to: &ProtocolRef, protocol: &Protocol) -> Preview {
    let moving = Move { run, version: to.version, protocol };
    let begun = run.steps.iter().filter(|(path, _)| path.undone().is_none());
    let only = |one: &Protocol, other: &Protocol| -> Vec<String> {
        let ids = one.all().into_iter().map(|place| &place.task.id);
        ids.filter(|id| other.place(id).is_none()).cloned().collect()
    };
    Preview {
        steps: begun.map(|(path, step)| moving.map(path, step)).collect(),
        problems: moving.problems(),
        adds: only(protocol, &run.protocol),
        drops: only(&run.protocol, protocol),
    }
}

impl Decision {
    pub(super) fn migrate(
        &mut self,
        to: ProtocolRef,
        protocol: Arc<Protocol>,
        reason: String,
        context: &mut Context<'_>,
    ) -> Result<(), Rejection> {
        let preview = preview(&self.run, &to, &protocol);
        let problems: Vec<&str> = preview.all_problems().take(3).collect();
        if !problems.is_empty() {
            let sentence =
                format!("Run {} cannot move to version {}. {}", self.run.id, to.version, problems.join(" "));
            return Err(Rejection::NotNow(sentence));
        }
        self.may_drop_approvals(&protocol, context)?;
        let via = context.actor.via.clone();
        self.emit_run(EventKind::RunMigrated { to, reason, via }, context.actor);
        self.run.protocol = protocol;
        self.advance_all(context);
        Ok(())
    }

    /// Moving past an approval is a decision: whoever may not decide it may not drop it.
    fn may_drop_approvals(&self, protocol: &Protocol, context: &Context<'_>) -> Result<(), Rejection> {
        for place in self.run.protocol.all() {
            let Work::Hitl(hitl) = &place.task.work else { continue };
            // Asked of the same people, under the same condition, at the same place: else it is passed in part.
            let stays = protocol.place(&place.task.id).is_some_and(|there| {
                there.task == place.task
                    && (&there.group, there.branch, there.position)
                        == (&place.group, place.branch, place.position)
            });
            if !stays {
                may_pass(&self.run, hitl, context.actor)?;
            }
        }
        Ok(())
    }
}

struct Move<'a> {
    run: &'a Run,
    version: i32,
    protocol: &'a Protocol,
}

impl Move<'_> {
    fn map(&self, path: &StepPath, step: &Step) -> Mapped {
        let found = self.counterpart(path.task_id());
        let (maps_to, problem) = match found {
            Ok(place) => (Some(place.path.clone()), None),
            Err(problem) => (None, Some(problem)),
        };
        Mapped { step: path.clone(), status: step.status, maps_to, problem }
    }

    /// The task in the new version, if a step of it can go on there.
    fn counterpart(&self, id: &str) -> Result<&Place, String> {
        let version = self.version;
        let new = self
            .protocol
            .place(id)
            .ok_or_else(|| format!("Version {version} has no task `{id}`, which has begun."))?;
        let Some(old) = self.run.protocol.place(id) else { return Ok(new) };
        let (was, is) = (kind(&old.task), kind(&new.task));
        if was != is {
            return Err(format!(
                "`{id}` is of the type `{was}` and has begun; in version {version} it is `{is}`."
            ));
        }
        if old.group != new.group || old.branch != new.branch {
            return Err(format!(
                "`{id}` has begun, and stands in another group or branch in version {version}."
            ));
        }
        if let (Work::Parallel(before), Work::Parallel(after)) = (&old.task.work, &new.task.work)
            && !holds_the_same(before, after)
        {
            return Err(format!("The group `{id}` has begun, and holds other tasks in version {version}."));
        }
        Ok(new)
    }

    fn problems(&self) -> Vec<String> {
        let Run { id, status, protocol_ref, ending, .. } = self.run;
        if status.is_final() {
            return vec![format!("It is over: it is {}.", status.as_str())];
        }
        let mut problems = Vec::new();
        if protocol_ref.version == self.version {
            problems.push(format!("Run {id} follows version {} already.", self.version));
        }
        if ending.is_some() {
            problems.push("It is ending: what it did is being taken back.".to_owned());
        }
        problems.extend(self.at_work());
        problems.extend(self.order());
        problems.extend(self.overwritten());
        problems
    }

    /// What is being executed was asked for by the old version.
    fn at_work(&self) -> impl Iterator<Item = String> {
        // What waits for its worker or its next attempt was asked for already: another version may ask for it only if
        // it asks for the same.
        let asks_the_same = |path: &StepPath| {
            let (before, after) = (self.run.protocol.task(path), self.protocol.task(path));
            before.zip(after).is_some_and(|(before, after)| before.work == after.work)
        };
        let at_work = self.run.open_steps().filter(move |(path, step)| {
            let running = step.status == StepStatus::Running && step.group.is_none() && step.subrun.is_none();
            let asked = matches!(step.waits, Some(Waits::Worker | Waits::Callback | Waits::Retry { .. }));
            (running && !step.is_lost()) || (asked && !asks_the_same(path))
        });
        at_work.map(|(path, _)| {
            format!("{path} is being executed. Pause the run, and wait until nothing is at work.")
        })
    }

    /// What has begun stands in the same order, and nothing new before it.
    fn order(&self) -> Vec<String> {
        let begun = |task: &&Arc<Task>| {
            let base = StepPath::top(&task.id, 1);
            self.run.steps.contains_key(&base.in_round(self.run.round(&base)))
        };
        let tasks = &self.protocol.tasks;
        let Some(last) = tasks.iter().rposition(|task| begun(&task)) else { return Vec::new() };
        let left_out = tasks[..last].iter().filter(|task| !begun(task));
        let mut problems: Vec<String> = left_out
            .map(|task| {
                let last = &tasks[last].id;
                format!("`{}` stands before `{last}`, which has begun, so it would never be done.", task.id)
            })
            .collect();
        let new: Vec<&str> = tasks.iter().filter(begun).map(|task| task.id.as_str()).collect();
        let old = self.run.protocol.tasks.iter().filter(begun).map(|task| task.id.as_str());
        let old: Vec<&str> = old.filter(|id| new.contains(id)).collect();
        if new != old {
            problems.push(format!("What has begun stands in another order in version {}.", self.version));
        }
        problems
    }

    /// A new task's result would replace something that the run was given.
    fn overwritten(&self) -> Vec<String> {
        let saved: BTreeSet<&str> =
            self.run.protocol.all().into_iter().map(|place| place.task.saves.as_str()).collect();
        let new = self.protocol.all().into_iter().filter(|place| {
            let saves = place.task.saves.as_str();
            place.items.is_empty() && !saved.contains(saves) && self.run.payload.contains_key(saves)
        });
        new.map(|place| {
            let Task { id, saves, .. } = place.task.as_ref();
            format!("The result of `{id}` would replace `{saves}`, which the run was given.")
        })
        .collect()
    }
}

/// A task's type, as the language calls it.
fn kind(task: &Task) -> &'static str {
    match &task.work {
        Work::Script(_) => "script",
        Work::Agent(_) => "agent",
        Work::Hitl(_) => "hitl",
        Work::Parallel(_) => "parallel",
        Work::Wait(_) => "wait",
        Work::Protocol(_) => "protocol",
    }
}

/// Whether the branches of a group are lists of the same tasks: what its branches have come to is counted by them.
fn holds_the_same(before: &Parallel, after: &Parallel) -> bool {
    let ids = |group: &Parallel| -> Vec<Vec<String>> {
        let branch = |list: &Vec<Arc<Task>>| list.iter().map(|task| task.id.clone()).collect();
        group.branches.iter().map(branch).collect()
    };
    before.for_each.is_some() == after.for_each.is_some() && ids(before) == ids(after)
}
