//! Requests to erase sealed values, and what a second person made of them.
//!
//! Erasing takes the texts of the disclosures and the lineage's salt for good: what the log says stays as it is, and
//! every proof with it.

use super::error::StoreError;
use super::schema::{disclosures, redactions, runs};
use chrono::{DateTime, Utc};
use diesel::prelude::*;
use diesel::sql_types::BigInt;
use std::time::Duration;

/// Where a request stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RedactionStatus {
    /// Somebody else must decide.
    Pending,
    /// The values are erased.
    Approved,
    /// Nothing was erased.
    Rejected,
}

impl RedactionStatus {
    pub const ALL: [RedactionStatus; 3] =
        [RedactionStatus::Pending, RedactionStatus::Approved, RedactionStatus::Rejected];

    pub fn as_str(self) -> &'static str {
        match self {
            RedactionStatus::Pending => "pending",
            RedactionStatus::Approved => "approved",
            RedactionStatus::Rejected => "rejected",
        }
    }

    pub fn parse(text: &str) -> Option<RedactionStatus> {
        RedactionStatus::ALL.into_iter().find(|status| status.as_str() == text)
    }
}

#[derive(Debug, Clone, PartialEq, Queryable, Selectable)]
#[diesel(table_name = redactions)]
pub struct RedactionRow {
    pub run_id: i64,
    pub id: i64,
    /// `payload.applicant.ssn`.
    pub path: String,
    pub status: String,
    pub protocol_name: String,
    pub run_starter: String,
    pub reason: String,
    pub filed_by: String,
    pub filed_at: DateTime<Utc>,
    pub decided_by: Option<String>,
    pub decided_at: Option<DateTime<Utc>>,
    /// Why it was decided so.
    pub decision: Option<String>,
    /// How many disclosures were erased.
    pub erased: Option<i64>,
}

/// A request as it is filed.
#[derive(Debug, Clone, Insertable)]
#[diesel(table_name = redactions)]
pub struct NewRedaction {
    pub run_id: i64,
    pub path: String,
    pub status: String,
    pub protocol_name: String,
    pub run_starter: String,
    pub reason: String,
    pub filed_by: String,
}

/// What a reader asked for.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct RedactionFilter {
    /// Empty: all.
    pub statuses: Vec<RedactionStatus>,
    pub run_id: Option<i64>,
}

/// What of a run lies at or below a path.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Matching {
    /// The exact paths.
    pub paths: Vec<String>,
    /// Disclosures that are there.
    pub present: i64,
    /// Those that are erased already.
    pub erased: i64,
    /// A path above, which is sealed as a whole.
    pub inside: Option<String>,
}

/// What an approval came to.
#[derive(Debug, Clone, PartialEq)]
pub enum Decided {
    Done(Box<RedactionRow>),
    /// Somebody else was first.
    Before(Box<RedactionRow>),
    /// A run of the lineage is not over.
    LineageOpen(i64),
}

/// Files a request. None: one for the same value is open.
pub fn file(connection: &mut PgConnection, new: &NewRedaction) -> Result<Option<RedactionRow>, StoreError> {
    Ok(diesel::insert_into(redactions::table)
        .values(new)
        .on_conflict_do_nothing()
        .returning(RedactionRow::as_returning())
        .get_result(connection)
        .optional()?)
}

pub fn get(connection: &mut PgConnection, id: i64) -> Result<Option<RedactionRow>, StoreError> {
    let found = redactions::table.filter(redactions::id.eq(id)).select(RedactionRow::as_select());
    Ok(found.first(connection).optional()?)
}

/// All of a run's, oldest first.
pub fn of_run(connection: &mut PgConnection, run_id: i64) -> Result<Vec<RedactionRow>, StoreError> {
    let query = redactions::table.filter(redactions::run_id.eq(run_id)).order(redactions::id.asc());
    Ok(query.select(RedactionRow::as_select()).load(connection)?)
}

/// Newest first, from before `cursor`.
pub fn list(
    connection: &mut PgConnection,
    filter: &RedactionFilter,
    cursor: Option<i64>,
    limit: i64,
) -> Result<Vec<RedactionRow>, StoreError> {
    let before = redactions::id.lt(cursor.unwrap_or(i64::MAX));
    let query = filtered(filter).filter(before).order(redactions::id.desc()).limit(limit);
    Ok(query.select(RedactionRow::as_select()).load(connection)?)
}

/// How many the list with this filter has.
pub fn count(connection: &mut PgConnection, filter: &RedactionFilter) -> Result<i64, StoreError> {
    Ok(filtered(filter).count().get_result(connection)?)
}

fn filtered(filter: &RedactionFilter) -> redactions::BoxedQuery<'static, diesel::pg::Pg> {
    let mut query = redactions::table.into_boxed();
    if !filter.statuses.is_empty() {
        let statuses: Vec<&'static str> = filter.statuses.iter().map(|status| status.as_str()).collect();
        query = query.filter(redactions::status.eq_any(statuses));
    }
    if let Some(run_id) = filter.run_id {
        query = query.filter(redactions::run_id.eq(run_id));
    }
    query
}

