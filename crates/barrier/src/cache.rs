//! What is known of the store as of one revision. Only the watch changes it; a reader may add what it read *at* that revision.
//!
//! An entry may be dropped at any time; what is not here is read again. Values stay encrypted until somebody asks for them.

use std::sync::Arc;

use bytes::Bytes;
use holdfast_failpoint::switched;
use holdfast_secret::SecretBytes;
use holdfast_storage::{Event, KeyValue};
use parking_lot::Mutex;
use quick_cache::unsync::{Cache as Bounded, DefaultLifecycle};
use quick_cache::{DefaultHashBuilder, OptionsBuilder, Weighter};

use crate::fills::Fills;
use crate::lists::{List, Lists};
use crate::view::{Revision, Shared};

/// Bytes counted for an entry beyond key and value: its places, some of which are empty at times, and what the allocator adds.
const SLOT_COST: usize = 160;
/// Bytes counted for a decoded value beyond twice its text: what is decoded is small, a token, the metadata of a secret.
const DECODED_COST: usize = 1024;

/// Entries by stored key, bounded by bytes.
pub struct Cache {
    state: Mutex<State>,
}

/// What is known of a key.
pub struct Known {
    /// Of its value, or as of which it is not there: that of its deletion, or a later one.
    pub revision: Revision,
    /// None if it is not there.
    value: Option<Form>,
}

/// A value, as far as somebody asked for it.
pub enum Form {
    /// As stored.
    Stored(Arc<[u8]>),
    /// Decrypted.
    Plain(Arc<SecretBytes>),
    /// Decrypted, and what it says.
    Decoded(Arc<SecretBytes>, Shared),
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
    entries: Bounded<Box<[u8]>, Known, Bytewise>,
    /// Keys that are being read at `applied` as of then.
    fills: Fills,
    lists: Lists,
}

/// Bytes of an entry.
struct Bytewise;

/// A part of what is known of a value. Each reader takes the one that it needs, as all that an entry has is counted by whoever
/// holds it, on lines of memory that cores would hand to and fro.
pub trait Part: Sized {
    /// Of a value.
    fn of(form: &Form) -> Self;
}

/// A value.
pub enum Value {
    /// Decrypted.
    Plain(Arc<SecretBytes>),
    /// As stored.
    Stored(Arc<[u8]>),
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
            entries: bounded(budget),
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
            state.traffic.writes += u64::from(known.value.is_some());
            state.entries.insert(key.as_ref().into(), known);
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
        self.state.lock().keep(key, revision, Form::Plain(plain));
    }

    /// Keeps the decoded form of a value that is still the one of `revision`, beside the plain one.
    pub fn keep_decoded(&self, key: &Bytes, revision: Revision, plain: Arc<SecretBytes>, decoded: Shared) {
        self.state.lock().keep(key, revision, Form::Decoded(plain, decoded));
    }

    /// Applies all changes of one revision at once. Older ones than what is applied are passed over.
    pub fn apply(&self, revision: Revision, events: &[Event]) {
        let mut state = self.state.lock();
        if revision <= state.applied {
            return;
        }
        events.iter().for_each(|event| state.take(event));
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
        usize::try_from(state.entries.weight()).unwrap_or(usize::MAX) + state.lists.used()
    }
}

impl State {
    fn find<P: Part>(&mut self, key: &Bytes) -> Option<Found<P>> {
        let known = self.entries.get(key.as_ref())?;
        self.traffic.hits += 1;
        Some(Found::of(known))
    }

    fn keep(&mut self, key: &Bytes, revision: Revision, form: Form) {
        if let Some(mut known) = self.entries.peek_mut(key.as_ref())
            && known.revision == revision
            // Who decrypted it may come after who decoded it.
            && matches!(known.value, Some(Form::Stored(_) | Form::Plain(_)))
        {
            known.value = Some(form);
        }
        self.make_room();
    }

