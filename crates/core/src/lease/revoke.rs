//! Revocation: claim, outside, and the record last. What fails is tried again for ever.

use std::{sync::Arc, time::Duration};

use futures::{StreamExt, stream};
use holdfast_barrier::view::{Check, Revision, StoreError, Txn};
use holdfast_base::Entropy;
use holdfast_failpoint::failpoint;
use serde_json::{Map, Value};

use super::{
    Error, Folder, Leases, OUTSIDE_DEADLINE,
    due::Due,
    record::{self, Record, Revoking},
    worker::Guard,
};
use crate::binding;

/// Nobody else tries for this long: the outside deadline, and time to commit.
const CLAIM: Duration = Duration::from_secs(60);

/// How long a caller that does not insist waits for the outcome.
const PATIENCE: Duration = Duration::from_secs(2);

/// First wait after a failure; doubled each time.
const BACKOFF: Duration = Duration::from_secs(10);

/// Longest wait after a failure.
const BACKOFF_MAX: Duration = Duration::from_secs(3600);

/// Revocations that one call runs at a time.
const PARALLEL: usize = 16;

/// What became of a revocation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Revoked {
    /// The credential and its record are gone, as of this revision.
    Done(Revision),
    /// There is no such lease.
    Absent,
    /// It is stored that the lease is to be revoked, and it is being retried; with what failed, if something did.
    Queued(Option<String>),
}

/// What became of many revocations.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Revocations {
    /// Done.
    pub done: u64,
    /// Stored and being retried.
    pub queued: u64,
    /// One of the failures.
    pub error: Option<String>,
    /// Highest revision that the answer depends on.
    pub revision: Revision,
}

/// Wait before the next attempt, with jitter of a quarter each way.
pub(super) fn backoff(failures: u32, entropy: &dyn Entropy) -> Duration {
    let doubled = BACKOFF.saturating_mul(1 << failures.saturating_sub(1).min(16));
    let mut byte = [0u8; 1];
    entropy.fill(&mut byte);
    doubled.mul_f64(0.75 + f64::from(byte[0]) / 512.0).min(BACKOFF_MAX)
}

impl Leases {
    /// Revokes a lease. `sync` waits for the outcome (at most the outside deadline); otherwise the call returns after
    /// two seconds at the latest and the attempt goes on.
    pub async fn revoke(self: &Arc<Self>, lease_id: &str, sync: bool) -> Result<Revoked, Error> {
        self.revoke_as(lease_id, sync, false).await
    }

