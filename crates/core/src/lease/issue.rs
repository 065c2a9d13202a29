//! Making a credential: intent, outside work, record.

use std::{sync::Arc, time::Duration};

use holdfast_barrier::view::{Check, Revision, StoreError, Txn, Write};
use holdfast_failpoint::failpoint;
use holdfast_logical::{Data, Error as BackendError, Issue};
use serde_json::value::to_raw_value;

use super::{
    Error, IssueContext, Leased, Leases,
    due::Due,
    limits::capped,
    record::{self, Intent, Record},
};
use crate::binding::{self, Held};

/// After this long an intent without lease has lost its maker: the outside deadline, and time to commit.
pub(super) const ABANDONED_AFTER: Duration = Duration::from_secs(60);

impl Leases {
    /// Makes the credential and records its lease, or finds the lease that the binding already has.
    ///
    /// A binding with a live lease of the same request path answers that lease and drops `issue` unused; with
    /// `replace` naming the current lease, a new one is made and takes the binding over, while the old one lives on
    /// until it is revoked or expires. The work goes on when the caller is dropped.
    pub async fn issue(self: &Arc<Self>, issue: Issue, context: IssueContext) -> Result<Leased, Error> {
        let leases = self.clone();
        let work = tokio::spawn(async move { leases.find_or_make(issue, context).await });
        work.await.map_err(|_| BackendError::Internal("the request was aborted".to_owned()))?
    }

    async fn find_or_make(self: &Arc<Self>, issue: Issue, context: IssueContext) -> Result<Leased, Error> {
        let Some(wanted) = context.binding.clone() else { return self.make(issue, context, None).await };
        binding::check(&wanted)?;
        let lock = self.making.lock().entry(wanted.clone()).or_default().clone();
        let guard = lock.lock().await;
        let outcome = match self.held(&wanted, &context.request_path, context.replace.as_deref()).await {
            Ok(Held::Found(leased)) => Ok(*leased),
            Ok(Held::Free(check)) => self.make(issue, context, Some(check)).await,
            Err(error) => Err(error),
        };
        drop(guard);
        let mut making = self.making.lock();
        if Arc::strong_count(&lock) <= 2 {
            making.remove(&wanted);
        }
        outcome
    }

    async fn make(self: &Arc<Self>, issue: Issue, context: IssueContext, held: Option<Check>) -> Result<Leased, Error> {
        let Issue { internal, data, ttl, max_ttl, renewable, create } = issue;
        let serial = record::new_serial(&*self.entropy, &context.mount.namespace);
        let now = self.now();
        let mut intent = Intent {
            id: format!("{}/{serial}", context.request_path.trim_end_matches('/')),
            mount_uuid: context.mount.uuid.clone(),
            internal,
            request_id: context.request_id.clone(),
            maker: self.view.member(),
            begun: now,
            due: record::after(now, record::soon(ABANDONED_AFTER)),
            abandoned: None,
            swept: 0,
            failures: 0,
        };
        let mut txn = self.guarded(&context);
        txn.check(self.view.path(&record::intent_path(&serial)), Check::Absent);
        txn.put_json(self.view.path(&record::intent_path(&serial)), &intent)?;
        Due::Intent(serial.clone()).put(&self.view, &mut txn, intent.due)?;
        let stored = match self.view.commit(txn).await {
            Ok(revision) => revision,
            Err(StoreError::Conflict) => return Err(self.refused(&context).await),
            Err(error) => return Err(error.into()),
        };

        failpoint!("lease.create.intent-stored").await;
        match tokio::time::timeout(record::outside_deadline(), create()).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => {
                match error {
                    BackendError::Status { code: 503, .. } => self.never_begun(&intent, stored).await,
                    BackendError::Unavailable(_) => self.take_back(&mut intent, stored, false).await,
                    _ => self.take_back(&mut intent, stored, true).await,
                }
                return Err(error.into());
            }
            Err(_) => {
                // Who asked has waited long enough: that may hang as well.
                let leases = self.clone();
                tokio::spawn(async move { leases.take_back(&mut intent, stored, false).await });
                return Err(Error::Timeout);
            }
        }

