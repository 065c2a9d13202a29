//! Bindings: *the* credential of an item of an owner, found again whoever asks and however often.
//!
//! A binding points from (owner, item) to a lease id and is written in the commit that records the lease. It is not
//! tied to the token that asked first, so an init step, a sidecar, a restart and a new login all get the same
//! credential. Releasing the owner revokes everything it has and leaves a tombstone, so that a late request of a pod
//! that is gone makes nothing.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use holdfast_barrier::view::{Check, StoreError, Txn, View};
use holdfast_failpoint::failpoint;
use holdfast_logical::{Data, Namespace};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

pub use crate::lease::Binding;
use crate::lease::{Error, LeaseInfo, Leased, Leases, Revocations, due::Due, record};

/// How long nothing is made for a released owner.
const TOMBSTONE: Duration = Duration::from_secs(24 * 60 * 60);

/// The current credential of an item.
#[derive(Serialize, Deserialize)]
struct Bound {
    item: String,
    lease_id: String,
}

/// Marks a released owner.
#[derive(Serialize, Deserialize)]
struct Tombstone {
    until: holdfast_base::Timestamp,
}

/// What a binding holds, for a request that wants a credential.
pub(crate) enum Held {
    /// This lease.
    Found(Box<Leased>),
    /// Nothing that can be answered; the check holds as long as that is so.
    Free(Check),
}

/// Refuses owners that are not `kind/uid` and items that are empty or too long.
pub(crate) fn check(binding: &Binding) -> Result<(), Error> {
    if binding.item.is_empty() || binding.item.len() > 1_024 {
        return Err(Error::BadBinding("the item of a binding must have 1 to 1024 bytes"));
    }
    check_owner(&binding.owner)
}

fn check_owner(owner: &str) -> Result<(), Error> {
    match owner.split_once('/') {
        Some((kind, uid)) if is_fine(kind.split('@').next().unwrap_or_default()) && is_fine(uid) => Ok(()),
        _ => Err(bad_owner()),
    }
}

fn is_fine(part: &str) -> bool {
    let known = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.' | b':');
    (1..=128).contains(&part.len()) && part.bytes().all(known) && part != "." && part != ".."
}

fn bad_owner() -> Error {
    Error::BadBinding("the owner of a binding must be kind/uid, each of letters, digits and - _ . :")
}

/// The owner as leases know it: the same name in another namespace is somebody else.
pub(crate) fn scoped(namespace: &Namespace, owner: &str) -> Result<String, Error> {
    match owner.split_once('/') {
        Some((kind, uid)) if is_fine(kind) && is_fine(uid) => Ok(format!("{}/{uid}", scoped_kind(namespace, kind))),
        _ => Err(bad_owner()),
    }
}

/// The same for the kind alone.
pub(crate) fn scoped_kind(namespace: &Namespace, kind: &str) -> String {
    if namespace.is_root() { kind.to_owned() } else { format!("{kind}@{}", namespace.id) }
}

/// The owner as it is shown in its namespace.
pub(crate) fn shown(owner: &str) -> String {
    match owner.split_once('/') {
        Some((kind, uid)) => format!("{}/{uid}", kind.split('@').next().unwrap_or(kind)),
        None => owner.to_owned(),
    }
}

fn bound_path(owner: &str, item: &str) -> String {
    format!("bind/{owner}/{}", hex::encode(&Sha256::digest(item.as_bytes())[..20]))
}

/// Where the tombstone of an owner is.
pub(crate) fn tombstone_path(owner: &str) -> String {
    format!("dead/{owner}")
}

/// Adds the binding to the commit of its lease.
pub(crate) fn bind(
    view: &View,
    txn: &mut Txn,
    binding: &Binding,
    lease_id: &str,
    held: Check,
) -> Result<(), StoreError> {
    let path = view.path(&bound_path(&binding.owner, &binding.item));
    txn.check(path.clone(), held);
    txn.put_json(path, &Bound { item: binding.item.clone(), lease_id: lease_id.to_owned() })?;
    Ok(())
}

/// Adds the removal of the binding to the commit that deletes its lease, if it still points there.
pub(crate) async fn unbind(view: &View, txn: &mut Txn, binding: &Binding, lease_id: &str) -> Result<(), StoreError> {
    let path = bound_path(&binding.owner, &binding.item);
    if let Some((bound, revision)) = view.get_json::<Bound>(&path).await?
        && bound.lease_id == lease_id
    {
        txn.check(view.path(&path), Check::At(revision));
        txn.delete(view.path(&path));
    }
    Ok(())
}

impl Leases {
    /// The live credential of an item, with the time it has left; `None` if a new one must be made.
    pub async fn find_bound(&self, owner: &str, item: &str) -> Result<Option<Leased>, Error> {
        let binding = Binding { owner: owner.to_owned(), item: item.to_owned() };
        check(&binding)?;
        Ok(self.bound(&binding).await?.0)
    }

    /// What the items of an owner are bound to.
    pub async fn bindings(&self, owner: &str) -> Result<BTreeMap<String, LeaseInfo>, Error> {
        check_owner(owner)?;
        let mut items = BTreeMap::new();
        let folder = format!("bind/{owner}/");
        for name in self.names(&folder).await? {
            let Some((bound, _)) = self.view().get_json::<Bound>(&format!("{folder}{name}")).await? else { continue };
            match self.lookup(&bound.lease_id).await {
                Ok(info) => items.insert(bound.item, info),
                Err(Error::Invalid) => continue,
                Err(error) => return Err(error),
            };
        }
        Ok(items)
    }

