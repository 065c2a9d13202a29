//! What we are in the cluster, and who else is: join, leave, change of state, dead members.
//!
//! A member that is in the store under our own instance name is a predecessor that ended without leaving: one place runs one
//! process at a time, so it is dead, and its record is removed without waiting. Any other member that reads from memory gives
//! that up when it sees us; if it does not, it is evicted: marked in its record, counted as reading from memory for as
//! long as its last heartbeat could entitle it, then forgotten.

mod eviction;
mod join;

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;
use holdfast_failpoint::{failpoint, switched};
use holdfast_storage::{Compare, Condition, KeyValue, Op, OpReply, Txn};
pub(super) use join::join;
use join::{enter, own_record, removal};

use super::Session;
use super::roster::Roster;
use crate::layout::MemberId;
use crate::record::{self, MemberRecord, State};
use crate::view::{Revision, StoreError};

/// Who was evicted evicts nobody for so long.
const HUMBLE_FOR: Duration = Duration::from_secs(60);
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

impl Session {
    async fn keep_standing(&self) -> Result<(), StoreError> {
        self.look_at_gate();
        if self.closing.load(Ordering::SeqCst) {
            return Ok(());
        }
        let standing = self.standing.load_full();
        // A full store refuses some of these and not others.
        let room = self.mind_room(&standing).await;
        match standing.state {
            State::Barrier if self.may_enter_cached(&standing) => self.set_state(State::Cached).await?,
            State::Cached if !self.may_stay_cached(&standing) => self.set_state(State::Barrier).await?,
            _ => {}
        }
        self.evict_the_silent(&standing).await?;
        room?;
        self.raise_level(&standing).await
    }

    /// Everybody else that serves can be heard, and takes part.
    fn together(&self, roster: &Roster) -> bool {
        roster.is_empty() || (self.peers.talk() && roster.all_speak() && !roster.any_unheard(self.clock.boottime()))
    }

    /// Everybody else must know of us first: who thinks to be alone answers his writes before his watch shows them.
    fn may_enter_cached(&self, standing: &Standing) -> bool {
        let roster = self.roster.lock();
        !self.options.always_ask
            && self.feed.runs()
            && self.peers.is_rested(self.clock.boottime())
            && self.together(&roster)
            && roster.all_know(standing.joined)
    }

    fn may_stay_cached(&self, standing: &Standing) -> bool {
        !self.options.always_ask && !self.peers.is_demoted(standing.revision) && self.together(&self.roster.lock())
    }

    /// Writes our state. Until the watch shows it nothing is read from memory on the strength of it; and whoever sees that we
    /// do not read from memory may rely on that before the answer reaches us.
    async fn set_state(&self, state: State) -> Result<(), StoreError> {
        let _changing = self.changing.lock().await;
        let standing = self.standing.load_full();
        let keys = self.keys.load_full();
        if state != State::Cached {
            self.peers.give_up(standing.revision);
        }
        let record = own_record(state, &self.options, self.peers.endpoint());
        let txn = Txn {
            compares: vec![Compare::new(standing.key.clone(), Condition::ModRevision(standing.revision))],
            then: vec![Op::put(standing.key.clone(), record::encode(&keys.mac, &standing.key, &record))],
            otherwise: Vec::new(),
        };
        // If the outcome is unknown, the next heartbeat or batch finds the record changed and takes it over.
        let reply = self.send(txn).await?;
        failpoint!("join.state-written").await;
        if reply.succeeded {
            self.standing.store(Arc::new(Standing { state, revision: reply.revision, ..(*standing).clone() }));
            self.peers.tell_news();
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
            Some((state @ (State::Barrier | State::Cached | State::Leaving), revision))
                if revision > standing.revision =>
            {
                self.standing.store(Arc::new(Standing { state, revision, ..(*standing).clone() }));
                Ok(())
            }
            _ => {
                self.join_anew(HUMBLE_FOR).await?;
                if found.is_none()
                    && let Err(error) = self.storage.txn(removal(&standing.key, 0)).await
                {
                    tracing::debug!(%error, "lanes of the old id are left to others");
                }
                Ok(())
            }
        }
    }

    /// Leaves the old id behind, as the store went back to before something that others were told under it.
    pub(super) async fn leave_behind(&self) -> Result<(), StoreError> {
        let _changing = self.changing.lock().await;
        let old = self.standing.load_full();
        self.join_anew(Duration::ZERO).await?;
        let (found, _) = self.storage.get(&old.key).await?;
        if let Some(item) = found {
            self.storage.txn(removal(&old.key, item.mod_revision)).await?;
        }
        Ok(())
    }

    async fn join_anew(&self, humble_for: Duration) -> Result<(), StoreError> {
        tracing::warn!("the record of this replica is gone or marked as evicted; it joins again under a new id");
        self.peers.counters.rejoins.fetch_add(1, Ordering::Relaxed);
        let keys = self.keys.load_full();
        if self.is_ordered_to_seal() {
            return Err(StoreError::Sealed);
        }
        let record = own_record(State::Barrier, &self.options, self.peers.endpoint());
        let mut standing = enter(&*self.entropy, &*self.storage, &keys, &record).await?;
        standing.humble_until = self.clock.boottime() + humble_for;
        self.confirmed.store(0, Ordering::SeqCst);
        let key = standing.key.clone();
        self.standing.store(Arc::new(standing));
        // The watch may have shown our new record before we knew that it is ours.
        self.roster.lock().forget(&key);
        self.look_at_gate();
        self.peers.tell_news();
        Ok(())
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
                let _ = self.set_state(State::Leaving).await;
            }
            failpoint!("leave.before-removal").await;
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
    /// What every batch and heartbeat compares: nobody has touched our record.
    pub fn fence(&self) -> Compare {
        let condition = match switched!("mutant.fence-create-revision") {
            // An id is never used again: it was created once.
            true => Condition::Exists,
            false => Condition::ModRevision(self.revision),
        };
        Compare::new(self.key.clone(), condition)
    }

    /// Whether our record, as `found` in the store, is the one that is fenced on.
    pub fn is_as(&self, found: Option<&KeyValue>) -> bool {
        found.is_some_and(|item| item.mod_revision == self.revision)
    }

    /// The read of our own record out of a failed batch or heartbeat.
    pub fn found(replies: &[OpReply]) -> Option<KeyValue> {
        match replies.first() {
            Some(OpReply::Get(item)) => item.clone(),
            _ => None,
        }
    }
}
