//! Leases under a `lease-count` quota, counted exactly whoever makes them.
//!
//! A lease is reserved before it is made: one commit that checks and moves the quota's gate, so that of several replicas
//! only one at a time counts and takes a place. The reservation goes with the commit that records the lease. One whose
//! maker died is forgotten after [`ABANDONED`].

use std::time::Duration;

use holdfast_base::{Timestamp, id};
use holdfast_logical::{Check, Namespace, StoreError, Txn, View};
use serde::{Deserialize, Serialize};

use super::{Asked, LeaseCount};
use crate::{Error, lease::Folder, open::Open};

/// Longer than a credential may take to be made.
const ABANDONED: Duration = Duration::from_secs(180);

/// A count that is over the limit while leases are being recorded is taken again.
const TRIES: usize = 3;

/// A place that is kept for a lease.
#[derive(Debug)]
pub struct Reserved {
    /// Full path of the reservation; to be deleted when the lease is recorded, or not made.
    pub key: String,
}

#[derive(Serialize, Deserialize)]
struct Reservation {
    until: Timestamp,
}

impl Open {
    /// Keeps a place for a lease at this path, if a quota covers it. 429 when there is none left.
    pub async fn reserve_lease(&self, path: &str, mount: &str) -> Result<Option<Reserved>, Error> {
        let settings = self.front.fresh().await;
        let asked = Asked { path, mount, role: None };
        let Some((name, quota)) = settings.quotas.lease_count(&asked) else { return Ok(None) };
        let view = self.root.below("core").below("quota").below(name);
        let mut tries = 0;
        loop {
            let gate = view.get("gate").await?.map_or(Check::Absent, |entry| Check::At(entry.revision));
            let pending = self.pending(&view).await?;
            // After the pending ones: what is recorded in between is counted twice, and not missed.
            let leases = self.covered(&quota.scope.path).await?;
            if leases + pending >= quota.max_leases {
                tries += 1;
                if pending == 0 || tries == TRIES {
                    self.config.metrics.lease_count_violations.inc();
                    return Err(refusal(path, quota));
                }
                continue;
            }
            let serial = id::hex(self.config.entropy.as_ref(), 16);
            let (mut txn, key) = (Txn::new(), view.path(&format!("pending/{serial}")));
            txn.check(view.path("gate"), gate);
            txn.put_json(view.path("gate"), &serial)?;
            txn.put_json(key.clone(), &Reservation { until: self.config.clock.now() + ABANDONED })?;
            match view.commit(txn).await {
                Ok(_) => return Ok(Some(Reserved { key })),
                Err(StoreError::Conflict) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Number of leases that a scope covers; that of a namespace covers those of the namespaces below it.
    async fn covered(&self, scope: &str) -> Result<u64, Error> {
        let (router, path) = (self.mounts.cached(), format!("{}/", folder(scope)));
        let namespaces = router.namespaces();
        let own = namespaces.locate(&path).map_or_else(Namespace::root, |known| known.namespace.clone());
        let rest = path.get(own.path.len()..).unwrap_or_default().trim_matches('/');
        let below = namespaces.below(&own, true).into_iter().filter(|_| rest.is_empty());
        let mut leases = 0;
        for namespace in std::iter::once(&own).chain(below.map(|known| &known.namespace)) {
            let covered = Folder { namespace: &namespace.id, path: rest };
            leases += self.leases.count(covered).await.map_err(holdfast_logical::Error::from)?;
        }
        Ok(leases)
    }

    /// Gives a place back.
    pub async fn release_lease(&self, reserved: &Reserved) {
        let mut txn = Txn::new();
        txn.delete(reserved.key.clone());
        if let Err(error) = self.root.commit(txn).await {
            tracing::warn!(%error, "a reserved lease is not given back; it is forgotten in {ABANDONED:?}");
        }
    }

    /// Places that are kept; the abandoned ones are removed.
    async fn pending(&self, view: &View) -> Result<u64, StoreError> {
        let mut live = 0;
        for name in view.list("pending/", "", 0).await? {
            let path = format!("pending/{name}");
            match view.get_json::<Reservation>(&path).await? {
                Some((reservation, _)) if reservation.until > self.config.clock.now() => live += 1,
                Some(_) => drop(view.delete(&path).await?),
                None => {}
            }
        }
        Ok(live)
    }
}

/// What a scope covers, as the leases are listed.
fn folder(path: &str) -> &str {
    path.trim_end_matches('*').trim_end_matches('/')
}

fn refusal(path: &str, quota: &LeaseCount) -> Error {
    let message = format!("request path {path:?}: lease count quota exceeded (max_leases is {})", quota.max_leases);
    Error::Logical(holdfast_logical::Error::Status { code: 429, message })
}