    fn take(&mut self, event: &Event) {
        self.lists.apply(event);
        let key = event.key();
        self.fills.spoil(key);
        if let Some(mut known) = self.entries.peek_mut(key.as_ref()) {
            *known = Known::told_by(event);
            match event {
                Event::Put(_) => self.traffic.writes += 1,
                Event::Delete { .. } => self.traffic.deletes += 1,
            }
        }
        self.make_room();
    }

    /// What was changed in place may have grown, which by itself makes nothing go.
    fn make_room(&mut self) {
        let budget = self.entries.capacity();
        if self.entries.weight() > budget {
            self.entries.set_capacity(budget);
        }
    }
}

fn bounded(budget: usize) -> Bounded<Box<[u8]>, Known, Bytewise> {
    let mut options = OptionsBuilder::new();
    // Most entries are a key and a short value.
    options.estimated_items_capacity(budget / (2 * SLOT_COST)).weight_capacity(budget as u64);
    #[expect(clippy::expect_used, reason = "both of the two options that there must be are set")]
    let options = options.build().expect("options");
    Bounded::with_options(options, Bytewise, DefaultHashBuilder::default(), DefaultLifecycle::default())
}

impl Weighter<Box<[u8]>, Known> for Bytewise {
    fn weight(&self, key: &Box<[u8]>, known: &Known) -> u64 {
        let value = match &known.value {
            None => 0,
            Some(Form::Stored(stored)) => stored.len(),
            Some(Form::Plain(plain)) => plain.len(),
            Some(Form::Decoded(plain, _)) => 2 * plain.len() + DECODED_COST,
        };
        (key.len() + value + SLOT_COST) as u64
    }
}

impl Known {
    /// There is no such key, as of this revision.
    pub fn absent(revision: Revision) -> Self {
        Self { revision, value: None }
    }

    /// Has this value. In memory of its own: what comes from the store is a part of a message of many keys, all of which it
    /// would hold.
    pub fn present(item: &KeyValue) -> Self {
        Self { revision: item.mod_revision, value: Some(Form::Stored(item.value.as_ref().into())) }
    }

    fn told_by(event: &Event) -> Self {
        match event {
            Event::Put(item) => Self::present(item),
            Event::Delete { mod_revision, .. } => Self::absent(*mod_revision),
        }
    }
}

impl<P: Part> Found<P> {
    /// The part that is asked for.
    pub fn of(known: &Known) -> Self {
        Self { revision: known.revision, part: known.value.as_ref().map(P::of) }
    }
}

/// That it is there.
impl Part for () {
    fn of(_: &Form) {}
}

impl Part for Value {
    fn of(form: &Form) -> Self {
        match form {
            Form::Stored(stored) => Self::Stored(stored.clone()),
            Form::Plain(plain) | Form::Decoded(plain, _) => Self::Plain(plain.clone()),
        }
    }
}

