//! What is known of the store as of one revision. Only the watch changes it; a reader may add what it read *at* that revision.
//!
//! An entry may be dropped at any time; what is not here is read again. Values stay encrypted.

use std::collections::VecDeque;
use std::sync::Arc;

use bytes::Bytes;
use foldhash::{HashMap, HashMapExt};
use holdfast_failpoint::switched;
use holdfast_secret::SecretBytes;
use holdfast_storage::{Event, KeyValue};
use parking_lot::Mutex;

use crate::fills::Fills;
use crate::lists::{List, Lists};
use crate::view::{Revision, Shared};

/// Bytes counted for an entry beyond key and value: its places in map and order, which are half empty at times, and what
/// the allocator adds.
const SLOT_COST: usize = 350;
/// Bytes counted for a decoded value: what is decoded is small, a token, a policy.
const DECODED_COST: usize = 1024;

/// Entries by stored key, bounded by bytes.
pub struct Cache {
    state: Mutex<State>,
}

/// What is known of a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Known {
    /// It has this value.
    Present(KeyValue),
    /// It is not there, as of the revision of its deletion, or a later one.
    Absent(Revision),
}

impl Known {
    /// What one has seen who has seen this: the revision that made it so, or a later one.
    pub fn revision(&self) -> Revision {
        match self {
            Self::Present(item) => item.mod_revision,
            Self::Absent(revision) => *revision,
        }
    }
}

/// How often it was asked and changed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Traffic {
    /// Look-ups that it answered.
    pub hits: u64,
    /// Look-ups that had to go to the store.
    pub misses: u64,
    /// Values taken up, read or told by the watch.
    pub writes: u64,
    /// Values that went, as the watch told that they were deleted.
    pub deletes: u64,
}

struct State {
    applied: Revision,
    traffic: Traffic,
    budget: usize,
    used: usize,
    entries: HashMap<Bytes, Slot>,
    /// Keys in the order they came; each is looked at once before it goes.
    order: VecDeque<Bytes>,
    /// Keys that are being read at `applied` as of then.
    fills: Fills,
    lists: Lists,
}

struct Slot {
    known: Known,
    /// The value decrypted, and decoded, once somebody asked.
    plain: Option<Arc<SecretBytes>>,
    decoded: Option<Shared>,
    cost: usize,
    /// Read since it was last looked at for eviction.
    touched: bool,
}

/// A part of what is known of a value. Each reader takes the one that it needs, as all that an entry has is counted by whoever
/// holds it, on lines of memory that cores would hand to and fro.
pub trait Part: Sized {
    /// Of a value that is stored as `item`; decrypted and decoded if somebody asked before.
    fn of(item: &KeyValue, plain: Option<&Arc<SecretBytes>>, decoded: Option<&Shared>) -> Self;
}

/// A value.
pub enum Value {
    /// Decrypted.
    Plain(Arc<SecretBytes>),
    /// As stored.
    Stored(KeyValue),
}

/// A value, or what it says.
pub enum Content {
    /// Decoded.
    Decoded(Shared),
    /// Not decoded yet.
    Value(Value),
}

/// What the cache has of a key.
pub struct Found<P> {
    /// Of the value, or as of which it is not there.
    pub revision: Revision,
    /// None if it is not there.
    pub part: Option<P>,
}

impl Cache {
    /// Empty, as of `applied`; holds about `budget` bytes.
    pub fn new(applied: Revision, budget: usize) -> Self {
        let state = State {
            applied,
            traffic: Traffic::default(),
            budget,
            used: 0,
            entries: HashMap::new(),
            order: VecDeque::new(),
            fills: Fills::default(),
            lists: Lists::default(),
        };
        Self { state: Mutex::new(state) }
    }

    /// What is known of a key, if anything is.
    pub fn peek<P: Part>(&self, key: &Bytes) -> Option<Found<P>> {
        self.state.lock().find(key)
    }

    /// What is known of a key, or the revision to read it at; then [`Cache::finish`] must be called.
    pub fn look_up<P: Part>(&self, key: &Bytes) -> Result<Found<P>, Revision> {
        let mut state = self.state.lock();
        if let Some(found) = state.find(key) {
            return Ok(found);
        }
        state.traffic.misses += 1;
        state.fills.begin(key);
        Err(state.applied)
    }

    /// Ends what [`Cache::look_up`] began; keeps what was read unless the key changed meanwhile. `None`: it was not read.
    pub fn finish(&self, key: &Bytes, read: Option<Known>) {
        let mut state = self.state.lock();
        let Some(changed) = state.fills.end(key) else { return };
        if let Some(known) = read.filter(|_| !changed || switched!("mutant.fill-without-pending")) {
            state.insert(key.clone(), known);
        }
    }

    /// What is known of the folder whose stored keys have this prefix, or the revision to read it at; then
    /// [`Cache::finish_list`] must be called.
    pub fn look_up_list(&self, prefix: &Bytes) -> Result<List, Revision> {
        let mut state = self.state.lock();
        state.lists.look_up(prefix).ok_or(state.applied)
    }

