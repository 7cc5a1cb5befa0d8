//! What officials filed against runs in flight.

use super::error::StoreError;
use super::schema::overrides;
use super::sequences;
use chrono::{DateTime, Utc};
use diesel::prelude::*;
use serde_json::Value;

/// Where an override stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OverrideStatus {
    /// Under review; its run is paused.
    Pending,
    /// It stands: the run was cancelled.
    Approved,
    /// The run went on with new values.
    Modified,
    /// The run went on as it was.
    Rejected,
    /// The run ended before anybody decided.
    Closed,
}

impl OverrideStatus {
    pub const ALL: [OverrideStatus; 5] = [
        OverrideStatus::Pending,
        OverrideStatus::Approved,
        OverrideStatus::Modified,
        OverrideStatus::Rejected,
        OverrideStatus::Closed,
    ];

    pub fn as_str(self) -> &'static str {
        match self {
            OverrideStatus::Pending => "pending",
            OverrideStatus::Approved => "approved",
            OverrideStatus::Modified => "modified",
            OverrideStatus::Rejected => "rejected",
            OverrideStatus::Closed => "closed",
        }
    }

    pub fn parse(text: &str) -> Option<OverrideStatus> {
        OverrideStatus::ALL.into_iter().find(|status| status.as_str() == text)
    }
}

#[derive(Debug, Clone, PartialEq, Queryable, Selectable)]
#[diesel(table_name = overrides)]
pub struct OverrideRow {
    pub run_id: i64,
    pub id: i64,
    /// `pause`, `cancel` or `modify`.
    pub action: String,
    pub status: String,
    pub protocol_name: String,
    pub run_starter: String,
    pub filed_by: String,
    pub reason: String,
    pub new_value: Option<Value>,
    pub filed_at: DateTime<Utc>,
    pub review_until: DateTime<Utc>,
    pub decided_by: Option<String>,
    pub decided_at: Option<DateTime<Utc>>,
    /// Why it was decided so.
    pub decision: Option<String>,
    /// What the payload got.
    pub merged: Option<Value>,
}

/// What a reader asked for.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct OverrideFilter {
    /// Empty: all.
    pub statuses: Vec<OverrideStatus>,
    pub run_id: Option<i64>,
    /// Only those of runs that this user started.
    pub run_starter: Option<String>,
}

/// Draws the number of a new one.
pub fn draw_id(connection: &mut PgConnection) -> Result<i64, StoreError> {
    let drawn = sequences::draw(connection, "override_ids", 1)?;
    drawn.first().copied().ok_or_else(|| StoreError::Corrupt("a sequence gave no number".to_owned()))
}

pub fn get(connection: &mut PgConnection, id: i64) -> Result<Option<OverrideRow>, StoreError> {
    let found = overrides::table.filter(overrides::id.eq(id)).select(OverrideRow::as_select());
    Ok(found.first(connection).optional()?)
}

/// Newest first, from before `cursor`.
pub fn list(
    connection: &mut PgConnection,
    filter: &OverrideFilter,
    cursor: Option<i64>,
    limit: i64,
) -> Result<Vec<OverrideRow>, StoreError> {
    let before = overrides::id.lt(cursor.unwrap_or(i64::MAX));
    let query = filtered(filter).filter(before).order(overrides::id.desc()).limit(limit);
    Ok(query.select(OverrideRow::as_select()).load(connection)?)
}

/// How many the list with this filter has.
pub fn count(connection: &mut PgConnection, filter: &OverrideFilter) -> Result<i64, StoreError> {
    Ok(filtered(filter).count().get_result(connection)?)
}

fn filtered(filter: &OverrideFilter) -> overrides::BoxedQuery<'static, diesel::pg::Pg> {
    let mut query = overrides::table.into_boxed();
    if !filter.statuses.is_empty() {
        let statuses: Vec<&'static str> = filter.statuses.iter().map(|status| status.as_str()).collect();
        query = query.filter(overrides::status.eq_any(statuses));
    }
    if let Some(run_id) = filter.run_id {
        query = query.filter(overrides::run_id.eq(run_id));
    }
    if let Some(starter) = &filter.run_starter {
        query = query.filter(overrides::run_starter.eq(starter.clone()));
    }
    query
}
