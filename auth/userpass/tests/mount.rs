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

pub struct Mount {
    pub backend: Arc<dyn Backend>,
    pub view: View,
    info: Arc<MountInfo>,
}

impl Mount {
    pub async fn new() -> Self {
        let clock = Arc::new(ManualClock::new(Timestamp::from_second(1_700_000_000).unwrap()));
        let barrier = Barrier::open(Arc::new(MemoryStorage::new()), clock.clone(), Arc::new(SystemEntropy));
        barrier.initialize(&SecretBytes::new([7u8; 32])).await.unwrap();
        barrier.unseal(SecretBytes::new([7u8; 32])).await.unwrap();
        let view = View::new(barrier, "auth/u/");
        let info = Arc::new(MountInfo {
            kind: "userpass".into(),
            path: "auth/userpass/".into(),
            accessor: "auth_userpass_00000000".into(),
            uuid: "u".into(),
            options: BTreeMap::new(),
            default_ttl: Duration::from_secs(3600),
            max_ttl: Duration::from_secs(7200),
        });
        let services = Services {
            view: view.clone(),
            clock,
            entropy: Arc::new(SystemEntropy),
            passwords: Arc::new(DefaultPasswords(Arc::new(SystemEntropy))),
        };
        Self { backend: holdfast_auth_userpass::factory(info.clone(), services).unwrap(), view, info }
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
        self.ask_from("10.1.2.3", operation, path, body).await
    }

    pub async fn write(&self, path: &str, body: Value) {
        self.ask(Operation::Update, path, body).await.unwrap();
    }

    pub async fn get(&self, path: &str) -> Value {
        let response = self.ask(Operation::Read, path, Value::Null).await.unwrap();
        Value::Object(response.data.unwrap().into_map())
    }

    /// The text of a write that must be a 400.
    pub async fn refused(&self, path: &str, body: Value) -> String {
        match self.ask(Operation::Update, path, body).await {
            Err(Error::Invalid(text)) => text,
            other => panic!("{other:?}"),
        }
    }

    pub async fn login(&self, name: &str, password: &str) -> Result<Grant, Error> {
        let body = json!({"password": password});
        let response = self.ask(Operation::Update, &format!("login/{name}"), body).await?;
        Ok(response.grant.unwrap())
    }
}
