//! The life of the three kinds, from the first apply to a deletion while the server is away.

use holdfast_crd_types::{DynamicCredential, SecretEngine, VaultPolicy, conditions, names};
use holdfast_envtest::{Cluster, eventually};
use k8s_openapi::api::{
    core::v1::{ConfigMap, Secret},
    events::v1::Event,
};
use kube::{
    Api, Client, ResourceExt,
    api::{DeleteParams, ListParams, Patch, PatchParams, PostParams},
};
use serde_json::json;

use crate::{cluster::operator, stand_in::StandIn};

fn engine() -> SecretEngine {
    serde_json::from_value(json!({
        "apiVersion": "holdfast.dev/v1alpha1", "kind": "SecretEngine", "metadata": { "name": "db" },
        "spec": { "database": {
            "postgresql": {
                "connectionURL": "postgresql://{{username}}:{{password}}@pg/orders",
                "rootCredentialsRef": { "name": "pg-root" },
            },
            "roles": [{ "name": "ro", "creationStatements": ["CREATE"], "defaultTTL": "1h", "maxTTL": "24h" }],
        }},
    }))
    .unwrap()
}

fn policy() -> VaultPolicy {
    serde_json::from_value(json!({
        "apiVersion": "holdfast.dev/v1alpha1", "kind": "VaultPolicy", "metadata": { "name": "orders" },
        "spec": {
            "rules": [{ "engine": "db", "path": "creds/ro", "capabilities": ["read"] }],
            "subjects": [{ "serviceAccount": "orders" }],
        },
    }))
    .unwrap()
}

/// Refused: it grants outside of its namespace.
fn outside() -> VaultPolicy {
    serde_json::from_value(json!({
        "apiVersion": "holdfast.dev/v1alpha1", "kind": "VaultPolicy", "metadata": { "name": "outside" },
        "spec": {
            "rules": [{ "path": "sys/*", "capabilities": ["read"] }],
            "subjects": [{ "serviceAccount": "orders" }],
        },
    }))
    .unwrap()
}

/// Good, but its engine is not there.
fn early() -> VaultPolicy {
    serde_json::from_value(json!({
        "apiVersion": "holdfast.dev/v1alpha1", "kind": "VaultPolicy", "metadata": { "name": "early" },
        "spec": {
            "rules": [{ "engine": "later", "path": "creds/ro", "capabilities": ["read"] }],
            "subjects": [{ "serviceAccount": "early" }], "tokenTTL": "20m",
        },
    }))
    .unwrap()
}

fn credential() -> DynamicCredential {
    serde_json::from_value(json!({
        "apiVersion": "holdfast.dev/v1alpha1", "kind": "DynamicCredential", "metadata": { "name": "ro" },
        "spec": {
            "engineRef": { "name": "db" }, "role": "ro",
            "target": { "secret": { "name": "ro", "template": { "URL": "pg://{{ .username }}@pg" } } },
        },
    }))
    .unwrap()
}

/// Its own Secret.
fn brief() -> DynamicCredential {
    serde_json::from_value(json!({
        "apiVersion": "holdfast.dev/v1alpha1", "kind": "DynamicCredential", "metadata": { "name": "brief" },
        "spec": { "engineRef": { "name": "db" }, "role": "ro", "target": { "secret": { "name": "brief" } } },
    }))
    .unwrap()
}

struct Shop {
    events: Api<Event>,
    engines: Api<SecretEngine>,
    policies: Api<VaultPolicy>,
    credentials: Api<DynamicCredential>,
    secrets: Api<Secret>,
    ledger: Api<ConfigMap>,
}

impl Shop {
    fn new(client: &Client) -> Self {
        let client = || client.clone();
        Self {
            events: Api::namespaced(client(), "shop"),
            engines: Api::namespaced(client(), "shop"),
            policies: Api::namespaced(client(), "shop"),
            credentials: Api::namespaced(client(), "shop"),
            secrets: Api::namespaced(client(), "shop"),
            ledger: Api::namespaced(client(), "holdfast"),
        }
    }

    async fn url(&self) -> String {
        let data = self.secrets.get_opt("ro").await.unwrap().and_then(|secret| secret.data).unwrap_or_default();
        data.get("URL").map(|url| String::from_utf8(url.0.clone()).unwrap()).unwrap_or_default()
    }

    async fn ready(&self) -> bool {
        let status = self.credentials.get("ro").await.unwrap().status.unwrap_or_default();
        conditions::is_true(&status.conditions, conditions::READY)
    }

    /// Status and message of the condition Ready of a policy.
    async fn policy(&self, name: &str) -> (String, String) {
        let status = self.policies.get(name).await.unwrap().status.unwrap_or_default();
        let ready = status.conditions.into_iter().find(|condition| condition.type_ == conditions::READY);
        ready.map(|ready| (ready.status, ready.message)).unwrap_or_default()
    }

