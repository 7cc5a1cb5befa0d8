//! `schedule` and `concurrency`: when runs begin by themselves, and how many at once.

use super::super::reader::Reader;
use super::super::{Concurrency, Missed, Overlap, Schedule, WhenFull};
use super::{Scope, readable, template_text};
use crate::engine::expression::kind_of;
use crate::engine::json;
use crate::engine::state::Payload;
use chrono::{DateTime, Utc};
use serde_json::Value;

/// The most runs with the same key at once.
const MAX_LIMIT: u32 = 1_000_000;

pub(super) fn schedule(reader: &mut Reader<'_>, input: Option<&Value>) -> Option<Schedule> {
    reader.object("schedule", "a schedule", |reader| {
        let cron = cron(reader);
        let time_zone = time_zone(reader);
        let payload = payload(reader, input);
        let missed = reader.choice("missed", &[("skip", Missed::Skip), ("run_once", Missed::RunOnce)]);
        let overlap = reader.choice(
            "overlap",
            &[("allow", Overlap::Allow), ("skip", Overlap::Skip), ("wait", Overlap::Wait)],
        );
        Some(Schedule {
            cron: cron?,
            time_zone: time_zone?,
            payload: payload?,
            missed: missed.unwrap_or(Missed::Skip),
            overlap: overlap.unwrap_or(Overlap::Allow),
        })
    })
}

fn cron(reader: &mut Reader<'_>) -> Option<String> {
    if !reader.has("cron") {
        let message =
            "is missing. Say when, for example `0 7 * * MON-FRI` (minute, hour, day, month, weekday).";
        reader.problem("cron", message);
    }
    let text = reader.text("cron", 200)?;
    let fields = text.split_whitespace().count();
    if !(5..=6).contains(&fields) {
        let message = format!(
            "has {fields} fields. Give five (minute, hour, day, month, weekday), or six with the second in front."
        );
        reader.problem("cron", message);
        return None;
    }
    match super::super::cron::parser().parse(&text) {
        Err(error) => reader.beyond_schema("cron", format!("`{text}` is not a schedule: {error}.")),
        Ok(cron) => match cron.find_next_occurrence(&some_time(), false) {
            Ok(_) => return Some(text),
            Err(_) => {
                reader.beyond_schema("cron", format!("`{text}` never comes. Look at the day and the month."))
            }
        },
    }
    None
}

/// Where the search for the first time begins: the engine has no clock, and every pattern repeats.
fn some_time() -> DateTime<Utc> {
    DateTime::from_timestamp(946_684_800, 0).expect("2000-01-01 is a time")
}

fn time_zone(reader: &mut Reader<'_>) -> Option<chrono_tz::Tz> {
    if !reader.has("time_zone") {
        reader.value("time_zone");
        return Some(chrono_tz::Tz::UTC);
    }
    let name = reader.text("time_zone", 100)?;
    let found = name.parse().ok();
    if found.is_none() {
        let message =
            format!("`{name}` is not a time zone. Use a name of the IANA database, such as Europe/Berlin.");
        reader.beyond_schema("time_zone", message);
    }
    found
}

/// The payload of each run; without one, an empty one. It must fit the protocol's `input`.
fn payload(reader: &mut Reader<'_>, input: Option<&Value>) -> Option<Payload> {
    let payload = match reader.value("payload") {
        None => Payload::new(),
        Some(Value::Object(map)) => json::normalise_map(map.clone()),
        Some(other) => {
            reader.problem("payload", format!("must be an object, not {}.", kind_of(other)));
            return None;
        }
    };
    if let Some(validator) = input.and_then(|input| jsonschema::draft202012::new(input).ok()) {
        let value = Value::Object(payload.clone());
        for error in validator.iter_errors(&value).take(50) {
            let message = format!("does not fit `input`, so no run could start: {}", readable(&error));
            reader.beyond_schema("payload", message);
        }
    }
    Some(payload)
}

pub(super) fn concurrency(reader: &mut Reader<'_>) -> Option<Concurrency> {
    reader.object("concurrency", "a limit", |reader| {
        if !reader.has("key") {
            reader.problem(
                "key",
                "is missing. Say which runs count together, for example `${payload.office}`.",
            );
        }
        if !reader.has("limit") {
            reader.problem("limit", "is missing. Say how many runs with the same key may be on their way.");
        }
        let scope = Scope { names: vec!["payload".to_owned()], depth: 0 };
        let key = template_text(reader, "key", &scope);
        let limit = reader.whole("limit", 1..=MAX_LIMIT);
        let when_full = reader.choice("when_full", &[("wait", WhenFull::Wait), ("refuse", WhenFull::Refuse)]);
        Some(Concurrency { key: key?, limit: limit?, when_full: when_full.unwrap_or(WhenFull::Wait) })
    })
}
