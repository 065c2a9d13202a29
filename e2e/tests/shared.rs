//! One release, a namespace a test.

mod classes;
mod injected;
mod leaks;
mod told;
mod volumes;

use std::time::Duration;

use anyhow::{Result, ensure};
use holdfast_e2e::{
    Shop, postgres,
    shell::{self, kubectl, kubectl_apply},
    shop::{self, Opened, PODS_AND_PLACES},
    wait::{eventually, eventually_within},
};

use crate::{condition, event, release};

const CLOSE: Duration = Duration::from_secs(60);

/// The main job: both ways into pods, each with its own user, a changed value, and nothing left behind.
#[tokio::test]
async fn pods_get_their_own_users_and_leave_none_behind() -> Result<()> {
    let release = release().await?;
    let Opened { shop, server: _server, admin } = Shop::opened(release, "e2e-pods").await?;
    shop.start_pods().await?;
    let mut seen = Vec::new();
    for place in PODS_AND_PLACES {
        let row = shop.query_from(place).await?;
        ensure!(row.starts_with("v-") && row.ends_with(" 1 anvil"), "{}: {row}", place.pod);
        seen.push(row);
    }
    ensure!(seen[0] != seen[1], "both pods have the same user: {seen:?}");

    shop.set_token(&admin, "second").await?;
    for place in PODS_AND_PLACES {
        shop.wait_file(place.pod, place.token, "second", Duration::from_secs(2)).await?;
        ensure!(shop.restarts(place.pod).await? == 0, "{} was restarted", place.pod);
    }

    kubectl("delete pod -n e2e-pods pod-a pod-b --wait=false").await?;
    eventually_within(Duration::from_secs(15), "all users are gone", || async {
        Ok(postgres::minted("e2e-pods").await?.is_empty().then_some(()))
    })
    .await?;
    shop.close(CLOSE).await?;
    Ok(())
}

/// A credential in a Secret, with a template; deleting the object revokes the user and removes the Secret.
#[tokio::test]
async fn a_credential_is_kept_in_a_secret() -> Result<()> {
    release().await?;
    let shop = Shop::open("e2e-secret").await?;
    shop.apply().await?;
    let manifest = r#"
apiVersion: holdfast.dev/v1alpha1
kind: DynamicCredential
metadata: {name: kept}
spec:
  engineRef: {name: orders-db}
  role: readonly
  target:
    secret: {name: kept, template: {URL: "postgresql://{{ .username }}:{{ .password }}@pg/orders"}}
"#;
    kubectl_apply("e2e-secret", manifest).await?;
    condition("e2e-secret", "dcred/kept", "Ready", "True").await?;
    let url = kubectl("get secret -n e2e-secret kept -o jsonpath={.data.URL}").await?;
    ensure!(!url.is_empty(), "the Secret has no URL");
    ensure!(postgres::minted("e2e-secret").await?.len() == 1);
    kubectl("delete dcred -n e2e-secret kept --timeout=30s").await?;
    eventually("the user is gone", || async { Ok(postgres::minted("e2e-secret").await?.is_empty().then_some(())) })
        .await?;
    eventually("the Secret is gone", || async {
        Ok(kubectl("get secret -n e2e-secret kept").await.is_err().then_some(()))
    })
    .await?;
    shop.close(CLOSE).await?;
    Ok(())
}

/// What the API server refuses, with the reason that a person can act on.
#[tokio::test]
async fn kubectl_says_what_is_wrong_with_an_object() -> Result<()> {
    release().await?;
    let cases = [
        ("SecretEngine", "spec: {oracle: {}}", "unknown field \"spec.oracle\""),
        ("SecretEngine", "spec: {}", "exactly one engine block is needed, found none"),
        (
            "SecretEngine",
            "spec: {kv: {version: 2}, database: {postgresql: {connectionURL: 'postgresql://x', rootCredentialsRef: {name: x}}}}",
            "exactly one engine block is needed, found database and kv",
        ),
        (
            "SecretEngine",
            "spec: {database: {postgresql: {connectionURL: 'mysql://x', rootCredentialsRef: {name: x}}}}",
            "postgresql://",
        ),
        ("VaultPolicy", "spec: {rules: [{path: 'a', capabilities: [reed]}]}", "reed"),
        ("DynamicCredential", "spec: {engineRef: {name: x}, role: y, ttl: soon}", "spec.ttl"),
    ];
    for (kind, spec, words) in cases {
        let manifest = format!("apiVersion: holdfast.dev/v1alpha1\nkind: {kind}\nmetadata: {{name: bad}}\n{spec}\n");
        let error = kubectl_apply("default", &manifest).await.expect_err(spec);
        ensure!(format!("{error:#}").contains(words), "{spec}: {error:#}");
    }
    Ok(())
}

