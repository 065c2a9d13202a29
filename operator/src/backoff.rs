//! When an object that failed is tried again: twice as long after every failure, with jitter, at once when it is changed.
//!
//! A failure writes a status, a status is a change, and every change is a reconciliation. Without this memory, an object
//! that fails with an ever new message would spin.

use std::{
    collections::HashMap,
    time::{Duration, Instant},
};

use parking_lot::Mutex;

/// First pause.
const FIRST: Duration = Duration::from_secs(1);
/// Longest pause where something must change first.
pub const PATIENT: Duration = Duration::from_secs(60);
/// Longest pause where a server is away: what waits for it goes on soon after it is back.
pub const KEEN: Duration = Duration::from_secs(5);

/// The objects that failed, by uid.
#[derive(Debug, Default)]
pub struct Backoff(Mutex<HashMap<String, Entry>>);

#[derive(Debug)]
struct Entry {
    fingerprint: String,
    failures: u32,
    until: Instant,
}

impl Backoff {
    /// How long this object must still wait; `None` when it may be tried. `fingerprint` names what a user can change.
    pub fn wait(&self, uid: &str, fingerprint: &str, now: Instant) -> Option<Duration> {
        let entries = self.0.lock();
        let entry = entries.get(uid).filter(|entry| entry.fingerprint == fingerprint)?;
        entry.until.checked_duration_since(now).filter(|left| !left.is_zero())
    }

    /// Counts a failure; answers the pause, at most about `longest`. `jitter` in 0..=255 spreads it by ±20 %.
    pub fn failed(&self, uid: &str, fingerprint: &str, longest: Duration, jitter: u8, now: Instant) -> Duration {
        let mut entries = self.0.lock();
        let failures = match entries.get(uid) {
            Some(entry) if entry.fingerprint == fingerprint => entry.failures.saturating_add(1),
            _ => 1,
        };
        let pause = spread(FIRST.saturating_mul(1 << (failures - 1).min(6)).min(longest), jitter);
        entries.insert(uid.to_owned(), Entry { fingerprint: fingerprint.to_owned(), failures, until: now + pause });
        pause
    }

    /// The object is well, or gone.
    pub fn succeeded(&self, uid: &str) {
        self.0.lock().remove(uid);
    }

    /// Something that objects depend on has changed: all may be tried at once, and keep their count.
    pub fn wake(&self, uid: &str, now: Instant) {
        if let Some(entry) = self.0.lock().get_mut(uid) {
            entry.until = now;
        }
    }
}

/// 80 % to 120 % of a pause.
pub fn spread(pause: Duration, jitter: u8) -> Duration {
    pause.mul_f64(0.8 + 0.4 * f64::from(jitter) / 255.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_to_a_bound_and_end_with_a_change_of_the_object() {
        let (backoff, now) = (Backoff::default(), Instant::now());
        let pauses: Vec<_> =
            (0..9).map(|_| backoff.failed("u", "1", PATIENT, 128, now).as_secs_f64().round()).collect();
        assert_eq!(pauses[..4], [1.0, 2.0, 4.0, 8.0]);
        assert_eq!(pauses[8], 60.0);
        assert_eq!(backoff.failed("u", "1", KEEN, 128, now).as_secs_f64().round(), 5.0);
        assert!(backoff.wait("u", "1", now).is_some());
        assert!(backoff.wait("u", "2", now).is_none());
        backoff.succeeded("u");
        assert!(backoff.wait("u", "1", now).is_none());
    }

    #[test]
    fn jitter_spreads_both_ways() {
        assert_eq!(spread(Duration::from_secs(10), 0), Duration::from_secs(8));
        assert_eq!(spread(Duration::from_secs(10), 255), Duration::from_secs(12));
    }
}
