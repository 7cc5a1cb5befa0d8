//! What waits, or waited, for a person's decision.

use super::error::StoreError;
use super::schema::approvals;
use crate::engine::command::Actor;
use crate::engine::protocol::Approvers;
use crate::engine::seating::Filled;
use chrono::{DateTime, Utc};
use diesel::prelude::*;
use serde_json::Value;

#[derive(Debug, Clone, PartialEq, Queryable, Selectable)]
#[diesel(table_name = approvals)]
pub struct ApprovalRow {
    pub run_id: i64,
    pub id: i64,
    pub step: String,
    pub title: String,
    pub status: String,
    pub approvers: Value,
    pub four_eyes: bool,
    pub run_starter: String,
    pub protocol_name: String,
    pub opened_at: DateTime<Utc>,
    pub due_at: Option<DateTime<Utc>>,
    pub decided_by: Option<String>,
    pub decided_at: Option<DateTime<Utc>>,
    pub reason: Option<String>,
    pub form: Option<Value>,
    /// How many different people must approve.
    pub quorum: i32,
    /// Who approved so far, while more are needed: `[{"by", "at", "reason", "form"}]`.
    pub votes: Value,
    pub reminded_at: Option<DateTime<Utc>>,
    /// Since then more people may decide, because nobody did in time.
    pub escalated_at: Option<DateTime<Utc>>,
    /// Who fills which slot: `[{"slot", "by"}]`.
    pub filled: Value,
    /// Whose approval still counts: `{"roles", "users", "groups"}`.
    pub open_to: Value,
}

impl ApprovalRow {
    /// Who may decide. Damaged data lets nobody decide.
    pub fn approvers(&self) -> Approvers {
        serde_json::from_value(self.approvers.clone()).unwrap_or_default()
    }

    /// Who fills which slot.
    pub fn filled(&self) -> Vec<Filled> {
        serde_json::from_value(self.filled.clone()).unwrap_or_default()
    }

    /// Whose approval still counts: once slots are filled, fewer than may decide.
    pub fn open_to(&self) -> Approvers {
        serde_json::from_value(self.open_to.clone()).unwrap_or_default()
    }

    /// Whom it waits for: those who may decide, without the slots that are filled.
    pub fn missing(&self) -> Approvers {
        self.approvers().missing(&self.filled())
    }

    /// Who approved so far.
    pub fn voters(&self) -> impl Iterator<Item = &str> {
        self.votes.as_array().into_iter().flatten().filter_map(|vote| vote["by"].as_str())
    }
}

/// What a reader asked for.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct ApprovalFilter {
    /// `pending`, `approved`, `rejected`, `returned`, `closed`; empty: all.
    pub statuses: Vec<String>,
    pub run_id: Option<i64>,
    /// Only those that somebody, with their roles and groups, may decide, and whose approval still counts.
    pub decidable_by: Option<Actor>,
    /// Only the others.
    pub barred_for: Option<Actor>,
    /// Only those of runs that this user started.
    pub run_starter: Option<String>,
}

pub fn get(connection: &mut PgConnection, id: i64) -> Result<Option<ApprovalRow>, StoreError> {
    let found = approvals::table.filter(approvals::id.eq(id)).select(ApprovalRow::as_select());
    Ok(found.first(connection).optional()?)
}

/// Oldest first, from after `cursor`.
pub fn list(
    connection: &mut PgConnection,
    filter: &ApprovalFilter,
    cursor: Option<i64>,
    limit: i64,
) -> Result<Vec<ApprovalRow>, StoreError> {
    let after = approvals::id.gt(cursor.unwrap_or(0));
    let query = filtered(filter).filter(after).order(approvals::id.asc()).limit(limit);
    Ok(query.select(ApprovalRow::as_select()).load(connection)?)
}

/// Newest first, from before `cursor`: the history.
pub fn history(
    connection: &mut PgConnection,
    filter: &ApprovalFilter,
    cursor: Option<i64>,
    limit: i64,
) -> Result<Vec<ApprovalRow>, StoreError> {
    let before = approvals::id.lt(cursor.unwrap_or(i64::MAX));
    let query = filtered(filter).filter(before).order(approvals::id.desc()).limit(limit);
    Ok(query.select(ApprovalRow::as_select()).load(connection)?)
}

pub fn count(connection: &mut PgConnection, filter: &ApprovalFilter) -> Result<i64, StoreError> {
    Ok(filtered(filter).count().get_result(connection)?)
}

fn filtered(filter: &ApprovalFilter) -> approvals::BoxedQuery<'static, diesel::pg::Pg> {
    let mut query = approvals::table.into_boxed();
    if !filter.statuses.is_empty() {
        query = query.filter(approvals::status.eq_any(filter.statuses.clone()));
    }
    if let Some(run_id) = filter.run_id {
        query = query.filter(approvals::run_id.eq(run_id));
    }
    if let Some(starter) = &filter.run_starter {
        query = query.filter(approvals::run_starter.eq(starter.clone()));
    }
    // The engine decides for certain; this only keeps what cannot be decided out of the list.
    if let Some(who) = &filter.decidable_by {
        query = query.filter(decidable("((open_to->'users' ? ", who));
    }
    if let Some(who) = &filter.barred_for {
        query = query.filter(decidable("NOT ((open_to->'users' ? ", who));
    }
    query
}

type Condition =
    Box<dyn BoxableExpression<approvals::table, diesel::pg::Pg, SqlType = diesel::sql_types::Bool>>;

/// `beginning` opens the condition: as it is, or negated.
fn decidable(beginning: &str, who: &Actor) -> Condition {
    use diesel::sql_types::{Array, Bool, Text};
    Box::new(
        diesel::dsl::sql::<Bool>(beginning)
            .bind::<Text, _>(who.name.clone())
            .sql(" OR open_to->'roles' ?| ")
            .bind::<Array<Text>, _>(who.roles.clone())
            .sql(" OR coalesce(open_to->'groups' ?| ")
            .bind::<Array<Text>, _>(who.groups.clone())
            .sql(", false)) AND NOT (four_eyes AND run_starter = ")
            .bind::<Text, _>(who.name.clone())
            .sql(") AND NOT votes @> jsonb_build_array(jsonb_build_object('by', ")
            .bind::<Text, _>(who.name.clone())
            .sql(")))"),
    )
}
