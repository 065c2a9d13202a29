//! The ledger: revocations that are still to be done for objects that are gone already.
//!
//! An object whose cleanup cannot reach the server is let go, so that no namespace hangs; what was to be revoked is
//! written here first. The ledger is in ConfigMaps of the operator's own namespace (names and uids, no secrets), survives
//! every restart, and is worked off for as long as it takes. Each takes 1 MiB, some 3000 entries, so they are spread over
//! 16; one without a number is of older versions, and is worked off too.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use futures::StreamExt;
use holdfast_crd_types::{DeletionPolicy, names};
use holdfast_runtime::Shutdown;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::{
    Api, Client,
    api::{ObjectMeta, Patch, PatchParams, PostParams},
};
use serde::{Deserialize, Serialize};
use serde_json::json;
use tokio::sync::Mutex;
use tracing::{debug, info, warn};

use crate::{
    context::Context,
    credential, engine,
    failure::{Failure, Remedy},
    policy,
};

/// Between two rounds.
const PAUSE: Duration = Duration::from_secs(5);
/// For one entry.
const TIMEOUT: Duration = Duration::from_secs(20);
/// ConfigMaps that entries are spread over.
const SHARDS: u32 = 16;
/// Entries that are worked on side by side.
const AT_ONCE: usize = 8;

/// What is to be taken back.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "camelCase")]
pub enum Entry {
    /// A mount.
    Engine {
        /// uid of the SecretEngine.
        uid: String,
        /// Its namespace.
        namespace: String,
        /// Its name.
        name: String,
        /// Revoke or Retain.
        mode: DeletionPolicy,
    },
    /// A policy and the roles that carry it.
    #[serde(rename_all = "camelCase")]
    Policy {
        /// uid of the VaultPolicy.
        uid: String,
        /// Its namespace.
        namespace: String,
        /// Its name.
        name: String,
        /// Service accounts whose roles carried it.
        service_accounts: Vec<String>,
    },
    /// The credentials of a DynamicCredential.
    Credential {
        /// uid of the DynamicCredential.
        uid: String,
        /// Its namespace.
        namespace: String,
        /// Its name.
        name: String,
    },
}

impl Entry {
    fn key(&self) -> String {
        match self {
            Self::Engine { uid, .. } => format!("engine.{uid}"),
            Self::Policy { uid, .. } => format!("policy.{uid}"),
            Self::Credential { uid, .. } => format!("credential.{uid}"),
        }
    }

    async fn settle(&self, ctx: &Context) -> Result<(), Failure> {
        match self {
            Self::Engine { namespace, name, mode, .. } => engine::tear_down(&ctx.server, namespace, name, *mode).await,
            Self::Policy { namespace, name, service_accounts, .. } => {
                policy::tear_down(ctx, namespace, name, service_accounts).await
            }
            Self::Credential { uid, .. } => credential::release(&ctx.server, uid).await,
        }
    }
}

/// The ConfigMaps, and what is in them. Only the leader writes, so what was read once stays true.
pub struct Ledger {
    api: Api<ConfigMap>,
    name: String,
    known: Mutex<Option<Known>>,
}

/// Entries by key, each with the ConfigMap that holds it.
type Known = BTreeMap<String, (String, Entry)>;

impl Ledger {
    /// The ledger of this name.
    pub fn new(kube: Client, namespace: &str, name: &str) -> Self {
        Self { api: Api::namespaced(kube, namespace), name: name.to_owned(), known: Mutex::default() }
    }

    /// Adds an entry; when this returns it is durable.
    pub async fn add(&self, entry: Entry) -> Result<(), kube::Error> {
        let mut known = self.known.lock().await;
        let entries = self.load(&mut known).await?;
        let text = serde_json::to_string(&entry).map_err(kube::Error::SerdeError)?;
        let shard = match entries.get(&entry.key()) {
            Some((shard, _)) => shard.clone(),
            None => self.shard(&entry.key()),
        };
        self.patch(&shard, json!({ "data": { entry.key(): text } })).await?;
        warn!(entry = entry.key(), "revocation written to the ledger");
        entries.insert(entry.key(), (shard, entry));
        Ok(())
    }

    /// Settles the entries that `wanted` chooses, before something new takes their place.
    pub async fn settle(&self, ctx: &Context, wanted: impl Fn(&Entry) -> bool) -> Result<(), Failure> {
        for entry in self.entries().await.map_err(|error| Failure::kubernetes("reading the ledger", &error))? {
            if wanted(&entry) {
                entry.settle(ctx).await?;
                self.remove(&entry).await.map_err(|error| Failure::kubernetes("writing the ledger", &error))?;
            }
        }
        Ok(())
    }

    /// Takes out the entries that `wanted` chooses, undone: something else sees to them.
    pub async fn forget(&self, wanted: impl Fn(&Entry) -> bool) -> Result<(), kube::Error> {
        for entry in self.entries().await?.iter().filter(|entry| wanted(entry)) {
            self.remove(entry).await?;
        }
        Ok(())
    }

    /// Everything that is still to be done.
    pub async fn entries(&self) -> Result<Vec<Entry>, kube::Error> {
        let mut known = self.known.lock().await;
        Ok(self.load(&mut known).await?.values().map(|(_, entry)| entry.clone()).collect())
    }