    /// Kinds of owners of a namespace that have leases, each with a trailing `/`.
    pub async fn owner_kinds(&self, namespace: &Namespace) -> Result<Vec<String>, Error> {
        let own = (!namespace.is_root()).then_some(namespace.id.as_str());
        let names = self.names("own/").await?;
        let split = names.iter().map(|name| match name.trim_end_matches('/').split_once('@') {
            Some((kind, id)) => (kind, Some(id)),
            None => (name.trim_end_matches('/'), None),
        });
        Ok(split.filter(|(_, id)| *id == own).map(|(kind, _)| format!("{kind}/")).collect())
    }

    /// Uids of the owners of a kind that have leases.
    pub async fn owners(&self, kind: &str) -> Result<Vec<String>, Error> {
        check_owner(&format!("{kind}/x"))?;
        let names = self.names(&format!("own/{kind}/")).await?;
        Ok(names.iter().map(|name| name.trim_end_matches('/').to_owned()).collect())
    }

    /// Revokes what an owner has: the item's credentials (current and replaced ones), or all of them, and then nothing
    /// more is made for the owner for 24 h. What cannot be revoked now is queued; an owner without leases is no error.
    pub async fn release(self: &Arc<Self>, owner: &str, item: Option<&str>) -> Result<Revocations, Error> {
        check_owner(owner)?;
        let Some(item) = item else {
            // In a full store what there is goes all the same; the answer is that the tombstone is still to come.
            let tombstone = match self.entomb(owner).await {
                Err(error) if !matches!(error, Error::Store(StoreError::NoSpace)) => return Err(error),
                written => written,
            };
            failpoint!("binding.entombed").await;
            let ids = self.indexed(&format!("own/{owner}/")).await?;
            let mut all = self.revoke_all(ids, false, false).await?;
            all.revision = all.revision.max(tombstone?);
            return Ok(all);
        };
        let mut ids = Vec::new();
        for id in self.indexed(&format!("own/{owner}/")).await? {
            if let Ok(info) = self.lookup(&id).await
                && info.item.as_deref() == Some(item)
            {
                ids.push(id);
            }
        }
        self.revoke_all(ids, false, false).await
    }

    /// What the binding holds, seen from a request for `path` that would replace `replace`.
    pub(crate) async fn held(&self, binding: &Binding, path: &str, replace: Option<&str>) -> Result<Held, Error> {
        let (found, check) = self.bound(binding).await?;
        match found {
            Some(leased) if replace != Some(leased.lease_id.as_str()) && made_by(&leased.lease_id, path) => {
                if self.view().get(&tombstone_path(&binding.owner)).await?.is_some() {
                    return Err(Error::Released(shown(&binding.owner)));
                }
                Ok(Held::Found(Box::new(leased)))
            }
            _ => Ok(Held::Free(check)),
        }
    }

    async fn bound(&self, binding: &Binding) -> Result<(Option<Leased>, Check), Error> {
        let path = bound_path(&binding.owner, &binding.item);
        let Some((bound, revision)) = self.view().get_json::<Bound>(&path).await? else {
            return Ok((None, Check::Absent));
        };
        let check = Check::At(revision);
        let Some((record, revision)) = self.record(&bound.lease_id).await? else { return Ok((None, check)) };
        let now = self.now();
        if !record.live(now) {
            return Ok((None, check));
        }
        let Some(data) = &record.data else { return Ok((None, check)) };
        let leased = Leased {
            ttl: record.ttl(now),
            renewable: record.renewable,
            data: Data::Raw(data.clone()),
            warnings: Vec::new(),
            revision,
            found: true,
            lease_id: record.id,
        };
        Ok((Some(leased), check))
    }

    async fn entomb(&self, owner: &str) -> Result<holdfast_barrier::view::Revision, Error> {
        let path = tombstone_path(owner);
        loop {
            let before = self.view().get_json::<Tombstone>(&path).await?;
            let until = record::after(self.now(), TOMBSTONE);
            let mut txn = Txn::new();
            let (check, due) = match &before {
                Some((tombstone, revision)) => (Check::At(*revision), tombstone.until),
                None => (Check::Absent, until),
            };
            txn.check(self.view().path(&path), check);
            txn.put_json(self.view().path(&path), &Tombstone { until })?;
            Due::Tombstone(owner.to_owned()).shift(self.view(), &mut txn, due, until)?;
            match self.view().commit(txn).await {
                Ok(revision) => return Ok(revision),
                Err(StoreError::Conflict) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Removes a tombstone before its time: nobody can ask for the owner any more.
    pub(crate) async fn exhume(&self, owner: &str) -> Result<(), StoreError> {
        let path = tombstone_path(owner);
        let Some((tombstone, revision)) = self.view().get_json::<Tombstone>(&path).await? else { return Ok(()) };
        let mut txn = Txn::new();
        txn.check(self.view().path(&path), Check::At(revision));
        txn.delete(self.view().path(&path));
        Due::Tombstone(owner.to_owned()).delete(self.view(), &mut txn, tombstone.until);
        self.view().commit(txn).await.map(drop)
    }

    /// Removes a tombstone whose time is over.
    pub(crate) async fn bury(&self, owner: &str) -> Result<(), StoreError> {
        let path = tombstone_path(owner);
        match self.view().get_json::<Tombstone>(&path).await? {
            Some((tombstone, revision)) if tombstone.until <= self.now() => {
                let mut txn = Txn::new();
                txn.check(self.view().path(&path), Check::At(revision));
                txn.delete(self.view().path(&path));
                self.view().commit(txn).await.map(drop)
            }
            _ => Ok(()),
        }
    }
}

fn made_by(lease_id: &str, path: &str) -> bool {
    lease_id.rsplit_once('/').is_some_and(|(made_by, _)| made_by == path.trim_end_matches('/'))
}
