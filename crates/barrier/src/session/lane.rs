//! A lane: one batch of writes in flight, and certainty about each.
//!
//! Every batch overwrites the lane's record and compares its revision. So a batch whose answer was lost can be *cancelled* by
//! overwriting the record first: then it can never be applied, as that revision never comes back. If the record is that of
//! the batch, it was. Reading alone would prove nothing: the batch could still be under way.

mod full;
mod outcome;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use holdfast_failpoint::{failpoint, switched};
use holdfast_storage::{Compare, Condition, Error, KeyValue, Op, OpReply, Txn, TxnReply};

pub(super) use full::Room;
use outcome::Resolution;

use super::heartbeat::OVERTAKEN_BY;
use super::pauses::Pauses;
use super::queue::{Pending, PendingChange, Refusal};
use super::standing::Standing;
use super::{Session, queue::MAX_BYTES};
use crate::keys::Keys;
use crate::layout::{self, MemberId};
use crate::record::{self, LaneRecord};
use crate::value::BatchId;
use crate::view::{Revision, StoreError};

/// How often a batch that was certainly not applied is sent again.
const ATTEMPTS: u32 = 6;
const FIRST_PAUSE: Duration = Duration::from_millis(10);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

/// Between tries of one batch.
fn pauses() -> Pauses {
    Pauses::new(FIRST_PAUSE, LONGEST_PAUSE)
}

struct Lane {
    number: u8,
    member: MemberId,
    key: Bytes,
    /// `mod_revision` of its record; `None`: there is none, it must be made before use.
    revision: Option<Revision>,
    /// Number of the last batch.
    seq: u64,
}

/// Carries batches for ever.
pub(super) async fn run(session: Arc<Session>, number: u8) {
    let mut lane = Lane::of(&session.standing.load(), number);
    loop {
        let batch = session.queue.take().await;
        let transactions = batch.len();
        lane.carry(&session, batch).await;
        session.queue.done(transactions);
    }
}

impl Lane {
    fn of(standing: &Standing, number: u8) -> Self {
        let key = layout::lane(&standing.id, number);
        Self { number, member: standing.id, key, revision: Some(standing.joined), seq: 0 }
    }

    /// Sends a batch until its outcome is certain, and answers everybody in it.
    async fn carry(&mut self, session: &Session, mut batch: Vec<Pending>) {
        let mut last = StoreError::Unavailable("the store does not take the write".to_owned());
        let (mut pauses, mut overtaken_by) = (pauses(), OVERTAKEN_BY);
        for _ in 0..ATTEMPTS {
            let standing = session.standing.load_full();
            if standing.id != self.member {
                *self = Self::of(&standing, self.number);
            }
            let keys = session.keys.load_full();
            // After the keys: who has those of an order has the order.
            if session.is_ordered_to_seal() {
                return refuse(batch, &StoreError::Sealed);
            }
            if session.room.is_short() {
                batch = session.delete_alone(batch).await;
                if batch.is_empty() {
                    return;
                }
            }
            let ready = match self.revision {
                Some(revision) => Ok(revision),
                None if switched!("mutant.lane-compared-at-zero") => Ok(0),
                None => self.make(session, &standing, &keys).await,
            };
            let revision = match ready {
                Ok(revision) => revision,
                Err(StoreError::NoSpace) => {
                    session.room.there_is_none(session.clock.boottime());
                    return refuse(session.delete_alone(batch).await, &StoreError::NoSpace);
                }
                Err(error) => {
                    last = error;
                    pauses.pause().await;
                    continue;
                }
            };
            if let Err(error) = session.encrypt_again(&mut batch, &keys) {
                return refuse(batch, &error);
            }
            let txn = self.build(&standing, &keys, revision, &batch);
            let sent = session.sending();
            failpoint!("batch.before-commit").await;
            let error = match session.send_unless_overtaken(txn, overtaken_by).await {
                Ok(reply) if reply.succeeded => {
                    failpoint!("batch.committed").await;
                    (self.revision, self.seq) = (Some(reply.revision), self.seq + 1);
                    session.confirm(&standing, sent);
                    session.room.there_is();
                    session.show_conflicts(&reply);
                    // The first reply is that of the lane's record.
                    return answer(batch, reply.revision, &reply.replies[1..]);
                }
                Ok(reply) => match self.refused(session, &standing, &keys, revision, &reply).await {
                    // A conflict is one over our membership, not over what was asked for.
                    Ok(None) | Err(StoreError::Conflict) => {
                        pauses.pause().await;
                        continue;
                    }
                    Ok(Some(revision)) => return self.settle(session, batch, revision).await,
                    Err(error) => return refuse(batch, &error),
                },
                Err(error) => error,
            };
            match error {
                Error::Unreachable(text) => return refuse(batch, &StoreError::Unavailable(text)),
                Error::Failed(_) | Error::TooLarge(_) if batch.len() > 1 => return self.singly(session, batch).await,
                Error::Failed(text) => return refuse(batch, &StoreError::Unavailable(text)),
                Error::TooLarge(_) => {
                    let bytes = batch.iter().map(Pending::bytes).sum();
                    return refuse(batch, &StoreError::TooLarge { bytes, limit: MAX_BYTES });
                }
                error => {
                    tracing::warn!(%error, "the outcome of a batch is unknown; resolving it");
                    overtaken_by *= 2;
                    match self.resolve(session, revision).await {
                        Resolution::Cancelled => {}
                        Resolution::Committed(revision) => return self.settle(session, batch, revision).await,
                        Resolution::Forgotten => return refuse(batch, &forgotten()),
                    }
                    match error {
                        Error::NoSpace => {
                            session.room.there_is_none(session.clock.boottime());
                            return refuse(session.delete_alone(batch).await, &StoreError::NoSpace);
                        }
                        other => last = StoreError::Unavailable(other.to_string()),
                    }
                }
            }
        }
        refuse(batch, &last);
    }

