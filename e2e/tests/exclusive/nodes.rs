//! What happens to a node, its kubelet and its driver while pods use volumes.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use holdfast_e2e::{
    Release, Shop, nodes, postgres,
    shell::kubectl,
    shop::{self, PODS_AND_PLACES},
    wait::eventually_within,
};

use super::lasting;
use crate::release;

/// For what takes its time on a busy machine.
pub(super) const LONG: Duration = Duration::from_secs(240);
/// The pod with the volume.
pub(super) const PLACE: shop::Place = PODS_AND_PLACES[0];

/// The pod's own user still works, is still the same, and new values still arrive.
pub(super) async fn is_well(shop: &Shop, release: &Release, users: &[String], value: &str) -> Result<()> {
    let server = shop::connect(release).await?;
    shop.set_token(&shop.admin(&server).await?, value).await?;
    shop.wait_file(PLACE.pod, PLACE.token, value, LONG).await?;
    shop.query_from(PLACE).await?;
    let now = shop.lasting_users().await?;
    ensure!(now == users, "{users:?} became {now:?}");
    Ok(())
}

/// A shop without pods.
pub(super) async fn empty(ns: &str) -> Result<(Shop, &'static Release)> {
    let release = release().await?;
    Ok((Shop::opened(release, ns).await?.shop, release))
}

/// A shop with both pods, and their users.
pub(super) async fn opened(ns: &str) -> Result<(Shop, &'static Release, Vec<String>)> {
    let (shop, release) = empty(ns).await?;
    shop.start_pods().await?;
    let users = shop.lasting_users().await?;
    ensure!(users.len() == 2, "{users:?}");
    Ok((shop, release, users))
}

/// A rollout of the DaemonSet, a mounter that dies, a kubelet that restarts.
#[tokio::test]
async fn c_volumes_outlive_their_driver_and_kubelet() -> Result<()> {
    lasting().await?;
    let (shop, release, users) = opened("e2e-driver").await?;
    let hns = release.namespace();
    let set = format!("daemonset/{}-csi", release.name);
    kubectl(&format!("rollout restart -n {hns} {set}")).await?;
    kubectl(&format!("rollout status -n {hns} {set} --timeout=180s")).await?;
    is_well(&shop, release, &users, "after the rollout").await.context("after the rollout")?;

    let node = nodes::of(&shop.namespace, PLACE.pod).await?;
    nodes::shell(&node, "kill -9 $(pgrep -f '[h]oldfast-csi mounter')").await?;
    release.ready("csi").await?;
    is_well(&shop, release, &users, "after the mounter").await.context("after the mounter died")?;

    nodes::shell(&node, "systemctl restart kubelet").await?;
    release.ready("csi").await?;
    is_well(&shop, release, &users, "after kubelet").await.context("after kubelet restarted")?;
    kubectl(&format!("delete pod -n {} pod-a pod-b --timeout=60s", shop.namespace)).await?;
    eventually_within(Duration::from_secs(60), "all users are gone", || async {
        Ok(postgres::minted(&shop.namespace).await?.is_empty().then_some(()))
    })
    .await?;
    shop.close(Duration::from_secs(90)).await?;
    Ok(())
}
