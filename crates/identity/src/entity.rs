//! What is stored of an entity, and how it is shown.

use std::collections::BTreeMap;

use holdfast_logical::{PolicyName, Timestamp};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use crate::{
    Alias, AuthMounts,
    metadata::{self, Metadata},
};

/// External groups by id, each with the name (folded) that the method gave it. It counts as long as that is the name of
/// the group's alias.
pub type NamedGroups = BTreeMap<String, String>;

/// Somebody, whatever auth method they log in by.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entity {
    /// UUID.
    pub id: String,
    /// As it was given; unique whatever its case.
    pub name: String,
    /// Set by people.
    pub metadata: Metadata,
    /// Policies that its tokens have beside their own.
    pub policies: Vec<PolicyName>,
    /// Are its tokens refused?
    pub disabled: bool,
    /// At most one for each auth mount.
    pub aliases: Vec<Alias>,
    /// External groups by the accessor of the mount that named them at the last login there.
    pub external: BTreeMap<String, NamedGroups>,
    /// Entities that were merged into it.
    pub merged: Vec<String>,
    /// When it was made.
    pub created: Timestamp,
    /// When it was last changed.
    pub updated: Timestamp,
}

impl Entity {
    /// A new one.
    pub(crate) fn new(id: String, name: String, now: Timestamp) -> Self {
        Self {
            id,
            name,
            metadata: Metadata::new(),
            policies: Vec::new(),
            disabled: false,
            aliases: Vec::new(),
            external: BTreeMap::new(),
            merged: Vec::new(),
            created: now,
            updated: now,
        }
    }

    /// Its alias at a mount.
    pub fn alias_at(&self, accessor: &str) -> Option<&Alias> {
        self.aliases.iter().find(|alias| alias.accessor == accessor)
    }

    /// Aliases at mounts that are still there.
    pub(crate) fn live_aliases<'e>(&'e self, mounts: &'e dyn AuthMounts) -> impl Iterator<Item = &'e Alias> {
        self.aliases.iter().filter(|alias| mounts.find(&alias.accessor).is_some())
    }

    /// As a read shows it, without its groups.
    pub(crate) fn show(&self, namespace: &str, mounts: &dyn AuthMounts) -> Map<String, Value> {
        let aliases = self.live_aliases(mounts).map(|alias| alias.show(&self.id, namespace, mounts));
        let shown = json!({
            "id": self.id,
            "name": self.name,
            "aliases": aliases.collect::<Vec<_>>(),
            "metadata": metadata::show(&self.metadata),
            "policies": self.policies,
            "disabled": self.disabled,
            "creation_time": self.created.to_string(),
            "last_update_time": self.updated.to_string(),
            "merged_entity_ids": if self.merged.is_empty() { Value::Null } else { json!(self.merged) },
            "namespace_id": namespace,
            "bucket_key_hash": "",
        });
        match shown {
            Value::Object(shown) => shown,
            _ => Map::new(),
        }
    }

    /// As `key_info` of a list shows it.
    pub(crate) fn show_brief(&self, mounts: &dyn AuthMounts) -> Value {
        let aliases = self.live_aliases(mounts).map(|alias| {
            let mut shown = alias.show_brief(&self.id, mounts);
            shown.insert("id".to_owned(), json!(alias.id));
            shown
        });
        json!({ "name": self.name, "aliases": aliases.collect::<Vec<_>>() })
    }
}