    /// One at a time, so that only the one that is refused fails.
    async fn singly(&mut self, session: &Session, batch: Vec<Pending>) {
        for pending in batch {
            Box::pin(self.carry(session, vec![pending])).await;
        }
    }

    fn build(&self, standing: &Standing, keys: &Keys, revision: Revision, batch: &[Pending]) -> Txn {
        let seq = self.seq + 1;
        let id = BatchId { member: self.member, lane: self.number, seq };
        let mut deletes = Vec::new();
        let inner: Vec<Op> = batch
            .iter()
            .map(|pending| {
                let then = pending.writes.iter().map(|write| match &write.change {
                    PendingChange::Put(_, encrypted) => {
                        Op::put(write.key.clone(), encrypted.stamp(&keys.mac, &write.path, id))
                    }
                    PendingChange::Delete => {
                        deletes.push(delete_mark(keys, &write.key));
                        Op::delete(write.key.clone())
                    }
                });
                pending.with(then.collect())
            })
            .collect();
        let record = LaneRecord { seq, previous: revision, deletes, ..LaneRecord::default() };
        let mut then = vec![Op::put(self.key.clone(), record::encode(&keys.mac, &self.key, &record))];
        then.extend(inner);
        Txn {
            compares: vec![
                standing.fence(),
                Compare::new(layout::GENERATION, Condition::ModRevision(keys.generation)),
                Compare::new(self.key.clone(), Condition::ModRevision(revision)),
            ],
            then,
            otherwise: vec![Op::get(standing.key.clone()), Op::get(layout::GENERATION), Op::get(self.key.clone())],
        }
    }

    /// An outer compare did not hold: finds out which, and puts it right. `Some`: the batch was applied after all.
    async fn refused(
        &mut self,
        session: &Session,
        standing: &Standing,
        keys: &Keys,
        before: Revision,
        reply: &TxnReply,
    ) -> Result<Option<Revision>, StoreError> {
        let lane = match reply.replies.get(2) {
            Some(OpReply::Get(item)) => item.clone(),
            _ => None,
        };
        // The transport may have sent it twice.
        if let Resolution::Committed(revision) = self.resolved(session, keys, before, lane).await {
            return Ok(Some(revision));
        }
        session.catch_up(standing, keys, reply).await?;
        Ok(None)
    }

    /// Takes over the lane's record as found. `Some`: it is that of the batch just sent.
    fn take_over(&mut self, keys: &Keys, found: Option<KeyValue>) -> Option<Revision> {
        let Some(item) = found else {
            self.revision = None;
            return None;
        };
        if Some(item.mod_revision) == self.revision {
            return None;
        }
        self.revision = Some(item.mod_revision);
        let mine = self.is_mine(keys, &item);
        let record = record::decode::<LaneRecord>(&keys.mac, &self.key, &item.value)?;
        self.seq = self.seq.max(record.seq);
        mine.then_some(item.mod_revision)
    }

    /// The record is that of the batch just sent.
    fn is_mine(&self, keys: &Keys, item: &KeyValue) -> bool {
        let record = record::decode::<LaneRecord>(&keys.mac, &self.key, &item.value);
        record.is_some_and(|record| record.seq == self.seq + 1 && record.cancelled.is_none())
    }

