//! The plan as it is drawn: every task in its order, groups with what is inside them, those to come too.

use super::group::{self, Focus};
use super::{Known, words};
use crate::engine::ids::StepPath;
use crate::engine::protocol::{Task, Work};
use crate::engine::state::{Run, Step, StepStatus};
use crate::web::pages::moment::{Moment, duration};
use crate::web::pages::reading::{self, Reading};
use crate::web::pages::status::Status;
use crate::web::pages::steps::{Step as View, StepList};
use serde_json::Value;
use std::sync::Arc;

/// The group around a list of tasks, and the item of its `for_each`. None: the outermost list.
pub type Around<'a> = Option<(&'a StepPath, Option<usize>)>;

/// How much is drawn of what is inside.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Room {
    /// Everything.
    Ample,
    /// One row of very many: groups inside it are only counted.
    Scarce,
}

pub struct Drawing<'a> {
    pub run: &'a Run,
    pub known: &'a Known,
    pub focus: Option<&'a Focus>,
}

/// Every step of the plan; with a focus, that group alone.
pub fn steps(run: &Run, known: &Known, focus: Option<&Focus>) -> StepList {
    let drawing = Drawing { run, known, focus };
    let alone = focus.and_then(|focus| Some((focus, run.protocol.task(&focus.group)?)));
    match alone {
        Some((focus, task)) => StepList {
            label: "One group of the plan".to_owned(),
            inner: false,
            steps: vec![View {
                title: super::label(run, &focus.group),
                ..drawing.step(task, &focus.group, Room::Ample)
            }],
        },
        None => StepList {
            label: "Steps of the run".to_owned(),
            inner: false,
            ..drawing.list(&run.protocol.tasks, None, Room::Ample)
        },
    }
}

/// What takes back the steps that were done, in its order.
pub fn undone(run: &Run, known: &Known) -> StepList {
    let drawing = Drawing { run, known, focus: None };
    let undos = run.steps.iter().filter_map(|(path, step)| Some((path, step, path.undone()?)));
    let steps = undos.enumerate().map(|(index, (path, step, done))| {
        let task = run.protocol.task(path);
        let mut view = View {
            id: id(path),
            number: (index + 1).to_string(),
            title: format!("Take back: {}", super::label(run, &done)),
            by: "Automatic".to_owned(),
            ..View::default()
        };
        if let Some(task) = task {
            drawing.begun(task, path, step, &mut view);
        }
        view.attempt = (step.attempt > 1).then(|| format!("attempt {}", step.attempt));
        view
    });
    StepList { label: "What is taken back".to_owned(), inner: false, steps: steps.collect() }
}

impl Drawing<'_> {
    /// The tasks of a list, each in the round that it is in, with the rounds before.
    pub fn list(&self, tasks: &[Arc<Task>], around: Around<'_>, room: Room) -> StepList {
        let steps = tasks.iter().enumerate().map(|(index, task)| {
            let number = if around.is_none() { (index + 1).to_string() } else { String::new() };
            View { number, ..self.task(task, around, room) }
        });
        StepList { label: String::new(), inner: around.is_some(), steps: steps.collect() }
    }

    /// A task in the round that it is in, with the rounds before.
    pub fn task(&self, task: &Task, around: Around<'_>, room: Room) -> View {
        let base = match around {
            Some((group, item)) => StepPath::inside(group, item, &task.id, 1),
            None => StepPath::top(&task.id, 1),
        };
        let round = self.run.round(&base);
        let before = (1..round).rev().map(|round| base.in_round(round));
        let before = before.filter(|path| self.run.steps.contains_key(path));
        let earlier = before.map(|path| View {
            title: format!("{}, time {}", task.label(), path.round()),
            ..self.step(task, &path, Room::Scarce)
        });
        let earlier =
            StepList { label: format!("{}, earlier", task.label()), inner: true, steps: earlier.collect() };
        View { earlier, ..self.step(task, &base.in_round(round), room) }
    }

    fn step(&self, task: &Task, path: &StepPath, room: Room) -> View {
        let mut view = View {
            id: id(path),
            title: task.label(),
            by: words::by(&task.work).to_owned(),
            ..View::default()
        };
        let step = self.run.steps.get(path);
        match step {
            Some(step) => self.begun(task, path, step, &mut view),
            None if self.run.status.is_final() => view.status = Status::not_reached(),
            None if path.round() > 1 => view.sentences.push("It will be done once more.".to_owned()),
            None => {}
        }
        if let Work::Parallel(parallel) = &task.work {
            group::draw(self, task, parallel, path, room, &mut view);
        }
        view
    }

    fn begun(&self, task: &Task, path: &StepPath, step: &Step, view: &mut View) {
        let result = self.result(task, path, step);
        let took = (!step.status.is_open()).then(|| duration(step.changed_at - step.started_at));
        let acted = step.status != StepStatus::Skipped || step.attempt > 0;
        view.status = words::status(step);
        view.stalled = step.stalled && step.status.is_open();
        view.sentences = words::sentences(self.run, self.known, task, path, step);
        view.links = words::links(self.run, path, step);
        view.started = acted.then(|| Moment::new(step.started_at));
        view.duration = took.filter(|_| acted);
        view.attempt = words::attempt(task, step);
        view.error = step.note.clone().filter(|_| step.status == StepStatus::Failed);
        view.assessment = result.assessment;
        view.letter = result.letter;
        view.result = result.rest;
    }

    /// What the step found. Of earlier rounds nothing is kept but in the log.
    fn result(&self, task: &Task, path: &StepPath, step: &Step) -> Reading {
        let latest = self.run.round(&path.in_round(1)) == path.round();
        let reads = match task.work {
            Work::Script(_) | Work::Agent(_) | Work::Protocol(_) => true,
            Work::Wait(crate::engine::protocol::Wait::Event { .. }) => true,
            Work::Wait(_) | Work::Hitl(_) | Work::Parallel(_) => false,
        };
        if step.status != StepStatus::Done || path.undone().is_some() || !latest || !reads {
            return Reading::default();
        }
        self.saved(task, path).map(|saved| read(saved, task)).unwrap_or_default()
    }

    /// What a step saved: in the payload; inside a group that is open, in what its branch knows; after a `for_each`, in
    /// the list of its results.
    fn saved(&self, task: &Task, path: &StepPath) -> Option<&Value> {
        let Some((around, item)) = path.group() else { return self.run.payload.get(&task.saves) };
        let place = self.run.protocol.place(&task.id)?;
        let group = self.run.steps.get(&around)?;
        let branch = u32::try_from(item.unwrap_or(place.branch)).ok()?;
        let own = group.group.as_ref().and_then(|group| group.own.get(&branch));
        if let Some(found) = own.and_then(|own| own.get(&task.saves)) {
            return Some(found);
        }
        let saves = &self.run.protocol.task(&around)?.saves;
        match (item, around.group()) {
            (None, None) => self.run.payload.get(&task.saves),
            (Some(item), None) if place.last => self.run.payload.get(saves)?.get(item),
            _ => None,
        }
    }
}

/// The id of a step's element.
pub fn id(path: &StepPath) -> String {
    format!("step-{path}")
}

/// A result, taken apart as its kind of task is read.
pub fn read(result: &Value, task: &Task) -> Reading {
    match &task.work {
        Work::Agent(call) => reading::read(result, Some(&call.uses)),
        Work::Script(_) | Work::Hitl(_) | Work::Parallel(_) | Work::Wait(_) | Work::Protocol(_) => {
            reading::read(result, None)
        }
    }
}
