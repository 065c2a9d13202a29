//! `sys/leases/tidy`: repairs what points to leases. Every change keeps these in its own commit, so there is something to
//! be done only when the store was restored, edited or damaged.

use holdfast_barrier::view::{Check, StoreError, Txn};

use super::{
    Error, Leases,
    due::Due,
    record::{self, Record},
};

/// What a tidy put right.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tidied {
    /// Entries of tokens and owners that pointed to no lease.
    pub dangling: u64,
    /// Leases that would never have expired, since nothing said when.
    pub unscheduled: u64,
}

impl Leases {
    /// Walks all leases and all that points to them.
    pub async fn tidy(&self) -> Result<Tidied, Error> {
        let mut tidied = Tidied::default();
        for token in self.names("token/").await? {
            tidied.dangling += self.tidy_folder(&format!("token/{token}")).await?;
        }
        for kind in self.names("own/").await? {
            for owner in self.names(&format!("own/{kind}")).await? {
                tidied.dangling += self.tidy_folder(&format!("own/{kind}{owner}")).await?;
            }
        }
        for id in self.all_ids().await? {
            if let Some((record, revision)) = self.record(&id).await?
                && self.reschedule(record, revision).await?
            {
                tidied.unscheduled += 1;
            }
        }
        Ok(tidied)
    }

    async fn tidy_folder(&self, folder: &str) -> Result<u64, Error> {
        let mut removed = 0;
        for name in self.names(folder).await? {
            let path = format!("{folder}{name}");
            let Some((id, revision)) = self.view.get_json::<String>(&path).await? else { continue };
            if self.record(&id).await?.is_none() {
                let mut txn = Txn::new();
                txn.check(self.view.path(&record::path(&id)), Check::Absent);
                txn.check(self.view.path(&path), Check::At(revision)).delete(self.view.path(&path));
                removed += self.committed(txn).await?;
            }
        }
        Ok(removed)
    }

    /// Gives a lease without an entry in the expiry index a new one: it is due at its time, or now.
    async fn reschedule(&self, mut record: Record, revision: i64) -> Result<bool, Error> {
        let due = Due::Lease(record.id.clone());
        if due.is_stored(&self.view, record.due).await? {
            return Ok(false);
        }
        // Buckets that are over are not looked into any more.
        record.due = record.due.max(self.now());
        let path = self.view.path(&record::path(&record.id));
        let mut txn = Txn::new();
        txn.check(path.clone(), Check::At(revision)).put_json(path, &record)?;
        due.put(&self.view, &mut txn, record.due)?;
        Ok(self.committed(txn).await? > 0)
    }

    /// 1, or 0 if somebody else changed it meanwhile: then it is in order.
    async fn committed(&self, txn: Txn) -> Result<u64, Error> {
        match self.view.commit(txn).await {
            Ok(_) => Ok(1),
            Err(StoreError::Conflict) => Ok(0),
            Err(error) => Err(error.into()),
        }
    }
}
