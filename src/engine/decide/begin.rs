//! How a step begins.

use super::{Decision, MAX_SUBRUN_DEPTH};
use crate::engine::command::{Actor, Context};
use crate::engine::effects;
use crate::engine::event::EventKind;
use crate::engine::ids::StepPath;
use crate::engine::protocol::{Hitl, Invocation, MAX_KEY, Task, UsedAs, Wait, Work};
use crate::engine::scope;
use crate::engine::state::Scope;
use chrono::{DateTime, SubsecRound, Utc};
use serde_json::Value;

impl Decision {
    pub(super) fn begin_step(&mut self, path: &StepPath, task: &Task, context: &mut Context<'_>) {
        match self.applies(path, task) {
            Ok(None) => {}
            Ok(Some(reason)) => {
                let skipped = EventKind::StepSkipped { reason, as_role: None, via: None };
                self.emit_step(path, 1, skipped, &Actor::system());
                return;
            }
            Err(error) => return self.fail_to_begin(path, error),
        }
        match &task.work {
            Work::Parallel(parallel) => self.begin_group(path, parallel, context),
            Work::Script(_) | Work::Agent(_) | Work::Hitl(_) | Work::Wait(_) | Work::Protocol(_) => {
                self.begin_attempt(path, task, 1, context);
            }
        }
    }

    /// The first or next attempt at a step that is no group.
    pub(super) fn begin_attempt(
        &mut self,
        path: &StepPath,
        task: &Task,
        attempt: u32,
        context: &mut Context<'_>,
    ) {
        match &task.work {
            Work::Script(invocation) => {
                self.begin_call(path, invocation, UsedAs::Action, attempt, context);
            }
            Work::Agent(invocation) => self.begin_call(path, invocation, UsedAs::Agent, attempt, context),
            Work::Hitl(hitl) => self.open_approval(path, task, hitl, attempt, false, context),
            Work::Wait(wait) => self.begin_wait(path, wait, attempt),
            Work::Protocol(invocation) => self.begin_subrun(path, invocation, attempt, context),
            Work::Parallel(_) => {}
        }
    }

    /// The next attempt at a step, whatever became of the last one.
    pub(super) fn attempt_again(&mut self, path: &StepPath, context: &mut Context<'_>) {
        let attempt = self.attempt_of(path) + 1;
        if let Some(undone) = path.undone() {
            return self.begin_undo(&undone, attempt, context);
        }
        let Some(task) = self.run.protocol.task(path).map(std::sync::Arc::clone) else { return };
        self.begin_attempt(path, &task, attempt, context);
    }

    /// The payload that a step sees, or would see if it began now.
    pub(super) fn scope_of(&self, path: &StepPath) -> Scope {
        if let Some(seen) = self.run.steps.get(path).and_then(|step| step.seen.clone()) {
            return seen;
        }
        let list = super::flow::List::around(&self.run, path);
        let mut seen = self.run.scope(list.group.as_ref().map(|(group, branch)| (group, *branch)));
        // The first task of an item's branch: the item is laid over when the step begins.
        if let Some((group, branch)) = &list.group
            && let Some(item) = self.item(group, *branch)
        {
            seen.push(std::sync::Arc::new(item));
        }
        seen
    }

    /// A branch's item by its name, while the branch has saved nothing.
    fn item(&self, group: &StepPath, branch: u32) -> Option<crate::engine::state::Payload> {
        let step = self.run.steps.get(group)?.group.as_ref()?;
        if step.own.contains_key(&branch) {
            return None;
        }
        let item = step.items.as_ref()?.get(branch as usize)?;
        let Work::Parallel(parallel) = &self.run.protocol.task(group)?.work else { return None };
        let name = parallel.for_each.as_ref()?.name.clone();
        Some(crate::engine::state::Payload::from_iter([(name, item.clone())]))
    }

    pub(super) fn items_around(&self, path: &StepPath) -> Vec<String> {
        self.run.protocol.place(path.task_id()).map_or_else(Vec::new, |place| place.items.clone())
    }

    /// None: the step is to be done. Some: why it is skipped.
    fn applies(&self, path: &StepPath, task: &Task) -> Result<Option<String>, String> {
        let Some(when) = &task.when else { return Ok(None) };
        let holds = scope::holds(when, &self.scope_of(path), &self.items_around(path));
        let holds = holds.map_err(|error| error.to_string())?;
        Ok((!holds).then(|| format!("its condition `{}` is false", when.source())))
    }

