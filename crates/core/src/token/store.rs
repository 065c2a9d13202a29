//! The token store: finding tokens.
//!
//! `token/id[/<namespace id>]/<hash>` the entry · `token/parent/<hash>/<child hash>` · `token/mount/<uuid>/<hash>` of those
//! without a parent · `token/revoking/<hash>` the entry of a token whose revocation is not finished. The hash is the accessor.

use std::sync::Arc;

use holdfast_logical::{Check, Entropy, Namespace, Revision, StoreError, Timestamp, Txn, View};
use holdfast_secret::{SecretBytes, SecretString};

use super::{
    Token,
    batch::{BatchKey, is_batch},
    id,
    uses::Uses,
};
use crate::{call::Holder, lease::Leases};

/// All tokens of this server.
pub struct Tokens {
    pub(super) view: View,
    pub(super) cubbyhole: View,
    pub(super) entropy: Arc<dyn Entropy>,
    pub(super) leases: Arc<Leases>,
    /// Has a name for each mount that serves.
    pub(super) live: View,
    pub(super) keys: id::IdKeys,
    pub(super) batch: BatchKey,
    pub(super) uses: Uses,
}

/// Secrets and names that ids are made with.
pub struct Keys {
    /// Authenticates ids of service tokens.
    pub mac: SecretBytes,
    /// Hashes ids into keys of the store.
    pub hash: SecretBytes,
    /// Encrypts batch tokens.
    pub batch: SecretBytes,
    /// Id of the cluster.
    pub cluster: String,
}

impl Tokens {
    /// The tokens of the whole key space `root`.
    pub fn new(root: &View, cubbyhole: View, entropy: Arc<dyn Entropy>, leases: Arc<Leases>, keys: Keys) -> Self {
        let batch = BatchKey::new(&keys.batch, &keys.cluster);
        let (view, live) = (root.below("token"), root.below("core").below("live"));
        Self {
            view,
            cubbyhole,
            entropy,
            leases,
            live,
            keys: id::IdKeys::new(keys.mac, keys.hash),
            batch,
            uses: Uses::default(),
        }
    }

    /// Now, as expiry counts it.
    pub fn now(&self) -> Timestamp {
        self.leases.now()
    }

    /// What the store knows an id by.
    pub fn hash(&self, id: &SecretString) -> String {
        self.keys.hash(id.expose())
    }

    /// Is it the id of a token of this namespace, if of any?
    pub fn is_of(&self, namespace: &Namespace, id: &SecretString) -> bool {
        id::suffix_of(id.expose()) == namespace.suffix()
    }

    /// The token of an id in a namespace: one of another namespace is as unknown as one that is not there.
    pub async fn find_in(
        &self,
        namespace: &Namespace,
        id: &SecretString,
    ) -> Result<Option<(String, Token, Revision)>, StoreError> {
        if !self.is_of(namespace, id) {
            return Ok(None);
        }
        let found = self.find(id).await?.filter(|(_, token, _)| token.namespace == namespace.id);
        Ok(found.map(|(hash, token, revision)| (hash, Token::clone(&token), revision)))
    }

    /// The token of an id of any namespace, if there is one that is not past its end. The hash of a batch token is
    /// empty: it is not stored.
    pub async fn find(&self, id: &SecretString) -> Result<Option<(String, Arc<Token>, Revision)>, StoreError> {
        if is_batch(id) {
            let Some(token) = self.batch.open(id) else { return Ok(None) };
            // In a box, as all tokens would make room for it.
            return Ok(Box::pin(self.is_alive(&token)).await?.then(|| (String::new(), Arc::new(token), 0)));
        }
        if !self.keys.plausible(id.expose()) {
            return Ok(None);
        }
        let hash = self.hash(id);
        Ok(self.shared(&hash).await?.map(|(token, revision)| (hash, token, revision)))
    }

    /// Is a batch token within its time, and are its parent and the mount that made it still there?
    pub(super) async fn is_alive(&self, token: &Token) -> Result<bool, StoreError> {
        if token.is_expired(self.now()) || self.live.get(&token.mount).await?.is_none() {
            return Ok(false);
        }
        match &token.parent {
            Some(parent) => Ok(self.get(parent).await?.is_some()),
            None => Ok(true),
        }
    }

    /// The token of a hash, if there is one that is not past its end.
    pub async fn get(&self, hash: &str) -> Result<Option<(Token, Revision)>, StoreError> {
        Ok(self.shared(hash).await?.map(|(token, revision)| (Token::clone(&token), revision)))
    }

