//! What happens to a node, its kubelet and its driver while pods use volumes.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use holdfast_base::Clock;
use holdfast_e2e::{
    Release, Shop, nodes, postgres,
    shell::{kubectl, kubectl_apply, run},
    shop::{self, PODS_AND_PLACES},
    wait::eventually_within,
};

use crate::release;

const LONG: Duration = Duration::from_secs(240);
const PLACE: shop::Place = PODS_AND_PLACES[0];

/// The pod's own user still works, is still the same, and new values still arrive.
async fn is_well(shop: &Shop, release: &Release, users: &[String], value: &str) -> Result<()> {
    let server = shop::connect(release).await?;
    shop.set_token(&shop.admin(&server).await?, value).await?;
    shop.wait_file(PLACE.pod, PLACE.token, value, LONG).await?;
    shop.query_from(PLACE).await?;
    let now = shop.lasting_users().await?;
    ensure!(now == users, "{users:?} became {now:?}");
    Ok(())
}

async fn opened(ns: &str) -> Result<(Shop, &'static Release, Vec<String>)> {
    let release = release().await?;
    let shop = Shop::open(ns).await?;
    shop.apply().await?;
    let server = shop::connect(release).await?;
    shop.set_token(&shop.admin(&server).await?, "first").await?;
    shop.start_pods().await?;
    let users = shop.lasting_users().await?;
    ensure!(users.len() == 2, "{users:?}");
    Ok((shop, release, users))
}