    pub(super) fn fail_to_begin(&mut self, path: &StepPath, error: String) {
        let attempt = self.attempt_of(path);
        self.record_failure(path, attempt, error, false, None);
    }

    pub(super) fn open_approval(
        &mut self,
        path: &StepPath,
        task: &Task,
        hitl: &Hitl,
        attempt: u32,
        again: bool,
        context: &mut Context<'_>,
    ) {
        let opened = EventKind::ApprovalOpened {
            approval: context.numbers.approval(),
            title: task.label(),
            approvers: hitl.approvers.clone(),
            quorum: hitl.quorum,
            four_eyes: hitl.four_eyes,
            due_at: hitl.due.map(|due| self.now + due),
            again,
        };
        self.emit_step(path, attempt, opened, &Actor::system());
    }

    fn begin_wait(&mut self, path: &StepPath, wait: &Wait, attempt: u32) {
        let started = match self.what_to_wait_for(path, wait) {
            Ok(started) => started,
            Err(error) => return self.fail_to_begin(path, error),
        };
        self.emit_step(path, attempt, started, &Actor::system());
    }

    fn what_to_wait_for(&self, path: &StepPath, wait: &Wait) -> Result<EventKind, String> {
        let resolve = |template| {
            scope::resolve(template, &self.scope_of(path), &self.items_around(path))
                .map_err(|error| error.to_string())
        };
        Ok(match wait {
            Wait::For(time) => {
                EventKind::WaitStarted { until: Some(self.now + *time), event: None, key: None }
            }
            Wait::Until(template) => {
                EventKind::WaitStarted { until: Some(time(&resolve(template)?)?), event: None, key: None }
            }
            Wait::Event { name, key } => {
                let key = key.as_ref().map(resolve).transpose()?.map(key_text);
                check_key(key.as_deref().unwrap_or_default())?;
                EventKind::WaitStarted { until: None, event: Some(name.clone()), key }
            }
        })
    }

    fn begin_subrun(
        &mut self,
        path: &StepPath,
        invocation: &Invocation,
        attempt: u32,
        context: &mut Context<'_>,
    ) {
        let depth = self.run.parent.as_ref().map_or(0, |parent| parent.depth);
        if depth >= MAX_SUBRUN_DEPTH {
            let error = format!("{depth} runs stand above this one; at most {MAX_SUBRUN_DEPTH} may");
            return self.fail_to_begin(path, error);
        }
        let Some(protocol) = context.catalog.protocol(&invocation.uses) else {
            let error = format!("there is no protocol `{}`. Publish it, then try again", invocation.uses);
            return self.fail_to_begin(path, error);
        };
        let input = match effects::input(invocation, &self.scope_of(path), &self.items_around(path)) {
            Ok(Value::Object(input)) => input,
            Ok(other) => {
                let kind = crate::engine::expression::kind_of(&other);
                return self
                    .fail_to_begin(path, format!("its `with` gave {kind}, where an object is needed"));
            }
            Err(error) => return self.fail_to_begin(path, error.to_string()),
        };
        let input_value = Value::Object(input.clone());
        let checksum = match self.checksum(path, &protocol.name, protocol.version, &input_value) {
            Ok(checksum) => checksum,
            Err(error) => return self.fail_to_begin(path, error),
        };
        if self.carry(path, &checksum) {
            return;
        }
        let run = context.numbers.run();
        let started = EventKind::SubrunStarted { run, protocol, input, checksum };
        self.emit_step(path, attempt, started, &Actor::system());
    }
}

/// Keys are looked up in the database, which holds no NUL and no endless ones.
pub(super) fn check_key(key: &str) -> Result<(), String> {
    if key.chars().count() > MAX_KEY {
        return Err(format!("its key is longer than {MAX_KEY} characters"));
    }
    if key.contains('\0') { Err("its key holds the character U+0000".to_owned()) } else { Ok(()) }
}

/// A key as text: events and waits are matched by it.
fn key_text(key: Value) -> String {
    match key {
        Value::String(text) => text,
        other => other.to_string(),
    }
}

fn time(value: &Value) -> Result<DateTime<Utc>, String> {
    let read = value.as_str().and_then(|text| DateTime::parse_from_rfc3339(text.trim()).ok());
    let time = read.map(|time| time.with_timezone(&Utc).trunc_subsecs(6));
    // What a database and RFC 3339 can both hold.
    let sane = time.filter(|time| (1970..10_000).contains(&chrono::Datelike::year(time)));
    sane.ok_or_else(|| format!("`until` gave {value}, where a time such as 2027-01-31T12:00:00Z is needed"))
}