    /// Takes an entry out.
    pub async fn remove(&self, entry: &Entry) -> Result<(), kube::Error> {
        let mut known = self.known.lock().await;
        let entries = self.load(&mut known).await?;
        if let Some((shard, _)) = entries.get(&entry.key()) {
            self.patch(shard, json!({ "data": { entry.key(): null } })).await?;
            entries.remove(&entry.key());
        }
        Ok(())
    }

    async fn load<'a>(&self, known: &'a mut Option<Known>) -> Result<&'a mut Known, kube::Error> {
        let entries = match known.take() {
            Some(entries) => entries,
            None => {
                let mut entries = Known::new();
                let numbered = (0..SHARDS).map(|number| format!("{}-{number:x}", self.name));
                for shard in std::iter::once(self.name.clone()).chain(numbered) {
                    let found = self.api.get_opt(&shard).await?;
                    let data = found.and_then(|map| map.data).unwrap_or_default();
                    let data = data.into_iter().filter_map(|(key, text)| read(key, &text));
                    entries.extend(data.map(|(key, entry)| (key, (shard.clone(), entry))));
                }
                entries
            }
        };
        Ok(known.insert(entries))
    }

    /// Where a new entry goes.
    fn shard(&self, key: &str) -> String {
        let sum = key.bytes().fold(0u32, |sum, byte| sum.wrapping_mul(31).wrapping_add(byte.into()));
        format!("{}-{:x}", self.name, sum % SHARDS)
    }

    async fn patch(&self, shard: &str, body: serde_json::Value) -> Result<(), kube::Error> {
        let params = PatchParams { field_manager: Some(names::FIELD_MANAGER.to_owned()), ..PatchParams::default() };
        match self.api.patch(shard, &params, &Patch::Merge(&body)).await {
            Err(kube::Error::Api(status)) if status.code == 404 => {}
            other => return other.map(drop),
        }
        let labels = BTreeMap::from([(names::LABEL_MANAGED_BY.to_owned(), names::FIELD_MANAGER.to_owned())]);
        let metadata = ObjectMeta { name: Some(shard.to_owned()), labels: Some(labels), ..ObjectMeta::default() };
        match self.api.create(&PostParams::default(), &ConfigMap { metadata, ..ConfigMap::default() }).await {
            Err(kube::Error::Api(status)) if status.code == 409 => {}
            other => drop(other?),
        }
        self.api.patch(shard, &params, &Patch::Merge(&body)).await.map(drop)
    }
}

fn read(key: String, text: &str) -> Option<(String, Entry)> {
    match serde_json::from_str(text) {
        Ok(entry) => Some((key, entry)),
        Err(error) => {
            warn!(key, %error, "an entry of the ledger cannot be read; it stays");
            None
        }
    }
}

/// Does one entry. Side by side with others: a database that is gone must not delay them.
async fn work_off(ctx: &Context, entry: Entry) {
    match tokio::time::timeout(TIMEOUT, entry.settle(ctx)).await {
        Ok(Ok(())) => match ctx.ledger.remove(&entry).await {
            Ok(()) => info!(entry = entry.key(), "revocation of the ledger done"),
            Err(error) => warn!(entry = entry.key(), %error, "done, but still in the ledger; done again later"),
        },
        Ok(Err(failure)) if failure.remedy == Remedy::Wait => debug!(entry = entry.key(), %failure, "not yet"),
        Ok(Err(failure)) => warn!(entry = entry.key(), %failure, "revocation of the ledger is tried again"),
        Err(_) => warn!(entry = entry.key(), "revocation of the ledger takes too long; it is tried again"),
    }
}

/// Works the ledger off, until the shutdown.
pub async fn run(ctx: Arc<Context>, shutdown: Shutdown) -> anyhow::Result<()> {
    loop {
        let entries = match ctx.ledger.entries().await {
            Ok(entries) => entries,
            Err(error) => {
                warn!(%error, "the ledger cannot be read");
                Vec::new()
            }
        };
        ctx.metrics.pending.set(i64::try_from(entries.len()).unwrap_or(i64::MAX));
        futures::stream::iter(entries).for_each_concurrent(AT_ONCE, |entry| work_off(&ctx, entry)).await;
        tokio::select! {
            () = tokio::time::sleep(crate::backoff::spread(PAUSE, ctx.jitter())) => {}
            () = shutdown.cancelled() => return Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_survive_as_text_and_have_keys_that_a_config_map_takes() {
        let entries = [
            Entry::Engine { uid: "a-1".into(), namespace: "n".into(), name: "e".into(), mode: DeletionPolicy::Retain },
            Entry::Policy {
                uid: "a-1".into(),
                namespace: "n".into(),
                name: "p".into(),
                service_accounts: vec!["s".into()],
            },
            Entry::Credential { uid: "a-1".into(), namespace: "n".into(), name: "d".into() },
        ];
        for entry in entries {
            let key = entry.key();
            assert!(key.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._".contains(&byte)), "{key}");
            let text = serde_json::to_string(&entry).unwrap();
            assert_eq!(read(key.clone(), &text), Some((key, entry)));
        }
    }

    #[test]
    fn what_is_written_today_is_read_for_ever() {
        let text = r#"{"kind":"policy","uid":"u","namespace":"n","name":"p","serviceAccounts":["s"]}"#;
        assert!(read("policy.u".into(), text).is_some());
    }
}
