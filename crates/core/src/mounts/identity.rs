//! The identity store of a namespace, and what it is told of auth mounts.

use std::{
    collections::BTreeMap,
    sync::{Arc, Weak},
};

use async_trait::async_trait;
use holdfast_identity::{AuthMount, AuthMounts, Identity, IdentityParts};
use holdfast_logical::{MountInfo, Namespace, StoreError};

use super::{Mounted, Mounts, NewMount, Record, Router, Tuning, live_key};
use crate::{Class, Error};

/// Is it the mount of an identity store?
pub(super) fn is_identity(record: &Record) -> bool {
    record.class == Class::Secret && record.kind == "identity"
}

impl Mounts {
    /// The identity store of a mount, made if there is none.
    pub(super) fn identity(&self, record: &Record, info: &MountInfo) -> Arc<Identity> {
        let make = || {
            Identity::new(IdentityParts {
                view: self.storage(record),
                clock: self.parts.clock.clone(),
                entropy: self.parts.entropy.clone(),
                mounts: Arc::new(Directory { mounts: self.this.clone(), namespace: info.namespace.clone() }),
                namespace: record.namespace.clone(),
                api_addr: self.parts.api_addr.clone(),
                path: info.full_path(),
            })
        };
        self.identities.lock().entry(record.uuid.clone()).or_insert_with(make).clone()
    }

    /// Mounts `identity/` in a store of a time when there was none.
    pub async fn add_identity(&self) -> Result<(), Error> {
        if self.current().await?.of(&Namespace::root(), Class::Secret).any(|mounted| is_identity(&mounted.record)) {
            return Ok(());
        }
        self.edit(&Namespace::root().id, Class::Secret, |table, txn| {
            if table.mounts.iter().any(is_identity) {
                return Ok(());
            }
            let record = self.record(NewMount {
                namespace: Namespace::root(),
                class: Class::Secret,
                path: "identity/".to_owned(),
                kind: "identity".to_owned(),
                description: "identity store".to_owned(),
                options: BTreeMap::new(),
                tuning: Tuning::default(),
                local: false,
                seal_wrap: false,
            });
            txn.put_json(live_key(&record.uuid), &())?;
            table.mounts.push(record);
            Ok(())
        })
        .await
    }
}

/// The auth mounts of one namespace.
struct Directory {
    mounts: Weak<Mounts>,
    namespace: Arc<Namespace>,
}

impl Directory {
    fn of<'r>(&'r self, router: &'r Router) -> impl Iterator<Item = &'r Arc<Mounted>> {
        router.of(&self.namespace, Class::Auth)
    }
}

#[async_trait]
impl AuthMounts for Directory {
    fn find(&self, accessor: &str) -> Option<AuthMount> {
        let router = self.mounts.upgrade()?.cached();
        let mounted = self.of(&router).find(|mounted| mounted.record.accessor == accessor)?;
        Some(told(mounted))
    }

    async fn all(&self) -> Result<Vec<AuthMount>, StoreError> {
        let mounts = self.mounts.upgrade().ok_or(StoreError::Sealed)?;
        let router = mounts.current().await?;
        Ok(self.of(&router).map(|mounted| told(mounted)).collect())
    }
}

fn told(mounted: &Mounted) -> AuthMount {
    AuthMount {
        accessor: mounted.record.accessor.clone(),
        path: mounted.info.path.clone(),
        kind: mounted.record.kind.clone(),
    }
}
