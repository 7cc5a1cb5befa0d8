//! Query parameters, read strictly: an unknown one is a 400, because a misspelt filter would show everything.

use super::super::problem::AppError;
use actix_web::HttpRequest;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use chrono::{DateTime, Datelike, NaiveDate, NaiveTime, TimeDelta, Utc};
use std::collections::BTreeMap;

const DEFAULT_LIMIT: i64 = 50;
const MAX_LIMIT: i64 = 200;

pub struct Query {
    values: BTreeMap<String, String>,
    known: Vec<&'static str>,
}

impl Query {
    /// # Errors
    /// 400 when a parameter is given twice, or holds U+0000, which no text in the database can.
    pub fn of(req: &HttpRequest) -> Result<Query, AppError> {
        let mut values = BTreeMap::new();
        for (key, value) in url::form_urlencoded::parse(req.query_string().as_bytes()).into_owned() {
            if value.contains('\0') {
                return Err(wrong(&key, "holds the character U+0000; leave it out"));
            }
            if values.insert(key.clone(), value).is_some() {
                return Err(AppError::BadRequest(format!("The query names `{key}` twice. Name it once.")));
            }
        }
        Ok(Query { values, known: Vec::new() })
    }

    /// A text; blank counts as not given, as an empty form field is.
    pub fn text(&mut self, key: &'static str) -> Option<String> {
        self.known.push(key);
        self.values.get(key).map(|value| value.trim().to_owned()).filter(|value| !value.is_empty())
    }

    /// # Errors
    /// 400
    pub fn number(&mut self, key: &'static str) -> Result<Option<i64>, AppError> {
        let Some(text) = self.text(key) else { return Ok(None) };
        text.parse().map(Some).map_err(|_| wrong(key, "must be a whole number"))
    }

    /// # Errors
    /// 400
    pub fn flag(&mut self, key: &'static str) -> Result<bool, AppError> {
        match self.text(key).as_deref() {
            None | Some("0" | "false") => Ok(false),
            Some("1" | "true") => Ok(true),
            Some(_) => Err(wrong(key, "must be 1 or 0")),
        }
    }

    /// A moment (RFC 3339) or a day (`2026-11-22`). A day as the end of a span includes that day.
    ///
    /// # Errors
    /// 400
    pub fn moment(&mut self, key: &'static str, is_end: bool) -> Result<Option<DateTime<Utc>>, AppError> {
        let Some(text) = self.text(key) else { return Ok(None) };
        if let Ok(moment) = DateTime::parse_from_rfc3339(&text) {
            return Ok(Some(moment.with_timezone(&Utc)));
        }
        // Years of more digits exist for chrono, but not for the end of their last day, nor for RFC 3339.
        let day = NaiveDate::parse_from_str(&text, "%Y-%m-%d").ok();
        let day = day
            .filter(|day| (0..=9999).contains(&day.year()))
            .ok_or_else(|| wrong(key, "must be a time (2026-11-22T14:00:00Z) or a day (2026-11-22)"))?;
        let start = day.and_time(NaiveTime::MIN).and_utc();
        Ok(Some(if is_end { start + TimeDelta::days(1) } else { start }))
    }

    /// How many rows: 50 unless said otherwise, at most 200.
    ///
    /// # Errors
    /// 400
    pub fn limit(&mut self) -> Result<i64, AppError> {
        match self.number("limit")? {
            None => Ok(DEFAULT_LIMIT),
            Some(limit) if (1..=MAX_LIMIT).contains(&limit) => Ok(limit),
            Some(_) => Err(wrong("limit", "must be from 1 to 200")),
        }
    }

    /// An opaque cursor, as [`cursor`] made it.
    ///
    /// # Errors
    /// 400
    pub fn cursor(&mut self) -> Result<Option<String>, AppError> {
        let Some(text) = self.text("cursor") else { return Ok(None) };
        let bytes = URL_SAFE_NO_PAD.decode(text.as_bytes()).ok();
        let read = bytes.and_then(|bytes| String::from_utf8(bytes).ok());
        read.map(Some).ok_or_else(bad_cursor)
    }

    /// The same, where the place is one number.
    ///
    /// # Errors
    /// 400
    pub fn number_cursor(&mut self) -> Result<Option<i64>, AppError> {
        self.cursor()?.map(|text| text.parse().map_err(|_| bad_cursor())).transpose()
    }

    /// # Errors
    /// 400 for every parameter that nobody asked for.
    pub fn finish(self) -> Result<(), AppError> {
        let unknown: Vec<&String> =
            self.values.keys().filter(|key| !self.known.contains(&key.as_str())).collect();
        match unknown.first() {
            None => Ok(()),
            Some(key) => Err(AppError::BadRequest(match self.known.as_slice() {
                [] => format!("The query parameter `{key}` is not known here; none is."),
                known => {
                    format!("The query parameter `{key}` is not known here; known are: {}.", known.join(", "))
                }
            })),
        }
    }
}

/// A place in a list, made opaque: what is inside may change.
pub fn cursor(place: impl ToString) -> String {
    URL_SAFE_NO_PAD.encode(place.to_string())
}

pub fn bad_cursor() -> AppError {
    wrong("cursor", "is not one that this list gave")
}

fn wrong(key: &str, what: &str) -> AppError {
    AppError::BadRequest(format!("The query parameter `{key}` {what}."))
}