impl Part for Content {
    fn of(form: &Form) -> Self {
        match form {
            Form::Decoded(_, decoded) => Self::Decoded(decoded.clone()),
            other => Self::Value(Value::of(other)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What it shows of a key whose values are texts; `Err`: the revision to read it at.
    fn look_up(cache: &Cache, key: &Bytes) -> Result<(Revision, Option<String>), Revision> {
        let text = |value| match value {
            Value::Stored(stored) => String::from_utf8(stored.to_vec()).unwrap(),
            Value::Plain(_) => panic!("nobody decrypted it"),
        };
        cache.look_up(key).map(|found| (found.revision, found.part.map(text)))
    }

    fn shows(value: &str, revision: Revision) -> Result<(Revision, Option<String>), Revision> {
        Ok((revision, Some(value.to_owned())))
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
        cache.finish(&key, Some(Known::present(&item("old", 9))));
        assert_eq!(look_up(&cache, &key), Err(12));
        cache.finish(&key, Some(Known::present(&item("new", 12))));
        assert_eq!(look_up(&cache, &key), shows("new", 12));
    }

    #[test]
    fn the_watch_updates_what_is_here_absences_too() {
        let cache = Cache::new(10, 1 << 20);
        let key = Bytes::from("k");
        assert!(look_up(&cache, &key).is_err());
        cache.finish(&key, Some(Known::absent(1)));
        cache.apply(11, &[Event::Put(item("v", 11))]);
        assert_eq!(look_up(&cache, &key), shows("v", 11));
        cache.apply(12, &[Event::Delete { key: key.clone(), mod_revision: 12 }]);
        assert_eq!(look_up(&cache, &key), Ok((12, None)));
        cache.apply(11, &[Event::Put(item("old", 11))]);
        assert_eq!(look_up(&cache, &key), Ok((12, None)));
        assert_eq!(cache.traffic(), Traffic { hits: 3, misses: 1, writes: 1, deletes: 1 });
    }

    #[test]
    fn it_stays_within_its_budget_and_keeps_what_is_read() {
        let cache = Cache::new(1, 10 * (SLOT_COST + 3));
        let keep = Bytes::from("000");
        for number in 0..100 {
            let key = Bytes::from(format!("{number:03}"));
            assert!(look_up(&cache, &key).is_err());
            cache.finish(&key, Some(Known::absent(1)));
            assert!(look_up(&cache, &keep).is_ok());
        }
        assert!(cache.used() <= 10 * (SLOT_COST + 3));
    }

    #[test]
    fn it_stays_within_its_budget_when_what_it_has_grows() {
        let cache = Cache::new(1, 100 * (SLOT_COST + 3));
        let keys: Vec<Bytes> = (0..100).map(|number| Bytes::from(format!("{number:03}"))).collect();
        for key in &keys {
            assert!(look_up(&cache, key).is_err());
            cache.finish(key, Some(Known::absent(1)));
        }
        let before = cache.used();
        assert_eq!(before, 100 * (SLOT_COST + 3));
        let long = Bytes::from(vec![b'x'; 4 * SLOT_COST]);
        for (key, revision) in keys.iter().zip(2..) {
            let item =
                KeyValue { key: key.clone(), value: long.clone(), create_revision: revision, mod_revision: revision };
            cache.apply(revision, &[Event::Put(item)]);
            assert!(cache.used() <= before, "the watch");
        }
        let kept: Vec<_> = keys.iter().filter_map(|key| Some((key, cache.peek::<()>(key)?.revision))).collect();
        assert!(!kept.is_empty());
        for (key, revision) in kept {
            cache.keep_decoded(key, revision, Arc::new(SecretBytes::new(*b"plain")), Arc::new(7u8));
            assert!(cache.used() <= before, "readers");
        }
    }

    #[test]
    fn a_reset_spoils_reads_under_way() {
        let cache = Cache::new(10, 1 << 20);
        let key = Bytes::from("k");
        assert_eq!(look_up(&cache, &key), Err(10));
        cache.reset(5);
        cache.finish(&key, Some(Known::absent(1)));
        assert_eq!(look_up(&cache, &key), Err(5));
    }

    /// What was decrypted of an old value must not be handed out for a new one.
    #[test]
    fn what_is_kept_of_a_value_goes_with_it() {
        let cache = Cache::new(10, 1 << 20);
        let key = Bytes::from("k");
        assert!(look_up(&cache, &key).is_err());
        cache.finish(&key, Some(Known::present(&item("old", 9))));
        cache.keep_plain(&key, 9, Arc::new(SecretBytes::new(*b"old")));
        assert!(matches!(content(&cache, &key), Content::Value(Value::Plain(_))));
        cache.apply(12, &[Event::Put(item("new", 12))]);
        assert!(matches!(content(&cache, &key), Content::Value(Value::Stored(_))));
        cache.keep_plain(&key, 9, Arc::new(SecretBytes::new(*b"old")));
        assert!(matches!(content(&cache, &key), Content::Value(Value::Stored(_))));
        let before = cache.used();
        let plain = Arc::new(SecretBytes::new(*b"new"));
        cache.keep_decoded(&key, 12, plain.clone(), Arc::new(7u8));
        assert!(matches!(content(&cache, &key), Content::Decoded(_)) && cache.used() > before);
        cache.keep_plain(&key, 12, plain);
        assert!(matches!(content(&cache, &key), Content::Decoded(_)), "whoever decrypted it comes late");
    }
}
