//! The aliases of external groups: names that auth methods give to groups.

use std::sync::Arc;

use holdfast_logical::{Check, Error, Fields, Response, Txn, fold};
use serde_json::json;

use crate::{
    Alias, Group, GroupKind, Identity,
    entities::keys_with_info,
    fault::{Fault, invalid, retried},
    index::Groups,
    keys, metadata,
};

/// What is asked for; empty is not given.
struct Wanted {
    id: String,
    name: String,
    group: String,
    accessor: String,
}

impl Identity {
    /// Makes the alias of an external group (200), or changes the one of the id (204).
    pub(crate) async fn write_group_alias(&self, fields: &Fields) -> Result<Response, Error> {
        let text = |name: &str| fields.string(name).unwrap_or_default().trim().to_owned();
        let wanted = Wanted {
            id: text("id"),
            name: text("name"),
            group: text("canonical_id"),
            accessor: text("mount_accessor"),
        };
        if !wanted.name.is_empty() {
            metadata::name("name", &wanted.name)?;
        }
        self.known_accessor(&wanted.accessor)?;
        retried(|| self.try_write_group_alias(&wanted)).await
    }

    async fn try_write_group_alias(&self, wanted: &Wanted) -> Result<Response, Fault> {
        let groups = self.groups().await?;
        if !wanted.id.is_empty() {
            return self.change_group_alias(&groups, wanted).await;
        }
        if wanted.name.is_empty() {
            return Err(invalid("missing alias name"));
        }
        if wanted.accessor.is_empty() {
            return Err(invalid("missing mount_accessor"));
        }
        let now = self.now();
        let taken = groups.by_alias(&wanted.accessor, &wanted.name);
        let found = match (wanted.group.as_str(), taken) {
            ("", taken) => taken,
            (id, None) => Some(groups.get(id).ok_or_else(|| invalid("invalid group ID given in 'canonical_id'"))?),
            (id, Some(taken)) if taken.id == id => Some(taken),
            (_, Some(_)) => return Err(invalid("alias is already tied to a different group")),
        };
        let mut group = match found {
            Some(group) => group.as_ref().clone(),
            None => Group::new(self.uuid(), self.made_up_name("group"), GroupKind::External, now),
        };
        if group.kind != GroupKind::External {
            return Err(invalid("alias can't be set on an internal group: only external groups have one"));
        }
        let old = group.alias.take();
        let alias = Alias {
            id: old.as_ref().map_or_else(|| self.uuid(), |old| old.id.clone()),
            name: wanted.name.clone(),
            accessor: wanted.accessor.clone(),
            metadata: metadata::Metadata::new(),
            custom_metadata: metadata::Metadata::new(),
            created: old.as_ref().map_or(now, |old| old.created),
            updated: now,
            merged_from: Vec::new(),
        };
        let mut txn = self.change_groups(&groups)?;
        if found.is_none() {
            let key = keys::group_name(&group.name);
            txn.check(self.view().path(&key), Check::Absent);
            self.put(&mut txn, &key, &group.id)?;
        }
        self.set_alias(&mut txn, &mut group, old, alias.clone())?;
        self.commit(txn).await?;
        Ok(Response::data(json!({ "id": alias.id, "canonical_id": group.id })))
    }

