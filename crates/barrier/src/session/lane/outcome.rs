//! What became of a batch whose answer was lost.

use std::time::Duration;

use futures::StreamExt;
use holdfast_failpoint::switched;
use holdfast_storage::{Compare, Condition, Error, Event, KeyValue, Op, Range, Txn, Update};

use super::{Lane, pauses};
use crate::keys::Keys;
use crate::record::{self, LaneRecord};
use crate::session::Session;
use crate::session::heartbeat::OVERTAKEN_BY;
use crate::session::queue::{Pending, Refusal};
use crate::session::standing::Standing;
use crate::view::{Revision, StoreError};

/// No answer comes later than this.
const LONGEST_OVERTAKEN: Duration = Duration::from_secs(8);
/// Longest wait for the history of a lane, at a time.
const HISTORY_WITHIN: Duration = Duration::from_secs(5);

/// What became of a batch whose answer was lost.
pub(super) enum Resolution {
    /// It was not applied and never will be.
    Cancelled,
    /// It was applied by this revision.
    Committed(Revision),
    /// Nobody knows any more.
    Forgotten,
}

impl Lane {
    /// Overwrites the lane's record unless the batch has: tries until the store answers.
    pub(super) async fn resolve(&mut self, session: &Session, revision: Revision) -> Resolution {
        let nonce = holdfast_base::id::hex(&*session.entropy, 16);
        let (mut pauses, mut overtaken_by) = (pauses(), OVERTAKEN_BY);
        let mut full = false;
        loop {
            let keys = session.keys.load_full();
            if switched!("mutant.resolve-by-reading") {
                match session.storage.get(&self.key).await {
                    Ok((found, _)) => return self.resolved(session, &keys, revision, found).await,
                    Err(_) => continue,
                }
            }
            let cancelled = Some(nonce.clone());
            let record = LaneRecord { seq: self.seq + 1, previous: revision, cancelled, ..LaneRecord::default() };
            // A full store takes no put, but a delete ends the batch as well.
            let overwrite = match full {
                false => Op::put(self.key.clone(), record::encode(&keys.mac, &self.key, &record)),
                true => Op::delete(self.key.clone()),
            };
            let txn = Txn {
                compares: vec![Compare::new(self.key.clone(), Condition::ModRevision(revision))],
                then: vec![overwrite],
                otherwise: vec![Op::get(self.key.clone())],
            };
            match session.send_unless_overtaken(txn, overtaken_by).await {
                Ok(reply) if reply.succeeded => {
                    self.seq += 1;
                    self.revision = (!full).then_some(reply.revision);
                    if !full {
                        session.room.there_is();
                    }
                    return Resolution::Cancelled;
                }
                Ok(reply) => {
                    let found = Standing::found(&reply.replies);
                    return self.resolved(session, &keys, revision, found).await;
                }
                Err(Error::NoSpace) => full = true,
                Err(error) => tracing::debug!(%error, "still unknown"),
            }
            pauses.pause().await;
            overtaken_by = (overtaken_by * 2).min(LONGEST_OVERTAKEN);
        }
    }

    /// The record is not the one of `before` any more: the batch changed it, or an overwrite of ours whose answer was lost. Or it
    /// was removed by who took us for dead, whatever came before that.
    pub(super) async fn resolved(
        &mut self,
        session: &Session,
        keys: &Keys,
        before: Revision,
        found: Option<KeyValue>,
    ) -> Resolution {
        let is_gone = found.is_none();
        match self.take_over(keys, found) {
            Some(revision) => Resolution::Committed(revision),
            None if is_gone => self.what_became(session, keys, before).await,
            None => Resolution::Cancelled,
        }
    }

    /// Whether the batch was what changed the record of `before`, by the history of its key.
    async fn what_became(&self, session: &Session, keys: &Keys, before: Revision) -> Resolution {
        let mut pauses = pauses();
        loop {
            match self.first_change(session, before).await {
                Ok(Event::Put(item)) if self.is_mine(keys, &item) => return Resolution::Committed(item.mod_revision),
                Ok(_) => return Resolution::Cancelled,
                Err(Error::Compacted(_)) => return Resolution::Forgotten,
                Err(error) => tracing::debug!(%error, "cannot read the history of a lane yet"),
            }
            pauses.pause().await;
        }
    }

    async fn first_change(&self, session: &Session, after: Revision) -> Result<Event, Error> {
        let mut watch = session.storage.watch(&self.key, after + 1).await?;
        let first = async {
            while let Some(update) = watch.next().await {
                if let Update::Revision { events, .. } = update?
                    && let Some(event) = events.into_iter().next()
                {
                    return Ok(event);
                }
            }
            Err(Error::Failed("it ended".to_owned()))
        };
        let late = |_| Err(Error::Failed("it did not come in time".to_owned()));
        tokio::time::timeout(HISTORY_WITHIN, first).await.unwrap_or_else(late)
    }

    /// Answers a batch that was applied by `revision` although its answer was lost. Each transaction's compares saw the state
    /// of the revision before.
    pub(super) async fn settle(&mut self, session: &Session, batch: Vec<Pending>, revision: Revision) {
        for pending in batch {
            let outcome = match session.held_before(&pending, revision).await {
                Ok(true) => Ok(revision),
                Ok(false) => Err(Refusal { error: StoreError::Conflict, seen: revision }),
                Err(error) => Err(error.into()),
            };
            // Whoever waits no more has dropped the other end.
            let _ = pending.reply.send(outcome);
        }
    }
}

impl Session {
    /// Whether a transaction's compares held just before `revision`.
    async fn held_before(&self, pending: &Pending, revision: Revision) -> Result<bool, StoreError> {
        for (key, condition) in &pending.checks {
            let mut pauses = pauses();
            let item = loop {
                match self.storage.range(Range::key(key.clone()).at(revision - 1)).await {
                    Ok(page) => break page.items.into_iter().next(),
                    Err(Error::Compacted(_)) => return self.written_by(pending, revision).await,
                    Err(error) => tracing::debug!(%error, "cannot read the state before a batch yet"),
                }
                pauses.pause().await;
            };
            let held = match condition {
                Condition::Absent => item.is_none(),
                Condition::Exists => item.is_some(),
                Condition::ModRevision(expected) => item.map_or(0, |item| item.mod_revision) == *expected,
            };
            if !held {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// As [`Session::held_before`] when that state is forgotten: whether something it put is still there as put.
    async fn written_by(&self, pending: &Pending, revision: Revision) -> Result<bool, StoreError> {
        for write in &pending.writes {
            let (item, _) = self.storage.get(&write.key).await?;
            if item.is_some_and(|item| item.mod_revision == revision) {
                return Ok(true);
            }
        }
        Ok(false)
    }
}
