//! When a schedule's times are.
//!
//! The pattern is read on the clock of the schedule's time zone. When clocks change (the rules are croner's, which
//! are those of the Open Cron Pattern Specification): a fixed time of the day that falls into the hour that is left
//! out comes once, at the first moment after it; one in the hour that is repeated comes once, the first time. A
//! pattern that repeats (`*`, `*/15`) leaves out the missing hour and runs through both of the repeated ones, as a
//! clock on the wall does.

use super::Schedule;
use chrono::{DateTime, Utc};
use croner::parser::{CronParser, Seconds, Year};

/// Reads patterns of five fields, or of six with seconds in front.
pub(super) fn parser() -> CronParser {
    // Croner also knows years and names such as `@daily`, which would be a second way to say the same.
    CronParser::builder().seconds(Seconds::Optional).year(Year::Disallowed).build()
}

impl Schedule {
    /// The first of its times after this moment. None: there is none any more.
    pub fn next_after(&self, moment: DateTime<Utc>) -> Option<DateTime<Utc>> {
        let pattern = parser().parse(&self.cron).ok()?;
        let next = pattern.find_next_occurrence(&moment.with_timezone(&self.time_zone), false).ok()?;
        Some(next.with_timezone(&Utc)).filter(|next| *next > moment)
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Missed, Overlap, Schedule};
    use chrono::{DateTime, Utc};

    fn schedule(cron: &str, zone: &str) -> Schedule {
        Schedule {
            cron: cron.to_owned(),
            time_zone: zone.parse().unwrap(),
            payload: serde_json::Map::new(),
            missed: Missed::Skip,
            overlap: Overlap::Allow,
        }
    }

    /// The times that follow a moment, on the clock of the zone, with its offset.
    fn times(cron: &str, zone: &str, after: &str, count: usize) -> Vec<String> {
        let schedule = schedule(cron, zone);
        let mut moment: DateTime<Utc> = after.parse().unwrap();
        let mut found = Vec::new();
        for _ in 0..count {
            moment = schedule.next_after(moment).unwrap();
            found.push(moment.with_timezone(&schedule.time_zone).format("%m-%d %H:%M %:z").to_string());
        }
        found
    }

    #[test]
    fn a_day_whose_clock_skips_the_time_has_it_once_right_after() {
        // Berlin, 29 March 2026: 02:00 is followed by 03:00.
        let found = times("30 2 * * *", "Europe/Berlin", "2026-03-28T00:00:00Z", 3);
        assert_eq!(found, ["03-28 02:30 +01:00", "03-29 03:00 +02:00", "03-30 02:30 +02:00"]);
        // New York, 8 March 2026.
        let found = times("30 2 * * *", "America/New_York", "2026-03-07T06:00:00Z", 3);
        assert_eq!(found, ["03-07 02:30 -05:00", "03-08 03:00 -04:00", "03-09 02:30 -04:00"]);
        // Lord Howe, 4 October 2026: by half an hour only, 02:00 is followed by 02:30.
        let found = times("15 2 * * *", "Australia/Lord_Howe", "2026-10-02T20:00:00Z", 3);
        assert_eq!(found, ["10-04 02:30 +11:00", "10-05 02:15 +11:00", "10-06 02:15 +11:00"]);
    }

    #[test]
    fn a_day_whose_clock_repeats_the_time_has_it_once() {
        // Berlin, 25 October 2026: 03:00 is followed by 02:00.
        let found = times("30 2 * * *", "Europe/Berlin", "2026-10-24T01:00:00Z", 3);
        assert_eq!(found, ["10-25 02:30 +02:00", "10-26 02:30 +01:00", "10-27 02:30 +01:00"]);
        // New York, 1 November 2026.
        let found = times("30 1 * * *", "America/New_York", "2026-10-31T06:00:00Z", 2);
        assert_eq!(found, ["11-01 01:30 -04:00", "11-02 01:30 -05:00"]);
        // Lord Howe, 5 April 2026: 02:00 is followed by 01:30.
        let found = times("45 1 * * *", "Australia/Lord_Howe", "2026-04-04T00:00:00Z", 2);
        assert_eq!(found, ["04-05 01:45 +11:00", "04-06 01:45 +10:30"]);
    }

    #[test]
    fn a_pattern_that_repeats_goes_by_the_clock_on_the_wall() {
        let found = times("0 * * * *", "Europe/Berlin", "2026-03-29T00:00:00Z", 2);
        assert_eq!(found, ["03-29 03:00 +02:00", "03-29 04:00 +02:00"]);
        let found = times("0 * * * *", "Europe/Berlin", "2026-10-24T23:30:00Z", 3);
        assert_eq!(found, ["10-25 02:00 +02:00", "10-25 02:00 +01:00", "10-25 03:00 +01:00"]);
    }

    #[test]
    fn six_fields_begin_with_seconds() {
        let every_second = schedule("* * * * * *", "UTC");
        let moment: DateTime<Utc> = "2026-11-22T20:00:00.4Z".parse().unwrap();
        assert_eq!(every_second.next_after(moment), Some("2026-11-22T20:00:01Z".parse().unwrap()));
    }

    #[test]
    fn a_time_that_never_comes_is_none() {
        let moment: DateTime<Utc> = "2026-11-22T20:00:00Z".parse().unwrap();
        assert_eq!(schedule("0 0 30 2 *", "UTC").next_after(moment), None);
    }
}
