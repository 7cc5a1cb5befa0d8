//! What a page was sent: its query and its form, read strictly, and addresses with a query.

use crate::web::principal::doors;
use crate::web::problem::AppError;
use actix_web::http::header::CONTENT_TYPE;
use actix_web::{FromRequest, HttpRequest, dev, web};
use chrono::{DateTime, Days, NaiveDate, NaiveTime, Utc};
use std::future::Future;
use std::pin::Pin;

/// A form, as an argument of a handler.
pub struct Form(pub Sent);

impl FromRequest for Form {
    type Error = AppError;
    type Future = Pin<Box<dyn Future<Output = Result<Form, AppError>>>>;

    fn from_request(req: &HttpRequest, payload: &mut dev::Payload) -> Self::Future {
        let (req, body) = (req.clone(), web::Payload::from_request(req, payload));
        Box::pin(async move {
            let content_type = req.headers().get(CONTENT_TYPE).and_then(|value| value.to_str().ok());
            if !content_type.is_some_and(|value| value.starts_with("application/x-www-form-urlencoded")) {
                return Err(AppError::UnsupportedMediaType("This address takes a form.".to_owned()));
            }
            let limit = doors(&req)?.max_body_bytes;
            let unreadable = |error: &dyn std::fmt::Display| {
                AppError::BadRequest(format!("What was sent could not be read: {error}."))
            };
            let body = body.await.map_err(|error| unreadable(&error))?;
            // In a form a letter may take three bytes, so the limit on what it says is looked at afterwards.
            let read = body.to_bytes_limited(limit.saturating_mul(3)).await;
            let bytes = read.map_err(|_| AppError::PayloadTooLarge { limit })?;
            let sent = Sent::form(&bytes.map_err(|error| unreadable(&error))?)?;
            let length: usize = sent.pairs.iter().map(|(name, value)| name.len() + value.len()).sum();
            if length > limit { Err(AppError::PayloadTooLarge { limit }) } else { Ok(Form(sent)) }
        })
    }
}

/// The fields of a form, or the parameters of an address, in their order.
#[derive(Debug, Clone, Default)]
pub struct Sent {
    pairs: Vec<(String, String)>,
}

impl Sent {
    /// The parameters of an address, of which only `known` may be there.
    ///
    /// # Errors
    /// 400 for another one: a filter that is misspelt must not show everything.
    pub fn query(query: &str, known: &[&str]) -> Result<Sent, AppError> {
        let sent = Sent::read(query.as_bytes())?;
        if let Some((name, _)) = sent.pairs.iter().find(|(name, _)| !known.contains(&name.as_str())) {
            return Err(AppError::BadRequest(format!(
                "The address has the parameter {name:?}, which this page does not know. It knows {}.",
                known.join(", ")
            )));
        }
        Ok(sent)
    }

    /// The fields of a form, as browsers send it.
    ///
    /// # Errors
    /// 400 for U+0000, which no text of ours may have.
    pub fn form(body: &[u8]) -> Result<Sent, AppError> {
        Sent::read(body)
    }

    fn read(bytes: &[u8]) -> Result<Sent, AppError> {
        let pairs: Vec<(String, String)> = url::form_urlencoded::parse(bytes).into_owned().collect();
        if pairs.iter().any(|(name, value)| name.contains('\0') || value.contains('\0')) {
            return Err(AppError::BadRequest("U+0000 cannot be part of a text.".to_owned()));
        }
        Ok(Sent { pairs })
    }

    /// As it was sent; empty when it was not.
    pub fn raw(&self, name: &str) -> &str {
        self.pairs.iter().find(|(known, _)| known == name).map_or("", |(_, value)| value)
    }

    /// Without the space around it and with plain line ends.
    pub fn text(&self, name: &str) -> String {
        self.raw(name).trim().replace("\r\n", "\n")
    }

    /// None: it was left empty.
    pub fn filled(&self, name: &str) -> Option<String> {
        Some(self.text(name)).filter(|text| !text.is_empty())
    }

    /// The address of the same page with the same filters, but for `name`.
    pub fn address_with(&self, path: &str, name: &str, value: &str) -> String {
        let kept = self.pairs.iter().filter(|(known, value)| known != name && !value.is_empty());
        let kept = kept.map(|(name, value)| (name.as_str(), value.as_str()));
        address(path, kept.chain((!value.is_empty()).then_some((name, value))))
    }
}

/// A path with a query, if there is any.
pub fn address<'a>(path: &str, pairs: impl IntoIterator<Item = (&'a str, &'a str)>) -> String {
    let query = url::form_urlencoded::Serializer::new(String::new()).extend_pairs(pairs).finish();
    if query.is_empty() { path.to_owned() } else { format!("{path}?{query}") }
}

/// The beginning of a day (`2026-11-22`), UTC.
pub fn day(text: &str) -> Option<DateTime<Utc>> {
    let day = NaiveDate::parse_from_str(text, "%Y-%m-%d").ok()?;
    // What Postgres and people can write.
    let known = NaiveDate::from_ymd_opt(1, 1, 1)? <= day && day < NaiveDate::from_ymd_opt(10_000, 1, 1)?;
    known.then(|| day.and_time(NaiveTime::MIN).and_utc())
}

/// The end of a day: the beginning of the next.
pub fn end_of_day(text: &str) -> Option<DateTime<Utc>> {
    day(text)?.checked_add_days(Days::new(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_that_a_page_does_not_know_are_refused() {
        assert!(Sent::query("status=waiting&q=", &["status", "q"]).is_ok());
        assert!(Sent::query("statsu=waiting", &["status", "q"]).is_err());
        assert!(Sent::query("q=%00", &["q"]).is_err());
    }

    #[test]
    fn next_page_keeps_the_filters() {
        let sent = Sent::query("q=a+%26+b&status=&cursor=7", &["q", "status", "cursor"]).expect("known");
        assert_eq!(sent.address_with("/runs", "cursor", "3"), "/runs?q=a+%26+b&cursor=3");
        assert_eq!(sent.address_with("/runs", "cursor", ""), "/runs?q=a+%26+b");
        assert_eq!(address("/runs", []), "/runs");
    }

    #[test]
    fn last_day_is_meant_whole() {
        assert_eq!(end_of_day("2026-11-30"), day("2026-12-01"));
        assert!(day("2026-02-30").is_none() && day("yesterday").is_none() && day("+999999-01-01").is_none());
    }

    #[test]
    fn texts_come_without_the_space_around_them() {
        let form = Sent::form(b"reason=+a%0D%0Ab+&empty=+").expect("a form");
        assert_eq!(form.text("reason"), "a\nb");
        assert_eq!(form.filled("empty"), None);
    }
}