        failpoint!("lease.create.outside-done").await;
        let limits = capped(ttl, context.mount.default_ttl, max_ttl, context.mount.max_ttl, Duration::ZERO);
        let (ttl, warnings) = limits.map(|limits| (limits.ttl, limits.warnings)).unwrap_or_default();
        let now = self.now();
        let mut record = Record {
            id: intent.id.clone(),
            mount_uuid: intent.mount_uuid.clone(),
            internal: intent.internal.clone(),
            data: context.binding.as_ref().and_then(|_| to_raw_value(&data).ok()),
            issue_time: now,
            expire_time: now,
            last_renewal: None,
            renewable,
            max_ttl_ms: max_ttl.and_then(|max| u64::try_from(max.as_millis()).ok()),
            token_hash: if context.binding.is_some() { None } else { context.token_hash.clone() },
            binding: context.binding.clone(),
            not_after: context.not_after.filter(|_| context.binding.is_none()),
            due: now,
            revoking: None,
        };
        let ttl = record.within(now, ttl);
        record.expire_time = record::after(now, ttl);
        record.due = record.expire_time;
        let committed = match self.recording(&record, &intent, stored, &context, held) {
            Ok(txn) => self.view.commit(txn).await,
            Err(error) => Err(error),
        };
        failpoint!("lease.create.recorded").await;
        match committed {
            Ok(revision) => Ok(leased(record, ttl, data, warnings, revision)),
            Err(error) => {
                self.take_back(&mut intent, stored, true).await;
                match error {
                    StoreError::Conflict => self.found_instead(&context).await,
                    error => Err(error.into()),
                }
            }
        }
    }

    /// The commit that turns the intent into the lease.
    fn recording(
        &self,
        record: &Record,
        intent: &Intent,
        stored: Revision,
        context: &IssueContext,
        held: Option<Check>,
    ) -> Result<Txn, StoreError> {
        let serial = record::serial(&record.id);
        let mut txn = self.guarded(context);
        txn.check(self.view.path(&record::intent_path(serial)), Check::At(stored));
        txn.delete(self.view.path(&record::intent_path(serial)));
        for (path, write) in &context.guards.writes {
            if matches!(write, Write::Delete) {
                txn.delete(path.clone());
            }
        }
        Due::Intent(serial.to_owned()).delete(&self.view, &mut txn, intent.due);
        txn.put_json(self.view.path(&record::path(&record.id)), record)?;
        Due::Lease(record.id.clone()).put(&self.view, &mut txn, record.due)?;
        if let Some(token_hash) = &record.token_hash {
            txn.put_json(self.view.path(&record::token_path(token_hash, serial)), &record.id)?;
        }
        if let (Some(binding), Some(held)) = (&record.binding, held) {
            txn.put_json(self.view.path(&record::owner_path(&binding.owner, serial)), &record.id)?;
            binding::bind(&self.view, &mut txn, binding, &record.id, held)?;
        }
        Ok(txn)
    }

    /// A transaction with what must hold of token, mount and owner.
    fn guarded(&self, context: &IssueContext) -> Txn {
        let mut txn = Txn::new();
        for (path, check) in &context.guards.checks {
            txn.check(path.clone(), *check);
        }
        if let Some(binding) = &context.binding {
            txn.check(self.view.path(&binding::tombstone_path(&binding.owner)), Check::Absent);
        }
        txn
    }

    /// Why a guarded commit was refused.
    async fn refused(&self, context: &IssueContext) -> Error {
        if let Some(binding) = &context.binding
            && let Ok(Some(_)) = self.view.get(&binding::tombstone_path(&binding.owner)).await
        {
            return Error::Released(binding::shown(&binding.owner));
        }
        Error::Raced
    }

    /// The lease that another replica bound in the meantime.
    async fn found_instead(&self, context: &IssueContext) -> Result<Leased, Error> {
        if let Some(binding) = &context.binding
            && let Held::Found(leased) = self.held(binding, &context.request_path, context.replace.as_deref()).await?
        {
            return Ok(*leased);
        }
        Err(self.refused(context).await)
    }
}

fn leased(record: Record, ttl: Duration, data: Data, warnings: Vec<String>, revision: Revision) -> Leased {
    Leased { lease_id: record.id, ttl, renewable: record.renewable, data, warnings, revision, found: false }
}
