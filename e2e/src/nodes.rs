//! The cluster's nodes, which are containers: what is mounted on them, and breaking them.

use anyhow::Result;

use crate::shell::{kubectl, run};

/// Names of all nodes.
pub async fn names() -> Result<Vec<String>> {
    let list = kubectl("get node -o jsonpath={.items[*].metadata.name}").await?;
    Ok(list.split_whitespace().map(str::to_owned).collect())
}

/// Output of a shell line on a node.
pub async fn shell(node: &str, line: &str) -> Result<String> {
    run("docker", &["exec", node, "sh", "-c", line]).await
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
