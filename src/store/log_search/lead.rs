//! The indexes that a search can go along, and the conditions in SQL.
//!
//! An index of `activity_log` costs every run that is completed, so each holds only what is rare enough to be worth
//! it: the values named in [`COMMON`] are found by going back in time. Its first column and its predicate are
//! repeated here letter by letter, as in the migration that makes it: only then does Postgres take it.

use super::{LogFilter, LogOrder, LogPosition};
use crate::store::log::like_literal;
use crate::store::schema::activity_log;
use chrono::{DateTime, Utc};
use diesel::expression::SqlLiteral;
use diesel::pg::Pg;
use diesel::prelude::*;
use diesel::sql_types::{BigInt, Bool, Nullable, Text, Timestamptz};

pub type Query = activity_log::BoxedQuery<'static, Pg>;
pub type Condition = Box<dyn BoxableExpression<activity_log::table, Pg, SqlType = Bool>>;

const ACTOR: Index = Index { key: "actor", holds: "actor <> 'HMS-ACT'" };
const STEP: Index = Index { key: "split_part(step, '#', 1)", holds: "step IS NOT NULL" };
const TYPE: Index =
    Index { key: "type", holds: "type NOT IN ('step.started', 'step.done', 'run.queued', 'run.closed')" };
const STATUS: Index =
    Index { key: "status", holds: "status NOT IN ('running', 'done', 'queued', 'completed')" };

/// What most entries are: of every dozen entries some have these.
const COMMON: [(&Index, &[&str]); 3] = [
    (&ACTOR, &["HMS-ACT"]),
    (&TYPE, &["step.started", "step.done", "run.queued", "run.closed"]),
    (&STATUS, &["running", "done", "queued", "completed"]),
];

/// A b-tree on `(key, t)` over the entries that its predicate names.
#[derive(Debug, PartialEq, Eq)]
pub struct Index {
    key: &'static str,
    holds: &'static str,
}

/// The index that a search goes along.
#[derive(Debug, Clone)]
pub enum Lead {
    /// All entries, by time.
    Time,
    /// The entries of a run, by seq. Run 0 goes by time.
    Run(i64),
    /// The entries with a value in a column, by time.
    Value(&'static Index, String),
}

impl Lead {
    /// The ways that answer a part of the filter, the likely shortest first.
    pub fn of(filter: &LogFilter) -> Vec<Lead> {
        if let Some(run) = filter.run_id.filter(|run| *run > 0) {
            return vec![Lead::Run(run)];
        }
        let values = [
            (&ACTOR, filter.actor.clone()),
            (&TYPE, filter.type_name.clone()),
            (&STATUS, filter.status.clone()),
            (&STEP, filter.step.as_deref().map(|step| base(step).to_owned())),
        ];
        let held = |index: &'static Index, value: &str| {
            !COMMON.iter().any(|(of, common)| *of == index && common.contains(&value))
        };
        values
            .into_iter()
            .filter_map(|(index, value)| Some((index, value?)))
            .filter(|(index, value)| held(index, value))
            .map(|(index, value)| Lead::Value(index, value))
            .collect()
    }

    /// The entries of the lead beyond `place`, within the filter's span of time.
    pub fn ahead(&self, filter: &LogFilter, order: LogOrder, place: Option<LogPosition>) -> Query {
        use activity_log::dsl;
        let mut query = activity_log::table.into_boxed();
        if let Some(from) = filter.from {
            query = query.filter(dsl::t.ge(from));
        }
        if let Some(to) = filter.to {
            query = query.filter(dsl::t.lt(to));
        }
        if let Some(place) = place {
            query = query.filter(compared(past(order), place));
        }
        match self {
            Lead::Time => match filter.run_id {
                Some(run) => query.filter(dsl::run_id.eq(run)),
                None => query,
            },
            Lead::Run(run) => {
                let seq = place.filter(|place| place.run_id == *run).map(|place| place.seq);
                let query = query.filter(dsl::run_id.eq(*run).and(dsl::stream.eq(0)));
                match (seq, order) {
                    (None, _) => query,
                    (Some(seq), LogOrder::OldestFirst) => query.filter(dsl::seq.gt(seq)),
                    (Some(seq), LogOrder::NewestFirst) => query.filter(dsl::seq.lt(seq)),
                }
            }
            Lead::Value(index, value) => {
                let (low, high) = match order {
                    LogOrder::OldestFirst => (place.map(|place| place.at).max(filter.from), filter.to),
                    LogOrder::NewestFirst => {
                        let before = place.map(|place| place.at);
                        let to = filter.to;
                        (filter.from, before.zip(to).map_or(before.or(to), |(a, b)| Some(a.min(b))))
                    }
                };
                let query = query.filter(index.between(value, low, high));
                match filter.run_id {
                    Some(run) => query.filter(dsl::run_id.eq(run)),
                    None => query,
                }
            }
        }
    }

    /// The order of the entries along the lead, which is the order of the page. It begins with the index's own first
    /// column, although that is the same everywhere: so Postgres can take no other index for it, however rare or
    /// common it holds the value to be.
    pub fn order(&self, order: LogOrder) -> SqlLiteral<Text> {
        match self {
            Lead::Time => ordered(&["t", "run_id", "stream", "seq"], order),
            Lead::Run(_) => ordered(&["run_id", "stream", "seq"], order),
            Lead::Value(index, _) => ordered(&[index.key, "t", "run_id", "stream", "seq"], order),
        }
    }

    /// The same as far as the index itself has it.
    pub fn index_order(&self, order: LogOrder) -> SqlLiteral<Text> {
        match self {
            Lead::Time | Lead::Run(_) => self.order(order),
            Lead::Value(index, _) => ordered(&[index.key, "t"], order),
        }
    }

