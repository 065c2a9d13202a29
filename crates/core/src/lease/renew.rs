//! Renewal: outside first, then the record.

use std::time::Duration;

use holdfast_barrier::view::{Check, StoreError, Txn};
use holdfast_failpoint::failpoint;

use super::{Error, Leases, Renewed, due::Due, limits::capped, record};

/// Tries of a renewal that meets other writers of the same record.
const TRIES: u32 = 4;

impl Leases {
    /// Extends the lease by `increment` (the engine's or mount's default if none) from now, within the limits as they
    /// are now.
    pub async fn renew(&self, lease_id: &str, increment: Option<Duration>) -> Result<Renewed, Error> {
        let mut tries = 0;
        loop {
            match self.renew_once(lease_id, increment).await {
                Err(Error::Store(StoreError::Conflict)) if tries < TRIES => tries += 1,
                outcome => return outcome,
            }
        }
    }

    async fn renew_once(&self, lease_id: &str, increment: Option<Duration>) -> Result<Renewed, Error> {
        let (mut record, revision) = self.record(lease_id).await?.ok_or(Error::NotFound)?;
        let now = self.now();
        match &record.revoking {
            Some(revoking) if revoking.error.is_some() => return Err(Error::Irrevocable),
            Some(_) => return Err(Error::Expired),
            None if record.expire_time <= now && !self.is_held() => return Err(Error::Expired),
            None if !record.renewable => return Err(Error::NotRenewable),
            None => {}
        }
        let (mount, backend) = self.backends.by_mount(&record.mount_uuid).ok_or(Error::MountGone)?;
        let (default, max) = backend.lease_limits(&record.internal).await?;
        let max = max.or(record.max_ttl_ms.map(Duration::from_millis));
        let age = record::until(record.issue_time, now);
        let default = default.filter(|default| !default.is_zero()).unwrap_or(mount.default_ttl);
        let limits = capped(increment, default, max, mount.max_ttl, age).ok_or(Error::PastMax)?;

        let ttl = record.within(now, limits.ttl);
        if ttl.is_zero() {
            return Err(Error::PastMax);
        }

        let outside = backend.renew(&record.internal, ttl);
        tokio::time::timeout(record::outside_deadline(), outside).await.map_err(|_| Error::Timeout)??;

        failpoint!("lease.renew.outside-done").await;
        let now = self.now();
        record.expire_time = record::after(now, record.within(now, ttl));
        record.last_renewal = Some(now);
        let due = std::mem::replace(&mut record.due, record.expire_time);
        let path = self.view.path(&record::path(&record.id));
        let mut txn = Txn::new();
        txn.check(path.clone(), Check::At(revision));
        txn.put_json(path, &record)?;
        Due::Lease(record.id.clone()).shift(&self.view, &mut txn, due, record.due)?;
        let revision = self.view.commit(txn).await?;
        failpoint!("lease.renew.recorded").await;
        Ok(Renewed { lease_id: record.id, ttl, renewable: record.renewable, warnings: limits.warnings, revision })
    }
}
