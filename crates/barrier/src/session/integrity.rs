//! What somebody else did to the store, seen as it happens.
//!
//! A revision of ours that changes values holds one authentic lane record, numbered one after the last of its lane; every value
//! put carries that batch's id in its header, every key deleted is named in the record. Old ciphertext put back by whoever can
//! write to etcd fits none: the key is quarantined, its reads fail, until we write it again. What was changed while no replica
//! ran is not seen by this, only what moved from its place or does not decrypt.
//!
//! A full store takes no put, so no lane record either: then deletes go alone. A revision of these is believed while the store says
//! that it is full, which is asked, or when who made it says so once there is room; until then the key is quarantined, and nobody
//! is alarmed for ten seconds.
//!
//! A lane that goes on further than where it was means that something was missed, one that goes back that an old record was put
//! back, by hand or with all the rest: in both cases nothing that memory shows is trusted any more.

use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;
use holdfast_storage::{Event, KeyValue};
use parking_lot::Mutex;
use tokio::sync::watch;

use super::lane::delete_mark;
use crate::keys::Keys;
use crate::layout;
use crate::names::DATA;
use crate::record::{self, LaneRecord};
use crate::value::{self, BatchId};
use crate::view::Revision;

/// Keys remembered at most; beyond them changes are still counted and logged.
const REMEMBERED: usize = 10_000;
/// Whoever deleted something in a store that was full has said so this long after it is seen that there is room.
const SAID_WITHIN: Duration = Duration::from_secs(10);

/// Lanes as last seen, and keys that somebody else changed.
#[derive(Default)]
pub(super) struct Integrity {
    /// Whether a foreign change was ever seen: every read asks, and most need not look further.
    any: AtomicBool,
    state: Mutex<State>,
    violations: watch::Sender<u64>,
}

#[derive(Default)]
struct State {
    /// Number of the last batch by key of the lane.
    lanes: HashMap<Bytes, u64>,
    /// Foreign changes by key.
    foreign: HashMap<Bytes, Foreign>,
    /// Keys whose foreign changes are over as of the last revision, which readers may not see yet.
    ended: Vec<Bytes>,
    /// A lane does not go on where it was.
    jumped: bool,
    /// What was deleted without a lane record: by one of us if the store was full.
    doubted: Vec<Doubt>,
}

struct Doubt {
    revision: Revision,
    /// Boottime at which the store was not full, after it was seen.
    since: Option<Duration>,
}

/// What somebody else made of a key, from one revision to the one before another.
struct Foreign {
    since: Revision,
    /// Of the last foreign change, if that was a delete.
    deleted: Option<Revision>,
    /// Of the change of ours that put an end to it.
    until: Option<Revision>,
}

/// The batch that a revision is, by its lane record.
struct Batch {
    id: BatchId,
    deletes: Vec<String>,
}

impl Integrity {
    /// Looks at a revision before readers can see it; `full`: the store took no put lately. False: a lane does not go on
    /// where it was.
    pub fn check(&self, keys: &Keys, revision: Revision, events: &[Event], full: bool) -> bool {
        let mut state = self.state.lock();
        state.forget_ended();
        let batch = state.batch(keys, events);
        let alone = events.iter().all(|event| matches!(event, Event::Delete { .. }));
        for event in events.iter().filter(|event| event.key().starts_with(DATA)) {
            if batch.as_ref().is_some_and(|batch| batch.made(keys, event)) || (alone && full) {
                state.end(event.key(), revision);
                continue;
            }
            match alone {
                true => state.doubted.push(Doubt { revision, since: None }),
                false => self.alarm(1),
            }
            state.remember(event, revision);
            self.any.store(true, Ordering::SeqCst);
        }
        !std::mem::take(&mut state.jumped)
    }

    /// Whether something was deleted of which only [`Integrity::judge`] can tell by whom.
    pub fn doubts(&self) -> bool {
        !self.state.lock().doubted.is_empty()
    }

    /// The store is full, so that deletes without a lane record were by one of us; or it is not, and they were by somebody else if
    /// nobody says otherwise in time.
    pub fn judge(&self, full: bool, now: Duration) {
        let mut state = self.state.lock();
        if full {
            let revisions = state.doubted.iter().map(|doubt| doubt.revision).collect();
            return state.believe(&revisions);
        }
        let before = state.doubted.len();
        state.doubted.retain_mut(|doubt| now < *doubt.since.get_or_insert(now) + SAID_WITHIN);
        let foreign = before - state.doubted.len();
        if foreign > 0 {
            self.alarm(foreign as u64);
        }
    }

    fn alarm(&self, changes: u64) {
        self.violations.send_modify(|count| *count += changes);
        tracing::error!(changes, "stored values were changed by somebody else; they are not served");
    }

    /// Whether what is known of a key, its value of this revision or that it is absent as of it, is the work of somebody else.
    pub fn is_foreign(&self, key: &Bytes, revision: Revision) -> bool {
        self.any.load(Ordering::SeqCst) && self.state.lock().is_foreign(key, revision)
    }

    /// Changes by somebody else seen so far.
    pub fn violations(&self) -> watch::Receiver<u64> {
        self.violations.subscribe()
    }

    /// The lanes are where these records of all of them say, as of the revision that the watch begins after.
    pub fn start_from(&self, keys: &Keys, lanes: &[KeyValue]) {
        let seq = |item: &KeyValue| Some(record::decode::<LaneRecord>(&keys.mac, &item.key, &item.value)?.seq);
        let lanes = lanes.iter().filter_map(|item| Some((Bytes::copy_from_slice(&item.key), seq(item)?)));
        self.state.lock().lanes = lanes.collect();
    }
}