    /// Revokes every lease of a folder, or the one whose id it is. `force` forgets leases whose
    /// outside revocation fails, and what was being made there: what exists outside stays there.
    pub async fn revoke_prefix<'a>(
        self: &Arc<Self>,
        folder: impl Into<Folder<'a>>,
        force: bool,
    ) -> Result<Revocations, Error> {
        let folder = folder.into();
        let ids = self.ids_below(folder).await?;
        let revoked = self.revoke_all(ids, true, force).await?;
        if force {
            self.forget_intents(folder).await?;
        }
        Ok(revoked)
    }

    /// Revokes the leases of a token.
    pub async fn revoke_token(self: &Arc<Self>, token_hash: &str) -> Result<Revocations, Error> {
        let ids = self.indexed(&format!("token/{token_hash}/")).await?;
        self.revoke_all(ids, false, false).await
    }

    pub(crate) async fn revoke_all(
        self: &Arc<Self>,
        ids: Vec<String>,
        sync: bool,
        force: bool,
    ) -> Result<Revocations, Error> {
        let mut outcomes = stream::iter(ids)
            .map(|id| async move { self.revoke_as(&id, sync, force).await })
            .buffer_unordered(PARALLEL);
        let mut all = Revocations::default();
        while let Some(outcome) = outcomes.next().await {
            match outcome? {
                Revoked::Done(revision) => {
                    all.done += 1;
                    all.revision = all.revision.max(revision);
                }
                Revoked::Absent => {}
                Revoked::Queued(error) => {
                    all.queued += 1;
                    all.error = all.error.or(error);
                }
            }
        }
        Ok(all)
    }

    async fn revoke_as(self: &Arc<Self>, lease_id: &str, sync: bool, force: bool) -> Result<Revoked, Error> {
        let (record, claim) = match self.claim(lease_id, force, &None).await? {
            Claim::Ours(record, claim) => (record, claim),
            Claim::Absent => return Ok(Revoked::Absent),
            Claim::Theirs(error) => return Ok(Revoked::Queued(error)),
        };
        let leases = self.clone();
        let work = tokio::spawn(async move { leases.attempt(*record, claim, force).await });
        let patience = if sync { OUTSIDE_DEADLINE + CLAIM } else { PATIENCE };
        match tokio::time::timeout(patience, work).await {
            Ok(Ok(outcome)) => outcome,
            _ => Ok(Revoked::Queued(None)),
        }
    }

    /// A lease's time has come. False: it was not, and its entry may be in the wrong place.
    pub(super) async fn expire(self: &Arc<Self>, lease_id: &str, guard: &Guard) -> Result<bool, Error> {
        match self.record(lease_id).await? {
            Some((record, _)) if record.due > self.now() => Ok(false),
            Some(_) => match self.claim(lease_id, false, guard).await? {
                Claim::Ours(record, claim) => self.attempt(*record, claim, false).await.map(|_| true),
                Claim::Absent | Claim::Theirs(_) => Ok(false),
            },
            None => Ok(false),
        }
    }

    /// Stores that the lease is being revoked, and by whom until when. From here on it is never forgotten.
    async fn claim(&self, lease_id: &str, force: bool, guard: &Guard) -> Result<Claim, Error> {
        loop {
            let Some((mut record, revision)) = self.record(lease_id).await? else { return Ok(Claim::Absent) };
            let (now, due) = (self.now(), record.due);
            let before = record.revoking.take().unwrap_or_default();
            if !force && before.claimed_until.is_some_and(|until| until > now) {
                return Ok(Claim::Theirs(before.error));
            }
            let until = record::after(now, record::soon(CLAIM));
            record.revoking = Some(Revoking {
                attempts: before.attempts.saturating_add(1),
                claimed_until: Some(until),
                error: before.error,
            });
            match self.rewrite_record(&mut record, revision, until, guard).await {
                Ok(claim) => return Ok(Claim::Ours(Box::new(record), claim)),
                Err(StoreError::Conflict) if !self.still_holds(guard).await? => return Ok(Claim::Theirs(None)),
                Err(StoreError::Conflict) => {}
                // A full store takes no claim, but it takes the deletion afterwards. Who else comes meanwhile does outside
                // what is done twice as well as once.
                Err(StoreError::NoSpace) => {
                    record.due = due;
                    return Ok(Claim::Ours(Box::new(record), revision));
                }
                Err(error) => return Err(error.into()),
            }
        }
    }

    async fn attempt(&self, mut record: Record, claim: Revision, force: bool) -> Result<Revoked, Error> {
        failpoint!("lease.revoke.claimed").await;
        let outside = self.revoke_outside(&record.mount_uuid, &record.internal).await;
        failpoint!("lease.revoke.outside-done").await;
        let error = match outside {
            Ok(()) => return self.forget_lease(&record, claim).await,
            Err(error) if force => {
                tracing::warn!(lease = record.id, %error, "the lease is forgotten although its revocation failed");
                return self.forget_lease(&record, claim).await;
            }
            Err(error) => error.to_string(),
        };
        let attempts = record.revoking.as_ref().map_or(1, |revoking| revoking.attempts);
        tracing::warn!(lease = record.id, attempts, error, "revocation failed; it will be tried again");
        record.revoking = Some(Revoking { attempts, claimed_until: None, error: Some(error.clone()) });
        let next = record::after(self.now(), backoff(attempts, &*self.entropy));
        match self.rewrite_record(&mut record, claim, next, &None).await {
            Ok(_) | Err(StoreError::Conflict) => Ok(Revoked::Queued(Some(error))),
            Err(error) => Err(error.into()),
        }
    }

    /// The engine's part, under the deadline.
    pub(super) async fn revoke_outside(&self, mount_uuid: &str, internal: &Map<String, Value>) -> Result<(), Error> {
        let (_, backend) = self.backends.by_mount(mount_uuid).ok_or(Error::MountGone)?;
        let outside = backend.revoke(internal);
        tokio::time::timeout(record::outside_deadline(), outside).await.map_err(|_| Error::Timeout)??;
        Ok(())
    }

    async fn rewrite_record(
        &self,
        record: &mut Record,
        revision: Revision,
        next: holdfast_base::Timestamp,
        guard: &Guard,
    ) -> Result<Revision, StoreError> {
        let due = std::mem::replace(&mut record.due, next);
        let path = self.view.path(&record::path(&record.id));
        let mut txn = Txn::new();
        txn.check(path.clone(), Check::At(revision));
        txn.put_json(path, record)?;
        txn.checks.extend(guard.iter().map(|(path, check)| (self.view.path(path), *check)));
        Due::Lease(record.id.clone()).shift(&self.view, &mut txn, due, next)?;
        self.view.commit(txn).await
    }

    /// Is the share that an entry is of still ours?
    pub(super) async fn still_holds(&self, guard: &Guard) -> Result<bool, StoreError> {
        match guard {
            Some((path, Check::At(revision))) => Ok(self.view.revision(path).await? == Some(*revision)),
            _ => Ok(true),
        }
    }

    /// Deletes the record and all that points to it. If somebody else took the claim over, it is theirs to do.
    async fn forget_lease(&self, record: &Record, claim: Revision) -> Result<Revoked, Error> {
        loop {
            let serial = record::serial(&record.id);
            let path = self.view.path(&record::path(&record.id));
            let mut txn = Txn::new();
            txn.check(path.clone(), Check::At(claim));
            txn.delete(path);
            Due::Lease(record.id.clone()).delete(&self.view, &mut txn, record.due);
            if let Some(token_hash) = &record.token_hash {
                txn.delete(self.view.path(&record::token_path(token_hash, serial)));
            }
            if let Some(binding) = &record.binding {
                txn.delete(self.view.path(&record::owner_path(&binding.owner, serial)));
                binding::unbind(&self.view, &mut txn, binding, &record.id).await?;
            }
            failpoint!("lease.revoke.before-forget").await;
            match self.view.commit(txn).await {
                Ok(revision) => return Ok(Revoked::Done(revision)),
                Err(StoreError::Conflict) => match self.record(&record.id).await? {
                    None => return Ok(Revoked::Done(claim)),
                    Some((_, now)) if now != claim => return Ok(Revoked::Queued(None)),
                    Some(_) => {}
                },
                Err(error) => return Err(error.into()),
            }
        }
    }
}

enum Claim {
    Ours(Box<Record>, Revision),
    Theirs(Option<String>),
    Absent,
}