    /// What the lead does not answer, and must be looked for on the way.
    pub fn rest(&self, filter: &LogFilter) -> Vec<Condition> {
        use activity_log::dsl;
        let answers = |index: &Index| matches!(self, Lead::Value(of, _) if **of == *index);
        let mut rest: Vec<Condition> = Vec::new();
        if let Some(actor) = filter.actor.clone().filter(|_| !answers(&ACTOR)) {
            rest.push(Box::new(dsl::actor.eq(actor)));
        }
        if let Some(type_name) = filter.type_name.clone().filter(|_| !answers(&TYPE)) {
            rest.push(Box::new(dsl::type_.eq(type_name)));
        }
        if let Some(status) = filter.status.clone().filter(|_| !answers(&STATUS)) {
            rest.push(Box::new(dsl::status.eq(status).assume_not_null()));
        }
        if let Some(step) = &filter.step {
            // The index finds every round; a search for one round has more to say.
            if !answers(&STEP) || step.contains('#') {
                rest.push(is_step(step));
            }
        }
        rest.extend(filter.texts.iter().map(|text| holds_text(text)));
        rest
    }
}

impl Index {
    /// Its entries with this value, from `low` to `high`: as comparisons of rows, which place the scan on both ends.
    fn between(&self, value: &str, low: Option<DateTime<Utc>>, high: Option<DateTime<Utc>>) -> Condition {
        let Index { key, holds } = self;
        let end = |sign: &str, time: Option<DateTime<Utc>>, endless: &str| {
            diesel::dsl::sql::<Bool>(&format!("({key}, t) {sign} ("))
                .bind::<Text, _>(value.to_owned())
                .sql(", COALESCE(")
                .bind::<Nullable<Timestamptz>, _>(time)
                .sql(&format!(", '{endless}'))"))
        };
        let holds = diesel::dsl::sql::<Bool>(holds);
        Box::new(end(">=", low, "-infinity").and(end("<=", high, "infinity")).and(holds))
    }
}

fn ordered(columns: &[&str], order: LogOrder) -> SqlLiteral<Text> {
    let direction = match order {
        LogOrder::OldestFirst => "",
        LogOrder::NewestFirst => " DESC",
    };
    let columns: Vec<String> = columns.iter().map(|column| format!("{column}{direction}")).collect();
    diesel::dsl::sql(&columns.join(", "))
}

/// A step without its round.
fn base(step: &str) -> &str {
    step.split('#').next().unwrap_or(step)
}

fn is_step(step: &str) -> Condition {
    let rounds = format!("{}#%", like_literal(step));
    let step = step.to_owned();
    Box::new(activity_log::step.eq(step).or(activity_log::step.like(rounds)).assume_not_null())
}

/// As it was written, or as JSON writes it: quotes and line ends are escaped in an entry.
fn holds_text(text: &str) -> Condition {
    let quoted = serde_json::Value::from(text).to_string();
    let escaped = quoted.strip_prefix('"').and_then(|text| text.strip_suffix('"')).unwrap_or(text).to_owned();
    let found = |text: &str| {
        let anywhere = format!("%{}%", like_literal(text));
        diesel::dsl::sql::<Bool>("convert_from(leaf, 'UTF8') ILIKE ").bind::<Text, _>(anywhere)
    };
    if escaped == text { Box::new(found(text)) } else { Box::new(found(text).or(found(&escaped))) }
}

fn past(order: LogOrder) -> &'static str {
    match order {
        LogOrder::OldestFirst => ">",
        LogOrder::NewestFirst => "<",
    }
}

/// Up to this place, and with it.
pub fn up_to(order: LogOrder, place: LogPosition) -> Condition {
    compared(
        match order {
            LogOrder::OldestFirst => "<=",
            LogOrder::NewestFirst => ">=",
        },
        place,
    )
}

/// A comparison of rows, so that the index by time answers it.
fn compared(sign: &str, place: LogPosition) -> Condition {
    Box::new(
        diesel::dsl::sql::<Bool>(&format!("(t, run_id, stream, seq) {sign} ("))
            .bind::<Timestamptz, _>(place.at)
            .sql(",")
            .bind::<BigInt, _>(place.run_id)
            .sql(",")
            .bind::<BigInt, _>(place.stream)
            .sql(",")
            .bind::<BigInt, _>(place.seq)
            .sql(")"),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::command::Actor;

    const MIGRATION: &str = include_str!("../../../migrations/2026-11-26-500000_log_search/up.sql");

    #[test]
    fn indexes_are_those_of_the_migration() {
        let migration = MIGRATION.split_whitespace().collect::<Vec<_>>().join(" ");
        for Index { key, holds } in [ACTOR, STEP, TYPE, STATUS] {
            let made = format!("ON activity_log ({key}, t) WHERE {holds};");
            assert!(migration.contains(&made), "{made}");
        }
        assert_eq!(migration.matches("CREATE INDEX").count(), 4);
    }

    #[test]
    fn what_an_index_leaves_out_is_not_looked_for_in_it() {
        for (index, values) in COMMON {
            for value in values {
                assert!(index.holds.contains(&format!("'{value}'")), "{value}");
            }
            assert_eq!(index.holds.matches('\'').count(), values.len() * 2, "{}", index.holds);
        }
        let by = |actor: String| Lead::of(&LogFilter { actor: Some(actor), ..LogFilter::default() });
        assert!(by(Actor::system().name).is_empty());
        assert_eq!(by("ada".to_owned()).len(), 1);
    }
}
