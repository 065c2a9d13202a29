//! Looking at leases.

use std::time::Duration;

use holdfast_barrier::view::StoreError;
use holdfast_base::Timestamp;

use super::{
    Error, Leases,
    record::{self, Record},
};

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
        let (owner, item) = record.binding.map(|binding| (binding.owner, binding.item)).unzip();
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

    /// Names directly below the folder `prefix` (empty: all), sorted; folders end in `/`.
    pub async fn list(&self, prefix: &str) -> Result<Vec<String>, Error> {
        Ok(self.names(&id_folder(prefix)).await?)
    }

    /// Number of leases below the folder `prefix`. Walks them.
    pub async fn count(&self, prefix: &str) -> Result<u64, Error> {
        Ok(self.ids_below(prefix).await?.len() as u64)
    }

    /// Leases whose revocation has failed so far, at most `limit`. Walks all leases.
    pub async fn stuck(&self, limit: usize) -> Result<Vec<LeaseInfo>, Error> {
        let mut stuck = Vec::new();
        for id in self.ids_below("").await? {
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
    pub(crate) async fn ids_below(&self, prefix: &str) -> Result<Vec<String>, Error> {
        let mut ids = Vec::new();
        let whole = prefix.trim_end_matches('/');
        if record::well_formed(whole) && self.view.get(&record::path(whole)).await?.is_some() {
            ids.push(whole.to_owned());
        }
        let mut folders = vec![id_folder(prefix)];
        while let Some(folder) = folders.pop() {
            for name in self.names(&folder).await? {
                if name.ends_with('/') {
                    folders.push(format!("{folder}{name}"));
                } else {
                    ids.push(format!("{}{name}", folder.trim_start_matches("id/")));
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

fn id_folder(prefix: &str) -> String {
    let prefix = prefix.trim_matches('/');
    if prefix.is_empty() { "id/".to_owned() } else { format!("id/{prefix}/") }
}