impl State {
    /// The batch of a revision, if its lane record is good. Lanes are followed also where no value changes.
    fn batch(&mut self, keys: &Keys, events: &[Event]) -> Option<Batch> {
        let mut found = Vec::new();
        for event in events.iter().filter(|event| event.key().starts_with(layout::LANES)) {
            match event {
                Event::Delete { key, .. } => {
                    self.lanes.remove(key);
                }
                Event::Put(item) => found.push(self.follow(keys, item)),
            }
        }
        match <[Option<Batch>; 1]>::try_from(found) {
            Ok([batch]) => batch,
            Err(_) => None,
        }
    }

    /// Deletes of these revisions were by one of us.
    fn believe(&mut self, revisions: &HashSet<Revision>) {
        self.doubted.retain(|doubt| !revisions.contains(&doubt.revision));
        for (key, foreign) in &mut self.foreign {
            if let Some(at) = foreign.deleted.filter(|at| foreign.until.is_none() && revisions.contains(at)) {
                foreign.until = Some(at);
                self.ended.push(key.clone());
            }
        }
    }

    /// Somebody else changed a key.
    fn remember(&mut self, event: &Event, revision: Revision) {
        let deleted = matches!(event, Event::Delete { .. }).then_some(revision);
        let room = self.foreign.len() < REMEMBERED;
        match self.foreign.get_mut(event.key()) {
            Some(foreign) if foreign.until.is_none() => foreign.deleted = deleted,
            Some(foreign) => *foreign = Foreign { since: revision, deleted, until: None },
            None if room => {
                self.foreign.insert(event.key().clone(), Foreign { since: revision, deleted, until: None });
            }
            None => {}
        }
    }

    /// One of us changed a key. Until readers see that, what they see is what was there before.
    fn end(&mut self, key: &Bytes, revision: Revision) {
        if let Some(foreign) = self.foreign.get_mut(key).filter(|foreign| foreign.until.is_none()) {
            foreign.until = Some(revision);
            self.ended.push(key.clone());
        }
    }

    /// Readers see what put an end to these.
    fn forget_ended(&mut self) {
        for key in std::mem::take(&mut self.ended) {
            if self.foreign.get(&key).is_some_and(|foreign| foreign.until.is_some()) {
                self.foreign.remove(&key);
            }
        }
    }

    fn is_foreign(&self, key: &Bytes, revision: Revision) -> bool {
        let theirs =
            |foreign: &Foreign| foreign.since <= revision && foreign.until.is_none_or(|until| revision < until);
        self.foreign.get(key).is_some_and(theirs)
    }

    fn follow(&mut self, keys: &Keys, item: &KeyValue) -> Option<Batch> {
        let record: LaneRecord = record::decode(&keys.mac, &item.key, &item.value)?;
        let last = self.lanes.get(&item.key).copied();
        // A lane that is made, or made again, starts where it says.
        let made = item.create_revision == item.mod_revision;
        if let Some(last) = last.filter(|last| !made && record.seq != last + 1) {
            tracing::error!("a lane record does not follow the one before it");
            self.jumped = true;
            if record.seq <= last {
                return None;
            }
        }
        self.lanes.insert(Bytes::copy_from_slice(&item.key), record.seq);
        if !record.alone.is_empty() {
            self.believe(&record.alone.iter().copied().collect());
        }
        let (member, lane) = layout::lane_parts(&item.key)?;
        let id = BatchId { member, lane, seq: record.seq };
        (record.cancelled.is_none()).then_some(Batch { id, deletes: record.deletes })
    }
}

impl Batch {
    /// Whether it made this change. The header's own MAC is checked when the value is read.
    fn made(&self, keys: &Keys, event: &Event) -> bool {
        match event {
            Event::Put(item) => value::claimed_batch(&item.value) == Some(self.id),
            Event::Delete { key, .. } => self.deletes.contains(&delete_mark(keys, key)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn put(key: &Bytes, mod_revision: Revision) -> Event {
        Event::Put(KeyValue { key: key.clone(), value: Bytes::new(), create_revision: 1, mod_revision })
    }

    /// Readers see a revision a moment after it was looked at: until then they must not get what was foreign before it.
    #[test]
    fn what_was_foreign_stays_so_until_readers_see_what_came_after() {
        let (mut state, key) = (State::default(), Bytes::from("k"));
        let foreign = |state: &State| [9, 10, 11, 12, 13].map(|revision| state.is_foreign(&key, revision));
        state.remember(&put(&key, 10), 10);
        state.remember(&put(&key, 11), 11);
        assert_eq!(foreign(&state), [false, true, true, true, true]);
        state.end(&key, 12);
        assert_eq!(foreign(&state), [false, true, true, false, false]);
        state.forget_ended();
        assert_eq!(foreign(&state), [false; 5]);
        state.remember(&put(&key, 10), 10);
        state.end(&key, 11);
        state.remember(&Event::Delete { key: key.clone(), mod_revision: 12 }, 12);
        state.forget_ended();
        assert_eq!(foreign(&state), [false, false, false, true, true], "it is foreign again");
        state.believe(&HashSet::from([12]));
        assert_eq!(foreign(&state), [false; 5], "it was one of us");
    }
}
