//! A mount of the method and requests to it.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use holdfast_auth_kubernetes::{Local, with_local};
use holdfast_barrier::Barrier;
use holdfast_base::{ManualClock, SystemEntropy, Timestamp};
use holdfast_logical::{
    Backend, Caller, Connection, DefaultPasswords, Error, Grant, MountInfo, Operation, Request, Response, Services,
    View, table,
};
use holdfast_secret::SecretBytes;
use holdfast_storage::MemoryStorage;
use serde_json::{Map, Value, json};

use crate::cluster::{Cluster, NOW};

pub struct Mount {
    pub backend: Arc<dyn Backend>,
    pub clock: Arc<ManualClock>,
    info: Arc<MountInfo>,
}

impl Mount {
    pub async fn new(local: Option<Local>) -> Self {
        let clock = Arc::new(ManualClock::new(Timestamp::from_second(NOW).unwrap()));
        let barrier = Barrier::open(Arc::new(MemoryStorage::new()), clock.clone(), Arc::new(SystemEntropy));
        barrier.initialize(&SecretBytes::new([7u8; 32])).await.unwrap();
        barrier.unseal(SecretBytes::new([7u8; 32])).await.unwrap();
        let services = Services {
            view: View::new(barrier, "auth/u/"),
            clock: clock.clone(),
            entropy: Arc::new(SystemEntropy),
            passwords: Arc::new(DefaultPasswords(Arc::new(SystemEntropy))),
        };
        let info = Arc::new(MountInfo {
            kind: "kubernetes".into(),
            path: "auth/kubernetes/".into(),
            accessor: "auth_kubernetes_00000000".into(),
            uuid: "u".into(),
            options: BTreeMap::new(),
            default_ttl: Duration::from_secs(3600),
            max_ttl: Duration::from_secs(7200),
        });
        let outside = Local { folder: "/nonexistent".into(), host: None };
        Self { backend: with_local(services, local.unwrap_or(outside)), clock, info }
    }

    /// A mount for this cluster, with a role `orders` for shop/orders.
    pub async fn of(cluster: &Cluster) -> Self {
        let mount = Self::new(None).await;
        mount.configure(json!({"kubernetes_host": cluster.host, "kubernetes_ca_cert": cluster.ca, "token_reviewer_jwt": "reviewer"})).await;
        mount.role("orders", json!({})).await;
        mount
    }

    pub async fn configure(&self, body: Value) {
        self.ask(Operation::Update, "config", body).await.unwrap();
    }

    /// Writes a role for shop/orders with these changes.
    pub async fn role(&self, name: &str, changes: Value) {
        let mut body = json!({
            "bound_service_account_names": "orders", "bound_service_account_namespaces": "shop",
            "audience": "holdfast", "token_policies": ["app"], "token_ttl": "20m",
        });
        body.as_object_mut().unwrap().extend(changes.as_object().unwrap().clone());
        self.ask(Operation::Update, &format!("role/{name}"), body).await.unwrap();
    }

    pub async fn ask(&self, operation: Operation, path: &str, body: Value) -> Result<Response, Error> {
        let body = match body {
            Value::Object(body) => body,
            _ => Map::new(),
        };
        let (row, captures) = table::find(self.backend.paths(), path).ok_or_else(Error::not_found)?;
        let request = Request {
            id: "r".into(),
            operation,
            path: path.into(),
            route: row.id,
            fields: row.fields(&captures, body)?,
            mount: self.info.clone(),
            caller: Caller::default(),
            connection: Connection::default(),
        };
        self.backend.handle(request).await
    }

    pub async fn get(&self, path: &str) -> Value {
        let response = self.ask(Operation::Read, path, Value::Null).await.unwrap();
        Value::Object(response.data.unwrap().into_map())
    }

    pub async fn login(&self, role: &str, token: &str) -> Result<Grant, Error> {
        let mut body = json!({"jwt": token});
        if !role.is_empty() {
            body["role"] = json!(role);
        }
        self.ask(Operation::Update, "login", body).await.map(|response| response.grant.unwrap())
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
