//! The other members, and how long each counts as reading from its memory.

mod fate;

use std::collections::HashMap;
use std::time::Duration;

use bytes::Bytes;
use holdfast_failpoint::switched;
use holdfast_storage::{Error, Event, KeyValue, Range, Storage};

use super::acks::{Ack, Acks};
use super::status::PeerStatus;
use crate::layout::{self, MemberId};
use crate::level::Levels;
use crate::peer::Endpoint;
use crate::record::{self, MemberRecord, State};
use crate::value::MacKey;
use crate::view::Revision;

/// How long an evicted member counts: 1.25 times what a heartbeat entitles to, for clocks that differ by a tenth, and a bit.
const COUNTED_FOR: Duration = Duration::from_millis(3800);
/// No sign of life from a member that asks the store, for so long: who reads from memory gives that up, as it can serve
/// only if nobody is counted whom it cannot hear.
const UNHEARD: Duration = Duration::from_secs(2);
/// Failures to reach a member in a row after which only others can vouch for it.
const FAILURES: u32 = 2;
/// Members heard of before their records are seen.
const SPARE: usize = 32;

/// The other members as of what is applied, and what was heard of them.
#[derive(Debug, Default)]
pub(super) struct Roster {
    peers: HashMap<Bytes, Peer>,
    /// What they said.
    pub acks: Acks,
    /// Oldest and newest protocol that we speak with them.
    protocols: (u8, u8),
    /// Boottime at which the last one came or went.
    moved: Duration,
}

/// Key and `mod_revision` of a member's record.
type Record = (Bytes, Revision);

#[derive(Debug)]
struct Peer {
    state: State,
    revision: Revision,
    /// The last record under which it could read from memory; 0: none that we know of.
    cached_as: Revision,
    /// Where it is talked to, if it speaks a protocol of ours.
    endpoint: Option<Endpoint>,
    levels: Levels,
    /// Boottime at which we first saw it in this state.
    since: Duration,
    /// Its record is gone, by hand, while it read from memory.
    gone: bool,
    /// Failures to reach it in a row.
    failures: u32,
}

// === impl Roster ===

impl Roster {
    /// From the records in the store, without our own, for one who speaks these protocols.
    pub fn of(members: &[KeyValue], own: &Bytes, mac: &MacKey, protocols: (u8, u8), now: Duration) -> Self {
        let mut roster = Self { protocols, moved: now, ..Self::default() };
        for item in members.iter().filter(|item| item.key != *own) {
            roster.apply(&Event::Put(item.clone()), mac, now);
        }
        roster
    }

    /// Lanes without a member: its record was deleted by hand, perhaps a moment ago, and it may read from memory still.
    pub fn count_vanished(&mut self, owners: impl IntoIterator<Item = MemberId>, own: &Bytes, now: Duration) {
        for key in owners.into_iter().map(|id| layout::member(&id)).filter(|key| key != own) {
            self.peers.entry(key).or_insert_with(|| Peer::vanished(now));
        }
    }

    /// Nobody else is here, not even evicted.
    pub fn is_empty(&self) -> bool {
        self.peers.is_empty()
    }

    /// The highest revision that everybody shows who may read from memory; the largest number if nobody does.
    pub fn shown_by_all(&self, now: Duration) -> Revision {
        let shown = self.peers.iter().map(|(key, peer)| peer.shows(key, &self.acks, now));
        shown.min().unwrap_or(Revision::MAX)
    }

    /// Everybody who serves can take part in reading from memory.
    pub fn all_speak(&self) -> bool {
        let serving = self.peers.values().filter(|peer| peer.serves());
        serving.into_iter().all(|peer| peer.endpoint.is_some())
    }

    /// Everybody who serves has said that he has applied this revision.
    pub fn all_know(&self, revision: Revision) -> bool {
        let mut serving = self.peers.iter().filter(|(_, peer)| peer.serves());
        serving.all(|(key, _)| self.acks.of(key).is_some_and(|ack| ack.applied >= revision))
    }

    /// Somebody serves of whom nothing is heard.
    pub fn any_unheard(&self, now: Duration) -> bool {
        let asks = |peer: &Peer| matches!(peer.state, State::Barrier | State::Leaving);
        let mut asking = self.peers.iter().filter(|(_, peer)| asks(peer));
        asking.any(|(key, peer)| now >= self.acks.heard_at(key).max(peer.since) + UNHEARD)
    }

