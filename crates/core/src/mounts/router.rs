//! Which namespace a path lies in, and which mount answers it.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

use holdfast_identity::Identity;
use holdfast_logical::{Backend, MountInfo, Namespace, Revision};

use super::Record;
use crate::metrics::Times;
use crate::{Class, call::Noun, namespaces::Namespaces};

/// All mounts at one state of the two tables.
#[derive(Default)]
pub struct Router {
    /// Revision of the last change of a table.
    pub(super) stamp: Revision,
    namespaces: Namespaces,
    /// By full path.
    mounts: BTreeMap<String, Arc<Mounted>>,
    by_uuid: HashMap<String, Arc<Mounted>>,
    /// Being unmounted: they serve nothing, but their leases are still to be revoked.
    leaving: Vec<Arc<Mounted>>,
    /// Identity stores by the id of their namespace.
    identities: HashMap<String, Arc<Identity>>,
}

/// A mount that serves.
pub struct Mounted {
    /// The stored row.
    pub record: Record,
    /// What its backend knows of it.
    pub info: Arc<MountInfo>,
    /// Who answers.
    pub target: Target,
    /// The store behind `identity/`.
    pub identity: Option<Arc<Identity>>,
    /// How long it took to answer.
    pub times: Arc<Times>,
}

/// Who answers the requests of a mount.
#[derive(Clone)]
pub enum Target {
    /// The core itself: `sys/`, `auth/token/`.
    Core(&'static [Noun]),
    /// A plug-in.
    Engine(Arc<dyn Backend>),
    /// Nobody: this build has no such type, or it could not be started. The text says why.
    Broken(String),
}

impl Router {
    pub(super) fn new(stamp: Revision, namespaces: Namespaces, mounts: Vec<Arc<Mounted>>) -> Self {
        let stores = mounts.iter().filter_map(|mount| Some((mount.record.namespace.clone(), mount.identity.clone()?)));
        let identities = stores.collect();
        let by_uuid = mounts.iter().map(|mount| (mount.record.uuid.clone(), mount.clone())).collect();
        let (leaving, mounts): (Vec<_>, Vec<_>) = mounts.into_iter().partition(|mount| mount.record.leaving);
        let mounts = mounts.into_iter().map(|mount| (mount.info.full_path(), mount)).collect();
        Self { stamp, namespaces, mounts, by_uuid, leaving, identities }
    }

    /// All namespaces.
    pub fn namespaces(&self) -> &Namespaces {
        &self.namespaces
    }

    /// The mount that a full path belongs to, and what is left of the path below it.
    pub fn resolve<'p>(&self, path: &'p str) -> Option<(&Arc<Mounted>, &'p str)> {
        if let Some(mount) = self.mounts.get(&[path, "/"].concat()) {
            return Some((mount, ""));
        }
        let slashes = path.char_indices().rev().filter(|(_, character)| *character == '/');
        slashes.map(|(at, _)| path.split_at(at + 1)).find_map(|(prefix, rest)| Some((self.mounts.get(prefix)?, rest)))
    }

    /// The mount at exactly this path of a class in a namespace; the slash at the end may be missing.
    pub fn at(&self, namespace: &Namespace, class: Class, path: &str) -> Option<&Arc<Mounted>> {
        let path = super::record::full_path(class, &format!("{}/", path.trim_matches('/')));
        let found = self.mounts.get(&namespace.full_path(&path))?;
        Some(found).filter(|mount| mount.record.class == class && mount.record.namespace == namespace.id)
    }

    /// The mount with this uuid, also one that is being unmounted.
    pub fn by_uuid(&self, uuid: &str) -> Option<&Arc<Mounted>> {
        self.by_uuid.get(uuid)
    }

    /// The identity store of a namespace.
    pub fn identity(&self, namespace: &str) -> Option<&Arc<Identity>> {
        self.identities.get(namespace)
    }

    /// The identity stores of all namespaces.
    pub fn identities(&self) -> impl Iterator<Item = &Arc<Identity>> {
        self.identities.values()
    }

    /// The mounts whose unmounting is not finished.
    pub fn leaving(&self) -> &[Arc<Mounted>] {
        &self.leaving
    }

    /// All mounts of a class in a namespace, by path.
    pub fn of(&self, namespace: &Namespace, class: Class) -> impl Iterator<Item = &Arc<Mounted>> {
        let below = self.mounts.range(namespace.path.clone()..).map(|(_, mount)| mount);
        let (inside, id) = (namespace.path.clone(), namespace.id.clone());
        let below = below.take_while(move |mount| mount.info.namespace.path.starts_with(&inside));
        below.filter(move |mount| mount.record.class == class && mount.record.namespace == id)
    }

    /// All mounts.
    pub fn all(&self) -> impl Iterator<Item = &Arc<Mounted>> {
        self.mounts.values()
    }
}
