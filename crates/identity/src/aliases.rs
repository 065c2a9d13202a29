//! The aliases of entities.

use holdfast_logical::{Check, Error, Fields, Response, Revision, fold};
use serde_json::json;

use crate::{
    Alias, Entity, Identity,
    entities::keys_with_info,
    fault::{Fault, invalid, retried},
    keys, metadata,
};

/// What is asked for; empty is not given.
struct Wanted {
    id: String,
    name: String,
    entity: String,
    accessor: String,
    custom_metadata: Option<metadata::Metadata>,
}

const TAKEN: &str = "alias with combination of mount accessor and name already exists";
const SECOND: &str = "Alias already exists for requested entity and mount accessor";

impl Identity {
    /// Makes an alias, or changes the one of the id or of the name at the mount.
    pub(crate) async fn write_alias(&self, fields: &Fields) -> Result<Response, Error> {
        let text = |name: &str| fields.string(name).unwrap_or_default().trim().to_owned();
        let entity = text("canonical_id");
        let wanted = Wanted {
            id: text("id"),
            name: text("name"),
            entity: if entity.is_empty() { text("entity_id") } else { entity },
            accessor: text("mount_accessor"),
            custom_metadata: metadata::read(fields, "custom_metadata")?,
        };
        if !wanted.name.is_empty() {
            metadata::name("name", &wanted.name)?;
        }
        self.known_accessor(&wanted.accessor)?;
        retried(|| self.try_write_alias(&wanted)).await
    }

    /// Refuses the accessor of a mount that is not there; an empty one passes.
    pub(crate) fn known_accessor(&self, accessor: &str) -> Result<(), Error> {
        match accessor.is_empty() || self.mounts().find(accessor).is_some() {
            true => Ok(()),
            false => Err(Error::invalid(format!("invalid mount accessor {accessor:?}"))),
        }
    }

    async fn try_write_alias(&self, wanted: &Wanted) -> Result<Response, Fault> {
        let id = match wanted.id.as_str() {
            "" if wanted.name.is_empty() => return Err(invalid("missing alias name")),
            "" if wanted.accessor.is_empty() => return Err(invalid("missing mount_accessor")),
            "" => {
                let factor = keys::factor(&wanted.accessor, &wanted.name);
                self.view().get_json::<keys::Factor>(&factor).await?.map(|(factor, _)| factor.alias)
            }
            id => Some(id.to_owned()),
        };
        match id {
            Some(id) => self.change_alias(&id, wanted).await,
            None => self.make_alias(wanted).await,
        }
    }

    async fn make_alias(&self, wanted: &Wanted) -> Result<Response, Fault> {
        let now = self.now();
        let alias = Alias {
            id: self.uuid(),
            name: wanted.name.clone(),
            accessor: wanted.accessor.clone(),
            metadata: metadata::Metadata::new(),
            custom_metadata: wanted.custom_metadata.clone().unwrap_or_default(),
            created: now,
            updated: now,
            merged_from: Vec::new(),
        };
        let shown = |entity: &Entity| Response::data(json!({ "id": alias.id, "canonical_id": entity.id }));
        if wanted.entity.is_empty() {
            let mut entity = Entity::new(self.uuid(), self.made_up_name("entity"), now);
            entity.aliases.push(alias.clone());
            self.commit(self.new_entity(&entity)?).await?;
            return Ok(shown(&entity));
        }
        let (mut entity, revision) = self.canonical(&wanted.entity, &alias.accessor).await?;
        entity.aliases.push(alias.clone());
        entity.updated = now;
        let mut txn = self.change_entity(&entity, revision)?;
        self.claim_alias(&mut txn, &entity, &alias)?;
        self.commit(txn).await?;
        Ok(shown(&entity))
    }

    /// The entity that an alias at this mount is to be given to; it may have none there.
    async fn canonical(&self, id: &str, accessor: &str) -> Result<(Entity, Revision), Fault> {
        let (entity, revision) = self.entity(id).await?.ok_or_else(|| invalid("invalid canonical ID"))?;
        match entity.alias_at(accessor) {
            Some(_) => Err(invalid(SECOND)),
            None => Ok((entity, revision)),
        }
    }

