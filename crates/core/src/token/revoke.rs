//! Revocation: the token is dead with the first commit; children, leases and cubbyhole follow, and a crash in between
//! is picked up from `token/revoking/`.

use futures::future::BoxFuture;
use holdfast_failpoint::failpoint;
use holdfast_logical::{Check, Namespace, Revision, StoreError, Txn};
use serde::{Deserialize, Serialize};

use super::{
    Token, Tokens,
    store::{child_key, id_key, listed_at, revoking_key, scoped},
};
use crate::{Error, storage};

/// What becomes of the children.
#[derive(Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Children {
    Revoke,
    Orphan,
}

/// A revocation that is not finished.
#[derive(Serialize, Deserialize)]
struct Revoking {
    token: Token,
    /// As it was begun, so that whoever finishes it does the same.
    children: Children,
}

/// How the first commit of a revocation went.
enum Killed {
    /// There is no such token.
    Absent,
    /// The token is useless; the rest is to be done.
    Dead(Revoking),
    /// The store has no room for a record of the rest: that goes first, then the entry of this revision.
    NoRoom(Token, Revision),
}

impl Tokens {
    /// Revokes a token and everything below it. Nothing happens if it is not there.
    pub async fn revoke(&self, hash: &str) -> Result<(), Error> {
        self.revoke_with(hash, Children::Revoke).await
    }

    /// Revokes a token; its children become orphans.
    pub async fn revoke_orphan(&self, hash: &str) -> Result<(), Error> {
        self.revoke_with(hash, Children::Orphan).await
    }

    /// Revokes a token that is past its end; one that lives longer by now is left alone.
    pub async fn expire(&self, hash: &str) -> Result<(), Error> {
        match self.view.get_json::<Token>(&id_key(hash)).await? {
            Some((token, _)) if !token.is_expired(self.now()) => Ok(()),
            _ => self.revoke(hash).await,
        }
    }

    /// Revokes all tokens that an auth method made, with all that is below them.
    pub async fn revoke_mount(&self, mount: &str) -> Result<(), Error> {
        for hash in self.view.list(&format!("mount/{mount}/"), "", 0).await? {
            self.revoke(&hash).await?;
        }
        Ok(())
    }

    /// Revokes all tokens of a namespace and forgets its token roles. Finishes their revocations that were begun before.
    pub async fn revoke_namespace(&self, namespace: &Namespace) -> Result<(), Error> {
        for hash in self.accessors(namespace).await? {
            self.revoke(&hash).await?;
        }
        for hash in self.view.list("revoking/", "", 0).await? {
            if let Some((revoking, _)) = self.view.get_json::<Revoking>(&revoking_key(&hash)).await?
                && revoking.token.namespace == namespace.id
            {
                self.revoke(&hash).await?;
            }
        }
        storage::wipe_folder(&self.view, scoped("role", &namespace.suffix(), "")).await?;
        Ok(())
    }

    /// Finishes revocations that a crash or an unreachable system interrupted.
    pub async fn resume_revocations(&self) -> Result<(), Error> {
        for hash in self.view.list("revoking/", "", 0).await? {
            self.revoke(&hash).await?;
        }
        Ok(())
    }

    fn revoke_with<'a>(&'a self, hash: &'a str, children: Children) -> BoxFuture<'a, Result<(), Error>> {
        Box::pin(async move {
            match self.kill(hash, children).await? {
                Killed::Dead(revoking) => {
                    failpoint!("token.revoke.killed").await;
                    self.clear(hash, revoking.children).await?;
                    failpoint!("token.revoke.before-end").await;
                    self.view.commit(self.end(hash, &revoking.token)).await?;
                    Ok(())
                }
                Killed::NoRoom(token, revision) => {
                    // Whatever cannot be undone now is undone when its own time is over; the token is dead in any case.
                    let cleared = self.clear(hash, children).await;
                    let mut txn = self.end(hash, &token);
                    txn.check(self.view.path(&id_key(hash)), Check::At(revision));
                    txn.delete(self.view.path(&id_key(hash)));
                    self.view.commit(txn).await?;
                    cleared
                }
                Killed::Absent => Ok(()),
            }
        })
    }

    /// Makes the token useless, in one commit.
    async fn kill(&self, hash: &str, children: Children) -> Result<Killed, Error> {
        loop {
            let Some((token, revision)) = self.view.get_json::<Token>(&id_key(hash)).await? else {
                let begun = self.view.get_json(&revoking_key(hash)).await?;
                return Ok(begun.map_or(Killed::Absent, |(revoking, _)| Killed::Dead(revoking)));
            };
            let revoking = Revoking { token, children };
            let mut txn = Txn::new();
            txn.check(self.view.path(&id_key(hash)), Check::At(revision));
            txn.delete(self.view.path(&id_key(hash)));
            txn.put_json(self.view.path(&revoking_key(hash)), &revoking)?;
            match self.view.commit(txn).await {
                Ok(_) => return Ok(Killed::Dead(revoking)),
                Err(StoreError::Conflict) => {}
                Err(StoreError::NoSpace) => return Ok(Killed::NoRoom(revoking.token, revision)),
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Undoes what hangs on the token.
    async fn clear(&self, hash: &str, children: Children) -> Result<(), Error> {
        for child in self.view.list(&format!("parent/{hash}/"), "", 0).await? {
            match children {
                Children::Revoke => self.revoke_with(&child, Children::Revoke).await?,
                Children::Orphan => self.set_free(hash, &child).await?,
            }
        }
        failpoint!("token.revoke.children-done").await;
        self.leases.revoke_token(hash).await.map_err(holdfast_logical::Error::from)?;
        failpoint!("token.revoke.leases-done").await;
        storage::wipe_folder(&self.cubbyhole, format!("{hash}/")).await?;
        Ok(())
    }

    /// Forgets it.
    fn end(&self, hash: &str, token: &Token) -> Txn {
        let mut txn = Txn::new();
        txn.delete(self.view.path(&revoking_key(hash)));
        if let Some(path) = listed_at(token, hash) {
            txn.delete(self.view.path(&path));
        }
        if let Some(at) = token.expires {
            txn.merge(self.leases.unschedule_token(hash, at));
        }
        txn
    }

    async fn set_free(&self, parent: &str, child: &str) -> Result<(), Error> {
        loop {
            let Some((mut token, revision)) = self.view.get_json::<Token>(&id_key(child)).await? else {
                self.view.delete(&child_key(parent, child)).await?;
                return Ok(());
            };
            token.parent = None;
            let mut txn = Txn::new();
            txn.delete(self.view.path(&child_key(parent, child)));
            if let Some(path) = listed_at(&token, child) {
                txn.put_json(self.view.path(&path), &())?;
            }
            match self.replace(child, &token, revision, txn).await {
                Ok(_) => return Ok(()),
                Err(StoreError::Conflict) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }
}