    async fn change_group_alias(&self, groups: &Groups, wanted: &Wanted) -> Result<Response, Fault> {
        let owner = groups.of_alias(&wanted.id).ok_or_else(|| invalid("invalid group alias ID"))?;
        let Some(old) = owner.alias.clone() else { return Err(Fault::Conflict) };
        let mut alias = old.clone();
        if !wanted.name.is_empty() {
            alias.name.clone_from(&wanted.name);
        }
        if !wanted.accessor.is_empty() {
            alias.accessor.clone_from(&wanted.accessor);
        }
        alias.updated = self.now();
        if groups.by_alias(&alias.accessor, &alias.name).is_some_and(|other| other.id != owner.id) {
            return Err(invalid("alias is already tied to a different group"));
        }
        let mut txn = self.change_groups(groups)?;
        let mut target = owner.as_ref().clone();
        if !wanted.group.is_empty() && wanted.group != owner.id {
            target.alias = None;
            self.touch(&mut target);
            self.put_group(&mut txn, &target)?;
            let group = groups.get(&wanted.group).ok_or_else(|| invalid("invalid group ID given in 'canonical_id'"))?;
            if group.kind != GroupKind::External || group.alias.is_some() {
                return Err(invalid("canonical_id must name an external group without an alias"));
            }
            target = group.as_ref().clone();
        }
        self.set_alias(&mut txn, &mut target, Some(old), alias)?;
        self.commit(txn).await?;
        Ok(Response::empty())
    }

    fn set_alias(&self, txn: &mut Txn, group: &mut Group, old: Option<Alias>, alias: Alias) -> Result<(), Fault> {
        let factor = keys::group_factor(&alias.accessor, &alias.name);
        if let Some(old) = old {
            let before = keys::group_factor(&old.accessor, &old.name);
            if before != factor {
                self.delete(txn, &before);
            }
        }
        self.put(txn, &factor, &group.id)?;
        self.put(txn, &keys::group_alias(&alias.id), &group.id)?;
        group.alias = Some(alias);
        self.touch(group);
        self.put_group(txn, group)
    }

    pub(crate) fn drop_group_alias(&self, txn: &mut Txn, alias: &Alias) {
        self.delete(txn, &keys::group_alias(&alias.id));
        self.delete(txn, &keys::group_factor(&alias.accessor, &alias.name));
    }

    pub(crate) async fn read_group_alias(&self, id: &str) -> Result<Response, Error> {
        let groups = self.groups().await?;
        let group = groups.of_alias(id).ok_or_else(Error::not_found)?;
        let alias = group.alias.as_ref().ok_or_else(Error::not_found)?;
        Ok(Response::data(alias.show(&group.id, &self.parts.namespace, self.mounts())))
    }

    /// Removes the alias of a group; nothing happens if it is not there.
    pub(crate) async fn delete_group_alias(&self, id: &str) -> Result<(), Error> {
        retried(|| self.try_delete_group_alias(id)).await
    }

    async fn try_delete_group_alias(&self, id: &str) -> Result<(), Fault> {
        let groups = self.groups().await?;
        let Some(group) = groups.of_alias(id) else { return Ok(()) };
        let mut group = group.as_ref().clone();
        let mut txn = self.change_groups(&groups)?;
        if let Some(alias) = group.alias.take() {
            self.drop_group_alias(&mut txn, &alias);
        }
        self.touch(&mut group);
        self.put_group(&mut txn, &group)?;
        self.commit(txn).await
    }

    pub(crate) async fn list_group_aliases(&self) -> Result<Response, Error> {
        let groups = self.groups().await?;
        let aliases = groups.iter().filter_map(|group| Some((group, group.alias.as_ref()?)));
        let mut listed: Vec<_> = aliases
            .map(|(group, alias)| {
                let shown = alias.show_brief(&group.id, self.mounts());
                (alias.id.as_str(), serde_json::Value::Object(shown))
            })
            .collect();
        listed.sort_by_key(|(id, _)| *id);
        keys_with_info(listed.into_iter())
    }
}

impl Groups {
    /// The group of an alias id.
    pub(crate) fn of_alias(&self, id: &str) -> Option<&Arc<Group>> {
        self.iter().find(|group| group.alias.as_ref().is_some_and(|alias| alias.id == id))
    }

    /// The group that a mount knows by this name.
    pub(crate) fn by_alias(&self, accessor: &str, name: &str) -> Option<&Arc<Group>> {
        let wanted = fold(name);
        self.iter().find(|group| {
            group.alias.as_ref().is_some_and(|alias| alias.accessor == accessor && fold(&alias.name) == wanted)
        })
    }
}
