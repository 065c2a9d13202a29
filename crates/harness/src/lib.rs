//! For tests only: a mount of an engine or auth method over a store in memory, and requests to it.
//!
//! Requests are routed and coerced by the path table, as the core does; what the core adds (tokens, policies, leases) is
//! not here. [`Harness::beside`] makes a second server on the same store.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test may fail")]

use std::{collections::BTreeMap, net::IpAddr, sync::Arc, time::Duration};

use holdfast_barrier::Barrier;
use holdfast_base::{ManualClock, SystemEntropy, Timestamp};
use holdfast_logical::{
    Backend, Caller, Connection, DefaultPasswords, Error, Factory, Grant, MountInfo, Namespace, Operation, Request,
    Response, Services, View, table,
};
use holdfast_secret::SecretBytes;
use holdfast_storage::MemoryStorage;
use serde_json::{Map, Value};

/// When tests begin, in seconds since 1970: 2023-11-14T22:13:20Z.
pub const NOW: i64 = 1_700_000_000;

/// Address that requests come from unless a test says otherwise.
pub const HOME: &str = "10.1.2.3";

/// One mount and what it stands on.
pub struct Harness {
    /// The backend itself.
    pub backend: Arc<dyn Backend>,
    /// Its clock.
    pub clock: Arc<ManualClock>,
    /// Its storage.
    pub view: View,
    info: Arc<MountInfo>,
    storage: Arc<MemoryStorage>,
}

impl Harness {
    /// A mount of an auth method at `auth/<kind>/`.
    pub async fn new(kind: &str, factory: Factory) -> Self {
        Self::with(kind, |info, services| factory(info, services).unwrap()).await
    }

    /// As [`Self::new`], for a backend that is made in another way than by its factory.
    pub async fn with(kind: &str, make: impl FnOnce(Arc<MountInfo>, Services) -> Arc<dyn Backend>) -> Self {
        let info = Arc::new(MountInfo {
            kind: kind.to_owned(),
            path: format!("auth/{kind}/"),
            namespace: Namespace::root(),
            accessor: format!("auth_{kind}_00000000"),
            uuid: "u".to_owned(),
            options: BTreeMap::new(),
            default_ttl: Duration::from_secs(3600),
            max_ttl: Duration::from_secs(7200),
        });
        let clock = Arc::new(ManualClock::new(Timestamp::from_second(NOW).unwrap()));
        let storage = Arc::new(MemoryStorage::new());
        let barrier = Barrier::open(storage.clone(), clock.clone(), Arc::new(SystemEntropy));
        barrier.initialize(&key()).await.unwrap();
        barrier.unseal(key()).await.unwrap();
        let view = View::new(barrier, "auth/u/");
        Self { backend: make(info.clone(), services(&view, &clock)), clock, view, info, storage }
    }

    /// Another server with the same mount: its own barrier, cache and backend on the same store and clock.
    pub async fn beside(&self, factory: Factory) -> Self {
        let barrier = Barrier::open(self.storage.clone(), self.clock.clone(), Arc::new(SystemEntropy));
        barrier.unseal(key()).await.unwrap();
        let view = View::new(barrier, "auth/u/");
        let backend = factory(self.info.clone(), services(&view, &self.clock)).unwrap();
        Self { backend, view, clock: self.clock.clone(), info: self.info.clone(), storage: self.storage.clone() }
    }

    /// A request over this connection. The path must have a row that serves the operation.
    pub async fn ask_over(
        &self,
        connection: Connection,
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
            id: "r".to_owned(),
            operation,
            path: path.to_owned(),
            route: row.id,
            fields: row.fields(&captures, body)?,
            mount: self.info.clone(),
            caller: Caller::default(),
            connection,
        };
        self.backend.handle(request).await
    }

    /// A request from this address; what is none comes from nowhere.
    pub async fn ask_from(
        &self,
        remote: &str,
        operation: Operation,
        path: &str,
        body: Value,
    ) -> Result<Response, Error> {
        self.ask_over(from(remote), operation, path, body).await
    }

    /// A request from [`HOME`].
    pub async fn ask(&self, operation: Operation, path: &str, body: Value) -> Result<Response, Error> {
        self.ask_from(HOME, operation, path, body).await
    }

    /// A write that must succeed.
    pub async fn write(&self, path: &str, body: Value) -> Response {
        self.ask(Operation::Update, path, body).await.unwrap()
    }

    /// The `data` of a write that must succeed.
    pub async fn made(&self, path: &str, body: Value) -> Map<String, Value> {
        self.write(path, body).await.data.unwrap().into_map()
    }

    /// The `data` of a read that must succeed.
    pub async fn get(&self, path: &str) -> Value {
        let response = self.ask(Operation::Read, path, Value::Null).await.unwrap();
        Value::Object(response.data.unwrap().into_map())
    }

    /// Is nothing there to be read?
    pub async fn absent(&self, path: &str) -> bool {
        matches!(self.ask(Operation::Read, path, Value::Null).await, Err(Error::NotFound(None)))
    }

    /// The `keys` of a list; none when it answers 404.
    pub async fn keys(&self, path: &str) -> Vec<String> {
        match self.ask(Operation::List, path, Value::Null).await {
            Ok(response) => serde_json::from_value(response.data.unwrap().into_map()["keys"].clone()).unwrap(),
            Err(Error::NotFound(None)) => Vec::new(),
            Err(error) => panic!("{error:?}"),
        }
    }

    /// A delete that must succeed.
    pub async fn delete(&self, path: &str) {
        self.ask(Operation::Delete, path, Value::Null).await.unwrap();
    }

    /// The text of a write that must be a 400.
    pub async fn refused(&self, path: &str, body: Value) -> String {
        match self.ask(Operation::Update, path, body).await {
            Err(Error::Invalid(text)) => text,
            other => panic!("{other:?}"),
        }
    }

    /// Asks whether a grant may be renewed, from [`HOME`].
    pub async fn renew(&self, grant: Grant) -> Result<Grant, Error> {
        self.backend.renew_grant(grant, &from(HOME)).await
    }

    /// What a login at this path gives.
    pub async fn grant(&self, path: &str, body: Value) -> Result<Grant, Error> {
        self.ask(Operation::Update, path, body).await.map(|response| response.grant.unwrap())
    }
}

/// A connection from this address without certificates.
pub fn from(remote: &str) -> Connection {
    Connection { remote: remote.parse::<IpAddr>().ok(), ..Connection::default() }
}

fn services(view: &View, clock: &Arc<ManualClock>) -> Services {
    let entropy = Arc::new(SystemEntropy);
    let passwords = Arc::new(DefaultPasswords(entropy.clone()));
    Services { view: view.clone(), clock: clock.clone(), entropy, passwords }
}

fn key() -> SecretBytes {
    SecretBytes::new([7u8; 32])
}
