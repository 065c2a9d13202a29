//! Annotations on everything that makes pods.

use std::time::Duration;

use anyhow::{Result, ensure};
use holdfast_e2e::{
    Shop, postgres,
    release::kill_agent,
    shell::{exec, kubectl},
    shop,
    wait::eventually_within,
    workloads::{self, Way, users_are_pods},
};

use crate::release;

/// Deployment, StatefulSet, DaemonSet, Job of a CronJob; init container and several containers; not root; restricted
/// namespace; an agent that is killed; an application that a signal tells of changes; a pod that is deleted by force.
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

    // The process hears of a change by a signal, and finds the new value then.
    let (pod, began) = ("injected-statefulset-0", "began with first");
    let before = postgres::minted(ns).await?;
    shop.wait_file(pod, "/tmp/heard", began, Duration::from_secs(20)).await?;
    shop.set_token(&admin, "second").await?;
    shop.wait_file(pod, "/tmp/heard", &format!("{began}\nsecond"), Duration::from_secs(30)).await?;

    // An agent that comes back finds its pod's user, and does its work as before.
    kill_agent(ns, pod).await?;
    users_are_pods(ns, pods).await?;
    let after = postgres::minted(ns).await?;
    ensure!(before == after, "{before:?} became {after:?}");
    shop.set_token(&admin, "third").await?;
    eventually_within(Duration::from_secs(60), "the process hears of a change from the new agent", || async {
        let heard = shop.file(pod, "/tmp/heard").await?;
        ensure!(heard.ends_with("\nthird"), "{heard}");
        Ok(Some(()))
    })
    .await?;

    // Away without a farewell: the operator gives back what the pod had. Another pod comes, with a user of its own.
    kubectl(&format!("delete pod -n {ns} {pod} --force --grace-period=0")).await?;
    users_are_pods(ns, pods).await?;
    kubectl(&format!("scale deployment -n {ns} injected-deployment --replicas=1")).await?;
    users_are_pods(ns, pods - 1).await?;
    shop.close(Duration::from_secs(120)).await?;
    Ok(())
}
