//! [`Open`]: everything that exists only while the server is unsealed.

use std::{
    sync::{Arc, OnceLock, Weak},
    time::Duration,
};

use async_trait::async_trait;
use holdfast_barrier::{Barrier, peer::Notes};
use holdfast_base::id;
use holdfast_failpoint::failpoint;
use holdfast_logical::{Backend, Check, MountInfo, Namespace, Store, StoreError, Timestamp, Txn, View};
use serde::{Deserialize, Serialize};
use tokio_util::sync::CancellationToken;

use crate::{
    Class, Core, CoreConfig, Error,
    audit::{Audit, Early},
    events::Events,
    front::Front,
    lease::{Backends, Folder, Leases, Members},
    lockout::Lockout,
    mounts::{MountParts, Mounts, Record, Target},
    policies::Policies,
    tidying::Tidying,
    token::{Keys, NewToken, Tokens},
};

/// An unsealed server.
pub struct Open {
    /// What the core was made of.
    pub config: Arc<CoreConfig>,
    /// For what changes the seal state.
    pub core: Weak<Core>,
    /// The whole key space.
    pub root: View,
    /// Mount tables and backends.
    pub mounts: Arc<Mounts>,
    /// Policies.
    pub policies: Policies,
    /// Tokens.
    pub tokens: Arc<Tokens>,
    /// Leases and bindings.
    pub leases: Arc<Leases>,
    /// Failed logins.
    pub lockout: Lockout,
    /// Repairs that run.
    pub tidying: Tidying,
    /// Audit devices.
    pub audit: Audit,
    /// Rate limits and what else is decided before a body is read.
    pub front: Front,
    /// What engines tell of what they did.
    pub events: Arc<Events>,
    /// Identity of the cluster.
    pub cluster: Cluster,
    /// Ends the background work.
    pub shutdown: CancellationToken,
}

/// Made once, at the first unseal.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Cluster {
    /// UUID.
    pub id: String,
    /// From the configuration, or made up.
    pub name: String,
}

/// A version of the server that has served the store.
#[derive(Debug, Serialize, Deserialize)]
pub struct Version {
    /// When it was first started.
    pub installed: Timestamp,
    /// From its build.
    pub build_date: String,
    /// Version before it, if there was one.
    pub previous: Option<String>,
}

/// Time between two rounds of [`Backend::tick`] and of finishing what was interrupted.
const TICK: Duration = Duration::from_secs(60);

/// Rounds between two counts of the leases.
const COUNT: u64 = 15;

/// Time between two looks at how far the audit log has come, and how many of them lie between two checkpoints, and between two
/// that say how far the store has.
const FOLLOW: Duration = Duration::from_secs(1);
const CHECKPOINT: u64 = 60;
const MILESTONE: u64 = 300;

