//! Deletes in a full store. It takes no put, so no record of a lane: what only deletes travels without one, and compares the
//! record of the *reserve* instead, a lane that no batch overwrites.
//!
//! Whoever sees such a delete while the store is full believes it. Who sees it later cannot tell it from somebody else's, so once
//! there is room the replica that made it says so in the reserve's record.
//!
//! Of such a batch whose answer was lost, the reserve is deleted: it cannot be applied any more. Whether it was is not told by the
//! store, so it is told as unknown. From then on deletes wait for room, too; then the reserve is made again.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use holdfast_storage::{Compare, Condition, Error, Op, Txn};
use parking_lot::Mutex;

use super::{ATTEMPTS, FIRST_PAUSE, answer, pauses, refuse};
use crate::layout;
use crate::record::{self, LaneRecord};
use crate::session::queue::Pending;
use crate::session::standing::Standing;
use crate::session::{RESERVE, Session};
use crate::view::{Revision, StoreError};

/// Deletes without a record are believed for so long after the store was full.
const LATELY: Duration = Duration::from_secs(60);
/// Revisions that one record says are this replica's: a few kilobytes.
const SAID_AT_ONCE: usize = 500;

/// Whether the store takes puts, as far as is known.
#[derive(Default)]
pub struct Room {
    short: AtomicBool,
    /// Boottime in nanoseconds at which it was last short; 0: never.
    last: AtomicU64,
    /// The reserve is gone.
    spent: AtomicBool,
    /// Revisions of deletes without a record, of which others are yet to be told.
    unsaid: Mutex<Vec<Revision>>,
}

impl Room {
    /// It took one.
    pub fn there_is(&self) {
        self.short.store(false, Ordering::SeqCst);
    }

    /// It refused one.
    pub fn there_is_none(&self, now: Duration) {
        self.short.store(true, Ordering::SeqCst);
        self.last.store(u64::try_from(now.as_nanos()).unwrap_or(u64::MAX).max(1), Ordering::SeqCst);
    }

    /// It refused the last one.
    pub fn is_short(&self) -> bool {
        self.short.load(Ordering::SeqCst)
    }

    /// It has refused one within the last minute.
    pub fn was_short_lately(&self, now: Duration) -> bool {
        let last = self.last.load(Ordering::SeqCst);
        last != 0 && now < Duration::from_nanos(last) + LATELY
    }
}

impl Session {
    /// If the store is full, carries out what only deletes and refuses the rest. Answers what is left to a lane.
    pub(super) async fn delete_alone(&self, batch: Vec<Pending>) -> Vec<Pending> {
        if !batch.iter().any(Pending::only_deletes) || !matches!(self.is_full().await, Ok(true)) {
            return batch;
        }
        let (deletes, puts) = batch.into_iter().partition(Pending::only_deletes);
        refuse(puts, &StoreError::NoSpace);
        self.send_deletes(deletes).await
    }

    async fn send_deletes(&self, batch: Vec<Pending>) -> Vec<Pending> {
        for _ in 0..ATTEMPTS {
            let (standing, keys) = (self.standing.load_full(), self.keys.load_full());
            if self.is_ordered_to_seal() {
                refuse(batch, &StoreError::Sealed);
                return Vec::new();
            }
            let reserve = layout::lane(&standing.id, RESERVE);
            let revision = match self.storage.get(&reserve).await {
                Ok((Some(item), _)) => item.mod_revision,
                Ok((None, _)) => {
                    self.room.spent.store(true, Ordering::SeqCst);
                    return batch;
                }
                Err(error) => {
                    refuse(batch, &error.into());
                    return Vec::new();
                }
            };
            let deletes =
                |pending: &Pending| pending.writes.iter().map(|write| Op::delete(write.key.clone())).collect();
            let txn = Txn {
                compares: vec![
                    standing.fence(),
                    Compare::new(layout::GENERATION, Condition::ModRevision(keys.generation)),
                    Compare::new(reserve.clone(), Condition::ModRevision(revision)),
                ],
                then: batch.iter().map(|pending| pending.with(deletes(pending))).collect(),
                otherwise: vec![Op::get(standing.key.clone()), Op::get(layout::GENERATION)],
            };
            let sent = self.sending();
            match self.send(txn).await {
                Ok(reply) if reply.succeeded => {
                    self.confirm(&standing, sent);
                    self.show_conflicts(&reply);
                    self.room.unsaid.lock().push(reply.revision);
                    answer(batch, reply.revision, &reply.replies);
                    return Vec::new();
                }
                Ok(reply) => match self.catch_up(&standing, &keys, &reply).await {
                    Ok(()) | Err(StoreError::Conflict) => tokio::time::sleep(FIRST_PAUSE).await,
                    Err(error) => {
                        refuse(batch, &error);
                        return Vec::new();
                    }
                },
                Err(error @ (Error::Unreachable(_) | Error::Failed(_) | Error::TooLarge(_))) => {
                    refuse(batch, &error.into());
                    return Vec::new();
                }
                Err(error) => {
                    tracing::warn!(%error, "the outcome of deletes in a full store is unknown");
                    self.spend(&reserve, revision).await;
                    refuse(batch, &StoreError::Unavailable("whether it was deleted is not known".to_owned()));
                    return Vec::new();
                }
            }
        }
        refuse(batch, &StoreError::Unavailable("the store does not take the deletion".to_owned()));
        Vec::new()
    }

