//! The agent and its application: who is told of what, and who ends whom.

use std::time::Duration;

use anyhow::{Result, ensure};
use holdfast_client::Client;
use holdfast_e2e::{
    Release, Shop, postgres,
    shell::{exec, kubectl, kubectl_apply, run},
    shop::Opened,
    wait::eventually,
    workloads,
};

use crate::release;

/// For a change to be heard, with an answer that is not good enough the first time.
const SOON: Duration = Duration::from_secs(30);

/// An application that takes requests on its loopback and writes down each with what its file says then. It is not ready
/// for the first one.
const LISTENS: &str = r#"
apiVersion: v1
kind: Pod
metadata:
  name: listens
  annotations:
    holdfast.dev/inject: "true"
    holdfast.dev/mount-path: /s
    holdfast.dev/secret.user: credential/orders-ro
    holdfast.dev/template.user: '{{ .username }}'
    holdfast.dev/secret.api: k8s/NAMESPACE/kv/data/orders/api
    holdfast.dev/template.api: '{{ .token }}'
    holdfast.dev/on-change.api: http:8080/-/reload,touch,touch:again
    holdfast.dev/secret.env: k8s/NAMESPACE/kv/data/orders/api
    holdfast.dev/format.env: dotenv
    holdfast.dev/metrics-port: "9464"
    holdfast.dev/quit: "true"
spec:
  serviceAccountName: orders
  enableServiceLinks: false
  terminationGracePeriodSeconds: 1
  securityContext: {runAsNonRoot: true, runAsUser: 65534, fsGroup: 65534, seccompProfile: {type: RuntimeDefault}}
  containers:
  - name: app
    image: holdfast.dev/postgres:dev
    command:
    - perl
    - -MIO::Socket::INET
    - -e
    - |
      my $socket = IO::Socket::INET->new(LocalAddr => "127.0.0.1:8080", Listen => 5, ReuseAddr => 1) or die $!;
      for (my $asked = 0; my $peer = $socket->accept; $asked++) {
        my ($method, $path) = split " ", <$peer>;
        while (<$peer>) { last if /^\r$/ }
        open my $file, "<", "/s/api" or die $!;
        open my $heard, ">>", "/tmp/heard" or die $!;
        print $heard "$method $path ", <$file>, "\n";
        close $heard;
        print $peer $asked ? "HTTP/1.1 204 No Content\r\n\r\n" : "HTTP/1.1 503 Service Unavailable\r\n\r\n";
        close $peer;
      }
    volumeMounts: [{name: tmp, mountPath: /tmp}]
    securityContext: {allowPrivilegeEscalation: false, capabilities: {drop: [ALL]}}
  volumes:
  - {name: tmp, emptyDir: {}}
"#;

/// A Job with an agent beside its program that nobody injected: an ordinary container, which would never end by itself.
const QUITS: &str = r#"
apiVersion: v1
kind: ConfigMap
metadata: {name: agent}
binaryData: {ca.crt: "AUTHORITY"}
data:
  agent.hcl: |
    vault {
      address = "https://SERVER.svc:8200"
      ca_cert = "/etc/agent/ca.crt"
    }
    auto_auth {
      method "kubernetes" {
        config = { role = "orders", token_path = "/var/run/agent/token" }
      }
    }
    template {
      contents    = "{{ with secret \"k8s/NAMESPACE/orders-db/creds/readonly\" }}postgresql://{{ .Data.username }}:{{ .Data.password }}@pg/orders{{ end }}"
      destination = "/run/app/url"
    }
    listener "tcp" {
      address     = "127.0.0.1:8200"
      tls_disable = true
      agent_api { enable_quit = true }
    }