    async fn change_alias(&self, id: &str, wanted: &Wanted) -> Result<Response, Fault> {
        let found = self.entity_by_alias(id).await?.ok_or_else(|| invalid("invalid alias ID provided"))?;
        let (mut entity, revision) = found;
        let at = entity.aliases.iter().position(|alias| alias.id == id).ok_or(Fault::Conflict)?;
        let old = entity.aliases.remove(at);
        let mut alias = old.clone();
        if !wanted.name.is_empty() {
            alias.name.clone_from(&wanted.name);
        }
        if !wanted.accessor.is_empty() {
            alias.accessor.clone_from(&wanted.accessor);
        }
        if let Some(metadata) = &wanted.custom_metadata {
            alias.custom_metadata.clone_from(metadata);
        }
        if alias.accessor != old.accessor {
            // What another mount said of it says nothing here.
            alias.metadata.clear();
        }
        alias.updated = self.now();
        let moves = !wanted.entity.is_empty() && wanted.entity != entity.id;
        if !moves && entity.alias_at(&alias.accessor).is_some() {
            return Err(invalid(SECOND));
        }
        let owner = if moves { wanted.entity.clone() } else { entity.id.clone() };
        if !moves {
            entity.aliases.insert(at, alias.clone());
        }
        entity.updated = alias.updated;
        // What the method said of its groups goes with the name that it said it of.
        let stays = !moves && alias.accessor == old.accessor && fold(&alias.name) == fold(&old.name);
        let external = if stays { None } else { entity.external.remove(&old.accessor) };
        let mut txn = self.change_entity(&entity, revision)?;
        if let Some(groups) = external {
            self.leave(&mut txn, &entity.id, &old.accessor, &groups);
        }
        if moves {
            let (mut entity, revision) = self.canonical(&wanted.entity, &alias.accessor).await?;
            entity.aliases.push(alias.clone());
            entity.updated = alias.updated;
            txn.merge(self.change_entity(&entity, revision)?);
            self.put(&mut txn, &keys::alias(&alias.id), &owner)?;
        }
        let (from, to) = (keys::factor(&old.accessor, &old.name), keys::factor(&alias.accessor, &alias.name));
        if from != to {
            if self.view().get(&to).await?.is_some() {
                return Err(invalid(TAKEN));
            }
            txn.check(self.view().path(&to), Check::Absent);
            self.delete(&mut txn, &from);
        }
        self.put(&mut txn, &to, &keys::Factor { alias: alias.id.clone(), entity: owner.clone() })?;
        self.commit(txn).await?;
        Ok(Response::data(json!({ "id": alias.id, "canonical_id": owner })))
    }

    pub(crate) async fn read_alias(&self, id: &str) -> Result<Response, Error> {
        let found = self.entity_by_alias(id).await?;
        let shown = found.and_then(|(entity, _)| {
            let alias = entity.live_aliases(self.mounts()).find(|alias| alias.id == id)?;
            Some(alias.show(&entity.id, &self.parts.namespace, self.mounts()))
        });
        Ok(Response::data(shown.ok_or_else(Error::not_found)?))
    }

    /// Removes an alias; nothing happens if it is not there.
    pub(crate) async fn delete_alias(&self, id: &str) -> Result<(), Error> {
        retried(|| self.try_delete_alias(id)).await
    }

    async fn try_delete_alias(&self, id: &str) -> Result<(), Fault> {
        let Some((mut entity, revision)) = self.entity_by_alias(id).await? else { return Ok(()) };
        let Some(at) = entity.aliases.iter().position(|alias| alias.id == id) else { return Ok(()) };
        let alias = entity.aliases.remove(at);
        // What the method said of its groups goes with it.
        let external = entity.external.remove(&alias.accessor).unwrap_or_default();
        entity.updated = self.now();
        let mut txn = self.change_entity(&entity, revision)?;
        self.drop_alias(&mut txn, &alias);
        self.leave(&mut txn, &entity.id, &alias.accessor, &external);
        self.commit(txn).await
    }

    pub(crate) async fn list_aliases(&self) -> Result<Response, Error> {
        let ids = self.view().list("entity/", "", 0).await?;
        let entities = futures::future::try_join_all(ids.iter().map(|id| self.entity(id))).await?;
        let mut listed = Vec::new();
        for (entity, _) in entities.iter().flatten() {
            for alias in entity.live_aliases(self.mounts()) {
                let shown = alias.show_brief(&entity.id, self.mounts());
                listed.push((alias.id.as_str(), serde_json::Value::Object(shown)));
            }
        }
        listed.sort_by_key(|(id, _)| *id);
        keys_with_info(listed.into_iter())
    }
}
