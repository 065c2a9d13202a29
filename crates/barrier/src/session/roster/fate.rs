//! Who is to go, who is gone for good, and what those who stay agree on.

use std::time::Duration;

use super::{FAILURES, Peer, Record, Roster};
use crate::level::{Levels, SETTLED};
use crate::record::State;

/// How long a member that we cannot talk to may take to give up its cache before it is evicted.
const GRACE: Duration = Duration::from_secs(2);
/// No sign of life for so long, and no connection: a member that reads from memory is evicted.
const SILENT: Duration = Duration::from_millis(500);
/// The same of a member that nobody waits for: its record is removed.
const FORGOTTEN: Duration = Duration::from_secs(30);

/// Who is to go, by the keys of their records.
#[derive(Debug, Default, PartialEq, Eq)]
pub(in crate::session) struct Dead {
    /// They may read from memory: mark them, and count them for a while.
    pub evict: Vec<Record>,
    /// Nobody counts them: remove them.
    pub remove: Vec<Record>,
}

impl Roster {
    /// Who does not answer any more, if we `talk` to others at all; else who has kept its cache for too long.
    pub fn dead(&self, talk: bool, now: Duration) -> Dead {
        let mut dead = Dead::default();
        for (key, peer) in self.peers.iter().filter(|(_, peer)| peer.serves()) {
            let heard = self.acks.heard_at(key).max(peer.since);
            let mute = |longest| peer.failures >= FAILURES && now >= heard + longest;
            let talks = talk && peer.endpoint.is_some();
            match peer.state {
                State::Cached if talks && mute(SILENT) => dead.evict.push((key.clone(), peer.revision)),
                State::Cached if !talks && now >= peer.since + GRACE => dead.evict.push((key.clone(), peer.revision)),
                State::Barrier | State::Leaving if talks && mute(FORGOTTEN) => {
                    dead.remove.push((key.clone(), peer.revision));
                }
                _ => {}
            }
        }
        dead
    }

    /// The newest level that everybody serves, we with these levels, and the records that say so. `None` while somebody is
    /// evicted, who may come back, and until nobody came or went for a while.
    pub fn common_level(&self, ours: Levels, now: Duration) -> Option<(u8, Vec<Record>)> {
        if now < self.moved + SETTLED || !self.peers.values().all(Peer::serves) {
            return None;
        }
        let newest = self.peers.values().map(|peer| peer.levels.newest).fold(ours.newest, u8::min);
        let records = self.peers.iter().map(|(key, peer)| (key.clone(), peer.revision)).collect();
        (ours.serves(newest) && self.peers.values().all(|peer| peer.levels.serves(newest))).then_some((newest, records))
    }

    /// Whose eviction need not be remembered any more. A record that is gone has revision 0.
    pub fn over(&self, now: Duration) -> Vec<Record> {
        let over = self.peers.iter().filter(|(_, peer)| peer.is_over(now));
        over.map(|(key, peer)| (key.clone(), peer.revision)).collect()
    }

    /// Evicted members that are still counted.
    pub fn counted_dead(&self, now: Duration) -> usize {
        self.peers.values().filter(|peer| peer.state == State::Evicted && !peer.is_over(now)).count()
    }
}
