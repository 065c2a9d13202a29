//! The lease of a credential: how long it is, whether it can be renewed, and when that is to be tried.

use std::time::Duration;

use holdfast_api_types::Envelope;
use holdfast_base::Timestamp;
use tokio::time::Instant;

use super::Round;
use crate::backoff::Jitter;

/// Refused renewals in a row after which the lease is replaced instead.
const REFUSALS: u32 = 2;

pub(super) struct Lease {
    pub(super) id: String,
    renewable: bool,
    /// Longest duration seen.
    whole: Duration,
    pub(super) ends: Instant,
    pub(super) ends_wall: Timestamp,
    /// Renewal no longer prolongs it.
    pub(super) last_leg: bool,
    /// The server does not know it any more.
    gone: bool,
    refusals: u32,
}

impl Lease {
    /// Of an answer to what was `sent` then; `same` is what is known of that lease, where it is not a new one.
    pub(super) fn of(envelope: &Envelope, same: Option<&Self>, sent: Instant, round: Round<'_>) -> Self {
        let ttl = Duration::from_secs(envelope.lease_duration);
        Self {
            whole: same.map_or(ttl, |known| known.whole.max(ttl)),
            // The server knows it but did not renew it.
            last_leg: same.is_some_and(|known| known.gone || known.last_leg),
            id: envelope.lease_id.clone(),
            renewable: envelope.renewable,
            ends: sent + ttl,
            ends_wall: round.clock.now() + ttl,
            gone: false,
            refusals: 0,
        }
    }

    /// Is there still something to renew, or to name as what is replaced?
    pub(super) fn lives(&self, now: Instant) -> bool {
        self.ends > now && !self.gone
    }

    /// Is it worth a renewal?
    pub(super) fn prolongs(&self) -> bool {
        self.renewable && !self.last_leg
    }

    /// It was renewed for `ttl`, counted from when that was `sent`; `wanted` is how long it is to be.
    pub(super) fn renewed(&mut self, ttl: Duration, wanted: Option<Duration>, sent: Instant, round: Round<'_>) {
        let ends = sent + ttl;
        // What is as long as it is wanted is no sign of an end, however long it was before.
        let wanted = wanted.is_some_and(|wanted| ttl + Duration::from_secs(1) >= wanted);
        let short = ttl < self.whole.mul_f64(0.9) || ends <= self.ends + Duration::from_secs(1);
        self.last_leg = short && !wanted;
        self.whole = if wanted { ttl } else { self.whole.max(ttl) };
        self.ends = ends;
        self.ends_wall = round.clock.now() + ttl;
        self.refusals = 0;
    }

    /// A renewal failed with this status, if the server answered at all.
    pub(super) fn refused(&mut self, status: Option<u16>) {
        match status {
            // Unknown or not renewable. The next read says which, and finds what is bound to the pod.
            Some(400 | 404) => self.gone = true,
            Some(403) => {
                self.refusals += 1;
                self.last_leg |= self.refusals >= REFUSALS;
            }
            _ => {}
        }
    }

    /// When to renew or replace it, if `left` is what it has: two thirds of that; 85 % where it cannot be renewed at all.
    pub(super) fn due_in(&self, left: Duration, jitter: &Jitter) -> Duration {
        let fraction = if self.renewable { 2.0 / 3.0 } else { 0.85 };
        jitter.around(left, fraction).max(Duration::from_millis(500))
    }
}
