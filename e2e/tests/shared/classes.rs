//! Classes of Vault's CSI provider, with the secrets-store driver itself.

use std::{path::PathBuf, time::Duration};

use anyhow::{Result, ensure};
use holdfast_base::{Clock, SystemClock};
use holdfast_e2e::{
    Shop, postgres,
    release::root,
    shell::{exec, kubectl, kubectl_apply, run},
    shop::Opened,
    wait::{eventually, eventually_within},
};

use crate::release;

/// For a rotation and for what the secrets-store driver syncs.
const LIMIT: Duration = Duration::from_secs(60);

const CLASS: &str = r#"
apiVersion: secrets-store.csi.x-k8s.io/v1
kind: SecretProviderClass
metadata: {name: vault-db}
spec:
  provider: vault
  parameters:
    vaultAddress: http://vault.vault:8200
    roleName: orders
    objects: |
      - objectName: db-username
        secretPath: k8s/NAMESPACE/orders-db/creds/readonly
        secretKey: username
      - objectName: db-password
        secretPath: k8s/NAMESPACE/orders-db/creds/readonly
        secretKey: password
      - objectName: api-token
        secretPath: k8s/NAMESPACE/kv/data/orders/api
        secretKey: token
  secretObjects:
  - secretName: synced
    type: Opaque
    data:
    - {objectName: db-username, key: username}
    - {objectName: api-token, key: token}
---
apiVersion: v1
kind: Pod
metadata: {name: app}
spec:
  serviceAccountName: orders
  terminationGracePeriodSeconds: 1
  securityContext: {runAsNonRoot: true, runAsUser: 65534, fsGroup: 65534}
  containers:
  - name: app
    image: holdfast.dev/postgres:dev
    command: [sleep, "3600"]
    env: [{name: DB_USER, valueFrom: {secretKeyRef: {name: synced, key: username}}}]
    volumeMounts: [{name: s, mountPath: /mnt/secrets-store, readOnly: true}]
  volumes:
  - name: s
    csi: {driver: secrets-store.csi.k8s.io, readOnly: true, volumeAttributes: {secretProviderClass: vault-db}}
"#;

/// A class as it is in use with Vault: mounted, synced into a Secret, rotated without another user, given back.
#[tokio::test]
async fn a_class_of_vault_is_served_through_the_secrets_store_driver() -> Result<()> {
    let release = release().await?;
    let cluster = std::env::var("CLUSTER").unwrap_or_else(|_| "holdfast".to_owned());
    run(&script(), &[&cluster]).await?;
    let ns = "e2e-class";
    let Opened { shop, server: _server, admin } = Shop::opened(release, ns).await?;
    kubectl_apply(ns, &CLASS.replace("NAMESPACE", ns)).await?;
    if let Err(error) = kubectl(&format!("wait -n {ns} --for=condition=Ready pod/app --timeout=120s")).await {
        return Err(error.context(kubectl(&format!("describe -n {ns} pod/app")).await?));
    }
    let users = postgres::minted(ns).await?;
    ensure!(users.len() == 1, "{users:?}");
    let login =
        "cd /mnt/secrets-store; psql \"postgresql://$DB_USER:$(cat db-password)@pg/orders\" -tAc 'select current_user'";
    ensure!(exec(ns, "app", "app", login).await?.trim() == users[0]);
    ensure!(shop.file("app", "/mnt/secrets-store/api-token").await? == "first");

    shop.set_token(&admin, "second").await?;
    eventually_within(LIMIT, "the new value is mounted and synced", || async {
        // Kubelet repeats its request when it looks at the pod, which it does each minute or when the pod changes.
        kubectl(&format!("annotate pod -n {ns} app --overwrite now={}", SystemClock.now().as_millisecond())).await?;
        let mounted = shop.file("app", "/mnt/secrets-store/api-token").await?;
        let synced =
            run("kubectl", &["get", "secret", "-n", ns, "synced", "-o", "go-template={{.data.token | base64decode}}"])
                .await?;
        ensure!((mounted.as_str(), synced.as_str()) == ("second", "second"), "mounted {mounted}, synced {synced}");
        Ok(Some(()))
    })
    .await?;
    let now = postgres::minted(ns).await?;
    ensure!(now == users, "a rotation made another user: {users:?} became {now:?}");

    kubectl(&format!("delete pod -n {ns} app --timeout=60s")).await?;
    // Whether the Secret goes is the driver's affair: it may not have made it the pod's by now.
    eventually("the user is gone with the pod", || async { Ok(postgres::minted(ns).await?.is_empty().then_some(())) })
        .await?;
    shop.close(Duration::from_secs(90)).await?;
    run(&script(), &["remove"]).await?;
    Ok(())
}

fn script() -> String {
    let path: PathBuf = root().join("e2e/cluster/secrets-store.sh");
    path.to_string_lossy().into_owned()
}
