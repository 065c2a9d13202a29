//! Making, changing and removing entities.

use std::sync::Arc;

use holdfast_logical::{Check, Error, Fields, PolicyName, Response, Revision, Txn, fold};
use serde_json::{Map, Value, json};

use crate::{
    Alias, Entity, Identity,
    fault::{Fault, invalid, retried},
    keys, metadata,
};

/// What is asked for.
struct Wanted {
    id: String,
    name: String,
    metadata: Option<metadata::Metadata>,
    policies: Option<Vec<PolicyName>>,
    disabled: Option<bool>,
}

impl Identity {
    /// Makes an entity (200 with its id), or changes the one of the id or name (204).
    pub(crate) async fn write_entity(&self, fields: &Fields) -> Result<Response, Error> {
        let name = match fields.string("name").filter(|name| !name.is_empty()) {
            Some(name) => metadata::name("name", name)?.to_owned(),
            None => String::new(),
        };
        let wanted = Wanted {
            id: fields.string("id").unwrap_or_default().to_owned(),
            name,
            metadata: metadata::read(fields, "metadata")?,
            policies: fields.list("policies").map(PolicyName::assigned).transpose()?,
            disabled: fields.bool("disabled"),
        };
        retried(|| self.try_write_entity(&wanted)).await
    }

    async fn try_write_entity(&self, wanted: &Wanted) -> Result<Response, Fault> {
        let found = match wanted.id.as_str() {
            "" => None,
            id => Some(self.entity(id).await?.ok_or_else(|| invalid("entity not found from id"))?),
        };
        let named = match wanted.name.as_str() {
            "" => None,
            name => self.entity_by_name(name).await?,
        };
        let found = match (found, named) {
            (Some((entity, _)), Some((other, _))) if entity.id != other.id => {
                return Err(invalid("entity name is already in use"));
            }
            (found, named) => found.or(named),
        };
        let Some((mut entity, revision)) = found else { return self.make_entity(wanted).await };
        let old_name = std::mem::take(&mut entity.name);
        entity.name = if wanted.name.is_empty() { old_name.clone() } else { wanted.name.clone() };
        wanted.apply(&mut entity);
        entity.updated = self.now();
        let mut txn = self.change_entity(&entity, revision)?;
        if fold(&old_name) != fold(&entity.name) {
            self.delete(&mut txn, &keys::entity_name(&old_name));
            self.claim_entity_name(&mut txn, &entity)?;
        }
        self.commit(txn).await?;
        Ok(Response::empty())
    }

    async fn make_entity(&self, wanted: &Wanted) -> Result<Response, Fault> {
        let name = if wanted.name.is_empty() { self.made_up_name("entity") } else { wanted.name.clone() };
        let mut entity = Entity::new(self.uuid(), name, self.now());
        wanted.apply(&mut entity);
        let txn = self.new_entity(&entity)?;
        self.commit(txn).await?;
        Ok(Response::data(json!({ "id": entity.id, "name": entity.name, "aliases": null })))
    }

    /// A transaction that makes an entity with its aliases.
    pub(crate) fn new_entity(&self, entity: &Entity) -> Result<Txn, Fault> {
        let mut txn = Txn::new();
        txn.check(self.view().path(&keys::entity(&entity.id)), Check::Absent);
        self.put_entity(&mut txn, entity)?;
        self.claim_entity_name(&mut txn, entity)?;
        for alias in &entity.aliases {
            self.claim_alias(&mut txn, entity, alias)?;
        }
        Ok(txn)
    }

    /// A transaction that writes an entity over the one of `revision`.
    pub(crate) fn change_entity(&self, entity: &Entity, revision: Revision) -> Result<Txn, Fault> {
        let mut txn = Txn::new();
        txn.check(self.view().path(&keys::entity(&entity.id)), Check::At(revision));
        self.put_entity(&mut txn, entity)?;
        Ok(txn)
    }

    fn claim_entity_name(&self, txn: &mut Txn, entity: &Entity) -> Result<(), Fault> {
        let key = keys::entity_name(&entity.name);
        txn.check(self.view().path(&key), Check::Absent);
        self.put(txn, &key, &entity.id)
    }

    /// Makes an alias findable by its id and by its name at the mount, which nobody may have yet.
    pub(crate) fn claim_alias(&self, txn: &mut Txn, entity: &Entity, alias: &Alias) -> Result<(), Fault> {
        let factor = keys::factor(&alias.accessor, &alias.name);
        txn.check(self.view().path(&factor), Check::Absent);
        self.put(txn, &factor, &keys::Factor { alias: alias.id.clone(), entity: entity.id.clone() })?;
        self.put(txn, &keys::alias(&alias.id), &entity.id)
    }

    pub(crate) fn drop_alias(&self, txn: &mut Txn, alias: &Alias) {
        self.delete(txn, &keys::alias(&alias.id));
        self.delete(txn, &keys::factor(&alias.accessor, &alias.name));
    }