/// What only the server or the database can know stands in the condition and in an event.
#[tokio::test]
async fn conditions_and_events_say_what_is_wrong() -> Result<()> {
    release().await?;
    let ns = "e2e-bad";
    let shop = Shop::open(ns).await?;
    let manifest = r#"
apiVersion: holdfast.dev/v1alpha1
kind: SecretEngine
metadata: {name: nowhere}
spec:
  database:
    postgresql:
      connectionURL: "postgresql://{{username}}:{{password}}@nowhere.e2e-bad.svc:5432/orders?sslmode=disable"
      rootCredentialsRef: {name: pg-root}
    roles: []
---
apiVersion: holdfast.dev/v1alpha1
kind: VaultPolicy
metadata: {name: broken}
spec:
  hcl: 'path "k8s/e2e-bad/x" { capabilities = ["reed"] }'
  subjects: [{serviceAccount: default}]
---
apiVersion: holdfast.dev/v1alpha1
kind: VaultPolicy
metadata: {name: greedy}
spec:
  rules: [{path: "k8s/other/kv/*", capabilities: [read]}]
  subjects: [{serviceAccount: default}]
---
apiVersion: holdfast.dev/v1alpha1
kind: DynamicCredential
metadata: {name: lost}
spec: {engineRef: {name: nothing}, role: readonly}
"#;
    kubectl_apply(ns, manifest).await?;
    for (object, words) in [
        ("se/nowhere", ["nowhere", "e2e-bad"]),
        ("vp/broken", ["reed", "capabilit"]),
        ("vp/greedy", ["k8s/e2e-bad/", "k8s/other"]),
        ("dcred/lost", ["nothing", "SecretEngine"]),
    ] {
        let said = condition(ns, object, "Ready", "False").await?;
        ensure!(words.iter().all(|word| said.contains(word)), "{object}: {said}");
        let name = object.split('/').nth(1).unwrap_or_default();
        event(ns, &[name]).await?;
    }

    // Nothing was made of what is wrong, and nothing keeps the namespace.
    ensure!(postgres::minted(ns).await?.is_empty());
    shop.close(CLOSE).await?;
    Ok(())
}

/// A role that the engine does not have, and a TTL that the role does not allow.
#[tokio::test]
async fn a_credential_says_which_role_or_ttl_is_wrong() -> Result<()> {
    release().await?;
    let ns = "e2e-role";
    let shop = Shop::open(ns).await?;
    shop.apply().await?;
    let manifest = r#"
apiVersion: holdfast.dev/v1alpha1
kind: DynamicCredential
metadata: {name: norole}
spec: {engineRef: {name: orders-db}, role: writer}
---
apiVersion: holdfast.dev/v1alpha1
kind: DynamicCredential
metadata: {name: toolong}
spec: {engineRef: {name: orders-db}, role: readonly, ttl: 48h}
"#;
    kubectl_apply(ns, manifest).await?;
    let said = condition(ns, "dcred/norole", "Ready", "False").await?;
    ensure!(said.contains("writer") && said.contains("readonly"), "{said}");
    let said = condition(ns, "dcred/toolong", "Ready", "False").await?;
    ensure!(said.contains("48h") && said.contains("24h"), "{said}");
    shop.close(CLOSE).await?;
    Ok(())
}

