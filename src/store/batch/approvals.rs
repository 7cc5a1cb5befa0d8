//! The approvals that a batch opens, decides or closes.

use super::Member;
use crate::engine::event::EventKind;
use crate::engine::state::{Choice, Run, StepStatus};
use crate::store::error::StoreError;
use chrono::{DateTime, Utc};
use diesel::prelude::*;
use diesel::sql_types::{Array, BigInt, Bool, Jsonb, Nullable, Text, Timestamptz};
use serde_json::Value;

pub(super) fn open(connection: &mut PgConnection, members: &[&Member]) -> Result<(), StoreError> {
    struct Opened<'a> {
        run: &'a Run,
        step: &'a str,
        at: DateTime<Utc>,
        kind: &'a EventKind,
    }
    let opened: Vec<Opened<'_>> = members
        .iter()
        .flat_map(|member| member.events.iter().map(move |recorded| (member, recorded)))
        .filter(|(_, recorded)| matches!(recorded.event.kind, EventKind::ApprovalOpened { .. }))
        .filter_map(|(member, recorded)| {
            let step = recorded.event.step.as_ref()?.as_str();
            Some(Opened { run: &member.run, step, at: recorded.at, kind: &recorded.event.kind })
        })
        .collect();
    if opened.is_empty() {
        return Ok(());
    }
    let (mut ids, mut titles, mut approvers, mut four_eyes, mut due) =
        (vec![], vec![], vec![], vec![], vec![]);
    for row in &opened {
        if let EventKind::ApprovalOpened {
            approval, title, approvers: who, four_eyes: eyes, due_at, ..
        } = row.kind
        {
            ids.push(approval.0);
            titles.push(title.as_str());
            approvers.push(serde_json::json!(who));
            four_eyes.push(*eyes);
            due.push(*due_at);
        }
    }
    diesel::sql_query(
        "INSERT INTO approvals (run_id, id, step, title, status, approvers, four_eyes, run_starter,
            protocol_name, opened_at, due_at)
         SELECT r, i, s, t, 'pending', a, f, sb, pn, o, d
         FROM unnest($1, $2, $3, $4, $5, $6, $7, $8, $9, $10) AS n (r, i, s, t, a, f, sb, pn, o, d)",
    )
    .bind::<Array<BigInt>, _>(opened.iter().map(|row| row.run.id.0).collect::<Vec<_>>())
    .bind::<Array<BigInt>, _>(ids)
    .bind::<Array<Text>, _>(opened.iter().map(|row| row.step).collect::<Vec<_>>())
    .bind::<Array<Text>, _>(titles)
    .bind::<Array<Jsonb>, _>(approvers)
    .bind::<Array<Bool>, _>(four_eyes)
    .bind::<Array<Text>, _>(opened.iter().map(|row| row.run.started_by.as_str()).collect::<Vec<_>>())
    .bind::<Array<Text>, _>(opened.iter().map(|row| row.run.protocol_ref.name.as_str()).collect::<Vec<_>>())
    .bind::<Array<Timestamptz>, _>(opened.iter().map(|row| row.at).collect::<Vec<_>>())
    .bind::<Array<Nullable<Timestamptz>>, _>(due)
    .execute(connection)?;
    Ok(())
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
}

/// The approvals that these events decided, or whose step was cancelled with its run.
fn ended(member: &Member) -> impl Iterator<Item = Ended<'_>> {
    member.events.iter().filter_map(|recorded| {
        let step = member.run.steps.get(recorded.event.step.as_ref()?)?;
        let (run_id, id) = (member.run.id.0, step.approval.as_ref()?.id.0);
        if let EventKind::ApprovalDecided { decision, reason, form, .. } = &recorded.event.kind {
            let status = match decision {
                Choice::Approve => "approved",
                Choice::Reject => "rejected",
                Choice::Return => "returned",
            };
            let (by, at) = (Some(recorded.actor.as_str()), Some(recorded.at));
            return Some(Ended {
                run_id,
                id,
                status,
                by,
                at,
                reason: reason.as_deref(),
                form: form.as_ref(),
            });
        }
        let closed = Ended { run_id, id, status: "closed", by: None, at: None, reason: None, form: None };
        (step.status == StepStatus::Cancelled).then_some(closed)
    })
}

pub(super) fn end(connection: &mut PgConnection, members: &[&Member]) -> Result<(), StoreError> {
    let ended: Vec<Ended<'_>> = members.iter().flat_map(|member| ended(member)).collect();
    if ended.is_empty() {
        return Ok(());
    }
    diesel::sql_query(
        "UPDATE approvals SET status = n.s, decided_by = n.b, decided_at = n.at, reason = n.why, form = n.f
         FROM unnest($1, $2, $3, $4, $5, $6, $7) AS n (r, i, s, b, at, why, f)
         WHERE approvals.run_id = n.r AND approvals.id = n.i AND approvals.status = 'pending'",
    )
    .bind::<Array<BigInt>, _>(ended.iter().map(|row| row.run_id).collect::<Vec<_>>())
    .bind::<Array<BigInt>, _>(ended.iter().map(|row| row.id).collect::<Vec<_>>())
    .bind::<Array<Text>, _>(ended.iter().map(|row| row.status).collect::<Vec<_>>())
    .bind::<Array<Nullable<Text>>, _>(ended.iter().map(|row| row.by).collect::<Vec<_>>())
    .bind::<Array<Nullable<Timestamptz>>, _>(ended.iter().map(|row| row.at).collect::<Vec<_>>())
    .bind::<Array<Nullable<Text>>, _>(ended.iter().map(|row| row.reason).collect::<Vec<_>>())
    .bind::<Array<Nullable<Jsonb>>, _>(ended.iter().map(|row| row.form).collect::<Vec<_>>())
    .execute(connection)?;
    Ok(())
}
