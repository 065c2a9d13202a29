//! Everything that makes pods, by CSI volume and by annotations, and what holds for all of them: each pod has a user at
//! the database that is its own, and nobody else has one.

use std::time::Duration;

use anyhow::{Result, ensure};

use crate::{
    Release, Shop, nodes, postgres,
    shell::{exec, kubectl, kubectl_apply, run},
    shop::Opened,
    wait::eventually_within,
};

/// For pods to come and for users to go.
const LIMIT: Duration = Duration::from_secs(240);
/// The name of the pod's user, whichever way it was given.
const USERNAME: &str = "cat /s/orders-ro/username 2>/dev/null || cat /s/user";

/// The password of the pod's user, where the pod was given one.
const PASSWORD: &str =
    "cat /s/orders-ro/password 2>/dev/null || sed 's,.*:\\([^@]*\\)@.*,\\1,' /s/url 2>/dev/null || true";
/// What lasts: kind and name.
const LASTING: [&str; 3] = ["deployment", "statefulset", "daemonset"];

/// How pods get their secrets.
#[derive(Clone, Copy, Debug)]
pub enum Way {
    /// By a CSI volume.
    Volume,
    /// By annotations: an agent beside each pod.
    Annotations,
}

impl Way {
    fn manifest(self) -> &'static str {
        match self {
            Self::Volume => include_str!("../manifests/workloads.yaml"),
            Self::Annotations => include_str!("../manifests/injected.yaml"),
        }
    }
}

/// A shop in a namespace that enforces the restricted Pod Security Standard, with everything that makes pods, each with its
/// user; and how many pods there are.
pub async fn opened_shop(release: &Release, ns: &str, way: Way) -> Result<(Opened, usize)> {
    let opened = Shop::opened(release, ns).await?;
    kubectl(&format!("label namespace {ns} pod-security.kubernetes.io/enforce=restricted")).await?;
    let pods = start(&opened.shop, way).await?;
    users_are_pods(ns, pods).await?;
    Ok((opened, pods))
}

/// Makes a Deployment of two, a StatefulSet, a DaemonSet, and a CronJob that does not run by itself: how many pods that
/// last will be there.
pub async fn start(shop: &Shop, way: Way) -> Result<usize> {
    let ns = &shop.namespace;
    kubectl_apply(ns, &way.manifest().replace("NAMESPACE", ns)).await?;
    Ok(3 + nodes::workers().await?.len().max(1))
}

/// Deletes what lasts, by both ways.
pub async fn stop(ns: &str) -> Result<()> {
    for kind in LASTING {
        kubectl(&format!("delete {kind} -n {ns} {kind} injected-{kind} --ignore-not-found --timeout=120s")).await?;
    }
    Ok(())
}

/// Waits until users at the database are the running pods, one each, and each pod's own is the one that it sees.
pub async fn users_are_pods(ns: &str, pods: usize) -> Result<()> {
    let what = format!("{pods} pods with a user each in {ns}");
    let outcome = eventually_within(LIMIT, &what, || async {
        let (running, users) = (running(ns).await?, postgres::minted(ns).await?);
        ensure!(running.len() == pods && users.len() == pods, "pods {running:?}, users {users:?}");
        let mut seen = Vec::new();
        for pod in &running {
            seen.push(exec(ns, pod, "app", USERNAME).await?);
        }
        seen.sort();
        ensure!(seen == users, "pods see {seen:?}, the database has {users:?}");
        Ok(Some(()))
    })
    .await;
    match outcome {
        Ok(()) => Ok(()),
        Err(error) => Err(error.context(kubectl(&format!("describe pod -n {ns} -l users=yes")).await?)),
    }
}

/// Names of the running pods of the workloads that last, without those that are about to go.
pub async fn running(ns: &str) -> Result<Vec<String>> {
    let path = "jsonpath={range .items[?(@.status.phase==\"Running\")]}{.metadata.name} {.metadata.deletionTimestamp}{'\\n'}{end}";
    let list = run("kubectl", &["get", "pod", "-n", ns, "-l", "users=yes", "-o", path]).await?;
    Ok(list.lines().filter_map(|line| line.strip_suffix(' ')).map(str::to_owned).collect())
}

/// What the pod was given as its user's password, if it was.
pub async fn password(ns: &str, pod: &str) -> Result<Option<String>> {
    let password = exec(ns, pod, "app", PASSWORD).await?;
    Ok((!password.trim().is_empty()).then(|| password.trim().to_owned()))
}

/// Waits until no node has a volume of ours mounted for a pod that is gone.
pub async fn no_mount_is_left() -> Result<()> {
    eventually_within(LIMIT, "no mount of a pod that is gone", || async {
        let mounts = nodes::mounts().await?;
        let pods = kubectl("get pod -A -o jsonpath={.items[*].metadata.uid}").await?;
        let pods: Vec<&str> = pods.split_whitespace().collect();
        let left: Vec<_> = mounts.iter().filter(|mount| !pods.iter().any(|uid| mount.contains(uid))).collect();
        ensure!(left.is_empty(), "{left:?}");
        Ok(Some(()))
    })
    .await
}

/// Runs the CronJob's Job now: it ends by itself, has seen the database, and gives its user back.
pub async fn run_job(ns: &str, cron_job: &str) -> Result<()> {
    kubectl(&format!("create job -n {ns} once-{cron_job} --from=cronjob/{cron_job}")).await?;
    let wait = format!("wait -n {ns} --for=condition=complete job/once-{cron_job} --timeout=120s");
    if let Err(error) = kubectl(&wait).await {
        return Err(error.context(kubectl(&format!("describe pod -n {ns} -l w=job")).await?));
    }
    let said = kubectl(&format!("logs -n {ns} job/once-{cron_job} -c app")).await?;
    ensure!(said == "anvil\nrope\n", "{said}");
    Ok(())
}
