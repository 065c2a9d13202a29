//! CSI volumes in everything that makes pods.

use std::time::Duration;

use anyhow::{Result, ensure};
use holdfast_e2e::{
    Shop, postgres,
    shell::{kubectl, kubectl_apply},
    shop::{self, Opened},
    workloads::{self, Way, no_mount_is_left, users_are_pods},
};

use crate::{event, release};

/// Deployment, StatefulSet, DaemonSet, Job of a CronJob; init container and several containers; not root; restricted
/// namespace; a file by subPath, which does not follow changes; a pod that is deleted by force; a namespace that goes.
#[tokio::test]
async fn each_pod_has_its_own_user_as_long_as_it_lives() -> Result<()> {
    let release = release().await?;
    let ns = "e2e-workloads";
    let (Opened { shop, server: _server, admin }, pods) = workloads::opened_shop(release, ns, Way::Volume).await?;

    // A Job of the CronJob ends although it had a volume, and gives its user back.
    workloads::run_job(ns, "cronjob").await?;
    users_are_pods(ns, pods).await?;

    // Changes arrive within a second or two; by subPath they don't, which the documentation says.
    shop.set_token(&admin, "second").await?;
    shop.wait_file("statefulset-0", "/s/api-token", "second", Duration::from_secs(10)).await?;
    ensure!(shop.file("statefulset-0", "/pinned").await? == "first");

    // Away without a farewell: kubelet and driver clean up all the same. The StatefulSet's pod comes back as another.
    kubectl(&format!("delete pod -n {ns} statefulset-0 --force --grace-period=0")).await?;
    users_are_pods(ns, pods).await?;
    kubectl(&format!("scale deployment -n {ns} deployment --replicas=1")).await?;
    users_are_pods(ns, pods - 1).await?;

    shop.close(Duration::from_secs(120)).await?;
    no_mount_is_left().await
}

/// What belongs to another namespace, and a role that wants another audience, are refused with words that help.
#[tokio::test]
async fn volumes_of_the_wrong_namespace_or_audience_say_so() -> Result<()> {
    let release = release().await?;
    let ns = "e2e-wrong";
    let shop = Shop::open(ns).await?;
    shop.apply().await?;
    let server = shop::connect(release).await?;
    let admin = server.login(release.namespace(), "holdfast-admin", "holdfast-admin").await?;
    let role = serde_json::json!({
        "bound_service_account_names": "orders", "bound_service_account_namespaces": ns, "audience": "elsewhere",
    });
    admin.write("auth/kubernetes/role/e2e-elsewhere", role).await?;
    let pod = |name: &str, attributes: &str| {
        format!(
            r#"
apiVersion: v1
kind: Pod
metadata: {{name: {name}}}
spec:
  serviceAccountName: orders
  terminationGracePeriodSeconds: 1
  containers: [{{name: app, image: "holdfast.dev/postgres:dev", command: [sleep, "3600"], volumeMounts: [{{name: s, mountPath: /s}}]}}]
  volumes: [{{name: s, csi: {{driver: csi.holdfast.dev, readOnly: true, volumeAttributes: {{{attributes}}}}}}}]
"#
        )
    };
    kubectl_apply(ns, &pod("audience", "credentials: orders-ro, role: e2e-elsewhere")).await?;
    kubectl_apply(ns, &pod("namespace", r#"items: "- {path: k8s/other/kv/data/x, key: a, file: a}""#)).await?;
    kubectl_apply(ns, &pod("class", "secretProviderClass: nothing")).await?;
    event(ns, &["audience", "FailedMount", "elsewhere", "holdfast"]).await?;
    event(ns, &["namespace", "FailedMount", "k8s/other/kv/data/x", "403"]).await?;
    event(ns, &["class", "FailedMount", "SecretProviderClass"]).await?;
    ensure!(postgres::minted(ns).await?.is_empty());
    admin.delete("auth/kubernetes/role/e2e-elsewhere").await?;
    shop.close(Duration::from_secs(90)).await?;
    Ok(())
}