    /// The same as it is decoded in the cache.
    async fn shared(&self, hash: &str) -> Result<Option<(Arc<Token>, Revision)>, StoreError> {
        let found = self.view.shared_json::<Token>(&id_key(hash)).await?;
        Ok(found.filter(|(token, _)| token.expires.is_none() || !token.is_expired(self.now())))
    }

    /// The token of an accessor in a namespace.
    pub async fn by_accessor(
        &self,
        namespace: &Namespace,
        accessor: &str,
    ) -> Result<Option<(String, Token, Revision)>, StoreError> {
        if accessor.is_empty() || accessor.contains('/') || id::suffix_of(accessor) != namespace.suffix() {
            return Ok(None);
        }
        let found = self.get(accessor).await?.filter(|(token, _)| token.namespace == namespace.id);
        Ok(found.map(|(token, revision)| (accessor.to_owned(), token, revision)))
    }

    /// Writes an entry over the one of `revision`, with what else belongs to the change.
    pub(super) async fn replace(
        &self,
        hash: &str,
        token: &Token,
        revision: Revision,
        mut with: Txn,
    ) -> Result<Revision, StoreError> {
        with.check(self.view.path(&id_key(hash)), Check::At(revision));
        with.put_json(self.view.path(&id_key(hash)), token)?;
        self.view.commit(with).await
    }

    /// What must hold for something to be made for a token: that the stored token behind it is still there.
    pub fn guard(&self, hash: &str) -> Txn {
        let mut txn = Txn::new();
        if !hash.is_empty() {
            txn.check(self.view.path(&id_key(hash)), Check::Exists);
        }
        txn
    }

    /// The same for whoever asks: a batch token is there as long as its parent and its mount are.
    pub fn guard_of(&self, holder: &Holder) -> Txn {
        let mut txn = self.guard(holder.owner());
        if holder.token.batch {
            txn.check(self.live.path(&holder.token.mount), Check::Exists);
        }
        txn
    }

    /// What a wrapping token wraps.
    pub async fn payload(&self, hash: &str) -> Result<Option<SecretBytes>, StoreError> {
        Ok(self.cubbyhole.get(&format!("{hash}/response")).await?.map(|entry| entry.value))
    }

    /// Accessors of all tokens of a namespace.
    pub async fn accessors(&self, namespace: &Namespace) -> Result<Vec<String>, StoreError> {
        let mut names = self.view.list(&scoped("id", &namespace.suffix(), ""), "", 0).await?;
        names.retain(|name| !name.ends_with('/'));
        Ok(names)
    }

    /// Number of stored tokens of all namespaces. The store counts; none is read.
    pub async fn count(&self) -> Result<u64, StoreError> {
        self.view.count("id/").await
    }

    /// Accessors of all tokens of all namespaces.
    pub async fn all_accessors(&self) -> Result<Vec<String>, StoreError> {
        let names = self.view.list("id/", "", 0).await?;
        let (folders, mut accessors): (Vec<_>, Vec<_>) = names.into_iter().partition(|name| name.ends_with('/'));
        for folder in folders {
            accessors.append(&mut self.view.list(&format!("id/{folder}"), "", 0).await?);
        }
        Ok(accessors)
    }
}

pub(super) fn id_key(hash: &str) -> String {
    scoped("id", id::suffix_of(hash), hash)
}

/// `<folder>/<name>` in the root namespace, `<folder>/<namespace id>/<name>` in others, whose ids end in `suffix`.
pub(super) fn scoped(folder: &str, suffix: &str, name: &str) -> String {
    match suffix.strip_prefix('.') {
        Some(namespace) => [folder, "/", namespace, "/", name].concat(),
        None => [folder, "/", name].concat(),
    }
}

pub(super) fn child_key(parent: &str, hash: &str) -> String {
    format!("parent/{parent}/{hash}")
}

/// Where whoever revokes a parent or disables a mount finds the token.
pub(super) fn listed_at(token: &Token, hash: &str) -> Option<String> {
    match &token.parent {
        Some(parent) => Some(child_key(parent, hash)),
        None if token.mount.is_empty() => None,
        None => Some(format!("mount/{}/{hash}", token.mount)),
    }
}

pub(super) fn revoking_key(hash: &str) -> String {
    format!("revoking/{hash}")
}
