//! A way along the filtered log: one window after the other, or as far as the lead answers alone.

use super::lead::{self, Lead};
use super::{COUNTED, FIRST_WINDOW, LogFilter, LogOrder, LogPosition, WIDEST_WINDOW};
use crate::audit::chain::Stored;
use crate::store::error::StoreError;
use crate::store::log::{COLUMNS, Row, with_disclosures};
use crate::store::schema::activity_log;
use chrono::{DateTime, Utc};
use diesel::prelude::*;
use diesel::sql_types::{Array, BigInt, Bytea, Integer, Nullable};

/// A leaf up to this length comes with its page; a longer one is fetched when its turn comes, so that the memory of
/// a page is bounded by what is usual and not by what is possible.
const LIGHT_LEAF: i32 = 4_096;

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
    /// None: it is long, and fetched when its turn comes ([`fetch_long_leaves`]).
    pub leaf: Option<Vec<u8>>,
    /// Bytes of the leaf.
    pub length: i32,
    pub leaf_hash: Vec<u8>,
}

impl Exported {
    pub fn position(&self) -> LogPosition {
        LogPosition { at: self.at, run_id: self.run_id, stream: self.stream, seq: self.seq }
    }
}

#[derive(QueryableByName)]
struct LongLeaf {
    #[diesel(sql_type = Bytea)]
    leaf: Vec<u8>,
}

/// Fetches the leaves that were too long to come with their page. How much that is, their lengths say before.
pub fn fetch_long_leaves(connection: &mut PgConnection, entries: &mut [Exported]) -> Result<(), StoreError> {
    let missing: Vec<&mut Exported> = entries.iter_mut().filter(|entry| entry.leaf.is_none()).collect();
    if missing.is_empty() {
        return Ok(());
    }
    let keys = |pick: fn(&Exported) -> i64| missing.iter().map(|entry| pick(entry)).collect::<Vec<_>>();
    let found: Vec<LongLeaf> = diesel::sql_query(
        "SELECT log.leaf FROM unnest($1, $2, $3) WITH ORDINALITY AS at (run_id, stream, seq, place)
         JOIN activity_log AS log USING (run_id, stream, seq) ORDER BY at.place",
    )
    .bind::<Array<BigInt>, _>(keys(|entry| entry.run_id))
    .bind::<Array<BigInt>, _>(keys(|entry| entry.stream))
    .bind::<Array<BigInt>, _>(keys(|entry| entry.seq))
    .load(connection)?;
    if found.len() != missing.len() {
        return Err(StoreError::Corrupt("an entry is gone from the log while it is exported".to_owned()));
    }
    missing.into_iter().zip(found).for_each(|(entry, found)| entry.leaf = Some(found.leaf));
    Ok(())
}

/// A way along the filtered log.
pub struct Walk {
    filter: LogFilter,
    lead: Lead,
    order: LogOrder,
    pub(super) place: Option<LogPosition>,
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
    pub(super) fn entries(
        &mut self,
        connection: &mut PgConnection,
        limit: i64,
        window: i64,
    ) -> Result<Vec<Stored>, StoreError> {
        let end = self.end_of_step(connection, window)?;
        let query = self.query(end).limit(limit).order(self.lead.order(self.order));
        let rows: Vec<Row> = query.select(COLUMNS).load(connection)?;
        let rows = with_disclosures(connection, rows)?;
        self.stepped(rows.last().map(LogPosition::of), rows.len() as i64 == limit, end);
        Ok(rows)
    }

    /// The next entries for an export, at most `limit`: a short statement or two on a connection that was prepared
    /// for it ([`super::prepare_for_export`]), of which none is open afterwards. May be none although it is not over.
    pub fn exported(
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
            diesel::dsl::sql::<Integer>("octet_length(leaf)"),
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

    pub(super) fn lead_answers_alone(&self) -> bool {
        self.lead.rest(&self.filter).is_empty()
    }

    /// The `window`th entry of the lead from here. None: there are fewer.
    pub(super) fn window_end(
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
    pub(super) fn is_longer_than(
        &self,
        connection: &mut PgConnection,
        length: i64,
    ) -> Result<bool, StoreError> {
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
    pub(super) fn count_to(
        &self,
        connection: &mut PgConnection,
        end: Option<LogPosition>,
    ) -> Result<i64, StoreError> {
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

    pub(super) fn arrive(&mut self, end: Option<LogPosition>) {
        self.over = end.is_none();
        self.place = end.or(self.place);
        self.window = None;
    }
}