---
apiVersion: batch/v1
kind: CronJob
metadata: {name: quits}
spec:
  schedule: "0 0 1 1 *"
  jobTemplate:
    spec:
      backoffLimit: 0
      template:
        metadata: {labels: {w: job}}
        spec:
          restartPolicy: Never
          serviceAccountName: orders
          securityContext: {runAsNonRoot: true, runAsUser: 65534, fsGroup: 65534, seccompProfile: {type: RuntimeDefault}}
          initContainers:
          - {name: copy, image: "holdfast.dev/holdfast-agent:dev", args: [copy, /run/app/holdfast-agent], volumeMounts: [{name: run, mountPath: /run/app}]}
          containers:
          - name: agent
            image: holdfast.dev/holdfast-agent:dev
            args: [-config=/etc/agent/agent.hcl]
            volumeMounts: &mounts [{name: run, mountPath: /run/app}, {name: config, mountPath: /etc/agent}, {name: token, mountPath: /var/run/agent}]
          - name: app
            image: holdfast.dev/postgres:dev
            volumeMounts: *mounts
            command:
            - sh
            - -ec
            - |
              until [ -s /run/app/url ]; do sleep 0.2; done
              psql "$(cat /run/app/url)" -tA -c "select item from orders order by id"
              /run/app/holdfast-agent quit -config=/etc/agent/agent.hcl
          volumes:
          - {name: run, emptyDir: {medium: Memory}}
          - {name: config, configMap: {name: agent}}
          - {name: token, projected: {sources: [{serviceAccountToken: {audience: holdfast, path: token}}]}}
"#;

/// Means something to a shell, wherever it may.
const HOSTILE: &str = "it's $(touch /tmp/run) `touch /tmp/run` \"$HOME\" \\ two\nlines";

/// A request to the application's own port, made again until it is answered well; files that get younger; an application
/// that ends its agent, which is a sidecar and comes back with all that the pod had. A shell that reads variables from a file;
/// a scrape; an order for another credential.
#[tokio::test]
async fn an_application_is_told_by_requests_and_files() -> Result<()> {
    let release = release().await?;
    let ns = "e2e-told";
    let Opened { shop, server: _server, admin } = Shop::opened(release, ns).await?;
    kubectl_apply(ns, &LISTENS.replace("NAMESPACE", ns)).await?;
    if let Err(error) = kubectl(&format!("wait -n {ns} --for=condition=Ready pod/listens --timeout=120s")).await {
        return Err(error.context(kubectl(&format!("describe -n {ns} pod/listens")).await?));
    }
    let users = postgres::minted(ns).await?;
    ensure!(users == [shop.file("listens", "/s/user").await?], "{users:?}");
    let began = exec(ns, "listens", "app", "ls -A /tmp /s/.holdfast").await?;
    ensure!(!["heard", "changed", "again"].iter().any(|name| began.contains(name)), "told of no change: {began}");

    shop.set_token(&admin, "second").await?;
    let heard = "POST /-/reload second\nPOST /-/reload second";
    shop.wait_file("listens", "/tmp/heard", heard, SOON).await?;
    let first = touched(ns, None).await?;

    let said = quit(ns).await?;
    ensure!(said.contains(" 200 "), "{said}");
    eventually("the agent is started again", || async { Ok((shop.restarts("listens").await? == 1).then_some(())) })
        .await?;
    kubectl(&format!("wait -n {ns} --for=condition=Ready pod/listens --timeout=60s")).await?;
    shop.set_token(&admin, "third").await?;
    shop.wait_file("listens", "/tmp/heard", &format!("{heard}\nPOST /-/reload third"), SOON).await?;
    touched(ns, Some(&first)).await?;
    let now = postgres::minted(ns).await?;
    ensure!(now == users, "{users:?} became {now:?}");
    sourced(&shop, &admin).await?;
    scraped(ns).await?;
    replaced(&shop, &users).await?;
    ensure!(shop.restarts("listens").await? == 1, "nothing but the agent ended, once");
    kubectl(&format!("delete pod -n {ns} listens --timeout=60s")).await?;
    eventually("the user is gone", || async { Ok(postgres::minted(ns).await?.is_empty().then_some(())) }).await?;
    shop.close(Duration::from_secs(90)).await?;
    Ok(())
}

