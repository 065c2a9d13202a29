//! Tests that break the release, one at a time, in the order of their names.

mod gone;
mod nodes;
mod outages;
mod soak;

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use holdfast_e2e::{
    Load, Release, Server, Service, Shop,
    leaks::Canaries,
    postgres,
    shell::{kubectl, run},
    shop::{self, PODS_AND_PLACES},
    wait::eventually_within,
    workloads::{self, Way, no_mount_is_left, users_are_pods},
};
use serde_json::json;
use tokio::sync::OnceCell;

use crate::release;

/// A shop whose pods, of all kinds and by both ways, live through all of these tests.
struct Lasting {
    shop: Shop,
    pods: usize,
}

/// Opened by the first test that asks.
async fn lasting() -> Result<&'static Lasting> {
    static LASTING: OnceCell<Lasting> = OnceCell::const_new();
    let open = || async {
        let (shop, _) = nodes::empty("e2e-lasting").await?;
        let pods = workloads::start(&shop, Way::Volume).await? + workloads::start(&shop, Way::Annotations).await?;
        users_are_pods(&shop.namespace, pods).await?;
        anyhow::Ok(Lasting { shop, pods })
    };
    LASTING.get_or_try_init(open).await
}

/// Nothing in the store is lost, left over or unreadable.
async fn store_is_clean(release: &Release) -> Result<()> {
    let server = shop::connect(release).await?;
    let admin = server.login(release.namespace(), "holdfast-admin", "holdfast-admin").await?;
    let report = admin.read("sys/fsck").await?.and_then(|envelope| envelope.data).context("sys/fsck is empty")?;
    ensure!(report.get("clean").and_then(serde_json::Value::as_bool) == Some(true), "{report:?}");
    Ok(())
}

/// kill -9 of every component while pods run, start and end: no user is made twice, none is left, fsck is clean.
#[tokio::test]
async fn a_kill_of_any_component_orphans_nothing() -> Result<()> {
    lasting().await?;
    let release = release().await?;
    let ns = "e2e-kill";
    let shop = Shop::opened(release, ns).await?.shop;
    shop.start_pods().await?;
    let before = shop.lasting_users().await?;
    ensure!(before.len() == 2, "{before:?}");
    for component in ["csi", "webhook", "operator", "server", "etcd"] {
        release.kill(component).await.with_context(|| format!("{component} comes back"))?;
        eventually_within(
            Duration::from_secs(30),
            &format!("pods still query after {component} was killed"),
            || async {
                for place in PODS_AND_PLACES {
                    shop.query_from(place).await?;
                }
                Ok(Some(()))
            },
        )
        .await?;
        let after = shop.lasting_users().await?;
        ensure!(before == after, "{component}: {before:?} became {after:?}");
    }

    // Killed in the middle of ends and starts. (A container that is killed again and again is held back by kubelet, so
    // each is killed once here.)
    kubectl(&format!("delete pod -n {ns} pod-a pod-b --wait=false")).await?;
    release.kill("server").await?;
    kubectl(&format!("wait --for=delete -n {ns} pod/pod-a pod/pod-b --timeout=60s")).await?;
    let (started, killed) = tokio::join!(shop.start_pods(), release.kill("csi"));
    killed?;
    if started.is_err() {
        shop.start_pods().await?;
    }
    kubectl(&format!("delete pod -n {ns} pod-a pod-b --wait=false")).await?;
    release.kill("operator").await?;
    eventually_within(Duration::from_secs(60), "all users are gone", || async {
        let left = postgres::minted(ns).await?;
        ensure!(left.is_empty(), "left: {left:?}");
        Ok(Some(()))
    })
    .await?;
    store_is_clean(release).await?;
    shop.close(Duration::from_secs(60)).await?;
    Ok(())
}

