//! `(&Run, Command, Context) → events | Rejection`: the one place that says what may happen.
//!
//! A rejection emits nothing. Every event is applied before the next is decided, so that what is returned is
//! exactly what the log folds to.

mod advance;

use super::apply::{apply, begin};
use super::command::{Actor, Command, Context, Rejection, StartRun};
use super::event::{Event, EventKind, Recorded};
use super::ids::{ApprovalId, StepPath};
use super::protocol::{OnReject, Work};
use super::state::{Choice, Run, RunStatus, Step, StepStatus};
use chrono::{DateTime, SubsecRound, Utc};
use serde_json::Value;

/// Rescues in a row after which a person must look.
pub const MAX_RESCUES: u32 = 3;

/// A run after a command, with the events that led there.
#[derive(Debug, Clone, PartialEq)]
pub struct Decided {
    pub run: Run,
    pub events: Vec<Recorded>,
}

/// Begins a run: it is queued, and its first step started.
pub fn start(command: StartRun, context: &mut Context<'_>) -> Decided {
    let now = context.now.trunc_subsecs(6);
    let kind = EventKind::RunQueued {
        protocol: command.protocol_ref,
        payload: command.payload,
        lineage: command.run_id,
        via: context.actor.via.clone(),
    };
    let event = Event { step: None, attempt: None, kind };
    let first = Recorded { at: now, actor: context.actor.name.clone(), event };
    let run = begin(command.run_id, &first, command.protocol, Some(command.salt))
        .expect("the first event is RunQueued, which begins a run");
    let mut decision = Decision { run, events: vec![first], now };
    decision.advance(context);
    decision.finish()
}

/// What a command does to a run, or why it is refused.
pub fn decide(run: &Run, command: Command, context: &mut Context<'_>) -> Result<Decided, Rejection> {
    if run.status.is_final() {
        return Err(final_rejection(run, &command));
    }
    // The log's time never goes back within a run, whatever the machine's clock does.
    let now = context.now.trunc_subsecs(6).max(run.updated_at);
    let mut decision = Decision { run: run.clone(), events: Vec::new(), now };
    match command {
        Command::CompleteStep { step, attempt, result } => {
            decision.complete(step, attempt, result, context)?
        }
        Command::FailStep { step, attempt, error, retryable } => {
            decision.running(&step, attempt)?;
            decision.emit_step(
                &step,
                attempt,
                EventKind::StepFailed { error: error.clone(), retryable },
                &Actor::system(),
            );
            decision.close(RunStatus::Failed, Some(format!("{step}: {error}")));
        }
        Command::RescueStep { step, attempt } => decision.rescue(step, attempt, context)?,
        Command::FlagStalled { step, attempt } => decision.flag(step, attempt)?,
        Command::Decide { approval, choice, reason, form } => {
            decision.decide_approval(approval, choice, reason, form, context)?;
        }
        Command::ResumeRun { reason } => decision.resume(reason, context)?,
        Command::CancelRun { reason } => decision.cancel(reason, context),
    }
    Ok(decision.finish())
}

/// Of a run that is over: who decided, to the second of two deciders; else that it is over.
fn final_rejection(run: &Run, command: &Command) -> Rejection {
    if let Command::Decide { approval, .. } = command
        && let Some((_, _, found)) = run.approval(*approval)
        && let Some(decision) = &found.decision
    {
        return Rejection::AlreadyDecided {
            by: decision.by.clone(),
            choice: decision.choice,
            at: decision.at,
        };
    }
    Rejection::RunIsOver { run: run.id, status: run.status }
}

/// A decision in the making: the run as it will be, and the events so far.
struct Decision {
    run: Run,
    events: Vec<Recorded>,
    now: DateTime<Utc>,
}

impl Decision {
    fn finish(self) -> Decided {
        Decided { run: self.run, events: self.events }
    }

    fn emit(&mut self, event: Event, actor: &Actor) {
        let recorded = Recorded { at: self.now, actor: actor.name.clone(), event };
        apply(&mut self.run, &recorded);
        self.events.push(recorded);
    }

    fn emit_run(&mut self, kind: EventKind, actor: &Actor) {
        self.emit(Event { step: None, attempt: None, kind }, actor);
    }

    fn emit_step(&mut self, step: &StepPath, attempt: u32, kind: EventKind, actor: &Actor) {
        self.emit(Event { step: Some(step.clone()), attempt: Some(attempt), kind }, actor);
    }

    /// The step, if this attempt at it is the one that runs. A late result of an old attempt changes nothing.
    fn running(&self, step: &StepPath, attempt: u32) -> Result<&Step, Rejection> {
        self.run
            .steps
            .get(step)
            .map(AsRef::as_ref)
            .filter(|found| found.status == StepStatus::Running && found.attempt == attempt)
            .ok_or_else(|| Rejection::StaleAttempt { step: step.clone() })
    }

    fn complete(
        &mut self,
        step: StepPath,
        attempt: u32,
        result: Value,
        context: &mut Context<'_>,
    ) -> Result<(), Rejection> {
        self.running(&step, attempt)?;
        self.emit_step(&step, attempt, EventKind::StepDone { result }, &Actor::system());
        self.advance(context);
        Ok(())
    }

