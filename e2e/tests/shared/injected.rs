//! Annotations on everything that makes pods.

use std::time::Duration;

use anyhow::{Result, ensure};
use holdfast_e2e::{
    Shop,
    shell::{exec, kubectl},
    shop,
    workloads::{self, Way, users_are_pods},
};

use crate::release;

/// Deployment, StatefulSet, DaemonSet, Job of a CronJob; init container and several containers; not root; restricted
/// namespace.
#[tokio::test]
async fn each_injected_pod_has_its_own_user_as_long_as_it_lives() -> Result<()> {
    let release = release().await?;
    let ns = "e2e-injected";
    let shop = Shop::open(ns).await?;
    shop.apply().await?;
    kubectl(&format!("label namespace {ns} pod-security.kubernetes.io/enforce=restricted")).await?;
    let server = shop::connect(release).await?;
    let admin = shop.admin(&server).await?;
    shop.set_token(&admin, "first").await?;
    let pods = workloads::start(&shop, Way::Annotations).await?;
    users_are_pods(ns, pods).await?;
    let of_deployment =
        kubectl(&format!("get pod -n {ns} -l w=injected-deployment -o jsonpath={{.items[0].metadata.name}}")).await?;
    ensure!(
        exec(ns, &of_deployment, "app", "psql \"$(cat /s/url)\" -tAc 'select current_user'").await?.starts_with("v-")
    );

    // A Job of the CronJob ends although it has an agent, and gives its user back.
    workloads::run_job(ns, "injected-cronjob").await?;
    users_are_pods(ns, pods).await?;

    shop.close(Duration::from_secs(120)).await?;
    Ok(())
}