impl Open {
    /// Reads what an unsealed barrier holds, and writes the first tables, policies and cluster record if there are none.
    pub async fn load(core: Weak<Core>, config: Arc<CoreConfig>) -> Result<Arc<Self>, StoreError> {
        let store: Arc<dyn Store> = config.barrier.clone();
        let root = View::new(store, "");
        let mounts = Mounts::new(MountParts {
            root: root.clone(),
            registry: config.registry.clone(),
            clock: config.clock.clone(),
            entropy: config.entropy.clone(),
            ttls: (config.default_lease_ttl, config.max_lease_ttl),
            api_addr: config.api_addr.clone(),
        });
        let policies = Policies::new(root.clone(), config.clock.clone());
        let cluster = cluster(&root, &config, &mounts, &policies).await?;
        mounts.add_identity().await.map_err(|error| StoreError::Unavailable(error.to_string()))?;
        let router = mounts.current().await?;
        let backends =
            Arc::new(Lookup { mounts: mounts.clone(), tokens: OnceLock::new(), barrier: config.barrier.clone() });
        let leases = Leases::new(root.below("lease"), config.clock.clone(), config.entropy.clone(), backends.clone());
        let keys = Keys {
            mac: config.barrier.derive_key("token mac")?,
            hash: config.barrier.derive_key("token hash")?,
            batch: config.barrier.derive_key("batch token")?,
            cluster: cluster.id.clone(),
        };
        let cubbyhole =
            router.at(&Namespace::root(), Class::Secret, "cubbyhole").map(|mounted| mounts.storage(&mounted.record));
        let tokens = Arc::new(Tokens::new(
            &root,
            cubbyhole.unwrap_or_else(|| root.below("cubbyhole")),
            config.entropy.clone(),
            leases.clone(),
            keys,
        ));
        let _ = backends.tokens.set(Arc::downgrade(&tokens));
        let early = core.upgrade().map_or_else(|| Arc::new(Early::new(&config)), |core| core.early.clone());
        let audit = Audit::new(root.below("core"), &config, early)?;
        remember_version(&root, &config).await?;
        let front = Front::load(root.below("core"), config.clock.clone()).await?;
        let limiter: Arc<dyn Notes> = front.limiter.clone();
        config.barrier.exchange_notes(Arc::downgrade(&limiter));
        let shutdown = CancellationToken::new();
        let parts = (config.barrier.clone(), config.clock.clone(), config.entropy.clone());
        let events = Events::new(&root, parts.0, parts.1, parts.2, shutdown.clone());
        let lockout = Lockout::new(root.below("lockout"), config.clock.clone(), config.lockouts.clone());
        Ok(Arc::new(Self {
            config,
            core,
            root,
            mounts,
            policies,
            tokens,
            leases,
            lockout,
            tidying: Tidying::default(),
            audit,
            front,
            events,
            cluster,
            shutdown,
        }))
    }

    /// Starts expiry and periodic work; they end with [`Open::shutdown`].
    pub fn start(self: &Arc<Self>) {
        tokio::spawn(self.leases.clone().run(self.shutdown.clone()));
        tokio::spawn(self.events.clone().run());
        let open = self.clone();
        tokio::spawn(async move { open.follow_audit().await });
        let open = self.clone();
        tokio::spawn(async move { open.follow_violations().await });
        let open = self.clone();
        tokio::spawn(async move {
            for round in 0u64.. {
                open.tick().await;
                if round % COUNT == 0 {
                    open.count_leases().await;
                    open.count_identities().await;
                    open.tidy_lockouts().await;
                }
                tokio::select! {
                    () = open.shutdown.cancelled() => return,
                    () = tokio::time::sleep(TICK) => {}
                }
            }
        });
    }

    /// Keeps the store informed of how far the audit log has come, and the audit log of how far the store has.
    async fn follow_audit(&self) {
        for round in 0u64.. {
            if round % MILESTONE == 0 {
                self.milestone().await;
            } else if round % CHECKPOINT == 0 {
                self.audit.checkpoint().await;
            } else {
                self.audit.store_heads().await;
            }
            tokio::select! {
                () = self.shutdown.cancelled() => return,
                () = tokio::time::sleep(FOLLOW) => {}
            }
        }
    }

    /// Finishes what a crash interrupted and lets every backend do its periodic work.
    async fn tick(&self) {
        if let Err(error) = crate::lifecycle::restore::look_at_hold(self).await {
            tracing::warn!(%error, "whether revocations are held back is not known; trying again");
        }
        if let Err(error) = crate::lifecycle::rotation::keep(self).await {
            tracing::warn!(%error, "the age of the encryption key is not looked at; trying again");
        }
        if let Err(error) = self.tokens.resume_revocations().await {
            tracing::warn!(%error, "revocations of tokens are not finished; trying again");
        }
        self.finish_deletions().await;
        let router = self.mounts.cached();
        let goes = |id: &String| router.namespaces().is_leaving(id);
        for mounted in router.leaving().iter().filter(|mounted| !goes(&mounted.record.namespace)) {
            if let Err(error) = self.finish_unmount(&mounted.record).await {
                tracing::warn!(mount = %mounted.info.path, %error, "an interrupted unmount is not finished; trying again");
            }
        }
        let serving = router.namespaces().all().filter(|known| !known.record.leaving);
        for namespace in [Namespace::root()].iter().chain(serving.map(|known| &known.namespace)) {
            for class in [Class::Secret, Class::Auth] {
                if let Err(error) = self.mounts.empty_trash(&namespace.id, class).await {
                    tracing::warn!(%error, "storage of an unmounted mount is not wiped; trying again");
                }
            }
        }
        for mounted in self.mounts.cached().all() {
            if let Target::Engine(backend) = &mounted.target
                && let Err(error) = backend.tick().await
            {
                tracing::warn!(mount = %mounted.info.path, %error, "periodic work of a mount failed");
            }
        }
    }

