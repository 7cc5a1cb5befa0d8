//! The approvals that a batch opens, moves on, decides or closes.

use super::Member;
use crate::engine::event::{EventKind, Recorded};
use crate::engine::ids::StepPath;
use crate::engine::seating::Filled;
use crate::engine::state::{Approval, Choice, Run, StepStatus};
use crate::store::error::StoreError;
use chrono::{DateTime, Utc};
use diesel::prelude::*;
use diesel::sql_types::{Array, BigInt, Bool, Integer, Jsonb, Nullable, Text, Timestamptz};
use serde_json::{Value, json};
use std::collections::HashMap;

/// The events of these members that concern a step, each with its run.
fn of_steps<'a>(members: &'a [&Member]) -> impl Iterator<Item = (&'a Run, &'a StepPath, &'a Recorded)> {
    let events =
        members.iter().flat_map(|member| member.told_events().iter().map(move |recorded| (member, recorded)));
    events.filter_map(|(member, recorded)| Some((member.told_run(), recorded.event.step.as_ref()?, recorded)))
}

pub(super) fn open(connection: &mut PgConnection, members: &[&Member]) -> Result<(), StoreError> {
    let opened: Vec<(&Run, &StepPath, &Recorded)> = of_steps(members)
        .filter(|(_, _, recorded)| matches!(recorded.event.kind, EventKind::ApprovalOpened { .. }))
        .collect();
    if opened.is_empty() {
        return Ok(());
    }
    let (mut ids, mut titles, mut approvers, mut quorums) = (vec![], vec![], vec![], vec![]);
    let (mut four_eyes, mut due, mut open_to) = (vec![], vec![], vec![]);
    for (_, _, recorded) in &opened {
        if let EventKind::ApprovalOpened {
            approval,
            title,
            approvers: who,
            quorum,
            four_eyes: eyes,
            due_at,
            ..
        } = &recorded.event.kind
        {
            ids.push(approval.0);
            titles.push(title.as_str());
            approvers.push(json!(who));
            open_to.push(json!(who.together()));
            quorums.push(*quorum as i32);
            four_eyes.push(*eyes);
            due.push(*due_at);
        }
    }
    diesel::sql_query(
        "INSERT INTO approvals (run_id, id, step, title, status, approvers, quorum, four_eyes, run_starter,
            protocol_name, opened_at, due_at, open_to)
         SELECT r, i, s, t, 'pending', a, q, f, sb, pn, o, d, ot
         FROM unnest($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)
            AS n (r, i, s, t, a, q, f, sb, pn, o, d, ot)",
    )
    .bind::<Array<BigInt>, _>(opened.iter().map(|(run, ..)| run.id.0).collect::<Vec<_>>())
    .bind::<Array<BigInt>, _>(ids)
    .bind::<Array<Text>, _>(opened.iter().map(|(_, step, _)| step.as_str()).collect::<Vec<_>>())
    .bind::<Array<Text>, _>(titles)
    .bind::<Array<Jsonb>, _>(approvers)
    .bind::<Array<Integer>, _>(quorums)
    .bind::<Array<Bool>, _>(four_eyes)
    .bind::<Array<Text>, _>(opened.iter().map(|(run, ..)| run.started_by.as_str()).collect::<Vec<_>>())
    .bind::<Array<Text>, _>(opened.iter().map(|(run, ..)| run.protocol_ref.name.as_str()).collect::<Vec<_>>())
    .bind::<Array<Timestamptz>, _>(opened.iter().map(|(_, _, recorded)| recorded.at).collect::<Vec<_>>())
    .bind::<Array<Nullable<Timestamptz>>, _>(due)
    .bind::<Array<Jsonb>, _>(open_to)
    .execute(connection)?;
    close_asked_again(connection, &opened)
}

