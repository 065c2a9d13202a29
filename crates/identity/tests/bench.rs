//! An identity store, and auth mounts that can go away.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use async_trait::async_trait;
use holdfast_base::SystemEntropy;
use holdfast_harness::Harness;
use holdfast_identity::{AuthMount, AuthMounts, Identity, IdentityParts, Login};
use holdfast_logical::{
    Backend, Caller, Connection, Error, MountInfo, Namespace, Operation, Request, Response, StoreError, View, table,
};
use parking_lot::Mutex;
use serde_json::{Map, Value, json};

pub const DOOR: &str = "door_1";
pub const GATE: &str = "gate_1";

/// Auth mounts by accessor.
pub struct Doors(Mutex<Vec<&'static str>>);

#[async_trait]
impl AuthMounts for Doors {
    fn find(&self, accessor: &str) -> Option<AuthMount> {
        let accessor = self.0.lock().iter().find(|known| **known == accessor)?.to_string();
        let kind = accessor.split('_').next()?.to_owned();
        Some(AuthMount { path: format!("auth/{kind}/"), kind, accessor })
    }

    async fn all(&self) -> Result<Vec<AuthMount>, StoreError> {
        let known = self.0.lock().clone();
        Ok(known.into_iter().filter_map(|accessor| self.find(accessor)).collect())
    }
}

impl Doors {
    pub fn remove(&self, accessor: &str) {
        self.0.lock().retain(|known| *known != accessor);
    }
}

pub struct Bench {
    pub http: Harness,
    pub store: Arc<Identity>,
    pub doors: Arc<Doors>,
}

fn store(view: View, clock: Arc<dyn holdfast_logical::Clock>, doors: Arc<Doors>) -> Arc<Identity> {
    Identity::new(IdentityParts {
        view,
        clock,
        entropy: Arc::new(SystemEntropy),
        mounts: doors,
        namespace: "root".to_owned(),
        api_addr: "https://vault.example:8200".to_owned(),
        path: "identity/".to_owned(),
    })
}

impl Bench {
    pub async fn new() -> Self {
        let doors = Arc::new(Doors(Mutex::new(vec![DOOR, GATE])));
        let mut made = None;
        let http = Harness::with("identity", |_, services| {
            let store = store(services.view, services.clock, doors.clone());
            made = Some(store.clone());
            store.backend()
        })
        .await;
        Self { http, store: made.unwrap(), doors }
    }

    /// Another store on the same storage.
    pub fn replica(&self) -> Arc<Identity> {
        store(self.http.view.clone(), self.http.clock.clone(), self.doors.clone())
    }

    /// Makes an entity; answers its id.
    pub async fn entity(&self, body: Value) -> String {
        self.id("entity", body).await
    }

    /// Makes a group; answers its id.
    pub async fn group(&self, body: Value) -> String {
        self.id("group", body).await
    }

    /// Makes an alias; answers its id.
    pub async fn alias(&self, entity: &str, name: &str, accessor: &str) -> String {
        self.id("entity-alias", json!({"canonical_id": entity, "name": name, "mount_accessor": accessor})).await
    }

    pub async fn id(&self, path: &str, body: Value) -> String {
        self.http.made(path, body).await["id"].as_str().unwrap().to_owned()
    }

    pub async fn login(&self, alias: &str, groups: &[&str]) -> Result<String, Error> {
        log_in(&self.store, DOOR, alias, groups).await
    }

    /// Policies of an entity now, as another replica sees them too.
    pub async fn policies(&self, entity: &str) -> Vec<String> {
        let here = self.store.standing(entity).await.unwrap().unwrap();
        let there = self.replica().standing(entity).await.unwrap().unwrap();
        assert_eq!(here.policies, there.policies);
        here.policies.clone()
    }
}

pub async fn log_in(store: &Identity, accessor: &str, alias: &str, groups: &[&str]) -> Result<String, Error> {
    let groups: Vec<String> = groups.iter().map(|group| (*group).to_owned()).collect();
    store.login(Login { accessor, alias, metadata: &BTreeMap::new(), groups: &groups }).await
}

/// A request of somebody's token to one of several stores.
pub async fn ask(
    backend: &dyn Backend,
    entity: &str,
    operation: Operation,
    path: &str,
    body: Value,
) -> Result<Response, Error> {
    let (row, captures) = table::find(backend.paths(), path).unwrap();
    let mount = MountInfo {
        kind: "identity".to_owned(),
        path: "identity/".to_owned(),
        namespace: Namespace::root(),
        accessor: "identity_1".to_owned(),
        uuid: "u".to_owned(),
        options: BTreeMap::new(),
        default_ttl: Duration::ZERO,
        max_ttl: Duration::ZERO,
    };
    let request = Request {
        id: "r".to_owned(),
        operation,
        path: path.to_owned(),
        route: row.id,
        fields: row.fields(&captures, body.as_object().cloned().unwrap_or_else(Map::new))?,
        mount: Arc::new(mount),
        caller: Caller { entity_id: entity.to_owned(), ..Caller::default() },
        connection: Connection::default(),
    };
    backend.handle(request).await
}
