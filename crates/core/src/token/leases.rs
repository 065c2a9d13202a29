//! Tokens as leases: `sys/leases` knows a token by the path that made it and its accessor, `auth/people/login/mia/h<accessor>`.
//! There is no record of these: they are read from the tokens of the mounts that the path may mean.

use std::collections::BTreeSet;

use futures::{StreamExt, TryStreamExt, stream};
use holdfast_logical::{Namespace, StoreError};

use super::{Token, Tokens};
use crate::{
    Class, Error,
    mounts::{Record, Router},
};

/// In front of every lease id of a token.
pub const AUTH: &str = "auth/";

/// The path of the first token and of those of `generate-root`, which have no lease.
const ROOT: &str = "auth/token/root";

/// Tokens that one call looks at, or revokes, at a time.
const PARALLEL: usize = 16;

/// A token as a lease.
pub struct TokenLease {
    /// `<path>/h<hash>`.
    pub id: String,
    /// What the store knows the token by.
    pub hash: String,
    /// The token.
    pub token: Token,
}

impl Tokens {
    /// The tokens of a namespace whose lease ids are below a path, or the one whose id it is. Walks all tokens of the
    /// mounts concerned.
    pub async fn leases_below(
        &self,
        router: &Router,
        namespace: &Namespace,
        path: &str,
    ) -> Result<Vec<TokenLease>, StoreError> {
        let folder = folder(path);
        let mounts = router.of(namespace, Class::Auth).filter(|mounted| {
            let mount = mounted.record.full_path();
            mount.starts_with(&folder) || folder.starts_with(&mount)
        });
        let mut found = Vec::new();
        for mounted in mounts {
            let hashes = self.of_mount(&mounted.record, namespace).await?;
            let mut tokens = stream::iter(hashes)
                .map(|hash| async move { Ok::<_, StoreError>(self.get(&hash).await?.map(|(token, _)| (hash, token))) })
                .buffered(PARALLEL);
            while let Some(token) = tokens.next().await {
                let Some((hash, token)) = token? else { continue };
                let id = format!("{}/h{hash}", token.path);
                if token.path != ROOT
                    && token.mount == mounted.record.uuid
                    && (format!("{}/", token.path).starts_with(&folder) || id == path)
                {
                    found.push(TokenLease { id, hash, token });
                }
            }
        }
        Ok(found)
    }

    /// The token of one lease id.
    pub async fn by_lease(&self, namespace: &Namespace, id: &str) -> Result<Option<TokenLease>, StoreError> {
        let Some((path, name)) = id.rsplit_once('/').filter(|_| id.starts_with(AUTH)) else { return Ok(None) };
        let Some(accessor) = name.strip_prefix('h').filter(|_| path != ROOT) else { return Ok(None) };
        let found = self.by_accessor(namespace, accessor).await?.filter(|(_, token, _)| token.path == path);
        Ok(found.map(|(hash, token, _)| TokenLease { id: id.to_owned(), hash, token }))
    }

    /// Names directly below a path among the lease ids of tokens, sorted; folders end in `/`.
    pub async fn list_leases(
        &self,
        router: &Router,
        namespace: &Namespace,
        path: &str,
    ) -> Result<Vec<String>, StoreError> {
        let folder = folder(path);
        let below = self.leases_below(router, namespace, path).await?;
        let names: BTreeSet<String> = below
            .iter()
            .filter_map(|lease| {
                let rest = lease.id.strip_prefix(&folder)?;
                Some(rest.split_once('/').map_or_else(|| rest.to_owned(), |(name, _)| format!("{name}/")))
            })
            .collect();
        Ok(names.into_iter().collect())
    }

    /// Is there a token that `sys/leases` knows? Reads tokens up to the first one.
    pub async fn have_leases(&self, router: &Router, namespace: &Namespace) -> Result<bool, StoreError> {
        for mounted in router.of(namespace, Class::Auth) {
            for hash in self.of_mount(&mounted.record, namespace).await? {
                if self.get(&hash).await?.is_some_and(|(token, _)| token.path != ROOT) {
                    return Ok(true);
                }
            }
        }
        Ok(false)
    }

    /// Hashes of the tokens that a mount made. Those of `auth/token` are children of others for the most part, which no
    /// mount lists: for it these are all tokens of the namespace.
    async fn of_mount(&self, mount: &Record, namespace: &Namespace) -> Result<Vec<String>, StoreError> {
        match mount.kind.as_str() {
            "token" => self.accessors(namespace).await,
            _ => self.view.list(&format!("mount/{}/", mount.uuid), "", 0).await,
        }
    }

    /// Revokes the tokens whose lease ids are below a path, or the one whose id it is, with all that is below them.
    pub async fn revoke_below(&self, router: &Router, namespace: &Namespace, path: &str) -> Result<(), Error> {
        let found = self.leases_below(router, namespace, path).await?;
        let revoke = |lease: TokenLease| async move { self.revoke(&lease.hash).await };
        stream::iter(found).map(revoke).buffer_unordered(PARALLEL).try_collect().await
    }
}

/// Ends in a slash: a path means what is below it.
fn folder(path: &str) -> String {
    format!("{}/", path.trim_matches('/'))
}
