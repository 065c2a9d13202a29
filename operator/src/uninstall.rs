//! `holdfast-operator uninstall`, run by the chart before the release is removed: stops the operator, then takes its
//! finalizer off every object, so that nothing waits for an operator that is no more.
//!
//! Nothing is revoked: what the objects made stays with the server's data, and a release installed on that data takes
//! the objects up again.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use clap::Args;
use holdfast_crd_types::{DynamicCredential, SecretEngine, VaultPolicy, names};
use k8s_openapi::{NamespaceResourceScope, api::apps::v1::Deployment};
use kube::{
    Api, Client, Resource, ResourceExt,
    api::{ListParams, Patch, PatchParams},
};
use serde::de::DeserializeOwned;
use serde_json::json;
use tracing::info;

/// What `uninstall` is told.
#[derive(Args, Debug)]
pub struct Uninstall {
    /// Namespace of the release.
    #[arg(long, env = "POD_NAMESPACE")]
    pub namespace: String,
    /// Deployment of the operator.
    #[arg(long)]
    pub deployment: String,
}

/// Stops the operator and frees all objects.
pub async fn run(settings: Uninstall) -> Result<()> {
    let client = Client::try_default().await.context("no way to the Kubernetes API server")?;
    stop(&client, &settings).await?;
    free::<DynamicCredential>(&client).await?;
    free::<VaultPolicy>(&client).await?;
    free::<SecretEngine>(&client).await
}

/// Scales the operator to nothing and waits until no pod of it is left: it would put the finalizers back.
async fn stop(client: &Client, settings: &Uninstall) -> Result<()> {
    let deployments: Api<Deployment> = Api::namespaced(client.clone(), &settings.namespace);
    let nothing = Patch::Merge(json!({ "spec": { "replicas": 0 } }));
    match deployments.patch(&settings.deployment, &PatchParams::default(), &nothing).await {
        Err(kube::Error::Api(status)) if status.code == 404 => return Ok(()),
        other => other.context("the operator's Deployment cannot be scaled down")?,
    };
    let start = Instant::now();
    loop {
        let status = deployments.get(&settings.deployment).await?.status.unwrap_or_default();
        if status.replicas.unwrap_or(0) == 0 && status.terminating_replicas.unwrap_or(0) == 0 {
            return Ok(());
        }
        if start.elapsed() > Duration::from_secs(60) {
            bail!("pods of the operator's Deployment {} do not end", settings.deployment);
        }
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
}

async fn free<K>(client: &Client) -> Result<()>
where
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope> + Clone + std::fmt::Debug + DeserializeOwned,
{
    let kind = K::kind(&());
    let objects = match Api::<K>::all(client.clone()).list(&ListParams::default()).await {
        Err(kube::Error::Api(status)) if status.code == 404 => return Ok(()),
        other => other.with_context(|| format!("{kind} objects cannot be listed"))?,
    };
    for object in objects.items.iter().filter(|object| object.finalizers().iter().any(|held| held == names::FINALIZER)) {
        let (name, namespace) = (object.name_any(), object.namespace().unwrap_or_default());
        let kept: Vec<_> = object.finalizers().iter().filter(|held| *held != names::FINALIZER).collect();
        let patch = Patch::Merge(json!({ "metadata": { "finalizers": kept, "resourceVersion": object.resource_version() } }));
        let patched = Api::<K>::namespaced(client.clone(), &namespace).patch(&name, &PatchParams::default(), &patch).await;
        match patched {
            Err(kube::Error::Api(status)) if status.code == 404 => {}
            other => drop(other.with_context(|| format!("{kind} {namespace}/{name} cannot be freed"))?),
        }
        info!(%kind, namespace, name, "freed");
    }
    Ok(())
}