    /// Somebody reads from memory of whom nothing was heard for so long.
    pub fn any_mute(&self, now: Duration, longest: Duration) -> bool {
        let mut cached = self.peers.iter().filter(|(_, peer)| peer.state == State::Cached);
        cached.any(|(key, peer)| now >= self.acks.heard_at(key).max(peer.since) + longest)
    }

    /// Takes over what an older roster knew beyond the records in the store: what was said, who is still counted.
    pub fn succeed(&mut self, old: Self, own: &Bytes, now: Duration) {
        for (key, peer) in old.peers {
            let counted = peer.state == State::Cached || (peer.state == State::Evicted && !peer.is_over(now));
            match self.peers.get_mut(&key) {
                Some(present) => {
                    present.failures = peer.failures;
                    if present.state == peer.state {
                        present.since = peer.since;
                    }
                    if present.state == State::Evicted && present.revision == peer.revision {
                        present.cached_as = peer.cached_as;
                    }
                }
                None if counted && key != *own => {
                    let since = if peer.state == State::Cached { now } else { peer.since };
                    let left = Peer { state: State::Evicted, revision: 0, cached_as: 0, since, gone: true, ..peer };
                    self.peers.insert(key, left);
                }
                None => {}
            }
        }
        self.acks = old.acks;
    }

    /// Takes over what a member said; whether anything was news.
    pub fn hear(&mut self, key: Bytes, ack: &Ack, now: Duration) -> bool {
        if self.acks.len() > 2 * self.peers.len() + SPARE {
            let peers = &self.peers;
            self.acks.retain(|key| peers.contains_key(key));
        }
        self.acks.hear(key, ack, now)
    }

    /// All that is known of members, to be told on.
    pub fn tell(&self) -> impl Iterator<Item = (MemberId, &Ack)> {
        self.peers.keys().filter_map(|key| Some((layout::member_of(key)?, self.acks.of(key)?)))
    }

    /// The highest revision that any other member has applied, by what was heard.
    pub fn furthest(&self) -> Revision {
        let serving = self.peers.iter().filter(|(_, peer)| peer.serves());
        serving.filter_map(|(key, _)| self.acks.of(key).map(|ack| ack.applied)).max().unwrap_or(0)
    }

    /// Who can be talked to, and where.
    pub fn endpoints(&self) -> HashMap<Bytes, Endpoint> {
        let reachable = self.peers.iter().filter(|(_, peer)| peer.serves());
        reachable.filter_map(|(key, peer)| Some((key.clone(), peer.endpoint.clone()?))).collect()
    }

    /// The member that shows a certificate with this fingerprint.
    pub fn holder(&self, fingerprint: &str) -> Option<&Bytes> {
        let shows = |peer: &Peer| peer.endpoint.as_ref().is_some_and(|endpoint| endpoint.key == fingerprint);
        self.peers.iter().find(|(_, peer)| shows(peer)).map(|(key, _)| key)
    }

    /// Wants everybody to be demoted who reads from memory and does not show this revision; whether that is news.
    pub fn demote_behind(&mut self, revision: Revision, now: Duration) -> u64 {
        let mut count = 0;
        for (key, peer) in self.peers.iter().filter(|(_, peer)| peer.state == State::Cached) {
            if peer.shows(key, &self.acks, now) < revision && self.acks.want(key, peer.revision) {
                count += 1;
            }
        }
        count
    }

    /// A message reached a member, or did not. Whether only others can vouch for it from here on.
    pub fn tried(&mut self, key: &Bytes, reached: bool) -> bool {
        let Some(peer) = self.peers.get_mut(key) else { return false };
        peer.failures = if reached { 0 } else { peer.failures.saturating_add(1) };
        peer.failures == FAILURES
    }

    /// The store is another than the one of which this was said. Who may read from memory is counted on.
    pub fn forget_what_was_said(&mut self) {
        self.acks = Acks::default();
    }

    /// It is our own after all.
    pub fn forget(&mut self, key: &Bytes) {
        self.peers.remove(key);
    }

    /// Nothing is left of it in the store. Of what has a record the watch will tell that.
    pub fn forget_vanished(&mut self, key: &Bytes) {
        if self.peers.get(key).is_some_and(|peer| peer.gone) {
            self.peers.remove(key);
            self.acks.forget(key);
        }
    }

