//! Connection strings as libpq reads them: `postgres://user:password@host/db?key=value` or `key=value key=value`.
//!
//! Owns finding the login in one, adding settings to one, and showing one without its password. It does not check
//! the rest: libpq does.

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};
use std::fmt;

/// What stays as it is in a URL's parts; everything else is percent-encoded.
const PLAIN: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'~');

/// A connection string that was understood. Its `Display` is fit for messages: no password.
#[derive(Clone)]
pub struct Conninfo {
    text: String,
    is_url: bool,
    settings: Vec<(String, String)>,
}

/// Says nothing of the text itself, which may hold a password.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("this is not a Postgres connection string; write postgres://USER:PASSWORD@HOST/DATABASE")]
pub struct InvalidConninfo;

impl Conninfo {
    pub fn parse(text: &str) -> Result<Conninfo, InvalidConninfo> {
        let text = text.trim();
        let scheme = ["postgres://", "postgresql://"].iter().find_map(|scheme| text.strip_prefix(scheme));
        let settings = match scheme {
            Some(rest) => url_settings(rest),
            None => keyword_settings(text).filter(|settings| !settings.is_empty()),
        };
        let settings = settings.ok_or(InvalidConninfo)?;
        Ok(Conninfo { text: text.to_owned(), is_url: scheme.is_some(), settings })
    }

    /// A URL for a server that listens on a Unix socket in `directory`.
    pub fn over_socket(directory: &str, port: u16, user: &str, database: &str) -> String {
        let part = |text| utf8_percent_encode(text, PLAIN).to_string();
        format!("postgres:///{}?host={}&port={port}&user={}", part(database), part(directory), part(user))
    }

    /// A setting by libpq's name for it (`user`, `password`, `host`, `dbname` …).
    pub fn get(&self, key: &str) -> Option<&str> {
        let found = self.settings.iter().rev().find(|(name, _)| name == key);
        found.map(|(_, value)| value.as_str()).filter(|value| !value.is_empty())
    }

    /// The same string with `defaults` added where it does not set them itself.
    pub fn with_defaults(&self, defaults: &[(&str, &str)]) -> String {
        let mut text = self.text.clone();
        for (key, value) in defaults.iter().filter(|(key, _)| self.get(key).is_none()) {
            if self.is_url {
                let joint = if text.contains('?') { '&' } else { '?' };
                text = format!("{text}{joint}{key}={}", utf8_percent_encode(value, PLAIN));
            } else {
                text = format!("{text} {key}='{}'", value.replace('\\', "\\\\").replace('\'', "\\'"));
            }
        }
        text
    }

    /// `message` without this string's password, should libpq have repeated it.
    pub fn redact(&self, message: &str) -> String {
        match self.get("password") {
            Some(password) => {
                let encoded = utf8_percent_encode(password, PLAIN).to_string();
                message.replace(password, "***").replace(&encoded, "***")
            }
            None => message.to_owned(),
        }
    }
}

impl fmt::Display for Conninfo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let host = self.get("host").unwrap_or("the default host");
        let database = self.get("dbname").unwrap_or("the default database");
        write!(f, "{database} on {host}")?;
        self.get("user").map_or(Ok(()), |user| write!(f, " as {user}"))
    }
}

impl fmt::Debug for Conninfo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Conninfo({self})")
    }
}

/// The part of a URL behind `://`. Later settings win, as in libpq.
fn url_settings(rest: &str) -> Option<Vec<(String, String)>> {
    let (address, query) = rest.split_once('?').unwrap_or((rest, ""));
    let (authority, database) = address.split_once('/').unwrap_or((address, ""));
    let (login, hosts) = authority.rsplit_once('@').unwrap_or(("", authority));
    let (user, password) = login.split_once(':').unwrap_or((login, ""));
    let host = match hosts.rsplit_once(':') {
        Some((host, port)) if port.chars().all(|c| c.is_ascii_digit()) => host,
        Some(_) | None => hosts,
    };
    let mut settings = Vec::new();
    for (key, value) in [("user", user), ("password", password), ("host", host), ("dbname", database)] {
        settings.push((key.to_owned(), decode(value)?));
    }
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        let (key, value) = pair.split_once('=')?;
        settings.push((decode(key)?, decode(value)?));
    }
    Some(settings)
}

fn decode(text: &str) -> Option<String> {
    percent_decode_str(text).decode_utf8().ok().map(|text| text.into_owned())
}

/// `key = value`, where a value may stand in single quotes and a backslash takes the next character as it is.
fn keyword_settings(text: &str) -> Option<Vec<(String, String)>> {
    let mut settings = Vec::new();
    let mut rest = text.trim_start();
    while !rest.is_empty() {
        let (key, after) = rest.split_once('=')?;
        let key = key.trim();
        if key.is_empty() || !key.chars().all(|c| c.is_ascii_alphanumeric() || c == '_') {
            return None;
        }
        let (value, after) = keyword_value(after.trim_start())?;
        settings.push((key.to_owned(), value));
        rest = after.trim_start();
    }
    Some(settings)
}

fn keyword_value(text: &str) -> Option<(String, &str)> {
    let quoted = text.starts_with('\'');
    let body = text.strip_prefix('\'').unwrap_or(text);
    let mut value = String::new();
    let mut characters = body.char_indices();
    while let Some((at, character)) = characters.next() {
        match character {
            '\\' => value.push(characters.next()?.1),
            '\'' if quoted => return Some((value, &body[at + 1..])),
            c if c.is_whitespace() && !quoted => return Some((value, &body[at..])),
            c => value.push(c),
        }
    }
    (!quoted).then_some((value, ""))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn login(text: &str) -> (Option<String>, Option<String>) {
        let conninfo = Conninfo::parse(text).unwrap();
        (conninfo.get("user").map(str::to_owned), conninfo.get("password").map(str::to_owned))
    }

    #[test]
    fn login_is_found_wherever_libpq_would_find_it() {
        let expected = (Some("act".to_owned()), Some("p@ s's".to_owned()));
        assert_eq!(login("postgres://act:p%40%20s's@db:5433/hms"), expected);
        assert_eq!(login("postgresql:///hms?user=act&password=p%40%20s's&host=%2Frun"), expected);
        assert_eq!(login(r"host=db user = act password='p@ s\'s' dbname=hms"), expected);
        assert_eq!(login("postgres://db1:1,db2:2/hms"), (None, None));
    }

    #[test]
    fn what_is_no_connection_string_is_refused() {
        for text in ["", "mysql://act@db/hms", "db.example.gov", "user=act password='open", "/x y=z"] {
            assert!(Conninfo::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn defaults_never_replace_what_was_written() {
        let url = Conninfo::parse("postgres://act@db/hms?connect_timeout=1").unwrap();
        let text = url.with_defaults(&[("connect_timeout", "9"), ("application_name", "a b")]);
        assert_eq!(text, "postgres://act@db/hms?connect_timeout=1&application_name=a%20b");
        let words = Conninfo::parse("user=act").unwrap();
        assert_eq!(words.with_defaults(&[("dbname", "it's")]), r"user=act dbname='it\'s'");
    }

    #[test]
    fn password_is_never_shown() {
        let conninfo = Conninfo::parse("postgres://act:s%20cret@db/hms").unwrap();
        assert_eq!(format!("{conninfo} {conninfo:?}"), "hms on db as act Conninfo(hms on db as act)");
        assert_eq!(conninfo.redact("bad s%20cret or s cret"), "bad *** or ***");
    }
}
