//! What we are in the cluster, and who else is: join, leave, change of state, dead members.
//!
//! A member that is in the store under our own instance name is a predecessor that ended without leaving: one place runs one
//! process at a time, so it is dead, and its record is removed without waiting. Any other member that reads from memory gives
//! that up when it sees us; if it does not, it is evicted: marked in its record, counted as reading from memory for as
//! long as its last heartbeat could entitle it, then forgotten.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;
use holdfast_storage::{Compare, Condition, Error, Event, KeyValue, Op, OpReply, Range, Txn};

use super::{Ground, LANES, Session};
use crate::keys::Keys;
use crate::layout::{self, MemberId};
use crate::record::{self, LaneRecord, MemberRecord, State};
use crate::value::{self, MacKey};
use crate::view::{Revision, StoreError};

/// How long an evicted member counts: 1.25 times what a heartbeat entitles to, for clocks that differ by a tenth, and a bit.
const COUNTED_FOR: Duration = Duration::from_millis(3800);
/// How long a member may take to give up its cache before it is evicted.
const GRACE: Duration = Duration::from_secs(2);
/// Who was evicted evicts nobody for so long.
const HUMBLE_FOR: Duration = Duration::from_secs(60);
const ENTER_ATTEMPTS: usize = 20;
const TICK: Duration = Duration::from_millis(250);
const LEAVE_WITHIN: Duration = Duration::from_secs(2);

/// Our own record.
#[derive(Clone, Debug)]
pub(super) struct Standing {
    pub id: MemberId,
    /// Its key.
    pub key: Bytes,
    /// `mod_revision` of the record.
    pub revision: Revision,
    /// Revision at which it, and its lanes, were made.
    pub joined: Revision,
    pub state: State,
    /// Boottime until which we evict nobody.
    pub humble_until: Duration,
}

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

/// Makes our record and lanes, and removes those of dead predecessors. The keys must still be those of the store.
pub(super) async fn join(ground: &Ground, keys: &Keys) -> Result<(Standing, Roster), StoreError> {
    let standing = enter(ground.entropy.as_ref(), ground.storage.as_ref(), keys, &ground.options.instance).await?;
    let members = ground.storage.range(Range::prefix(layout::MEMBERS)).await?.items;
    let mut others = Vec::new();
    for item in members.into_iter().filter(|item| item.key != standing.key) {
        let record = record::decode::<MemberRecord>(&keys.mac, &item.key, &item.value);
        let predecessor = record.is_some_and(|record| record.instance == ground.options.instance);
        if predecessor || ground.storage.exclusive() {
            let txn = removal(&item.key, item.mod_revision);
            if ground.storage.txn(txn).await.is_ok_and(|reply| reply.succeeded) {
                continue;
            }
        }
        others.push(item);
    }
    let roster = Roster::of(&others, None, &keys.mac, ground.clock.boottime());
    Ok((standing, roster))
}

/// Looks after our state and dead members for ever.
pub(super) async fn run(session: Arc<Session>) {
    loop {
        if let Err(error) = session.keep_standing().await {
            tracing::debug!(%error, "cannot change state now");
        }
        // The first to come: a change in the roster, or time.
        let _ = tokio::time::timeout(TICK, session.wake.notified()).await;
    }
}

/// A new member in state barrier with its lanes, all in one transaction.
async fn enter(
    entropy: &dyn holdfast_base::Entropy,
    storage: &dyn holdfast_storage::Storage,
    keys: &Keys,
    instance: &str,
) -> Result<Standing, StoreError> {
    let mut id = [0u8; 16];
    entropy.fill(&mut id);
    let key = layout::member(&id);
    let record = MemberRecord {
        state: State::Barrier,
        instance: instance.to_owned(),
        formats: (value::VERSION, value::VERSION),
    };
    let mut then = vec![Op::put(key.clone(), record::encode(&keys.mac, &key, &record))];
    for number in 0..LANES {
        let key = layout::lane(&id, number);
        let record = LaneRecord { seq: 0, previous: 0, deletes: Vec::new(), cancelled: None };
        then.push(Op::put(key.clone(), record::encode(&keys.mac, &key, &record)));
    }
    let compares = vec![
        Compare::new(key.clone(), Condition::Absent),
        Compare::new(layout::KEYRING, Condition::ModRevision(keys.keyring_revision)),
        Compare::new(layout::GENERATION, Condition::ModRevision(keys.generation)),
    ];
    let txn = Txn { compares, then, otherwise: vec![Op::get(key.clone())] };
    let joined = enter_for_certain(storage, txn).await?;
    Ok(Standing { id, key, revision: joined, joined, state: State::Barrier, humble_until: Duration::ZERO })
}

