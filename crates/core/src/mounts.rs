//! The mount tables: secret engines in one key, auth methods in another, two for each namespace, each changed by compare.
//!
//! The tables in the store are the truth. [`Mounts::current`] reads the revision of their stamp and rebuilds the
//! [`Router`] when it moved, so a mount made through another replica serves here with the next request.

mod edit;
mod identity;
pub mod record;
pub mod router;

use std::{
    collections::HashMap,
    sync::{Arc, OnceLock, Weak},
    time::Duration,
};

use arc_swap::ArcSwap;
use holdfast_identity::Identity;
use holdfast_logical::{
    Backend, Check, Clock, Entropy, MountInfo, Namespace, Revision, Services, StoreError, Txn, View,
};
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};

pub use self::{
    edit::NewMount,
    record::{Record, Tuning},
    router::{Mounted, Router, Target},
};
use crate::{
    Class, Registry, cubbyhole,
    fresh::Fresh,
    metrics::Times,
    namespaces::{self, Namespaces},
    passwords::PasswordPolicies,
    sys, token,
};

/// What one key holds.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Table {
    /// Sorted by path.
    pub mounts: Vec<Record>,
    /// Storage of unmounted ones that is still to be wiped: `logical/<uuid>`.
    #[serde(default)]
    pub trash: Vec<String>,
}

/// What mounts are made with.
pub struct MountParts {
    /// The whole key space.
    pub root: View,
    /// The plug-ins.
    pub registry: Registry,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// Random bytes.
    pub entropy: Arc<dyn Entropy>,
    /// (default, max) lease TTL of the system.
    pub ttls: (Duration, Duration),
    /// Where clients reach the server.
    pub api_addr: String,
}

/// The mounts of an unsealed server.
pub struct Mounts {
    this: Weak<Self>,
    parts: MountParts,
    view: View,
    current: ArcSwap<Router>,
    fresh: Fresh,
    /// What the cubbyholes of all namespaces are in: tokens of all of them are told apart by their hashes.
    cubbyhole: OnceLock<View>,
    /// Live backends by uuid; only touched with `reload` held or for a mount that is not in the table yet.
    backends: Mutex<HashMap<String, Arc<dyn Backend>>>,
    /// Identity stores by the uuid of their mount.
    identities: Mutex<HashMap<String, Arc<Identity>>>,
    reload: tokio::sync::Mutex<()>,
    /// Who changes a table, or that of the namespaces: here they take turns, and only other replicas are in the way.
    pub(crate) turn: tokio::sync::Mutex<()>,
}

impl Mounts {
    /// No mounts yet: [`Mounts::current`] reads them.
    pub fn new(parts: MountParts) -> Arc<Self> {
        Arc::new_cyclic(|this| Self {
            this: this.clone(),
            view: View::clone(&parts.root).below("core"),
            parts,
            current: ArcSwap::default(),
            fresh: Fresh::default(),
            cubbyhole: OnceLock::new(),
            backends: Mutex::default(),
            identities: Mutex::default(),
            reload: tokio::sync::Mutex::default(),
            turn: tokio::sync::Mutex::default(),
        })
    }

    /// The mounts as they are now in the store.
    pub async fn current(&self) -> Result<Arc<Router>, StoreError> {
        let current = self.current.load_full();
        if self.fresh.holds(&self.view, current.stamp) {
            return Ok(current);
        }
        let before = self.view.mark();
        let stamp = self.stamp().await?;
        let current = self.current.load_full();
        if current.stamp == stamp {
            self.fresh.remember(&self.view, before, stamp);
            return Ok(current);
        }
        let _reload = self.reload.lock().await;
        let current = self.current.load_full();
        match self.stamp().await? {
            stamp if current.stamp == stamp => Ok(current),
            stamp => Box::pin(self.rebuild(&current, stamp)).await,
        }
    }

    /// Revision of the last change of a table.
    async fn stamp(&self) -> Result<Revision, StoreError> {
        Ok(self.view.revision(STAMP).await?.unwrap_or_default())
    }

    /// The mounts as they were at the last request, without a look at the store.
    pub fn cached(&self) -> Arc<Router> {
        self.current.load_full()
    }

    /// (default, max) lease TTL of the system.
    pub fn system_ttls(&self) -> (Duration, Duration) {
        self.parts.ttls
    }

    /// A table, and the check that holds as long as it is the same.
    pub(crate) async fn table(&self, namespace: &str, class: Class) -> Result<(Table, Check), StoreError> {
        Ok(match self.folder(namespace).get_json(key(class)).await? {
            Some((table, revision)) => (table, Check::At(revision)),
            None => (Table::default(), Check::Absent),
        })
    }

    /// Path of a table in the whole key space.
    pub(crate) fn table_key(&self, namespace: &str, class: Class) -> String {
        self.folder(namespace).path(key(class))
    }

    fn folder(&self, namespace: &str) -> View {
        match Namespace::is_root_id(namespace) {
            true => self.view.clone(),
            false => namespaces::home(&self.parts.root, namespace),
        }
    }

    /// Lets every replica read the tables anew after the commit.
    pub(crate) fn touch(&self, txn: &mut Txn) -> Result<(), StoreError> {
        txn.put_json(self.view.path(STAMP), &())?;
        Ok(())
    }

