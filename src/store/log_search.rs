//! The activity log, searched: pages of the filtered log, how many entries there are, and the export's pages.
//!
//! The log has no end, so nothing here reads it to its end in one statement. A [`Walk`] (`walk.rs`) goes along one
//! index, the *lead* (`lead.rs`): what the lead answers alone is read at once; what else was asked for is looked for
//! in windows of so many entries along the lead, until the page is full or the time is up. No statement here waits
//! for anybody, and none is left open between two pages.

use super::error::StoreError;
use super::schema::activity_log;
use crate::audit::chain::Stored;
use chrono::{DateTime, Utc};
use diesel::connection::SimpleConnection;
use diesel::prelude::*;
use diesel::sql_types::Timestamptz;
use std::time::{Duration, Instant};

mod lead;
mod walk;

pub use walk::{Exported, Walk, fetch_long_leaves};

/// Up to here entries are counted.
pub const COUNTED: i64 = 10_000;
/// How long counting may take, on top of its first window.
const COUNT_BUDGET: Duration = Duration::from_millis(5);
/// Entries of the lead that are looked through at a time: few at first, since most pages fill at once.
const FIRST_WINDOW: i64 = 2_000;
const WIDEST_WINDOW: i64 = 40_000;

/// What a reader asked for. Empty: everything.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LogFilter {
    pub run_id: Option<i64>,
    pub actor: Option<String>,
    /// A step's path, or its task's id: `draft_letter` finds `draft_letter#2` too.
    pub step: Option<String>,
    pub type_name: Option<String>,
    pub status: Option<String>,
    pub from: Option<DateTime<Utc>>,
    /// Entries before it.
    pub to: Option<DateTime<Utc>>,
    /// Each of them anywhere in the entry, in capital or small letters.
    pub texts: Vec<String>,
}

impl LogFilter {
    pub fn is_empty(&self) -> bool {
        *self == LogFilter::default()
    }
}

/// The place of an entry in the order of the log page: time, then run, stream and seq.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LogPosition {
    pub at: DateTime<Utc>,
    pub run_id: i64,
    pub stream: i64,
    pub seq: i64,
}

impl LogPosition {
    pub fn of(entry: &Stored) -> LogPosition {
        LogPosition { at: entry.at, run_id: entry.run_id, stream: entry.stream, seq: entry.seq }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogOrder {
    OldestFirst,
    NewestFirst,
}

/// A page of what was found.
#[derive(Debug, PartialEq)]
pub struct LogPage {
    pub entries: Vec<Stored>,
    /// Some: the time was up before the page was full. Older entries than this were not looked at; go on from here.
    pub searched_to: Option<LogPosition>,
}

/// How many entries there are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Count {
    Exactly(i64),
    /// Counting was given up here.
    AtLeast(i64),
}

/// One page, newest first, from after `cursor`. `budget`: how long it may look for entries that are rare.
pub fn page(
    connection: &mut PgConnection,
    filter: &LogFilter,
    cursor: Option<LogPosition>,
    limit: i64,
    budget: Duration,
) -> Result<LogPage, StoreError> {
    along_an_index(connection, |connection| fill_page(connection, filter, cursor, limit, budget))
}

fn fill_page(
    connection: &mut PgConnection,
    filter: &LogFilter,
    cursor: Option<LogPosition>,
    limit: i64,
    budget: Duration,
) -> Result<LogPage, StoreError> {
    let (began, mut window) = (Instant::now(), FIRST_WINDOW);
    let mut walk = Walk::begin(connection, filter, LogOrder::NewestFirst, cursor)?;
    let mut entries: Vec<Stored> = Vec::new();
    loop {
        let rows = walk.entries(connection, limit - entries.len() as i64, window)?;
        entries.extend(rows);
        if walk.is_over() || entries.len() as i64 >= limit {
            return Ok(LogPage { entries, searched_to: None });
        }
        if began.elapsed() >= budget {
            return Ok(LogPage { entries, searched_to: walk.place });
        }
        window = (window * 2).min(WIDEST_WINDOW);
    }
}

/// How many entries the filter finds, at most [`COUNTED`]: the log has no end.
pub fn count(connection: &mut PgConnection, filter: &LogFilter) -> Result<Count, StoreError> {
    along_an_index(connection, |connection| count_along(connection, filter))
}

fn count_along(connection: &mut PgConnection, filter: &LogFilter) -> Result<Count, StoreError> {
    let mut walk = Walk::begin(connection, filter, LogOrder::NewestFirst, None)?;
    if walk.lead_answers_alone() {
        return Ok(match walk.is_longer_than(connection, COUNTED)? {
            true => Count::AtLeast(COUNTED + 1),
            false => Count::Exactly(walk.count_to(connection, None)?),
        });
    }
    let (began, mut window, mut found) = (Instant::now(), FIRST_WINDOW, 0);
    loop {
        let end = walk.window_end(connection, window)?;
        found += walk.count_to(connection, end)?;
        walk.arrive(end);
        if found > COUNTED {
            return Ok(Count::AtLeast(COUNTED + 1));
        }
        if walk.is_over() {
            return Ok(Count::Exactly(found));
        }
        if began.elapsed() >= COUNT_BUDGET {
            return Ok(Count::AtLeast(found));
        }
        window = (window * 2).min(WIDEST_WINDOW);
    }
}

/// The end of what there is now: just after the newest entry, and not before the database's clock.
pub fn present(connection: &mut PgConnection) -> Result<DateTime<Utc>, StoreError> {
    let newest: Option<DateTime<Utc>> = activity_log::table
        .order(activity_log::t.desc())
        .select(activity_log::t)
        .first(connection)
        .optional()?;
    let now = diesel::select(diesel::dsl::sql::<Timestamptz>("clock_timestamp()"));
    let now: DateTime<Utc> = now.get_result(connection)?;
    Ok(newest.map_or(now, |newest| now.max(newest + chrono::TimeDelta::microseconds(1))))
}

/// Plans go along one index: the statistics of a log that grows are always old, and a plan that gathers and sorts
/// everything with a value reads far more than a page.
fn along_an_index<T>(
    connection: &mut PgConnection,
    work: impl FnOnce(&mut PgConnection) -> Result<T, StoreError>,
) -> Result<T, StoreError> {
    super::transaction(connection, |connection| {
        connection.batch_execute("SET LOCAL enable_bitmapscan = off; SET LOCAL enable_sort = off")?;
        work(connection)
    })
}

/// The same for a connection that does nothing else: so an export's page is one statement and no transaction.
pub fn prepare_for_export(connection: &mut PgConnection) -> Result<(), StoreError> {
    Ok(connection.batch_execute("SET enable_bitmapscan = off; SET enable_sort = off")?)
}