    fn rescue(&mut self, step: StepPath, attempt: u32, context: &mut Context<'_>) -> Result<(), Rejection> {
        let found = self.running(&step, attempt)?;
        let (instance, rescues) = (found.instance, found.rescues + 1);
        if instance.is_none() {
            return Err(Rejection::StaleAttempt { step });
        }
        let reason = "the instance that ran this attempt is gone".to_owned();
        self.emit_step(&step, attempt, EventKind::StepRescued { instance, reason }, &Actor::system());
        if self.run.status == RunStatus::Paused {
            return Ok(());
        }
        if rescues >= MAX_RESCUES {
            let reason = format!(
                "{step} was lost {rescues} times in a row. Look at what it calls, then resume the run."
            );
            self.emit_run(EventKind::RunPaused { reason }, &Actor::system());
        } else {
            self.attempt_again(&step, context);
        }
        Ok(())
    }

    fn flag(&mut self, step: StepPath, attempt: u32) -> Result<(), Rejection> {
        let found = self.run.steps.get(&step);
        let due = found.filter(|found| found.status.is_open() && found.attempt == attempt && !found.stalled);
        let deadline = due.and_then(|found| found.deadline).filter(|deadline| *deadline <= self.now);
        let deadline = deadline.ok_or_else(|| Rejection::StaleAttempt { step: step.clone() })?;
        self.emit_step(&step, attempt, EventKind::StepStalled { deadline }, &Actor::system());
        Ok(())
    }

    fn decide_approval(
        &mut self,
        id: ApprovalId,
        choice: Choice,
        reason: Option<String>,
        form: Option<Value>,
        context: &mut Context<'_>,
    ) -> Result<(), Rejection> {
        let unknown = Rejection::UnknownApproval { run: self.run.id, approval: id };
        let (path, step, approval) = self.run.approval(id).ok_or(unknown)?;
        if let Some(decision) = &approval.decision {
            let (by, choice, at) = (decision.by.clone(), decision.choice, decision.at);
            return Err(Rejection::AlreadyDecided { by, choice, at });
        }
        let as_role = may_decide(&self.run, approval, context.actor)?;
        let (path, attempt) = (path.clone(), step.attempt);
        let via = context.actor.via.clone();
        let why = reason.clone();
        let kind = EventKind::ApprovalDecided { approval: id, decision: choice, reason, form, as_role, via };
        self.emit_step(&path, attempt, kind, context.actor);
        let on_reject = match self.run.protocol.task(&path).map(|task| &task.work) {
            Some(Work::Hitl(hitl)) => hitl.on_reject,
            _ => OnReject::End,
        };
        if choice == Choice::Reject && on_reject == OnReject::End {
            self.close(RunStatus::Rejected, Some(why.unwrap_or_else(|| format!("{path} was rejected"))));
        } else {
            self.advance(context);
        }
        Ok(())
    }

    fn resume(&mut self, reason: String, context: &mut Context<'_>) -> Result<(), Rejection> {
        if self.run.status != RunStatus::Paused {
            return Err(Rejection::NotPaused { run: self.run.id, status: self.run.status });
        }
        let via = context.actor.via.clone();
        self.emit_run(EventKind::RunResumed { reason, via }, context.actor);
        let lost: Vec<StepPath> = self
            .run
            .open_steps()
            .filter(|(_, step)| step.status == StepStatus::Running && step.instance.is_none())
            .map(|(path, _)| path.clone())
            .collect();
        lost.iter().for_each(|path| self.attempt_again(path, context));
        self.advance(context);
        Ok(())
    }

    fn cancel(&mut self, reason: String, context: &mut Context<'_>) {
        let via = context.actor.via.clone();
        self.emit_run(EventKind::CancelRequested { reason: reason.clone(), via }, context.actor);
        self.close(RunStatus::Cancelled, Some(reason));
    }

    /// Ends the run: open steps are cancelled, and the closing entry is its last.
    fn close(&mut self, outcome: RunStatus, reason: Option<String>) {
        let open: Vec<(StepPath, u32)> =
            self.run.open_steps().map(|(path, step)| (path.clone(), step.attempt)).collect();
        for (path, attempt) in open {
            let reason = format!("the run ended as {}", outcome.as_str());
            self.emit_step(&path, attempt, EventKind::StepCancelled { reason }, &Actor::system());
        }
        let count = self.run.version + 1;
        self.emit_run(EventKind::RunClosed { outcome, reason, count }, &Actor::system());
    }
}

/// The role, or the name, that lets the actor decide.
fn may_decide(run: &Run, approval: &super::state::Approval, actor: &Actor) -> Result<String, Rejection> {
    if approval.four_eyes && actor.name == run.started_by {
        return Err(Rejection::FourEyes);
    }
    let approvers = &approval.approvers;
    if approvers.users.contains(&actor.name) {
        return Ok(actor.name.clone());
    }
    let role = approvers.roles.iter().find(|role| actor.roles.contains(role)).cloned();
    role.ok_or_else(|| Rejection::NotAnApprover { who: approvers.in_words() })
}