    /// The tables may be newer than the stamp that was read before them; then the next look finds a newer stamp.
    async fn rebuild(&self, old: &Router, stamp: Revision) -> Result<Arc<Router>, StoreError> {
        let (table, revision) = self.view.get_json(namespaces::KEY).await?.unwrap_or_default();
        let namespaces = Namespaces::new(table, revision);
        let all = [Namespace::root()].into_iter().chain(namespaces.all().map(|known| known.namespace.clone()));
        let tables = all.flat_map(|namespace| [Class::Secret, Class::Auth].map(|class| (namespace.clone(), class)));
        let tables = tables.map(|(namespace, class)| async move {
            Ok::<_, StoreError>((self.table(&namespace.id, class).await?.0, namespace))
        });
        let mut mounts = Vec::new();
        for (table, namespace) in futures::future::try_join_all(tables).await? {
            for record in table.mounts {
                if namespace.is_root() && record.kind == "cubbyhole" {
                    let _ = self.cubbyhole.set(self.storage(&record));
                }
                mounts.push(match old.by_uuid(&record.uuid) {
                    Some(mounted) if mounted.record == record => mounted.clone(),
                    Some(mounted) => self.retune(record, &namespace, mounted.times.clone()).await,
                    None => self.start(record, &namespace, Arc::default()),
                });
            }
        }
        let router = Arc::new(Router::new(stamp, namespaces, mounts));
        self.backends.lock().retain(|uuid, _| router.by_uuid(uuid).is_some());
        self.identities.lock().retain(|uuid, _| router.by_uuid(uuid).is_some());
        self.current.store(router.clone());
        Ok(router)
    }

    async fn retune(&self, record: Record, namespace: &Arc<Namespace>, times: Arc<Times>) -> Arc<Mounted> {
        let mounted = self.start(record, namespace, times);
        if let Target::Engine(backend) = &mounted.target {
            backend.tuned(mounted.info.clone()).await;
        }
        mounted
    }

    fn start(&self, record: Record, namespace: &Arc<Namespace>, times: Arc<Times>) -> Arc<Mounted> {
        let info = self.info(&record, namespace);
        let identity = identity::is_identity(&record).then(|| self.identity(&record, &info));
        let target = match (record.class, record.kind.as_str()) {
            _ if let Some(identity) = &identity => Target::Engine(identity.backend()),
            (Class::Secret, "system") => Target::Core(sys::NOUNS),
            (Class::Auth, "token") => Target::Core(token::NOUNS),
            _ => match self.backend(&record, &info) {
                Ok(backend) => Target::Engine(backend),
                Err(error) => {
                    tracing::error!(mount = %info.path, kind = %info.kind, %error, "a mount cannot be started");
                    Target::Broken(error.to_string())
                }
            },
        };
        Arc::new(Mounted { record, info, target, identity, times })
    }

    /// The live backend of a mount, made if there is none.
    fn backend(&self, record: &Record, info: &Arc<MountInfo>) -> Result<Arc<dyn Backend>, holdfast_logical::Error> {
        if let Some(backend) = self.backends.lock().get(&record.uuid) {
            return Ok(backend.clone());
        }
        let factory = match (record.class, record.kind.as_str()) {
            (Class::Secret, "cubbyhole") => cubbyhole::factory,
            (class, kind) => self.parts.registry.get(class, kind).ok_or_else(|| unknown_kind(class, kind))?,
        };
        let services = Services {
            view: self.storage(record),
            clock: self.parts.clock.clone(),
            entropy: self.parts.entropy.clone(),
            passwords: Arc::new(PasswordPolicies::new(&self.parts.root, &info.namespace, self.parts.entropy.clone())),
        };
        let backend = factory(info.clone(), services)?;
        self.backends.lock().insert(record.uuid.clone(), backend.clone());
        Ok(backend)
    }

    /// The storage of a mount.
    pub fn storage(&self, record: &Record) -> View {
        if record.kind == "cubbyhole"
            && let Some(view) = self.cubbyhole.get()
        {
            return view.clone();
        }
        self.storage_of(record.class, &record.uuid)
    }

    /// The storage of a mount that may be gone, by its uuid.
    pub fn storage_of(&self, class: Class, uuid: &str) -> View {
        self.parts.root.below(folder(class)).below(uuid)
    }

    fn info(&self, record: &Record, namespace: &Arc<Namespace>) -> Arc<MountInfo> {
        let (default_ttl, max_ttl) = record.tuning.effective(self.parts.ttls);
        Arc::new(MountInfo {
            kind: record.kind.clone(),
            path: record.full_path(),
            namespace: namespace.clone(),
            accessor: record.accessor.clone(),
            uuid: record.uuid.clone(),
            options: record.options.clone(),
            default_ttl,
            max_ttl,
        })
    }
}

/// Path below `core/` that exists exactly as long as a mount serves; what a mount makes is committed only with it.
pub fn live_key(uuid: &str) -> String {
    format!("core/live/{uuid}")
}

/// Written with every change of a table and read with every request, since the tables can be large.
const STAMP: &str = "mount-stamp";

fn key(class: Class) -> &'static str {
    match class {
        Class::Secret => "mounts",
        Class::Auth => "auth",
    }
}

fn folder(class: Class) -> &'static str {
    match class {
        Class::Secret => "logical",
        Class::Auth => "auth",
    }
}

fn unknown_kind(class: Class, kind: &str) -> holdfast_logical::Error {
    let what = match class {
        Class::Secret => "secrets",
        Class::Auth => "auth",
    };
    holdfast_logical::Error::Invalid(format!("plugin not found in the catalog: {kind} (no such {what} type)"))
}