/// Sends the transaction until its outcome is known: a record of ours that we do not know of would pass for another replica.
async fn enter_for_certain(storage: &dyn holdfast_storage::Storage, txn: Txn) -> Result<Revision, StoreError> {
    let mut last = StoreError::Conflict;
    for _ in 0..ENTER_ATTEMPTS {
        match storage.txn(txn.clone()).await {
            Ok(reply) if reply.succeeded => return Ok(reply.revision),
            // The id was drawn for this: if it is there, an earlier sending was applied.
            Ok(reply) => {
                return Standing::found(&reply.replies).map(|item| item.mod_revision).ok_or(StoreError::Conflict);
            }
            Err(error @ Error::Unknown(_)) => last = error.into(),
            Err(error) => return Err(error.into()),
        }
        tokio::time::sleep(TICK).await;
    }
    Err(last)
}

/// Removes a member and its lanes.
fn removal(member: &Bytes, revision: Revision) -> Txn {
    let mut then = vec![Op::delete(member.clone())];
    if let Some(id) = layout::member_of(member) {
        then.extend((0..LANES).map(|number| Op::delete(layout::lane(&id, number))));
    }
    Txn { compares: vec![Compare::new(member.clone(), Condition::ModRevision(revision))], then, otherwise: Vec::new() }
}

impl Session {
    /// Opens or shuts the gate, by the roster and the time.
    pub(super) fn look_at_roster(&self) {
        let now = self.clock.boottime();
        let mut roster = self.roster.lock();
        roster.0.retain(|_, peer| !(peer.gone && peer.is_over(now)));
        let open = roster.0.values().all(|peer| match peer.state {
            State::Barrier => true,
            State::Cached => false,
            State::Evicted => peer.is_over(now),
        });
        drop(roster);
        self.gate.send_if_modified(|gate| std::mem::replace(gate, open) != open);
    }

    async fn keep_standing(&self) -> Result<(), StoreError> {
        self.look_at_roster();
        if self.closing.load(Ordering::SeqCst) {
            return Ok(());
        }
        let alone = self.roster.lock().is_empty();
        let standing = self.standing.load_full();
        match (alone, standing.state) {
            (true, State::Barrier) if self.healthy.load(Ordering::SeqCst) && !self.options.always_ask => {
                self.set_state(State::Cached).await?;
            }
            (false, State::Cached) => self.set_state(State::Barrier).await?,
            _ => {}
        }
        self.evict_the_silent(&standing).await
    }

    /// Writes our state. Until the watch shows it nothing is read from memory on the strength of it.
    async fn set_state(&self, state: State) -> Result<(), StoreError> {
        let _changing = self.changing.lock().await;
        let standing = self.standing.load_full();
        let keys = self.keys.load_full();
        let record =
            MemberRecord { state, instance: self.options.instance.clone(), formats: (value::VERSION, value::VERSION) };
        let txn = Txn {
            compares: vec![Compare::new(standing.key.clone(), Condition::ModRevision(standing.revision))],
            then: vec![Op::put(standing.key.clone(), record::encode(&keys.mac, &standing.key, &record))],
            otherwise: Vec::new(),
        };
        // If the outcome is unknown, the next heartbeat or batch finds the record changed and takes it over.
        let reply = self.storage.txn(txn).await?;
        if reply.succeeded {
            self.standing.store(Arc::new(Standing { state, revision: reply.revision, ..(*standing).clone() }));
        }
        Ok(())
    }

