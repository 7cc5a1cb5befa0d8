//! Steps that call something: scripts and agents.

use super::Decision;
use crate::engine::checksum::{Asked, checksum, idempotency_key};
use crate::engine::command::{Actor, Context, DoneBy};
use crate::engine::effects;
use crate::engine::event::EventKind;
use crate::engine::ids::StepPath;
use crate::engine::json;
use crate::engine::protocol::{Invocation, UsedAs};
use serde_json::Value;

/// Everything that a call begins with.
struct Beginning {
    kind: &'static str,
    action_version: i32,
    checksum: String,
    idempotency_key: String,
    done_by: DoneBy,
    input: Value,
}

impl Decision {
    pub(super) fn begin_call(
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
        if attempt == 1 && self.carry(path, &beginning.checksum) {
            return;
        }
        // Out of fuel, it goes to the executors as any other step does, and others have their turn.
        let in_place = beginning.done_by == DoneBy::Engine && self.fuel > 0;
        let started = EventKind::StepStarted {
            kind: beginning.kind.to_owned(),
            uses: invocation.uses.clone(),
            action_version: beginning.action_version,
            checksum: beginning.checksum,
            idempotency_key: beginning.idempotency_key,
            instance: (!in_place && beginning.done_by != DoneBy::Worker).then_some(context.instance),
            worker: beginning.done_by == DoneBy::Worker,
        };
        self.emit_step(path, attempt, started, &Actor::system());
        if !in_place {
            return;
        }
        // What a decision costs beside the input: about what its two entries weigh.
        self.fuel = self.fuel.saturating_sub(json::measure(&beginning.input).0 + 256);
        match self.too_large(&beginning.input) {
            Some(error) => self.record_failure(path, attempt, error, false, None),
            None => {
                let done = EventKind::StepDone { result: beginning.input };
                self.emit_step(path, attempt, done, &Actor::system());
            }
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
            UsedAs::Agent => ("agent", context.catalog.agent(uses)),
            UsedAs::Action | UsedAs::Protocol => ("script", context.catalog.action(uses)),
        };
        let entry = entry.ok_or_else(|| {
            let noun = if used_as == UsedAs::Agent { "agent" } else { "action" };
            format!("there is no {noun} `{uses}`. Register it, then start the run again")
        })?;
        let input = effects::input(invocation, &self.scope_of(path), &self.items_around(path));
        let input = input.map_err(|error| error.to_string())?;
        let checksum = self.checksum(path, uses, entry.version, &input)?;
        // Attempts of one step send one key, also when the action's version changed between them.
        let begun = self.run.steps.get(path).and_then(|step| step.idempotency_key.clone());
        let key = begun.unwrap_or_else(|| {
            idempotency_key(self.run.lineage, path, &checksum, self.undos_before(&checksum))
        });
        Ok(Beginning {
            kind,
            action_version: entry.version,
            checksum,
            idempotency_key: key,
            done_by: entry.done_by,
            input,
        })
    }

    pub(super) fn checksum(
        &self,
        path: &StepPath,
        uses: &str,
        action_version: i32,
        input: &Value,
    ) -> Result<String, String> {
        let asked = Asked {
            protocol_id: self.run.protocol_ref.id,
            task_id: path.task_id(),
            uses,
            action_version,
            input,
        };
        checksum(self.run.salt.as_ref(), &asked).ok_or_else(|| {
            "the salt of this run's checksums was erased, so no step of it can begin".to_owned()
        })
    }

    /// How often earlier runs of the lineage took this back.
    pub(super) fn undos_before(&self, checksum: &str) -> u32 {
        self.run.before.as_ref().and_then(|before| before.undos.get(checksum)).copied().unwrap_or(0)
    }

    /// Takes over what an earlier run of the lineage did. False: none did.
    pub(super) fn carry(&mut self, path: &StepPath, checksum: &str) -> bool {
        let known = self.run.before.as_ref().and_then(|before| before.done_before(checksum, path));
        // A later round is asked for on purpose.
        let Some(known) = known.filter(|_| path.is_in_first_round()) else { return false };
        let carried = EventKind::StepCarried {
            run: known.run,
            from_step: known.step.clone(),
            action_version: known.action_version,
            checksum: checksum.to_owned(),
            result: known.result.clone(),
        };
        if let EventKind::StepCarried { result, .. } = &carried
            && self.too_large(result).is_some()
        {
            return false;
        }
        self.emit_step(path, 1, carried, &Actor::system());
        true
    }
}