/// Of a question that was asked again only the latest can be answered.
fn close_asked_again(
    connection: &mut PgConnection,
    opened: &[(&Run, &StepPath, &Recorded)],
) -> Result<(), StoreError> {
    let mut latest: HashMap<(i64, &str), i64> = HashMap::new();
    for (run, step, recorded) in opened {
        if let EventKind::ApprovalOpened { approval, again: true, .. } = &recorded.event.kind {
            latest.insert((run.id.0, step.as_str()), approval.0);
        }
    }
    if latest.is_empty() {
        return Ok(());
    }
    diesel::sql_query(
        "UPDATE approvals SET status = 'closed' FROM unnest($1, $2, $3) AS n (r, s, i)
         WHERE approvals.run_id = n.r AND approvals.step = n.s AND approvals.id <> n.i
           AND approvals.status = 'pending'",
    )
    .bind::<Array<BigInt>, _>(latest.keys().map(|(run, _)| *run).collect::<Vec<_>>())
    .bind::<Array<Text>, _>(latest.keys().map(|(_, step)| *step).collect::<Vec<_>>())
    .bind::<Array<BigInt>, _>(latest.values().copied().collect::<Vec<_>>())
    .execute(connection)?;
    Ok(())
}

/// An approval that is on its way: votes came, or more people may decide.
struct Moved<'a> {
    run_id: i64,
    approval: &'a Approval,
    reminded_at: Option<DateTime<Utc>>,
    escalated_at: Option<DateTime<Utc>>,
}

pub(super) fn move_on(connection: &mut PgConnection, members: &[&Member]) -> Result<(), StoreError> {
    let mut moved: HashMap<i64, Moved<'_>> = HashMap::new();
    for (run, step, recorded) in of_steps(members) {
        let (id, reminded_at, escalated_at) = match &recorded.event.kind {
            EventKind::ApprovalVoted { approval, .. } => (*approval, None, None),
            EventKind::ApprovalReminded { approval, .. } => (*approval, Some(recorded.at), None),
            EventKind::ApprovalEscalated { approval, .. } => (*approval, None, Some(recorded.at)),
            _ => continue,
        };
        // One that was asked again since is closed: nobody votes there any more.
        let now = run.steps.get(step).and_then(|step| step.approval.as_ref()).filter(|now| now.id == id);
        let Some(approval) = now else { continue };
        let row = moved.entry(id.0).or_insert(Moved {
            run_id: run.id.0,
            approval,
            reminded_at: None,
            escalated_at: None,
        });
        row.reminded_at = reminded_at.or(row.reminded_at);
        row.escalated_at = row.escalated_at.or(escalated_at);
    }
    if moved.is_empty() {
        return Ok(());
    }
    let rows: Vec<&Moved<'_>> = moved.values().collect();
    diesel::sql_query(
        "UPDATE approvals SET votes = n.v, approvers = n.a, reminded_at = coalesce(n.ra, approvals.reminded_at),
            escalated_at = coalesce(approvals.escalated_at, n.ea), filled = n.fi, open_to = n.ot
         FROM unnest($1, $2, $3, $4, $5, $6, $7, $8) AS n (r, i, v, a, ra, ea, fi, ot)
         WHERE approvals.run_id = n.r AND approvals.id = n.i",
    )
    .bind::<Array<BigInt>, _>(rows.iter().map(|row| row.run_id).collect::<Vec<_>>())
    .bind::<Array<BigInt>, _>(rows.iter().map(|row| row.approval.id.0).collect::<Vec<_>>())
    .bind::<Array<Jsonb>, _>(rows.iter().map(|row| votes(row.approval)).collect::<Vec<_>>())
    .bind::<Array<Jsonb>, _>(rows.iter().map(|row| json!(row.approval.approvers)).collect::<Vec<_>>())
    .bind::<Array<Nullable<Timestamptz>>, _>(rows.iter().map(|row| row.reminded_at).collect::<Vec<_>>())
    .bind::<Array<Nullable<Timestamptz>>, _>(rows.iter().map(|row| row.escalated_at).collect::<Vec<_>>())
    .bind::<Array<Jsonb>, _>(rows.iter().map(|row| json!(row.approval.filled)).collect::<Vec<_>>())
    .bind::<Array<Jsonb>, _>(rows.iter().map(|row| json!(row.approval.open_to())).collect::<Vec<_>>())
    .execute(connection)?;
    Ok(())
}