    /// A compare on our record did not hold; `found` is what is there. Takes over what we wrote ourselves, else joins anew.
    pub(super) async fn member_changed(&self, used: &Standing, found: Option<KeyValue>) -> Result<(), StoreError> {
        let _changing = self.changing.lock().await;
        let standing = self.standing.load_full();
        if standing.revision != used.revision || standing.id != used.id {
            return Ok(());
        }
        if self.closing.load(Ordering::SeqCst) {
            return Err(StoreError::Sealed);
        }
        let keys = self.keys.load_full();
        let record = found.as_ref().and_then(|item| {
            let record = record::decode::<MemberRecord>(&keys.mac, &item.key, &item.value)?;
            Some((record.state, item.mod_revision))
        });
        match record {
            Some((state @ (State::Barrier | State::Cached), revision)) if revision > standing.revision => {
                self.standing.store(Arc::new(Standing { state, revision, ..(*standing).clone() }));
                Ok(())
            }
            _ => self.join_anew().await,
        }
    }

    async fn join_anew(&self) -> Result<(), StoreError> {
        tracing::warn!("this replica was evicted; it joins again under a new id");
        let keys = self.keys.load_full();
        let mut standing = enter(&*self.entropy, &*self.storage, &keys, &self.options.instance).await?;
        standing.humble_until = self.clock.boottime() + HUMBLE_FOR;
        self.confirmed.store(0, Ordering::SeqCst);
        let key = standing.key.clone();
        self.standing.store(Arc::new(standing));
        // The watch may have shown our new record before we knew that it is ours.
        self.roster.lock().0.remove(&key);
        self.look_at_roster();
        Ok(())
    }

    async fn evict_the_silent(&self, standing: &Standing) -> Result<(), StoreError> {
        let now = self.clock.boottime();
        let (silent, over) = self.roster.lock().silent_and_over(now);
        let mine = Compare::new(standing.key.clone(), Condition::ModRevision(standing.revision));
        if now >= standing.humble_until {
            for (key, revision) in silent {
                let Some(stored) = self.evicted_record(&key).await? else { continue };
                tracing::warn!("evicting a replica that does not give up its cache");
                let compares = vec![mine.clone(), Compare::new(key.clone(), Condition::ModRevision(revision))];
                self.storage.txn(Txn { compares, then: vec![Op::put(key, stored)], otherwise: Vec::new() }).await?;
            }
        }
        for (key, revision) in over {
            let mut txn = removal(&key, revision);
            txn.compares.push(mine.clone());
            self.storage.txn(txn).await?;
        }
        Ok(())
    }

    async fn evicted_record(&self, key: &Bytes) -> Result<Option<Bytes>, StoreError> {
        let keys = self.keys.load_full();
        let (item, _) = self.storage.get(key).await?;
        let record = item.and_then(|item| record::decode::<MemberRecord>(&keys.mac, key, &item.value));
        Ok(record.map(|record| record::encode(&keys.mac, key, &MemberRecord { state: State::Evicted, ..record })))
    }

    /// Waits for the batches in flight, then removes our record and lanes.
    pub(super) async fn leave(&self) {
        let idle = async {
            while !self.queue.is_idle() {
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
        };
        // Batches of unknown outcome may go on for long; removing the lanes ends them as well.
        let _ = tokio::time::timeout(LEAVE_WITHIN, idle).await;
        let left = async {
            if self.standing.load().state == State::Cached {
                // First uncounted, then gone: a key that vanishes while cached would be counted.
                let _ = self.set_state(State::Barrier).await;
            }
            let standing = self.standing.load_full();
            self.storage.txn(removal(&standing.key, standing.revision)).await
        };
        match tokio::time::timeout(LEAVE_WITHIN, left).await {
            Ok(Ok(reply)) if reply.succeeded => {}
            _ => tracing::warn!("could not leave the cluster cleanly; the next start cleans up"),
        }
    }
}

impl Standing {
    /// The read of our own record out of a failed batch or heartbeat.
    pub fn found(replies: &[OpReply]) -> Option<KeyValue> {
        match replies.first() {
            Some(OpReply::Get(item)) => item.clone(),
            _ => None,
        }
    }
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
    fn silent_and_over(&self, now: Duration) -> (Vec<Record>, Vec<Record>) {
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

    fn put(mac: &MacKey, state: State, revision: Revision) -> Event {
        let key = layout::member(&[1; 16]);
        let record = MemberRecord { state, instance: "a".to_owned(), formats: (1, 1) };
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