    /// Sets the gauge.
    async fn count_leases(&self) {
        match self.leases.count_all().await {
            Ok(count) => {
                self.config.metrics.leases.set(i64::try_from(count).unwrap_or(i64::MAX));
            }
            Err(error) => tracing::debug!(%error, "leases cannot be counted"),
        }
    }

    /// Sets the gauges of tokens, entities and mounts.
    async fn count_identities(&self) {
        let (metrics, router) = (&self.config.metrics.vault, self.mounts.cached());
        let of_class = |class| router.all().filter(|mounted| mounted.record.class == class).count();
        metrics.mounted(of_class(Class::Secret), of_class(Class::Auth));
        let counted = async {
            let (mut entities, mut aliases) = (0, 0);
            for identity in router.identities() {
                entities += identity.count_entities().await?;
                aliases += identity.count_aliases().await?;
            }
            Ok::<_, StoreError>((self.tokens.count().await?, entities, aliases))
        };
        match counted.await {
            Ok((tokens, entities, aliases)) => {
                for (gauge, count) in
                    [(&metrics.tokens, tokens), (&metrics.entities, entities), (&metrics.aliases, aliases)]
                {
                    gauge.set(i64::try_from(count).unwrap_or(i64::MAX));
                }
            }
            Err(error) => tracing::debug!(%error, "tokens and entities cannot be counted"),
        }
    }

    async fn tidy_lockouts(&self) {
        for mounted in self.mounts.cached().all().filter(|mounted| mounted.record.class == Class::Auth) {
            if let Err(error) = self.lockout.tidy(mounted).await {
                tracing::debug!(%error, "failed logins that do not count any more are not removed yet");
            }
        }
    }

    /// Revokes the tokens that a mount made and the leases below its path.
    pub async fn empty_mount(&self, record: &Record) -> Result<(), Error> {
        let path = record.full_path();
        self.tokens.revoke_mount(&record.uuid).await?;
        failpoint!("unmount.tokens-revoked").await;
        let done = self
            .leases
            .revoke_prefix(Folder { namespace: &record.namespace, path: &path }, false)
            .await
            .map_err(holdfast_logical::Error::from)?;
        if done.queued > 0 {
            let text = format!(
                "{} leases below {path} could not be revoked ({}); they are being retried. sys/leases/revoke-force forgets them",
                done.queued,
                done.error.unwrap_or_default(),
            );
            return Err(holdfast_logical::Error::Unavailable(text).into());
        }
        Ok(())
    }

    /// Removes a mount that was closed: tokens and leases first, then the row, then the storage.
    pub async fn finish_unmount(&self, record: &Record) -> Result<(), Error> {
        self.empty_mount(record).await?;
        self.leases.end_intents_of_mount(&record.uuid).await.map_err(holdfast_logical::Error::from)?;
        failpoint!("unmount.leases-revoked").await;
        self.lockout.wipe(&record.uuid).await?;
        self.mounts.remove(record).await
    }

    /// Makes a root token that never ends.
    pub async fn root_token(&self, id: Option<holdfast_secret::SecretString>) -> Result<crate::token::Created, Error> {
        let mount = self
            .mounts
            .cached()
            .at(&Namespace::root(), Class::Auth, "token")
            .map(|mounted| mounted.record.uuid.clone());
        self.tokens
            .create(NewToken {
                id,
                policies: vec![holdfast_policy::ROOT.to_owned()],
                path: "auth/token/root".to_owned(),
                display_name: "root".to_owned(),
                mount: mount.unwrap_or_default(),
                ..NewToken::of(Namespace::root())
            })
            .await
    }
}

