//! CSI volumes in everything that makes pods.

use std::time::Duration;

use anyhow::{Result, ensure};
use holdfast_e2e::{
    Shop, nodes, postgres,
    shell::{exec, kubectl, kubectl_apply, run},
    shop,
    wait::{eventually, eventually_within},
};

use crate::{event, release};

const WORKLOADS: &str = include_str!("../../manifests/workloads.yaml");

/// Names of the running pods of the workloads that last.
async fn living(ns: &str) -> Result<Vec<String>> {
    let path = "jsonpath={range .items[?(@.status.phase==\"Running\")]}{.metadata.name}{'\\n'}{end}";
    let list = run("kubectl", &["get", "pod", "-n", ns, "-l", "users=yes", "-o", path]).await?;
    Ok(list.lines().map(str::to_owned).collect())
}

/// Users at the database are the living pods, one each, and each pod's own is the one that it sees in all containers.
async fn users_are_pods(ns: &str, pods: usize) -> Result<()> {
    eventually_within(Duration::from_secs(90), &format!("{pods} pods with a user each"), || async {
        let (living, users) = (living(ns).await?, postgres::minted(ns).await?);
        ensure!(living.len() == pods && users.len() == pods, "pods {living:?}, users {users:?}");
        let mut seen = Vec::new();
        for pod in &living {
            seen.push(exec(ns, pod, "app", "cat /s/orders-ro/username").await?);
        }
        seen.sort();
        ensure!(seen == users, "pods see {seen:?}, the database has {users:?}");
        Ok(Some(()))
    })
    .await
}

/// Deployment, StatefulSet, DaemonSet, Job of a CronJob; init container and several containers; not root; restricted
/// namespace; a file by subPath, which does not follow changes; a pod that is deleted by force; a namespace that goes.
#[tokio::test]
async fn each_pod_has_its_own_user_as_long_as_it_lives() -> Result<()> {
    let release = release().await?;
    let ns = "e2e-workloads";
    let shop = Shop::open(ns).await?;
    shop.apply().await?;
    kubectl(&format!("label namespace {ns} pod-security.kubernetes.io/enforce=restricted")).await?;
    let server = shop::connect(release).await?;
    let admin = shop.admin(&server).await?;
    shop.set_token(&admin, "first").await?;
    kubectl_apply(ns, &WORKLOADS.replace("NAMESPACE", ns)).await?;
    let workers = kubectl("get node -o name -l !node-role.kubernetes.io/control-plane").await?.lines().count().max(1);
    let pods = 3 + workers;
    users_are_pods(ns, pods).await?;

    // A Job of the CronJob ends although it had a volume, and gives its user back.
    kubectl(&format!("create job -n {ns} once --from=cronjob/cronjob")).await?;
    kubectl(&format!("wait -n {ns} --for=condition=complete job/once --timeout=90s")).await?;
    ensure!(kubectl(&format!("logs -n {ns} job/once -c app")).await? == "anvil\nrope\n");
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

    let uids = run("kubectl", &["get", "pod", "-n", ns, "-o", "jsonpath={.items[*].metadata.uid}"]).await?;
    shop.close(Duration::from_secs(90)).await?;
    for uid in uids.split_whitespace() {
        eventually("no mount of a pod that is gone", || async {
            let left: Vec<_> = nodes::mounts().await?.into_iter().filter(|mount| mount.contains(uid)).collect();
            ensure!(left.is_empty(), "{left:?}");
            Ok(Some(()))
        })
        .await?;
    }
    Ok(())
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

/// A value and the passwords of both pods are in the pods' files, and nowhere else that others can look: no log, object,
/// Event or environment, and not in etcd's files.
#[tokio::test]
async fn canaries_are_in_the_files_of_pods_and_nowhere_else() -> Result<()> {
    let release = release().await?;
    let (ns, hns) = ("e2e-canary", release.namespace());
    let shop = Shop::open(ns).await?;
    shop.apply().await?;
    let server = shop::connect(release).await?;
    let value = "canary-7f3a9c51";
    shop.set_token(&shop.admin(&server).await?, value).await?;
    shop.start_pods().await?;
    let mut canaries = vec![value.to_owned()];
    for place in shop::PODS_AND_PLACES {
        ensure!(shop.file(place.pod, place.token).await? == value);
        let url = shop.file(place.pod, place.url).await?;
        canaries.extend(url.split([':', '@']).nth(2).map(str::to_owned));
    }
    ensure!(canaries.len() == 3 && canaries.iter().all(|canary| canary.len() > 12), "{} canaries", canaries.len());

    let kinds = "pods,events,configmaps,secrets,secretengines,dynamiccredentials,vaultpolicies,daemonsets,deployments,csidrivers,csinodes,nodes";
    let mut places = vec![("objects".to_owned(), kubectl(&format!("get {kinds} -A -o yaml")).await?)];
    for component in ["server", "operator", "csi", "webhook", "etcd"] {
        let command = format!("logs -n {hns} -l app.kubernetes.io/component={component} --all-containers --tail=-1");
        places.push((format!("log of {component}"), kubectl(&command).await?));
    }
    places.push(("log of the agent".to_owned(), kubectl(&format!("logs -n {ns} pod-b --all-containers")).await?));
    for place in shop::PODS_AND_PLACES {
        places.push((format!("environment of {}", place.pod), exec(ns, place.pod, "app", "env").await?));
    }
    for (place, text) in &places {
        ensure!(!text.is_empty(), "{place} is empty");
        for (index, canary) in canaries.iter().enumerate() {
            ensure!(!text.contains(canary.as_str()), "canary {index} is in the {place}");
        }
    }
    // The store's files, the audit file and what the driver remembers, on the nodes' disks.
    for node in nodes::names().await? {
        for canary in &canaries {
            let line = format!(
                "grep -rlaF --exclude-dir=kubernetes.io~csi --exclude-dir=holdfast-secrets {canary} /var/lib/kubelet /var/log/pods || true"
            );
            let found = nodes::shell(&node, &line).await?;
            let found: Vec<_> = found.lines().filter(|path| !path.contains("/kubernetes.io~empty-dir/tmp/")).collect();
            ensure!(found.is_empty(), "on {node}: {found:?}");
        }
    }
    shop.close(Duration::from_secs(90)).await?;
    Ok(())
}
