//! The part of `sys/fsck` that reads leases: what points to them and what they are pointed to by.
//!
//! The server serves meanwhile, so what looks wrong is read again before it is told.

use holdfast_barrier::view::StoreError;

use super::{
    Leases,
    due::Due,
    record::{self, Intent, Record},
};

/// What is wrong with the leases; all zero but the first two when all is well.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Fsck {
    /// Leases.
    pub leases: u64,
    /// Credentials that are being made, or whose maker is gone and that are being swept.
    pub intents: u64,
    /// Leases and intents that the expiry index does not have: nobody would take them back.
    pub unscheduled: u64,
    /// Leases that their token or owner does not have.
    pub unlisted: u64,
    /// Entries of tokens and owners that point to no lease.
    pub dangling: u64,
    /// Leases of mounts that are not there.
    pub homeless: u64,
}

impl Fsck {
    /// Is all well?
    pub fn is_clean(&self) -> bool {
        self.unscheduled + self.unlisted + self.dangling + self.homeless == 0
    }
}

impl Leases {
    /// Walks all leases, intents and indices, and changes nothing.
    pub async fn fsck(&self) -> Result<Fsck, super::Error> {
        let mut found = Fsck::default();
        for id in self.all_ids().await? {
            self.fsck_lease(&id, &mut found).await?;
        }
        for serial in self.names("intent/").await? {
            self.fsck_intent(&serial, &mut found).await?;
        }
        for token in self.names("token/").await? {
            found.dangling += self.dangling(&format!("token/{token}")).await?;
        }
        for kind in self.names("own/").await? {
            for owner in self.names(&format!("own/{kind}")).await? {
                found.dangling += self.dangling(&format!("own/{kind}{owner}")).await?;
            }
        }
        Ok(found)
    }

    async fn fsck_lease(&self, id: &str, found: &mut Fsck) -> Result<(), StoreError> {
        let Some((record, revision)) = self.record(id).await? else { return Ok(()) };
        found.leases += 1;
        let scheduled = Due::Lease(record.id.clone()).is_stored(self.view(), record.due).await?;
        let listed = self.is_listed(&record).await?;
        let housed = self.backends.by_mount(&record.mount_uuid).is_some();
        if scheduled && listed && housed {
            return Ok(());
        }
        if self.record(id).await?.is_some_and(|(_, now)| now == revision) {
            found.unscheduled += u64::from(!scheduled);
            found.unlisted += u64::from(!listed);
            found.homeless += u64::from(!housed);
        }
        Ok(())
    }

    async fn is_listed(&self, record: &Record) -> Result<bool, StoreError> {
        let serial = record::serial(&record.id);
        let of_token = record.token_hash.as_ref().map(|hash| record::token_path(hash, serial));
        let of_owner = record.binding.as_ref().map(|binding| record::owner_path(&binding.owner, serial));
        for path in of_token.into_iter().chain(of_owner) {
            if self.view().get(&path).await?.is_none() {
                return Ok(false);
            }
        }
        Ok(true)
    }

    async fn fsck_intent(&self, serial: &str, found: &mut Fsck) -> Result<(), StoreError> {
        let path = record::intent_path(serial);
        let Some((intent, revision)) = self.view().get_json::<Intent>(&path).await? else { return Ok(()) };
        found.intents += 1;
        if !Due::Intent(serial.to_owned()).is_stored(self.view(), intent.due).await?
            && self.view().revision(&path).await? == Some(revision)
        {
            found.unscheduled += 1;
        }
        Ok(())
    }

    /// Entries of a folder of an index that point to no lease.
    async fn dangling(&self, folder: &str) -> Result<u64, StoreError> {
        let mut dangling = 0;
        for name in self.names(folder).await? {
            let path = format!("{folder}{name}");
            let Some((id, _)) = self.view().get_json::<String>(&path).await? else { continue };
            if self.record(&id).await?.is_none() && self.view().get(&path).await?.is_some() {
                dangling += 1;
            }
        }
        Ok(dangling)
    }
}