/// A namespace with live objects goes within 30 s although the server is away; what could not be revoked then is later.
#[tokio::test]
async fn b_namespace_deletes_while_the_server_is_away() -> Result<()> {
    lasting().await?;
    let release = release().await?;
    let database = Shop::open("e2e-away-db").await?;
    let ns = "e2e-away";
    let shop = Shop { namespace: ns.to_owned() };
    let manifest = run("kubectl", &["create", "namespace", ns, "--dry-run=client", "-o", "yaml"]).await?;
    holdfast_e2e::kubectl_apply("default", &manifest).await?;
    let objects = format!(
        r#"
apiVersion: v1
kind: Secret
metadata: {{name: pg-root}}
stringData: {{username: holdfast, password: first-password}}
---
apiVersion: holdfast.dev/v1alpha1
kind: SecretEngine
metadata: {{name: orders-db}}
spec:
  database:
    postgresql:
      connectionURL: "postgresql://{{{{username}}}}:{{{{password}}}}@pg.{}.svc:5432/orders?sslmode=disable"
      rootCredentialsRef: {{name: pg-root}}
    roles:
    - name: readonly
      creationStatements: ["CREATE ROLE \"{{{{name}}}}\" LOGIN PASSWORD '{{{{password}}}}' VALID UNTIL '{{{{expiration}}}}'"]
---
apiVersion: holdfast.dev/v1alpha1
kind: DynamicCredential
metadata: {{name: kept}}
spec: {{engineRef: {{name: orders-db}}, role: readonly, target: {{secret: {{name: kept}}}}}}
"#,
        database.namespace
    );
    holdfast_e2e::kubectl_apply(ns, &objects).await?;
    kubectl(&format!("wait --for=condition=Ready -n {ns} se/orders-db dcred/kept --timeout=60s")).await?;
    ensure!(postgres::minted(&database.namespace).await?.len() == 1);

    let (hns, set) = (release.namespace(), format!("{}-server", release.name));
    kubectl(&format!("scale statefulset -n {hns} {set} --replicas=0")).await?;
    kubectl(&format!("wait --for=delete -n {hns} pod/{set}-0 --timeout=60s")).await?;
    let took = shop.close(Duration::from_secs(40)).await?;
    kubectl(&format!("scale statefulset -n {hns} {set} --replicas=1")).await?;
    release.ready("server").await?;
    ensure!(took <= Duration::from_secs(30), "the namespace took {took:?}");
    eventually_within(Duration::from_secs(90), "the user is revoked after all", || async {
        Ok(postgres::minted(&database.namespace).await?.is_empty().then_some(()))
    })
    .await?;
    database.close(Duration::from_secs(60)).await?;
    Ok(())
}

/// Three replicas behind the Service are restarted one after the other while others read and write: no request fails.
#[tokio::test]
async fn c_a_rolling_restart_of_three_replicas_fails_no_request() -> Result<()> {
    lasting().await?;
    release().await?;
    let release = Release::install("holdfast", &["server.replicas=3"]).await?;
    release.ready("server").await?;
    let server = Server::connect(&release).await?;
    let admin = server.login(release.namespace(), "holdfast-admin", "holdfast-admin").await?;
    admin.delete("sys/mounts/rolling").await?;
    admin.write("sys/mounts/rolling", json!({"type": "kv", "options": {"version": "1"}})).await?;
    let service = Service::expose(&release).await?;
    let load = Load::start(&service, &admin, "rolling");
    let set = format!("statefulset/{}-server", release.name);
    kubectl(&format!("rollout restart -n {} {set}", release.namespace())).await?;
    kubectl(&format!("rollout status -n {} {set} --timeout=180s", release.namespace())).await?;
    let (answered, failed) = load.stop().await?;
    ensure!(failed.is_empty(), "{} of {answered} requests failed: {:?}", failed.len(), &failed[..failed.len().min(5)]);
    ensure!(answered > 300, "only {answered} requests were made");
    println!("{answered} requests during the restart of three replicas, none failed");
    let server = Server::connect(&release).await?;
    let admin = server.login(release.namespace(), "holdfast-admin", "holdfast-admin").await?;
    admin.delete("sys/mounts/rolling").await?;
    Ok(())
}

/// After all of it: users at the database are the pods that live, no mount is left on any node, what pods were given is in
/// their files only; and when they go, nothing stays.
#[tokio::test]
async fn y_users_are_pods_after_all_of_it() -> Result<()> {
    let (release, Lasting { shop, pods }) = (release().await?, lasting().await?);
    let ns = &shop.namespace;
    users_are_pods(ns, *pods).await?;
    no_mount_is_left().await?;
    let server = shop::connect(release).await?;
    let value = "canary-5d8e2b70";
    shop.set_token(&shop.admin(&server).await?, value).await?;
    shop.wait_file("statefulset-0", "/s/api-token", value, Duration::from_secs(90)).await?;
    let mut values = vec![value.to_owned()];
    for pod in workloads::running(ns).await? {
        values.extend(workloads::password(ns, &pod).await?);
    }
    ensure!(values.len() > 3, "{} values", values.len());
    Canaries::new(&values)?.are_nowhere(release, ns).await?;

    workloads::stop(ns).await?;
    users_are_pods(ns, 0).await?;
    no_mount_is_left().await?;
    store_is_clean(release).await?;
    shop.close(Duration::from_secs(120)).await?;
    Ok(())
}

/// helm uninstall with live objects and running pods leaves nothing that cannot be deleted.
#[tokio::test]
async fn z_uninstall_leaves_nothing_wedged() -> Result<()> {
    let release = release().await?;
    let ns = "e2e-uninstall";
    let shop = Shop::opened(release, ns).await?.shop;
    shop.start_pods().await?;
    kubectl(&format!("delete pod -n {ns} pod-a pod-b --timeout=60s")).await?;
    release.uninstall().await?;
    shop.close(Duration::from_secs(30)).await?;
    let left = kubectl("get mutatingwebhookconfigurations,csidrivers,clusterroles,clusterrolebindings -o name").await?;
    let left: Vec<&str> = left.lines().filter(|name| name.contains("holdfast")).collect();
    ensure!(left.is_empty(), "{left:?}");
    kubectl(&format!("delete namespace {} --timeout=60s", release.namespace())).await?;
    Ok(())
}