/// A program that is done ends the agent beside it, and so its Job; its user goes.
#[tokio::test]
async fn a_program_that_is_done_ends_its_agent_and_its_job() -> Result<()> {
    let release = release().await?;
    let ns = "e2e-quits";
    let shop = Shop::opened(release, ns).await?.shop;
    let server = format!("{}.{}", release.name, release.namespace());
    let manifest = QUITS.replace("NAMESPACE", ns).replace("SERVER", &server);
    kubectl_apply(ns, &manifest.replace("AUTHORITY", &authority(release).await?)).await?;
    workloads::run_job(ns, "quits").await?;
    let path = "jsonpath={.items[0].status.containerStatuses[*].state.terminated.exitCode}";
    let codes = run("kubectl", &["get", "pod", "-n", ns, "-l", "w=job", "-o", path]).await?;
    ensure!(codes == "0 0", "agent and program ended with {codes}");
    eventually("the user is gone", || async { Ok(postgres::minted(ns).await?.is_empty().then_some(())) }).await?;
    shop.close(Duration::from_secs(90)).await?;
    Ok(())
}

/// When the two files were touched: waits until both are there, and both have another time than `before`.
async fn touched(ns: &str, before: Option<&[String]>) -> Result<Vec<String>> {
    eventually("the files are touched", || async {
        let times = exec(ns, "listens", "app", "cd /s/.holdfast; stat -c '%n %y' again api.changed").await?;
        let times: Vec<String> = times.lines().map(str::to_owned).collect();
        let other = before.is_none_or(|before| times.iter().zip(before).all(|(now, before)| now != before));
        Ok((times.len() == 2 && other).then_some(times))
    })
    .await
}

/// A shell reads a hostile value from the file as it is.
async fn sourced(shop: &Shop, admin: &Client) -> Result<()> {
    shop.set_token(admin, HOSTILE).await?;
    let line = r#"set -a; . /s/env; exec printenv TOKEN"#;
    eventually("a shell reads the value", || async {
        let read = exec(&shop.namespace, "listens", "app", line).await?;
        Ok((read.trim_end_matches('\n') == HOSTILE).then_some(()))
    })
    .await?;
    let ran = exec(&shop.namespace, "listens", "app", "ls /tmp").await?;
    ensure!(!ran.lines().any(|name| name == "run"), "a value was run: {ran}");
    Ok(())
}

/// The agent's figures of each item, from outside the pod.
async fn scraped(ns: &str) -> Result<()> {
    let text = kubectl(&format!("get --raw /api/v1/namespaces/{ns}/pods/listens:9464/proxy/metrics")).await?;
    for item in ["user", "api", "env"] {
        let line = format!("holdfast_agent_item_state{{item=\"{item}\"}} 0");
        ensure!(text.contains(&line), "no {line} in {text}");
    }
    Ok(())
}

/// The pod gets another user when it is told to, and the one that it had lives on; the application itself may not tell.
async fn replaced(shop: &Shop, users: &[String]) -> Result<()> {
    let ns = &shop.namespace;
    let said = kubectl(&format!("exec -n {ns} listens -c holdfast-agent -- /holdfast-agent rotate user")).await?;
    ensure!(said.trim() == "replaced: user", "{said}");
    let user = shop.file("listens", "/s/user").await?;
    let now = postgres::minted(ns).await?;
    ensure!(now.len() == 2 && now.contains(&user) && now.contains(&users[0]), "{users:?} and {user} became {now:?}");
    let order = r#"perl -MIO::Socket::UNIX -e 'my $s = IO::Socket::UNIX->new("/s/.holdfast/agent.sock") or exit print "no way in"; shutdown($s, 1); print <$s>'"#;
    let refused = exec(ns, "listens", "app", &format!("{order} || true")).await?;
    ensure!(refused.contains("only from the container of the agent") || refused == "no way in", "{refused}");
    Ok(())
}

/// The application asks the agent to end: what the agent says.
async fn quit(ns: &str) -> Result<String> {
    let request = "POST /agent/v1/quit HTTP/1.0\\r\\nHost: localhost\\r\\nContent-Length: 0\\r\\n\\r\\n";
    let line = format!("bash -c 'exec 3<>/dev/tcp/127.0.0.1/8200; printf \"{request}\" >&3; cat <&3'");
    exec(ns, "listens", "app", &line).await
}

/// The certificate of the server's authority, in base64.
async fn authority(release: &Release) -> Result<String> {
    let secret = format!("{}-tls", release.name);
    let path = r"jsonpath={.data.ca\.crt}";
    run("kubectl", &["get", "secret", "-n", release.namespace(), &secret, "-o", path]).await
}
