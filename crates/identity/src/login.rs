//! What a login does here: it finds the entity of the alias, or makes both.

use std::collections::{BTreeMap, BTreeSet};

use holdfast_logical::{Error, Revision, Txn, fold};

use crate::{
    Alias, Entity, Identity,
    entity::NamedGroups,
    fault::{Fault, retried},
    keys, metadata,
};

/// Who logged in, as the auth method says.
#[derive(Clone, Copy, Debug)]
pub struct Login<'l> {
    /// Accessor of the auth mount.
    pub accessor: &'l str,
    /// Name at the mount.
    pub alias: &'l str,
    /// What the method knows of them.
    pub metadata: &'l BTreeMap<String, String>,
    /// Names of groups that the method says they are in.
    pub groups: &'l [String],
}

impl Identity {
    /// The id of the entity that logs in. The first login makes it; later ones write only what has changed: the
    /// metadata of the alias and membership of external groups.
    pub async fn login(&self, login: Login<'_>) -> Result<String, Error> {
        metadata::name("alias", login.alias)?;
        retried(|| self.try_login(login)).await
    }

    async fn try_login(&self, login: Login<'_>) -> Result<String, Fault> {
        let factor = keys::factor(login.accessor, login.alias);
        match self.view().get_json::<keys::Factor>(&factor).await? {
            Some((factor, _)) => {
                let (entity, revision) = self.entity(&factor.entity).await?.ok_or(Fault::Conflict)?;
                if entity.disabled {
                    return Err(Error::Denied("permission denied".to_owned()).into());
                }
                self.refresh_entity(entity, revision, login).await
            }
            None => self.first_login(login).await,
        }
    }

    async fn first_login(&self, login: Login<'_>) -> Result<String, Fault> {
        let now = self.now();
        let mut entity = Entity::new(self.uuid(), self.made_up_name("entity"), now);
        entity.aliases.push(Alias {
            id: self.uuid(),
            name: login.alias.trim().to_owned(),
            accessor: login.accessor.to_owned(),
            metadata: metadata::within_limits(login.metadata),
            custom_metadata: metadata::Metadata::new(),
            created: now,
            updated: now,
            merged_from: Vec::new(),
        });
        let groups = self.external_groups(login).await?;
        if !groups.is_empty() {
            entity.external.insert(login.accessor.to_owned(), groups.clone());
        }
        let mut txn = self.new_entity(&entity)?;
        self.join(&mut txn, &entity.id, login.accessor, &groups)?;
        self.commit(txn).await?;
        Ok(entity.id)
    }

    /// Takes over what the method says now, at a renewal. An entity or alias that is gone is not made again.
    pub async fn refresh(&self, entity: &str, login: Login<'_>) -> Result<(), Error> {
        retried(|| async {
            match self.entity(entity).await? {
                Some((found, revision)) => self.refresh_entity(found, revision, login).await.map(drop),
                None => Ok(()),
            }
        })
        .await
    }

    async fn refresh_entity(&self, mut entity: Entity, revision: Revision, login: Login<'_>) -> Result<String, Fault> {
        let groups = self.external_groups(login).await?;
        let now = self.now();
        let id = entity.id.clone();
        let by_name = |alias: &&mut Alias| alias.accessor == login.accessor && fold(&alias.name) == fold(login.alias);
        let Some(alias) = entity.aliases.iter_mut().find(by_name) else { return Ok(id) };
        let metadata = metadata::within_limits(login.metadata);
        let known = entity.external.get(login.accessor).cloned().unwrap_or_default();
        if alias.metadata == metadata && known == groups {
            return Ok(id);
        }
        if alias.metadata != metadata {
            alias.metadata = metadata;
            alias.updated = now;
        }
        match groups.is_empty() {
            true => entity.external.remove(login.accessor),
            false => entity.external.insert(login.accessor.to_owned(), groups.clone()),
        };
        entity.updated = now;
        let mut txn = self.change_entity(&entity, revision)?;
        let only = |all: &NamedGroups, other: &NamedGroups| -> NamedGroups {
            let only = all.iter().filter(|(group, name)| other.get(*group) != Some(*name));
            only.map(|(group, name)| (group.clone(), name.clone())).collect()
        };
        self.leave(&mut txn, &id, login.accessor, &only(&known, &groups));
        self.join(&mut txn, &id, login.accessor, &only(&groups, &known))?;
        self.commit(txn).await?;
        Ok(id)
    }

    /// Notes that an entity is in external groups, as a mount says.
    pub(crate) fn join(&self, txn: &mut Txn, entity: &str, accessor: &str, groups: &NamedGroups) -> Result<(), Fault> {
        groups.iter().try_for_each(|(group, name)| self.put(txn, &keys::member(group, accessor, name, entity), &()))
    }

    /// Notes that an entity is not in these groups any more.
    pub(crate) fn leave(&self, txn: &mut Txn, entity: &str, accessor: &str, groups: &NamedGroups) {
        for (group, name) in groups {
            self.delete(txn, &keys::member(group, accessor, name, entity));
        }
    }

    /// The external groups that the names of the method mean.
    async fn external_groups(&self, login: Login<'_>) -> Result<NamedGroups, Fault> {
        let names: BTreeSet<String> = login.groups.iter().map(|name| fold(name)).collect();
        let mut groups = NamedGroups::new();
        for name in names.into_iter().filter(|name| !name.is_empty()) {
            if let Some((id, _)) = self.view().get_json::<String>(&keys::group_factor(login.accessor, &name)).await? {
                groups.insert(id, name);
            }
        }
        Ok(groups)
    }
}
