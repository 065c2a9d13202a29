//! The server sealed, its store away, a node restarted: pods that run go on, new ones wait, and afterwards all is as it
//! was.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use holdfast_e2e::{
    Release, Shop, nodes,
    shell::{kubectl, kubectl_apply, run},
    shop::{self, PODS_AND_PLACES, Place},
    wait::eventually_within,
};
use serde_json::{Value, json};

use super::{
    lasting,
    nodes::{LONG, PLACE, is_well, opened},
};
use crate::event;

const PODS: &str = include_str!("../../manifests/pods.yaml");
/// The pods that come while something is away, by volume and by annotations.
const LATE: [&str; 2] = ["late-a", "late-b"];

/// A server that somebody sealed: mounted volumes stay and say that they are stale, new pods wait and say why; unsealed by
/// an administrator's token, all goes on.
#[tokio::test]
async fn a_sealed_server_delays_new_pods_and_no_others() -> Result<()> {
    lasting().await?;
    let (shop, release, users) = opened("e2e-sealed").await?;
    let server = shop::connect(release).await?;
    let admin = server.login(release.namespace(), "holdfast-admin", "holdfast-admin").await?;
    admin.write("sys/seal", json!({})).await?;
    let seen = async {
        eventually_within(LONG, "the server is sealed", || async {
            Ok(server.client.seal_status().await?.sealed.then_some(()))
        })
        .await?;
        late_pods_wait(&shop).await?;
        pods_go_on(&shop).await?;
        event(&shop.namespace, &[PLACE.pod, "SecretsStale"]).await?;
        event(&shop.namespace, &[PLACE.pod, "SecretsExpired", "orders-brief"]).await?;
        kubelet_finds_the_volume(&shop, true).await?;
        event(&shop.namespace, &[PLACE.pod, "VolumeConditionAbnormal", "stale:"]).await
    };
    let seen = seen.await;
    // Whatever was seen: the next test wants a server.
    eventually_within(LONG, "the server is unsealed", || async {
        admin.write("sys/unseal", json!({})).await?;
        Ok((!admin.seal_status().await?.sealed).then_some(()))
    })
    .await?;
    release.ready("server").await?;
    seen?;
    late_pods_run(&shop, &users).await?;
    is_well(&shop, release, &users, "after the seal").await.context("after the seal")?;
    event(&shop.namespace, &[PLACE.pod, "SecretsFresh"]).await?;
    kubelet_finds_the_volume(&shop, false).await?;
    shop.close(Duration::from_secs(120)).await?;
    Ok(())
}

/// An etcd that does not answer, for a while (`make csi-soak`: two minutes).
#[tokio::test]
async fn etcd_that_hangs_delays_new_pods_and_no_others() -> Result<()> {
    lasting().await?;
    let (shop, release, users) = opened("e2e-etcd").await?;
    etcd_hangs(&shop, release, &users, Duration::from_secs(40)).await?;
    shop.close(Duration::from_secs(120)).await?;
    Ok(())
}

/// Etcd hangs for so long: pods go on, new ones wait and run afterwards, and the server needs no restart.
pub(super) async fn etcd_hangs(shop: &Shop, release: &Release, users: &[String], how_long: Duration) -> Result<()> {
    let restarts = release.restarts("server").await?;
    let meanwhile = async {
        let start = Instant::now();
        late_pods_wait(shop).await?;
        pods_go_on(shop).await?;
        tokio::time::sleep(how_long.saturating_sub(start.elapsed())).await;
        pods_go_on(shop).await
    };
    release.while_stopped("etcd", meanwhile).await.context("while etcd hangs")?;
    release.ready("etcd").await?;
    release.ready("server").await?;
    late_pods_run(shop, users).await?;
    is_well(shop, release, users, "after etcd").await.context("after etcd hung")?;
    let now = release.restarts("server").await?;
    ensure!(now == restarts, "the server was restarted {} times", now - restarts);
    Ok(())
}

/// A node that restarts: the pods on it live on, with the users that they had, and all volumes are mounted again.
#[tokio::test]
async fn pods_keep_their_users_over_a_restart_of_their_node() -> Result<()> {
    lasting().await?;
    let Some(node) = nodes::workers().await?.into_iter().next() else {
        eprintln!("this cluster has no workers");
        return Ok(());
    };
    let (shop, release) = super::nodes::empty("e2e-node").await?;
    shop.start_pods_where(&format!("nodeName: {node}")).await?;
    let users = shop.lasting_users().await?;
    ensure!(users.len() == 2, "{users:?}");
    let mounted = mounted_on(&node).await?;
    ensure!(!mounted.is_empty(), "nothing is mounted on {node}");

    nodes::restart(&node).await?;
    for place in PODS_AND_PLACES {
        eventually_within(LONG, &format!("{} runs again", place.pod), || async {
            let ns = &shop.namespace;
            ensure!(shop.restarts(place.pod).await? > 0, "its containers were not started again");
            kubectl(&format!("wait -n {ns} --for=condition=Ready pod/{} --timeout=5s", place.pod)).await?;
            shop.query_from(place).await.map(Some)
        })
        .await?;
    }
    for component in ["etcd", "server", "csi", "webhook", "operator"] {
        release.ready(component).await.with_context(|| format!("after {node} was restarted"))?;
    }
    eventually_within(LONG, "all volumes are mounted again", || async {
        let now = mounted_on(&node).await?;
        ensure!(now == mounted, "{mounted:?} became {now:?}");
        Ok(Some(()))
    })
    .await?;
    is_well(&shop, release, &users, "after the node").await.context("after the node was restarted")?;
    shop.close(Duration::from_secs(120)).await?;
    Ok(())
}

