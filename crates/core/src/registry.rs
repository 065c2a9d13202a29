//! The plug-ins that this build of the server has, by class and type name. The server fills it; the core knows none.

use std::collections::BTreeMap;

use holdfast_logical::Factory;

/// What a mount is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Class {
    /// Mounted by `sys/mounts`.
    Secret,
    /// Mounted by `sys/auth`, below `auth/`.
    Auth,
}

/// Factories by class and type name.
#[derive(Clone, Debug, Default)]
pub struct Registry {
    factories: BTreeMap<(Class, String), Factory>,
    databases: Vec<String>,
}

impl Registry {
    /// An empty registry.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a type: `registry.with(Class::Secret, "kv", kv::factory)`.
    pub fn with(mut self, class: Class, kind: &str, factory: Factory) -> Self {
        self.factories.insert((class, kind.to_owned()), factory);
        self
    }

    /// Adds the name of a kind of database that the database engine knows, for the catalog of plug-ins.
    pub fn with_database(mut self, name: &str) -> Self {
        self.databases.push(name.to_owned());
        self
    }

    /// Kinds of databases.
    pub fn databases(&self) -> &[String] {
        &self.databases
    }

    /// The factory of a type.
    pub fn get(&self, class: Class, kind: &str) -> Option<Factory> {
        self.factories.get(&(class, kind.to_owned())).copied()
    }

    /// Type names of a class, sorted.
    pub fn kinds(&self, class: Class) -> Vec<&str> {
        self.factories.keys().filter(|(of, _)| *of == class).map(|(_, kind)| kind.as_str()).collect()
    }
}
