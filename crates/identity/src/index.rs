//! All groups in memory, good for one revision of the key that every change of a group writes.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::Arc,
};

use futures::future::try_join_all;
use holdfast_logical::{Check, Revision, StoreError, Txn, fold};

use crate::{Entity, Group, GroupKind, Identity, fault::Fault, keys};

/// The groups of a namespace.
#[derive(Default)]
pub(crate) struct Groups {
    /// Revision of the stamp; 0: no group was ever made.
    pub stamp: Revision,
    all: BTreeMap<String, (Revision, Arc<Group>)>,
    by_member: HashMap<String, Vec<String>>,
    parents: HashMap<String, Vec<String>>,
}

impl Identity {
    /// The groups as they are now.
    pub(crate) async fn groups(&self) -> Result<Arc<Groups>, StoreError> {
        let stamp = self.groups_stamp().await?;
        let known = self.groups.load_full();
        if known.stamp == stamp {
            return Ok(known);
        }
        let _reload = self.reload.lock().await;
        // Read before the groups: what is read may be newer, then the next look finds a newer stamp.
        let stamp = self.groups_stamp().await?;
        let known = self.groups.load_full();
        if known.stamp == stamp {
            return Ok(known);
        }
        let groups = Arc::new(self.load_groups(stamp, &known).await?);
        self.groups.store(groups.clone());
        Ok(groups)
    }

    async fn groups_stamp(&self) -> Result<Revision, StoreError> {
        Ok(self.view().revision(keys::GROUPS).await?.unwrap_or_default())
    }

    async fn load_groups(&self, stamp: Revision, known: &Groups) -> Result<Groups, StoreError> {
        let ids = self.view().list("group/", "", 0).await?;
        let reads = ids.iter().map(|id| self.group(id, known));
        let all = try_join_all(reads).await?.into_iter().flatten();
        Ok(Groups::new(stamp, all.map(|(revision, group)| (group.id.clone(), (revision, group))).collect()))
    }

    /// A group, decoded unless it is known at that revision already.
    async fn group(&self, id: &str, known: &Groups) -> Result<Option<(Revision, Arc<Group>)>, StoreError> {
        let Some(entry) = self.view().get(&keys::group(id)).await? else { return Ok(None) };
        if let Some((revision, group)) = known.all.get(id).filter(|(revision, _)| *revision == entry.revision) {
            return Ok(Some((*revision, group.clone())));
        }
        let group = serde_json::from_slice(entry.value.expose()).map_err(|_| StoreError::Corrupt {
            path: self.view().path(&keys::group(id)),
            reason: "not a stored group".to_owned(),
        })?;
        Ok(Some((entry.revision, Arc::new(group))))
    }

    /// The beginning of a change of groups: nobody else has changed one since `groups` was read. All such changes stand
    /// in one row, so that two of them cannot make a cycle that neither of them sees.
    pub(crate) fn change_groups(&self, groups: &Groups) -> Result<Txn, Fault> {
        let mut txn = self.same_groups(groups);
        self.put(&mut txn, keys::GROUPS, &())?;
        Ok(txn)
    }

    /// A transaction for which nobody has changed a group since `groups` was read.
    pub(crate) fn same_groups(&self, groups: &Groups) -> Txn {
        let mut txn = Txn::new();
        let check = if groups.stamp == 0 { Check::Absent } else { Check::At(groups.stamp) };
        txn.check(self.view().path(keys::GROUPS), check);
        txn
    }
}

impl Groups {
    fn new(stamp: Revision, all: BTreeMap<String, (Revision, Arc<Group>)>) -> Self {
        let mut groups = Self { stamp, all, ..Self::default() };
        for (id, (_, group)) in &groups.all {
            for member in &group.members {
                groups.by_member.entry(member.clone()).or_default().push(id.clone());
            }
            for child in &group.groups {
                groups.parents.entry(child.clone()).or_default().push(id.clone());
            }
        }
        groups
    }

    pub(crate) fn get(&self, id: &str) -> Option<&Arc<Group>> {
        self.all.get(id).map(|(_, group)| group)
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &Arc<Group>> {
        self.all.values().map(|(_, group)| group)
    }

    /// Groups that a group is in, sorted.
    pub(crate) fn parents(&self, id: &str) -> &[String] {
        self.parents.get(id).map_or(&[], Vec::as_slice)
    }

    /// Internal groups that an entity is in.
    pub(crate) fn internal(&self, entity: &str) -> &[String] {
        self.by_member.get(entity).map_or(&[], Vec::as_slice)
    }

    /// Groups that an entity is in itself: internal ones, and the external ones whose alias is still at the mount that
    /// named them, and by that name.
    pub(crate) fn direct(&self, entity: &Entity) -> BTreeSet<String> {
        let external = entity
            .external
            .iter()
            .flat_map(|(accessor, groups)| groups.iter().map(move |(id, name)| (accessor, id, name)));
        let external = external.filter(|(accessor, id, name)| {
            self.get(id).filter(|group| group.kind == GroupKind::External).is_some_and(|group| {
                let alias = group.alias.as_ref();
                alias.is_some_and(|alias| alias.accessor == **accessor && fold(&alias.name) == **name)
            })
        });
        external.map(|(_, id, _)| id.clone()).chain(self.internal(&entity.id).iter().cloned()).collect()
    }

    /// These groups and all that they are in, however deep.
    pub(crate) fn with_parents(&self, direct: &BTreeSet<String>) -> BTreeSet<String> {
        let mut found = direct.clone();
        let mut left: Vec<&String> = direct.iter().collect();
        while let Some(id) = left.pop() {
            for parent in self.parents(id) {
                if found.insert(parent.clone()) {
                    left.push(parent);
                }
            }
        }
        found
    }
}
