//! Looking at leases.

use std::time::Duration;

use holdfast_barrier::view::StoreError;
use holdfast_base::Timestamp;
use holdfast_logical::Namespace;

use super::{
    Error, Leases,
    record::{self, Record},
};
use crate::binding;

/// Lease ids of a namespace that begin with a path, up to a slash.
#[derive(Clone, Copy, Debug)]
pub struct Folder<'a> {
    /// Id of the namespace.
    pub namespace: &'a str,
    /// Empty: all of them.
    pub path: &'a str,
}

impl<'a> From<&'a str> for Folder<'a> {
    /// One of the root namespace.
    fn from(path: &'a str) -> Self {
        Self { namespace: ROOT, path }
    }
}

impl<'a> From<&'a String> for Folder<'a> {
    /// One of the root namespace.
    fn from(path: &'a String) -> Self {
        path.as_str().into()
    }
}

/// Id of the root namespace.
const ROOT: &str = "root";

impl Folder<'_> {
    /// What stands in front of the lease ids in the store.
    fn base(&self) -> String {
        if self.namespace == ROOT { "id/".to_owned() } else { format!("ns/{}/", self.namespace) }
    }

    /// Is it the id of a lease of the folder?
    pub(super) fn holds(&self, lease_id: &str) -> bool {
        let path = self.path.trim_matches('/');
        let below = || lease_id.strip_prefix(path).is_some_and(|rest| rest.starts_with('/'));
        record::namespace(lease_id).unwrap_or(ROOT) == self.namespace
            && (path.is_empty() || lease_id == path || below())
    }

    fn full(&self) -> String {
        let (base, path) = (self.base(), self.path.trim_matches('/'));
        if path.is_empty() { base } else { format!("{base}{path}/") }
    }
}

/// What may be told of a lease.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LeaseInfo {
    /// Lease id.
    pub id: String,
    /// When it was made.
    pub issue_time: Timestamp,
    /// When it ends.
    pub expire_time: Timestamp,
    /// When it was last renewed.
    pub last_renewal: Option<Timestamp>,
    /// May it be renewed?
    pub renewable: bool,
    /// Time left; zero once it is over.
    pub ttl: Duration,
    /// `kind/uid` if bound.
    pub owner: Option<String>,
    /// Item if bound.
    pub item: Option<String>,
    /// Attempts to revoke it so far; `None` while it is in use.
    pub revoke_attempts: Option<u32>,
    /// What the last of them failed with.
    pub revoke_error: Option<String>,
}

impl Leases {
    /// A lease by its id; [`Error::Invalid`] if there is none.
    pub async fn lookup(&self, lease_id: &str) -> Result<LeaseInfo, Error> {
        let (record, _) = self.record(lease_id).await?.ok_or(Error::Invalid)?;
        Ok(self.info(record))
    }

    pub(crate) fn info(&self, record: Record) -> LeaseInfo {
        let ttl = if record.revoking.is_some() { Duration::ZERO } else { record.ttl(self.now()) };
        let (owner, item) = record.binding.map(|binding| (binding::shown(&binding.owner), binding.item)).unzip();
        let (revoke_attempts, revoke_error) =
            record.revoking.map(|revoking| (revoking.attempts, revoking.error)).unzip();
        LeaseInfo {
            id: record.id,
            issue_time: record.issue_time,
            expire_time: record.expire_time,
            last_renewal: record.last_renewal,
            renewable: record.renewable,
            ttl,
            owner,
            item,
            revoke_attempts,
            revoke_error: revoke_error.flatten(),
        }
    }

    /// Is it a lease of this namespace, if there is one of this id?
    pub fn is_of(&self, namespace: &Namespace, lease_id: &str) -> bool {
        record::namespace(lease_id).unwrap_or(ROOT) == namespace.id
    }

    /// Names directly below a folder, sorted; folders end in `/`.
    pub async fn list<'a>(&self, folder: impl Into<Folder<'a>>) -> Result<Vec<String>, Error> {
        Ok(self.names(&folder.into().full()).await?)
    }

    /// Number of leases below a folder. The store counts; none is read.
    pub async fn count<'a>(&self, folder: impl Into<Folder<'a>>) -> Result<u64, Error> {
        let folder = folder.into();
        let own = u64::from(self.is_lease(&folder).await?);
        Ok(own + self.view.count(&folder.full()).await?)
    }

    /// Number of leases of all namespaces. The store counts; none is read.
    pub async fn count_all(&self) -> Result<u64, Error> {
        Ok(self.view.count("id/").await? + self.view.count("ns/").await?)
    }

    /// Is the path the whole id of a lease?
    async fn is_lease(&self, folder: &Folder<'_>) -> Result<bool, StoreError> {
        let whole = folder.path.trim_end_matches('/');
        let own = record::namespace(whole).unwrap_or(ROOT) == folder.namespace;
        Ok(own && record::well_formed(whole) && self.view.get(&record::path(whole)).await?.is_some())
    }

    /// Ids of the leases of all namespaces. Walks them.
    pub async fn all_ids(&self) -> Result<Vec<String>, Error> {
        let mut ids = self.ids_below("".into()).await?;
        for namespace in self.names("ns/").await? {
            let all = Folder { namespace: namespace.trim_end_matches('/'), path: "" };
            ids.append(&mut self.ids_below(all).await?);
        }
        Ok(ids)
    }

    /// Leases of a folder whose revocation has failed so far, at most `limit`. Walks all of them.
    pub async fn stuck<'a>(&self, folder: impl Into<Folder<'a>>, limit: usize) -> Result<Vec<LeaseInfo>, Error> {
        let mut stuck = Vec::new();
        for id in self.ids_below(folder.into()).await? {
            if stuck.len() == limit {
                break;
            }
            if let Some((record, _)) = self.record(&id).await?
                && record.revoking.as_ref().is_some_and(|revoking| revoking.error.is_some())
            {
                stuck.push(self.info(record));
            }
        }
        Ok(stuck)
    }

    /// Ids of all leases below a folder, or the one whose id it is.
    pub(crate) async fn ids_below(&self, folder: Folder<'_>) -> Result<Vec<String>, Error> {
        let mut ids = Vec::new();
        if self.is_lease(&folder).await? {
            ids.push(folder.path.trim_end_matches('/').to_owned());
        }
        let base = folder.base();
        let mut folders = vec![folder.full()];
        while let Some(folder) = folders.pop() {
            for name in self.names(&folder).await? {
                if name.ends_with('/') {
                    folders.push(format!("{folder}{name}"));
                } else {
                    ids.push(format!("{}{name}", &folder[base.len()..]));
                }
            }
        }
        Ok(ids)
    }

    /// Lease ids that the entries of an index folder hold.
    pub(crate) async fn indexed(&self, folder: &str) -> Result<Vec<String>, StoreError> {
        let mut ids = Vec::new();
        for name in self.names(folder).await? {
            if let Some((id, _)) = self.view.get_json::<String>(&format!("{folder}{name}")).await? {
                ids.push(id);
            }
        }
        Ok(ids)
    }

    /// All names directly below a folder of the view.
    pub(crate) async fn names(&self, folder: &str) -> Result<Vec<String>, StoreError> {
        self.view.list(folder, "", 0).await
    }
}
