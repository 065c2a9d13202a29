//! Making, changing and removing groups.

use std::collections::BTreeSet;

use holdfast_logical::{Check, Error, Fields, PolicyName, Response, Txn, fold};
use serde_json::json;

use crate::{
    Group, GroupKind, Identity,
    entities::keys_with_info,
    fault::{Fault, invalid, retried},
    index::Groups,
    keys, metadata,
};

/// What is asked for.
struct Wanted {
    id: String,
    name: String,
    /// The name is in the path, so it says which group and does not change.
    by_name: bool,
    kind: Option<GroupKind>,
    policies: Option<Vec<PolicyName>>,
    metadata: Option<metadata::Metadata>,
    members: Option<Vec<String>>,
    groups: Option<Vec<String>>,
}

/// Keys of one transaction in clearing up.
const CHUNK: usize = 64;

impl Identity {
    /// Makes a group, or changes the one of the id or name; answers its id and name, or 204 for a change by name.
    pub(crate) async fn write_group(&self, fields: &Fields, by_name: bool) -> Result<Response, Error> {
        let sorted = |name: &str| {
            fields.list(name).map(|ids| {
                let ids: BTreeSet<String> =
                    ids.iter().map(|id| id.trim().to_owned()).filter(|id| !id.is_empty()).collect();
                ids.into_iter().collect::<Vec<_>>()
            })
        };
        let name = match fields.string("name").filter(|name| !name.is_empty()) {
            Some(name) => metadata::name("name", name)?.to_owned(),
            None => String::new(),
        };
        let wanted = Wanted {
            id: fields.string("id").unwrap_or_default().to_owned(),
            name,
            by_name,
            kind: fields.string("type").filter(|kind| !kind.is_empty()).map(GroupKind::parse).transpose()?,
            policies: fields.list("policies").map(PolicyName::assigned).transpose()?,
            metadata: metadata::read(fields, "metadata")?,
            members: sorted("member_entity_ids"),
            groups: sorted("member_group_ids"),
        };
        retried(|| self.try_write_group(&wanted)).await
    }

    async fn try_write_group(&self, wanted: &Wanted) -> Result<Response, Fault> {
        let groups = self.groups().await?;
        let by_id = match wanted.id.as_str() {
            "" => None,
            id => Some(groups.get(id).ok_or_else(|| invalid("group not found from id"))?),
        };
        let named = groups.by_name(&wanted.name);
        let found = match (by_id, named) {
            (Some(group), Some(other)) if group.id != other.id => {
                return Err(invalid("group name is already in use"));
            }
            (by_id, named) => by_id.or(named),
        };
        let kind = wanted.kind.or(found.map(|group| group.kind)).unwrap_or_default();
        if found.is_some_and(|group| group.kind != kind) {
            return Err(invalid("group type cannot be changed"));
        }
        let mut group = match found {
            Some(group) => group.as_ref().clone(),
            None => {
                let name = if wanted.name.is_empty() { self.made_up_name("group") } else { wanted.name.clone() };
                Group::new(self.uuid(), name, kind, self.now())
            }
        };
        let old_name = found.map(|group| group.name.clone());
        wanted.apply(&mut group)?;
        self.touch(&mut group);
        let mut txn = self.change_groups(&groups)?;
        self.check_members(&mut txn, &groups, found.map(AsRef::as_ref), &group)?;
        self.put_group(&mut txn, &group)?;
        if old_name.as_deref().map(fold) != Some(fold(&group.name)) {
            if let Some(old) = old_name {
                self.delete(&mut txn, &keys::group_name(&old));
            }
            let key = keys::group_name(&group.name);
            txn.check(self.view().path(&key), Check::Absent);
            self.put(&mut txn, &key, &group.id)?;
        }
        let changed = found.is_some();
        self.commit(txn).await?;
        Ok(match changed && wanted.by_name {
            true => Response::empty(),
            false => Response::data(json!({ "id": group.id, "name": group.name })),
        })
    }

    /// New members must be there, and stay until the commit; groups in it must be there and not have it in them.
    fn check_members(&self, txn: &mut Txn, groups: &Groups, old: Option<&Group>, group: &Group) -> Result<(), Fault> {
        let known = old.map_or(&[][..], |old| &old.members);
        for entity in group.members.iter().filter(|member| !known.contains(member)) {
            txn.check(self.view().path(&keys::entity(entity)), Check::Exists);
        }
        for child in &group.groups {
            if groups.get(child).is_none() && *child != group.id {
                return Err(invalid(format!("no group with the id {child:?} in member_group_ids")));
            }
        }
        // The groups that this one is in must not be among those that it has in it.
        let above = groups.with_parents(&BTreeSet::from([group.id.clone()]));
        match group.groups.iter().find(|child| above.contains(*child)) {
            Some(child) => Err(invalid(format!("cyclic relationship detected for member group ID {child:?}"))),
            None => Ok(()),
        }
    }

    /// Notes that a group is being changed.
    pub(crate) fn touch(&self, group: &mut Group) {
        group.modify_index += 1;
        group.updated = self.now();
    }

