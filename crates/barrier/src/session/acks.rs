//! What replicas tell each other of themselves and of others: how far each is, under which record.
//!
//! Everything said of one record of one member only grows, so messages may be lost, doubled, late, and told on by a third:
//! they are joined. What belongs to an older record is forgotten.

use std::collections::HashMap;
use std::time::Duration;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::digest::Sum;
use crate::layout;
use crate::view::Revision;
use holdfast_failpoint::switched;

/// Members remembered at most: who says more than that is wrong.
const MOST: usize = 256;

/// What is known of a member under one of its records.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Ack {
    /// `mod_revision` of the record.
    #[serde(rename = "m")]
    pub record: Revision,
    /// Every read there shows this, if it does not ask the store first.
    #[serde(rename = "a")]
    pub applied: Revision,
    /// Counts its messages: it lives if this grows.
    #[serde(rename = "b")]
    pub beat: u64,
    /// It does not read from memory under this record, and never will again.
    #[serde(rename = "d", default, skip_serializing_if = "is_false")]
    pub demoted: bool,
    /// Somebody wants that of it.
    #[serde(rename = "w", default, skip_serializing_if = "is_false")]
    pub wanted: bool,
    /// Sum over all changes up to `applied`, as far as this replica has seen them.
    #[serde(rename = "h", default, skip_serializing_if = "Option::is_none")]
    pub digest: Option<Sum>,
}

#[allow(clippy::trivially_copy_pass_by_ref)]
fn is_false(flag: &bool) -> bool {
    !flag
}

/// A message: what the sender knows of everybody, by member id.
#[derive(Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Message {
    /// Who says it.
    pub from: String,
    /// Of everybody, the sender too.
    pub acks: HashMap<String, Ack>,
    /// For those above, see [`crate::peer::Notes`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
}

/// What is known of all, by key of the record.
#[derive(Debug, Default)]
pub(super) struct Acks(HashMap<Bytes, Heard>);

#[derive(Debug, Default)]
struct Heard {
    ack: Ack,
    /// Boottime of the last sign of life.
    at: Duration,
}

impl Message {
    /// As sent.
    pub fn encode(&self) -> Bytes {
        // Numbers and text: always encodes. Nobody takes an empty message for one.
        serde_json::to_vec(self).unwrap_or_default().into()
    }

    /// `None`: it is none.
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        serde_json::from_slice(bytes).ok().filter(|message: &Self| message.acks.len() <= MOST)
    }

    /// The member that an id in it means.
    pub fn member(id: &str) -> Option<Bytes> {
        let key = Bytes::from([layout::MEMBERS, id.as_bytes()].concat());
        layout::member_of(&key).map(|_| key)
    }
}

impl Ack {
    /// Takes over what another says of the same member.
    fn join(&mut self, other: &Self) {
        match other.record.cmp(&self.record) {
            std::cmp::Ordering::Greater => {
                let demoted = switched!("mutant.demoted-for-any-record") && self.demoted;
                *self = Self { beat: self.beat.max(other.beat), ..other.clone() };
                self.demoted |= demoted;
            }
            std::cmp::Ordering::Equal => {
                if other.applied > self.applied {
                    (self.applied, self.digest) = (other.applied, other.digest);
                }
                self.beat = self.beat.max(other.beat);
                self.demoted |= other.demoted;
                self.wanted |= other.wanted;
            }
            std::cmp::Ordering::Less => self.beat = self.beat.max(other.beat),
        }
    }
}

impl Acks {
    /// Takes over what was heard at `now` of a member; whether it is news.
    pub fn hear(&mut self, key: Bytes, ack: &Ack, now: Duration) -> bool {
        if self.0.len() >= MOST && !self.0.contains_key(&key) {
            return false;
        }
        let heard = self.0.entry(key).or_default();
        let before = heard.ack.clone();
        heard.ack.join(ack);
        if heard.ack.beat > before.beat {
            heard.at = now;
        }
        heard.ack != before
    }

