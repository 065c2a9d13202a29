//! What the webhook asks the cluster: DynamicCredential objects by name, and annotations of namespaces.

use std::{collections::HashMap, future::Future, pin::Pin, sync::Arc, time::Duration};

use anyhow::Context as _;
use futures::{StreamExt, TryStreamExt};
use holdfast_base::duration;
use holdfast_crd_types::{DynamicCredential, names};
use holdfast_runtime::Shutdown;
use k8s_openapi::api::core::v1;
use kube::{
    Api, Client, ResourceExt,
    core::PartialObjectMeta,
    runtime::{WatchStreamExt, watcher},
};
use parking_lot::RwLock;
use tracing::{debug, info};

use crate::{
    annotations::Annotations,
    profile::{NAMESPACE_DEFAULTS, NAMESPACE_PROFILE, Namespace},
};

/// What an object says of its credential.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Located {
    /// API path.
    pub path: String,
    /// `spec.ttl`; the role's default otherwise.
    pub ttl: Option<Duration>,
}

/// An answer of the cluster. An error is one of its API.
pub type Answer<'a, T> = Pin<Box<dyn Future<Output = anyhow::Result<T>> + Send + 'a>>;

/// What reviews ask the cluster.
pub trait Cluster: Send + Sync + 'static {
    /// What a DynamicCredential says; `None` when there is no such object.
    fn locate<'a>(&'a self, namespace: &'a str, name: &'a str) -> Answer<'a, Option<Located>>;

    /// The annotations of a namespace that concern injection.
    fn namespace<'a>(&'a self, name: &'a str) -> Answer<'a, Namespace>;
}

/// Asks the API server; namespaces are watched, so that nearly every review is answered from memory.
#[derive(Clone)]
pub struct Live {
    client: Client,
    /// Of every namespace, what concerns injection. `None` until the first list is complete.
    namespaces: Arc<RwLock<Option<HashMap<String, Annotations>>>>,
}

impl Live {
    /// Knows nothing until [`Live::watch`] runs, and asks.
    pub fn new(client: Client) -> Self {
        Self { client, namespaces: Arc::default() }
    }

    /// Watches namespaces until the shutdown.
    ///
    /// # Errors
    /// When the watch ends by itself.
    pub async fn watch(self, shutdown: Shutdown) -> anyhow::Result<()> {
        let api: Api<PartialObjectMeta<v1::Namespace>> = Api::all(self.client.clone());
        let mut events = watcher(api, watcher::Config::default()).default_backoff().boxed();
        let mut listed = HashMap::new();
        loop {
            let event = tokio::select! {
                event = events.try_next() => event,
                () = shutdown.cancelled() => return Ok(()),
            };
            match event {
                Ok(Some(watcher::Event::Init)) => listed = HashMap::new(),
                Ok(Some(watcher::Event::InitApply(namespace))) => {
                    listed.insert(namespace.name_any(), concerning(&namespace));
                }
                Ok(Some(watcher::Event::InitDone)) => {
                    info!(namespaces = listed.len(), "watching namespaces");
                    *self.namespaces.write() = Some(std::mem::take(&mut listed));
                }
                Ok(Some(watcher::Event::Apply(namespace))) => {
                    if let Some(known) = self.namespaces.write().as_mut() {
                        known.insert(namespace.name_any(), concerning(&namespace));
                    }
                }
                Ok(Some(watcher::Event::Delete(namespace))) => {
                    if let Some(known) = self.namespaces.write().as_mut() {
                        known.remove(&namespace.name_any());
                    }
                }
                Ok(None) => anyhow::bail!("the watch over namespaces ended"),
                Err(error) => debug!(%error, "watch over namespaces"),
            }
        }
    }
}

impl Cluster for Live {
    fn locate<'a>(&'a self, namespace: &'a str, name: &'a str) -> Answer<'a, Option<Located>> {
        Box::pin(async move {
            let objects: Api<DynamicCredential> = Api::namespaced(self.client.clone(), namespace);
            let Some(object) = objects.get_opt(name).await? else { return Ok(None) };
            let ttl = object.spec.ttl.as_deref().map(duration::parse).transpose().context("spec.ttl")?;
            Ok(Some(Located {
                path: names::credential_path(namespace, &object.spec.engine_ref.name, &object.spec.role),
                ttl: ttl.filter(|ttl| !ttl.is_zero()),
            }))
        })
    }

    fn namespace<'a>(&'a self, name: &'a str) -> Answer<'a, Namespace> {
        Box::pin(async move {
            let known = self.namespaces.read().as_ref().and_then(|known| known.get(name).cloned());
            let annotations = match known {
                Some(annotations) => annotations,
                // Made a moment ago, or the watch has not begun.
                None => {
                    let api: Api<v1::Namespace> = Api::all(self.client.clone());
                    api.get_metadata_opt(name).await?.map(|found| concerning(&found)).unwrap_or_default()
                }
            };
            Ok(Namespace { name: name.to_owned(), annotations })
        })
    }
}

fn concerning(namespace: &PartialObjectMeta<v1::Namespace>) -> Annotations {
    let concerns = |key: &str| key == NAMESPACE_PROFILE || key.starts_with(NAMESPACE_DEFAULTS);
    let all = namespace.annotations().iter().filter(|(key, _)| concerns(key));
    all.map(|(key, value)| (key.clone(), value.clone())).collect()
}