    /// Ends what [`Cache::look_up_list`] began; keeps what was read unless the list changed meanwhile. `None`: it was not read.
    pub fn finish_list(&self, prefix: &Bytes, read: Option<List>) {
        self.state.lock().lists.finish(prefix, read);
    }

    /// Keeps the plain form of a value that is still the one of `revision`.
    pub fn keep_plain(&self, key: &Bytes, revision: Revision, plain: Arc<SecretBytes>) {
        self.state.lock().keep(key, revision, plain.len(), |slot| slot.plain = Some(plain));
    }

    /// Keeps the decoded form of a value that is still the one of `revision`. Its plain form is needed no more.
    pub fn keep_decoded(&self, key: &Bytes, revision: Revision, decoded: Shared) {
        self.state.lock().keep(key, revision, DECODED_COST, |slot| {
            slot.decoded = Some(decoded);
            slot.plain = None;
        });
    }

    /// Applies all changes of one revision at once. Older ones than what is applied are passed over.
    pub fn apply(&self, revision: Revision, events: &[Event]) {
        let mut state = self.state.lock();
        if revision <= state.applied {
            return;
        }
        for event in events {
            state.lists.apply(event);
            let key = event.key();
            state.fills.spoil(key);
            if state.entries.contains_key(key) {
                let known = match event {
                    Event::Put(item) => Known::Present(item.clone()),
                    Event::Delete { mod_revision, .. } => {
                        state.traffic.deletes += 1;
                        Known::Absent(*mod_revision)
                    }
                };
                state.insert(key.clone(), known);
            }
        }
        state.applied = revision;
    }

    /// Everything up to this revision is applied; nothing of ours changed.
    pub fn advance(&self, revision: Revision) {
        let mut state = self.state.lock();
        state.applied = state.applied.max(revision);
    }

    /// Forgets all and starts anew as of `revision`.
    pub fn reset(&self, revision: Revision) {
        let mut state = self.state.lock();
        state.entries.clear();
        state.order.clear();
        state.used = 0;
        state.fills.spoil_all();
        state.lists.reset();
        state.applied = revision;
    }

    /// The revision it shows.
    pub fn applied(&self) -> Revision {
        self.state.lock().applied
    }

    /// How often it was asked and changed.
    pub fn traffic(&self) -> Traffic {
        self.state.lock().traffic
    }

    /// Bytes held.
    pub fn used(&self) -> usize {
        let state = self.state.lock();
        state.used + state.lists.used()
    }
}

impl State {
    fn find<P: Part>(&mut self, key: &Bytes) -> Option<Found<P>> {
        let slot = self.entries.get_mut(key)?;
        slot.touched = true;
        self.traffic.hits += 1;
        Some(Found::of(&slot.known, slot.plain.as_ref(), slot.decoded.as_ref()))
    }

    fn insert(&mut self, key: Bytes, known: Known) {
        let (key, known, value) = match known {
            Known::Present(item) => {
                self.traffic.writes += 1;
                let item = compact(&item);
                let value = item.value.len();
                (item.key.clone(), Known::Present(item), value)
            }
            absent => (Bytes::copy_from_slice(&key), absent, 0),
        };
        let cost = key.len() + value + SLOT_COST;
        match self.entries.insert(key.clone(), Slot { known, plain: None, decoded: None, cost, touched: false }) {
            Some(old) => self.used -= old.cost,
            None => self.order.push_back(key),
        }
        self.used += cost;
        self.evict();
    }

    fn keep(&mut self, key: &Bytes, revision: Revision, cost: usize, change: impl FnOnce(&mut Slot)) {
        let Some(slot) = self.entries.get_mut(key) else { return };
        if !matches!(&slot.known, Known::Present(item) if item.mod_revision == revision) {
            return;
        }
        change(slot);
        slot.cost += cost;
        self.used += cost;
        self.evict();
    }

    fn evict(&mut self) {
        while self.used > self.budget {
            let Some(key) = self.order.pop_front() else { return };
            match self.entries.get_mut(&key) {
                Some(slot) if slot.touched => {
                    slot.touched = false;
                    self.order.push_back(key);
                }
                _ => {
                    if let Some(slot) = self.entries.remove(&key) {
                        self.used -= slot.cost;
                    }
                }
            }
        }
    }
}

/// In memory of its own: what comes from the store is a part of a message of many keys, all of which it would hold.
fn compact(item: &KeyValue) -> KeyValue {
    KeyValue { key: Bytes::copy_from_slice(&item.key), value: Bytes::copy_from_slice(&item.value), ..*item }
}

impl<P: Part> Found<P> {
    fn of(known: &Known, plain: Option<&Arc<SecretBytes>>, decoded: Option<&Shared>) -> Self {
        let part = match known {
            Known::Present(item) => Some(P::of(item, plain, decoded)),
            Known::Absent(_) => None,
        };
        Self { revision: known.revision(), part }
    }
}

impl<P: Part> From<&Known> for Found<P> {
    fn from(known: &Known) -> Self {
        Self::of(known, None, None)
    }
}

