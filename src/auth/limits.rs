//! How often somebody may try.
//!
//! Owns the limits on sign-in failures and on API calls, in memory and per instance. Never looks at passwords or
//! tokens: it counts names, addresses and principals.

use governor::clock::{Clock, DefaultClock};
use governor::middleware::NoOpMiddleware;
use governor::state::keyed::DefaultKeyedStateStore;
use governor::{Quota, RateLimiter};
use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::num::NonZeroU32;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Above this many keys the idle ones are forgotten, so that made-up names cannot fill the memory.
const MANY_KEYS: usize = 10_000;

/// A refusal: whole seconds to wait, at least 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Wait {
    pub seconds: u64,
}

impl From<Duration> for Wait {
    fn from(wait: Duration) -> Wait {
        Wait { seconds: (wait.as_secs_f64().ceil() as u64).max(1) }
    }
}

/// Failed sign-ins: five for a name and then one a minute; twenty for an address (an office shares one) and then one
/// in twelve seconds.
///
/// An attempt counts when it begins and is given back when it succeeds. Counting only afterwards would let a
/// thousand guesses through at once, and `governor` cannot give back: hence the small limiter of our own.
#[derive(Debug)]
pub struct SignInLimit {
    names: Mutex<Bucket>,
    addresses: Mutex<Bucket>,
}

/// A sign-in that was let through. Hand it to [`SignInLimit::succeeded`] if the password was right; otherwise drop it.
#[derive(Debug)]
#[must_use]
pub struct Attempt {
    name: String,
    address: Option<String>,
}

impl Default for SignInLimit {
    fn default() -> SignInLimit {
        SignInLimit {
            names: Mutex::new(Bucket::new(5, Duration::from_secs(60))),
            addresses: Mutex::new(Bucket::new(20, Duration::from_secs(12))),
        }
    }
}

impl SignInLimit {
    /// Counts an attempt, before the password is looked at.
    ///
    /// # Errors
    /// How long to wait, when this name or this address failed too often.
    pub fn begin(&self, user: &str, address: Option<IpAddr>, now: Instant) -> Result<Attempt, Wait> {
        // No name is longer than 64: what is made up beyond that need not be kept.
        let name: String = user.trim().to_lowercase().chars().take(64).collect();
        let address = address.map(network);
        lock(&self.names).take(&name, now)?;
        if let Some(address) = &address
            && let Err(wait) = lock(&self.addresses).take(address, now)
        {
            lock(&self.names).give_back(&name);
            return Err(wait);
        }
        Ok(Attempt { name, address })
    }

    /// The password was right: the attempt does not count.
    pub fn succeeded(&self, attempt: &Attempt) {
        lock(&self.names).give_back(&attempt.name);
        if let Some(address) = &attempt.address {
            lock(&self.addresses).give_back(address);
        }
    }
}

fn lock(bucket: &Mutex<Bucket>) -> MutexGuard<'_, Bucket> {
    // A panic elsewhere leaves at worst one attempt too many counted.
    bucket.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Where somebody is, as limits count it: one IPv6 subscriber has a whole /64 to choose addresses from.
pub fn network(address: IpAddr) -> String {
    match address.to_canonical() {
        IpAddr::V4(address) => address.to_string(),
        IpAddr::V6(address) => {
            let [a, b, c, d, ..] = address.segments();
            format!("{}/64", Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0))
        }
    }
}

/// Generic cell rate algorithm (ITU-T I.371): per key the time at which all that was taken will have come back.
#[derive(Debug)]
struct Bucket {
    burst: u32,
    per_one: Duration,
    full_at: HashMap<String, Instant>,
}

impl Bucket {
    fn new(burst: u32, per_one: Duration) -> Bucket {
        Bucket { burst, per_one, full_at: HashMap::new() }
    }

    fn take(&mut self, key: &str, now: Instant) -> Result<(), Wait> {
        if self.full_at.len() >= MANY_KEYS {
            self.full_at.retain(|_, full_at| *full_at > now);
        }
        let next = self.full_at.get(key).copied().unwrap_or(now).max(now) + self.per_one;
        let latest = now + self.per_one * self.burst;
        if next > latest {
            return Err(Wait::from(next - latest));
        }
        self.full_at.insert(key.to_owned(), next);
        Ok(())
    }