    /// Somebody here wants a member to be demoted under its present record; whether that is news.
    pub fn want(&mut self, key: &Bytes, record: Revision) -> bool {
        let heard = self.0.entry(key.clone()).or_default();
        let wish = Ack { record, wanted: true, ..Ack::default() };
        let before = heard.ack.clone();
        heard.ack.join(&wish);
        heard.ack != before
    }

    /// The revision that a member, reading from memory since `record`, certainly shows.
    pub fn shows(&self, key: &Bytes, record: Revision) -> Revision {
        match self.0.get(key).map(|heard| &heard.ack) {
            // It reads under a newer record that we have not seen yet: not before it has applied that record.
            Some(ack) if ack.record > record => Revision::MAX,
            Some(ack) if ack.record == record && ack.demoted => Revision::MAX,
            // Nobody reads from memory before his own record is applied.
            Some(ack) if ack.record == record => ack.applied.max(record),
            _ => record,
        }
    }

    /// What was heard of a member, whatever its record.
    pub fn of(&self, key: &Bytes) -> Option<&Ack> {
        self.0.get(key).map(|heard| &heard.ack)
    }

    /// Boottime of the last sign of life.
    pub fn heard_at(&self, key: &Bytes) -> Duration {
        self.0.get(key).map_or(Duration::ZERO, |heard| heard.at)
    }

    /// The member is gone.
    pub fn forget(&mut self, key: &Bytes) {
        self.0.remove(key);
    }

    /// Members that something is known of.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Forgets all but these.
    pub fn retain(&mut self, keep: impl Fn(&Bytes) -> bool) {
        self.0.retain(|key, _| keep(key));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ack(record: Revision, applied: Revision, beat: u64) -> Ack {
        Ack { record, applied, beat, ..Ack::default() }
    }

    #[test]
    fn late_and_doubled_messages_change_nothing() {
        let (mut acks, key) = (Acks::default(), layout::member(&[1; 16]));
        let now = Duration::from_secs(1);
        assert!(acks.hear(key.clone(), &ack(5, 9, 2), now));
        assert!(!acks.hear(key.clone(), &ack(5, 9, 2), now * 2));
        assert!(!acks.hear(key.clone(), &ack(5, 7, 1), now * 2));
        assert!(!acks.hear(key.clone(), &Ack { demoted: true, ..ack(4, 100, 1) }, now * 2));
        assert_eq!((acks.shows(&key, 5), acks.heard_at(&key)), (9, now));
    }

    /// The mutation of the same name forgets which record a demotion was for.
    #[test]
    fn a_demotion_is_for_one_record() {
        let (mut acks, key) = (Acks::default(), layout::member(&[1; 16]));
        acks.hear(key.clone(), &Ack { demoted: true, ..ack(5, 9, 1) }, Duration::ZERO);
        assert_eq!(acks.shows(&key, 5), Revision::MAX);
        acks.hear(key.clone(), &ack(12, 12, 2), Duration::ZERO);
        assert_eq!((acks.shows(&key, 12), acks.shows(&key, 5)), (12, Revision::MAX));
    }

    #[test]
    fn a_member_of_which_nothing_is_heard_shows_its_own_record() {
        let (mut acks, key) = (Acks::default(), layout::member(&[1; 16]));
        assert_eq!(acks.shows(&key, 5), 5);
        assert!(acks.want(&key, 5) && !acks.want(&key, 5));
        assert_eq!((acks.shows(&key, 5), acks.of(&key).map(|ack| ack.wanted)), (5, Some(true)));
    }

    #[test]
    fn messages_come_back() {
        let id = layout::hex(&[1; 16]);
        let message = Message { from: id.clone(), acks: [(id.clone(), ack(5, 9, 1))].into(), note: None };
        assert_eq!(Message::decode(&message.encode()), Some(message));
        assert_eq!(Message::member(&id), Some(layout::member(&[1; 16])));
        assert_eq!(Message::member("x"), None);
    }
}
