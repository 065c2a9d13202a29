//! What replicas tell each other of the requests that each counts, so that a rate holds for all of them together.
//!
//! Ten times a second what was counted since is put into a note. A replica gets each note once or never; what is lost, and
//! what is on its way, makes a limit late by as much, and no longer than its interval.

use std::{
    collections::{HashMap, VecDeque},
    net::IpAddr,
    sync::Arc,
    time::Duration,
};

use holdfast_barrier::peer::Notes;
use holdfast_base::Clock;
use serde::{Deserialize, Serialize};

use super::{Limiter, RateLimit, Verdict, limiter::Key};

/// Between two notes.
const EVERY: Duration = Duration::from_millis(100);
/// Notes kept for replicas that are slow to take them.
const KEPT: usize = 16;
/// Without anybody who asks for so long nothing is put down.
const NOBODY: Duration = Duration::from_secs(2);
/// Clients in a note; of a flood of more, the rest is counted by each replica alone.
const MOST: usize = 2048;

/// Notes that are kept, and the next one.
#[derive(Default)]
pub(super) struct Telling {
    /// When somebody last asked.
    asked: Option<Duration>,
    counted: HashMap<Key, Count>,
    begun: Duration,
    notes: VecDeque<Vec<Told>>,
    /// Number of the newest.
    last: u64,
}

/// Requests of a client in its present interval.
#[derive(Clone, Copy, Default)]
struct Count {
    requests: u64,
    /// When the interval ends, of the monotonic clock here.
    ends: Duration,
}

/// The same, told to others.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Told {
    #[serde(rename = "q")]
    pub quota: String,
    /// Empty: all others together.
    #[serde(rename = "c", default, skip_serializing_if = "Option::is_none")]
    pub client: Option<IpAddr>,
    #[serde(rename = "n")]
    pub requests: u64,
    /// Milliseconds until the interval ends.
    #[serde(rename = "l")]
    pub left: u64,
}

/// A limiter whose rates hold for all replicas together.
pub struct SharedLimiter {
    counts: Limiter,
    clock: Arc<dyn Clock>,
}

impl SharedLimiter {
    /// Nobody has asked yet.
    pub fn new(clock: Arc<dyn Clock>) -> Self {
        Self { counts: Limiter::default(), clock }
    }

    /// As [`Limiter::ask`], now.
    pub fn ask(&self, quota: &str, limit: &RateLimit, address: Option<IpAddr>) -> Verdict {
        self.counts.ask(quota, limit, address, self.clock.boottime())
    }
}

impl Notes for SharedLimiter {
    fn tell(&self, since: u64) -> Option<(u64, String)> {
        let (number, told) = self.counts.tell(since, self.clock.boottime())?;
        Some((number, serde_json::to_string(&told).ok()?))
    }

    fn hear(&self, note: &str) {
        match serde_json::from_str::<Vec<Told>>(note) {
            Ok(told) => self.counts.hear(&told, self.clock.boottime()),
            // Of a replica of another version: its requests are not counted here.
            Err(error) => tracing::debug!(%error, "what another replica counted is not understood"),
        }
    }
}

impl Telling {
    /// Is there somebody to be told? If not, what was put down is forgotten.
    pub fn is_heard(&mut self, now: Duration) -> bool {
        let heard = self.asked.is_some_and(|asked| now < asked + NOBODY);
        if !heard {
            self.counted.clear();
        }
        heard
    }

    /// A request was counted.
    pub fn count(&mut self, key: Key, ends: Duration) {
        if self.counted.len() < MOST || self.counted.contains_key(&key) {
            let count = self.counted.entry(key).or_default();
            (count.requests, count.ends) = (count.requests + 1, ends);
        }
    }

    /// What is newer than the note of this number, with the number of the newest.
    pub fn tell(&mut self, since: u64, now: Duration) -> Option<(u64, Vec<Told>)> {
        self.asked = Some(now);
        if now >= self.begun + EVERY && !self.counted.is_empty() {
            let told = self.counted.drain().map(|((quota, client), count)| {
                let left = count.ends.saturating_sub(now).as_millis();
                let left = u64::try_from(left).unwrap_or(u64::MAX);
                Told { quota, client: client.address(), requests: count.requests, left }
            });
            self.notes.push_back(told.collect());
            if self.notes.len() > KEPT {
                self.notes.pop_front();
            }
            (self.begun, self.last) = (now, self.last + 1);
        }
        // Who asks with a number of an earlier limiter starts with what is kept.
        let missed = self.last.checked_sub(since).unwrap_or(self.last);
        let kept = self.notes.len();
        let missed = usize::try_from(missed).unwrap_or(kept).min(kept);
        let told: Vec<_> = self.notes.iter().skip(kept - missed).flatten().cloned().collect();
        (!told.is_empty()).then_some((self.last, told))
    }
}
