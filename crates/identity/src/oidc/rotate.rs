//! Rotation of named keys: by hand, and by time.

use std::time::Duration;

use holdfast_logical::{Check, Error, Fields, Response, Revision, Timestamp, Txn};

use super::{
    key::{Key, Public},
    key_path, private_path,
};
use crate::{
    Identity,
    fault::{Fault, retried},
};

impl Identity {
    /// `oidc/key/<name>/rotate`; `verification_ttl` is that of the key pair that is retired.
    pub(crate) async fn rotate_oidc_key(&self, fields: &Fields) -> Result<Response, Error> {
        let name = fields.required("name")?;
        let ttl = fields.duration("verification_ttl").map(|ttl| ttl.as_secs());
        retried(|| async {
            let (key, revision) = self.oidc_key(name).await?.ok_or_else(Error::not_found)?;
            self.rotate(key, revision, ttl).await
        })
        .await?;
        Ok(Response::empty())
    }

    async fn rotate(&self, mut key: Key, revision: Revision, ttl: Option<u64>) -> Result<(), Fault> {
        let mut txn = self.oidc_change(&key.name, Some(revision));
        self.rotate_pair(&mut txn, &mut key, ttl).await?;
        key.next_rotation = self.rotation_after(&key)?;
        self.put(&mut txn, &key_path(&key.name), &key)?;
        self.commit(txn).await
    }

    /// Retires the pair that signs, lets the next one sign and makes another next one.
    pub(super) async fn rotate_pair(&self, txn: &mut Txn, key: &mut Key, ttl: Option<u64>) -> Result<(), Fault> {
        let now = self.now();
        let expires = after(now, ttl.unwrap_or(key.verification_ttl))?;
        if let Some(old) = key.ring.iter_mut().find(|public| public.kid == key.signing) {
            old.expires = Some(expires);
            let path = self.view().path(&private_path(&old.kid));
            txn.writes.retain(|(planned, _)| *planned != path);
            txn.delete(path);
        }
        let pair = key.algorithm.generate().await?;
        let kid = self.uuid();
        txn.put(self.view().path(&private_path(&kid)), pair.private);
        key.ring.push(Public { kid: kid.clone(), algorithm: key.algorithm, bytes: pair.public, expires: None });
        key.signing = std::mem::replace(&mut key.next, kid);
        key.ring.retain(|public| public.expires.is_none_or(|expires| expires > now));
        Ok(())
    }

    pub(super) fn rotation_after(&self, key: &Key) -> Result<Timestamp, Error> {
        after(self.now(), key.rotation_period)
    }

    /// A change of a named key: nobody else has changed it since it was read at `revision`.
    pub(super) fn oidc_change(&self, name: &str, revision: Option<Revision>) -> Txn {
        let mut txn = Txn::new();
        txn.check(self.view().path(&key_path(name)), revision.map_or(Check::Absent, Check::At));
        txn
    }

    /// Rotates the keys that are due and forgets what verifies nothing any more. All replicas try; one succeeds.
    pub(crate) async fn rotate_due_keys(&self) -> Result<(), Error> {
        let now = self.now();
        for key in self.oidc_keys().await? {
            let over = key.ring.iter().any(|public| public.expires.is_some_and(|expires| expires <= now));
            if key.next_rotation > now && !over {
                continue;
            }
            retried(|| async {
                let Some((mut key, revision)) = self.oidc_key(&key.name).await? else { return Ok(()) };
                if key.next_rotation <= now {
                    return self.rotate(key, revision, None).await;
                }
                key.ring.retain(|public| public.expires.is_none_or(|expires| expires > now));
                let mut txn = self.oidc_change(&key.name, Some(revision));
                self.put(&mut txn, &key_path(&key.name), &key)?;
                self.commit(txn).await
            })
            .await?;
        }
        Ok(())
    }
}

/// A time this many seconds from now.
pub(super) fn after(now: Timestamp, seconds: u64) -> Result<Timestamp, Error> {
    now.checked_add(Duration::from_secs(seconds)).map_err(|_| Error::invalid("the duration is too long"))
}
