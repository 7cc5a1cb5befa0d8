//! The search box of the activity log: `actor:ada type:step.failed from:2026-11-22 "clean parties"`.
//!
//! PURE. Owns the grammar, both ways: what [`read`] reads, [`write`] writes, so that a filter has one spelling in
//! the box, in the page's address and in the export's. A term is a qualifier (`name:value`, each at most once) or
//! text that an entry must hold; quotes keep spaces together (`\"` and `\\` inside), and make any word plain text.

use crate::store::log_search::LogFilter;
use chrono::{DateTime, Datelike, NaiveDate, NaiveTime, SecondsFormat, SubsecRound, TimeDelta, Utc};
use term::Term;

mod term;
#[cfg(test)]
mod tests;

/// What may stand before a colon, with what it means.
pub const QUALIFIERS: [(&str, &str); 7] = [
    ("actor", "who did it"),
    ("step", "a step, with all its rounds"),
    ("status", "a status, for example failed"),
    ("type", "a kind of entry, for example step.failed"),
    ("run", "a run's number; 0 is what belongs to no run"),
    ("from", "not before this day or time"),
    ("to", "up to this day, or before this time"),
];

/// Words that people try, and what they are called here.
const OTHER_WORDS: [(&str, &str); 12] = [
    ("run_id", "run"),
    ("who", "actor"),
    ("user", "actor"),
    ("by", "actor"),
    ("kind", "type"),
    ("event", "type"),
    ("state", "status"),
    ("since", "from"),
    ("after", "from"),
    ("until", "to"),
    ("before", "to"),
    ("task", "step"),
];

/// Reads what stands in the box.
///
/// # Errors
/// Every mistake, as a sentence that says what to write instead.
pub fn read(text: &str) -> Result<LogFilter, Vec<String>> {
    let mut filter = LogFilter::default();
    let mut problems = Vec::new();
    for term in term::split(text) {
        let taken = match term {
            Ok(Term::Text(text)) => add_text(&mut filter, text),
            Ok(Term::Qualifier { name, value }) => qualify(&mut filter, &name, value),
            Err(problem) => Err(problem),
        };
        problems.extend(taken.err());
    }
    if problems.is_empty() { Ok(filter) } else { Err(problems) }
}

/// Reads text alone: here a qualifier is text too.
///
/// # Errors
/// The first mistake, as a sentence.
pub fn read_texts(text: &str) -> Result<Vec<String>, String> {
    let mut filter = LogFilter::default();
    for term in term::split(text) {
        add_text(
            &mut filter,
            match term? {
                Term::Text(text) => text,
                Term::Qualifier { name, value } => format!("{name}:{value}"),
            },
        )?;
    }
    Ok(filter.texts)
}

/// Writes a filter as [`read`] reads it.
pub fn write(filter: &LogFilter) -> String {
    let text = |name: &str, value: &Option<String>| value.as_ref().map(|value| term::qualifier(name, value));
    let qualifiers = [
        filter.run_id.map(|run| format!("run:{run}")),
        text("actor", &filter.actor),
        text("step", &filter.step),
        text("type", &filter.type_name),
        text("status", &filter.status),
        filter.from.map(|from| format!("from:{}", written_start(from))),
        filter.to.map(|to| format!("to:{}", written_end(to))),
    ];
    let texts = filter.texts.iter().map(|text| term::text(text));
    qualifiers.into_iter().flatten().chain(texts).collect::<Vec<_>>().join(" ")
}

/// Only the text terms of a filter, as [`read`] reads them.
pub fn write_texts(filter: &LogFilter) -> String {
    filter.texts.iter().map(|text| term::text(text)).collect::<Vec<_>>().join(" ")
}

/// Adds what another filter asks for: an entry must fit both.
///
/// # Errors
/// The qualifier of which the two want different values.
pub fn join(filter: &mut LogFilter, other: LogFilter) -> Result<(), &'static str> {
    fn one<T: PartialEq>(
        place: &mut Option<T>,
        other: Option<T>,
        name: &'static str,
    ) -> Result<(), &'static str> {
        match (place.as_ref(), other) {
            (Some(known), Some(other)) if *known != other => Err(name),
            (None, other) => {
                *place = other;
                Ok(())
            }
            (Some(_), _) => Ok(()),
        }
    }
    one(&mut filter.run_id, other.run_id, "run")?;
    one(&mut filter.actor, other.actor, "actor")?;
    one(&mut filter.step, other.step, "step")?;
    one(&mut filter.type_name, other.type_name, "type")?;
    one(&mut filter.status, other.status, "status")?;
    filter.from = filter.from.max(other.from);
    filter.to = filter.to.zip(other.to).map(|(to, other)| to.min(other)).or(filter.to).or(other.to);
    filter.texts.extend(other.texts);
    Ok(())
}

fn add_text(filter: &mut LogFilter, text: String) -> Result<(), String> {
    if text.is_empty() {
        return Err("Nothing stands between the quotes: write the text to look for.".to_owned());
    }
    filter.texts.push(text);
    Ok(())
}

