//! `wait` tasks: for some minutes, until a time, or for an outside event.

use super::super::Wait;
use super::super::reader::Reader;
use super::{Scope, template_text};
use crate::engine::expression::Template;
use chrono::DateTime;

/// What a `wait` may be for.
const KINDS: [&str; 3] = ["minutes", "until", "event"];

pub(super) fn wait(reader: &mut Reader<'_>, scope: &Scope) -> Option<Wait> {
    let named: Vec<&str> = KINDS.into_iter().filter(|kind| reader.has(kind)).collect();
    if named.len() != 1 {
        let wrong = if named.is_empty() { "nothing".to_owned() } else { named.join(" and ") };
        let message = format!("waits for {wrong}. Give it exactly one of `minutes`, `until` and `event`.");
        reader.problem("", message);
    }
    if reader.has("key") && !reader.has("event") {
        reader.problem("key", "belongs to an `event`, which is missing. Add it, or remove this.");
    }
    let minutes = reader.minutes("minutes").map(Wait::For);
    let until = until(reader, scope).map(Wait::Until);
    let key = template_text(reader, "key", scope);
    let event = reader.name("event").map(|name| Wait::Event { name, key });
    minutes.or(until).or(event)
}

fn until(reader: &mut Reader<'_>, scope: &Scope) -> Option<Template> {
    let until = template_text(reader, "until", scope)?;
    let Template::Constant(time) = &until else { return Some(until) };
    let time = time.as_str().unwrap_or_default();
    // The day may not exist, which no pattern tells.
    if !looks_like_a_time(time) {
        let message = format!(
            "`{time}` is not a time. Write one with its offset, such as 2026-11-22T14:00:00Z, or a `${{ … }}` that \
             gives one."
        );
        // A schema takes every `${` for an expression, also one that `$${` makes plain text.
        if time.contains("${") {
            reader.beyond_schema("until", message)
        } else {
            reader.problem("until", message)
        }
    } else if DateTime::parse_from_rfc3339(time).is_err() {
        reader.beyond_schema("until", format!("`{time}` is not in the calendar. Look at the day."));
    }
    Some(until)
}

/// The letters and digits of RFC 3339 (section 5.6), each number in its range.
fn looks_like_a_time(text: &str) -> bool {
    let Some((date, rest)) = text.split_once(['T', 't']) else { return false };
    let Some(at) = rest.find(['Z', 'z', '+', '-']) else { return false };
    let (time, offset) = rest.split_at(at);
    let (whole, fraction) = match time.split_once('.') {
        Some((whole, fraction)) => (whole, Some(fraction)),
        None => (time, None),
    };
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let in_ranges = |text: &str, ranges: &[(usize, u32, u32)]| {
        let mut parts = text.split(['-', ':']);
        ranges.iter().all(|(length, low, high)| {
            parts.next().is_some_and(|part| {
                part.len() == *length
                    && digits(part)
                    && part.parse().is_ok_and(|number: u32| (*low..=*high).contains(&number))
            })
        }) && parts.next().is_none()
    };
    in_ranges(date, &[(4, 0, 9999), (2, 1, 12), (2, 1, 31)])
        && !date.contains(':')
        && in_ranges(whole, &[(2, 0, 23), (2, 0, 59), (2, 0, 60)])
        && !whole.contains('-')
        && fraction.is_none_or(digits)
        && (offset.eq_ignore_ascii_case("z")
            || (in_ranges(&offset[1..], &[(2, 0, 23), (2, 0, 59)]) && offset.contains(':')))
}