    /// Deletes the reserve of this revision: when this returns, no batch that compared it can be applied any more.
    async fn spend(&self, reserve: &Bytes, revision: Revision) {
        let compares = vec![Compare::new(reserve.clone(), Condition::ModRevision(revision))];
        let txn = Txn { compares, then: vec![Op::delete(reserve.clone())], otherwise: Vec::new() };
        let mut pauses = pauses();
        while let Err(error) = self.storage.txn(txn.clone()).await {
            tracing::debug!(%error, "the reserve is not spent yet");
            pauses.pause().await;
        }
        // Not before: who makes it again would meet the old one, and think no more of it.
        self.room.spent.store(true, Ordering::SeqCst);
    }

    /// Whether the store takes no puts: it refuses one for that also where its condition does not hold, as none does of a
    /// key that never exists.
    async fn is_full(&self) -> Result<bool, Error> {
        let compares = vec![Compare::new(layout::NEVER, Condition::Exists)];
        let txn = Txn { compares, then: vec![Op::put(layout::NEVER, "")], otherwise: Vec::new() };
        match self.storage.txn(txn).await {
            Ok(_) => {
                self.room.there_is();
                Ok(false)
            }
            Err(Error::NoSpace) => {
                self.room.there_is_none(self.clock.boottime());
                Ok(true)
            }
            Err(error) => Err(error),
        }
    }

    /// Finds out about deletes without a record; makes the reserve again, and says in it which of them were this replica's.
    pub(in crate::session) async fn mind_room(&self, standing: &Standing) -> Result<(), StoreError> {
        if self.integrity.doubts() {
            let full = self.is_full().await?;
            self.integrity.judge(full, self.clock.boottime());
        }
        let unsaid: Vec<Revision> = self.room.unsaid.lock().iter().take(SAID_AT_ONCE).copied().collect();
        let owed = self.room.spent.load(Ordering::SeqCst) || !unsaid.is_empty();
        if !owed || (self.room.is_short() && self.is_full().await?) {
            return Ok(());
        }
        // Before the look: what is spent from now on is not what is found or made here.
        self.room.spent.store(false, Ordering::SeqCst);
        let written = self.write_reserve(standing, &unsaid).await;
        match written {
            // Nobody else takes any out, and new ones come behind them.
            Ok(true) => drop(self.room.unsaid.lock().drain(..unsaid.len())),
            Ok(false) | Err(_) => self.room.spent.store(true, Ordering::SeqCst),
        }
        written.map(|_| ()).map_err(StoreError::from)
    }

    /// Makes the reserve if it is gone, or writes it anew if there is something to say. A batch that compares the one before
    /// is not applied then, and compares this one.
    async fn write_reserve(&self, standing: &Standing, alone: &[Revision]) -> Result<bool, Error> {
        let (keys, key) = (self.keys.load_full(), layout::lane(&standing.id, RESERVE));
        let found = self.storage.get(&key).await?.0;
        if found.is_some() && alone.is_empty() {
            return Ok(true);
        }
        let before = found.as_ref().and_then(|item| record::decode::<LaneRecord>(&keys.mac, &key, &item.value));
        let record = LaneRecord {
            seq: before.map_or(0, |record| record.seq + 1),
            previous: found.as_ref().map_or(0, |item| item.mod_revision),
            alone: alone.to_vec(),
            ..LaneRecord::default()
        };
        let as_found = found.map_or(Condition::Absent, |item| Condition::ModRevision(item.mod_revision));
        let txn = Txn {
            compares: vec![standing.fence(), Compare::new(key.clone(), as_found)],
            then: vec![Op::put(key.clone(), record::encode(&keys.mac, &key, &record))],
            otherwise: Vec::new(),
        };
        Ok(self.storage.txn(txn).await?.succeeded)
    }
}
