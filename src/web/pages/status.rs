//! Statuses in plain words. `partials/status.html` alone turns one into icon, word and colour.

use crate::engine::state::{Choice, RunStatus, StepStatus};

/// The look of a status.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StatusKind {
    /// Not begun.
    Todo,
    /// A machine is at it.
    Active,
    /// It waits for a time, an event, another service.
    Waiting,
    /// It waits for a person.
    Person,
    /// It ended well.
    Done,
    /// Somebody must look: stalled, paused.
    Warning,
    /// It failed, or a person said no.
    Bad,
    /// A danger that somebody must weigh.
    Alert,
    /// It ended without a result: skipped, cancelled.
    Ended,
}

impl StatusKind {
    /// The ending of the component's class: `status--done`, `step--done`.
    pub fn class(self) -> &'static str {
        match self {
            StatusKind::Todo | StatusKind::Ended => "todo",
            StatusKind::Active => "active",
            StatusKind::Waiting => "waiting",
            StatusKind::Person => "person",
            StatusKind::Done => "done",
            StatusKind::Warning => "warning",
            StatusKind::Bad | StatusKind::Alert => "bad",
        }
    }

    /// The symbol of `img/icons.svg`: each kind has its own shape, so that colour is never needed to read
    /// it.
    pub fn icon(self) -> &'static str {
        match self {
            StatusKind::Todo => "radio_button_unchecked",
            StatusKind::Active => "autorenew",
            StatusKind::Waiting => "schedule",
            StatusKind::Person => "person",
            StatusKind::Done => "check_circle",
            StatusKind::Warning => "warning",
            StatusKind::Bad => "cancel",
            StatusKind::Alert => "error",
            StatusKind::Ended => "remove_circle",
        }
    }
}

/// A status as people read it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Status {
    pub kind: StatusKind,
    pub word: String,
}

impl Default for Status {
    fn default() -> Status {
        Status::not_started()
    }
}

impl Status {
    pub fn new(kind: StatusKind, word: impl Into<String>) -> Status {
        Status { kind, word: word.into() }
    }

    /// A run's. `waits`: what it waits for, where that is known.
    pub fn of_run(status: RunStatus, waits: Option<Status>) -> Status {
        match status {
            RunStatus::Queued => Status::starting(),
            RunStatus::Running => Status::running(),
            RunStatus::Waiting => waits.unwrap_or_else(|| Status::new(StatusKind::Person, "Waiting")),
            RunStatus::Paused => Status::paused(),
            RunStatus::Completed => Status::completed(),
            RunStatus::Rejected => Status::stopped_rejected(),
            RunStatus::Failed => Status::stopped_failed(),
            RunStatus::Cancelled => Status::stopped_cancelled(),
        }
    }

    /// A run's that only a newer version of this program has a word for.
    pub fn newer() -> Status {
        Status::new(StatusKind::Warning, "Known to a newer version")
    }

    /// A step's, where it is told in one word.
    pub fn of_step(status: StepStatus) -> Status {
        match status {
            StepStatus::Pending => Status::not_started(),
            StepStatus::Running => Status::running(),
            StepStatus::Waiting => Status::waiting_on("something"),
            StepStatus::Done => Status::done(),
            StepStatus::Failed => Status::failed(),
            StepStatus::Skipped => Status::skipped(),
            StepStatus::Cancelled => Status::cancelled(),
        }
    }

    /// A run on its way to an end that is not completion.
    pub fn ending(outcome: RunStatus) -> Status {
        let word = match outcome {
            RunStatus::Cancelled => "Being cancelled",
            RunStatus::Rejected => "Being stopped: rejected",
            RunStatus::Failed => "Being stopped: a step failed",
            RunStatus::Queued
            | RunStatus::Running
            | RunStatus::Waiting
            | RunStatus::Paused
            | RunStatus::Completed => "Ending",
        };
        Status::new(StatusKind::Active, word)
    }

    /// A run for which there is no room under a concurrency limit.
    pub fn its_turn() -> Status {
        Status::new(StatusKind::Waiting, "Waiting for its turn")
    }

