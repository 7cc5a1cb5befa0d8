//! Moving the baton: which step begins next, and how a step begins.

use super::Decision;
use crate::engine::checksum::{Asked, checksum, idempotency_key};
use crate::engine::command::{Actor, Context};
use crate::engine::effects;
use crate::engine::event::EventKind;
use crate::engine::ids::StepPath;
use crate::engine::protocol::{Hitl, Invocation, Task, UsedAs, Work};
use crate::engine::state::{RunStatus, StepStatus};
use serde_json::Value;
use std::sync::Arc;

/// Everything that a script or agent step begins with, or why it cannot.
struct Beginning {
    kind: &'static str,
    action_version: i32,
    checksum: String,
    idempotency_key: String,
    computed: Option<Value>,
}

impl Decision {
    /// Starts what can start, until something is open or the run is over.
    pub(super) fn advance(&mut self, context: &mut Context<'_>) {
        let protocol = Arc::clone(&self.run.protocol);
        for task in &protocol.tasks {
            if !matches!(self.run.status, RunStatus::Queued | RunStatus::Running | RunStatus::Waiting) {
                return;
            }
            let path = StepPath::top(&task.id, 1);
            if !self.run.steps.contains_key(&path) {
                self.begin_step(&path, task, context);
            }
            let status = self.run.steps.get(&path).map_or(StepStatus::Pending, |step| step.status);
            match status {
                StepStatus::Done | StepStatus::Skipped => {}
                StepStatus::Pending | StepStatus::Running | StepStatus::Waiting => return,
                // `close` has already ended the run.
                StepStatus::Failed | StepStatus::Cancelled => return,
            }
        }
        if !self.run.status.is_final() {
            self.close(RunStatus::Completed, None);
        }
    }

    fn begin_step(&mut self, path: &StepPath, task: &Task, context: &mut Context<'_>) {
        match self.applies(task) {
            Ok(None) => {}
            Ok(Some(reason)) => {
                self.emit_step(path, 1, EventKind::StepSkipped { reason }, &Actor::system());
                return;
            }
            Err(error) => return self.fail_to_begin(path, error),
        }
        match &task.work {
            Work::Script(invocation) => self.begin_call(path, invocation, UsedAs::Action, 1, context),
            Work::Agent(invocation) => self.begin_call(path, invocation, UsedAs::Agent, 1, context),
            Work::Hitl(hitl) => self.open_approval(path, task, hitl, context),
        }
    }

    /// None: the step is to be done. Some: why it is skipped.
    fn applies(&self, task: &Task) -> Result<Option<String>, String> {
        let Some(when) = &task.when else { return Ok(None) };
        let payload = Value::Object((*self.run.payload).clone());
        let holds = when.holds(&[("payload", &payload)]).map_err(|error| error.to_string())?;
        Ok((!holds).then(|| format!("its condition `{}` is false", when.source())))
    }

    /// The next attempt at a step whose last one was lost.
    pub(super) fn attempt_again(&mut self, path: &StepPath, context: &mut Context<'_>) {
        let protocol = Arc::clone(&self.run.protocol);
        let attempt = self.run.steps.get(path).map_or(1, |step| step.attempt + 1);
        match protocol.task(path).map(|task| &task.work) {
            Some(Work::Script(invocation)) => {
                self.begin_call(path, invocation, UsedAs::Action, attempt, context)
            }
            Some(Work::Agent(invocation)) => {
                self.begin_call(path, invocation, UsedAs::Agent, attempt, context)
            }
            Some(Work::Hitl(_)) | None => {}
        }
    }

    fn begin_call(
        &mut self,
        path: &StepPath,
        invocation: &Invocation,
        used_as: UsedAs,
        attempt: u32,
        context: &Context<'_>,
    ) {
        let beginning = match self.prepare(path, invocation, used_as, context) {
            Ok(beginning) => beginning,
            Err(error) => return self.fail_to_begin(path, error),
        };
        let started = EventKind::StepStarted {
            kind: beginning.kind.to_owned(),
            uses: invocation.uses.clone(),
            action_version: beginning.action_version,
            checksum: beginning.checksum,
            idempotency_key: beginning.idempotency_key,
            instance: beginning.computed.is_none().then_some(context.instance),
        };
        self.emit_step(path, attempt, started, &Actor::system());
        if let Some(result) = beginning.computed {
            self.emit_step(path, attempt, EventKind::StepDone { result }, &Actor::system());
        }
    }

    fn prepare(
        &self,
        path: &StepPath,
        invocation: &Invocation,
        used_as: UsedAs,
        context: &Context<'_>,
    ) -> Result<Beginning, String> {
        let uses = &invocation.uses;
        let (kind, entry) = match used_as {
            UsedAs::Action => ("script", context.catalog.action(uses)),
            UsedAs::Agent => ("agent", context.catalog.agent(uses)),
        };
        let entry = entry.ok_or_else(|| {
            let noun = if used_as == UsedAs::Action { "action" } else { "agent" };
            format!("there is no {noun} `{uses}`. Register it, then start the run again")
        })?;
        let seen = self.run.steps.get(path).and_then(|step| step.seen.as_ref()).unwrap_or(&self.run.payload);
        let input = effects::input(invocation, seen).map_err(|error| error.to_string())?;
        let asked = Asked {
            protocol_id: self.run.protocol_ref.id,
            task_id: path.task_id(),
            uses,
            action_version: entry.version,
            input: &input,
        };
        let checksum = checksum(self.run.salt.as_ref(), &asked)
            .ok_or("the salt of this run's checksums was erased, so no step of it can begin")?;
        // Attempts of one step send one key, also when the action's version changed between them.
        let begun = self.run.steps.get(path).and_then(|step| step.idempotency_key.clone());
        let key = begun.unwrap_or_else(|| idempotency_key(self.run.lineage, path, &checksum, 0));
        Ok(Beginning {
            kind,
            action_version: entry.version,
            checksum,
            idempotency_key: key,
            computed: entry.computes.then_some(input),
        })
    }

    fn open_approval(&mut self, path: &StepPath, task: &Task, hitl: &Hitl, context: &mut Context<'_>) {
        let opened = EventKind::ApprovalOpened {
            approval: (context.draw_approval)(),
            title: task.label(),
            approvers: hitl.approvers.clone(),
            four_eyes: hitl.four_eyes,
            due_at: hitl.due.map(|due| self.now + due),
        };
        self.emit_step(path, 1, opened, &Actor::system());
    }

    fn fail_to_begin(&mut self, path: &StepPath, error: String) {
        let attempt = self.run.steps.get(path).map_or(1, |step| step.attempt);
        self.emit_step(
            path,
            attempt,
            EventKind::StepFailed { error: error.clone(), retryable: false },
            &Actor::system(),
        );
        self.close(RunStatus::Failed, Some(format!("{path}: {error}")));
    }
}
