//! The entries of a batch, appended to the activity log in one statement.

use super::Member;
use crate::audit::entry::Sealed;
use crate::engine::event::Recorded;
use crate::store::error::StoreError;
use diesel::prelude::*;
use diesel::sql_types::{Array, BigInt, Bytea, Integer, Json, Nullable, Text, Timestamptz};

pub(super) fn append(connection: &mut PgConnection, members: &[&Member]) -> Result<(), StoreError> {
    let rows = || members.iter().flat_map(|member| entries(member));
    let text = |pick: fn(&Recorded) -> Option<&str>| {
        rows().map(|(_, _, recorded, _)| pick(recorded)).collect::<Vec<_>>()
    };
    diesel::sql_query(
        "INSERT INTO activity_log
            (run_id, seq, t, actor, type, step, attempt, status, leaf, leaf_hash, beside)
         SELECT * FROM unnest($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)",
    )
    .bind::<Array<BigInt>, _>(rows().map(|(run, ..)| run).collect::<Vec<_>>())
    .bind::<Array<BigInt>, _>(rows().map(|(_, seq, ..)| seq).collect::<Vec<_>>())
    .bind::<Array<Timestamptz>, _>(rows().map(|(_, _, recorded, _)| recorded.at).collect::<Vec<_>>())
    .bind::<Array<Nullable<Text>>, _>(text(|recorded| Some(&recorded.actor)))
    .bind::<Array<Nullable<Text>>, _>(text(|recorded| Some(recorded.event.kind.type_name())))
    .bind::<Array<Nullable<Text>>, _>(text(|recorded| recorded.event.step.as_ref().map(|step| step.as_str())))
    .bind::<Array<Nullable<Integer>>, _>(
        rows()
            .map(|(_, _, recorded, _)| recorded.event.attempt.map(|attempt| attempt as i32))
            .collect::<Vec<_>>(),
    )
    .bind::<Array<Nullable<Text>>, _>(text(|recorded| recorded.event.kind.status()))
    .bind::<Array<Bytea>, _>(rows().map(|(.., sealed)| sealed.leaf.as_slice()).collect::<Vec<_>>())
    .bind::<Array<Bytea>, _>(rows().map(|(.., sealed)| sealed.hash.as_slice()).collect::<Vec<_>>())
    .bind::<Array<Nullable<Json>>, _>(rows().map(|(.., sealed)| sealed.beside.as_ref()).collect::<Vec<_>>())
    .execute(connection)?;
    Ok(())
}

pub(super) fn entries(member: &Member) -> impl Iterator<Item = (i64, i64, &Recorded, &Sealed)> {
    let first = member.run.version - member.events.len() as u64 + 1;
    let pairs = member.events.iter().zip(&member.sealed);
    pairs.enumerate().map(move |(index, (recorded, sealed))| {
        (member.run.id.0, (first + index as u64) as i64, recorded, sealed)
    })
}