/// The cluster record; made, together with the first tables and policies, if there is none.
async fn cluster(
    root: &View,
    config: &CoreConfig,
    mounts: &Mounts,
    policies: &Policies,
) -> Result<Cluster, StoreError> {
    let view = root.below("core");
    loop {
        if let Some((cluster, _)) = view.get_json("cluster").await? {
            return Ok(cluster);
        }
        let entropy = config.entropy.as_ref();
        let name = match config.cluster_name.as_str() {
            "" => format!("holdfast-cluster-{}", id::hex(entropy, 4)),
            name => name.to_owned(),
        };
        let mut txn = Txn::new();
        txn.check(view.path("cluster"), Check::Absent);
        txn.put_json(view.path("cluster"), &Cluster { id: id::uuid(entropy), name })?;
        mounts.first_tables(&Namespace::root(), &mut txn)?;
        mounts.touch(&mut txn)?;
        policies.first_policies(&Namespace::root(), &mut txn)?;
        match view.commit(txn).await {
            Ok(_) | Err(StoreError::Conflict) => {}
            Err(error) => return Err(error),
        }
    }
}

/// Adds this version to the history of the store, if it is not there.
async fn remember_version(root: &View, config: &CoreConfig) -> Result<(), StoreError> {
    let view = root.below("core").below("versions");
    if view.get(&config.version).await?.is_some() {
        return Ok(());
    }
    let mut known: Vec<(Timestamp, String)> = Vec::new();
    for name in view.list("", "", 0).await? {
        if let Some((version, _)) = view.get_json::<Version>(&name).await? {
            known.push((version.installed, name));
        }
    }
    let previous = known.into_iter().max().map(|(_, name)| name);
    let version = Version { installed: config.clock.now(), build_date: config.build_date.clone(), previous };
    view.put_json(&config.version, &version).await.map(drop)
}

/// What leases need of mounts and tokens.
struct Lookup {
    mounts: Arc<Mounts>,
    tokens: OnceLock<Weak<Tokens>>,
    barrier: Arc<Barrier>,
}

#[async_trait]
impl Backends for Lookup {
    fn by_mount(&self, mount_uuid: &str) -> Option<(Arc<MountInfo>, Arc<dyn Backend>)> {
        let router = self.mounts.cached();
        let mounted = router.by_uuid(mount_uuid)?;
        match &mounted.target {
            Target::Engine(backend) => Some((mounted.info.clone(), backend.clone())),
            Target::Core(_) | Target::Broken(_) => None,
        }
    }

    fn mount_of(&self, lease_id: &str) -> Option<String> {
        let router = self.mounts.cached();
        let namespace = match lease_id.rsplit('/').next()?.rsplit_once('.') {
            Some((_, id)) => router.namespaces().of_id(id)?,
            None => Namespace::root(),
        };
        let (mounted, _) = router.resolve(&namespace.full_path(lease_id))?;
        Some(mounted.record.uuid.clone())
    }

    async fn members(&self) -> Result<Option<Members>, StoreError> {
        let members = self.barrier.members().await?;
        let own = members.iter().find(|member| member.own).map(|member| member.id.clone());
        // Not among them: it is about to join anew.
        Ok(own.map(|own| Members { own, all: members.into_iter().map(|member| member.id).collect() }))
    }

    async fn expire_token(&self, token_hash: &str) -> Result<(), holdfast_logical::Error> {
        let Some(tokens) = self.tokens.get().and_then(Weak::upgrade) else { return Ok(()) };
        tokens.expire(token_hash).await.map_err(logical)
    }
}

fn logical(error: Error) -> holdfast_logical::Error {
    match error {
        Error::Logical(error) => error,
        other => holdfast_logical::Error::Unavailable(other.to_string()),
    }
}
