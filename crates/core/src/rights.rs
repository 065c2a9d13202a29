//! What a token may do now: its own policies, and those of the entity behind it and of that entity's groups.
//!
//! Nothing of the entity is kept with the token but its id, so a group that is left, a policy that is taken away or an
//! entity that is disabled counts from the next request on. What is read with each request is one entity and the stamp
//! of the groups; both come from the cache of the barrier.

use std::sync::Arc;

use holdfast_identity::{Identity, Login, Standing};
use holdfast_logical::{Grant, Namespace, PolicyName, Subject};
use holdfast_policy::{PolicySet, ROOT};

use crate::{Error, mounts::Mounted, open::Open, token::Token};

/// What a token may do now.
#[derive(Clone)]
pub struct Rights {
    /// All policies, compiled.
    pub policies: Arc<PolicySet>,
    /// The entity behind the token, if it has one.
    pub standing: Option<Arc<Standing>>,
}

impl Rights {
    /// Policies that the token has by its entity.
    pub fn identity_policies(&self) -> &[String] {
        self.standing.as_ref().map_or(&[], |standing| &standing.policies)
    }
}

/// Policies of a token and of its entity, sorted, each once.
pub fn all_policies(token: &[String], identity: &[String]) -> Vec<String> {
    let mut all: Vec<String> = token.iter().chain(identity).cloned().collect();
    all.sort();
    all.dedup();
    all
}

impl Open {
    /// What a token may do now. 403 if its entity is gone or disabled.
    pub async fn rights(&self, namespace: &Namespace, token: &Token) -> Result<Rights, Error> {
        if token.entity_id.is_empty() {
            return Ok(Rights { policies: self.policies.set(namespace, &token.policies).await?, standing: None });
        }
        let identity = self.identity(&token.namespace).ok_or_else(Error::denied)?;
        // Both at once: what is asked together shares its way to the store.
        let (own, standing) =
            futures::try_join!(self.policies.read(namespace, &token.policies), identity.standing(&token.entity_id))?;
        let standing = standing.filter(|standing| !standing.entity.disabled).ok_or_else(Error::denied)?;
        let policies = if token.is_root() {
            self.policies.set(namespace, &token.policies).await?
        } else {
            let more = standing.policies.iter().filter(|name| !token.policies.contains(name) && *name != ROOT);
            let more: Vec<String> = more.cloned().collect();
            let mut found = own;
            found.extend(self.policies.read(namespace, &more).await?);
            self.policies.compiled(namespace, found, Some(&*standing as &dyn Subject))
        };
        Ok(Rights { policies, standing: Some(standing) })
    }

    /// Policies that tokens of an entity have by it; none if there is no entity, or not any more.
    pub async fn identity_policies(&self, namespace: &str, entity_id: &str) -> Result<Vec<String>, Error> {
        let Some(identity) = self.identity(namespace).filter(|_| !entity_id.is_empty()) else { return Ok(Vec::new()) };
        let standing = identity.standing(entity_id).await?;
        Ok(standing.map(|standing| standing.policies.clone()).unwrap_or_default())
    }

    /// The identity store of a namespace.
    pub fn identity(&self, namespace: &str) -> Option<Arc<Identity>> {
        self.mounts.cached().identity(namespace).cloned()
    }

    /// The id of the entity that logs in at a mount; empty if the method names no alias.
    pub async fn log_in(&self, mounted: &Mounted, grant: &Grant) -> Result<String, Error> {
        if grant.alias.trim().is_empty() {
            return Ok(String::new());
        }
        match self.identity(&mounted.record.namespace) {
            Some(identity) => Ok(identity.login(login(mounted, grant)).await?),
            None => Ok(String::new()),
        }
    }

    /// Takes over what the method said of alias and groups when a token of it was renewed.
    pub async fn refresh_identity(&self, token: &Token) -> Result<(), Error> {
        let Some(grant) = token.grant.as_ref().filter(|_| !token.entity_id.is_empty()) else { return Ok(()) };
        let router = self.mounts.cached();
        let (Some(mounted), Some(identity)) = (router.by_uuid(&token.mount), router.identity(&token.namespace)) else {
            return Ok(());
        };
        Ok(identity.refresh(&token.entity_id, login(mounted, grant)).await?)
    }
}

fn login<'l>(mounted: &'l Mounted, grant: &'l Grant) -> Login<'l> {
    Login {
        accessor: &mounted.record.accessor,
        alias: &grant.alias,
        metadata: &grant.alias_metadata,
        groups: &grant.groups,
    }
}

/// Policies that an auth method may give: `root` is none of them.
pub fn granted(policies: &[String]) -> Result<Vec<String>, Error> {
    let names = PolicyName::assigned(policies).map_err(|_| Error::invalid("auth methods cannot create root tokens"))?;
    Ok(names.iter().map(|name| name.as_str().to_owned()).collect())
}
