//! What is sealed: the values that the log names by digest alone, with who may not see them and what was erased.
//!
//! Written by [`super::batch`], with the entries that name them. A row never changes but to be erased
//! ([`super::redactions`]).

use super::error::StoreError;
use super::schema::disclosures;
use crate::audit::chain::Stored;
use crate::audit::disclosure::{self, Disclosure};
use chrono::{DateTime, Utc};
use diesel::prelude::*;
use diesel::sql_types::{Array, BigInt};
use std::collections::HashMap;

/// A disclosure, with the entry that names it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SealedValue {
    pub stream: i64,
    pub seq: i64,
    pub disclosure: Disclosure,
    pub erased_at: Option<DateTime<Utc>>,
    /// The request that it was erased by.
    pub redaction_id: Option<i64>,
}

/// What a reader who does not see the value is told of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// It is there, and kept back.
    Withheld,
    /// It is gone for good.
    Erased,
}

impl SealedValue {
    pub fn state(&self) -> State {
        if self.disclosure.text.is_some() { State::Withheld } else { State::Erased }
    }
}

#[derive(Debug, Queryable, QueryableByName)]
#[diesel(table_name = disclosures)]
struct Row {
    run_id: i64,
    stream: i64,
    seq: i64,
    place: String,
    path: String,
    digest: String,
    disclosure: Option<String>,
    bytes: i32,
    exemption: Option<String>,
    erased_at: Option<DateTime<Utc>>,
    redaction_id: Option<i64>,
}

impl From<Row> for SealedValue {
    fn from(row: Row) -> SealedValue {
        SealedValue {
            stream: row.stream,
            seq: row.seq,
            disclosure: Disclosure {
                place: row.place,
                path: row.path,
                digest: row.digest,
                text: row.disclosure,
                bytes: usize::try_from(row.bytes).unwrap_or_default(),
                exemption: row.exemption,
            },
            erased_at: row.erased_at,
            redaction_id: row.redaction_id,
        }
    }
}

/// All that is sealed in a run, in the order of its entries.
pub fn of_run(connection: &mut PgConnection, run_id: i64) -> Result<Vec<SealedValue>, StoreError> {
    let rows: Vec<Row> = disclosures::table
        .filter(disclosures::run_id.eq(run_id))
        .order((disclosures::stream.asc(), disclosures::seq.asc(), disclosures::place.asc()))
        .load(connection)?;
    Ok(rows.into_iter().map(SealedValue::from).collect())
}

/// Gives each entry what is sealed in it. Entries of which nothing is sealed cost nothing.
pub(super) fn attach(connection: &mut PgConnection, entries: &mut [Stored]) -> Result<(), StoreError> {
    let sealed: Vec<(i64, i64, i64)> = entries
        .iter()
        .filter(|entry| disclosure::has_any(&entry.leaf))
        .map(|entry| (entry.run_id, entry.stream, entry.seq))
        .collect();
    if sealed.is_empty() {
        return Ok(());
    }
    let rows: Vec<Row> = diesel::sql_query(
        "SELECT d.* FROM unnest($1, $2, $3) AS n (r, st, s)
         JOIN disclosures d ON d.run_id = n.r AND d.stream = n.st AND d.seq = n.s
         ORDER BY d.run_id, d.stream, d.seq, d.place",
    )
    .bind::<Array<BigInt>, _>(sealed.iter().map(|(run, ..)| *run).collect::<Vec<_>>())
    .bind::<Array<BigInt>, _>(sealed.iter().map(|(_, stream, _)| *stream).collect::<Vec<_>>())
    .bind::<Array<BigInt>, _>(sealed.iter().map(|(.., seq)| *seq).collect::<Vec<_>>())
    .load(connection)?;
    let mut found: HashMap<(i64, i64, i64), Vec<Disclosure>> = HashMap::new();
    for row in rows {
        let place = (row.run_id, row.stream, row.seq);
        found.entry(place).or_default().push(SealedValue::from(row).disclosure);
    }
    for entry in entries {
        if let Some(disclosures) = found.remove(&(entry.run_id, entry.stream, entry.seq)) {
            entry.disclosures = Some(disclosures);
        }
    }
    Ok(())
}
