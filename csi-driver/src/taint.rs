//! The startup taint: a node that has it takes no pods until the driver is registered with kubelet, so that none is
//! started whose volumes nobody can serve yet. The administrator puts it on new nodes; the driver takes it off.

use std::time::Duration;

use anyhow::Context;
use k8s_openapi::api::core::v1::Node;
use kube::{
    Api, Client,
    api::{Patch, PatchParams},
};
use serde_json::json;
use tracing::{info, warn};

/// How often it is tried.
const ATTEMPTS: u32 = 60;
/// How long to wait in between.
const PAUSE: Duration = Duration::from_secs(5);

/// Takes all taints with this key off the node. Keeps trying for five minutes: the driver serves meanwhile.
pub async fn remove(node: &str, key: &str) {
    for _ in 0..ATTEMPTS {
        match attempt(node, key).await {
            Ok(true) => {
                info!(node, key, "took the startup taint off the node");
                return;
            }
            Ok(false) => return,
            Err(error) => warn!(node, key, error = format!("{error:#}"), "the startup taint is still on the node"),
        }
        tokio::time::sleep(PAUSE).await;
    }
}

/// Was there one? The patch tests what it replaces, so that nobody else's change is lost.
async fn attempt(node: &str, key: &str) -> anyhow::Result<bool> {
    let api: Api<Node> = Api::all(Client::try_default().await?);
    let found = api.get(node).await.context("reading the node")?;
    let taints = found.spec.and_then(|spec| spec.taints).unwrap_or_default();
    let kept: Vec<_> = taints.iter().filter(|taint| taint.key != key).collect();
    if kept.len() == taints.len() {
        return Ok(false);
    }
    let patch = serde_json::from_value(json!([
        {"op": "test", "path": "/spec/taints", "value": taints},
        {"op": "replace", "path": "/spec/taints", "value": kept},
    ]))?;
    api.patch(node, &PatchParams::default(), &Patch::<()>::Json(patch)).await.context("patching the node")?;
    Ok(true)
}