fn votes(approval: &Approval) -> Value {
    let votes = approval.votes.iter().map(|vote| {
        let at = vote.at.to_rfc3339_opts(chrono::SecondsFormat::Micros, true);
        json!({"by": vote.by, "at": at, "reason": vote.reason, "form": vote.form})
    });
    votes.collect()
}

/// An approval that nobody can decide any more.
struct Ended<'a> {
    run_id: i64,
    id: i64,
    status: &'static str,
    by: Option<&'a str>,
    at: Option<DateTime<Utc>>,
    reason: Option<&'a str>,
    form: Option<&'a Value>,
    filled: &'a [Filled],
}

/// The approvals that these events decided, or whose step was cancelled or passed over.
fn ended<'a>((run, step, recorded): (&'a Run, &'a StepPath, &'a Recorded)) -> Option<Ended<'a>> {
    let run_id = run.id.0;
    if let EventKind::ApprovalDecided { approval, decision, reason, form, filled, .. } = &recorded.event.kind
    {
        let status = match decision {
            Choice::Approve => "approved",
            Choice::Reject => "rejected",
            Choice::Return => "returned",
        };
        let (by, at) = (Some(recorded.actor.as_str()), Some(recorded.at));
        return Some(Ended {
            run_id,
            id: approval.0,
            status,
            by,
            at,
            reason: reason.as_deref(),
            form: form.as_ref(),
            filled,
        });
    }
    let step = run.steps.get(step)?;
    let id = step.approval.as_ref()?.id.0;
    let over = matches!(step.status, StepStatus::Cancelled | StepStatus::Skipped | StepStatus::Failed);
    over.then_some(Ended {
        run_id,
        id,
        status: "closed",
        by: None,
        at: None,
        reason: None,
        form: None,
        filled: &[],
    })
}

/// What a decision left as it was is null.
fn filled(ended: &[Ended<'_>]) -> Vec<Option<Value>> {
    ended.iter().map(|row| (!row.filled.is_empty()).then(|| json!(row.filled))).collect()
}

pub(super) fn end(connection: &mut PgConnection, members: &[&Member]) -> Result<(), StoreError> {
    let ended: Vec<Ended<'_>> = of_steps(members).filter_map(ended).collect();
    if ended.is_empty() {
        return Ok(());
    }
    diesel::sql_query(
        "UPDATE approvals SET status = n.s, decided_by = n.b, decided_at = n.at, reason = n.why, form = n.f,
            filled = coalesce(n.fi, approvals.filled)
         FROM unnest($1, $2, $3, $4, $5, $6, $7, $8) AS n (r, i, s, b, at, why, f, fi)
         WHERE approvals.run_id = n.r AND approvals.id = n.i AND approvals.status = 'pending'",
    )
    .bind::<Array<BigInt>, _>(ended.iter().map(|row| row.run_id).collect::<Vec<_>>())
    .bind::<Array<BigInt>, _>(ended.iter().map(|row| row.id).collect::<Vec<_>>())
    .bind::<Array<Text>, _>(ended.iter().map(|row| row.status).collect::<Vec<_>>())
    .bind::<Array<Nullable<Text>>, _>(ended.iter().map(|row| row.by).collect::<Vec<_>>())
    .bind::<Array<Nullable<Timestamptz>>, _>(ended.iter().map(|row| row.at).collect::<Vec<_>>())
    .bind::<Array<Nullable<Text>>, _>(ended.iter().map(|row| row.reason).collect::<Vec<_>>())
    .bind::<Array<Nullable<Jsonb>>, _>(ended.iter().map(|row| row.form).collect::<Vec<_>>())
    .bind::<Array<Nullable<Jsonb>>, _>(filled(&ended))
    .execute(connection)?;
    Ok(())
}
