//! Making tokens.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use futures::future::BoxFuture;
use holdfast_failpoint::failpoint;
use holdfast_logical::{Check, Grant, Namespace, PodIdentity, PolicyName, StoreError, Timestamp, Txn};
use holdfast_secret::{SecretBytes, SecretString};

use super::{
    Token, Tokens, Wrapped, id,
    store::{id_key, listed_at},
};
use crate::Error;

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
    /// Makes a token.
    pub fn create(&self, new: NewToken) -> BoxFuture<'_, Result<Created, Error>> {
        // All that may make a token would make room for it.
        Box::pin(self.make(new))
    }

    async fn make(&self, mut new: NewToken) -> Result<Created, Error> {
        let mut txn = std::mem::take(&mut new.with);
        let names = PolicyName::list(&new.policies);
        let root = names.iter().any(PolicyName::is_root);
        let policies: Vec<String> = names.into_iter().map(|name| name.as_str().to_owned()).collect();
        // Whoever may make a root token says so by the exact name: another spelling has passed no check on its way here.
        if root && !new.policies.iter().any(|policy| policy == holdfast_policy::ROOT) {
            return Err(Error::invalid("the policy root cannot be given by another spelling"));
        }
        if new.batch {
            return Box::pin(self.create_batch(new, policies, txn)).await;
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
}
