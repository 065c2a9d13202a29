//! A mount of the method and what its tests ask.

use std::ops::Deref;

use holdfast_auth_kubernetes::{Local, with_local};
use holdfast_harness::Harness;
use holdfast_logical::{Error, Grant};
use serde_json::{Value, json};

use crate::cluster::Cluster;

pub struct Mount(Harness);

impl Deref for Mount {
    type Target = Harness;

    fn deref(&self) -> &Harness {
        &self.0
    }
}

impl Mount {
    pub async fn new(local: Option<Local>) -> Self {
        let outside = Local { folder: "/nonexistent".into(), host: None };
        Self(Harness::with("kubernetes", |_, services| with_local(services, local.unwrap_or(outside))).await)
    }

    /// A mount for this cluster, with a role `orders` for shop/orders.
    pub async fn of(cluster: &Cluster) -> Self {
        let mount = Self::new(None).await;
        mount.configure(json!({"kubernetes_host": cluster.host, "kubernetes_ca_cert": cluster.ca, "token_reviewer_jwt": "re.view.er"})).await;
        mount.role("orders", json!({})).await;
        mount
    }

    pub async fn configure(&self, body: Value) {
        self.write("config", body).await;
    }

    /// Writes a role for shop/orders with these changes.
    pub async fn role(&self, name: &str, changes: Value) {
        let mut body = json!({
            "bound_service_account_names": "orders", "bound_service_account_namespaces": "shop",
            "audience": "holdfast", "token_policies": ["app"], "token_ttl": "20m",
        });
        body.as_object_mut().unwrap().extend(changes.as_object().unwrap().clone());
        self.write(&format!("role/{name}"), body).await;
    }

    pub async fn login(&self, role: &str, token: &str) -> Result<Grant, Error> {
        let mut body = json!({"jwt": token});
        if !role.is_empty() {
            body["role"] = json!(role);
        }
        self.grant("login", body).await
    }

    /// The text of a login that must be denied (403).
    pub async fn denied(&self, role: &str, token: &str) -> String {
        match self.login(role, token).await {
            Err(Error::Denied(text)) => text,
            other => panic!("{other:?}"),
        }
    }

    /// The text of a login that must be invalid (400).
    pub async fn invalid(&self, role: &str, token: &str) -> String {
        match self.login(role, token).await {
            Err(Error::Invalid(text)) => text,
            other => panic!("{other:?}"),
        }
    }
}