/// Admission warnings, pod events and termination messages.
#[tokio::test]
async fn pods_say_what_is_wrong_with_their_secrets() -> Result<()> {
    let release = release().await?;
    let ns = "e2e-badpods";
    let shop = Shop::open(ns).await?;
    shop.apply().await?;
    let pod = |name: &str, annotations: &str, volumes: &str| {
        let mounts = if volumes.is_empty() { "" } else { "{name: s, mountPath: /s}" };
        format!(
            r#"
apiVersion: v1
kind: Pod
metadata:
  name: {name}
  annotations: {{{annotations}}}
spec:
  serviceAccountName: orders
  terminationGracePeriodSeconds: 1
  containers: [{{name: app, image: "holdfast.dev/postgres:dev", command: [sleep, "3600"], volumeMounts: [{mounts}]}}]
  {volumes}
"#
        )
    };
    let csi = |attributes: &str| {
        format!(
            "volumes: [{{name: s, csi: {{driver: csi.holdfast.dev, readOnly: true, volumeAttributes: {{{attributes}}}}}}}]"
        )
    };

    let misspelt = pod(
        "misspelt",
        r#"holdfast.dev/inject: "true", holdfast.dev/tempalte.db: x, holdfast.dev/secret.db: credential/orders-ro"#,
        "",
    );
    let said = kubectl_apply(ns, &misspelt).await?;
    ensure!(
        said.contains("holdfast.dev/tempalte.db") && said.contains("did you mean holdfast.dev/template.db"),
        "{said}"
    );

    let denied = pod("denied", r#"holdfast.dev/inject: "true", holdfast.dev/secret.x: "k8s/other/kv/data/x""#, "");
    kubectl_apply(ns, &denied).await?;
    let message = termination(ns, "denied").await?;
    ensure!(message.contains("k8s/other/kv/data/x") && message.contains("403"), "{message}");

    let server = shop::connect(release).await?;
    let admin = server.login(release.namespace(), "holdfast-admin", "holdfast-admin").await?;
    let role = serde_json::json!({
        "bound_service_account_names": "orders", "bound_service_account_namespaces": ns, "audience": "vault",
    });
    admin.write("auth/kubernetes/role/e2e-audience", role).await?;
    let annotations =
        r#"holdfast.dev/inject: "true", holdfast.dev/role: e2e-audience, holdfast.dev/secret.db: credential/orders-ro"#;
    kubectl_apply(ns, &pod("audience", annotations, "")).await?;
    let message = termination(ns, "audience").await?;
    ensure!(["audience", "vault", "holdfast"].iter().all(|word| message.contains(word)), "{message}");
    admin.delete("auth/kubernetes/role/e2e-audience").await?;

    kubectl_apply(ns, &pod("attribute", "", &csi("credential: orders-ro"))).await?;
    event(ns, &["attribute", "FailedMount", "credential", "credentials"]).await?;
    kubectl_apply(ns, &pod("absent", "", &csi("credentials: nothing"))).await?;
    event(ns, &["absent", "FailedMount", "nothing"]).await?;

    kubectl(&format!("delete pod -n {ns} --all --grace-period=1 --timeout=60s")).await?;
    eventually("all users are gone", || async { Ok(postgres::minted(ns).await?.is_empty().then_some(())) }).await?;
    shop.close(CLOSE).await?;
    Ok(())
}

/// A Job ends although it has an agent, in a namespace that enforces the restricted Pod Security Standard.
#[tokio::test]
async fn a_job_in_a_restricted_namespace_ends() -> Result<()> {
    release().await?;
    let ns = "e2e-job";
    let shop = Shop::open(ns).await?;
    shop.apply().await?;
    kubectl(&format!("label namespace {ns} pod-security.kubernetes.io/enforce=restricted")).await?;
    let job = r#"
apiVersion: batch/v1
kind: Job
metadata: {name: report}
spec:
  backoffLimit: 0
  template:
    metadata:
      annotations:
        vault.hashicorp.com/agent-inject: "true"
        vault.hashicorp.com/role: orders
        vault.hashicorp.com/agent-inject-secret-db: k8s/e2e-job/orders-db/creds/readonly
        vault.hashicorp.com/agent-inject-template-db: |
          {{ with secret "k8s/e2e-job/orders-db/creds/readonly" -}}
          postgresql://{{ .Data.username }}:{{ .Data.password }}@pg/orders
          {{- end }}
    spec:
      serviceAccountName: orders
      restartPolicy: Never
      securityContext: {runAsNonRoot: true, runAsUser: 65534, seccompProfile: {type: RuntimeDefault}}
      containers:
      - name: app
        image: holdfast.dev/postgres:dev
        command: [sh, -c, 'psql "$(cat /vault/secrets/db)" -tA -c "select item from orders order by id"']
        securityContext: {allowPrivilegeEscalation: false, capabilities: {drop: [ALL]}}
"#;
    kubectl_apply(ns, job).await?;
    if let Err(error) = kubectl(&format!("wait -n {ns} --for=condition=complete job/report --timeout=60s")).await {
        return Err(error.context(kubectl(&format!("describe pod -n {ns} -l job-name=report")).await?));
    }
    let said = kubectl(&format!("logs -n {ns} job/report -c app")).await?;
    ensure!(said == "anvil\nrope\n", "{said}");
    kubectl(&format!("delete job -n {ns} report --timeout=60s")).await?;
    eventually("the user is gone", || async { Ok(postgres::minted(ns).await?.is_empty().then_some(())) }).await?;
    shop.close(CLOSE).await?;
    Ok(())
}

/// What the injected container said when it ended.
async fn termination(namespace: &str, pod: &str) -> Result<String> {
    eventually("a termination message", || async {
        let path = "jsonpath={.status.initContainerStatuses[*].state.terminated.message}{.status.initContainerStatuses[*].lastState.terminated.message}";
        let out = shell::run("kubectl", &["get", "pod", "-n", namespace, pod, "-o", path]).await?;
        Ok((!out.is_empty()).then_some(out))
    })
    .await
}
