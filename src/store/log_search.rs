//! The activity log, searched: pages of the filtered log, how many entries there are, and the export's pages.
//!
//! The log has no end, so nothing here reads it to its end in one statement. A [`Walk`] goes along one index, the
//! *lead* (`lead.rs`): what the lead answers alone is read at once; what else was asked for is looked for in windows
//! of so many entries along the lead, until the page is full or the time is up. No statement here waits for
//! anybody, and none is left open between two pages.

use super::error::StoreError;
use super::schema::activity_log;
use crate::audit::chain::Stored;
use chrono::{DateTime, Utc};
use diesel::connection::SimpleConnection;
use diesel::prelude::*;
use diesel::sql_types::{Bytea, Integer, Nullable, Timestamptz};
use lead::Lead;
use std::time::{Duration, Instant};

mod lead;

/// Up to here entries are counted.
pub const COUNTED: i64 = 10_000;
/// How long counting may take, on top of its first window.
const COUNT_BUDGET: Duration = Duration::from_millis(15);
/// Entries of the lead that are looked through at a time: few at first, since most pages fill at once.
const FIRST_WINDOW: i64 = 2_000;
const WIDEST_WINDOW: i64 = 40_000;
/// A leaf up to this length comes with its page; a longer one is fetched when its turn comes, so that the memory of
/// a page is bounded by what is usual and not by what is possible.
const LIGHT_LEAF: i32 = 4_096;

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
    MoreThan(i64),
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
            true => Count::MoreThan(COUNTED),
            false => Count::Exactly(walk.count_to(connection, None)?),
        });
    }
    let (began, mut window, mut found) = (Instant::now(), FIRST_WINDOW, 0);
    loop {
        let end = walk.window_end(connection, window)?;
        found += walk.count_to(connection, end)?;
        walk.arrive(end);
        if found > COUNTED {
            return Ok(Count::MoreThan(COUNTED));
        }
        if walk.is_over() {
            return Ok(Count::Exactly(found));
        }
        if began.elapsed() >= COUNT_BUDGET {
            return Ok(Count::MoreThan(found));
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

/// An entry as an export needs it.
#[derive(Debug, Queryable)]
pub struct Exported {
    pub run_id: i64,
    pub stream: i64,
    pub seq: i64,
    pub at: DateTime<Utc>,
    pub actor: String,
    pub type_name: String,
    pub step: Option<String>,
    pub attempt: Option<i32>,
    pub status: Option<String>,
    /// None: it is long, and fetched when its turn comes ([`long_leaf`]).
    pub leaf: Option<Vec<u8>>,
    pub leaf_hash: Vec<u8>,
}

impl Exported {
    pub fn position(&self) -> LogPosition {
        LogPosition { at: self.at, run_id: self.run_id, stream: self.stream, seq: self.seq }
    }
}

/// A leaf that was too long to come with its page.
pub fn long_leaf(connection: &mut PgConnection, entry: &Exported) -> Result<Vec<u8>, StoreError> {
    let key = (entry.run_id, entry.stream, entry.seq);
    Ok(activity_log::table.find(key).select(activity_log::leaf).first(connection)?)
}

/// A way along the filtered log.
pub struct Walk {
    filter: LogFilter,
    lead: Lead,
    order: LogOrder,
    place: Option<LogPosition>,
    /// Where the window ends that is being looked through: it may take several steps.
    window: Option<LogPosition>,
    over: bool,
}

impl Walk {
    /// From after `place`. Asks the database which way is short, when there are several.
    pub fn begin(
        connection: &mut PgConnection,
        filter: &LogFilter,
        order: LogOrder,
        place: Option<LogPosition>,
    ) -> Result<Walk, StoreError> {
        let on = |lead| Walk { filter: filter.clone(), lead, order, place, window: None, over: false };
        let mut ways = Lead::of(filter).into_iter().map(on);
        let first = ways.next().unwrap_or_else(|| on(Lead::Time));
        for way in ways {
            if !first.is_longer_than(connection, FIRST_WINDOW)? {
                break;
            }
            if !way.is_longer_than(connection, FIRST_WINDOW)? {
                return Ok(way);
            }
        }
        Ok(first)
    }

    /// The end was reached: there is nothing after [`Walk::place`].
    pub fn is_over(&self) -> bool {
        self.over
    }

    /// The next entries, at most `limit`, from at most `window` entries of the lead. May be none and not over.
    fn entries(
        &mut self,
        connection: &mut PgConnection,
        limit: i64,
        window: i64,
    ) -> Result<Vec<Stored>, StoreError> {
        let end = self.end_of_step(connection, window)?;
        let query = self.query(end).limit(limit).order(self.lead.order(self.order));
        let rows: Vec<super::log::Row> = query.load(connection)?;
        let rows: Vec<Stored> = rows.into_iter().map(Stored::from).collect();
        self.stepped(rows.last().map(LogPosition::of), rows.len() as i64 == limit, end);
        Ok(rows)
    }

    /// The next entries for an export, at most `limit`: short statements, of which none is open afterwards. May be
    /// none although it is not over.
    pub fn exported(
        &mut self,
        connection: &mut PgConnection,
        limit: i64,
    ) -> Result<Vec<Exported>, StoreError> {
        along_an_index(connection, |connection| self.step_of_export(connection, limit))
    }

    fn step_of_export(
        &mut self,
        connection: &mut PgConnection,
        limit: i64,
    ) -> Result<Vec<Exported>, StoreError> {
        use activity_log::dsl;
        let end = self.end_of_step(connection, WIDEST_WINDOW)?;
        let leaf = diesel::dsl::sql::<Nullable<Bytea>>("CASE WHEN octet_length(leaf) <= ")
            .bind::<Integer, _>(LIGHT_LEAF)
            .sql(" THEN leaf END");
        let query = self.query(end).limit(limit).order(self.lead.order(self.order)).select((
            dsl::run_id,
            dsl::stream,
            dsl::seq,
            dsl::t,
            dsl::actor,
            dsl::type_,
            dsl::step,
            dsl::attempt,
            dsl::status,
            leaf,
            dsl::leaf_hash,
        ));
        let rows: Vec<Exported> = query.load(connection)?;
        self.stepped(rows.last().map(Exported::position), rows.len() as i64 == limit, end);
        Ok(rows)
    }

    /// Where a step must end because not everything on the way fits. None: the lead says all, or its end is near.
    fn end_of_step(
        &mut self,
        connection: &mut PgConnection,
        window: i64,
    ) -> Result<Option<LogPosition>, StoreError> {
        if self.window.is_none() && !self.lead_answers_alone() {
            self.window = self.window_end(connection, window)?;
        }
        Ok(self.window)
    }

    fn lead_answers_alone(&self) -> bool {
        self.lead.rest(&self.filter).is_empty()
    }

    /// The `window`th entry of the lead from here. None: there are fewer.
    fn window_end(
        &self,
        connection: &mut PgConnection,
        window: i64,
    ) -> Result<Option<LogPosition>, StoreError> {
        use activity_log::dsl;
        let ahead = self.lead.ahead(&self.filter, self.order, self.place);
        let found: Option<(DateTime<Utc>, i64, i64, i64)> = ahead
            .order(self.lead.order(self.order))
            .select((dsl::t, dsl::run_id, dsl::stream, dsl::seq))
            .offset(window - 1)
            .limit(1)
            .first(connection)
            .optional()?;
        Ok(found.map(|(at, run_id, stream, seq)| LogPosition { at, run_id, stream, seq }))
    }

    /// Whether the lead has more entries than this, from the index alone.
    fn is_longer_than(&self, connection: &mut PgConnection, length: i64) -> Result<bool, StoreError> {
        let ahead = self.lead.ahead(&self.filter, self.order, self.place);
        let one = diesel::dsl::sql::<Integer>("1");
        let found: Option<i32> = ahead
            .order(self.lead.index_order(self.order))
            .select(one)
            .offset(length)
            .limit(1)
            .first(connection)
            .optional()?;
        Ok(found.is_some())
    }

    /// How many fit up to `end`, at most one more than [`COUNTED`]. In the order of the lead, without which another
    /// index may be taken.
    fn count_to(&self, connection: &mut PgConnection, end: Option<LogPosition>) -> Result<i64, StoreError> {
        let one = diesel::dsl::sql::<Integer>("1");
        let query = self.query(end).order(self.lead.index_order(self.order)).select(one).limit(COUNTED + 1);
        let found: Vec<i32> = query.load(connection)?;
        Ok(found.len() as i64)
    }

    /// What fits, from here up to and with `end`.
    fn query(&self, end: Option<LogPosition>) -> lead::Query {
        let mut query = self.lead.ahead(&self.filter, self.order, self.place);
        if let Some(end) = end {
            query = query.filter(lead::up_to(self.order, end));
        }
        self.lead.rest(&self.filter).into_iter().fold(query, |query, condition| query.filter(condition))
    }

    fn stepped(&mut self, last: Option<LogPosition>, full: bool, end: Option<LogPosition>) {
        if full && last.is_some() {
            self.place = last;
        } else {
            self.arrive(end);
        }
    }

    fn arrive(&mut self, end: Option<LogPosition>) {
        self.over = end.is_none();
        self.place = end.or(self.place);
        self.window = None;
    }
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