/// A rollout of the DaemonSet, a mounter that dies, a kubelet that restarts.
#[tokio::test]
async fn c_volumes_outlive_their_driver_and_kubelet() -> Result<()> {
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

/// `make csi-soak`: what takes minutes. Many pods on one node, with figures; the server away for two minutes.
#[tokio::test]
async fn d_soak() -> Result<()> {
    let Ok(most) = std::env::var("HOLDFAST_CSI_PODS") else { return Ok(()) };
    let most: usize = most.parse().context("HOLDFAST_CSI_PODS is no number")?;
    let (shop, release, users) = opened("e2e-soak").await?;
    let ns = shop.namespace.clone();
    let hns = release.namespace();

    let node = nodes::of(&ns, PLACE.pod).await?;
    for round in 0..5 {
        let value = format!("latency-{round}");
        let uid = run("kubectl", &["get", "pod", "-n", &ns, PLACE.pod, "-o", "jsonpath={.metadata.uid}"]).await?;
        let file = format!("/var/lib/kubelet/pods/{uid}/volumes/kubernetes.io~csi/secrets/mount/api-token");
        let line = format!("until grep -q {value} {file}; do sleep 0.01; done; date +%s%3N");
        let (server, watched_value) = (shop::connect(release).await?, value.clone());
        let admin = shop.admin(&server).await?;
        let watched = nodes::shell(&node, &line);
        let written = async {
            tokio::time::sleep(Duration::from_secs(1)).await;
            shop.set_token(&admin, &watched_value).await?;
            anyhow::Ok(holdfast_base::SystemClock.now().as_millisecond())
        };
        let (seen, written) = tokio::join!(watched, written);
        let seen: i64 = seen?.trim().parse()?;
        eprintln!("write to file: {} ms", seen - written?);
    }

    nodes::shell(&node, "sed -i '/^maxPods/d' /var/lib/kubelet/config.yaml; echo 'maxPods: 250' >>/var/lib/kubelet/config.yaml; systemctl restart kubelet").await?;
    let mut counts = vec![1, 50, most];
    counts.dedup();
    for count in counts.into_iter().filter(|count| *count <= most) {
        many(&shop, &node, count).await?;
    }
    kubectl(&format!("scale statefulset -n {hns} {}-server --replicas=0", release.name)).await?;
    tokio::time::sleep(Duration::from_secs(120)).await;
    let status = shop.file(PLACE.pod, "/secrets/.holdfast/status.json").await?;
    ensure!(status.contains("stale"), "two minutes without a server: {status}");
    ensure!(shop.restarts(PLACE.pod).await? == 0);
    kubectl(&format!("scale statefulset -n {hns} {}-server --replicas=1", release.name)).await?;
    release.ready("server").await?;
    is_well(&shop, release, &users, "after two minutes").await.context("after two minutes without a server")?;
    kubectl(&format!("delete pod -n {ns} pod-a pod-b --timeout=60s")).await?;
    eventually_within(LONG, "all users are gone", || async {
        let left = postgres::minted(&ns).await?;
        ensure!(left.is_empty(), "{left:?}");
        Ok(Some(()))
    })
    .await?;
    let left: Vec<_> = nodes::mounts().await?;
    ensure!(left.is_empty(), "{left:?}");
    shop.close(Duration::from_secs(120)).await?;
    Ok(())
}

/// So many pods on one node at once: how long publishing takes, what the driver weighs; then all of it goes.
async fn many(shop: &Shop, node: &str, count: usize) -> Result<()> {
    let ns = shop.namespace.as_str();
    // Right after its start kubelet knows no pods.
    let before = eventually_within(LONG, "users", || async { shop.lasting_users().await.map(Some) }).await?.len();
    let deployment = format!(
        r#"
apiVersion: apps/v1
kind: Deployment
metadata: {{name: many}}
spec:
  replicas: {count}
  selector: {{matchLabels: {{w: many}}}}
  template:
    metadata: {{labels: {{w: many}}}}
    spec:
      nodeName: {node}
      serviceAccountName: orders
      enableServiceLinks: false
      terminationGracePeriodSeconds: 0
      containers: [{{name: app, image: "holdfast.dev/postgres:dev", command: [sleep, "100000"], volumeMounts: [{{name: s, mountPath: /s}}]}}]
      volumes:
      - name: s
        csi: {{driver: csi.holdfast.dev, readOnly: true, volumeAttributes: {{credentials: orders-ro, items: "- {{path: k8s/{ns}/kv/data/orders/api, key: token, file: api-token}}"}}}}
"#
    );
    let start = Instant::now();
    kubectl_apply(ns, &deployment).await?;
    kubectl(&format!("rollout status -n {ns} deployment/many --timeout=900s")).await?;
    let took = start.elapsed();
    ensure!(shop.lasting_users().await?.len() == before + count);
    let pod = run(
        "kubectl",
        &[
            "get",
            "pod",
            "-n",
            "holdfast",
            "-l",
            "app.kubernetes.io/component=csi",
            "--field-selector",
            &format!("spec.nodeName={node}"),
            "-o",
            "jsonpath={.items[0].metadata.name}",
        ],
    )
    .await?;
    let log =
        run("kubectl", &["logs", "-n", "holdfast", &pod, "-c", "csi", &format!("--since={}s", took.as_secs() + 2)])
            .await?;
    let mut times: Vec<u64> = log
        .lines()
        .filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok())
        .filter_map(|line| line["took_ms"].as_u64().or_else(|| line["fields"]["took_ms"].as_u64()))
        .collect();
    times.sort_unstable();
    let at = |percent: usize| times.get((times.len() * percent / 100).min(times.len().saturating_sub(1))).copied();
    let memory = nodes::shell(node, "for p in $(pgrep holdfast-csi); do tr '\\0' ' ' </proc/$p/cmdline | cut -c1-24; grep -E 'VmRSS|RssAnon' /proc/$p/status; done").await?;
    eprintln!(
        "{count} pods in {took:?}: {} publishes, p50 {:?} ms, p99 {:?} ms\n{memory}",
        times.len(),
        at(50),
        at(99)
    );
    kubectl(&format!("delete deployment -n {ns} many --cascade=foreground --timeout=600s")).await?;
    eventually_within(LONG, "the users of many pods are gone", || async {
        let left = shop.lasting_users().await?;
        ensure!(left.len() == before, "{} users", left.len());
        Ok(Some(()))
    })
    .await
}