    /// Refuses members that are no entities, by name: the transaction alone would only say that something is not so.
    pub(crate) async fn known_entities(&self, fields: &Fields) -> Result<(), Error> {
        for id in fields.list("member_entity_ids").unwrap_or_default().iter().filter(|id| !id.trim().is_empty()) {
            if self.entity(id.trim()).await?.is_none() {
                return Err(Error::invalid(format!("no entity with the id {id:?} in member_entity_ids")));
            }
        }
        Ok(())
    }

    pub(crate) async fn read_group(&self, id: Option<&str>) -> Result<Response, Error> {
        let groups = self.groups().await?;
        let group = id.and_then(|id| groups.get(id)).ok_or_else(Error::not_found)?;
        Ok(Response::data(self.show_group(&groups, group).await?))
    }

    pub(crate) async fn show_group(
        &self,
        groups: &Groups,
        group: &Group,
    ) -> Result<serde_json::Map<String, serde_json::Value>, Error> {
        let members = match group.kind {
            GroupKind::Internal => group.members.clone(),
            GroupKind::External => match &group.alias {
                Some(alias) => {
                    self.view().list(&keys::members_by(&group.id, &alias.accessor, &alias.name), "", 0).await?
                }
                None => Vec::new(),
            },
        };
        Ok(group.show(&members, groups.parents(&group.id), &self.parts.namespace, self.mounts()))
    }

    /// Removes a group, and it from the groups that it is in. Nothing happens if it is not there.
    pub(crate) async fn delete_group(&self, id: &str) -> Result<(), Error> {
        retried(|| self.try_delete_group(id)).await?;
        self.forget_members(id).await
    }

    async fn try_delete_group(&self, id: &str) -> Result<(), Fault> {
        let groups = self.groups().await?;
        let Some(group) = groups.get(id) else { return Ok(()) };
        let mut txn = self.change_groups(&groups)?;
        self.delete(&mut txn, &keys::group(id));
        self.delete(&mut txn, &keys::group_name(&group.name));
        if let Some(alias) = &group.alias {
            self.drop_group_alias(&mut txn, alias);
        }
        for parent in groups.parents(id).iter().filter_map(|parent| groups.get(parent)) {
            let mut parent = parent.as_ref().clone();
            parent.groups.retain(|child| child != id);
            self.touch(&mut parent);
            self.put_group(&mut txn, &parent)?;
        }
        self.commit(txn).await
    }

    /// Wipes what tells the members of a group that is gone. They are not in it already, since ids are never used again.
    pub(crate) async fn forget_members(&self, group: &str) -> Result<(), Error> {
        let folder = keys::members(group);
        for accessor in self.view().list(&folder, "", 0).await? {
            for name in self.view().list(&format!("{folder}{accessor}"), "", 0).await? {
                self.forget_folder(&format!("{folder}{accessor}{name}")).await?;
            }
        }
        Ok(())
    }

    async fn forget_folder(&self, folder: &str) -> Result<(), Error> {
        loop {
            let members = self.view().list(folder, "", CHUNK).await?;
            if members.is_empty() {
                return Ok(());
            }
            let mut txn = Txn::new();
            for entity in &members {
                self.delete(&mut txn, &format!("{folder}{entity}"));
            }
            self.view().commit(txn).await?;
        }
    }

    pub(crate) async fn list_groups(&self, by_name: bool) -> Result<Response, Error> {
        let groups = self.groups().await?;
        if by_name {
            let names: BTreeSet<String> = groups.iter().map(|group| group.name.clone()).collect();
            return Response::keys(names.into_iter().collect());
        }
        keys_with_info(groups.iter().map(|group| {
            let brief = group.show_brief(groups.parents(&group.id), self.mounts());
            (group.id.as_str(), brief)
        }))
    }
}

impl Groups {
    /// The group of a name, whatever its case.
    pub(crate) fn by_name(&self, name: &str) -> Option<&std::sync::Arc<Group>> {
        let wanted = fold(name);
        self.iter().find(|group| !wanted.is_empty() && fold(&group.name) == wanted)
    }
}

impl Wanted {
    fn apply(&self, group: &mut Group) -> Result<(), Fault> {
        if group.kind == GroupKind::External {
            if self.members.as_ref().is_some_and(|members| !members.is_empty()) {
                return Err(invalid("member entities can't be set manually for external groups"));
            }
            if self.groups.as_ref().is_some_and(|groups| !groups.is_empty()) {
                return Err(invalid("member groups can't be set for external groups"));
            }
        }
        if !self.name.is_empty() {
            group.name.clone_from(&self.name);
        }
        if let Some(policies) = &self.policies {
            group.policies.clone_from(policies);
        }
        if let Some(metadata) = &self.metadata {
            group.metadata.clone_from(metadata);
        }
        if let Some(members) = &self.members {
            group.members.clone_from(members);
        }
        if let Some(groups) = &self.groups {
            group.groups.clone_from(groups);
        }
        Ok(())
    }
}
