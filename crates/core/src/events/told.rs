//! An event as it is stored and sent: a CloudEvent with Vault's fields.

use holdfast_base::Timestamp;
use holdfast_logical::{Event, MountInfo};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::Class;

/// An event, and where it comes from.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Told {
    /// UUID.
    pub id: String,
    /// When.
    pub time: Timestamp,
    /// Path of the namespace with a slash at the end; empty for the root namespace.
    pub namespace: String,
    /// `secret` or `auth`.
    pub class: String,
    /// Accessor of the mount.
    pub accessor: String,
    /// Path of the mount in its namespace.
    pub mount: String,
    /// Type of the mount.
    pub plugin: String,
    /// What happened; its paths have the mount's in front.
    pub event: Event,
}

impl Told {
    /// Of a mount.
    pub fn new(id: String, time: Timestamp, mount: &MountInfo, class: Class, mut event: Event) -> Self {
        for name in ["path", "data_path"] {
            if let Some(path) = event.metadata.get_mut(name) {
                path.insert_str(0, &mount.path);
            }
        }
        let class = match class {
            Class::Secret => "secret",
            Class::Auth => "auth",
        };
        Self {
            id,
            time,
            namespace: mount.namespace.path.clone(),
            class: class.to_owned(),
            accessor: mount.accessor.clone(),
            mount: mount.path.clone(),
            plugin: mount.kind.clone(),
            event,
        }
    }

    /// The path that policies are asked about, within its namespace.
    pub fn data_path(&self) -> &str {
        let text = |name| self.event.metadata.get(name).map(String::as_str);
        text("data_path").or_else(|| text("path")).unwrap_or_default()
    }

    /// As it is sent.
    pub fn to_json(&self) -> Value {
        json!({
            "id": self.id,
            "source": "https://vaultproject.io/",
            "specversion": "1.0",
            "type": "*",
            "data": {
                "event": {"id": self.id, "metadata": self.event.metadata},
                "event_type": self.event.kind,
                "namespace": self.namespace,
                "plugin_info": {
                    "mount_class": self.class,
                    "mount_accessor": self.accessor,
                    "mount_path": self.mount,
                    "plugin": self.plugin,
                },
            },
            "datacontentype": "application/cloudevents",
            "time": self.time.to_string(),
        })
    }
}
