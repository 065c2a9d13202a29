//! A transaction on its way into a batch.

use std::sync::atomic::Ordering;

use bytes::Bytes;
use holdfast_secret::SecretBytes;
use tokio::sync::oneshot;

use super::queue::{MAX_BYTES, MAX_TXN_OPS, Outcome, Pending, PendingChange, PendingWrite, Refusal};
use super::{Session, figures, moment};
use crate::barrier::condition;
use crate::keys::Keys;
use crate::value::{self, Encrypted};
use crate::view::{Revision, StoreError, Txn, Write};

impl Session {
    /// Applies a transaction.
    pub async fn commit(&self, txn: Txn) -> Result<Revision, StoreError> {
        let (begin, kinds) = (tokio::time::Instant::now(), figures::kinds(&txn));
        let outcome = self.carry_out(txn).await;
        self.counting.committed(kinds, begin);
        outcome
    }

    async fn carry_out(&self, txn: Txn) -> Result<Revision, StoreError> {
        let (pending, outcome) = self.prepare(txn)?;
        if !self.queue.push(pending) {
            return Err(StoreError::Sealed);
        }
        let revision = match self.queue.outcome(outcome).await {
            Ok(revision) => revision,
            Err(Refusal { error, seen }) => {
                moment::look_anew();
                // That a check did not hold tells of the write that it met.
                self.see(seen).await?;
                return Err(error);
            }
        };
        self.answered.fetch_max(revision, Ordering::SeqCst);
        moment::learn(self.epoch.load(Ordering::SeqCst), revision);
        self.see(revision).await?;
        Ok(revision)
    }

    /// See [`crate::Barrier::writes_stand_still`].
    pub fn unanswered_since(&self) -> Option<tokio::time::Instant> {
        self.queue.unanswered_since()
    }

    /// Encrypts a transaction, before it waits for its batch.
    fn prepare(&self, txn: Txn) -> Result<(Pending, oneshot::Receiver<Outcome>), StoreError> {
        let keys = self.keys.load_full();
        let checks: Vec<_> = txn.checks.iter().map(|(path, check)| (keys.names.key(path), condition(*check))).collect();
        let mut writes: Vec<PendingWrite> = Vec::with_capacity(txn.writes.len());
        let mut seen: std::collections::HashSet<Bytes> = std::collections::HashSet::new();
        for (path, write) in txn.writes {
            let key = keys.names.key(&path);
            if !seen.insert(key.clone()) {
                return Err(StoreError::Encode { path, reason: "written twice in one transaction".to_owned() });
            }
            let change = match write {
                Write::Delete => PendingChange::Delete,
                Write::Put(plain) => {
                    let encrypted = self.encrypt(&keys, &path, &plain)?;
                    PendingChange::Put(plain, encrypted)
                }
            };
            writes.push(PendingWrite { path, key, change });
        }
        let (reply, outcome) = oneshot::channel();
        let pending = Pending { checks, writes, reply, since: tokio::time::Instant::now() };
        if pending.bytes() > MAX_BYTES {
            return Err(StoreError::TooLarge { bytes: pending.bytes(), limit: MAX_BYTES });
        }
        if pending.ops() > MAX_TXN_OPS {
            let reason = format!("more than {MAX_TXN_OPS} keys in one transaction");
            return Err(StoreError::Encode { path: String::new(), reason });
        }
        Ok((pending, outcome))
    }

    pub(super) fn encrypt(&self, keys: &Keys, path: &str, plain: &SecretBytes) -> Result<Encrypted, StoreError> {
        self.encryptions.fetch_add(1, Ordering::Relaxed);
        value::encrypt(&keys.keyring, &*self.entropy, path, plain)
            .map_err(|error| StoreError::Encode { path: path.to_owned(), reason: error.to_string() })
    }
}