/// What of a run is sealed at a path and below it; `*` in it is any key.
pub fn matching(connection: &mut PgConnection, run_id: i64, path: &str) -> Result<Matching, StoreError> {
    let rows: Vec<(String, bool)> = disclosures::table
        .filter(disclosures::run_id.eq(run_id))
        .select((disclosures::path, disclosures::disclosure.is_not_null()))
        .load(connection)?;
    let wanted: Vec<&str> = path.split('.').collect();
    let fits = |(key, at): (&&str, &str)| *key == "*" || *key == at;
    let mut found = Matching::default();
    for (path, present) in rows {
        let keys = path.split('.').count();
        if !wanted.iter().zip(path.split('.')).all(fits) {
            continue;
        }
        if keys < wanted.len() {
            found.inside = Some(path);
            continue;
        }
        found.present += i64::from(present);
        found.erased += i64::from(!present);
        if !found.paths.contains(&path) {
            found.paths.push(path);
        }
    }
    Ok(found)
}

/// Decides a request. Approved: erases what lies at its path, and the salt of the lineage. In the transaction of the
/// caller.
pub fn decide(
    connection: &mut PgConnection,
    id: i64,
    by: &str,
    approve: bool,
    reason: &str,
) -> Result<Decided, StoreError> {
    let row: RedactionRow = redactions::table
        .filter(redactions::id.eq(id))
        .select(RedactionRow::as_select())
        .for_update()
        .first(connection)?;
    if row.status != RedactionStatus::Pending.as_str() {
        return Ok(Decided::Before(Box::new(row)));
    }
    let erased = if approve {
        match erase(connection, &row)? {
            Erased::Values(erased) => Some(erased),
            Erased::LineageOpen(run) => return Ok(Decided::LineageOpen(run)),
        }
    } else {
        None
    };
    let status = if approve { RedactionStatus::Approved } else { RedactionStatus::Rejected };
    let decided = diesel::update(redactions::table.filter(redactions::id.eq(id)))
        .set((
            redactions::status.eq(status.as_str()),
            redactions::decided_by.eq(by),
            redactions::decided_at.eq(diesel::dsl::now),
            redactions::decision.eq(reason),
            redactions::erased.eq(erased),
        ))
        .returning(RedactionRow::as_returning())
        .get_result(connection)?;
    Ok(Decided::Done(Box::new(decided)))
}

enum Erased {
    Values(i64),
    LineageOpen(i64),
}

fn erase(connection: &mut PgConnection, row: &RedactionRow) -> Result<Erased, StoreError> {
    let lineage: i64 = runs::table.find(row.run_id).select(runs::lineage).first(connection)?;
    // In the order in which the committer locks them; a rerun locks the first.
    let members: Vec<(i64, bool)> = runs::table
        .filter(runs::lineage.eq(lineage))
        .order(runs::run_id.asc())
        .select((runs::run_id, runs::closed_at.is_null()))
        .for_update()
        .load(connection)?;
    if let Some((open, _)) = members.iter().find(|(_, open)| *open) {
        return Ok(Erased::LineageOpen(*open));
    }
    let paths = matching(connection, row.run_id, &row.path)?.paths;
    let here = disclosures::table
        .filter(disclosures::run_id.eq(row.run_id).and(disclosures::path.eq_any(paths)))
        .filter(disclosures::disclosure.is_not_null());
    let erased = diesel::update(here)
        .set((
            disclosures::disclosure.eq(None::<String>),
            disclosures::erased_at.eq(diesel::dsl::now),
            disclosures::redaction_id.eq(row.id),
        ))
        .execute(connection)?;
    diesel::update(runs::table.filter(runs::lineage.eq(lineage)))
        .set((runs::salt.eq(None::<Vec<u8>>), runs::erasures.eq(runs::erasures + 1)))
        .execute(connection)?;
    erase_events(connection, row.id)?;
    Ok(Erased::Values(erased as i64))
}

/// The outside events that brought what is erased: they are kept for a while beside the log. One that another step
/// still has to get stays until then.
fn erase_events(connection: &mut PgConnection, redaction: i64) -> Result<(), StoreError> {
    diesel::sql_query(
        r#"UPDATE events e SET payload = '"erased"', key = NULL, body_hash = NULL
         FROM disclosures d
         JOIN activity_log l ON l.run_id = d.run_id AND l.stream = d.stream AND l.seq = d.seq
         WHERE d.redaction_id = $1 AND l.type = 'event.received'
           AND e.id = (convert_from(l.leaf, 'UTF8')::json -> 'detail' ->> 'event')::bigint
           AND NOT EXISTS (SELECT FROM event_waits w WHERE w.event_id = e.id)"#,
    )
    .bind::<BigInt, _>(redaction)
    .execute(connection)?;
    Ok(())
}

/// The runs of which something was erased within the last while, with the others of their lineages.
pub fn erased_lately(connection: &mut PgConnection, within: Duration) -> Result<Vec<i64>, StoreError> {
    #[derive(QueryableByName)]
    struct Erased {
        #[diesel(sql_type = BigInt)]
        run_id: i64,
    }
    let rows: Vec<Erased> = diesel::sql_query(
        "SELECT DISTINCT o.run_id FROM redactions d
         JOIN runs r ON r.run_id = d.run_id JOIN runs o ON o.lineage = r.lineage
         WHERE d.status = 'approved' AND d.decided_at > clock_timestamp() - make_interval(secs => $1)",
    )
    .bind::<BigInt, _>(i64::try_from(within.as_secs()).unwrap_or(i64::MAX))
    .load(connection)?;
    Ok(rows.into_iter().map(|row| row.run_id).collect())
}

/// The runs of a lineage.
pub fn lineage_of(connection: &mut PgConnection, run_id: i64) -> Result<Vec<i64>, StoreError> {
    let lineage: i64 = runs::table.find(run_id).select(runs::lineage).first(connection)?;
    Ok(runs::table.filter(runs::lineage.eq(lineage)).select(runs::run_id).load(connection)?)
}
