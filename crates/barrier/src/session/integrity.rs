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
    /// Revision of the foreign change by key.
    foreign: HashMap<Bytes, Foreign>,
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

#[derive(Clone, Copy)]
enum Foreign {
    Put(Revision),
    Deleted(Revision),
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
        let batch = state.batch(keys, events);
        let alone = events.iter().all(|event| matches!(event, Event::Delete { .. }));
        for event in events.iter().filter(|event| event.key().starts_with(DATA)) {
            if batch.as_ref().is_some_and(|batch| batch.made(keys, event)) {
                state.foreign.remove(event.key());
                continue;
            }
            if alone && full {
                state.foreign.remove(event.key());
                continue;
            }
            match alone {
                true => state.doubted.push(Doubt { revision, since: None }),
                false => self.alarm(1),
            }
            if state.foreign.len() < REMEMBERED {
                let foreign = match event {
                    Event::Put(_) => Foreign::Put(revision),
                    Event::Delete { .. } => Foreign::Deleted(revision),
                };
                state.foreign.insert(event.key().clone(), foreign);
                self.any.store(true, Ordering::SeqCst);
            }
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

    /// Whether what is known of a key, its value of this revision or that it is absent, is the work of somebody else.
    pub fn is_foreign(&self, key: &Bytes, revision: Revision, absent: bool) -> bool {
        if !self.any.load(Ordering::SeqCst) {
            return false;
        }
        match self.state.lock().foreign.get(key) {
            Some(Foreign::Put(foreign)) => !absent && *foreign == revision,
            Some(Foreign::Deleted(_)) => absent,
            None => false,
        }
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
        self.foreign.retain(|_, foreign| !matches!(foreign, Foreign::Deleted(at) if revisions.contains(at)));
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
