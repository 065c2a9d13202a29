//! `make csi-soak`: what takes minutes. Many pods on one node, with figures; server and etcd away for two minutes each.

use std::{
    fmt,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use holdfast_base::Clock;
use holdfast_e2e::{
    Shop, nodes, postgres,
    release::IMAGES,
    shell::{kubectl, kubectl_apply, run},
    shop,
    wait::eventually_within,
    workloads::no_mount_is_left,
};

use super::{
    nodes::{LONG, PLACE, is_well, opened},
    outages::etcd_hangs,
};

/// How long server and etcd are away.
const AWAY: Duration = Duration::from_secs(120);
/// How many pods at once, as far as `PODS` goes.
const COUNTS: [usize; 4] = [1, 50, 100, 200];

/// So many pods at once: a line of the table.
struct Row {
    pods: usize,
    took: Duration,
    /// Of publishes, milliseconds, in order.
    times: Vec<u64>,
    fetcher: Memory,
    mounter: Memory,
}

/// Of a process, kB.
#[derive(Default)]
struct Memory {
    own: u64,
    resident: u64,
}

/// Does nothing unless `HOLDFAST_CSI_PODS` says how many pods.
#[tokio::test]
async fn many_pods_on_one_node_and_two_minutes_without_server_and_etcd() -> Result<()> {
    let Ok(most) = std::env::var("HOLDFAST_CSI_PODS") else { return Ok(()) };
    let most: usize = most.parse().context("HOLDFAST_CSI_PODS is no number")?;
    let (shop, release, users) = opened("e2e-soak").await?;
    let ns = shop.namespace.clone();
    let hns = release.namespace();

    let node = nodes::of(&ns, PLACE.pod).await?;
    let mut latencies = Vec::new();
    for round in 0..5 {
        latencies.push(write_to_file(&shop, &node, &format!("latency-{round}")).await?);
    }

    nodes::shell(&node, "sed -i '/^maxPods/d' /var/lib/kubelet/config.yaml; echo 'maxPods: 250' >>/var/lib/kubelet/config.yaml; systemctl restart kubelet").await?;
    let mut counts: Vec<usize> = COUNTS.into_iter().filter(|count| *count < most).collect();
    counts.push(most);
    let mut rows = Vec::new();
    for count in counts {
        rows.push(many(&shop, &node, count).await?);
        eprintln!("{}", rows[rows.len() - 1]);
    }
    print(&rows, &latencies).await?;

    kubectl(&format!("scale statefulset -n {hns} {}-server --replicas=0", release.name)).await?;
    tokio::time::sleep(AWAY).await;
    let status = shop.file(PLACE.pod, "/secrets/.holdfast/status.json").await?;
    ensure!(status.contains("stale"), "two minutes without a server: {status}");
    ensure!(shop.restarts(PLACE.pod).await? == 0);
    kubectl(&format!("scale statefulset -n {hns} {}-server --replicas=1", release.name)).await?;
    release.ready("server").await?;
    is_well(&shop, release, &users, "after two minutes").await.context("after two minutes without a server")?;
    etcd_hangs(&shop, release, &users, AWAY).await?;

    kubectl(&format!("delete pod -n {ns} pod-a pod-b --timeout=60s")).await?;
    eventually_within(LONG, "all users are gone", || async {
        let left = postgres::minted(&ns).await?;
        ensure!(left.is_empty(), "{left:?}");
        Ok(Some(()))
    })
    .await?;
    no_mount_is_left().await?;
    shop.close(Duration::from_secs(120)).await?;
    Ok(())
}

/// Milliseconds from the answer to a write until the pod's file has the value.
async fn write_to_file(shop: &Shop, node: &str, value: &str) -> Result<i64> {
    let ns = &shop.namespace;
    let uid = run("kubectl", &["get", "pod", "-n", ns, PLACE.pod, "-o", "jsonpath={.metadata.uid}"]).await?;
    let file = format!("/var/lib/kubelet/pods/{uid}/volumes/kubernetes.io~csi/secrets/mount/api-token");
    let line = format!("until grep -q {value} {file}; do sleep 0.01; done; date +%s%3N");
    let server = shop::connect(super::release().await?).await?;
    let admin = shop.admin(&server).await?;
    let written = async {
        // The watcher is there by then.
        tokio::time::sleep(Duration::from_secs(1)).await;
        shop.set_token(&admin, value).await?;
        anyhow::Ok(holdfast_base::SystemClock.now().as_millisecond())
    };
    let (seen, written) = tokio::join!(nodes::shell(node, &line), written);
    let seen: i64 = seen?.trim().parse()?;
    Ok(seen - written?)
}

/// So many pods on one node at once: how long publishing takes, what the driver weighs; then all of it goes.
async fn many(shop: &Shop, node: &str, count: usize) -> Result<Row> {
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
    let row = Row {
        pods: count,
        took,
        times: publishes(node, took).await?,
        fetcher: memory(node, "fetcher").await?,
        mounter: memory(node, "mounter").await?,
    };
    kubectl(&format!("delete deployment -n {ns} many --cascade=foreground --timeout=600s")).await?;
    eventually_within(LONG, "the users of many pods are gone", || async {
        let left = shop.lasting_users().await?;
        ensure!(left.len() == before, "{} users", left.len());
        Ok(Some(()))
    })
    .await?;
    Ok(row)
}

/// How long each publish of the last while took, by the driver's log.
async fn publishes(node: &str, last: Duration) -> Result<Vec<u64>> {
    let on_node = format!("spec.nodeName={node}");
    let name = "jsonpath={.items[0].metadata.name}";
    let list = ["get", "pod", "-n", "holdfast", "-l", "app.kubernetes.io/component=csi", "--field-selector", &on_node];
    let pod = run("kubectl", &[&list[..], &["-o", name]].concat()).await?;
    let log = kubectl(&format!("logs -n holdfast {pod} -c csi --since={}s", last.as_secs() + 2)).await?;
    let lines = log.lines().filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok());
    let mut times: Vec<u64> =
        lines.filter_map(|line| line["took_ms"].as_u64().or_else(|| line["fields"]["took_ms"].as_u64())).collect();
    times.sort_unstable();
    Ok(times)
}

