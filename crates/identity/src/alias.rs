//! The alias of an entity or a group: its name at one auth mount.

use holdfast_logical::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use crate::{
    AuthMounts,
    metadata::{self, Metadata},
};

/// An alias.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Alias {
    /// UUID.
    pub id: String,
    /// Name at the mount, as it was given.
    pub name: String,
    /// Accessor of the auth mount.
    pub accessor: String,
    /// Set by the auth method at login.
    pub metadata: Metadata,
    /// Set by people.
    pub custom_metadata: Metadata,
    /// When it was made.
    pub created: Timestamp,
    /// When it was last changed.
    pub updated: Timestamp,
    /// Entities that it belonged to before they were merged.
    #[serde(default)]
    pub merged_from: Vec<String>,
}

impl Alias {
    /// As the API shows it. `canonical_id` is the entity or group.
    pub(crate) fn show(&self, canonical_id: &str, namespace: &str, mounts: &dyn AuthMounts) -> Map<String, Value> {
        let mut shown = self.show_brief(canonical_id, mounts);
        let merged = if self.merged_from.is_empty() { Value::Null } else { json!(self.merged_from) };
        let more = json!({
            "id": self.id,
            "metadata": metadata::show(&self.metadata),
            "creation_time": self.created.to_string(),
            "last_update_time": self.updated.to_string(),
            "merged_from_canonical_ids": merged,
            "namespace_id": namespace,
        });
        if let Value::Object(more) = more {
            shown.extend(more);
        }
        shown
    }

    /// As lists show it.
    pub(crate) fn show_brief(&self, canonical_id: &str, mounts: &dyn AuthMounts) -> Map<String, Value> {
        let mount = mounts.find(&self.accessor);
        let (path, kind) = mount.map_or_else(Default::default, |mount| (mount.path, mount.kind));
        let shown = json!({
            "canonical_id": canonical_id,
            "custom_metadata": metadata::show(&self.custom_metadata),
            "local": false,
            "mount_accessor": self.accessor,
            "mount_path": path,
            "mount_type": kind,
            "name": self.name,
        });
        match shown {
            Value::Object(shown) => shown,
            _ => Map::new(),
        }
    }
}
