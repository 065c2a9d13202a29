//! A database mount and requests to it.

use std::{
    collections::BTreeMap,
    sync::Arc,
    time::{Duration, Instant},
};

use holdfast_barrier::{Barrier, Options};
use holdfast_base::{SystemClock, SystemEntropy};
use holdfast_logical::{
    Backend, Caller, Connection, DefaultPasswords, Error, Issue, MountInfo, Namespace, Operation, Request, Response,
    Services, View, table,
};
use holdfast_secret::SecretBytes;
use holdfast_storage::MemoryStorage;
use serde_json::{Map, Value};

pub struct Mount {
    info: Arc<MountInfo>,
    storage: Arc<MemoryStorage>,
    pub barrier: Arc<Barrier>,
    pub backend: Arc<dyn Backend>,
    pub view: View,
}

/// A user that was made: what the lease carries, and its login.
pub struct Made {
    pub internal: Map<String, Value>,
    pub username: String,
    pub password: String,
}

impl Mount {
    pub async fn new() -> Self {
        let storage = Arc::new(MemoryStorage::new());
        let barrier = Barrier::open(storage.clone(), Arc::new(SystemClock), Arc::new(SystemEntropy));
        barrier.initialize(&key()).await.unwrap();
        Self::on(storage, barrier).await
    }

    /// The same mount on another replica.
    pub async fn beside(&self) -> Self {
        let options = Options { instance: "another".to_owned(), ..Options::default() };
        let (clock, entropy) = (Arc::new(SystemClock), Arc::new(SystemEntropy));
        Self::on(self.storage.clone(), Barrier::open_with(self.storage.clone(), clock, entropy, options)).await
    }

    async fn on(storage: Arc<MemoryStorage>, barrier: Arc<Barrier>) -> Self {
        barrier.unseal(key()).await.unwrap();
        let info = Arc::new(MountInfo {
            kind: "database".into(),
            path: "database/".into(),
            namespace: Namespace::root(),
            accessor: "database_00000000".into(),
            uuid: "u".into(),
            options: BTreeMap::new(),
            default_ttl: Duration::from_secs(3600),
            max_ttl: Duration::from_secs(7200),
        });
        let view = View::new(barrier.clone(), "logical/u/");
        let services = Services {
            view: view.clone(),
            clock: Arc::new(SystemClock),
            entropy: Arc::new(SystemEntropy),
            passwords: Arc::new(DefaultPasswords(Arc::new(SystemEntropy))),
        };
        let backend = holdfast_engine_database::factory(info.clone(), services).unwrap();
        let mount = Self { info, storage, barrier, backend, view };
        mount.member().await;
        mount
    }

    /// The id of its replica, when the store has confirmed it.
    pub async fn member(&self) -> String {
        let deadline = Instant::now() + Duration::from_secs(10);
        loop {
            if let Some(id) = self.view.member() {
                return id;
            }
            assert!(Instant::now() < deadline, "the replica is no member");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    pub async fn ask(&self, operation: Operation, path: &str, body: Value) -> Result<Response, Error> {
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
            caller: Caller { display_name: "kubernetes-shop-orders".into(), ..Caller::default() },
            connection: Connection::default(),
        };
        self.backend.handle(request).await
    }

    pub async fn put(&self, path: &str, body: Value) {
        if let Err(error) = self.ask(Operation::Update, path, body).await {
            panic!("{path}: {error}");
        }
    }

    pub async fn get(&self, path: &str) -> Value {
        let response = self.ask(Operation::Read, path, Value::Null).await.unwrap();
        Value::Object(response.data.unwrap().into_map())
    }

    pub async fn refused(&self, operation: Operation, path: &str, body: Value) -> String {
        self.ask(operation, path, body).await.unwrap_err().to_string()
    }

    pub async fn issue(&self, role: &str) -> Issue {
        self.ask(Operation::Read, &format!("creds/{role}"), Value::Null).await.unwrap().issue.unwrap()
    }

    /// Does what the core does: runs `create`.
    pub async fn make(&self, role: &str) -> Made {
        let issue = self.issue(role).await;
        let data = issue.data.to_map();
        let internal = issue.internal.clone();
        (issue.create)().await.unwrap();
        let text = |name: &str| data[name].as_str().unwrap().to_owned();
        Made { internal, username: text("username"), password: text("password") }
    }
}

fn key() -> SecretBytes {
    SecretBytes::new([7u8; 32])
}
