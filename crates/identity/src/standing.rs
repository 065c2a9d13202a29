//! What an entity is entitled to now: asked with every request of a token that has one.

use std::{
    collections::{BTreeSet, HashMap},
    sync::Arc,
};

use holdfast_logical::{
    PolicyName, Reference, Revision, StoreError, Subject, fold,
    subject::{AliasField, GroupBy, GroupField},
};
use parking_lot::Mutex;

use crate::{Entity, Group, Identity, index::Groups, keys};

/// An entity with the groups that it is in, at one moment.
#[derive(Debug)]
pub struct Standing {
    /// The entity; its id differs from the one asked for if that was merged into it.
    pub entity: Entity,
    /// Groups that it is in itself and that these are in.
    pub groups: Vec<Arc<Group>>,
    /// Ids of those that it is in itself.
    pub direct: BTreeSet<String>,
    /// Policies of the entity and its groups, sorted.
    pub policies: Vec<String>,
}

/// Standings by the id of the entity, good for the revisions of the entity and of the groups.
#[derive(Default)]
pub(crate) struct Standings(Mutex<HashMap<String, Kept>>);

struct Kept {
    entity: Revision,
    groups: Revision,
    standing: Arc<Standing>,
}

/// Standings that are kept; beyond it all are dropped and made anew as they are needed.
const KEPT: usize = 16_384;
/// Longest chain of merges that is followed.
const MERGES: usize = 16;

impl Identity {
    /// The entity of an id, or the one that it was merged into, as it is now. None: there is none any more.
    pub async fn standing(&self, id: &str) -> Result<Option<Arc<Standing>>, StoreError> {
        let mut id = id.to_owned();
        for _ in 0..MERGES {
            if let Some(standing) = self.standing_of(&id).await? {
                return Ok(Some(standing));
            }
            match self.view().get_json::<String>(&keys::merged(&id)).await? {
                Some((into, _)) => id = into,
                None => break,
            }
        }
        Ok(None)
    }

    async fn standing_of(&self, id: &str) -> Result<Option<Arc<Standing>>, StoreError> {
        let key = keys::entity(id);
        let (revision, groups) = futures::try_join!(self.view().revision(&key), self.groups())?;
        if let Some(kept) = self.standings.0.lock().get(id)
            && Some(kept.entity) == revision
            && kept.groups == groups.stamp
        {
            return Ok(Some(kept.standing.clone()));
        }
        let Some((entity, revision)) = self.view().get_json::<Entity>(&key).await? else {
            self.standings.0.lock().remove(id);
            return Ok(None);
        };
        let standing = Arc::new(Standing::new(entity, &groups));
        let kept = Kept { entity: revision, groups: groups.stamp, standing: standing.clone() };
        let mut standings = self.standings.0.lock();
        if standings.len() >= KEPT {
            standings.clear();
        }
        standings.insert(id.to_owned(), kept);
        Ok(Some(standing))
    }
}

impl Standing {
    pub(crate) fn new(entity: Entity, groups: &Groups) -> Self {
        let direct = groups.direct(&entity);
        let all: Vec<_> = groups.with_parents(&direct).iter().filter_map(|id| groups.get(id).cloned()).collect();
        let names = entity.policies.iter().chain(all.iter().flat_map(|group| &group.policies));
        let policies: BTreeSet<&PolicyName> = names.collect();
        let policies = policies.into_iter().map(|name| name.as_str().to_owned()).collect();
        Self { entity, groups: all, direct, policies }
    }

    /// Ids of the groups that it is in only because another group is.
    pub(crate) fn inherited(&self) -> Vec<&str> {
        let ids = self.groups.iter().map(|group| group.id.as_str());
        ids.filter(|id| !self.direct.contains(*id)).collect()
    }
}

impl Subject for Standing {
    fn value(&self, reference: &Reference) -> Option<String> {
        match reference {
            Reference::EntityId => Some(self.entity.id.clone()),
            Reference::EntityName => Some(self.entity.name.clone()),
            Reference::EntityMetadata(key) => self.entity.metadata.get(key).cloned(),
            Reference::Alias { accessor, field } => {
                let alias = self.entity.alias_at(accessor)?;
                match field {
                    AliasField::Id => Some(alias.id.clone()),
                    AliasField::Name => Some(alias.name.clone()),
                    AliasField::Metadata(key) => alias.metadata.get(key).cloned(),
                    AliasField::CustomMetadata(key) => alias.custom_metadata.get(key).cloned(),
                }
            }
            Reference::Group { by, field } => {
                let group = self.groups.iter().find(|group| match by {
                    GroupBy::Id(id) => group.id == *id,
                    GroupBy::Name(name) => fold(&group.name) == fold(name),
                })?;
                match field {
                    GroupField::Id => Some(group.id.clone()),
                    GroupField::Name => Some(group.name.clone()),
                    GroupField::Metadata(key) => group.metadata.get(key).cloned(),
                }
            }
        }
    }
}
