//! Who keeps others waiting reads from memory no more, for a while.

use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::time::Instant;

use super::Peers;
use crate::record::State;
use crate::session::Session;
use crate::view::Revision;

/// An answer that waits for so long has who keeps it waiting demoted; who is so far behind others demotes itself.
const SLOW: Duration = Duration::from_millis(250);
/// Never further behind than this for a while: then it may read from memory again.
const CALM: Duration = Duration::from_millis(50);
const FIRST_REST: Duration = Duration::from_secs(5);
const LONGEST_REST: Duration = Duration::from_secs(300);

/// When we may read from memory again after a demotion.
#[derive(Default)]
pub(super) struct Rest {
    length: Duration,
    /// Boottime since which we have kept up.
    since: Duration,
    /// How long we are behind others now.
    behind: Option<Instant>,
}

impl Peers {
    /// Whether the last demotion is long enough ago, and we have kept up since.
    pub fn is_rested(&self, now: Duration) -> bool {
        let rest = self.rest.lock();
        rest.length.is_zero() || now >= rest.since + rest.length
    }
}

impl Session {
    /// Reads nothing from memory any more under this record of ours.
    pub(in crate::session) fn demote(&self, record: Revision, why: &str) {
        let standing = self.standing.load();
        if standing.state != State::Cached
            || standing.revision != record
            || self.peers.demoted.swap(record, Ordering::SeqCst) == record
        {
            return;
        }
        tracing::warn!(why, "this replica asks the store before each read for a while");
        self.peers.counters.demotions.fetch_add(1, Ordering::Relaxed);
        let now = self.clock.boottime();
        let mut rest = self.peers.rest.lock();
        let long_ago = now > rest.since + rest.length + LONGEST_REST;
        rest.length = if long_ago { FIRST_REST } else { (rest.length * 2).clamp(FIRST_REST, LONGEST_REST) };
        rest.since = now;
        drop(rest);
        self.peers.tell_news();
        self.wake.notify_one();
    }

    /// Who sees others ahead does not keep them waiting.
    pub(super) fn mind_own_lag(&self) {
        let (furthest, applied) = (self.roster.lock().furthest(), self.applied.get());
        let mut rest = self.peers.rest.lock();
        if furthest <= applied {
            rest.behind = None;
            return;
        }
        let behind = *rest.behind.get_or_insert_with(Instant::now);
        if behind.elapsed() > CALM {
            rest.since = self.clock.boottime();
        }
        drop(rest);
        if behind.elapsed() > SLOW && self.beats.was_there(behind) {
            self.demote(self.standing.load().revision, "it is behind others");
        }
    }

    /// Has everybody demoted whom an answer waits for too long.
    pub(super) fn mind_the_slow(&self) {
        let applied = self.applied.get();
        if let Some((_, since)) = self.gate.overdue(SLOW / 2, applied) {
            self.beats.find_out(since);
        }
        let Some((revision, since)) = self.gate.overdue(SLOW, applied) else { return };
        if !self.beats.was_there(since) {
            return;
        }
        let wanted = self.roster.lock().demote_behind(revision, self.clock.boottime());
        if wanted > 0 {
            self.peers.counters.demands.fetch_add(wanted, Ordering::Relaxed);
            tracing::warn!("another replica is slow; it is asked to give up its cache");
            self.peers.tell_news();
        }
    }
}
