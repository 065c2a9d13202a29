//! The cluster's nodes, which are containers: what is mounted on them, and breaking them.

use std::time::Duration;

use anyhow::{Result, bail};

use crate::{
    shell::{attempt, kubectl, run},
    wait::eventually_within,
};

/// Names of all nodes.
pub async fn names() -> Result<Vec<String>> {
    let list = kubectl("get node -o jsonpath={.items[*].metadata.name}").await?;
    Ok(list.split_whitespace().map(str::to_owned).collect())
}

/// Names of the nodes that are not the control plane.
pub async fn workers() -> Result<Vec<String>> {
    let path = "jsonpath={.items[*].metadata.name}";
    let list = run("kubectl", &["get", "node", "-l", "!node-role.kubernetes.io/control-plane", "-o", path]).await?;
    Ok(list.split_whitespace().map(str::to_owned).collect())
}

/// Output of a shell line on a node.
pub async fn shell(node: &str, line: &str) -> Result<String> {
    run("docker", &["exec", node, "sh", "-c", line]).await
}

/// The same with standard input.
pub async fn shell_with_input(node: &str, line: &str, input: &str) -> Result<String> {
    let (ok, out, err) = attempt("docker", &["exec", "-i", node, "sh", "-c", line], Some(input)).await?;
    if !ok {
        bail!("{line} on {node}: {out}{err}");
    }
    Ok(out)
}

/// Restarts a node: all its processes and mounts go. Waits until it is Ready again.
pub async fn restart(node: &str) -> Result<()> {
    let said = || async {
        let ready = "{.status.conditions[?(@.type==\"Ready\")]";
        let path = format!("jsonpath={ready}.lastHeartbeatTime}} {ready}.status}}");
        run("kubectl", &["get", "node", node, "-o", &path]).await
    };
    run("docker", &["stop", node]).await?;
    let last = said().await?;
    run("docker", &["start", node]).await?;
    // What the API server has of it is old until kubelet says something new.
    let last = last.split(' ').next().unwrap_or_default();
    eventually_within(Duration::from_secs(240), &format!("{node} is Ready again"), || async {
        let now = said().await?;
        Ok((!now.starts_with(last) && now.ends_with(" True")).then_some(()))
    })
    .await
}

/// Takes a node away, as a machine that loses its power and that its owner gives up: all its processes end at once, and
/// its Node object is deleted.
pub async fn lose(node: &str) -> Result<()> {
    run("docker", &["kill", node]).await?;
    kubectl(&format!("delete node {node} --timeout=60s")).await.map(drop)
}

/// Starts a node again that was lost: kubelet makes its Node object anew. Waits until that is Ready.
pub async fn bring_back(node: &str) -> Result<()> {
    run("docker", &["start", node]).await?;
    eventually_within(Duration::from_secs(240), &format!("{node} is back"), || async {
        kubectl(&format!("wait --for=condition=Ready node/{node} --timeout=5s")).await.map(Some)
    })
    .await
    .map(drop)
}

/// Mount points of the driver's file systems on all nodes.
pub async fn mounts() -> Result<Vec<String>> {
    let mut all = Vec::new();
    for node in names().await? {
        let text = shell(&node, "cat /proc/mounts").await?;
        let ours = text.lines().filter(|line| line.starts_with("holdfast-csi "));
        all.extend(ours.filter_map(|line| line.split(' ').nth(1)).map(|path| format!("{node}:{path}")));
    }
    Ok(all)
}

/// The node that a pod runs on.
pub async fn of(namespace: &str, pod: &str) -> Result<String> {
    run("kubectl", &["get", "pod", "-n", namespace, pod, "-o", "jsonpath={.spec.nodeName}"]).await
}
