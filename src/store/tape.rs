//! The recording of one run, as its player needs it: what is worth a mark, when nothing happened, what comes next.

use super::error::StoreError;
use super::schema::activity_log::dsl;
use chrono::{DateTime, TimeDelta, Utc};
use diesel::prelude::*;
use diesel::sql_types::{BigInt, Interval, Timestamptz};

/// The entries of these types, up to `until`, in order, at most `limit`: their numbers.
pub fn marked(
    connection: &mut PgConnection,
    run_id: i64,
    until: i64,
    types: &[&str],
    limit: i64,
) -> Result<Vec<i64>, StoreError> {
    // The index of the primary key: the run's own entries are gone through, without what they say.
    Ok(dsl::activity_log
        .filter(dsl::run_id.eq(run_id).and(dsl::stream.eq(0)).and(dsl::seq.le(until)))
        .filter(dsl::type_.eq_any(types))
        .order(dsl::seq.asc())
        .select(dsl::seq)
        .limit(limit)
        .load(connection)?)
}

/// A time in which nothing happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Idle {
    /// The entry that ended it.
    pub seq: i64,
    pub lasted: TimeDelta,
}

/// Times longer than this in which nothing happened, up to `until`, in order, at most `limit`.
pub fn idle(
    connection: &mut PgConnection,
    run_id: i64,
    until: i64,
    longer_than: TimeDelta,
    limit: i64,
) -> Result<Vec<Idle>, StoreError> {
    #[derive(QueryableByName)]
    struct Row {
        #[diesel(sql_type = BigInt)]
        seq: i64,
        #[diesel(sql_type = Timestamptz)]
        t: DateTime<Utc>,
        #[diesel(sql_type = Timestamptz)]
        before: DateTime<Utc>,
    }
    let rows: Vec<Row> = diesel::sql_query(
        "SELECT seq, t, before FROM (
           SELECT seq, t, lag(t) OVER (ORDER BY seq) AS before FROM activity_log
           WHERE run_id = $1 AND stream = 0 AND seq <= $2) AS entries
         WHERE t - before > $3 ORDER BY seq LIMIT $4",
    )
    .bind::<BigInt, _>(run_id)
    .bind::<BigInt, _>(until)
    .bind::<Interval, _>(longer_than)
    .bind::<BigInt, _>(limit)
    .load(connection)?;
    Ok(rows.into_iter().map(|row| Idle { seq: row.seq, lasted: row.t - row.before }).collect())
}

/// When these entries came, from this one on, in order, at most `limit`.
pub fn times(
    connection: &mut PgConnection,
    run_id: i64,
    from: i64,
    limit: i64,
) -> Result<Vec<DateTime<Utc>>, StoreError> {
    Ok(dsl::activity_log
        .filter(dsl::run_id.eq(run_id).and(dsl::stream.eq(0)).and(dsl::seq.ge(from)))
        .order(dsl::seq.asc())
        .select(dsl::t)
        .limit(limit)
        .load(connection)?)
}
