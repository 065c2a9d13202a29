//! What a plug-in tells of what it did, for `sys/events/subscribe`.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// Something that was done. It says where and not what: no value of a secret belongs in it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Event {
    /// Type as Vault names it: `kv-v2/data-write`.
    pub kind: String,
    /// Texts by name, with Vault's names: `path`, `data_path` (both below the mount), `operation`, `modified` …
    pub metadata: BTreeMap<String, String>,
}

impl Event {
    /// Of an operation that changed something at a path below the mount.
    pub fn new(engine: &str, operation: &str, path: &str) -> Self {
        let texts = [("modified", "true"), ("operation", operation), ("path", path)];
        Self {
            kind: format!("{engine}/{operation}"),
            metadata: texts.map(|(name, text)| (name.to_owned(), text.to_owned())).into(),
        }
    }

    /// Adds a text.
    pub fn with(mut self, name: &str, text: impl Into<String>) -> Self {
        self.metadata.insert(name.to_owned(), text.into());
        self
    }

    /// Nothing of the engine's own changed by it.
    pub fn unmodified(self) -> Self {
        self.with("modified", "false")
    }

    /// Where, below the mount, what it is about can be read; what policies are asked about.
    pub fn data_path(self, path: impl Into<String>) -> Self {
        self.with("data_path", path)
    }
}
