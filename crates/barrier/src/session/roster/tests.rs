use holdfast_base::{SeededEntropy, Timestamp};

use super::*;
use crate::keyring::Keyring;

fn put(mac: &MacKey, state: State, revision: Revision) -> Event {
    let key = layout::member(&[1; 16]);
    let record = MemberRecord {
        state,
        instance: "a".to_owned(),
        formats: Levels::default(),
        labels: Default::default(),
        peer: None,
    };
    let value = record::encode(mac, &key, &record);
    Event::Put(KeyValue { key, value, create_revision: 1, mod_revision: revision })
}

#[test]
fn an_evicted_member_counts_until_its_time_is_over() {
    let mac = MacKey::new(&Keyring::generate(&SeededEntropy::new(1), Timestamp::UNIX_EPOCH));
    let mut roster = Roster::default();
    let second = Duration::from_secs(1);
    roster.apply(&put(&mac, State::Cached, 5), &mac, second);
    assert!(roster.dead(false, second * 2).evict.is_empty());
    assert_eq!(roster.dead(false, second * 3).evict, [(layout::member(&[1; 16]), 5)]);
    roster.apply(&put(&mac, State::Evicted, 6), &mac, second * 4);
    assert!(roster.over(second * 7).is_empty());
    assert_eq!(roster.over(second * 8), [(layout::member(&[1; 16]), 6)]);
}

/// Others tell what they heard of one whose tombstone is all that we have seen: that it had a record we do not know says
/// nothing of what it shows.
#[test]
fn an_evicted_member_that_we_never_met_counts_with_what_it_has_applied() {
    let mac = MacKey::new(&Keyring::generate(&SeededEntropy::new(1), Timestamp::UNIX_EPOCH));
    let (own, key) = (layout::member(&[2; 16]), layout::member(&[1; 16]));
    let Event::Put(tombstone) = put(&mac, State::Evicted, 12) else { panic!() };
    let mut roster = Roster::of(&[tombstone], &own, &mac, (1, 1), Duration::ZERO);
    assert_eq!(roster.shown_by_all(Duration::ZERO), 0);
    for demoted in [false, true] {
        let ack = Ack { record: 5, applied: 9, beat: 1, demoted, ..Ack::default() };
        roster.hear(key.clone(), &ack, Duration::ZERO);
        assert_eq!(roster.shown_by_all(Duration::ZERO), 9);
    }
    assert_eq!(roster.shown_by_all(COUNTED_FOR), Revision::MAX);
    // The same of one that was evicted while our watch was lost: it may have taken its cache again in between.
    let mut before = Roster::default();
    before.apply(&put(&mac, State::Cached, 5), &mac, Duration::ZERO);
    before.hear(key, &Ack { record: 5, applied: 9, beat: 1, demoted: true, ..Ack::default() }, Duration::ZERO);
    assert_eq!(before.shown_by_all(Duration::ZERO), Revision::MAX);
    let Event::Put(tombstone) = put(&mac, State::Evicted, 12) else { panic!() };
    let mut roster = Roster::of(&[tombstone], &own, &mac, (1, 1), Duration::ZERO);
    roster.succeed(before, &own, Duration::ZERO);
    assert_eq!(roster.shown_by_all(Duration::ZERO), 9);
}

#[test]
fn lanes_without_a_member_count_for_their_time() {
    let mac = MacKey::new(&Keyring::generate(&SeededEntropy::new(1), Timestamp::UNIX_EPOCH));
    let own = layout::member(&[2; 16]);
    let mut roster = Roster::of(&[], &own, &mac, (1, 1), Duration::ZERO);
    roster.count_vanished([[1; 16], [1; 16], [2; 16]], &own, Duration::ZERO);
    assert_eq!((roster.shown_by_all(Duration::ZERO), roster.over(Duration::ZERO)), (0, Vec::new()));
    let key = layout::member(&[1; 16]);
    assert_eq!((roster.shown_by_all(COUNTED_FOR), roster.over(COUNTED_FOR)), (Revision::MAX, vec![(key.clone(), 0)]));
    roster.forget_vanished(&key);
    assert!(roster.is_empty());
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

#[test]
fn who_reads_from_memory_counts_on_when_what_was_said_is_forgotten() {
    let mac = MacKey::new(&Keyring::generate(&SeededEntropy::new(1), Timestamp::UNIX_EPOCH));
    let mut roster = Roster::default();
    roster.apply(&put(&mac, State::Cached, 5), &mac, Duration::ZERO);
    let key = layout::member(&[1; 16]);
    roster.hear(key, &Ack { record: 5, applied: 9, beat: 1, ..Ack::default() }, Duration::ZERO);
    assert_eq!(roster.shown_by_all(Duration::ZERO), 9);
    roster.forget_what_was_said();
    assert_eq!(roster.shown_by_all(Duration::ZERO), 5, "its own record, which it has applied");
}
