//! What the store must still say of the past: how a store is found out that was put back to an older state and has been written
//! since, so that no revision goes back.
//!
//! The last value and the last lane record that the watch has shown are looked up as of what is applied, each time a watch
//! starts. Values carry random nonces: two histories do not agree on them.

use holdfast_storage::{Error, Event, KeyValue, Range};

use super::Session;
use crate::layout;
use crate::names::DATA;
use crate::view::Revision;

/// The last that was put, if it was not deleted since.
#[derive(Debug, Default)]
pub(super) struct Witness {
    value: Option<KeyValue>,
    lane: Option<KeyValue>,
}

impl Witness {
    /// What a revision did.
    pub fn note(&mut self, events: &[Event]) {
        for event in events {
            let seat = match event.key() {
                key if key.starts_with(DATA) => &mut self.value,
                key if key.starts_with(layout::LANES) => &mut self.lane,
                _ => continue,
            };
            match event {
                Event::Put(item) => *seat = Some(item.clone()),
                Event::Delete { key, .. } if seat.as_ref().is_some_and(|item| item.key == *key) => *seat = None,
                Event::Delete { .. } => {}
            }
        }
    }
}

impl Session {
    /// Whether the store's past, up to `applied`, is the one that was seen.
    pub(super) async fn has_the_same_past(&self, applied: Revision) -> Result<bool, Error> {
        let seen = {
            let witness = self.witness.lock();
            [witness.value.clone(), witness.lane.clone()]
        };
        for item in seen.into_iter().flatten() {
            let found = self.storage.range(Range::key(item.key.clone()).at(applied)).await?.items;
            if found.first() != Some(&item) {
                return Ok(false);
            }
        }
        Ok(true)
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    fn put(key: &'static str, revision: Revision) -> Event {
        let key = Bytes::from_static(key.as_bytes());
        Event::Put(KeyValue { key, value: Bytes::new(), create_revision: revision, mod_revision: revision })
    }

    fn delete(key: &'static str, revision: Revision) -> Event {
        Event::Delete { key: Bytes::from_static(key.as_bytes()), mod_revision: revision }
    }

    #[test]
    fn a_deleted_key_is_no_witness() {
        let mut witness = Witness::default();
        witness.note(&[put("lane/a/0", 5), put("data/!a", 5), put("member/a", 5)]);
        witness.note(&[put("data/!b", 6), delete("data/!a", 6)]);
        assert_eq!(witness.value.as_ref().map(|item| item.mod_revision), Some(6));
        witness.note(&[delete("data/!b", 7)]);
        assert_eq!(witness.value, None);
        assert_eq!(witness.lane.map(|item| item.mod_revision), Some(5));
    }
}
