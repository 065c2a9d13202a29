//! When a lease is renewed, when its credential is replaced, how long to wait after a failure. Pure.

use std::time::Duration;

use holdfast_base::Entropy;

/// A lease as the driver holds it. Moments are boottime.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lease {
    /// Its id.
    pub id: String,
    /// Its full duration: what it was given when it was new, or the most that a renewal gave.
    pub full: Duration,
    /// When it ends.
    pub expires: Duration,
    /// What to do next with it.
    pub next: Next,
}

/// What a lease needs when its time has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// More time.
    Renew,
    /// Another credential: this one can't get its full time any more.
    Replace,
    /// The server's word on what the item has now: a renewal was refused, or its end has passed.
    Reattach,
}

impl Lease {
    /// A lease as it was answered at `now`. `known` is its full duration if an earlier answer told.
    pub fn new(id: String, granted: Duration, renewable: bool, known: Option<Duration>, now: Duration) -> Self {
        let full = known.unwrap_or(granted).max(granted);
        let next = if renewable { Next::Renew } else { Next::Replace };
        Self { id, full, expires: now + granted, next }
    }

    /// Takes in what a renewal gave. Near the lease's longest life the server gives less than asked for: then the
    /// credential is replaced while the old one still has a third of its time.
    pub fn renewed(&mut self, granted: Duration, renewable: bool, now: Duration) {
        let short = granted < self.full.mul_f64(0.9);
        self.next = if renewable && !short { Next::Renew } else { Next::Replace };
        self.full = self.full.max(granted);
        self.expires = now + granted;
    }

    /// When to act: after two thirds of the time that is left, ±10 %.
    pub fn due(&self, now: Duration, entropy: &dyn Entropy) -> Duration {
        let left = self.expires.saturating_sub(now);
        now + jittered(left.mul_f64(2.0 / 3.0), entropy).max(Duration::from_millis(200))
    }
}

/// Must a lease that was answered with `granted` seconds be renewed at once to last `ttl`? One that is too long always;
/// one that is too short only when it is new, since what is left of an old one is shorter by itself.
pub fn differs(granted: u64, ttl: Duration, new: bool) -> bool {
    let ttl = ttl.as_secs();
    granted > ttl + 1 || (new && granted + 1 < ttl)
}

/// When to make anew what a write without lease gave: at two thirds of the seconds that its certificate has left, as for
/// leases; otherwise not in sight. One that was over when it came is not asked for as fast as they are made.
pub fn made_for(left: Option<i64>) -> Duration {
    let seconds = left.map_or(45 * 86_400, |left| u64::try_from(left).ok().filter(|left| *left > 0).unwrap_or(90));
    Duration::from_secs(seconds).mul_f64(2.0 / 3.0)
}

/// A moment of boottime, so many seconds from `now`.
pub fn moment(now: Duration, left: i64) -> Duration {
    let distance = Duration::from_secs(left.unsigned_abs());
    if left < 0 { now.saturating_sub(distance) } else { now + distance }
}

/// How long to wait after the `failures`-th failure in a row: 1 s doubled each time, at most 30 s, ±10 %.
pub fn backoff(failures: u32, entropy: &dyn Entropy) -> Duration {
    let seconds = 2u64.pow(failures.saturating_sub(1).min(5)).min(30);
    jittered(Duration::from_secs(seconds), entropy)
}

/// ±10 %.
pub fn jittered(duration: Duration, entropy: &dyn Entropy) -> Duration {
    let mut byte = [0u8];
    entropy.fill(&mut byte);
    duration.mul_f64(0.9 + 0.2 * f64::from(byte[0]) / 255.0)
}

#[cfg(test)]
mod tests {
    use holdfast_base::SeededEntropy;

    use super::*;

    const HOUR: Duration = Duration::from_secs(3600);

    #[test]
    fn a_lease_is_renewed_at_two_thirds_give_or_take() {
        let entropy = SeededEntropy::new(1);
        let lease = Lease::new("l".into(), HOUR, true, None, Duration::ZERO);
        for _ in 0..100 {
            let due = lease.due(Duration::ZERO, &entropy).as_secs();
            assert!((2160..=2640).contains(&due), "{due}");
        }
    }

    #[test]
    fn a_short_grant_means_that_the_end_is_near() {
        let mut lease = Lease::new("l".into(), HOUR, true, None, Duration::ZERO);
        lease.renewed(HOUR, true, HOUR / 2);
        assert_eq!(lease.next, Next::Renew);
        lease.renewed(HOUR / 2, true, HOUR);
        assert_eq!((lease.next, lease.expires), (Next::Replace, HOUR + HOUR / 2));
        assert_eq!(Lease::new("l".into(), HOUR, false, None, Duration::ZERO).next, Next::Replace);
    }

    #[test]
    fn what_is_left_after_a_restart_is_not_the_full_time() {
        let mut lease = Lease::new("l".into(), HOUR / 3, true, Some(HOUR), Duration::ZERO);
        lease.renewed(HOUR, true, HOUR / 4);
        assert_eq!((lease.next, lease.full), (Next::Renew, HOUR));
    }

    #[test]
    fn a_lease_that_is_not_as_long_as_the_object_says_is_renewed_at_once() {
        let ttl = Duration::from_secs(600);
        for (granted, new, expected) in [
            (3600, true, true),
            (3600, false, true),
            (600, true, false),
            (599, true, false),
            (60, true, true),
            (60, false, false),
        ] {
            assert_eq!(differs(granted, ttl, new), expected, "{granted} {new}");
        }
    }

    #[test]
    fn a_certificate_without_lease_is_made_anew_at_two_thirds() {
        assert_eq!(made_for(Some(3600)), HOUR.mul_f64(2.0 / 3.0));
        assert_eq!(made_for(Some(-5)), Duration::from_secs(60), "over when it came");
        assert_eq!(made_for(None), Duration::from_secs(30 * 86_400));
        assert_eq!((moment(HOUR, 60), moment(HOUR, -3600)), (HOUR + HOUR / 60, Duration::ZERO));
    }

    #[test]
    fn waiting_grows_to_half_a_minute() {
        let entropy = SeededEntropy::new(2);
        let within = |failures, low: u64, high: u64| {
            let wait = backoff(failures, &entropy).as_millis();
            assert!((u128::from(low)..=u128::from(high)).contains(&wait), "{failures}: {wait}");
        };
        within(1, 900, 1100);
        within(4, 7200, 8800);
        within(60, 27_000, 33_000);
    }
}
