//! How the branches of a group stand, each in one word, by one walk over the run's steps.

use crate::engine::ids::StepPath;
use crate::engine::protocol::{OnFailure, Task};
use crate::engine::state::{Choice, Group as State, Run, Step, StepStatus};
use crate::web::pages::status::{Status, StatusKind};

/// How a branch stands. What somebody should look at comes first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Bucket {
    Failed,
    Person,
    Waiting,
    Running,
    Cancelled,
    Todo,
    Skipped,
    Done,
}

impl Bucket {
    pub const ALL: [Bucket; 8] = [
        Bucket::Failed,
        Bucket::Person,
        Bucket::Waiting,
        Bucket::Running,
        Bucket::Cancelled,
        Bucket::Todo,
        Bucket::Skipped,
        Bucket::Done,
    ];

    /// As in `?state=failed`.
    pub fn slug(self) -> &'static str {
        match self {
            Bucket::Failed => "failed",
            Bucket::Person => "person",
            Bucket::Waiting => "waiting",
            Bucket::Running => "running",
            Bucket::Cancelled => "cancelled",
            Bucket::Todo => "todo",
            Bucket::Skipped => "skipped",
            Bucket::Done => "done",
        }
    }

    pub fn parse(text: &str) -> Option<Bucket> {
        Bucket::ALL.into_iter().find(|bucket| bucket.slug() == text)
    }

    pub fn status(self) -> Status {
        match self {
            Bucket::Failed => Status::failed(),
            Bucket::Person => Status::waiting_for("a person"),
            Bucket::Waiting => Status::new(StatusKind::Waiting, "Waiting"),
            Bucket::Running => Status::running(),
            Bucket::Cancelled => Status::cancelled(),
            Bucket::Todo => Status::not_started(),
            Bucket::Skipped => Status::skipped(),
            Bucket::Done => Status::done(),
        }
    }
}

/// What is known of a branch while its steps are gone through, in the order in which they began.
#[derive(Debug, Clone, Copy, Default)]
struct Seen {
    failed: bool,
    person: bool,
    waiting: bool,
    running: bool,
    cancelled: bool,
    begun: bool,
    /// One of its own steps was done.
    done: bool,
    /// Its last task is over, and how.
    last: Option<StepStatus>,
}

/// How each branch stands, by one walk over the run's steps.
pub fn stand(run: &Run, task: &Task, path: &StepPath, state: &State) -> Vec<Bucket> {
    let mut seen = vec![Seen::default(); state.branches as usize];
    let prefix = path.as_str();
    for (inner, step) in run.steps.iter() {
        let Some(rest) = inner.as_str().strip_prefix(prefix) else { continue };
        let Some((place, direct, id)) = below(run, task, rest) else { continue };
        if let Some(seen) = seen.get_mut(place) {
            seen.take(run, step, direct.then_some(id));
        }
    }
    seen.into_iter().map(Seen::bucket).collect()
}

/// Of a path after its group's: the branch, whether it is the branch's own step, and the branch's task that it is in.
/// `[3]/inner/x` is in branch 3, not its own step, in the task `inner`.
fn below<'a>(run: &Run, task: &Task, rest: &'a str) -> Option<(usize, bool, &'a str)> {
    if rest.ends_with("~undo") {
        return None;
    }
    let (item, inside) = match rest.strip_prefix('[') {
        Some(rest) => {
            let (item, inside) = rest.split_once("]/")?;
            (Some(item.parse().ok()?), inside)
        }
        None => (None, rest.strip_prefix('/')?),
    };
    let id = &inside[..inside.find(['/', '[', '#']).unwrap_or(inside.len())];
    let place = run.protocol.place(id).filter(|place| place.group.as_deref() == Some(task.id.as_str()))?;
    Some((item.unwrap_or(place.branch), !inside.contains('/'), id))
}

impl Seen {
    /// `own`: the id of the task, when it is a step of the branch's own list.
    fn take(&mut self, run: &Run, step: &Step, own: Option<&str>) {
        match step.status {
            StepStatus::Waiting if step.approval.is_some() => self.person = true,
            StepStatus::Waiting => self.waiting = true,
            StepStatus::Running if step.group.is_none() => self.running = true,
            _ => {}
        }
        self.begun = true;
        let Some(place) = own.and_then(|id| run.protocol.place(id)) else { return };
        match step.status {
            StepStatus::Failed if place.task.on_failure != OnFailure::Continue => self.failed = true,
            StepStatus::Cancelled => self.cancelled = true,
            _ => {}
        }
        let decision = step.approval.as_ref().and_then(|approval| approval.decision.as_ref());
        let sent_back = decision.is_some_and(|decision| decision.choice == Choice::Return);
        self.done |= step.status == StepStatus::Done && !sent_back;
        if place.last && !step.status.is_open() && !sent_back {
            self.last = Some(step.status);
        }
    }

    fn bucket(self) -> Bucket {
        match self {
            Seen { failed: true, .. } => Bucket::Failed,
            Seen { person: true, .. } => Bucket::Person,
            Seen { waiting: true, .. } => Bucket::Waiting,
            Seen { running: true, .. } => Bucket::Running,
            Seen { cancelled: true, .. } => Bucket::Cancelled,
            Seen { last: Some(StepStatus::Skipped), done: false, .. } => Bucket::Skipped,
            Seen { last: Some(_), .. } => Bucket::Done,
            // Its next task begins when the run goes on.
            Seen { last: None, begun: true, .. } => Bucket::Waiting,
            Seen { last: None, begun: false, .. } => Bucket::Todo,
        }
    }
}