/// That it is there.
impl Part for () {
    fn of(_: &KeyValue, _: Option<&Arc<SecretBytes>>, _: Option<&Shared>) {}
}

impl Part for Value {
    fn of(item: &KeyValue, plain: Option<&Arc<SecretBytes>>, _: Option<&Shared>) -> Self {
        plain.map_or_else(|| Self::Stored(item.clone()), |plain| Self::Plain(plain.clone()))
    }
}

impl Part for Content {
    fn of(item: &KeyValue, plain: Option<&Arc<SecretBytes>>, decoded: Option<&Shared>) -> Self {
        decoded.map_or_else(|| Self::Value(Value::of(item, plain, None)), |decoded| Self::Decoded(decoded.clone()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    impl Part for KeyValue {
        fn of(item: &KeyValue, _: Option<&Arc<SecretBytes>>, _: Option<&Shared>) -> Self {
            item.clone()
        }
    }

    fn look_up(cache: &Cache, key: &Bytes) -> Result<Known, Revision> {
        let known = |found: Found<KeyValue>| found.part.map_or(Known::Absent(found.revision), Known::Present);
        cache.look_up(key).map(known)
    }

    fn content(cache: &Cache, key: &Bytes) -> Content {
        cache.look_up(key).unwrap_or_else(|at| panic!("to be read at {at}")).part.unwrap()
    }

    fn item(value: &'static str, mod_revision: Revision) -> KeyValue {
        KeyValue { key: "k".into(), value: value.into(), create_revision: 1, mod_revision }
    }

    /// The race that would leave an old value for ever: read at 10, changed at 12, kept after that.
    #[test]
    fn a_change_during_a_read_is_not_overwritten_by_it() {
        let cache = Cache::new(10, 1 << 20);
        let key = Bytes::from("k");
        assert_eq!(look_up(&cache, &key), Err(10));
        cache.apply(12, &[Event::Put(item("new", 12))]);
        cache.finish(&key, Some(Known::Present(item("old", 9))));
        assert_eq!(look_up(&cache, &key), Err(12));
        cache.finish(&key, Some(Known::Present(item("new", 12))));
        assert_eq!(look_up(&cache, &key), Ok(Known::Present(item("new", 12))));
    }

    #[test]
    fn the_watch_updates_what_is_here_absences_too() {
        let cache = Cache::new(10, 1 << 20);
        let key = Bytes::from("k");
        assert!(look_up(&cache, &key).is_err());
        cache.finish(&key, Some(Known::Absent(1)));
        cache.apply(11, &[Event::Put(item("v", 11))]);
        assert_eq!(look_up(&cache, &key), Ok(Known::Present(item("v", 11))));
        cache.apply(12, &[Event::Delete { key: key.clone(), mod_revision: 12 }]);
        assert_eq!(look_up(&cache, &key), Ok(Known::Absent(12)));
        cache.apply(11, &[Event::Put(item("old", 11))]);
        assert_eq!(look_up(&cache, &key), Ok(Known::Absent(12)));
        assert_eq!(cache.traffic(), Traffic { hits: 3, misses: 1, writes: 1, deletes: 1 });
    }

    #[test]
    fn it_stays_within_its_budget_and_keeps_what_is_read() {
        let cache = Cache::new(1, 10 * (SLOT_COST + 3));
        let keep = Bytes::from("000");
        for number in 0..100 {
            let key = Bytes::from(format!("{number:03}"));
            assert!(look_up(&cache, &key).is_err());
            cache.finish(&key, Some(Known::Absent(1)));
            assert!(look_up(&cache, &keep).is_ok());
        }
        assert!(cache.used() <= 10 * (SLOT_COST + 3));
    }

    #[test]
    fn a_reset_spoils_reads_under_way() {
        let cache = Cache::new(10, 1 << 20);
        let key = Bytes::from("k");
        assert_eq!(look_up(&cache, &key), Err(10));
        cache.reset(5);
        cache.finish(&key, Some(Known::Absent(1)));
        assert_eq!(look_up(&cache, &key), Err(5));
    }

    /// What was decrypted of an old value must not be handed out for a new one.
    #[test]
    fn what_is_kept_of_a_value_goes_with_it() {
        let cache = Cache::new(10, 1 << 20);
        let key = Bytes::from("k");
        assert!(look_up(&cache, &key).is_err());
        cache.finish(&key, Some(Known::Present(item("old", 9))));
        cache.keep_plain(&key, 9, Arc::new(SecretBytes::new(*b"old")));
        assert!(matches!(content(&cache, &key), Content::Value(Value::Plain(_))));
        cache.apply(12, &[Event::Put(item("new", 12))]);
        assert!(matches!(content(&cache, &key), Content::Value(Value::Stored(_))));
        cache.keep_plain(&key, 9, Arc::new(SecretBytes::new(*b"old")));
        assert!(matches!(content(&cache, &key), Content::Value(Value::Stored(_))));
        let before = cache.used();
        cache.keep_decoded(&key, 12, Arc::new(7u8));
        assert!(matches!(content(&cache, &key), Content::Decoded(_)) && cache.used() > before);
    }
}