    /// Makes the lane's record. A revision of 0 is never compared: a batch that did could be applied after its cancellation.
    async fn make(&mut self, session: &Session, standing: &Standing, keys: &Keys) -> Result<Revision, StoreError> {
        let record = LaneRecord { seq: self.seq, ..LaneRecord::default() };
        let txn = Txn {
            compares: vec![
                Compare::new(standing.key.clone(), Condition::ModRevision(standing.revision)),
                Compare::new(self.key.clone(), Condition::Absent),
            ],
            then: vec![Op::put(self.key.clone(), record::encode(&keys.mac, &self.key, &record))],
            otherwise: vec![Op::get(standing.key.clone()), Op::get(self.key.clone())],
        };
        let reply = session.send(txn).await?;
        if reply.succeeded {
            self.revision = Some(reply.revision);
            return Ok(reply.revision);
        }
        let member = Standing::found(&reply.replies);
        if !standing.is_as(member.as_ref()) {
            session.member_changed(standing, member).await?;
        }
        if let Some(OpReply::Get(Some(item))) = reply.replies.get(1) {
            self.revision = Some(item.mod_revision);
            return Ok(item.mod_revision);
        }
        Err(StoreError::Unavailable("the lane could not be made".to_owned()))
    }
}

impl Pending {
    /// As a transaction within a batch, with these changes.
    fn with(&self, then: Vec<Op>) -> Op {
        let compares = self.checks.iter().map(|(key, condition)| Compare::new(key.clone(), *condition));
        Op::Txn(Txn { compares: compares.collect(), then, otherwise: Vec::new() })
    }
}

impl Session {
    /// An outer compare did not hold: puts right what is not the lane's.
    async fn catch_up(&self, standing: &Standing, keys: &Keys, reply: &TxnReply) -> Result<(), StoreError> {
        let member = Standing::found(&reply.replies);
        if !standing.is_as(member.as_ref()) {
            self.member_changed(standing, member).await?;
        }
        let generation = match reply.replies.get(1) {
            Some(OpReply::Get(Some(item))) => item.mod_revision,
            _ => 0,
        };
        if generation != keys.generation {
            self.wait_applied(reply.revision).await?;
        }
        Ok(())
    }

    /// Whoever tries again after a compare that did not hold must see what it met.
    fn show_conflicts(&self, reply: &TxnReply) {
        if reply.replies.iter().any(|op| matches!(op, OpReply::Txn(inner) if !inner.succeeded)) {
            self.answered.fetch_max(reply.revision, std::sync::atomic::Ordering::SeqCst);
        }
    }

    /// Encrypts anew what is not under the active term.
    fn encrypt_again(&self, batch: &mut [Pending], keys: &Keys) -> Result<(), StoreError> {
        for write in batch.iter_mut().flat_map(|pending| pending.writes.iter_mut()) {
            if let PendingChange::Put(plain, encrypted) = &mut write.change
                && encrypted.term() != keys.keyring.active()
            {
                *encrypted = self.encrypt(keys, &write.path, plain)?;
            }
        }
        Ok(())
    }
}

/// How a lane's record names a key that its batch deletes.
pub(super) fn delete_mark(keys: &Keys, key: &[u8]) -> String {
    keys.mac.over(&[b"holdfast delete", key]).iter().map(|byte| format!("{byte:02x}")).collect()
}

fn answer(batch: Vec<Pending>, revision: Revision, replies: &[OpReply]) {
    for (pending, op) in batch.into_iter().zip(replies) {
        let done = matches!(op, OpReply::Txn(inner) if inner.succeeded);
        // Whoever waits no more has dropped the other end.
        let met = Refusal { error: StoreError::Conflict, seen: revision };
        let _ = pending.reply.send(if done { Ok(revision) } else { Err(met) });
    }
}

fn forgotten() -> StoreError {
    StoreError::Unavailable("whether it was written is not known: the store has forgotten that time".to_owned())
}

fn refuse(batch: Vec<Pending>, error: &StoreError) {
    for pending in batch {
        let again = match error {
            StoreError::Conflict => StoreError::Conflict,
            StoreError::Sealed => StoreError::Sealed,
            StoreError::TooLarge { bytes, limit } => StoreError::TooLarge { bytes: *bytes, limit: *limit },
            StoreError::NoSpace => StoreError::NoSpace,
            StoreError::Unavailable(text) => StoreError::Unavailable(text.clone()),
            StoreError::Corrupt { path, reason } => StoreError::Corrupt { path: path.clone(), reason: reason.clone() },
            StoreError::Encode { path, reason } => StoreError::Encode { path: path.clone(), reason: reason.clone() },
        };
        // Whoever waits no more has dropped the other end.
        let _ = pending.reply.send(Err(again.into()));
    }
}
