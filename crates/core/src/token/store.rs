//! The token store: making, finding and using tokens.
//!
//! `token/id[/<namespace id>]/<hash>` the entry · `token/parent/<hash>/<child hash>` · `token/mount/<uuid>/<hash>` of those
//! without a parent · `token/revoking/<hash>` the entry of a token whose revocation is not finished. The hash is the accessor.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use holdfast_failpoint::failpoint;
use holdfast_logical::{
    Check, Entropy, Grant, Namespace, PodIdentity, PolicyName, Revision, StoreError, Timestamp, Txn, View,
};
use holdfast_secret::{SecretBytes, SecretString};

use super::{
    Token, Wrapped,
    batch::{BatchKey, is_batch},
    id,
    uses::Uses,
};
use crate::{Error, call::Holder, lease::Leases};

/// All tokens of this server.
pub struct Tokens {
    pub(super) view: View,
    pub(super) cubbyhole: View,
    pub(super) entropy: Arc<dyn Entropy>,
    pub(super) leases: Arc<Leases>,
    /// Has a name for each mount that serves.
    live: View,
    keys: id::IdKeys,
    batch: BatchKey,
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

/// A token that is to be made; rules were applied already.
#[derive(Debug)]
pub struct NewToken {
    /// Where it belongs.
    pub namespace: Arc<Namespace>,
    /// Its id, where the creator chose one.
    pub id: Option<SecretString>,
    /// Hash of the parent, which must still be there at the commit.
    pub parent: Option<String>,
    /// Any order.
    pub policies: Vec<String>,
    /// Path that makes it.
    pub path: String,
    /// Shown in lookup.
    pub metadata: Option<BTreeMap<String, String>>,
    /// For people.
    pub display_name: String,
    /// 0 is unlimited.
    pub num_uses: u64,
    /// None: never ends.
    pub ttl: Option<Duration>,
    /// Seconds; 0 is none.
    pub explicit_max_ttl: u64,
    /// Seconds; 0 is not periodic.
    pub period: u64,
    /// May it be renewed?
    pub renewable: bool,
    /// Empty is any.
    pub bound_cidrs: Vec<String>,
    /// Or empty.
    pub entity_id: String,
    /// Or empty.
    pub role: String,
    /// Uuid of the auth mount that makes it.
    pub mount: String,
    /// Is it to be a batch token?
    pub batch: bool,
    /// From a login.
    pub grant: Option<Grant>,
    /// From a login.
    pub pod: Option<PodIdentity>,
    /// For wrapping tokens.
    pub wrapped: Option<Wrapped>,
    /// Payload of a wrapping token, stored in its cubbyhole in the same commit.
    pub payload: Option<SecretBytes>,
    /// What must hold, and what is written, in the same commit.
    pub with: Txn,
}

impl NewToken {
    /// A token of a namespace, without policies and without end.
    pub fn of(namespace: Arc<Namespace>) -> Self {
        Self {
            namespace,
            id: None,
            parent: None,
            policies: Vec::new(),
            path: String::new(),
            metadata: None,
            display_name: String::new(),
            num_uses: 0,
            ttl: None,
            explicit_max_ttl: 0,
            period: 0,
            renewable: false,
            bound_cidrs: Vec::new(),
            entity_id: String::new(),
            role: String::new(),
            mount: String::new(),
            batch: false,
            grant: None,
            pod: None,
            wrapped: None,
            payload: None,
            with: Txn::new(),
        }
    }
}

/// A token that was made.
#[derive(Debug)]
pub struct Created {
    /// The token.
    pub id: SecretString,
    /// Its hash.
    pub hash: String,
    /// What was stored.
    pub token: Token,
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
            return Ok(self.is_alive(&token).await?.then(|| (String::new(), Arc::new(token), 0)));
        }
        if !self.keys.plausible(id.expose()) {
            return Ok(None);
        }
        let hash = self.hash(id);
        Ok(self.shared(&hash).await?.map(|(token, revision)| (hash, token, revision)))
    }

    /// Is a batch token within its time, and are its parent and the mount that made it still there?
    async fn is_alive(&self, token: &Token) -> Result<bool, StoreError> {
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
        Ok(found.filter(|(token, _)| !token.is_expired(self.now())))
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

    /// Makes a token.
    pub async fn create(&self, mut new: NewToken) -> Result<Created, Error> {
        let mut txn = std::mem::take(&mut new.with);
        let names = PolicyName::list(&new.policies);
        let root = names.iter().any(PolicyName::is_root);
        let policies: Vec<String> = names.into_iter().map(|name| name.as_str().to_owned()).collect();
        // Whoever may make a root token says so by the exact name: another spelling has passed no check on its way here.
        if root && !new.policies.iter().any(|policy| policy == holdfast_policy::ROOT) {
            return Err(Error::invalid("the policy root cannot be given by another spelling"));
        }
        if new.batch {
            return self.create_batch(new, policies, txn).await;
        }
        let chosen = new.id.is_some();
        let suffix = new.namespace.suffix();
        let id = match new.id {
            Some(id) => SecretString::new(format!("{}{suffix}", id.expose())),
            None if root => id::fresh_root(self.entropy.as_ref(), &suffix),
            None => self.keys.fresh(self.entropy.as_ref(), &suffix),
        };
        let (hash, now) = (self.hash(&id), self.now());
        let expires = new.ttl.map(|ttl| now.checked_add(ttl).unwrap_or(Timestamp::MAX));
        let token = Token {
            accessor: hash.clone(),
            namespace: new.namespace.id.clone(),
            parent: new.parent,
            policies,
            path: new.path,
            metadata: new.metadata,
            display_name: new.display_name,
            uses: (new.num_uses > 0).then_some(new.num_uses),
            created: now,
            creation_ttl: new.ttl.map_or(0, |ttl| ttl.as_secs()),
            expires,
            renewed: None,
            explicit_max_ttl: new.explicit_max_ttl,
            period: new.period,
            renewable: new.renewable && new.ttl.is_some(),
            bound_cidrs: new.bound_cidrs,
            entity_id: new.entity_id,
            role: new.role,
            mount: new.mount,
            grant: new.grant,
            pod: new.pod,
            wrapped: new.wrapped,
            batch: false,
        };
        txn.check(self.view.path(&id_key(&hash)), Check::Absent);
        txn.put_json(self.view.path(&id_key(&hash)), &token)?;
        if let Some(parent) = &token.parent {
            txn.merge(self.guard(parent));
        }
        if !token.mount.is_empty() {
            let live = self.live.path(&token.mount);
            if !txn.checks.iter().any(|(path, _)| *path == live) {
                txn.check(live, Check::Exists);
            }
        }
        if let Some(path) = listed_at(&token, &hash) {
            txn.put_json(self.view.path(&path), &())?;
        }
        if let Some(payload) = new.payload {
            txn.put(self.cubbyhole.path(&format!("{hash}/response")), payload);
        }
        if let Some(at) = expires {
            txn.merge(self.leases.schedule_token(&hash, at, None)?);
        }
        failpoint!("token.create.before-store").await;
        let stored = self.view.commit(txn).await;
        failpoint!("token.create.stored").await;
        match stored {
            Ok(_) => Ok(Created { id, hash, token }),
            Err(StoreError::Conflict) if chosen && self.view.get(&id_key(&hash)).await?.is_some() => {
                Err(Error::invalid("cannot create a token with a duplicate ID"))
            }
            // The parent or the mount went away.
            Err(StoreError::Conflict) => Err(Error::denied()),
            Err(error) => Err(error.into()),
        }
    }

    /// Makes a batch token: nothing is stored but what came with it.
    async fn create_batch(&self, new: NewToken, policies: Vec<String>, txn: Txn) -> Result<Created, Error> {
        if policies.iter().any(|policy| policy == holdfast_policy::ROOT) {
            return Err(Error::invalid("batch tokens cannot be root tokens"));
        }
        for (set, name) in [(new.num_uses > 0, "num_uses"), (new.period > 0, "period"), (new.id.is_some(), "id")] {
            if set {
                return Err(Error::invalid(format!("batch tokens cannot have {name:?} set")));
            }
        }
        let now = self.now();
        let token = Token {
            namespace: new.namespace.id.clone(),
            parent: new.parent,
            policies,
            path: new.path,
            metadata: new.metadata,
            display_name: new.display_name,
            creation_ttl: new.ttl.map_or(0, |ttl| ttl.as_secs()),
            expires: new.ttl.map(|ttl| now.checked_add(ttl).unwrap_or(Timestamp::MAX)),
            bound_cidrs: new.bound_cidrs,
            entity_id: new.entity_id,
            role: new.role,
            mount: new.mount,
            pod: new.pod,
            batch: true,
            ..Token::empty(now)
        };
        let id = self.batch.seal(&token, self.entropy.as_ref())?;
        if !txn.writes.is_empty() {
            match self.view.commit(txn).await {
                Ok(_) => {}
                Err(StoreError::Conflict) => return Err(Error::denied()),
                Err(error) => return Err(error.into()),
            }
        }
        // With every use the same is looked at, so there is nothing that a check at a commit would add.
        match self.is_alive(&token).await? {
            true => Ok(Created { id, hash: String::new(), token }),
            false => Err(Error::denied()),
        }
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
        Some(namespace) => format!("{folder}/{namespace}/{name}"),
        None => format!("{folder}/{name}"),
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
