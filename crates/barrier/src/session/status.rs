//! How a replica does among others, for status pages and metrics.

use std::sync::atomic::Ordering;
use std::time::Duration;

use super::{Figures, Session};
use crate::layout;
use crate::record::State;
use crate::view::Revision;

/// How a replica reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// It asks the store how far it is before each request.
    Barrier,
    /// From memory.
    Cached,
    /// It is about to end.
    Leaving,
    /// Declared dead by another.
    Evicted,
}

/// A replica as it sees itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Status {
    /// Id of this run, hexadecimal.
    pub id: String,
    /// What its record says.
    pub mode: Mode,
    /// A request that came now would be answered from memory.
    pub reads_memory: bool,
    /// Revision that its memory shows.
    pub applied: Revision,
    /// Feature level of the store.
    pub level: u8,
    /// The watch of the store is connected.
    pub watching: bool,
    /// Time since the send of the last heartbeat that held.
    pub confirmed_ago: Option<Duration>,
    /// Bytes of its cache.
    pub cache_bytes: usize,
    /// The others.
    pub peers: Vec<PeerStatus>,
    /// Evicted members that answers still wait for.
    pub counted_dead: usize,
    /// Times that it gave up reading from memory since the unseal.
    pub demotions: u64,
    /// Times that it wanted another to.
    pub demands: u64,
    /// Members that it evicted.
    pub evictions: u64,
    /// Times that it joined again under a new id.
    pub rejoins: u64,
    /// Answers that waited for others, since the unseal.
    pub gate_waits: u64,
    /// How long they did, all together.
    pub gate_waited: Duration,
    /// Answers that were given up because others did not confirm in time, or too many waited.
    pub gate_refused: u64,
    /// Answers that wait now.
    pub gate_waiting: usize,
    /// Changes of the store by somebody else.
    pub violations: u64,
    /// Times that another replica had seen other changes than this one, up to the same revision.
    pub divergences: u64,
    /// What it was asked for since the unseal.
    pub figures: Figures,
}

/// Another replica, as seen from here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PeerStatus {
    /// Id of its run, hexadecimal.
    pub id: String,
    /// What its record says.
    pub mode: Mode,
    /// Revision that its memory shows, by what it last said.
    pub applied: Option<Revision>,
    /// Time since it last said something, directly or through another.
    pub silent_for: Option<Duration>,
    /// It has said that it reads nothing from memory, although its record still says so.
    pub demoted: bool,
    /// The last message reached it.
    pub reachable: bool,
}

impl Mode {
    /// As in status pages and metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Barrier => "barrier",
            Self::Cached => "cached",
            Self::Leaving => "leaving",
            Self::Evicted => "evicted",
        }
    }
}

impl From<State> for Mode {
    fn from(state: State) -> Self {
        match state {
            State::Barrier => Self::Barrier,
            State::Cached => Self::Cached,
            State::Leaving => Self::Leaving,
            State::Evicted => Self::Evicted,
        }
    }
}

impl Session {
    /// See [`crate::Barrier::status`].
    pub fn status(&self) -> Status {
        let (standing, now) = (self.standing.load_full(), self.clock.boottime());
        let confirmed = self.confirmed.load(Ordering::SeqCst);
        let (peers, counted_dead) = {
            let roster = self.roster.lock();
            (roster.status(now), roster.counted_dead(now))
        };
        let counters = &self.peers.counters;
        Status {
            id: layout::hex(&standing.id),
            mode: standing.state.into(),
            reads_memory: self.may_read_memory(),
            applied: self.applied.get(),
            level: self.keys.load().level,
            watching: self.feed.runs(),
            confirmed_ago: (confirmed != 0).then(|| now.saturating_sub(Duration::from_nanos(confirmed))),
            cache_bytes: self.cache.used(),
            peers,
            counted_dead,
            demotions: counters.demotions.load(Ordering::Relaxed),
            demands: counters.demands.load(Ordering::Relaxed),
            evictions: counters.evictions.load(Ordering::Relaxed),
            rejoins: counters.rejoins.load(Ordering::Relaxed),
            gate_waits: self.gate.waits.load(Ordering::Relaxed),
            gate_waited: Duration::from_micros(self.gate.waited.load(Ordering::Relaxed)),
            gate_refused: self.gate.refused.load(Ordering::Relaxed),
            gate_waiting: self.gate.waiting(),
            violations: *self.violations().borrow(),
            divergences: self.digest.divergences(),
            figures: self.figures(),
        }
    }
}