async fn mounted_on(node: &str) -> Result<Vec<String>> {
    let mut all = nodes::mounts().await?;
    all.retain(|mount| mount.starts_with(&format!("{node}:")));
    all.sort();
    Ok(all)
}

/// Pods that were there: their users work, nothing was restarted, and the volume says that it can't be renewed.
async fn pods_go_on(shop: &Shop) -> Result<()> {
    eventually_within(LONG, "the volume says that it is stale", || async {
        let status = shop.file(PLACE.pod, "/secrets/.holdfast/status.json").await?;
        ensure!(status.contains("\"stale\""), "{status}");
        Ok(Some(()))
    })
    .await?;
    for place in PODS_AND_PLACES {
        shop.query_from(place).await?;
        let restarts = shop.restarts(place.pod).await?;
        ensure!(restarts == 0, "{} was restarted {restarts} times", place.pod);
    }
    Ok(())
}

/// New pods are taken, and do not run yet; what they wait for is in an event.
async fn late_pods_wait(shop: &Shop) -> Result<()> {
    let ns = &shop.namespace;
    let pods = PODS.replace("NAMESPACE", ns).replace("pod-a", LATE[0]).replace("pod-b", LATE[1]);
    kubectl_apply(ns, &pods).await?;
    event(ns, &[LATE[0], "FailedMount", "logging in"]).await?;
    for pod in LATE {
        let phase = run("kubectl", &["get", "pod", "-n", ns, pod, "-o", "jsonpath={.status.phase}"]).await?;
        ensure!(phase == "Pending", "{pod} is {phase}");
    }
    Ok(())
}

/// Waits until kubelet, which asks the driver each minute, tells monitoring so of the pod's volume.
async fn kubelet_finds_the_volume(shop: &Shop, abnormal: bool) -> Result<()> {
    let node = nodes::of(&shop.namespace, PLACE.pod).await?;
    let summary = format!("get --raw /api/v1/nodes/{node}/proxy/stats/summary");
    eventually_within(LONG, &format!("kubelet finds abnormal={abnormal}"), || async {
        let summary: Value = serde_json::from_str(&kubectl(&summary).await?)?;
        let mut pods = summary["pods"].as_array().into_iter().flatten();
        let of_pod = |pod: &&Value| pod["podRef"]["name"] == PLACE.pod && pod["podRef"]["namespace"] == *shop.namespace;
        let pod = pods.find(of_pod).context("kubelet does not know the pod")?;
        let mut volumes = pod["volume"].as_array().into_iter().flatten();
        let volume = volumes.find(|volume| volume["name"] == "secrets").context("kubelet does not know the volume")?;
        let health = &volume["volumeHealthStats"];
        ensure!(*health == json!({"abnormal": abnormal}), "{health}");
        Ok(Some(()))
    })
    .await
}

/// Now they run, each with a user that is its own; and go.
async fn late_pods_run(shop: &Shop, users: &[String]) -> Result<()> {
    let ns = &shop.namespace;
    // An agent that gave up is started again after a pause that kubelet chooses.
    let wait = format!("wait -n {ns} --for=condition=Ready pod/{} pod/{} --timeout=300s", LATE[0], LATE[1]);
    if let Err(error) = kubectl(&wait).await {
        return Err(error.context(kubectl(&format!("describe pod -n {ns}")).await?));
    }
    for (pod, place) in LATE.into_iter().zip(PODS_AND_PLACES) {
        let row = shop.query_from(Place { pod, ..place }).await?;
        let user = row.split(' ').next().unwrap_or_default().to_owned();
        ensure!(user.starts_with("v-") && !users.contains(&user), "{pod}: {row}");
    }
    let now = shop.lasting_users().await?;
    ensure!(now.len() == users.len() + LATE.len(), "{now:?}");
    kubectl(&format!("delete pod -n {ns} {} {} --timeout=90s", LATE[0], LATE[1])).await?;
    eventually_within(LONG, "the users of the pods that came late are gone", || async {
        let now = shop.lasting_users().await?;
        ensure!(now == users, "{now:?}");
        Ok(Some(()))
    })
    .await
}
