//! What is stored of a group, and how it is shown.

use holdfast_logical::{Error, PolicyName, Timestamp};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use crate::{
    Alias, AuthMounts,
    metadata::{self, Metadata},
};

/// Who says who is in it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum GroupKind {
    /// People.
    #[default]
    Internal,
    /// The auth method of its alias, with every login.
    External,
}

/// A group.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Group {
    /// UUID.
    pub id: String,
    /// As it was given; unique whatever its case.
    pub name: String,
    /// Never changes.
    pub kind: GroupKind,
    /// Policies that its members' tokens have beside their own.
    pub policies: Vec<PolicyName>,
    /// Set by people.
    pub metadata: Metadata,
    /// Entities in an internal group, sorted.
    pub members: Vec<String>,
    /// Groups in it, sorted.
    pub groups: Vec<String>,
    /// Of an external group.
    pub alias: Option<Alias>,
    /// Changes so far.
    pub modify_index: u64,
    /// When it was made.
    pub created: Timestamp,
    /// When it was last changed.
    pub updated: Timestamp,
}

impl GroupKind {
    /// The kind of this name.
    pub(crate) fn parse(text: &str) -> Result<Self, Error> {
        match text {
            "internal" => Ok(Self::Internal),
            "external" => Ok(Self::External),
            other => Err(Error::invalid(format!("invalid group type {other:?}: use internal or external"))),
        }
    }
}

impl Group {
    /// A new one without anything in it.
    pub(crate) fn new(id: String, name: String, kind: GroupKind, now: Timestamp) -> Self {
        Self {
            id,
            name,
            kind,
            policies: Vec::new(),
            metadata: Metadata::new(),
            members: Vec::new(),
            groups: Vec::new(),
            alias: None,
            modify_index: 0,
            created: now,
            updated: now,
        }
    }

    /// As a read shows it. `members` are the entities in it, `parents` the groups that it is in.
    pub(crate) fn show(
        &self,
        members: &[String],
        parents: &[String],
        namespace: &str,
        mounts: &dyn AuthMounts,
    ) -> Map<String, Value> {
        let or_null = |list: &[String]| if list.is_empty() { Value::Null } else { json!(list) };
        let alias = self.alias.as_ref().map(|alias| alias.show(&self.id, namespace, mounts)).unwrap_or_default();
        let shown = json!({
            "id": self.id,
            "name": self.name,
            "type": self.kind,
            "policies": self.policies,
            "metadata": metadata::show(&self.metadata),
            "member_entity_ids": match self.kind {
                GroupKind::Internal => json!(members),
                GroupKind::External => or_null(members),
            },
            "member_group_ids": or_null(&self.groups),
            "parent_group_ids": or_null(parents),
            "alias": alias,
            "modify_index": self.modify_index,
            "creation_time": self.created.to_string(),
            "last_update_time": self.updated.to_string(),
            "namespace_id": namespace,
        });
        match shown {
            Value::Object(shown) => shown,
            _ => Map::new(),
        }
    }

    /// As `key_info` of a list shows it.
    pub(crate) fn show_brief(&self, parents: &[String], mounts: &dyn AuthMounts) -> Value {
        let mut shown = json!({
            "name": self.name,
            "num_member_entities": self.members.len(),
            "num_parent_groups": parents.len(),
        });
        if let (Some(alias), Some(shown)) = (&self.alias, shown.as_object_mut()) {
            let mut brief = alias.show_brief(&self.id, mounts);
            brief.insert("id".to_owned(), json!(alias.id));
            shown.insert("alias".to_owned(), Value::Object(brief));
        }
        shown
    }
}
