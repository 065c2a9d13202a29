//! A node that is gone for good.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use holdfast_e2e::{
    Release, Shop, nodes, postgres,
    shell::{kubectl, run},
    shop::{self, PODS_AND_PLACES},
    wait::eventually_within,
    workloads::{no_mount_is_left, users_are_pods},
};

use super::{
    Lasting, lasting,
    nodes::{LONG, empty},
    store_is_clean,
};

/// From the end of a pod until its users are gone, whoever has to be started again for that.
const SOON: Duration = Duration::from_secs(90);
/// Of the pods that last, how many each node has: a DaemonSet's by volume, and one by annotations.
const ON_EACH_NODE: usize = 2;
/// What the driver remembers, and kubelet's folders of pods.
const REMEMBERED: &str =
    "cat /var/lib/kubelet/plugins/csi.holdfast.dev/state/*/*.json 2>/dev/null; ls /var/lib/kubelet/pods";

/// A machine that loses its power and whose Node object somebody deletes: Kubernetes removes its pods, and nothing of what
/// they had is left, at the database or at the server. When the machine comes back after all, it knows nothing of them.
#[tokio::test]
async fn a_node_that_is_gone_leaves_no_credential_behind() -> Result<()> {
    let Lasting { shop: others, pods } = lasting().await?;
    let (shop, release) = empty("e2e-gone").await?;
    let Some(node) = expendable(release).await? else {
        eprintln!("this cluster has no worker without the store");
        return Ok(());
    };
    shop.start_pods_where(&format!("nodeName: {node}")).await?;
    ensure!(shop.lasting_users().await?.len() == 2);
    let gone = pods_of(&node).await?;

    nodes::lose(&node).await?;
    let seen = async {
        nothing_is_left(&shop, release, &gone).await?;
        users_are_pods(&others.namespace, pods - ON_EACH_NODE).await
    };
    let seen = seen.await;
    // Whatever was seen: the next test wants all nodes.
    nodes::bring_back(&node).await?;
    seen.with_context(|| format!("while {node} was gone"))?;

    for component in ["etcd", "server", "csi", "webhook", "operator"] {
        // Kubelet holds back what has ended several times.
        let what = format!("{component} is ready after {node} came back");
        eventually_within(LONG, &what, || async { release.ready(component).await.map(Some) }).await?;
    }
    eventually_within(LONG, "the node has forgotten its pods", || async {
        let remembered = nodes::shell(&node, REMEMBERED).await?;
        let left: Vec<_> = gone.iter().filter(|uid| remembered.contains(*uid)).collect();
        ensure!(left.is_empty(), "{left:?}");
        Ok(Some(()))
    })
    .await?;
    no_mount_is_left().await?;
    users_are_pods(&others.namespace, *pods).await?;

    // It takes pods as before.
    shop.start_pods_where(&format!("nodeName: {node}")).await?;
    for place in PODS_AND_PLACES {
        shop.query_from(place).await?;
    }
    kubectl(&format!("delete pod -n {} pod-a pod-b --timeout=60s", shop.namespace)).await?;
    users_are_gone(&shop).await?;
    shop.close(Duration::from_secs(120)).await?;
    Ok(())
}

/// A worker that does not have the store, which would be gone with it.
async fn expendable(release: &Release) -> Result<Option<String>> {
    let path = "jsonpath={.items[*].spec.nodeName}";
    let etcd = "app.kubernetes.io/component=etcd";
    let store = run("kubectl", &["get", "pod", "-n", release.namespace(), "-l", etcd, "-o", path]).await?;
    Ok(nodes::workers().await?.into_iter().find(|node| !store.split(' ').any(|of| of == node)))
}

/// Ids of all pods of a node.
async fn pods_of(node: &str) -> Result<Vec<String>> {
    let on_node = format!("spec.nodeName={node}");
    let path = "jsonpath={.items[*].metadata.uid}";
    let uids = run("kubectl", &["get", "pod", "-A", "--field-selector", &on_node, "-o", path]).await?;
    Ok(uids.split_whitespace().map(str::to_owned).collect())
}

async fn users_are_gone(shop: &Shop) -> Result<()> {
    eventually_within(SOON, "the users of the pods are gone", || async {
        let users = postgres::minted(&shop.namespace).await?;
        ensure!(users.is_empty(), "{users:?}");
        Ok(Some(()))
    })
    .await
}

/// The pods go, then their users, their leases, and what the server knows of these pods.
async fn nothing_is_left(shop: &Shop, release: &Release, gone: &[String]) -> Result<()> {
    let ns = &shop.namespace;
    kubectl(&format!("wait -n {ns} --for=delete pod/pod-a pod/pod-b --timeout={}s", LONG.as_secs())).await?;
    users_are_gone(shop).await?;
    let server = shop::connect(release).await?;
    let admin = server.login(release.namespace(), "holdfast-admin", "holdfast-admin").await?;
    for role in ["readonly", "brief"] {
        let leases = admin.list(&format!("sys/leases/lookup/k8s/{ns}/orders-db/creds/{role}")).await?;
        ensure!(leases.is_empty(), "leases of {role}: {leases:?}");
    }
    eventually_within(LONG, "the server knows no pod of the node", || async {
        let known = admin.list("sys/bindings/pod").await?;
        let left: Vec<_> = gone.iter().filter(|uid| known.iter().any(|known| known.contains(*uid))).collect();
        ensure!(left.is_empty(), "{left:?}");
        Ok(Some(()))
    })
    .await?;
    store_is_clean(release).await
}
