//! `holdfast-operator uninstall`: run before a release is removed. Stops the operator and takes its finalizers off, so that
//! no object waits for ever for an operator that is gone. Nothing on the server is touched: who wants credentials revoked
//! deletes the objects first.

use std::{fmt::Debug, time::Duration};

use anyhow::Context as _;
use holdfast_crd_types::{DynamicCredential, SecretEngine, VaultPolicy, names};
use k8s_openapi::api::apps::v1::Deployment;
use kube::{
    Api, Client, Resource, ResourceExt,
    api::{ListParams, Patch, PatchParams},
};
use serde::de::DeserializeOwned;
use serde_json::json;
use tracing::{info, warn};

use crate::{object::Managed, settings::Uninstall};

/// How long the operator's pods may take to end.
const STOP: Duration = Duration::from_secs(45);

/// Stops the operator, then frees all objects.
pub async fn run(flags: &Uninstall) -> anyhow::Result<()> {
    let kube = Client::try_default().await.context("the Kubernetes API server: no configuration")?;
    if let Some(name) = &flags.deployment {
        match tokio::time::timeout(STOP, stop(&kube, &flags.namespace, name)).await {
            Ok(stopped) => stopped.with_context(|| format!("stopping Deployment {name}"))?,
            Err(_) => warn!(deployment = name, "the operator does not end; going on"),
        }
    }
    free::<DynamicCredential>(&kube).await?;
    free::<VaultPolicy>(&kube).await?;
    free::<SecretEngine>(&kube).await
}

async fn stop(kube: &Client, namespace: &str, name: &str) -> Result<(), kube::Error> {
    let api: Api<Deployment> = Api::namespaced(kube.clone(), namespace);
    let patch = Patch::Merge(json!({ "spec": { "replicas": 0 } }));
    match api.patch(name, &PatchParams::default(), &patch).await {
        Err(kube::Error::Api(status)) if status.code == 404 => return Ok(()),
        other => drop(other?),
    }
    loop {
        let found = api.get_opt(name).await?;
        let left = found.and_then(|found| found.status).and_then(|status| status.replicas).unwrap_or(0);
        if left == 0 {
            info!(deployment = name, "the operator has stopped");
            return Ok(());
        }
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
}

/// Takes our finalizer off every object of a kind; a kind that the cluster does not know has none.
async fn free<K>(kube: &Client) -> anyhow::Result<()>
where
    K: Managed + Resource<DynamicType = ()> + DeserializeOwned + Debug,
{
    let listed = match Api::<K>::all(kube.clone()).list(&ListParams::default()).await {
        Err(kube::Error::Api(status)) if status.code == 404 => return Ok(()),
        other => other.with_context(|| format!("listing {}", K::KIND))?,
    };
    let held = |object: &&K| object.finalizers().iter().any(|name| name == names::FINALIZER);
    for object in listed.items.iter().filter(held) {
        let api: Api<K> = Api::namespaced(kube.clone(), &object.namespace().unwrap_or_default());
        let rest: Vec<_> = object.finalizers().iter().filter(|name| *name != names::FINALIZER).collect();
        let body = json!({ "metadata": { "resourceVersion": object.resource_version(), "finalizers": rest } });
        match api.patch(&object.name_any(), &PatchParams::default(), &Patch::Merge(&body)).await {
            Err(kube::Error::Api(status)) if status.code == 404 => {}
            other => drop(other.with_context(|| format!("{} {}", K::KIND, object.name_any()))?),
        }
        info!(kind = K::KIND, namespace = object.namespace().unwrap_or_default(), name = object.name_any(), "free");
    }
    Ok(())
}
