//! `auth/token/tidy`: repairs what points to tokens. Every change keeps these in its own commit, so there is something to
//! be done only when the store was restored, edited or damaged; what a crash interrupted is finished too.

use holdfast_logical::{Check, StoreError, Txn};

use super::{
    Token, Tokens,
    store::{id_key, listed_at, revoking_key},
};
use crate::Error;

/// What a tidy put right.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tidied {
    /// Children and mounts' tokens that pointed to no token.
    pub dangling: u64,
    /// Tokens that could not be found by parent or mount.
    pub unlisted: u64,
    /// Tokens whose parent was gone.
    pub bereft: u64,
    /// Tokens past their end that the expiry had not come to yet.
    pub expired: u64,
}

impl Tokens {
    /// Walks all tokens and all that points to them.
    pub async fn tidy(&self) -> Result<Tidied, Error> {
        self.resume_revocations().await?;
        let mut tidied = Tidied::default();
        for folder in ["parent/", "mount/"] {
            for of in self.view.list(folder, "", 0).await? {
                for hash in self.view.list(&format!("{folder}{of}"), "", 0).await? {
                    tidied.dangling += self.tidy_entry(&format!("{folder}{of}{hash}"), &hash).await?;
                }
            }
        }
        for hash in self.all_accessors().await? {
            self.tidy_token(&hash, &mut tidied).await?;
        }
        Ok(tidied)
    }

    /// Removes an entry that points to a token which is neither there nor being revoked.
    async fn tidy_entry(&self, path: &str, hash: &str) -> Result<u64, Error> {
        if self.view.get(&id_key(hash)).await?.is_some() || self.view.get(&revoking_key(hash)).await?.is_some() {
            return Ok(0);
        }
        let mut txn = Txn::new();
        txn.check(self.view.path(&id_key(hash)), Check::Absent).delete(self.view.path(path));
        self.committed(txn).await
    }

    /// Revokes a token that is past its end or without its parent; makes one that is not listed everywhere findable again.
    async fn tidy_token(&self, hash: &str, tidied: &mut Tidied) -> Result<(), Error> {
        let Some((token, revision)) = self.view.get_json::<Token>(&id_key(hash)).await? else { return Ok(()) };
        if token.is_expired(self.now()) {
            tidied.expired += 1;
            return self.revoke(hash).await;
        }
        if let Some(parent) = &token.parent
            && self.view.get(&id_key(parent)).await?.is_none()
        {
            tidied.bereft += 1;
            return self.revoke(hash).await;
        }
        let mut txn = Txn::new();
        if let Some(path) = listed_at(&token, hash)
            && self.view.get(&path).await?.is_none()
        {
            txn.put_json(self.view.path(&path), &())?;
        }
        if let Some(at) = token.expires
            && !self.leases.is_scheduled(hash, at).await?
        {
            let mut later = token.clone();
            later.expires = Some(at.max(self.now()));
            txn.merge(self.leases.schedule_token(hash, at.max(self.now()), None)?);
            txn.put_json(self.view.path(&id_key(hash)), &later)?;
        }
        if !txn.writes.is_empty() {
            txn.check(self.view.path(&id_key(hash)), Check::At(revision));
            tidied.unlisted += self.committed(txn).await?;
        }
        Ok(())
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
