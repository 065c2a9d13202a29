//! A mount of the method and requests to it.

use std::{collections::BTreeMap, net::IpAddr, sync::Arc, time::Duration};

use holdfast_barrier::Barrier;
use holdfast_base::{ManualClock, SystemEntropy, Timestamp};
use holdfast_logical::{
    Backend, Caller, Connection, DefaultPasswords, Error, Grant, MountInfo, Operation, Request, Response, Services,
    View, table,
};
use holdfast_secret::SecretBytes;
use holdfast_storage::MemoryStorage;
use serde_json::{Map, Value, json};

pub const HOME: &str = "10.1.2.3";

pub struct Mount {
    pub backend: Arc<dyn Backend>,
    pub clock: Arc<ManualClock>,
    pub view: View,
    info: Arc<MountInfo>,
}

/// What a wrong pair is answered with.
pub const REFUSED: &str = "invalid role or secret ID";

impl Mount {
    pub async fn new() -> Self {
        let clock = Arc::new(ManualClock::new(Timestamp::from_second(1_700_000_000).unwrap()));
        let barrier = Barrier::open(Arc::new(MemoryStorage::new()), clock.clone(), Arc::new(SystemEntropy));
        barrier.initialize(&SecretBytes::new([7u8; 32])).await.unwrap();
        barrier.unseal(SecretBytes::new([7u8; 32])).await.unwrap();
        let view = View::new(barrier, "auth/u/");
        let info = Arc::new(MountInfo {
            kind: "approle".into(),
            path: "auth/approle/".into(),
            accessor: "auth_approle_00000000".into(),
            uuid: "u".into(),
            options: BTreeMap::new(),
            default_ttl: Duration::from_secs(3600),
            max_ttl: Duration::from_secs(7200),
        });
        let services = Services {
            view: view.clone(),
            clock: clock.clone(),
            entropy: Arc::new(SystemEntropy),
            passwords: Arc::new(DefaultPasswords(Arc::new(SystemEntropy))),
        };
        Self { backend: holdfast_auth_approle::factory(info.clone(), services).unwrap(), clock, view, info }
    }

    /// A mount with a role `app` whose role id is `r`.
    pub async fn with_role(settings: Value) -> Self {
        let mount = Self::new().await;
        mount.write("role/app", settings).await;
        mount.write("role/app/role-id", json!({"role_id": "r"})).await;
        mount
    }

    pub async fn ask_from(
        &self,
        remote: &str,
        operation: Operation,
        path: &str,
        body: Value,
    ) -> Result<Response, Error> {
        let body = match body {
            Value::Object(body) => body,
            _ => Map::new(),
        };
        let (row, captures) = table::find(self.backend.paths(), path).ok_or_else(Error::not_found)?;
        assert!(row.serves(operation), "{operation:?} {path}");
        let request = Request {
            id: "r".into(),
            operation,
            path: path.into(),
            route: row.id,
            fields: row.fields(&captures, body)?,
            mount: self.info.clone(),
            caller: Caller::default(),
            connection: Connection { remote: remote.parse::<IpAddr>().ok(), ..Connection::default() },
        };
        self.backend.handle(request).await
    }

    pub async fn ask(&self, operation: Operation, path: &str, body: Value) -> Result<Response, Error> {
        self.ask_from(HOME, operation, path, body).await
    }

    pub async fn write(&self, path: &str, body: Value) -> Response {
        self.ask(Operation::Update, path, body).await.unwrap()
    }

    /// The `data` of a write.
    pub async fn made(&self, path: &str, body: Value) -> Map<String, Value> {
        self.write(path, body).await.data.unwrap().into_map()
    }

    pub async fn get(&self, path: &str) -> Value {
        let response = self.ask(Operation::Read, path, Value::Null).await.unwrap();
        Value::Object(response.data.unwrap().into_map())
    }

    pub async fn keys(&self, path: &str) -> Vec<String> {
        match self.ask(Operation::List, path, Value::Null).await {
            Ok(response) => serde_json::from_value(response.data.unwrap().into_map()["keys"].clone()).unwrap(),
            Err(Error::NotFound(None)) => Vec::new(),
            Err(error) => panic!("{error:?}"),
        }
    }

    /// The text of a write that must be a 400.
    pub async fn refused(&self, path: &str, body: Value) -> String {
        match self.ask(Operation::Update, path, body).await {
            Err(Error::Invalid(text)) => text,
            other => panic!("{other:?}"),
        }
    }

    /// A new secret id of `app`.
    pub async fn secret_id(&self, body: Value) -> String {
        self.made("role/app/secret-id", body).await["secret_id"].as_str().unwrap().to_owned()
    }

    pub async fn login_from(&self, remote: &str, role_id: &str, secret_id: &str) -> Result<Grant, Error> {
        let body = json!({"role_id": role_id, "secret_id": secret_id});
        let response = self.ask_from(remote, Operation::Update, "login", body).await?;
        Ok(response.grant.unwrap())
    }

    pub async fn login(&self, secret_id: &str) -> Result<Grant, Error> {
        self.login_from(HOME, "r", secret_id).await
    }

    /// A login that must be refused as any wrong pair is.
    pub async fn no_login(&self, role_id: &str, secret_id: &str) {
        match self.login_from(HOME, role_id, secret_id).await {
            Err(Error::Invalid(text)) => assert_eq!(text, REFUSED),
            other => panic!("{other:?}"),
        }
    }
}