    /// A step between two attempts.
    pub fn trying_again() -> Status {
        Status::new(StatusKind::Waiting, "Waiting to try again")
    }

    /// A decision.
    pub fn decided(choice: Choice) -> Status {
        match choice {
            Choice::Approve => Status::approved(),
            Choice::Reject => Status::rejected(),
            Choice::Return => Status::sent_back(),
        }
    }

    /// An approver had earlier steps done once more.
    pub fn sent_back() -> Status {
        Status::new(StatusKind::Warning, "Sent back")
    }

    /// A step whose effect was undone.
    pub fn taken_back() -> Status {
        Status::new(StatusKind::Ended, "Taken back")
    }

    /// A sealed value that is gone for good.
    pub fn erased() -> Status {
        Status::new(StatusKind::Ended, "Erased")
    }

    /// An override whose values the run went on with.
    pub fn modified() -> Status {
        Status::new(StatusKind::Done, "Changed")
    }

    /// An override that nobody has decided.
    pub fn under_review() -> Status {
        Status::new(StatusKind::Person, "Under review")
    }

    /// Something that was asked for and not permitted.
    pub fn refused() -> Status {
        Status::new(StatusKind::Bad, "Refused")
    }

    /// A step whose turn has not come.
    pub fn not_started() -> Status {
        Status::new(StatusKind::Todo, "Not started")
    }

    /// A step that the run ended before.
    pub fn not_reached() -> Status {
        Status::new(StatusKind::Ended, "Not reached")
    }

    /// A run that is accepted and about to begin.
    pub fn starting() -> Status {
        Status::new(StatusKind::Active, "About to start")
    }

    pub fn running() -> Status {
        Status::new(StatusKind::Active, "Running")
    }

    /// Waits for a person: `whom` as in "a supervisor".
    pub fn waiting_for(whom: &str) -> Status {
        Status::new(StatusKind::Person, format!("Waiting for {whom}"))
    }

    /// Waits for another service, a time or an event: `what` as in "another service".
    pub fn waiting_on(what: &str) -> Status {
        Status::new(StatusKind::Waiting, format!("Waiting for {what}"))
    }

    pub fn completed() -> Status {
        Status::new(StatusKind::Done, "Completed")
    }

    /// A step that did its work.
    pub fn done() -> Status {
        Status::new(StatusKind::Done, "Done")
    }

    pub fn approved() -> Status {
        Status::new(StatusKind::Done, "Approved")
    }

    /// An approval that said no.
    pub fn rejected() -> Status {
        Status::new(StatusKind::Bad, "Rejected")
    }

    /// A run that ended because somebody said no.
    pub fn stopped_rejected() -> Status {
        Status::new(StatusKind::Bad, "Stopped: rejected")
    }

    pub fn failed() -> Status {
        Status::new(StatusKind::Bad, "Failed")
    }

    /// A run that ended because a step failed.
    pub fn stopped_failed() -> Status {
        Status::new(StatusKind::Bad, "Stopped: a step failed")
    }

    /// A run that somebody cancelled.
    pub fn stopped_cancelled() -> Status {
        Status::new(StatusKind::Ended, "Stopped: cancelled")
    }

    /// A step that was under way when its run was cancelled.
    pub fn cancelled() -> Status {
        Status::new(StatusKind::Ended, "Cancelled")
    }

    pub fn skipped() -> Status {
        Status::new(StatusKind::Ended, "Skipped")
    }

    pub fn paused() -> Status {
        Status::new(StatusKind::Warning, "Paused")
    }

    /// Past its time limit, or its worker is gone.
    pub fn stalled() -> Status {
        Status::new(StatusKind::Warning, "Taking too long")
    }

    /// An approval past its due date.
    pub fn overdue() -> Status {
        Status::new(StatusKind::Warning, "Overdue")
    }

    /// An approval that was withdrawn undecided, because its run ended.
    pub fn withdrawn() -> Status {
        Status::new(StatusKind::Ended, "No longer needed")
    }

    /// A user's account.
    pub fn account(enabled: bool) -> Status {
        if enabled {
            Status::new(StatusKind::Done, "Can sign in")
        } else {
            Status::new(StatusKind::Ended, "Switched off")
        }
    }
}
