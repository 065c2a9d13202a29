//! A sum over all changes that were applied, compared with other replicas: it finds events that were lost or told twice,
//! stores that forked, and our own faults, within a message.
//!
//! Each revision adds a keyed hash of its changes. Who joins has not seen what was before, so the sums of two replicas differ
//! by a number that stays the same as long as both see the same; the first comparison learns it.

use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use holdfast_storage::Event;
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};

use super::acks::Ack;
use crate::value::MacKey;
use crate::view::Revision;

/// Revisions whose sums are remembered.
const REMEMBERED: usize = 4096;

/// The sum, and what it was.
#[derive(Default)]
pub(super) struct Digest {
    state: Mutex<State>,
    divergences: AtomicU64,
}

/// A sum, and since which start of its replica: those of different starts cannot be compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Sum(u64, u64);

#[derive(Default)]
struct State {
    /// Counts the starts.
    start: u64,
    /// Sums after the last revisions that changed something, oldest first.
    sums: VecDeque<(Revision, u64)>,
    /// Below this nothing is known any more.
    from: Revision,
    /// By how much others differ, since which start of theirs, by key of their record.
    offsets: HashMap<Bytes, (u64, u64)>,
}

impl Digest {
    /// Begins anew after this revision.
    pub fn reset(&self, revision: Revision) {
        let mut state = self.state.lock();
        *state = State { start: state.start + 1, from: revision, ..State::default() };
    }

    /// Adds the changes of a revision, before it is shown.
    pub fn add(&self, mac: &MacKey, revision: Revision, events: &[Event]) {
        let mut sum = 0u64;
        for event in events {
            let tag = match event {
                Event::Put(item) => {
                    mac.over(&[b"holdfast event put", &revision.to_be_bytes(), &item.key, b"=", &item.value])
                }
                Event::Delete { key, .. } => mac.over(&[b"holdfast event delete", &revision.to_be_bytes(), key]),
            };
            let (first, _) = tag.split_first_chunk::<8>().unwrap_or((&[0; 8], &[]));
            sum = sum.wrapping_add(u64::from_be_bytes(*first));
        }
        let mut state = self.state.lock();
        let last = state.sums.back().map_or(0, |(_, sum)| *sum);
        state.sums.push_back((revision, last.wrapping_add(sum)));
        if state.sums.len() > REMEMBERED
            && let Some((oldest, _)) = state.sums.pop_front()
        {
            state.from = oldest;
        }
    }

    /// The sum as of a revision that is applied; `None` if it is not remembered.
    pub fn at(&self, revision: Revision) -> Option<Sum> {
        let state = self.state.lock();
        state.at(revision).map(|sum| Sum(state.start, sum))
    }

    /// Compares with what another said, if this replica has applied as much. `false`: it has seen other changes.
    pub fn agrees(&self, key: &Bytes, ack: &Ack, applied: Revision) -> bool {
        let mut state = self.state.lock();
        let Some(Sum(start, theirs)) = ack.digest.filter(|_| ack.applied <= applied) else { return true };
        let Some(ours) = state.at(ack.applied) else { return true };
        let offset = (start, theirs.wrapping_sub(ours));
        // Once is enough to tell; from here on the new difference is the one to keep.
        let known = state.offsets.insert(key.clone(), offset);
        let agrees = known.is_none_or(|known| known.0 != start || known == offset);
        if !agrees {
            self.divergences.fetch_add(1, Ordering::Relaxed);
        }
        agrees
    }

    /// The member is gone.
    pub fn retain(&self, keep: impl Fn(&Bytes) -> bool) {
        self.state.lock().offsets.retain(|key, _| keep(key));
    }

    /// Times that another had seen other changes.
    pub fn divergences(&self) -> u64 {
        self.divergences.load(Ordering::Relaxed)
    }
}

impl State {
    fn at(&self, revision: Revision) -> Option<u64> {
        if revision < self.from {
            return None;
        }
        let place = self.sums.partition_point(|(at, _)| *at <= revision);
        match place.checked_sub(1) {
            Some(place) => self.sums.get(place).map(|(_, sum)| *sum),
            // Everything that is remembered came later: nothing but the start is known, if that.
            None if self.sums.len() < REMEMBERED => Some(0),
            None => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use holdfast_base::{SeededEntropy, Timestamp};
    use holdfast_storage::KeyValue;

    use super::*;
    use crate::keyring::Keyring;

    fn put(value: &'static str, revision: Revision) -> Vec<Event> {
        vec![Event::Put(KeyValue { key: "k".into(), value: value.into(), create_revision: 1, mod_revision: revision })]
    }

    fn ack(digest: &Digest, applied: Revision) -> Ack {
        Ack { applied, digest: digest.at(applied), ..Ack::default() }
    }

    #[test]
    fn who_joined_later_agrees_until_he_misses_something() {
        let mac = MacKey::new(&Keyring::generate(&SeededEntropy::new(1), Timestamp::UNIX_EPOCH));
        let (old, young, key) = (Digest::default(), Digest::default(), Bytes::from("member"));
        old.add(&mac, 5, &put("before", 5));
        young.reset(6);
        for revision in 7..10 {
            for digest in [&old, &young] {
                digest.add(&mac, revision, &put("both", revision));
            }
            assert!(old.agrees(&key, &ack(&young, revision), revision));
        }
        assert!(old.agrees(&key, &ack(&young, 12), 9), "not compared before it is applied");
        old.add(&mac, 13, &put("lost", 13));
        old.add(&mac, 14, &put("both", 14));
        young.add(&mac, 14, &put("both", 14));
        assert!(!old.agrees(&key, &ack(&young, 14), 14));
        assert_eq!(old.divergences(), 1);
        assert!(old.agrees(&key, &ack(&young, 14), 14), "told once");
    }

    #[test]
    fn what_is_forgotten_is_not_compared() {
        let mac = MacKey::new(&Keyring::generate(&SeededEntropy::new(1), Timestamp::UNIX_EPOCH));
        let digest = Digest::default();
        for revision in 1..=5000 {
            digest.add(&mac, revision, &[]);
        }
        assert_eq!((digest.at(10), digest.at(5000)), (None, Some(Sum(0, 0))));
    }
}
