//! The places of a batch's runs under their concurrency limits. Runs without a limit pay nothing for it.

use super::{Member, Written};
use crate::engine::protocol::WhenFull;
use crate::engine::state::Slot;
use crate::store::error::StoreError;
use diesel::prelude::*;
use diesel::sql_types::{Array, BigInt, Bool, Integer, Text};
use std::collections::HashMap;

fn begins(member: &Member) -> Option<&Slot> {
    member.run.slot.as_ref().filter(|_| member.before.is_none())
}

/// Marks the new runs whose limit is reached and who would rather be refused than wait.
pub(super) fn check(
    connection: &mut PgConnection,
    members: &[&Member],
    outcomes: &mut [Written],
) -> Result<(), StoreError> {
    let refuses = |member: &Member| begins(member).is_some_and(|slot| slot.when_full == WhenFull::Refuse);
    let lane = |member: &Member, slot: &Slot| (member.run.protocol_ref.id, slot.key.clone());
    let asked: Vec<&&Member> = members.iter().filter(|member| refuses(member)).collect();
    if asked.is_empty() {
        return Ok(());
    }
    let lanes: Vec<(i64, String)> =
        asked.iter().filter_map(|member| Some(lane(member, begins(member)?))).collect();
    let mut counts = count(connection, &lanes)?;
    for (member, outcome) in members.iter().zip(outcomes) {
        let Some(slot) = begins(member).filter(|_| *outcome == Written::Written) else { continue };
        let Some(there) = counts.get_mut(&lane(member, slot)) else { continue };
        if slot.when_full == WhenFull::Refuse && *there >= i64::from(slot.limit) {
            *outcome = Written::Full;
        } else {
            *there += 1;
        }
    }
    Ok(())
}

type Counts = HashMap<(i64, String), i64>;

/// How many are on their way or wait in each lane. Nobody else takes a place in them until this is committed.
fn count(connection: &mut PgConnection, lanes: &[(i64, String)]) -> Result<Counts, StoreError> {
    #[derive(QueryableByName)]
    struct Count {
        #[diesel(sql_type = BigInt)]
        protocol_id: i64,
        #[diesel(sql_type = Text)]
        key: String,
        #[diesel(sql_type = BigInt)]
        there: i64,
    }
    let protocols: Vec<i64> = lanes.iter().map(|(protocol, _)| *protocol).collect();
    let keys: Vec<&str> = lanes.iter().map(|(_, key)| key.as_str()).collect();
    // In order: two batches with the same lanes wait for each other in no circle.
    diesel::sql_query(
        "SELECT pg_advisory_xact_lock(hashtext('hms_act.slots'), lane) FROM (
            SELECT DISTINCT hashtext(p || ':' || k) AS lane FROM unnest($1, $2) AS n (p, k) ORDER BY 1) AS lanes",
    )
    .bind::<Array<BigInt>, _>(&protocols)
    .bind::<Array<Text>, _>(&keys)
    .execute(connection)?;
    let rows: Vec<Count> = diesel::sql_query(
        "SELECT n.p AS protocol_id, n.k AS key, count(s.run_id) AS there
         FROM (SELECT DISTINCT p, k FROM unnest($1, $2) AS asked (p, k)) AS n
         LEFT JOIN slots s ON s.protocol_id = n.p AND s.key = n.k GROUP BY n.p, n.k",
    )
    .bind::<Array<BigInt>, _>(&protocols)
    .bind::<Array<Text>, _>(&keys)
    .load(connection)?;
    Ok(rows.into_iter().map(|row| ((row.protocol_id, row.key), row.there)).collect())
}

pub(super) fn set(connection: &mut PgConnection, members: &[&Member]) -> Result<(), StoreError> {
    let over = |member: &&&Member| member.run.slot.is_some() && member.run.status.is_final();
    let over: Vec<i64> = members.iter().filter(over).map(|member| member.run.id.0).collect();
    let begun = members.iter().filter(|member| !member.run.status.is_final());
    let begun: Vec<(&Member, &Slot)> = begun.filter_map(|member| Some((*member, begins(member)?))).collect();
    if !over.is_empty() {
        diesel::sql_query("DELETE FROM slots WHERE run_id = ANY($1)")
            .bind::<Array<BigInt>, _>(over)
            .execute(connection)?;
    }
    if begun.is_empty() {
        return Ok(());
    }
    let capacity = |slot: &Slot| i32::try_from(slot.limit).unwrap_or(i32::MAX);
    // Whoever was not refused has a place; the others wait for theirs. (A restored run may have got it already.)
    let taken = |member: &Member, slot: &Slot| slot.when_full == WhenFull::Refuse || !member.run.held;
    diesel::sql_query(
        "INSERT INTO slots (run_id, protocol_id, key, capacity, taken) SELECT * FROM unnest($1, $2, $3, $4, $5)",
    )
    .bind::<Array<BigInt>, _>(begun.iter().map(|(member, _)| member.run.id.0).collect::<Vec<_>>())
    .bind::<Array<BigInt>, _>(begun.iter().map(|(member, _)| member.run.protocol_ref.id).collect::<Vec<_>>())
    .bind::<Array<Text>, _>(begun.iter().map(|(_, slot)| slot.key.as_str()).collect::<Vec<_>>())
    .bind::<Array<Integer>, _>(begun.iter().map(|(_, slot)| capacity(slot)).collect::<Vec<_>>())
    .bind::<Array<Bool>, _>(begun.iter().map(|(member, slot)| taken(member, slot)).collect::<Vec<_>>())
    .execute(connection)?;
    Ok(())
}
