//! Annotations on everything that makes pods.

use std::time::Duration;

use anyhow::{Result, ensure};
use holdfast_e2e::{
    postgres,
    release::kill_agent,
    shell::{exec, kubectl, kubectl_apply, run},
    shop::Opened,
    wait::{eventually, eventually_within},
    workloads::{self, Way, users_are_pods},
};

use crate::{event, release};

/// From the end of a pod until its user is gone.
const SECONDS: Duration = Duration::from_secs(15);

/// Deployment, StatefulSet, DaemonSet, Job of a CronJob; init container and several containers; not root; restricted
/// namespace; pods that have ended and stay; an application that a signal tells of changes, and one that asks through the
/// agent; an agent that is killed; a pod that is deleted by force.
#[tokio::test]
async fn each_injected_pod_has_its_own_user_as_long_as_it_lives() -> Result<()> {
    let release = release().await?;
    let ns = "e2e-injected";
    let (Opened { shop, server: _server, admin }, pods) = workloads::opened_shop(release, ns, Way::Annotations).await?;
    let user = "psql \"$(cat /s/url)\" -tAc 'select current_user'";
    ensure!(exec(ns, &pod_of(ns, "deployment").await?, "app", user).await?.starts_with("v-"));
    let reviews = format!("holdfast_webhook_reviews_total{{namespace=\"{ns}\",outcome=\"injected\"}}");
    ensure!(release.metrics("webhook", 9442).await?.contains(&reviews), "no {reviews}");
    asks_through_the_agent(ns, &pod_of(ns, "daemonset").await?).await?;
    ends_give_back(ns, pods).await?;

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
    eventually("the process hears of a change from the new agent", || async {
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

async fn pod_of(ns: &str, kind: &str) -> Result<String> {
    kubectl(&format!("get pod -n {ns} -l w=injected-{kind} -o jsonpath={{.items[0].metadata.name}}")).await
}

/// A client without a token reads what its pod may, and nothing else.
async fn asks_through_the_agent(ns: &str, pod: &str) -> Result<()> {
    let get = |path: &str| {
        let request = format!("GET /v1/{path} HTTP/1.0\\r\\nHost: localhost\\r\\n\\r\\n");
        format!("bash -c 'exec 3<>/dev/tcp/127.0.0.1/8200; printf \"{request}\" >&3; cat <&3'")
    };
    let read = exec(ns, pod, "app", &get(&format!("k8s/{ns}/kv/data/orders/api"))).await?;
    ensure!(read.contains(" 200 ") && read.contains("\"token\":\"first\""), "{read}");
    let refused = exec(ns, pod, "app", &get(&format!("k8s/{ns}/kv/data/others/api"))).await?;
    ensure!(refused.contains(" 403 ") && refused.contains("permission denied"), "{refused}");
    Ok(())
}

/// A Job of the CronJob that ends although it has an agent, and a pod that fails, give their users back, although their
/// pods stay.
async fn ends_give_back(ns: &str, pods: usize) -> Result<()> {
    let fails = r#"
apiVersion: v1
kind: Pod
metadata:
  name: fails
  labels: {ended: "yes"}
  annotations: {holdfast.dev/inject: "true", holdfast.dev/secret.db: credential/orders-ro}
spec:
  restartPolicy: Never
  serviceAccountName: orders
  securityContext: {runAsNonRoot: true, runAsUser: 65534, seccompProfile: {type: RuntimeDefault}}
  containers:
  - name: app
    image: holdfast.dev/postgres:dev
    command: [sh, -c, "grep -q username /holdfast/secrets/db && exit 3"]
    securityContext: {allowPrivilegeEscalation: false, capabilities: {drop: [ALL]}}
"#;
    kubectl_apply(ns, fails).await?;
    workloads::run_job(ns, "injected-cronjob").await?;
    eventually("both pods have ended", || async {
        Ok((ended(ns).await? == ["Failed 3", "Succeeded 0"]).then_some(()))
    })
    .await?;
    eventually_within(SECONDS, "users of pods that have ended are gone", || async {
        let users = postgres::minted(ns).await?;
        ensure!(users.len() == pods, "{pods} pods, {users:?}");
        Ok(Some(()))
    })
    .await?;
    ensure!(ended(ns).await?.len() == 2, "the pods themselves stay");
    users_are_pods(ns, pods).await
}

/// Phases of the pods that have ended, with the exit codes of their applications.
async fn ended(ns: &str) -> Result<Vec<String>> {
    let path = "jsonpath={range .items[*]}{.status.phase} {.status.containerStatuses[0].state.terminated.exitCode}{'\\n'}{end}";
    let list = run("kubectl", &["get", "pod", "-n", ns, "-l", "ended", "-o", path]).await?;
    let mut ended: Vec<String> = list.lines().map(str::to_owned).collect();
    ended.sort();
    Ok(ended)
}

/// A pod that asks where the webhook does not hear it has an Event, and is counted as long as it is there.
#[tokio::test]
async fn a_pod_that_was_missed_is_told_and_counted() -> Result<()> {
    let release = release().await?;
    let ns = "e2e-missed";
    kubectl(&format!("delete namespace {ns} --ignore-not-found --timeout=60s")).await?;
    kubectl(&format!("create namespace {ns}")).await?;
    // The webhook is asked about new pods only.
    eventually("a pod is taken", || async {
        kubectl(&format!("run -n {ns} missed --image=holdfast.dev/postgres:dev --grace-period=1 -- sleep 1000"))
            .await
            .map(Some)
    })
    .await?;
    kubectl(&format!("annotate pod -n {ns} missed holdfast.dev/inject=true")).await?;
    event(ns, &["missed", "InjectionMissed", "holdfast.dev/inject", "made anew"]).await?;
    let counted = format!("holdfast_operator_missed_pods{{namespace=\"{ns}\"}} 1");
    let counts = || async { anyhow::Ok(release.metrics("operator", 9440).await?.contains(&counted)) };
    ensure!(counts().await?, "no {counted}");
    kubectl(&format!("delete pod -n {ns} missed --grace-period=1 --timeout=60s")).await?;
    eventually("it is counted no more", || async { Ok((!counts().await?).then_some(())) }).await?;
    kubectl(&format!("delete namespace {ns} --timeout=60s")).await?;
    Ok(())
}