fn qualify(filter: &mut LogFilter, name: &str, value: String) -> Result<(), String> {
    if value.is_empty() {
        let about = QUALIFIERS.iter().find(|(known, _)| *known == name).map(|(_, about)| *about);
        return match about {
            Some(about) => Err(format!("After {name}: something must follow: {about}.")),
            None => Err(unknown(name)),
        };
    }
    match name {
        "actor" => once(&mut filter.actor, name, value),
        "step" => once(&mut filter.step, name, value),
        "status" => once(&mut filter.status, name, value),
        "type" => once(&mut filter.type_name, name, value),
        "run" => {
            let run = run(&value)?;
            once(&mut filter.run_id, name, run)
        }
        "from" => {
            let from = moment(name, &value, false)?;
            once(&mut filter.from, name, from)
        }
        "to" => {
            let to = moment(name, &value, true)?;
            once(&mut filter.to, name, to)
        }
        other => Err(unknown(other)),
    }
}

fn once<T: PartialEq>(place: &mut Option<T>, name: &str, value: T) -> Result<(), String> {
    match place {
        Some(known) if *known != value => {
            Err(format!("{name}: stands here twice. An entry has one; look for one at a time."))
        }
        _ => {
            *place = Some(value);
            Ok(())
        }
    }
}

fn unknown(name: &str) -> String {
    let known: Vec<&str> = QUALIFIERS.iter().map(|(known, _)| *known).collect();
    let meant = OTHER_WORDS.iter().find(|(word, _)| *word == name).map(|(_, known)| *known);
    let meant = meant.or_else(|| closest(name, known.iter().copied()));
    let hint = match meant {
        Some(meant) => format!("Did you mean {meant}:?"),
        None => format!("There are {}:.", known.join(":, ")),
    };
    format!("There is no {name}: to look by. {hint} To look for these very letters, put them in quotes.")
}

/// A run's number, as people write it: `9001`, `#9001`.
///
/// # Errors
/// A sentence.
pub fn run(text: &str) -> Result<i64, String> {
    let digits = text.trim_start_matches('#');
    let number = digits.bytes().all(|byte| byte.is_ascii_digit()).then(|| digits.parse().ok()).flatten();
    number.ok_or_else(|| format!("A run is a number, for example run:9001; {} is not.", term::clip(text)))
}

/// A day or a time (RFC 3339; without a zone it is UTC). A day as the end of a span includes that day.
///
/// # Errors
/// A sentence.
pub fn moment(name: &str, text: &str, is_end: bool) -> Result<DateTime<Utc>, String> {
    let time = || {
        let zoned =
            DateTime::parse_from_rfc3339(text).or_else(|_| DateTime::parse_from_rfc3339(&format!("{text}Z")));
        let zoned = zoned.or_else(|_| DateTime::parse_from_rfc3339(&format!("{text}:00Z")));
        zoned.ok().map(|time| time.with_timezone(&Utc).trunc_subsecs(6))
    };
    let day = || {
        let day = NaiveDate::parse_from_str(text, "%Y-%m-%d").ok()?;
        // Years of more digits exist for chrono, but not for RFC 3339.
        let start = day.and_time(NaiveTime::MIN).and_utc();
        (day.year() <= 9999).then(|| if is_end { start + TimeDelta::days(1) } else { start })
    };
    let found = day().or_else(time).filter(|found| (1..=10_000).contains(&found.year()));
    found.ok_or_else(|| {
        let text = term::clip(text);
        format!("{name}: takes a day (2026-11-22) or a time in UTC (2026-11-22T14:00); {text} is neither.")
    })
}

/// A day where it can be one.
pub fn written_start(moment: DateTime<Utc>) -> String {
    if moment.time() == NaiveTime::MIN && moment.year() <= 9999 {
        return moment.format("%Y-%m-%d").to_string();
    }
    moment.to_rfc3339_opts(SecondsFormat::AutoSi, true)
}

/// The last day that is meant, where it can be one.
pub fn written_end(moment: DateTime<Utc>) -> String {
    let day_before = moment - TimeDelta::days(1);
    if moment.time() == NaiveTime::MIN && day_before.year() >= 1 {
        return day_before.format("%Y-%m-%d").to_string();
    }
    moment.to_rfc3339_opts(SecondsFormat::AutoSi, true)
}

/// The known word that somebody probably meant: at most two letters off, or begun and not finished.
pub fn closest<'a>(word: &str, known: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let word = word.to_lowercase();
    // Long input is no misspelling of a short word, and comparing it would cost.
    if word.chars().count() > 40 {
        return None;
    }
    let near = known.filter_map(|known| {
        let begun = word.chars().count() >= 3 && known.starts_with(&word);
        let off = if begun { 1 } else { distance(&word, known) };
        (off <= 2 && off < known.chars().count()).then_some((off, known))
    });
    near.min_by_key(|(off, _)| *off).map(|(_, known)| known)
}

/// How many letters must be put in, left out or changed (Levenshtein).
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (at, letter) in a.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = at + 1;
        for (index, other) in b.iter().enumerate() {
            let changed = diagonal + usize::from(letter != *other);
            diagonal = row[index + 1];
            row[index + 1] = changed.min(row[index] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}