    /// An entity as a read shows it; 404 if there is none.
    pub(crate) async fn read_entity(&self, found: Option<(Entity, Revision)>) -> Result<Response, Error> {
        match found {
            Some((entity, _)) => Ok(Response::data(self.show_entity(&entity.id).await?.ok_or_else(Error::not_found)?)),
            None => Err(Error::not_found()),
        }
    }

    /// An entity with its groups.
    pub(crate) async fn show_entity(&self, id: &str) -> Result<Option<Map<String, Value>>, Error> {
        let Some(standing) = self.standing(id).await? else { return Ok(None) };
        let mut shown = standing.entity.show(&self.parts.namespace, self.mounts());
        let all: Vec<&str> = standing.groups.iter().map(|group| group.id.as_str()).collect();
        shown.insert("group_ids".to_owned(), json!(all));
        shown.insert("direct_group_ids".to_owned(), json!(standing.direct));
        shown.insert("inherited_group_ids".to_owned(), json!(standing.inherited()));
        Ok(Some(shown))
    }

    /// Removes an entity, its aliases, and it from its groups. Nothing happens if it is not there.
    pub(crate) async fn delete_entity(&self, id: &str) -> Result<(), Error> {
        retried(|| self.try_delete_entity(id)).await
    }

    async fn try_delete_entity(&self, id: &str) -> Result<(), Fault> {
        let Some((entity, revision)) = self.entity(id).await? else { return Ok(()) };
        let mut txn = self.without_entity(&entity, revision, None).await?;
        for merged in &entity.merged {
            self.delete(&mut txn, &keys::merged(merged));
        }
        self.commit(txn).await
    }

    /// A transaction that removes an entity; in the groups that people put it in `heir` takes its place.
    pub(crate) async fn without_entity(
        &self,
        entity: &Entity,
        revision: Revision,
        heir: Option<&str>,
    ) -> Result<Txn, Fault> {
        let groups = self.groups().await?;
        let internal = groups.internal(&entity.id);
        let mut txn = if internal.is_empty() { self.same_groups(&groups) } else { self.change_groups(&groups)? };
        txn.check(self.view().path(&keys::entity(&entity.id)), Check::At(revision));
        self.delete(&mut txn, &keys::entity(&entity.id));
        self.delete(&mut txn, &keys::entity_name(&entity.name));
        for alias in &entity.aliases {
            self.drop_alias(&mut txn, alias);
        }
        for group in internal.iter().filter_map(|id| groups.get(id)) {
            let mut group = group.as_ref().clone();
            group.members.retain(|member| *member != entity.id);
            group.members.extend(heir.map(str::to_owned));
            group.members.sort();
            group.members.dedup();
            self.touch(&mut group);
            self.put_group(&mut txn, &group)?;
        }
        for (accessor, groups) in &entity.external {
            self.leave(&mut txn, &entity.id, accessor, groups);
        }
        Ok(txn)
    }

    /// Number of entities. The store counts; none is read.
    pub async fn count_entities(&self) -> Result<u64, holdfast_logical::StoreError> {
        self.view().count("entity/").await
    }

    /// Number of aliases of entities. The store counts; none is read.
    pub async fn count_aliases(&self) -> Result<u64, holdfast_logical::StoreError> {
        self.view().count("alias/").await
    }

    /// Ids of all entities, or their names, each with what it is.
    pub(crate) async fn list_entities(self: &Arc<Self>, by_name: bool) -> Result<Response, Error> {
        let ids = self.view().list("entity/", "", 0).await?;
        let reads = futures::future::try_join_all(ids.iter().map(|id| self.entity(id))).await?;
        let mut listed: Vec<(String, Entity)> = reads
            .into_iter()
            .flatten()
            .map(|(entity, _)| (if by_name { entity.name.clone() } else { entity.id.clone() }, entity))
            .collect();
        listed.sort_by(|(a, _), (b, _)| a.cmp(b));
        if by_name {
            return Response::keys(listed.into_iter().map(|(name, _)| name).collect());
        }
        keys_with_info(listed.iter().map(|(id, entity)| (id.as_str(), entity.show_brief(self.mounts()))))
    }
}

/// `{keys, key_info}`; a 404 when there are none.
pub(crate) fn keys_with_info<'k>(listed: impl Iterator<Item = (&'k str, Value)>) -> Result<Response, Error> {
    let (keys, info): (Vec<&str>, Map<String, Value>) = listed.map(|(key, info)| (key, (key.to_owned(), info))).unzip();
    if keys.is_empty() {
        return Err(Error::not_found());
    }
    Ok(Response::data(json!({ "keys": keys, "key_info": info })))
}

impl Wanted {
    fn apply(&self, entity: &mut Entity) {
        if let Some(metadata) = &self.metadata {
            entity.metadata.clone_from(metadata);
        }
        if let Some(policies) = &self.policies {
            entity.policies.clone_from(policies);
        }
        entity.disabled = self.disabled.unwrap_or(entity.disabled);
    }
}