    async fn pending(&self) -> usize {
        let maps = self.ledger.list(&ListParams::default()).await.unwrap().items.into_iter();
        let shards = maps.filter(|map| map.name_any().starts_with("holdfast-pending-revocations"));
        shards.map(|map| map.data.unwrap_or_default().len()).sum()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn objects_live_and_die() {
    let (cluster, server) = (Cluster::start().await, StandIn::start().await);
    let shop = Shop::new(&cluster.client);
    let first = operator(&cluster, "one", &server.address);
    let root: Secret = serde_json::from_value(json!({
        "metadata": { "name": "pg-root" }, "stringData": { "username": "root", "password": "canary-of-the-root" },
    }))
    .unwrap();
    shop.secrets.create(&PostParams::default(), &root).await.unwrap();
    shop.credentials.create(&PostParams::default(), &credential()).await.unwrap();
    shop.policies.create(&PostParams::default(), &outside()).await.unwrap();
    eventually("the bad policy is refused", async || shop.policy("outside").await.0 == "False").await;
    shop.policies.create(&PostParams::default(), &early()).await.unwrap();
    shop.policies.create(&PostParams::default(), &policy()).await.unwrap();
    shop.engines.create(&PostParams::default(), &engine()).await.unwrap();

    eventually("the credential is in its Secret", async || shop.ready().await && shop.url().await == "pg://user-1@pg")
        .await;
    eventually("the policies are written", async || {
        let (status, message) = shop.policy("early").await;
        status == "True"
            && message.contains("there is no SecretEngine later")
            && shop.policy("orders").await.0 == "True"
    })
    .await;
    {
        let held = server.held.lock().unwrap();
        assert_eq!(held.records["auth/kubernetes/role/k8s:shop:sa:early"]["token_ttl"], 1200);
        assert_eq!(
            held.records["auth/kubernetes/role/k8s:shop:sa:orders"]["token_policies"],
            json!(["k8s:shop:orders"])
        );
        let text = held.records["sys/policies/acl/k8s:shop:orders"]["policy"].as_str().unwrap().to_owned();
        assert!(text.contains("k8s/shop/db/creds/ro"), "{text}");
        assert_eq!(held.records["k8s/shop/db/config/main"]["password"], "canary-of-the-root");
    }
    let stored = serde_json::to_string(&shop.engines.get("db").await.unwrap()).unwrap();
    assert!(!stored.contains("canary-of-the-root"), "a secret in a status");

    // Drift: what somebody changed on the server or in the cluster comes back.
    server.held.lock().unwrap().records.remove("auth/kubernetes/role/k8s:shop:sa:orders");
    shop.secrets.delete("ro", &DeleteParams::default()).await.unwrap();
    eventually("drift is repaired", async || {
        let role = server.held.lock().unwrap().records.contains_key("auth/kubernetes/role/k8s:shop:sa:orders");
        role && shop.url().await == "pg://user-1@pg"
    })
    .await;

    // Killed, not stopped: the next replica waits for the lease to run out, and makes nothing again.
    drop(first);
    let _operator = operator(&cluster, "two", &server.address);
    let rotate = json!({ "metadata": { "annotations": { names::ANNOTATION_ROTATE: "now" } } });
    shop.credentials.patch("ro", &PatchParams::default(), &Patch::Merge(&rotate)).await.unwrap();
    eventually("the credential is rotated", async || shop.url().await == "pg://user-2@pg").await;
    assert_eq!(server.held.lock().unwrap().minted, 2);
    let status = shop.credentials.get("ro").await.unwrap().status.unwrap_or_default();
    assert_eq!(status.credential, Some(2));
    assert_eq!(server.held.lock().unwrap().bound.len(), 2, "the old one is still valid");

    // Deleted while only the database is away: the object goes, and an event says what stays.
    shop.credentials.create(&PostParams::default(), &brief()).await.unwrap();
    eventually("another credential", async || server.held.lock().unwrap().bound.len() == 3).await;
    eventually("it is ready", async || {
        let status = shop.credentials.get("brief").await.unwrap().status.unwrap_or_default();
        conditions::is_true(&status.conditions, conditions::READY)
    })
    .await;
    server.held.lock().unwrap().stuck = true;
    shop.credentials.delete("brief", &DeleteParams::default()).await.unwrap();
    eventually("an event says that the credential is still valid", async || {
        let events = shop.events.list(&ListParams::default()).await.unwrap().items;
        events.iter().any(|event| {
            event.reason.as_deref() == Some("RevocationPending")
                && event.note.as_deref().is_some_and(|note| note.starts_with("credential 1 is still valid"))
        })
    })
    .await;
    server.held.lock().unwrap().stuck = false;

    // Deleted while the server is away: the objects go, the revocations wait for it.
    server.set_away(true);
    let uid = shop.credentials.get("ro").await.unwrap().uid().unwrap();
    shop.credentials.delete("ro", &DeleteParams::default()).await.unwrap();
    for name in ["orders", "early", "outside"] {
        shop.policies.delete(name, &DeleteParams::default()).await.unwrap();
    }
    shop.engines.delete("db", &DeleteParams::default()).await.unwrap();
    let start = std::time::Instant::now();
    eventually("the objects are gone", async || {
        let engine = shop.engines.get_opt("db").await.unwrap().is_none();
        let policies = shop.policies.list(&ListParams::default()).await.unwrap().items;
        engine && policies.is_empty() && shop.credentials.get_opt("ro").await.unwrap().is_none()
    })
    .await;
    assert!(start.elapsed().as_secs() < 30, "{:?}", start.elapsed());
    assert_eq!(shop.pending().await, 5);
    assert!(server.held.lock().unwrap().bound.keys().any(|key| key.starts_with(&format!("dcred/{uid} "))));

    server.set_away(false);
    eventually("the ledger is worked off", async || shop.pending().await == 0).await;
    let held = server.held.lock().unwrap();
    assert!(held.bound.is_empty(), "{:?}", held.bound);
    let left: Vec<_> = held.records.keys().filter(|key| key.contains("shop")).collect();
    assert!(left.is_empty(), "{left:?}");
}
