//! [`Identity`]: the identity store of one namespace.

use std::sync::Arc;

use arc_swap::ArcSwap;
use holdfast_base::id;
use holdfast_logical::{Clock, Entropy, Revision, StoreError, Timestamp, Txn, View};
use serde::Serialize;

use crate::{AuthMounts, Entity, Group, fault::Fault, index::Groups, keys, standing::Standings};

/// What it is made of.
pub struct IdentityParts {
    /// Storage of the mount.
    pub view: View,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// Random bytes.
    pub entropy: Arc<dyn Entropy>,
    /// The auth mounts of the namespace.
    pub mounts: Arc<dyn AuthMounts>,
    /// Id of the namespace: `root`.
    pub namespace: String,
    /// Where clients reach the server, `https://host:8200`: the issuer of identity tokens unless another is configured.
    pub api_addr: String,
    /// Path of the mount on the server, with its namespace: `identity/`.
    pub path: String,
}

/// Entities, aliases, groups and identity tokens of one namespace.
pub struct Identity {
    pub(crate) parts: IdentityParts,
    pub(crate) groups: ArcSwap<Groups>,
    pub(crate) reload: tokio::sync::Mutex<()>,
    pub(crate) standings: Standings,
}

impl Identity {
    /// The store in this storage. Reads nothing yet.
    pub fn new(parts: IdentityParts) -> Arc<Self> {
        Arc::new(Self {
            parts,
            groups: ArcSwap::default(),
            reload: tokio::sync::Mutex::default(),
            standings: Standings::default(),
        })
    }

    pub(crate) fn view(&self) -> &View {
        &self.parts.view
    }

    pub(crate) fn mounts(&self) -> &dyn AuthMounts {
        self.parts.mounts.as_ref()
    }

    pub(crate) fn now(&self) -> Timestamp {
        self.parts.clock.now()
    }

    pub(crate) fn uuid(&self) -> String {
        id::uuid(self.parts.entropy.as_ref())
    }

    /// A name for what was given none: `entity_1a2b3c4d`.
    pub(crate) fn made_up_name(&self, kind: &str) -> String {
        format!("{kind}_{}", id::hex(self.parts.entropy.as_ref(), 4))
    }

    /// The entity of an id, not of one that was merged away.
    pub(crate) async fn entity(&self, id: &str) -> Result<Option<(Entity, Revision)>, StoreError> {
        if id.is_empty() {
            return Ok(None);
        }
        self.view().get_json(&keys::entity(id)).await
    }

    /// The entity of a name.
    pub(crate) async fn entity_by_name(&self, name: &str) -> Result<Option<(Entity, Revision)>, StoreError> {
        match self.view().get_json::<String>(&keys::entity_name(name)).await? {
            Some((id, _)) => self.entity(&id).await,
            None => Ok(None),
        }
    }

    /// The entity of an alias id.
    pub(crate) async fn entity_by_alias(&self, alias: &str) -> Result<Option<(Entity, Revision)>, StoreError> {
        if alias.is_empty() {
            return Ok(None);
        }
        match self.view().get_json::<String>(&keys::alias(alias)).await? {
            Some((id, _)) => self.entity(&id).await,
            None => Ok(None),
        }
    }

    pub(crate) fn put<T: Serialize>(&self, txn: &mut Txn, key: &str, value: &T) -> Result<(), Fault> {
        txn.put_json(self.view().path(key), value)?;
        Ok(())
    }

    pub(crate) fn put_entity(&self, txn: &mut Txn, entity: &Entity) -> Result<(), Fault> {
        self.put(txn, &keys::entity(&entity.id), entity)
    }

    pub(crate) fn put_group(&self, txn: &mut Txn, group: &Group) -> Result<(), Fault> {
        self.put(txn, &keys::group(&group.id), group)
    }

    pub(crate) fn delete(&self, txn: &mut Txn, key: &str) {
        txn.delete(self.view().path(key));
    }

    pub(crate) async fn commit(&self, txn: Txn) -> Result<(), Fault> {
        self.view().commit(txn).await?;
        Ok(())
    }
}