/// What a process of the driver weighs.
async fn memory(node: &str, part: &str) -> Result<Memory> {
    let status = nodes::shell(node, &format!("cat /proc/$(pgrep -f '[h]oldfast-csi {part}')/status")).await?;
    let value = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_default();
        line.split_whitespace().nth(1).and_then(|number| number.parse().ok()).unwrap_or_default()
    };
    Ok(Memory { own: value("RssAnon"), resident: value("VmRSS") })
}

/// As Markdown, to be pasted.
async fn print(rows: &[Row], latencies: &[i64]) -> Result<()> {
    eprintln!(
        "\n| pods at once | until all run | publishes | publish p50 | publish p99 | fetcher own / resident | mounter own / resident |"
    );
    eprintln!("|---:|---:|---:|---:|---:|---:|---:|");
    for row in rows {
        eprintln!("{row}");
    }
    let names = IMAGES.map(|name| format!("holdfast.dev/{name}:dev"));
    let arguments = ["image", "inspect", "-f", "{{.Size}}"].into_iter().chain(names.iter().map(String::as_str));
    let sizes = run("docker", &arguments.collect::<Vec<_>>()).await?;
    eprintln!("\n| image | size |\n|---|---:|");
    for (name, size) in IMAGES.iter().zip(sizes.lines()) {
        eprintln!("| {name} | {:.1} MB |", size.trim().parse::<f64>()? / 1e6);
    }
    eprintln!("\nFrom the answer to a write until the file in the pod has the value: {latencies:?} ms.\n");
    Ok(())
}

impl fmt::Display for Row {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let at = |percent: usize| {
            let index = (self.times.len() * percent / 100).min(self.times.len().saturating_sub(1));
            self.times.get(index).copied().unwrap_or_default()
        };
        let (pods, took, publishes) = (self.pods, self.took.as_secs_f64(), self.times.len());
        write!(f, "| {pods} | {took:.1} s | {publishes} | {} ms | {} ms ", at(50), at(99))?;
        write!(f, "| {} | {} |", self.fetcher, self.mounter)
    }
}

impl fmt::Display for Memory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:.1} / {:.1} MB", self.own as f64 / 1024.0, self.resident as f64 / 1024.0)
    }
}