    /// One change of another member's record.
    pub fn apply(&mut self, event: &Event, mac: &MacKey, now: Duration) {
        match event {
            Event::Put(item) => {
                let Some(record) = record::decode::<MemberRecord>(mac, &item.key, &item.value) else {
                    tracing::error!("a member record in the store is not authentic; it is ignored");
                    return;
                };
                let known = self.peers.get(&item.key);
                let since = known.filter(|peer| peer.state == record.state).map_or(now, |peer| peer.since);
                let cached_as = match (record.state, known) {
                    (State::Cached, _) => item.mod_revision,
                    (State::Evicted, Some(peer)) => peer.cached_as,
                    _ => 0,
                };
                let peer = Peer {
                    state: record.state,
                    revision: item.mod_revision,
                    cached_as,
                    endpoint: record.peer.filter(|endpoint| endpoint.speaks(self.protocols)),
                    levels: record.formats,
                    since,
                    gone: false,
                    failures: known.map_or(0, |peer| peer.failures),
                };
                if self.peers.insert(item.key.clone(), peer).is_none() {
                    self.moved = now;
                }
            }
            Event::Delete { key, .. } => match self.peers.get_mut(key) {
                // Somebody else who waited its time may delete a tombstone; then our wait ends too.
                Some(peer) if peer.state == State::Cached => {
                    (peer.state, peer.revision, peer.since, peer.gone) = (State::Evicted, 0, now, true);
                }
                _ => {
                    self.peers.remove(key);
                    self.acks.forget(key);
                    self.moved = now;
                }
            },
        }
    }

    /// What is known of everybody.
    pub fn status(&self, now: Duration) -> Vec<PeerStatus> {
        let status = |(key, peer): (&Bytes, &Peer)| {
            let ack = self.acks.of(key);
            PeerStatus {
                id: layout::member_of(key).map(|id| layout::hex(&id)).unwrap_or_default(),
                mode: peer.state.into(),
                applied: ack.map(|ack| ack.applied),
                silent_for: ack.map(|_| now.saturating_sub(self.acks.heard_at(key))),
                demoted: ack.is_some_and(|ack| ack.demoted && ack.record == peer.revision),
                reachable: peer.failures == 0,
            }
        };
        self.peers.iter().map(status).collect()
    }
}

impl Peer {
    /// One whose record is gone, by hand: since when it read from memory is not known.
    fn vanished(since: Duration) -> Self {
        let levels = Levels::default();
        Self {
            state: State::Evicted,
            revision: 0,
            cached_as: 0,
            endpoint: None,
            levels,
            since,
            gone: true,
            failures: 0,
        }
    }

    /// Evicted for so long that no cached read of it can be in time.
    fn is_over(&self, now: Duration) -> bool {
        let wait = match switched!("mutant.short-wait-after-eviction") {
            true => super::reading::CONFIRMED_FOR * 9 / 10,
            false => COUNTED_FOR,
        };
        self.state == State::Evicted && now >= self.since + wait
    }

    /// Neither evicted nor gone.
    fn serves(&self) -> bool {
        self.state != State::Evicted
    }

    /// The revision that its answers certainly show; the largest number if it asks the store before it answers.
    fn shows(&self, key: &Bytes, acks: &Acks, now: Duration) -> Revision {
        match self.state {
            State::Barrier | State::Leaving => Revision::MAX,
            State::Cached => acks.shows(key, self.revision),
            State::Evicted if self.is_over(now) => Revision::MAX,
            // Whether it gave up its cache before or after it took it last is not known, but what is applied only grows.
            State::Evicted if self.cached_as == 0 => acks.of(key).map_or(0, |ack| ack.applied),
            State::Evicted => acks.shows(key, self.cached_as),
        }
    }
}

/// Who has lanes but no record among these, which are all of a revision: only somebody's hand can have deleted it.
pub(super) async fn vanished(
    storage: &dyn Storage,
    members: &[KeyValue],
    revision: Revision,
) -> Result<Vec<MemberId>, Error> {
    if storage.exclusive() {
        return Ok(Vec::new());
    }
    let lanes = storage.range(Range::prefix(layout::LANES).at(revision)).await?.items;
    let owners = lanes.iter().filter_map(|item| layout::lane_owner(&item.key));
    Ok(owners.filter(|id| !members.iter().any(|item| item.key == layout::member(id))).collect())
}

#[cfg(test)]
mod tests;
