//! The other members, and how long each counts as reading from its memory.

use std::collections::HashMap;
use std::time::Duration;

use bytes::Bytes;
use holdfast_storage::{Event, KeyValue};

use crate::record::{self, MemberRecord, State};
use crate::value::MacKey;
use crate::view::Revision;

/// How long an evicted member counts: 1.25 times what a heartbeat entitles to, for clocks that differ by a tenth, and a bit.
const COUNTED_FOR: Duration = Duration::from_millis(3800);
/// How long a member may take to give up its cache before it is evicted.
const GRACE: Duration = Duration::from_secs(2);

/// The other members, as of what is applied.
#[derive(Debug, Default)]
pub(super) struct Roster(HashMap<Bytes, Peer>);

/// Key and `mod_revision` of a member's record.
type Record = (Bytes, Revision);

#[derive(Debug)]
struct Peer {
    state: State,
    revision: Revision,
    /// Boottime at which we first saw it in this state.
    since: Duration,
    /// Its record is gone, by hand, while it read from memory.
    gone: bool,
}

// === impl Roster ===

impl Roster {
    /// From the records in the store, without our own.
    pub fn of(members: &[KeyValue], own: Option<&Bytes>, mac: &MacKey, now: Duration) -> Self {
        let mut roster = Self::default();
        for item in members.iter().filter(|item| Some(&item.key) != own) {
            roster.apply(&Event::Put(item.clone()), mac, now);
        }
        roster
    }

    /// Nobody else is here, not even evicted.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether nobody can still show older state than ours.
    pub fn lets_answer(&mut self, now: Duration) -> bool {
        self.0.retain(|_, peer| !(peer.gone && peer.is_over(now)));
        self.0.values().all(|peer| match peer.state {
            State::Barrier => true,
            State::Cached => false,
            State::Evicted => peer.is_over(now),
        })
    }

    /// It is our own after all.
    pub fn forget(&mut self, key: &Bytes) {
        self.0.remove(key);
    }

    /// One change of another member's record.
    pub fn apply(&mut self, event: &Event, mac: &MacKey, now: Duration) {
        match event {
            Event::Put(item) => {
                let Some(record) = record::decode::<MemberRecord>(mac, &item.key, &item.value) else {
                    tracing::error!("a member record in the store is not authentic; it is ignored");
                    return;
                };
                let since = match self.0.get(&item.key) {
                    Some(peer) if peer.state == record.state => peer.since,
                    _ => now,
                };
                let peer = Peer { state: record.state, revision: item.mod_revision, since, gone: false };
                self.0.insert(item.key.clone(), peer);
            }
            Event::Delete { key, .. } => match self.0.get_mut(key) {
                // Somebody else who waited its time may delete a tombstone; then our wait ends too.
                Some(peer) if peer.state == State::Cached => {
                    (peer.state, peer.since, peer.gone) = (State::Evicted, now, true);
                }
                _ => {
                    self.0.remove(key);
                }
            },
        }
    }

    /// Who has kept its cache for too long, and whose eviction need not be remembered any more.
    pub fn silent_and_over(&self, now: Duration) -> (Vec<Record>, Vec<Record>) {
        let pick = |wanted: fn(&Peer, Duration) -> bool| {
            let chosen = self.0.iter().filter(|(_, peer)| wanted(peer, now));
            chosen.map(|(key, peer)| (key.clone(), peer.revision)).collect()
        };
        let silent = pick(|peer, now| peer.state == State::Cached && now >= peer.since + GRACE);
        let over = pick(|peer, now| peer.state == State::Evicted && !peer.gone && peer.is_over(now));
        (silent, over)
    }
}

impl Peer {
    /// Evicted for so long that no cached read of it can be in time.
    fn is_over(&self, now: Duration) -> bool {
        self.state == State::Evicted && now >= self.since + COUNTED_FOR
    }
}

#[cfg(test)]
mod tests {
    use holdfast_base::{SeededEntropy, Timestamp};

    use super::*;
    use crate::keyring::Keyring;
    use crate::layout;

    fn put(mac: &MacKey, state: State, revision: Revision) -> Event {
        let key = layout::member(&[1; 16]);
        let record = MemberRecord { state, instance: "a".to_owned(), formats: (1, 1), labels: Default::default() };
        let value = record::encode(mac, &key, &record);
        Event::Put(KeyValue { key, value, create_revision: 1, mod_revision: revision })
    }

    #[test]
    fn an_evicted_member_counts_until_its_time_is_over() {
        let mac = MacKey::new(&Keyring::generate(&SeededEntropy::new(1), Timestamp::UNIX_EPOCH));
        let mut roster = Roster::default();
        let second = Duration::from_secs(1);
        roster.apply(&put(&mac, State::Cached, 5), &mac, second);
        assert!(roster.silent_and_over(second * 2).0.is_empty());
        assert_eq!(roster.silent_and_over(second * 3).0, [(layout::member(&[1; 16]), 5)]);
        roster.apply(&put(&mac, State::Evicted, 6), &mac, second * 4);
        assert!(roster.silent_and_over(second * 7).1.is_empty());
        assert_eq!(roster.silent_and_over(second * 8).1, [(layout::member(&[1; 16]), 6)]);
    }

    #[test]
    fn a_record_that_vanishes_while_cached_counts_on() {
        let mac = MacKey::new(&Keyring::generate(&SeededEntropy::new(1), Timestamp::UNIX_EPOCH));
        let mut roster = Roster::default();
        roster.apply(&put(&mac, State::Cached, 5), &mac, Duration::ZERO);
        let key = layout::member(&[1; 16]);
        roster.apply(&Event::Delete { key, mod_revision: 6 }, &mac, Duration::from_secs(1));
        assert!(!roster.is_empty());
    }
}
