//! A kv mount and requests to it.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use holdfast_barrier::Barrier;
use holdfast_base::{ManualClock, SystemEntropy, Timestamp};
use holdfast_logical::{
    Backend, Caller, Connection, DefaultPasswords, Error, MountInfo, Namespace, Operation, Request, Response, Services,
    View, table,
};
use holdfast_secret::SecretBytes;
use holdfast_storage::MemoryStorage;
use serde_json::{Map, Value};

pub struct Mount {
    info: Arc<MountInfo>,
    pub backend: Arc<dyn Backend>,
    pub clock: Arc<ManualClock>,
}

impl Mount {
    pub async fn new(version: &str) -> Self {
        let clock = Arc::new(ManualClock::new(Timestamp::from_second(1_700_000_000).unwrap()));
        let barrier = Barrier::open(Arc::new(MemoryStorage::new()), clock.clone(), Arc::new(SystemEntropy));
        barrier.initialize(&SecretBytes::new([7u8; 32])).await.unwrap();
        barrier.unseal(SecretBytes::new([7u8; 32])).await.unwrap();
        let info = Arc::new(MountInfo {
            kind: "kv".into(),
            path: "secret/".into(),
            namespace: Namespace::root(),
            accessor: "kv_00000000".into(),
            uuid: "u".into(),
            options: BTreeMap::from([("version".into(), version.into())]),
            default_ttl: Duration::from_secs(2_764_800),
            max_ttl: Duration::from_secs(2_764_800),
        });
        let services = Services {
            view: View::new(barrier, "logical/u/"),
            clock: clock.clone(),
            entropy: Arc::new(SystemEntropy),
            passwords: Arc::new(DefaultPasswords(Arc::new(SystemEntropy))),
        };
        let backend = holdfast_engine_kv::factory(info.clone(), services).unwrap();
        Self { info, backend, clock }
    }

    /// Tunes the mount to version 2.
    pub async fn upgrade(&mut self) {
        let mut info = MountInfo::clone(&self.info);
        info.options.insert("version".into(), "2".into());
        self.info = Arc::new(info);
        self.backend.tuned(self.info.clone()).await;
    }

    pub async fn ask(&self, operation: Operation, path: &str, body: Value) -> Result<Response, Error> {
        let (row, _) = table::find(self.backend.paths(), path).ok_or_else(Error::not_found)?;
        if !row.serves(operation) {
            return Err(Error::UnsupportedOperation);
        }
        self.backend.handle(self.request(operation, path, body)).await
    }

    /// A request as it is routed now.
    pub fn request(&self, operation: Operation, path: &str, body: Value) -> Request {
        let body = match body {
            Value::Object(body) => body,
            _ => Map::new(),
        };
        let (row, captures) = table::find(self.backend.paths(), path).unwrap();
        Request {
            id: "r".into(),
            operation,
            path: path.into(),
            route: row.id,
            fields: row.fields(&captures, body).unwrap(),
            mount: self.info.clone(),
            caller: Caller::default(),
            connection: Connection::default(),
        }
    }

    /// `data` of an answer that must be a success.
    pub async fn data(&self, operation: Operation, path: &str, body: Value) -> Value {
        match self.ask(operation, path, body).await {
            Ok(response) => Value::Object(response.data.map(|data| data.to_map()).unwrap_or_default()),
            Err(error) => panic!("{operation:?} {path}: {error}"),
        }
    }

    pub async fn get(&self, path: &str) -> Value {
        self.data(Operation::Read, path, Value::Null).await
    }

    pub async fn put(&self, path: &str, body: Value) -> Value {
        self.data(Operation::Update, path, body).await
    }

    /// The text of a refusal.
    pub async fn refused(&self, operation: Operation, path: &str, body: Value) -> String {
        self.ask(operation, path, body).await.unwrap_err().to_string()
    }
}
