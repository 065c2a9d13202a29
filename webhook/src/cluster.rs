//! What the webhook asks the cluster: DynamicCredential objects by name, and annotations of namespaces.

mod mirror;

use std::{future::Future, pin::Pin, time::Duration};

use anyhow::Context as _;
use holdfast_base::duration;
use holdfast_crd_types::{DynamicCredential, names};
use holdfast_runtime::Shutdown;
use k8s_openapi::api::core::v1;
use kube::{Api, Client, ResourceExt, core::PartialObjectMeta};

use self::mirror::Mirror;
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

/// Asks the API server. What reviews need is watched, so that nearly every one is answered from memory; what is not there
/// (yet) is asked for.
#[derive(Clone)]
pub struct Live {
    client: Client,
    /// Of every namespace, what concerns injection.
    namespaces: Mirror<Annotations>,
    /// Of every DynamicCredential, where it is read. One that makes no sense is not in it.
    credentials: Mirror<Located>,
}

impl Live {
    /// Knows nothing until [`Live::watch`] runs, and asks.
    pub fn new(client: Client) -> Self {
        Self { client, namespaces: Mirror::default(), credentials: Mirror::default() }
    }

    /// Watches until the shutdown.
    ///
    /// # Errors
    /// When a watch ends by itself.
    pub async fn watch(self, shutdown: Shutdown) -> anyhow::Result<()> {
        let namespaces: Api<PartialObjectMeta<v1::Namespace>> = Api::all(self.client.clone());
        let credentials: Api<DynamicCredential> = Api::all(self.client);
        let namespaces = self.namespaces.keep(namespaces, |namespace| Some(concerning(namespace)), &shutdown);
        let credentials = self.credentials.keep(credentials, |object| located(object).ok(), &shutdown);
        tokio::try_join!(namespaces, credentials).map(drop)
    }
}

impl Cluster for Live {
    fn locate<'a>(&'a self, namespace: &'a str, name: &'a str) -> Answer<'a, Option<Located>> {
        Box::pin(async move {
            if let Some(known) = self.credentials.get(namespace, name) {
                return Ok(Some(known));
            }
            let objects: Api<DynamicCredential> = Api::namespaced(self.client.clone(), namespace);
            objects.get_opt(name).await?.as_ref().map(located).transpose()
        })
    }

    fn namespace<'a>(&'a self, name: &'a str) -> Answer<'a, Namespace> {
        Box::pin(async move {
            let annotations = match self.namespaces.get("", name) {
                Some(annotations) => annotations,
                None => {
                    let api: Api<v1::Namespace> = Api::all(self.client.clone());
                    api.get_metadata_opt(name).await?.map(|found| concerning(&found)).unwrap_or_default()
                }
            };
            Ok(Namespace { name: name.to_owned(), annotations })
        })
    }
}

fn located(object: &DynamicCredential) -> anyhow::Result<Located> {
    let ttl = object.spec.ttl.as_deref().map(duration::parse).transpose().context("spec.ttl")?;
    let namespace = object.namespace().unwrap_or_default();
    Ok(Located {
        path: names::credential_path(&namespace, &object.spec.engine_ref.name, &object.spec.role),
        ttl: ttl.filter(|ttl| !ttl.is_zero()),
    })
}

fn concerning(namespace: &PartialObjectMeta<v1::Namespace>) -> Annotations {
    let concerns = |key: &str| key == NAMESPACE_PROFILE || key.starts_with(NAMESPACE_DEFAULTS);
    let all = namespace.annotations().iter().filter(|(key, _)| concerns(key));
    all.map(|(key, value)| (key.clone(), value.clone())).collect()
}
