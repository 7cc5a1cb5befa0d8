//! A point in time, for a machine and for a person.

use chrono::{DateTime, Utc};

/// Drawn as `<time datetime="…">`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Moment {
    /// RFC 3339, UTC.
    pub iso: String,
    /// For example `22 Nov 2026, 14:00:03 UTC`.
    pub text: String,
}

impl Moment {
    pub fn new(t: DateTime<Utc>) -> Moment {
        Moment {
            iso: t.to_rfc3339_opts(chrono::SecondsFormat::Micros, true),
            text: t.format("%-d %b %Y, %H:%M:%S UTC").to_string(),
        }
    }
}

/// A length of time in words: `3 s`, `2 min 5 s`, `1 h 4 min`, `3 days`. Negative lengths count as none.
pub fn duration(length: chrono::Duration) -> String {
    let seconds = length.num_seconds().max(0);
    match seconds {
        0 => "under a second".to_owned(),
        1..60 => format!("{seconds} s"),
        60..3600 => format!("{} min {} s", seconds / 60, seconds % 60),
        3600..172_800 => format!("{} h {} min", seconds / 3600, seconds % 3600 / 60),
        _ => format!("{} days", seconds / 86_400),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use chrono::Duration;

    #[test]
    fn lengths_of_time_read_as_words() {
        let words = |seconds| duration(Duration::seconds(seconds));
        assert_eq!(words(-5), "under a second");
        assert_eq!(words(59), "59 s");
        assert_eq!(words(125), "2 min 5 s");
        assert_eq!(words(3840), "1 h 4 min");
        assert_eq!(words(259_200), "3 days");
    }
}
