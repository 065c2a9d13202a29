//! The part of `sys/fsck` that reads tokens: what points to them and what they are pointed to by.
//!
//! The server serves meanwhile, so what looks wrong is read again before it is told.

use holdfast_logical::StoreError;

use super::{
    Token, Tokens,
    store::{id_key, listed_at, revoking_key},
};

/// What is wrong with the tokens; all zero but the first two when all is well.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Fsck {
    /// Tokens.
    pub tokens: u64,
    /// Revocations that are not finished.
    pub revoking: u64,
    /// Tokens that the expiry index does not have.
    pub unscheduled: u64,
    /// Tokens that are not found by parent or mount.
    pub unlisted: u64,
    /// Tokens whose parent is gone.
    pub bereft: u64,
    /// Children and mounts' tokens that point to no token.
    pub dangling: u64,
}

impl Fsck {
    /// Is all well?
    pub fn is_clean(&self) -> bool {
        self.unscheduled + self.unlisted + self.bereft + self.dangling == 0
    }
}

impl Tokens {
    /// Walks all tokens and indices, and changes nothing.
    pub async fn fsck(&self) -> Result<Fsck, StoreError> {
        let mut found = Fsck { revoking: self.view.list("revoking/", "", 0).await?.len() as u64, ..Fsck::default() };
        for hash in self.all_accessors().await? {
            self.fsck_token(&hash, &mut found).await?;
        }
        for folder in ["parent/", "mount/"] {
            for of in self.view.list(folder, "", 0).await? {
                for hash in self.view.list(&format!("{folder}{of}"), "", 0).await? {
                    found.dangling += u64::from(self.is_dangling(&format!("{folder}{of}{hash}"), &hash).await?);
                }
            }
        }
        Ok(found)
    }

    async fn fsck_token(&self, hash: &str, found: &mut Fsck) -> Result<(), StoreError> {
        let Some((token, revision)) = self.view.get_json::<Token>(&id_key(hash)).await? else { return Ok(()) };
        found.tokens += 1;
        let scheduled = match token.expires {
            Some(at) => self.leases.is_scheduled(hash, at).await?,
            None => true,
        };
        let listed = match listed_at(&token, hash) {
            Some(path) => self.view.get(&path).await?.is_some(),
            None => true,
        };
        let held = match &token.parent {
            // One that is being revoked takes its children with it.
            Some(parent) => {
                self.view.get(&id_key(parent)).await?.is_some() || self.view.get(&revoking_key(parent)).await?.is_some()
            }
            None => true,
        };
        if (!scheduled || !listed || !held) && self.view.revision(&id_key(hash)).await? == Some(revision) {
            found.unscheduled += u64::from(!scheduled);
            found.unlisted += u64::from(!listed);
            found.bereft += u64::from(!held);
        }
        Ok(())
    }

    /// Does the entry point to a token that is neither there nor being revoked?
    async fn is_dangling(&self, path: &str, hash: &str) -> Result<bool, StoreError> {
        Ok(self.view.get(&id_key(hash)).await?.is_none()
            && self.view.get(&revoking_key(hash)).await?.is_none()
            && self.view.get(path).await?.is_some())
    }
}
