//! The attempts in a batch that a worker must claim, and those of them that end in it.

use super::Member;
use crate::engine::event::{EventKind, Recorded};
use crate::engine::ids::StepPath;
use crate::engine::protocol::Work;
use crate::store::error::StoreError;
use diesel::prelude::*;
use diesel::sql_types::{Array, BigInt, Integer, Text};
use std::collections::HashMap;

/// What these events come to for the work of one step.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Fate<'a> {
    /// Nothing of it is stored, and nothing is to be.
    None,
    /// An attempt ended that may have been a worker's.
    Over,
    /// An attempt began that a worker must claim. `again`: an earlier one may be stored.
    Offered { attempt: i32, action: &'a str, again: bool },
}

pub(super) fn set(connection: &mut PgConnection, members: &[&Member]) -> Result<(), StoreError> {
    let (mut over, mut over_steps) = (vec![], vec![]);
    let (mut runs, mut steps, mut attempts, mut actions) = (vec![], vec![], vec![], vec![]);
    for member in members {
        for (path, fate) in fates(member) {
            match fate {
                Fate::None => {}
                Fate::Over => {
                    over.push(member.run.id.0);
                    over_steps.push(path.as_str());
                }
                Fate::Offered { attempt, action, .. } => {
                    runs.push(member.run.id.0);
                    steps.push(path.as_str());
                    attempts.push(attempt);
                    actions.push(action);
                }
            }
        }
    }
    if !over.is_empty() {
        diesel::sql_query(
            "DELETE FROM work w USING unnest($1, $2) AS n (r, s) WHERE w.run_id = n.r AND w.step = n.s",
        )
        .bind::<Array<BigInt>, _>(over)
        .bind::<Array<Text>, _>(over_steps)
        .execute(connection)?;
    }
    if !runs.is_empty() {
        diesel::sql_query(
            "INSERT INTO work (run_id, step, attempt, action) SELECT * FROM unnest($1, $2, $3, $4)
             ON CONFLICT (run_id, step) DO UPDATE SET attempt = excluded.attempt, id = excluded.id,
                action = excluded.action, available_at = excluded.available_at, worker = NULL,
                lease_token_hash = NULL, lease_seconds = NULL, lease_until = NULL",
        )
        .bind::<Array<BigInt>, _>(runs)
        .bind::<Array<Text>, _>(steps)
        .bind::<Array<Integer>, _>(attempts)
        .bind::<Array<Text>, _>(actions)
        .execute(connection)?;
    }
    Ok(())
}

fn fates(member: &Member) -> HashMap<&StepPath, Fate<'_>> {
    let mut fates: HashMap<&StepPath, Fate<'_>> = HashMap::new();
    for recorded in &member.events {
        let Some(path) = &recorded.event.step else { continue };
        // Only a script, or what takes one back, calls an action.
        if member.run.protocol.task(path).is_some_and(|task| matches!(task.work, Work::Script(_))) {
            let before = fates.get(path).copied();
            if let Some(fate) = next(before, recorded) {
                fates.insert(path, fate);
            }
        }
    }
    fates
}

/// None: the event says nothing about it.
fn next<'a>(before: Option<Fate<'a>>, recorded: &'a Recorded) -> Option<Fate<'a>> {
    let attempt = recorded.event.attempt.unwrap_or(0) as i32;
    // An earlier attempt may be stored, unless this is the first.
    let again = attempt > 1 || before.is_some_and(|before| before != Fate::None);
    match &recorded.event.kind {
        EventKind::StepStarted { worker: true, uses, .. } => {
            Some(Fate::Offered { attempt, action: uses, again })
        }
        EventKind::StepStarted { worker: false, .. } | EventKind::StepCarried { .. } => {
            Some(if again { Fate::Over } else { Fate::None })
        }
        EventKind::StepDone { .. }
        | EventKind::StepAccepted {}
        | EventKind::StepRetrying { .. }
        | EventKind::StepFailed { .. }
        | EventKind::StepSkipped { .. }
        | EventKind::StepCancelled { .. }
        | EventKind::StepRescued { .. } => Some(match before {
            Some(Fate::None | Fate::Offered { again: false, .. }) => Fate::None,
            // Never begun: its `when` was false.
            None if attempt == 0 => Fate::None,
            Some(Fate::Over | Fate::Offered { again: true, .. }) | None => Fate::Over,
        }),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::event::Event;
    use chrono::DateTime;

    fn event(attempt: u32, kind: EventKind) -> Recorded {
        let step = Some(StepPath::top("fees", 1));
        let event = Event { step, attempt: Some(attempt), kind };
        Recorded { at: DateTime::UNIX_EPOCH, actor: "HMS-ACT".to_owned(), event }
    }

    fn started(attempt: u32, worker: bool) -> Recorded {
        let kind = EventKind::StepStarted {
            kind: "script".to_owned(),
            uses: "fees".to_owned(),
            action_version: 1,
            checksum: String::new(),
            idempotency_key: String::new(),
            instance: None,
            worker,
        };
        event(attempt, kind)
    }

    fn done(attempt: u32) -> Recorded {
        event(attempt, EventKind::StepDone { result: serde_json::Value::Null })
    }

    fn rescued(attempt: u32) -> Recorded {
        event(attempt, EventKind::StepRescued { instance: None, reason: String::new() })
    }

    fn claimed(attempt: u32) -> Recorded {
        event(attempt, EventKind::StepClaimed { worker: "w".to_owned() })
    }

    #[test]
    fn each_batch_stores_what_it_leaves_open_and_removes_what_may_be_there() {
        let offered = |attempt, again| Some(Fate::Offered { attempt, action: "fees", again });
        for (events, expected) in [
            (vec![started(1, true)], offered(1, false)),
            (vec![started(1, true), claimed(1)], offered(1, false)),
            (vec![claimed(1)], None),
            (vec![done(1)], Some(Fate::Over)),
            (vec![started(1, true), done(1)], Some(Fate::None)),
            (vec![started(1, false), done(1)], Some(Fate::None)),
            (vec![rescued(1), started(2, true)], offered(2, true)),
            (vec![rescued(1), started(2, true), done(2)], Some(Fate::Over)),
            (vec![rescued(1), started(2, false)], Some(Fate::Over)),
            (vec![rescued(3)], Some(Fate::Over)),
            (vec![event(0, EventKind::StepCancelled { reason: String::new() })], Some(Fate::None)),
        ] {
            let fate = events.iter().fold(None, |before, recorded| next(before, recorded).or(before));
            assert_eq!(fate, expected, "{events:?}");
        }
    }
}