    fn give_back(&mut self, key: &str) {
        if let Some(full_at) = self.full_at.get_mut(key) {
            *full_at = full_at.checked_sub(self.per_one).unwrap_or(*full_at);
        }
    }
}

/// Calls by one principal: 10,000 a second, far above what one busy service does.
pub struct CallLimit<C: Clock = DefaultClock> {
    limiter: RateLimiter<String, DefaultKeyedStateStore<String>, C, NoOpMiddleware<C::Instant>>,
    clock: C,
}

impl<C: Clock + Clone + Default> Default for CallLimit<C> {
    fn default() -> CallLimit<C> {
        CallLimit::on(C::default())
    }
}

impl<C: Clock + Clone> CallLimit<C> {
    fn on(clock: C) -> CallLimit<C> {
        const PER_SECOND: NonZeroU32 = NonZeroU32::new(10_000).expect("not zero");
        let limiter =
            RateLimiter::new(Quota::per_second(PER_SECOND), DefaultKeyedStateStore::default(), clock.clone());
        CallLimit { limiter, clock }
    }

    /// Counts a call. Keys are names of users, of which there are few.
    ///
    /// # Errors
    /// How long to wait.
    pub fn check(&self, principal: &str) -> Result<(), Wait> {
        self.limiter
            .check_key(&principal.to_owned())
            .map_err(|not_until| Wait::from(not_until.wait_time_from(self.clock.now())))
    }
}

#[cfg(test)]
mod tests {
    use super::{CallLimit, SignInLimit, Wait};
    use governor::clock::FakeRelativeClock;
    use std::net::IpAddr;
    use std::time::{Duration, Instant};

    fn fail(limit: &SignInLimit, user: &str, now: Instant) -> Result<(), Wait> {
        limit.begin(user, None, now).map(drop)
    }

    #[test]
    fn sixth_failure_in_a_row_waits_a_minute() {
        let (limit, start) = (SignInLimit::default(), Instant::now());
        for _ in 0..5 {
            assert_eq!(fail(&limit, "staff", start), Ok(()));
        }
        assert_eq!(fail(&limit, "staff", start), Err(Wait { seconds: 60 }));
        assert_eq!(fail(&limit, " STAFF ", start), Err(Wait { seconds: 60 }), "the same person");
        assert_eq!(fail(&limit, "supervisor", start), Ok(()), "somebody else");
        let later = start + Duration::from_secs(60);
        assert_eq!(fail(&limit, "staff", later), Ok(()));
        assert_eq!(fail(&limit, "staff", later), Err(Wait { seconds: 60 }));
    }

    #[test]
    fn successful_sign_ins_do_not_count() {
        let (limit, start) = (SignInLimit::default(), Instant::now());
        let address = Some(IpAddr::from([192, 0, 2, 7]));
        for _ in 0..100 {
            let attempt = limit.begin("staff", address, start).expect("let through");
            limit.succeeded(&attempt);
        }
    }

    #[test]
    fn guesses_at_once_do_not_slip_through() {
        let (limit, start) = (SignInLimit::default(), Instant::now());
        let under_way: Vec<_> = (0..100).filter_map(|_| limit.begin("staff", None, start).ok()).collect();
        assert_eq!(under_way.len(), 5);
    }

    #[test]
    fn one_address_cannot_try_every_name() {
        let (limit, start) = (SignInLimit::default(), Instant::now());
        let network = |host: u16| Some(IpAddr::from([0x2001, 0xdb8, 0, 7, 0, 0, 0, host]));
        for host in 0..20 {
            limit.begin(&format!("user{host}"), network(host), start).map(drop).expect("let through");
        }
        let refused = limit.begin("user20", network(20), start).map(drop);
        assert_eq!(refused, Err(Wait { seconds: 12 }));
        for _ in 0..5 {
            assert_eq!(fail(&limit, "user20", start), Ok(()), "the refusal did not count against the name");
        }
    }

    #[test]
    fn calls_are_limited_far_above_a_busy_service() {
        let clock = FakeRelativeClock::default();
        let limit = CallLimit::on(clock.clone());
        for _ in 0..10_000 {
            assert_eq!(limit.check("service"), Ok(()));
        }
        assert_eq!(limit.check("service"), Err(Wait { seconds: 1 }));
        assert_eq!(limit.check("staff"), Ok(()));
        clock.advance(Duration::from_secs(1));
        assert_eq!(limit.check("service"), Ok(()));
    }
}
