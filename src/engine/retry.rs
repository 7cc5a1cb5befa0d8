//! How long to wait before the next attempt.

use super::protocol::Retry;
use chrono::TimeDelta;
use sha2::{Digest, Sha256};

/// What takes a step back is called again by itself.
pub const UNDO: Retry =
    Retry { attempts: 5, backoff: TimeDelta::seconds(1), factor: 2.0, max_backoff: TimeDelta::seconds(30) };

/// The longest that a service's `Retry-After` is listened to.
const MAX_RETRY_AFTER: TimeDelta = TimeDelta::hours(1);

/// The pause after the n-th failure (from 1): the backoff, times the factor for each failure before, at most the
/// limit, and up to a fifth more, so that what failed together does not come back together. That part follows from
/// `key` (the step's `Idempotency-Key`), for the engine draws nothing. A service's `Retry-After` may make it longer.
pub fn pause(policy: &Retry, failures: u32, key: &str, retry_after: Option<TimeDelta>) -> TimeDelta {
    let base =
        policy.backoff.as_seconds_f64() * policy.factor.powi(failures.saturating_sub(1).min(1_000) as i32);
    let seconds = base.min(policy.max_backoff.max(policy.backoff).as_seconds_f64()).max(0.0);
    let digest = Sha256::digest(format!("{key} {failures}"));
    let part = f64::from(u16::from_be_bytes([digest[0], digest[1]])) / f64::from(u16::MAX);
    let pause = TimeDelta::milliseconds((seconds * (1.0 + part / 5.0) * 1_000.0) as i64);
    pause.max(retry_after.unwrap_or_default().min(MAX_RETRY_AFTER))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_up_to_the_limit_and_differ_from_step_to_step() {
        let policy = Retry { attempts: 9, ..Retry::default() };
        let pauses: Vec<i64> =
            (1..9).map(|failures| pause(&policy, failures, "a", None).num_milliseconds()).collect();
        for (pause, least) in pauses.iter().zip([1_000, 2_000, 4_000, 8_000, 16_000, 32_000, 60_000, 60_000])
        {
            assert!((least..=least * 6 / 5).contains(pause), "{pauses:?}");
        }
        assert_ne!(pause(&policy, 1, "a", None), pause(&policy, 1, "b", None));
    }

    #[test]
    fn a_service_that_says_when_is_listened_to_within_reason() {
        let policy = Retry::default();
        assert_eq!(pause(&policy, 1, "a", Some(TimeDelta::seconds(90))), TimeDelta::seconds(90));
        assert_eq!(pause(&policy, 1, "a", Some(TimeDelta::days(9))), MAX_RETRY_AFTER);
    }
}
