//! What is sealed in the entries of a batch, in one statement; in none when nothing is.

use super::Member;
use super::entries::entries;
use crate::audit::disclosure::Disclosure;
use crate::store::error::StoreError;
use diesel::prelude::*;
use diesel::sql_types::{Array, BigInt, Integer, Nullable, Text};

pub(super) fn append(connection: &mut PgConnection, members: &[&Member]) -> Result<(), StoreError> {
    let all = members.iter().flat_map(|member| entries(member));
    let rows: Vec<(i64, i64, &Disclosure)> = all
        .flat_map(|(run, seq, _, sealed)| {
            sealed.disclosures.iter().map(move |disclosure| (run, seq, disclosure))
        })
        .collect();
    if rows.is_empty() {
        return Ok(());
    }
    let text = |pick: fn(&Disclosure) -> Option<&str>| {
        rows.iter().map(|(_, _, disclosure)| pick(disclosure)).collect::<Vec<_>>()
    };
    diesel::sql_query(
        "INSERT INTO disclosures (run_id, seq, place, path, digest, disclosure, exemption, bytes)
         SELECT * FROM unnest($1, $2, $3, $4, $5, $6, $7, $8)",
    )
    .bind::<Array<BigInt>, _>(rows.iter().map(|(run, ..)| *run).collect::<Vec<_>>())
    .bind::<Array<BigInt>, _>(rows.iter().map(|(_, seq, _)| *seq).collect::<Vec<_>>())
    .bind::<Array<Nullable<Text>>, _>(text(|disclosure| Some(&disclosure.place)))
    .bind::<Array<Nullable<Text>>, _>(text(|disclosure| Some(&disclosure.path)))
    .bind::<Array<Nullable<Text>>, _>(text(|disclosure| Some(&disclosure.digest)))
    .bind::<Array<Nullable<Text>>, _>(text(|disclosure| disclosure.text.as_deref()))
    .bind::<Array<Nullable<Text>>, _>(text(|disclosure| disclosure.exemption.as_deref()))
    .bind::<Array<Integer>, _>(
        rows.iter()
            .map(|(.., disclosure)| i32::try_from(disclosure.bytes).unwrap_or(i32::MAX))
            .collect::<Vec<_>>(),
    )
    .execute(connection)?;
    Ok(())
}
